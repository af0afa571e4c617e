//! Transposition of bit matrices with 128 rows.
//!
//! `out[j]` bit `i` = row `i` bit `j`. Four tiles of 128 x 128 bits are transposed side by side by exchanging
//! off-diagonal halves of size 64, 32, .. 1 (Warren, *Hacker's Delight*, 7-3): seven passes over 8 KiB in which every
//! operation acts on 64 neighbouring bytes.

use crate::block::Block;
use crate::cpu::Backend;

/// Columns of one tile; the number of columns must be a multiple of it.
pub const TILE: usize = 128;

/// Tiles side by side.
const WIDE: usize = 4;

/// Transposes 128 rows of `n = out.len()` bits, row after row, least significant bit first.
///
/// # Panics
/// If `n` is not a multiple of 128 or `rows` has not `16 n` bytes.
pub fn transpose(rows: &[u8], out: &mut [Block]) {
    transpose_on(Backend::detected(), rows, out);
}

/// As [`transpose`], on a given backend.
///
/// # Panics
/// As [`transpose`].
pub fn transpose_on(backend: Backend, rows: &[u8], out: &mut [Block]) {
    assert!(out.len().is_multiple_of(TILE), "whole tiles");
    assert_eq!(rows.len(), 16 * out.len(), "128 rows of n bits");
    match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512dq") => {
            // SAFETY: the features the function is compiled for have just been detected.
            unsafe { x86::avx512(rows, out) }
        }
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 | Backend::Avx2 if is_x86_feature_detected!("avx2") => {
            // SAFETY: the feature the function is compiled for has just been detected.
            unsafe { x86::avx2(rows, out) }
        }
        _ => portable(rows, out),
    }
}

/// The same code compiled for wider registers: all its loops are element-wise over 64 bytes.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Block;

    #[target_feature(enable = "avx512bw,avx512dq")]
    pub(super) fn avx512(rows: &[u8], out: &mut [Block]) {
        super::portable(rows, out);
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn avx2(rows: &[u8], out: &mut [Block]) {
        super::portable(rows, out);
    }
}

#[inline(always)]
fn portable(rows: &[u8], out: &mut [Block]) {
    let stride = out.len() / 8;
    let mut tile = [[0; 2 * WIDE]; 128];
    for (t, out) in out.chunks_mut(WIDE * TILE).enumerate() {
        let width = out.len() / 64;
        for (i, row) in tile.iter_mut().enumerate() {
            let at = i * stride + t * WIDE * TILE / 8;
            for (word, bytes) in row.iter_mut().zip(rows[at..at + 8 * width].as_chunks().0) {
                *word = u64::from_le_bytes(*bytes);
            }
        }
        tiles(&mut tile);
        for (tile_index, out) in out.chunks_exact_mut(TILE).enumerate() {
            for (block, row) in out.iter_mut().zip(&tile) {
                *block = Block(u128::from(row[2 * tile_index]) | u128::from(row[2 * tile_index + 1]) << 64);
            }
        }
    }
}

/// Transposes the four tiles `x[..][2t..2t + 2]` in place.
#[inline(always)]
fn tiles(x: &mut [[u64; 2 * WIDE]; 128]) {
    let (top, bottom) = x.split_at_mut(64);
    for (a, b) in top.iter_mut().zip(bottom) {
        for t in 0..WIDE {
            std::mem::swap(&mut a[2 * t + 1], &mut b[2 * t]);
        }
    }
    exchange::<32>(x, 0x0000_0000_ffff_ffff);
    exchange::<16>(x, 0x0000_ffff_0000_ffff);
    exchange::<8>(x, 0x00ff_00ff_00ff_00ff);
    exchange::<4>(x, 0x0f0f_0f0f_0f0f_0f0f);
    exchange::<2>(x, 0x3333_3333_3333_3333);
    exchange::<1>(x, 0x5555_5555_5555_5555);
}

#[inline(always)]
fn exchange<const S: usize>(x: &mut [[u64; 2 * WIDE]; 128], mask: u64) {
    for group in x.chunks_exact_mut(2 * S) {
        let (top, bottom) = group.split_at_mut(S);
        for (a, b) in top.iter_mut().zip(bottom) {
            for (a, b) in a.iter_mut().zip(b) {
                let t = (*a >> S ^ *b) & mask;
                *b ^= t;
                *a ^= t << S;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;
    use crate::prg::Prg;

    #[test]
    fn every_backend_equals_the_definition() {
        for n in [128, 256, 512, 640, 1024, 1920] {
            let mut rows = vec![0; 16 * n];
            Prg::new([n as u8; 16]).fill_bytes(&mut rows);
            let bit = |i: usize, j: usize| rows[i * n / 8 + j / 8] >> (j % 8) & 1;
            for backend in Backend::available() {
                let mut out = vec![Block::ZERO; n];
                transpose_on(backend, &rows, &mut out);
                for (j, block) in out.iter().enumerate() {
                    let expected = (0..128).fold(0, |v, i| v | u128::from(bit(i, j)) << i);
                    assert_eq!(block.0, expected, "{backend:?}, {n} columns, column {j}");
                }
            }
        }
    }
}
