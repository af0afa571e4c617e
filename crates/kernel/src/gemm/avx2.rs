//! The tile and column kernels on 256-bit vectors: `vpmaddwd` and an addition per pair of 16-bit products.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_slli_epi32, _mm256_storeu_si256,
};

use super::{COLUMNS, ROWS, Tile, View, split_strip};

const LANES: usize = 8;
/// Rows whose sums fit the sixteen registers beside their operands.
const QUAD: usize = 4;

pub(super) fn split(b: View<'_>, first_pair: usize, first_col: usize, strip: &mut [u32]) {
    // SAFETY: this function is only chosen where AVX2 was detected.
    unsafe { split_wide(b, first_pair, first_col, strip) }
}

pub(super) fn tile(panel: &[u32], strip: &[u32], out: &mut Tile) {
    for half in 0..COLUMNS / LANES {
        for quad in 0..ROWS / QUAD {
            // SAFETY: this function is only chosen where AVX2 was detected.
            unsafe { quarter(panel, strip, half * LANES, quad * QUAD, out) };
        }
    }
}

pub(super) fn column(panel: &[u32], lows: &[u32], highs: &[u32]) -> [u32; ROWS] {
    // SAFETY: this function is only chosen where AVX2 was detected.
    unsafe { column_sums(panel, lows, highs) }
}

/// [`split_strip`], compiled for these vectors.
#[target_feature(enable = "avx2")]
fn split_wide(b: View<'_>, first_pair: usize, first_col: usize, strip: &mut [u32]) {
    split_strip(b, first_pair, first_col, strip);
}

/// Four rows by eight columns of a tile.
#[target_feature(enable = "avx2")]
fn quarter(panel: &[u32], strip: &[u32], lane: usize, row: usize, out: &mut Tile) {
    let mut low = [_mm256_setzero_si256(); QUAD];
    let mut high = [_mm256_setzero_si256(); QUAD];
    for (weights, halves) in panel.chunks_exact(ROWS).zip(strip.chunks_exact(2 * COLUMNS)) {
        let (lows, highs) = (load(&halves[lane..]), load(&halves[COLUMNS + lane..]));
        for r in 0..QUAD {
            let w = _mm256_set1_epi32(weights[row + r] as i32);
            low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(w, lows));
            high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(w, highs));
        }
    }
    for r in 0..QUAD {
        store(&mut out[row + r][lane..], join(low[r], high[r]));
    }
}

#[target_feature(enable = "avx2")]
fn column_sums(panel: &[u32], lows: &[u32], highs: &[u32]) -> [u32; ROWS] {
    let mut low = [_mm256_setzero_si256(); 2];
    let mut high = [_mm256_setzero_si256(); 2];
    let pairs = lows.chunks_exact(2).zip(highs.chunks_exact(2));
    for (weights, (lows, highs)) in panel.chunks_exact(2 * ROWS).zip(pairs) {
        for i in 0..2 {
            let w = load(&weights[i * ROWS..]);
            let l = _mm256_madd_epi16(w, _mm256_set1_epi32(lows[i] as i32));
            let h = _mm256_madd_epi16(w, _mm256_set1_epi32(highs[i] as i32));
            low[i] = _mm256_add_epi32(low[i], l);
            high[i] = _mm256_add_epi32(high[i], h);
        }
    }
    let mut out = [0; ROWS];
    let sum = join(_mm256_add_epi32(low[0], low[1]), _mm256_add_epi32(high[0], high[1]));
    store(&mut out, sum);
    out
}

#[target_feature(enable = "avx2")]
fn join(low: __m256i, high: __m256i) -> __m256i {
    _mm256_add_epi32(low, _mm256_slli_epi32::<16>(high))
}

#[target_feature(enable = "avx2")]
fn load(words: &[u32]) -> __m256i {
    let words = &words[..LANES];
    // SAFETY: eight words are readable at the slice; the load needs no alignment.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn store(words: &mut [u32], v: __m256i) {
    let words = &mut words[..LANES];
    // SAFETY: eight words are writable at the slice; the store needs no alignment.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), v) };
}
