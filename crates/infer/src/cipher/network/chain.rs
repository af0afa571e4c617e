//! Parts of a network, one after the other, merged into maps with a square between any two.

use phineus_model::graph::Conv;

use super::{MAX_ENTRIES, NetworkError};
use crate::cipher::map::{Entries, Shape};
use crate::cipher::program::Affine;

/// A step of a network.
pub(super) enum Part {
    /// A linear map, with its weights and one bias per output where they are known.
    Map { node: String, shape: Shape, numbers: Option<(Vec<f32>, Vec<f64>)> },
    /// `c[0] + c[1] x + c[2] x^2`, with a last coefficient other than zero, on so many elements.
    Square { elements: usize, coefficients: [f64; 3] },
}

/// Maps found so far.
#[derive(Default)]
pub(super) struct Chain {
    shapes: Vec<Shape>,
    numbers: Vec<Affine>,
    /// Whether there are numbers, or shapes only.
    weighted: bool,
    /// Elements of the square that follows the last map.
    open: Option<usize>,
    /// Factor and summand that the last activation leaves to the next map.
    pending: Option<(f64, f64)>,
}

impl Chain {
    /// Merges parts in order; without numbers if they are not `weighted`.
    pub(super) fn assemble(
        parts: impl Iterator<Item = Result<Part, NetworkError>>,
        weighted: bool,
    ) -> Result<Self, NetworkError> {
        let mut chain = Self { weighted, ..Self::default() };
        for part in parts {
            match part? {
                Part::Map { node, shape, numbers } => chain.map(&node, shape, numbers.unwrap_or_default())?,
                Part::Square { elements, coefficients } => chain.square(elements, coefficients),
            }
        }
        if let Some(elements) = chain.open {
            chain.identity(elements);
        }
        Ok(chain)
    }

    /// The maps and their numbers.
    pub(super) fn finish(self) -> (Vec<Shape>, Vec<Affine>) {
        (self.shapes, self.numbers)
    }

    fn square(&mut self, elements: usize, [a, b, c]: [f64; 3]) {
        if self.open.is_some() || self.shapes.is_empty() {
            self.identity(elements);
        }
        if let Some(affine) = self.numbers.last_mut() {
            affine.bias.iter_mut().for_each(|bias| *bias += b / (2.0 * c));
        }
        self.open = Some(elements);
        self.pending = Some((c, a - b * b / (4.0 * c)));
    }

    /// Appends the map that changes nothing.
    fn identity(&mut self, elements: usize) {
        let conv = Conv { groups: elements, ..Conv::dense(elements, elements) };
        let numbers =
            if self.weighted { (vec![1.0; elements], vec![0.0; elements]) } else { Default::default() };
        self.append(Shape::Conv(conv), numbers);
    }

    fn map(&mut self, node: &str, shape: Shape, numbers: (Vec<f32>, Vec<f64>)) -> Result<(), NetworkError> {
        let last = if self.open.is_some() { None } else { self.shapes.last_mut() };
        let Some(last) = last else {
            self.append(shape, numbers);
            return Ok(());
        };
        let before = *last;
        let large = [before.inputs() * before.outputs(), before.inputs() * shape.outputs()].into_iter().max();
        if let Some(entries) = large.filter(|&entries| entries > MAX_ENTRIES) {
            return Err(NetworkError::Large { node: node.to_owned(), entries, most: MAX_ENTRIES });
        }
        *last = Shape::Dense { inputs: before.inputs(), outputs: shape.outputs() };
        if let Some(affine) = self.numbers.last_mut() {
            *affine = composed(&before, affine, &shape, &numbers);
        }
        Ok(())
    }

    fn append(&mut self, shape: Shape, (weights, mut bias): (Vec<f32>, Vec<f64>)) {
        let (factor, summand) = self.pending.take().unwrap_or((1.0, 0.0));
        self.shapes.push(shape);
        self.open = None;
        if !self.weighted {
            return;
        }
        if summand != 0.0 {
            let met = shape.times(&weights, f64::from, &vec![summand; shape.inputs()]);
            bias.iter_mut().zip(met).for_each(|(bias, met)| *bias += met);
        }
        self.numbers.push(Affine { weights, scale: factor, bias });
    }
}

/// The map `shape` after `before`.
fn composed(
    before: &Shape,
    numbers: &Affine,
    shape: &Shape,
    (weights, bias): &(Vec<f32>, Vec<f64>),
) -> Affine {
    let (first, second) = (Entries::new(*before), Entries::new(*shape));
    let inputs = before.inputs();
    let mut matrix = Vec::with_capacity(inputs * shape.outputs());
    let mut biases = bias.clone();
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
