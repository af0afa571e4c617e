//! Oracles for the tests: the definition of each operation as plain loops, in no hurry, sharing no code with the
//! crates under test. Every result is exact in the modulus stated.
#![forbid(unsafe_code)]

pub mod slots;

/// The product of two polynomials of `n` coefficients in Z\[X\]/(X^n + 1), reduced to `[0, modulus)`.
///
/// # Panics
/// If a length differs from `n`, or the modulus is not in `1..=2^62`.
#[must_use]
pub fn negacyclic(a: &[i64], b: &[i64], n: usize, modulus: i128) -> Vec<i128> {
    assert!(a.len() == n && b.len() == n && (1..=1 << 62).contains(&modulus));
    let mut product = vec![0; n];
    for (i, &x) in a.iter().enumerate() {
        for (j, &y) in b.iter().enumerate() {
            let term = i128::from(x) * i128::from(y) % modulus;
            let k = (i + j) % n;
            product[k] = (product[k] + if i + j < n { term } else { -term }).rem_euclid(modulus);
        }
    }
    product
}

/// `a b` modulo 2^32 for row-major `a` (m x k) and `b` (k x n).
///
/// # Panics
/// If a slice is shorter than its matrix.
#[must_use]
pub fn matrix_product(m: usize, n: usize, k: usize, a: &[i32], b: &[u32]) -> Vec<u32> {
    let mut c = vec![0u32; m * n];
    for row in 0..m {
        for col in 0..n {
            for i in 0..k {
                c[row * n + col] =
                    c[row * n + col].wrapping_add((a[row * k + i] as u32).wrapping_mul(b[i * n + col]));
            }
        }
    }
    c
}

/// What a two-dimensional convolution is made of; pairs are vertical, horizontal.
#[derive(Debug, Clone, Copy)]
pub struct Convolution {
    /// Channels of the input and of the output.
    pub channels: [usize; 2],
    /// Size of the input.
    pub size: [usize; 2],
    /// Size of the kernel.
    pub kernel: [usize; 2],
    /// Step between outputs.
    pub stride: [usize; 2],
    /// Step between taps.
    pub dilation: [usize; 2],
    /// Zeros before the first row and column.
    pub pad_before: [usize; 2],
    /// Zeros after the last row and column.
    pub pad_after: [usize; 2],
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

/// The direct convolution (cross-correlation) modulo 2^32: `x` is `[c][h][w]`, `weights` are
/// `[out][in / groups][kernel h][kernel w]`, the result is `[out][h][w]`.
///
/// # Panics
/// If the kernel does not fit the padded input or a slice is too short.
#[must_use]
pub fn convolve(conv: &Convolution, x: &[u32], weights: &[i32]) -> Vec<u32> {
    let [inputs, outputs] = conv.channels;
    let (inputs_per_group, outputs_per_group) = (inputs / conv.groups, outputs / conv.groups);
    let [height, width] = conv.size;
    let [kernel_h, kernel_w] = conv.kernel;
    let padded = |axis: usize| conv.pad_before[axis] + conv.size[axis] + conv.pad_after[axis];
    let out = |axis: usize| {
        (padded(axis) - (conv.dilation[axis] * (conv.kernel[axis] - 1) + 1)) / conv.stride[axis] + 1
    };

    let mut result = Vec::new();
    for m in 0..outputs {
        for i in 0..out(0) {
            for j in 0..out(1) {
                let mut sum = 0u32;
                for c in 0..inputs_per_group {
                    for u in 0..kernel_h {
                        for v in 0..kernel_w {
                            let row = i * conv.stride[0] + u * conv.dilation[0];
                            let col = j * conv.stride[1] + v * conv.dilation[1];
                            let inside = |at: usize, axis: usize| {
                                at >= conv.pad_before[axis] && at < conv.pad_before[axis] + conv.size[axis]
                            };
                            if inside(row, 0) && inside(col, 1) {
                                let channel = m / outputs_per_group * inputs_per_group + c;
                                let value = x[(channel * height + row - conv.pad_before[0]) * width + col
                                    - conv.pad_before[1]];
                                let weight =
                                    weights[((m * inputs_per_group + c) * kernel_h + u) * kernel_w + v];
                                sum = sum.wrapping_add((weight as u32).wrapping_mul(value));
                            }
                        }
                    }
                }
                result.push(sum);
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_wrap_with_a_sign() {
        // (1 + 2X)(3 + 4X) = 3 + 10X + 8X^2 = -5 + 10X.
        assert_eq!(negacyclic(&[1, 2], &[3, 4], 2, 97), [92, 10]);
        // X^3 * X^3 = X^6 = -X^2.
        assert_eq!(negacyclic(&[0, 0, 0, 1], &[0, 0, 0, 1], 4, 10), [0, 0, 9, 0]);
        assert_eq!(negacyclic(&[i64::MIN], &[1], 1, 1 << 62), [0]);
    }

    #[test]
    fn matrices_wrap() {
        assert_eq!(matrix_product(2, 1, 2, &[1, 2, -1, 3], &[5, 7]), [19, 16]);
        assert_eq!(matrix_product(1, 1, 1, &[-1], &[1]), [u32::MAX]);
        assert_eq!(matrix_product(1, 2, 1, &[2], &[1 << 31, 3]), [0, 6]);
    }

    fn plain(channels: [usize; 2], size: [usize; 2], kernel: [usize; 2]) -> Convolution {
        Convolution {
            channels,
            size,
            kernel,
            stride: [1; 2],
            dilation: [1; 2],
            pad_before: [0; 2],
            pad_after: [0; 2],
            groups: 1,
        }
    }

    const NINE: [u32; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 9];

    #[test]
    fn correlation_is_not_flipped() {
        assert_eq!(
            convolve(&plain([1, 1], [3, 3], [2, 2]), &NINE, &[1, 10, 100, 1000]),
            [5421, 6532, 8754, 9865]
        );
    }

    #[test]
    fn stride_pads_and_dilation() {
        let strided = Convolution { stride: [2, 1], pad_before: [1, 0], ..plain([1, 1], [3, 3], [2, 2]) };
        // Padded rows: 000, 123, 456, 789; row pairs (0, 1) and (2, 3).
        assert_eq!(convolve(&strided, &NINE, &[1, 10, 100, 1000]), [2100, 3200, 8754, 9865]);
        let dilated = Convolution { dilation: [2, 2], ..plain([1, 1], [3, 3], [2, 2]) };
        assert_eq!(convolve(&dilated, &NINE, &[1, 10, 100, 1000]), [9731]);
        let after = Convolution { pad_after: [0, 1], ..plain([1, 1], [1, 2], [1, 2]) };
        assert_eq!(convolve(&after, &[3, 4], &[1, -1]), [u32::MAX, 4]);
    }

    #[test]
    fn channels_add_within_their_group() {
        let x = [1, 2, 3, 4];
        assert_eq!(convolve(&plain([4, 1], [1, 1], [1, 1]), &x, &[1, 10, 100, 1000]), [4321]);
        let grouped = Convolution { groups: 2, ..plain([4, 2], [1, 1], [1, 1]) };
        assert_eq!(convolve(&grouped, &x, &[1, 10, 100, 1000]), [21, 4300]);
    }
}
