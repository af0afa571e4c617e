//! Two operations that are one, operations that do nothing, and nodes that nobody reads.
//!
//! * `clamp_[c,d](clamp_[a,b](x)) = clamp_[a',b'](x)` with `a' = clamp_[c,d](a)`, `b' = clamp_[c,d](b)`;
//! * a reshape of a reshape is the last one; transposes compose as permutations; slices compose per axis:
//!   `start + step * (start' + step' i)`;
//! * movers and windows that change nothing disappear.

use super::{PassError, rewrite, source};
use crate::float::{Builder, Graph, Op};
use crate::graph::{Node, NodeId};

/// Fuses chains and removes what is not needed.
///
/// # Errors
/// A graph that is not well-formed.
pub fn run(graph: Graph) -> Result<Graph, PassError> {
    let graph = rewrite(graph, |builder, node, _| {
        let node = fused(builder, node);
        match node.inputs[..] {
            [x] if does_nothing(builder, &node, x) => Ok(x),
            _ => builder.push_node(node),
        }
    })?;
    Ok(without_dead_nodes(graph))
}

/// The node, reading past the one in front of it where both are one operation.
fn fused(builder: &Builder, mut node: Node<Op>) -> Node<Op> {
    let Some((before, x)) = source(builder, &node.inputs) else { return node };
    match (&mut node.op, &before.op) {
        (Op::Reshape, Op::Reshape) => {}
        (Op::Clip { lo, hi }, Op::Clip { lo: a, hi: b }) => {
            (*lo, *hi) = (a.max(*lo).min(*hi), b.max(*lo).min(*hi));
        }
        (Op::Transpose { perm }, Op::Transpose { perm: inner }) => {
            *perm = perm.iter().filter_map(|&axis| inner.get(axis).copied()).collect();
        }
        (Op::Slice { ranges }, Op::Slice { ranges: inner }) => {
            for ((start, end, step), (first, _, stride)) in ranges.iter_mut().zip(inner) {
                // No value is empty: the last index taken is below `end`.
                (*start, *end, *step) =
                    (first + *start * stride, first + (*end - 1) * stride + 1, *step * stride);
            }
        }
        _ => return node,
    }
    node.inputs = vec![x];
    node
}

fn does_nothing(builder: &Builder, node: &Node<Op>, x: NodeId) -> bool {
    let same_shape = builder.node(x).is_some_and(|before| before.shape == node.shape);
    match &node.op {
        Op::Reshape | Op::Slice { .. } | Op::Pad { .. } | Op::Concat => same_shape,
        Op::Clip { lo, hi } => (*lo, *hi) == (f32::NEG_INFINITY, f32::INFINITY),
        Op::Transpose { perm } => perm.iter().copied().eq(0..perm.len()),
        Op::AvgPool { window, .. } | Op::MaxPool(window) => window.kernel == [1, 1] && same_shape,
        _ => false,
    }
}

/// The nodes that the output depends on, and the input.
pub(super) fn without_dead_nodes(graph: Graph) -> Graph {
    let mut live = vec![false; graph.nodes.len()];
    let mark = |live: &mut Vec<bool>, id: NodeId| {
        if let Some(flag) = live.get_mut(id) {
            *flag = true;
        }
    };
    mark(&mut live, 0);
    mark(&mut live, graph.output);
    for id in (0..graph.nodes.len()).rev() {
        if live[id] {
            graph.nodes[id].inputs.iter().for_each(|&input| mark(&mut live, input));
        }
    }
    let place: Vec<NodeId> = live
        .iter()
        .scan(0, |next, &live| {
            let place = *next;
            *next += usize::from(live);
            Some(place)
        })
        .collect();
    let renumber = |id: NodeId| place.get(id).copied().unwrap_or(id);
    let mut nodes = Vec::new();
    for (node, _) in graph.nodes.into_iter().zip(&live).filter(|(_, live)| **live) {
        let inputs = node.inputs.iter().map(|&id| renumber(id)).collect();
        nodes.push(Node { inputs, ..node });
    }
    Graph { nodes, output: renumber(graph.output), ..graph }
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_same;
    use super::*;
    use crate::float::Head;
    use crate::graph::Window;

    fn chain(shape: &[usize], ops: &[Op]) -> Graph {
        let mut b = Builder::new("g", "x", shape).unwrap();
        let mut last = 0;
        for (i, op) in ops.iter().enumerate() {
            // A dead branch beside every step.
            b.push("dead", Op::Add, &[last, last]).unwrap();
            last = b.push(&format!("{i}"), op.clone(), &[last]).unwrap();
        }
        b.finish(last, Head::Logits).unwrap()
    }

    fn nodes_after(shape: &[usize], ops: &[Op]) -> usize {
        let before = chain(shape, ops);
        let after = run(before.clone()).unwrap();
        assert_same(&before, &after);
        after.nodes.len() - 1
    }

    #[test]
    fn clips() {
        let clip = |lo, hi| Op::Clip { lo, hi };
        for (a, b) in
            [((-0.5, 0.5), (0.0, 9.0)), ((0.0, 0.2), (0.4, 0.6)), ((0.0, f32::INFINITY), (-1.0, 0.3))]
        {
            assert_eq!(nodes_after(&[64], &[clip(a.0, a.1), clip(b.0, b.1)]), 1);
        }
        assert_eq!(nodes_after(&[4], &[clip(f32::NEG_INFINITY, f32::INFINITY)]), 0);
    }

    #[test]
    fn movers() {
        let transpose = |perm: [usize; 3]| Op::Transpose { perm: perm.to_vec() };
        assert_eq!(nodes_after(&[2, 3, 4], &[transpose([2, 0, 1]), transpose([1, 0, 2])]), 1);
        assert_eq!(nodes_after(&[2, 3, 4], &[transpose([2, 0, 1]), transpose([1, 2, 0])]), 0);
        let slice = |ranges: [(usize, usize, usize); 2]| Op::Slice { ranges: ranges.to_vec() };
        assert_eq!(
            nodes_after(&[9, 20], &[slice([(1, 9, 2), (3, 20, 3)]), slice([(1, 4, 2), (2, 6, 3)])]),
            1
        );
        assert_eq!(nodes_after(&[9, 20], &[slice([(0, 9, 1), (0, 20, 1)])]), 0);
        assert_eq!(nodes_after(&[2, 3, 4], &[Op::Pad { pads: [[0, 0]; 3] }, Op::Concat]), 0);
        let one = Window { kernel: [1, 1], stride: [1, 1], pads: [0; 4], ceil: false };
        assert_eq!(
            nodes_after(&[2, 3, 4], &[Op::MaxPool(one), Op::AvgPool { window: one, count_pad: true }]),
            0
        );
    }

    #[test]
    fn reshapes() {
        let mut b = Builder::new("g", "x", &[2, 6]).unwrap();
        let y = b.reshape("y", 0, &[12]).unwrap();
        let z = b.reshape("z", y, &[3, 4]).unwrap();
        let back = b.reshape("back", z, &[2, 6]).unwrap();
        let g = b.clone().finish(z, Head::Logits).unwrap();
        assert_eq!(run(g).unwrap().nodes.len(), 2);
        assert_eq!(run(b.finish(back, Head::Logits).unwrap()).unwrap().nodes.len(), 1);
    }
}
