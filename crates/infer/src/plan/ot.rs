//! Activations by oblivious transfer: which can be run so, in which rings, and in what pieces.

use std::ops::Range;

use phineus_model::fixed::{Act, Fact, Graph, Op};
use phineus_model::graph::NodeId;
use phineus_model::op;
use phineus_mpc::compare::max::Max;
use phineus_mpc::compare::{self, Relu, ReluSpec};

use super::options::Rounding;

/// A non-linear layer by oblivious transfer: the maximum of each window, where there are windows, then the rescale.
#[derive(Debug)]
pub struct OtLayer {
    /// The node.
    pub node: NodeId,
    /// The value it reads.
    pub input: NodeId,
    /// Outputs.
    pub instances: usize,
    /// Values per instance, window by window; `None`: value `i` goes to instance `i`.
    pub gather: Option<Vec<u32>>,
    /// Values per instance.
    pub window: usize,
    /// Width of the values, and of a maximum.
    pub in_bits: u32,
    /// Width of the output and of the client's next mask.
    pub mask_bits: u32,
    /// The maximum, if there are windows of more than one value.
    pub max: Option<Max>,
    /// The rescale with its clamp.
    pub relu: Relu,
}

/// Values that are worked on at a time: bounds the memory beside what is kept.
const RUN: usize = 1 << 18;

impl OtLayer {
    /// The layer of activation `node`; `None` if this protocol cannot run it in the rings of the graph.
    pub(super) fn new(graph: &Graph, node: NodeId, act: &Act, rounding: Rounding) -> Option<Self> {
        let this = &graph.nodes[node];
        let input = this.inputs[0];
        let (fact, out_bits) = (&graph.facts[input], graph.facts[node].bits);
        let gather = act.max_pool.as_ref().and_then(|window| match *graph.nodes[input].shape {
            [c, h, w] => Some(op::pool::indices([c, h, w], window)),
            _ => None,
        });
        let window = gather.as_ref().map_or(1, |g| g.len() / this.len());
        let relu = Stage::new(act, window, rounding)?.fits(fact, fact.bits, out_bits)?;
        let max = if window > 1 { Some(Max::new(fact.bits, window).ok()?) } else { None };
        let (in_bits, mask_bits) = (fact.bits, out_bits);
        Some(Self { node, input, instances: this.len(), gather, window, in_bits, mask_bits, max, relu })
    }

    /// The instances in pieces that are worked on at a time.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (instances, run) = (self.instances, (RUN / self.window).max(1));
        (0..instances).step_by(run).map(move |first| first..(first + run).min(instances))
    }

    /// The layer's share of values of some instances, window by window.
    pub(crate) fn gather(&self, values: &[u32], instances: Range<usize>) -> Vec<u32> {
        let places = instances.start * self.window..instances.end * self.window;
        match &self.gather {
            Some(indices) => indices[places].iter().map(|i| values[*i as usize]).collect(),
            None => values[places].to_vec(),
        }
    }

    /// The comparisons of some instances one after the other, and how many elements each has.
    pub(crate) fn stages(&self, instances: usize) -> impl Iterator<Item = (&Relu, usize)> {
        let levels = self.max.iter().flat_map(move |max| max.levels(instances).map(|n| (max.relu(), n)));
        levels.chain([(&self.relu, instances)])
    }

    /// Oblivious transfers of all instances, down and up.
    pub(crate) fn all_transfers(&self) -> [usize; 2] {
        let runs = self.runs().map(|run| self.transfers(run.len()));
        runs.fold([0; 2], |[a, b], [down, up]| [a + down, b + up])
    }

    /// Oblivious transfers of some instances, down and up.
    pub(crate) fn transfers(&self, instances: usize) -> [usize; 2] {
        let sums = self
            .stages(instances)
            .map(|(relu, n)| compare::relu::extensions(relu, n).map(|sizes| sizes.iter().sum::<usize>()));
        sums.fold([0; 2], |[a, b], [down, up]| [a + down, b + up])
    }
}

/// What an activation asks of its ring.
struct Stage {
    act: Act,
    window: usize,
    rounding: compare::Rounding,
}

impl Stage {
    fn new(act: &Act, window: usize, rounding: Rounding) -> Option<Self> {
        let rounding = match rounding {
            Rounding::Exact => compare::Rounding::Exact,
            Rounding::Stochastic => compare::Rounding::Stochastic,
        };
        (act.quadratic.is_none()).then_some(Self { act: *act, window, rounding })
    }

    /// The comparison in rings of these widths, if every value of `fact` is handled as specified there.
    fn fits(&self, fact: &Fact, in_bits: u32, out_bits: u32) -> Option<Relu> {
        let rescale = &self.act.rescale;
        let (lo, hi, shift) = (rescale.lo, rescale.hi, rescale.shift);
        let relu = Relu::new(ReluSpec { in_bits, shift, lo, hi, out_bits, rounding: self.rounding }).ok()?;
        let half = 1_i64 << (in_bits - 1);
        // Differences of the values of a window must not leave the ring.
        let smallest = if self.window > 1 { -half / 2 } else { -half };
        let largest = if self.window > 1 { half / 2 - 1 } else { half - 1 };
        let fits = fact.lo >= smallest && fact.hi <= largest.min(relu.largest()) && lo <= 0;
        fits.then_some(relu)
    }
}

/// Widens rings so that activations can be run by oblivious transfer that otherwise could not; those that cannot be
/// even so stay as they are. Values keep their bounds, so that doing it again changes nothing.
pub(super) fn widen(graph: &mut Graph, rounding: Rounding) {
    for node in 0..graph.nodes.len() {
        let Op::Act(act) = &graph.nodes[node].op else { continue };
        let pooled = act.max_pool.is_some_and(|w| w.kernel != [1, 1]);
        let Some(stage) = Stage::new(act, if pooled { 2 } else { 1 }, rounding) else { continue };
        let (input, out_bits) = (graph.nodes[node].inputs[0], graph.facts[node].bits);
        let fact = graph.facts[input];
        if let Some(bits) = (fact.bits..=32).find(|bits| stage.fits(&fact, *bits, out_bits).is_some()) {
            require(graph, input, bits);
        }
    }
}

/// Gives a value a ring of at least `bits`, and to whatever it is computed from without a protocol between rings.
fn require(graph: &mut Graph, node: NodeId, bits: u32) {
    // Inputs come before their readers.
    let mut wanted = vec![0; node + 1];
    wanted[node] = bits;
    for node in (0..=node).rev() {
        if wanted[node] <= graph.facts[node].bits {
            continue;
        }
        graph.facts[node].bits = wanted[node];
        if !matches!(graph.nodes[node].op, Op::Act(_)) {
            for input in &graph.nodes[node].inputs {
                wanted[*input] = wanted[*input].max(graph.facts[node].bits);
            }
        }
    }
}
