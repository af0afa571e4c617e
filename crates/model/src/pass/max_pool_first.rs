//! Maxima before clips.
//!
//! `clamp` is monotone, so `max(clamp(x_1), .., clamp(x_n)) = clamp(max(x_1, .., x_n))`: the clip runs once per window
//! instead of once per place, and the maximum shares its circuit.

use super::{PassError, rewrite, source};
use crate::float::{Builder, Graph, GraphError, Op};
use crate::graph::{Node, NodeId};

/// Swaps every [`Op::MaxPool`] with an [`Op::Clip`] in front of it that nothing else reads.
///
/// # Errors
/// A graph that is not well-formed.
pub fn run(graph: Graph) -> Result<Graph, PassError> {
    rewrite(graph, |builder, node, readers| swap(builder, node, readers == 1))
}

fn swap(builder: &mut Builder, node: Node<Op>, only_reader: bool) -> Result<NodeId, GraphError> {
    match (&node.op, source(builder, &node.inputs)) {
        (&Op::MaxPool(window), Some((&Node { op: Op::Clip { lo, hi }, .. }, x))) if only_reader => {
            let maximum = builder.push(&format!("{}.max", node.name), Op::MaxPool(window), &[x])?;
            builder.push(&node.name, Op::Clip { lo, hi }, &[maximum])
        }
        _ => builder.push_node(node),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fuse;
    use super::super::tests::assert_same;
    use super::*;
    use crate::float::Head;
    use crate::graph::Window;

    #[test]
    fn only_where_the_clip_has_no_other_reader() {
        let window = Window { kernel: [3, 3], stride: [1, 1], pads: [1; 4], ceil: false };
        for shared in [false, true] {
            let mut b = Builder::new("g", "x", &[2, 4, 4]).unwrap();
            let clip = b.push("clip", Op::Clip { lo: -0.25, hi: 0.5 }, &[0]).unwrap();
            let max = b.push("max", Op::MaxPool(window), &[clip]).unwrap();
            let other = if shared { clip } else { 0 };
            let sum = b.push("sum", Op::Add, &[max, other]).unwrap();
            let g = b.finish(sum, Head::Logits).unwrap();
            let after = fuse::run(run(g.clone()).unwrap()).unwrap();
            assert_same(&g, &after);
            assert_eq!(matches!(after.nodes[1].op, Op::MaxPool(_)), !shared);
            assert_eq!(after.nodes.len(), 4);
        }
    }
}
