//! The maxima of a max-pool by oblivious transfer: of each window, or of the windows' rows and then of their columns.

use std::ops::Range;

use phineus_model::graph::Window;
use phineus_model::op;
use phineus_mpc::compare::max::Max;

/// Maxima of windows of equal size.
#[derive(Debug)]
pub struct Pool {
    /// The maximum of a window.
    pub max: Max,
    /// Windows.
    pub windows: usize,
    /// Values of all windows, window by window; `None`: they follow one another.
    gather: Option<Vec<u32>>,
}

impl Pool {
    /// The maxima that make a max-pool of `[channels, height, width]`, one after the other; none if windows have one value,
    /// `None` if `bits` is no width in which maxima can be taken. The window must be sane ([`op::pool::is_sane`]).
    ///
    /// Overlapping windows share the maxima of their rows, which saves a quarter of the comparisons of 3x3 windows of stride
    /// 2 and half of those of stride 1, at the same depth.
    #[must_use]
    pub fn of(shape: [usize; 3], window: &Window, bits: u32) -> Option<Vec<Self>> {
        let [kh, kw] = window.kernel;
        if kh * kw == 1 {
            return Some(Vec::new());
        }
        let [out_h, _] = op::pool::output(window, [shape[1], shape[2]]);
        // Per channel and column of outputs, which both ways have alike.
        let whole = out_h * (kh * kw - 1);
        let apart = used_rows(shape[1], window) * (kw - 1) + out_h * (kh - 1);
        let pool = |(size, gather): (usize, Vec<u32>)| {
            let max = Max::new(bits, size).ok()?;
            Some(Self { max, windows: gather.len() / size, gather: Some(gather) })
        };
        if kh > 1 && kw > 1 && apart < whole {
            by_rows(shape, window).into_iter().map(pool).collect()
        } else {
            [(kh * kw, op::pool::indices(shape, window))].into_iter().map(pool).collect()
        }
    }

    /// The maximum of all of `values` values of `bits` bits.
    pub(super) fn of_all(values: usize, bits: u32) -> Option<Self> {
        Some(Self { max: Max::new(bits, values).ok()?, windows: 1, gather: None })
    }

    /// Values that its windows read, window by window, from those of the layer before.
    #[must_use]
    pub fn gather(&self, values: &[u32], windows: Range<usize>) -> Vec<u32> {
        let size = self.max.window();
        let places = windows.start * size..windows.end * size;
        match &self.gather {
            Some(indices) => indices[places].iter().map(|i| values[*i as usize]).collect(),
            None => values[places].to_vec(),
        }
    }
}

/// Sizes and indices of the windows' rows, then of the columns of these rows' maxima.
fn by_rows([channels, h, w]: [usize; 3], window: &Window) -> [(usize, Vec<u32>); 2] {
    let ([kh, kw], [sh, sw]) = (window.kernel, window.stride);
    let [top, left, bottom, right] = window.pads;
    let [_, out_w] = op::pool::output(window, [h, w]);
    let used = used_rows(h, window);
    let rows = Window { kernel: [1, kw], stride: [1, sw], pads: [0, left, 0, right], ceil: window.ceil };
    let bottom = if used < h { 0 } else { bottom };
    let columns = Window { kernel: [kh, 1], stride: [sh, 1], pads: [top, 0, bottom, 0], ceil: window.ceil };
    let lines = op::pool::indices([channels, h, w], &rows);
    let per_channel = h * out_w * kw;
    let lines = lines.chunks(per_channel.max(1)).flat_map(|channel| &channel[..used * out_w * kw]).copied();
    [(kw, lines.collect()), (kh, op::pool::indices([channels, used, out_w], &columns))]
}

/// Rows of an image of height `h` that lie under a window: those behind the last one are not needed.
fn used_rows(h: usize, window: &Window) -> usize {
    let [out_h, _] = op::pool::output(window, [h, window.kernel[1]]);
    h.min((out_h.max(1) - 1) * window.stride[0] + window.kernel[0] - window.pads[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_give_the_maxima_of_the_windows() {
        let mut apart = 0;
        for (kernel, stride) in
            [([3, 3], [2, 2]), ([3, 2], [1, 1]), ([2, 2], [2, 2]), ([5, 3], [2, 1]), ([1, 3], [1, 2])]
        {
            for pads in [[0; 4], [1, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]] {
                let pads = std::array::from_fn(|i| if kernel[i % 2] > 1 { pads[i] } else { 0 });
                for (ceil, h, w) in [(false, 7, 8), (true, 8, 7), (false, 8, 6), (true, 6, 9)] {
                    let window = Window { kernel, stride, pads, ceil };
                    let shape = [2, h, w];
                    let x: Vec<u32> =
                        (0..2 * h * w).map(|i| (i as u32).wrapping_mul(0x9e37_79b9) >> 8).collect();
                    let pools = Pool::of(shape, &window, 26).unwrap();
                    apart += usize::from(pools.len() == 2);
                    let mut values = x.clone();
                    for pool in &pools {
                        let all = pool.gather(&values, 0..pool.windows);
                        values =
                            all.chunks(pool.max.window()).filter_map(|w| w.iter().max().copied()).collect();
                    }
                    assert_eq!(values, op::pool::max(&x, shape, &window), "{window:?} {shape:?}");
                }
            }
        }
        assert!(apart > 20);
        let window = Window { kernel: [3, 3], stride: [2, 2], pads: [1; 4], ceil: false };
        let pools = Pool::of([64, 112, 112], &window, 24).unwrap();
        let comparisons: usize = pools.iter().map(|p| p.windows * (p.max.window() - 1)).sum();
        // Of each of 56 x 56 outputs two rows but for the last one, of two comparisons, and two more.
        assert_eq!(comparisons, 64 * 56 * (2 * 112 + 2 * 56));
        assert!(Pool::of([1, 4, 4], &window, 40).is_none());
        assert!(
            Pool::of([1, 4, 4], &Window { kernel: [1, 1], stride: [1, 1], pads: [0; 4], ceil: false }, 8)
                .unwrap()
                .is_empty()
        );
    }
}
