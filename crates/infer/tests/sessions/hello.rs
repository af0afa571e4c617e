//! The handshake refuses whatever differs.

use phineus_infer::ProtocolError;
use phineus_infer::served::CatalogueError;
use phineus_infer::session::client::Session;
use phineus_kernel::wire::PeerMisbehaved;
use phineus_net::{Channel, ChannelError, Server, Step, mem};
use proptest::prelude::*;

use crate::nets;
use crate::party::{Host, connect};

const HELLO: Step = Step::new("session.hello");
const WELCOME: Step = Step::new("session.welcome");
const AGREE: Step = Step::new("session.agree");
const HELLO_LEN: usize = 108;
/// What the welcome holds before the public half: version and nonce.
const HEAD: usize = 34;

/// A server that answers every hello with `welcome`; the plan digest that the client then agrees to, if it does.
async fn welcome_with(mut channel: Channel<Server>, welcome: Vec<u8>) -> Result<Vec<u8>, ChannelError> {
    channel.recv_bytes(HELLO, HELLO_LEN).await?;
    channel.send_bytes(WELCOME, &welcome).await?;
    channel.flush().await?;
    Ok(channel.recv_bytes(AGREE, 64).await?.split_off(32))
}

fn welcome(version: u16, public: &[u8]) -> Vec<u8> {
    [&version.to_le_bytes()[..], &[7; HEAD - 2], public].concat()
}

/// What a client makes of a welcome, and what the server hears from it.
async fn answer(
    welcome: Vec<u8>,
    pinned: Option<[u8; 32]>,
) -> (Result<Session, ProtocolError>, Result<Vec<u8>, ChannelError>) {
    let (client, server) = mem::pair();
    tokio::join!(connect(client, "tiny", pinned), welcome_with(server, welcome))
}

fn public() -> Vec<u8> {
    Host::of([nets::tiny("tiny")]).plan().public().to_bytes()
}

#[tokio::test]
async fn another_version_of_either_side_is_refused_by_the_other() {
    let host = Host::of([nets::tiny("tiny")]);
    let (mut client, server) = mem::pair();
    let serving = host.serve(server);
    let mut hello = b"PHINEUS\0".to_vec();
    hello.extend([2, 0]);
    hello.resize(HELLO_LEN, 0);
    client.send_bytes(HELLO, &hello).await.unwrap();
    let heard = client.recv_bounded(WELCOME, 1 << 20).await.unwrap_err();
    assert!(
        matches!(&heard, ChannelError::Aborted { reason, .. } if reason.contains("version 1 here, 2 there"))
    );
    let error = serving.await.unwrap().unwrap_err();
    assert!(matches!(error, ProtocolError::Version { ours: 1, theirs: 2 }), "{error}");

    let (client, heard) = answer(welcome(2, &public()), None).await;
    assert!(matches!(client.err().unwrap(), ProtocolError::Version { ours: 1, theirs: 2 }));
    assert!(matches!(heard, Err(ChannelError::Aborted { .. })));
}

#[tokio::test]
async fn an_unknown_model_is_named_and_so_are_those_there_are() {
    let host = Host::of([nets::tiny("one"), nets::tiny("two")]);
    for wanted in ["three", ""] {
        let (client, server) = mem::pair();
        let serving = host.serve(server);
        let error = connect(client, wanted, None).await.err().unwrap().to_string();
        assert!(error.contains(&format!("no model {wanted:?}; served: one, two")), "{error}");
        let error = serving.await.unwrap().unwrap_err();
        assert!(matches!(error, ProtocolError::Catalogue(CatalogueError::Unknown { .. })), "{error}");
    }
    for wanted in ["one", "two"] {
        let (client, server) = mem::pair();
        let serving = host.serve(server);
        let session = connect(client, wanted, None).await.unwrap();
        assert_eq!(session.plan().public().name, wanted);
        session.close().await.unwrap();
        serving.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_pinned_plan_is_the_only_one_that_either_side_accepts() {
    let host = Host::of([nets::tiny("tiny")]);
    let (right, wrong) = (*host.plan().digest(), [3; 32]);
    let (client, server) = mem::pair();
    let serving = host.serve(server);
    connect(client, "", Some(right)).await.unwrap().close().await.unwrap();
    serving.await.unwrap().unwrap();

    let (client, server) = mem::pair();
    let serving = host.serve(server);
    let error = connect(client, "", Some(wrong)).await.err().unwrap().to_string();
    assert!(error.contains(&host.plan().digest_hex()) && error.contains(&"03".repeat(32)), "{error}");
    assert!(matches!(serving.await.unwrap(), Err(ProtocolError::PlanDiffers { .. })));

    // A server that does not care what the client insists on.
    let (client, heard) = answer(welcome(1, &public()), Some(wrong)).await;
    assert!(
        matches!(client.err().unwrap(), ProtocolError::PlanDiffers { ours, .. } if ours == "03".repeat(32))
    );
    assert!(matches!(heard, Err(ChannelError::Aborted { .. })));

    // A client that agrees to something else.
    let (mut client, server) = mem::pair();
    let serving = host.serve(server);
    let mut hello = b"PHINEUS\0\x01\0".to_vec();
    hello.resize(HELLO_LEN, 0);
    client.send_bytes(HELLO, &hello).await.unwrap();
    client.recv_bounded(WELCOME, 1 << 20).await.unwrap();
    client.send_bytes(AGREE, &[9; 64]).await.unwrap();
    client.flush().await.unwrap();
    let error = serving.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, ProtocolError::PlanDiffers { theirs, .. } if *theirs == "09".repeat(32)),
        "{error}"
    );
}

#[tokio::test]
async fn a_welcome_of_an_impossible_length_is_refused() {
    for len in [0, 1, HEAD - 1] {
        let (client, _) = answer(welcome(1, &public())[..len].to_vec(), None).await;
        let error = client.err().unwrap();
        let length = matches!(
            &error,
            ProtocolError::Channel(ChannelError::Peer(PeerMisbehaved::Length {
                what: "session.welcome",
                ..
            }))
        );
        assert!(length, "{error}");
    }
    // Announced, never sent: the length alone is refused.
    let (client, server) = tokio::io::duplex(1 << 16);
    let (reader, writer) = tokio::io::split(client);
    let liar = async {
        use tokio::io::AsyncWriteExt as _;
        let (_reader, mut writer) = tokio::io::split(server);
        let mut header = u32::MAX.to_le_bytes().to_vec();
        header.extend(WELCOME.tag().to_le_bytes());
        header.extend([0, 0]);
        writer.write_all(&header).await.unwrap();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = liar => unreachable!(),
        outcome = connect(Channel::new(reader, writer), "", None) => {
            let error = outcome.err().unwrap().to_string();
            assert!(error.contains("session.welcome") && error.contains("4294967295"), "{error}");
        }
    }
}

#[test]
fn a_changed_public_half_is_malformed_or_another_plan() {
    let honest = public();
    let digest = *Host::of([nets::tiny("tiny")]).plan().digest();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let edit = prop_oneof![
        4 => (any::<prop::sample::Index>(), 1_u8..).prop_map(|(at, with)| (at, Some(with))),
        1 => any::<prop::sample::Index>().prop_map(|at| (at, None)),
    ];
    let edits = prop::collection::vec(edit, 1..4);
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(edits in edits, tail in prop::collection::vec(any::<u8>(), 0..3))| {
        let mut bytes = honest.clone();
        for (at, with) in edits {
            if bytes.is_empty() {
                continue;
            }
            let at = at.index(bytes.len());
            match with {
                Some(with) => bytes[at] ^= with,
                None => drop(bytes.remove(at)),
            }
        }
        bytes.extend(tail);
        prop_assume!(bytes != honest);
        match runtime.block_on(answer(welcome(1, &bytes), None)) {
            (Ok(session), Ok(agreed)) => {
                prop_assert_ne!(&agreed, &digest);
                prop_assert_eq!(&agreed, session.plan().digest());
            }
            (Err(ProtocolError::Public(_) | ProtocolError::Plan(_)), Err(ChannelError::Aborted { .. })) => {}
            (client, server) => prop_assert!(false, "{:?}, {server:?}", client.err()),
        }
    });
}
