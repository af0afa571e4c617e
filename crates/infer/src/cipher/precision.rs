//! How exact a whole network under encryption is: a bound on the error of its outputs that holds but for 2^-40 of all runs.
//!
//! Variances are followed from element to element, with the network's own weights:
//!
//! ```text
//! fresh         v_i = f
//! linear map    v_o = sum_i w_oi^2 (v_i + r) + T X^2 e + G g + d
//! square        v_i' = (2 |y_i|)^2 v_i + k + d
//! ```
//!
//! where f, r, e, g, k and d are what encryption, rotation, rounding of plaintexts, giant steps, relinearisation and rescale
//! add ([`Variances`]), T and G count the products and giant steps that meet in a slot, X^2 is the mean square of the slots
//! that those T meet, and |y_i| the element before the square. An output is then within `TAIL sqrt(v)` of what the network gives in the clear, plus what the
//! reply adds ([`ReplySpec::error`](phineus_he::slots::ReplySpec::error)), and the class is certain where the largest output
//! exceeds the second by twice that.
//!
//! **Heuristics**, the usual ones (Costache, Curtis, Hales, Murphy, Ogilvie, Player, "On the precision loss in approximate
//! homomorphic encryption", SAC 2023): errors of different operations and of different slots are independent and centred,
//! and errors that are summed over many slots meet slots of the secret of mean square. The last division, which nothing
//! averages, is taken with the largest slots that the key generator admits, and so are all divisions of batches, where an
//! input stays in its slot.
//!
//! **Sizes.** [`Precision::bound`] takes |y_i| from one input: a statement about that input. [`Precision::bounds`] takes the
//! promise of the network's scaling for all inputs ([`PEAKS`](super::scheme::PEAKS)).

use phineus_he::slots::noise::{TAIL, Variances};
use phineus_he::slots::{Params, SlotsError};

use super::batch;
use super::cost::Steps;
use super::encrypted::{Bounds, scheme_level};
use super::network::Network;
use super::scheme::Scheme;

/// What the operations of a network add to its errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Precision {
    fresh: f64,
    maps: Vec<Noise>,
    /// Bounds on the slots of every level.
    slots: Vec<f64>,
    /// What the reply adds, as a bound.
    reply: f64,
}

/// Variances that one map and the square behind it add.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Noise {
    /// To every input.
    input: f64,
    /// Each product brings the square of a slot times this.
    rounding: f64,
    met: Met,
    /// To every output besides, before the square.
    output: f64,
    /// To every square.
    square: f64,
}

/// What the products that meet in an output have as their other factor.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Met {
    /// Number of products.
    terms: f64,
    /// How often at most a slot is among them.
    times: f64,
    /// In how many slots an element is at most.
    copies: f64,
    /// Slots that hold something else than elements and zeros.
    garbage: f64,
}

impl Precision {
    /// For single inputs.
    ///
    /// # Errors
    /// None for a scheme of its own parameters.
    pub fn new(scheme: &Scheme) -> Result<Self, SlotsError> {
        let Bounds { slots, .. } = scheme.bounds();
        let (program, params) = (scheme.program(), scheme.params());
        let map = |(index, map): (usize, &super::diagonal::Diagonals)| {
            let level = program.level(index);
            let at = params.variances(scheme_level(level)?)?;
            let steps = Steps::of(map);
            let copies = (steps.folds as f64).exp2();
            let input =
                index.checked_sub(1).map_or(program.input(), |before| program.maps()[before].output());
            let met = Met::new(map.terms(), input.copies_and_garbage());
            let rotation = if steps.babies > 0 { at.rotation } else { 0.0 };
            let giants = copies * (steps.giants + 1) as f64 * at.product_rotation;
            let own = Noise { input: rotation, rounding: at.factor, met, output: giants, square: 0.0 };
            own.behind(params, level, |at| at.rescale)
        };
        Ok(Self {
            fresh: params.variances(scheme.requests().level)?.fresh,
            maps: program.maps().iter().enumerate().map(map).collect::<Result<_, _>>()?,
            slots,
            reply: scheme.reply().error(0.0),
        })
    }

    /// For batches.
    ///
    /// # Errors
    /// None for a scheme of its own parameters.
    pub fn of_batch(scheme: &batch::Scheme) -> Result<Self, SlotsError> {
        let Bounds { slots, .. } = scheme.bounds();
        let (params, depth) = (scheme.params(), scheme.batch().depth());
        let map = |(index, terms): (usize, usize)| {
            let level = depth - 2 * index;
            let at = params.variances(scheme_level(level)?)?;
            let (met, rounding) = (Met::new([terms, 1], [1, 0]), at.number);
            Noise { input: 0.0, rounding, met, output: 0.0, square: 0.0 }
                .behind(params, level, |at| at.worst_rescale)
        };
        Ok(Self {
            fresh: params.variances(scheme_level(depth)?)?.fresh,
            maps: scheme.batch().terms().into_iter().enumerate().map(map).collect::<Result<_, _>>()?,
            slots,
            reply: scheme.reply().error(0.0),
        })
    }

    /// Bound on the error of the outputs for this input.
    ///
    /// # Panics
    /// Another network than that of the scheme, or an input of another length.
    #[must_use]
    pub fn bound(&self, network: &Network, input: &[f64]) -> f64 {
        self.bound_of(network, input, &network.trace(input))
    }

    /// The same, from what [`Network::trace`] gives for the input.
    ///
    /// # Panics
    /// As [`Precision::bound`].
    #[must_use]
    pub fn bound_of(&self, network: &Network, input: &[f64], trace: &[Vec<f64>]) -> f64 {
        self.follow(network, Some((input, trace))).last().copied().unwrap_or_default()
    }

    /// Bounds on slots and errors of every level for all inputs for which the values of the network keep to its scaling.
    ///
    /// # Panics
    /// Another network than that of the scheme.
    #[must_use]
    pub fn bounds(&self, network: &Network) -> Bounds {
        let mut errors = self.follow(network, None);
        errors.reverse();
        Bounds { slots: self.slots.clone(), errors }
    }

    /// Bounds on the errors of fresh ciphertexts and after every map and square in order, the last one with the reply.
    fn follow(&self, network: &Network, known: Option<(&[f64], &[Vec<f64>])>) -> Vec<f64> {
        let shapes = network.shapes();
        assert_eq!(shapes.len(), self.maps.len(), "number of maps");
        let depth = self.slots.len() - 1;
        let mut variances = vec![self.fresh; shapes.first().map_or(0, |shape| shape.inputs())];
        let worst = |variances: &[f64]| TAIL * variances.iter().copied().fold(0.0, f64::max).sqrt();
        let mut errors = vec![worst(&variances)];
        for (index, ((shape, numbers), noise)) in
            shapes.iter().zip(network.numbers()).zip(&self.maps).enumerate()
        {
            let (most, squared) = (self.slots[depth - 2 * index].powi(2), |v: &f64| v * v);
            let met = match (known, index.checked_sub(1)) {
                (None, _) => noise.met.terms * most,
                (Some((input, _)), None) => noise.met.squares(input.iter().map(squared), most),
                (Some((_, trace)), Some(before)) => {
                    noise.met.squares(trace[before].iter().map(|v| v.powi(4)), most)
                }
            };
            let added = met * noise.rounding + noise.output;
            variances.iter_mut().for_each(|variance| *variance += noise.input);
            let square = |weight: f32| (f64::from(weight) * numbers.scale).powi(2);
            variances = shape.times(&numbers.weights, square, &variances);
            variances.iter_mut().for_each(|variance| *variance += added);
            errors.push(worst(&variances));
            if index + 1 < shapes.len() {
                for (element, variance) in variances.iter_mut().enumerate() {
                    // What is squared may be off by its error already.
                    let size = known
                        .map_or(self.slots[depth - 1 - 2 * index], |(_, trace)| trace[index][element].abs());
                    let most = size + TAIL * variance.sqrt();
                    *variance = (2.0 * most).powi(2) * *variance + noise.square;
                }
                errors.push(worst(&variances));
            }
        }
        if let Some(last) = errors.last_mut() {
            *last += self.reply;
        }
        errors
    }
}

impl Noise {
    /// With what comes behind the products of a map at this level: rescale, bias, square. `rescale` takes the secret as errors
    /// meet it.
    fn behind(
        self,
        params: &Params,
        level: usize,
        rescale: impl Fn(&Variances) -> f64,
    ) -> Result<Self, SlotsError> {
        let at = params.variances(scheme_level(level)?)?;
        // Behind the last map nothing averages over slots any more.
        let Some(next) = level.checked_sub(2) else {
            return Ok(Self { output: self.output + at.worst_rescale, ..self });
        };
        let below: Variances = params.variances(scheme_level(next + 1)?)?;
        let output = self.output + rescale(&at) + below.summand;
        Ok(Self { output, square: below.product_rotation + rescale(&below), ..self })
    }
}

impl Met {
    fn new([terms, times]: [usize; 2], [copies, garbage]: [usize; 2]) -> Self {
        let [terms, times, copies, garbage] = [terms, times, copies, garbage].map(|count| count as f64);
        Self { terms, times, copies, garbage }
    }

    /// Sum of the squares of the slots that meet in an output, where those of the elements are `squares` and no other is
    /// above `most`.
    fn squares(&self, squares: impl Iterator<Item = f64>, most: f64) -> f64 {
        let (largest, sum) = squares.fold((0.0, 0.0), |(max, sum): (f64, f64), v| (max.max(v), sum + v));
        let largest = if self.garbage > 0.0 { most.max(largest) } else { largest };
        (self.terms * largest).min(self.times * (self.copies * sum + self.garbage * most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cipher::cost::CostModel;
    use crate::cipher::map::Shape;
    use crate::cipher::scheme::{Choices, PEAKS};

    #[test]
    fn bounds_of_an_input_are_below_those_of_all_and_grow_with_the_network() {
        let shapes = [Shape::Dense { inputs: 64, outputs: 16 }, Shape::Dense { inputs: 16, outputs: 4 }];
        let choices = Choices { precision: 19, ..Choices::default() };
        let scheme = Scheme::new(&shapes, &choices, &CostModel::default()).unwrap();
        let numbers = shapes.map(|shape| super::super::Affine {
            weights: (0..shape.weights()).map(|k| (k * 37 % 101) as f32 / 50.0 - 1.0).collect(),
            scale: 0.25,
            bias: vec![0.1; shape.outputs()],
        });
        let input: Vec<f64> = (0..64).map(|k| f64::from(k % 9) / 9.0).collect();
        let network = Network::of(shapes.to_vec(), numbers.to_vec());
        let network = network.clone().scaled(&network.largest(std::slice::from_ref(&input)), PEAKS);
        let precision = Precision::new(&scheme).unwrap();
        let (one, all) = (precision.bound(&network, &input), precision.bounds(&network));
        assert_eq!((all.slots.len(), all.errors.len()), (4, 4));
        assert!(one > 0.0 && one < all.errors[0], "{one} {:?}", all.errors);
        assert!(all.errors[3] < all.errors[2], "{:?}", all.errors);
        let batch = batch::Scheme::new(&shapes, &choices).unwrap();
        let batch = Precision::of_batch(&batch).unwrap();
        assert!(batch.bound(&network, &input) < 0.1);
    }
}
