//! Ciphertexts and their inner products with weight polynomials.
//!
//! Sums of products are kept as two words per residue and reduced once (see
//! [`pointwise`](phineus_kernel::ntt::pointwise)): two multiply-adds per residue and half. Many products at once
//! go through the cache block by block, so that the sums are touched once and each weight once for both halves.

use std::fmt;
use std::sync::Arc;

use phineus_kernel::ntt::pointwise::{self, MAX_PRODUCTS};
use zeroize::Zeroize;

use crate::{Eval, Params, Poly};

/// Residues of one pass: sums, halves and weights of a block stay in the first-level cache.
const BLOCK: usize = 512;

/// (c_0, c_1) with c_0 + c_1 s = round(q m / 2^l) + noise, in the evaluation domain.
#[derive(Debug, Clone)]
pub struct Ciphertext {
    /// c_0.
    pub body: Poly<Eval>,
    /// c_1.
    pub uniform: Poly<Eval>,
}

/// A sum of products of ciphertexts and weight polynomials, of any number of terms.
pub struct Accumulator {
    params: Arc<Params>,
    halves: [Lazy; 2],
    /// Products since the last reduction.
    products: usize,
}

/// Unreduced sums.
struct Lazy {
    lo: Vec<u64>,
    hi: Vec<u64>,
}

impl Accumulator {
    /// Zero.
    #[must_use]
    pub fn new(params: &Arc<Params>) -> Self {
        let len = params.limbs() * params.degree();
        let halves = [(); 2].map(|()| Lazy { lo: vec![0; len], hi: vec![0; len] });
        Self { params: params.clone(), halves, products: 0 }
    }

    /// Adds `ciphertext weight`.
    ///
    /// # Panics
    /// If parameters differ.
    pub fn mul_acc(&mut self, ciphertext: &Ciphertext, weight: &Poly<Eval>) {
        self.mul_acc_many(&[(ciphertext, weight)]);
    }

    /// Adds a sum of `ciphertext weight`; cheaper than one by one when the operands exceed the cache.
    ///
    /// # Panics
    /// If parameters differ.
    pub fn mul_acc_many(&mut self, terms: &[(&Ciphertext, &Poly<Eval>)]) {
        for (ciphertext, weight) in terms {
            for poly in [&ciphertext.body, &ciphertext.uniform, weight] {
                assert!(
                    Arc::ptr_eq(poly.params(), &self.params) || *poly.params() == self.params,
                    "one set of parameters"
                );
            }
        }
        let mut rest = terms;
        while !rest.is_empty() {
            if self.products == MAX_PRODUCTS {
                self.fold();
            }
            let (now, later) = rest.split_at(rest.len().min(MAX_PRODUCTS - self.products));
            self.add_products(now);
            self.products += now.len();
            rest = later;
        }
    }

    /// The sum.
    #[must_use]
    pub fn finish(mut self) -> Ciphertext {
        self.fold();
        let [body, uniform] =
            self.halves.each_mut().map(|half| Poly::from_values(&self.params, std::mem::take(&mut half.lo)));
        Ciphertext { body, uniform }
    }

    fn add_products(&mut self, terms: &[(&Ciphertext, &Poly<Eval>)]) {
        let len = self.params.limbs() * self.params.degree();
        let [body, uniform] = &mut self.halves;
        for start in (0..len).step_by(BLOCK) {
            let block = start..start + BLOCK;
            for (ciphertext, weight) in terms {
                let weight = &weight.values()[block.clone()];
                for (sum, half) in [(&mut *body, &ciphertext.body), (&mut *uniform, &ciphertext.uniform)] {
                    let (lo, hi) = (&mut sum.lo[block.clone()], &mut sum.hi[block.clone()]);
                    pointwise::mul_acc(lo, hi, &half.values()[block.clone()], weight);
                }
            }
        }
    }

    /// Reduces the sums; what remains counts as one product.
    fn fold(&mut self) {
        let n = self.params.degree();
        let mut reduced = vec![0; n];
        for half in &mut self.halves {
            let limbs = half.lo.chunks_exact_mut(n).zip(half.hi.chunks_exact_mut(n));
            for ((lo, hi), plan) in limbs.zip(self.params.plans()) {
                pointwise::reduce_acc(plan.modulus(), lo, hi, &mut reduced);
                lo.copy_from_slice(&reduced);
                hi.fill(0);
            }
        }
        reduced.zeroize();
        self.products = 1;
    }
}

impl Drop for Accumulator {
    fn drop(&mut self) {
        self.halves.iter_mut().for_each(|half| {
            half.lo.zeroize();
            half.hi.zeroize();
        });
    }
}

impl fmt::Debug for Accumulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accumulator({} products)", self.products)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::ParamsLiteral;

    #[test]
    fn more_products_than_fit_a_word() {
        let params = Params::new(&ParamsLiteral::largest(11, 1)).unwrap();
        let modulus = params.modulus(0);
        let p = modulus.value();
        let mut rng = StdRng::seed_from_u64(1);
        let mut draw = |top: bool| {
            let values = (0..params.degree()).map(|_| if top { p - 1 } else { rng.random_range(0..p) });
            Poly::<Eval>::from_values(&params, values.collect())
        };
        let ciphertext = Ciphertext { body: draw(true), uniform: draw(false) };
        let weight = draw(true);
        let count = 2 * MAX_PRODUCTS + 3;
        let mut sum = Accumulator::new(&params);
        sum.mul_acc(&ciphertext, &weight);
        sum.mul_acc_many(&vec![(&ciphertext, &weight); count - 1]);
        let sum = sum.finish();
        for i in 0..params.degree() {
            for (half, sum) in [(&ciphertext.body, &sum.body), (&ciphertext.uniform, &sum.uniform)] {
                let product = modulus.mul(half.limb(0)[i], weight.limb(0)[i]);
                assert_eq!(sum.limb(0)[i], modulus.mul(product, count as u64));
            }
        }
    }
}
