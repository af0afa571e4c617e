//! A compiled network as a table.

use crate::fixed::{Interval, Model, Op};

/// One row of the table. It shows bounds that depend on weights: for the provider only.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerReport {
    /// The node's name in the ONNX file.
    pub name: String,
    /// The operation.
    pub op: &'static str,
    /// Shape of the value.
    pub shape: Vec<usize>,
    /// Real number that the integer 1 stands for.
    pub step: f64,
    /// Width of the ring.
    pub bits: u32,
    /// The proven interval.
    pub bound: Interval,
    /// Bits that an activation's rescale drops; `None` for other operations.
    pub shift: Option<u32>,
}

/// One row per node.
#[must_use]
pub fn report(model: &Model) -> Vec<LayerReport> {
    let graph = &model.graph;
    let rows = graph.nodes.iter().zip(&graph.facts).zip(graph.intervals(&model.weights));
    rows.map(|((node, fact), bound)| LayerReport {
        name: node.name.clone(),
        op: name(&node.op),
        shape: node.shape.clone(),
        step: fact.step,
        bits: fact.bits,
        bound,
        shift: if let Op::Act(act) = &node.op { Some(act.rescale.shift) } else { None },
    })
    .collect()
}

fn name(op: &Op) -> &'static str {
    match op {
        Op::Input => "input",
        Op::Linear { conv, .. } if conv.input == [1, 1] => "dense",
        Op::Linear { conv, .. } if conv.groups > 1 => "grouped convolution",
        Op::Linear { .. } => "convolution",
        Op::Act(act) if act.quadratic.is_some() => "quadratic",
        Op::Act(act) if act.max_pool.is_some() => "maximum",
        Op::Act(act) if act.rescale.lo == 0 => "relu",
        Op::Act(_) => "rescale",
        Op::Add { .. } => "add",
        Op::Bias { .. } => "bias",
        Op::SumPool(_) => "sum pool",
        Op::Concat => "concat",
        Op::Pad { .. } => "pad",
        Op::Slice { .. } => "slice",
        Op::Reshape => "reshape",
        Op::Transpose { .. } => "transpose",
        Op::Select { .. } => "select",
        Op::Merge { .. } => "merge",
        Op::Product => "product",
    }
}
