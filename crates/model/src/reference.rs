//! What a compiled network means, executed in the clear: the oracle that every private engine equals bit for bit.
//!
//! A value of a node lives in the integers modulo `2^bits` of its fact. A node takes the signed representatives of
//! what it reads into its own ring and computes there: a linear layer sums products modulo `2^32` and drops the
//! bits above its ring; an activation takes the signed representative, the maximum over its window, rescales with
//! rounding half up and saturation, and evaluates its polynomial. Cost: one integer matrix product per linear layer
//! (convolutions are unrolled), exact, no floating point.
//!
//! [`stochastic`] is the other meaning that a private run may have: the same but for the rounding.

mod gemm;
pub mod stochastic;

use crate::fixed::{Act, Fact, GraphError, Model, Op, Reveal, Weights};
use crate::graph::{Conv, Node};
use crate::op;

/// Why an input has no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Wrong number of input values.
    #[error("the network takes {expected} input values, got {got}")]
    Length {
        /// Elements of the input tensor.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// An input value outside of the interval for which the rings are proven.
    #[error("input value {index} is {value}, outside of [{lo}, {hi}]")]
    Range {
        /// Its position.
        index: usize,
        /// The value.
        value: i32,
        /// Smallest allowed.
        lo: i64,
        /// Largest allowed.
        hi: i64,
    },
    /// The model itself is malformed.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// The revealed values: all outputs as signed integers (their unit is the output's step), or the one index of the
/// largest.
///
/// # Errors
/// For an input of the wrong length or out of range, and for a malformed model.
pub fn run(model: &Model, input: &[i32]) -> Result<Vec<i64>, ReferenceError> {
    let values = evaluate(model, input, false, &mut activation)?;
    Ok(revealed(model, &values))
}

/// Every node's value as words modulo `2^bits` of its fact, by node.
///
/// # Errors
/// As [`run`].
pub fn trace(model: &Model, input: &[i32]) -> Result<Vec<Vec<u32>>, ReferenceError> {
    evaluate(model, input, true, &mut activation)
}

/// What the client learns of a run with these values of all nodes.
fn revealed(model: &Model, values: &[Vec<u32>]) -> Vec<i64> {
    let (output, fact) = (&values[model.graph.output], &model.graph.facts[model.graph.output]);
    reveal(model.graph.reveal, output.iter().map(|word| fact.to_signed(*word).into()).collect())
}

/// What the client learns of the outputs; of equal largest outputs the lowest index.
#[must_use]
pub fn reveal(reveal: Reveal, outputs: Vec<i64>) -> Vec<i64> {
    match reveal {
        Reveal::Logits | Reveal::Scores => outputs,
        Reveal::ArgMax => {
            let best = (0..outputs.len()).reduce(|best, i| if outputs[i] > outputs[best] { i } else { best });
            vec![best.unwrap_or_default() as i64]
        }
    }
}

/// The value of one activation layer: `x` in the ring of `from`, `shape` its shape, the result in the ring of `to`.
#[must_use]
pub fn activation(act: &Act, shape: &[usize], x: &[u32], from: &Fact, to: &Fact) -> Vec<u32> {
    pooled(act, shape, x, from).into_iter().map(|v| act.apply(v.into()) as u32 & to.mask()).collect()
}

/// What an activation rescales: the signed values it reads, or their maxima.
fn pooled(act: &Act, shape: &[usize], x: &[u32], from: &Fact) -> Vec<i32> {
    let signed = signed(x, from);
    match (act.max_pool, shape) {
        (Some(window), &[c, h, w]) => op::pool::max(&signed, [c, h, w], &window),
        _ => signed,
    }
}

/// `weights * x + bias` modulo `2^32` for signed `x` (the shape of the convolution's input).
#[must_use]
pub fn linear(conv: &Conv, layer: &Weights, x: &[i32]) -> Vec<u32> {
    let [oh, ow] = conv.output();
    let (positions, taps) = (oh * ow, conv.weights_per_output());
    let rows = conv.out_channels / conv.groups;
    let mut y: Vec<i32> = layer.bias.iter().flat_map(|&bias| std::iter::repeat_n(bias, positions)).collect();
    for group in 0..conv.groups {
        let weights = &layer.weights[group * rows * taps..][..rows * taps];
        let out = &mut y[group * rows * positions..][..rows * positions];
        if positions == 1 && conv.input == [1, 1] && conv.kernel == [1, 1] {
            let channels = conv.in_channels / conv.groups;
            gemm::multiply_vector(weights, &x[group * channels..][..channels], out);
        } else {
            gemm::multiply(rows, taps, positions, weights, &op::im2col::run(conv, group, x), out);
        }
    }
    y.into_iter().map(|v| v as u32).collect()
}

/// One activation layer: as [`activation`].
type Activation<'f> = dyn FnMut(&Act, &[usize], &[u32], &Fact, &Fact) -> Vec<u32> + 'f;

fn evaluate(
    model: &Model,
    input: &[i32],
    keep: bool,
    activation: &mut Activation<'_>,
) -> Result<Vec<Vec<u32>>, ReferenceError> {
    model.validate_structure()?;
    let graph = &model.graph;
    check_input(input, &graph.nodes[0], &graph.facts[0])?;
    let mut last_use = vec![graph.nodes.len(); graph.nodes.len()];
    if !keep {
        for (id, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().filter(|&&used| used != graph.output).for_each(|&used| last_use[used] = id);
        }
    }
    let mask = graph.facts[0].mask();
    let mut values: Vec<Vec<u32>> = Vec::with_capacity(graph.nodes.len());
    values.push(input.iter().map(|&v| v as u32 & mask).collect());
    for (id, node) in graph.nodes.iter().enumerate().skip(1) {
        let value = node_value(model, id, &values, activation);
        values.push(value);
        for &used in &node.inputs {
            if last_use[used] == id {
                values[used] = Vec::new();
            }
        }
    }
    Ok(values)
}

/// The value of a node, not the input, from the values of those it reads.
fn node_value(model: &Model, id: usize, values: &[Vec<u32>], activation: &mut Activation<'_>) -> Vec<u32> {
    let Model { graph, weights: all_weights, .. } = model;
    let (node, fact) = (&graph.nodes[id], &graph.facts[id]);
    let read: Vec<&[u32]> = node.inputs.iter().map(|&i| &values[i][..]).collect();
    let (shape, from) = (&graph.nodes[node.inputs[0]].shape, &graph.facts[node.inputs[0]]);
    let mut value = match &node.op {
        Op::Linear { conv, weights, .. } => linear(conv, &all_weights[*weights], &signed(read[0], from)),
        Op::Act(act) => activation(act, shape, read[0], from, fact),
        Op::Product => op::product::run(read[0], read[1]),
        op @ Op::Bias { weights, .. } => {
            let mut value = additive(op, &read, shape);
            add_bias(&all_weights[*weights].bias, &mut value);
            value
        }
        op => additive(op, &read, shape),
    };
    // Rings only shrink outside of activations, so words modulo a wider power of two just lose bits.
    value.iter_mut().for_each(|word| *word &= fact.mask());
    value
}

/// An operation that is additive and without secrets, modulo `2^32`: on words of the value itself, or on one
/// party's shares of it. `shape` is that of the first input; a malformed operation gives an empty vector.
#[must_use]
pub fn additive(op: &Op, read: &[&[u32]], shape: &[usize]) -> Vec<u32> {
    let Some(&x) = read.first() else { return Vec::new() };
    match (op, shape) {
        (Op::Add { shifts }, _) => op::add::run(read, shifts),
        // Its constant is the provider's to add.
        (Op::Bias { shift, .. }, _) => op::add::run(&read[..1], &[*shift]),
        (Op::SumPool(window), &[c, h, w]) => op::pool::sum(x, [c, h, w], window),
        (Op::Concat, _) => op::concat::run(read),
        (Op::Pad { pads }, _) => op::pad::run(x, shape, pads),
        (Op::Slice { ranges }, _) => op::slice::run(x, shape, ranges),
        (Op::Reshape, _) => x.to_vec(),
        (Op::Transpose { perm }, _) => op::transpose::run(x, shape, perm),
        (Op::Select { mask }, _) => op::select::run(x, mask),
        (Op::Merge { mask }, _) => op::select::merge([x, read.get(1).copied().unwrap_or_default()], mask),
        _ => Vec::new(),
    }
}

/// Adds the constants of a [`Op::Bias`], one per channel, modulo `2^32`: to words of the value, or to the provider's share.
pub fn add_bias(bias: &[i32], value: &mut [u32]) {
    let per_channel = (value.len() / bias.len().max(1)).max(1);
    for (channel, bias) in value.chunks_mut(per_channel).zip(bias) {
        channel.iter_mut().for_each(|word| *word = word.wrapping_add(*bias as u32));
    }
}

fn check_input(input: &[i32], node: &Node<Op>, fact: &Fact) -> Result<(), ReferenceError> {
    if input.len() != node.len() {
        return Err(ReferenceError::Length { expected: node.len(), got: input.len() });
    }
    let (lo, hi) = (fact.lo, fact.hi);
    match input.iter().position(|&v| i64::from(v) < lo || i64::from(v) > hi) {
        Some(index) => Err(ReferenceError::Range { index, value: input[index], lo, hi }),
        None => Ok(()),
    }
}

fn signed(words: &[u32], fact: &Fact) -> Vec<i32> {
    words.iter().map(|&word| fact.to_signed(word)).collect()
}

#[cfg(test)]
mod tests;
