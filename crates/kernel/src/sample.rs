//! Samplers of lattice cryptography and of masks.
//!
//! Secrets (ternary, centred binomial, words modulo 2^l) consume a number of random bytes that depends on the
//! length only, without branches or table look-ups on them. [`uniform_mod_q`] rejects, hence runs in variable
//! time; what it accepts and how long it takes are independent of each other.

use rand::Rng;
use zeroize::Zeroize;

use crate::cpu::Backend;
use crate::zq::Modulus;

/// Pairs of bits of one sample of [`centred_binomial`].
pub const CBD_PAIRS: u32 = 21;
/// Variance of one sample of [`centred_binomial`].
pub const CBD_VARIANCE: f64 = CBD_PAIRS as f64 / 2.0;

/// Words drawn at a time.
const CHUNK: usize = 512;

/// Uniform in [0, p), by rejection from words of the length of p: one word of 8 bytes per trial, in order.
pub fn uniform_mod_q(rng: &mut impl Rng, modulus: &Modulus, out: &mut [u64]) {
    let backend = Backend::detected();
    let mut bytes = [0; 8 * CHUNK];
    let mut filled = 0;
    while filled < out.len() {
        let missing = &mut out[filled..];
        let trials = missing.len().min(CHUNK);
        rng.fill_bytes(&mut bytes[..8 * trials]);
        filled += accept_on(backend, modulus, &bytes[..8 * trials], &mut missing[..trials]);
    }
    bytes.zeroize();
}

/// Uniform in [0, 2^bits).
///
/// # Panics
/// If `bits` is not in 1..=32.
pub fn uniform_pow2(rng: &mut impl Rng, bits: u32, out: &mut [u32]) {
    assert!((1..=32).contains(&bits), "width of a word");
    let mask = u32::MAX >> (32 - bits);
    let mut bytes = [0; 4 * CHUNK];
    for chunk in out.chunks_mut(CHUNK) {
        let bytes = &mut bytes[..4 * chunk.len()];
        rng.fill_bytes(bytes);
        for (value, word) in chunk.iter_mut().zip(bytes.as_chunks().0) {
            *value = u32::from_le_bytes(*word) & mask;
        }
    }
    bytes.zeroize();
}

/// Uniform in {-1, 0, 1}: `floor(3 x / 2^64) - 1` for 64 uniform bits x, at distance below 2^-64 from uniform.
pub fn ternary(rng: &mut impl Rng, out: &mut [i8]) {
    let backend = Backend::detected();
    map_chunks(rng, out, |bytes, out| ternary_on(backend, bytes, out));
}

/// The difference of two sums of 21 random bits: in [-21, 21], mean 0, variance 10.5 (standard deviation 3.24).
///
/// A sum of 21 bits minus another has the distribution of a sum of 42 bits minus 21, since 1 - b is a fair bit.
pub fn centred_binomial(rng: &mut impl Rng, out: &mut [i8]) {
    let backend = Backend::detected();
    map_chunks(rng, out, |bytes, out| binomial_on(backend, bytes, out));
}

/// Feeds 8 random bytes per sample to `map`.
fn map_chunks(rng: &mut impl Rng, out: &mut [i8], map: impl Fn(&[u8], &mut [i8])) {
    let mut bytes = [0; 8 * CHUNK];
    for chunk in out.chunks_mut(CHUNK) {
        let bytes = &mut bytes[..8 * chunk.len()];
        rng.fill_bytes(bytes);
        map(bytes, chunk);
    }
    bytes.zeroize();
}

/// Writes the words that are below p, in order, to the front of as many places; how many there are.
fn accept_on(backend: Backend, modulus: &Modulus, bytes: &[u8], out: &mut [u64]) -> usize {
    match backend {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: callers pass a backend of this machine.
        Backend::Avx512 => unsafe { avx512::accept(modulus, bytes, out) },
        _ => accept_words(modulus, bytes, out),
    }
}

fn ternary_on(backend: Backend, bytes: &[u8], out: &mut [i8]) {
    match backend {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: callers pass a backend of this machine.
        Backend::Avx512 => unsafe { avx512::ternary(bytes, out) },
        _ => ternary_words(bytes, out),
    }
}

fn binomial_on(backend: Backend, bytes: &[u8], out: &mut [i8]) {
    match backend {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: callers pass a backend of this machine.
        Backend::Avx512 => unsafe { avx512::binomial(bytes, out) },
        _ => binomial_words(bytes, out),
    }
}

fn accept_words(modulus: &Modulus, bytes: &[u8], out: &mut [u64]) -> usize {
    let mask = u64::MAX >> (64 - modulus.bits());
    let mut kept = 0;
    for word in words(bytes) {
        let candidate = word & mask;
        // Written always, advanced only when accepted: fewer are kept than were seen.
        out[kept] = candidate;
        kept += usize::from(candidate < modulus.value());
    }
    kept
}

#[inline(always)]
fn ternary_words(bytes: &[u8], out: &mut [i8]) {
    // The high half of 3 x, from 32-bit halves.
    let trit = |x: u64| ((3 * (x >> 32) + ((3 * (x & 0xffff_ffff)) >> 32)) >> 32) as i8 - 1;
    out.iter_mut().zip(words(bytes)).for_each(|(value, x)| *value = trit(x));
}

#[inline(always)]
fn binomial_words(bytes: &[u8], out: &mut [i8]) {
    const MASK: u64 = (1 << (2 * CBD_PAIRS)) - 1;
    let sample = |x: u64| (x & MASK).count_ones() as i8 - CBD_PAIRS as i8;
    out.iter_mut().zip(words(bytes)).for_each(|(value, x)| *value = sample(x));
}

/// The portable code, compiled for wide vectors, and what compilers do not find.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use crate::zq::Modulus;

    #[target_feature(enable = "avx512f")]
    pub(super) fn accept(modulus: &Modulus, bytes: &[u8], out: &mut [u64]) -> usize {
        let p = _mm512_set1_epi64(modulus.value() as i64);
        let mask = _mm512_set1_epi64((u64::MAX >> (64 - modulus.bits())) as i64);
        let (vectors, rest) = bytes.as_chunks::<64>();
        let mut kept = 0;
        for vector in vectors {
            // SAFETY: 64 readable bytes; the instruction needs no alignment.
            let words = unsafe { _mm512_loadu_si512(vector.as_ptr().cast()) };
            let words = _mm512_and_si512(words, mask);
            let below = _mm512_cmplt_epu64_mask(words, p);
            let place = &mut out[kept..kept + 8];
            // SAFETY: 64 writable bytes; the instruction needs no alignment.
            unsafe {
                let accepted = _mm512_maskz_compress_epi64(below, words);
                _mm512_storeu_si512(place.as_mut_ptr().cast(), accepted);
            }
            kept += below.count_ones() as usize;
        }
        kept + super::accept_words(modulus, rest, &mut out[kept..])
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn ternary(bytes: &[u8], out: &mut [i8]) {
        super::ternary_words(bytes, out);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn binomial(bytes: &[u8], out: &mut [i8]) {
        super::binomial_words(bytes, out);
    }
}

#[inline]
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::zq::ntt_primes;

    /// sum (observed - expected)^2 / expected.
    fn chi_square(observed: &[usize], expected: &[f64]) -> f64 {
        observed.iter().zip(expected).map(|(&o, e)| (o as f64 - e).powi(2) / e).sum()
    }

    #[test]
    fn ternary_is_uniform() {
        let mut out = vec![0; 90_000];
        ternary(&mut StdRng::seed_from_u64(1), &mut out);
        let counts = [-1, 0, 1].map(|t| out.iter().filter(|&&v| v == t).count());
        assert_eq!(counts.iter().sum::<usize>(), out.len());
        // 2 degrees of freedom: 18.4 has probability 10^-4.
        assert!(chi_square(&counts, &[30_000.0; 3]) < 18.4, "{counts:?}");
    }

    #[test]
    fn backends_agree() {
        let mut bytes = vec![0; 8 * 77];
        StdRng::seed_from_u64(7).fill_bytes(&mut bytes);
        bytes[..16].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
        let (mut expected, mut out) = ([[0; 77]; 2], [[0; 77]; 2]);
        ternary_words(&bytes, &mut expected[0]);
        binomial_words(&bytes, &mut expected[1]);
        assert_eq!(expected.map(|v| [v[0], v[1]]), [[-1, 1], [-21, 21]]);
        for backend in Backend::available() {
            ternary_on(backend, &bytes, &mut out[0]);
            binomial_on(backend, &bytes, &mut out[1]);
            assert_eq!(out, expected, "{backend:?}");
        }
    }

    #[test]
    fn backends_accept_the_same_words() {
        let modulus = Modulus::new(1_572_869).unwrap();
        for len in [0, 5, 8, 77, 512] {
            let mut bytes = vec![0; 8 * len];
            StdRng::seed_from_u64(8).fill_bytes(&mut bytes);
            let mut expected = vec![0; len];
            let kept = accept_words(&modulus, &bytes, &mut expected);
            for backend in Backend::available() {
                let mut out = vec![0; len];
                assert_eq!(accept_on(backend, &modulus, &bytes, &mut out), kept);
                assert_eq!(out[..kept], expected[..kept], "{backend:?}");
            }
        }
    }

    #[test]
    fn ternary_formula() {
        for x in [0, u64::MAX, u64::MAX / 3, u64::MAX / 3 + 1, u64::MAX / 3 * 2, u64::MAX / 3 * 2 + 1] {
            let halves = (3 * (x >> 32) + ((3 * (x & 0xffff_ffff)) >> 32)) >> 32;
            assert_eq!(u128::from(halves), (3 * u128::from(x)) >> 64);
        }
    }

    #[test]
    fn binomial_has_its_distribution() {
        let count = 200_000;
        let mut out = vec![0; count];
        centred_binomial(&mut StdRng::seed_from_u64(2), &mut out);
        let mut observed = [0; 43];
        out.iter().for_each(|&v| observed[(v + 21) as usize] += 1);
        let mut expected = [0.0; 43];
        let mut probability = 0.5_f64.powi(42);
        for (k, e) in expected.iter_mut().enumerate() {
            *e = probability * count as f64;
            probability *= (42 - k) as f64 / (k + 1) as f64;
        }
        // The 25 central classes hold all but 10^-4 of the mass: 24 to 25 degrees of freedom.
        assert!(chi_square(&observed[9..34], &expected[9..34]) < 60.0);
        let variance = out.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / count as f64;
        assert!((variance - CBD_VARIANCE).abs() < 0.15, "{variance}");
    }

    #[test]
    fn uniform_words() {
        let modulus = Modulus::new(1_572_869).unwrap();
        let mut out = vec![0; 160_000];
        uniform_mod_q(&mut StdRng::seed_from_u64(3), &modulus, &mut out);
        assert!(out.iter().all(|&v| v < modulus.value()));
        let mut counts = [0; 16];
        out.iter().for_each(|&v| counts[(v * 16 / modulus.value()) as usize] += 1);
        assert!(chi_square(&counts, &[10_000.0; 16]) < 45.0, "{counts:?}");

        let mut out = vec![0; 160_000];
        uniform_pow2(&mut StdRng::seed_from_u64(4), 20, &mut out);
        let mut counts = [0; 16];
        out.iter().for_each(|&v| counts[(v >> 16) as usize] += 1);
        assert!(chi_square(&counts, &[10_000.0; 16]) < 45.0, "{counts:?}");
    }

    #[test]
    fn same_seed_same_values() {
        let modulus = Modulus::new(ntt_primes(50, 1024, 1)[0]).unwrap();
        let draw = |seed| {
            let mut out = vec![0; 1_300];
            uniform_mod_q(&mut StdRng::seed_from_u64(seed), &modulus, &mut out);
            out
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }
}
