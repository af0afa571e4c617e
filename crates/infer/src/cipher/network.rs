//! Linear maps with squares between, from a float graph or from a compiled model.
//!
//! What lies between two activations becomes one [`Shape`]: convolutions and dense layers as they are, averages and
//! remaining affine maps as depthwise convolutions, several of them composed into a dense map. An activation
//! `a + b x + c x^2` is `c (x + b/2c)^2 + (a - b^2/4c)`: what is added before the square goes into the bias before,
//! c and what is added after it into the map after, so that only the square is left.
//!
//! Powers of two are folded into the weights so that every value stays where the scheme is precise ([`Peaks`]); the
//! last one is undone by the client. Weights are real numbers: those of a float graph, or the integers of a compiled
//! model times their steps. Activations are not rounded, so that [`Network::evaluate`] is what encryption computes
//! but for its noise.

use phineus_model::fixed::{self, Model};
use phineus_model::float::Graph;
use phineus_model::graph::{Conv, Window};
use rayon::prelude::*;

use super::map::Shape;
use super::program::Affine;

mod chain;
mod compiled;
mod float;

use chain::Chain;

/// Linear maps with a square between any two.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    shapes: Vec<Shape>,
    numbers: Vec<Affine>,
    /// log2 of what the last map's outcome has been multiplied by.
    gain: i32,
}

/// How large values shall be at most, for the inputs that the network has been shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// Before every square.
    pub square: f64,
    /// At the end.
    pub output: f64,
}

/// Why a graph is no chain of linear maps and squares.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// An operation that is no polynomial.
    #[error(
        "node `{node}` ({op}) is not evaluated under encryption: train the network with x^2 in its place"
    )]
    Activation {
        /// Name of the node.
        node: String,
        /// What it is.
        op: &'static str,
    },
    /// A polynomial of another degree.
    #[error(
        "node `{node}` is a polynomial of degree {degree}: only degree two is evaluated under encryption"
    )]
    Degree {
        /// Name of the node.
        node: String,
        /// Its degree.
        degree: usize,
    },
    /// Something else than one value after the other.
    #[error("node `{node}` ({op}) is not part of a chain of linear layers and squares")]
    Chain {
        /// Name of the node.
        node: String,
        /// What it is.
        op: &'static str,
    },
    /// Linear layers without an activation between them whose product is too large.
    #[error(
        "the linear layers up to node `{node}` make a matrix of {entries} entries: at most {most} are composed"
    )]
    Large {
        /// Name of the node.
        node: String,
        /// Entries.
        entries: usize,
        /// Limit.
        most: usize,
    },
}

/// Most entries of a matrix that is made by composing maps.
const MAX_ENTRIES: usize = 1 << 26;

impl Network {
    /// The maps of a canonical graph ([`phineus_model::pass::canonical`]).
    ///
    /// # Errors
    /// A graph that is no chain of linear layers and polynomials of degree two.
    pub fn new(graph: &Graph) -> Result<Self, NetworkError> {
        let chain = Chain::assemble(float::parts(graph), true)?;
        let (shapes, numbers) = chain.finish();
        Ok(Self { shapes, numbers, gain: 0 })
    }

    /// The maps of a compiled model, scaled for its calibrated activations and for what comes out of `samples`; without
    /// samples, for what comes out of inputs that are spread over the model's range.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn compiled(model: &Model, samples: &[Vec<f64>], peaks: Peaks) -> Result<Self, NetworkError> {
        Self::compiled_with(model, samples, peaks, |_, _| {})
    }

    /// As [`Network::compiled`], with another map at the end.
    pub(super) fn compiled_with(
        model: &Model,
        samples: &[Vec<f64>],
        peaks: Peaks,
        change: impl FnOnce(&mut Shape, &mut Affine),
    ) -> Result<Self, NetworkError> {
        let chain = Chain::assemble(compiled::parts(&model.graph, Some(&model.weights)), true)?;
        let (mut shapes, mut numbers) = chain.finish();
        if let (Some(shape), Some(affine)) = (shapes.last_mut(), numbers.last_mut()) {
            change(shape, affine);
        }
        let network = Self { shapes, numbers, gain: 0 };
        let seen = if samples.is_empty() {
            network.largest(&compiled::spread(&model.graph))
        } else {
            network.largest(samples)
        };
        let calibrated = compiled::ranges(&model.graph).into_iter().chain(std::iter::repeat(0.0));
        let largest: Vec<f64> = seen.into_iter().zip(calibrated).map(|(a, b)| a.max(b)).collect();
        Ok(network.scaled(&largest, peaks))
    }

    /// Linear maps with a square between any two.
    #[cfg(test)]
    pub(super) fn of(shapes: Vec<Shape>, numbers: Vec<Affine>) -> Self {
        Self { shapes, numbers, gain: 0 }
    }

    /// The shapes of a compiled model, from its public half: those of [`Network::compiled`].
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn shapes_of(graph: &fixed::Graph) -> Result<Vec<Shape>, NetworkError> {
        Ok(Chain::assemble(compiled::parts(graph, None), false)?.finish().0)
    }

    /// The public half: what both parties derive the program from.
    #[must_use]
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// The numbers of the maps.
    #[must_use]
    pub fn numbers(&self) -> &[Affine] {
        &self.numbers
    }

    /// The result is 2^gain times what the graph computes.
    #[must_use]
    pub fn gain(&self) -> i32 {
        self.gain
    }

    /// What the graph computes, times 2^gain.
    ///
    /// # Panics
    /// An input of another length.
    #[must_use]
    pub fn evaluate(&self, input: &[f64]) -> Vec<f64> {
        self.trace(input).pop().unwrap_or_default()
    }

    /// The outcome of every map.
    ///
    /// # Panics
    /// An input of another length.
    #[must_use]
    pub fn trace(&self, input: &[f64]) -> Vec<Vec<f64>> {
        let mut values: Vec<Vec<f64>> = Vec::with_capacity(self.shapes.len());
        for (shape, affine) in self.shapes.iter().zip(&self.numbers) {
            let x: Vec<f64> =
                values.last().map_or_else(|| input.to_vec(), |x| x.iter().map(|v| v * v).collect());
            assert_eq!(x.len(), shape.inputs(), "length of the input");
            let mut sums = shape.times(&affine.weights, f64::from, &x);
            sums.iter_mut().zip(&affine.bias).for_each(|(sum, bias)| *sum = *sum * affine.scale + bias);
            values.push(sums);
        }
        values
    }

    /// The largest outcome of every map over some inputs.
    #[must_use]
    pub fn largest(&self, inputs: &[Vec<f64>]) -> Vec<f64> {
        let of_one = |input: &Vec<f64>| -> Vec<f64> {
            self.trace(input)
                .iter()
                .map(|values| values.iter().fold(0.0, |m: f64, v| m.max(v.abs())))
                .collect()
        };
        let larger = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(b).map(|(a, b)| a.max(b)).collect();
        inputs.par_iter().map(of_one).reduce(|| vec![0.0; self.shapes.len()], larger)
    }

    /// The network with powers of two folded into its weights, so that values reach `peaks` at most where
    /// [`largest`](Network::largest) of this network has been `largest`.
    #[must_use]
    pub fn scaled(mut self, largest: &[f64], peaks: Peaks) -> Self {
        let last = self.numbers.len().saturating_sub(1);
        let mut before = 0;
        for (index, (affine, largest)) in self.numbers.iter_mut().zip(largest).enumerate() {
            let peak = if index == last { peaks.output } else { peaks.square };
            let room = (peak / largest.max(f64::MIN_POSITIVE)).log2().floor().clamp(-200.0, 200.0);
            let gain = room as i32;
            affine.scale *= f64::from(gain - 2 * before).exp2();
            affine.bias.iter_mut().for_each(|b| *b *= f64::from(gain).exp2());
            before = gain;
        }
        self.gain += before;
        self
    }
}

/// A dense layer as one, anything else as the convolution it is.
fn shape_of(conv: &Conv) -> Shape {
    if *conv == Conv::dense(conv.in_channels, conv.out_channels) {
        Shape::Dense { inputs: conv.in_channels, outputs: conv.out_channels }
    } else {
        Shape::Conv(*conv)
    }
}

/// A convolution of every channel on its own.
fn depthwise(input: &[usize], kernel: Conv) -> Conv {
    let channels = input.first().copied().unwrap_or(1);
    let image = match input {
        [_, h, w] => [*h, *w],
        other => [other.iter().skip(1).product(), 1],
    };
    Conv { in_channels: channels, out_channels: channels, groups: channels, input: image, ..kernel }
}

/// The sum over a window as a convolution, if all windows lie in the padded image.
fn pooled(input: &[usize], window: &Window) -> Option<Conv> {
    let Window { kernel, stride, pads, .. } = *window;
    let conv = Conv { kernel, stride, pads, ..depthwise(input, Conv::dense(1, 1)) };
    (phineus_model::op::pool::output(window, conv.input) == conv.output()).then_some(conv)
}

/// A number per channel as one per element.
fn per_output(channels: impl ExactSizeIterator<Item = f64>, outputs: usize) -> Vec<f64> {
    let each = outputs / channels.len().max(1);
    channels.flat_map(|b| std::iter::repeat_n(b, each)).collect()
}

#[cfg(test)]
mod tests {
    use phineus_model::float::{Builder, Head, Op};
    use phineus_model::{pass, quantize};

    use super::*;

    fn numbers(count: usize, salt: usize) -> Vec<f32> {
        (0..count).map(|k| ((k + salt) * 7919 % 101) as f32 / 50.0 - 1.0).collect()
    }

    fn same(graph: Graph) -> Network {
        let graph = pass::canonical(graph).unwrap();
        let network = Network::new(&graph).unwrap();
        let x = numbers(graph.nodes[0].len(), 3);
        let input: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
        let expected = graph.run(&x).unwrap();
        let largest = network.largest(std::slice::from_ref(&input));
        let scaled = network.clone().scaled(&largest, Peaks { square: 2.0, output: 1.0 });
        let gain = f64::from(scaled.gain()).exp2();
        let size = expected.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
        for ((a, b), expected) in network.evaluate(&input).iter().zip(scaled.evaluate(&input)).zip(expected) {
            assert!((a - b / gain).abs() <= 1e-9 * a.abs().max(1.0), "{a} {b}");
            assert!((a - f64::from(expected)).abs() < 1e-4 * f64::from(size), "{a} {expected}");
        }
        let peaks = scaled.largest(&[input]);
        let (last, squares) = peaks.split_last().unwrap();
        assert!(squares.iter().all(|p| (1.0..=2.0).contains(p)) && (0.5..=1.0).contains(last), "{peaks:?}");
        network
    }

    #[test]
    fn polynomials_become_squares() {
        let mut b = Builder::new("g", "x", &[2, 6, 6]).unwrap();
        let conv = Conv { input: [6, 6], kernel: [3, 3], pads: [1; 4], ..Conv::dense(2, 4) };
        let op = Op::Linear { conv, weights: numbers(conv.weight_len(), 1), bias: numbers(4, 2) };
        let y = b.push("conv", op, &[0]).unwrap();
        let y = b.push("poly", Op::Poly { coefficients: vec![0.3, 0.5, -0.25] }, &[y]).unwrap();
        let window = Window { kernel: [2, 2], stride: [2, 2], pads: [0; 4], ceil: false };
        let y = b.push("mean", Op::AvgPool { window, count_pad: false }, &[y]).unwrap();
        let y = b.reshape("flat", y, &[36]).unwrap();
        let op = Op::Linear { conv: Conv::dense(36, 5), weights: numbers(180, 5), bias: numbers(5, 6) };
        let y = b.push("dense", op, &[y]).unwrap();
        let y = b.push("square", Op::Poly { coefficients: vec![0.0, 0.0, 1.0] }, &[y]).unwrap();
        let network = same(b.finish(y, Head::Logits).unwrap());
        // The average is part of the dense map, and the square at the end is followed by the identity.
        assert_eq!(network.shapes().len(), 3);
        assert_eq!(network.shapes()[1], Shape::Dense { inputs: 144, outputs: 5 });
    }

    #[test]
    fn a_compiled_model_means_what_its_graph_means() {
        let graph = phineus_model::zoo::build("lola-mnist", 3).unwrap();
        let samples: Vec<Vec<f32>> =
            (0..4).map(|k| numbers(784, k).iter().map(|v| v.abs()).collect()).collect();
        let preprocess = fixed::Preprocess { mean: vec![0.0], std: vec![1.0], bgr: false };
        let options = quantize::Options {
            activation_bits: 8,
            weight_bits: 12,
            calibration: quantize::Calibration::Max,
            reveal: fixed::Reveal::Logits,
            labels: Vec::new(),
            name: "m".into(),
        };
        let model = quantize::quantize(&graph, &samples, preprocess, &options).unwrap();
        let network = Network::compiled(&model, &[], Peaks { square: 2.0, output: 0.5 }).unwrap();
        assert_eq!(Network::shapes_of(&model.graph.public_view()).unwrap(), network.shapes());
        let gain = f64::from(network.gain()).exp2();
        for sample in &samples {
            let input: Vec<f64> = sample.iter().map(|&v| v.into()).collect();
            let expected = graph.run(sample).unwrap();
            let size = expected.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
            for (found, expected) in network.evaluate(&input).iter().zip(expected) {
                let difference = found / gain - f64::from(expected);
                assert!(difference.abs() < 0.02 * f64::from(size), "{} {expected}", found / gain);
                assert!(found.abs() <= 2.0);
            }
        }
    }

    #[test]
    fn what_is_no_chain_of_squares_is_named() {
        let build = |op: Op| {
            let mut b = Builder::new("g", "x", &[4]).unwrap();
            let y = b.push("odd", op, &[0]).unwrap();
            Network::new(&b.finish(y, Head::Logits).unwrap()).unwrap_err()
        };
        let relu = build(Op::Clip { lo: 0.0, hi: f32::INFINITY });
        assert_eq!(relu, NetworkError::Activation { node: "odd".into(), op: "clip" });
        let cubic = build(Op::Poly { coefficients: vec![0.0, 1.0, 0.0, 1.0] });
        assert_eq!(cubic, NetworkError::Degree { node: "odd".into(), degree: 3 });
        let mut b = Builder::new("g", "x", &[4]).unwrap();
        let y = b.push("twice", Op::Add, &[0, 0]).unwrap();
        let error = Network::new(&b.finish(y, Head::Logits).unwrap()).unwrap_err();
        assert_eq!(error, NetworkError::Chain { node: "twice".into(), op: "sum" });
    }
}
