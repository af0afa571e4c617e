//! The evaluation of a batch while its ciphertexts arrive.
//!
//! Every map takes what the map before has finished. Outputs that read few inputs are computed as soon as the last of
//! these is there, and an input is dropped with its last reader; outputs that read all inputs are sums that grow with
//! every arrival. Groups of outputs, and shares of sums, go to all cores.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{Batch, Group, Map};
use crate::cipher::evaluator::Evaluator;
use crate::cipher::program::Affine;

/// A batch on its way.
pub struct Stream<C, S> {
    stages: Vec<Stage<C, S>>,
    /// Ciphertexts that have arrived.
    arrived: usize,
    outputs: BTreeMap<usize, C>,
}

/// What a map has met.
struct Stage<C, S> {
    /// Inputs that an output is still going to read.
    held: BTreeMap<usize, C>,
    /// Per input the groups that have not read it.
    wanted: Vec<usize>,
    /// Per group the inputs that have not arrived.
    missing: Vec<usize>,
    /// Sums of a dense map, in shares of its outputs.
    sums: Vec<S>,
}

/// Outputs of a share of sums, one share per core: every share reads all inputs. Kernels add four sums at once.
fn share(outputs: &[usize]) -> usize {
    outputs.len().div_ceil(rayon::current_num_threads()).next_multiple_of(4)
}

impl Batch {
    /// A batch of which nothing has arrived.
    #[must_use]
    pub fn start<C, S>(&self) -> Stream<C, S> {
        let stage = |map: &Map| Stage {
            held: BTreeMap::new(),
            wanted: map.readers.iter().map(Vec::len).collect(),
            missing: map.groups.iter().map(|group| group.inputs.len()).collect(),
            sums: Vec::new(),
        };
        Stream { stages: self.maps.iter().map(stage).collect(), arrived: 0, outputs: BTreeMap::new() }
    }

    /// Takes the next ciphertexts, in the order of [`Batch::order`], as far as they go.
    ///
    /// # Errors
    /// A missing key, ciphertexts of another level.
    ///
    /// # Panics
    /// Numbers of other maps, or more ciphertexts than the network reads.
    pub fn feed<E>(
        &self,
        evaluator: &E,
        numbers: &[Affine],
        stream: &mut Stream<E::Cipher, E::Sums>,
        ciphers: Vec<E::Cipher>,
    ) -> Result<(), E::Error>
    where
        E: Evaluator<Cipher: Send + Sync, Sums: Send, Error: Send> + Sync,
    {
        assert_eq!(numbers.len(), self.maps.len(), "number of maps");
        assert!(stream.arrived + ciphers.len() <= self.order.len(), "number of ciphertexts");
        let places = self.order[stream.arrived..].iter().copied();
        stream.arrived += ciphers.len();
        let mut values: Vec<(usize, E::Cipher)> = places.zip(ciphers).collect();
        for (index, ((map, numbers), stage)) in
            self.maps.iter().zip(numbers).zip(&mut stream.stages).enumerate()
        {
            if index > 0 {
                let square = |(i, x): (usize, E::Cipher)| Ok((i, evaluator.square(&x)?));
                values = values.into_par_iter().map(square).collect::<Result<_, _>>()?;
            }
            if values.is_empty() {
                return Ok(());
            }
            values = if map.is_dense() {
                map.grow(evaluator, numbers, stage, &values)?
            } else {
                map.fire(evaluator, numbers, stage, values)?
            };
        }
        stream.outputs.extend(values);
        Ok(())
    }

    /// The outputs in order, once all ciphertexts have arrived.
    #[must_use]
    pub fn outputs_of<C, S>(&self, stream: Stream<C, S>) -> Vec<C> {
        stream.outputs.into_values().collect()
    }
}

impl Map {
    /// Adds inputs to the sums of a dense map; its outputs after the last one.
    fn grow<E>(
        &self,
        evaluator: &E,
        numbers: &Affine,
        stage: &mut Stage<E::Cipher, E::Sums>,
        values: &[(usize, E::Cipher)],
    ) -> Result<Vec<(usize, E::Cipher)>, E::Error>
    where
        E: Evaluator<Cipher: Send + Sync, Sums: Send, Error: Send> + Sync,
    {
        let outputs = &self.groups[0].outputs;
        let share = share(outputs);
        if stage.sums.is_empty() {
            let level = evaluator.level(&values[0].1);
            let sums = outputs.chunks(share).map(|share| evaluator.sums(share.len(), level));
            stage.sums = sums.collect::<Result<_, _>>()?;
        }
        let (inputs, xs): (Vec<usize>, Vec<&E::Cipher>) = values.iter().map(|(i, x)| (*i, x)).unzip();
        let shares = stage.sums.par_iter_mut().zip(outputs.par_chunks(share));
        shares.try_for_each(|(sums, outputs)| {
            evaluator.accumulate(sums, &xs, &self.weights(numbers, outputs, &inputs))
        })?;
        stage.missing[0] -= values.len();
        if stage.missing[0] > 0 {
            return Ok(Vec::new());
        }
        let sums = std::mem::take(&mut stage.sums).into_par_iter().zip(outputs.par_chunks(share));
        let finished = sums.map(|(sums, outputs)| finish(evaluator, numbers, sums, outputs));
        Ok(finished.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// The outputs for which these inputs were the last ones missing.
    fn fire<E>(
        &self,
        evaluator: &E,
        numbers: &Affine,
        stage: &mut Stage<E::Cipher, E::Sums>,
        values: Vec<(usize, E::Cipher)>,
    ) -> Result<Vec<(usize, E::Cipher)>, E::Error>
    where
        E: Evaluator<Cipher: Send + Sync, Sums: Send, Error: Send> + Sync,
    {
        let mut ready: Vec<&Group> = Vec::new();
        for (i, x) in values {
            stage.held.insert(i, x);
            for &group in &self.readers[i] {
                stage.missing[group] -= 1;
                if stage.missing[group] == 0 {
                    ready.push(&self.groups[group]);
                }
            }
        }
        let held = &stage.held;
        let run = |group: &&Group| {
            let xs: Vec<&E::Cipher> = group.inputs.iter().filter_map(|i| held.get(i)).collect();
            let mut sums = evaluator.sums(group.outputs.len(), evaluator.level(xs[0]))?;
            let weights = self.weights(numbers, &group.outputs, &group.inputs);
            evaluator.accumulate(&mut sums, &xs, &weights)?;
            finish(evaluator, numbers, sums, &group.outputs)
        };
        let outputs = ready.par_iter().map(run).collect::<Result<Vec<_>, E::Error>>()?;
        for group in ready {
            for i in &group.inputs {
                stage.wanted[*i] -= 1;
                if stage.wanted[*i] == 0 {
                    stage.held.remove(i);
                }
            }
        }
        Ok(outputs.into_iter().flatten().collect())
    }

    /// `[outputs][inputs]`.
    fn weights(&self, numbers: &Affine, outputs: &[usize], inputs: &[usize]) -> Vec<f64> {
        let weight = |o: usize, i: usize| {
            self.entries.weight(o, i).map_or(0.0, |k| f64::from(numbers.weights[k]) * numbers.scale)
        };
        outputs.iter().flat_map(|&o| inputs.iter().map(move |&i| weight(o, i))).collect()
    }
}

/// Sums with their biases.
fn finish<E: Evaluator>(
    evaluator: &E,
    numbers: &Affine,
    sums: E::Sums,
    outputs: &[usize],
) -> Result<Vec<(usize, E::Cipher)>, E::Error> {
    let mut finished = evaluator.finish(sums)?;
    for (x, &o) in finished.iter_mut().zip(outputs) {
        evaluator.add_number(x, numbers.bias[o])?;
    }
    Ok(outputs.iter().copied().zip(finished).collect())
}
