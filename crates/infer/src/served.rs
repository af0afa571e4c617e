//! A model as the server holds it: plan, weights, and the weights in the forms that the protocols multiply by.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use phineus_he::{Eval, Poly};
use phineus_model::fixed::{Model, Op};
use phineus_model::graph::NodeId;
use phineus_model::phn::Public;
use phineus_model::reference;
use rayon::prelude::*;
use thiserror::Error;

use crate::cipher::{Keyring, Service};
use crate::clear::{self, Way};
use crate::metrics::Metrics;
use crate::plan::{LinearLayer, NotOffered, Offer, Options, Plan, PlanError, Wishes};
use crate::protocol::linear_he::{self, Keys};

/// One model, ready to serve under one plan.
pub struct Served {
    model: Arc<Model>,
    plan: Arc<Plan>,
    /// Per linear layer and group, for the online product.
    packed: Arc<Vec<clear::Weights>>,
    /// Per linear layer, transformed for the encrypted product; empty where the cache had no room.
    transformed: Arc<Vec<Vec<Poly<Eval>>>>,
    cache_bytes: usize,
    /// Where the network is evaluated under encryption, instead of the two above.
    service: Option<Arc<Service>>,
    /// What values under encryption are scaled for.
    inputs: Arc<[Vec<f64>]>,
}

impl Served {
    /// Plans a model and prepares its weights; at most `cache_bytes` of memory go into transformed weights, the
    /// rest is transformed again for every pre-compute.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn new(model: Model, options: &Options, cache_bytes: usize) -> Result<Self, PlanError> {
        Self::with_inputs(model, options, cache_bytes, &[])
    }

    /// As [`Served::new`]; under encryption, values are scaled for these inputs, real numbers, besides the model's own
    /// calibration.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn with_inputs(
        model: Model,
        options: &Options,
        cache_bytes: usize,
        inputs: &[Vec<f64>],
    ) -> Result<Self, PlanError> {
        model.validate()?;
        let plan = Arc::new(Plan::new(Public::of(&model), options)?);
        let mut served = Self {
            model: Arc::new(model),
            plan,
            packed: Arc::default(),
            transformed: Arc::default(),
            cache_bytes,
            service: None,
            inputs: inputs.into(),
        };
        served.weigh()?;
        Ok(served)
    }

    /// The same model under the plan of other options; what does not depend on them is shared.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn replanned(&self, options: &Options) -> Result<Self, PlanError> {
        let plan = Arc::new(Plan::new(Public::of(&self.model), options)?);
        let both = [&plan, &self.plan];
        let same = both.iter().all(|plan| plan.encrypted().is_none())
            && plan.linear_digest(plan.linear()) == self.plan.linear_digest(self.plan.linear());
        // Another engine's rings may be wider than those that the weights are laid out for.
        let packed = if ways(&plan).eq(ways(&self.plan)) { self.packed.clone() } else { Arc::default() };
        let mut served = Self {
            model: self.model.clone(),
            plan,
            packed,
            transformed: if same { self.transformed.clone() } else { Arc::default() },
            cache_bytes: self.cache_bytes,
            service: None,
            inputs: self.inputs.clone(),
        };
        served.weigh()?;
        Ok(served)
    }

    /// Brings the weights into the forms that the plan multiplies by, where they are not.
    fn weigh(&mut self) -> Result<(), PlanError> {
        let Self { model, plan, .. } = &*self;
        if let Some(encrypted) = plan.encrypted() {
            let service = Service::new(model, &self.inputs, encrypted.scheme().clone())?;
            self.service = Some(Arc::new(service));
            (self.packed, self.transformed) = Default::default();
            return Ok(());
        }
        let layers = plan.linear().layers();
        if self.packed.len() != layers.len() {
            self.packed = Arc::new(pack(model, plan));
        }
        if self.transformed.len() != self.plan.linear().layers().len() {
            self.transformed = Arc::new(transform(&self.model, &self.plan, self.cache_bytes));
        }
        Ok(())
    }

    /// The weights as they are multiplied under encryption, where the plan does that.
    #[must_use]
    pub fn service(&self) -> Option<&Service> {
        self.service.as_deref()
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
        reference::add_bias(&self.model.weights[layer.weights].bias, &mut sum);
        self.packed[layer.index].multiply(&layer.conv, x, &mut sum);
        let bits = u32::MAX >> (32 - layer.bits);
        sum.iter_mut().for_each(|word| *word &= bits);
        sum
    }

    /// Adds the constants of a bias to the server's share of `node`; nothing to that of any other node.
    pub(crate) fn add_bias(&self, node: NodeId, share: &mut [u32]) {
        let graph = &self.model.graph;
        if let Op::Bias { weights, .. } = graph.nodes[node].op {
            reference::add_bias(&self.model.weights[weights].bias, share);
            // The plan may have widened the ring.
            let mask = self.plan.public().graph.facts[node].mask();
            share.iter_mut().for_each(|word| *word &= mask);
        }
    }

    /// The weights of a layer.
    pub(crate) fn weights(&self, layer: &LinearLayer) -> &[i32] {
        &self.model.weights[layer.weights].weights
    }

    /// A weight polynomial in the domain of products, if it is kept there.
    pub(crate) fn kept_weights(&self, layer: &LinearLayer, index: usize) -> Option<&Poly<Eval>> {
        // The packings of single inferences are kept; a stack transforms each polynomial once anyway.
        self.transformed[layer.index].get(index).filter(|_| layer.stack.count() == 1)
    }
}

/// How the linear layers of a plan are multiplied in the clear.
fn ways(plan: &Plan) -> impl Iterator<Item = Way> {
    plan.linear().layers().iter().map(|layer| Way::best(&layer.conv, layer.bits))
}

/// The weights of all linear layers, laid out for the ways of a plan.
fn pack(model: &Model, plan: &Plan) -> Vec<clear::Weights> {
    let layers = plan.linear().layers().iter().zip(ways(plan));
    layers
        .map(|(layer, way)| clear::Weights::of(way, &layer.conv, &model.weights[layer.weights].weights))
        .collect()
}

fn transform(model: &Model, plan: &Plan, cache_bytes: usize) -> Vec<Vec<Poly<Eval>>> {
    let mut room = cache_bytes;
    let one_layer = |layer: &LinearLayer| {
        let params = &plan.rings()[layer.ring];
        let bytes = layer.packing.weight_polys() * params.degree() * params.limbs() * 8;
        // Eight polynomials by one transform cost less than fetching them from memory.
        if bytes > room || layer.packing.octets() {
            return Vec::new();
        }
        room -= bytes;
        let weights = &model.weights[layer.weights].weights;
        let one = |index| linear_he::respond::transform(layer, params, index, weights);
        (0..layer.packing.weight_polys()).into_par_iter().map(one).collect()
    };
    plan.linear().layers().iter().map(one_layer).collect()
}

/// The models of one server, by name, under every plan that its clients have asked for.
#[derive(Default)]
pub struct Catalogue {
    offer: Offer,
    keyring: Keyring,
    models: BTreeMap<String, Plans>,
    metrics: Metrics,
    keys: Keys,
}

/// A model under several plans. There are at most as many as the offer has combinations.
struct Plans {
    first: Arc<Served>,
    others: Mutex<Vec<Arc<Served>>>,
}

/// Why a model cannot join a catalogue, or is not in it.
#[derive(Debug, Error)]
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
    /// A client has a wish that is not served.
    #[error(transparent)]
    NotOffered(#[from] NotOffered),
    /// The model has no plan for what a client wishes.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl Catalogue {
    /// An empty one, of a server that offers its clients a choice.
    #[must_use]
    pub fn new(offer: Offer) -> Self {
        Self { offer, ..Self::default() }
    }

    /// The same with a place for the evaluation keys of its clients.
    #[must_use]
    pub fn with_keyring(self, keyring: Keyring) -> Self {
        Self { keyring, ..self }
    }

    /// The evaluation keys of its clients.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Of clients of earlier sessions.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What its clients can choose from.
    #[must_use]
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// What its sessions count.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Every model under every plan that its clients have asked for.
    #[must_use]
    pub fn plans(&self) -> Vec<Arc<Served>> {
        self.models.values().flat_map(Plans::all).collect()
    }

    /// Adds a model under its own name.
    ///
    /// # Errors
    /// [`CatalogueError::Duplicate`].
    pub fn add(&mut self, served: Served) -> Result<(), CatalogueError> {
        let name = served.model.name.clone();
        let plans = Plans { first: Arc::new(served), others: Mutex::default() };
        match self.models.insert(name.clone(), plans) {
            None => Ok(()),
            Some(_) => Err(CatalogueError::Duplicate(name)),
        }
    }

    /// The model of a name, under a plan that fulfils all wishes; no name means the only model. A plan that nobody has
    /// asked for before is derived now.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn find(&self, name: &str, wishes: &Wishes) -> Result<Arc<Served>, CatalogueError> {
        let only = if name.is_empty() && self.models.len() == 1 { self.models.values().next() } else { None };
        let plans = only.or_else(|| self.models.get(name)).ok_or_else(|| CatalogueError::Unknown {
            wanted: name.to_owned(),
            served: self.models.keys().cloned().collect::<Vec<_>>().join(", "),
        })?;
        plans.find(&self.offer.answer(wishes)?)
    }
}

impl Plans {
    fn all(&self) -> Vec<Arc<Served>> {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(&self.first).chain(&*others).cloned().collect()
    }

    fn find(&self, options: &Options) -> Result<Arc<Served>, CatalogueError> {
        if self.first.plan.options() == options {
            return Ok(self.first.clone());
        }
        // Held while a plan is derived, so that nobody derives it twice.
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(served) = others.iter().find(|served| served.plan.options() == options) {
            return Ok(served.clone());
        }
        let served = Arc::new(self.first.replanned(options)?);
        others.push(served.clone());
        Ok(served)
    }
}
