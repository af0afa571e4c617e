//! A peer that asks twice, or says nothing. (What harm comes to frames: `conformance`.)

use std::time::Duration;

use phineus_infer::ProtocolError;
use phineus_model::reference;
use phineus_net::mem;
use tokio::time::timeout;

use crate::party::{Host, copy, input};
use crate::{nets, party};

/// Far beyond all deadlines.
const BOUND: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_pre_compute_serves_once() {
    let model = nets::tiny("tiny");
    let host = Host::of([model.clone()]);
    let (mut session, server) = host.connect().await;
    let prepared = session.prepare().await.unwrap();
    let again = copy(&prepared, &session);
    let x = input(&model, 3);
    assert_eq!(session.infer(prepared, &x).await.unwrap().values, reference::run(&model, &x).unwrap());
    // The same session, the same id: refused, and the session is over on both sides.
    let error = session.infer(again, &x).await.unwrap_err();
    assert!(error.to_string().contains("no such pre-compute"), "{error}");
    assert!(matches!(server.await.unwrap(), Err(ProtocolError::Store(_))));
}

/// Either side may vanish at once.
#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_at_the_deadline() {
    let host = Host::of([nets::tiny("tiny")]);
    let (_client, mut server) = mem::pair();
    server.set_deadline(Duration::from_millis(50));
    let error = timeout(BOUND, host.serve(server)).await.unwrap().unwrap().unwrap_err();
    assert!(error.to_string().contains("no progress"), "{error}");
    let (mut client, _server) = mem::pair();
    client.set_deadline(Duration::from_millis(50));
    let error = party::connect(client, "", None).await.err().unwrap();
    assert!(error.to_string().contains("no progress"), "{error}");
}
