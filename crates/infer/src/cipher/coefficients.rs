//! Results in coefficients instead of slots, so that two parties can hold additive shares of them.
//!
//! A slot is a sum of coefficients times known numbers: `slot_j = sum_i E_ji c_i`, the canonical embedding. Uniform masks
//! modulo q hide coefficients and not slots, whose masks would have to be larger than the results by 2^40 and more than
//! that in all. The last linear map `y = W x + b` of a network is therefore evaluated as `E W x + E b`: at no cost, since
//! E is folded into the weights, and without a loss, since E is orthogonal up to a factor. Then coefficient i is y_i.
//!
//! It takes as many slots as coefficients: the result has one period of them, padded with zeros.

use phineus_he::slots::Params;

use super::layout::Layout;
use super::map::{Entries, Shape};
use super::program::Affine;

/// The maps with a last one whose outcome fills a period of slots.
pub(super) fn padded(shapes: &[Shape]) -> Vec<Shape> {
    let mut shapes = shapes.to_vec();
    if let Some(last) = shapes.last_mut() {
        *last = Shape::Dense { inputs: last.inputs(), outputs: last.outputs().next_power_of_two() };
    }
    shapes
}

/// Whether slots of this layout can stand for coefficients: every slot of a period holds an element of its own.
pub(super) fn fills(output: &Layout) -> bool {
    output.ciphers() == 1 && output.is_clean() && output.period() == output.elements()
}

/// Makes a map the one of [`padded`] that leaves its outcomes in the first coefficients of a result in the layout `output`.
pub(super) fn fold(shape: &mut Shape, affine: &mut Affine, output: &Layout, params: &Params) {
    let (inputs, period) = (shape.inputs(), output.period());
    let columns: Vec<Vec<f64>> =
        (0..shape.outputs()).map(|i| params.slots_of_coefficient(period, i)).collect();
    let entries = Entries::new(*shape);
    let mut weights = vec![0.0_f64; inputs * period];
    let mut bias = vec![0.0; period];
    for (element, slot) in output.positions().into_iter().enumerate() {
        let Some(slot) = slot else { continue };
        let row = &mut weights[element * inputs..][..inputs];
        for (i, column) in columns.iter().enumerate() {
            let factor = column[slot % period];
            bias[element] += factor * affine.bias[i];
            for (input, k) in entries.row(i) {
                row[input] += factor * f64::from(affine.weights[k]);
            }
        }
    }
    *shape = Shape::Dense { inputs, outputs: period };
    affine.weights = weights.into_iter().map(|w| w as f32).collect();
    affine.bias = bias;
}
