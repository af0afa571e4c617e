//! How large errors get: bounds that hold but for 2^-40 of all runs.
//!
//! Errors are counted in slots, where products act slot by slot. Let e have independent coefficients that are centred and
//! sub-Gaussian with parameter v. A slot of it is `e_0 + 2 sum e_i cos(..)`, sub-Gaussian with parameter at most 2 n v,
//! and exceeds `TAIL sqrt(2 n v)` with probability at most 2 exp(-TAIL^2 / 2) = 2^-55: over 2^15 slots 2^-40 per
//! polynomial. Fresh errors have v = 10.5 exactly ([`phineus_he::noise`](crate::noise)). A rounding error is taken as
//! uniform on [-1/2, 1/2], independent per coefficient, v = 1/12, as is usual: of polynomials that multiply s it is so
//! because they are pseudo-random, of messages and weights it is a heuristic.
//!
//! **Secret.** The slots of s are at most `secret_bound` in absolute value; the key generator sees to it.
//!
//! **Division** of (c_0, c_1) by D, in rescaling and after key switches: rounding errors t_0 + t_1 s. Given s, a slot is
//! sub-Gaussian with parameter (n/6)(1 + secret_bound^2).
//!
//! **Key switching** adds (sum_g d_g e_g) / P, with digits d_g uniform up to D_g / 2 (they are pseudo-random) and fresh
//! e_g. A slot is a sum of k products of two independent sub-Gaussian variables with parameters n D^2 / 6 and 21 n. For
//! such products of parameter one, E exp(l X Y) <= (1 - l^2)^(-1/2), hence by Chernoff's bound the sum exceeds t with
//! probability at most `2 exp(-l t) (1 - l^2)^(-k/2)` for every 0 < l < 1; `product_tail` is the t that makes it 2^-55.
//!
//! **Operations.** Bounds add up (no independence is assumed between ciphertexts). For a product,
//! `(m + e)(m' + e') = m m' + (m e' + m' e + e e')`, with public bounds on |m| and |m'|.

use phineus_kernel::sample::CBD_VARIANCE;

use super::{Params, SlotsError};

/// Standard deviations within which a sub-Gaussian variable stays but for 2^-55: sqrt(2 ln 2^56).
pub const TAIL: f64 = 8.811;

/// Variances of what operations add to the error of a slot, all at one level and its canonical scale. They add up where
/// errors of different slots and operations are independent; operations in [`Evaluator`](super::Evaluator) do not assume
/// so, bounds on whole networks do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variances {
    /// A fresh encryption.
    pub fresh: f64,
    /// The rounding of a summand.
    pub summand: f64,
    /// The rounding of a factor, where the other one is one in size.
    pub factor: f64,
    /// The same for a number in all slots.
    pub number: f64,
    /// A rotation of a ciphertext.
    pub rotation: f64,
    /// A rotation of a sum of products before its rescale; a relinearisation.
    pub product_rotation: f64,
    /// The rescale of a product to the level below, or at level 0 the division after the last rotation. Slots of the secret
    /// are taken at their mean square, for errors that are going to be averaged over many slots.
    pub rescale: f64,
    /// The same with the largest slot that the secret may have.
    pub worst_rescale: f64,
}

impl Params {
    /// The variances at a level.
    ///
    /// # Errors
    /// [`SlotsError::Level`].
    pub fn variances(&self, level: usize) -> Result<Variances, SlotsError> {
        let n = self.slots() as f64;
        let constants = self.level(level)?;
        let (unit, factor) = (self.scale(level)?.powi(-2), self.factor_scale(level)?.powi(-2));
        let secret = 4.0 * n / 3.0;
        let rounding = 2.0 * n / 12.0;
        let ratios = constants.groups.iter().map(|group| group.product() / constants.down.product());
        let switch = ratios.map(|ratio| (2.0 * n * ratio).powi(2)).sum::<f64>() * CBD_VARIANCE / 12.0;
        let result = match level.checked_sub(1) {
            Some(below) => self.scale(below)?.powi(-2),
            None => unit * factor,
        };
        Ok(Variances {
            fresh: (2.0 * n * CBD_VARIANCE + rounding) * unit,
            summand: rounding * unit,
            factor: rounding * factor,
            number: factor / 12.0,
            rotation: switch * unit,
            product_rotation: (switch + rounding * secret) * unit * factor,
            rescale: rounding * (1.0 + secret) * result,
            worst_rescale: rounding * (1.0 + secret_bound(self.slots()).powi(2)) * result,
        })
    }
}

/// Bound on the slots of the secret key: 5 times their standard deviation sqrt(4n/3).
pub(crate) fn secret_bound(n: usize) -> f64 {
    5.0 * (4.0 * n as f64 / 3.0).sqrt()
}

/// Slots of an error with independent coefficients of this variance proxy.
pub(crate) fn slots_bound(n: usize, variance: f64) -> f64 {
    TAIL * (2.0 * n as f64 * variance).sqrt()
}

/// A fresh encryption, with the rounding of its message.
pub(crate) fn fresh(n: usize) -> f64 {
    slots_bound(n, CBD_VARIANCE + 1.0 / 12.0)
}

/// A fresh encryption of zero under the public key: e u + e_0 + e_1 s.
pub(crate) fn fresh_zero(n: usize) -> f64 {
    let error = slots_bound(n, CBD_VARIANCE);
    // u is drawn anew and unchecked: its slots are sub-Gaussian with parameter 4n/3.
    error * (1.0 + secret_bound(n)) + product_tail(1) * 2.0 * n as f64 * (CBD_VARIANCE * 2.0 / 3.0).sqrt()
}

/// The rounding of an encoding.
pub(crate) fn encoding(n: usize) -> f64 {
    slots_bound(n, 1.0 / 12.0)
}

/// The rounding of both halves of a ciphertext.
pub(crate) fn division(n: usize) -> f64 {
    slots_bound(n, 1.0 / 12.0) * (1.0 + secret_bound(n).powi(2)).sqrt()
}

/// The rounding of the second half alone.
pub(crate) fn division_of_second(n: usize) -> f64 {
    slots_bound(n, 1.0 / 12.0) * secret_bound(n)
}

/// A key switch of `digits` digits below `digit` / 2, after the division by `special`.
pub(crate) fn switch(n: usize, digits: usize, digit: f64, special: f64) -> f64 {
    let each = 2.0 * n as f64 * (CBD_VARIANCE / 12.0).sqrt() * digit;
    product_tail(digits) * each / special
}

/// What a sum of `count` products of independent sub-Gaussian variables of parameter one exceeds with probability 2^-55.
fn product_tail(count: usize) -> f64 {
    let log = 56.0 * std::f64::consts::LN_2;
    // The least of (log - (count/2) ln(1 - l^2)) / l over l in (0, 1).
    let at = |l: f64| (log - 0.5 * count as f64 * (1.0 - l * l).ln()) / l;
    (1..1000).map(|i| at(f64::from(i) / 1000.0)).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails() {
        // Between one product, whose tail is exponential, and the Gaussian limit.
        assert!((38.8..42.0).contains(&product_tail(1)), "{}", product_tail(1));
        assert!(product_tail(6) < 6.0 * product_tail(1) / 3.0);
        let many = product_tail(10_000);
        assert!((TAIL * 100.0..1.05 * TAIL * 100.0).contains(&many), "{many}");
    }
}
