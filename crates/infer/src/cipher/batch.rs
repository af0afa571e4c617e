//! Many inputs at once: one ciphertext per element, one input per slot (CryptoNets: Gilad-Bachrach et al., ICML
//! 2016, section 3.3).
//!
//! A linear map multiplies ciphertexts by numbers, a square is a square, nothing is rotated. What one ciphertext
//! costs is shared by as many inputs as it has slots; latency is that of a whole batch.
//!
//! Cost: one multiplication by a number per entry of every map, one relinearisation per square.

use std::collections::BTreeMap;

use super::evaluator::Evaluator;
use super::map::{Entries, Shape};
use super::program::Affine;

/// Outputs of a map that read the same inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

/// A network on batches.
#[derive(Debug, Clone)]
pub struct Batch {
    maps: Vec<(Entries, Vec<Group>)>,
}

impl Batch {
    /// Linear maps with a square between any two.
    #[must_use]
    pub fn new(shapes: &[Shape]) -> Self {
        let map = |shape: &Shape| {
            let entries = Entries::new(*shape);
            let groups = groups(&entries);
            (entries, groups)
        };
        Self { maps: shapes.iter().map(map).collect() }
    }

    /// Levels that fresh ciphertexts need.
    #[must_use]
    pub fn depth(&self) -> usize {
        (2 * self.maps.len()).saturating_sub(1)
    }

    /// Squares of a run, each with one relinearisation.
    #[must_use]
    pub fn squares(&self) -> usize {
        self.maps.iter().skip(1).map(|(entries, _)| entries.shape().inputs()).sum()
    }

    /// Ciphertexts of the elements of the input to those of the output, in order.
    ///
    /// # Errors
    /// A missing key, ciphertexts of another level.
    ///
    /// # Panics
    /// Numbers of other maps, or another number of ciphertexts than the network has inputs.
    pub fn run<E: Evaluator>(
        &self,
        evaluator: &E,
        numbers: &[Affine],
        inputs: Vec<E::Cipher>,
    ) -> Result<Vec<E::Cipher>, E::Error> {
        assert_eq!(numbers.len(), self.maps.len(), "number of maps");
        let mut values = inputs;
        for (index, numbers) in numbers.iter().enumerate() {
            values = self.step(evaluator, numbers, index, values)?;
        }
        Ok(values)
    }

    /// One map with the squares before it, if there are any.
    ///
    /// # Errors
    /// As [`Batch::run`].
    ///
    /// # Panics
    /// As [`Batch::run`].
    pub fn step<E: Evaluator>(
        &self,
        evaluator: &E,
        numbers: &Affine,
        index: usize,
        mut values: Vec<E::Cipher>,
    ) -> Result<Vec<E::Cipher>, E::Error> {
        let (entries, groups) = &self.maps[index];
        let shape = entries.shape();
        assert_eq!(values.len(), shape.inputs(), "number of ciphertexts");
        if index > 0 {
            for value in &mut values {
                *value = evaluator.square(value)?;
            }
        }
        let mut outputs: Vec<Option<E::Cipher>> = (0..shape.outputs()).map(|_| None).collect();
        for Group { inputs, outputs: rows } in groups {
            let xs: Vec<&E::Cipher> = inputs.iter().map(|&i| &values[i]).collect();
            let weight = |o: usize, i: usize| {
                entries.weight(o, i).map_or(0.0, |k| f64::from(numbers.weights[k]) * numbers.scale)
            };
            let weights: Vec<f64> =
                rows.iter().flat_map(|&o| inputs.iter().map(move |&i| weight(o, i))).collect();
            let mut sums = evaluator.sums(rows.len(), evaluator.level(xs[0]))?;
            evaluator.accumulate(&mut sums, &xs, &weights)?;
            for (&o, mut sum) in rows.iter().zip(evaluator.finish(sums)?) {
                let bias = vec![numbers.bias[o]; evaluator.slots()];
                let bias = evaluator.summand(&bias, evaluator.level(&sum))?;
                evaluator.add_summand(&mut sum, &bias)?;
                outputs[o] = Some(sum);
            }
        }
        Ok(outputs.into_iter().flatten().collect())
    }
}

/// The outputs of a map by the inputs that they read.
fn groups(entries: &Entries) -> Vec<Group> {
    let shape = entries.shape();
    if let Shape::Dense { inputs, outputs } = shape {
        return vec![Group { inputs: (0..*inputs).collect(), outputs: (0..*outputs).collect() }];
    }
    let mut groups: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
    for o in 0..shape.outputs() {
        let mut inputs: Vec<usize> = entries.row(o).map(|(i, _)| i).collect();
        inputs.sort_unstable();
        groups.entry(inputs).or_default().push(o);
    }
    groups.into_iter().map(|(inputs, outputs)| Group { inputs, outputs }).collect()
}
