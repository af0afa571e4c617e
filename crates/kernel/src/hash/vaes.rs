//! x86-64 with AVX-512 and VAES: four blocks per register.

use std::arch::x86_64::*;

use super::engine::{Engine, LANE_BYTES, tweaks};
use super::{KEYS, LANES, RCON};
use crate::block::Block;

#[derive(Clone, Copy)]
pub(crate) struct Vaes(());

impl Vaes {
    /// # Safety
    /// The machine has AVX-512 F, BW and DQ, and VAES.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

/// Registers that hold one block per lane.
const WIDE: usize = LANES / 4;

/// Round keys: `[round][key]`, four keys per register.
pub(crate) struct Schedules([[__m512i; KEYS / 4]; 11]);

impl Schedules {
    /// One round key in all four places.
    ///
    /// # Safety
    /// The machine has AVX-512 F; `key < KEYS`.
    #[inline(always)]
    unsafe fn round(&self, round: usize, key: usize) -> __m512i {
        let keys = self.0[round].as_ptr().cast::<__m128i>();
        // SAFETY: a round holds KEYS blocks, aligned to 64 bytes.
        unsafe { _mm512_broadcast_i32x4(_mm_load_si128(keys.add(key))) }
    }
}

impl Engine for Vaes {
    type Lanes = [__m512i; WIDE];
    type Schedules = Schedules;

    #[inline(always)]
    fn load(self, bytes: &[u8; LANE_BYTES]) -> Self::Lanes {
        // SAFETY: `self` proves AVX-512; unaligned loads of 64 bytes each within `bytes`.
        unsafe {
            let mut x = [_mm512_setzero_si512(); WIDE];
            for (i, x) in x.iter_mut().enumerate() {
                *x = _mm512_loadu_si512(bytes.as_ptr().add(64 * i).cast());
            }
            x
        }
    }

    #[inline(always)]
    fn store(self, x: Self::Lanes, bytes: &mut [u8; LANE_BYTES]) {
        for (i, x) in x.into_iter().enumerate() {
            // SAFETY: `self` proves AVX-512; an unaligned store of 64 bytes within `bytes`.
            unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().add(64 * i).cast(), x) };
        }
    }

    #[inline(always)]
    fn splat(self, x: Block) -> Self::Lanes {
        // SAFETY: `self` proves AVX-512; a block is 16 bytes.
        unsafe { [_mm512_broadcast_i32x4(_mm_loadu_si128((&raw const x).cast())); WIDE] }
    }

    #[inline(always)]
    fn xor(self, mut a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        for i in 0..WIDE {
            // SAFETY: `self` proves AVX-512.
            a[i] = unsafe { _mm512_xor_si512(a[i], b[i]) };
        }
        a
    }

    #[inline(always)]
    fn and(self, mut a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        for i in 0..WIDE {
            // SAFETY: `self` proves AVX-512.
            a[i] = unsafe { _mm512_and_si512(a[i], b[i]) };
        }
        a
    }

    #[inline(always)]
    fn colours(self, mut x: Self::Lanes) -> Self::Lanes {
        for x in &mut x {
            // SAFETY: `self` proves AVX-512. The lowest bit becomes the sign of both halves of its block.
            *x = unsafe {
                let low = _mm512_slli_epi64::<63>(*x);
                _mm512_srai_epi64::<63>(_mm512_unpacklo_epi64(low, low))
            };
        }
        x
    }

    #[inline(always)]
    fn equal(self, mut a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        for i in 0..WIDE {
            // SAFETY: `self` proves AVX-512.
            a[i] = unsafe { _mm512_movm_epi32(_mm512_cmpeq_epi32_mask(a[i], b[i])) };
        }
        a
    }

    #[inline(always)]
    fn schedules(self, tweak: u128) -> Schedules {
        let first = tweaks(tweak);
        // SAFETY: `self` proves AVX-512 and VAES; the load and the four keys of a register are within `first`.
        unsafe {
            let mut keys = [[_mm512_setzero_si512(); KEYS / 4]; 11];
            for (i, key) in keys[0].iter_mut().enumerate() {
                *key = _mm512_loadu_si512(first.as_ptr().add(4 * i).cast());
            }
            let rotate = _mm512_set1_epi32(0x0c0f_0e0d);
            for round in 1..11 {
                let constant = _mm512_set1_epi32(RCON[round - 1]);
                let (done, next) = keys.split_at_mut(round);
                for (next, &k) in next[0].iter_mut().zip(&done[round - 1]) {
                    let word = _mm512_aesenclast_epi128(_mm512_shuffle_epi8(k, rotate), constant);
                    let k = _mm512_xor_si512(k, _mm512_bslli_epi128::<4>(k));
                    let k = _mm512_xor_si512(k, _mm512_bslli_epi128::<8>(k));
                    *next = _mm512_xor_si512(k, word);
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
        assert!(key < KEYS, "number of a schedule");
        // SAFETY: `self` proves AVX-512 and VAES; `key < KEYS`.
        unsafe {
            let mut s = x;
            let k = schedules.round(0, key);
            for (s, y) in s.as_flattened_mut().iter_mut().zip(x.as_flattened_mut()) {
                let swapped = _mm512_shuffle_epi32::<0x4e>(*y);
                *s = _mm512_mask_xor_epi64(swapped, 0b1010_1010, swapped, *y);
                *y = _mm512_xor_si512(*s, k);
            }
            for round in 1..10 {
                let k = schedules.round(round, key);
                for y in x.as_flattened_mut() {
                    *y = _mm512_aesenc_epi128(*y, k);
                }
            }
            let k = schedules.round(10, key);
            for (y, s) in x.as_flattened_mut().iter_mut().zip(s.as_flattened()) {
                *y = _mm512_aesenclast_epi128(*y, _mm512_xor_si512(k, *s));
            }
        }
        x
    }
}
