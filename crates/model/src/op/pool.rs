//! Sums and maxima over windows of each channel, and the window geometry behind them.
//!
//! Output sides follow ONNX: `(side + before + after - kernel) / stride + 1`, rounded down, or up with `ceil`, in
//! which case a last window that would start beyond the image and its leading padding is dropped.

use std::ops::Range;

use super::Number;
use crate::graph::Window;

/// Height and width of the output; zero where no window fits or the window is degenerate.
#[must_use]
pub fn output(window: &Window, input: [usize; 2]) -> [usize; 2] {
    std::array::from_fn(|axis| side(window, input[axis], axis).unwrap_or(0))
}

/// Whether every output has at least one place of the image in its window: all sides positive, paddings smaller
/// than the kernel.
#[must_use]
pub fn is_sane(window: &Window, input: [usize; 2]) -> bool {
    let [top, left, bottom, right] = window.pads;
    let [kh, kw] = window.kernel;
    top.max(bottom) < kh && left.max(right) < kw && output(window, input).iter().all(|&side| side > 0)
}

/// The rows (`axis` 0) or columns (1) of the image under window number `at`.
#[must_use]
pub fn span(window: &Window, input: usize, axis: usize, at: usize) -> Range<usize> {
    let before = window.pads[axis];
    let start = at * window.stride[axis];
    let end = (start + window.kernel[axis]).saturating_sub(before).min(input);
    start.saturating_sub(before).min(end)..end
}

/// Sum of every window; padded places hold zero.
#[must_use]
pub fn sum<T: Number>(x: &[T], shape: [usize; 3], window: &Window) -> Vec<T> {
    fold(x, shape, window, |place| place.fold(T::default(), T::plus))
}

/// Maximum of every window; padded places do not take part, a window without any place of the image gives zero.
#[must_use]
pub fn max<T: Copy + Default + PartialOrd>(x: &[T], shape: [usize; 3], window: &Window) -> Vec<T> {
    fold(x, shape, window, |place| place.reduce(|a, b| if b > a { b } else { a }).unwrap_or_default())
}

/// For every output, `kernel_h * kernel_w` input indices: those of its window, the padded places replaced by
/// the window's first index, so that a maximum over them is the maximum over the window. Requires [`is_sane`]
/// and fewer than `2^32` inputs.
#[must_use]
pub fn indices([channels, h, w]: [usize; 3], window: &Window) -> Vec<u32> {
    let [oh, ow] = output(window, [h, w]);
    let [kh, kw] = window.kernel;
    let mut all = Vec::with_capacity(channels * oh * ow * kh * kw);
    for c in 0..channels {
        for oy in 0..oh {
            for ox in 0..ow {
                let start = all.len();
                for y in span(window, h, 0, oy) {
                    for x in span(window, w, 1, ox) {
                        all.push(((c * h + y) * w + x) as u32);
                    }
                }
                let first = all.get(start).copied().unwrap_or_default();
                all.resize(start + kh * kw, first);
            }
        }
    }
    all
}

fn side(window: &Window, input: usize, axis: usize) -> Option<usize> {
    let (kernel, stride) = (window.kernel[axis], window.stride[axis]);
    let (before, after) = (window.pads[axis], window.pads[axis + 2]);
    if kernel == 0 || stride == 0 || input == 0 {
        return None;
    }
    let reach = input.checked_add(before)?;
    let free = reach.checked_add(after)?.checked_sub(kernel)?;
    if !window.ceil {
        return Some(free / stride + 1);
    }
    let last = free.div_ceil(stride);
    Some(if last.checked_mul(stride)? >= reach { last } else { last + 1 })
}

fn fold<T: Copy>(
    x: &[T],
    [channels, h, w]: [usize; 3],
    window: &Window,
    mut combine: impl FnMut(&mut dyn Iterator<Item = T>) -> T,
) -> Vec<T> {
    let [oh, ow] = output(window, [h, w]);
    let mut y = Vec::with_capacity(channels * oh * ow);
    for image in x.chunks_exact((h * w).max(1)) {
        for oy in 0..oh {
            let rows = span(window, h, 0, oy);
            for ox in 0..ow {
                let columns = span(window, w, 1, ox);
                let lines = rows.clone().map(|row| &image[row * w..][columns.clone()]);
                y.push(combine(&mut lines.flatten().copied()));
            }
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(kernel: usize, stride: usize, pads: [usize; 4], ceil: bool) -> Window {
        Window { kernel: [kernel; 2], stride: [stride; 2], pads, ceil }
    }

    #[test]
    fn output_sides_round_as_onnx_does() {
        assert_eq!(output(&window(3, 2, [0; 4], false), [6, 7]), [2, 3]);
        assert_eq!(output(&window(3, 2, [0; 4], true), [6, 7]), [3, 3]);
        // The third window of `ceil` would start at row 4 = 3 + 1, beyond the image: dropped.
        assert_eq!(output(&window(2, 2, [1, 1, 1, 1], true), [3, 2]), [2, 2]);
        assert_eq!(output(&window(5, 1, [0; 4], false), [4, 5]), [0, 1]);
        assert_eq!(output(&window(1, 0, [0; 4], false), [4, 5]), [0, 0]);
    }

    #[test]
    fn sums_and_maxima_of_a_padded_image() {
        let x: Vec<i64> = vec![-1, -2, -3, -4];
        let w = window(2, 1, [1, 0, 0, 0], false);
        assert_eq!(output(&w, [2, 2]), [2, 1]);
        assert_eq!(sum(&x, [1, 2, 2], &w), [-3, -10]);
        assert_eq!(max(&x, [1, 2, 2], &w), [-1, -1]);
        assert_eq!(indices([1, 2, 2], &w), [0, 1, 0, 0, 0, 1, 2, 3]);
    }

    #[test]
    fn indices_cover_every_window() {
        let x: Vec<i64> = (0..2 * 5 * 4).map(|i| (i * 7919) % 41 - 20).collect();
        for ceil in [false, true] {
            for pads in [[0; 4], [1, 0, 2, 1], [1, 1, 1, 1]] {
                let w = window(3, 2, pads, ceil);
                assert!(is_sane(&w, [5, 4]));
                let by_index: Vec<i64> = indices([2, 5, 4], &w)
                    .chunks(9)
                    .map(|place| place.iter().map(|&i| x[i as usize]).max().unwrap())
                    .collect();
                assert_eq!(by_index, max(&x, [2, 5, 4], &w));
            }
        }
    }

    #[test]
    fn wide_padding_is_not_sane() {
        assert!(!is_sane(&window(2, 1, [2, 0, 0, 0], false), [4, 4]));
        assert!(!is_sane(&window(5, 1, [0; 4], false), [4, 4]));
    }
}
