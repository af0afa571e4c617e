//! Inner products of pairs of vectors with one vector each: `(x, y) += sum (a_k, b_k) w_k`, element by element.
//!
//! What [`mul_acc`](super::pointwise::mul_acc) does for one product of one half, for both halves of a ciphertext and
//! many products at once, with the sums in registers: sums are read and written once for all products, each factor
//! once for both halves. All backends leave the same words. Constant time.

use super::pointwise::mul_acc_portable;
use crate::cpu::Backend;

/// One product: the two halves and their common factor.
pub type Term<'a> = [&'a [u64]; 3];

/// Lower 52 and upper bits of the sums of one half.
pub type Words<'a> = [&'a mut [u64]; 2];

/// Adds all products to the sums; at most [`MAX_PRODUCTS`](super::pointwise::MAX_PRODUCTS) may come together before a
/// reduction.
///
/// # Panics
/// If lengths differ.
pub fn mul_acc_halves(sums: [Words<'_>; 2], terms: &[Term<'_>]) {
    mul_acc_halves_on(Backend::detected(), sums, terms);
}

/// [`mul_acc_halves`] on one backend; for tests. AVX2 runs the portable code.
///
/// # Panics
/// If lengths differ or the machine lacks the backend.
pub fn mul_acc_halves_on(backend: Backend, mut sums: [Words<'_>; 2], terms: &[Term<'_>]) {
    let len = sums[0][0].len();
    let same =
        sums.iter().flatten().all(|s| s.len() == len) && terms.iter().flatten().all(|t| t.len() == len);
    assert!(same, "operands of one length");
    let done = match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => {
            assert!(super::runs(backend), "backend of this machine");
            // SAFETY: the machine has the instructions of this backend.
            unsafe { avx512::mul_acc_halves(&mut sums, terms) }
        }
        _ => 0,
    };
    for (half, [lo, hi]) in sums.iter_mut().enumerate() {
        for term in terms {
            mul_acc_portable(&mut lo[done..], &mut hi[done..], &term[half][done..], &term[2][done..]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{Term, Words};
    use crate::ntt::avx512::{load, store};

    /// Vectors of eight elements that are summed together: with two halves of two words each, 16 registers.
    const WIDTH: usize = 4;
    /// Elements of a group of vectors.
    const GROUP: usize = 8 * WIDTH;

    /// Sums all whole groups; the number of elements done.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_acc_halves(sums: &mut [Words<'_>; 2], terms: &[Term<'_>]) -> usize {
        let [[x_lo, x_hi], [y_lo, y_hi]] = sums;
        let groups = x_lo.len() / GROUP;
        for group in 0..groups {
            let at = group * GROUP;
            let (mut xl, mut xh) = (read(x_lo, at), read(x_hi, at));
            let (mut yl, mut yh) = (read(y_lo, at), read(y_hi, at));
            for [a, b, w] in terms {
                // The other groups of these terms are far from here: the next ones are asked for in time.
                if at + 2 * GROUP <= w.len() {
                    for line in 0..WIDTH {
                        _mm_prefetch::<_MM_HINT_T0>(w[at + GROUP + 8 * line..].as_ptr().cast());
                    }
                }
                let (a, b, w) = (read(a, at), read(b, at), read(w, at));
                for i in 0..WIDTH {
                    xl[i] = _mm512_madd52lo_epu64(xl[i], a[i], w[i]);
                    xh[i] = _mm512_madd52hi_epu64(xh[i], a[i], w[i]);
                    yl[i] = _mm512_madd52lo_epu64(yl[i], b[i], w[i]);
                    yh[i] = _mm512_madd52hi_epu64(yh[i], b[i], w[i]);
                }
            }
            for (words, vectors) in [(&mut *x_lo, xl), (x_hi, xh), (y_lo, yl), (y_hi, yh)] {
                let (lanes, _) = words[at..at + GROUP].as_chunks_mut::<8>();
                lanes.iter_mut().zip(vectors).for_each(|(lane, v)| store(lane, v));
            }
        }
        groups * GROUP
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn read(words: &[u64], at: usize) -> [__m512i; WIDTH] {
        let (lanes, _) = words[at..at + GROUP].as_chunks::<8>();
        let mut vectors = [_mm512_setzero_si512(); WIDTH];
        vectors.iter_mut().zip(lanes).for_each(|(v, lane)| *v = load(lane));
        vectors
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::ntt::pointwise::mul_acc_on;

    #[test]
    fn equals_one_product_after_the_other() {
        let mut rng = StdRng::seed_from_u64(1);
        for len in [0, 5, 32, 63, 64, 512, 515] {
            let mut draw = || (0..len).map(|_| rng.random_range(0..1_u64 << 50)).collect::<Vec<u64>>();
            let terms: Vec<[Vec<u64>; 3]> = (0..7).map(|_| [draw(), draw(), draw()]).collect();
            let start: [[Vec<u64>; 2]; 2] = [[draw(), draw()], [draw(), draw()]];
            let mut expected = start.clone();
            for [a, b, w] in &terms {
                let [[x_lo, x_hi], [y_lo, y_hi]] = &mut expected;
                mul_acc_on(Backend::Portable, x_lo, x_hi, a, w);
                mul_acc_on(Backend::Portable, y_lo, y_hi, b, w);
            }
            for backend in Backend::available() {
                let mut sums = start.clone();
                let words = sums.each_mut().map(|half| half.each_mut().map(Vec::as_mut_slice));
                let terms: Vec<_> = terms.iter().map(|term| term.each_ref().map(Vec::as_slice)).collect();
                mul_acc_halves_on(backend, words, &terms);
                assert!(sums == expected, "{len} {backend:?}");
            }
        }
    }
}
