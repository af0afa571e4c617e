//! Linear layers in the clear, on ring words: `M x` modulo 2^32, whatever ring the words are from.
//!
//! Three ways, by shape: where groups have few outputs, plane by plane without a matrix ([`correlate`]); where kernels
//! are single pixels that read every pixel, the image itself is the right matrix; otherwise by
//! [`im2col`](phineus_model::op::im2col). Weights are laid out once per model.

use std::borrow::Cow;

use phineus_kernel::correlate::{Tap, correlate};
use phineus_kernel::gemm;
use phineus_model::graph::Conv;
use phineus_model::op;
use rayon::prelude::*;

/// Outputs per group below which a matrix product would waste most of its rows.
const FEW: usize = 4;

/// The weights of one layer, ready for its products.
pub(crate) enum Weights {
    /// One matrix per group.
    Matrix(Vec<gemm::Weights>),
    /// As they came, `[output][channel of the group][row][column]`.
    Planes(Vec<i32>),
}

impl Weights {
    /// Lays out `[out][in / groups][h][w]`.
    pub(crate) fn new(conv: &Conv, weights: &[i32]) -> Self {
        let (rows, columns) = (conv.out_channels / conv.groups, conv.weights_per_output());
        let pixels: usize = conv.output().iter().product();
        if rows < FEW && pixels > 1 {
            return Self::Planes(weights.to_vec());
        }
        let pack = |group| gemm::Weights::pack(rows, columns, group);
        Self::Matrix(weights.chunks(rows * columns).map(pack).collect())
    }

    /// `sum += M x` for `x` laid out `[c][h][w]` and `sum` laid out `[out][h][w]`.
    pub(crate) fn multiply(&self, conv: &Conv, x: &[u32], sum: &mut [u32]) {
        let pixels: usize = conv.output().iter().product();
        let of_group = (conv.out_channels / conv.groups * pixels).max(1);
        let groups = sum.par_chunks_mut(of_group).enumerate();
        match self {
            Self::Matrix(matrices) => groups.zip(matrices).for_each(|((group, sum), weights)| {
                weights.multiply_parallel(pixels, &columns(conv, group, x), sum);
            }),
            Self::Planes(weights) => {
                let planes = Planes::new(conv);
                groups
                    .zip(weights.par_chunks(conv.out_channels / conv.groups * conv.weights_per_output()))
                    .for_each(|((group, sum), weights)| planes.add_group(group, weights, x, sum));
            }
        }
    }
}

/// The right matrix of a group.
fn columns<'x>(conv: &Conv, group: usize, x: &'x [u32]) -> Cow<'x, [u32]> {
    let len = conv.input_len() / conv.groups;
    let untouched = conv.kernel == [1, 1] && conv.stride == [1, 1] && conv.pads == [0; 4];
    if untouched {
        Cow::Borrowed(&x[group * len..][..len])
    } else {
        Cow::Owned(op::im2col::run(conv, group, x))
    }
}

/// How planes are laid out for [`correlate`]: padded, with the columns of each row sorted by their residue modulo the
/// stride.
struct Planes<'c> {
    conv: &'c Conv,
    /// Padded rows, and columns per residue.
    rows: usize,
    columns: usize,
}

impl<'c> Planes<'c> {
    fn new(conv: &'c Conv) -> Self {
        // The last output reads up to here, which may be before or behind the end of the padded image.
        let reach = |axis: usize| {
            let last = conv.output()[axis].saturating_sub(1) * conv.stride[axis];
            last + conv.dilation[axis] * (conv.kernel[axis] - 1) + 1
        };
        Self { conv, rows: reach(0), columns: reach(1).div_ceil(conv.stride[1]) }
    }

    /// Words of a row, all residues.
    fn width(&self) -> usize {
        self.columns * self.conv.stride[1]
    }

    /// Writes a channel into the zeroed plane.
    fn fill(&self, channel: &[u32], plane: &mut [u32]) {
        let Conv { input: [_, w], stride, pads: [top, left, ..], .. } = *self.conv;
        let rows = channel.chunks_exact(w).zip(plane.chunks_exact_mut(self.width()).skip(top));
        for (row, target) in rows {
            if stride[1] == 1 {
                let len = w.min(self.columns.saturating_sub(left));
                target[left..][..len].copy_from_slice(&row[..len]);
                continue;
            }
            for (column, &word) in (left..self.width()).zip(row) {
                target[column % stride[1] * self.columns + column / stride[1]] = word;
            }
        }
    }

    /// Adds the outputs of one group.
    fn add_group(&self, group: usize, weights: &[i32], x: &[u32], sum: &mut [u32]) {
        let Conv { input: [h, w], kernel: [kh, kw], stride, dilation, .. } = *self.conv;
        let [oh, ow] = self.conv.output();
        let channels = self.conv.in_channels / self.conv.groups;
        let mut plane = vec![0; self.rows * self.width()];
        for channel in 0..channels {
            self.fill(&x[(group * channels + channel) * h * w..][..h * w], &mut plane);
            for (sum, weights) in
                sum.chunks_exact_mut((oh * ow).max(1)).zip(weights.chunks_exact(channels * kh * kw))
            {
                let taps: Vec<Tap> = weights[channel * kh * kw..][..kh * kw]
                    .iter()
                    .enumerate()
                    .map(|(tap, &weight)| {
                        let (row, column) = (tap / kw * dilation[0], tap % kw * dilation[1]);
                        let place = column % stride[1] * self.columns + column / stride[1];
                        Tap { offset: row * self.width() + place, weight }
                    })
                    .collect();
                correlate(sum, ow, &plane, stride[0] * self.width(), &taps);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn equals_the_matrix_product(
            groups in 1usize..4, inputs in 1usize..4, outputs in 1usize..6, input in [1usize..20, 1..40],
            kernel in [1usize..4, 1..4], stride in [1usize..4, 1..4], pads in [0usize..4, 0..4, 0..4, 0..4],
            dilation in [1usize..4, 1..4], seed: u32,
        ) {
            let conv = Conv {
                in_channels: groups * inputs, input, out_channels: groups * outputs, kernel, stride, pads, dilation,
                groups,
            };
            let pixels: usize = conv.output().iter().product();
            prop_assume!(pixels > 0);
            let word = |i: usize| (i as u32).wrapping_add(seed).wrapping_mul(2_654_435_761);
            let x: Vec<u32> = (0..conv.input_len()).map(word).collect();
            let weights: Vec<i32> = (0..conv.weight_len()).map(|i| (word(i) >> 24) as i32 - 128).collect();
            let start: Vec<u32> = (0..conv.output_len()).map(|i| word(i + 7)).collect();
            let mut sum = start.clone();
            Weights::new(&conv, &weights).multiply(&conv, &x, &mut sum);
            for (output, (sum, start)) in sum.chunks(pixels).zip(start.chunks(pixels)).enumerate() {
                let columns = op::im2col::run(&conv, output / outputs, &x);
                let weights = &weights[output * conv.weights_per_output()..][..conv.weights_per_output()];
                for (pixel, (&sum, &start)) in sum.iter().zip(start).enumerate() {
                    let product = |(i, &w): (usize, &i32)| columns[i * pixels + pixel].wrapping_mul(w as u32);
                    let expected = weights.iter().enumerate().map(product).fold(start, u32::wrapping_add);
                    prop_assert_eq!(sum, expected, "{:?} at {}", conv, pixel);
                }
            }
        }
    }
}
