//! A convolution as a matrix product: `out[o][p] = sum_r weights[o][r] * columns[r][p]`.

use crate::graph::Conv;

/// The matrix of one group: rows are the weights of an output in order (channel, kernel row, kernel column),
/// columns the output positions. `x` is the whole input `[c][h][w]`.
#[must_use]
pub fn run<T: Copy + Default>(conv: &Conv, group: usize, x: &[T]) -> Vec<T> {
    let [h, w] = conv.input;
    let [oh, ow] = conv.output();
    let [kh, kw] = conv.kernel;
    let [top, left, _, _] = conv.pads;
    let channels = conv.in_channels / conv.groups;
    let mut columns = vec![T::default(); conv.weights_per_output() * oh * ow];
    let mut lines = columns.chunks_exact_mut(ow.max(1));
    for image in x[group * channels * h * w..][..channels * h * w].chunks_exact((h * w).max(1)) {
        for ky in 0..kh {
            for kx in 0..kw {
                let (shift, stride) = (kx * conv.dilation[1], conv.stride[1]);
                // Output columns whose input column `ox * stride + shift - left` lies in the image.
                let first = left.saturating_sub(shift).div_ceil(stride).min(ow);
                let end = (w + left).saturating_sub(shift).div_ceil(stride).clamp(first, ow);
                for (oy, line) in lines.by_ref().take(oh).enumerate() {
                    let y = oy * conv.stride[0] + ky * conv.dilation[0];
                    if y < top || y - top >= h || first == end {
                        continue;
                    }
                    let source = &image[(y - top) * w..][..w][first * stride + shift - left..];
                    if stride == 1 {
                        line[first..end].copy_from_slice(&source[..end - first]);
                    } else {
                        for (place, &value) in line[first..end].iter_mut().zip(source.iter().step_by(stride))
                        {
                            *place = value;
                        }
                    }
                }
            }
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slow(conv: &Conv, group: usize, x: &[i32]) -> Vec<i32> {
        let ([h, w], [oh, ow], [kh, kw]) = (conv.input, conv.output(), conv.kernel);
        let per_group = conv.in_channels / conv.groups;
        let mut all = Vec::new();
        for c in group * per_group..(group + 1) * per_group {
            for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                for (oy, ox) in (0..oh).flat_map(|oy| (0..ow).map(move |ox| (oy, ox))) {
                    let y = (oy * conv.stride[0] + ky * conv.dilation[0]) as i64 - conv.pads[0] as i64;
                    let xx = (ox * conv.stride[1] + kx * conv.dilation[1]) as i64 - conv.pads[1] as i64;
                    let inside = (0..h as i64).contains(&y) && (0..w as i64).contains(&xx);
                    all.push(if inside { x[(c * h + y as usize) * w + xx as usize] } else { 0 });
                }
            }
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn equals_the_definition(
            groups in 1usize..3, per_group in 1usize..3, input in [1usize..9, 1..9], kernel in [1usize..4, 1..4],
            stride in [1usize..4, 1..4], pads in [0usize..5, 0..5, 0..5, 0..5], dilation in [1usize..4, 1..4],
        ) {
            let conv = Conv {
                in_channels: groups * per_group, input, out_channels: groups, kernel, stride, pads, dilation, groups,
            };
            let x: Vec<i32> = (1..=conv.input_len() as i32).collect();
            for group in 0..groups {
                prop_assert_eq!(run(&conv, group, &x), slow(&conv, group, &x));
            }
        }
    }
}
