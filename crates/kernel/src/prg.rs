//! The pseudo-random generator: AES-128 in counter mode.
//!
//! Block `j` of the stream with seed `s` and start `c` is `AES_s(c + j mod 2^128)`, little-endian. Streams of one
//! seed with different numbers ([`Prg::with_stream`]) start `2^64` blocks apart and never meet. Distance from
//! uniform after `m` blocks: `m^2 / 2^129` (PRP/PRF switching), beside the advantage against AES-128 itself.
//!
//! No secret-dependent branch or index: VAES on 512 bits where the machine has it; elsewhere the `aes` crate, which
//! uses AES-NI, VAES or ARM instructions where there are any and a bit-sliced implementation otherwise.

#[cfg(target_arch = "x86_64")]
mod vaes;

use std::convert::Infallible;
use std::fmt;

use aes::Aes128Enc;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use rand::{CryptoRng, SeedableRng, TryCryptoRng, TryRng};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::block::Block;

/// Blocks produced per call of the cipher in bulk output: enough for every backend of `aes`.
const BULK: usize = 64;
/// Bytes kept for small requests.
const BUFFER: usize = 16 * 16;

/// A seeded stream of pseudo-random bytes. Not `Clone`: two copies would repeat each other's output.
pub struct Prg {
    cipher: Cipher,
    start: u128,
    /// Offset of the next block to be encrypted.
    next: u128,
    buffer: [u8; BUFFER],
    /// Bytes of `buffer` already handed out.
    used: usize,
}

/// A key, in the form of the fastest implementation.
enum Cipher {
    #[cfg(target_arch = "x86_64")]
    Vaes(vaes::Vaes),
    Portable(Box<Aes128Enc>),
}

impl Cipher {
    fn new(key: Block) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(vaes) = vaes::Vaes::new(key) {
            return Self::Vaes(vaes);
        }
        Self::portable(key)
    }

    fn portable(key: Block) -> Self {
        Self::Portable(Box::new(Aes128Enc::new(&Array::from(key.to_bytes()))))
    }

    /// The encryptions of `counter`, `counter + 1`, .. modulo 2^128; whole blocks.
    fn keystream(&self, counter: u128, out: &mut [u8]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vaes(vaes) => vaes.keystream(counter, out),
            Self::Portable(cipher) => {
                let (blocks, _) = Array::slice_as_chunks_mut(out);
                for (chunk, first) in blocks.chunks_mut(BULK).zip((0_u128..).step_by(BULK)) {
                    for (block, j) in chunk.iter_mut().zip(first..) {
                        block.0 = counter.wrapping_add(j).to_le_bytes();
                    }
                    cipher.encrypt_blocks(chunk);
                }
            }
        }
    }
}

impl Prg {
    /// The stream of a 16-byte seed.
    #[must_use]
    pub fn new(seed: impl Into<Block>) -> Self {
        Self::with_start(seed.into(), 0)
    }

    /// Stream number `stream` of a seed; different numbers give independent streams.
    #[must_use]
    pub fn with_stream(seed: impl Into<Block>, stream: u64) -> Self {
        Self::with_start(seed.into(), u128::from(stream) << 64)
    }

    /// The stream of a 32-byte seed: the first half is the key, the second the start of the counter. The start
    /// hardens many seeds against one common pre-computation; key strength stays 128 bits.
    #[must_use]
    pub fn from_seed32(seed: &[u8; 32]) -> Self {
        let (key, start) = seed.split_at(16);
        let half = |h: &[u8]| h.iter().rev().fold(0, |acc, &b| acc << 8 | u128::from(b));
        Self::with_start(Block(half(key)), half(start))
    }

    /// A generator seeded from another one.
    #[must_use]
    pub fn from_generator(rng: &mut impl CryptoRng) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let prg = Self::from_seed32(&seed);
        seed.zeroize();
        prg
    }

    /// Moves to byte `16 * block` of the stream.
    pub fn seek(&mut self, block: u64) {
        self.next = u128::from(block);
        self.used = BUFFER;
    }

    /// Uniform words below `2^bits`, one per 4 bytes of the stream.
    ///
    /// # Panics
    /// If `bits` is not in `1..=32`.
    pub fn fill_u32(&mut self, bits: u32, out: &mut [u32]) {
        assert!((1..=32).contains(&bits), "word width out of range");
        let mask = u32::MAX >> (32 - bits);
        let mut bytes = [0; 4 * 1024];
        for chunk in out.chunks_mut(1024) {
            let bytes = &mut bytes[..4 * chunk.len()];
            self.fill(bytes);
            for (word, b) in chunk.iter_mut().zip(bytes.as_chunks().0) {
                *word = u32::from_le_bytes(*b) & mask;
            }
        }
        bytes.zeroize();
    }

    /// The next block of the stream.
    #[must_use]
    #[inline]
    pub fn next_block(&mut self) -> Block {
        Block::from_bytes(self.take())
    }

    /// Fills a slice with uniform blocks.
    pub fn fill_blocks(&mut self, out: &mut [Block]) {
        self.fill(Block::as_bytes_mut(out));
    }

    fn with_start(seed: Block, start: u128) -> Self {
        Self { cipher: Cipher::new(seed), start, next: 0, buffer: [0; BUFFER], used: BUFFER }
    }

    fn fill(&mut self, out: &mut [u8]) {
        let kept = out.len().min(BUFFER - self.used);
        let (head, rest) = out.split_at_mut(kept);
        head.copy_from_slice(&self.buffer[self.used..self.used + kept]);
        self.used += kept;
        let whole = rest.len() - rest.len() % BUFFER;
        let (bulk, tail) = rest.split_at_mut(whole);
        self.keystream(bulk);
        if !tail.is_empty() {
            self.refill();
            tail.copy_from_slice(&self.buffer[..tail.len()]);
            self.used = tail.len();
        }
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        if self.used + N <= BUFFER {
            out.copy_from_slice(&self.buffer[self.used..self.used + N]);
            self.used += N;
        } else {
            self.fill(&mut out);
        }
        out
    }

    fn refill(&mut self) {
        let mut buffer = self.buffer;
        self.keystream(&mut buffer);
        self.buffer = buffer;
        buffer.zeroize();
        self.used = 0;
    }

    /// Whole blocks of key stream; `out.len()` is a multiple of 16.
    fn keystream(&mut self, out: &mut [u8]) {
        self.cipher.keystream(self.start.wrapping_add(self.next), out);
        self.next += (out.len() / 16) as u128;
    }
}

impl SeedableRng for Prg {
    type Seed = [u8; 32];

    fn from_seed(seed: [u8; 32]) -> Self {
        Self::from_seed32(&seed)
    }
}

impl TryRng for Prg {
    type Error = Infallible;

    #[inline]
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.take()))
    }

    #[inline]
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.take()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for Prg {}

impl Drop for Prg {
    // The cipher erases its own key schedule.
    fn drop(&mut self) {
        self.start.zeroize();
        self.next.zeroize();
        self.buffer.zeroize();
    }
}

impl ZeroizeOnDrop for Prg {}

impl fmt::Debug for Prg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prg(..)")
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    /// FIPS-197, appendix C.1: the cipher under the counter is AES-128.
    #[test]
    fn known_answer() {
        let key: [u8; 16] = std::array::from_fn(|i| i as u8);
        let plain: [u8; 16] = std::array::from_fn(|i| 0x11 * i as u8);
        let expected = 0x69c4_e0d8_6a7b_0430_d8cd_b780_70b4_c55a_u128.to_be_bytes();
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&key);
        seed[16..].copy_from_slice(&plain);
        let mut out = [0; 16];
        Prg::from_seed32(&seed).fill_bytes(&mut out);
        assert_eq!(out, expected);
    }

    #[test]
    fn both_implementations_count_alike() {
        let key = Block(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        let (fast, portable) = (Cipher::new(key), Cipher::portable(key));
        let last = u128::from(u64::MAX);
        for counter in [0, 5, last - 37, last - 1, last, last + 1, last << 64, u128::MAX - 20, u128::MAX] {
            for blocks in [0, 1, 4, 16, 31, 32, 33, 100] {
                let (mut a, mut b) = (vec![0; 16 * blocks], vec![1; 16 * blocks]);
                fast.keystream(counter, &mut a);
                portable.keystream(counter, &mut b);
                assert!(a == b, "{blocks} blocks from {counter:x}");
            }
        }
    }

    #[test]
    fn any_split_gives_the_same_stream() {
        let mut whole = vec![0; 5000];
        Prg::new([7; 16]).fill_bytes(&mut whole);
        for sizes in
            [&[1, 2, 3, 500, 4494][..], &[256, 256, 4488], &[1024, 17, 3959], &[5000], &[255, 2, 4743]]
        {
            let mut prg = Prg::new([7; 16]);
            let mut parts = vec![];
            for &n in sizes {
                let mut part = vec![0; n];
                prg.fill_bytes(&mut part);
                parts.extend(part);
            }
            assert_eq!(parts, whole, "{sizes:?}");
        }
        let mut prg = Prg::new([7; 16]);
        prg.next_u32();
        prg.seek(3);
        assert_eq!(prg.next_block().to_bytes(), whole[48..64]);
        assert_eq!(prg.next_u64().to_le_bytes(), whole[64..72]);
    }

    #[test]
    fn streams_differ_and_never_overlap_early() {
        let blocks = |s: u64| {
            let mut out = vec![Block::ZERO; 1000];
            Prg::with_stream([1; 16], s).fill_blocks(&mut out);
            out.iter().map(|b| b.0).collect::<std::collections::HashSet<_>>()
        };
        let (a, b) = (blocks(0), blocks(1));
        assert_eq!(a.len(), 1000);
        assert!(a.is_disjoint(&b));
    }

    #[test]
    fn words_are_masked_and_cover_their_range() {
        for bits in 1..=32 {
            let mut words = vec![0; 3000];
            Prg::new([9; 16]).fill_u32(bits, &mut words);
            let (any, all) = words.iter().fold((0, u32::MAX), |(o, a), w| (o | w, a & w));
            assert_eq!((any, all), (u32::MAX >> (32 - bits), 0));
        }
    }
}
