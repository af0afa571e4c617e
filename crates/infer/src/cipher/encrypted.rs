//! Programs on real ciphertexts: the operations of [`Evaluator`] by the scheme of [`phineus_he::slots`].
//!
//! Bounds: slots are capped by what the network's scaling promises for every level. Errors of different slots and of
//! different rotations count as independent, so that they add up in squares: they are sums over all coefficients of
//! pseudo-random polynomials with independent signs. Worst-case sums would exceed what is observed a thousandfold and
//! prove nothing at these moduli.

use std::sync::Arc;

use phineus_he::slots::{self, Ciphertext, EvalKeys, Factor, Params, SlotsError, Summand};

use super::evaluator::{Encoder, Evaluator, Giant};

/// A client's keys with bounds on the slots that the network's numbers promise.
#[derive(Debug)]
pub struct Encrypted {
    evaluator: slots::Evaluator,
    /// Largest slot of a ciphertext of each level.
    ceilings: Vec<f64>,
}

impl Encrypted {
    /// An evaluator with these keys for a network whose values at level l are at most `ceilings[l]`; bounds that
    /// follow from the operations alone are capped by them.
    #[must_use]
    pub fn new(keys: EvalKeys, ceilings: Vec<f64>) -> Self {
        Self { evaluator: slots::Evaluator::new(keys), ceilings }
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> &slots::Evaluator {
        &self.evaluator
    }

    fn capped(&self, x: Ciphertext) -> Ciphertext {
        match self.ceilings.get(x.level()) {
            Some(&ceiling) if ceiling < x.magnitude() => x.with_magnitude(ceiling),
            _ => x,
        }
    }
}

impl Encoder for Arc<Params> {
    type Factor = Factor;
    type Summand = Summand;
    type Error = SlotsError;

    fn slots(&self) -> usize {
        Params::slots(self)
    }

    fn factor(&self, values: &[f64], level: usize) -> Result<Factor, SlotsError> {
        Params::factor(self, values, level)
    }

    fn summand(&self, values: &[f64], level: usize) -> Result<Summand, SlotsError> {
        Params::summand(self, values, level)
    }
}

impl Encoder for Encrypted {
    type Factor = Factor;
    type Summand = Summand;
    type Error = SlotsError;

    fn slots(&self) -> usize {
        self.evaluator.params().slots()
    }

    fn factor(&self, values: &[f64], level: usize) -> Result<Factor, SlotsError> {
        self.evaluator.params().factor(values, level)
    }

    fn summand(&self, values: &[f64], level: usize) -> Result<Summand, SlotsError> {
        self.evaluator.params().summand(values, level)
    }
}

impl Evaluator for Encrypted {
    type Cipher = Ciphertext;

    fn level(&self, x: &Ciphertext) -> usize {
        x.level()
    }

    fn add(&self, x: &mut Ciphertext, y: &Ciphertext) -> Result<(), SlotsError> {
        // The sum is below the ceiling although the bounds of its terms may add up to more.
        let ceiling = self.ceilings.get(x.level()).copied().unwrap_or(f64::INFINITY);
        let magnitude = (x.magnitude() + y.magnitude()).min(ceiling);
        let error = x.error().hypot(y.error());
        let half = |z: &Ciphertext| z.clone().with_magnitude(magnitude / 2.0).with_error(error / 2.0);
        let mut sum = half(x);
        self.evaluator.add(&mut sum, &half(y))?;
        *x = sum;
        Ok(())
    }

    fn add_summand(&self, x: &mut Ciphertext, y: &Summand) -> Result<(), SlotsError> {
        self.evaluator.add_plain(x, y)?;
        *x = self.capped(x.clone());
        Ok(())
    }

    fn linear(
        &self,
        xs: &[Ciphertext],
        giants: &[Giant<'_, Factor>],
        gain: f64,
    ) -> Result<Ciphertext, SlotsError> {
        let step = |step: usize| u32::try_from(step).unwrap_or(u32::MAX);
        let giants: Vec<slots::Giant<'_>> = giants
            .iter()
            .map(|giant| slots::Giant {
                rotation: step(giant.step),
                terms: giant
                    .terms
                    .iter()
                    .map(|term| slots::Term {
                        input: term.input,
                        rotation: step(term.step),
                        factor: term.plain,
                    })
                    .collect(),
            })
            .collect();
        let xs: Vec<&Ciphertext> = xs.iter().collect();
        Ok(self.capped(self.evaluator.linear(&xs, &giants, Some(gain))?))
    }

    fn rotate(&self, x: &Ciphertext, step: usize) -> Result<Ciphertext, SlotsError> {
        self.evaluator.rotate(x, u32::try_from(step).unwrap_or(u32::MAX))
    }

    fn square(&self, x: &Ciphertext) -> Result<Ciphertext, SlotsError> {
        Ok(self.capped(self.evaluator.square(x)?))
    }

    fn combine(&self, xs: &[&Ciphertext], weights: &[f64]) -> Result<Vec<Ciphertext>, SlotsError> {
        let count =
            SlotsError::Count { what: "factors of a combination", expected: xs.len(), got: weights.len() };
        let level = xs.first().ok_or(count.clone())?.level();
        if !weights.len().is_multiple_of(xs.len()) {
            return Err(count);
        }
        let row = |row: &[f64]| {
            let factor = |&w: &f64| self.evaluator.params().factor(&vec![w; self.slots()], level);
            let factors = row.iter().map(factor).collect::<Result<Vec<_>, _>>()?;
            let terms = (0..).zip(&factors).map(|(input, factor)| slots::Term { input, rotation: 0, factor });
            let sum = slots::Giant { rotation: 0, terms: terms.collect() };
            Ok(self.capped(self.evaluator.linear(xs, &[sum], None)?))
        };
        weights.chunks_exact(xs.len()).map(row).collect()
    }
}
