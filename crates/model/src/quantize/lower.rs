//! From the canonical float graph to the integer graph without its numbers: every operation finds its counterpart,
//! and accumulators get an activation before a reader that wants narrow values.

use std::borrow::Cow;

use super::QuantizeError;
use crate::float::{Graph, Op};
use crate::graph::{Conv, Mask, Node, NodeId, Window};
use crate::op;

/// What an activation computes after its maximum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Function {
    /// `clamp(x, lo, hi)`, infinite ends allowed.
    Clip { lo: f64, hi: f64 },
    /// `c[0] + c[1] x + c[2] x^2`.
    Quadratic([f64; 3]),
    /// The curve of a hard swish.
    Curve,
    /// The line of a hard swish whose curve is this piece.
    Line {
        /// Index of the piece.
        curve: usize,
    },
}

impl Function {
    /// Whether no result is negative, if no argument is or whatever the arguments are.
    fn is_natural(&self, of_natural: bool) -> bool {
        match *self {
            Self::Clip { lo, .. } => lo >= 0.0 || of_natural,
            // The discriminant: a parabola that opens upwards and has at most one zero.
            Self::Quadratic([c0, c1, c2]) => c1 * c1 <= 4.0 * c2 * c0 && c2 > 0.0,
            Self::Curve => false,
            Self::Line { .. } => true,
        }
    }

    /// Whether a polynomial follows the rescale, whose argument has a step of its own.
    pub(super) fn is_polynomial(&self) -> bool {
        matches!(self, Self::Quadratic(_) | Self::Curve)
    }
}

/// An integer operation without its numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind<'a> {
    Input,
    Linear {
        conv: Conv,
        weights: Cow<'a, [f32]>,
        bias: Cow<'a, [f32]>,
    },
    Act {
        max_pool: Option<Window>,
        function: Function,
    },
    Add,
    /// A narrow value plus a constant per channel.
    Bias(Cow<'a, [f32]>),
    /// A sum of values of one step, which is as narrow as they are.
    Sum,
    /// Its second factor is the one that counts per channel.
    Product,
    SumPool(Window),
    Concat,
    Pad([[usize; 2]; 3]),
    Slice(Vec<(usize, usize, usize)>),
    Reshape,
    Transpose(Vec<usize>),
    Select(Mask),
    Merge(Mask),
}

/// How a value may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// An activation's output, the input, or a rearrangement of them.
    Narrow,
    /// Sums over windows of narrow values: linear layers read them, sums and joins do not.
    Sums,
    /// Products of narrow values: activations read them, and a rescale for all others.
    Products,
    /// An accumulator.
    Wide,
}

/// A node of the skeleton.
#[derive(Debug, Clone)]
pub(super) struct Piece<'a> {
    pub(super) node: Node<Kind<'a>>,
    pub(super) class: Class,
    /// Whether the value is known not to be negative.
    pub(super) natural: bool,
    /// The float node with the same real value.
    pub(super) source: NodeId,
    /// For an activation, the float node whose value (after the maximum) it is applied to.
    pub(super) before: NodeId,
}

/// The integer graph without its numbers; node 0 is the input.
#[derive(Debug)]
pub(super) struct Skeleton<'a> {
    pub(super) pieces: Vec<Piece<'a>>,
    pub(super) output: usize,
}

/// Lowers the part of `graph` on which the output depends. `natural` says whether the input is never negative.
pub(super) fn lower(graph: &Graph, natural: bool) -> Result<Skeleton<'_>, QuantizeError> {
    let readers = readers(graph);
    let mut lowering = Lowering {
        graph,
        readers,
        pieces: Vec::new(),
        value: Vec::new(),
        pooled: Vec::new(),
        narrowed: Vec::new(),
    };
    for (id, node) in graph.nodes.iter().enumerate() {
        let value = if id == 0 {
            lowering.push(id, Kind::Input, Vec::new(), Class::Narrow, natural)
        } else if id == graph.output || lowering.readers[id] > 0 {
            lowering.node(id, node)?
        } else {
            usize::MAX
        };
        lowering.value.push(value);
    }
    let output = lowering.value[graph.output];
    Ok(Skeleton { pieces: lowering.pieces, output })
}

struct Lowering<'a> {
    graph: &'a Graph,
    /// How often each float node is read by nodes that matter.
    readers: Vec<usize>,
    pieces: Vec<Piece<'a>>,
    /// The piece of each float node.
    value: Vec<usize>,
    /// Maxima that wait for the activation that reads them: `(float node, window)`.
    pooled: Vec<(NodeId, Window)>,
    /// Narrow versions of other pieces: `(piece, its rescale)`.
    narrowed: Vec<(usize, usize)>,
}

impl<'a> Lowering<'a> {
    fn node(&mut self, id: NodeId, node: &'a Node<Op>) -> Result<usize, QuantizeError> {
        let unsupported =
            |what: &str| QuantizeError::Unsupported { node: node.name.clone(), what: what.to_owned() };
        let first =
            node.inputs.first().copied().ok_or_else(|| unsupported("an operation without operands"))?;
        let x = self.value[first];
        match &node.op {
            Op::Input => Err(unsupported("a second input")),
            Op::Linear { conv, weights, bias } => {
                let kind = Kind::Linear { conv: *conv, weights: weights.into(), bias: bias.into() };
                self.linear(id, kind, x)
            }
            Op::Affine { scale, shift } if scale.iter().all(|&s| s == 1.0) => {
                if !shift.iter().all(|t| t.is_finite()) {
                    return Err(QuantizeError::NotFinite { node: node.name.clone() });
                }
                let x = self.narrow(x);
                Ok(self.push(id, Kind::Bias(shift.into()), vec![x], Class::Wide, false))
            }
            Op::Affine { scale, shift } => {
                let channels = scale.len();
                let input = if let [_, h, w] = node.shape[..] { [h, w] } else { [1, 1] };
                let conv = Conv { input, groups: channels, ..Conv::dense(channels, channels) };
                self.linear(id, Kind::Linear { conv, weights: scale.into(), bias: shift.into() }, x)
            }
            Op::Clip { .. } | Op::Poly { .. } => {
                let function = self.function(id)?;
                Ok(self.activation(id, first, function))
            }
            Op::MaxPool(window) => {
                if self.waits_for_activation(id) {
                    self.pooled.push((id, *window));
                    return Ok(x);
                }
                let natural = self.pieces[x].natural;
                let kind = Kind::Act { max_pool: Some(*window), function: IDENTITY };
                Ok(self.push(id, kind, vec![x], Class::Narrow, natural))
            }
            Op::AvgPool { window, count_pad } => {
                if !divides_evenly(window, *count_pad, &self.graph.nodes[first].shape) {
                    return Err(unsupported("an average whose divisor varies at the border"));
                }
                let x = self.alone(first);
                let x = if self.pieces[x].class == Class::Products { self.narrow(x) } else { x };
                let class = if self.pieces[x].class == Class::Wide { Class::Wide } else { Class::Sums };
                let natural = self.pieces[x].natural;
                Ok(self.push(id, Kind::SumPool(*window), vec![x], class, natural))
            }
            Op::Add => {
                // A narrow operand is shifted into the sum. An accumulator that others read too keeps its own step
                // and enters rescaled.
                let operands: Vec<usize> = node.inputs.iter().map(|&input| self.operand(input)).collect();
                let natural = operands.iter().all(|&x| self.pieces[x].natural);
                Ok(self.push(id, Kind::Add, operands, Class::Wide, natural))
            }
            Op::HardSwish => Ok(self.hard_swish(id, first)),
            Op::Mul => {
                let mut factors = [first, node.inputs[1]];
                if self.graph.nodes[first].len() < node.len() {
                    factors.reverse();
                }
                let factors = factors.map(|input| self.narrow(self.value[input])).to_vec();
                let natural = factors.iter().all(|&x| self.pieces[x].natural);
                Ok(self.push(id, Kind::Product, factors, Class::Products, natural))
            }
            Op::Where { mask } => {
                let rest = mask.complement(node.len());
                let first = self.part(id, 1, first, mask.clone())?;
                let operands = vec![first, self.part(id, 2, node.inputs[1], rest)?];
                let natural = operands.iter().all(|&x| self.pieces[x].natural);
                Ok(self.push(id, Kind::Merge(mask.clone()), operands, Class::Narrow, natural))
            }
            Op::Concat => {
                let operands: Vec<usize> =
                    node.inputs.iter().map(|&input| self.narrow(self.value[input])).collect();
                let natural = operands.iter().all(|&x| self.pieces[x].natural);
                Ok(self.push(id, Kind::Concat, operands, Class::Narrow, natural))
            }
            Op::Pad { pads } => Ok(self.mover(id, Kind::Pad(*pads), x)),
            Op::Slice { ranges } => Ok(self.mover(id, Kind::Slice(ranges.clone()), x)),
            Op::Reshape => Ok(self.mover(id, Kind::Reshape, x)),
            Op::Transpose { perm } => Ok(self.mover(id, Kind::Transpose(perm.clone()), x)),
        }
    }

    fn linear(&mut self, id: NodeId, kind: Kind<'a>, x: usize) -> Result<usize, QuantizeError> {
        if let Kind::Linear { weights, bias, .. } = &kind
            && !weights.iter().chain(bias.iter()).all(|w| w.is_finite())
        {
            return Err(QuantizeError::NotFinite { node: self.graph.nodes[id].name.clone() });
        }
        let x = match self.pieces[x].class {
            Class::Wide | Class::Products => self.narrow(x),
            // Their few values are cheap to rescale, and the accumulator would be wide: too wide for large windows, and
            // with it the rings of all that is read beside them.
            Class::Sums if self.places(x) > MAX_PLACES || self.is_beside_others(x) => self.narrow(x),
            _ => x,
        };
        Ok(self.push(id, kind, vec![x], Class::Wide, false))
    }

    /// Values that one element of a window sum is made of.
    fn places(&self, x: usize) -> usize {
        let node = &self.pieces[x].node;
        match (&node.op, node.inputs.first()) {
            (Kind::SumPool(window), Some(&x)) => window.kernel[0] * window.kernel[1] * self.places(x),
            (
                Kind::Concat | Kind::Slice(_) | Kind::Reshape | Kind::Transpose(_) | Kind::Select(_),
                Some(&x),
            ) => self.places(x),
            _ => 1,
        }
    }

    /// Whether a window sum is of a value that others read too.
    fn is_beside_others(&self, x: usize) -> bool {
        let node = &self.pieces[x].node;
        match (&node.op, node.inputs.first()) {
            (Kind::SumPool(_), Some(&x)) => self.readers[self.pieces[x].source] > 1,
            (_, Some(&x)) if self.pieces[x].class == Class::Sums => self.is_beside_others(x),
            _ => false,
        }
    }

    /// See [`super::hard_swish`].
    fn hard_swish(&mut self, id: NodeId, before: NodeId) -> usize {
        let x = self.value[before];
        let mut part = |function: Function, name: &str| {
            let natural = function.is_natural(false);
            let piece =
                self.push(id, Kind::Act { max_pool: None, function }, vec![x], Class::Narrow, natural);
            self.pieces[piece].node.name.push_str(name);
            self.pieces[piece].before = before;
            piece
        };
        let curve = part(Function::Curve, "/curve");
        let line = part(Function::Line { curve }, "/line");
        self.push(id, Kind::Sum, vec![curve, line], Class::Narrow, false)
    }

    /// What the activation `id` computes.
    fn function(&self, id: NodeId) -> Result<Function, QuantizeError> {
        let node = &self.graph.nodes[id];
        match &node.op {
            Op::Poly { coefficients } => {
                let degree = coefficients.iter().rposition(|&c| c != 0.0).unwrap_or(0);
                if degree > 2 {
                    let what = format!("a polynomial of degree {degree}; at most 2 is supported");
                    return Err(QuantizeError::Unsupported { node: node.name.clone(), what });
                }
                if coefficients.iter().any(|c| !c.is_finite()) {
                    return Err(QuantizeError::NotFinite { node: node.name.clone() });
                }
                let c = |i: usize| coefficients.get(i).map_or(0.0, |&c| f64::from(c));
                Ok(Function::Quadratic([c(0), c(1), c(2)]))
            }
            Op::Clip { lo, hi } => Ok(Function::Clip { lo: f64::from(*lo), hi: f64::from(*hi) }),
            _ => Ok(IDENTITY),
        }
    }

    /// The elements of `mask` of the value of `input`, narrow, for the choice `id`: an activation reads the chosen
    /// elements only.
    fn part(&mut self, id: NodeId, part: u8, input: NodeId, mask: Mask) -> Result<usize, QuantizeError> {
        let before = through_activation(self.graph, input);
        let function = self.function(input)?;
        let x = self.value[before];
        let Piece { class, natural, .. } = self.pieces[x];
        let name = format!("{}/{part}", self.graph.nodes[id].name);
        let selected = self.flat(before, &name, Kind::Select(mask), x, class, natural);
        if before == input && class == Class::Narrow {
            return Ok(selected);
        }
        let natural = function.is_natural(natural);
        let kind = Kind::Act { max_pool: None, function };
        let piece = self.flat(id, &name, kind, selected, Class::Narrow, natural);
        self.pieces[piece].before = before;
        Ok(piece)
    }

    /// A piece of one input that is a flat value with as many elements as the set of a [`Kind::Select`], or as the
    /// input.
    fn flat(
        &mut self,
        source: NodeId,
        name: &str,
        kind: Kind<'a>,
        x: usize,
        class: Class,
        natural: bool,
    ) -> usize {
        let len = if let Kind::Select(mask) = &kind { mask.count() } else { self.pieces[x].node.len() };
        let suffix = if let Kind::Select(_) = &kind { "/select" } else { "" };
        let piece = self.push(source, kind, vec![x], class, natural);
        let node = &mut self.pieces[piece].node;
        node.name = format!("{name}{suffix}");
        node.shape = vec![len];
        piece
    }

    fn activation(&mut self, id: NodeId, before: NodeId, function: Function) -> usize {
        let x = self.value[before];
        let max_pool = self.pooled.iter().find(|(pooled, _)| *pooled == before).map(|&(_, window)| window);
        let natural = function.is_natural(self.pieces[x].natural);
        let piece = self.push(id, Kind::Act { max_pool, function }, vec![x], Class::Narrow, natural);
        self.pieces[piece].before = before;
        piece
    }

    fn mover(&mut self, id: NodeId, kind: Kind<'a>, x: usize) -> usize {
        let Piece { class, natural, .. } = self.pieces[x];
        self.push(id, kind, vec![x], class, natural)
    }

    /// An operand of a sum: narrow, or an accumulator that nobody else reads.
    fn operand(&mut self, input: NodeId) -> usize {
        let x = self.value[input];
        match self.pieces[x].class {
            Class::Sums | Class::Products => self.narrow(x),
            Class::Narrow | Class::Wide => self.alone(input),
        }
    }

    /// The value of `input`, rescaled if it is an accumulator with several readers.
    fn alone(&mut self, input: NodeId) -> usize {
        let x = self.value[input];
        let shared = self.readers[input] > 1 || input == self.graph.output;
        if shared && self.pieces[x].class == Class::Wide { self.narrow(x) } else { x }
    }

    fn narrow(&mut self, x: usize) -> usize {
        if self.pieces[x].class == Class::Narrow {
            return x;
        }
        if let Some(&(_, narrow)) = self.narrowed.iter().find(|(wide, _)| *wide == x) {
            return narrow;
        }
        let Piece { source, natural, .. } = self.pieces[x];
        let kind = Kind::Act { max_pool: None, function: IDENTITY };
        let narrow = self.push(source, kind, vec![x], Class::Narrow, natural);
        self.pieces[narrow].node.name.push_str("/rescale");
        self.pieces[narrow].node.shape = self.pieces[x].node.shape.clone();
        self.narrowed.push((x, narrow));
        narrow
    }

    /// Whether the only reader of a maximum is an activation, which then computes both.
    fn waits_for_activation(&self, id: NodeId) -> bool {
        let needed = |reader: &NodeId| self.readers[*reader] > 0 || *reader == self.graph.output;
        let mut readers =
            (id + 1..self.graph.nodes.len()).filter(needed).map(|reader| &self.graph.nodes[reader]);
        let reader = readers.find(|node| read(self.graph, node).any(|input| input == id));
        self.readers[id] == 1
            && id != self.graph.output
            && reader.is_some_and(|node| matches!(node.op, Op::Clip { .. } | Op::Poly { .. }))
    }

    fn push(
        &mut self,
        source: NodeId,
        kind: Kind<'a>,
        inputs: Vec<usize>,
        class: Class,
        natural: bool,
    ) -> usize {
        let Node { name, shape, .. } = &self.graph.nodes[source];
        let node = Node { name: name.clone(), op: kind, inputs, shape: shape.clone() };
        self.pieces.push(Piece { node, class, natural, source, before: source });
        self.pieces.len() - 1
    }
}

/// A layer reads sums of at most so many values as they are.
const MAX_PLACES: usize = 64;

const IDENTITY: Function = Function::Clip { lo: f64::NEG_INFINITY, hi: f64::INFINITY };

/// How often each node is read on the way to the output.
fn readers(graph: &Graph) -> Vec<usize> {
    let mut readers = vec![0; graph.nodes.len()];
    for (id, node) in graph.nodes.iter().enumerate().rev() {
        if id == graph.output || readers[id] > 0 {
            read(graph, node).for_each(|input| readers[input] += 1);
        }
    }
    readers
}

/// The values that a node reads: a choice by element reads what its activations read.
fn read<'g>(graph: &'g Graph, node: &'g Node<Op>) -> impl Iterator<Item = NodeId> + 'g {
    let chooses = matches!(node.op, Op::Where { .. });
    node.inputs.iter().map(move |&input| if chooses { through_activation(graph, input) } else { input })
}

/// The argument of an activation; any other node itself.
fn through_activation(graph: &Graph, id: NodeId) -> NodeId {
    match (&graph.nodes[id].op, graph.nodes[id].inputs.first()) {
        (Op::Clip { .. } | Op::Poly { .. }, Some(&argument)) => argument,
        _ => id,
    }
}

/// Whether every window of an average has the same divisor.
fn divides_evenly(window: &Window, count_pad: bool, shape: &[usize]) -> bool {
    let &[_, h, w] = shape else { return false };
    let padded = window.pads.iter().any(|&pad| pad > 0);
    let out = op::pool::output(window, [h, w]);
    let overhangs = [h, w].into_iter().enumerate().any(|(axis, side)| {
        let reach = side + window.pads[axis] + window.pads[axis + 2];
        out[axis].saturating_sub(1) * window.stride[axis] + window.kernel[axis] > reach
    });
    !overhangs && (count_pad || !padded)
}
