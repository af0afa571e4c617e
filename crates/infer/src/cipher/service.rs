//! A network as a server holds it, ready for encrypted inputs.

use std::fmt;
use std::sync::Arc;

use phineus_he::slots::{Ciphertext, Factor, Requests, SlotsError, Summand};
use phineus_model::fixed::{self, Model, Reveal};

use super::cost::CostModel;
use super::keyring::ClientKeys;
use super::network::{Network, NetworkError};
use super::program::Weights;
use super::reach::InputForm;
use super::scheme::{Choices, PEAKS, Scheme, SchemeError};
use super::{batch, coefficients};

/// A model with its weights encoded for a scheme.
pub struct Service {
    scheme: Arc<Scheme>,
    weights: Weights<Factor, Summand>,
    gain: i32,
    network: Arc<Network>,
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
}

impl Service {
    /// Encodes the weights of a compiled model for the scheme of its public half. Values are scaled for the model's
    /// calibration and for these inputs, if there are any.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn new(model: &Model, samples: &[Vec<f64>], scheme: Arc<Scheme>) -> Result<Self, ServiceError> {
        let network = Network::compiled(model, samples, PEAKS)?;
        let (program, params) = (scheme.program(), scheme.params());
        let (gain, weights) = if model.graph.reveal == Reveal::ArgMax {
            let fold = |shape: &mut _, affine: &mut _| {
                coefficients::fold(shape, affine, program.output(), params);
            };
            let folded = Network::compiled_with(model, samples, PEAKS, fold)?;
            (folded.gain(), program.encode(params, folded.numbers())?)
        } else {
            (network.gain(), program.encode(params, network.numbers())?)
        };
        Ok(Self { scheme, weights, gain, network: Arc::new(network) })
    }

    /// Parameters, program and messages.
    #[must_use]
    pub fn scheme(&self) -> &Arc<Scheme> {
        &self.scheme
    }

    /// Results are 2^gain times the logits.
    #[must_use]
    pub fn gain(&self) -> i32 {
        self.gain
    }

    /// The network in the clear, scaled; what encryption computes but for its noise.
    #[must_use]
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// The logits of an input in the clear: what encryption computes but for its noise.
    #[must_use]
    pub fn clear(&self, input: &[f64]) -> Vec<f64> {
        let unit = f64::from(-self.network.gain()).exp2();
        self.network.evaluate(input).iter().map(|v| v * unit).collect()
    }

    /// The encrypted result; `lap` is called behind every map with its number.
    ///
    /// # Errors
    /// [`SlotsError`]: keys of another scheme.
    pub fn evaluate(
        &self,
        keys: &ClientKeys,
        requests: Requests,
        mut lap: impl FnMut(usize),
    ) -> Result<Vec<Ciphertext>, SlotsError> {
        let mut values = requests.into_ciphertexts(self.scheme.input())?;
        let program = self.scheme.program();
        for map in 0..program.maps().len() {
            values = program.step(&keys.evaluator, &self.weights, map, &values)?;
            lap(map);
        }
        Ok(values)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({} maps)", self.scheme.program().maps().len())
    }
}

/// What both parties derive from the public half of a model.
///
/// # Errors
/// As [`Service::new`].
pub fn scheme_of(graph: &fixed::Graph, form: InputForm, precision: u32) -> Result<Arc<Scheme>, ServiceError> {
    let shapes = Network::shapes_of(graph)?;
    let choices = choices(graph, form, precision);
    Ok(Arc::new(Scheme::new(&shapes, &choices, &CostModel::default())?))
}

/// The same for batches.
///
/// # Errors
/// As [`Service::new`].
pub fn batch_scheme_of(graph: &fixed::Graph, precision: u32) -> Result<Arc<batch::Scheme>, ServiceError> {
    let shapes = Network::shapes_of(graph)?;
    Ok(Arc::new(batch::Scheme::new(&shapes, &choices(graph, InputForm::Any, precision))?))
}

fn choices(graph: &fixed::Graph, form: InputForm, precision: u32) -> Choices {
    let input = graph.facts.first().map_or(1.0, |fact| fact.step * fact.lo.abs().max(fact.hi.abs()) as f64);
    Choices { form, precision, input, shares: graph.reveal == Reveal::ArgMax }
}
