//! The protocol of every non-linear layer: what the engine says, or what takes least time over the link.
//!
//! A candidate's time is that of its bytes on the link, to the byte, of its one-way delays one after the other, and of
//! the processors at measured rates. The planner takes the least of `online + offline / 8`: an offline second is
//! spent before anybody waits, but it is spent.
//!
//! Both parties choose alike: from the public graph, in the same arithmetic.

use phineus_model::fixed::{Act, Op};
use phineus_model::graph::NodeId;
use phineus_model::phn::Public;

use super::circuits::Circuits;
use super::options::{Engine, Link, Options};
use super::ot::OtLayer;
use super::{Directions, NonLinear, PlanError};
use crate::protocol;
use crate::report::Cost;

/// One way to run a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The protocol's name in reports.
    pub protocol: &'static str,
    /// Bytes and rounds before the input is known, what fills stocks of transfers excluded; seconds over the link.
    pub offline: Cost,
    /// Bytes and rounds after; seconds over the link.
    pub online: Cost,
    /// What the client keeps in between.
    pub client_bytes: u64,
    /// What the planner minimises.
    pub score: f64,
}

/// How a layer can be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The node; for the arg-max, the number of nodes.
    pub node: NodeId,
    /// Outputs.
    pub instances: usize,
    /// All ways.
    pub candidates: Vec<Candidate>,
    /// The one that the plan takes.
    pub chosen: &'static str,
}

/// Chooses layer by layer.
pub(super) struct Chooser<'p> {
    public: &'p Public,
    options: Options,
    circuits: Circuits,
    /// How transfers are made if all layers that can use them do.
    directions: Directions,
}

impl<'p> Chooser<'p> {
    pub(super) fn new(public: &'p Public, options: &Options) -> Self {
        let mut chooser = Self {
            public,
            options: *options,
            circuits: Circuits::default(),
            directions: Directions::default(),
        };
        if options.engine == Engine::Auto {
            chooser.directions = chooser.directions_of_all();
        }
        chooser
    }

    fn directions_of_all(&self) -> Directions {
        let mut sum = [1; 2];
        for (node, this) in self.public.graph.nodes.iter().enumerate() {
            let Op::Act(act) = &this.op else { continue };
            if let Some(layer) = OtLayer::new(&self.public.graph, node, act, self.options.rounding) {
                let [down, up] = layer.all_transfers();
                sum = [sum[0] + down, sum[1] + up];
            }
        }
        Directions::choose(sum, &self.options)
    }

    /// The layer of an activation.
    pub(super) fn act(&mut self, node: NodeId, act: &Act) -> Result<NonLinear, PlanError> {
        let by_transfers = match self.options.engine {
            Engine::Delphi | Engine::ClientGarbler => None,
            Engine::Ot | Engine::Auto => self.by_transfers(node, act),
        };
        match (by_transfers, self.options.engine) {
            (Some(layer), Engine::Ot) => Ok(layer),
            (Some(layer), _) => Ok(match self.circuits.act(self.public, node, act) {
                Ok(garbled) => self.best([NonLinear::ServerGarbles(garbled), layer]),
                Err(_) => layer,
            }),
            (None, engine) => Ok(NonLinear::garbled(self.circuits.act(self.public, node, act)?, engine)),
        }
    }

    fn by_transfers(&self, node: NodeId, act: &Act) -> Option<NonLinear> {
        let layer = OtLayer::new(&self.public.graph, node, act, self.options.rounding)?;
        Some(NonLinear::Ot(Box::new(layer)))
    }

    /// The layer that reveals which output is the largest.
    pub(super) fn argmax(&mut self) -> Result<NonLinear, PlanError> {
        Ok(NonLinear::garbled(self.circuits.argmax(self.public)?, self.options.engine))
    }

    fn best(&self, layers: [NonLinear; 2]) -> NonLinear {
        let [a, b] = layers;
        if self.candidate(&b).score < self.candidate(&a).score { b } else { a }
    }

    /// All ways to run an activation, whatever the engine; `chosen` is that of the plan.
    pub(super) fn explain(&mut self, layer: &NonLinear, act: &Act) -> Result<Explanation, PlanError> {
        let node = layer.node();
        let mut all = vec![NonLinear::ServerGarbles(self.circuits.act(self.public, node, act)?)];
        let by_client = NonLinear::garbled(self.circuits.act(self.public, node, act)?, Engine::ClientGarbler);
        all.extend(Some(by_client).filter(|layer| matches!(layer, NonLinear::ClientGarbles(_))));
        all.extend(self.by_transfers(node, act));
        let candidates = all.iter().map(|layer| self.candidate(layer)).collect();
        Ok(Explanation { node, instances: layer.instances(), candidates, chosen: layer.protocol() })
    }

    fn candidate(&self, layer: &NonLinear) -> Candidate {
        let link = &self.options.link;
        let [offline, online] = protocol::price(layer, &self.directions);
        let [offline_cpu, online_cpu] = work(layer);
        let mut candidate = Candidate {
            protocol: layer.protocol(),
            offline: offline.0,
            online: online.0,
            client_bytes: layer.client_bytes(),
            score: 0.0,
        };
        // All layers share the delays of the offline phase.
        candidate.offline.seconds = over(link, &offline.0, 0) + offline_cpu;
        candidate.online.seconds = over(link, &online.0, online.1) + online_cpu;
        candidate.score = candidate.online.seconds + candidate.offline.seconds / 8.0;
        candidate
    }
}

/// Seconds of bytes and one-way delays.
fn over(link: &Link, cost: &Cost, delays: u64) -> f64 {
    link.seconds(cost.client_to_server_bytes, cost.server_to_client_bytes, 0)
        + delays as f64 * link.round_trip.as_secs_f64() / 2.0
}

/// Processor seconds of both parties together, offline and online.
fn work(layer: &NonLinear) -> [f64; 2] {
    match layer {
        NonLinear::ServerGarbles(layer) | NonLinear::ClientGarbles(layer) => {
            let ands = (layer.circuit.and_count() * layer.instances) as f64;
            let labels = (layer.circuit.garbler_inputs() * layer.instances) as f64;
            [ands * GARBLE + layer.evaluator_bits() as f64 * TRANSFER, ands * EVALUATE + labels * LABEL]
        }
        NonLinear::Ot(layer) => {
            let [down, up] = layer.all_transfers();
            let compared: usize = layer.runs().flat_map(|run| layer.stages(run.len()).map(|(_, n)| n)).sum();
            [(down + up) as f64 * TRANSFER, compared as f64 * COMPARE]
        }
    }
}

/// Seconds of one core with VAES per AND, garbled and evaluated (`phineus bench activations`).
const GARBLE: f64 = 11e-9;
const EVALUATE: f64 = 9.5e-9;
/// Per label of an input.
const LABEL: f64 = 2e-9;
/// Per random transfer, both ends.
const TRANSFER: f64 = 50e-9;
/// Per comparison online, both ends.
const COMPARE: f64 = 0.5e-6;
