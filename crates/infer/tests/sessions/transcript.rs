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
    (Engine::Delphi, Rounding::Exact, Transfers::SoftSpoken, "051966dcdb40ea49 22da1fbb3bbd3b8f"),
    (Engine::Delphi, Rounding::Exact, Transfers::Silent, "b2ebb237d332fa4f 350f25c71336e34c"),
    (Engine::ClientGarbler, Rounding::Exact, Transfers::SoftSpoken, "9189c0dcffaf5e1c b810320384c39c4d"),
    (Engine::ClientGarbler, Rounding::Exact, Transfers::Silent, "947937fdf468d08d 8e8b2f1a33ff1d91"),
    (Engine::Ot, Rounding::Exact, Transfers::SoftSpoken, "b011bed72b97de78 898d854b14c2dee4"),
    (Engine::Ot, Rounding::Exact, Transfers::Silent, "fb3474e1b5b4a892 1d66e41564126275"),
    (Engine::Ot, Rounding::Stochastic, Transfers::SoftSpoken, "2c8ac3eef854b41e 5077da3abb4d19b6"),
    (Engine::Ot, Rounding::Stochastic, Transfers::Silent, "813c08994fb458c7 7c9daab8bff19a72"),
    (Engine::Auto, Rounding::Exact, Transfers::Auto, "b9558a54c05b51fe fdb8d67a788bf24c"),
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
