//! What crosses the connection online is uniform, whatever the input: by steps, every byte of every message of many
//! inferences with one input, with seeded generators.

use std::collections::BTreeMap;

use phineus_infer::plan::{Engine, Options, Rounding};
use phineus_infer::session::client::{Request, Session};
use phineus_infer::session::server;
use phineus_infer::store::{Limits, MemoryStore};
use phineus_kernel::prg::Prg;
use phineus_model::fixed::Model;
use phineus_net::{Channel, Client, FRAME_HEADER, Server, Step};
use tokio::io::{AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};

use crate::bad_peer::read_frame;
use crate::nets::{self, Net};
use crate::party::Host;

/// Bytes by step.
type Heard = BTreeMap<u16, Vec<u8>>;

/// Passes frames on until an end closes; what those of other steps than the session's own contain.
async fn listen(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>) -> Heard {
    let mut heard = Heard::new();
    while let Some(frame) = read_frame(&mut from).await {
        let tag = u16::from_le_bytes([frame[4], frame[5]]);
        heard.entry(tag).or_default().extend(&frame[FRAME_HEADER..]);
        if to.write_all(&frame).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
    heard
}

/// What crosses the connection while so many inferences are made and run.
async fn conversation(model: &Model, options: &Options, inferences: usize) -> Heard {
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
        let rng = &mut Prg::new([17; 16]);
        let store = MemoryStore::new(Limits::default(), rng);
        server::serve(server, &host.catalogue, &store, || 0, rng).await.unwrap();
    };
    let asked = async {
        let rng = &mut Prg::new([18; 16]);
        let store = MemoryStore::new(Limits::default(), rng);
        let request = Request { wishes: host.wishes(), ..Request::default() };
        let mut session = Session::connect(client, &request, &store, rng).await.unwrap();
        for _ in 0..inferences {
            let prepared = session.prepare().await.unwrap();
            session.infer(prepared, &[1; 64]).await.unwrap();
        }
        session.close().await.unwrap();
    };
    let (mut heard, down, (), ()) =
        tokio::join!(listen(from_client, to_server), listen(from_server, to_client), served, asked);
    for (tag, bytes) in down {
        heard.entry(tag).or_default().extend(bytes);
    }
    heard
}

/// Of bytes against the uniform distribution: 255 degrees of freedom.
fn chi_square(bytes: &[u8]) -> f64 {
    let mut counts = [0_f64; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1.0);
    let mean = bytes.len() as f64 / 256.0;
    counts.iter().map(|count| (count - mean).powi(2) / mean).sum()
}

/// All steps that send values: masked inputs and shares, labels, truth tables, operands and products. (Garbled tables end
/// with words narrower than 32 bits.)
const STEPS: [&str; 12] = [
    "infer.input",
    "act.labels",
    "act.output",
    "cg.flips",
    "cg.labels",
    "cg.output",
    "relu.shared",
    "relu.tables",
    "relu.opened",
    "relu.masked",
    "relu.product",
    "relu.result",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_crosses_the_connection_is_uniform() {
    // 64 values a layer, so that no message is padded.
    let mut net = Net::new("wide", &[64]);
    let x = net.dense(0, 64);
    let x = net.relu(x);
    let x = net.dense(x, 64);
    let x = net.relu(x);
    let x = net.dense(x, 64);
    let model = nets::compile(&net.finish(x), &phineus_model::quantize::Options::default());
    let (exact, rough) = (Rounding::Exact, Rounding::Stochastic);
    let mut tested = Vec::new();
    for (engine, rounding) in
        [(Engine::Delphi, exact), (Engine::ClientGarbler, exact), (Engine::Ot, exact), (Engine::Ot, rough)]
    {
        let heard = conversation(&model, &Options { rounding, ..Options::of(engine) }, 24).await;
        for step in STEPS {
            let Some(bytes) = heard.get(&Step::new(step).tag()) else { continue };
            assert!(bytes.len() > 256 * 5, "{engine}: {step}: {} bytes", bytes.len());
            let statistic = chi_square(bytes);
            // Eight standard deviations.
            assert!(statistic < 255.0 + 8.0 * 22.6, "{engine}, {rounding}: {step}: {statistic}");
            tested.push(step);
        }
    }
    assert!(tested.len() >= 14, "{tested:?}");
}
