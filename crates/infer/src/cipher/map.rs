//! Linear maps by the place of their entries: which weight, if any, takes input i to output o.
//!
//! The pattern of a map is public, the weights are not; everything that depends on the pattern alone is derived by
//! both parties.

use phineus_model::graph::Conv;

use super::layout::pixel;

mod product;

/// The pattern of a linear map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Any input may go to any output; weights `[outputs][inputs]`.
    Dense {
        /// Columns.
        inputs: usize,
        /// Rows.
        outputs: usize,
    },
    /// A convolution of an image `[c][h][w]`; weights as [`Conv`] says.
    Conv(Conv),
}

/// The entries of a [`Shape`], ready for random access.
#[derive(Debug, Clone)]
pub struct Entries {
    shape: Shape,
    /// Channel, first row and first column (padding included) that an output reads.
    outputs: Vec<[u32; 3]>,
    /// Channel, row and column (padding included) of an input.
    inputs: Vec<[u32; 3]>,
}

impl Shape {
    /// Number of inputs.
    #[must_use]
    pub fn inputs(&self) -> usize {
        match self {
            Self::Dense { inputs, .. } => *inputs,
            Self::Conv(conv) => conv.input_len(),
        }
    }

    /// Number of outputs.
    #[must_use]
    pub fn outputs(&self) -> usize {
        match self {
            Self::Dense { outputs, .. } => *outputs,
            Self::Conv(conv) => conv.output_len(),
        }
    }

    /// Number of weights.
    #[must_use]
    pub fn weights(&self) -> usize {
        match self {
            Self::Dense { inputs, outputs } => inputs * outputs,
            Self::Conv(conv) => conv.weight_len(),
        }
    }

    /// Outputs that share a bias.
    #[must_use]
    pub fn positions(&self) -> usize {
        match self {
            Self::Dense { .. } => 1,
            Self::Conv(conv) => conv.output().iter().product(),
        }
    }
}

impl Entries {
    /// The entries of a pattern.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let (mut outputs, mut inputs) = (Vec::new(), Vec::new());
        if let Shape::Conv(conv) = &shape {
            let ([oh, ow], [h, w]) = (conv.output(), conv.input);
            let grid = |c: usize, y: usize, x: usize| [c as u32, y as u32, x as u32];
            for (m, y, x) in indices([conv.out_channels, oh, ow]) {
                outputs.push(grid(m, y * conv.stride[0], x * conv.stride[1]));
            }
            for (c, y, x) in indices([conv.in_channels, h, w]) {
                inputs.push(grid(c, y + conv.pads[0], x + conv.pads[1]));
            }
        }
        Self { shape, outputs, inputs }
    }

    /// The pattern.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Index of the weight that takes input `i` to output `o`.
    #[must_use]
    pub fn weight(&self, o: usize, i: usize) -> Option<usize> {
        match &self.shape {
            Shape::Dense { inputs, .. } => Some(o * inputs + i),
            Shape::Conv(conv) => {
                let ([m, top, left], [c, y, x]) = (self.outputs[o], self.inputs[i]);
                let tap = |axis: usize, from: u32, at: u32| {
                    let (reach, step) = (at.checked_sub(from)? as usize, conv.dilation[axis]);
                    let tap = if step == 1 { reach } else { reach / step };
                    (tap < conv.kernel[axis] && tap * step == reach).then_some(tap)
                };
                let (ky, kx) = (tap(0, top, y)?, tap(1, left, x)?);
                let (m, c) = (m as usize, c as usize);
                let depth = conv.in_channels / conv.groups;
                let channel = if conv.groups == 1 {
                    c
                } else {
                    let group = m / (conv.out_channels / conv.groups);
                    c.checked_sub(group * depth).filter(|&c| c < depth)?
                };
                Some(((m * depth + channel) * conv.kernel[0] + ky) * conv.kernel[1] + kx)
            }
        }
    }

    /// The inputs that go to output `o`, each with the index of its weight.
    pub fn row(&self, o: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let (taps, depth, first) = match &self.shape {
            Shape::Dense { inputs, .. } => (*inputs, 0, 0),
            Shape::Conv(conv) => {
                let depth = conv.in_channels / conv.groups;
                let group = o / self.shape.positions() / (conv.out_channels / conv.groups);
                (conv.weights_per_output(), depth, group * depth)
            }
        };
        (0..taps).filter_map(move |tap| match &self.shape {
            Shape::Dense { inputs, .. } => Some((tap, o * inputs + tap)),
            Shape::Conv(conv) => {
                let ([_, columns], [kh, kw]) = (conv.output(), conv.kernel);
                let position = o % self.shape.positions();
                let (at, tap_at) = ([position / columns, position % columns], [tap / kw % kh, tap % kw]);
                let input = pixel(conv, first + tap / (kh * kw) % depth, at, tap_at)?;
                Some((input, o / self.shape.positions() * taps + tap))
            }
        })
    }

    /// Number of inputs that go to every output.
    #[must_use]
    pub fn terms(&self) -> Vec<usize> {
        match &self.shape {
            Shape::Dense { inputs, outputs } => vec![*inputs; *outputs],
            Shape::Conv(conv) => {
                let met = |axis: usize, start: u32| {
                    let inside = |tap: &usize| {
                        let place = start as usize + tap * conv.dilation[axis];
                        (conv.pads[axis]..conv.pads[axis] + conv.input[axis]).contains(&place)
                    };
                    (0..conv.kernel[axis]).filter(inside).count()
                };
                let depth = conv.in_channels / conv.groups;
                self.outputs.iter().map(|[_, y, x]| depth * met(0, *y) * met(1, *x)).collect()
            }
        }
    }
}

/// All indices of a tensor of three axes in order.
fn indices([a, b, c]: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a * b * c).map(move |k| (k / (b * c), k / c % b, k % c))
}

#[cfg(test)]
mod tests {
    use phineus_model::float::{Builder, Head, Op};

    use super::*;

    #[test]
    fn entries_are_those_of_the_float_executor() {
        let grouped = Conv {
            input: [7, 6],
            kernel: [3, 2],
            stride: [2, 1],
            pads: [1, 0, 2, 1],
            dilation: [1, 2],
            groups: 2,
            ..Conv::dense(4, 6)
        };
        let same = Conv { input: [7, 6], kernel: [3, 3], pads: [1; 4], ..Conv::dense(4, 2) };
        for conv in [grouped, same, Conv { input: [7, 6], ..Conv::dense(4, 3) }] {
            let weights: Vec<f32> = (0..conv.weight_len()).map(|k| (k * 37 % 101) as f32 - 50.0).collect();
            let x: Vec<f32> = (0..conv.input_len()).map(|k| (k * 53 % 17) as f32 - 8.0).collect();
            let mut b = Builder::new("g", "x", &[4, 7, 6]).unwrap();
            let bias = vec![0.0; conv.out_channels];
            let y = b.push("y", Op::Linear { conv, weights: weights.clone(), bias }, &[0]).unwrap();
            let expected = b.finish(y, Head::Logits).unwrap().run(&x).unwrap();
            let entries = Entries::new(Shape::Conv(conv));
            let terms = entries.terms();
            for (o, expected) in expected.iter().enumerate() {
                let met: Vec<(usize, usize)> =
                    (0..x.len()).filter_map(|i| Some((i, entries.weight(o, i)?))).collect();
                let sum: f32 = met.iter().map(|&(i, k)| weights[k] * x[i]).sum();
                assert_eq!((sum, met.len()), (*expected, terms[o]), "output {o}");
                let mut row: Vec<_> = entries.row(o).collect();
                row.sort_unstable();
                assert_eq!(row, met);
            }
            let x: Vec<f64> = x.iter().map(|&v| v.into()).collect();
            let found = Shape::Conv(conv).times(&weights, f64::from, &x);
            assert_eq!(found, expected.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_dense_map_has_all_entries() {
        let entries = Entries::new(Shape::Dense { inputs: 3, outputs: 2 });
        assert_eq!(entries.weight(1, 2), Some(5));
        assert_eq!((entries.terms(), entries.shape().weights()), (vec![3, 3], 6));
        let weights: Vec<f32> = (0..19 * 2).map(|k| (k % 7) as f32 - 3.0).collect();
        let x: Vec<f64> = (0..19).map(|k| f64::from(k % 5) - 1.0).collect();
        let row = |o: usize| -> f64 { (0..19).map(|i| f64::from(weights[o * 19 + i]).powi(2) * x[i]).sum() };
        let wide = Shape::Dense { inputs: 19, outputs: 2 };
        assert_eq!(wide.times(&weights, |w| f64::from(w).powi(2), &x), [row(0), row(1)]);
    }
}
