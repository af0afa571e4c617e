//! Gates made of clips.
//!
//! * `s clamp(x, a, b) + t = clamp(s x + t, s a + t, s b + t)` for one `s > 0` and `t` of all channels: the affine map moves
//!   into the layer in front, and the clip becomes the last operation;
//! * `x clamp(x / 6 + 1/2, 0, 1)` is a hard swish of `x`, and `x clamp(x + 3, 0, 6)` is six of them.

use super::{PassError, fuse, rewrite, source};
use crate::float::{Builder, Graph, GraphError, Op};
use crate::graph::{Node, NodeId};

/// Moves uniform affine maps in front of clips and finds hard swishes.
///
/// # Errors
/// A graph that is not well-formed.
pub fn run(graph: Graph) -> Result<Graph, PassError> {
    let graph = rewrite(graph, |builder, node, readers| clip_last(builder, node, readers == 1))?;
    let graph = rewrite(fuse::without_dead_nodes(graph), |builder, node, _| swish(builder, node))?;
    Ok(fuse::without_dead_nodes(graph))
}

fn clip_last(builder: &mut Builder, node: Node<Op>, only_reader: bool) -> Result<NodeId, GraphError> {
    match (uniform(&node.op), source(builder, &node.inputs)) {
        (Some((s, t)), Some((&Node { op: Op::Clip { lo, hi }, .. }, x))) if only_reader && s > 0.0 => {
            let line = builder.push(&format!("{}.line", node.name), node.op, &[x])?;
            builder.push(&node.name, Op::Clip { lo: s * lo + t, hi: s * hi + t }, &[line])
        }
        _ => builder.push_node(node),
    }
}

fn swish(builder: &mut Builder, node: Node<Op>) -> Result<NodeId, GraphError> {
    let (Op::Mul, &[a, b]) = (&node.op, &node.inputs[..]) else { return builder.push_node(node) };
    let Some((x, factor)) =
        [(a, b), (b, a)].into_iter().find_map(|(x, gate)| Some((x, factor(builder, x, gate)?)))
    else {
        return builder.push_node(node);
    };
    if (factor - 1.0).abs() < CLOSE {
        return builder.push(&node.name, Op::HardSwish, &[x]);
    }
    let swish = builder.push(&format!("{}.swish", node.name), Op::HardSwish, &[x])?;
    let channels = node.shape.first().copied().unwrap_or_default();
    let scale = Op::Affine { scale: vec![factor; channels], shift: vec![0.0; channels] };
    builder.push(&node.name, scale, &[swish])
}

/// `k`, if `gate = k clamp(x / 6 + 1/2, 0, 1)`.
fn factor(builder: &Builder, x: NodeId, gate: NodeId) -> Option<f32> {
    let clip = builder.node(gate)?;
    let Op::Clip { lo: 0.0, hi } = clip.op else { return None };
    let (mut s, mut t, mut at) = (1.0, 0.0, *clip.inputs.first()?);
    while at != x {
        let line = builder.node(at)?;
        let (scale, shift) = uniform(&line.op)?;
        (s, t, at) = (s * scale, s * shift + t, *line.inputs.first()?);
    }
    let is = |number: f32, wanted: f32| (number / wanted - 1.0).abs() < CLOSE;
    (hi > 0.0 && is(s, hi / 6.0) && is(t, hi / 2.0)).then_some(hi)
}

/// Scale and shift of an affine map that treats all channels alike.
fn uniform(op: &Op) -> Option<(f32, f32)> {
    let Op::Affine { scale, shift } = op else { return None };
    let all = |values: &[f32]| values.first().copied().filter(|first| values.iter().all(|v| v == first));
    Some((all(scale)?, all(shift)?))
}

/// How far exporters may be from 1/6.
const CLOSE: f32 = 1e-3;

#[cfg(test)]
mod tests {
    use super::super::canonical;
    use super::super::tests::{assert_same, count, layer};
    use super::*;
    use crate::float::Head;
    use crate::graph::Conv;

    fn line(scale: f32, shift: f32) -> Op {
        Op::Affine { scale: vec![scale; 3], shift: vec![shift; 3] }
    }

    /// `x * k clamp(s x + t, 0, hi)`, behind and in front of a layer.
    fn gated(s: f32, t: f32, hi: f32, k: f32) -> Graph {
        let conv = Conv { input: [4, 4], ..Conv::dense(3, 3) };
        let mut b = Builder::new("g", "x", &[3, 4, 4]).unwrap();
        let x = b.push("c", layer(conv, 1), &[0]).unwrap();
        let y = b.push("line", line(s, t), &[x]).unwrap();
        let y = b.push("clip", Op::Clip { lo: 0.0, hi }, &[y]).unwrap();
        let y = b.push("scale", line(k, 0.0), &[y]).unwrap();
        let y = b.push("mul", Op::Mul, &[y, x]).unwrap();
        let y = b.push("d", layer(conv, 2), &[y]).unwrap();
        b.finish(y, Head::Logits).unwrap()
    }

    #[test]
    fn all_spellings_of_a_hard_swish_are_found() {
        for (s, t, hi, k) in [
            (1.0, 3.0, 6.0, 1.0 / 6.0),
            (1.0 / 6.0, 0.5, 1.0, 1.0),
            (0.166_67, 0.5, 1.0, 1.0),
            (1.0, 3.0, 6.0, 1.0),
        ] {
            let before = gated(s, t, hi, k);
            let after = canonical(before.clone()).unwrap();
            if s != 0.166_67 {
                assert_same(&before, &after);
            }
            assert_eq!(count(&after, |op| *op == Op::HardSwish), 1, "{s} {t} {hi} {k}");
            assert_eq!(after.nodes.len(), 4);
        }
    }

    #[test]
    fn other_gates_stay_products_and_end_with_their_clip() {
        for (s, t, hi, k) in [(0.25, 0.5, 1.0, 1.0), (1.0, 3.0, 5.0, 0.2), (1.0, 2.0, 6.0, 1.0 / 6.0)] {
            let before = gated(s, t, hi, k);
            let after = canonical(before.clone()).unwrap();
            assert_same(&before, &after);
            assert_eq!(count(&after, |op| *op == Op::HardSwish), 0);
            let mul = after.nodes.iter().find(|node| node.op == Op::Mul).unwrap();
            assert!(mul.inputs.iter().any(|&x| matches!(after.nodes[x].op, Op::Clip { .. })));
        }
    }
}
