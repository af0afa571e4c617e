//! Programs on real ciphertexts: the operations of [`Evaluator`] by the scheme of [`phineus_he::slots`].
//!
//! Bounds: slots are capped by what the network's scaling promises for every level. Errors of different slots and of
//! different rotations count as independent, so that they add up in squares: they are sums over all coefficients of
//! pseudo-random polynomials with independent signs. Bounds that exceed a sixty-fourth of the largest slot of a level
//! are replaced by that: they compound tails of 2^-40 from operation to operation and exceed what is observed a
//! thousandfold. That slots are more precise than this is not proven but tested, on real inputs.

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
        let Some(&ceiling) = self.ceilings.get(x.level()) else { return x };
        let (magnitude, error) = (x.magnitude().min(ceiling), x.error().min(ceiling * PRECISION));
        x.with_magnitude(magnitude).with_error(error)
    }
}

impl Encrypted {
    /// An input of a map with this gain, whose outcome keeps below the ceiling of the level below.
    fn bounded(&self, x: &Ciphertext, level: usize, gain: f64) -> Ciphertext {
        let ceiling = level.checked_sub(1).and_then(|below| self.ceilings.get(below)).copied();
        let room = ceiling.unwrap_or(f64::INFINITY) / gain.max(f64::MIN_POSITIVE);
        let (magnitude, error) = (x.magnitude().min(room), x.error().min(room * PRECISION));
        x.clone().with_magnitude(magnitude).with_error(error)
    }
}

/// Largest error of a slot, relative to the largest slot of its level, that this file reckons with.
const PRECISION: f64 = 1.0 / 64.0;

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

    fn add_summand(&self, x: &mut Ciphertext, y: &Summand) -> Result<(), SlotsError> {
        self.evaluator.add_plain(x, y)?;
        *x = self.capped(x.clone());
        Ok(())
    }

    fn linear(
        &self,
        xs: &[Ciphertext],
        giants: &[Giant<'_, Factor>],
        folds: &[usize],
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
        let level = xs.first().map_or(0, Ciphertext::level);
        let xs: Vec<Ciphertext> = xs.iter().map(|x| self.bounded(x, level, gain)).collect();
        let xs: Vec<&Ciphertext> = xs.iter().collect();
        let folds: Vec<u32> = folds.iter().map(|&fold| step(fold)).collect();
        Ok(self.capped(self.evaluator.linear_folded(&xs, &giants, &folds, Some(gain))?))
    }

    fn square(&self, x: &Ciphertext) -> Result<Ciphertext, SlotsError> {
        Ok(self.capped(self.evaluator.square(x)?))
    }

    fn combine(&self, xs: &[&Ciphertext], weights: &[f64]) -> Result<Vec<Ciphertext>, SlotsError> {
        // Bounds in the manner of this file: what the scheme would add up in size is capped before it can overflow.
        let rows = weights.chunks(xs.len().max(1));
        let most = |part: &dyn Fn(f64) -> f64| {
            rows.clone().map(|row| row.iter().map(|&w| part(w)).sum()).fold(0.0, f64::max)
        };
        let (sum, squares): (f64, f64) = (most(&f64::abs), most(&|w| w * w));
        let (ratio, level) =
            (squares.sqrt() / sum.max(f64::MIN_POSITIVE), xs.first().map_or(0, |x| x.level()));
        let bounded = |x: &&Ciphertext| {
            let x = self.bounded(x, level, sum);
            let error = x.error() * ratio;
            x.with_error(error)
        };
        let xs: Vec<Ciphertext> = xs.iter().map(bounded).collect();
        let outputs = self.evaluator.combine(&xs.iter().collect::<Vec<_>>(), weights)?;
        Ok(outputs.into_iter().map(|x| self.capped(x)).collect())
    }
}
