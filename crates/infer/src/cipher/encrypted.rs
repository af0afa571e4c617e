//! Programs on real ciphertexts: the operations of [`Evaluator`] by the scheme of [`phineus_he::slots`].
//!
//! Levels here are one above those of the scheme, since the last linear map takes place at its level 0: what it yields is
//! not rescaled and can only be sent ([`Params::result_scale`]).
//!
//! Bounds that follow from the operations alone compound worst cases from operation to operation. They are capped by what
//! the parameters leave room for ([`Bounds`]), so that overflow is found out by size. What is proven about the errors of a
//! network as a whole stands in [`precision`](super::precision).

use std::sync::Arc;

use phineus_he::slots::{self, Ciphertext, EvalKeys, Factor, Params, SlotsError, Summand, Sums};

use super::evaluator::{Encoder, Evaluator, Giant};

/// A client's keys with bounds on the slots that the network's numbers promise.
#[derive(Debug)]
pub struct Encrypted {
    evaluator: slots::Evaluator,
    bounds: Bounds,
}

/// Bounds on what ciphertexts of each level hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bounds {
    /// Per level the largest absolute value of a slot.
    pub slots: Vec<f64>,
    /// Per level the largest error of a slot.
    pub errors: Vec<f64>,
}

impl Encrypted {
    /// An evaluator with these keys for a network whose values keep to these bounds.
    #[must_use]
    pub fn new(keys: EvalKeys, bounds: Bounds) -> Self {
        Self { evaluator: slots::Evaluator::new(keys), bounds }
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> &slots::Evaluator {
        &self.evaluator
    }

    fn capped(&self, mut x: Ciphertext) -> Ciphertext {
        self.cap(&mut x);
        x
    }

    fn cap(&self, x: &mut Ciphertext) {
        let [slots, error] = self.bounds.at(self.level(x));
        x.restate(x.magnitude().min(slots), x.error().min(error));
    }
}

impl Bounds {
    /// Slots and errors of a level.
    fn at(&self, level: usize) -> [f64; 2] {
        [&self.slots, &self.errors].map(|all| all.get(level).copied().unwrap_or(f64::INFINITY))
    }
}

/// The scheme's level of a ciphertext that can take part in so many products.
pub(super) fn scheme_level(level: usize) -> Result<usize, SlotsError> {
    level.checked_sub(1).ok_or(SlotsError::Exhausted { top: 0 })
}

impl Encoder for Arc<Params> {
    type Factor = Factor;
    type Summand = Summand;
    type Error = SlotsError;

    fn slots(&self) -> usize {
        Params::slots(self)
    }

    fn factor(&self, values: &[f64], level: usize) -> Result<Factor, SlotsError> {
        Params::factor(self, values, scheme_level(level)?)
    }

    fn summand(&self, values: &[f64], level: usize) -> Result<Summand, SlotsError> {
        match level {
            0 => self.result_summand(values),
            _ => Params::summand(self, values, level - 1),
        }
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
        Encoder::factor(self.evaluator.params(), values, level)
    }

    fn summand(&self, values: &[f64], level: usize) -> Result<Summand, SlotsError> {
        Encoder::summand(self.evaluator.params(), values, level)
    }
}

impl Evaluator for Encrypted {
    type Cipher = Ciphertext;
    type Sums = Sums;

    fn level(&self, x: &Ciphertext) -> usize {
        // A result is as far above its factors' scale as a ciphertext that still takes part in a product is above one.
        let params = self.evaluator.params();
        let canonical = params.scale(0).unwrap_or(f64::INFINITY);
        let result = x.level() == 0 && x.scale() > (canonical * params.result_scale()).sqrt();
        if result { 0 } else { x.level() + 1 }
    }

    fn add_summand(&self, x: &mut Ciphertext, y: &Summand) -> Result<(), SlotsError> {
        self.evaluator.add_plain(x, y)?;
        self.cap(x);
        Ok(())
    }

    fn add_number(&self, x: &mut Ciphertext, number: f64) -> Result<(), SlotsError> {
        self.evaluator.add_number(x, number)?;
        self.cap(x);
        Ok(())
    }

    fn linear(
        &self,
        xs: &[Ciphertext],
        giants: &[Giant<'_, Factor>],
        folds: &[usize],
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
        let most = xs.first().map(|x| self.bounds.at(self.level(x).saturating_sub(1)));
        let xs: Vec<&Ciphertext> = xs.iter().collect();
        let folds: Vec<u32> = folds.iter().map(|&fold| step(fold)).collect();
        Ok(self.capped(self.evaluator.linear_folded(&xs, &giants, &folds, None, most)?))
    }

    fn square(&self, x: &Ciphertext) -> Result<Ciphertext, SlotsError> {
        Ok(self.capped(self.evaluator.square(x)?))
    }

    fn sums(&self, count: usize, level: usize) -> Result<Sums, SlotsError> {
        self.evaluator.sums(count, scheme_level(level)?)
    }

    fn accumulate(&self, sums: &mut Sums, xs: &[&Ciphertext], weights: &[f64]) -> Result<(), SlotsError> {
        self.evaluator.accumulate(sums, xs, weights)
    }

    fn finish(&self, sums: Sums) -> Result<Vec<Ciphertext>, SlotsError> {
        let most = self.bounds.at(sums.level());
        let outputs = self.evaluator.finish(sums, Some(most))?;
        Ok(outputs.into_iter().map(|x| self.capped(x)).collect())
    }
}
