//! Products and sums of vectors of residues in the evaluation domain.
//!
//! Inner products are accumulated without reduction: of every product of two residues below 2^50 the lower 52
//! bits go to one word and the rest to another ([`mul_acc`]), one multiply-add of AVX-512 IFMA each. After k
//! products the words are below k 2^52 and k 2^48, hence [`MAX_PRODUCTS`] = 4,096 of them fit; [`reduce_acc`]
//! then reduces once. All backends leave the same words. Constant time.

use crate::cpu::Backend;
use crate::zq::{MASK52, Modulus, Shoup};

/// Products that may be accumulated before a reduction. (One word that is already there, below 2^52, counts as
/// a product.)
pub const MAX_PRODUCTS: usize = 4096;

/// `(lo, hi) += a b`, as lower 52 and upper bits.
///
/// # Panics
/// If the lengths differ.
pub fn mul_acc(lo: &mut [u64], hi: &mut [u64], a: &[u64], b: &[u64]) {
    mul_acc_on(Backend::detected(), lo, hi, a, b);
}

/// [`mul_acc`] on one backend; for tests. AVX2 runs the portable code.
///
/// # Panics
/// If the lengths differ or the machine lacks the backend.
pub fn mul_acc_on(backend: Backend, lo: &mut [u64], hi: &mut [u64], a: &[u64], b: &[u64]) {
    let len = lo.len();
    assert!(hi.len() == len && a.len() == len && b.len() == len, "operands of one length");
    match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => {
            assert!(super::runs(backend), "backend of this machine");
            // SAFETY: the machine has the instructions of this backend.
            unsafe { avx512::mul_acc(lo, hi, a, b) }
        }
        _ => mul_acc_portable(lo, hi, a, b),
    }
}

/// `out = lo + 2^52 hi` modulo p, in [0, p).
///
/// # Panics
/// If the lengths differ.
pub fn reduce_acc(modulus: &Modulus, lo: &[u64], hi: &[u64], out: &mut [u64]) {
    reduce_acc_on(Backend::detected(), modulus, lo, hi, out);
}

/// [`reduce_acc`] on one backend; for tests. AVX2 runs the portable code.
///
/// # Panics
/// If the lengths differ or the machine lacks the backend.
pub fn reduce_acc_on(backend: Backend, modulus: &Modulus, lo: &[u64], hi: &[u64], out: &mut [u64]) {
    assert!(hi.len() == lo.len() && out.len() == lo.len(), "operands of one length");
    match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => {
            assert!(super::runs(backend), "backend of this machine");
            // SAFETY: the machine has the instructions of this backend.
            unsafe { avx512::reduce_acc(modulus, lo, hi, out) }
        }
        _ => reduce_acc_portable(modulus, lo, hi, out),
    }
}

/// `a *= b`, all in [0, p).
///
/// # Panics
/// If the lengths differ.
pub fn mul_assign(modulus: &Modulus, a: &mut [u64], b: &[u64]) {
    mul_assign_on(Backend::detected(), modulus, a, b);
}

/// [`mul_assign`] on one backend; for tests. AVX2 runs the portable code.
///
/// # Panics
/// If the lengths differ or the machine lacks the backend.
pub fn mul_assign_on(backend: Backend, modulus: &Modulus, a: &mut [u64], b: &[u64]) {
    assert_eq!(a.len(), b.len(), "operands of one length");
    match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => {
            assert!(super::runs(backend), "backend of this machine");
            // SAFETY: the machine has the instructions of this backend.
            unsafe { avx512::mul_assign(modulus, a, b) }
        }
        _ => a.iter_mut().zip(b).for_each(|(a, &b)| *a = modulus.mul(*a, b)),
    }
}

/// `sum -= a b`, all in [0, p).
///
/// # Panics
/// If the lengths differ.
pub fn mul_sub_assign(modulus: &Modulus, sum: &mut [u64], a: &[u64], b: &[u64]) {
    mul_sub_assign_on(Backend::detected(), modulus, sum, a, b);
}

/// [`mul_sub_assign`] on one backend; for tests. AVX2 runs the portable code.
///
/// # Panics
/// If the lengths differ or the machine lacks the backend.
pub fn mul_sub_assign_on(backend: Backend, modulus: &Modulus, sum: &mut [u64], a: &[u64], b: &[u64]) {
    assert!(a.len() == sum.len() && b.len() == sum.len(), "operands of one length");
    match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => {
            assert!(super::runs(backend), "backend of this machine");
            // SAFETY: the machine has the instructions of this backend.
            unsafe { avx512::mul_sub_assign(modulus, sum, a, b) }
        }
        _ => mul_sub_assign_portable(modulus, sum, a, b),
    }
}

/// `a *= w`, with a < 2^52 before and in [0, p) after.
pub fn scale(modulus: &Modulus, a: &mut [u64], w: Shoup) {
    scale_on(Backend::detected(), modulus, a, w);
}

/// [`scale`] on one backend; for tests. AVX2 runs the portable code.
///
/// # Panics
/// If the machine lacks the backend.
pub fn scale_on(backend: Backend, modulus: &Modulus, a: &mut [u64], w: Shoup) {
    match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => {
            assert!(super::runs(backend), "backend of this machine");
            // SAFETY: the machine has the instructions of this backend.
            unsafe { avx512::scale(modulus, a, w) }
        }
        _ => a.iter_mut().for_each(|a| *a = modulus.mul_shoup(*a, w)),
    }
}

/// `out = a` modulo p, in [0, p).
///
/// # Panics
/// If the lengths differ.
pub fn lift(modulus: &Modulus, a: &[i32], out: &mut [u64]) {
    lift_on(Backend::detected(), modulus, a, out);
}

/// [`lift`] on one backend; for tests. AVX2 runs the portable code.
///
/// # Panics
/// If the lengths differ or the machine lacks the backend.
pub fn lift_on(backend: Backend, modulus: &Modulus, a: &[i32], out: &mut [u64]) {
    assert_eq!(a.len(), out.len(), "operands of one length");
    if modulus.bits() <= 32 {
        return a.iter().zip(out).for_each(|(&a, out)| *out = modulus.reduce_i64(a.into()));
    }
    match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => {
            assert!(super::runs(backend), "backend of this machine");
            // SAFETY: the machine has the instructions of this backend.
            unsafe { avx512::lift(modulus, a, out) }
        }
        _ => lift_portable(modulus, a, out),
    }
}

/// [`lift`] of bytes.
///
/// # Panics
/// If the lengths differ.
pub fn lift_bytes(modulus: &Modulus, a: &[i8], out: &mut [u64]) {
    lift_bytes_on(Backend::detected(), modulus, a, out);
}

/// [`lift_bytes`] on one backend; for tests. AVX2 runs the portable code.
///
/// # Panics
/// If the lengths differ or the machine lacks the backend.
pub fn lift_bytes_on(backend: Backend, modulus: &Modulus, a: &[i8], out: &mut [u64]) {
    assert_eq!(a.len(), out.len(), "operands of one length");
    match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => {
            assert!(super::runs(backend), "backend of this machine");
            // SAFETY: the machine has the instructions of this backend.
            unsafe { avx512::lift(modulus, a, out) }
        }
        _ => lift_portable(modulus, a, out),
    }
}

/// `a += b`, all in [0, p).
///
/// # Panics
/// If the lengths differ.
pub fn add_assign(modulus: &Modulus, a: &mut [u64], b: &[u64]) {
    add_assign_on(Backend::detected(), modulus, a, b);
}

/// [`add_assign`] on one backend; for tests. AVX2 runs the portable code.
///
/// # Panics
/// If the lengths differ or the machine lacks the backend.
pub fn add_assign_on(backend: Backend, modulus: &Modulus, a: &mut [u64], b: &[u64]) {
    assert_eq!(a.len(), b.len(), "operands of one length");
    match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => {
            assert!(super::runs(backend), "backend of this machine");
            // SAFETY: the machine has the instructions of this backend.
            unsafe { avx512::add_assign(modulus, a, b) }
        }
        _ => add_assign_portable(modulus, a, b),
    }
}

/// `a -= b`, all in [0, p).
///
/// # Panics
/// If the lengths differ.
pub fn sub_assign(modulus: &Modulus, a: &mut [u64], b: &[u64]) {
    sub_assign_on(Backend::detected(), modulus, a, b);
}

/// [`sub_assign`] on one backend; for tests. AVX2 runs the portable code.
///
/// # Panics
/// If the lengths differ or the machine lacks the backend.
pub fn sub_assign_on(backend: Backend, modulus: &Modulus, a: &mut [u64], b: &[u64]) {
    assert_eq!(a.len(), b.len(), "operands of one length");
    match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => {
            assert!(super::runs(backend), "backend of this machine");
            // SAFETY: the machine has the instructions of this backend.
            unsafe { avx512::sub_assign(modulus, a, b) }
        }
        _ => sub_assign_portable(modulus, a, b),
    }
}

fn mul_sub_assign_portable(modulus: &Modulus, sum: &mut [u64], a: &[u64], b: &[u64]) {
    for (sum, (&a, &b)) in sum.iter_mut().zip(a.iter().zip(b)) {
        *sum = modulus.sub(*sum, modulus.mul(a, b));
    }
}

/// For numbers of absolute value below p.
#[inline(always)]
fn lift_portable<T: Copy + Into<i64>>(modulus: &Modulus, a: &[T], out: &mut [u64]) {
    a.iter().zip(out).for_each(|(&a, out)| *out = modulus.lift_signed(a.into()));
}

#[inline(always)]
fn add_assign_portable(modulus: &Modulus, a: &mut [u64], b: &[u64]) {
    a.iter_mut().zip(b).for_each(|(a, &b)| *a = modulus.add(*a, b));
}

#[inline(always)]
fn sub_assign_portable(modulus: &Modulus, a: &mut [u64], b: &[u64]) {
    a.iter_mut().zip(b).for_each(|(a, &b)| *a = modulus.sub(*a, b));
}

pub(super) fn mul_acc_portable(lo: &mut [u64], hi: &mut [u64], a: &[u64], b: &[u64]) {
    for ((lo, hi), (&a, &b)) in lo.iter_mut().zip(hi).zip(a.iter().zip(b)) {
        let product = u128::from(a) * u128::from(b);
        *lo = lo.wrapping_add(product as u64 & MASK52);
        *hi = hi.wrapping_add((product >> 52) as u64);
    }
}

fn reduce_acc_portable(modulus: &Modulus, lo: &[u64], hi: &[u64], out: &mut [u64]) {
    out.iter_mut().zip(lo.iter().zip(hi)).for_each(|(out, (&lo, &hi))| *out = modulus.reduce_split(lo, hi));
}

/// The same with AVX-512 IFMA; the last `len % 8` elements by the portable code.
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512 {
    use std::arch::x86_64::*;

    use super::{
        add_assign_portable, lift_portable, mul_acc_portable, mul_sub_assign_portable, reduce_acc_portable,
        sub_assign_portable,
    };
    use crate::ntt::avx512::{load, store};
    use crate::zq::{MASK52, Modulus, Shoup};

    /// Constants of a reduction.
    #[derive(Clone, Copy)]
    pub(in crate::ntt) struct Reducer {
        p: __m512i,
        minus: __m512i,
        mask: __m512i,
        /// 1, 2^52, 2^104 modulo p and their quotients.
        powers: [[__m512i; 2]; 3],
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_acc(lo: &mut [u64], hi: &mut [u64], a: &[u64], b: &[u64]) {
        let ((lo, lo_rest), (hi, hi_rest)) = (lo.as_chunks_mut(), hi.as_chunks_mut());
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks(), b.as_chunks());
        for ((lo, hi), (a, b)) in lo.iter_mut().zip(hi).zip(a.iter().zip(b)) {
            let (x, y) = (load(a), load(b));
            store(lo, _mm512_madd52lo_epu64(load(lo), x, y));
            store(hi, _mm512_madd52hi_epu64(load(hi), x, y));
        }
        mul_acc_portable(lo_rest, hi_rest, a_rest, b_rest);
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn reduce_acc(modulus: &Modulus, lo: &[u64], hi: &[u64], out: &mut [u64]) {
        let r = Reducer::new(modulus);
        let ((lo, lo_rest), (hi, hi_rest)) = (lo.as_chunks(), hi.as_chunks());
        let (out, out_rest) = out.as_chunks_mut();
        for (out, (lo, hi)) in out.iter_mut().zip(lo.iter().zip(hi)) {
            let (lo, hi) = (load(lo), load(hi));
            let low = |v| _mm512_and_si512(v, r.mask);
            let middle = _mm512_add_epi64(low(hi), _mm512_srli_epi64::<52>(lo));
            let top = _mm512_add_epi64(_mm512_srli_epi64::<52>(hi), _mm512_srli_epi64::<52>(middle));
            let sum = r.lazy(0, low(lo));
            let sum = _mm512_add_epi64(sum, r.lazy(1, low(middle)));
            let sum = _mm512_add_epi64(sum, r.lazy(2, top));
            store(out, r.lift(sum));
        }
        reduce_acc_portable(modulus, lo_rest, hi_rest, out_rest);
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_assign(modulus: &Modulus, a: &mut [u64], b: &[u64]) {
        let r = Reducer::new(modulus);
        let zero = _mm512_setzero_si512();
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks_mut(), b.as_chunks());
        for (a, b) in a.iter_mut().zip(b) {
            let (x, y) = (load(a), load(b));
            let (lo, hi) = (_mm512_madd52lo_epu64(zero, x, y), _mm512_madd52hi_epu64(zero, x, y));
            store(a, r.lift(_mm512_add_epi64(r.lazy(0, lo), r.lazy(1, hi))));
        }
        a_rest.iter_mut().zip(b_rest).for_each(|(a, &b)| *a = modulus.mul(*a, b));
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_sub_assign(modulus: &Modulus, sum: &mut [u64], a: &[u64], b: &[u64]) {
        let r = Reducer::new(modulus);
        let zero = _mm512_setzero_si512();
        let ((sum, sum_rest), (a, a_rest), (b, b_rest)) = (sum.as_chunks_mut(), a.as_chunks(), b.as_chunks());
        for (sum, (a, b)) in sum.iter_mut().zip(a.iter().zip(b)) {
            let (x, y) = (load(a), load(b));
            let (lo, hi) = (_mm512_madd52lo_epu64(zero, x, y), _mm512_madd52hi_epu64(zero, x, y));
            let product = r.lift(_mm512_add_epi64(r.lazy(0, lo), r.lazy(1, hi)));
            store(sum, r.below(_mm512_sub_epi64(_mm512_add_epi64(load(sum), r.p), product)));
        }
        mul_sub_assign_portable(modulus, sum_rest, a_rest, b_rest);
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn scale(modulus: &Modulus, a: &mut [u64], w: Shoup) {
        let r = Reducer::new(modulus);
        let factor = [w.value, w.quotient].map(|v| _mm512_set1_epi64(v as i64));
        let (a, rest) = a.as_chunks_mut();
        for a in a {
            store(a, r.below(r.mul_lazy(load(a), factor)));
        }
        rest.iter_mut().for_each(|a| *a = modulus.mul_shoup(*a, w));
    }

    /// The portable code, compiled for wide vectors.
    #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
    pub(super) fn lift<T: Copy + Into<i64>>(modulus: &Modulus, a: &[T], out: &mut [u64]) {
        lift_portable(modulus, a, out);
    }

    /// The portable code, compiled for wide vectors.
    #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
    pub(super) fn add_assign(modulus: &Modulus, a: &mut [u64], b: &[u64]) {
        add_assign_portable(modulus, a, b);
    }

    /// The portable code, compiled for wide vectors.
    #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
    pub(super) fn sub_assign(modulus: &Modulus, a: &mut [u64], b: &[u64]) {
        sub_assign_portable(modulus, a, b);
    }

    impl Reducer {
        #[target_feature(enable = "avx512f")]
        pub(in crate::ntt) fn new(modulus: &Modulus) -> Self {
            let splat = |v: u64| _mm512_set1_epi64(v as i64);
            let p = modulus.value();
            Self {
                p: splat(p),
                minus: splat((1 << 52) - p),
                mask: splat(MASK52),
                powers: modulus.powers.map(|s| [splat(s.value), splat(s.quotient)]),
            }
        }

        /// `y powers[i]` in [0, 2p), for y < 2^52.
        #[inline]
        #[target_feature(enable = "avx512f,avx512ifma")]
        fn lazy(&self, i: usize, y: __m512i) -> __m512i {
            self.mul_lazy(y, self.powers[i])
        }

        /// `y w` in [0, 2p), for y < 2^52 and w with its quotient.
        #[inline]
        #[target_feature(enable = "avx512f,avx512ifma")]
        pub(in crate::ntt) fn mul_lazy(&self, y: __m512i, w: [__m512i; 2]) -> __m512i {
            let zero = _mm512_setzero_si512();
            let q = _mm512_madd52hi_epu64(zero, y, w[1]);
            let product = _mm512_madd52lo_epu64(zero, y, w[0]);
            _mm512_and_si512(_mm512_madd52lo_epu64(product, q, self.minus), self.mask)
        }

        /// From [0, 2p) to [0, p).
        #[inline]
        #[target_feature(enable = "avx512f")]
        pub(in crate::ntt) fn below(&self, v: __m512i) -> __m512i {
            _mm512_min_epu64(v, _mm512_sub_epi64(v, self.p))
        }

        /// From [0, 8p) to [0, p).
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn lift(&self, mut v: __m512i) -> __m512i {
            for m in [_mm512_slli_epi64::<2>(self.p), _mm512_slli_epi64::<1>(self.p), self.p] {
                v = _mm512_min_epu64(v, _mm512_sub_epi64(v, m));
            }
            v
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::zq::ntt_primes;

    fn moduli() -> Vec<Modulus> {
        [ntt_primes(50, 1 << 15, 1)[0], ntt_primes(21, 1 << 10, 1)[0]]
            .map(|p| Modulus::new(p).unwrap())
            .to_vec()
    }

    #[test]
    fn accumulation_is_an_inner_product() {
        let mut rng = StdRng::seed_from_u64(1);
        for m in moduli() {
            let len = 1027;
            let terms: Vec<[Vec<u64>; 2]> = (0..5)
                .map(|_| [(); 2].map(|()| (0..len).map(|_| rng.random_range(0..m.value())).collect()))
                .collect();
            let expected: Vec<_> =
                (0..len).map(|i| terms.iter().fold(0, |acc, [a, b]| m.add(acc, m.mul(a[i], b[i])))).collect();
            let mut words = Vec::new();
            for backend in Backend::available() {
                let (mut lo, mut hi, mut out) = (vec![0; len], vec![0; len], vec![0; len]);
                terms.iter().for_each(|[a, b]| mul_acc_on(backend, &mut lo, &mut hi, a, b));
                reduce_acc_on(backend, &m, &lo, &hi, &mut out);
                assert!(out == expected, "{backend:?}");
                words.push((lo, hi));
            }
            assert!(words.windows(2).all(|w| w[0] == w[1]), "all backends leave the same words");
        }
    }

    #[test]
    fn most_products_of_the_largest_residues_fit() {
        for m in moduli() {
            let a = vec![m.value() - 1; 9];
            let expected = (MAX_PRODUCTS as u128 * u128::from(m.value() - 1).pow(2)) % u128::from(m.value());
            for backend in Backend::available() {
                let (mut lo, mut hi, mut out) = (vec![0; 9], vec![0; 9], vec![0; 9]);
                (0..MAX_PRODUCTS).for_each(|_| mul_acc_on(backend, &mut lo, &mut hi, &a, &a));
                reduce_acc_on(backend, &m, &lo, &hi, &mut out);
                assert!(out.iter().all(|&v| u128::from(v) == expected), "{backend:?}");
            }
        }
    }

    #[test]
    fn reductions_of_any_words_agree() {
        let mut rng = StdRng::seed_from_u64(2);
        for m in moduli() {
            let mut lo: Vec<u64> = (0..500).map(|_| rng.random()).collect();
            let mut hi: Vec<u64> = (0..500).map(|_| rng.random()).collect();
            (lo[0], hi[0], lo[1], hi[1]) = (u64::MAX, u64::MAX, u64::MAX, 0);
            for backend in Backend::available() {
                let mut out = vec![0; 500];
                reduce_acc_on(backend, &m, &lo, &hi, &mut out);
                for i in 0..500 {
                    let exact = u128::from(lo[i]) + (u128::from(hi[i]) << 52);
                    assert_eq!(u128::from(out[i]), exact % u128::from(m.value()), "{backend:?}");
                }
            }
        }
    }

    #[test]
    fn products_and_sums() {
        let mut rng = StdRng::seed_from_u64(3);
        for m in moduli() {
            let p = m.value();
            let mut a: Vec<_> = (0..77).map(|_| rng.random_range(0..p)).collect();
            let mut b: Vec<_> = (0..77).map(|_| rng.random_range(0..p)).collect();
            (a[0], b[0], a[1], b[1]) = (p - 1, p - 1, 0, p - 1);
            for backend in Backend::available() {
                let mut c = a.clone();
                mul_assign_on(backend, &m, &mut c, &b);
                assert!((0..77).all(|i| c[i] == m.mul(a[i], b[i])), "{backend:?}");
                let mut c = a.clone();
                add_assign_on(backend, &m, &mut c, &b);
                assert!((0..77).all(|i| c[i] == (a[i] + b[i]) % p), "{backend:?}");
                sub_assign_on(backend, &m, &mut c, &a);
                assert_eq!(c, b, "{backend:?}");
                mul_sub_assign_on(backend, &m, &mut c, &a, &b);
                assert!((0..77).all(|i| c[i] == m.sub(b[i], m.mul(a[i], b[i]))), "{backend:?}");
                let mut signed: Vec<i32> = (0..77).map(|i| (i - 38) * 56_512_000).collect();
                (signed[0], signed[1], signed[2]) = (i32::MIN, i32::MAX, -1);
                lift_on(backend, &m, &signed, &mut c);
                assert!((0..77).all(|i| c[i] == m.reduce_i64(signed[i].into())), "{backend:?}");
                let bytes: Vec<i8> = (0..77).map(|i| (i * 5 - 128) as i8).collect();
                lift_bytes_on(backend, &m, &bytes, &mut c);
                assert!((0..77).all(|i| c[i] == m.reduce_i64(bytes[i].into())), "{backend:?}");
                let mut c: Vec<_> = a.iter().map(|v| MASK52 - v).collect();
                scale_on(backend, &m, &mut c, m.shoup(p - 2));
                let exact = |v: u64| u128::from(MASK52 - v) * u128::from(p - 2) % u128::from(p);
                assert!((0..77).all(|i| u128::from(c[i]) == exact(a[i])), "{backend:?}");
            }
        }
    }
}
