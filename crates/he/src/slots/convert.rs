//! From some primes to others, exactly: mixed-radix digits.
//!
//! A number modulo D = q_0 q_1 .. has exactly one representation `x = k_0 + q_0 k_1 + q_0 q_1 k_2 + ..` with
//! |k_i| <= q_i / 2, and |x| <= D / 2. From its residues, `k_i = [(x - k_0 - .. ) (q_0 .. q_(i-1))^-1]` modulo q_i
//! (Garner, 1959). The same digits give x modulo any other prime. No approximation and no floating-point numbers, unlike
//! the usual fast basis extensions; for D of one prime it is a copy, for two it is two products per residue.

use phineus_kernel::ntt32::{Plan, pointwise};
use zeroize::Zeroizing;

use super::poly::Poly;

/// The way from the residues modulo some primes to those modulo others.
#[derive(Debug)]
pub(crate) struct Extension {
    /// Indices of the primes q_0, q_1, ..
    from: Vec<usize>,
    /// (q_0 .. q_(i-1))^-1 modulo q_i in Montgomery form.
    garner: Vec<u32>,
    /// For every prime the products q_0 .. q_(i-1) in Montgomery form.
    weights: Vec<Vec<u32>>,
    /// log2 of D.
    log2: f64,
}

/// Division by the product of some primes, rounded to the nearest integer.
#[derive(Debug)]
pub(crate) struct Division {
    extension: Extension,
    /// For every prime D^-1 in Montgomery form; 0 for those of D.
    factors: Vec<u32>,
    /// For every prime D in Montgomery form.
    products: Vec<u32>,
}

/// The digits of n numbers.
pub(crate) struct Digits(Vec<Zeroizing<Vec<i32>>>);

impl Extension {
    pub(crate) fn new(plans: &[Plan], from: &[usize]) -> Self {
        let product = |target: &Plan, count: usize| {
            let m = target.modulus();
            from[..count].iter().fold(1, |acc, &i| m.mul(acc, m.reduce(plans[i].modulus().value().into())))
        };
        let garner = from.iter().enumerate().map(|(i, &own)| {
            let m = plans[own].modulus();
            m.to_montgomery(m.inv(product(&plans[own], i)))
        });
        let weights = |target: &Plan| {
            (0..from.len()).map(|i| target.modulus().to_montgomery(product(target, i))).collect::<Vec<_>>()
        };
        Self {
            from: from.to_vec(),
            garner: garner.collect(),
            weights: plans.iter().map(weights).collect(),
            log2: from.iter().map(|&i| f64::from(plans[i].modulus().value()).log2()).sum(),
        }
    }

    /// Indices of the primes of D.
    pub(crate) fn from(&self) -> &[usize] {
        &self.from
    }

    /// D.
    pub(crate) fn product(&self) -> f64 {
        self.log2.exp2()
    }

    /// The digits of the numbers with these residues, one list per prime of D in order.
    pub(crate) fn digits<'r>(&self, plans: &[Plan], residues: impl Iterator<Item = &'r [u32]>) -> Digits {
        let mut digits: Vec<Zeroizing<Vec<i32>>> = Vec::with_capacity(self.from.len());
        for (i, residues) in residues.take(self.from.len()).enumerate() {
            let m = plans[self.from[i]].modulus();
            let mut digit = Zeroizing::new(vec![0; residues.len()]);
            if i == 0 {
                pointwise::centre(m, residues, &mut digit);
            } else {
                let mut sums = Zeroizing::new(vec![0; residues.len()]);
                let known: Vec<&[i32]> = digits.iter().map(|d| &d[..]).collect();
                pointwise::extend(m, &known, &self.weights[self.from[i]][..i], &mut sums);
                pointwise::digit(m, residues, &sums, self.garner[i], &mut digit);
            }
            digits.push(digit);
        }
        Digits(digits)
    }

    /// Writes the numbers modulo prime `target`, in (-p, p).
    pub(crate) fn onto(&self, plans: &[Plan], target: usize, digits: &Digits, out: &mut [i32]) {
        let m = plans[target].modulus();
        let [only] = &digits.0[..] else {
            let digits: Vec<&[i32]> = digits.0.iter().map(|d| &d[..]).collect();
            return pointwise::extend(m, &digits, &self.weights[target], out);
        };
        // A centred number is below p already unless the prime it came from is more than twice as large.
        if plans[self.from[0]].modulus().value() / 2 < m.value() {
            out.copy_from_slice(only);
        } else {
            pointwise::extend(m, &[&only[..]], &self.weights[target], out);
        }
    }

    /// Writes the numbers modulo 2^64.
    pub(crate) fn wrapping(&self, plans: &[Plan], digits: &Digits, out: &mut [u64]) {
        out.fill(0);
        let mut weight = 1_u64;
        for (digit, &index) in digits.0.iter().zip(&self.from) {
            out.iter_mut().zip(digit.iter()).for_each(|(out, &k)| {
                *out = out.wrapping_add(weight.wrapping_mul(i64::from(k) as u64));
            });
            weight = weight.wrapping_mul(plans[index].modulus().value().into());
        }
    }
}

impl Division {
    pub(crate) fn new(plans: &[Plan], by: &[usize]) -> Self {
        let product = |target: &Plan| {
            let m = target.modulus();
            by.iter().fold(1, |acc, &i| m.mul(acc, m.reduce(plans[i].modulus().value().into())))
        };
        let products = plans.iter().map(|plan| plan.modulus().to_montgomery(product(plan))).collect();
        let factors =
            plans.iter().map(|plan| plan.modulus().to_montgomery(plan.modulus().inv(product(plan))));
        Self { extension: Extension::new(plans, by), factors: factors.collect(), products }
    }

    /// Indices of the primes of D.
    pub(crate) fn by(&self) -> &[usize] {
        &self.extension.from
    }

    /// D as a number.
    pub(crate) fn product(&self) -> f64 {
        self.extension.product()
    }

    /// D modulo prime `index`, in Montgomery form.
    pub(crate) fn product_mod(&self, index: usize) -> u32 {
        self.products[index]
    }

    /// `round(x / D)` modulo the first `keep` primes, by values. The limbs of x are those of `basis`, which contains the
    /// primes of D, and the first `keep` primes at its beginning.
    pub(crate) fn apply(&self, plans: &[Plan], mut x: Poly, basis: &[usize], keep: usize) -> Poly {
        let n = x.degree();
        let mut residues = Poly::any(n, self.by().len());
        for (i, index) in self.by().iter().enumerate() {
            let place = basis.iter().position(|b| b == index).unwrap_or_default();
            plans[*index].inverse(x.limb_mut(place), residues.limb_mut(i));
        }
        let digits = self.extension.digits(plans, residues.limbs());
        let (mut remainder, mut values) = (vec![0; n], vec![0; n]);
        x.truncate(keep);
        for index in 0..keep {
            self.extension.onto(plans, index, &digits, &mut remainder);
            plans[index].forward(&remainder, &mut values);
            pointwise::sub_scale(plans[index].modulus(), x.limb_mut(index), &values, self.factors[index]);
        }
        x
    }

    /// The same by coefficients, in place of the first `keep` limbs.
    pub(crate) fn apply_to_coefficients(&self, plans: &[Plan], x: &mut Poly, basis: &[usize], keep: usize) {
        let places = self.by().iter().map(|index| basis.iter().position(|b| b == index).unwrap_or_default());
        let digits =
            self.extension.digits(plans, places.map(|place| x.limb(place)).collect::<Vec<_>>().into_iter());
        let mut remainder = vec![0; x.degree()];
        for index in 0..keep {
            self.extension.onto(plans, index, &digits, &mut remainder);
            pointwise::sub_signed_scale(
                plans[index].modulus(),
                x.limb_mut(index),
                &remainder,
                self.factors[index],
            );
        }
        x.truncate(keep);
    }
}
