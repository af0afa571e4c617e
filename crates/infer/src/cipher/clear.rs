//! The operations of a scheme with slots on numbers in the clear: what a program means, and what it costs.
//!
//! Every operation checks what the encrypted one would check and counts itself, with its level, so that the counts
//! that a planner promises are those of a run. Products are exact up to the rounding of 64-bit floats.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::evaluator::{Encoder, Evaluator, Giant, Term};

/// An evaluator without encryption.
#[derive(Debug)]
pub struct Clear {
    slots: usize,
    counts: Mutex<Counts>,
}

/// What an evaluation has used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Rotations by other than zero that share their decomposition, per level.
    pub hoisted: BTreeMap<usize, usize>,
    /// Decompositions that hoisted rotations share, per level.
    pub decompositions: BTreeMap<usize, usize>,
    /// Rotations on their own, per level.
    pub rotations: BTreeMap<usize, usize>,
    /// Squares, per level of their input.
    pub squares: BTreeMap<usize, usize>,
    /// Products with plaintexts, per level of their input.
    pub products: BTreeMap<usize, usize>,
    /// Products with numbers, per level of their input.
    pub scalars: BTreeMap<usize, usize>,
    /// Every rotation by its step and level.
    pub keys: BTreeSet<(usize, usize)>,
    /// The largest slot of a ciphertext of each level.
    pub largest: BTreeMap<usize, f64>,
}

impl Counts {
    /// Rotations and relinearisations.
    #[must_use]
    pub fn key_switches(&self) -> usize {
        [&self.hoisted, &self.rotations, &self.squares].into_iter().flat_map(BTreeMap::values).sum()
    }

    /// Products of a ciphertext and a plaintext.
    #[must_use]
    pub fn plain_products(&self) -> usize {
        self.products.values().sum()
    }
}

/// Sums met so far.
#[derive(Debug)]
pub struct ClearSums {
    rows: Vec<Vec<f64>>,
    level: usize,
}

/// A vector of slots with its level.
#[derive(Debug, Clone, PartialEq)]
pub struct ClearCipher {
    slots: Vec<f64>,
    level: usize,
}

/// A plaintext of a level.
#[derive(Debug, Clone, PartialEq)]
pub struct ClearPlain {
    slots: Vec<f64>,
    level: usize,
}

/// Why an operation would fail under encryption.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClearError {
    /// No product is left.
    #[error("a product at level 0")]
    Exhausted,
    /// Levels differ.
    #[error("operands of level {0} and {1}")]
    Levels(usize, usize),
    /// A vector has another length than there are slots.
    #[error("{found} slots where there are {expected}")]
    Slots {
        /// Slots of the evaluator.
        expected: usize,
        /// Slots of the vector.
        found: usize,
    },
    /// Nothing to add up, or weights that belong to another number of ciphertexts.
    #[error("the number of factors does not fit the number of ciphertexts")]
    Factors,
}

impl Clear {
    /// An evaluator of vectors of `slots` numbers.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self { slots, counts: Mutex::default() }
    }

    /// What all operations up to now have used.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counted().clone()
    }

    /// A vector of this level.
    ///
    /// # Errors
    /// A vector of another length.
    pub fn encrypt(&self, slots: &[f64], level: usize) -> Result<ClearCipher, ClearError> {
        self.check(slots)?;
        Ok(self.note(slots.to_vec(), level))
    }

    /// The vector.
    #[must_use]
    pub fn decrypt(&self, x: &ClearCipher) -> Vec<f64> {
        x.slots.clone()
    }

    fn counted(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, slots: &[f64]) -> Result<(), ClearError> {
        let (expected, found) = (self.slots, slots.len());
        if expected == found { Ok(()) } else { Err(ClearError::Slots { expected, found }) }
    }

    fn note(&self, slots: Vec<f64>, level: usize) -> ClearCipher {
        let most = slots.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        let mut counts = self.counted();
        let largest = counts.largest.entry(level).or_default();
        *largest = largest.max(most);
        ClearCipher { slots, level }
    }
}

fn same(a: usize, b: usize) -> Result<(), ClearError> {
    if a == b { Ok(()) } else { Err(ClearError::Levels(a, b)) }
}

fn lower(level: usize) -> Result<usize, ClearError> {
    level.checked_sub(1).ok_or(ClearError::Exhausted)
}

impl Encoder for Clear {
    type Factor = ClearPlain;
    type Summand = ClearPlain;
    type Error = ClearError;

    fn slots(&self) -> usize {
        self.slots
    }

    fn factor(&self, values: &[f64], level: usize) -> Result<ClearPlain, ClearError> {
        self.check(values)?;
        lower(level)?;
        Ok(ClearPlain { slots: values.to_vec(), level })
    }

    fn summand(&self, values: &[f64], level: usize) -> Result<ClearPlain, ClearError> {
        self.check(values)?;
        Ok(ClearPlain { slots: values.to_vec(), level })
    }
}

impl Evaluator for Clear {
    type Cipher = ClearCipher;
    type Sums = ClearSums;

    fn level(&self, x: &ClearCipher) -> usize {
        x.level
    }

    fn add_summand(&self, x: &mut ClearCipher, y: &ClearPlain) -> Result<(), ClearError> {
        same(x.level, y.level)?;
        let sum = x.slots.iter().zip(&y.slots).map(|(a, b)| a + b).collect();
        *x = self.note(sum, x.level);
        Ok(())
    }

    fn add_number(&self, x: &mut ClearCipher, number: f64) -> Result<(), ClearError> {
        *x = self.note(x.slots.iter().map(|v| v + number).collect(), x.level);
        Ok(())
    }

    fn linear(
        &self,
        xs: &[ClearCipher],
        giants: &[Giant<'_, ClearPlain>],
        folds: &[usize],
    ) -> Result<ClearCipher, ClearError> {
        let level = xs.first().ok_or(ClearError::Factors)?.level;
        let below = lower(level)?;
        xs.iter().try_for_each(|x| same(level, x.level))?;
        let mut outcome = vec![0.0; self.slots];
        let mut babies = BTreeSet::new();
        let (mut products, mut turns) = (0, 0);
        for Giant { step, terms } in giants {
            let mut sum = vec![0.0; self.slots];
            for Term { input, step, plain } in terms {
                let x = xs.get(*input).ok_or(ClearError::Factors)?;
                same(level, plain.level)?;
                babies.insert((*input, *step));
                for (s, sum) in sum.iter_mut().enumerate() {
                    *sum += x.slots[(s + step) % self.slots] * plain.slots[s];
                }
            }
            products += terms.len();
            turns += usize::from(*step != 0);
            for (s, outcome) in outcome.iter_mut().enumerate() {
                *outcome += sum[(s + step) % self.slots];
            }
        }
        for fold in folds {
            let turned: Vec<f64> = outcome.iter().cycle().skip(*fold).take(self.slots).copied().collect();
            outcome.iter_mut().zip(turned).for_each(|(sum, x)| *sum += x);
        }
        if products == 0 {
            return Err(ClearError::Factors);
        }
        babies.retain(|&(_, step)| step != 0);
        let inputs: BTreeSet<usize> = babies.iter().map(|&(input, _)| input).collect();
        let mut counts = self.counted();
        let steps = babies
            .iter()
            .map(|&(_, step)| step)
            .chain(giants.iter().map(|g| g.step))
            .chain(folds.iter().copied());
        counts.keys.extend(steps.filter(|&step| step != 0).map(|step| (step, level)));
        *counts.hoisted.entry(level).or_default() += babies.len();
        *counts.decompositions.entry(level).or_default() += inputs.len();
        *counts.rotations.entry(level).or_default() += turns + folds.len();
        *counts.products.entry(level).or_default() += products;
        drop(counts);
        Ok(self.note(outcome, below))
    }

    fn square(&self, x: &ClearCipher) -> Result<ClearCipher, ClearError> {
        let below = lower(x.level)?;
        *self.counted().squares.entry(x.level).or_default() += 1;
        Ok(self.note(x.slots.iter().map(|v| v * v).collect(), below))
    }

    fn sums(&self, count: usize, level: usize) -> Result<ClearSums, ClearError> {
        lower(level)?;
        Ok(ClearSums { rows: vec![vec![0.0; self.slots]; count], level })
    }

    fn accumulate(
        &self,
        sums: &mut ClearSums,
        xs: &[&ClearCipher],
        weights: &[f64],
    ) -> Result<(), ClearError> {
        if weights.len() != sums.rows.len() * xs.len() || xs.is_empty() {
            return Err(ClearError::Factors);
        }
        xs.iter().try_for_each(|x| same(sums.level, x.level))?;
        for (sum, row) in sums.rows.iter_mut().zip(weights.chunks_exact(xs.len())) {
            for (x, w) in xs.iter().zip(row) {
                sum.iter_mut().zip(&x.slots).for_each(|(sum, x)| *sum += w * x);
            }
        }
        *self.counted().scalars.entry(sums.level).or_default() += weights.len();
        Ok(())
    }

    fn finish(&self, sums: ClearSums) -> Result<Vec<ClearCipher>, ClearError> {
        let below = lower(sums.level)?;
        Ok(sums.rows.into_iter().map(|row| self.note(row, below)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotations_turn_to_the_left_and_are_counted() {
        let clear = Clear::new(4);
        let x = clear.encrypt(&[1.0, 2.0, 3.0, 4.0], 2).unwrap();
        let p = clear.factor(&[1.0, 0.0, -1.0, 2.0], 2).unwrap();
        let terms = [0, 3].map(|step| Term { input: 0, step, plain: &p }).to_vec();
        let xs = std::slice::from_ref(&x);
        let y = clear.linear(xs, &[Giant { step: 0, terms: terms.clone() }], &[]).unwrap();
        assert_eq!((clear.decrypt(&y), clear.level(&y)), (vec![5.0, 0.0, -5.0, 14.0], 1));
        let turned = clear.linear(xs, &[Giant { step: 2, terms: terms.clone() }], &[]).unwrap();
        assert_eq!(clear.decrypt(&turned), [-5.0, 14.0, 5.0, 0.0]);
        let folded = clear.linear(xs, &[Giant { step: 0, terms }], &[1]).unwrap();
        assert_eq!(clear.decrypt(&folded), [5.0, -5.0, 9.0, 19.0]);
        let z = clear.square(&y).unwrap();
        assert_eq!((clear.decrypt(&z), clear.level(&z)), (vec![25.0, 0.0, 25.0, 196.0], 0));
        let counts = clear.counts();
        assert_eq!((counts.key_switches(), counts.plain_products()), (6, 6));
        assert_eq!(counts.keys, BTreeSet::from([(1, 2), (2, 2), (3, 2)]));
        assert_eq!(counts.largest[&0], 196.0);
    }

    #[test]
    fn combines_ciphertexts_slot_by_slot() {
        let clear = Clear::new(2);
        let x = clear.encrypt(&[1.0, 2.0], 1).unwrap();
        let y = clear.encrypt(&[10.0, 20.0], 1).unwrap();
        let mut sums = clear.sums(2, 1).unwrap();
        clear.accumulate(&mut sums, &[&x], &[1.0, -1.0]).unwrap();
        clear.accumulate(&mut sums, &[&y], &[2.0, 0.5]).unwrap();
        assert_eq!(clear.accumulate(&mut sums, &[&x, &y], &[1.0]), Err(ClearError::Factors));
        let rows = clear.finish(sums).unwrap();
        assert_eq!(rows.iter().map(|r| clear.decrypt(r)).collect::<Vec<_>>(), [[21.0, 42.0], [4.0, 8.0]]);
        assert_eq!(clear.counts().scalars[&1], 4);
    }

    #[test]
    fn refuses_what_encryption_refuses() {
        let clear = Clear::new(2);
        let (x, y) = (clear.encrypt(&[1.0, 2.0], 1).unwrap(), clear.encrypt(&[1.0, 2.0], 0).unwrap());
        let summand = clear.summand(&[1.0, 2.0], 0).unwrap();
        assert_eq!(clear.add_summand(&mut x.clone(), &summand), Err(ClearError::Levels(1, 0)));
        assert_eq!(clear.square(&y), Err(ClearError::Exhausted));
        assert_eq!(clear.factor(&[1.0, 2.0], 0), Err(ClearError::Exhausted));
        assert_eq!(clear.summand(&[1.0], 0), Err(ClearError::Slots { expected: 2, found: 1 }));
        assert_eq!(clear.linear(&[x], &[], &[]), Err(ClearError::Factors));
    }
}
