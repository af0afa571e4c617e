//! From a float graph to linear maps with squares between.
//!
//! What lies between two activations becomes one [`Shape`]: convolutions and dense layers as they are, averages and
//! remaining affine maps as depthwise convolutions, several of them composed into a dense map. An activation
//! `a + b x + c x^2` is `c (x + b/2c)^2 + (a - b^2/4c)`: what is added before the square goes into the bias before,
//! c and what is added after it into the map after, so that only the square is left.
//!
//! Powers of two are folded into the weights so that every value stays where the scheme is precise ([`Peaks`]); the
//! last one is undone by the client. The weights are those of the file: nothing is rounded to integers here.

use phineus_model::float::{Graph, Op};
use phineus_model::graph::{Conv, Node, Window};

use super::map::{Entries, Shape};
use super::program::Affine;

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
        let mut chain = Chain::default();
        for (id, node) in graph.nodes.iter().enumerate().take(graph.output + 1) {
            let follows = id == 0 || node.inputs == [id - 1];
            if !follows {
                return Err(NetworkError::Chain { node: node.name.clone(), op: name(&node.op) });
            }
            let input = &graph.nodes[id.saturating_sub(1)].shape;
            chain.push(node, input)?;
        }
        if chain.open {
            chain.identity(graph.nodes[graph.output].len());
        }
        Ok(Self { shapes: chain.shapes, numbers: chain.numbers, gain: 0 })
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
            let entries = Entries::new(*shape);
            let output = |o: usize| {
                let sum: f64 = entries.row(o).map(|(i, k)| f64::from(affine.weights[k]) * x[i]).sum();
                sum * affine.scale + affine.bias[o]
            };
            values.push((0..shape.outputs()).map(output).collect());
        }
        values
    }

    /// The largest outcome of every map over some inputs.
    #[must_use]
    pub fn largest(&self, inputs: &[Vec<f64>]) -> Vec<f64> {
        let mut largest = vec![0.0; self.shapes.len()];
        for input in inputs {
            for (largest, values) in largest.iter_mut().zip(self.trace(input)) {
                *largest = values.iter().fold(*largest, |m: f64, v| m.max(v.abs()));
            }
        }
        largest
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

/// Maps found so far.
#[derive(Default)]
struct Chain {
    shapes: Vec<Shape>,
    numbers: Vec<Affine>,
    /// Whether the last map is followed by a square.
    open: bool,
    /// Factor and summand that the last activation leaves to the next map.
    pending: Option<(f64, f64)>,
}

impl Chain {
    fn push(&mut self, node: &Node<Op>, input: &[usize]) -> Result<(), NetworkError> {
        let op = name(&node.op);
        match &node.op {
            Op::Input => Ok(()),
            Op::Reshape => Ok(()),
            Op::Linear { conv, weights, bias } => {
                self.linear(node, shape_of(conv), weights.clone(), per_output(bias, node.len()))
            }
            Op::Affine { scale, shift } => {
                let conv = depthwise(input, Conv::dense(1, 1));
                self.linear(node, Shape::Conv(conv), scale.clone(), per_output(shift, node.len()))
            }
            Op::AvgPool { window, count_pad } => match pooled(input, window, *count_pad) {
                Some(conv) => {
                    let weights = vec![1.0 / (window.kernel[0] * window.kernel[1]) as f32; conv.weight_len()];
                    self.linear(node, Shape::Conv(conv), weights, vec![0.0; node.len()])
                }
                None => Err(NetworkError::Chain { node: node.name.clone(), op: "average with a cut window" }),
            },
            Op::Poly { coefficients } => self.square(node, coefficients),
            Op::Clip { .. } | Op::MaxPool(_) => Err(NetworkError::Activation { node: node.name.clone(), op }),
            _ => Err(NetworkError::Chain { node: node.name.clone(), op }),
        }
    }

    fn square(&mut self, node: &Node<Op>, coefficients: &[f32]) -> Result<(), NetworkError> {
        let degree = coefficients.iter().rposition(|&c| c != 0.0).unwrap_or(0);
        if degree != 2 {
            return Err(NetworkError::Degree { node: node.name.clone(), degree });
        }
        let [a, b, c] = [0, 1, 2].map(|k| f64::from(coefficients[k]));
        if self.open || self.shapes.is_empty() {
            self.identity(node.len());
        }
        if let Some(affine) = self.numbers.last_mut() {
            affine.bias.iter_mut().for_each(|bias| *bias += b / (2.0 * c));
        }
        self.open = true;
        self.pending = Some((c, a - b * b / (4.0 * c)));
        Ok(())
    }

    /// Appends the map that changes nothing.
    fn identity(&mut self, elements: usize) {
        let conv = Conv { groups: elements, ..Conv::dense(elements, elements) };
        self.append(Shape::Conv(conv), vec![1.0; elements], vec![0.0; elements]);
    }

    fn linear(
        &mut self,
        node: &Node<Op>,
        shape: Shape,
        weights: Vec<f32>,
        bias: Vec<f64>,
    ) -> Result<(), NetworkError> {
        let last = if self.open { None } else { self.shapes.last().copied().zip(self.numbers.last_mut()) };
        let Some((before, numbers)) = last else {
            self.append(shape, weights, bias);
            return Ok(());
        };
        let large = [before.inputs() * before.outputs(), before.inputs() * shape.outputs()].into_iter().max();
        if let Some(entries) = large.filter(|&entries| entries > MAX_ENTRIES) {
            return Err(NetworkError::Large { node: node.name.clone(), entries, most: MAX_ENTRIES });
        }
        *numbers = composed(&before, numbers, &shape, &weights, &bias);
        if let Some(last) = self.shapes.last_mut() {
            *last = Shape::Dense { inputs: before.inputs(), outputs: shape.outputs() };
        }
        Ok(())
    }

    fn append(&mut self, shape: Shape, weights: Vec<f32>, mut bias: Vec<f64>) {
        let (factor, summand) = self.pending.take().unwrap_or((1.0, 0.0));
        if summand != 0.0 {
            let entries = Entries::new(shape);
            for (o, bias) in bias.iter_mut().enumerate() {
                *bias += summand * entries.row(o).map(|(_, k)| f64::from(weights[k])).sum::<f64>();
            }
        }
        self.shapes.push(shape);
        self.numbers.push(Affine { weights, scale: factor, bias });
        self.open = false;
    }
}

/// The map `shape` after `before`.
fn composed(before: &Shape, numbers: &Affine, shape: &Shape, weights: &[f32], bias: &[f64]) -> Affine {
    let (first, second) = (Entries::new(*before), Entries::new(*shape));
    let inputs = before.inputs();
    let mut matrix = Vec::with_capacity(inputs * shape.outputs());
    let mut biases = bias.to_vec();
    for (o, bias) in biases.iter_mut().enumerate() {
        let mut row = vec![0.0; inputs];
        for (middle, k) in second.row(o) {
            let weight = f64::from(weights[k]);
            *bias += weight * numbers.bias[middle];
            for (i, j) in first.row(middle) {
                row[i] += weight * f64::from(numbers.weights[j]);
            }
        }
        matrix.extend(row.iter().map(|&w| w as f32));
    }
    Affine { weights: matrix, scale: numbers.scale, bias: biases }
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

/// An average as a convolution, if all of its windows count equally many places.
fn pooled(input: &[usize], window: &Window, count_pad: bool) -> Option<Conv> {
    let conv = Conv {
        kernel: window.kernel,
        stride: window.stride,
        pads: window.pads,
        ..depthwise(input, Conv::dense(1, 1))
    };
    let [h, w] = conv.input;
    let whole = phineus_model::op::pool::output(window, [h, w]) == conv.output();
    (whole && (count_pad || window.pads == [0; 4])).then_some(conv)
}

/// A number per channel as one per element.
fn per_output(channels: &[f32], outputs: usize) -> Vec<f64> {
    let each = outputs / channels.len().max(1);
    channels.iter().flat_map(|&b| std::iter::repeat_n(f64::from(b), each)).collect()
}

fn name(op: &Op) -> &'static str {
    match op {
        Op::Input => "input",
        Op::Linear { .. } => "linear layer",
        Op::Affine { .. } => "affine map",
        Op::Clip { .. } => "clip",
        Op::Poly { .. } => "polynomial",
        Op::Add => "sum",
        Op::Mul => "product",
        Op::Concat => "concatenation",
        Op::AvgPool { .. } => "average",
        Op::MaxPool(_) => "maximum",
        Op::Pad { .. } => "padding",
        Op::Slice { .. } => "slice",
        Op::Reshape => "reshape",
        Op::Transpose { .. } => "transpose",
    }
}

#[cfg(test)]
mod tests {
    use phineus_model::float::{Builder, Head};
    use phineus_model::pass;

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
