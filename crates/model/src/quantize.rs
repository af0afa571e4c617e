//! From real numbers to integers: a float network, samples of its input, and the widths of activations and weights
//! give a [`Model`].
//!
//! Rescaling is by shifts only. With `s_x` the step of a layer's input and `s_y` that of the activation behind it,
//! the accumulator has the step `a = s_y 2^-f` and the weights `s_w = a / s_x`, where `f` is the largest shift for
//! which the weights fit: `max|w| / s_w <= 2^(weight_bits - 1) - 1`. Operands of a sum share the accumulator's step
//! up to whole shifts, so the narrow values that meet in sums and joins form groups with one step each (weighted
//! union-find). Ring widths follow from proven intervals, then from their readers.
//!
//! Nothing is trained, nothing is random: the same inputs give the same model.

mod calibrate;
mod emit;
mod hard_swish;
mod lower;
mod report;
mod scale;

use crate::exec::ExecError;
use crate::fixed::{GraphError, Model, Preprocess, Reveal};
use crate::float;
use crate::pass::{self, PassError};

pub use report::{LayerReport, report};

/// How to quantise.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Width of activations, 2..=12.
    pub activation_bits: u32,
    /// Width of weights including the sign, 2..=12.
    pub weight_bits: u32,
    /// What the client learns; where the float graph ends with a sigmoid, its logits are [`Reveal::Scores`].
    pub reveal: Reveal,
    /// How the ranges of activations are chosen.
    pub calibration: Calibration,
    /// Names of the outputs, possibly none.
    pub labels: Vec<String>,
    /// Name of the model; that of the float graph if empty.
    pub name: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            activation_bits: 8,
            weight_bits: 8,
            reveal: Reveal::Logits,
            calibration: Calibration::Max,
            labels: Vec::new(),
            name: String::new(),
        }
    }
}

/// Which magnitude of a sampled activation the largest integer stands for; larger ones saturate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Calibration {
    /// The largest.
    Max,
    /// The quantile (in (0, 1]) of all magnitudes of the value in all samples.
    Quantile(f64),
}

/// Why a network cannot be quantised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// An option out of its range.
    #[error("{0}")]
    Options(&'static str),
    /// No samples to calibrate with.
    #[error("no samples to calibrate with")]
    NoSamples,
    /// The graph cannot be brought into canonical form.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// A sample cannot be executed.
    #[error("calibration: {0}")]
    Exec(#[from] ExecError),
    /// An operation without an integer counterpart.
    #[error("layer `{node}`: {what}")]
    Unsupported {
        /// Name of the node.
        node: String,
        /// What is not supported.
        what: String,
    },
    /// A parameter or a sampled value that is infinite or not a number.
    #[error("layer `{node}` has parameters or values that are not finite")]
    NotFinite {
        /// Name of the node.
        node: String,
    },
    /// Steps that would have to agree by a power of two and cannot.
    #[error("layer `{node}`: the scales of the values that meet here cannot agree by shifts")]
    Scales {
        /// Name of the node.
        node: String,
    },
    /// A value that needs a ring above 32 bits.
    #[error(
        "layer `{node}` needs a ring of {bits} bits, the limit is 32: lower the activation or weight bits, or \
         calibrate with a quantile"
    )]
    Width {
        /// Name of the node.
        node: String,
        /// Bits that its proven interval needs.
        bits: u32,
    },
    /// The compiled graph, its pre-processing or its labels do not fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Compiles `graph`, calibrated with `samples` of its real input (`[c][h][w]`, after pre-processing).
///
/// # Errors
/// See [`QuantizeError`]; layers are named as in the float graph.
pub fn quantize(
    graph: &float::Graph,
    samples: &[Vec<f32>],
    preprocess: Preprocess,
    options: &Options,
) -> Result<Model, QuantizeError> {
    check(options)?;
    if samples.is_empty() {
        return Err(QuantizeError::NoSamples);
    }
    preprocess.validate(graph.nodes.first().map_or(&[], |input| &input.shape))?;
    let mut graph = pass::canonical(graph.clone())?;
    let mut ranges = calibrate::ranges(&graph, samples, &preprocess, options.calibration)?;
    let bounds: Vec<f64> = ranges.iter().map(|range| range.magnitude).collect();
    if pass::defer_scale::run(&mut graph, &bounds) {
        ranges = calibrate::ranges(&graph, samples, &preprocess, options.calibration)?;
    }
    let skeleton = lower::lower(&graph, ranges[0].lo >= 0.0)?;
    let scales = scale::solve(&skeleton, &ranges, options)?;
    let (fixed_graph, weights) = emit::emit(&skeleton, &scales, options, graph.head)?;
    let name = if options.name.is_empty() { graph.name.clone() } else { options.name.clone() };
    let model = Model { name, graph: fixed_graph, preprocess, labels: options.labels.clone(), weights };
    model.validate()?;
    Ok(model)
}

fn check(options: &Options) -> Result<(), QuantizeError> {
    if !(2..=12).contains(&options.activation_bits) || !(2..=12).contains(&options.weight_bits) {
        return Err(QuantizeError::Options("activations and weights have 2 to 12 bits"));
    }
    match options.calibration {
        Calibration::Quantile(q) if !(q > 0.0 && q <= 1.0) => {
            Err(QuantizeError::Options("the calibration quantile lies in (0, 1]"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
