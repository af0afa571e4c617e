//! The network as the ONNX file means it, in 32-bit floating point.

use crate::graph::{Conv, Mask, Node, NodeId, Window};

mod builder;
mod shape;

pub use builder::Builder;
pub use shape::{GraphError, MAX_ELEMENTS};

/// An operation on real numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// The one input.
    Input,
    /// A convolution or dense layer (`Conv::dense`; its input is flat then).
    Linear {
        /// Its shape.
        conv: Conv,
        /// `[out][in / groups][kh][kw]`.
        weights: Vec<f32>,
        /// One per output channel.
        bias: Vec<f32>,
    },
    /// `scale[c] * x + shift[c]` per channel (index of the first axis): a batch normalisation that is not folded
    /// (yet).
    Affine {
        /// Per channel.
        scale: Vec<f32>,
        /// Per channel.
        shift: Vec<f32>,
    },
    /// `clamp(x, lo, hi)`; a ReLU is `[0, inf)`.
    Clip {
        /// May be `-inf`.
        lo: f32,
        /// May be `inf`.
        hi: f32,
    },
    /// `c[0] + c[1] x + c[2] x^2 + ...`, at least three coefficients.
    Poly {
        /// Constant term first.
        coefficients: Vec<f32>,
    },
    /// Element-wise sum.
    Add,
    /// `x clamp(x + 3, 0, 6) / 6`.
    HardSwish,
    /// Element-wise product of two values; a `[c, 1, 1]` operand is broadcast over `[c, h, w]`.
    Mul,
    /// Inputs joined along the first axis.
    Concat,
    /// Mean over a window; padded places count iff `count_pad`.
    AvgPool {
        /// The window.
        window: Window,
        /// ONNX `count_include_pad`.
        count_pad: bool,
    },
    /// Maximum over a window.
    MaxPool(Window),
    /// Zeros around an image: channels, height, width as `[before, after]`.
    Pad {
        /// Channels, height, width.
        pads: [[usize; 2]; 3],
    },
    /// Every `step`-th index of `[start, end)` per axis.
    Slice {
        /// `(start, end, step)` per axis.
        ranges: Vec<(usize, usize, usize)>,
    },
    /// Another shape, same order.
    Reshape,
    /// Output axis `i` is input axis `perm[i]`.
    Transpose {
        /// A permutation.
        perm: Vec<usize>,
    },
    /// The elements of the set from the first value, the others from the second: a layer whose elements have
    /// different activations.
    Where {
        /// Which elements, at least one and not all.
        mask: Mask,
    },
}

/// How the file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// With the logits.
    Logits,
    /// With a softmax: the logits are revealed and the client applies it.
    Softmax,
    /// With a sigmoid: the logits are revealed and the client applies it.
    Sigmoid,
    /// With an arg-max.
    ArgMax,
}

/// A network in floating point. Node 0 is the only `Input`.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Name of the ONNX graph.
    pub name: String,
    /// Nodes in execution order.
    pub nodes: Vec<Node<Op>>,
    /// The value at the end, before `head`.
    pub output: NodeId,
    /// How the file ends.
    pub head: Head,
}
