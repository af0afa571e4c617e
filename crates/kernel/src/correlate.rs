//! Sums of shifted and scaled copies of one plane: `out[i][j] += sum_t w_t plane[o_t + s i + j]` modulo 2^32.
//!
//! This is a convolution with few outputs per input, as in depthwise layers, without the matrix that a product of
//! matrices would need: a tap at row u and column v is a copy shifted by `o = u width + v`. Padding is zeros in the
//! plane; a stride in the rows is s = stride x width, one in the columns a plane with its columns sorted by residue.
//!
//! A stretch of sums stays in registers for all taps. Time depends on shapes only, not on words or weights.

use crate::cpu::Backend;

/// Sums in registers: four vectors of AVX-512, eight of AVX2.
const STRETCH: usize = 64;

/// One shifted copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tap {
    /// Where in the plane the first output reads.
    pub offset: usize,
    /// The weight.
    pub weight: i32,
}

/// Adds all taps to the rows of `out`, each of `width` words; row i reads the plane from `step i` on.
///
/// # Panics
/// If `out` is not made of rows, or a tap of a row reaches beyond the plane.
pub fn correlate(out: &mut [u32], width: usize, plane: &[u32], step: usize, taps: &[Tap]) {
    correlate_on(Backend::detected(), out, width, plane, step, taps);
}

/// [`correlate`] on one backend; for tests.
///
/// # Panics
/// As [`correlate`], and if the machine lacks the backend.
pub fn correlate_on(
    backend: Backend,
    out: &mut [u32],
    width: usize,
    plane: &[u32],
    step: usize,
    taps: &[Tap],
) {
    if out.is_empty() {
        return;
    }
    assert!(width > 0 && out.len().is_multiple_of(width), "whole rows");
    let last = (out.len() / width - 1) * step + width;
    assert!(taps.iter().all(|tap| tap.offset + last <= plane.len()), "taps inside the plane");
    assert!(
        backend == Backend::detected() || Backend::available().contains(&backend),
        "backend of this machine"
    );
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        let plane = &plane[row * step..];
        match backend {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the machine has the instructions of this backend.
            Backend::Avx512 => unsafe { avx512(out, plane, taps) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the machine has the instructions of this backend.
            Backend::Avx2 => unsafe { avx2(out, plane, taps) },
            _ => add_taps(out, plane, taps),
        }
    }
}

#[inline(always)]
fn add_taps(out: &mut [u32], plane: &[u32], taps: &[Tap]) {
    let mut at = 0;
    let (stretches, rest) = out.as_chunks_mut::<STRETCH>();
    for stretch in stretches {
        add_stretch(stretch, &plane[at..], taps);
        at += STRETCH;
    }
    let (stretches, rest) = rest.as_chunks_mut::<{ STRETCH / 4 }>();
    for stretch in stretches {
        add_stretch(stretch, &plane[at..], taps);
        at += STRETCH / 4;
    }
    for (out, at) in rest.iter_mut().zip(at..) {
        for tap in taps {
            *out = out.wrapping_add(plane[at + tap.offset].wrapping_mul(tap.weight as u32));
        }
    }
}

#[inline(always)]
fn add_stretch<const N: usize>(out: &mut [u32; N], plane: &[u32], taps: &[Tap]) {
    let mut sums = *out;
    for tap in taps {
        let words = &plane[tap.offset..][..N];
        for lane in 0..N {
            sums[lane] = sums[lane].wrapping_add(words[lane].wrapping_mul(tap.weight as u32));
        }
    }
    *out = sums;
}

/// The portable code, compiled for wide vectors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512(out: &mut [u32], plane: &[u32], taps: &[Tap]) {
    add_taps(out, plane, taps);
}

/// The portable code, compiled for wide vectors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(out: &mut [u32], plane: &[u32], taps: &[Tap]) {
    add_taps(out, plane, taps);
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn every_backend_adds_all_taps() {
        let mut rng = StdRng::seed_from_u64(1);
        for (rows, width, step) in
            [(1, 1, 0), (3, 15, 20), (2, 16, 16), (4, 64, 70), (2, 100, 90), (3, 229, 240)]
        {
            let taps: Vec<Tap> = (0..9)
                .map(|_| Tap { offset: rng.random_range(0..50), weight: rng.random_range(-40_000..40_000) })
                .collect();
            let plane: Vec<u32> = (0..(rows - 1) * step + width + 50).map(|_| rng.random()).collect();
            let start: Vec<u32> = (0..rows * width).map(|_| rng.random()).collect();
            for taps in [&taps[..], &taps[..1], &[]] {
                for backend in Backend::available() {
                    let mut out = start.clone();
                    correlate_on(backend, &mut out, width, &plane, step, taps);
                    for (i, (&out, &start)) in out.iter().zip(&start).enumerate() {
                        let at = i / width * step + i % width;
                        let product = |tap: &Tap| plane[at + tap.offset].wrapping_mul(tap.weight as u32);
                        let expected = taps.iter().map(product).fold(start, u32::wrapping_add);
                        assert_eq!(out, expected, "{rows} rows of {width}, {backend:?}");
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "inside the plane")]
    fn taps_beyond_the_plane_are_refused() {
        correlate(&mut [0; 4], 2, &[0; 6], 3, &[Tap { offset: 2, weight: 1 }]);
    }
}
