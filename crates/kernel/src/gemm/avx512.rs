//! The tile and column kernels on 512-bit vectors: one `vpdpwssd` per pair of 16-bit products.

use std::arch::x86_64::{
    __m512i, _mm256_add_epi32, _mm256_storeu_si256, _mm512_add_epi32, _mm512_castsi512_si256,
    _mm512_dpwssd_epi32, _mm512_extracti64x4_epi64, _mm512_loadu_si512, _mm512_permutexvar_epi32,
    _mm512_set1_epi32, _mm512_set1_epi64, _mm512_setr_epi32, _mm512_setzero_si512, _mm512_slli_epi32,
    _mm512_storeu_si512,
};

use super::{COLUMNS, ROWS, Tile, View, split_strip};

pub(super) fn split(b: View<'_>, first_pair: usize, first_col: usize, strip: &mut [u32]) {
    // SAFETY: this function is only chosen where AVX-512 with VNNI was detected.
    unsafe { split_wide(b, first_pair, first_col, strip) }
}

pub(super) fn tile(panel: &[u32], strip: &[u32], out: &mut Tile) {
    // SAFETY: this function is only chosen where AVX-512 with VNNI was detected.
    unsafe { tile_sums(panel, strip, out) }
}

pub(super) fn column(panel: &[u32], lows: &[u32], highs: &[u32]) -> [u32; ROWS] {
    // SAFETY: this function is only chosen where AVX-512 with VNNI was detected.
    unsafe { column_sums(panel, lows, highs) }
}

/// [`split_strip`], compiled for these vectors.
#[target_feature(enable = "avx512f,avx512vnni")]
fn split_wide(b: View<'_>, first_pair: usize, first_col: usize, strip: &mut [u32]) {
    split_strip(b, first_pair, first_col, strip);
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn tile_sums(panel: &[u32], strip: &[u32], out: &mut Tile) {
    let mut low = [_mm512_setzero_si512(); ROWS];
    let mut high = [_mm512_setzero_si512(); ROWS];
    for (weights, halves) in panel.chunks_exact(ROWS).zip(strip.chunks_exact(2 * COLUMNS)) {
        let (lows, highs) = (load(halves), load(&halves[COLUMNS..]));
        for r in 0..ROWS {
            let w = _mm512_set1_epi32(weights[r] as i32);
            low[r] = _mm512_dpwssd_epi32(low[r], w, lows);
            high[r] = _mm512_dpwssd_epi32(high[r], w, highs);
        }
    }
    for (r, row) in out.iter_mut().enumerate() {
        let sum = join(low[r], high[r]);
        // SAFETY: a row has sixteen words; the store needs no alignment.
        unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), sum) };
    }
}

/// A vector holds two pairs of the panel's eight rows; the column's two pairs are spread over it likewise.
#[target_feature(enable = "avx512f,avx512vnni")]
fn column_sums(panel: &[u32], lows: &[u32], highs: &[u32]) -> [u32; ROWS] {
    let spread = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    let two = |pairs: &[u32]| {
        let word = i64::from(pairs[0]) | i64::from(pairs[1]) << 32;
        _mm512_permutexvar_epi32(spread, _mm512_set1_epi64(word))
    };
    let mut low = [_mm512_setzero_si512(); 2];
    let mut high = [_mm512_setzero_si512(); 2];
    let mut add = |i: usize, panel: &[u32], lows: &[u32], highs: &[u32]| {
        let weights = load(panel);
        low[i] = _mm512_dpwssd_epi32(low[i], weights, two(lows));
        high[i] = _mm512_dpwssd_epi32(high[i], weights, two(highs));
    };
    let (panels, last_panel) = panel.as_chunks::<{ 4 * ROWS }>();
    let (lows, last_lows) = lows.as_chunks::<4>();
    let (highs, last_highs) = highs.as_chunks::<4>();
    for (panel, (lows, highs)) in panels.iter().zip(lows.iter().zip(highs)) {
        add(0, panel, lows, highs);
        add(1, &panel[2 * ROWS..], &lows[2..], &highs[2..]);
    }
    if !last_panel.is_empty() {
        add(0, last_panel, last_lows, last_highs);
    }
    let sum = join(_mm512_add_epi32(low[0], low[1]), _mm512_add_epi32(high[0], high[1]));
    let sum = _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum));
    let mut out = [0u32; ROWS];
    // SAFETY: the array has eight words; the store needs no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sum) };
    out
}

#[target_feature(enable = "avx512f")]
fn join(low: __m512i, high: __m512i) -> __m512i {
    _mm512_add_epi32(low, _mm512_slli_epi32::<16>(high))
}

#[target_feature(enable = "avx512f")]
fn load(words: &[u32]) -> __m512i {
    let words = &words[..16];
    // SAFETY: sixteen words are readable at the slice; the load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}
