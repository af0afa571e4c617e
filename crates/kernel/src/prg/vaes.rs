//! AES-128 in counter mode on x86-64 with AVX-512 and VAES: four blocks per register, eight registers at a time.

use std::arch::x86_64::*;

use zeroize::optimization_barrier;

use crate::block::Block;
use crate::cpu::Backend;

/// Registers that are encrypted side by side: as many as hide the latency of a round.
const WIDE: usize = 8;

/// The round keys, wiped when dropped. Exists only where the machine has the instructions.
pub(super) struct Vaes {
    keys: [__m128i; 11],
}

impl Vaes {
    /// Expands a key; `None` where the machine or the chosen backend lacks the instructions.
    pub(super) fn new(key: Block) -> Option<Self> {
        if Backend::detected() < Backend::Avx512 || !is_x86_feature_detected!("vaes") {
            return None;
        }
        // SAFETY: the machine has the instructions, as checked above.
        Some(Self { keys: unsafe { expand(key) } })
    }

    /// Writes the encryptions of `counter`, `counter + 1`, .. modulo 2^128; whole blocks.
    pub(super) fn keystream(&self, counter: u128, out: &mut [u8]) {
        // SAFETY: a value of this type proves the instructions.
        unsafe { keystream(&self.keys, counter, out) }
    }
}

impl Drop for Vaes {
    fn drop(&mut self) {
        // SAFETY: SSE2 is part of x86-64.
        self.keys = unsafe { [_mm_setzero_si128(); 11] };
        optimization_barrier(&self.keys);
    }
}

#[target_feature(enable = "sse2,ssse3,aes")]
fn expand(key: Block) -> [__m128i; 11] {
    let mut keys = [_mm_setzero_si128(); 11];
    // SAFETY: a block has 16 bytes.
    keys[0] = unsafe { _mm_loadu_si128((&raw const key).cast()) };
    let rotate = _mm_set1_epi32(0x0c0f_0e0d);
    for round in 1..11 {
        let k = keys[round - 1];
        let constant = _mm_set1_epi32(RCON[round - 1]);
        // Four equal columns, which shifting the rows leaves as they are.
        let word = _mm_aesenclast_si128(_mm_shuffle_epi8(k, rotate), constant);
        let k = _mm_xor_si128(k, _mm_bslli_si128::<4>(k));
        let k = _mm_xor_si128(k, _mm_bslli_si128::<8>(k));
        keys[round] = _mm_xor_si128(k, word);
    }
    keys
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,vaes")]
fn keystream(keys: &[__m128i; 11], mut counter: u128, out: &mut [u8]) {
    let mut wide = [_mm512_setzero_si512(); 11];
    for (wide, key) in wide.iter_mut().zip(keys) {
        *wide = _mm512_broadcast_i32x4(*key);
    }
    let (chunks, rest) = out.as_chunks_mut::<{ 64 * WIDE }>();
    for chunk in chunks {
        encrypt(&wide, counter, chunk);
        counter = counter.wrapping_add(4 * WIDE as u128);
    }
    if !rest.is_empty() {
        let mut chunk = [0; 64 * WIDE];
        encrypt(&wide, counter, &mut chunk);
        rest.copy_from_slice(&chunk[..rest.len()]);
        chunk.fill(0);
        optimization_barrier(&chunk);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,vaes")]
fn encrypt(keys: &[__m512i; 11], counter: u128, out: &mut [u8; 64 * WIDE]) {
    let (low, high) = (counter as u64 as i64, (counter >> 64) as u64 as i64);
    let base = _mm512_setr_epi64(low, high, low, high, low, high, low, high);
    let mut blocks = [base; WIDE];
    for (i, block) in (0..).zip(blocks.iter_mut()) {
        let first = 4 * i;
        let offsets = _mm512_setr_epi64(first, 0, first + 1, 0, first + 2, 0, first + 3, 0);
        *block = _mm512_add_epi64(base, offsets);
        // A lower half that ran over is smaller than it was: one more in the upper half.
        let carries = _mm512_cmplt_epu64_mask(*block, base) << 1 & 0b1010_1010;
        *block = _mm512_mask_add_epi64(*block, carries, *block, _mm512_set1_epi64(1));
        *block = _mm512_xor_si512(*block, keys[0]);
    }
    for key in &keys[1..10] {
        for block in &mut blocks {
            *block = _mm512_aesenc_epi128(*block, *key);
        }
    }
    let (places, _) = out.as_chunks_mut::<64>();
    for (place, block) in places.iter_mut().zip(blocks) {
        let block = _mm512_aesenclast_epi128(block, keys[10]);
        // SAFETY: 64 writable bytes; the instruction needs no alignment.
        unsafe { _mm512_storeu_si512(place.as_mut_ptr().cast(), block) };
    }
}

/// Round constants of AES-128.
const RCON: [i32; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 0x1b, 0x36];
