//! The tile and column kernels in plain Rust.

use super::{COLUMNS, ROWS, Tile};

/// Row by row, so that the sums of one row stay in registers.
pub(super) fn tile(panel: &[u32], strip: &[u32], out: &mut Tile) {
    for (row, out) in out.iter_mut().enumerate() {
        let (mut low, mut high) = ([0i32; COLUMNS], [0i32; COLUMNS]);
        for (weights, halves) in panel.chunks_exact(ROWS).zip(strip.chunks_exact(2 * COLUMNS)) {
            let (lows, highs) = halves.split_at(COLUMNS);
            for lane in 0..COLUMNS {
                low[lane] = dot(low[lane], weights[row], lows[lane]);
                high[lane] = dot(high[lane], weights[row], highs[lane]);
            }
        }
        *out = std::array::from_fn(|lane| join(low[lane], high[lane]));
    }
}

pub(super) fn column(panel: &[u32], lows: &[u32], highs: &[u32]) -> [u32; ROWS] {
    let (mut low, mut high) = ([0; ROWS], [0; ROWS]);
    for (weights, (&l, &h)) in panel.chunks_exact(ROWS).zip(lows.iter().zip(highs)) {
        for row in 0..ROWS {
            low[row] = dot(low[row], weights[row], l);
            high[row] = dot(high[row], weights[row], h);
        }
    }
    std::array::from_fn(|row| join(low[row], high[row]))
}

/// `sum` and the inner product of two pairs of signed 16-bit numbers.
#[inline(always)]
fn dot(sum: i32, a: u32, b: u32) -> i32 {
    let even = i32::from(a as i16) * i32::from(b as i16);
    let odd = ((a as i32) >> 16) * ((b as i32) >> 16);
    sum.wrapping_add(even).wrapping_add(odd)
}

#[inline(always)]
fn join(low: i32, high: i32) -> u32 {
    (low as u32).wrapping_add((high as u32) << 16)
}
