//! The integers: weights, biases, rescales, and the width of every ring.
//!
//! A ring has to hold the value's proven interval and the margin of an activation that reads it (that of exact rounding
//! if the one for all engines leads above 32 bits). Then widths
//! propagate against the flow: a value is at least as wide as every reader but activations, because shares pass
//! between nodes by a reduction and are never extended. Last, the intervals of accumulators are widened to their
//! whole rings, so that the public graph tells widths and nothing else about the weights.

use super::lower::{Class, Function, Kind, Piece, Skeleton};
use super::scale::{self, Scales};
use super::{Options, QuantizeError, hard_swish};
use crate::fixed::{Act, Fact, Graph, Interval, Op, Rescale, Reveal, Weights, additive, bits_for};
use crate::float::Head;
use crate::graph::Node;

/// Emits the compiled graph and its weights.
pub(super) fn emit(
    skeleton: &Skeleton<'_>,
    scales: &Scales,
    options: &Options,
    head: Head,
) -> Result<(Graph, Vec<Weights>), QuantizeError> {
    let reveal = match (options.reveal, head) {
        (Reveal::Logits, Head::Sigmoid) => Reveal::Scores,
        (reveal, _) => reveal,
    };
    let mut graph = Graph { nodes: Vec::new(), facts: Vec::new(), output: skeleton.output, reveal };
    let mut weights = Vec::new();
    for (id, piece) in skeleton.pieces.iter().enumerate() {
        let op = operation(skeleton, id, scales, &graph.facts, options, &mut weights)?;
        let Node { name, inputs, shape, .. } = &piece.node;
        let read: Vec<Interval> = inputs.iter().map(|&x| (graph.facts[x].lo, graph.facts[x].hi)).collect();
        let (lo, hi) = match &op {
            Op::Input => bounds(piece.natural, options.activation_bits),
            // Settled below, from the weights.
            Op::Linear { .. } | Op::Bias { .. } => (0, 0),
            op => additive(op, &read),
        };
        graph.facts.push(Fact { step: scales.step[id], lo, hi, bits: UNSETTLED });
        graph.nodes.push(Node { name: name.clone(), op, inputs: inputs.clone(), shape: shape.clone() });
    }
    settle_rings(&mut graph, &weights)?;
    Ok((graph, weights))
}

fn operation(
    skeleton: &Skeleton<'_>,
    id: usize,
    scales: &Scales,
    facts: &[Fact],
    options: &Options,
    all_weights: &mut Vec<Weights>,
) -> Result<Op, QuantizeError> {
    let piece = &skeleton.pieces[id];
    let inputs = &piece.node.inputs;
    let step = scales.step[id];
    Ok(match &piece.node.op {
        Kind::Input => Op::Input,
        Kind::Linear { conv, weights, bias } => {
            let largest = (1 << (options.weight_bits - 1)) - 1;
            let weight_step = step / scales.step[inputs[0]];
            let weights =
                weights.iter().map(|&w| nearest(f64::from(w) / weight_step, -largest, largest)).collect();
            let bias =
                bias.iter().map(|&b| integer_bias(f64::from(b) / step, piece)).collect::<Result<_, _>>()?;
            all_weights.push(Weights { weights, bias });
            Op::Linear { conv: *conv, weights: all_weights.len() - 1, weight_bits: options.weight_bits }
        }
        Kind::Act { max_pool, function } => {
            let x = inputs[0];
            let (from, argument) = (scales.step[x], scales.argument[id]);
            let shift = scale::exponent(argument / from).max(0) as u32;
            let rescale = |natural: bool| {
                let (lo, hi) = bounds(natural, options.activation_bits);
                Rescale { shift, lo: lo as i32, hi: hi as i32 }
            };
            match function {
                Function::Clip { lo, hi } => {
                    let mut rescale = rescale(piece.natural);
                    if skeleton.pieces[x].class == Class::Narrow {
                        // The scale stays, and the value's own bounds may be the tighter ones.
                        rescale.lo = rescale.lo.max(facts[x].lo as i32);
                        rescale.hi = rescale.hi.min(facts[x].hi as i32);
                    }
                    let (least, most) = (rescale.lo, rescale.hi.max(rescale.lo));
                    rescale.lo = nearest(lo / step, least, most);
                    rescale.hi = nearest(hi / step, rescale.lo, most);
                    Op::Act(Act { max_pool: *max_pool, rescale, quadratic: None })
                }
                Function::Quadratic(coefficients) => {
                    let mut quadratic =
                        scale::quadratic(*coefficients, argument, step, options.activation_bits).ok_or_else(
                            || QuantizeError::Width { node: piece.node.name.clone(), bits: 33 },
                        )?;
                    let (lo, hi) = bounds(piece.natural, options.activation_bits);
                    (quadratic.rescale.lo, quadratic.rescale.hi) = (lo as i32, hi as i32);
                    Op::Act(Act { max_pool: *max_pool, rescale: rescale(false), quadratic: Some(quadratic) })
                }
                Function::Curve => Op::Act(hard_swish::curve(
                    shift,
                    [argument, step],
                    options.activation_bits,
                    &piece.node.name,
                )?),
                Function::Line { curve } => {
                    Op::Act(hard_swish::line(shift, [scales.argument[*curve], step], options.activation_bits))
                }
            }
        }
        Kind::Add => {
            let shift = |&x: &usize| scale::exponent(scales.step[x] / step).max(0) as u32;
            Op::Add { shifts: inputs.iter().map(shift).collect() }
        }
        Kind::Bias(bias) => {
            let bias =
                bias.iter().map(|&b| integer_bias(f64::from(b) / step, piece)).collect::<Result<_, _>>()?;
            all_weights.push(Weights { weights: Vec::new(), bias });
            let shift = scale::exponent(scales.step[inputs[0]] / step).max(0) as u32;
            Op::Bias { weights: all_weights.len() - 1, shift }
        }
        Kind::Sum => Op::Add { shifts: vec![0; inputs.len()] },
        Kind::Product => Op::Product,
        Kind::SumPool(window) => Op::SumPool(*window),
        Kind::Concat => Op::Concat,
        Kind::Pad(pads) => Op::Pad { pads: *pads },
        Kind::Slice(ranges) => Op::Slice { ranges: ranges.clone() },
        Kind::Reshape => Op::Reshape,
        Kind::Transpose(perm) => Op::Transpose { perm: perm.clone() },
        Kind::Select(mask) => Op::Select { mask: mask.clone() },
        Kind::Merge(mask) => Op::Merge { mask: mask.clone() },
    })
}

/// Chooses every ring, states the facts, and finds the values that need more than 32 bits.
fn settle_rings(graph: &mut Graph, weights: &[Weights]) -> Result<(), QuantizeError> {
    let intervals = graph.intervals(weights);
    let mut margins: Vec<i64> = Vec::new();
    for (margin, (_, hi)) in graph.margins().into_iter().zip(&intervals) {
        let room = bits_for((0, hi + margin.engines)) <= 32;
        margins.push(if room { margin.engines } else { margin.rounding });
    }
    for id in (0..graph.nodes.len()).rev() {
        let (lo, hi) = intervals[id];
        // Readers come later, so what they ask of this value is in its fact already.
        let bits = bits_for((lo, hi + margins[id])).max(graph.facts[id].bits);
        if bits > 32 {
            return Err(QuantizeError::Width { node: graph.nodes[id].name.clone(), bits });
        }
        graph.facts[id].bits = bits;
        if matches!(graph.nodes[id].op, Op::Act(_)) {
            continue;
        }
        for input in graph.nodes[id].inputs.clone() {
            graph.facts[input].bits = bits.max(graph.facts[input].bits);
        }
    }
    let depends = graph.depends_on_weights();
    for (id, fact) in graph.facts.iter_mut().enumerate() {
        if depends[id] {
            *fact = Fact::coarse(fact.step, fact.bits, margins[id]);
        } else {
            (fact.lo, fact.hi) = intervals[id];
        }
    }
    Ok(())
}

/// A width that nothing has asked for yet.
const UNSETTLED: u32 = 0;

/// The integers of a narrow value.
fn bounds(natural: bool, bits: u32) -> Interval {
    if natural { (0, (1 << bits) - 1) } else { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) }
}

fn nearest(x: f64, lo: i32, hi: i32) -> i32 {
    x.round().clamp(lo.into(), hi.into()) as i32
}

fn integer_bias(bias: f64, piece: &Piece<'_>) -> Result<i32, QuantizeError> {
    let bias = bias.round();
    if bias.abs() <= f64::from(i32::MAX) {
        Ok(bias as i32)
    } else {
        let bits = bias.abs().log2().ceil() as u32 + 1;
        Err(QuantizeError::Width { node: piece.node.name.clone(), bits })
    }
}
