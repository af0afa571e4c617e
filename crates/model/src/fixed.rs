//! The compiled network: integers only, one fixed meaning for every bit.
//!
//! A value `v` stands for the real number `v * step`. Each value has a proven interval `[lo, hi]` and lives in
//! the ring of integers modulo `2^bits` (`bits <= 32`, words are `u32`), chosen so that the interval fits. The
//! graph and its facts are public (both parties know them); weights and biases belong to the provider.
//!
//! A value that depends on weights without an [`Act`] in between has a proven interval that would tell sums of
//! weights; its fact therefore states nothing but the ring: `lo = -2^(bits-1)`, and `hi = 2^(bits-1) - 1` less the
//! margin of the [`Rescale`] that reads it. Between nodes rings only shrink: a node other than an [`Act`] is
//! never wider than what it reads, so that shares pass by a reduction.

mod encode;
mod interval;
pub mod patterns;
mod validate;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use encode::EncodeError;
pub(crate) use interval::additive;
pub use interval::{Interval, Margin, bits_for};
pub(crate) use validate::check_companions;
pub use validate::{Fault, GraphError, limits};

use crate::graph::{Conv, Mask, Node, NodeId, Window};

/// What a value means and where it lives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// Real number that the integer 1 stands for.
    pub step: f64,
    /// Smallest possible integer, proven from the operation and its inputs.
    pub lo: i64,
    /// Largest possible integer.
    pub hi: i64,
    /// Width of the ring, 2..=32.
    pub bits: u32,
}

impl Fact {
    /// The representative of `word` modulo `2^bits` in `[-2^(bits-1), 2^(bits-1))`; higher bits are ignored.
    #[must_use]
    pub fn to_signed(&self, word: u32) -> i32 {
        let unused = 32 - self.bits;
        ((word << unused) as i32) >> unused
    }

    /// `2^bits - 1`.
    #[must_use]
    pub fn mask(&self) -> u32 {
        u32::MAX >> (32 - self.bits)
    }
}

/// `clamp((v + 2^(shift-1)) >> shift, lo, hi)`: round half up, then saturate (`shift = 0` adds nothing).
/// A ReLU is `lo = 0`. All fields are public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rescale {
    /// Bits dropped.
    pub shift: u32,
    /// Smallest result.
    pub lo: i32,
    /// Largest result.
    pub hi: i32,
}

impl Rescale {
    /// What is added before the shift: `2^(shift-1)`, or 0.
    #[must_use]
    pub fn half(&self) -> i64 {
        (1i64 << self.shift) >> 1
    }

    /// Room that a value must leave below the end of its ring for every engine: rounding adds at most one unit,
    /// and a lower bound that is negative is first moved to zero.
    #[must_use]
    pub fn margin(&self) -> i64 {
        let up = i64::from(self.shift > 0) - i64::from(self.lo.min(0));
        up << self.shift
    }

    /// The rescaled value; `|v| < 2^62`.
    #[must_use]
    pub fn apply(&self, v: i64) -> i64 {
        ((v + self.half()) >> self.shift).clamp(self.lo.into(), self.hi.into())
    }
}

/// `c2 v^2 + c1 v + c0` on a rescaled value, rescaled again. Coefficients are public (Delphi's are one fixed
/// polynomial; a learned scale belongs into the next linear layer).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Quadratic {
    /// Coefficient of the square.
    pub c2: i32,
    /// Coefficient of the value.
    pub c1: i32,
    /// Constant term.
    pub c0: i32,
    /// Applied to the result.
    pub rescale: Rescale,
}

impl Quadratic {
    /// The polynomial before its rescale.
    #[must_use]
    pub fn evaluate(&self, v: i64) -> i64 {
        (i64::from(self.c2) * v + i64::from(self.c1)) * v + i64::from(self.c0)
    }
}

/// A non-linear layer: maximum over a window (optional), rescale, quadratic (optional). The maximum comes
/// first because it commutes with the monotone rescale and there are fewer values after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Act {
    /// Maximum over this window before all else.
    pub max_pool: Option<Window>,
    /// The rescale, with the ReLU or clip in its bounds.
    pub rescale: Rescale,
    /// A polynomial activation on the rescaled value.
    pub quadratic: Option<Quadratic>,
}

impl Act {
    /// The function of one (pooled) value.
    #[must_use]
    pub fn apply(&self, v: i64) -> i64 {
        let v = self.rescale.apply(v);
        self.quadratic.map_or(v, |q| q.rescale.apply(q.evaluate(v)))
    }

    /// Width of the ring that holds the polynomial before its rescale, with the [`Rescale::margin`] that engines on
    /// shares need, and more bits than are dropped; 2 without a polynomial. May exceed 32.
    #[must_use]
    pub fn polynomial_bits(&self) -> u32 {
        self.quadratic.map_or(2, |q| {
            let (lo, hi) = interval::quadratic(self);
            bits_for((lo, hi.saturating_add(q.rescale.margin()))).max(q.rescale.shift + 1)
        })
    }
}

/// An operation on integers modulo `2^bits`. Everything but `Linear`, `Act` and `Product` is additive and
/// data-independent, so that each party applies it to its own share; a `Bias` but for its constant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// The client's input.
    Input,
    /// A convolution or dense layer with the provider's weights and bias.
    Linear {
        /// Its shape.
        conv: Conv,
        /// Index into [`Model::weights`].
        weights: usize,
        /// Width of a weight, sign included, 2..=16: every weight is in `[-2^(b-1) + 1, 2^(b-1) - 1]`.
        weight_bits: u32,
    },
    /// A non-linear layer.
    Act(Act),
    /// `sum_i inputs[i] << shifts[i]`, all of one shape.
    Add {
        /// One shift per input.
        shifts: Vec<u32>,
    },
    /// Sum over a window of each channel (average pooling without the division, which sits in the step).
    SumPool(Window),
    /// Inputs joined along the first axis.
    Concat,
    /// Zeros around an image: first and last channels, rows, columns as `[before, after]` each.
    Pad {
        /// Channels, height, width.
        pads: [[usize; 2]; 3],
    },
    /// Every `step`-th index of `[start, end)` per axis.
    Slice {
        /// `(start, end, step)` per axis of the input.
        ranges: Vec<(usize, usize, usize)>,
    },
    /// The same elements in the same order under another shape.
    Reshape,
    /// Axes reordered: output axis `i` is input axis `perm[i]`.
    Transpose {
        /// A permutation.
        perm: Vec<usize>,
    },
    /// Some elements of a value in order, as a flat value. With [`Op::Merge`], layers whose elements have different
    /// activations are split, so that each part is an [`Act`].
    Select {
        /// Which elements, at least one.
        mask: Mask,
    },
    /// Two flat values as one: the elements of the set from the first, the others from the second, each in order.
    Merge {
        /// Which elements of the result, at least one and not all.
        mask: Mask,
    },
    /// The exact product of two values: of one shape, or an image `[c, h, w]` with a factor `[c, 1, 1]` per channel.
    Product,
    /// `(x << shift) + b`, the provider's constant b per channel (index of the first axis): on shares the provider alone adds
    /// it.
    Bias {
        /// Index into [`Model::weights`], of which only the bias counts.
        weights: usize,
        /// Bits by which the value is shifted first.
        shift: u32,
    },
}

/// What the client learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reveal {
    /// All outputs.
    Logits,
    /// Only the index of the largest output (the lowest one of equals).
    ArgMax,
    /// All outputs, each the logit of a probability of its own: the client applies the sigmoid.
    Scores,
}

/// The public half of a compiled network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Nodes in execution order; node 0 is the only `Input`.
    pub nodes: Vec<Node<Op>>,
    /// One per node.
    pub facts: Vec<Fact>,
    /// The value that is revealed.
    pub output: NodeId,
    /// How it is revealed.
    pub reveal: Reveal,
}

impl Graph {
    /// The same graph as the client may see it: the steps of inner values, which tell the scales of the weights,
    /// are zero.
    #[must_use]
    pub fn public_view(&self) -> Self {
        let mut view = self.clone();
        for (id, fact) in view.facts.iter_mut().enumerate() {
            if id != 0 && id != self.output {
                fact.step = 0.0;
            }
        }
        view
    }

    /// Number of values that a user of the network sees: the outputs, or one index.
    #[must_use]
    pub fn revealed_len(&self) -> usize {
        match self.reveal {
            Reveal::Logits | Reveal::Scores => self.nodes.get(self.output).map_or(0, Node::len),
            Reveal::ArgMax => 1,
        }
    }
}

/// Secret parameters of one linear layer, or of one bias. `Debug` prints sizes only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    /// `[out_channels][in_channels / groups][kernel_h][kernel_w]`; none of a bias.
    pub weights: Vec<i32>,
    /// One per output channel, at the scale of the accumulator.
    pub bias: Vec<i32>,
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weights({} weights, {} biases)", self.weights.len(), self.bias.len())
    }
}

/// How an 8-bit image becomes the network's real input: `x = (pixel / 255 - mean[c]) / std[c]`, channels in the
/// stated order. Part of the public half, so that a client needs nothing but the server's address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// Per channel.
    pub mean: Vec<f64>,
    /// Per channel, all positive.
    pub std: Vec<f64>,
    /// Whether the first channel is blue.
    pub bgr: bool,
}

/// A compiled network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Name under which it is served.
    pub name: String,
    /// Public.
    pub graph: Graph,
    /// Public.
    pub preprocess: Preprocess,
    /// Names of the output classes, possibly none. Public.
    pub labels: Vec<String>,
    /// The provider's secret.
    pub weights: Vec<Weights>,
}

#[cfg(test)]
mod tests;
