//! The parts of a float graph.

use phineus_model::float::{Graph, Op};
use phineus_model::graph::{Conv, Node};

use super::chain::Part;
use super::{NetworkError, depthwise, per_output, pooled, shape_of};
use crate::cipher::map::Shape;

/// In order; nodes that change nothing have none.
pub(super) fn parts(graph: &Graph) -> impl Iterator<Item = Result<Part, NetworkError>> + '_ {
    graph.nodes.iter().enumerate().take(graph.output + 1).filter_map(|(id, node)| {
        if id > 0 && node.inputs != [id - 1] {
            return Some(Err(NetworkError::Chain { node: node.name.clone(), op: name(&node.op) }));
        }
        part(node, &graph.nodes[id.saturating_sub(1)].shape).transpose()
    })
}

fn part(node: &Node<Op>, input: &[usize]) -> Result<Option<Part>, NetworkError> {
    let (name, op) = (|| node.name.clone(), name(&node.op));
    let map = |shape, weights, bias| Some(Part::Map { node: name(), shape, numbers: Some((weights, bias)) });
    Ok(match &node.op {
        Op::Input | Op::Reshape => None,
        Op::Linear { conv, weights, bias } => {
            map(shape_of(conv), weights.clone(), per_output(bias.iter().map(|&b| b.into()), node.len()))
        }
        Op::Affine { scale, shift } => {
            let shape = Shape::Conv(depthwise(input, Conv::dense(1, 1)));
            map(shape, scale.clone(), per_output(shift.iter().map(|&b| b.into()), node.len()))
        }
        Op::AvgPool { window, count_pad } => {
            let whole = pooled(input, window).filter(|_| *count_pad || window.pads == [0; 4]);
            let Some(conv) = whole else {
                return Err(NetworkError::Chain { node: name(), op: "average with a cut window" });
            };
            let weight = 1.0 / (window.kernel[0] * window.kernel[1]) as f32;
            map(Shape::Conv(conv), vec![weight; conv.weight_len()], vec![0.0; node.len()])
        }
        Op::Poly { coefficients } => {
            let degree = coefficients.iter().rposition(|&c| c != 0.0).unwrap_or(0);
            if degree != 2 {
                return Err(NetworkError::Degree { node: name(), degree });
            }
            let coefficients = [0, 1, 2].map(|k| f64::from(coefficients[k]));
            Some(Part::Square { elements: node.len(), coefficients })
        }
        Op::Clip { .. } | Op::MaxPool(_) => return Err(NetworkError::Activation { node: name(), op }),
        _ => return Err(NetworkError::Chain { node: name(), op }),
    })
}

fn name(op: &Op) -> &'static str {
    match op {
        Op::Linear { .. } => "linear layer",
        Op::Affine { .. } => "affine map",
        Op::Clip { .. } => "clip",
        Op::Poly { .. } => "polynomial",
        Op::Add => "sum",
        Op::Mul => "product",
        Op::Concat => "concatenation",
        Op::AvgPool { .. } => "average",
        Op::MaxPool(_) => "maximum",
        Op::Pad { .. } => "padding",
        Op::Slice { .. } => "slice",
        Op::Transpose { .. } => "transpose",
        _ => "operation",
    }
}
