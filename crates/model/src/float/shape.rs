//! What makes a graph well-formed: one shape rule per operation, total on any arguments.

use super::{Graph, Op};
use crate::graph::{Conv, Node, NodeId};
use crate::op;

/// Largest number of elements of one value or one parameter tensor.
pub const MAX_ELEMENTS: usize = 1 << 28;

/// Largest number of axes of a value.
const MAX_AXES: usize = 8;

/// Largest side of a kernel, stride, dilation or padding: keeps all index arithmetic far from overflow.
const MAX_SIDE: usize = 1 << 16;

/// A node that does not fit its inputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node `{node}`: {reason}")]
pub struct GraphError {
    /// Name of the node.
    pub node: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Graph {
    /// Whether node 0 is the only input, inputs precede their readers, and every shape and parameter length is the
    /// one its operation requires.
    ///
    /// # Errors
    /// The first node that is not.
    pub fn check(&self) -> Result<(), GraphError> {
        for (id, node) in self.nodes.iter().enumerate() {
            check_node(&self.nodes[..id], node)?;
        }
        self.check_output()
    }

    pub(super) fn check_output(&self) -> Result<(), GraphError> {
        if self.output < self.nodes.len() {
            return Ok(());
        }
        Err(GraphError { node: self.name.clone(), reason: "the output is no node of the graph" })
    }
}

/// Checks a node against those before it.
pub(super) fn check_node(before: &[Node<Op>], node: &Node<Op>) -> Result<(), GraphError> {
    let fail = |reason| Err(GraphError { node: node.name.clone(), reason });
    let elements = op::elements(&node.shape);
    if !(1..=MAX_AXES).contains(&node.shape.len())
        || !elements.is_some_and(|n| (1..=MAX_ELEMENTS).contains(&n))
    {
        return fail("a value has one to eight axes, no side of zero and at most 2^28 elements");
    }
    match node.op {
        Op::Input if before.is_empty() && node.inputs.is_empty() => Ok(()),
        Op::Input => fail("node 0 is the only input"),
        Op::Reshape => match shapes(before, &node.inputs) {
            Ok(inputs) if matches!(&inputs[..], [x] if op::elements(x) == elements) => Ok(()),
            Ok(_) => fail("a reshape keeps the number of elements of its one input"),
            Err(reason) => fail(reason),
        },
        _ => match infer(before, &node.op, &node.inputs) {
            Ok(shape) if shape == node.shape => Ok(()),
            Ok(_) => fail("the operation produces another shape"),
            Err(reason) => fail(reason),
        },
    }
}

/// Shape of the output of an operation on nodes of `before`.
pub(super) fn infer(before: &[Node<Op>], op: &Op, inputs: &[NodeId]) -> Result<Vec<usize>, &'static str> {
    let inputs = shapes(before, inputs)?;
    if let Op::Concat = op {
        return op::concat::shape(&inputs).ok_or("concatenated values agree in all axes but the first");
    }
    match (op, &inputs[..]) {
        (Op::Input | Op::Reshape, _) => Err("the shape of this operation has to be given"),
        (Op::Linear { conv, weights, bias }, [x]) => linear(conv, weights.len(), bias.len(), x),
        (Op::Affine { scale, shift }, [x]) => {
            let channels = x.first().copied();
            let fits = channels == Some(scale.len()) && channels == Some(shift.len());
            fits.then(|| x.to_vec()).ok_or("one scale and one shift per channel are required")
        }
        (Op::Clip { lo, hi }, [x]) => {
            (lo <= hi).then(|| x.to_vec()).ok_or("a clip needs a lower bound that is at most the upper one")
        }
        (Op::Poly { coefficients }, [x]) => {
            (coefficients.len() >= 3).then(|| x.to_vec()).ok_or("a polynomial has degree two at least")
        }
        (Op::HardSwish, [x]) => Ok(x.to_vec()),
        (Op::Add, [x, y]) => (x == y).then(|| x.to_vec()).ok_or("added values are of one shape"),
        (Op::Where { mask }, [x, y]) => {
            let len = op::elements(x).filter(|_| x == y).unwrap_or_default();
            let kept = op::select::kept(mask, len).filter(|&kept| kept < len);
            kept.map(|_| x.to_vec())
                .ok_or("a choice by element needs two values of one shape and a mask of it")
        }
        (Op::Mul, [x, y]) => op::product::shape(x, y)
            .or_else(|| op::product::shape(y, x))
            .ok_or("factors are of one shape, or one of them is [c, 1, 1]"),
        (Op::AvgPool { window, .. } | Op::MaxPool(window), [[c, h, w]]) => {
            let sides = window.kernel.iter().chain(&window.stride).chain(&window.pads);
            if sides.copied().max().is_none_or(|side| side > MAX_SIDE) || !op::pool::is_sane(window, [*h, *w])
            {
                return Err("the window does not fit the image, or its padding is wider than the kernel");
            }
            let [oh, ow] = op::pool::output(window, [*h, *w]);
            Ok(vec![*c, oh, ow])
        }
        (Op::AvgPool { .. } | Op::MaxPool(_), [_]) => Err("pooling needs an image [c, h, w]"),
        (Op::Pad { pads }, [x]) => op::pad::shape(x, pads).ok_or("padding needs an image [c, h, w]"),
        (Op::Slice { ranges }, [x]) => {
            op::slice::shape(x, ranges).ok_or("a slice needs one range inside the value per axis")
        }
        (Op::Transpose { perm }, [x]) => {
            op::transpose::shape(x, perm).ok_or("a transpose needs a permutation of the axes")
        }
        _ => Err("wrong number of inputs"),
    }
}

fn shapes<'a>(before: &'a [Node<Op>], inputs: &[NodeId]) -> Result<Vec<&'a [usize]>, &'static str> {
    let shape = |&id: &NodeId| before.get(id).map(|node| &node.shape[..]);
    inputs.iter().map(shape).collect::<Option<_>>().ok_or("inputs precede the node that reads them")
}

fn linear(conv: &Conv, weights: usize, bias: usize, x: &[usize]) -> Result<Vec<usize>, &'static str> {
    let sides = [conv.kernel, conv.stride, conv.dilation];
    if sides.iter().flatten().any(|side| !(1..=MAX_SIDE).contains(side))
        || conv.pads.iter().any(|&pad| pad > MAX_SIDE)
    {
        return Err("kernel, stride and dilation lie in 1..=65536, padding in 0..=65536");
    }
    let groups = conv.groups;
    if groups == 0 || !conv.in_channels.is_multiple_of(groups) || !conv.out_channels.is_multiple_of(groups) {
        return Err("the number of groups divides the channels on both sides");
    }
    let flat = x.len() == 1;
    let [h, w] = conv.input;
    if x != [conv.in_channels, h, w] && !(flat && x == [conv.in_channels] && conv.input == [1, 1]) {
        return Err("the layer is made for another input");
    }
    let [oh, ow] = conv.output();
    if oh == 0 || ow == 0 {
        return Err("the kernel does not fit the padded image");
    }
    let [kh, kw] = conv.kernel;
    if op::elements(&[conv.out_channels, conv.in_channels / groups, kh, kw]) != Some(weights)
        || weights > MAX_ELEMENTS
    {
        return Err("the number of weights is not out x in / groups x kernel");
    }
    if bias != conv.out_channels {
        return Err("one bias per output channel is required");
    }
    match flat {
        true if (oh, ow) != (1, 1) => Err("a layer on a flat value has one output position"),
        true => Ok(vec![conv.out_channels]),
        false => Ok(vec![conv.out_channels, oh, ow]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::float::{Builder, Head};

    #[test]
    fn hostile_layers_are_refused_without_overflow() {
        let mut b = Builder::new("g", "x", &[4, 8, 8]).unwrap();
        let good = Conv { input: [8, 8], kernel: [3, 3], pads: [1; 4], ..Conv::dense(4, 2) };
        let mut push = |conv: Conv, weights, bias| {
            b.push("l", Op::Linear { conv, weights: vec![0.0; weights], bias: vec![0.0; bias] }, &[0]).is_ok()
        };
        assert!(push(good, 72, 2));
        assert!(!push(good, 71, 2));
        assert!(!push(good, 72, 3));
        assert!(!push(Conv { groups: 3, ..good }, 72, 2));
        assert!(!push(Conv { groups: 0, ..good }, 72, 2));
        assert!(!push(Conv { kernel: [0, 3], ..good }, 72, 2));
        assert!(!push(Conv { dilation: [usize::MAX, 1], ..good }, 72, 2));
        assert!(!push(Conv { pads: [usize::MAX, 0, 1, 0], ..good }, 72, 2));
        assert!(!push(Conv { kernel: [11, 11], ..good }, 968, 2));
        assert!(!push(Conv { input: [8, 9], ..good }, 72, 2));
    }

    #[test]
    fn check_finds_a_forged_shape() {
        let mut b = Builder::new("g", "x", &[4, 2, 2]).unwrap();
        let y = b.reshape("y", 0, &[16]).unwrap();
        assert!(b.reshape("z", 0, &[15]).is_err());
        assert!(b.push("s", Op::Add, &[0, y]).is_err());
        assert!(b.push("s", Op::Add, &[0, 7]).is_err());
        assert!(b.push("s", Op::Input, &[]).is_err());
        let mut g = b.finish(y, Head::Logits).unwrap();
        g.check().unwrap();
        g.nodes[1].shape = vec![2, 2];
        assert_eq!(g.check().unwrap_err().node, "y");
        g.nodes[1].shape = vec![16];
        g.output = 2;
        assert!(g.check().is_err());
        assert!(Builder::new("g", "x", &[usize::MAX, 2]).is_err());
        assert!(Builder::new("g", "x", &[0]).is_err());
        assert!(Builder::new("g", "x", &[1; 9]).is_err());
    }
}
