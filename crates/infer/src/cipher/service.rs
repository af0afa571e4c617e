//! A network as a server holds it, ready for encrypted inputs.

use std::fmt;
use std::sync::Arc;

use phineus_he::slots::{Ciphertext, Factor, Reply, Requests, SlotsError, Summand};
use phineus_model::fixed::{self, Model, Reveal};
use phineus_model::phn::Public;
use rand::CryptoRng;

use super::cost::CostModel;
use super::keyring::ClientKeys;
use super::network::{Network, NetworkError};
use super::program::Weights;
use super::reach::InputForm;
use super::scheme::{Choices, PEAKS, Scheme, SchemeError};

/// The public half with its encoded weights.
pub struct Service {
    public: Public,
    choices: Choices,
    scheme: Scheme,
    weights: Weights<Factor, Summand>,
    network: Network,
}

/// Why a model is not evaluated under encryption.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// It is no chain of linear layers and squares.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// There are no parameters for it.
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    /// Its numbers do not fit the parameters.
    #[error(transparent)]
    Slots(#[from] SlotsError),
    /// It reveals less than this engine can.
    #[error(
        "the model reveals its arg-max only, which is not computed under encryption: compile it with logits"
    )]
    Reveal,
}

impl Service {
    /// Derives the scheme of a compiled model and encodes its weights. Values are scaled for the model's calibration and
    /// for these inputs, if there are any.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn new(
        model: &Model,
        samples: &[Vec<f64>],
        form: InputForm,
        precision: u32,
    ) -> Result<Self, ServiceError> {
        let network = Network::compiled(model, samples, PEAKS)?;
        let public = Public::of(model);
        let choices = choices(&public.graph, form, precision)?;
        let scheme = Scheme::new(network.shapes(), &choices, &CostModel::default())?;
        let weights = scheme.program().encode(scheme.params(), network.numbers())?;
        Ok(Self { public, choices, scheme, weights, network })
    }

    /// What the client may see of the model.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// What the scheme was derived with.
    #[must_use]
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// Parameters, program and messages.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The network in the clear: what encryption computes but for its noise.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The answer to encrypted inputs: one reply per ciphertext of the output.
    ///
    /// # Errors
    /// [`SlotsError`]: keys of another scheme.
    pub fn answer(
        &self,
        keys: &ClientKeys,
        requests: Requests,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<Reply>, SlotsError> {
        let results = self.evaluate(keys, requests)?;
        let scheme = keys.evaluator.scheme();
        results.iter().map(|result| scheme.reply(result, &keys.public, self.scheme.reply(), rng)).collect()
    }

    /// The encrypted result.
    ///
    /// # Errors
    /// As [`Service::answer`].
    pub fn evaluate(&self, keys: &ClientKeys, requests: Requests) -> Result<Vec<Ciphertext>, SlotsError> {
        let inputs = requests.into_ciphertexts(self.scheme.input())?;
        self.scheme.program().run(&keys.evaluator, &self.weights, inputs)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("name", &self.public.name).finish_non_exhaustive()
    }
}

/// What a client derives from the public half: the same scheme.
///
/// # Errors
/// As [`Service::new`].
pub fn scheme_of(public: &Public, form: InputForm, precision: u32) -> Result<Arc<Scheme>, ServiceError> {
    let shapes = Network::shapes_of(&public.graph)?;
    let choices = choices(&public.graph, form, precision)?;
    Ok(Arc::new(Scheme::new(&shapes, &choices, &CostModel::default())?))
}

fn choices(graph: &fixed::Graph, form: InputForm, precision: u32) -> Result<Choices, ServiceError> {
    if graph.reveal == Reveal::ArgMax {
        return Err(ServiceError::Reveal);
    }
    let input = graph.facts.first().map_or(1.0, |fact| fact.step * fact.lo.abs().max(fact.hi.abs()) as f64);
    Ok(Choices { form, precision, input })
}
