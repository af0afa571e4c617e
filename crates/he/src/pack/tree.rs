//! The tree of merges, bottom up in the order of arrival: never more than one node per level is kept.

use phineus_kernel::ntt::inner::mul_acc_halves;
use phineus_kernel::ntt::pointwise;
use phineus_kernel::zq::Modulus;

use crate::{Ciphertext, Coeff, Eval, GaloisKeys, Params, Poly};

/// A binary counter of nodes.
pub(super) struct Tree<'k> {
    keys: &'k GaloisKeys,
    /// Place h holds a node of h merges that waits for its neighbour.
    waiting: Vec<Option<Node>>,
    scratch: Scratch,
}

/// A ciphertext less what its leaves contribute to c_0.
struct Node {
    /// The sum of the key switches, none for a leaf.
    body: Option<Poly<Eval>>,
    uniform: Poly<Eval>,
}

/// Buffers, so that merging allocates nothing.
struct Scratch {
    /// Per limb the values of what is switched, and its coefficients: the digits.
    difference: Vec<Vec<u64>>,
    coefficients: Vec<Vec<u64>>,
    /// The values of every digit modulo one prime, but for the digit of that prime.
    digits: Vec<Vec<u64>>,
    /// The two halves of the sum of products with the key, modulo one prime.
    sums: [Vec<u64>; 2],
    other: Vec<u64>,
}

/// Residues whose unreduced sums stay in the first-level cache.
const BLOCK: usize = 512;

impl<'k> Tree<'k> {
    /// For up to 2^`levels` leaves; the keys have as many levels.
    pub(super) fn new(keys: &'k GaloisKeys, levels: u32) -> Self {
        let waiting = (0..=levels).map(|_| None).collect();
        Self { keys, waiting, scratch: Scratch::new(keys.params()) }
    }

    /// The next leaf: `2^-k X^-residue uniform`.
    pub(super) fn push(&mut self, uniform: Poly<Coeff>, residue: u32) {
        let mut node = self.leaf(uniform, residue as usize);
        for height in 0..self.waiting.len() {
            match self.waiting[height].take() {
                Some(first) => node = self.merge(height, first, Some(node)),
                None => {
                    self.waiting[height] = Some(node);
                    break;
                }
            }
        }
    }

    /// What is added to c_0 of the leaves, and c_1.
    pub(super) fn finish(mut self) -> [Poly<Coeff>; 2] {
        let levels = self.waiting.len() - 1;
        let mut carry = None;
        for height in 0..levels {
            carry = match (self.waiting[height].take(), carry) {
                (None, None) => None,
                (Some(first), second) => Some(self.merge(height, first, second)),
                (None, Some(alone)) => Some(self.merge(height, alone, None)),
            };
        }
        let zero = || Poly::zero(self.keys.params());
        match self.waiting[levels].take().or(carry) {
            Some(root) => [root.body.unwrap_or_else(zero).into_coeff(), root.uniform.into_coeff()],
            None => [(); 2].map(|()| Poly::zero(self.keys.params())),
        }
    }

    fn leaf(&self, mut uniform: Poly<Coeff>, residue: usize) -> Node {
        let params = self.keys.params();
        let levels = self.waiting.len() as u64 - 1;
        for limb in 0..params.limbs() {
            let modulus = params.modulus(limb);
            let values = uniform.limb_mut(limb);
            values.rotate_left(residue);
            let kept = values.len() - residue;
            values[kept..].iter_mut().for_each(|v| *v = modulus.neg(*v));
            let half = modulus.value().div_ceil(2);
            pointwise::scale(modulus, values, modulus.shoup(modulus.pow(half, levels)));
        }
        Node { body: None, uniform: uniform.into_eval() }
    }

    /// `first + X^(2^t) second + phi_t(first - X^(2^t) second)` for the level t of this height.
    fn merge(&mut self, height: usize, first: Node, second: Option<Node>) -> Node {
        let keys = self.keys;
        let params = keys.params();
        let level = keys.level((self.waiting.len() - 2 - height) as u32);
        let scratch = &mut self.scratch;
        let Node { body, mut uniform } = first;
        let (mut second_body, mut second_uniform) = match second {
            Some(Node { body, uniform }) => (body, Some(uniform)),
            None => (None, None),
        };
        for (limb, plan) in params.plans().iter().enumerate() {
            let [difference, coefficients] =
                [&mut scratch.difference, &mut scratch.coefficients].map(|polys| &mut polys[limb]);
            let second = second_uniform.as_mut().map(|second| second.limb_mut(limb));
            butterfly(plan.modulus(), uniform.limb_mut(limb), second, level.monomial.limb(limb), difference);
            coefficients.copy_from_slice(difference);
            plan.inverse(coefficients);
        }
        let leaves = body.is_none();
        // What was the second half of a leaf becomes the first.
        let mut body = body.or(second_uniform).unwrap_or_else(|| Poly::zero(params));
        for (limb, plan) in params.plans().iter().enumerate() {
            let modulus = plan.modulus();
            scratch.expand(params, limb);
            scratch.multiply(modulus, &level.digits, limb);
            let Scratch { sums: [body_sum, uniform_sum], other, .. } = scratch;
            let body = body.limb_mut(limb);
            if leaves {
                level.automorphism.apply(body_sum, body);
            } else {
                let second = second_body.as_mut().map(|second| second.limb_mut(limb));
                butterfly(modulus, body, second, level.monomial.limb(limb), other);
                pointwise::add_assign(modulus, body_sum, other);
                level.automorphism.apply(body_sum, other);
                pointwise::add_assign(modulus, body, other);
            }
            level.automorphism.apply(uniform_sum, other);
            pointwise::add_assign(modulus, uniform.limb_mut(limb), other);
        }
        Node { body: Some(body), uniform }
    }
}

impl Scratch {
    fn new(params: &Params) -> Self {
        let zeros = || vec![0; params.degree()];
        let limbs = || (0..params.limbs()).map(|_| zeros()).collect();
        Self {
            difference: limbs(),
            coefficients: limbs(),
            digits: limbs(),
            sums: [zeros(), zeros()],
            other: zeros(),
        }
    }

    /// The digits of the other primes, modulo the prime of a limb.
    fn expand(&mut self, params: &Params, limb: usize) {
        let plan = &params.plans()[limb];
        for digit in (0..params.limbs()).filter(|&digit| digit != limb) {
            let values = &mut self.digits[digit];
            values.copy_from_slice(&self.coefficients[digit]);
            lift_centred(params.modulus(digit), plan.modulus(), values, &mut self.other);
            plan.forward(values);
        }
    }

    /// `sums = sum_i digits[i] key[i]` modulo the prime of a limb.
    fn multiply(&mut self, modulus: &Modulus, key: &[Ciphertext], limb: usize) {
        let mut terms = Vec::with_capacity(key.len());
        for start in (0..self.digits[0].len()).step_by(BLOCK) {
            let block = start..start + BLOCK;
            let mut lazy = [[[0; BLOCK]; 2]; 2];
            terms.clear();
            terms.extend(key.iter().enumerate().map(|(digit, key)| {
                // Modulo its own prime a digit is what was switched.
                let values = if digit == limb { &self.difference[limb] } else { &self.digits[digit] };
                [key.body.limb(limb), key.uniform.limb(limb), values].map(|p| &p[block.clone()])
            }));
            mul_acc_halves(lazy.each_mut().map(|half| half.each_mut().map(|w| w.as_mut_slice())), &terms);
            for ([lo, hi], sum) in lazy.iter().zip(&mut self.sums) {
                pointwise::reduce_acc(modulus, lo, hi, &mut sum[block.clone()]);
            }
        }
    }
}

/// `a += x b` and `difference = a - x b`, from the old a; b is overwritten.
fn butterfly(modulus: &Modulus, a: &mut [u64], b: Option<&mut [u64]>, x: &[u64], difference: &mut [u64]) {
    difference.copy_from_slice(a);
    if let Some(b) = b {
        pointwise::mul_assign(modulus, b, x);
        pointwise::add_assign(modulus, a, b);
        pointwise::sub_assign(modulus, difference, b);
    }
}

/// Residues modulo one prime become their centred values modulo another: `((v + h) mod p) - h` for h = (p - 1) / 2.
fn lift_centred(from: &Modulus, to: &Modulus, values: &mut [u64], constant: &mut [u64]) {
    let half = from.value() / 2;
    constant.fill(half);
    pointwise::add_assign(from, values, constant);
    // A product with 1 reduces.
    pointwise::scale(to, values, to.shoup(1));
    constant.fill(half % to.value());
    pointwise::sub_assign(to, values, constant);
}

#[cfg(test)]
mod tests {
    use phineus_kernel::zq::ntt_primes;

    use super::*;

    #[test]
    fn lifts_keep_the_centred_value() {
        let [large, small] = [50, 30].map(|bits| Modulus::new(ntt_primes(bits, 4096, 1)[0]).unwrap());
        for (from, to) in [(&large, &small), (&small, &large), (&large, &large)] {
            let p = from.value();
            let mut values = [0, 1, p / 2, p / 2 + 1, p - 1];
            lift_centred(from, to, &mut values, &mut [0; 5]);
            let half = (p / 2) as i64;
            let expected = [0, 1, half, -half, -1].map(|v: i64| v.rem_euclid(to.value() as i64) as u64);
            assert_eq!(values, expected);
        }
    }
}
