//! A network as a list of operations on encrypted slots.
//!
//! A program follows from the public shape of the network alone; the weights enter as encoded plaintexts
//! ([`Weights`]) on the server's side only. The client needs the layouts of input and output and the rotations for
//! which it makes keys.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::cost::{CostModel, Steps};
use super::diagonal::{Diagonals, Product};
use super::evaluator::{Encoder, Evaluator, Giant, Term};
use super::layout::Layout;

/// A network on slots: linear maps with a square between any two.
#[derive(Debug, Clone)]
pub struct Program {
    input: Layout,
    maps: Vec<Diagonals>,
}

/// The encoded weights of a program.
pub struct Weights<F, S> {
    maps: Vec<MapWeights<F, S>>,
}

struct MapWeights<F, S> {
    /// As [`Diagonals::products`].
    factors: Vec<F>,
    /// Per ciphertext of the output.
    summands: Vec<S>,
}

/// The numbers of one linear map.
#[derive(Debug, Clone, PartialEq)]
pub struct Affine {
    /// In the order of the [`Shape`](super::map::Shape).
    pub weights: Vec<f32>,
    /// By which all weights are multiplied.
    pub scale: f64,
    /// Per output.
    pub bias: Vec<f64>,
}

impl Program {
    /// The maps one after the other with squares between; each takes the layout that the one before leaves.
    #[must_use]
    pub(super) fn new(input: Layout, maps: Vec<Diagonals>) -> Self {
        Self { input, maps }
    }

    /// Layout in which the client encrypts.
    #[must_use]
    pub fn input(&self) -> &Layout {
        &self.input
    }

    /// Layout of the result.
    #[must_use]
    pub fn output(&self) -> &Layout {
        self.maps.last().map_or(&self.input, Diagonals::output)
    }

    /// The linear maps.
    #[must_use]
    pub fn maps(&self) -> &[Diagonals] {
        &self.maps
    }

    /// Levels that a fresh ciphertext needs.
    #[must_use]
    pub fn depth(&self) -> usize {
        (2 * self.maps.len()).saturating_sub(1)
    }

    /// Level at which a map takes its input.
    #[must_use]
    pub fn level(&self, map: usize) -> usize {
        self.depth().saturating_sub(2 * map)
    }

    /// The steps for which there have to be keys, each with the highest level at which it is used.
    #[must_use]
    pub fn rotations(&self) -> BTreeMap<usize, usize> {
        let mut keys = BTreeMap::new();
        for (index, map) in self.maps.iter().enumerate() {
            let level = self.level(index);
            let steps = map.babies.iter().chain(&map.giants).chain(&map.folds);
            for &step in steps.filter(|&&step| step != 0) {
                let highest = keys.entry(step).or_insert(level);
                *highest = level.max(*highest);
            }
        }
        keys
    }

    /// The highest level at which a square is relinearised.
    #[must_use]
    pub fn relinearisation(&self) -> Option<usize> {
        (self.maps.len() > 1).then(|| self.level(0).saturating_sub(1))
    }

    /// Rotations and relinearisations of a run.
    #[must_use]
    pub fn switches(&self) -> usize {
        let squares: usize = self.maps.iter().rev().skip(1).map(|map| map.output().ciphers()).sum();
        self.maps.iter().map(|map| Steps::of(map).switches()).sum::<usize>() + squares
    }

    /// Products with plaintexts of a run.
    #[must_use]
    pub fn products(&self) -> usize {
        self.maps.iter().map(|map| map.products.len()).sum()
    }

    /// What a run costs, in microseconds of a model.
    #[must_use]
    pub fn price(&self, costs: &CostModel) -> f64 {
        let slots = self.input.slots();
        let map = |(index, map): (usize, &Diagonals)| {
            let level = self.level(index);
            let square = if level > 1 { costs.switch(slots, level - 1) } else { 0.0 };
            costs.linear(slots, level, Steps::of(map)) + square * map.output().ciphers() as f64
        };
        self.maps.iter().enumerate().map(map).sum::<f64>()
            + costs.upload(slots, self.depth(), self.input.ciphers())
    }

    /// Encodes the numbers of all maps, map by map.
    ///
    /// # Errors
    /// Numbers that do not fit the scheme.
    ///
    /// # Panics
    /// Numbers of other maps than those of the program.
    pub fn encode<E>(
        &self,
        encoder: &E,
        numbers: &[Affine],
    ) -> Result<Weights<E::Factor, E::Summand>, E::Error>
    where
        E: Encoder<Factor: Send, Error: Send> + Sync,
    {
        assert_eq!(numbers.len(), self.maps.len(), "number of maps");
        let maps = self.maps.iter().zip(numbers).enumerate().map(|(index, (map, numbers))| {
            let level = self.level(index);
            let factor = |&product: &Product| {
                encoder.factor(&map.plaintext(product, &numbers.weights, numbers.scale), level)
            };
            let factors = map.products.par_iter().map(factor).collect::<Result<_, _>>()?;
            let biases = map.output().place(&numbers.bias);
            let summand = |bias: &Vec<f64>| encoder.summand(bias, level.saturating_sub(1));
            let summands = biases.iter().map(summand).collect::<Result<_, _>>()?;
            Ok(MapWeights { factors, summands })
        });
        Ok(Weights { maps: maps.collect::<Result<_, _>>()? })
    }

    /// The network on ciphertexts in the layout of the input; the outcome has the layout of the output.
    ///
    /// # Errors
    /// A missing key, ciphertexts of another level.
    pub fn run<E: Evaluator>(
        &self,
        evaluator: &E,
        weights: &Weights<E::Factor, E::Summand>,
        inputs: Vec<E::Cipher>,
    ) -> Result<Vec<E::Cipher>, E::Error> {
        let mut values = inputs;
        for index in 0..self.maps.len() {
            values = self.step(evaluator, weights, index, &values)?;
        }
        Ok(values)
    }

    /// One map of the network with the square before it, if there is one.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn step<E: Evaluator>(
        &self,
        evaluator: &E,
        weights: &Weights<E::Factor, E::Summand>,
        index: usize,
        inputs: &[E::Cipher],
    ) -> Result<Vec<E::Cipher>, E::Error> {
        let (map, weights) = (&self.maps[index], &weights.maps[index]);
        if index == 0 {
            return map_slots(evaluator, map, weights, inputs);
        }
        let squares = inputs.iter().map(|x| evaluator.square(x)).collect::<Result<Vec<_>, _>>()?;
        map_slots(evaluator, map, weights, &squares)
    }
}

/// One linear map with its bias.
fn map_slots<E: Evaluator>(
    evaluator: &E,
    map: &Diagonals,
    weights: &MapWeights<E::Factor, E::Summand>,
    inputs: &[E::Cipher],
) -> Result<Vec<E::Cipher>, E::Error> {
    let products: Vec<_> = map.products.iter().zip(&weights.factors).collect();
    let outputs = products.chunk_by(|a, b| a.0.output == b.0.output);
    let mut sums = Vec::with_capacity(map.output().ciphers());
    for (products, bias) in outputs.zip(&weights.summands) {
        let giants: Vec<Giant<'_, E::Factor>> = products
            .chunk_by(|a, b| a.0.giant == b.0.giant)
            .map(|terms| Giant {
                step: map.giants[terms[0].0.giant as usize],
                terms: terms
                    .iter()
                    .map(|&(product, plain)| Term {
                        input: product.input as usize,
                        step: map.babies[product.baby as usize],
                        plain,
                    })
                    .collect(),
            })
            .collect();
        let mut sum = evaluator.linear(inputs, &giants, &map.folds)?;
        evaluator.add_summand(&mut sum, bias)?;
        sums.push(sum);
    }
    Ok(sums)
}
