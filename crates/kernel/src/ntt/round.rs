//! Between residues and powers of two: the linear parts of encoding a message and of switching a modulus.
//!
//! [`encode`]: with q = 0 modulo p, `round(q m / 2^l) = 1/2 - v / 2^l` modulo p for `v = (q m + 2^(l-1)) mod 2^l`.
//!
//! [`add_fractions`]: one term of `c / q = sum_i ([c (q/p_i)^-1] mod p_i) / p_i` modulo 1, in units of 2^-64, with
//! `1 / p` given as `floor(2^(63 + k) / p)` for p of k bits. With IFMA the 64 bits of that number are taken as 52 and
//! 12, so that every product has operands of 52 bits.
//!
//! All backends compute the same words. Constant time.

use crate::cpu::Backend;
use crate::zq::{Modulus, Shoup};

/// The constants of [`encode`] for one prime p and messages modulo 2^l.
#[derive(Debug, Clone, Copy)]
pub struct Encoder {
    /// q modulo 2^32.
    pub q: u32,
    /// 2^(l-1).
    pub half_step: u32,
    /// 2^l - 1.
    pub mask: u32,
    /// 2^-l modulo p.
    pub inverse: Shoup,
    /// 1/2 modulo p, plus what else is to be added.
    pub constant: u64,
}

/// The constants of [`add_fractions`] for one prime p of k bits.
#[derive(Debug, Clone, Copy)]
pub struct Fraction {
    /// (q / p)^-1 modulo p.
    pub factor: Shoup,
    /// floor(2^(63 + k) / p).
    pub reciprocal: u64,
}

/// `out = constant - ((q m + 2^(l-1)) mod 2^l) / 2^l` modulo p, in [0, p).
///
/// # Panics
/// If the lengths differ.
pub fn encode(modulus: &Modulus, encoder: &Encoder, messages: &[u32], out: &mut [u64]) {
    encode_on(Backend::detected(), modulus, encoder, messages, out);
}

/// [`encode`] on one backend; for tests. AVX2 runs the portable code.
///
/// # Panics
/// If the lengths differ or the machine lacks the backend.
pub fn encode_on(backend: Backend, modulus: &Modulus, encoder: &Encoder, messages: &[u32], out: &mut [u64]) {
    assert_eq!(messages.len(), out.len(), "operands of one length");
    match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => {
            assert!(super::runs(backend), "backend of this machine");
            // SAFETY: the machine has the instructions of this backend.
            unsafe { avx512::encode(modulus, encoder, messages, out) }
        }
        _ => encode_portable(modulus, encoder, messages, out),
    }
}

/// `sums += floor([c factor mod p] reciprocal / 2^(k-1))` modulo 2^64, for residues c in [0, p).
///
/// # Panics
/// If the lengths differ.
pub fn add_fractions(modulus: &Modulus, fraction: &Fraction, residues: &[u64], sums: &mut [u64]) {
    add_fractions_on(Backend::detected(), modulus, fraction, residues, sums);
}

/// [`add_fractions`] on one backend; for tests. AVX2 runs the portable code.
///
/// # Panics
/// If the lengths differ or the machine lacks the backend.
pub fn add_fractions_on(
    backend: Backend,
    modulus: &Modulus,
    fraction: &Fraction,
    residues: &[u64],
    sums: &mut [u64],
) {
    assert_eq!(residues.len(), sums.len(), "operands of one length");
    match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => {
            assert!(super::runs(backend), "backend of this machine");
            // SAFETY: the machine has the instructions of this backend.
            unsafe { avx512::add_fractions(modulus, fraction, residues, sums) }
        }
        _ => add_fractions_portable(modulus, fraction, residues, sums),
    }
}

fn encode_portable(modulus: &Modulus, encoder: &Encoder, messages: &[u32], out: &mut [u64]) {
    for (out, &m) in out.iter_mut().zip(messages) {
        let v = encoder.q.wrapping_mul(m).wrapping_add(encoder.half_step) & encoder.mask;
        *out = modulus.sub(encoder.constant, modulus.mul_shoup(v.into(), encoder.inverse));
    }
}

fn add_fractions_portable(modulus: &Modulus, fraction: &Fraction, residues: &[u64], sums: &mut [u64]) {
    let shift = modulus.bits() - 1;
    for (sum, &residue) in sums.iter_mut().zip(residues) {
        let y = modulus.mul_shoup(residue, fraction.factor);
        *sum = sum.wrapping_add(((u128::from(y) * u128::from(fraction.reciprocal)) >> shift) as u64);
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{Encoder, Fraction, add_fractions_portable, encode_portable};
    use crate::ntt::avx512::{load, store};
    use crate::ntt::pointwise::avx512::Reducer;
    use crate::zq::Modulus;

    #[target_feature(enable = "avx512f,avx512vl,avx512ifma")]
    pub(super) fn encode(modulus: &Modulus, encoder: &Encoder, messages: &[u32], out: &mut [u64]) {
        let r = Reducer::new(modulus);
        let inverse = [encoder.inverse.value, encoder.inverse.quotient].map(|v| _mm512_set1_epi64(v as i64));
        let constant = _mm512_set1_epi64((encoder.constant + modulus.value()) as i64);
        let [q, half_step, mask] =
            [encoder.q, encoder.half_step, encoder.mask].map(|v| _mm256_set1_epi32(v as i32));
        let ((messages, messages_rest), (out, out_rest)) = (messages.as_chunks::<8>(), out.as_chunks_mut());
        for (messages, out) in messages.iter().zip(out) {
            // SAFETY: 32 readable bytes; the instruction needs no alignment.
            let m = unsafe { _mm256_loadu_si256(messages.as_ptr().cast()) };
            let v = _mm256_add_epi32(_mm256_mullo_epi32(q, m), half_step);
            let v = _mm512_cvtepu32_epi64(_mm256_and_si256(v, mask));
            let v = r.below(r.mul_lazy(v, inverse));
            store(out, r.below(_mm512_sub_epi64(constant, v)));
        }
        encode_portable(modulus, encoder, messages_rest, out_rest);
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn add_fractions(modulus: &Modulus, fraction: &Fraction, residues: &[u64], sums: &mut [u64]) {
        let r = Reducer::new(modulus);
        let zero = _mm512_setzero_si512();
        let factor = [fraction.factor.value, fraction.factor.quotient].map(|v| _mm512_set1_epi64(v as i64));
        let [high, low] = [fraction.reciprocal >> 12, (fraction.reciprocal & 0xfff) << 40]
            .map(|v| _mm512_set1_epi64(v as i64));
        // y reciprocal = 2^64 a + 2^12 b + c with a, b from the upper 52 bits of the reciprocal, c from the lower 12.
        let up = _mm_cvtsi64_si128((65 - modulus.bits()).into());
        let down = _mm_cvtsi64_si128((modulus.bits() - 13).into());
        let ((residues, residues_rest), (sums, sums_rest)) =
            (residues.as_chunks::<8>(), sums.as_chunks_mut());
        for (residues, sums) in residues.iter().zip(sums) {
            let y = r.below(r.mul_lazy(load(residues), factor));
            let a = _mm512_madd52hi_epu64(zero, y, high);
            let b = _mm512_madd52hi_epu64(_mm512_madd52lo_epu64(zero, y, high), y, low);
            let product = _mm512_add_epi64(_mm512_sll_epi64(a, up), _mm512_srl_epi64(b, down));
            store(sums, _mm512_add_epi64(load(sums), product));
        }
        add_fractions_portable(modulus, fraction, residues_rest, sums_rest);
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::zq::ntt_primes;

    fn moduli() -> Vec<Modulus> {
        [ntt_primes(50, 1 << 15, 1)[0], ntt_primes(35, 1 << 12, 1)[0], ntt_primes(21, 1 << 10, 1)[0]]
            .map(|p| Modulus::new(p).unwrap())
            .to_vec()
    }

    #[test]
    fn backends_encode_alike() {
        let mut rng = StdRng::seed_from_u64(1);
        for m in moduli() {
            for bits in [1_u32, 18, 32] {
                let encoder = Encoder {
                    q: rng.random(),
                    half_step: 1 << (bits - 1),
                    mask: u32::MAX >> (32 - bits),
                    inverse: m.shoup(m.inv(m.pow(2, bits.into()))),
                    constant: rng.random_range(0..m.value()),
                };
                let mut messages: Vec<u32> = (0..77).map(|_| rng.random()).collect();
                (messages[0], messages[1]) = (0, u32::MAX);
                let exact = |message: u32| {
                    let v = encoder.q.wrapping_mul(message).wrapping_add(encoder.half_step) & encoder.mask;
                    m.sub(encoder.constant, m.mul(m.reduce_u128(v.into()), encoder.inverse.value))
                };
                for backend in Backend::available() {
                    let mut out = vec![0; 77];
                    encode_on(backend, &m, &encoder, &messages, &mut out);
                    assert!((0..77).all(|i| out[i] == exact(messages[i])), "{backend:?}");
                }
            }
        }
    }

    #[test]
    fn backends_add_the_same_fractions() {
        let mut rng = StdRng::seed_from_u64(2);
        for m in moduli() {
            let p = m.value();
            let fraction = Fraction {
                factor: m.shoup(rng.random_range(1..p)),
                reciprocal: ((1_u128 << (63 + m.bits())) / u128::from(p)) as u64,
            };
            let mut residues: Vec<u64> = (0..77).map(|_| rng.random_range(0..p)).collect();
            (residues[0], residues[1]) = (0, p - 1);
            let start: Vec<u64> = (0..77).map(|_| rng.random()).collect();
            let mut expected = start.clone();
            add_fractions_on(Backend::Portable, &m, &fraction, &residues, &mut expected);
            for i in 0..77 {
                // Never too large, and too small by less than one unit of the reciprocal's last place.
                let y = u128::from(m.mul(residues[i], fraction.factor.value));
                let exact = ((y << 64) / u128::from(p)) as u64;
                assert!(exact.wrapping_sub(expected[i].wrapping_sub(start[i])) <= 2, "{p}");
            }
            for backend in Backend::available() {
                let mut sums = start.clone();
                add_fractions_on(backend, &m, &fraction, &residues, &mut sums);
                assert!(sums == expected, "{backend:?}");
            }
        }
    }
}
