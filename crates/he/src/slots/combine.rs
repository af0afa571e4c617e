//! Weighted sums of many ciphertexts, one number per ciphertext: layers on batches, where slots are inputs.
//!
//! A number in all slots is a constant polynomial, which is itself by values too, so that a layer is a product of matrices
//! of residues, `weights (outputs x inputs) residues (inputs x 2n)`, for each prime. Products are added up in words of 64
//! bits and reduced once in 128; a tile of all ciphertexts stays in the cache while it meets all rows of weights.

use phineus_kernel::ntt32::pointwise::{SUMS, TILE, weighted_sums};

use super::cipher::Ciphertext;
use super::poly::Poly;
use super::{Evaluator, SlotsError};

impl Evaluator {
    /// The sums `sum_i weights[o][i] x_i`, rescaled; weights row by row, one row per output.
    ///
    /// # Errors
    /// [`SlotsError::Count`] unless there is at least one input and a whole number of rows; [`SlotsError::Value`] for a weight
    /// that is not finite or too large; [`SlotsError::Params`], [`SlotsError::NotLinear`], [`SlotsError::LevelMismatch`],
    /// [`SlotsError::ScaleMismatch`] as for sums; [`SlotsError::Exhausted`], [`SlotsError::Overflow`].
    pub fn combine(&self, inputs: &[&Ciphertext], weights: &[f64]) -> Result<Vec<Ciphertext>, SlotsError> {
        let Some((first, others)) = inputs.split_first() else {
            return Err(SlotsError::Count { what: "inputs", expected: 1, got: 0 });
        };
        let rows = weights.len().div_ceil(inputs.len());
        if rows * inputs.len() != weights.len() {
            return Err(SlotsError::Count {
                what: "weights",
                expected: rows * inputs.len(),
                got: weights.len(),
            });
        }
        for x in others {
            super::evaluate::check_match((first.level, first.scale), (x.level, x.scale))?;
        }
        let parts = inputs.iter().map(|x| self.linear_parts(x)).collect::<Result<Vec<_>, _>>()?;
        let (params, level) = (self.params(), first.level);
        let scale = params.scale(level)?;
        let rounded = weights.iter().map(|w| {
            let scaled = (w * scale).round();
            if scaled.abs() < 61_f64.exp2() {
                Ok(scaled as i64)
            } else {
                Err(SlotsError::Value { log2_scale: scale.log2() })
            }
        });
        let rounded: Vec<i64> = rounded.collect::<Result<_, _>>()?;
        let (n, limbs) = (params.slots(), params.limbs(level)?);
        let mut sums: Vec<[Poly; 2]> =
            (0..rows.next_multiple_of(SUMS)).map(|_| [(); 2].map(|()| Poly::any(n, limbs))).collect();
        // One tile of all inputs side by side: apart from each other they would fall on the same lines of the cache.
        let mut tiles = vec![[0; TILE]; inputs.len()];
        for limb in 0..limbs {
            let modulus = params.plans()[limb].modulus();
            let mut residues: Vec<u32> =
                rounded.iter().map(|&w| modulus.to_montgomery(modulus.reduce_i64(w))).collect();
            residues.resize(sums.len() * inputs.len(), 0);
            for (half, start) in (0..2).flat_map(|half| (0..n).step_by(TILE).map(move |start| (half, start)))
            {
                for (tile, parts) in tiles.iter_mut().zip(&parts) {
                    tile.copy_from_slice(&parts[half].limb(limb)[start..start + TILE]);
                }
                let (groups, _) = sums.as_chunks_mut::<SUMS>();
                for (group, weights) in groups.iter_mut().zip(residues.chunks_exact(SUMS * inputs.len())) {
                    let row = |o: usize| &weights[o * inputs.len()..(o + 1) * inputs.len()];
                    let mut out = [[0; TILE]; SUMS];
                    weighted_sums(modulus, [row(0), row(1), row(2), row(3)], &tiles, &mut out);
                    for (sum, out) in group.iter_mut().zip(&out) {
                        sum[half].limb_mut(limb)[start..start + TILE].copy_from_slice(out);
                    }
                }
            }
        }
        sums.truncate(rows);
        let finish = |(sum, weights): ([Poly; 2], &[f64])| {
            let (mut magnitude, mut error) = (0.0, 0.0);
            for (x, w) in inputs.iter().zip(weights) {
                magnitude += w.abs() * x.magnitude;
                // The weight is off by half a unit at most.
                error += w.abs() * x.error + (x.magnitude + x.error) * 0.5 / scale;
            }
            let scale = first.scale * scale;
            let sum = Ciphertext { parts: sum.into(), scale, magnitude, error, ..self.shell(first) };
            self.rescale(&sum)
        };
        sums.into_iter().zip(weights.chunks(inputs.len())).map(finish).collect()
    }
}
