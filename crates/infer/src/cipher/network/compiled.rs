//! The parts of a compiled model: what its integers mean, without their rounding and saturation.
//!
//! A value v stands for v times the step of its node. The weights of a linear layer stand for w (step of the output /
//! step of the input); an activation `c2 u^2 + c1 u + c0` of the rescaled u stands for a polynomial of the real value,
//! since u is that value over its step and 2^shift. A rescale without a polynomial changes nothing.

use phineus_model::fixed::{Act, Graph, Op, Weights};
use phineus_model::graph::Node;

use super::chain::Part;
use super::{NetworkError, per_output, pooled, shape_of};
use crate::cipher::map::Shape;

/// In order, without numbers if there are no weights.
pub(super) fn parts<'a>(
    graph: &'a Graph,
    weights: Option<&'a [Weights]>,
) -> impl Iterator<Item = Result<Part, NetworkError>> + 'a {
    graph.nodes.iter().enumerate().take(graph.output + 1).filter_map(move |(id, node)| {
        if id > 0 && node.inputs != [id - 1] {
            return Some(Err(NetworkError::Chain { node: node.name.clone(), op: name(&node.op) }));
        }
        let before = id.saturating_sub(1);
        let steps = [graph.facts[before].step, graph.facts[id].step];
        part(node, &graph.nodes[before].shape, steps, weights).transpose()
    })
}

/// The largest real value before every square, as calibrated.
pub(super) fn ranges(graph: &Graph) -> Vec<f64> {
    let range = |(id, node): (usize, &Node<Op>)| match &node.op {
        Op::Act(act @ Act { quadratic: Some(_), rescale, .. }) => {
            let most = f64::from(rescale.hi.unsigned_abs().max(rescale.lo.unsigned_abs()));
            Some(most * middle(act, graph.facts[id.saturating_sub(1)].step))
        }
        _ => None,
    };
    graph.nodes.iter().enumerate().filter_map(range).collect()
}

/// A few inputs that fill the range of the model evenly: multiples of the golden ratio modulo one.
pub(super) fn spread(graph: &Graph) -> Vec<Vec<f64>> {
    let (Some(node), Some(fact)) = (graph.nodes.first(), graph.facts.first()) else { return Vec::new() };
    let (low, high) = (fact.lo as f64 * fact.step, fact.hi as f64 * fact.step);
    let value = |k: usize| low + (high - low) * (k as f64 * 0.618_033_988_749_895).fract();
    (0..8).map(|sample| (0..node.len()).map(|i| value(sample * node.len() + i)).collect()).collect()
}

/// Real number that a unit stands for after the first rescale of an activation.
fn middle(act: &Act, step: f64) -> f64 {
    step * f64::from(act.rescale.shift).exp2()
}

fn part(
    node: &Node<Op>,
    input: &[usize],
    [from, to]: [f64; 2],
    weights: Option<&[Weights]>,
) -> Result<Option<Part>, NetworkError> {
    let (name, op) = (|| node.name.clone(), name(&node.op));
    Ok(match &node.op {
        Op::Input | Op::Reshape => None,
        Op::Linear { conv, weights: index, .. } => {
            let numbers = weights.and_then(|all| all.get(*index)).map(|w| {
                let scaled = w.weights.iter().map(|&w| (f64::from(w) * to / from) as f32).collect();
                (scaled, per_output(w.bias.iter().map(|&b| f64::from(b) * to), node.len()))
            });
            Some(Part::Map { node: name(), shape: shape_of(conv), numbers })
        }
        Op::SumPool(window) => {
            let Some(conv) = pooled(input, window) else {
                return Err(NetworkError::Chain { node: name(), op: "average with a cut window" });
            };
            let numbers = (vec![(to / from) as f32; conv.weight_len()], vec![0.0; node.len()]);
            Some(Part::Map { node: name(), shape: Shape::Conv(conv), numbers: weights.map(|_| numbers) })
        }
        Op::Act(act @ Act { max_pool: None, rescale, quadratic }) if rescale.lo < 0 => quadratic.map(|q| {
            let (unit, out) = (middle(act, from), to / f64::from(q.rescale.shift).exp2());
            let c = [q.c0, q.c1, q.c2].map(|c| f64::from(c) * out);
            let coefficients =
                if weights.is_some() { [c[0], c[1] / unit, c[2] / (unit * unit)] } else { [0.0, 0.0, 1.0] };
            Part::Square { elements: node.len(), coefficients }
        }),
        Op::Act(_) => return Err(NetworkError::Activation { node: name(), op }),
        _ => return Err(NetworkError::Chain { node: name(), op }),
    })
}

fn name(op: &Op) -> &'static str {
    match op {
        Op::Linear { .. } => "linear layer",
        Op::Act(Act { max_pool: Some(_), .. }) => "maximum",
        Op::Act(_) => "rectifier",
        Op::Add { .. } => "sum",
        Op::SumPool(_) => "average",
        Op::Concat => "concatenation",
        Op::Pad { .. } => "padding",
        Op::Slice { .. } => "slice",
        Op::Transpose { .. } => "transpose",
        _ => "operation",
    }
}
