//! Ciphertexts and their inner products with weight polynomials.
//!
//! Sums of products are kept as two words per residue and reduced once (see
//! [`pointwise`](phineus_kernel::ntt::pointwise)): two multiply-adds per residue and half. Many products at once
//! go through the cache block by block: sums stay in registers, each weight is read once for both halves, and the
//! block of all ciphertexts serves all sums before the next block's turn.

use std::fmt;
use std::sync::Arc;

use phineus_kernel::ntt::inner::mul_acc_halves;
use phineus_kernel::ntt::pointwise::{self, MAX_PRODUCTS};
use zeroize::Zeroize;

use crate::{Eval, Params, Poly};

/// Residues of one pass: a block of 64 ciphertexts takes half a megabyte, which second-level caches hold.
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

    /// Adds a sum of `ciphertext weight`; cheaper than one by one.
    ///
    /// # Panics
    /// If parameters differ.
    pub fn mul_acc_many(&mut self, terms: &[(&Ciphertext, &Poly<Eval>)]) {
        let (ciphertexts, weights): (Vec<_>, Vec<_>) = terms.iter().copied().unzip();
        Self::mul_acc_all(std::slice::from_mut(self), &ciphertexts, &[weights]);
    }

    /// To every sum adds the inner product of the ciphertexts with its own weights: a matrix of weights times a
    /// vector of ciphertexts, each of which is read once per block and not once per sum.
    ///
    /// # Panics
    /// If parameters differ, or not every sum has one weight per ciphertext.
    pub fn mul_acc_all(sums: &mut [Self], ciphertexts: &[&Ciphertext], weights: &[Vec<&Poly<Eval>>]) {
        let Some(params) = sums.first().map(|sum| sum.params.clone()) else { return };
        let same = |other: &Arc<Params>| Arc::ptr_eq(other, &params) || *other == params;
        let halves = ciphertexts.iter().flat_map(|c| [&c.body, &c.uniform]);
        let polys = halves.chain(weights.iter().flatten().copied()).map(Poly::params);
        assert!(polys.chain(sums.iter().map(|sum| &sum.params)).all(same), "one set of parameters");
        let square = weights.len() == sums.len() && weights.iter().all(|row| row.len() == ciphertexts.len());
        assert!(square, "one weight per sum and ciphertext");
        let mut first = 0;
        while first < ciphertexts.len() {
            sums.iter_mut().filter(|sum| sum.products == MAX_PRODUCTS).for_each(Self::fold);
            let room = MAX_PRODUCTS - sums.iter().map(|sum| sum.products).max().unwrap_or(0);
            let now = first..first + room.min(ciphertexts.len() - first);
            add_products(sums, &ciphertexts[now.clone()], weights, now.start);
            sums.iter_mut().for_each(|sum| sum.products += now.len());
            first = now.end;
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

/// [`Accumulator::mul_acc_all`] with the weights from number `first` on, for sums that have room.
fn add_products(
    sums: &mut [Accumulator],
    ciphertexts: &[&Ciphertext],
    weights: &[Vec<&Poly<Eval>>],
    first: usize,
) {
    let len = sums.first().map_or(0, |sum| sum.halves[0].lo.len());
    let mut terms = Vec::with_capacity(ciphertexts.len());
    for start in (0..len).step_by(BLOCK) {
        let block = start..start + BLOCK;
        for (sum, weights) in sums.iter_mut().zip(weights) {
            terms.clear();
            terms.extend(ciphertexts.iter().zip(&weights[first..]).map(|(ciphertext, weight)| {
                [&ciphertext.body, &ciphertext.uniform, *weight].map(|poly| &poly.values()[block.clone()])
            }));
            let words =
                sum.halves.each_mut().map(|half| [&mut half.lo[block.clone()], &mut half.hi[block.clone()]]);
            mul_acc_halves(words, &terms);
        }
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
