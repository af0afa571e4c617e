//! The handshake refuses whatever differs.

use phineus_infer::ProtocolError;
use phineus_infer::plan::{Engine, Link, Offer, Options, Rounding, Wishes};
use phineus_infer::served::{Catalogue, CatalogueError, Served};
use phineus_infer::session::client::{Request, Session};
use phineus_kernel::wire::{PeerMisbehaved, Wire as _};
use phineus_net::{Channel, ChannelError, Server, Step, mem};
use proptest::prelude::*;

use crate::nets;
use crate::party::{CLIENT, Host, connect, generator, memory};

const HELLO: Step = Step::new("session.hello");
const WELCOME: Step = Step::new("session.welcome");
const AGREE: Step = Step::new("session.agree");
const AGREED: Step = Step::new("session.agreed");
const HELLO_LEN: usize = 152;
/// What the welcome holds before the public half: version, nonce, the store's name and count, options.
const HEAD: usize = 87;

/// A server that answers every hello with `welcome`; the plan digest that the client then agrees to, if it does.
async fn welcome_with(mut channel: Channel<Server>, welcome: Vec<u8>) -> Result<Vec<u8>, ChannelError> {
    channel.recv_bytes(HELLO, HELLO_LEN).await?;
    channel.send_bytes(WELCOME, &welcome).await?;
    channel.flush().await?;
    let agreed = channel.recv_bytes(AGREE, 105).await?;
    channel.send_bytes(AGREED, &[1, 0]).await?;
    channel.flush().await?;
    Ok(agreed[32..64].to_vec())
}

fn welcome(version: u16, public: &[u8]) -> Vec<u8> {
    let mut welcome =
        [&version.to_le_bytes()[..], &[7; 32], &rand::random::<[u8; 16]>(), &1_u64.to_le_bytes()].concat();
    Options::default().encode(&mut welcome);
    assert_eq!(welcome.len(), HEAD);
    welcome.extend(public);
    welcome
}

/// Completes a hello that has no wishes.
fn pad(hello: &mut Vec<u8>) {
    hello.resize(HELLO_LEN - Wishes::wire_len(&()) - 16, 0);
    Wishes::default().encode(hello);
    hello.extend([3; 16]);
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
    hello.extend([1, 0]);
    pad(&mut hello);
    client.send_bytes(HELLO, &hello).await.unwrap();
    let heard = client.recv_bounded(WELCOME, 1 << 20).await.unwrap_err();
    assert!(
        matches!(&heard, ChannelError::Aborted { reason, .. } if reason.contains("version 5 here, 1 there"))
    );
    let error = serving.await.unwrap().unwrap_err();
    assert!(matches!(error, ProtocolError::Version { ours: 5, theirs: 1 }), "{error}");

    let (client, heard) = answer(welcome(1, &public()), None).await;
    assert!(matches!(client.err().unwrap(), ProtocolError::Version { ours: 5, theirs: 1 }));
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
    let (client, heard) = answer(welcome(5, &public()), Some(wrong)).await;
    assert!(
        matches!(client.err().unwrap(), ProtocolError::PlanDiffers { ours, .. } if ours == "03".repeat(32))
    );
    assert!(matches!(heard, Err(ChannelError::Aborted { .. })));

    // A client that agrees to something else.
    let (mut client, server) = mem::pair();
    let serving = host.serve(server);
    let mut hello = b"PHINEUS\0\x05\0".to_vec();
    pad(&mut hello);
    client.send_bytes(HELLO, &hello).await.unwrap();
    client.recv_bounded(WELCOME, 1 << 20).await.unwrap();
    client.send_bytes(AGREE, &[9; 105]).await.unwrap();
    client.flush().await.unwrap();
    let error = serving.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, ProtocolError::PlanDiffers { theirs, .. } if *theirs == "09".repeat(32)),
        "{error}"
    );
}

#[tokio::test]
async fn a_welcome_of_an_impossible_length_is_refused() {
    for len in [0, 1, 33, HEAD - 1] {
        let (client, _) = answer(welcome(5, &public())[..len].to_vec(), None).await;
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
        match runtime.block_on(answer(welcome(5, &bytes), None)) {
            (Ok(session), Ok(agreed)) => {
                prop_assert_ne!(&agreed, &digest);
                prop_assert_eq!(&agreed, session.plan().digest());
            }
            (Err(ProtocolError::Public(_) | ProtocolError::Plan(_)), Err(ChannelError::Aborted { .. })) => {}
            (client, server) => prop_assert!(false, "{:?}, {server:?}", client.err()),
        }
    });
}

/// What a client asks for and what it gets, or what each side says.
async fn wish(offer: Offer, wishes: Wishes) -> (Result<Session, ProtocolError>, Result<(), ProtocolError>) {
    let mut catalogue = Catalogue::new(offer);
    catalogue.add(Served::new(nets::tiny("tiny"), &Options::default(), 0).unwrap()).unwrap();
    let host = Host { catalogue: catalogue.into(), store: memory(1) };
    let (client, server) = mem::pair();
    let serving = host.serve(server);
    let request = Request { wishes, ..Request::default() };
    match Session::connect(client, &request, &*CLIENT, &mut generator()).await {
        Ok(session) => {
            let plan = session.plan().clone();
            session.close().await.unwrap();
            let (client, server) = mem::pair();
            let _again = host.serve(server);
            let again = Session::connect(client, &request, &*CLIENT, &mut generator()).await.unwrap();
            assert_eq!(again.plan().digest(), plan.digest());
            (Ok(again), serving.await.unwrap().map(|_| ()))
        }
        Err(error) => (Err(error), serving.await.unwrap().map(|_| ())),
    }
}

#[tokio::test]
async fn wishes_are_fulfilled_or_refused_by_name() {
    let offer = Offer { engines: vec![Engine::Delphi], ..Offer::default() };
    let wan = Wishes { link: Some(Link::WAN), ..Wishes::default() };
    let (session, served) = wish(offer.clone(), wan).await;
    let expected = Options { link: Link::WAN, ..Options::default() };
    assert_eq!(session.unwrap().plan().options(), &expected);
    served.unwrap();

    let ot = Wishes { engine: Some(Engine::Ot), ..Wishes::default() };
    let (session, served) = wish(offer.clone(), ot).await;
    let words = "engine \"ot\" is not served; served: delphi";
    assert!(session.err().unwrap().to_string().contains(words));
    let error = served.unwrap_err();
    assert!(matches!(error, ProtocolError::Catalogue(CatalogueError::NotOffered(_))), "{error}");

    let rough = Wishes { rounding: Some(Rounding::Stochastic), ..Wishes::default() };
    assert!(
        wish(offer.clone(), rough)
            .await
            .0
            .err()
            .unwrap()
            .to_string()
            .contains("\"stochastic\" is not served")
    );
    // Offered, but the engine cannot do it.
    let offer = Offer { roundings: vec![Rounding::Stochastic], ..offer };
    let (session, served) = wish(offer, rough).await;
    assert!(session.err().unwrap().to_string().contains("delphi has no stochastic rounding"));
    let error = served.unwrap_err();
    assert!(matches!(error, ProtocolError::Catalogue(CatalogueError::Plan(_))), "{error}");
}

/// A server that answers with something else than was asked for.
#[tokio::test]
async fn options_that_nobody_wished_for_are_refused() {
    for rounding in [None, Some(Rounding::Exact)] {
        let mut bytes = welcome(5, &public());
        bytes[59] = 1;
        let (client, server) = mem::pair();
        let request = Request { wishes: Wishes { rounding, ..Wishes::default() }, ..Request::default() };
        let rng = &mut generator();
        let (session, heard) =
            tokio::join!(Session::connect(client, &request, &*CLIENT, rng), welcome_with(server, bytes));
        assert!(matches!(session.err().unwrap(), ProtocolError::Unfulfilled { .. }));
        assert!(matches!(heard, Err(ChannelError::Aborted { .. })));
    }
}

/// Both sides have the same plan but not the same one for many inferences at once.
#[tokio::test]
async fn another_plan_of_a_bulk_is_refused() {
    let host = Host::of([nets::tiny("tiny")]);
    let (mut client, server) = mem::pair();
    let serving = host.serve(server);
    let mut hello = b"PHINEUS\0\x05\0".to_vec();
    pad(&mut hello);
    client.send_bytes(HELLO, &hello).await.unwrap();
    client.recv_bounded(WELCOME, 1 << 20).await.unwrap();
    client.send_bytes(AGREE, &[&[9; 32][..], host.plan().digest(), &[1; 9 + 32]].concat()).await.unwrap();
    let command = [&[1, 3, 0, 0, 0][..], &[4; 32]].concat();
    client.send_bytes(Step::new("session.command"), &command).await.unwrap();
    client.flush().await.unwrap();
    let error = serving.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, ProtocolError::PlanDiffers { theirs, .. } if *theirs == "04".repeat(32)),
        "{error}"
    );
}
