//! Batch normalisations into the layers around them.
//!
//! With `A(x) = s x + t` per channel:
//! * after a layer, `A(W x + b) = (s W) x + (s b + t)`, if nothing else reads the layer;
//! * before a layer, `W A(x) + b = (W s) x + (W t + b)`, if the layer adds no padding (its zeros would have to become
//!   `-t / s`) or `t = 0`;
//! * after another, `A'(A(x)) = (s' s) x + (s' t + t')`;
//! * what remains is nothing where it changes nothing, else a depthwise layer with a 1x1 kernel.

use super::{PassError, fuse, rewrite, source};
use crate::float::{Builder, Graph, GraphError, Op};
use crate::graph::{Conv, Node, NodeId};

/// Leaves no [`Op::Affine`] in the graph.
///
/// # Errors
/// A graph that is not well-formed.
pub fn run(graph: Graph) -> Result<Graph, PassError> {
    let graph = rewrite(graph, |builder, node, readers| fold(builder, node, readers == 1))?;
    rewrite(fuse::without_dead_nodes(graph), lower)
}

fn fold(builder: &mut Builder, mut node: Node<Op>, only_reader: bool) -> Result<NodeId, GraphError> {
    if let Op::Affine { scale, shift } = &node.op
        && let (true, Some(&input)) = (only_reader, node.inputs.first())
        && let Some(before) = builder.op_mut(input)
        && append(before, scale, shift)
    {
        return Ok(input);
    }
    if let Op::Linear { conv, weights, bias } = &mut node.op
        && let Some((before, x)) = source(builder, &node.inputs)
        && let Op::Affine { scale, shift } = &before.op
        && (conv.pads == [0; 4] || shift.iter().all(|&t| t == 0.0))
    {
        prepend(conv, weights, bias, scale, shift);
        node.inputs = vec![x];
    }
    builder.push_node(node)
}

/// Applies an affine map to the result of a layer or of another affine map; false where it is neither.
fn append(before: &mut Op, scale: &[f32], shift: &[f32]) -> bool {
    match before {
        Op::Linear { weights, bias, .. } => {
            let per_output = weights.len() / bias.len();
            let rows = weights.chunks_exact_mut(per_output).zip(bias);
            for ((row, b), (s, t)) in rows.zip(scale.iter().zip(shift)) {
                row.iter_mut().for_each(|w| *w *= s);
                *b = *b * s + t;
            }
        }
        Op::Affine { scale: inner, shift: offset } => {
            for ((a, b), (s, t)) in inner.iter_mut().zip(offset).zip(scale.iter().zip(shift)) {
                *a *= s;
                *b = *b * s + t;
            }
        }
        _ => return false,
    }
    true
}

/// Makes a layer apply an affine map to its input first.
pub(super) fn prepend(conv: &Conv, weights: &mut [f32], bias: &mut [f32], scale: &[f32], shift: &[f32]) {
    let per_group = conv.in_channels / conv.groups;
    let outputs_per_group = conv.out_channels / conv.groups;
    let taps = conv.kernel[0] * conv.kernel[1];
    for (output, (row, b)) in weights.chunks_exact_mut(per_group * taps).zip(bias).enumerate() {
        let first = output / outputs_per_group * per_group;
        let channels = scale.iter().zip(shift).skip(first);
        let mut offset = 0.0f64;
        for (kernel, (s, t)) in row.chunks_exact_mut(taps).zip(channels) {
            for w in kernel {
                offset += f64::from(*w) * f64::from(*t);
                *w *= s;
            }
        }
        *b += offset as f32;
    }
}

/// Whether a map changes nothing; products of scales and their inverses are rounded.
fn is_identity(scale: &[f32], shift: &[f32]) -> bool {
    scale.iter().all(|s| (s - 1.0).abs() <= 2.0 * f32::EPSILON) && shift.iter().all(|&t| t == 0.0)
}

fn lower(builder: &mut Builder, node: Node<Op>, _: usize) -> Result<NodeId, GraphError> {
    let Op::Affine { scale, shift } = node.op else { return builder.push_node(node) };
    if let (&[x], true) = (&node.inputs[..], is_identity(&scale, &shift)) {
        return Ok(x);
    }
    let channels = scale.len();
    let input = match node.shape[..] {
        [_, h, w] => [h, w],
        _ => [node.shape.iter().skip(1).product(), 1],
    };
    let conv = Conv { input, groups: channels, ..Conv::dense(channels, channels) };
    let op = Op::Linear { conv, weights: scale, bias: shift };
    if matches!(node.shape.len(), 1 | 3) {
        return builder.push_node(Node { op, ..node });
    }
    let &[x] = &node.inputs[..] else { return builder.push(&node.name, op, &node.inputs) };
    let image = builder.reshape(&format!("{}.image", node.name), x, &[channels, input[0], 1])?;
    let result = builder.push(&format!("{}.scaled", node.name), op, &[image])?;
    builder.reshape(&node.name, result, &node.shape)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{affine, assert_same, count, layer};
    use super::*;
    use crate::float::Head;

    fn conv(pads: usize, groups: usize) -> Conv {
        Conv { input: [5, 5], kernel: [3, 3], pads: [pads; 4], groups, ..Conv::dense(4, 6) }
    }

    fn layers(graph: &Graph) -> usize {
        count(graph, |op| matches!(op, Op::Linear { .. }))
    }

    #[test]
    fn folds_on_both_sides_of_a_grouped_layer() {
        for groups in [1, 2] {
            let mut b = Builder::new("g", "x", &[4, 5, 5]).unwrap();
            let before = b.push("before", affine(4, 1), &[0]).unwrap();
            let again = b.push("again", affine(4, 2), &[before]).unwrap();
            let c = b.push("c", layer(conv(0, groups), 3), &[again]).unwrap();
            let after = b.push("after", affine(6, 4), &[c]).unwrap();
            let g = b.finish(after, Head::Logits).unwrap();
            let folded = run(g.clone()).unwrap();
            assert_same(&g, &folded);
            assert_eq!(folded.nodes.len(), 2);
        }
    }

    #[test]
    fn padding_and_other_readers_keep_it_a_layer() {
        let mut b = Builder::new("g", "x", &[4, 5, 5]).unwrap();
        let before = b.push("before", affine(4, 1), &[0]).unwrap();
        let c = b.push("c", layer(conv(1, 1), 3), &[before]).unwrap();
        let after = b.push("after", affine(6, 4), &[c]).unwrap();
        let sum = b.push("sum", Op::Add, &[c, after]).unwrap();
        let g = b.finish(sum, Head::Logits).unwrap();
        let folded = run(g.clone()).unwrap();
        assert_same(&g, &folded);
        assert_eq!((layers(&folded), folded.nodes.len()), (3, 5));
    }

    #[test]
    fn a_pure_scale_folds_before_padding() {
        let mut b = Builder::new("g", "x", &[4, 5, 5]).unwrap();
        let scale = Op::Affine { scale: vec![2.0, -1.0, 0.5, 3.0], shift: vec![0.0; 4] };
        let before = b.push("before", scale, &[0]).unwrap();
        let c = b.push("c", layer(conv(1, 1), 3), &[before]).unwrap();
        let g = b.finish(c, Head::Logits).unwrap();
        let folded = run(g.clone()).unwrap();
        assert_same(&g, &folded);
        assert_eq!(layers(&folded), 1);
    }

    #[test]
    fn any_rank_is_lowered() {
        for shape in [&[4][..], &[4, 3], &[4, 3, 2], &[4, 3, 2, 2]] {
            let mut b = Builder::new("g", "x", shape).unwrap();
            let a = b.push("a", affine(4, 1), &[0]).unwrap();
            let g = b.finish(a, Head::Logits).unwrap();
            let lowered = run(g.clone()).unwrap();
            assert_same(&g, &lowered);
            assert_eq!(layers(&lowered), 1, "{shape:?}");
        }
    }
}
