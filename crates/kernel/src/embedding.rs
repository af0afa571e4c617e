//! Real slots: the canonical embedding of the conjugate-invariant ring in floating point.
//!
//! For z = exp(i pi / 2n), slot j of the element `a_0 + sum_(0<i<n) a_i (Y^i + Y^-i)` is its value at Y = z^(5^j), the
//! real number `a_0 + 2 sum a_i cos(pi 5^j i / 2n)`. The exponents 5^j are the numbers 1 modulo 4 below 4n, so that the
//! substitution of Y^5 for Y moves slot j + 1 to slot j, in one cycle of length n.
//!
//! The same fold and the same tree as in [`ntt32`](crate::ntt32), with the complex unit for I: n log2(n) / 2 complex
//! butterflies. In both directions the error is a few units in the last place of the largest value. The operations do not
//! depend on the values, but whether the machine adds and multiplies floating-point numbers in constant time is up to it
//! (it does for normal numbers on the supported ones).

use std::f64::consts::PI;

use zeroize::Zeroizing;

/// Roots of unity and slot order of one degree.
#[derive(Debug, Clone)]
pub struct Embedding {
    n: usize,
    /// Index m + i: exp(2 pi i f / 4n) with f = (n / 2m)(1 + 4 reverse(i)), the root of group i among m.
    roots: [Vec<f64>; 2],
    /// Place of each slot in the tree.
    places: Vec<u32>,
}

impl Embedding {
    /// The transforms of degree n.
    ///
    /// # Panics
    /// If n is not a power of two in 4..=2^20.
    #[must_use]
    pub fn new(n: usize) -> Self {
        assert!(n.is_power_of_two() && (4..=1 << 20).contains(&n), "degree");
        let reverse =
            |i: usize, m: usize| if m == 1 { 0 } else { i.reverse_bits() >> (64 - m.trailing_zeros()) };
        let root = |index: usize| {
            let m = 1 << index.max(1).ilog2();
            let f = n / (2 * m) * (1 + 4 * reverse(index.saturating_sub(m), m));
            2.0 * PI * f as f64 / (4 * n) as f64
        };
        let roots = [f64::cos, f64::sin].map(|part| (0..n).map(|index| part(root(index))).collect());
        let exponents = std::iter::successors(Some(1), |e| Some(5 * e % (4 * n)));
        let places = exponents.take(n).map(|e| reverse(e / 4, n) as u32).collect();
        Self { n, roots, places }
    }

    /// n.
    #[must_use]
    pub fn size(&self) -> usize {
        self.n
    }

    /// The n slots of the element with n coefficients.
    ///
    /// # Panics
    /// If there are not n coefficients.
    #[must_use]
    pub fn slots(&self, coefficients: &[f64]) -> Vec<f64> {
        let n = self.n;
        assert_eq!(coefficients.len(), n, "one coefficient per slot");
        let mut re = Zeroizing::new(coefficients.to_vec());
        let mut im = Zeroizing::new(vec![0.0; n]);
        (1..n).for_each(|j| im[j] = -coefficients[n - j]);
        forward(&mut re, &mut im, &self.roots);
        self.places.iter().map(|&place| re[place as usize]).collect()
    }

    /// The n coefficients of the element with these slots; slots that are not given are zero.
    ///
    /// # Panics
    /// If there are more than n slots.
    #[must_use]
    pub fn coefficients(&self, slots: &[f64]) -> Vec<f64> {
        let n = self.n;
        assert!(slots.len() <= n, "at most n slots");
        let (mut re, mut im) = (Zeroizing::new(vec![0.0; n]), Zeroizing::new(vec![0.0; n]));
        slots.iter().zip(&self.places).for_each(|(&v, &place)| re[place as usize] = v);
        inverse(&mut re, &mut im, &self.roots);
        let scale = 0.5 / n as f64;
        let mut coefficients = vec![0.0; n];
        coefficients[0] = 2.0 * scale * re[0];
        // The real part of b_j + i b_(n-j).
        (1..n).for_each(|j| coefficients[j] = scale * (re[j] - im[n - j]));
        coefficients
    }
}

wide! {
    /// `out = round(coefficients scale)`, ties to even, saturating.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn quantize(coefficients: &[f64], scale: f64, out: &mut [i64]) {
        assert_eq!(coefficients.len(), out.len(), "operands of one length");
        out.iter_mut().zip(coefficients).for_each(|(out, c)| *out = (c * scale).round_ties_even() as i64);
    }

    fn forward(re: &mut [f64], im: &mut [f64], roots: &[Vec<f64>; 2]) {
        let n = re.len();
        let mut groups = 1;
        while groups < n {
            let half = n / groups / 2;
            for i in 0..groups {
                let (c, s) = (roots[0][groups + i], roots[1][groups + i]);
                let (re_x, re_y) = re[2 * half * i..2 * half * (i + 1)].split_at_mut(half);
                let (im_x, im_y) = im[2 * half * i..2 * half * (i + 1)].split_at_mut(half);
                for j in 0..half {
                    let (t_re, t_im) = (c * re_y[j] - s * im_y[j], c * im_y[j] + s * re_y[j]);
                    (re_y[j], im_y[j]) = (re_x[j] - t_re, im_x[j] - t_im);
                    (re_x[j], im_x[j]) = (re_x[j] + t_re, im_x[j] + t_im);
                }
            }
            groups *= 2;
        }
    }

    fn inverse(re: &mut [f64], im: &mut [f64], roots: &[Vec<f64>; 2]) {
        let n = re.len();
        let mut groups = n / 2;
        while groups > 0 {
            let half = n / groups / 2;
            for i in 0..groups {
                let (c, s) = (roots[0][groups + i], roots[1][groups + i]);
                let (re_x, re_y) = re[2 * half * i..2 * half * (i + 1)].split_at_mut(half);
                let (im_x, im_y) = im[2 * half * i..2 * half * (i + 1)].split_at_mut(half);
                for j in 0..half {
                    let (d_re, d_im) = (re_x[j] - re_y[j], im_x[j] - im_y[j]);
                    (re_x[j], im_x[j]) = (re_x[j] + re_y[j], im_x[j] + im_y[j]);
                    // Times the conjugate of the root.
                    (re_y[j], im_y[j]) = (c * d_re + s * d_im, c * d_im - s * d_re);
                }
            }
            groups /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn slots_are_values_at_powers_of_five() {
        let n = 64;
        let mut rng = StdRng::seed_from_u64(1);
        let a: Vec<f64> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
        let slots = Embedding::new(n).slots(&a);
        let mut exponent = 1;
        for slot in slots {
            let angle = PI * exponent as f64 / (2 * n) as f64;
            let expected = (1..n).fold(a[0], |sum, i| sum + 2.0 * a[i] * (angle * i as f64).cos());
            assert!((slot - expected).abs() < 1e-12);
            exponent = 5 * exponent % (4 * n);
        }
    }

    #[test]
    fn round_trip_in_both_directions() {
        for n in [4, 4096, 16_384] {
            let embedding = Embedding::new(n);
            let mut rng = StdRng::seed_from_u64(2);
            let slots: Vec<f64> = (0..n).map(|_| rng.random_range(-100.0..100.0)).collect();
            let coefficients = embedding.coefficients(&slots);
            assert!(coefficients.iter().all(|c| c.abs() <= 100.0));
            let back = embedding.slots(&coefficients);
            assert!(slots.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-11), "degree {n}");
        }
        let one = Embedding::new(8).coefficients(&[1.0; 8]);
        assert!((one[0] - 1.0).abs() < 1e-15 && one[1..].iter().all(|c| c.abs() < 1e-15));
    }
}
