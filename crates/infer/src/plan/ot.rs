//! Activations by oblivious transfer: which can be run so, in which rings, and in what pieces.

use std::ops::Range;

use phineus_model::fixed::{Act, Fact, Graph, Op, Rescale, Reveal};
use phineus_model::graph::NodeId;
use phineus_model::op;
use phineus_mpc::compare::max::Max;
use phineus_mpc::compare::relu::Hop;
use phineus_mpc::compare::{self, Relu, ReluSpec};
use phineus_mpc::square::{self, Square, SquareSpec};

use super::options::Rounding;

/// A non-linear layer by oblivious transfer: the maximum of each window, where there are windows, then the rescale, then
/// the polynomial, where there is one. Or the arg-max: one maximum of words `v 2^k + n - 1 - i` of the values and their
/// indices, of which the client learns the low `k` bits: the lowest index of a largest value.
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
    /// Width of the values, indices included, and of a maximum.
    pub in_bits: u32,
    /// Width of the output and of the client's next mask; 0 in the arg-max.
    pub mask_bits: u32,
    /// Width of an index in the arg-max, else 0.
    pub index_bits: u32,
    /// The maximum, if there are windows of more than one value.
    pub max: Option<Max>,
    /// The rescale with its clamp; into the ring of the polynomial's argument, where there is one. None in the arg-max.
    pub relu: Option<Relu>,
    /// The polynomial on the rescaled value, if there is one.
    pub polynomial: Option<Polynomial>,
}

/// A polynomial of degree two on shares, and its rescale.
#[derive(Debug, Clone)]
pub struct Polynomial {
    /// The polynomial.
    pub square: Square,
    /// The rescale of its value with its clamp.
    pub relu: Relu,
}

/// One of the protocols that a layer runs one after the other.
pub(crate) enum Stage<'l> {
    /// A level of a maximum, or a rescale.
    Compare(&'l Relu),
    /// A polynomial.
    Square(&'l Square),
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
        let needs = Needs::new(act, window, rounding, out_bits)?;
        let relu = needs.fits(fact, fact.bits)?;
        let max = if window > 1 { Some(Max::new(fact.bits, window).ok()?) } else { None };
        let (in_bits, mask_bits) = (fact.bits, out_bits);
        let (instances, polynomial) = (this.len(), needs.polynomial);
        let (index_bits, relu) = (0, Some(relu));
        Some(Self {
            node,
            input,
            instances,
            gather,
            window,
            in_bits,
            mask_bits,
            index_bits,
            max,
            relu,
            polynomial,
        })
    }

    /// The arg-max of the outputs; `None` if there is but one, or if words with values and indices fit no ring.
    pub(super) fn argmax(graph: &Graph) -> Option<Self> {
        let (input, window) = (graph.output, graph.nodes[graph.output].len());
        let fact = &graph.facts[input];
        let index_bits = index_bits(window);
        let fits = window > 1 && comparable(fact, fact.bits);
        let max = Max::new(fact.bits + index_bits, window).ok().filter(|_| fits)?;
        Some(Self {
            node: graph.nodes.len(),
            input,
            instances: 1,
            gather: None,
            window,
            in_bits: fact.bits + index_bits,
            mask_bits: 0,
            index_bits,
            max: Some(max),
            relu: None,
            polynomial: None,
        })
    }

    /// Whether the client learns the output.
    pub(crate) fn reveals(&self) -> bool {
        self.relu.is_none()
    }

    /// The instances in pieces that are worked on at a time.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (instances, run) = (self.instances, (RUN / self.window).max(1));
        (0..instances).step_by(run).map(move |first| first..(first + run).min(instances))
    }

    /// The layer's share of values of some instances, window by window; in the arg-max with room for the indices.
    pub(crate) fn gather(&self, values: &[u32], instances: Range<usize>) -> Vec<u32> {
        let places = instances.start * self.window..instances.end * self.window;
        match &self.gather {
            Some(indices) => indices[places].iter().map(|i| values[*i as usize]).collect(),
            None => values[places].iter().map(|value| value << self.index_bits).collect(),
        }
    }

    /// Enters the indices of the arg-max into one party's share: of equal values the first is the largest then.
    pub(crate) fn enter_indices(&self, share: &mut [u32]) {
        if self.reveals() {
            share.iter_mut().rev().zip(0..).for_each(|(word, index)| *word = word.wrapping_add(index));
        }
    }

    /// The stages of some instances one after the other, and how many elements each has.
    pub(crate) fn stages(&self, instances: usize) -> impl Iterator<Item = (Stage<'_>, usize)> {
        let levels = self.max.iter().flat_map(move |max| max.levels(instances).map(|n| (max.relu(), n)));
        let rescale = self.relu.iter().map(move |relu| (relu, instances));
        let compare = levels.chain(rescale).map(|(relu, n)| (Stage::Compare(relu), n));
        let polynomial =
            self.polynomial.iter().flat_map(|p| [Stage::Square(&p.square), Stage::Compare(&p.relu)]);
        compare.chain(polynomial.map(move |stage| (stage, instances)))
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
            .map(|(stage, n)| stage.extensions(n).map(|sizes| sizes.iter().sum::<usize>()));
        sums.fold([0; 2], |[a, b], [down, up]| [a + down, b + up])
    }
}

impl Stage<'_> {
    /// Extensions for `n` elements, down and up.
    pub(crate) fn extensions(&self, n: usize) -> [Vec<usize>; 2] {
        match self {
            Self::Compare(relu) => compare::relu::extensions(relu, n),
            Self::Square(square) => [square::extensions(square, n), Vec::new()],
        }
    }

    /// Payload of the server's message offline, if there is one.
    pub(crate) fn offline_bytes(&self, n: usize) -> Option<usize> {
        match self {
            Self::Compare(relu) => Some(compare::relu::shared_bytes(relu, n)),
            Self::Square(square) => square::offline_bytes(square, n),
        }
    }

    /// Messages online.
    pub(crate) fn hops(&self, n: usize) -> Vec<Hop> {
        match self {
            Self::Compare(relu) => compare::relu::hops(relu, n),
            Self::Square(square) => square::hops(square, n),
        }
    }
}

/// A comparison for a rescale.
fn compare(rescale: &Rescale, [in_bits, out_bits]: [u32; 2], rounding: compare::Rounding) -> Option<Relu> {
    let Rescale { shift, lo, hi } = *rescale;
    Relu::new(ReluSpec { in_bits, shift, lo, hi, out_bits, rounding }).ok()
}

impl Polynomial {
    /// The polynomial of an activation, in the narrowest ring in which its rescale can be compared.
    fn new(act: &Act, rounding: compare::Rounding, out_bits: u32) -> Option<Self> {
        let q = act.quadratic?;
        (act.polynomial_bits()..=32).find_map(|bits| {
            let spec = SquareSpec { c2: q.c2, c1: q.c1, c0: q.c0, out_bits: bits };
            let relu = compare(&q.rescale, [bits, out_bits], rounding)?;
            Some(Self { square: Square::new(spec).ok()?, relu })
        })
    }
}

/// What an activation asks of its ring.
struct Needs {
    rescale: Rescale,
    window: usize,
    rounding: compare::Rounding,
    polynomial: Option<Polynomial>,
    /// Of what the rescale gives.
    out_bits: u32,
}

impl Needs {
    /// `None` if no ring is wide enough.
    fn new(act: &Act, window: usize, rounding: Rounding, out_bits: u32) -> Option<Self> {
        let rounding = match rounding {
            Rounding::Exact => compare::Rounding::Exact,
            Rounding::Stochastic => compare::Rounding::Stochastic,
        };
        let polynomial = match act.quadratic {
            Some(_) => Some(Polynomial::new(act, rounding, out_bits)?),
            None => None,
        };
        let out_bits = polynomial.as_ref().map_or(out_bits, |p| p.square.in_bits());
        Some(Self { rescale: act.rescale, window, rounding, polynomial, out_bits })
    }

    /// The comparison in a ring of this width, if every value of `fact` is handled as specified there.
    fn fits(&self, fact: &Fact, in_bits: u32) -> Option<Relu> {
        let relu = compare(&self.rescale, [in_bits, self.out_bits], self.rounding)?;
        let half = 1_i64 << (in_bits - 1);
        // A lower bound above zero is subtracted first.
        let smallest = -half + (i64::from(self.rescale.lo.max(0)) << self.rescale.shift);
        let fits = fact.lo >= smallest && fact.hi < half && fact.hi <= relu.largest();
        (fits && (self.window == 1 || comparable(fact, in_bits))).then_some(relu)
    }
}

/// Whether differences of two values stay in a ring.
fn comparable(fact: &Fact, bits: u32) -> bool {
    let quarter = 1_i64 << bits >> 2;
    fact.lo >= -quarter && fact.hi < quarter
}

/// Width of the indices of so many values.
fn index_bits(values: usize) -> u32 {
    values.next_power_of_two().trailing_zeros()
}

/// Widens rings so that activations can be run by oblivious transfer that otherwise could not; those that cannot be
/// even so stay as they are. Values keep their bounds, so that doing it again changes nothing.
pub(super) fn widen(graph: &mut Graph, rounding: Rounding) {
    let (output, fact) = (graph.output, graph.facts[graph.output]);
    let widest = 32_u32.saturating_sub(index_bits(graph.nodes[output].len()));
    if graph.reveal == Reveal::ArgMax
        && let Some(bits) = (fact.bits..=widest).find(|bits| comparable(&fact, *bits))
    {
        require(graph, output, bits);
    }
    for node in 0..graph.nodes.len() {
        let Op::Act(act) = &graph.nodes[node].op else { continue };
        let window = if act.max_pool.is_some_and(|w| w.kernel != [1, 1]) { 2 } else { 1 };
        let (input, out_bits) = (graph.nodes[node].inputs[0], graph.facts[node].bits);
        let Some(needs) = Needs::new(act, window, rounding, out_bits) else { continue };
        let fact = graph.facts[input];
        if let Some(bits) = (fact.bits..=32).find(|bits| needs.fits(&fact, *bits).is_some()) {
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
