//! Operators that are made of several layers, recognised by their shape: what an ONNX file spells out node by node has a
//! name in tables.
//!
//! ```text
//! depthwise separable   window k x k per channel -> 1x1
//! xop-a                 window k x k per channel -> 1x1 in g groups -> channel shuffle by g -> 1x1 in g groups
//! xop-b                 (windows 1 x k and k x 1 per channel, added) -> 1x1
//! grouped and shuffled  window k x k in g groups -> channel shuffle by g -> 1x1 in g groups
//! ```
//!
//! Rescales may stand between the parts, and nothing else: a part whose value somebody else reads too, or that an
//! activation follows, ends the operator. A channel shuffle is `[C, H, W] -> [g, C/g, H, W] -> [C/g, g, H, W] -> [C, H, W]`.
//! The X-operator of "Efficient ML models for practical secure inference" (Ganesan et al., arXiv 2209.00411) is known by
//! its abstract only; `xop-a` and `xop-b` are two readings of it, **unverified**.

use std::fmt;

use super::{Act, Graph, Op};
use crate::graph::{Conv, NodeId};

/// What an operator of several layers is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Depthwise, then pointwise.
    Separable,
    /// The first reading of the X-operator.
    XopA {
        /// Of the two pointwise layers.
        groups: usize,
    },
    /// The second reading of the X-operator.
    XopB,
    /// A grouped window, then a grouped pointwise layer across.
    Shuffled {
        /// Of both layers.
        groups: usize,
    },
}

/// An operator that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// What it is.
    pub form: Form,
    /// Its linear layers in order.
    pub layers: Vec<NodeId>,
    /// Their multiply-accumulates.
    pub macs: u64,
    /// Those of the standard convolution with the same window, channels and outputs.
    pub standard_macs: u64,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Separable => f.write_str("depthwise separable"),
            Self::XopA { groups } => write!(f, "xop-a, {groups} groups (form unverified)"),
            Self::XopB => f.write_str("xop-b (form unverified)"),
            Self::Shuffled { groups } => write!(f, "grouped and shuffled, {groups} groups"),
        }
    }
}

/// All operators of a valid graph, in order of their last layers.
#[must_use]
pub fn recognise(graph: &Graph) -> Vec<Pattern> {
    let reader = Reader::new(graph);
    (0..graph.nodes.len()).filter_map(|node| reader.pattern(node)).collect()
}

struct Reader<'g> {
    graph: &'g Graph,
    /// How many nodes read each value; the end of the network is a reader.
    readers: Vec<usize>,
}

impl<'g> Reader<'g> {
    fn new(graph: &'g Graph) -> Self {
        let mut readers = vec![0; graph.nodes.len()];
        graph
            .nodes
            .iter()
            .flat_map(|node| &node.inputs)
            .chain([&graph.output])
            .for_each(|&x| readers[x] += 1);
        Self { graph, readers }
    }

    /// The operator that ends with a node.
    fn pattern(&self, last: NodeId) -> Option<Pattern> {
        let mix = self.linear(last).filter(is_pointwise)?;
        let before = self.before(last)?;
        let (form, mut layers, window) = if mix.groups > 1 && mix.groups < mix.in_channels {
            let groups = mix.groups;
            let crossed = self.through_shuffle(before, groups)?;
            let conv = self.linear(crossed)?;
            if is_depthwise(&conv) {
                return None;
            } else if is_pointwise(&conv) && conv.groups == groups {
                let window = self.before(crossed)?;
                let conv = self.linear(window).filter(is_depthwise)?;
                (Form::XopA { groups }, vec![window, crossed], conv)
            } else if conv.kernel != [1, 1] && conv.groups == groups {
                (Form::Shuffled { groups }, vec![crossed], conv)
            } else {
                return None;
            }
        } else if mix.groups > 1 {
            return None;
        } else if let Op::Add { .. } = self.graph.nodes[before].op {
            let (row, column, conv) = self.cross(before)?;
            (Form::XopB, vec![row, column], conv)
        } else {
            let conv = self.linear(before).filter(is_depthwise)?;
            (Form::Separable, vec![before], conv)
        };
        layers.push(last);
        let macs = layers.iter().filter_map(|&layer| self.linear(layer)).map(|conv| conv.macs()).sum();
        let standard = Conv { out_channels: mix.out_channels, groups: 1, ..window };
        Some(Pattern { form, layers, macs, standard_macs: standard.macs() })
    }

    fn linear(&self, node: NodeId) -> Option<Conv> {
        match self.graph.nodes[node].op {
            Op::Linear { conv, .. } => Some(conv),
            _ => None,
        }
    }

    /// What a node of one input reads, seen through rescales; `None` where somebody else reads it too.
    fn before(&self, node: NodeId) -> Option<NodeId> {
        match self.graph.nodes[node].inputs[..] {
            [x] if self.readers[x] == 1 => {
                if self.is_rescale(x) {
                    self.before(x)
                } else {
                    Some(x)
                }
            }
            _ => None,
        }
    }

    /// A rescale and nothing else: it keeps negative values.
    fn is_rescale(&self, node: NodeId) -> bool {
        matches!(
            &self.graph.nodes[node].op,
            Op::Act(Act { max_pool: None, quadratic: None, rescale }) if rescale.lo < 0
        )
    }

    /// What a channel shuffle that ends with a node reads.
    fn through_shuffle(&self, join: NodeId, groups: usize) -> Option<NodeId> {
        let nodes = &self.graph.nodes;
        let cross = self.before(join).filter(|_| matches!(nodes[join].op, Op::Reshape))?;
        let split = self.before(cross)?;
        let x = self.before(split).filter(|_| matches!(nodes[split].op, Op::Reshape))?;
        let is_shuffle = matches!(&nodes[cross].op, Op::Transpose { perm } if perm[..] == [1, 0, 2, 3])
            && nodes[split].shape.first() == Some(&groups)
            && nodes[x].shape == nodes[join].shape;
        is_shuffle.then_some(x)
    }

    /// The two windows of a sum, one row and one column of the same value, and the square window that they stand for.
    fn cross(&self, sum: NodeId) -> Option<(NodeId, NodeId, Conv)> {
        let [a, b] = self.graph.nodes[sum].inputs[..] else { return None };
        let window = |x: NodeId| {
            let layer = if self.is_rescale(x) { self.before(x)? } else { x };
            let conv = self.linear(layer).filter(|conv| conv.groups == conv.in_channels)?;
            (self.readers[x] == 1).then_some((layer, conv))
        };
        let ((a, first), (b, second)) = (window(a)?, window(b)?);
        let [k, one] = [first.kernel[0].max(second.kernel[0]), first.kernel[0].min(second.kernel[0])];
        let crossed = one == 1 && k > 1 && first.kernel == [second.kernel[1], second.kernel[0]];
        let same_input = self.graph.nodes[a].inputs == self.graph.nodes[b].inputs;
        (crossed && same_input && first.output() == second.output()).then(|| {
            let pads = [0, 1, 2, 3].map(|side| first.pads[side].max(second.pads[side]));
            (a, b, Conv { kernel: [k, k], pads, ..first })
        })
    }
}

fn is_pointwise(conv: &Conv) -> bool {
    conv.kernel == [1, 1] && conv.stride == [1, 1] && conv.pads == [0; 4]
}

/// A window of more than a pixel on every channel alone.
fn is_depthwise(conv: &Conv) -> bool {
    conv.groups == conv.in_channels && conv.in_channels > 1 && conv.kernel != [1, 1]
}

#[cfg(test)]
mod tests;
