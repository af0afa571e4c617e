//! The tree of merges, bottom up in the order of arrival: never more than one node per level is kept.

use phineus_kernel::ntt::pointwise;
use phineus_kernel::zq::Modulus;

use crate::{Coeff, Eval, GaloisKeys, Params, Poly};

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

/// Buffers of one limb.
struct Scratch {
    digit: Vec<u64>,
    /// Unreduced sums of the two halves.
    sums: [[Vec<u64>; 2]; 2],
    reduced: Vec<u64>,
    image: Vec<u64>,
}

impl<'k> Tree<'k> {
    /// For up to 2^`levels` leaves; the keys have as many levels.
    pub(super) fn new(keys: &'k GaloisKeys, levels: u32) -> Self {
        let waiting = (0..=levels).map(|_| None).collect();
        Self { keys, waiting, scratch: Scratch::new(keys.params().degree()) }
    }

    /// The next leaf: `2^-k X^-residue uniform`.
    pub(super) fn push(&mut self, uniform: &Poly<Coeff>, residue: u32) {
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

    fn leaf(&self, uniform: &Poly<Coeff>, residue: usize) -> Node {
        let params = self.keys.params();
        let levels = self.waiting.len() as u64 - 1;
        let mut leaf = Poly::<Coeff>::zero(params);
        for limb in 0..params.limbs() {
            let modulus = params.modulus(limb);
            let (source, target) = (uniform.limb(limb), leaf.limb_mut(limb));
            let (below, above) = source.split_at(residue);
            let (kept, wrapped) = target.split_at_mut(above.len());
            kept.copy_from_slice(above);
            wrapped.iter_mut().zip(below).for_each(|(w, &v)| *w = modulus.neg(v));
            let half = modulus.value().div_ceil(2);
            pointwise::scale(modulus, target, modulus.shoup(modulus.pow(half, levels)));
        }
        Node { body: None, uniform: leaf.into_eval() }
    }

    /// `first + X^(2^t) second + phi_t(first - X^(2^t) second)` for the level t of this height.
    fn merge(&mut self, height: usize, first: Node, second: Option<Node>) -> Node {
        let keys = self.keys;
        let params = keys.params();
        let level = keys.level((self.waiting.len() - 2 - height) as u32);
        let (second_body, second_uniform) = match second {
            Some(Node { body, uniform }) => (body, Some(uniform)),
            None => (None, None),
        };
        let (mut uniform, difference) = butterfly(first.uniform, second_uniform, &level.monomial);
        let (mut body, body_difference) = match first.body {
            Some(first) => {
                let (sum, difference) = butterfly(first, second_body, &level.monomial);
                (sum, Some(difference))
            }
            None => (Poly::zero(params), None),
        };
        let coefficients = difference.clone().into_coeff();
        let scratch = &mut self.scratch;
        for limb in 0..params.limbs() {
            let modulus = params.modulus(limb);
            scratch.clear();
            for (digit, key) in level.digits.iter().enumerate() {
                let values = if digit == limb {
                    difference.limb(limb)
                } else {
                    let from = params.modulus(digit);
                    lift_centred(from, modulus, coefficients.limb(digit), &mut scratch.digit);
                    params.plans()[limb].forward(&mut scratch.digit);
                    &scratch.digit
                };
                for (sum, key) in scratch.sums.iter_mut().zip([&key.body, &key.uniform]) {
                    let [lo, hi] = sum;
                    pointwise::mul_acc(lo, hi, values, key.limb(limb));
                }
            }
            for (half, ([lo, hi], out)) in scratch.sums.iter().zip([&mut body, &mut uniform]).enumerate() {
                pointwise::reduce_acc(modulus, lo, hi, &mut scratch.reduced);
                if let (0, Some(difference)) = (half, &body_difference) {
                    pointwise::add_assign(modulus, &mut scratch.reduced, difference.limb(limb));
                }
                level.automorphism.apply(&scratch.reduced, &mut scratch.image);
                pointwise::add_assign(modulus, out.limb_mut(limb), &scratch.image);
            }
        }
        Node { body: Some(body), uniform }
    }
}

impl Scratch {
    fn new(n: usize) -> Self {
        let zeros = || vec![0; n];
        let sums = [(); 2].map(|()| [(); 2].map(|()| zeros()));
        Self { digit: zeros(), sums, reduced: zeros(), image: zeros() }
    }

    fn clear(&mut self) {
        self.sums.iter_mut().flatten().for_each(|words| words.fill(0));
    }
}

/// `a + x b` and `a - x b`.
fn butterfly(a: Poly<Eval>, b: Option<Poly<Eval>>, x: &Poly<Eval>) -> (Poly<Eval>, Poly<Eval>) {
    let (mut sum, mut difference) = (a.clone(), a);
    if let Some(mut b) = b {
        let params: &Params = &x.params().clone();
        for limb in 0..params.limbs() {
            let modulus = params.modulus(limb);
            let b = b.limb_mut(limb);
            pointwise::mul_assign(modulus, b, x.limb(limb));
            pointwise::add_assign(modulus, sum.limb_mut(limb), b);
            pointwise::sub_assign(modulus, difference.limb_mut(limb), b);
        }
    }
    (sum, difference)
}

/// Residues modulo one prime, centred, modulo another.
fn lift_centred(from: &Modulus, to: &Modulus, values: &[u64], out: &mut [u64]) {
    let half = from.value() / 2;
    let centre = |v: u64| {
        let above = half.wrapping_sub(v).cast_signed() >> 63;
        v.wrapping_sub(from.value() & above.cast_unsigned()).cast_signed()
    };
    if half < to.value() {
        out.iter_mut().zip(values).for_each(|(out, &v)| *out = to.lift_signed(centre(v)));
    } else {
        out.iter_mut().zip(values).for_each(|(out, &v)| *out = to.reduce_i64(centre(v)));
    }
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
            let values = [0, 1, p / 2, p / 2 + 1, p - 1];
            let mut out = [0; 5];
            lift_centred(from, to, &values, &mut out);
            let half = (p / 2) as i64;
            let expected = [0, 1, half, -half, -1].map(|v: i64| v.rem_euclid(to.value() as i64) as u64);
            assert_eq!(out, expected);
        }
    }
}
