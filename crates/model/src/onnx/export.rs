//! Graphs as ONNX files, operator set 17, with a symbolic batch dimension.
//!
//! Every operation becomes the one node the importer turns back into it: an affine map a `BatchNormalization` with
//! mean 0, variance 1 and epsilon 0; a polynomial its powers, products and sums, with an `Identity`
//! at the end that keeps them apart from arithmetic that follows.

use std::collections::HashSet;

use prost::Message;

use super::proto::{
    AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetId, ShapeProto, TensorProto,
    TensorType, TypeProto, ValueInfo, attribute_kind, data_type,
};
use crate::float::{Graph, Head, Op};
use crate::graph::{Conv, Node, Window};

/// Writes a network; the graph has to be well-formed ([`Graph::check`]), or the file will not be either.
#[must_use]
pub fn export(graph: &Graph) -> Vec<u8> {
    let mut writer = Writer::default();
    for node in &graph.nodes {
        writer.node(node);
    }
    let end = writer.names.get(graph.output).cloned().unwrap_or_default();
    let shape = graph.nodes.get(graph.output).map_or(&[][..], |node| &node.shape);
    let output = match graph.head {
        Head::Logits => value_info(&end, data_type::FLOAT, shape),
        Head::Softmax => {
            let name = writer.fresh("probabilities");
            writer.push("Softmax", &[&end], &name, vec![int("axis", 1)]);
            value_info(&name, data_type::FLOAT, shape)
        }
        Head::Sigmoid => {
            let name = writer.fresh("probabilities");
            writer.push("Sigmoid", &[&end], &name, Vec::new());
            value_info(&name, data_type::FLOAT, shape)
        }
        Head::ArgMax => {
            let name = writer.fresh("class");
            writer.push("ArgMax", &[&end], &name, vec![int("axis", 1), int("keepdims", 0)]);
            value_info(&name, data_type::INT64, shape.get(1..).unwrap_or_default())
        }
    };
    let input = graph.nodes.first().map_or(&[][..], |node| &node.shape);
    let input_name = writer.names.first().cloned().unwrap_or_default();
    let name = if graph.name.is_empty() { "network" } else { &graph.name };
    let model = ModelProto {
        ir_version: Some(8),
        producer_name: Some("phineus".to_owned()),
        graph: Some(GraphProto {
            node: writer.nodes,
            name: Some(name.to_owned()),
            initializer: writer.tensors,
            input: vec![value_info(&input_name, data_type::FLOAT, input)],
            output: vec![output],
        }),
        opset_import: vec![OperatorSetId { domain: Some(String::new()), version: Some(17) }],
    };
    model.encode_to_vec()
}

#[derive(Default)]
struct Writer {
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    /// ONNX name of each node of the graph.
    names: Vec<String>,
    taken: HashSet<String>,
}

impl Writer {
    fn node(&mut self, node: &Node<Op>) {
        let y = self.fresh(if node.name.is_empty() { "value" } else { &node.name });
        let inputs: Vec<String> =
            node.inputs.iter().map(|&input| self.names.get(input).cloned().unwrap_or_default()).collect();
        let x = inputs.first().cloned().unwrap_or_default();
        let all: Vec<&str> = inputs.iter().map(String::as_str).collect();
        match &node.op {
            Op::Input => {}
            Op::Linear { conv, weights, bias } => {
                self.linear(&x, &y, conv, weights, bias, node.shape.len() == 1)
            }
            Op::Affine { scale, shift } => {
                let zeros = vec![0.0; scale.len()];
                let parameters = [
                    ("scale", scale),
                    ("shift", shift),
                    ("mean", &zeros),
                    ("variance", &vec![1.0; scale.len()]),
                ]
                .map(|(what, values)| self.reals(&format!("{y}.{what}"), &[values.len()], values));
                let all = [&[x][..], &parameters].concat();
                let all: Vec<&str> = all.iter().map(String::as_str).collect();
                self.push("BatchNormalization", &all, &y, vec![float("epsilon", 0.0)]);
            }
            Op::Clip { lo, hi } if (*lo, *hi) == (0.0, f32::INFINITY) => {
                self.push("Relu", &[&x], &y, Vec::new())
            }
            Op::Clip { lo, hi } => {
                let [lo, hi] = [("lo", lo), ("hi", hi)].map(|(what, &bound)| match bound.is_finite() {
                    true => self.reals(&format!("{y}.{what}"), &[], &[bound]),
                    false => String::new(),
                });
                self.push("Clip", &[&x, &lo, &hi], &y, Vec::new());
            }
            Op::Poly { coefficients } => self.polynomial(&x, &y, coefficients),
            Op::HardSwish => self.push("HardSwish", &[&x], &y, Vec::new()),
            Op::Add => self.push("Add", &all, &y, Vec::new()),
            Op::Mul => self.push("Mul", &all, &y, Vec::new()),
            Op::Where { mask } => {
                let bits: Vec<u8> = (0..node.len()).map(|i| mask.contains(i).into()).collect();
                let condition = self.tensor(&format!("{y}.mask"), &node.shape, data_type::BOOL, bits);
                let all: Vec<&str> = std::iter::once(condition.as_str()).chain(all).collect();
                self.push("Where", &all, &y, Vec::new());
            }
            Op::Concat => self.push("Concat", &all, &y, vec![int("axis", 1)]),
            Op::AvgPool { window, count_pad } => {
                let mut attributes = window_attributes(window);
                attributes.push(int("count_include_pad", i64::from(*count_pad)));
                self.push("AveragePool", &[&x], &y, attributes);
            }
            Op::MaxPool(window) => self.push("MaxPool", &[&x], &y, window_attributes(window)),
            Op::Pad { pads: [[front, back], [top, bottom], [left, right]] } => {
                let amounts = [0, *front, *top, *left, 0, *back, *bottom, *right];
                let pads = self.ints(&format!("{y}.pads"), &amounts.map(|n| n as i64));
                self.push("Pad", &[&x, &pads], &y, vec![string("mode", "constant")]);
            }
            Op::Slice { ranges } => {
                let axes: Vec<i64> = (1..=ranges.len() as i64).collect();
                let column = |pick: fn(&(usize, usize, usize)) -> usize| -> Vec<i64> {
                    ranges.iter().map(|range| pick(range) as i64).collect()
                };
                let columns = [
                    ("starts", column(|range| range.0)),
                    ("ends", column(|range| range.1)),
                    ("axes", axes),
                    ("steps", column(|range| range.2)),
                ];
                let [starts, ends, axes, steps] =
                    columns.map(|(what, values)| self.ints(&format!("{y}.{what}"), &values));
                self.push("Slice", &[&x, &starts, &ends, &axes, &steps], &y, Vec::new());
            }
            Op::Reshape => self.reshape(&x, &y, &node.shape),
            Op::Transpose { perm } => {
                let perm = std::iter::once(0).chain(perm.iter().map(|&axis| axis as i64 + 1)).collect();
                self.push("Transpose", &[&x], &y, vec![ints("perm", perm)]);
            }
        }
        self.names.push(y);
    }

    fn linear(&mut self, x: &str, y: &str, conv: &Conv, weights: &[f32], bias: &[f32], flat: bool) {
        let outputs = conv.out_channels;
        if flat && conv.groups == 1 {
            let w = self.reals(&format!("{y}.weight"), &[outputs, conv.in_channels], weights);
            let b = self.reals(&format!("{y}.bias"), &[outputs], bias);
            self.push("Gemm", &[x, &w, &b], y, vec![int("transB", 1)]);
            return;
        }
        let [kh, kw] = conv.kernel;
        let per_group = conv.in_channels / conv.groups.max(1);
        let w = self.reals(&format!("{y}.weight"), &[outputs, per_group, kh, kw], weights);
        let b = self.reals(&format!("{y}.bias"), &[outputs], bias);
        let attributes = vec![
            ints("kernel_shape", signed(&conv.kernel)),
            ints("strides", signed(&conv.stride)),
            ints("pads", signed(&conv.pads)),
            ints("dilations", signed(&conv.dilation)),
            int("group", conv.groups as i64),
        ];
        if !flat {
            self.push("Conv", &[x, &w, &b], y, attributes);
            return;
        }
        // ONNX has no grouped dense layer: a convolution of an image of one pixel.
        let (image, result) = (self.fresh(&format!("{y}.image")), self.fresh(&format!("{y}.result")));
        self.reshape(x, &image, &[conv.in_channels, 1, 1]);
        self.push("Conv", &[&image, &w, &b], &result, attributes);
        self.reshape(&result, y, &[outputs]);
    }

    /// The sum of the non-zero terms.
    fn polynomial(&mut self, x: &str, y: &str, coefficients: &[f32]) {
        let top = coefficients.iter().rposition(|&c| c != 0.0).unwrap_or_default();
        let mut power = x.to_owned();
        let mut sum: Option<String> = None;
        for (degree, &c) in coefficients.iter().enumerate().take(top.max(1) + 1) {
            if degree > 1 {
                let next = self.fresh(&format!("{y}.power{degree}"));
                self.push("Mul", &[&power, x], &next, Vec::new());
                power = next;
            }
            let term = match c {
                // A constant polynomial still depends on its input formally.
                0.0 if degree != 1 || top > 0 => continue,
                1.0 if degree > 0 => power.clone(),
                _ => {
                    let coefficient = self.reals(&format!("{y}.c{degree}"), &[], &[c]);
                    if degree == 0 {
                        coefficient
                    } else {
                        let term = self.fresh(&format!("{y}.term{degree}"));
                        self.push("Mul", &[&power, &coefficient], &term, Vec::new());
                        term
                    }
                }
            };
            sum = Some(match sum {
                None => term,
                Some(before) => {
                    let next = self.fresh(&format!("{y}.sum{degree}"));
                    self.push("Add", &[&before, &term], &next, Vec::new());
                    next
                }
            });
        }
        self.push("Identity", &[sum.as_deref().unwrap_or(x)], y, Vec::new());
    }

    fn reshape(&mut self, x: &str, y: &str, shape: &[usize]) {
        let wanted: Vec<i64> = std::iter::once(-1).chain(signed(shape)).collect();
        let shape = self.ints(&format!("{y}.shape"), &wanted);
        self.push("Reshape", &[x, &shape], y, Vec::new());
    }

    fn push(&mut self, op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: Some(format!("{op}:{output}")),
            op_type: Some(op.to_owned()),
            attribute,
            domain: None,
        });
    }

    fn reals(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, shape, data_type::FLOAT, raw)
    }

    fn ints(&mut self, name: &str, values: &[i64]) -> String {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, &[values.len()], data_type::INT64, raw)
    }

    fn tensor(&mut self, name: &str, shape: &[usize], kind: i32, raw: Vec<u8>) -> String {
        let name = self.fresh(name);
        self.tensors.push(TensorProto {
            dims: signed(shape),
            data_type: Some(kind),
            name: Some(name.clone()),
            raw_data: Some(raw),
            ..TensorProto::default()
        });
        name
    }

    /// A name not yet taken, as close to the wish as possible.
    fn fresh(&mut self, wish: &str) -> String {
        let mut name = wish.to_owned();
        let mut number = 1;
        while !self.taken.insert(name.clone()) {
            number += 1;
            name = format!("{wish}#{number}");
        }
        name
    }
}

fn window_attributes(window: &Window) -> Vec<AttributeProto> {
    vec![
        ints("kernel_shape", signed(&window.kernel)),
        ints("strides", signed(&window.stride)),
        ints("pads", signed(&window.pads)),
        int("ceil_mode", i64::from(window.ceil)),
    ]
}

fn signed(sizes: &[usize]) -> Vec<i64> {
    sizes.iter().map(|&size| size as i64).collect()
}

fn int(name: &str, value: i64) -> AttributeProto {
    let (name, kind) = (Some(name.to_owned()), Some(attribute_kind::INT));
    AttributeProto { name, kind, i: Some(value), ..AttributeProto::default() }
}

fn ints(name: &str, values: Vec<i64>) -> AttributeProto {
    let (name, kind) = (Some(name.to_owned()), Some(attribute_kind::INTS));
    AttributeProto { name, kind, ints: values, ..AttributeProto::default() }
}

fn float(name: &str, value: f32) -> AttributeProto {
    let (name, kind) = (Some(name.to_owned()), Some(attribute_kind::FLOAT));
    AttributeProto { name, kind, f: Some(value), ..AttributeProto::default() }
}

fn string(name: &str, value: &str) -> AttributeProto {
    let (name, kind) = (Some(name.to_owned()), Some(attribute_kind::STRING));
    AttributeProto { name, kind, s: Some(value.as_bytes().to_vec()), ..AttributeProto::default() }
}

fn value_info(name: &str, kind: i32, shape: &[usize]) -> ValueInfo {
    let batch = Dimension { value: None, param: Some("n".to_owned()) };
    let sides = shape.iter().map(|&side| Dimension { value: Some(side as i64), param: None });
    let shape = ShapeProto { dim: std::iter::once(batch).chain(sides).collect() };
    let tensor = TensorType { elem_type: Some(kind), shape: Some(shape) };
    ValueInfo { name: Some(name.to_owned()), kind: Some(TypeProto { tensor: Some(tensor) }) }
}
