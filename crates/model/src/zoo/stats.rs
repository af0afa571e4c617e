//! What a network costs, before any protocol is chosen.

use crate::float::{Graph, Op};

/// Counts over a whole network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Weights, and those vectors of biases, scales and shifts that are not all zero.
    pub parameters: u64,
    /// Multiply-accumulates of all layers (those with padding included).
    pub macs: u64,
    /// Values that go through a clip (a ReLU) or a polynomial.
    pub activations: u64,
    /// Outputs of maximum pools.
    pub max_pool_outputs: u64,
}

/// The counts of a graph.
#[must_use]
pub fn stats(graph: &Graph) -> Stats {
    let mut stats = Stats::default();
    let used = |values: &[f32]| if values.iter().any(|&v| v != 0.0) { values.len() as u64 } else { 0 };
    for node in &graph.nodes {
        let values = node.len() as u64;
        match &node.op {
            Op::Linear { conv, weights, bias } => {
                stats.parameters += weights.len() as u64 + used(bias);
                stats.macs += conv.macs();
            }
            // The line of a hard sigmoid is part of the activation.
            Op::Affine { scale, shift } if is_uniform(scale) && is_uniform(shift) => {}
            Op::Affine { scale, shift } => stats.parameters += scale.len() as u64 + used(shift),
            Op::Clip { .. } | Op::Poly { .. } | Op::HardSwish => stats.activations += values,
            Op::MaxPool(_) => stats.max_pool_outputs += values,
            _ => {}
        }
    }
    stats
}

fn is_uniform(values: &[f32]) -> bool {
    values.iter().all(|v| Some(v) == values.first())
}
