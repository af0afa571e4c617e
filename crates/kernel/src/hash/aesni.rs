//! x86-64 with AES-NI: one block per register.

use std::arch::x86_64::*;

use super::engine::{Engine, LANE_BYTES, tweaks};
use super::{KEYS, LANES, RCON};
use crate::block::Block;

#[derive(Clone, Copy)]
pub(crate) struct AesNi(());

impl AesNi {
    /// # Safety
    /// The machine has AES-NI and AVX2.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

/// Round keys: `[round][key]`.
pub(crate) struct Schedules([[__m128i; KEYS]; 11]);

/// Blocks encrypted side by side: hides the latency of a round and leaves room for keys in registers.
const WIDE: usize = 8;

impl Engine for AesNi {
    type Lanes = [__m128i; LANES];
    type Schedules = Schedules;

    #[inline(always)]
    fn load(self, bytes: &[u8; LANE_BYTES]) -> Self::Lanes {
        // SAFETY: unaligned loads of 16 bytes each within `bytes`.
        unsafe {
            let mut x = [_mm_setzero_si128(); LANES];
            for (i, x) in x.iter_mut().enumerate() {
                *x = _mm_loadu_si128(bytes.as_ptr().add(16 * i).cast());
            }
            x
        }
    }

    #[inline(always)]
    fn store(self, x: Self::Lanes, bytes: &mut [u8; LANE_BYTES]) {
        for (i, x) in x.into_iter().enumerate() {
            // SAFETY: an unaligned store of 16 bytes within `bytes`.
            unsafe { _mm_storeu_si128(bytes.as_mut_ptr().add(16 * i).cast(), x) };
        }
    }

    #[inline(always)]
    fn splat(self, x: Block) -> Self::Lanes {
        // SAFETY: SSE2 is part of x86-64; a block is 16 bytes.
        unsafe { [_mm_loadu_si128((&raw const x).cast()); LANES] }
    }

    #[inline(always)]
    fn xor(self, mut a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        for i in 0..LANES {
            // SAFETY: SSE2 is part of x86-64.
            a[i] = unsafe { _mm_xor_si128(a[i], b[i]) };
        }
        a
    }

    #[inline(always)]
    fn and(self, mut a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        for i in 0..LANES {
            // SAFETY: SSE2 is part of x86-64.
            a[i] = unsafe { _mm_and_si128(a[i], b[i]) };
        }
        a
    }

    #[inline(always)]
    fn colours(self, mut x: Self::Lanes) -> Self::Lanes {
        for x in &mut x {
            // SAFETY: SSE2 is part of x86-64. The lowest bit becomes the sign of every 32-bit word.
            *x = unsafe { _mm_srai_epi32::<31>(_mm_shuffle_epi32::<0>(_mm_slli_epi32::<31>(*x))) };
        }
        x
    }

    #[inline(always)]
    fn equal(self, mut a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        for i in 0..LANES {
            // SAFETY: SSE2 is part of x86-64.
            a[i] = unsafe { _mm_cmpeq_epi32(a[i], b[i]) };
        }
        a
    }

    #[inline(always)]
    fn schedules(self, tweak: u128) -> Schedules {
        // SAFETY: `self` proves AES-NI and AVX2; loads are of whole blocks.
        unsafe {
            let mut keys = [[_mm_setzero_si128(); KEYS]; 11];
            for (key, tweak) in keys[0].iter_mut().zip(&tweaks(tweak)) {
                *key = _mm_loadu_si128((&raw const *tweak).cast());
            }
            let rotate = _mm_set1_epi32(0x0c0f_0e0d);
            for round in 1..11 {
                let constant = _mm_set1_epi32(RCON[round - 1]);
                let (done, next) = keys.split_at_mut(round);
                for (next, &k) in next[0].iter_mut().zip(&done[round - 1]) {
                    let word = _mm_aesenclast_si128(_mm_shuffle_epi8(k, rotate), constant);
                    let k = _mm_xor_si128(k, _mm_bslli_si128::<4>(k));
                    let k = _mm_xor_si128(k, _mm_bslli_si128::<8>(k));
                    *next = _mm_xor_si128(k, word);
                }
            }
            Schedules(keys)
        }
    }

    #[inline(always)]
    fn hash<const N: usize>(
        self,
        schedules: &Schedules,
        key: usize,
        mut x: [Self::Lanes; N],
    ) -> [Self::Lanes; N] {
        let keys = &schedules.0;
        let (groups, _) = x.as_flattened_mut().as_chunks_mut::<WIDE>();
        for group in groups {
            // SAFETY: `self` proves AES-NI and AVX2.
            unsafe {
                let high = _mm_set_epi64x(-1, 0);
                let mut s = *group;
                for (s, y) in s.iter_mut().zip(group.iter_mut()) {
                    *s = _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(*y), _mm_and_si128(*y, high));
                    *y = _mm_xor_si128(*s, keys[0][key]);
                }
                for keys in &keys[1..10] {
                    for y in group.iter_mut() {
                        *y = _mm_aesenc_si128(*y, keys[key]);
                    }
                }
                for (y, s) in group.iter_mut().zip(s) {
                    *y = _mm_aesenclast_si128(*y, _mm_xor_si128(keys[10][key], s));
                }
            }
        }
        x
    }
}
