//! The hash of garbled circuits: tweakable circular correlation robust, re-keyed per tweak.
//!
//! `H(x, i) = AES_i(sigma(x)) + sigma(x)` with the linear orthomorphism `sigma(L || R) = (L + R) || L`: the
//! construction of Guo, Katz, Wang, Weng, Yu, *Better concrete security for half-gates garbling (in the
//! multi-instance setting)*, CRYPTO 2020, section 4. The tweak is the AES *key*; one key serves a batch of blocks.
//!
//! Security. With AES as an ideal cipher, `p` evaluations of it by the adversary, `q` hash queries under an offset
//! of `rho` bits of entropy and no tweak used for more than `mu` queries, over all offsets, the advantage is at
//! most `(2 mu p + (mu - 1) q) / 2^rho`. Here `rho = 127` (the colour bit of the offset is fixed). Sharing each tweak among
//! `mu = 16` instances costs 4 bits: `2^5 p / 2^127`, against `log2` of the number of *all* gates for a fixed key.
//! `mu` counts every use of a key by anyone: starting tweaks must therefore be random per session.
//!
//! The key schedules of sixteen tweaks are computed side by side. Nothing depends on secrets but the data path.

use crate::block::Block;
use crate::cpu::Backend;

#[cfg(target_arch = "x86_64")]
mod aesni;
mod engine;
mod portable;
#[cfg(target_arch = "x86_64")]
mod vaes;

pub(crate) use engine::{Engine, LANE_BYTES, Lanes};

/// Blocks hashed under one tweak at a time.
pub const LANES: usize = 16;

/// Tweaks whose key schedules are computed together.
pub(crate) const KEYS: usize = 16;

/// Round constants of AES-128.
#[cfg(target_arch = "x86_64")]
const RCON: [i32; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 0x1b, 0x36];

/// `sigma(L || R) = (L + R) || L`: linear, and both `sigma` and `x -> sigma(x) + x` are permutations.
#[must_use]
#[inline]
pub const fn sigma(x: Block) -> Block {
    Block((x.0 ^ x.0 << 64) & HIGH | x.0 >> 64)
}

/// `x[g][..] = H(x[g][..], tweak + g)` for all groups `g`, in place.
pub fn tccr_groups<const N: usize>(tweak: u128, x: &mut [[[Block; LANES]; N]]) {
    tccr_groups_on(Backend::detected(), tweak, x);
}

/// As [`tccr_groups`], on a given backend.
pub fn tccr_groups_on<const N: usize>(backend: Backend, tweak: u128, x: &mut [[[Block; LANES]; N]]) {
    dispatch(backend, Groups { tweak, x });
}

/// Something to be compiled for every engine.
pub(crate) trait Job {
    type Output;
    /// Must be inlined, and so must all it calls.
    fn run<E: Engine>(self, engine: E) -> Self::Output;
}

/// Runs a job with the instructions of a backend.
pub(crate) fn dispatch<J: Job>(backend: Backend, job: J) -> J::Output {
    #[cfg(target_arch = "x86_64")]
    if backend >= Backend::Avx512 && is_x86_feature_detected!("vaes") {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes")]
        fn compiled<J: Job>(job: J) -> J::Output {
            // SAFETY: the function is compiled for, and called on a machine with, these features.
            job.run(unsafe { vaes::Vaes::new() })
        }
        // SAFETY: the backend implies AVX-512 F, BW, VL, DQ; VAES has just been detected.
        return unsafe { compiled(job) };
    }
    #[cfg(target_arch = "x86_64")]
    if backend >= Backend::Avx2 && is_x86_feature_detected!("aes") {
        #[target_feature(enable = "avx2,aes")]
        fn compiled<J: Job>(job: J) -> J::Output {
            // SAFETY: the function is compiled for, and called on a machine with, these features.
            job.run(unsafe { aesni::AesNi::new() })
        }
        // SAFETY: the backend implies AVX2; AES-NI has just been detected.
        return unsafe { compiled(job) };
    }
    job.run(portable::Portable)
}

struct Groups<'x, const N: usize> {
    tweak: u128,
    x: &'x mut [[Lanes; N]],
}

impl<const N: usize> Job for Groups<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<E: Engine>(self, e: E) {
        let mut tweak = self.tweak;
        for groups in self.x.chunks_mut(KEYS) {
            let schedules = e.schedules(tweak);
            for (key, group) in groups.iter_mut().enumerate() {
                let mut x = [e.splat(Block::ZERO); N];
                for (x, lanes) in x.iter_mut().zip(group.iter()) {
                    *x = e.get(lanes);
                }
                for (x, lanes) in e.hash(&schedules, key, x).into_iter().zip(group) {
                    e.put(x, lanes);
                }
            }
            tweak = tweak.wrapping_add(KEYS as u128);
        }
    }
}

const HIGH: u128 = (u64::MAX as u128) << 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_answer() {
        // FIPS-197, appendix C.1, as AES_key(sigma(x)) + sigma(x).
        let key = u128::from_le_bytes(std::array::from_fn(|i| i as u8));
        let plain = u128::from_le_bytes(std::array::from_fn(|i| 0x11 * i as u8));
        let cipher = 0x69c4_e0d8_6a7b_0430_d8cd_b780_70b4_c55a_u128.swap_bytes();
        // sigma^-1(H || L) = L || (H + L)
        let x = plain << 64 | ((plain >> 64) ^ (plain & u128::from(u64::MAX)));
        assert_eq!(sigma(Block(x)).0, plain);
        for backend in Backend::available() {
            let mut groups = [[[Block(x); LANES]; 3]];
            tccr_groups_on(backend, key, &mut groups);
            assert!(
                groups.as_flattened().as_flattened().iter().all(|o| o.0 == cipher ^ plain),
                "{backend:?}"
            );
        }
    }

    #[test]
    fn every_backend_equals_the_definition() {
        use aes::Aes128Enc;
        use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
        let mut x = vec![[[Block::ZERO; LANES]; 2]; 37];
        crate::prg::Prg::new([3; 16]).fill_blocks(x.as_flattened_mut().as_flattened_mut());
        let start = u128::MAX - 20;
        let h = |x: Block, tweak: u128| {
            let mut block = Array::from(sigma(x).to_bytes());
            Aes128Enc::new(&Array::from(tweak.to_le_bytes())).encrypt_block(&mut block);
            Block::from_bytes(block.0).0 ^ sigma(x).0
        };
        for backend in Backend::available() {
            let mut out = x.clone();
            tccr_groups_on(backend, start, &mut out);
            for (j, (x, out)) in (0..).zip(x.iter().zip(&out)) {
                for (x, out) in x.as_flattened().iter().zip(out.as_flattened()) {
                    assert_eq!(out.0, h(*x, start.wrapping_add(j)), "{backend:?}, group {j}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn sigma_is_a_linear_orthomorphism(a: u128, b: u128) {
            let s = |x| sigma(Block(x)).0;
            prop_assert_eq!(s(a) ^ s(b), s(a ^ b));
            prop_assert!(a == 0 || (s(a) != 0 && s(a) ^ a != 0));
            // sigma^2 + sigma + 1 = 0, hence sigma and sigma + 1 are invertible.
            prop_assert_eq!(s(s(a)) ^ s(a) ^ a, 0);
        }

        #[test]
        fn tweaks_and_inputs_matter(x: u128, y: u128, i: u128, j: u128) {
            let h = |x, i| {
                let mut out = [[[Block(x); LANES]]];
                tccr_groups(i, &mut out);
                out[0][0][3].0
            };
            prop_assert_eq!(x == y, h(x, i) == h(y, i));
            prop_assert_eq!(i == j, h(x, i) == h(x, j));
        }
    }
}
