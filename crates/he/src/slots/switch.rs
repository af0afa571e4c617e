//! Key switching: from c s' to a ciphertext under s, with the keys of [`keys`](super::keys).
//!
//! The work goes prime by prime: all digits of one prime are transformed and multiplied while the tables of the prime and
//! the sums are in the cache. With c limbs, k special primes and D digits a switch takes c transforms to get at the
//! coefficients, D (c + k) - c of extended digits (a digit's own primes have their values already), and 2 (k + c) for the
//! division of both halves by P. A division by P and by the primes of a rescale is done at once.

use phineus_kernel::ntt32::pointwise;

use super::convert::Digits;
use super::keys::SwitchKey;
use super::params::Level;
use super::poly::Poly;
use super::{Params, SlotsError};

/// The digits of a polynomial, ready for any number of switches.
pub(crate) struct Decomposed<'p> {
    params: &'p Params,
    level: &'p Level,
    limbs: usize,
    /// The polynomial's own values; absent where only coefficients are known.
    own: Option<&'p Poly>,
    digits: Vec<Digits>,
}

/// Both halves of a sum modulo q P.
pub(crate) type Pair = [Poly; 2];

impl<'p> Decomposed<'p> {
    /// Digits of a polynomial given by its values at `level`.
    pub(crate) fn of_values(params: &'p Params, values: &'p Poly, level: usize) -> Result<Self, SlotsError> {
        let limbs = params.limbs(level)?;
        let mut coefficients = Poly::any(values.degree(), limbs);
        let mut scratch = vec![0; values.degree()];
        for index in 0..limbs {
            scratch.copy_from_slice(values.limb(index));
            params.plans()[index].inverse(&mut scratch, coefficients.limb_mut(index));
        }
        Self::new(params, &coefficients, Some(values), level)
    }

    /// Digits of a polynomial given by its coefficients at `level`.
    pub(crate) fn of_coefficients(params: &'p Params, poly: &Poly, level: usize) -> Result<Self, SlotsError> {
        Self::new(params, poly, None, level)
    }

    fn new(params: &'p Params, poly: &Poly, own: Option<&'p Poly>, level: usize) -> Result<Self, SlotsError> {
        let (limbs, level) = (params.limbs(level)?, params.level(level)?);
        let digits = level
            .groups
            .iter()
            .map(|group| group.digits(params.plans(), group.from().iter().map(|&index| poly.limb(index))));
        Ok(Self { params, level, limbs, own, digits: digits.collect() })
    }

    /// Number of digits.
    pub(crate) fn count(&self) -> usize {
        self.digits.len()
    }

    /// The values of all digits modulo limb `limb` of the extended basis; `scratch` has n elements.
    pub(crate) fn values(&self, limb: usize, scratch: &mut [i32], values: &mut [Vec<u32>]) {
        let index = if limb < self.limbs { limb } else { limb - self.limbs + self.params.specials().start };
        for ((group, digits), values) in self.level.groups.iter().zip(&self.digits).zip(values) {
            match self.own {
                Some(own) if group.from().contains(&index) => values.copy_from_slice(own.limb(index)),
                _ => {
                    group.onto(self.params.plans(), index, digits, scratch);
                    self.params.plans()[index].forward(scratch, values);
                }
            }
        }
    }

    /// `sum d_g (k_g0, k_g1)` modulo q P for each key.
    pub(crate) fn switch(&self, keys: &[&SwitchKey]) -> Vec<Pair> {
        let n = self.params.slots();
        let basis = self.params.basis(self.limbs, true);
        let mut sums: Vec<Pair> = keys.iter().map(|_| [(); 2].map(|()| Poly::any(n, basis.len()))).collect();
        let (mut scratch, mut values) = (vec![0; n], vec![vec![0; n]; self.count()]);
        for (limb, &index) in basis.iter().enumerate() {
            self.values(limb, &mut scratch, &mut values);
            for (key, sums) in keys.iter().zip(&mut sums) {
                let [s0, s1] = sums.each_mut().map(|sum| sum.limb_mut(limb));
                s0.fill(0);
                s1.fill(0);
                self.accumulate(key, limb, index, &values, [s0, s1]);
            }
        }
        sums
    }

    /// Adds the products of one limb; `values` are those of [`Decomposed::values`].
    pub(crate) fn accumulate(
        &self,
        key: &SwitchKey,
        limb: usize,
        index: usize,
        values: &[Vec<u32>],
        sums: [&mut [u32]; 2],
    ) {
        let modulus = self.params.plans()[index].modulus();
        let halves: Vec<_> = (0..values.len()).map(|digit| key.halves(digit, limb, self.limbs)).collect();
        let values: Vec<&[u32]> = values.iter().map(|v| &v[..]).collect();
        sum_products(modulus, sums, &values, &halves);
    }
}

/// [`pointwise::inner`] for any number of products.
pub(crate) fn sum_products(
    modulus: &phineus_kernel::ntt32::Modulus,
    sums: [&mut [u32]; 2],
    a: &[&[u32]],
    b: &[[&[u32]; 2]],
) {
    let [s0, s1] = sums;
    let most = pointwise::MAX_PRODUCTS - 1;
    for (a, b) in a.chunks(most).zip(b.chunks(most)) {
        pointwise::inner(modulus, [&mut *s0, &mut *s1], a, b);
    }
}
