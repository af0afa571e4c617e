//! Known answers: with fixed generators, every byte that an engine sends. A change here is a change of the wire, and
//! raises the version of the protocol.

use phineus_infer::plan::{Engine, Options, Rounding, Transfers};
use phineus_infer::session::client::{Request, Session};
use phineus_infer::session::server;
use phineus_infer::store::{Limits, MemoryStore};
use phineus_kernel::prg::Prg;
use phineus_model::fixed::Model;
use phineus_net::{Channel, Client, Server, Step};
use tokio::io::{AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};

use crate::bad_peer::read_frame;
use crate::nets;
use crate::party::{Host, input};

/// Engine, rounding, transfers, and the first bytes of the digests of what went up and down.
const KNOWN: &[(Engine, Rounding, Transfers, &str)] = &[
    (Engine::Delphi, Rounding::Exact, Transfers::SoftSpoken, "a313958ec058f458 41bb7715301cb362"),
    (Engine::Delphi, Rounding::Exact, Transfers::Silent, "773a97bf4e17c814 a9f131a033257eb8"),
    (Engine::ClientGarbler, Rounding::Exact, Transfers::SoftSpoken, "e7c1a199ca25a06d 59e2bc3c0f123fe9"),
    (Engine::ClientGarbler, Rounding::Exact, Transfers::Silent, "7a63812fb6bcc7f1 41b1ad18dca4c773"),
    (Engine::Ot, Rounding::Exact, Transfers::SoftSpoken, "ec134e90877539c5 014495714de1ac9a"),
    (Engine::Ot, Rounding::Exact, Transfers::Silent, "126120088b39350e 7e8dc49bfbd02aef"),
    (Engine::Ot, Rounding::Stochastic, Transfers::SoftSpoken, "b8cf9ad7ef9026a4 4248f5a298868ad0"),
    (Engine::Ot, Rounding::Stochastic, Transfers::Silent, "474e2f3f7080e255 1f11b77ce4eea38f"),
    (Engine::Auto, Rounding::Exact, Transfers::Auto, "f2f76049a98dc026 3518eae1bdc5c79c"),
];

/// Passes frames on until an end closes; the digest of all but the server's own times.
async fn listen(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>) -> blake3::Hash {
    let times = Step::new("session.stats").tag().to_le_bytes();
    let mut hasher = blake3::Hasher::new();
    while let Some(frame) = read_frame(&mut from).await {
        if frame[4..6] != times {
            hasher.update(&frame);
        }
        if to.write_all(&frame).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
    hasher.finalize()
}

/// What crosses the connection in one session with one inference.
async fn transcript(model: &Model, options: &Options) -> String {
    let host = Host::of_options(options, [model.clone()]);
    let (client_end, left) = tokio::io::duplex(1 << 16);
    let (right, server_end) = tokio::io::duplex(1 << 16);
    let (reader, writer) = tokio::io::split(client_end);
    let client: Channel<Client> = Channel::new(reader, writer);
    let (reader, writer) = tokio::io::split(server_end);
    let server: Channel<Server> = Channel::new(reader, writer);
    let ((from_client, to_client), (from_server, to_server)) =
        (tokio::io::split(left), tokio::io::split(right));
    let served = async {
        let rng = &mut Prg::new([7; 16]);
        let store = MemoryStore::new(Limits::default(), rng);
        server::serve(server, &host.catalogue, &store, || 0, rng).await.unwrap();
    };
    let asked = async {
        let rng = &mut Prg::new([8; 16]);
        let store = MemoryStore::new(Limits::default(), rng);
        let wishes = host.wishes();
        let request = Request { wishes, ..Request::default() };
        let mut session = Session::connect(client, &request, &store, rng).await.unwrap();
        let prepared = session.prepare().await.unwrap();
        session.infer(prepared, &input(model, 5)).await.unwrap();
        session.close().await.unwrap();
    };
    let (up, down, (), ()) =
        tokio::join!(listen(from_client, to_server), listen(from_server, to_client), served, asked);
    format!("{} {}", &up.to_hex()[..16], &down.to_hex()[..16])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_engine_sends_what_it_always_sent() {
    let model = nets::mixed();
    let mut differ = Vec::new();
    for &(engine, rounding, transfers, known) in KNOWN {
        let options = Options { engine, rounding, transfers, ..Options::default() };
        let got = transcript(&model, &options).await;
        if got != known {
            differ.push(format!(
                "(Engine::{engine:?}, Rounding::{rounding:?}, Transfers::{transfers:?}, {got:?}),"
            ));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
