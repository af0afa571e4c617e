//! Activations by oblivious transfer: which can be run so, in which rings, and in what pieces.

use std::ops::Range;

use phineus_model::fixed::{Act, Fact, Graph, Op, Rescale, Reveal};
use phineus_model::graph::NodeId;
use phineus_mpc::compare::relu::Hop;
use phineus_mpc::compare::{self, Relu, ReluSpec};
use phineus_mpc::square::{self, Square, SquareSpec};

use super::options::Rounding;
use super::pool::Pool;

/// A non-linear layer by oblivious transfer: the maximum of each window, where there are windows, then the rescale, then
/// the polynomial, where there is one. Or the arg-max: one maximum of words `v 2^k + n - 1 - i` of the values and their
/// indices, of which the client learns the low `k` bits: the lowest index of a largest value.
#[derive(Debug)]
pub struct OtLayer {
    /// The node.
    pub node: NodeId,
    /// The value it reads.
    pub input: NodeId,
    /// Elements of that value.
    pub inputs: usize,
    /// Outputs.
    pub instances: usize,
    /// Width of the values, indices included, and of a maximum.
    pub in_bits: u32,
    /// Width of the output and of the client's next mask; 0 in the arg-max.
    pub mask_bits: u32,
    /// Width of an index in the arg-max, else 0.
    pub index_bits: u32,
    /// Maxima one after the other, the last of as many windows as there are outputs; none without windows.
    pub pools: Vec<Pool>,
    /// The rescale with its clamp; into the ring of the polynomial's argument, where there is one. None in the arg-max.
    pub relu: Option<Relu>,
    /// The polynomial on the rescaled value, if there is one.
    pub polynomial: Option<Polynomial>,
}

/// One of the protocols of a layer that follow one another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocol<'l> {
    /// Maxima of windows.
    Maxima(&'l Pool),
    /// The rescale with its clamp.
    Rescale(&'l Relu),
    /// The polynomial with its rescale.
    Polynomial(&'l Polynomial),
}

/// A part of a layer that is worked on at a time.
#[derive(Debug, Clone)]
pub(crate) struct Piece<'l> {
    pub(crate) protocol: Protocol<'l>,
    /// Its number among the layer's protocols.
    pub(crate) stage: usize,
    /// What it makes: windows or outputs.
    pub(crate) run: Range<usize>,
}

/// A polynomial of degree two on shares, and its rescale.
#[derive(Debug, Clone)]
pub struct Polynomial {
    /// The polynomial.
    pub square: Square,
    /// The rescale of its value with its clamp.
    pub relu: Relu,
}

/// What a protocol consists of.
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
        let shape = &graph.nodes[input].shape;
        let (in_bits, inputs, instances) = (fact.bits, shape.iter().product(), this.len());
        let pools = match (act.max_pool.as_ref(), &shape[..]) {
            (Some(window), &[c, h, w]) => Pool::of([c, h, w], window, in_bits)?,
            _ => Vec::new(),
        };
        let needs = Needs::new(act, !pools.is_empty(), rounding, out_bits)?;
        let relu = Some(needs.fits(fact, in_bits)?);
        let (mask_bits, index_bits, polynomial) = (out_bits, 0, needs.polynomial);
        Some(Self { node, input, inputs, instances, in_bits, mask_bits, index_bits, pools, relu, polynomial })
    }

    /// The arg-max of the outputs; `None` if there is but one, or if words with values and indices fit no ring.
    pub(super) fn argmax(graph: &Graph) -> Option<Self> {
        let (input, window) = (graph.output, graph.nodes[graph.output].len());
        let fact = &graph.facts[input];
        let index_bits = index_bits(window);
        let fits = window > 1 && comparable(fact, fact.bits);
        let pool = Pool::of_all(window, fact.bits + index_bits).filter(|_| fits)?;
        Some(Self {
            node: graph.nodes.len(),
            input,
            inputs: window,
            instances: 1,
            in_bits: fact.bits + index_bits,
            mask_bits: 0,
            index_bits,
            pools: vec![pool],
            relu: None,
            polynomial: None,
        })
    }

    /// Whether the client learns the output.
    pub(crate) fn reveals(&self) -> bool {
        self.relu.is_none()
    }

    /// The layer in pieces, in the order in which they are worked on.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let maxima = self.pools.iter().map(|pool| (Protocol::Maxima(pool), pool.windows, pool.max.window()));
        let rescale = self.relu.iter().map(|relu| (Protocol::Rescale(relu), self.instances, 1));
        let polynomial = self.polynomial.iter().map(|p| (Protocol::Polynomial(p), self.instances, 1));
        let protocols = maxima.chain(rescale).chain(polynomial).enumerate();
        protocols.flat_map(|(stage, (protocol, elements, values))| {
            runs(elements, values).map(move |run| Piece { protocol, stage, run })
        })
    }

    /// The values that the elements in `run` of protocol number `stage` read, from all that it reads.
    pub(crate) fn gather(&self, stage: usize, values: &[u32], run: &Range<usize>) -> Vec<u32> {
        match self.pools.get(stage) {
            Some(pool) => pool.gather(values, run.clone()),
            None => values[run.clone()].to_vec(),
        }
    }

    /// Width of the values that the layer reads, indices excluded.
    pub(crate) fn value_bits(&self) -> u32 {
        self.in_bits - self.index_bits
    }

    /// One party's share of the values that the layer reads; in the arg-max with room for the indices.
    pub(crate) fn enter(&self, values: &[u32]) -> Vec<u32> {
        values.iter().map(|value| value << self.index_bits).collect()
    }

    /// Enters the indices of the arg-max into one party's share: of equal values the first is the largest then.
    pub(crate) fn enter_indices(&self, share: &mut [u32]) {
        if self.reveals() {
            share.iter_mut().rev().zip(0..).for_each(|(word, index)| *word = word.wrapping_add(index));
        }
    }

    /// What all pieces consist of.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (Stage<'_>, usize)> {
        self.pieces().flat_map(|piece| piece.stages())
    }

    /// Oblivious transfers of the layer, down and up.
    pub(crate) fn all_transfers(&self) -> [usize; 2] {
        self.stages().map(Stage::transfers).fold([0; 2], sum)
    }
}

impl<'l> Piece<'l> {
    /// What it consists of, one after the other, and how many elements each has.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (Stage<'l>, usize)> + use<'l> {
        let n = self.run.len();
        let (max, rescale, polynomial) = match self.protocol {
            Protocol::Maxima(pool) => (Some(&pool.max), None, None),
            Protocol::Rescale(relu) => (None, Some(relu), None),
            Protocol::Polynomial(polynomial) => (None, None, Some(polynomial)),
        };
        let levels =
            max.into_iter().flat_map(move |max| max.levels(n).map(|n| (Stage::Compare(max.relu()), n)));
        let rescale = rescale.into_iter().map(Stage::Compare);
        let polynomial =
            polynomial.into_iter().flat_map(|p| [Stage::Square(&p.square), Stage::Compare(&p.relu)]);
        levels.chain(rescale.chain(polynomial).map(move |stage| (stage, n)))
    }

    /// Oblivious transfers, down and up.
    pub(crate) fn transfers(&self) -> [usize; 2] {
        self.stages().map(Stage::transfers).fold([0; 2], sum)
    }
}

fn sum([a, b]: [usize; 2], [down, up]: [usize; 2]) -> [usize; 2] {
    [a + down, b + up]
}

/// Elements in pieces of at most [`RUN`] values.
fn runs(elements: usize, values: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let run = (RUN / values).max(1);
    (0..elements).step_by(run).map(move |first| first..(first + run).min(elements))
}

impl Stage<'_> {
    /// Transfers of `n` elements, down and up.
    fn transfers((stage, n): (Self, usize)) -> [usize; 2] {
        stage.extensions(n).map(|sizes| sizes.iter().sum())
    }

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
            Self::Compare(relu) => compare::relu::shared_bytes(relu, n),
            Self::Square(square) => square::offline_bytes(square, n),
        }
    }

    /// Payload of the client's last message offline, if there is one.
    pub(crate) fn factor_bytes(&self, n: usize) -> Option<usize> {
        match self {
            Self::Compare(relu) => Some(compare::relu::factor_bytes(relu, n)),
            Self::Square(_) => None,
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
    /// Whether maxima are taken first.
    pooled: bool,
    rounding: compare::Rounding,
    polynomial: Option<Polynomial>,
    /// Of what the rescale gives.
    out_bits: u32,
}

impl Needs {
    /// `None` if no ring is wide enough.
    fn new(act: &Act, pooled: bool, rounding: Rounding, out_bits: u32) -> Option<Self> {
        let rounding = match rounding {
            Rounding::Exact => compare::Rounding::Exact,
            Rounding::Stochastic => compare::Rounding::Stochastic,
        };
        let polynomial = match act.quadratic {
            Some(_) => Some(Polynomial::new(act, rounding, out_bits)?),
            None => None,
        };
        let out_bits = polynomial.as_ref().map_or(out_bits, |p| p.square.in_bits());
        Some(Self { rescale: act.rescale, pooled, rounding, polynomial, out_bits })
    }

    /// The comparison in a ring of this width, if every value of `fact` is handled as specified there.
    fn fits(&self, fact: &Fact, in_bits: u32) -> Option<Relu> {
        let relu = compare(&self.rescale, [in_bits, self.out_bits], self.rounding)?;
        let half = 1_i64 << (in_bits - 1);
        // A lower bound above zero is subtracted first.
        let smallest = -half + (i64::from(self.rescale.lo.max(0)) << self.rescale.shift);
        let fits = fact.lo >= smallest && fact.hi < half && fact.hi <= relu.largest();
        (fits && (!self.pooled || comparable(fact, in_bits))).then_some(relu)
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
        let pooled = act.max_pool.is_some_and(|w| w.kernel != [1, 1]);
        let (input, out_bits) = (graph.nodes[node].inputs[0], graph.facts[node].bits);
        let Some(needs) = Needs::new(act, pooled, rounding, out_bits) else { continue };
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
