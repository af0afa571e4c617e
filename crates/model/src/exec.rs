//! The network in 32-bit floating point: the meaning of an ONNX file as its framework would compute it, one image
//! at a time. Calibration and accuracy figures run on it; callers parallelise over images.
//!
//! Convolutions are matrix products of the weights with the columns of the input ([`crate::op::im2col`]). Memory:
//! [`Graph::run`] drops a value after its last reader.

mod gemm;

use crate::float::{Graph, GraphError, Op};
use crate::graph::{Conv, Node, Window};
use crate::op;

/// Why a network cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The input has the wrong length.
    #[error("the network takes {expected} numbers, {found} are given")]
    InputLength {
        /// Product of the input's shape.
        expected: usize,
        /// Length of the slice.
        found: usize,
    },
    /// The graph is not well-formed.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl Graph {
    /// The output, before the head, for one input `[c][h][w]`.
    ///
    /// # Errors
    /// An input of the wrong length, or a graph that is not well-formed.
    pub fn run(&self, input: &[f32]) -> Result<Vec<f32>, ExecError> {
        let mut last_reader = vec![0; self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            for &input in &node.inputs {
                if let Some(last) = last_reader.get_mut(input) {
                    *last = id;
                }
            }
        }
        let mut values = self.evaluate(input, |values, id| {
            for &input in &self.nodes[id].inputs {
                if last_reader[input] == id && input != self.output {
                    values[input] = Vec::new();
                }
            }
        })?;
        Ok(values.swap_remove(self.output))
    }

    /// The value of every node, for one input.
    ///
    /// # Errors
    /// As [`Graph::run`].
    pub fn trace(&self, input: &[f32]) -> Result<Vec<Vec<f32>>, ExecError> {
        self.evaluate(input, |_, _| {})
    }

    fn evaluate(
        &self,
        input: &[f32],
        mut after: impl FnMut(&mut [Vec<f32>], usize),
    ) -> Result<Vec<Vec<f32>>, ExecError> {
        self.check()?;
        let expected = self.nodes[0].len();
        if input.len() != expected {
            return Err(ExecError::InputLength { expected, found: input.len() });
        }
        let mut values: Vec<Vec<f32>> = Vec::with_capacity(self.nodes.len());
        for (id, node) in self.nodes.iter().enumerate() {
            let value = match node.op {
                Op::Input => input.to_vec(),
                _ => self.apply(node, &values),
            };
            values.push(value);
            after(&mut values, id);
        }
        Ok(values)
    }

    /// One operation; the graph is well-formed.
    fn apply(&self, node: &Node<Op>, values: &[Vec<f32>]) -> Vec<f32> {
        let x: &[f32] = node.inputs.first().map_or(&[], |&id| &values[id]);
        let shape: &[usize] = node.inputs.first().map_or(&[], |&id| &self.nodes[id].shape);
        match &node.op {
            Op::Input | Op::Reshape => x.to_vec(),
            Op::Linear { conv, weights, bias } => linear(conv, weights, bias, x),
            Op::Affine { scale, shift } => {
                let inner = x.len() / scale.len();
                let mut y = Vec::with_capacity(x.len());
                for ((channel, s), t) in x.chunks_exact(inner).zip(scale).zip(shift) {
                    y.extend(channel.iter().map(|v| s * v + t));
                }
                y
            }
            Op::Clip { lo, hi } => x.iter().map(|v| v.max(*lo).min(*hi)).collect(),
            Op::Poly { coefficients } => {
                x.iter().map(|v| coefficients.iter().rev().fold(0.0, |sum, c| sum * v + c)).collect()
            }
            Op::HardSwish => x.iter().map(|v| v * (v + 3.0).clamp(0.0, 6.0) / 6.0).collect(),
            Op::Add => x.iter().zip(&values[node.inputs[1]]).map(|(a, b)| a + b).collect(),
            Op::Where { mask } => {
                let pairs = x.iter().zip(&values[node.inputs[1]]).enumerate();
                pairs.map(|(i, (a, b))| if mask.contains(i) { *a } else { *b }).collect()
            }
            Op::Mul => {
                let y = &values[node.inputs[1]];
                if x.len() >= y.len() { op::product::run(x, y) } else { op::product::run(y, x) }
            }
            Op::Concat => {
                let parts: Vec<&[f32]> = node.inputs.iter().map(|&id| &values[id][..]).collect();
                op::concat::run(&parts)
            }
            Op::AvgPool { window, count_pad } => average(x, image(shape), window, *count_pad),
            Op::MaxPool(window) => op::pool::max(x, image(shape), window),
            Op::Pad { pads } => op::pad::run(x, shape, pads),
            Op::Slice { ranges } => op::slice::run(x, shape, ranges),
            Op::Transpose { perm } => op::transpose::run(x, shape, perm),
        }
    }
}

fn image(shape: &[usize]) -> [usize; 3] {
    shape.try_into().unwrap_or_default()
}

fn linear(conv: &Conv, weights: &[f32], bias: &[f32], x: &[f32]) -> Vec<f32> {
    let [oh, ow] = conv.output();
    let (positions, depth) = (oh * ow, conv.weights_per_output());
    let rows = conv.out_channels / conv.groups;
    let mut y = Vec::with_capacity(conv.output_len());
    for b in bias {
        y.resize(y.len() + positions, *b);
    }
    // A pointwise convolution without stride reads the image as it is.
    let pointwise = conv.kernel == [1, 1] && conv.stride == [1, 1] && conv.pads == [0; 4];
    for group in 0..conv.groups {
        let out = &mut y[group * rows * positions..][..rows * positions];
        let w = &weights[group * rows * depth..][..rows * depth];
        if pointwise {
            gemm::gemm(rows, positions, depth, w, &x[group * depth * positions..][..depth * positions], out);
        } else {
            gemm::gemm(rows, positions, depth, w, &op::im2col::run(conv, group, x), out);
        }
    }
    y
}

/// The sum of each window over the number of its places: those of the image, and with `count_pad` those of the
/// padding (but never places beyond it, which a rounded-up output may have).
fn average(x: &[f32], shape: [usize; 3], window: &Window, count_pad: bool) -> Vec<f32> {
    let [_, h, w] = shape;
    let [oh, ow] = op::pool::output(window, [h, w]);
    let count = |axis: usize, side: usize, at: usize| {
        if !count_pad {
            return op::pool::span(window, side, axis, at).len();
        }
        let start = at * window.stride[axis];
        let padded = side + window.pads[axis] + window.pads[axis + 2];
        (start + window.kernel[axis]).min(padded) - start.min(padded)
    };
    let (rows, columns): (Vec<_>, Vec<_>) =
        ((0..oh).map(|at| count(0, h, at)).collect(), (0..ow).map(|at| count(1, w, at)).collect());
    let mut y = op::pool::sum(x, shape, window);
    for (place, value) in y.iter_mut().enumerate() {
        *value /= (rows[place / ow % oh] * columns[place % ow]) as f32;
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::float::{Builder, Head};

    fn one(shape: &[usize], op: Op) -> Graph {
        let mut b = Builder::new("g", "x", shape).unwrap();
        let y = b.push("y", op, &[0]).unwrap();
        b.finish(y, Head::Logits).unwrap()
    }

    #[test]
    fn grouped_convolution_equals_the_definition() {
        let conv = Conv {
            in_channels: 4,
            input: [5, 6],
            out_channels: 6,
            kernel: [3, 2],
            stride: [2, 1],
            pads: [1, 0, 2, 1],
            dilation: [1, 2],
            groups: 2,
        };
        let pseudo = |i: usize| ((i * 7919 + 13) % 101) as f32 / 50.0 - 1.0;
        let weights: Vec<f32> = (0..conv.weight_len()).map(pseudo).collect();
        let bias: Vec<f32> = (0..6).map(pseudo).collect();
        let x: Vec<f32> = (0..conv.input_len()).map(|i| pseudo(i + 1000)).collect();
        let [oh, ow] = conv.output();
        let mut slow = Vec::new();
        for o in 0..6 {
            for (oy, ox) in (0..oh).flat_map(|oy| (0..ow).map(move |ox| (oy, ox))) {
                let mut sum = bias[o];
                for (c, ky, kx) in
                    (0..2).flat_map(|c| (0..3).flat_map(move |ky| (0..2).map(move |kx| (c, ky, kx))))
                {
                    let (y, xx) = ((oy * 2 + ky) as i64 - 1, (ox + kx * 2) as i64);
                    if (0..5).contains(&y) && (0..6).contains(&xx) {
                        let channel = o / 3 * 2 + c;
                        sum += weights[((o * 2 + c) * 3 + ky) * 2 + kx]
                            * x[(channel * 5 + y as usize) * 6 + xx as usize];
                    }
                }
                slow.push(sum);
            }
        }
        let fast = one(&[4, 5, 6], Op::Linear { conv, weights, bias }).run(&x).unwrap();
        assert_eq!(fast.len(), slow.len());
        for (a, b) in fast.iter().zip(&slow) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }

    #[test]
    fn averages_count_padding_as_onnx_does() {
        let window = Window { kernel: [2, 2], stride: [2, 2], pads: [1, 1, 0, 0], ceil: true };
        let x = [1.0, 2.0, 3.0, 4.0];
        let run = |count_pad| one(&[1, 2, 2], Op::AvgPool { window, count_pad }).run(&x).unwrap();
        // Second windows hold one place of the image and none of the padding.
        assert_eq!(run(true), [0.25, 1.0, 1.5, 4.0]);
        assert_eq!(run(false), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn element_wise_operations() {
        let run = |shape: &[usize], op, x: &[f32]| one(shape, op).run(x).unwrap();
        assert_eq!(
            run(&[3], Op::Poly { coefficients: vec![1.0, 2.0, 3.0] }, &[0.0, 1.0, -2.0]),
            [1.0, 6.0, 9.0]
        );
        assert_eq!(run(&[3], Op::Clip { lo: 0.0, hi: 6.0 }, &[-1.0, 1.0, 7.0]), [0.0, 1.0, 6.0]);
        let affine = Op::Affine { scale: vec![2.0, 3.0], shift: vec![1.0, -1.0] };
        assert_eq!(run(&[2, 1, 2], affine, &[1.0, 2.0, 3.0, 4.0]), [3.0, 5.0, 8.0, 11.0]);

        let mut b = Builder::new("g", "x", &[2, 1, 2]).unwrap();
        let mean = Window { kernel: [1, 2], stride: [1, 1], pads: [0; 4], ceil: false };
        let m = b.push("m", Op::AvgPool { window: mean, count_pad: false }, &[0]).unwrap();
        let p = b.push("p", Op::Mul, &[m, 0]).unwrap();
        let g = b.finish(p, Head::Logits).unwrap();
        assert_eq!(g.run(&[1.0, 3.0, 5.0, 7.0]).unwrap(), [2.0, 6.0, 30.0, 42.0]);
        assert_eq!(g.trace(&[1.0, 3.0, 5.0, 7.0]).unwrap()[m], [2.0, 6.0]);
    }

    #[test]
    fn wrong_input_length_is_an_error() {
        let g = one(&[3], Op::Clip { lo: 0.0, hi: 6.0 });
        assert_eq!(g.run(&[1.0]), Err(ExecError::InputLength { expected: 3, found: 1 }));
        assert!(g.trace(&[]).is_err());
    }
}
