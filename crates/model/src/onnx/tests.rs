#![allow(clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;
use prost::Message;

use super::import::import_within;
use super::proto::*;
use super::*;
use crate::float::{Builder, Graph, Head, Op};
use crate::graph::{Conv, Mask, Window};

mod idioms;

/// A file with one input `x`, these nodes and constants, and the last node's output as result.
struct File {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    input: Vec<i64>,
}

impl File {
    fn new(input: &[i64]) -> Self {
        Self { nodes: Vec::new(), constants: Vec::new(), input: input.to_vec() }
    }

    /// Adds `output = op(inputs)`.
    fn node(mut self, op: &str, inputs: &[&str], output: &str) -> Self {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            op_type: Some(op.to_owned()),
            ..NodeProto::default()
        });
        self
    }

    fn output(mut self, name: &str) -> Self {
        self.nodes.last_mut().unwrap().output.push(name.to_owned());
        self
    }

    fn attribute(mut self, attribute: AttributeProto) -> Self {
        self.nodes.last_mut().unwrap().attribute.push(attribute);
        self
    }

    fn int(self, name: &str, value: i64) -> Self {
        self.attribute(AttributeProto { name: Some(name.into()), i: Some(value), ..Default::default() })
    }

    fn ints(self, name: &str, values: &[i64]) -> Self {
        self.attribute(AttributeProto {
            name: Some(name.into()),
            ints: values.to_vec(),
            ..Default::default()
        })
    }

    fn word(self, name: &str, value: &str) -> Self {
        let s = Some(value.as_bytes().to_vec());
        self.attribute(AttributeProto { name: Some(name.into()), s, ..Default::default() })
    }

    fn reals(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        self.constants.push(TensorProto {
            dims: dims.to_vec(),
            data_type: Some(data_type::FLOAT),
            float_data: values.to_vec(),
            name: Some(name.to_owned()),
            ..TensorProto::default()
        });
        self
    }

    fn whole(mut self, name: &str, values: &[i64]) -> Self {
        self.constants.push(TensorProto {
            dims: vec![values.len() as i64],
            data_type: Some(data_type::INT64),
            int64_data: values.to_vec(),
            name: Some(name.to_owned()),
            ..TensorProto::default()
        });
        self
    }

    fn model(self) -> ModelProto {
        let dim = |&side: &i64| Dimension { value: Some(side), param: None };
        let tensor = TensorType {
            elem_type: Some(data_type::FLOAT),
            shape: Some(ShapeProto { dim: self.input.iter().map(dim).collect() }),
        };
        let kind = Some(TypeProto { tensor: Some(tensor) });
        let output = self.nodes.last().map(|node| node.output[0].clone());
        ModelProto {
            graph: Some(GraphProto {
                node: self.nodes,
                name: Some("test".into()),
                initializer: self.constants,
                input: vec![ValueInfo { name: Some("x".into()), kind }],
                output: vec![ValueInfo { name: output, kind: None }],
            }),
            opset_import: vec![OperatorSetId { domain: None, version: Some(17) }],
            ..ModelProto::default()
        }
    }

    fn import(self) -> Result<Graph, ImportError> {
        import(&self.model().encode_to_vec())
    }

    /// The operations after the input.
    fn ops(self) -> Vec<Op> {
        self.import().unwrap().nodes.into_iter().skip(1).map(|node| node.op).collect()
    }

    fn reason(self) -> String {
        match self.import() {
            Err(ImportError::Unsupported { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }
}

fn poly(coefficients: &[f32]) -> Op {
    Op::Poly { coefficients: coefficients.to_vec() }
}

#[test]
fn every_spelling_of_a_polynomial_is_one() {
    let file =
        || File::new(&[1, 4]).reals("a", &[], &[0.5]).reals("b", &[1], &[0.25]).reals("two", &[], &[2.0]);
    assert_eq!(file().node("Mul", &["x", "x"], "y").ops(), [poly(&[0.0, 0.0, 1.0])]);
    assert_eq!(file().node("Pow", &["x", "two"], "y").ops(), [poly(&[0.0, 0.0, 1.0])]);
    let square_plus = file().node("Mul", &["x", "x"], "s").node("Add", &["s", "x"], "y");
    assert_eq!(square_plus.ops(), [poly(&[0.0, 1.0, 1.0])]);
    let delphi = file()
        .node("Mul", &["x", "a"], "ax")
        .node("Add", &["ax", "b"], "axb")
        .node("Mul", &["two", "x"], "tx")
        .node("Mul", &["tx", "x"], "txx")
        .node("Add", &["axb", "txx"], "y");
    assert_eq!(delphi.ops(), [poly(&[0.25, 0.5, 2.0])]);
    let horner = file()
        .node("Mul", &["x", "a"], "ax")
        .node("Sub", &["b", "ax"], "t")
        .node("Mul", &["t", "x"], "tx")
        .node("Div", &["tx", "two"], "h")
        .node("Neg", &["h"], "y");
    assert_eq!(horner.ops(), [poly(&[0.0, -0.125, 0.25])]);
    // An identity keeps a polynomial of a polynomial apart; without it they are one.
    let twice = file().node("Mul", &["x", "x"], "s").node("Mul", &["s", "s"], "y");
    assert_eq!(twice.ops(), [poly(&[0.0, 0.0, 0.0, 0.0, 1.0])]);
    let apart =
        file().node("Mul", &["x", "x"], "s").node("Identity", &["s"], "i").node("Mul", &["i", "i"], "y");
    assert_eq!(apart.ops(), [poly(&[0.0, 0.0, 1.0]), poly(&[0.0, 0.0, 1.0])]);
    // Degree one is an affine map; cancelling everything is no network.
    let affine = file().node("Mul", &["x", "a"], "ax").node("Add", &["ax", "b"], "y");
    assert_eq!(affine.ops(), [Op::Affine { scale: vec![0.5; 4], shift: vec![0.25; 4] }]);
    assert!(
        file().node("Sub", &["x", "x"], "y").import().unwrap_err().to_string().contains("does not depend")
    );
    assert!(file().node("Pow", &["x", "a"], "y").reason().contains("exponent 0.5"));
    // Far beyond any sensible degree it is computed step by step.
    let high = (0..8).fold(file().node("Mul", &["x", "x"], "p0"), |file, i| {
        file.node("Mul", &[&format!("p{i}"), &format!("p{i}")], &format!("p{}", i + 1))
    });
    let high = high.import().unwrap();
    assert_eq!(high.run(&[1.0, -1.0, 0.0, 1.01]).unwrap()[..3], [1.0, 1.0, 0.0]);
}

#[test]
fn sums_and_products_of_values() {
    let file = || File::new(&[1, 2, 3, 3]).node("Relu", &["x"], "r").node("GlobalAveragePool", &["r"], "m");
    assert_eq!(file().node("Mul", &["r", "m"], "y").ops().last(), Some(&Op::Mul));
    assert_eq!(file().node("Add", &["r", "x"], "y").ops().last(), Some(&Op::Add));
    assert!(file().node("Add", &["r", "m"], "y").reason().contains("one shape"));
    assert!(file().node("Div", &["r", "x"], "y").reason().contains("constant"));
    let difference = file().node("Sub", &["x", "r"], "y").import().unwrap();
    assert_eq!(difference.run(&[-2.0; 18]).unwrap(), [-2.0; 18]);

    let file = || {
        File::new(&[1, 2, 3, 3]).reals("c", &[1, 2, 1, 1], &[2.0, 4.0]).reals("full", &[2, 3, 3], &[1.0; 18])
    };
    let affine =
        |scale: [f32; 2], shift: [f32; 2]| vec![Op::Affine { scale: scale.into(), shift: shift.into() }];
    assert_eq!(file().node("Mul", &["c", "x"], "y").ops(), affine([2.0, 4.0], [0.0; 2]));
    assert_eq!(file().node("Div", &["x", "c"], "y").ops(), affine([0.5, 0.25], [0.0; 2]));
    assert_eq!(file().node("Sub", &["c", "x"], "y").ops(), affine([-1.0; 2], [2.0, 4.0]));
    assert!(file().node("Add", &["x", "full"], "y").reason().contains("per channel"));
}

#[test]
fn dense_layers() {
    let weights: Vec<f32> = (1..=6).map(|w| w as f32).collect();
    let file = || File::new(&[1, 3]).reals("w", &[3, 2], &weights).reals("b", &[2], &[10.0, 20.0]);
    let dense = |weights: &[f32], bias: &[f32]| {
        vec![Op::Linear { conv: Conv::dense(3, 2), weights: weights.to_vec(), bias: bias.to_vec() }]
    };
    let rows = [1.0, 3.0, 5.0, 2.0, 4.0, 6.0];
    assert_eq!(file().node("MatMul", &["x", "w"], "m").ops(), dense(&rows, &[0.0; 2]));
    let biased = file().node("MatMul", &["x", "w"], "m").node("Add", &["b", "m"], "y");
    assert_eq!(biased.ops(), dense(&rows, &[10.0, 20.0]));
    assert_eq!(file().node("Gemm", &["x", "w", "b"], "y").ops(), dense(&rows, &[10.0, 20.0]));
    // A second reader of the product keeps the sum apart, also behind another name.
    let shared = file().node("MatMul", &["x", "w"], "m").node("Flatten", &["m"], "f");
    let shared = shared.node("Add", &["f", "b"], "a").node("Mul", &["a", "m"], "y");
    assert_eq!(shared.import().unwrap().run(&[1.0, 0.0, 0.0]).unwrap(), [11.0, 44.0]);
    assert!(file().node("Gemm", &["x", "w"], "y").int("transA", 1).reason().contains("batch"));
    assert!(file().node("Gemm", &["x", "w"], "y").int("transB", 1).reason().contains("weights"));
    assert!(File::new(&[1, 3]).node("MatMul", &["x", "x"], "y").reason().contains("two values"));
}

#[test]
fn padding_by_name() {
    for (auto, side, stride, pads) in [
        ("SAME_UPPER", 5, 2, [1, 1, 1, 1]),
        ("SAME_UPPER", 6, 2, [0, 0, 1, 1]),
        ("SAME_LOWER", 6, 2, [1, 1, 0, 0]),
        ("VALID", 6, 1, [0; 4]),
    ] {
        let file = File::new(&[1, 1, side, side]).reals("w", &[1, 1, 3, 3], &[1.0; 9]);
        let file =
            file.node("Conv", &["x", "w"], "y").word("auto_pad", auto).ints("strides", &[stride, stride]);
        match &file.ops()[0] {
            Op::Linear { conv, .. } => assert_eq!(conv.pads, pads, "{auto} {side}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn shape_subgraphs_are_evaluated() {
    // x.view(x.size(0), -1)
    let flatten = File::new(&[1, 2, 3, 3])
        .whole("zero", &[0])
        .whole("rest", &[-1])
        .node("Shape", &["x"], "s")
        .node("Gather", &["s", "zero"], "n")
        .node("Concat", &["n", "rest"], "to")
        .int("axis", 0)
        .node("Reshape", &["x", "to"], "y");
    assert_eq!(flatten.import().unwrap().nodes[1].shape, [18]);
    // Channel shuffle with the group size computed.
    let shuffle = File::new(&[1, 6, 2, 2])
        .whole("one", &[1])
        .whole("two", &[2])
        .whole("four", &[4])
        .whole("to", &[1, 6, 2, 2])
        .node("Shape", &["x"], "s")
        .node("Slice", &["s", "one", "two"], "c")
        .node("Div", &["c", "two"], "half")
        .node("Slice", &["s", "two", "four"], "hw")
        .node("Concat", &["one", "two", "half", "hw"], "split")
        .int("axis", 0)
        .node("Reshape", &["x", "split"], "a")
        .node("Transpose", &["a"], "b")
        .ints("perm", &[0, 2, 1, 3, 4])
        .node("Reshape", &["b", "to"], "y");
    let shuffle = shuffle.import().unwrap();
    assert_eq!(shuffle.nodes[1].shape, [2, 3, 2, 2]);
    assert_eq!(shuffle.nodes[2].op, Op::Transpose { perm: vec![1, 0, 2, 3] });
    let x: Vec<f32> = (0..24).map(|i| (i / 4) as f32).collect();
    let first: Vec<f32> = shuffle.run(&x).unwrap().into_iter().step_by(4).collect();
    assert_eq!(first, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
}

#[test]
fn movers_and_pools() {
    let file = || File::new(&[1, 4, 6, 6]);
    let halves = file().node("Split", &["x"], "a").output("b").int("axis", 1).node("Add", &["a", "b"], "y");
    assert_eq!(halves.import().unwrap().nodes[3].shape, [2, 6, 6]);
    let mean = file().node("ReduceMean", &["x"], "y").ints("axes", &[-1, 2]).int("keepdims", 0);
    assert_eq!(mean.import().unwrap().nodes[2].shape, [4]);
    let padded = file().whole("p", &[0, 1, 0, 2, 0, 0, 3, 0]).node("Pad", &["x", "p"], "y");
    assert_eq!(padded.ops(), [Op::Pad { pads: [[1, 0], [0, 3], [2, 0]] }]);
    let cut = file().whole("s", &[1, -2]).whole("e", &[i64::MAX, -1]).whole("a", &[1, 3]);
    let cut = cut.node("Slice", &["x", "s", "e", "a"], "y");
    assert_eq!(cut.ops(), [Op::Slice { ranges: vec![(1, 4, 1), (0, 6, 1), (4, 5, 1)] }]);
    let window = Window { kernel: [3, 3], stride: [2, 2], pads: [0; 4], ceil: true };
    let pool = file().node("MaxPool", &["x"], "y").ints("kernel_shape", &[3, 3]).ints("strides", &[2, 2]);
    assert_eq!(pool.int("ceil_mode", 1).ops(), [Op::MaxPool(window)]);
    let squeezed =
        file().node("GlobalAveragePool", &["x"], "m").whole("a", &[2, 3]).node("Squeeze", &["m", "a"], "y");
    assert_eq!(squeezed.import().unwrap().nodes[2].shape, [4]);
    assert!(file().whole("a", &[0]).node("Squeeze", &["x", "a"], "y").reason().contains("batch"));
    assert!(file().node("Concat", &["x", "x"], "y").int("axis", 2).reason().contains("channels"));
    assert!(file().node("Transpose", &["x"], "y").ints("perm", &[1, 0, 2, 3]).reason().contains("batch"));
}

#[test]
fn heads() {
    let file = || File::new(&[1, 4]).node("Relu", &["x"], "r");
    assert_eq!(file().node("Softmax", &["r"], "y").import().unwrap().head, Head::Softmax);
    let class = file().node("LogSoftmax", &["r"], "s").node("ArgMax", &["s"], "y").int("axis", 1);
    let class = class.import().unwrap();
    assert_eq!((class.head, class.output), (Head::ArgMax, 1));
    assert!(file().node("Softmax", &["r"], "s").node("Relu", &["s"], "y").reason().contains("end"));
    assert!(file().node("ArgMax", &["r"], "y").int("axis", 0).import().is_err());
}

#[test]
fn refusals_name_node_operator_and_reason() {
    let leaky = File::new(&[1, 4]).node("LeakyRelu", &["x"], "y").import().unwrap_err();
    let text = leaky.to_string();
    assert!(text.contains("`y`") && text.contains("LeakyRelu") && text.contains("Clip"), "{text}");
    assert!(File::new(&[1, 4]).node("Frobnicate", &["x"], "y").reason().contains("not supported"));
    assert!(File::new(&[1, 4]).node("Relu", &["z"], "y").reason().contains("`z`"));
    assert!(File::new(&[1, 4]).node("Relu", &["x"], "x").reason().contains("taken"));
    assert!(File::new(&[2, 4]).node("Relu", &["x"], "y").import().unwrap_err().to_string().contains("batch"));
    assert!(File::new(&[1, 4]).reals("w", &[3], &[0.0; 2]).node("Relu", &["x"], "y").import().is_err());
    let infinite =
        File::new(&[1, 2]).reals("w", &[2, 1], &[f32::INFINITY, 0.0]).node("MatMul", &["x", "w"], "y");
    assert!(infinite.reason().contains("finite"));
    let mut old = File::new(&[1, 4]).node("Relu", &["x"], "y").model();
    old.opset_import[0].version = Some(12);
    assert!(import(&old.encode_to_vec()).unwrap_err().to_string().contains("12"));
    let mut many = File::new(&[1, 4]).node("Relu", &["x"], "y").model();
    many.graph.as_mut().unwrap().node = vec![NodeProto::default(); 100_001];
    assert!(matches!(import(&many.encode_to_vec()), Err(ImportError::TooLarge { .. })));
    assert!(matches!(import(b"\xff\xff\xff"), Err(ImportError::Decode(_))));
    assert!(import(b"").is_err());
}

#[test]
fn little_files_that_ask_for_much_are_refused() {
    let side = 1 << 20;
    let huge = File::new(&[1, 4]).whole("s", &[side, side]).node("ConstantOfShape", &["s"], "c");
    assert!(huge.node("Add", &["x", "c"], "y").reason().contains("too large"));
    let wide = File::new(&[1, i64::MAX, i64::MAX, 2]).node("Relu", &["x"], "y");
    assert!(wide.import().is_err());
    let padded = File::new(&[1, 1, 2, 2]).whole("p", &[0, 0, 0, 0, 0, 0, i64::MAX, i64::MAX]);
    assert!(padded.node("Pad", &["x", "p"], "y").import().is_err());
    // Many parameters from a scalar: the budget of the whole file ends it.
    let mut greedy = File::new(&[1, 1 << 10]).reals("a", &[], &[2.0]);
    greedy = greedy.reals("lo", &[], &[0.0]).node("Mul", &["x", "a"], "m0").node("Relu", &["m0"], "r0");
    for i in 1..4 {
        let before = format!("r{}", i - 1);
        greedy = greedy.node("Mul", &[&before, "a"], &format!("m{i}")).node(
            "Relu",
            &[&format!("m{i}")],
            &format!("r{i}"),
        );
    }
    let bytes = greedy.model().encode_to_vec();
    assert!(import_within(&bytes, 6 << 10).is_err());
    assert!(import_within(&bytes, 9 << 10).is_ok());
}

/// Every operation once.
fn sampler() -> Graph {
    let mut b = Builder::new("sampler", "image", &[4, 8, 8]).unwrap();
    let conv = Conv { input: [8, 8], kernel: [3, 3], pads: [1, 0, 1, 2], groups: 2, ..Conv::dense(4, 6) };
    let c = b.push("c", Op::Linear { conv, weights: vec![0.1; 108], bias: vec![-0.5; 6] }, &[0]).unwrap();
    let a = b.push("a", Op::Affine { scale: vec![2.0; 6], shift: vec![0.25; 6] }, &[c]).unwrap();
    let p = b.push("p", poly(&[0.5, 0.0, -1.5, 1.0]), &[a]).unwrap();
    let q = b.push("q", poly(&[0.0, 1.0, 1.0]), &[p]).unwrap();
    let k = b.push("k", Op::Clip { lo: f32::NEG_INFINITY, hi: 6.0 }, &[q]).unwrap();
    let s = b.push("s", Op::Add, &[k, p]).unwrap();
    let window = Window { kernel: [2, 2], stride: [2, 1], pads: [1, 0, 0, 1], ceil: true };
    let m = b.push("m", Op::MaxPool(window), &[s]).unwrap();
    let v = b.push("v", Op::AvgPool { window, count_pad: true }, &[m]).unwrap();
    let [_, h, w] = b.node(v).unwrap().shape[..] else { panic!() };
    let whole = Window { kernel: [h, w], stride: [1, 1], pads: [0; 4], ceil: false };
    let g = b.push("g", Op::AvgPool { window: whole, count_pad: false }, &[v]).unwrap();
    let x = b.push("", Op::Mul, &[g, v]).unwrap();
    let j = b.push("c", Op::Concat, &[x, v]).unwrap();
    let pads = b.push("", Op::Pad { pads: [[1, 0], [0, 2], [3, 0]] }, &[j]).unwrap();
    let sl = b.push("sl", Op::Slice { ranges: vec![(1, 9, 2), (0, h, 1), (2, w, 3)] }, &[pads]).unwrap();
    let t = b.push("t", Op::Transpose { perm: vec![2, 0, 1] }, &[sl]).unwrap();
    let n = b.node(t).unwrap().len();
    let r = b.push("r", Op::Clip { lo: 0.0, hi: f32::INFINITY }, &[t]).unwrap();
    let mask = Mask::new(&(0..n).map(|i| i % 5 == 2).collect::<Vec<_>>());
    let t = b.push("w", Op::Where { mask }, &[r, t]).unwrap();
    let f = b.reshape("f", t, &[n]).unwrap();
    let dense = Op::Linear { conv: Conv::dense(n, 3), weights: vec![0.25; 3 * n], bias: vec![1.0; 3] };
    let d = b.push("d", dense, &[f]).unwrap();
    b.finish(d, Head::ArgMax).unwrap()
}

#[test]
fn choices_by_element() {
    let bits = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0];
    let mask = Mask::new(&bits.map(|bit| bit == 1.0));
    let (relu, line) = (Op::Clip { lo: 0.0, hi: f32::INFINITY }, poly(&[0.0, 0.0, 1.0]));
    let file = || {
        let rest: Vec<f32> = bits.iter().map(|bit| 1.0 - bit).collect();
        let file = File::new(&[1, 2, 3, 1]).reals("m", &[1, 2, 3, 1], &bits).reals("rest", &[2, 3, 1], &rest);
        file.node("Relu", &["x"], "r").node("Mul", &["x", "x"], "s")
    };
    let expected = [relu.clone(), line.clone(), Op::Where { mask: mask.clone() }];
    let halves = |file: File| file.node("Mul", &["m", "r"], "a").node("Mul", &["s", "rest"], "b");
    assert_eq!(halves(file()).node("Add", &["a", "b"], "y").ops(), expected);
    let with_one = file().reals("one", &[], &[1.0]).node("Sub", &["one", "m"], "off");
    let with_one = with_one.node("Mul", &["m", "r"], "a").node("Mul", &["s", "off"], "b");
    assert_eq!(with_one.node("Add", &["a", "b"], "y").ops(), expected);
    assert_eq!(file().node("Where", &["m", "r", "s"], "y").ops(), expected);
    // The other order has the other mask; an identity is the value itself.
    let swapped = halves(file()).node("Add", &["b", "a"], "y").ops();
    assert_eq!(swapped[2], Op::Where { mask: mask.complement(6) });
    let linear = file().node("Where", &["m", "r", "x"], "y").import().unwrap();
    assert_eq!((&linear.nodes[2].op, &linear.nodes[2].inputs), (&Op::Where { mask }, &vec![1, 0]));
    assert_eq!(linear.run(&[-1.0, -2.0, 3.0, 4.0, -5.0, 6.0]).unwrap(), [0.0, -2.0, 3.0, 4.0, 0.0, 6.0]);
    // A mask of everything chooses nothing.
    let all = file().reals("all", &[2, 3, 1], &[1.0; 6]).node("Where", &["all", "r", "s"], "y").ops();
    assert_eq!(all, [relu, line]);
    // Everything else is named.
    assert!(halves(file()).node("Add", &["a", "a"], "y").reason().contains("complete"));
    assert!(halves(file()).node("Add", &["a", "x"], "y").reason().contains("mask"));
    assert!(halves(file()).node("Relu", &["a"], "y").reason().contains("mask"));
    assert!(file().node("Where", &["m", "r", "m"], "y").reason().contains("constant"));
    assert!(file().node("Where", &["x", "r", "s"], "y").reason().contains("constant"));
    let wide = file().reals("w", &[2], &[1.0, 0.0]).node("Where", &["w", "r", "s"], "y");
    assert!(wide.reason().contains("one per element"));
    let half = file().reals("h", &[2, 3, 1], &[0.5; 6]).node("Where", &["h", "r", "s"], "y");
    assert!(half.reason().contains("one per element"));
    // Zeros and ones times the features of a flat value are factors.
    let flat = File::new(&[1, 3]).reals("m", &[3], &[1.0, 0.0, 1.0]).node("Mul", &["x", "m"], "y");
    assert_eq!(flat.ops(), [Op::Affine { scale: vec![1.0, 0.0, 1.0], shift: vec![0.0; 3] }]);
}

#[test]
fn every_operation_survives_the_round_trip() {
    for head in [Head::Logits, Head::Softmax, Head::ArgMax] {
        let graph = Graph { head, ..sampler() };
        let back = import(&export(&graph)).unwrap();
        let unnamed = |graph: &Graph| {
            let mut graph = graph.clone();
            graph.nodes.iter_mut().for_each(|node| node.name.clear());
            graph
        };
        assert_eq!(unnamed(&back), unnamed(&graph));
    }
    // A grouped dense layer has no counterpart, but the same meaning.
    let mut b = Builder::new("g", "x", &[4]).unwrap();
    let conv = Conv { groups: 2, ..Conv::dense(4, 2) };
    let y = b
        .push("y", Op::Linear { conv, weights: vec![1.0, 2.0, 3.0, 4.0], bias: vec![0.5; 2] }, &[0])
        .unwrap();
    let graph = b.finish(y, Head::Logits).unwrap();
    let back = import(&export(&graph)).unwrap();
    assert_eq!(back.run(&[1.0, 1.0, 1.0, 1.0]).unwrap(), [3.5, 7.5]);
}

#[test]
fn stored_models_import_and_round_trip() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/models");
    let Ok(entries) = std::fs::read_dir(folder) else {
        eprintln!("skipped: no stored models");
        return;
    };
    for path in entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
    {
        let graph = import(&std::fs::read(&path).unwrap()).unwrap();
        graph.check().unwrap();
        assert_eq!(import(&export(&graph)).unwrap(), graph, "{}", path.display());
        let name = path.file_stem().unwrap().to_str().unwrap();
        let count = |test: fn(&Op) -> bool| graph.nodes.iter().filter(|node| test(&node.op)).count();
        let polynomials = count(|op| matches!(op, Op::Poly { coefficients } if coefficients.len() == 3));
        let clips = count(|op| matches!(op, Op::Clip { .. }));
        match name.strip_prefix("delphi_minionn_").and_then(|rest| rest.strip_suffix("_approx")) {
            Some(number) => assert_eq!((polynomials, clips), (number.parse().unwrap(), 7 - polynomials)),
            None if name == "akamaster_resnet20" => {
                assert_eq!((clips, graph.nodes.len()), (19, 57));
                assert_eq!(count(|op| matches!(op, Op::Pad { .. })), 2);
            }
            None => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Flipped bytes, cut ends and appended garbage give an error or a well-formed graph, never a panic.
    #[test]
    fn mutated_files_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(), cuts in any::<bool>(),
        tail in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut bytes = export(&sampler());
        for (place, value) in flips {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(tail);
        if let Ok(graph) = import(&bytes) {
            graph.check().unwrap();
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = import(&bytes);
    }

    /// Well-formed messages with senseless numbers reach deeper than flipped bytes do.
    #[test]
    fn senseless_attributes_never_panic(
        node in any::<prop::sample::Index>(), attribute in any::<prop::sample::Index>(),
        values in prop::collection::vec(prop_oneof![any::<i64>(), -3i64..9], 0..9),
        tensor in any::<prop::sample::Index>(), dims in prop::collection::vec(prop_oneof![any::<i64>(), -1i64..9], 0..5),
    ) {
        let mut model = ModelProto::decode(&export(&sampler())[..]).unwrap();
        let graph = model.graph.as_mut().unwrap();
        let index = node.index(graph.node.len());
        let node = &mut graph.node[index];
        if !node.attribute.is_empty() {
            let index = attribute.index(node.attribute.len());
            let attribute = &mut node.attribute[index];
            attribute.i = values.first().copied();
            attribute.ints.clone_from(&values);
        }
        let index = tensor.index(graph.initializer.len());
        let tensor = &mut graph.initializer[index];
        if tensor.data_type == Some(data_type::INT64) {
            tensor.dims = vec![values.len() as i64];
            tensor.raw_data = Some(values.iter().flat_map(|v| v.to_le_bytes()).collect());
        } else {
            tensor.dims = dims;
        }
        if let Ok(graph) = import(&model.encode_to_vec()) {
            graph.check().unwrap();
        }
    }
}
