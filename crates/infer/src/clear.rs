//! Linear layers in the clear, on ring words: `M x` modulo 2^l.
//!
//! Four ways ([`Way`]): where groups have few outputs, plane by plane without a matrix ([`correlate`]); where kernels
//! are single pixels that read every pixel, the image itself is the right matrix; 3x3 kernels of stride 1 by Winograd's
//! minimal filtering ([`winograd`]) where the ring leaves room for it and [`Way::nanoseconds`] says that it pays; otherwise by
//! [`im2col`](phineus_model::op::im2col). All but Winograd's are exact modulo 2^32 whatever the ring is. The server
//! chooses alone: shares are the same in every way. Weights are laid out once per model.

use std::borrow::Cow;
use std::fmt;

use phineus_kernel::correlate::{Tap, correlate};
use phineus_kernel::gemm;
use phineus_kernel::winograd::{self, Image, Tile};
use phineus_model::graph::Conv;
use phineus_model::op;
use rayon::prelude::*;

/// Outputs per group below which a matrix product would waste most of its rows.
const FEW: usize = 4;

/// How a layer is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One product of matrices per group.
    Matrix,
    /// Shifted copies of planes.
    Planes,
    /// Transformed tiles.
    Winograd(Tile),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Matrix => "matrix",
            Self::Planes => "planes",
            Self::Winograd(Tile::Two) => "F(2x2,3x3)",
            Self::Winograd(Tile::Four) => "F(4x4,3x3)",
        })
    }
}

impl Way {
    /// The ways of a layer whose results are wanted modulo 2^`bits`; the first is that without Winograd's algorithm.
    #[must_use]
    pub fn all(conv: &Conv, bits: u32) -> Vec<Self> {
        let (rows, pixels) = (conv.out_channels / conv.groups, conv.output().iter().product::<usize>());
        let direct = if rows < FEW && pixels > 1 { Self::Planes } else { Self::Matrix };
        let fits = conv.kernel == [3, 3]
            && [conv.stride, conv.dilation] == [[1, 1]; 2]
            && conv.groups == 1
            && pixels > 0;
        let tiles = [Tile::Two, Tile::Four].into_iter().filter(|tile| fits && bits <= tile.most_bits());
        std::iter::once(direct).chain(tiles.map(Self::Winograd)).collect()
    }

    /// The quickest of them.
    #[must_use]
    pub fn best(conv: &Conv, bits: u32) -> Self {
        let all = Self::all(conv, bits);
        let quicker = |a: Self, b: Self| if b.nanoseconds(conv) < a.nanoseconds(conv) { b } else { a };
        all.into_iter().reduce(quicker).unwrap_or(Self::Matrix)
    }

    /// Multiplications of a layer.
    #[must_use]
    pub fn products(self, conv: &Conv) -> u64 {
        match self {
            Self::Winograd(tile) => {
                (conv.out_channels * conv.in_channels * tiles(conv, tile) * tile.products()) as u64
            }
            _ => conv.macs(),
        }
    }

    /// About how long a layer takes one core with AVX-512: products, words that are arranged or transformed, and weights
    /// that come from memory. Matrices have columns by the vector, and so have rows of tiles.
    #[must_use]
    pub fn nanoseconds(self, conv: &Conv) -> f64 {
        let [rows, columns] = conv.output();
        let Conv { in_channels, out_channels, groups, .. } = *conv;
        let pixels = rows * columns;
        let whole = |columns: usize| if columns == 1 { 1 } else { columns.next_multiple_of(VECTOR) };
        let [products, arranged, weights] = match self {
            Self::Planes => return conv.macs() as f64 * PLANES,
            Self::Matrix => {
                let products = conv.weight_len() * whole(pixels);
                [
                    products as f64,
                    (groups * conv.weights_per_output() * pixels) as f64 * COLUMN,
                    conv.weight_len() as f64,
                ]
            }
            Self::Winograd(tile) => {
                let weights = in_channels * out_channels * tile.products();
                let transformed =
                    tile.products() * rows.div_ceil(tile.side()) * whole(columns.div_ceil(tile.side()));
                let each = if tile == Tile::Two { TRANSFORM_TWO } else { TRANSFORM_FOUR };
                let products = weights * tiles(conv, tile).next_multiple_of(VECTOR);
                [products as f64, (transformed * (in_channels + out_channels)) as f64 * each, weights as f64]
            }
        };
        products * PRODUCT + arranged + weights * WEIGHT
    }
}

/// Tiles of outputs of each channel.
fn tiles(conv: &Conv, tile: Tile) -> usize {
    conv.output().iter().map(|side| side.div_ceil(tile.side())).product()
}

/// Words of a vector.
const VECTOR: usize = 16;
/// Nanoseconds (`phineus bench NET --layers online`) of a product of matrices, per multiplication.
const PRODUCT: f64 = 0.012;
/// Of shifted copies, per multiplication.
const PLANES: f64 = 0.06;
/// Of im2col, per word.
const COLUMN: f64 = 0.5;
/// Of the transforms of inputs and outputs, per transformed word.
const TRANSFORM_TWO: f64 = 0.22;
const TRANSFORM_FOUR: f64 = 0.5;
/// Of a weight that is fetched from memory.
const WEIGHT: f64 = 0.1;

/// The weights of one layer, ready for its products.
pub(crate) enum Weights {
    /// One matrix per group.
    Matrix(Vec<gemm::Weights>),
    /// As they came, `[output][channel of the group][row][column]`.
    Planes(Vec<i32>),
    /// Transformed.
    Winograd(winograd::Weights),
}

impl Weights {
    /// Lays out `[out][in / groups][h][w]` for one of [`Way::all`].
    pub(crate) fn of(way: Way, conv: &Conv, weights: &[i32]) -> Self {
        let (rows, columns) = (conv.out_channels / conv.groups, conv.weights_per_output());
        match way {
            Way::Planes => Self::Planes(weights.to_vec()),
            Way::Matrix => {
                let pack = |group| gemm::Weights::pack(rows, columns, group);
                Self::Matrix(weights.chunks(rows * columns).map(pack).collect())
            }
            Way::Winograd(tile) => {
                Self::Winograd(winograd::Weights::pack(tile, conv.out_channels, conv.in_channels, weights))
            }
        }
    }

    /// `sum += M x` modulo 2^l for `x` laid out `[c][h][w]` and `sum` laid out `[out][h][w]`; bits from l on become
    /// arbitrary.
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
            Self::Winograd(weights) => {
                let Conv { input: [rows, columns], pads, .. } = *conv;
                weights.multiply(&Image { rows, columns, pads }, x, sum);
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
            Weights::of(Way::best(&conv, 32), &conv, &weights).multiply(&conv, &x, &mut sum);
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

    #[test]
    fn every_way_gives_the_same_words_modulo_the_ring() {
        for (side, inputs, outputs) in [(7, 16, 24), (14, 8, 8), (19, 5, 12)] {
            let conv =
                Conv { input: [side; 2], kernel: [3, 3], pads: [1; 4], ..Conv::dense(inputs, outputs) };
            let x: Vec<u32> =
                (0..conv.input_len() as u32).map(|i| i.wrapping_mul(2_654_435_761) >> 6).collect();
            let weights: Vec<i32> = (0..conv.weight_len() as i32).map(|i| i * 89 % 255 - 127).collect();
            let run = |way: Way| {
                let mut sum = vec![5; conv.output_len()];
                Weights::of(way, &conv, &weights).multiply(&conv, &x, &mut sum);
                sum
            };
            for (bits, ways) in [(26, 3), (27, 2), (30, 2), (31, 1)] {
                let all = Way::all(&conv, bits);
                assert_eq!(all.len(), ways, "{bits} bits");
                let mask = u32::MAX >> (32 - bits);
                let expected = run(all[0]);
                for &way in &all[1..] {
                    assert!(
                        run(way).iter().zip(&expected).all(|(a, b)| (a ^ b) & mask == 0),
                        "{way}, {bits} bits"
                    );
                }
            }
        }
    }

    #[test]
    fn minimal_filtering_is_taken_where_it_pays() {
        let conv = |side: usize, channels: usize| Conv {
            input: [side; 2],
            kernel: [3, 3],
            pads: [1; 4],
            ..Conv::dense(channels, channels)
        };
        assert!(matches!(Way::best(&conv(56, 64), 24), Way::Winograd(_)));
        // Too wide a ring, a stride, one channel: as ever.
        assert_eq!(Way::best(&conv(56, 64), 31), Way::Matrix);
        assert_eq!(Way::best(&Conv { stride: [2, 2], ..conv(56, 64) }, 24), Way::Matrix);
        assert_eq!(Way::best(&conv(56, 1), 24), Way::Planes);
    }
}
