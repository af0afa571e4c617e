//! What a plan costs the processors of both parties, in seconds of one core.
//!
//! The work of a layer is its primitives (gates, transfers, comparisons) and the bytes that it moves, which are copied,
//! hashed or kept at both ends, each at a measured rate. Linear layers are priced as the search for packings prices them
//! ([`CostModel`](crate::packing::CostModel)); online they are multiplications of 32-bit words.
//!
//! The rates are those of one core with AVX-512 and VAES, fitted to the processor seconds per layer of
//! `bench/results/networks.json` (`cargo xtask results`); gates agree with `bench/results/activations.json`.
//! `phineus bench NETWORK --sustained` prints what follows from them beside what is measured. Both parties must use the same
//! rates to choose alike.

use std::ops::{Add, AddAssign};

use phineus_model::fixed::Op;

use super::{GarbledLayer, LinearPlan, NonLinear, OtLayer, Plan, ProductLayer};
use crate::report::Cost;

/// Seconds of one core of the client and of the server, before and after the input is known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Work {
    /// The client's and the server's.
    pub offline: [f64; 2],
    /// The client's and the server's.
    pub online: [f64; 2],
}

/// Per AND gate, garbled and evaluated.
const GARBLE: f64 = 4.8e-9;
const EVALUATE: f64 = 4.9e-9;
/// Per label of an input that is computed from a seed and sent.
const LABEL: f64 = 1.3e-9;
/// Per chosen transfer of a label, at either end.
const CHOSEN: f64 = 15e-9;
/// Per random transfer for comparisons and what is made of it, at the client and at the server.
const TRANSFER: [f64; 2] = [24e-9, 28e-9];
/// Per comparison online, at the client and at the server.
const COMPARE: [f64; 2] = [60e-9, 90e-9];
/// Per byte sent.
const SEND: f64 = 0.4e-9;
/// Per byte received, and per byte received and kept until the input is known.
const RECEIVE: f64 = 0.2e-9;
const KEEP: f64 = 1.5e-9;
/// Per multiplication of a linear layer on shares.
const MULTIPLY: f64 = 1.0 / 40e9;
/// What the client and the server do for linear layers offline, in terms of what the search for packings prices: it leaves
/// out what all packings share, packing, masks and messages.
const LINEAR: [f64; 2] = [3.0, 1.35];

impl Work {
    /// Of a non-linear layer that moves so much offline and online.
    pub(super) fn of(layer: &NonLinear, [offline, online]: [&Cost; 2]) -> Self {
        let primitives = match layer {
            NonLinear::ServerGarbles(layer) => garbled(layer),
            // The same with the parties' roles exchanged.
            NonLinear::ClientGarbles(layer) => garbled(layer).reversed(),
            NonLinear::Ot(layer) => by_transfers(layer),
            NonLinear::Product(layer) => product(layer),
        };
        primitives + Self { offline: moved(offline, KEEP), online: moved(online, RECEIVE) }
    }

    /// Of one inference of `plan` whose linear layers are prepared by `linear`; the beginning of the session is excluded.
    pub(crate) fn of_plan(plan: &Plan, linear: &LinearPlan) -> Self {
        let macs: u64 = plan.public().graph.nodes.iter().map(|node| multiplications(&node.op)).sum();
        let [client, server] = linear.work(plan.rings());
        let offline = [LINEAR[0] * client, LINEAR[1] * server];
        let linear = Self { offline, online: [0.0, macs as f64 * MULTIPLY] };
        plan.nonlinear().fold(linear, |sum, layer| {
            let [offline, online] = crate::protocol::price(layer, plan.directions());
            sum + Self::of(layer, [&offline.0, &online.0])
        })
    }

    /// Of both parties together, offline and online.
    #[must_use]
    pub fn of_both(&self) -> [f64; 2] {
        [self.offline, self.online].map(|[client, server]| client + server)
    }

    fn reversed(self) -> Self {
        let reverse = |[a, b]: [f64; 2]| [b, a];
        Self { offline: reverse(self.offline), online: reverse(self.online) }
    }
}

impl Add for Work {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        let add = |mine: &mut [f64; 2], theirs: [f64; 2]| {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        };
        add(&mut self.offline, other.offline);
        add(&mut self.online, other.online);
    }
}

/// The server garbles, the client evaluates.
fn garbled(layer: &GarbledLayer) -> Work {
    let ands = (layer.circuit.and_count() * layer.instances) as f64;
    let labels = (layer.circuit.garbler_inputs() * layer.instances) as f64;
    let chosen = layer.evaluator_bits() as f64 * CHOSEN;
    Work { offline: [chosen, ands * GARBLE + chosen], online: [ands * EVALUATE, labels * LABEL] }
}

fn by_transfers(layer: &OtLayer) -> Work {
    let [down, up] = layer.all_transfers();
    let transfers = (down + up) as f64;
    let elements: usize = layer.stages().map(|(_, n)| n).sum();
    Work {
        offline: TRANSFER.map(|each| transfers * each),
        online: COMPARE.map(|each| elements as f64 * each),
    }
}

fn product(layer: &ProductLayer) -> Work {
    let transfers = layer.all_transfers() as f64;
    Work {
        offline: TRANSFER.map(|each| transfers * each),
        online: COMPARE.map(|each| layer.instances as f64 * each / 4.0),
    }
}

/// Work of the client and of the server on the bytes of a phase, those that arrive at `each`.
fn moved(cost: &Cost, each: f64) -> [f64; 2] {
    let (up, down) = (cost.client_to_server_bytes as f64, cost.server_to_client_bytes as f64);
    [up * SEND + down * each, down * SEND + up * each]
}

fn multiplications(op: &Op) -> u64 {
    match op {
        Op::Linear { conv, .. } => conv.macs(),
        _ => 0,
    }
}
