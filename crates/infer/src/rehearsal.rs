//! The linear layers of a network alone, on random inputs: what they cost, and that both parties agree.
//!
//! The offline protocol is the real one (`protocol::linear_he`); the inputs r are drawn at random instead of
//! following from other layers, so that nothing has to be garbled. Afterwards the client reveals its shares r and c, and
//! the server checks for every layer and inference that its online half at `0 = r + (-r)` completes c to the bias:
//! `M (-r) + s + b + c = b` modulo 2^l.
//!
//! Security: none is needed, no party puts in anything; for measurements and tests only.

use std::time::Instant;

use cpu_time::ProcessTime;
use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::prg::Prg;
use phineus_kernel::z2k::Pow2;
use phineus_net::{Channel, ChannelError, Client, Server, Step};
use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clear::{self, Way};
use crate::masks::Seed;
use crate::plan::{LinearLayer, LinearPlan, Plan};
use crate::protocol::linear_he::{self, ClientKeys, ServerKeys};
use crate::served::Served;
use crate::{ProtocolError, local};

const REVEALED: Step = Step::new("rehearsal.revealed");

/// Bits of a revealed word.
const WORD: u32 = 32;

/// What one party measured in one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Wall time of the offline phase.
    pub seconds: f64,
    /// CPU time of this party's process in the offline phase, all threads.
    pub cpu_seconds: f64,
    /// Bytes that this party sent in the offline phase, the public keys apart.
    pub sent_bytes: u64,
    /// Peak resident set of this process at the end of the offline phase.
    pub peak_rss_bytes: u64,
    /// One per linear layer.
    pub layers: Vec<LayerRun>,
}

/// One layer's part of a [`Run`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerRun {
    /// CPU time of this party's process while it worked on this layer offline.
    pub cpu_seconds: f64,
    /// Bytes between the parties, both directions; 0 where this party does not count them.
    pub bytes: u64,
    /// Server only: wall time of the online half of one inference.
    pub online_seconds: f64,
    /// Server only: whether the revealed shares belong to each other.
    pub equal: bool,
}

/// The client's half.
///
/// # Errors
/// [`ProtocolError`].
pub async fn client(
    channel: &mut Channel<Client>,
    plan: &Plan,
    linear: &LinearPlan,
    peak_rss: fn() -> u64,
    rng: &mut impl CryptoRng,
) -> Result<Run, ProtocolError> {
    // 1. Keys.
    let mut keys = ClientKeys::default();
    keys.send(channel, plan, linear, rng).await?;
    // 2. The offline phase.
    let shares: Vec<Vec<Vec<u32>>> = linear.layers().iter().map(|layer| random_inputs(layer, rng)).collect();
    let stack = |layer: &LinearLayer| {
        let shares: Vec<&[u32]> = shares[layer.index].iter().map(Vec::as_slice).collect();
        Zeroizing::new(layer.stack.join(&shares))
    };
    let meter = Meter::start(channel.traffic().sent);
    let outputs = linear_he::client(channel, plan, linear, &keys, stack, rng).await?;
    let mut run = meter.stop(channel.traffic().sent, peak_rss);
    let layer = |cost: &crate::report::Cost| LayerRun {
        cpu_seconds: cost.client_cpu_seconds,
        bytes: cost.client_to_server_bytes + cost.server_to_client_bytes,
        ..LayerRun::default()
    };
    run.layers = outputs.iter().map(|(_, cost)| layer(cost)).collect();
    // 3. Everything is revealed.
    for (shares, (outputs, _)) in shares.iter().zip(&outputs) {
        for share in shares.iter().zip(outputs).flat_map(|(input, output)| [input, output]) {
            let mut bytes = Vec::new();
            pack(share, WORD, &mut bytes);
            channel.send_bytes(REVEALED, &bytes).await?;
        }
    }
    channel.flush().await?;
    Ok(run)
}

/// The server's half.
///
/// # Errors
/// [`ProtocolError`].
pub async fn server(
    channel: &mut Channel<Server>,
    served: &Served,
    linear: &LinearPlan,
    peak_rss: fn() -> u64,
    rng: &mut impl CryptoRng,
) -> Result<Run, ProtocolError> {
    let plan = served.plan();
    // 1. Keys.
    let mut keys = ServerKeys::default();
    keys.receive(channel, plan, linear).await?;
    // 2. The offline phase.
    let seeds: Vec<Seed> = (0..linear.count()).map(|_| Seed::random(rng)).collect();
    let meter = Meter::start(channel.traffic().sent);
    let costs = linear_he::server(channel, served, linear, &keys, &seeds, rng).await?;
    let mut run = meter.stop(channel.traffic().sent, peak_rss);
    // 3. The check.
    for (layer, cost) in linear.layers().iter().zip(costs) {
        let mut layer_run =
            LayerRun { cpu_seconds: cost.server_cpu_seconds, equal: true, ..LayerRun::default() };
        for seed in &seeds {
            let mut input = revealed(channel, layer.conv.input_len()).await?;
            let output = revealed(channel, layer.conv.output_len()).await?;
            let ring = local::ring(&plan.public().graph, layer.node);
            input.iter_mut().for_each(|word| *word = ring.neg(ring.reduce(*word)));
            let start = Instant::now();
            let own = linear_he::online(served, layer, seed, &input);
            layer_run.online_seconds = start.elapsed().as_secs_f64();
            layer_run.equal &= completes(served, layer, ring, &own, &output);
        }
        run.layers.push(layer_run);
    }
    Ok(run)
}

/// A layer's products in the clear in one way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WayRun {
    /// How.
    pub way: Way,
    /// Wall time.
    pub seconds: f64,
    /// Whether the words are those of the first way, modulo the ring.
    pub equal: bool,
}

/// The online halves of all linear layers on random shares, each in all ways: the least of `runs`, which is least disturbed.
#[must_use]
pub fn online(served: &Served, runs: usize, rng: &mut impl CryptoRng) -> Vec<Vec<WayRun>> {
    let layers = served.plan().linear().layers();
    let one = |layer: &LinearLayer| {
        let mut words = vec![0; layer.conv.input_len()];
        Prg::from_generator(rng).fill_u32(layer.bits, &mut words);
        let mask = u32::MAX >> (32 - layer.bits);
        let mut first: Option<Vec<u32>> = None;
        let in_way = |way: Way| {
            let weights = clear::Weights::of(way, &layer.conv, served.weights(layer));
            let mut sum = vec![0; layer.conv.output_len()];
            let mut seconds = f64::INFINITY;
            for _ in 0..runs.max(1) {
                sum.fill(0);
                let start = Instant::now();
                weights.multiply(&layer.conv, &words, &mut sum);
                seconds = seconds.min(start.elapsed().as_secs_f64());
            }
            sum.iter_mut().for_each(|word| *word &= mask);
            let equal = *first.get_or_insert_with(|| sum.clone()) == sum;
            WayRun { way, seconds, equal }
        };
        Way::all(&layer.conv, layer.bits).into_iter().map(in_way).collect()
    };
    layers.iter().map(one).collect()
}

/// Whether `own + output` is the bias everywhere.
fn completes(served: &Served, layer: &LinearLayer, ring: Pow2, own: &[u32], output: &[u32]) -> bool {
    let bias = &served.model().weights[layer.weights].bias;
    let pixels: usize = layer.conv.output().iter().product();
    let sums = own.iter().zip(output).map(|(a, b)| ring.add(ring.reduce(*a), ring.reduce(*b)));
    sums.enumerate().all(|(i, sum)| sum == ring.reduce(bias[i / pixels] as u32))
}

fn random_inputs(layer: &LinearLayer, rng: &mut impl CryptoRng) -> Vec<Vec<u32>> {
    let one = |_| {
        let mut words = vec![0; layer.conv.input_len()];
        Prg::from_generator(rng).fill_u32(layer.bits, &mut words);
        words
    };
    (0..layer.stack.count()).map(one).collect()
}

async fn revealed(channel: &mut Channel<Server>, len: usize) -> Result<Vec<u32>, ProtocolError> {
    let bytes = channel.recv_bytes(REVEALED, packed_len(len, WORD)).await?;
    Ok(unpack(REVEALED.name(), &bytes, len, WORD).map_err(ChannelError::from)?)
}

/// Clocks of a stretch.
struct Meter {
    wall: Instant,
    cpu: Option<ProcessTime>,
    sent: u64,
}

impl Meter {
    fn start(sent: u64) -> Self {
        Self { wall: Instant::now(), cpu: ProcessTime::try_now().ok(), sent }
    }

    fn stop(self, sent: u64, peak_rss: fn() -> u64) -> Run {
        Run {
            seconds: self.wall.elapsed().as_secs_f64(),
            cpu_seconds: self.cpu.and_then(|t| t.try_elapsed().ok()).map_or(0.0, |t| t.as_secs_f64()),
            sent_bytes: sent - self.sent,
            peak_rss_bytes: peak_rss(),
            layers: Vec::new(),
        }
    }
}
