//! Standard convolutions replaced by cheaper operators, weights made up: what a network would cost *before* anybody
//! trains it ("Efficient ML models for practical secure inference", Ganesan et al., arXiv 2209.00411).
//!
//! With C inputs, C' outputs, P output positions and a window of k x k, an operator takes these multiplications:
//!
//! ```text
//! standard     k^2 C C' P
//! depthwise    (k^2 C + C C') P                    depthwise k x k, then pointwise
//! grouped      (k^2 C C' + C'^2) P / g             k x k in g groups, channel shuffle, 1x1 in g groups
//! xop-a        (k^2 C + (C + C') C' / g) P         depthwise k x k, then 1x1 in g groups, channel shuffle, 1x1 in g groups
//! xop-b        (2 k C + C C') P                    depthwise 1 x k and k x 1 side by side, added, then pointwise
//! bottleneck   (C B + k^2 B^2 + B C') P            1x1 to B = C'/4 channels, ReLU, k x k, ReLU, 1x1 (stride 1)
//! ```
//!
//! The X-operator's form in the paper is unverified: only its abstract could be read, and two constructions fit the
//! words. With g^2 <= C every output of `xop-a` still sees every input.
//!
//! Weights are uniform; those of the last part have the mean square that keeps the second moment of the layer's outputs, so
//! that ranges and rings stay about those of the network given. Accuracy they have none.

use std::fmt;
use std::str::FromStr;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, SeedableRng as _};

use crate::float::{Builder, Graph, GraphError, Op};
use crate::graph::{Conv, Node, NodeId};
use crate::pass::{self, PassError};

/// What takes the place of a standard convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Depthwise k x k, then pointwise.
    Depthwise,
    /// k x k in groups, then 1x1 in groups, channels shuffled between.
    Grouped,
    /// The X-operator, first reading.
    XopA,
    /// The X-operator, second reading.
    XopB,
    /// Narrow k x k between two pointwise convolutions, with ReLU between.
    Bottleneck,
}

/// A word that names no operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no operator `{name}`; known are {}", Operator::ALL.map(Operator::name).join(", "))]
pub struct UnknownOperator {
    name: String,
}

impl Operator {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Depthwise, Self::Grouped, Self::XopA, Self::XopB, Self::Bottleneck];

    /// The name that [`FromStr`] reads.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Depthwise => "depthwise",
            Self::Grouped => "grouped",
            Self::XopA => "xop-a",
            Self::XopB => "xop-b",
            Self::Bottleneck => "bottleneck",
        }
    }

    /// Whether it can stand for a layer: a standard convolution of an odd square window that keeps the image up to its
    /// stride, with at least [`GROUPS`]^2 channels on both sides that the groups divide.
    #[must_use]
    pub fn applies(self, conv: &Conv) -> bool {
        let [k, width] = conv.kernel;
        let same = [0, 1].map(|axis| conv.dilation[axis] * (k / 2));
        conv.groups == 1
            && k == width
            && k > 1
            && k % 2 == 1
            && conv.pads == [same[0], same[1], same[0], same[1]]
            && [conv.in_channels, conv.out_channels].iter().all(|&c| c >= GROUPS * GROUPS && c % GROUPS == 0)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Operator {
    type Err = UnknownOperator;

    fn from_str(name: &str) -> Result<Self, UnknownOperator> {
        Self::ALL
            .into_iter()
            .find(|one| one.name() == name)
            .ok_or_else(|| UnknownOperator { name: name.to_owned() })
    }
}

/// The [canonical](pass::canonical) form of `graph` with `operator` in the place of every convolution that it
/// [applies](Operator::applies) to and whose name is `wanted`. The parts of an operator are named `layer/part`, the last one
/// like the layer.
///
/// # Errors
/// A graph that is not well-formed.
pub fn replace(graph: Graph, operator: Operator, wanted: impl Fn(&str) -> bool) -> Result<Graph, PassError> {
    let graph = pass::canonical(graph)?;
    let mut seed = 0;
    pass::rewrite(graph, |builder, node, _| {
        let replaced = match &node.op {
            Op::Linear { conv, weights, bias } if operator.applies(conv) && wanted(&node.name) => {
                seed += 1;
                let energy = weights.iter().map(|w| w * w).sum::<f32>() / conv.out_channels.max(1) as f32;
                Some((*conv, energy, bias.clone()))
            }
            _ => None,
        };
        match (replaced, node.inputs.first()) {
            (Some((conv, energy, bias)), Some(&x)) => {
                let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
                Parts { builder, rng, name: node.name, conv, energy, bias }.push(operator, x)
            }
            _ => builder.push_node(node),
        }
    })
}

/// Groups of [`Operator::Grouped`] and [`Operator::XopA`].
pub const GROUPS: usize = 4;

/// A layer about to be replaced.
struct Parts<'b> {
    builder: &'b mut Builder,
    rng: Xoshiro256PlusPlus,
    name: String,
    conv: Conv,
    /// Sum of the squares of an output's weights, the mean over the outputs.
    energy: f32,
    bias: Vec<f32>,
}

type Pushed = Result<NodeId, GraphError>;

impl Parts<'_> {
    fn push(mut self, operator: Operator, x: NodeId) -> Pushed {
        let Conv { in_channels, out_channels, .. } = self.conv;
        match operator {
            Operator::Depthwise => {
                let window = self.depthwise("window", self.conv.kernel, 1.0, x)?;
                self.last(out_channels, 1, 1.0, window)
            }
            Operator::Grouped => {
                let conv = Conv { groups: GROUPS, ..self.conv };
                let window = self.part("window", conv, 1.0, x)?;
                let crossed = self.shuffle(window)?;
                self.last(out_channels, GROUPS, 1.0, crossed)
            }
            Operator::XopA => {
                let window = self.depthwise("window", self.conv.kernel, 1.0, x)?;
                let mixed = self.pointwise("mix1", out_channels, GROUPS, window)?;
                let crossed = self.shuffle(mixed)?;
                self.last(out_channels, GROUPS, 1.0, crossed)
            }
            Operator::XopB => {
                let [k, _] = self.conv.kernel;
                let row = self.depthwise("row", [1, k], 0.5, x)?;
                let column = self.depthwise("column", [k, 1], 0.5, x)?;
                let name = format!("{}/cross", self.name);
                let both = self.builder.push(&name, Op::Add, &[row, column])?;
                self.last(out_channels, 1, 1.0, both)
            }
            Operator::Bottleneck => {
                let narrow = out_channels / 4;
                let squeezed = Conv { input: self.conv.input, ..Conv::dense(in_channels, narrow) };
                let squeezed = self.part("squeeze", squeezed, 1.0, x)?;
                let squeezed = self.relu("relu1", squeezed)?;
                let window = Conv { in_channels: narrow, out_channels: narrow, ..self.conv };
                let window = self.part("window", window, 2.0, squeezed)?;
                let window = self.relu("relu2", window)?;
                self.last(out_channels, 1, 2.0, window)
            }
        }
    }

    /// A window on every channel alone; the place of a window of one row or column is its middle.
    fn depthwise(&mut self, part: &str, kernel: [usize; 2], gain: f32, x: NodeId) -> Pushed {
        let channels = self.conv.in_channels;
        let [top, left] = [0, 1].map(|axis| self.conv.dilation[axis] * (kernel[axis] / 2));
        let conv = Conv {
            out_channels: channels,
            groups: channels,
            kernel,
            pads: [top, left, top, left],
            ..self.conv
        };
        self.part(part, conv, gain, x)
    }

    fn pointwise(&mut self, part: &str, outputs: usize, groups: usize, x: NodeId) -> Pushed {
        let conv = self.mix(outputs, groups, x);
        self.part(part, conv, 1.0, x)
    }

    /// The last part: the layer's name, its bias, and its outputs' second moment; `gain` makes up for a ReLU in front.
    fn last(mut self, outputs: usize, groups: usize, gain: f32, x: NodeId) -> Pushed {
        let conv = self.mix(outputs, groups, x);
        let weights = self.weights(&conv, gain * self.energy);
        self.builder.push(&self.name, Op::Linear { conv, weights, bias: self.bias }, &[x])
    }

    fn part(&mut self, part: &str, conv: Conv, gain: f32, x: NodeId) -> Pushed {
        let (weights, bias) = (self.weights(&conv, gain), vec![0.0; conv.out_channels]);
        self.builder.push(&format!("{}/{part}", self.name), Op::Linear { conv, weights, bias }, &[x])
    }

    fn relu(&mut self, part: &str, x: NodeId) -> Pushed {
        let clip = Op::Clip { lo: 0.0, hi: f32::INFINITY };
        self.builder.push(&format!("{}/{part}", self.name), clip, &[x])
    }

    /// Channels `g c + j` become channels `j groups + g`.
    fn shuffle(&mut self, x: NodeId) -> Pushed {
        let shape = self.shape(x);
        let split = [GROUPS, shape[0] / GROUPS, shape[1], shape[2]];
        let name = |part: &str| format!("{}/{part}", self.name);
        let [split_name, cross, join] = ["split", "shuffle", "join"].map(name);
        let split = self.builder.reshape(&split_name, x, &split)?;
        let crossed = self.builder.push(&cross, Op::Transpose { perm: vec![1, 0, 2, 3] }, &[split])?;
        self.builder.reshape(&join, crossed, &shape)
    }

    /// A convolution of single pixels of a value.
    fn mix(&self, outputs: usize, groups: usize, x: NodeId) -> Conv {
        let [channels, h, w] = self.shape(x);
        Conv { input: [h, w], groups, ..Conv::dense(channels, outputs) }
    }

    /// Of an image; anything else is refused by the shape rules of what is pushed next.
    fn shape(&self, x: NodeId) -> [usize; 3] {
        let shape = self.builder.node(x).map_or(&[][..], |node: &Node<Op>| &node.shape);
        shape.try_into().unwrap_or([0; 3])
    }

    /// Uniform weights, the sum of whose squares over an output is `energy` on average: a uniform number in [-1, 1) has
    /// variance 1/3.
    fn weights(&mut self, conv: &Conv, energy: f32) -> Vec<f32> {
        let bound = (3.0 * energy / conv.weights_per_output().max(1) as f32).sqrt();
        let uniform = |rng: &mut Xoshiro256PlusPlus| (rng.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0;
        (0..conv.weight_len()).map(|_| bound * uniform(&mut self.rng)).collect()
    }
}

#[cfg(test)]
mod tests;
