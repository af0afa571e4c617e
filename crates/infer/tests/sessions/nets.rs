//! Small networks, one for every pattern that the executor knows.

use phineus_model::fixed::{Model, Preprocess, Reveal};
use phineus_model::float::{Builder, Graph, Head, Op};
use phineus_model::graph::{Conv, Mask, NodeId, Window};
use phineus_model::quantize::{Options, quantize};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A float network under construction, with seeded weights of a sensible size.
pub(crate) struct Net {
    builder: Builder,
    rng: StdRng,
}

impl Net {
    pub(crate) fn new(name: &str, shape: &[usize]) -> Self {
        let builder = Builder::new(name, "input", shape).unwrap();
        Self { builder, rng: StdRng::seed_from_u64(1) }
    }

    pub(crate) fn push(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        let name = format!("n{}", self.builder.nodes().len());
        self.builder.push(&name, op, inputs).unwrap()
    }

    fn linear(&mut self, x: NodeId, conv: Conv) -> NodeId {
        let size = (3.0 / conv.weights_per_output() as f32).sqrt();
        let mut numbers = |count: usize, size: f32| -> Vec<f32> {
            (0..count).map(|_| self.rng.random_range(-size..size)).collect()
        };
        let (weights, bias) = (numbers(conv.weight_len(), size), numbers(conv.out_channels, 0.1));
        self.push(Op::Linear { conv, weights, bias }, &[x])
    }

    /// A convolution of `x` with the shape of `like`, whose input image follows from `x`.
    pub(crate) fn conv(&mut self, x: NodeId, like: Conv) -> NodeId {
        let &[channels, h, w] = &self.builder.nodes()[x].shape[..] else { panic!("no image") };
        self.linear(x, Conv { in_channels: channels, input: [h, w], ..like })
    }

    /// A dense layer behind a flattening.
    pub(crate) fn dense(&mut self, x: NodeId, outputs: usize) -> NodeId {
        let len = self.builder.nodes()[x].len();
        let flat = match self.builder.nodes()[x].shape.len() {
            1 => x,
            _ => {
                let name = format!("n{}", self.builder.nodes().len());
                self.builder.reshape(&name, x, &[len]).unwrap()
            }
        };
        self.linear(flat, Conv::dense(len, outputs))
    }

    /// A dense layer that multiplies by one weight: its outputs tell all its inputs.
    pub(crate) fn reveal(&mut self, x: NodeId) -> NodeId {
        let len = self.builder.nodes()[x].len();
        let flat = self.builder.reshape("all", x, &[len]).unwrap();
        let weights = (0..len * len).map(|i| if i % (len + 1) == 0 { 1.0 } else { 0.0 }).collect();
        self.push(Op::Linear { conv: Conv::dense(len, len), weights, bias: vec![0.0; len] }, &[flat])
    }

    pub(crate) fn relu(&mut self, x: NodeId) -> NodeId {
        self.push(Op::Clip { lo: 0.0, hi: f32::INFINITY }, &[x])
    }

    /// A mean per channel, two layers and a hard sigmoid: a factor per channel.
    fn squeeze_and_excite(&mut self, x: NodeId) -> NodeId {
        let &[channels, h, w] = &self.builder.nodes()[x].shape[..] else { panic!("no image") };
        let all = Window { kernel: [h, w], stride: [1, 1], pads: [0; 4], ceil: false };
        let y = self.push(Op::AvgPool { window: all, count_pad: false }, &[x]);
        let y = self.conv(y, same(2, 1));
        let y = self.relu(y);
        let y = self.conv(y, same(channels, 1));
        let line = Op::Affine { scale: vec![1.0 / 6.0; channels], shift: vec![0.5; channels] };
        let y = self.push(line, &[y]);
        let y = self.push(Op::Clip { lo: 0.0, hi: 1.0 }, &[y]);
        self.push(Op::Mul, &[x, y])
    }

    pub(crate) fn finish(self, output: NodeId) -> Graph {
        self.builder.finish(output, Head::Logits).unwrap()
    }
}

/// A square kernel with padding that keeps the image at stride 1.
pub(crate) fn same(out_channels: usize, kernel: usize) -> Conv {
    Conv { kernel: [kernel; 2], pads: [kernel / 2; 4], ..Conv::dense(1, out_channels) }
}

pub(crate) fn window(kernel: usize, stride: usize, pad: usize) -> Window {
    Window { kernel: [kernel; 2], stride: [stride; 2], pads: [pad; 4], ceil: false }
}

/// Quantised on uniform inputs in [0, 1].
pub(crate) fn compile(graph: &Graph, options: &Options) -> Model {
    let mut rng = StdRng::seed_from_u64(2);
    let len = graph.nodes[0].len();
    let samples: Vec<Vec<f32>> =
        (0..8).map(|_| (0..len).map(|_| rng.random_range(0.0..1.0)).collect()).collect();
    let channels = if let [c, _, _] = graph.nodes[0].shape[..] { c } else { 1 };
    let preprocess = Preprocess { mean: vec![0.0; channels], std: vec![1.0; channels], bgr: false };
    quantize(graph, &samples, preprocess, options).unwrap()
}

/// The smallest network with every kind of message: two dense layers and an activation.
pub(crate) fn tiny(name: &str) -> Model {
    let mut net = Net::new(name, &[4]);
    let x = net.dense(0, 3);
    let x = net.relu(x);
    let x = net.dense(x, 2);
    compile(&net.finish(x), &Options::default())
}

/// The smallest network with every kind of non-linear layer: a rectifier, a maximum, a square, a product, an arg-max.
pub(crate) fn mixed(options: &Options) -> Model {
    let mut net = Net::new("mixed", &[1, 4, 4]);
    let x = net.conv(0, same(2, 3));
    let x = net.relu(x);
    let x = net.push(Op::MaxPool(window(2, 2, 0)), &[x]);
    let y = net.conv(x, same(2, 1));
    let y = net.push(Op::Poly { coefficients: vec![0.0, 0.0, 1.0] }, &[y]);
    let x = net.conv(x, same(2, 1));
    let x = net.relu(x);
    let x = net.push(Op::Mul, &[x, y]);
    let x = net.dense(x, 5);
    compile(&net.finish(x), &Options { reveal: Reveal::ArgMax, ..options.clone() })
}

/// Two dense layers and a square: what can be evaluated under encryption.
pub(crate) fn squares(name: &str, reveal: Reveal) -> Model {
    let mut net = Net::new(name, &[24]);
    let x = net.dense(0, 12);
    let x = net.push(Op::Poly { coefficients: vec![0.1, 0.3, 0.5] }, &[x]);
    let x = net.dense(x, 5);
    compile(&net.finish(x), &Options { reveal, weight_bits: 12, ..Options::default() })
}

/// A convolution, an activation and a dense layer.
pub(crate) fn one_conv(conv: Conv) -> Model {
    let mut net = Net::new("conv", &[conv.in_channels, conv.input[0], conv.input[1]]);
    let x = net.linear(0, conv);
    let x = net.relu(x);
    let x = net.dense(x, 3);
    compile(&net.finish(x), &Options::default())
}

/// The same network with all values in rings of `bits` bits, which is more than they need.
pub(crate) fn widened(mut model: Model, bits: u32) -> Model {
    model.graph.facts.iter_mut().for_each(|fact| fact.bits = bits);
    model.validate().unwrap();
    model
}

/// One dense layer and its result, revealed as stated.
pub(crate) fn dense_only(outputs: usize, reveal: Reveal) -> Model {
    let mut net = Net::new("dense", &[12]);
    let x = net.dense(0, outputs);
    compile(&net.finish(x), &Options { reveal, ..Options::default() })
}

/// Every pattern in a small network of its own.
pub(crate) fn patterns() -> Vec<Model> {
    let plain = Options::default();
    let mut models = Vec::new();
    let mut add = |name: &str, shape: &[usize], options: &Options, build: fn(&mut Net) -> NodeId| {
        let mut net = Net::new(name, shape);
        let output = build(&mut net);
        models.push(compile(&net.finish(output), options));
    };
    add("stride, padding, groups, dilation", &[4, 9, 7], &plain, |net| {
        let uneven = Conv { stride: [2, 1], pads: [1, 2, 0, 1], groups: 2, ..same(6, 3) };
        let x = net.conv(0, uneven);
        let x = net.relu(x);
        let x = net.conv(x, Conv { dilation: [2, 2], pads: [2; 4], ..same(2, 3) });
        let x = net.relu(x);
        net.dense(x, 5)
    });
    add("residual with projection", &[3, 8, 8], &plain, |net| {
        let x = net.conv(0, same(4, 3));
        let x = net.relu(x);
        let main = net.conv(x, Conv { stride: [2, 2], ..same(6, 3) });
        let main = net.relu(main);
        let main = net.conv(main, same(6, 3));
        let short = net.conv(x, Conv { stride: [2, 2], ..same(6, 1) });
        let sum = net.push(Op::Add, &[main, short]);
        let sum = net.relu(sum);
        let mean = net.push(Op::AvgPool { window: window(4, 4, 0), count_pad: false }, &[sum]);
        net.dense(mean, 4)
    });
    add("shortcut of slices and zeros", &[2, 6, 6], &plain, |net| {
        let x = net.conv(0, same(3, 3));
        let x = net.relu(x);
        let main = net.conv(x, Conv { stride: [2, 2], ..same(6, 3) });
        let short = net.push(Op::Slice { ranges: vec![(0, 3, 1), (0, 6, 2), (0, 6, 2)] }, &[x]);
        let short = net.push(Op::Pad { pads: [[1, 2], [0, 0], [0, 0]] }, &[short]);
        let sum = net.push(Op::Add, &[main, short]);
        let sum = net.relu(sum);
        net.dense(sum, 3)
    });
    add("overlapping maxima", &[2, 9, 9], &plain, |net| {
        let x = net.conv(0, same(3, 3));
        let x = net.relu(x);
        let x = net.push(Op::MaxPool(window(3, 2, 1)), &[x]);
        let x = net.conv(x, same(2, 3));
        let x = net.push(Op::MaxPool(window(2, 2, 0)), &[x]);
        let x = net.relu(x);
        net.dense(x, 3)
    });
    add("averages and a join", &[2, 8, 8], &plain, |net| {
        let left = net.conv(0, same(2, 1));
        let left = net.relu(left);
        let right = net.conv(0, same(3, 3));
        let right = net.relu(right);
        let joined = net.push(Op::Concat, &[left, right]);
        let x = net.push(Op::AvgPool { window: window(2, 2, 0), count_pad: false }, &[joined]);
        let x = net.conv(x, same(4, 3));
        let x = net.relu(x);
        let x = net.push(Op::AvgPool { window: window(4, 4, 0), count_pad: false }, &[x]);
        net.dense(x, 3)
    });
    add("quadratic activations", &[1, 6, 6], &plain, |net| {
        let x = net.conv(0, same(3, 3));
        let x = net.push(Op::Poly { coefficients: vec![0.0, 0.0, 1.0] }, &[x]);
        let x = net.conv(x, Conv { stride: [2, 2], ..same(3, 3) });
        let x = net.push(Op::Poly { coefficients: vec![0.25, 0.5, 0.125] }, &[x]);
        net.dense(x, 4)
    });
    add("activations by element", &[1, 6, 6], &plain, |net| {
        let mask =
            |len: usize| Op::Where { mask: Mask::new(&(0..len).map(|i| i % 3 == 1).collect::<Vec<_>>()) };
        let x = net.conv(0, same(3, 3));
        let rectified = net.relu(x);
        let x = net.push(mask(108), &[rectified, x]);
        let x = net.conv(x, same(2, 3));
        let rectified = net.relu(x);
        let parabola = net.push(Op::Poly { coefficients: vec![0.25, 0.5, 0.125] }, &[x]);
        let x = net.push(mask(72), &[parabola, rectified]);
        net.dense(x, 4)
    });
    add("squeeze and excitation", &[2, 10, 9], &plain, |net| {
        let x = net.conv(0, same(5, 3));
        let x = net.relu(x);
        let x = net.squeeze_and_excite(x);
        let x = net.conv(x, Conv { stride: [2, 2], ..same(4, 3) });
        let y = net.conv(0, Conv { stride: [2, 2], ..same(4, 3) });
        let y = net.relu(y);
        let x = net.push(Op::Mul, &[x, y]);
        net.dense(x, 4)
    });
    add("hard swishes", &[2, 6, 6], &plain, |net| {
        let x = net.conv(0, same(6, 3));
        let x = net.push(Op::Affine { scale: vec![6.0; 6], shift: vec![-1.0; 6] }, &[x]);
        let x = net.push(Op::HardSwish, &[x]);
        let y = net.squeeze_and_excite(x);
        let y = net.conv(y, same(6, 1));
        let sum = net.push(Op::Add, &[x, y]);
        let x = net.push(Op::HardSwish, &[sum]);
        net.dense(x, 3)
    });
    add("normalised before the rectifier", &[2, 8, 8], &plain, |net| {
        let x = net.conv(0, same(3, 3));
        let y = net.conv(0, same(2, 1));
        let joined = net.push(Op::Concat, &[x, y]);
        let scale = vec![0.5, 2.0, 1.5, 0.0, 1e-3];
        let x = net.push(Op::Affine { scale, shift: vec![0.1, -0.2, 0.3, 0.1, 0.2] }, &[joined]);
        let x = net.relu(x);
        let x = net.conv(x, same(4, 1));
        let x = net.push(Op::AvgPool { window: window(2, 2, 0), count_pad: false }, &[x]);
        let joined = net.push(Op::Concat, &[x, x]);
        let x = net.push(Op::Affine { scale: vec![1.0; 8], shift: vec![0.1; 8] }, &[joined]);
        let x = net.relu(x);
        net.dense(x, 3)
    });
    add("signed rescale", &[3, 5, 5], &plain, |net| {
        let x = net.conv(0, same(4, 3));
        let x = net.conv(x, same(4, 1));
        let x = net.dense(x, 6);
        net.dense(x, 4)
    });
    add("clipped", &[10], &plain, |net| {
        let x = net.dense(0, 8);
        let x = net.push(Op::Clip { lo: -0.25, hi: 0.5 }, &[x]);
        net.dense(x, 3)
    });
    let wide = Options { activation_bits: 12, weight_bits: 12, ..Options::default() };
    add("wide rings", &[400], &wide, |net| {
        let x = net.dense(0, 20);
        let x = net.relu(x);
        net.dense(x, 7)
    });
    let narrow = Options { activation_bits: 2, weight_bits: 2, ..Options::default() };
    add("narrow rings", &[5], &narrow, |net| {
        let x = net.dense(0, 4);
        let x = net.relu(x);
        net.dense(x, 3)
    });
    let index = Options { reveal: Reveal::ArgMax, ..Options::default() };
    add("index behind an activation", &[6], &index, |net| {
        let x = net.dense(0, 5);
        let x = net.relu(x);
        net.dense(x, 7)
    });
    models
}
