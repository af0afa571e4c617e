//! Ciphertexts, and plaintexts to add to them and to multiply them by.

use std::fmt;
use std::sync::Arc;

use phineus_kernel::embedding::quantize;
use phineus_kernel::ntt32::pointwise;
use zeroize::Zeroizing;

use super::poly::Poly;
use super::{Params, SlotsError, noise};

/// An encryption of n real slots: two parts, or three after a product, with what is known of its contents.
#[derive(Clone)]
pub struct Ciphertext {
    pub(crate) params: Arc<Params>,
    /// c_0, c_1 and possibly c_2, by values; the slots are those of (c_0 + c_1 s + c_2 s^2) / scale.
    pub(crate) parts: Vec<Poly>,
    pub(crate) level: usize,
    pub(crate) scale: f64,
    /// Bound on the absolute values of the slots of the message.
    pub(crate) magnitude: f64,
    /// Bound on the difference between slots and message.
    pub(crate) error: f64,
}

/// Weights for ciphertexts of one level.
#[derive(Clone)]
pub struct Factor {
    pub(crate) params: Arc<Params>,
    /// By values in Montgomery form, modulo the limbs of the level and the special primes.
    pub(crate) poly: Poly,
    pub(crate) level: usize,
    pub(crate) scale: f64,
    pub(crate) magnitude: f64,
    /// Bound on the rounding error in the slots.
    pub(crate) error: f64,
}

/// Constants to add to ciphertexts of one level.
#[derive(Clone)]
pub struct Summand {
    pub(crate) params: Arc<Params>,
    /// By values modulo the limbs of the level.
    pub(crate) poly: Poly,
    pub(crate) level: usize,
    pub(crate) scale: f64,
    pub(crate) magnitude: f64,
    pub(crate) error: f64,
}

impl Ciphertext {
    /// Rescalings that are left.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }

    /// What the slots are multiplied by.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Two, or three until a product is relinearised.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Bound on the absolute values of the slots, the error aside.
    #[must_use]
    pub fn magnitude(&self) -> f64 {
        self.magnitude
    }

    /// Bound on the absolute error of the slots, by [`noise`](super::noise).
    #[must_use]
    pub fn error(&self) -> f64 {
        self.error
    }

    /// States a better bound on the slots than operations derive; it is up to the caller that it holds.
    #[must_use]
    pub fn with_magnitude(mut self, magnitude: f64) -> Self {
        self.magnitude = magnitude;
        self
    }

    /// States a better bound on the error than operations derive, for instance because the errors that are added up are
    /// independent; it is up to the caller that it holds.
    #[must_use]
    pub fn with_error(mut self, error: f64) -> Self {
        self.error = error;
        self
    }

    /// [`Ciphertext::with_magnitude`] and [`Ciphertext::with_error`] in place.
    pub fn restate(&mut self, magnitude: f64, error: f64) {
        (self.magnitude, self.error) = (magnitude, error);
    }

    /// Parameters.
    #[must_use]
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// Fails if the slots could wrap around the modulus.
    pub(crate) fn checked(self) -> Result<Self, SlotsError> {
        let log2_q = self.params.level(self.level)?.log2_q;
        let magnitude = self.magnitude + self.error;
        if magnitude.log2() + self.scale.log2() < log2_q - 1.0 {
            return Ok(self);
        }
        Err(SlotsError::Overflow { magnitude, log2_scale: self.scale.log2(), log2_q, level: self.level })
    }

    /// Indices of the primes of the parts.
    pub(crate) fn basis(&self) -> Vec<usize> {
        self.params.basis(self.params.limbs(self.level).unwrap_or_default(), false)
    }
}

impl Params {
    /// Weights for ciphertexts of `level`, at the scale of its factors; slots that are not given are zero.
    ///
    /// # Errors
    /// [`SlotsError::Level`], [`SlotsError::TooManyValues`], [`SlotsError::Value`].
    pub fn factor(self: &Arc<Self>, values: &[f64], level: usize) -> Result<Factor, SlotsError> {
        let scale = self.factor_scale(level)?;
        let basis = self.basis(self.limbs(level)?, true);
        let mut poly = self.encode(values, scale, &basis)?;
        for (limb, &index) in basis.iter().enumerate() {
            pointwise::to_montgomery(self.plans()[index].modulus(), poly.limb_mut(limb));
        }
        let (magnitude, error) = (largest(values), noise::encoding(self.slots()) / scale);
        Ok(Factor { params: self.clone(), poly, level, scale, magnitude, error })
    }

    /// Constants to add to ciphertexts of `level` at its canonical scale; slots that are not given are zero.
    ///
    /// # Errors
    /// [`SlotsError::Level`], [`SlotsError::TooManyValues`], [`SlotsError::Value`].
    pub fn summand(self: &Arc<Self>, values: &[f64], level: usize) -> Result<Summand, SlotsError> {
        self.scaled_summand(values, level, self.scale(level)?)
    }

    /// Constants to add to results at level 0 of scale [`Params::result_scale`].
    ///
    /// # Errors
    /// As [`Params::summand`].
    pub fn result_summand(self: &Arc<Self>, values: &[f64]) -> Result<Summand, SlotsError> {
        self.scaled_summand(values, 0, self.result_scale())
    }

    fn scaled_summand(
        self: &Arc<Self>,
        values: &[f64],
        level: usize,
        scale: f64,
    ) -> Result<Summand, SlotsError> {
        let poly = self.encode(values, scale, &self.basis(self.limbs(level)?, false))?;
        let (magnitude, error) = (largest(values), noise::encoding(self.slots()) / scale);
        Ok(Summand { params: self.clone(), poly, level, scale, magnitude, error })
    }

    /// The coefficients of the element whose slots are `values` times `scale`, rounded.
    pub(crate) fn coefficients(&self, values: &[f64], scale: f64) -> Result<Zeroizing<Vec<i64>>, SlotsError> {
        let n = self.slots();
        if values.len() > n {
            return Err(SlotsError::TooManyValues { values: values.len(), slots: n });
        }
        // Coefficients are at most as large as the largest slot.
        let largest = largest(values) * scale;
        if largest.is_nan() || largest >= 61_f64.exp2() {
            return Err(SlotsError::Value { log2_scale: scale.log2() });
        }
        let real = Zeroizing::new(self.embedding().coefficients(values));
        let mut rounded = Zeroizing::new(vec![0; n]);
        quantize(&real, scale, &mut rounded);
        Ok(rounded)
    }

    /// The values of the element whose slots are `values` times `scale`, rounded.
    fn encode(&self, values: &[f64], scale: f64, basis: &[usize]) -> Result<Poly, SlotsError> {
        let rounded = self.coefficients(values, scale)?;
        let mut small = Zeroizing::new(vec![0; self.slots()]);
        let mut poly = Poly::any(self.slots(), basis.len());
        for (limb, &index) in basis.iter().enumerate() {
            let plan = &self.plans()[index];
            pointwise::reduce_i64(plan.modulus(), &rounded, &mut small);
            plan.forward(&small, poly.limb_mut(limb));
        }
        Ok(poly)
    }
}

/// The largest absolute value; not a number if one of them is not.
fn largest(values: &[f64]) -> f64 {
    let larger = |max: f64, v: &f64| if v.abs() <= max || max.is_nan() { max } else { v.abs() };
    values.iter().fold(0.0, larger)
}

impl fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, scale, magnitude, error, .. } = self;
        write!(f, "Ciphertext(level {level}, scale 2^{:.3}, ", scale.log2())?;
        write!(f, "magnitude {magnitude:.3e}, error {error:.3e})")
    }
}

impl fmt::Debug for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Factor(level {})", self.level)
    }
}

impl fmt::Debug for Summand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Summand(level {})", self.level)
    }
}
