//! The protocol of every non-linear layer: what the engine says, or what takes least time over the link.
//!
//! A candidate's time is that of its bytes on the link, to the byte, of its one-way delays one after the other, and of
//! the processors ([`Work`]). The planner takes the least of `online + offline / 8`: an offline second is
//! spent before anybody waits, but it is spent. The two ways to garble differ in who sends what and who keeps it: the
//! client garbles where the way up is the faster one; where clients have little room, that is for
//! [`preset`](crate::preset) to decide.
//!
//! Both parties choose alike: from the public graph, in the same arithmetic.

use phineus_model::fixed::{Act, Op, Reveal};
use phineus_model::graph::NodeId;
use phineus_model::phn::Public;

use super::circuits::Circuits;
use super::options::{Engine, Link, Options};
use super::ot::OtLayer;
use super::{Directions, NonLinear, PlanError, Work};
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
        if let (Reveal::ArgMax, Some(layer)) = (self.public.graph.reveal, OtLayer::argmax(&self.public.graph))
        {
            let [down, up] = layer.all_transfers();
            sum = [sum[0] + down, sum[1] + up];
        }
        Directions::choose(sum, &self.options)
    }

    /// The layer of an activation.
    pub(super) fn act(&mut self, node: NodeId, act: &Act) -> Result<NonLinear, PlanError> {
        let engine = self.options.engine;
        if engine == Engine::Auto {
            let ways = self.ways(node, act)?;
            return self
                .best(ways)
                .ok_or_else(|| super::unsupported("options", "no protocol runs this activation"));
        }
        match self.by_transfers(node, act).filter(|_| engine == Engine::Ot) {
            Some(layer) => Ok(layer),
            None => Ok(NonLinear::garbled(self.circuits.act(self.public, node, act)?, engine)),
        }
    }

    /// The layer that reveals which output is the largest.
    pub(super) fn argmax(&mut self) -> Result<NonLinear, PlanError> {
        let by_transfers = OtLayer::argmax(&self.public.graph).map(|layer| NonLinear::Ot(Box::new(layer)));
        let engine = self.options.engine;
        match (engine, by_transfers) {
            (Engine::Ot, Some(layer)) => Ok(layer),
            (Engine::Auto, layer) => {
                let garbled = NonLinear::garbled(self.circuits.argmax(self.public)?, engine);
                let ways = std::iter::once(garbled).chain(layer).collect();
                self.best(ways).ok_or_else(|| super::unsupported("options", "no protocol runs the arg-max"))
            }
            _ => Ok(NonLinear::garbled(self.circuits.argmax(self.public)?, engine)),
        }
    }

    /// Ties go to the first.
    fn best(&self, ways: Vec<NonLinear>) -> Option<NonLinear> {
        let score = |layer: &NonLinear| self.candidate(layer).score;
        ways.into_iter().reduce(|a, b| if score(&b) < score(&a) { b } else { a })
    }

    /// All ways to run an activation, whatever the engine; `layer` is that of the plan.
    pub(super) fn explain(&mut self, layer: &NonLinear, act: &Act) -> Result<Explanation, PlanError> {
        let node = layer.node();
        let ways = self.ways(node, act)?;
        let candidates = ways.iter().map(|layer| self.candidate(layer)).collect();
        Ok(Explanation { node, instances: layer.instances(), candidates, chosen: layer.protocol() })
    }

    /// Garbled by the server, garbled by the client, by oblivious transfer: at least one of them.
    fn ways(&mut self, node: NodeId, act: &Act) -> Result<Vec<NonLinear>, PlanError> {
        let mut ways = Vec::new();
        match self.circuits.act(self.public, node, act) {
            Ok(circuit) => {
                let by_client = circuit.circuit.mixes();
                ways.push(NonLinear::ServerGarbles(circuit));
                if by_client {
                    ways.push(NonLinear::ClientGarbles(self.circuits.act(self.public, node, act)?));
                }
            }
            Err(error) => {
                let layer = self.by_transfers(node, act).ok_or(error)?;
                return Ok(vec![layer]);
            }
        }
        ways.extend(self.by_transfers(node, act));
        Ok(ways)
    }

    fn by_transfers(&self, node: NodeId, act: &Act) -> Option<NonLinear> {
        let layer = OtLayer::new(&self.public.graph, node, act, self.options.rounding)?;
        Some(NonLinear::Ot(Box::new(layer)))
    }

    fn candidate(&self, layer: &NonLinear) -> Candidate {
        let link = &self.options.link;
        let [offline, online] = protocol::price(layer, &self.directions);
        let [offline_work, online_work] = Work::of(layer, [&offline.0, &online.0]).of_both();
        let mut candidate = Candidate {
            protocol: layer.protocol(),
            offline: offline.0,
            online: online.0,
            client_bytes: layer.client_bytes(),
            score: 0.0,
        };
        // All layers share the delays of the offline phase.
        candidate.offline.seconds = over(link, &offline.0, 0) + offline_work;
        candidate.online.seconds = over(link, &online.0, online.1) + online_work;
        candidate.score = candidate.online.seconds + candidate.offline.seconds / 8.0;
        candidate
    }
}

/// Seconds of bytes and one-way delays.
fn over(link: &Link, cost: &Cost, delays: u64) -> f64 {
    link.seconds(cost.client_to_server_bytes, cost.server_to_client_bytes, 0)
        + delays as f64 * link.round_trip.as_secs_f64() / 2.0
}
