//! Rewrites of a graph that leave its meaning as it is and its private evaluation cheaper. Each pass is one file with
//! its algebra; [`canonical`] runs them all.
//!
//! A canonical graph has no product that is a hard swish, no [`Op::Affine`], no padding in front of a layer that can pad by itself, no maximum after
//! a clip, no chain of movers that is one mover, and no node that the output does not depend on.

pub mod defer_scale;
pub mod fold_affine;
pub mod fold_pad;
pub mod fuse;
pub mod gates;
pub mod max_pool_first;

use crate::float::{Builder, Graph, GraphError, Op};
use crate::graph::{Node, NodeId};

/// A graph that cannot be rewritten because it is not well-formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct PassError(#[from] GraphError);

/// All passes in order.
///
/// # Errors
/// A graph that is not well-formed.
pub fn canonical(graph: Graph) -> Result<Graph, PassError> {
    graph.check()?;
    let graph = fuse::run(graph)?;
    let graph = gates::run(graph)?;
    let graph = fold_pad::run(graph)?;
    let graph = fold_affine::run(graph)?;
    let graph = max_pool_first::run(graph)?;
    fuse::run(graph)
}

/// Builds a graph anew, node by node. `visit` gets each node with its inputs already renumbered, and the number of
/// readers its first input has in the old graph; it answers which new node takes the old one's place.
pub(crate) fn rewrite(
    graph: Graph,
    mut visit: impl FnMut(&mut Builder, Node<Op>, usize) -> Result<NodeId, GraphError>,
) -> Result<Graph, PassError> {
    let readers = readers(&graph);
    let Graph { name, nodes, output, head } = graph;
    let mut nodes = nodes.into_iter();
    let ill_formed = |reason| GraphError { node: name.clone(), reason };
    let input = nodes.next().ok_or_else(|| ill_formed("the graph is empty"))?;
    let mut builder = Builder::new(&name, &input.name, &input.shape)?;
    let mut renumbered = vec![0];
    for mut node in nodes {
        let first_readers = node.inputs.first().and_then(|&id| readers.get(id)).copied().unwrap_or_default();
        for input in &mut node.inputs {
            *input = *renumbered.get(*input).ok_or_else(|| ill_formed("inputs precede their readers"))?;
        }
        renumbered.push(visit(&mut builder, node, first_readers)?);
    }
    let output = *renumbered.get(output).ok_or_else(|| ill_formed("the output is no node"))?;
    Ok(builder.finish(output, head)?)
}

/// How many nodes read each value; the end of the network is a reader.
fn readers(graph: &Graph) -> Vec<usize> {
    let mut readers = vec![0; graph.nodes.len()];
    for &id in graph.nodes.iter().flat_map(|node| &node.inputs).chain([&graph.output]) {
        if let Some(count) = readers.get_mut(id) {
            *count += 1;
        }
    }
    readers
}

/// The node behind the first of some inputs, and that node's own first input.
fn source<'a>(builder: &'a Builder, inputs: &[NodeId]) -> Option<(&'a Node<Op>, NodeId)> {
    let source = builder.node(*inputs.first()?)?;
    Some((source, *source.inputs.first()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::graph::{Conv, Window};

    /// Deterministic numbers in [-1, 1).
    pub(crate) fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729 + 13) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    /// A layer with such weights.
    pub(crate) fn layer(conv: Conv, seed: usize) -> Op {
        let (weights, bias) = (numbers(conv.weight_len(), seed), numbers(conv.out_channels, seed + 1));
        Op::Linear { conv, weights, bias }
    }

    /// A normalisation with scales in [0.5, 2.5).
    pub(crate) fn affine(channels: usize, seed: usize) -> Op {
        let scale = numbers(channels, seed).into_iter().map(|x| x + 1.5).collect();
        Op::Affine { scale, shift: numbers(channels, seed + 1) }
    }

    /// Both graphs compute the same, within rounding.
    pub(crate) fn assert_same(before: &Graph, after: &Graph) {
        after.check().unwrap();
        let x = numbers(before.nodes[0].len(), 5);
        let (a, b) = (before.run(&x).unwrap(), after.run(&x).unwrap());
        assert_eq!(a.len(), b.len());
        let size = a.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() <= 1e-4 * size, "{a} {b}");
        }
    }

    /// How many operations satisfy a test.
    pub(crate) fn count(graph: &Graph, test: impl Fn(&Op) -> bool) -> usize {
        graph.nodes.iter().filter(|node| test(&node.op)).count()
    }

    #[test]
    fn canonical_form_of_a_small_network() {
        let mut b = Builder::new("g", "x", &[3, 9, 9]).unwrap();
        let s = b.push("s", affine(3, 1), &[0]).unwrap();
        let p = b.push("p", Op::Pad { pads: [[0, 0], [1, 1], [1, 1]] }, &[s]).unwrap();
        let conv = Conv { input: [11, 11], kernel: [3, 3], ..Conv::dense(3, 4) };
        let c = b.push("c", layer(conv, 2), &[p]).unwrap();
        let n = b.push("n", affine(4, 3), &[c]).unwrap();
        let r = b.push("r", Op::Clip { lo: 0.0, hi: f32::INFINITY }, &[n]).unwrap();
        let window = Window { kernel: [3, 3], stride: [2, 2], pads: [1; 4], ceil: false };
        let m = b.push("m", Op::MaxPool(window), &[r]).unwrap();
        let f = b.reshape("f", m, &[100]).unwrap();
        let d = b.push("d", layer(Conv::dense(100, 5), 4), &[f]).unwrap();
        let g = b.finish(d, crate::float::Head::Softmax).unwrap();

        let after = canonical(g.clone()).unwrap();
        assert_same(&g, &after);
        assert_eq!(after.head, g.head);
        let kinds: Vec<_> = after.nodes.iter().map(|node| std::mem::discriminant(&node.op)).collect();
        let linear = std::mem::discriminant(&after.nodes[1].op);
        // The normalisation in front of a padded layer stays, as a depthwise layer of its own.
        assert!(matches!(&after.nodes[1].op, Op::Linear { conv, .. } if conv.groups == 3));
        assert!(matches!(&after.nodes[2].op, Op::Linear { conv, .. } if conv.pads == [1; 4]));
        assert!(matches!(after.nodes[3].op, Op::MaxPool(_)));
        assert!(matches!(after.nodes[4].op, Op::Clip { .. }));
        assert_eq!((kinds.len(), kinds[6]), (7, linear));
    }

    #[test]
    fn ill_formed_graphs_are_errors() {
        let b = Builder::new("g", "x", &[4]).unwrap();
        let mut g = b.finish(0, crate::float::Head::Logits).unwrap();
        g.output = 3;
        assert!(canonical(g.clone()).is_err());
        g.nodes.clear();
        assert!(canonical(g.clone()).is_err());
    }
}
