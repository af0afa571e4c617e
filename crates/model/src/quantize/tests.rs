//! Small networks, one per pattern: integers follow the floats, structure and errors are as promised.

use std::f32::consts::PI;

use super::*;
use crate::fixed::{Act, Op};
use crate::float::{Builder, Graph, Head, Op as Float};
use crate::graph::{Conv, Mask, Node, NodeId, Window};
use crate::reference;

/// Deterministic numbers in [-1, 1).
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A network under construction, with random weights of a sensible size.
struct Net {
    builder: Builder,
    layers: u64,
}

impl Net {
    fn new(shape: &[usize]) -> Self {
        Self { builder: Builder::new("net", "input", shape).unwrap(), layers: 0 }
    }

    fn push(&mut self, op: Float, inputs: &[NodeId]) -> NodeId {
        let name = format!("n{}", self.builder.nodes().len());
        self.builder.push(&name, op, inputs).unwrap()
    }

    fn linear(&mut self, x: NodeId, conv: Conv) -> NodeId {
        self.layers += 1;
        let size = (3.0 / conv.weights_per_output() as f32).sqrt();
        let scaled = |values: Vec<f32>, size: f32| values.into_iter().map(|v| v * size).collect();
        let weights = scaled(numbers(conv.weight_len(), self.layers), size);
        let bias = scaled(numbers(conv.out_channels, self.layers + 100), 0.1);
        self.push(Float::Linear { conv, weights, bias }, &[x])
    }

    fn conv(&mut self, x: NodeId, out: usize, kernel: usize, stride: usize) -> NodeId {
        let &[c, h, w] = &self.builder.nodes()[x].shape[..] else { panic!("no image") };
        let conv = Conv {
            input: [h, w],
            kernel: [kernel; 2],
            stride: [stride; 2],
            pads: [kernel / 2; 4],
            ..Conv::dense(c, out)
        };
        self.linear(x, conv)
    }

    fn relu(&mut self, x: NodeId) -> NodeId {
        self.push(Float::Clip { lo: 0.0, hi: f32::INFINITY }, &[x])
    }

    fn conv_relu(&mut self, x: NodeId, out: usize) -> NodeId {
        let y = self.conv(x, out, 3, 1);
        self.relu(y)
    }

    fn classes(mut self, x: NodeId, classes: usize) -> Graph {
        let len = self.builder.nodes()[x].len();
        let flat = self.builder.reshape("flat", x, &[len]).unwrap();
        let y = self.linear(flat, Conv::dense(len, classes));
        self.finish(y)
    }

    fn finish(self, output: NodeId) -> Graph {
        self.builder.finish(output, Head::Logits).unwrap()
    }
}

/// Pixels in [0, 1], for the channels of this network.
fn unit(graph: &Graph) -> Preprocess {
    let channels = if let [c, _, _] = graph.nodes[0].shape[..] { c } else { 1 };
    Preprocess { mean: vec![0.0; channels], std: vec![1.0; channels], bgr: false }
}

fn inputs(graph: &Graph, count: u64) -> Vec<Vec<f32>> {
    let n = graph.nodes[0].len();
    (0..count).map(|i| numbers(n, 1000 + i).into_iter().map(|v| (v + 1.0) / 2.0).collect()).collect()
}

fn window(kernel: usize, stride: usize, pad: usize) -> Window {
    Window { kernel: [kernel; 2], stride: [stride; 2], pads: [pad; 4], ceil: false }
}

fn compile_with(graph: &Graph, options: &Options) -> Result<Model, QuantizeError> {
    quantize(graph, &inputs(graph, 24), unit(graph), options)
}

fn compile(graph: &Graph) -> Model {
    compile_with(graph, &Options::default()).unwrap()
}

/// Root mean square of the difference between integers and floats, relative to that of the floats, on new inputs.
fn distance(graph: &Graph, model: &Model) -> f64 {
    let (mut error, mut size) = (0.0, 0.0);
    for x in inputs(graph, 40).iter().skip(24) {
        let float = graph.run(x).unwrap();
        let integer = reference::run(model, &model.encode_input(x).unwrap()).unwrap();
        for (a, b) in float.iter().zip(model.decode_output(&integer)) {
            error += f64::from(a - b).powi(2);
            size += f64::from(*a).powi(2);
        }
    }
    (error / size).sqrt()
}

fn follows(graph: &Graph, tolerance: f64) -> Model {
    let model = compile(graph);
    let distance = distance(graph, &model);
    assert!(distance < tolerance, "distance {distance}\n{:#?}", report(&model));
    model
}

fn acts(model: &Model) -> Vec<Act> {
    let act = |op: &Op| if let Op::Act(act) = op { Some(*act) } else { None };
    model.graph.nodes.iter().filter_map(|node| act(&node.op)).collect()
}

fn shifts(model: &Model) -> Vec<Vec<u32>> {
    let shifts = |op: &Op| if let Op::Add { shifts } = op { Some(shifts.clone()) } else { None };
    model.graph.nodes.iter().filter_map(|node| shifts(&node.op)).collect()
}

/// A network with every integer operation, for the tests of other modules.
pub(crate) fn every_operation() -> Model {
    let mut net = Net::new(&[2, 8, 8]);
    let x = net.conv_relu(0, 4);
    let y = net.conv(x, 4, 3, 1);
    let sum = net.push(Float::Add, &[x, y]);
    let pooled = net.push(Float::MaxPool(window(2, 2, 0)), &[sum]);
    let y = net.relu(pooled);
    let sliced = net.push(Float::Slice { ranges: vec![(0, 4, 2), (0, 4, 1), (0, 4, 1)] }, &[y]);
    let padded = net.push(Float::Pad { pads: [[1, 1], [0, 0], [0, 0]] }, &[sliced]);
    let joined = net.push(Float::Concat, &[y, padded]);
    let turned = net.push(Float::Transpose { perm: vec![0, 2, 1] }, &[joined]);
    let z = net.conv(turned, 4, 1, 1);
    let rectified = net.relu(z);
    let z = net.push(Float::Poly { coefficients: vec![0.1, 0.5, 0.25] }, &[z]);
    let z = net.push(Float::Where { mask: every_third(64) }, &[rectified, z]);
    let gated = gates::squeeze_and_excite(&mut net, z);
    let mean = net.push(Float::AvgPool { window: window(2, 2, 0), count_pad: false }, &[gated]);
    let graph = net.classes(mean, 3);
    let model = compile_with(
        &graph,
        &Options { labels: vec!["a".into(), "b".into(), "c".into()], ..Options::default() },
    );
    model.unwrap()
}

#[test]
fn every_operation_occurs_once_at_least() {
    let model = every_operation();
    let names: Vec<&str> = report(&model).iter().map(|row| row.op).collect();
    for op in [
        "input",
        "convolution",
        "dense",
        "maximum",
        "quadratic",
        "add",
        "sum pool",
        "concat",
        "pad",
        "slice",
        "select",
        "merge",
        "product",
    ] {
        assert!(names.contains(&op), "{op} in {names:?}");
    }
    assert!(names.contains(&"transpose") && names.contains(&"reshape"));
}

fn every_third(len: usize) -> Mask {
    Mask::new(&(0..len).map(|i| i % 3 == 1).collect::<Vec<_>>())
}

/// Rectifiers, lines and parabolas in one layer: each element is computed by its own activation and by no other.
#[test]
fn activations_by_element() {
    let mut net = Net::new(&[2, 6, 6]);
    let x = net.conv(0, 4, 3, 1);
    let rectified = net.relu(x);
    let line = net.push(Float::Where { mask: every_third(144) }, &[rectified, x]);
    let x = net.conv(line, 4, 3, 1);
    let rectified = net.relu(x);
    let parabola = net.push(Float::Poly { coefficients: vec![0.1, 0.5, 0.25] }, &[x]);
    let both = net.push(Float::Where { mask: every_third(144) }, &[parabola, rectified]);
    let graph = net.classes(both, 4);
    let model = follows(&graph, 0.03);
    let acts: Vec<(usize, bool, i32)> = model
        .graph
        .nodes
        .iter()
        .filter_map(|node| match &node.op {
            Op::Act(act) => Some((node.len(), act.quadratic.is_some(), act.rescale.lo)),
            _ => None,
        })
        .collect();
    assert_eq!(acts, [(48, false, 0), (96, false, -128), (48, true, -128), (96, false, 0)]);
    assert_eq!(model.graph.secret_layers(), 3);
    // A rectifier that something else reads as well is computed for all elements there.
    let mut net = Net::new(&[2, 4, 4]);
    let x = net.conv(0, 2, 3, 1);
    let rectified = net.relu(x);
    let chosen = net.push(Float::Where { mask: every_third(32) }, &[rectified, x]);
    let sum = net.push(Float::Add, &[chosen, rectified]);
    let graph = net.classes(sum, 3);
    let model = follows(&graph, 0.03);
    let lens: Vec<usize> =
        model.graph.nodes.iter().filter(|n| matches!(n.op, Op::Act(_))).map(Node::len).collect();
    assert_eq!(lens, [32, 11, 21, 32]);
}

#[test]
fn a_plain_network() {
    let mut net = Net::new(&[1, 10, 10]);
    let x = net.conv_relu(0, 6);
    let x = net.conv_relu(x, 6);
    let graph = net.classes(x, 5);
    let model = follows(&graph, 0.02);
    assert_eq!(compile(&graph), model, "deterministic");
    // Activations after a ReLU use all 8 bits without a sign.
    assert!(acts(&model).iter().all(|act| (act.rescale.lo, act.rescale.hi) == (0, 255)));
    // The weights use their bits: f is the largest that fits.
    for layer in &model.weights {
        let largest = layer.weights.iter().map(|w| w.abs()).max().unwrap();
        assert!((64..=127).contains(&largest), "{largest}");
    }
    // Fewer bits, more distance.
    let coarse =
        compile_with(&graph, &Options { activation_bits: 4, weight_bits: 4, ..Options::default() }).unwrap();
    let fine = compile_with(&graph, &Options { activation_bits: 11, weight_bits: 11, ..Options::default() })
        .unwrap();
    assert!(distance(&graph, &fine) < distance(&graph, &model) / 2.0);
    assert!(distance(&graph, &model) < distance(&graph, &coarse) / 2.0);
}

#[test]
fn residual_streams_share_one_step() {
    let mut net = Net::new(&[2, 8, 8]);
    let mut x = net.conv_relu(0, 4);
    for _ in 0..3 {
        let y = net.conv_relu(x, 4);
        let y = net.conv(y, 4, 3, 1);
        let sum = net.push(Float::Add, &[x, y]);
        x = net.relu(sum);
    }
    let graph = net.classes(x, 4);
    let model = follows(&graph, 0.03);
    let facts = &model.graph.facts;
    for (id, node) in model.graph.nodes.iter().enumerate() {
        if let Op::Add { shifts } = &node.op {
            // The shortcut comes in shifted, the accumulator as it is, and the sum leaves at the shortcut's step.
            assert!(shifts[0] > 0 && shifts[1] == 0);
            assert_eq!(facts[node.inputs[0]].step, facts[id + 1].step);
        }
    }
    assert_eq!(shifts(&model).len(), 3);
}

#[test]
fn projections_add_accumulators() {
    let mut net = Net::new(&[2, 8, 8]);
    let x = net.conv_relu(0, 4);
    let y = net.conv_relu(x, 6);
    let y = net.conv(y, 6, 3, 2);
    let shortcut = net.conv(x, 6, 1, 2);
    let sum = net.push(Float::Add, &[y, shortcut]);
    let x = net.relu(sum);
    let graph = net.classes(x, 4);
    let model = follows(&graph, 0.03);
    assert_eq!(shifts(&model), [[0, 0]]);
}

#[test]
fn shortcuts_by_slice_and_pad() {
    let mut net = Net::new(&[2, 8, 8]);
    let x = net.conv_relu(0, 4);
    let y = net.conv(x, 8, 3, 2);
    let sliced = net.push(Float::Slice { ranges: vec![(0, 4, 1), (0, 8, 2), (0, 8, 2)] }, &[x]);
    let padded = net.push(Float::Pad { pads: [[2, 2], [0, 0], [0, 0]] }, &[sliced]);
    let sum = net.push(Float::Add, &[y, padded]);
    let x = net.relu(sum);
    let graph = net.classes(x, 4);
    let model = follows(&graph, 0.03);
    assert!(shifts(&model)[0][1] > 0);
}

#[test]
fn sums_of_three() {
    let mut net = Net::new(&[2, 8, 8]);
    let x = net.conv_relu(0, 4);
    let (a, b) = (net.conv(x, 4, 3, 1), net.conv(x, 4, 1, 1));
    let sum = net.push(Float::Add, &[a, x]);
    let sum = net.push(Float::Add, &[sum, b]);
    let x = net.relu(sum);
    let graph = net.classes(x, 4);
    let model = follows(&graph, 0.03);
    assert_eq!(acts(&model).len(), 2, "no rescale between the sums");
}

#[test]
fn linear_bottlenecks_get_a_signed_rescale() {
    let mut net = Net::new(&[2, 8, 8]);
    let x = net.conv(0, 4, 3, 1);
    let y = net.conv(x, 8, 1, 1);
    let y = net.push(Float::Clip { lo: 0.0, hi: 0.5 }, &[y]);
    let depthwise = Conv { input: [8, 8], kernel: [3, 3], pads: [1; 4], groups: 8, ..Conv::dense(8, 8) };
    let y = net.linear(y, depthwise);
    let y = net.push(Float::Clip { lo: 0.0, hi: 0.5 }, &[y]);
    let y = net.conv(y, 4, 1, 1);
    let sum = net.push(Float::Add, &[x, y]);
    let y = net.conv(sum, 4, 1, 1);
    let last = net.push(Float::Add, &[sum, y]);
    let graph = net.classes(last, 4);
    let model = follows(&graph, 0.04);
    let signed = acts(&model).iter().filter(|act| (act.rescale.lo, act.rescale.hi) == (-128, 127)).count();
    assert_eq!(signed, 3);
    // The clip at 0.5 is the upper bound of its rescale.
    for (node, fact) in model.graph.nodes.iter().zip(&model.graph.facts) {
        if let Op::Act(act) = &node.op
            && act.rescale.lo == 0
        {
            assert!((f64::from(act.rescale.hi) * fact.step - 0.5).abs() <= fact.step / 2.0 + 1e-9);
        }
    }
}

#[test]
fn pooling() {
    let mut net = Net::new(&[1, 12, 12]);
    let x = net.conv_relu(0, 4);
    let narrow = net.push(Float::MaxPool(window(3, 2, 1)), &[x]);
    let y = net.conv(narrow, 4, 3, 1);
    let pooled = net.push(Float::MaxPool(window(2, 2, 0)), &[y]);
    let y = net.relu(pooled);
    // An average whose divisor is no power of two, then a clip that reads it directly and a join that reads it too.
    let mean = net.push(Float::AvgPool { window: window(3, 1, 1), count_pad: true }, &[y]);
    let clipped = net.push(Float::Clip { lo: 0.05, hi: 0.4 }, &[mean]);
    let z = net.conv_relu(y, 2);
    let joined = net.push(Float::Concat, &[z, mean, clipped]);
    let graph = net.classes(joined, 4);
    let model = follows(&graph, 0.03);
    let acts = acts(&model);
    assert_eq!(acts.iter().filter(|act| act.max_pool.is_some()).count(), 2);
    // A maximum with a ReLU before or behind it costs one activation, not two.
    assert!(acts.len() <= 6, "{acts:?}");
}

#[test]
fn averages_of_accumulators_stay_accumulators() {
    let mut net = Net::new(&[1, 9, 9]);
    let x = net.conv(0, 4, 3, 1);
    let mean = net.push(Float::AvgPool { window: window(3, 3, 0), count_pad: false }, &[x]);
    let x = net.relu(mean);
    let y = net.conv(x, 4, 3, 1);
    let mean = net.push(Float::AvgPool { window: window(3, 1, 0), count_pad: false }, &[y]);
    let graph = net.finish(mean);
    let model = follows(&graph, 0.03);
    assert_eq!(acts(&model).len(), 1);
    assert_eq!(model.graph.output, model.graph.nodes.len() - 1);
}

#[test]
fn squares_cost_no_coefficient() {
    let mut net = Net::new(&[1, 8, 8]);
    let x = net.conv(0, 4, 3, 1);
    let x = net.push(Float::Poly { coefficients: vec![0.0, 0.0, PI] }, &[x]);
    let x = net.conv(x, 4, 3, 1);
    let x = net.push(Float::Poly { coefficients: vec![0.0, 0.0, -2.0] }, &[x]);
    let graph = net.classes(x, 4);
    let model = follows(&graph, 0.05);
    let quadratics: Vec<_> = acts(&model).iter().filter_map(|act| act.quadratic).collect();
    assert_eq!(quadratics.iter().map(|q| (q.c2, q.c1, q.c0)).collect::<Vec<_>>(), [(1, 0, 0), (-1, 0, 0)]);
    assert_eq!((quadratics[0].rescale.lo, quadratics[0].rescale.hi), (0, 255));
    assert_eq!((quadratics[1].rescale.lo, quadratics[1].rescale.hi), (-128, 127));
}

#[test]
fn quadratics() {
    let mut net = Net::new(&[1, 8, 8]);
    let x = net.conv(0, 4, 3, 1);
    let x = net.push(Float::Poly { coefficients: vec![0.1992, 0.5002, 0.1997] }, &[x]);
    let y = net.conv(x, 4, 3, 1);
    let sum = net.push(Float::Add, &[x, y]);
    // Here the argument's step is tied to the shortcut's.
    let x = net.push(Float::Poly { coefficients: vec![0.2, -0.5, 0.1, 0.0] }, &[sum]);
    let graph = net.classes(x, 4);
    let model = follows(&graph, 0.03);
    let quadratics: Vec<_> = acts(&model).iter().filter_map(|act| act.quadratic).collect();
    assert!(quadratics[0].c2 > 0 && (quadratics[0].c2 as u32).is_power_of_two(), "{quadratics:?}");
    assert!(quadratics[1].c2 >= 32, "precise without being a power of two: {quadratics:?}");
}

#[test]
fn signed_inputs_and_affine_layers() {
    let mut net = Net::new(&[2, 4, 4]);
    let x = net.push(Float::Affine { scale: vec![2.0, -0.5], shift: vec![0.5, 0.25] }, &[0]);
    let x = net.relu(x);
    let graph = net.classes(x, 4);
    let preprocess = Preprocess { mean: vec![0.5; 2], std: vec![0.25; 2], bgr: false };
    let samples: Vec<Vec<f32>> = (0..20).map(|i| numbers(32, i).iter().map(|v| v * 2.0).collect()).collect();
    let model = quantize(&graph, &samples, preprocess, &Options::default()).unwrap();
    assert_eq!((model.graph.facts[0].lo, model.graph.facts[0].hi), (-128, 127));
    // Every 8-bit image fits without saturation: (1 - 0.5) / 0.25 = 2.
    assert!(model.graph.facts[0].step * 127.0 >= 2.0 - 1e-9);
    assert_eq!(model.encode_pixels(&[255; 32]).unwrap(), [127; 32]);
    let float = graph.run(&samples[0]).unwrap();
    let integer = reference::run(&model, &model.encode_input(&samples[0]).unwrap()).unwrap();
    for (a, b) in float.iter().zip(model.decode_output(&integer)) {
        assert!((a - b).abs() < 0.1, "{a} {b}");
    }
}

#[test]
fn rings_only_shrink_and_public_facts_tell_widths_only() {
    let model = every_operation();
    let graph = &model.graph;
    let depends = graph.depends_on_weights();
    for (id, fact) in graph.facts.iter().enumerate() {
        if depends[id] {
            let half = 1i64 << (fact.bits - 1);
            assert_eq!((fact.lo, fact.hi), (-half, half - 1 - graph.margins()[id].engines));
        }
    }
    let public = graph.public_view();
    let known: Vec<usize> = (0..public.facts.len()).filter(|&id| public.facts[id].step != 0.0).collect();
    assert_eq!(known, [0, graph.output]);
}

#[test]
fn values_stay_within_their_proven_intervals() {
    let model = every_operation();
    let intervals = model.graph.intervals(&model.weights);
    for seed in 0..20 {
        // Uniform inputs, and extreme ones.
        let input: Vec<i32> = numbers(128, seed)
            .iter()
            .map(|&v| if seed % 2 == 0 { ((v + 1.0) * 127.5) as i32 } else { 255 * i32::from(v > 0.0) })
            .collect();
        let trace = reference::trace(&model, &input).unwrap();
        for ((words, fact), (lo, hi)) in trace.iter().zip(&model.graph.facts).zip(&intervals) {
            assert!(words.iter().all(|&word| (*lo..=*hi).contains(&fact.to_signed(word).into())));
        }
    }
}

#[test]
fn errors_name_the_layer() {
    let mut net = Net::new(&[1, 4, 4]);
    let x = net.conv(0, 2, 3, 1);
    let cubic = net.push(Float::Poly { coefficients: vec![0.0, 1.0, 0.0, 1.0] }, &[x]);
    let graph = net.finish(cubic);
    let error = compile_with(&graph, &Options::default()).unwrap_err();
    assert!(matches!(&error, QuantizeError::Unsupported { node, .. } if node == "n2"), "{error}");

    let mut net = Net::new(&[1, 4, 4]);
    let x = net.conv_relu(0, 2);
    let mean = net.push(Float::AvgPool { window: window(3, 1, 1), count_pad: false }, &[x]);
    let error = compile_with(&net.finish(mean), &Options::default()).unwrap_err();
    assert!(matches!(&error, QuantizeError::Unsupported { node, .. } if node == "n3"), "{error}");

    let mut net = Net::new(&[4096]);
    let weights = vec![1.0; 4096 * 2];
    let y = net.push(Float::Linear { conv: Conv::dense(4096, 2), weights, bias: vec![0.0; 2] }, &[0]);
    let wide = Options { activation_bits: 12, weight_bits: 12, ..Options::default() };
    let error = compile_with(&net.finish(y), &wide).unwrap_err();
    assert!(matches!(&error, QuantizeError::Width { node, bits: 36 } if node == "n1"), "{error}");

    let mut net = Net::new(&[2]);
    let bias = vec![f32::NAN];
    let y = net.push(Float::Linear { conv: Conv::dense(2, 1), weights: vec![1.0; 2], bias }, &[0]);
    let error = compile_with(&net.finish(y), &Options::default()).unwrap_err();
    assert!(matches!(error, QuantizeError::NotFinite { .. }), "{error}");
}

#[test]
fn options_are_checked() {
    let mut net = Net::new(&[2]);
    let y = net.linear(0, Conv::dense(2, 2));
    let graph = net.finish(y);
    let bad = |options: Options| matches!(compile_with(&graph, &options), Err(QuantizeError::Options(_)));
    assert!(bad(Options { activation_bits: 1, ..Options::default() }));
    assert!(bad(Options { weight_bits: 13, ..Options::default() }));
    assert!(bad(Options { calibration: Calibration::Quantile(0.0), ..Options::default() }));
    assert!(bad(Options { calibration: Calibration::Quantile(f64::NAN), ..Options::default() }));
    let none = quantize(&graph, &[], unit(&graph), &Options::default());
    assert!(matches!(none, Err(QuantizeError::NoSamples)));
    let short = quantize(&graph, &[vec![0.0]], unit(&graph), &Options::default());
    assert!(matches!(short, Err(QuantizeError::Exec(_))));
    let labels = Options { labels: vec!["one".into()], ..Options::default() };
    assert!(matches!(compile_with(&graph, &labels), Err(QuantizeError::Graph(GraphError::Labels { .. }))));
}

#[test]
fn dead_layers_compile() {
    let mut net = Net::new(&[1, 4, 4]);
    let conv = Conv { input: [4, 4], ..Conv::dense(1, 2) };
    let zero = net.push(Float::Linear { conv, weights: vec![0.0; 2], bias: vec![0.0; 2] }, &[0]);
    let zero = net.relu(zero);
    let constant = net.push(
        Float::Linear {
            conv: Conv { input: [4, 4], ..Conv::dense(2, 1) },
            weights: vec![0.0; 2],
            bias: vec![0.75],
        },
        &[zero],
    );
    let x = net.relu(constant);
    let flat = net.builder.reshape("flat", x, &[16]).unwrap();
    let y = net
        .push(Float::Linear { conv: Conv::dense(16, 1), weights: vec![0.0; 16], bias: vec![-3.5] }, &[flat]);
    let graph = net.finish(y);
    let model = compile(&graph);
    let out = reference::run(&model, &[200; 16]).unwrap();
    assert!((model.decode_output(&out)[0] + 3.5).abs() < 1e-3);
}

#[test]
fn a_step_that_is_too_small_for_the_weights_grows() {
    // The weights cancel on every sample, so that the activation's range alone asks for a tiny step.
    let mut net = Net::new(&[2]);
    let x =
        net.push(Float::Linear { conv: Conv::dense(2, 1), weights: vec![1.0, -1.0], bias: vec![1e-4] }, &[0]);
    let x = net.relu(x);
    let y = net.push(Float::Linear { conv: Conv::dense(1, 1), weights: vec![1.0], bias: vec![0.0] }, &[x]);
    let graph = net.finish(y);
    let samples = vec![vec![0.5, 0.5], vec![1.0, 1.0]];
    let model = quantize(&graph, &samples, unit(&graph), &Options::default()).unwrap();
    assert_eq!(model.weights[0].weights, [127, -127]);
    assert_eq!(acts(&model)[0].rescale.shift, 0);
}

mod gates;

#[test]
fn a_normalisation_before_a_rectifier_is_a_bias() {
    let mut net = Net::new(&[2, 8, 8]);
    let (x, y) = (net.conv(0, 3, 3, 1), net.conv(0, 2, 1, 1));
    let joined = net.push(Float::Concat, &[x, y]);
    let scale = vec![0.5, 2.0, 1.5, 0.7, 1e-3];
    let affine = Float::Affine { scale, shift: vec![0.1, -0.2, 0.3, 0.1, 0.2] };
    let normal = net.push(affine, &[joined]);
    let rectified = net.relu(normal);
    let x = net.conv(rectified, 4, 1, 1);
    let model = follows(&net.classes(x, 3), 0.05);
    let (graph, facts) = (&model.graph, &model.graph.facts);
    let bias = graph.nodes.iter().position(|node| matches!(node.op, Op::Bias { .. })).unwrap();
    assert_eq!(graph.secret_layers(), 5);
    // No wider than two summands of eight bits, and the margin of the rectifier.
    assert!(facts[bias].bits <= 10, "{:?}", facts[bias]);
    assert_eq!(facts[bias].step, facts[graph.nodes[bias].inputs[0]].step);
    let mut wrong = model.clone();
    let Op::Bias { weights, .. } = graph.nodes[bias].op else { unreachable!() };
    wrong.weights[weights].bias.pop();
    assert!(wrong.validate().is_err());
    let mut wide = model.clone();
    wide.weights[weights].bias[0] = 1 << 20;
    assert!(wide.validate().is_err());
}
