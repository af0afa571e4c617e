//! The graph that every stage shares: nodes in execution order, each with one output.

use serde::{Deserialize, Serialize};

mod mask;

pub use mask::Mask;

/// Index of a node; the value it names is the node's one output.
pub type NodeId = usize;

/// One operation. Inputs have smaller indices than the node itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node<O> {
    /// The name the ONNX file gave it (of its output), for errors and reports.
    pub name: String,
    /// What is computed.
    pub op: O,
    /// The values it reads.
    pub inputs: Vec<NodeId>,
    /// Shape of the output, without the batch dimension: `[channels, height, width]` or `[features]`.
    pub shape: Vec<usize>,
}

impl<O> Node<O> {
    /// Number of elements of the output.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the output has no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Geometry of a two-dimensional convolution, or of a dense layer (a 1x1 convolution of a 1x1 image).
/// Cross-correlation as in ONNX; weights are `[out_channels][in_channels / groups][kernel_h][kernel_w]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conv {
    /// Channels of the input.
    pub in_channels: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Channels of the output.
    pub out_channels: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Rows and columns of zeros added: top, left, bottom, right (the order of ONNX).
    pub pads: [usize; 4],
    /// Vertical and horizontal dilation.
    pub dilation: [usize; 2],
    /// Number of groups; divides both channel counts.
    pub groups: usize,
}

impl Conv {
    /// A dense layer from `inputs` to `outputs` features.
    #[must_use]
    pub fn dense(inputs: usize, outputs: usize) -> Self {
        Self {
            in_channels: inputs,
            input: [1, 1],
            out_channels: outputs,
            kernel: [1, 1],
            stride: [1, 1],
            pads: [0; 4],
            dilation: [1, 1],
            groups: 1,
        }
    }

    /// Height and width of the output; zero where the kernel does not fit.
    #[must_use]
    pub fn output(&self) -> [usize; 2] {
        let side = |i: usize, before: usize, after: usize, k: usize, d: usize, s: usize| {
            let span = d * (k - 1) + 1;
            let padded = i + before + after;
            if padded < span { 0 } else { (padded - span) / s + 1 }
        };
        let [top, left, bottom, right] = self.pads;
        [
            side(self.input[0], top, bottom, self.kernel[0], self.dilation[0], self.stride[0]),
            side(self.input[1], left, right, self.kernel[1], self.dilation[1], self.stride[1]),
        ]
    }

    /// Elements of the input.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.in_channels * self.input[0] * self.input[1]
    }

    /// Elements of the output.
    #[must_use]
    pub fn output_len(&self) -> usize {
        let [h, w] = self.output();
        self.out_channels * h * w
    }

    /// Elements of the weight tensor.
    #[must_use]
    pub fn weight_len(&self) -> usize {
        self.out_channels * self.weights_per_output()
    }

    /// Products that go into one output.
    #[must_use]
    pub fn weights_per_output(&self) -> usize {
        self.in_channels / self.groups * self.kernel[0] * self.kernel[1]
    }

    /// Multiply-accumulates of the layer.
    #[must_use]
    pub fn macs(&self) -> u64 {
        self.output_len() as u64 * self.weights_per_output() as u64
    }
}

/// A pooling window over each channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Top, left, bottom, right. Padded places hold 0 in a sum and nothing in a maximum.
    pub pads: [usize; 4],
    /// Whether output sizes are rounded up instead of down (ONNX `ceil_mode`).
    pub ceil: bool,
}
