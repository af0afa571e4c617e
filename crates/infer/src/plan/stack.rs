//! Several inferences as one: their images stand above each other in one tall image.
//!
//! A convolution of the tall image with the same kernel computes all outputs at once, if enough rows of zeros lie
//! between two images that no output reads from both. The padding above one image is the padding below the other, so
//! `max(top, bottom)` rows suffice; the distance of two images is a multiple of the stride, so that their outputs
//! fall onto whole rows of the tall output.

use phineus_model::graph::Conv;

/// How `count` inputs of a convolution are stacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack {
    conv: Conv,
    count: usize,
    /// Rows of the tall image from one input to the next.
    distance: usize,
}

impl Stack {
    /// `count` copies of the input of `conv`.
    #[must_use]
    pub fn new(conv: Conv, count: usize) -> Self {
        let [top, _, bottom, _] = conv.pads;
        let stride = conv.stride[0].max(1);
        // The second operand matters only for padding that some outputs alone read.
        let distance =
            (conv.input[0] + top.max(bottom)).max(conv.output()[0] * stride).next_multiple_of(stride);
        Self { conv, count, distance }
    }

    /// The convolution of one inference.
    #[must_use]
    pub fn conv(&self) -> &Conv {
        &self.conv
    }

    /// Number of inferences.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The convolution of the tall image.
    #[must_use]
    pub fn tall(&self) -> Conv {
        let [h, w] = self.conv.input;
        Conv { input: [self.distance * (self.count - 1) + h, w], ..self.conv }
    }

    /// The tall image of the inputs, each `[c][h][w]`.
    #[must_use]
    pub fn join(&self, inputs: &[&[u32]]) -> Vec<u32> {
        let tall = self.tall();
        let [h, w] = self.conv.input;
        let mut image = vec![0; tall.input_len()];
        for (i, input) in inputs.iter().enumerate() {
            for (plane, target) in input.chunks(h * w).zip(image.chunks_mut(tall.input[0] * w)) {
                target[i * self.distance * w..][..h * w].copy_from_slice(plane);
            }
        }
        image
    }

    /// The inference and the element of its output that an element of the tall output is; `None` for the rows between
    /// two outputs.
    #[must_use]
    pub fn split(&self, element: u32) -> Option<(usize, u32)> {
        if self.count == 1 {
            return Some((0, element));
        }
        let ([h, w], [tall_h, _]) = (self.conv.output(), self.tall().output());
        let (row, column) = (element as usize / w, element as usize % w);
        let (channel, row) = (row / tall_h, row % tall_h);
        let period = self.distance / self.conv.stride[0];
        let (inference, row) = (row / period, row % period);
        (inference < self.count && row < h).then_some((inference, ((channel * h + row) * w + column) as u32))
    }
}

#[cfg(test)]
mod tests {
    use phineus_reference::{Convolution, convolve};
    use proptest::prelude::*;

    use super::*;

    fn direct(conv: &Conv, x: &[u32], weights: &[i32]) -> Vec<u32> {
        let [top, left, bottom, right] = conv.pads;
        let shape = Convolution {
            channels: [conv.in_channels, conv.out_channels],
            size: conv.input,
            kernel: conv.kernel,
            stride: conv.stride,
            dilation: conv.dilation,
            pad_before: [top, left],
            pad_after: [bottom, right],
            groups: conv.groups,
        };
        convolve(&shape, x, weights)
    }

    proptest! {
        #[test]
        fn the_tall_convolution_holds_all_outputs(
            count in 1_usize..5, size in (1_usize..7, 1_usize..5), kernel in 1_usize..4, stride in 1_usize..4,
            dilation in 1_usize..3, pads in [0_usize..3, 0_usize..3, 0_usize..3, 0_usize..3], seed: u32,
        ) {
            let conv = Conv {
                in_channels: 2,
                input: [size.0, size.1],
                out_channels: 3,
                kernel: [kernel, kernel],
                stride: [stride, stride],
                pads,
                dilation: [dilation, dilation],
                groups: 1,
            };
            prop_assume!(!conv.output().contains(&0));
            let word = |i: usize| (i as u32).wrapping_mul(2_654_435_769).wrapping_add(seed);
            let inputs: Vec<Vec<u32>> =
                (0..count).map(|k| (0..conv.input_len()).map(|i| word(k * 1000 + i)).collect()).collect();
            let weights: Vec<i32> = (0..conv.weight_len()).map(|i| (word(i) % 255) as i32 - 127).collect();
            let stack = Stack::new(conv, count);
            let image = stack.join(&inputs.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let tall = direct(&stack.tall(), &image, &weights);
            let mut outputs = vec![vec![None; conv.output_len()]; count];
            for (element, value) in tall.iter().enumerate() {
                if let Some((inference, element)) = stack.split(element as u32) {
                    prop_assert!(outputs[inference][element as usize].replace(*value).is_none());
                }
            }
            for (input, output) in inputs.iter().zip(outputs) {
                let expected: Vec<_> = direct(&conv, input, &weights).into_iter().map(Some).collect();
                prop_assert_eq!(output, expected);
            }
        }
    }
}
