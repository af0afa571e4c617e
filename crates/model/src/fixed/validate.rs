//! Whether a graph from a file or from a peer means something: afterwards no shape rule, index, shift or ring
//! conversion of the crates that work with it can fail, and what they allocate is bounded by [`limits`].
//!
//! The client receives the public half from the server, so [`Graph::validate`] is a security boundary. Whoever has
//! the weights also proves with [`Model::validate`] that no value can leave its ring.

use super::interval::{self, Interval, bits_for};
use super::{Act, Fact, Graph, Model, Op, Preprocess, Rescale};
use crate::graph::{Conv, Node, NodeId, Window};
use crate::op;

/// What a graph may cost at most.
pub mod limits {
    /// Nodes of a graph.
    pub const NODES: usize = 1 << 14;
    /// Axes of a tensor.
    pub const RANK: usize = 8;
    /// Any single side, kernel, stride, padding or dilation.
    pub const SIDE: usize = 1 << 24;
    /// Elements of all values together, places of all windows and terms of all
    /// sums together, weights of all layers together,
    /// and elements of the unrolled input of any one layer (see `op::im2col`).
    pub const ELEMENTS: usize = 1 << 28;
    /// Multiply-accumulates of all layers together.
    pub const MACS: usize = 1 << 42;
}

/// Why a graph is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Something is wrong with one node.
    #[error("node {node}: {fault}")]
    Node {
        /// Its index.
        node: NodeId,
        /// What is wrong.
        fault: Fault,
    },
    /// No nodes, or more than [`limits::NODES`].
    #[error("{0} nodes")]
    Nodes(usize),
    /// Not one fact per node.
    #[error("{facts} facts for {nodes} nodes")]
    Facts {
        /// Facts given.
        facts: usize,
        /// Nodes given.
        nodes: usize,
    },
    /// The output is not a node.
    #[error("output {0} does not exist")]
    Output(NodeId),
    /// Not one set of weights per linear layer.
    #[error("{given} sets of weights for {needed} linear layers")]
    Weights {
        /// Sets given.
        given: usize,
        /// Linear layers.
        needed: usize,
    },
    /// The pre-processing does not fit the input.
    #[error("pre-processing: {0}")]
    Preprocess(&'static str),
    /// A name or label with control characters, which a terminal would obey.
    #[error("{0} with control characters")]
    Text(&'static str),
    /// Neither no label nor one per output.
    #[error("{labels} labels for {outputs} outputs")]
    Labels {
        /// Labels given.
        labels: usize,
        /// Outputs of the network.
        outputs: usize,
    },
}

/// What can be wrong with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Node 0 must be the input, and no other.
    #[error("the input must be node 0 and no other")]
    Input,
    /// An input that is not an earlier node, or a wrong number of inputs.
    #[error("wrong number of inputs, or one that is not an earlier node")]
    Inputs,
    /// The shape does not follow from the operation.
    #[error("the shape does not follow from the operation and its inputs")]
    Shape,
    /// A kernel, stride, padding, dilation or group count without meaning.
    #[error("a kernel, stride, padding, dilation or group count without meaning")]
    Geometry,
    /// More memory or work than [`limits`] allow.
    #[error("more than the limit on elements or work")]
    TooLarge,
    /// A ring width outside of 2..=32 or an interval outside of the ring.
    #[error("a ring width outside of 2..=32 or an interval that does not fit it")]
    Ring,
    /// A ring wider than that of an input.
    #[error("the ring is wider than that of an input")]
    Widening,
    /// The stated interval is not that of the operation's results.
    #[error("the stated interval is not that of the operation's results")]
    Interval,
    /// The proven interval of a value, from the weights, exceeds the stated one.
    #[error("the values that the weights allow exceed the stated interval")]
    Bound,
    /// A shift of at least the width, empty bounds, or rounding that overflows.
    #[error("a shift of at least the width, empty bounds, or rounding that overflows")]
    Rescale,
    /// A step that is negative, not finite, or zero where numbers enter or leave.
    #[error("a step that is negative, not finite, or zero where numbers enter or leave")]
    Step,
    /// Weights are numbered in the order of the layers.
    #[error("the index of weights is not the number of the linear layer")]
    WeightIndex,
    /// A wrong number of weights or biases.
    #[error("a wrong number of weights or biases")]
    WeightLength,
    /// A width of weights outside of 2..=16, or a weight that exceeds it.
    #[error("a width of weights outside of 2..=16, or a weight that exceeds it")]
    WeightRange,
}

impl Graph {
    /// Checks everything that can be checked without the weights, in time linear in the size of the graph (not of
    /// its tensors).
    ///
    /// # Errors
    /// The first fault found.
    pub fn validate(&self) -> Result<(), GraphError> {
        if self.nodes.is_empty() || self.nodes.len() > limits::NODES {
            return Err(GraphError::Nodes(self.nodes.len()));
        }
        if self.facts.len() != self.nodes.len() {
            return Err(GraphError::Facts { facts: self.facts.len(), nodes: self.nodes.len() });
        }
        if self.output >= self.nodes.len() {
            return Err(GraphError::Output(self.output));
        }
        let mut budget = Budget::default();
        for id in 0..self.nodes.len() {
            self.check_node(id, &mut budget).map_err(|fault| GraphError::Node { node: id, fault })?;
        }
        let depends = self.depends_on_weights();
        for (id, &secret) in depends.iter().enumerate() {
            self.check_numbers(id, secret).map_err(|fault| GraphError::Node { node: id, fault })?;
        }
        Ok(())
    }

    /// Number of nodes with secret parameters: linear layers and biases.
    #[must_use]
    pub fn secret_layers(&self) -> usize {
        self.nodes.iter().filter(|node| matches!(node.op, Op::Linear { .. } | Op::Bias { .. })).count()
    }

    /// Structure: inputs, shapes, geometry, cost.
    fn check_node(&self, id: NodeId, budget: &mut Budget) -> Result<(), Fault> {
        let node = &self.nodes[id];
        if node.shape.len() > limits::RANK || node.shape.iter().any(|&side| side == 0 || side > limits::SIDE)
        {
            return Err(Fault::Shape);
        }
        take(&mut budget.elements, op::elements(&node.shape))?;
        if (id == 0) != (node.op == Op::Input) {
            return Err(Fault::Input);
        }
        if node.inputs.iter().any(|&input| input >= id) || !arity(node) {
            return Err(Fault::Inputs);
        }
        let inputs: Vec<&[usize]> = node.inputs.iter().map(|&input| &self.nodes[input].shape[..]).collect();
        match &node.op {
            Op::Linear { conv, weights, weight_bits } => {
                if !(2..=16).contains(weight_bits) {
                    return Err(Fault::WeightRange);
                }
                if *weights != budget.layers {
                    return Err(Fault::WeightIndex);
                }
                budget.layers += 1;
                check_conv(conv, budget)?;
            }
            Op::Bias { weights, shift } => {
                if *weights != budget.layers {
                    return Err(Fault::WeightIndex);
                }
                budget.layers += 1;
                if *shift >= self.facts[id].bits.min(32) {
                    return Err(Fault::Rescale);
                }
                if node.shape.is_empty() {
                    return Err(Fault::Shape);
                }
                take(&mut budget.weights, node.shape.first().copied())?;
            }
            Op::Act(Act { max_pool: Some(window), .. }) => {
                check_window(window, inputs[0])?;
                take(&mut budget.places, window_places(window, node))?;
            }
            Op::SumPool(window) => {
                check_window(window, inputs[0])?;
                take(&mut budget.places, window_places(window, node))?;
            }
            Op::Add { shifts } => {
                if shifts.iter().any(|&shift| shift >= self.facts[id].bits.min(32)) {
                    return Err(Fault::Rescale);
                }
                take(&mut budget.places, node.len().checked_mul(shifts.len()))?;
            }
            Op::Pad { pads } if pads.as_flattened().iter().any(|&pad| pad > limits::SIDE) => {
                return Err(Fault::Geometry);
            }
            _ => {}
        }
        if has_shape(&node.op, &inputs, &node.shape) { Ok(()) } else { Err(Fault::Shape) }
    }

    /// Rings, intervals, rescales, steps.
    fn check_numbers(&self, id: NodeId, depends_on_weights: bool) -> Result<(), Fault> {
        let (node, fact) = (&self.nodes[id], &self.facts[id]);
        let ends = id == 0 || id == self.output;
        if !fact.step.is_finite() || fact.step < 0.0 || (ends && fact.step == 0.0) {
            return Err(Fault::Step);
        }
        if !(2..=32).contains(&fact.bits) || fact.lo > fact.hi || bits_for((fact.lo, fact.hi)) > fact.bits {
            return Err(Fault::Ring);
        }
        if let Op::Act(act) = &node.op {
            check_act(act, &self.facts[node.inputs[0]])?;
        } else if node.inputs.iter().any(|&input| self.facts[input].bits < fact.bits) {
            return Err(Fault::Widening);
        }
        if id > 0 && !depends_on_weights {
            let inputs: Vec<Interval> =
                node.inputs.iter().map(|&input| (self.facts[input].lo, self.facts[input].hi)).collect();
            let (lo, hi) = interval::additive(&node.op, &inputs);
            // Equal, not just contained: noise bounds divide by the stated interval.
            if (lo, hi) != (fact.lo, fact.hi) {
                return Err(Fault::Interval);
            }
        }
        Ok(())
    }
}

impl Preprocess {
    /// Checks that it suits an input of this shape.
    ///
    /// # Errors
    /// [`GraphError::Preprocess`].
    pub fn validate(&self, shape: &[usize]) -> Result<(), GraphError> {
        let err = |what| Err(GraphError::Preprocess(what));
        let channels = self.mean.len();
        if channels == 0 || self.std.len() != channels {
            return err("not one mean and one deviation per channel");
        }
        let positive = |std: &f64| std.is_finite() && *std > 0.0;
        if !self.mean.iter().all(|mean| mean.is_finite()) || !self.std.iter().all(positive) {
            return err("a mean that is not finite or a deviation that is not positive");
        }
        if !self.range().0.is_finite() || !self.range().1.is_finite() {
            return err("inputs that are not finite");
        }
        if self.bgr && channels != 3 {
            return err("blue first without three channels");
        }
        let fits = match *shape {
            [c, _, _] => c == channels,
            _ => op::elements(shape).is_some_and(|n| n.is_multiple_of(channels)),
        };
        if fits { Ok(()) } else { err("not as many channels as the input") }
    }
}

impl Model {
    /// Checks the public half, number and width of the weights of every layer, and proves that no value can leave its
    /// ring.
    ///
    /// # Errors
    /// The first fault found.
    pub fn validate(&self) -> Result<(), GraphError> {
        self.validate_structure()?;
        for (node, n) in self.graph.nodes.iter().enumerate() {
            if let Op::Linear { weights, weight_bits, .. } = n.op
                && self.weights[weights].weights.iter().any(|w| w.unsigned_abs() >> (weight_bits - 1) != 0)
            {
                return Err(GraphError::Node { node, fault: Fault::WeightRange });
            }
        }
        // Facts fit their rings, with the rounding of those who read them.
        let intervals = self.graph.intervals(&self.weights);
        for (node, ((lo, hi), fact)) in intervals.into_iter().zip(&self.graph.facts).enumerate() {
            if lo < fact.lo || hi > fact.hi {
                return Err(GraphError::Node { node, fault: Fault::Bound });
            }
        }
        Ok(())
    }

    /// [`Model::validate`] without reading the weights, in time linear in the size of the graph.
    ///
    /// # Errors
    /// The first fault found.
    pub fn validate_structure(&self) -> Result<(), GraphError> {
        self.graph.validate()?;
        check_companions(&self.graph, &self.preprocess, &self.labels)?;
        let needed = self.graph.secret_layers();
        if self.weights.len() != needed {
            return Err(GraphError::Weights { given: self.weights.len(), needed });
        }
        for (node, n) in self.graph.nodes.iter().enumerate() {
            let (weights, lengths) = match &n.op {
                Op::Linear { conv, weights, .. } => (*weights, (conv.weight_len(), conv.out_channels)),
                Op::Bias { weights, .. } => (*weights, (0, n.shape.first().copied().unwrap_or_default())),
                _ => continue,
            };
            let layer = &self.weights[weights];
            if (layer.weights.len(), layer.bias.len()) != lengths {
                return Err(GraphError::Node { node, fault: Fault::WeightLength });
            }
        }
        Ok(())
    }
}

/// Places of a window over all outputs of its node.
fn window_places(window: &Window, node: &Node<Op>) -> Option<usize> {
    window.kernel[0].checked_mul(window.kernel[1])?.checked_mul(node.len())
}

/// Checks what accompanies a validated graph.
pub(crate) fn check_companions(
    graph: &Graph,
    preprocess: &Preprocess,
    labels: &[String],
) -> Result<(), GraphError> {
    if labels.iter().any(|label| label.contains(char::is_control)) {
        return Err(GraphError::Text("a label"));
    }
    if graph.nodes.iter().any(|node| node.name.contains(char::is_control)) {
        return Err(GraphError::Text("the name of a node"));
    }
    preprocess.validate(&graph.nodes[0].shape)?;
    let outputs = graph.nodes[graph.output].len();
    if !labels.is_empty() && labels.len() != outputs {
        return Err(GraphError::Labels { labels: labels.len(), outputs });
    }
    Ok(())
}

#[derive(Default)]
struct Budget {
    elements: usize,
    places: usize,
    weights: usize,
    macs: usize,
    layers: usize,
}

fn take(used: &mut usize, more: Option<usize>) -> Result<(), Fault> {
    take_of(used, more, limits::ELEMENTS)
}

fn take_of(used: &mut usize, more: Option<usize>, limit: usize) -> Result<(), Fault> {
    *used = more.and_then(|more| used.checked_add(more)).ok_or(Fault::TooLarge)?;
    if *used > limit { Err(Fault::TooLarge) } else { Ok(()) }
}

fn arity(node: &Node<Op>) -> bool {
    match &node.op {
        Op::Input => node.inputs.is_empty(),
        Op::Add { shifts } => !node.inputs.is_empty() && shifts.len() == node.inputs.len(),
        Op::Concat => !node.inputs.is_empty(),
        Op::Merge { .. } | Op::Product => node.inputs.len() == 2,
        _ => node.inputs.len() == 1,
    }
}

/// Whether `output` is the shape that the operation gives; conv and window geometry is checked already.
fn has_shape(op: &Op, inputs: &[&[usize]], output: &[usize]) -> bool {
    let same = |shape: Option<Vec<usize>>| shape.is_some_and(|shape| shape == output);
    let pooled = |window: &Window, input: &[usize]| match *input {
        [c, h, w] => {
            let [oh, ow] = op::pool::output(window, [h, w]);
            output == [c, oh, ow]
        }
        _ => false,
    };
    match op {
        Op::Input => true,
        Op::Linear { conv, .. } => {
            let image = |shape: &[usize], channels: usize, [h, w]: [usize; 2]| {
                shape == [channels, h, w] || (shape == [channels] && [h, w] == [1, 1])
            };
            image(inputs[0], conv.in_channels, conv.input) && image(output, conv.out_channels, conv.output())
        }
        Op::Act(Act { max_pool: Some(window), .. }) | Op::SumPool(window) => pooled(window, inputs[0]),
        Op::Act(_) | Op::Bias { .. } => inputs[0] == output,
        Op::Add { .. } => inputs.iter().all(|input| *input == output),
        Op::Concat => same(op::concat::shape(inputs)),
        Op::Pad { pads } => same(op::pad::shape(inputs[0], pads)),
        Op::Slice { ranges } => same(op::slice::shape(inputs[0], ranges)),
        Op::Reshape => op::elements(inputs[0]) == op::elements(output),
        Op::Transpose { perm } => same(op::transpose::shape(inputs[0], perm)),
        Op::Select { mask } => {
            let kept = op::elements(inputs[0]).and_then(|len| op::select::kept(mask, len));
            same(kept.map(|kept| vec![kept]))
        }
        Op::Product => same(op::product::shape(inputs[0], inputs[1])),
        Op::Merge { mask } => match (inputs, op::elements(output)) {
            (&[&[first], &[second]], Some(len)) => op::select::merges(mask, [first, second], len),
            _ => false,
        },
    }
}

fn check_conv(conv: &Conv, budget: &mut Budget) -> Result<(), Fault> {
    let positive = [
        &[conv.in_channels, conv.out_channels, conv.groups][..],
        &conv.input,
        &conv.kernel,
        &conv.stride,
        &conv.dilation,
    ]
    .concat();
    let sane = positive.iter().all(|&v| (1..=limits::SIDE).contains(&v))
        && conv.pads.iter().all(|&pad| pad <= limits::SIDE)
        && conv.in_channels.is_multiple_of(conv.groups)
        && conv.out_channels.is_multiple_of(conv.groups);
    if !sane {
        return Err(Fault::Geometry);
    }
    // Every side is below 2^24, so the spans and padded sides of `output` cannot overflow.
    let [h, w] = conv.output();
    if h == 0 || w == 0 {
        return Err(Fault::Geometry);
    }
    let taps = op::elements(&[conv.in_channels / conv.groups, conv.kernel[0], conv.kernel[1]]);
    let weights = taps.and_then(|taps| taps.checked_mul(conv.out_channels));
    take(&mut budget.weights, weights)?;
    let unrolled = taps.and_then(|taps| op::elements(&[taps, h, w]));
    take(&mut 0, unrolled)?;
    take_of(&mut budget.macs, unrolled.and_then(|n| n.checked_mul(conv.out_channels)), limits::MACS)
}

fn check_window(window: &Window, input: &[usize]) -> Result<(), Fault> {
    let &[_, h, w] = input else { return Err(Fault::Shape) };
    let sides = [&window.kernel[..], &window.stride, &window.pads].concat();
    let bounded = sides.iter().all(|&side| side <= limits::SIDE);
    if bounded && op::pool::is_sane(window, [h, w]) { Ok(()) } else { Err(Fault::Geometry) }
}

fn check_act(act: &Act, input: &Fact) -> Result<(), Fault> {
    let bounded = |rescale: &Rescale, bits: u32| rescale.shift < bits && rescale.lo <= rescale.hi;
    if !bounded(&act.rescale, input.bits) || bits_for((input.lo, input.hi + act.rescale.half())) > input.bits
    {
        return Err(Fault::Rescale);
    }
    if let Some(q) = &act.quadratic {
        let (lo, hi) = interval::quadratic(act);
        if !bounded(&q.rescale, 32) || bits_for((lo, hi + q.rescale.half())) > 32 {
            return Err(Fault::Rescale);
        }
    }
    Ok(())
}

impl Fact {
    /// The fact of a value that depends on weights: it states the ring, less the margin of whoever reads it.
    pub(crate) fn coarse(step: f64, bits: u32, margin: i64) -> Self {
        let half = 1i64 << (bits - 1);
        Self { step, lo: -half, hi: half - 1 - margin, bits }
    }
}
