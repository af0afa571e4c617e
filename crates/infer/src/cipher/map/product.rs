//! A linear map times a vector, in the clear.
//!
//! For a convolution the inputs that its taps meet are gathered once into a matrix `[taps][positions]` per group, zero in
//! the padding; every output channel is then a sum of rows of that matrix, whose inner loop runs over neighbouring numbers.

use super::{Conv, Shape, pixel};

impl Shape {
    /// `y_o = sum_i w(o, i) x_i`, where the weights are `number` of `weights`.
    ///
    /// # Panics
    /// Fewer inputs or weights than the shape has.
    #[must_use]
    pub fn times(&self, weights: &[f32], number: impl Fn(f32) -> f64, x: &[f64]) -> Vec<f64> {
        match self {
            Self::Dense { inputs, outputs } => {
                let row = |o: usize| dot(&weights[o * inputs..][..*inputs], &number, &x[..*inputs]);
                (0..*outputs).map(row).collect()
            }
            Self::Conv(conv) => convolved(conv, weights, &number, x),
        }
    }
}

fn convolved(conv: &Conv, weights: &[f32], number: &impl Fn(f32) -> f64, x: &[f64]) -> Vec<f64> {
    let (positions, taps) = (conv.output().iter().product::<usize>(), conv.weights_per_output());
    let channels = conv.out_channels / conv.groups;
    let mut sums = vec![0.0; conv.output_len()];
    if positions == 0 || channels == 0 {
        return sums;
    }
    for (group, sums) in sums.chunks_mut(channels * positions).enumerate() {
        let columns = columns(conv, group, x);
        let rows = weights[group * channels * taps..].chunks(taps);
        for (sum, weights) in sums.chunks_mut(positions).zip(rows) {
            for (&weight, column) in weights.iter().zip(columns.chunks(positions)) {
                let weight = number(weight);
                sum.iter_mut().zip(column).for_each(|(sum, x)| *sum += weight * x);
            }
        }
    }
    sums
}

/// What every tap of a group meets at every position.
fn columns(conv: &Conv, group: usize, x: &[f64]) -> Vec<f64> {
    let ([rows, columns], [kh, kw]) = (conv.output(), conv.kernel);
    let depth = conv.in_channels / conv.groups;
    let mut met = Vec::with_capacity(depth * kh * kw * rows * columns);
    for tap in 0..depth * kh * kw {
        let (channel, tap) = (group * depth + tap / (kh * kw), [tap / kw % kh, tap % kw]);
        for y in 0..rows {
            met.extend(
                (0..columns).map(|column| pixel(conv, channel, [y, column], tap).map_or(0.0, |i| x[i])),
            );
        }
    }
    met
}

/// A sum of products in several partial sums, which do not wait for each other.
fn dot(weights: &[f32], number: &impl Fn(f32) -> f64, x: &[f64]) -> f64 {
    const LANES: usize = 8;
    let ((weights, last_weights), (x, last)) = (weights.as_chunks::<LANES>(), x.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (weights, x) in weights.iter().zip(x) {
        for (sum, (&weight, x)) in sums.iter_mut().zip(weights.iter().zip(x)) {
            *sum += number(weight) * x;
        }
    }
    let rest: f64 = last_weights.iter().zip(last).map(|(&weight, x)| number(weight) * x).sum();
    sums.iter().sum::<f64>() + rest
}
