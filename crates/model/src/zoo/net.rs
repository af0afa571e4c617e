//! A network under construction, in the vocabulary of the architectures.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

use crate::float::{Builder, Graph, GraphError, Head, Op};
use crate::graph::{Conv, NodeId, Window};

/// What building blocks answer.
pub(super) type Result<T> = std::result::Result<T, GraphError>;

/// A graph and the source of its weights. Methods append one operation and return its node.
pub(super) struct Net {
    builder: Builder,
    rng: Xoshiro256PlusPlus,
}

/// Shape of a convolution; channels of the input and the image follow from the input.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    pub(super) size: usize,
    pub(super) stride: usize,
    pub(super) pad: usize,
    pub(super) groups: usize,
}

impl Kernel {
    /// Padding that keeps the image.
    pub(super) fn same(size: usize) -> Self {
        Self { size, stride: 1, pad: size / 2, groups: 1 }
    }

    pub(super) fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    pub(super) fn pad(self, pad: usize) -> Self {
        Self { pad, ..self }
    }

    pub(super) fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }
}

impl Net {
    pub(super) fn new(name: &str, seed: u64, input: &[usize]) -> Result<Self> {
        let builder = Builder::new(name, "input", input)?;
        Ok(Self { builder, rng: Xoshiro256PlusPlus::seed_from_u64(seed) })
    }

    pub(super) fn finish(self, output: NodeId) -> Result<Graph> {
        self.builder.finish(output, Head::Logits)
    }

    /// Every output is the logit of a probability of its own.
    pub(super) fn finish_with_sigmoid(self, output: NodeId) -> Result<Graph> {
        self.builder.finish(output, Head::Sigmoid)
    }

    /// Channels of a value.
    pub(super) fn channels(&self, x: NodeId) -> usize {
        self.shape(x).first().copied().unwrap_or_default()
    }

    /// A convolution without bias, as in front of a normalisation.
    pub(super) fn conv(&mut self, x: NodeId, out_channels: usize, kernel: Kernel) -> Result<NodeId> {
        let conv = self.geometry(x, out_channels, kernel);
        self.layer("conv", x, conv, false)
    }

    /// A convolution with bias.
    pub(super) fn conv_bias(&mut self, x: NodeId, out_channels: usize, kernel: Kernel) -> Result<NodeId> {
        let conv = self.geometry(x, out_channels, kernel);
        self.layer("conv", x, conv, true)
    }

    /// A dense layer with bias; the value is flattened first if it is not flat.
    pub(super) fn dense(&mut self, x: NodeId, outputs: usize) -> Result<NodeId> {
        let inputs = self.shape(x).iter().product();
        let flat = match self.shape(x).len() {
            1 => x,
            _ => {
                let name = self.name("flatten");
                self.builder.reshape(&name, x, &[inputs])?
            }
        };
        self.layer("dense", flat, Conv::dense(inputs, outputs), true)
    }

    /// A batch normalisation whose scale is about `gain`.
    pub(super) fn norm(&mut self, x: NodeId, gain: f32) -> Result<NodeId> {
        let (mut scale, mut shift) = (Vec::new(), Vec::new());
        for _ in 0..self.channels(x) {
            let (gamma, beta) = (gain * (1.0 + 0.2 * self.uniform()), 0.1 * self.uniform());
            let (mean, variance) = (0.1 * self.uniform(), 1.0 + 0.25 * self.uniform());
            let s = gamma / (variance + 1e-5f32).sqrt();
            scale.push(s);
            shift.push(beta - mean * s);
        }
        self.push("norm", Op::Affine { scale, shift }, &[x])
    }

    /// Convolution and normalisation.
    pub(super) fn conv_norm(&mut self, x: NodeId, out_channels: usize, kernel: Kernel) -> Result<NodeId> {
        let y = self.conv(x, out_channels, kernel)?;
        self.norm(y, 1.0)
    }

    /// Convolution, normalisation and ReLU.
    pub(super) fn conv_norm_relu(
        &mut self,
        x: NodeId,
        out_channels: usize,
        kernel: Kernel,
    ) -> Result<NodeId> {
        let y = self.conv_norm(x, out_channels, kernel)?;
        self.relu(y)
    }

    /// Convolution and normalisation at the end of a residual branch: a small gain, so that the sum over many blocks
    /// stays bounded.
    pub(super) fn conv_norm_residual(
        &mut self,
        x: NodeId,
        out_channels: usize,
        kernel: Kernel,
    ) -> Result<NodeId> {
        let y = self.conv(x, out_channels, kernel)?;
        self.norm(y, 0.3)
    }

    pub(super) fn relu(&mut self, x: NodeId) -> Result<NodeId> {
        self.push("relu", Op::Clip { lo: 0.0, hi: f32::INFINITY }, &[x])
    }

    pub(super) fn relu6(&mut self, x: NodeId) -> Result<NodeId> {
        self.push("relu6", Op::Clip { lo: 0.0, hi: 6.0 }, &[x])
    }

    pub(super) fn hard_swish(&mut self, x: NodeId) -> Result<NodeId> {
        self.push("hardswish", Op::HardSwish, &[x])
    }

    /// `clamp(x / 6 + 1/2, 0, 1)`.
    fn hard_sigmoid(&mut self, x: NodeId) -> Result<NodeId> {
        let channels = self.channels(x);
        let line = Op::Affine { scale: vec![1.0 / 6.0; channels], shift: vec![0.5; channels] };
        let line = self.push("line", line, &[x])?;
        self.push("hardsigmoid", Op::Clip { lo: 0.0, hi: 1.0 }, &[line])
    }

    /// Channels weighted by two layers on their means, the first of which has `inner` outputs (Hu et al.,
    /// "Squeeze-and-excitation networks", CVPR 2018), with a hard sigmoid.
    pub(super) fn squeeze_and_excite(&mut self, x: NodeId, inner: usize) -> Result<NodeId> {
        let (channels, image) = self.image(x);
        let window = Window { kernel: image, stride: [1, 1], pads: [0; 4], ceil: false };
        let mean = self.push("avgpool", Op::AvgPool { window, count_pad: false }, &[x])?;
        let y = self.conv_bias(mean, inner, Kernel::same(1))?;
        let y = self.relu(y)?;
        let y = self.conv_bias(y, channels, Kernel::same(1))?;
        let factors = self.hard_sigmoid(y)?;
        self.push("excite", Op::Mul, &[factors, x])
    }

    pub(super) fn square(&mut self, x: NodeId) -> Result<NodeId> {
        self.push("square", Op::Poly { coefficients: vec![0.0, 0.0, 1.0] }, &[x])
    }

    pub(super) fn add(&mut self, x: NodeId, y: NodeId) -> Result<NodeId> {
        self.push("add", Op::Add, &[x, y])
    }

    pub(super) fn concat(&mut self, parts: &[NodeId]) -> Result<NodeId> {
        self.push("concat", Op::Concat, parts)
    }

    pub(super) fn max_pool(&mut self, x: NodeId, kernel: Kernel, ceil: bool) -> Result<NodeId> {
        self.push("maxpool", Op::MaxPool(Window { ceil, ..window(kernel) }), &[x])
    }

    pub(super) fn avg_pool(&mut self, x: NodeId, kernel: Kernel) -> Result<NodeId> {
        self.push("avgpool", Op::AvgPool { window: window(kernel), count_pad: false }, &[x])
    }

    /// The mean of each channel, flat.
    pub(super) fn global_avg_pool(&mut self, x: NodeId) -> Result<NodeId> {
        let (channels, image) = self.image(x);
        let window = Window { kernel: image, stride: [1, 1], pads: [0; 4], ceil: false };
        let y = self.push("avgpool", Op::AvgPool { window, count_pad: false }, &[x])?;
        let name = self.name("flatten");
        self.builder.reshape(&name, y, &[channels])
    }

    /// Channels `start..end`, every `stride`-th row and column.
    pub(super) fn slice(&mut self, x: NodeId, start: usize, end: usize, stride: usize) -> Result<NodeId> {
        let (_, [h, w]) = self.image(x);
        let ranges = vec![(start, end, 1), (0, h, stride), (0, w, stride)];
        self.push("slice", Op::Slice { ranges }, &[x])
    }

    /// Channels of zeros on both sides.
    pub(super) fn pad_channels(&mut self, x: NodeId, before: usize, after: usize) -> Result<NodeId> {
        self.push("pad", Op::Pad { pads: [[before, after], [0, 0], [0, 0]] }, &[x])
    }

    /// Channels `g c + j` become channels `j groups + g`.
    pub(super) fn shuffle(&mut self, x: NodeId, groups: usize) -> Result<NodeId> {
        let (channels, [h, w]) = self.image(x);
        let name = self.name("shuffle");
        let split = self.builder.reshape(&format!("{name}.split"), x, &[groups, channels / groups, h, w])?;
        let perm = vec![1, 0, 2, 3];
        let crossed = self.builder.push(&format!("{name}.cross"), Op::Transpose { perm }, &[split])?;
        self.builder.reshape(&name, crossed, &[channels, h, w])
    }

    fn shape(&self, x: NodeId) -> &[usize] {
        self.builder.node(x).map_or(&[], |node| &node.shape)
    }

    fn image(&self, x: NodeId) -> (usize, [usize; 2]) {
        match *self.shape(x) {
            [channels, h, w] => (channels, [h, w]),
            // Refused by the shape rules of whatever is pushed next.
            _ => (0, [0, 0]),
        }
    }

    fn geometry(&self, x: NodeId, out_channels: usize, kernel: Kernel) -> Conv {
        let (in_channels, input) = self.image(x);
        Conv {
            input,
            kernel: [kernel.size; 2],
            stride: [kernel.stride; 2],
            pads: [kernel.pad; 4],
            groups: kernel.groups,
            ..Conv::dense(in_channels, out_channels)
        }
    }

    fn layer(&mut self, kind: &str, x: NodeId, conv: Conv, has_bias: bool) -> Result<NodeId> {
        // A uniform number in [-1, 1) has variance 1/3.
        let bound = (3.0 * self.gain(x) / conv.weights_per_output() as f32).sqrt();
        let weights = (0..conv.weight_len()).map(|_| bound * self.uniform()).collect();
        let bias =
            (0..conv.out_channels).map(|_| if has_bias { 0.05 * self.uniform() } else { 0.0 }).collect();
        self.push(kind, Op::Linear { conv, weights, bias }, &[x])
    }

    /// What a layer's variance makes up for: the activation before it, seen through pools and movers, has the second
    /// moment `1 / gain` on an input of variance 1.
    fn gain(&self, x: NodeId) -> f32 {
        match self.builder.node(x).map(|node| (&node.op, node.inputs.first())) {
            Some((Op::Clip { .. }, _)) => 2.0,
            Some((Op::HardSwish, _)) => HARD_SWISH_GAIN,
            // Factors are around one half.
            Some((Op::Mul, _)) => {
                self.builder.node(x).and_then(|n| n.inputs.get(1)).map_or(1.0, |&x| 4.0 * self.gain(x))
            }
            Some((Op::Poly { .. }, _)) => 1.0 / 3.0,
            Some((Op::Input | Op::Linear { .. } | Op::Affine { .. } | Op::Add, _)) => 1.0,
            Some((_, Some(&before))) => self.gain(before),
            _ => 1.0,
        }
    }

    /// In [-1, 1), from the top 24 bits of a word.
    fn uniform(&mut self) -> f32 {
        (self.rng.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    fn push(&mut self, kind: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId> {
        let name = self.name(kind);
        self.builder.push(&name, op, inputs)
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}{}", self.builder.nodes().len())
    }
}

/// Of a hard swish of normal numbers.
const HARD_SWISH_GAIN: f32 = 3.0;

fn window(kernel: Kernel) -> Window {
    Window { kernel: [kernel.size; 2], stride: [kernel.stride; 2], pads: [kernel.pad; 4], ceil: false }
}
