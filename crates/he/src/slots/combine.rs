//! Weighted sums of many ciphertexts, one number per ciphertext: layers on batches, where slots are inputs.
//!
//! A number in all slots is a constant polynomial, which is itself by values too, so that a layer is a product of matrices
//! of residues, `weights (outputs x inputs) residues (inputs x 2n)`, for each prime. Products are added up in words of 64
//! bits and reduced once in 128; a block of all ciphertexts stays in the cache while it meets all rows of weights.
//!
//! Inputs may come in parts: [`Sums`] take up what one ciphertext per output does, however many inputs there are.

use std::fmt;

use phineus_kernel::ntt32::pointwise::{SUMS, TILE, add_weighted_sums};

use super::cipher::Ciphertext;
use super::poly::Poly;
use super::{Evaluator, SlotsError};

/// Weighted sums of the ciphertexts of one level met so far.
pub struct Sums {
    level: usize,
    /// Both halves of every sum; as many as a multiple of those that the kernel adds at once.
    halves: Vec<[Poly; 2]>,
    /// Of the sums that were asked for: bounds on slots and errors.
    bounds: Vec<Bounds>,
}

impl Sums {
    /// Level of the ciphertexts that are added up.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }
}

/// Tiles that are read of an input at once; a degree is a multiple of them.
const BLOCK: usize = 16;

#[derive(Clone, Copy, Default)]
struct Bounds {
    magnitude: f64,
    error: f64,
}

impl Evaluator {
    /// `count` sums of ciphertexts of `level`, without any yet.
    ///
    /// # Errors
    /// [`SlotsError::Level`].
    pub fn sums(&self, count: usize, level: usize) -> Result<Sums, SlotsError> {
        let (n, limbs) = (self.params().slots(), self.params().limbs(level)?);
        let padded = count.next_multiple_of(SUMS);
        let halves = (0..padded).map(|_| [(); 2].map(|()| Poly::zero(n, limbs))).collect();
        Ok(Sums { level, halves, bounds: vec![Bounds::default(); count] })
    }

    /// `sums_o += sum_i weights[o][i] x_i`; weights row by row, one row per sum.
    ///
    /// # Errors
    /// [`SlotsError::Count`] unless there is one weight per sum and input; [`SlotsError::Value`] for a weight that is not
    /// finite or too large; [`SlotsError::Params`], [`SlotsError::NotLinear`], [`SlotsError::LevelMismatch`],
    /// [`SlotsError::ScaleMismatch`] as for sums.
    pub fn accumulate(
        &self,
        sums: &mut Sums,
        inputs: &[&Ciphertext],
        weights: &[f64],
    ) -> Result<(), SlotsError> {
        let (params, count) = (self.params(), inputs.len());
        if count * sums.bounds.len() != weights.len() {
            let expected = count * sums.bounds.len();
            return Err(SlotsError::Count { what: "weights", expected, got: weights.len() });
        }
        let (scale, limbs) = (params.scale(sums.level)?, params.limbs(sums.level)?);
        let unit = params.factor_scale(sums.level)?;
        if inputs.is_empty() {
            return Ok(());
        }
        for x in inputs {
            super::evaluate::check_match((sums.level, scale), (x.level, x.scale))?;
        }
        let parts = inputs.iter().map(|x| self.linear_parts(x)).collect::<Result<Vec<_>, _>>()?;
        let rounded = weights.iter().map(|w| {
            let scaled = (w * unit).round();
            if scaled.abs() < 61_f64.exp2() {
                Ok(scaled as i64)
            } else {
                Err(SlotsError::Value { log2_scale: unit.log2() })
            }
        });
        let rounded: Vec<i64> = rounded.collect::<Result<_, _>>()?;
        // A block of all inputs tile by tile: inputs are read some lines at a time, and what a tile of one row meets lies
        // side by side.
        let mut tiles = vec![[0; TILE]; BLOCK * count];
        for limb in 0..limbs {
            let modulus = params.plans()[limb].modulus();
            let mut residues: Vec<u32> =
                rounded.iter().map(|&w| modulus.to_montgomery(modulus.reduce_i64(w))).collect();
            residues.resize(sums.halves.len() * count, 0);
            let starts = (0..params.slots()).step_by(BLOCK * TILE);
            for (half, start) in (0..2).flat_map(|half| starts.clone().map(move |start| (half, start))) {
                for (i, parts) in parts.iter().enumerate() {
                    let (lines, _) = parts[half].limb(limb)[start..].as_chunks::<TILE>();
                    for (place, line) in tiles.iter_mut().skip(i).step_by(count).zip(lines) {
                        *place = *line;
                    }
                }
                let (groups, _) = sums.halves.as_chunks_mut::<SUMS>();
                for (group, weights) in groups.iter_mut().zip(residues.chunks_exact(SUMS * count)) {
                    let row = |o: usize| &weights[o * count..(o + 1) * count];
                    let rows = [row(0), row(1), row(2), row(3)];
                    for (tile, at) in tiles.chunks_exact(count).zip((start..).step_by(TILE)) {
                        let mut out = [[0; TILE]; SUMS];
                        for (out, sum) in out.iter_mut().zip(group.iter()) {
                            out.copy_from_slice(&sum[half].limb(limb)[at..at + TILE]);
                        }
                        add_weighted_sums(modulus, rows, tile, &mut out);
                        for (sum, out) in group.iter_mut().zip(&out) {
                            sum[half].limb_mut(limb)[at..at + TILE].copy_from_slice(out);
                        }
                    }
                }
            }
        }
        for (bounds, weights) in sums.bounds.iter_mut().zip(weights.chunks_exact(count)) {
            for (x, w) in inputs.iter().zip(weights) {
                bounds.magnitude += w.abs() * x.magnitude;
                // The weight is off by half a unit at most.
                bounds.error += w.abs() * x.error + (x.magnitude + x.error) * 0.5 / unit;
            }
        }
        Ok(())
    }

    /// The sums, rescaled; those of level 0 have the scale [`Params::result_scale`](super::Params::result_scale) instead.
    /// The caller may vouch for bounds on slots and errors that are better than those that add up.
    ///
    /// # Errors
    /// [`SlotsError::Overflow`].
    pub fn finish(&self, sums: Sums, most: Option<[f64; 2]>) -> Result<Vec<Ciphertext>, SlotsError> {
        let Sums { level, halves, bounds } = sums;
        let params = self.params();
        let scale = params.scale(level)? * params.factor_scale(level)?;
        let [most, worst] = most.unwrap_or([f64::INFINITY; 2]);
        let finish = |(parts, bounds): ([Poly; 2], Bounds)| {
            let (magnitude, error) = (bounds.magnitude.min(most), bounds.error.min(worst));
            let sum =
                Ciphertext { params: params.clone(), parts: parts.into(), level, scale, magnitude, error };
            if level == 0 { sum.checked() } else { self.rescale(&sum) }
        };
        halves.into_iter().zip(bounds).map(finish).collect()
    }

    /// The sums `sum_i weights[o][i] x_i`, rescaled as [`Evaluator::finish`] does; weights row by row, one row per output.
    ///
    /// # Errors
    /// [`SlotsError::Count`] unless there is at least one input and a whole number of rows; as [`Evaluator::accumulate`] and
    /// [`Evaluator::finish`].
    pub fn combine(&self, inputs: &[&Ciphertext], weights: &[f64]) -> Result<Vec<Ciphertext>, SlotsError> {
        let Some(first) = inputs.first() else {
            return Err(SlotsError::Count { what: "inputs", expected: 1, got: 0 });
        };
        let mut sums = self.sums(weights.len().div_ceil(inputs.len()), first.level)?;
        self.accumulate(&mut sums, inputs, weights)?;
        self.finish(sums, None)
    }
}

impl fmt::Debug for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sums({} at level {})", self.bounds.len(), self.level)
    }
}
