//! Padding into the layers that follow it.
//!
//! A convolution of `Pad_p(x)` with its own padding `q` is the convolution of `x` with padding `p + q`. The same
//! holds for an average whose padded places count. Padded channels stay.

use super::{PassError, rewrite, source};
use crate::float::{Builder, Graph, GraphError, Op};
use crate::graph::{Node, NodeId};

/// Moves every [`Op::Pad`] of rows and columns into the convolutions and averages that read it.
///
/// # Errors
/// A graph that is not well-formed.
pub fn run(graph: Graph) -> Result<Graph, PassError> {
    rewrite(graph, |builder, node, _| fold(builder, node))
}

fn fold(builder: &mut Builder, mut node: Node<Op>) -> Result<NodeId, GraphError> {
    let Some((before, x)) = source(builder, &node.inputs) else { return builder.push_node(node) };
    let Op::Pad { pads: [[0, 0], [top, bottom], [left, right]] } = before.op else {
        return builder.push_node(node);
    };
    let outer = [top, left, bottom, right];
    let sum = |inner: [usize; 4]| std::array::from_fn(|side| inner[side] + outer[side]);
    match &mut node.op {
        Op::Linear { conv, .. } => {
            conv.input = [conv.input[0] - top - bottom, conv.input[1] - left - right];
            conv.pads = sum(conv.pads);
        }
        Op::AvgPool { window, count_pad } if !window.ceil && (*count_pad || window.pads == [0; 4]) => {
            let pads: [usize; 4] = sum(window.pads);
            // Wider padding than the kernel would leave windows without a place of the image.
            let [kh, kw] = window.kernel;
            if pads[0].max(pads[2]) >= kh || pads[1].max(pads[3]) >= kw {
                return builder.push_node(node);
            }
            (window.pads, *count_pad) = (pads, true);
        }
        _ => return builder.push_node(node),
    }
    node.inputs = vec![x];
    builder.push_node(node)
}

#[cfg(test)]
mod tests {
    use super::super::fuse;
    use super::super::tests::{assert_same, layer};
    use super::*;
    use crate::float::Head;
    use crate::graph::{Conv, Window};

    fn padded(pads: [[usize; 2]; 3], op: Op) -> Graph {
        let mut b = Builder::new("g", "x", &[2, 4, 5]).unwrap();
        let p = b.push("p", Op::Pad { pads }, &[0]).unwrap();
        let y = b.push("y", op, &[p]).unwrap();
        b.finish(y, Head::Logits).unwrap()
    }

    fn nodes_after(graph: &Graph) -> usize {
        let after = fuse::run(run(graph.clone()).unwrap()).unwrap();
        assert_same(graph, &after);
        after.nodes.len()
    }

    #[test]
    fn into_convolutions() {
        let conv =
            Conv { input: [5, 8], kernel: [3, 2], pads: [1, 0, 0, 2], stride: [2, 1], ..Conv::dense(2, 3) };
        assert_eq!(nodes_after(&padded([[0, 0], [1, 0], [2, 1]], layer(conv, 1))), 2);
        let channels = Conv { input: [4, 5], ..Conv::dense(5, 3) };
        assert_eq!(nodes_after(&padded([[1, 2], [0, 0], [0, 0]], layer(channels, 1))), 3);
    }

    #[test]
    fn into_averages_that_count_it() {
        let window = |pads| Window { kernel: [3, 3], stride: [1, 2], pads, ceil: false };
        let average = |pads, count_pad| Op::AvgPool { window: window(pads), count_pad };
        let one = [[0, 0], [1, 1], [1, 1]];
        assert_eq!(nodes_after(&padded(one, average([0; 4], false))), 2);
        assert_eq!(nodes_after(&padded(one, average([1; 4], true))), 2);
        assert_eq!(nodes_after(&padded(one, average([1; 4], false))), 3);
        assert_eq!(nodes_after(&padded([[0, 0], [3, 0], [0, 0]], average([0; 4], true))), 3);
        assert_eq!(nodes_after(&padded(one, Op::MaxPool(window([0; 4])))), 3);
    }
}
