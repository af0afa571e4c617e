//! Sums and products of vectors of residues, and the exact extension of residues to further primes.
//!
//! Each function is plain Rust, compiled once for the machine at hand and once each for AVX2 and AVX-512, where the
//! loops become vector code with the same results. Constant time.

use super::{MAX_BITS, Modulus};
use crate::cpu::Backend;

/// Products that [`inner`] may add up before it reduces: below `2^32 / p`.
pub const MAX_PRODUCTS: usize = 16;

wide! {
    /// `a += b`, all in [0, p).
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add_assign(modulus: &Modulus, a: &mut [u32], b: &[u32]) {
        assert_eq!(a.len(), b.len(), "operands of one length");
        a.iter_mut().zip(b).for_each(|(a, &b)| *a = modulus.add(*a, b));
    }
}

wide! {
    /// `a -= b`, all in [0, p).
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn sub_assign(modulus: &Modulus, a: &mut [u32], b: &[u32]) {
        assert_eq!(a.len(), b.len(), "operands of one length");
        a.iter_mut().zip(b).for_each(|(a, &b)| *a = modulus.sub(*a, b));
    }
}

wide! {
    /// `a *= b`, all in [0, p), `b` in Montgomery form.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn mul_assign(modulus: &Modulus, a: &mut [u32], b: &[u32]) {
        assert_eq!(a.len(), b.len(), "operands of one length");
        a.iter_mut().zip(b).for_each(|(a, &b)| *a = modulus.mul_montgomery(*a, b));
    }
}

wide! {
    /// `out += a b`, all in [0, p), `b` in Montgomery form.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn mul_acc(modulus: &Modulus, out: &mut [u32], a: &[u32], b: &[u32]) {
        assert!(a.len() == out.len() && b.len() == out.len(), "operands of one length");
        for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
            *out = modulus.add(*out, modulus.mul_montgomery(a, b));
        }
    }
}

wide! {
    /// Values in [0, p) to Montgomery form.
    pub fn to_montgomery(modulus: &Modulus, a: &mut [u32]) {
        a.iter_mut().for_each(|a| *a = modulus.to_montgomery(*a));
    }
}

wide! {
    /// `a *= factor`, `factor` in [0, p) and in Montgomery form.
    pub fn scale(modulus: &Modulus, a: &mut [u32], factor: u32) {
        a.iter_mut().for_each(|a| *a = modulus.mul_montgomery(*a, factor));
    }
}

wide! {
    /// `out += a factor`, all in [0, p), `factor` in Montgomery form.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn scale_acc(modulus: &Modulus, out: &mut [u32], a: &[u32], factor: u32) {
        assert_eq!(out.len(), a.len(), "operands of one length");
        for (out, &a) in out.iter_mut().zip(a) {
            *out = modulus.add(*out, modulus.mul_montgomery(a, factor));
        }
    }
}

wide! {
    /// `a = (a - b) factor`, all in [0, p), `factor` in Montgomery form.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn sub_scale(modulus: &Modulus, a: &mut [u32], b: &[u32], factor: u32) {
        assert_eq!(a.len(), b.len(), "operands of one length");
        a.iter_mut().zip(b).for_each(|(a, &b)| *a = modulus.mul_montgomery(modulus.sub(*a, b), factor));
    }
}

wide! {
    /// `a = (a - b) factor` for a in [0, p), b in (-p, p), `factor` in [0, p) and in Montgomery form.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn sub_signed_scale(modulus: &Modulus, a: &mut [u32], b: &[i32], factor: u32) {
        assert_eq!(a.len(), b.len(), "operands of one length");
        for (a, &b) in a.iter_mut().zip(b) {
            // Below 3p, non-negative.
            let difference = (*a + modulus.value()).wrapping_sub(b as u32);
            *a = modulus.mul_montgomery(difference, factor);
        }
    }
}

wide! {
    /// The products `(a_0 b_0, a_0 b_1 + a_1 b_0, a_1 b_1)` of two pairs, all in [0, p).
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn tensor(modulus: &Modulus, a: [&[u32]; 2], b: [&[u32]; 2], out: [&mut [u32]; 3]) {
        let [o0, o1, o2] = out;
        let len = o0.len();
        assert!(o1.len() == len && o2.len() == len, "operands of one length");
        let ([a0, a1], [b0, b1]) = (a.map(|v| &v[..len]), b.map(|v| &v[..len]));
        for i in 0..len {
            let (x0, x1) = (modulus.to_montgomery(a0[i]), modulus.to_montgomery(a1[i]));
            o0[i] = modulus.mul_montgomery(x0, b0[i]);
            o1[i] = modulus.redc(u64::from(x0) * u64::from(b1[i]) + u64::from(x1) * u64::from(b0[i]));
            o2[i] = modulus.mul_montgomery(x1, b1[i]);
        }
    }
}

/// `out_h += sum_i a_i b_i,h` for h = 0 and 1, all in [0, p), the b_i in Montgomery form.
///
/// # Panics
/// If lengths differ or there are [`MAX_PRODUCTS`] or more.
pub fn inner(modulus: &Modulus, out: [&mut [u32]; 2], a: &[&[u32]], b: &[[&[u32]; 2]]) {
    inner_on(Backend::detected(), modulus, out, a, b);
}

/// [`inner`] on one backend; for tests. AVX2 runs the portable code.
///
/// # Panics
/// As [`inner`], or if the machine lacks the backend.
pub fn inner_on(backend: Backend, modulus: &Modulus, out: [&mut [u32]; 2], a: &[&[u32]], b: &[[&[u32]; 2]]) {
    let [o0, o1] = out;
    let len = o0.len();
    assert!(a.len() == b.len() && a.len() < MAX_PRODUCTS, "number of products");
    assert!(o1.len() == len, "operands of one length");
    assert!(a.iter().all(|a| a.len() == len), "operands of one length");
    assert!(b.iter().flatten().all(|b| b.len() == len), "operands of one length");
    match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 if len % 16 == 0 => {
            assert!(super::runs(backend), "backend of this machine");
            // SAFETY: the machine has the instructions of this backend.
            unsafe { super::avx512::inner(modulus, [o0, o1], a, b) }
        }
        _ => inner_portable(modulus, [o0, o1], a, b),
    }
}

fn inner_portable(modulus: &Modulus, out: [&mut [u32]; 2], a: &[&[u32]], b: &[[&[u32]; 2]]) {
    for (h, out) in out.into_iter().enumerate() {
        for (i, out) in out.iter_mut().enumerate() {
            let sum = a.iter().zip(b).fold(0, |sum, (a, b)| sum + u64::from(a[i]) * u64::from(b[h][i]));
            *out = modulus.add(*out, modulus.redc(sum));
        }
    }
}

wide! {
    /// Residues in [0, p) to centred ones.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn centre(modulus: &Modulus, residues: &[u32], out: &mut [i32]) {
        assert_eq!(residues.len(), out.len(), "operands of one length");
        out.iter_mut().zip(residues).for_each(|(out, &v)| *out = modulus.centre(v));
    }

    /// `out = (residues - sums) factor`, centred, for residues in [0, p), sums in (-p, p), `factor` in Montgomery form.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn digit(modulus: &Modulus, residues: &[u32], sums: &[i32], factor: u32, out: &mut [i32]) {
        assert!(residues.len() == out.len() && sums.len() == out.len(), "operands of one length");
        for (out, (&r, &s)) in out.iter_mut().zip(residues.iter().zip(sums)) {
            // Below 3p, non-negative.
            let difference = (r + modulus.value()).wrapping_sub(s as u32);
            *out = modulus.centre(modulus.mul_montgomery(difference, factor));
        }
    }

    /// `out = sum_i digits_i weights_i` modulo p in (-p, p), for digits in (-2^28, 2^28) and weights in Montgomery form.
    ///
    /// # Panics
    /// If lengths differ, or for none or more than four digits.
    pub fn extend(modulus: &Modulus, digits: &[&[i32]], weights: &[u32], out: &mut [i32]) {
        assert_eq!(digits.len(), weights.len(), "one weight per digit");
        assert!((1..=4).contains(&digits.len()), "one to four digits");
        match (digits, weights) {
            ([a], [u]) => extend_from(modulus, [a], [*u], out),
            ([a, b], [u, v]) => extend_from(modulus, [a, b], [*u, *v], out),
            ([a, b, c], [u, v, w]) => extend_from(modulus, [a, b, c], [*u, *v, *w], out),
            ([a, b, c, d], [u, v, w, x]) => extend_from(modulus, [a, b, c, d], [*u, *v, *w, *x], out),
            _ => {}
        }
    }

    /// Signed numbers modulo p, to [0, p).
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn reduce_i64(modulus: &Modulus, numbers: &[i64], out: &mut [i32]) {
        assert_eq!(numbers.len(), out.len(), "operands of one length");
        for (out, &v) in out.iter_mut().zip(numbers) {
            *out = modulus.reduce_i64(v) as i32;
        }
    }
}

/// Rows of [`add_weighted_sums`].
pub const SUMS: usize = 4;
/// Residues of one tile of [`add_weighted_sums`].
pub const TILE: usize = 32;
/// Products below 2^56 that leave the upper half of 64 bits below 2^31.
const TERMS: usize = 128;

/// `out_o += sum_i weights_o,i inputs_i` for a tile of each input, all in [0, p), weights in Montgomery form: four rows of a
/// product of matrices.
///
/// # Panics
/// If there is not one weight per input and row.
pub fn add_weighted_sums(
    modulus: &Modulus,
    weights: [&[u32]; SUMS],
    inputs: &[[u32; TILE]],
    out: &mut [[u32; TILE]; SUMS],
) {
    add_weighted_sums_on(Backend::detected(), modulus, weights, inputs, out);
}

/// [`add_weighted_sums`] on one backend; for tests. AVX2 runs the portable code.
///
/// # Panics
/// As [`add_weighted_sums`], or if the machine lacks the backend.
pub fn add_weighted_sums_on(
    backend: Backend,
    modulus: &Modulus,
    weights: [&[u32]; SUMS],
    inputs: &[[u32; TILE]],
    out: &mut [[u32; TILE]; SUMS],
) {
    assert!(weights.iter().all(|w| w.len() == inputs.len()), "one weight per input");
    for (chunk, inputs) in inputs.chunks(TERMS).enumerate() {
        let weights = weights.map(|w| &w[chunk * TERMS..][..inputs.len()]);
        match backend {
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => {
                assert!(super::runs(backend), "backend of this machine");
                // SAFETY: the machine has the instructions of this backend.
                unsafe { super::avx512::add_weighted(modulus, weights, inputs, out) }
            }
            _ => add_weighted(modulus, weights, inputs, out),
        }
    }
}

/// Adds the sums of at most [`TERMS`] products.
fn add_weighted(
    modulus: &Modulus,
    weights: [&[u32]; SUMS],
    inputs: &[[u32; TILE]],
    out: &mut [[u32; TILE]; SUMS],
) {
    for (out, weights) in out.iter_mut().zip(weights) {
        let mut sums = [0_u64; TILE];
        for (input, &weight) in inputs.iter().zip(weights) {
            sums.iter_mut().zip(input).for_each(|(sum, &x)| *sum += u64::from(x) * u64::from(weight));
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = modulus.add(*out, modulus.mul_montgomery(modulus.reduce(sum), 1));
        }
    }
}

/// [`extend`] for a known number of digits.
#[inline(always)]
fn extend_from<const D: usize>(modulus: &Modulus, digits: [&[i32]; D], weights: [u32; D], out: &mut [i32]) {
    let len = out.len();
    let digits = digits.map(|digit| &digit[..len]);
    for (i, out) in out.iter_mut().enumerate() {
        // Digits plus 2^28, at most 2^29; the products add up to less than 2^32 p.
        let mut sum = 0;
        for j in 0..D {
            sum += u64::from((digits[j][i] + OFFSET) as u32) * u64::from(weights[j]);
        }
        let shift = weights.iter().fold(0_u64, |sum, &w| sum + (OFFSET as u64) * u64::from(w));
        *out = modulus.redc(sum) as i32 - modulus.redc(shift) as i32;
    }
}

/// Makes digits non-negative.
const OFFSET: i32 = 1 << MAX_BITS;
