//! The walk over the file: what every name stands for.

use std::collections::HashMap;
use std::rc::Rc;

use prost::Message;

use super::arithmetic::Polynomial;
use super::attributes::Reason;
use super::error::ImportError;
use super::fold;
use super::proto::{GraphProto, ModelProto, NodeProto, ValueInfo, data_type};
use super::tensor::Tensor;
use crate::float::{Builder, Graph, GraphError, Head, MAX_ELEMENTS, Op};
use crate::graph::{Mask, NodeId};

/// Reads a network.
///
/// # Errors
/// The first thing in the file that is malformed, too large, or not supported, with the node's name.
pub fn import(bytes: &[u8]) -> Result<Graph, ImportError> {
    import_within(bytes, MAX_ELEMENTS)
}

/// Whether a file is small enough to be read.
pub(super) fn check_size(bytes: &[u8]) -> Result<(), ImportError> {
    bounded("bytes of the file", bytes.len(), MAX_BYTES)
}

/// As [`import`], with another bound on the elements of all constants and parameters.
pub(super) fn import_within(bytes: &[u8], budget: usize) -> Result<Graph, ImportError> {
    check_size(bytes)?;
    let model = ModelProto::decode(bytes)?;
    let standard = |domain: Option<&str>| matches!(domain, None | Some("" | "ai.onnx"));
    let version = model.opset_import.iter().find(|set| standard(set.domain.as_deref()));
    match version.and_then(|set| set.version) {
        Some(13..=21) => {}
        Some(other) => return Err(unsupported(format!("operator set {other}; 13 to 21 are read"))),
        None => return Err(unsupported("no version of the standard operator set is stated")),
    }
    let graph = model.graph.as_ref().ok_or_else(|| unsupported("there is no graph"))?;
    bounded("number of nodes", graph.node.len(), MAX_NODES)?;

    let mut importer = Importer::new(graph, budget)?;
    for node in &graph.node {
        if !standard(node.domain.as_deref()) {
            let reason = format!("operators of domain `{}`", node.domain.as_deref().unwrap_or_default());
            return Err(refused(node, reason));
        }
        importer.node(node).map_err(|reason| refused(node, reason))?;
    }
    importer.finish(graph)
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Numbers known now.
    Constant(Rc<Tensor>),
    /// A value of the network; without the batch dimension, which is 1.
    Node(NodeId),
    /// A polynomial of a value, not yet a node.
    Polynomial(Polynomial),
    /// A value behind a sigmoid, softmax or arg-max.
    Head(NodeId, Head),
    /// A value of which all elements but those of a set are zero: one half of a choice by element.
    Masked(NodeId, Mask),
}

/// The state of the walk.
pub(super) struct Importer<'a> {
    pub(super) builder: Builder,
    values: HashMap<&'a str, Value>,
    /// How many inputs (and outputs of the graph) mention a name.
    readers: HashMap<&'a str, usize>,
    /// Elements that constants and parameters may still take.
    budget: usize,
}

impl<'a> Importer<'a> {
    fn new(graph: &'a GraphProto, mut budget: usize) -> Result<Self, ImportError> {
        let mut values = HashMap::new();
        for stored in &graph.initializer {
            let tensor = Tensor::read(stored)?;
            budget = budget.checked_sub(tensor.len()).ok_or_else(too_many_elements)?;
            values.insert(stored.name.as_deref().unwrap_or_default(), Value::Constant(Rc::new(tensor)));
        }
        let mut inputs = graph.input.iter().filter(|input| !values.contains_key(name_of(input)));
        let (Some(input), None) = (inputs.next(), inputs.next()) else {
            return Err(unsupported("a network has exactly one input"));
        };
        let shape = input_shape(input)?;
        let name = name_of(input);
        let builder = Builder::new(graph.name.as_deref().unwrap_or_default(), name, &shape)
            .map_err(|error| unsupported(error.to_string()))?;
        values.insert(name, Value::Node(0));

        let mut readers = HashMap::new();
        let outputs = graph.output.iter().map(name_of);
        for name in graph.node.iter().flat_map(|node| &node.input).map(String::as_str).chain(outputs) {
            *readers.entry(name).or_insert(0) += 1;
        }
        Ok(Self { builder, values, readers, budget })
    }

    fn finish(mut self, graph: &'a GraphProto) -> Result<Graph, ImportError> {
        let [output] = &graph.output[..] else {
            return Err(unsupported("a network has exactly one output"));
        };
        let name = name_of(output);
        let (output, head) = match self.values.get(name) {
            Some(&Value::Head(id, head)) => (id, head),
            Some(_) => (self.node_of(name).map_err(unsupported)?, Head::Logits),
            None => return Err(unsupported(format!("no node computes the output `{name}`"))),
        };
        self.builder.finish(output, head).map_err(|error| unsupported(error.to_string()))
    }

    /// Reads one node and binds its outputs.
    fn node(&mut self, node: &'a NodeProto) -> Result<(), Reason> {
        let results = self.results(node)?;
        let mut names = node.output.iter().map(String::as_str);
        for (value, name) in results.into_iter().zip(names.by_ref()) {
            if name.is_empty() || self.values.contains_key(name) {
                return Err(format!("the output name `{name}` is empty or taken"));
            }
            self.values.insert(name, value);
        }
        match names.find(|name| self.readers.contains_key(name)) {
            Some(extra) => Err(format!("its optional output `{extra}` is used")),
            None => Ok(()),
        }
    }

    fn results(&mut self, node: &'a NodeProto) -> Result<Vec<Value>, Reason> {
        let op = op_of(node);
        if op == "Shape" {
            let shape = self.full_shape(node)?;
            return Ok(vec![self.folded(fold::shape(node, &shape)?)?]);
        }
        if let Some(constants) = self.all_constant(node)? {
            return Ok(vec![self.folded(fold::evaluate(node, &constants)?)?]);
        }
        if op == "Split" {
            return self.split(node);
        }
        let value = match op {
            "Conv" => self.conv(node),
            "Gemm" => self.gemm(node),
            "MatMul" => self.matmul(node),
            "BatchNormalization" => self.batch_normalization(node),
            "Relu" => self.relu(node),
            "Clip" => self.clip(node),
            "HardSigmoid" => self.hard_sigmoid(node),
            "HardSwish" => self.hard_swish(node),
            "Where" => self.choice(node),
            "Add" => self.add(node),
            "Sub" => self.sub(node),
            "Mul" => self.mul(node),
            "Div" => self.div(node),
            "Pow" => self.pow(node),
            "Neg" => self.neg(node),
            "Concat" => self.concat(node),
            "AveragePool" => self.average_pool(node),
            "GlobalAveragePool" => self.global_average_pool(node),
            "ReduceMean" => self.reduce_mean(node),
            "MaxPool" => self.max_pool(node),
            "Flatten" => self.flatten(node),
            "Reshape" => self.reshape(node),
            "Squeeze" => self.squeeze(node),
            "Unsqueeze" => self.unsqueeze(node),
            "Pad" => self.pad(node),
            "Slice" => self.slice(node),
            "Transpose" => self.transpose(node),
            "Identity" => self.identity(node),
            "Dropout" => self.dropout(node),
            "Cast" => self.cast(node),
            "Softmax" | "LogSoftmax" => self.head(node, Head::Softmax),
            "ArgMax" => self.head(node, Head::ArgMax),
            "Sigmoid" => self.sigmoid(node),
            _ => Err(why_not(op).to_owned()),
        }?;
        Ok(vec![value])
    }

    /// The constants, where a node has no other inputs; never a node without a fold.
    fn all_constant(&self, node: &'a NodeProto) -> Result<Option<Vec<Option<Rc<Tensor>>>>, Reason> {
        let mut constants = Vec::with_capacity(node.input.len());
        for name in &node.input {
            match self.values.get(name.as_str()) {
                _ if name.is_empty() => constants.push(None),
                Some(Value::Constant(tensor)) => constants.push(Some(Rc::clone(tensor))),
                Some(_) => return Ok(None),
                None => return Err(unknown(name)),
            }
        }
        Ok(Some(constants))
    }

    fn full_shape(&self, node: &'a NodeProto) -> Result<Vec<usize>, Reason> {
        match self.value(node, 0)? {
            Value::Constant(tensor) => Ok(tensor.shape.clone()),
            Value::Node(id) | Value::Masked(id, _) | Value::Polynomial(Polynomial { of: id, .. }) => {
                Ok(std::iter::once(1).chain(self.shape(id).iter().copied()).collect())
            }
            Value::Head(..) => Err(ONLY_AT_THE_END.to_owned()),
        }
    }

    fn folded(&mut self, tensor: Tensor) -> Result<Value, Reason> {
        if tensor.shape.len() > fold::MAX_RANK {
            return Err(format!("a constant of {} axes", tensor.shape.len()));
        }
        self.spend(tensor.len())?;
        Ok(Value::Constant(Rc::new(tensor)))
    }

    /// Accounts for parameters of this many elements.
    pub(super) fn spend(&mut self, elements: usize) -> Result<(), Reason> {
        self.budget = self.budget.checked_sub(elements).ok_or_else(|| too_many_elements().to_string())?;
        Ok(())
    }

    /// What input `index` stands for.
    pub(super) fn value(&self, node: &'a NodeProto, index: usize) -> Result<Value, Reason> {
        let name = input(node, index).ok_or_else(|| format!("input {index} is missing"))?;
        self.values.get(name).cloned().ok_or_else(|| unknown(name))
    }

    /// Input `index` as a constant; `None` where it is absent.
    pub(super) fn constant(&self, node: &'a NodeProto, index: usize) -> Result<Option<Rc<Tensor>>, Reason> {
        if input(node, index).is_none() {
            return Ok(None);
        }
        match self.value(node, index)? {
            Value::Constant(tensor) => Ok(Some(tensor)),
            _ => Err(format!("input {index} has to be a constant")),
        }
    }

    /// Input `index` as a list of integers; `None` where it is absent.
    pub(super) fn ints(&self, node: &'a NodeProto, index: usize) -> Result<Option<Vec<i64>>, Reason> {
        let Some(tensor) = self.constant(node, index)? else { return Ok(None) };
        tensor
            .as_ints()
            .map(|ints| Some(ints.to_vec()))
            .ok_or_else(|| format!("input {index} holds no integers"))
    }

    /// Input `index` as a node of the network; a polynomial becomes one now.
    pub(super) fn operand(&mut self, node: &'a NodeProto, index: usize) -> Result<NodeId, Reason> {
        let name = input(node, index).ok_or_else(|| format!("input {index} is missing"))?;
        self.node_of(name)
    }

    fn node_of(&mut self, name: &'a str) -> Result<NodeId, Reason> {
        match self.values.get(name) {
            Some(&Value::Node(id)) => Ok(id),
            Some(Value::Polynomial(polynomial)) => {
                let polynomial = polynomial.clone();
                let id = self.materialise(name, &polynomial)?;
                self.values.insert(name, Value::Node(id));
                Ok(id)
            }
            Some(Value::Constant(_)) => Err(format!("`{name}` is a constant where a value is expected")),
            Some(Value::Head(..)) => Err(ONLY_AT_THE_END.to_owned()),
            Some(Value::Masked(id, mask)) => {
                let (id, mask) = (*id, mask.clone());
                let id = self.masked(name, id, &mask)?;
                self.values.insert(name, Value::Node(id));
                Ok(id)
            }
            None => Err(unknown(name)),
        }
    }

    /// How often the name of input `index` is read in the whole file.
    pub(super) fn readers(&self, node: &'a NodeProto, index: usize) -> usize {
        input(node, index).and_then(|name| self.readers.get(name)).copied().unwrap_or_default()
    }

    /// Shape without the batch dimension.
    pub(super) fn shape(&self, id: NodeId) -> &[usize] {
        self.builder.node(id).map_or(&[], |node| &node.shape)
    }

    /// Appends an operation, named by the first output of `node`.
    pub(super) fn push(&mut self, node: &'a NodeProto, op: Op, inputs: &[NodeId]) -> Result<Value, Reason> {
        self.builder.push(output_name(node), op, inputs).map(Value::Node).map_err(reason_of)
    }

    /// The same elements under another shape; no node where the shape is the same.
    pub(super) fn reshaped(
        &mut self,
        node: &'a NodeProto,
        id: NodeId,
        shape: &[usize],
    ) -> Result<Value, Reason> {
        if self.shape(id) == shape {
            return Ok(Value::Node(id));
        }
        self.builder.reshape(output_name(node), id, shape).map(Value::Node).map_err(reason_of)
    }
}

/// Input `index`, if it is given.
pub(super) fn input(node: &NodeProto, index: usize) -> Option<&str> {
    node.input.get(index).map(String::as_str).filter(|name| !name.is_empty())
}

/// Operator of a node.
pub(super) fn op_of(node: &NodeProto) -> &str {
    node.op_type.as_deref().unwrap_or_default()
}

/// Name of the first output.
pub(super) fn output_name(node: &NodeProto) -> &str {
    node.output.first().map_or("", String::as_str)
}

/// The reason alone; the node is named by the caller.
pub(super) fn reason_of(error: GraphError) -> Reason {
    error.reason.to_owned()
}

fn name_of(value: &ValueInfo) -> &str {
    value.name.as_deref().unwrap_or_default()
}

fn input_shape(input: &ValueInfo) -> Result<Vec<usize>, ImportError> {
    let tensor = input.kind.as_ref().and_then(|kind| kind.tensor.as_ref());
    let tensor = tensor.ok_or_else(|| unsupported("the input is no tensor"))?;
    if tensor.elem_type.is_some_and(|kind| kind != data_type::FLOAT) {
        return Err(unsupported("the input has to be of type float"));
    }
    let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let (batch, sides) = dims.split_first().ok_or_else(|| unsupported("the input's shape is not stated"))?;
    if batch.value.is_some_and(|size| size != 1) {
        return Err(unsupported("the batch dimension of the input has to be symbolic or 1"));
    }
    let side = |size: Option<i64>| size.and_then(|size| usize::try_from(size).ok());
    sides
        .iter()
        .map(|dim| side(dim.value).ok_or_else(|| unsupported("only the batch dimension may be symbolic")))
        .collect()
}

fn bounded(what: &'static str, found: usize, limit: usize) -> Result<(), ImportError> {
    if found <= limit { Ok(()) } else { Err(ImportError::TooLarge { what, found, limit }) }
}

fn too_many_elements() -> ImportError {
    let what = "number of elements of all constants and parameters";
    ImportError::TooLarge { what, found: usize::MAX, limit: MAX_ELEMENTS }
}

fn unsupported(reason: impl Into<String>) -> ImportError {
    ImportError::Model { reason: reason.into() }
}

fn refused(node: &NodeProto, reason: Reason) -> ImportError {
    let name = node.name.as_deref().filter(|name| !name.is_empty()).unwrap_or_else(|| output_name(node));
    ImportError::Unsupported { node: name.to_owned(), op: op_of(node).to_owned(), reason }
}

fn unknown(name: &str) -> Reason {
    format!("nothing before it computes its input `{name}`")
}

fn why_not(op: &str) -> &'static str {
    match op {
        "LeakyRelu" | "PRelu" | "Elu" | "Selu" | "Celu" | "ThresholdedRelu" | "Tanh" | "Gelu" | "Mish"
        | "Softplus" | "Softsign" | "Erf" | "Exp" => {
            "this activation has no private protocol; train with Relu, Clip, HardSigmoid, HardSwish or a polynomial"
        }
        "LSTM" | "GRU" | "RNN" | "Loop" | "If" | "Scan" => "recurrence and control flow are not supported",
        "ConvTranspose" | "Resize" | "Upsample" => "images are never enlarged",
        "LayerNormalization" | "InstanceNormalization" | "GroupNormalization" | "LRN" => {
            "a normalisation by statistics of the input has no private protocol; use BatchNormalization"
        }
        _ => "the operator is not supported",
    }
}

/// Heads are computed by the client.
pub(super) const ONLY_AT_THE_END: &str = "only the end of the network may follow a sigmoid, softmax or arg-max; inside, HardSigmoid and HardSwish are supported";

/// A protobuf message is never longer.
const MAX_BYTES: usize = (1 << 31) - 1;
const MAX_NODES: usize = 100_000;
