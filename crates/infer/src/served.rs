//! A model as the server holds it: plan, weights, and the weights in the forms that the protocols multiply by.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use phineus_he::{Eval, Poly};
use phineus_kernel::gemm;
use phineus_model::fixed::Model;
use phineus_model::op;
use phineus_model::phn::Public;
use rayon::prelude::*;
use thiserror::Error;

use crate::plan::{LinearLayer, Plan, PlanError};
use crate::protocol::linear_he;

/// One model, ready to serve.
pub struct Served {
    model: Model,
    plan: Arc<Plan>,
    /// Per linear layer and group, for the online product.
    packed: Vec<Vec<gemm::Weights>>,
    /// Per linear layer, transformed for the encrypted product; empty where the cache had no room.
    transformed: Vec<Vec<Poly<Eval>>>,
}

impl Served {
    /// Plans a model and prepares its weights; at most `cache_bytes` of memory go into transformed weights, the
    /// rest is transformed again for every pre-compute.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn new(model: Model, cache_bytes: usize) -> Result<Self, PlanError> {
        model.validate()?;
        let plan = Arc::new(Plan::new(Public::of(&model))?);
        let packed = plan
            .linear()
            .layers()
            .iter()
            .map(|layer| pack(layer, &model.weights[layer.weights].weights))
            .collect();
        let mut room = cache_bytes;
        let transformed = plan
            .linear()
            .layers()
            .iter()
            .map(|layer| {
                let params = &plan.rings()[layer.ring];
                let bytes = layer.packing.weight_polys() * params.degree() * params.limbs() * 8;
                if bytes > room {
                    return Vec::new();
                }
                room -= bytes;
                let weights = &model.weights[layer.weights].weights;
                let one = |index| linear_he::respond::transform(layer, params, index, weights);
                (0..layer.packing.weight_polys()).into_par_iter().map(one).collect()
            })
            .collect();
        Ok(Self { model, plan, packed, transformed })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Its plan.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// `M x + mask + bias` modulo 2^l.
    pub(crate) fn linear(&self, layer: &LinearLayer, x: &[u32], mask: Vec<u32>) -> Vec<u32> {
        let mut sum = mask;
        let pixels: usize = layer.conv.output().iter().product();
        for (row, bias) in sum.chunks_mut(pixels).zip(&self.model.weights[layer.weights].bias) {
            row.iter_mut().for_each(|word| *word = word.wrapping_add(*bias as u32));
        }
        let groups = &self.packed[layer.index];
        let rows = sum.len() / groups.len();
        sum.par_chunks_mut(rows).zip(groups).enumerate().for_each(|(group, (sum, weights))| {
            let columns = op::im2col::run(&layer.conv, group, x);
            weights.multiply_parallel(pixels, &columns, sum);
        });
        let bits = u32::MAX >> (32 - layer.bits);
        sum.iter_mut().for_each(|word| *word &= bits);
        sum
    }

    /// A weight polynomial in the domain of products.
    pub(crate) fn weight_poly(&self, layer: &LinearLayer, index: usize) -> Cow<'_, Poly<Eval>> {
        // The cache holds the packings of single inferences; a stack transforms each polynomial once anyway.
        match self.transformed[layer.index].get(index).filter(|_| layer.stack.count() == 1) {
            Some(poly) => Cow::Borrowed(poly),
            None => {
                let params = &self.plan.rings()[layer.ring];
                let weights = &self.model.weights[layer.weights].weights;
                Cow::Owned(linear_he::respond::transform(layer, params, index, weights))
            }
        }
    }
}

fn pack(layer: &LinearLayer, weights: &[i32]) -> Vec<gemm::Weights> {
    let conv = &layer.conv;
    let (rows, columns) = (conv.out_channels / conv.groups, conv.weights_per_output());
    weights.chunks(rows * columns).map(|group| gemm::Weights::pack(rows, columns, group)).collect()
}

/// The models of one server, by name.
#[derive(Default)]
pub struct Catalogue(BTreeMap<String, Arc<Served>>);

/// Why a model cannot join a catalogue, or is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// Two models of one name.
    #[error("two models are called {0:?}")]
    Duplicate(String),
    /// A client asked for a model that is not served.
    #[error("no model {wanted:?}; served: {served}")]
    Unknown {
        /// What it asked for; empty where it left the choice to the server.
        wanted: String,
        /// The names there are.
        served: String,
    },
}

impl Catalogue {
    /// Adds a model under its own name.
    ///
    /// # Errors
    /// [`CatalogueError::Duplicate`].
    pub fn add(&mut self, served: Served) -> Result<(), CatalogueError> {
        let name = served.model.name.clone();
        match self.0.insert(name.clone(), Arc::new(served)) {
            None => Ok(()),
            Some(_) => Err(CatalogueError::Duplicate(name)),
        }
    }

    /// The model of a name; no name means the only model.
    ///
    /// # Errors
    /// [`CatalogueError::Unknown`].
    pub fn find(&self, name: &str) -> Result<&Arc<Served>, CatalogueError> {
        let only = if name.is_empty() && self.0.len() == 1 { self.0.values().next() } else { None };
        only.or_else(|| self.0.get(name)).ok_or_else(|| CatalogueError::Unknown {
            wanted: name.to_owned(),
            served: self.0.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }
}
