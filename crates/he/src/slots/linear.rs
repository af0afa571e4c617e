//! Matrix products by diagonals, baby steps and giant steps, with both kinds of rotations hoisted.
//!
//! ```text
//! y = sum_g rot_g( sum_(i, b) w_(g,i,b) rot_b(x_i) ),   then y += rot_f(y) for every fold f
//! ```
//!
//! The rotations of an input share its digits, and their sums of products stay modulo q P: one division by P for each
//! giant step's second half, one for the result, and none for the baby steps; the last is also the rescale (Bossuat,
//! Mouchet, Troncoso-Pastoriza, Hubaux, "Efficient bootstrapping for approximate homomorphic encryption with non-sparse
//! keys", EUROCRYPT 2021, algorithm 6). With c limbs, k special primes, D digits, I inputs and G giant steps other than
//! zero, folds included, this takes I (c + D (c + k) - c) + G (c + k + D (c + k)) + 2 (c + k) transforms, however many baby steps.

use std::collections::BTreeMap;

use phineus_kernel::ntt32::pointwise;

use super::cipher::{Ciphertext, Factor};
use super::keys::RotationKey;
use super::poly::Poly;
use super::switch::{Decomposed, Pair, sum_products};
use super::{Evaluator, SlotsError, noise};

/// All products that one giant step rotates together.
#[derive(Debug, Clone)]
pub struct Giant<'f> {
    /// g.
    pub rotation: u32,
    /// The products.
    pub terms: Vec<Term<'f>>,
}

/// A product `factor rot_rotation(input)`.
#[derive(Debug, Clone, Copy)]
pub struct Term<'f> {
    /// Index among the inputs.
    pub input: usize,
    /// b.
    pub rotation: u32,
    /// w, of the level of the inputs.
    pub factor: &'f Factor,
}

impl Evaluator {
    /// The sum above without folds, rescaled. All inputs have one level.
    ///
    /// # Errors
    /// As [`Evaluator::linear_folded`].
    pub fn linear(
        &self,
        inputs: &[&Ciphertext],
        giants: &[Giant<'_>],
        gain: Option<f64>,
    ) -> Result<Ciphertext, SlotsError> {
        self.linear_folded(inputs, giants, &[], gain, None)
    }

    /// The sum above, rescaled; at level 0, where nothing is left to rescale by, its scale is [`Params::result_scale`](super::Params::result_scale).
    /// All inputs have one level. Folds before the division cost what they do after it, one level
    /// lower, and do not add up its rounding.
    ///
    /// `gain` is a bound on the sum of the absolute weights that meet in one slot of y, folds included: the largest l1 norm
    /// of a row of the matrix. By default it is the sum of the largest weights of all plaintexts, twice for every fold, which
    /// exceeds it by far. The caller may vouch, by `most`, for bounds on slots and errors of y that are better than those that
    /// add up.
    ///
    /// # Errors
    /// [`SlotsError::Params`], [`SlotsError::NotLinear`], [`SlotsError::LevelMismatch`], [`SlotsError::ScaleMismatch`],
    /// [`SlotsError::Rotation`], [`SlotsError::MissingKey`], [`SlotsError::KeyLevel`], [`SlotsError::Overflow`]; [`SlotsError::Count`] without a term or for an input that does not exist.
    pub fn linear_folded(
        &self,
        inputs: &[&Ciphertext],
        giants: &[Giant<'_>],
        folds: &[u32],
        gain: Option<f64>,
        most: Option<[f64; 2]>,
    ) -> Result<Ciphertext, SlotsError> {
        let mut program = Program::check(self, inputs, giants, folds, gain)?;
        if let Some([slots, error]) = most {
            program.result.restate(program.result.magnitude.min(slots), program.result.error.min(error));
        }
        let sums = program.baby_steps()?;
        program.giant_steps(sums)
    }
}

/// A checked sum.
struct Program<'a> {
    evaluator: &'a Evaluator,
    inputs: Vec<[&'a Poly; 2]>,
    giants: &'a [Giant<'a>],
    /// For every giant step its key; none for zero.
    giant_keys: Vec<Option<&'a RotationKey>>,
    /// The keys of the folds, which are not zero.
    fold_keys: Vec<&'a RotationKey>,
    /// (input, b) with its key; none for zero.
    babies: BTreeMap<(usize, u32), Option<&'a RotationKey>>,
    /// Level, scale and bounds of the sum before the division.
    result: Ciphertext,
}

impl<'a> Program<'a> {
    fn check(
        evaluator: &'a Evaluator,
        inputs: &[&'a Ciphertext],
        giants: &'a [Giant<'a>],
        folds: &[u32],
        gain: Option<f64>,
    ) -> Result<Self, SlotsError> {
        let params = evaluator.params();
        let none = SlotsError::Count { what: "terms of a linear map", expected: 1, got: 0 };
        let (Some(first), Some(any)) = (inputs.first(), giants.iter().flat_map(|g| &g.terms).next()) else {
            return Err(none);
        };
        let (level, scale) = (first.level, any.factor.scale);
        let key = |rotation: u32| match rotation {
            0 => Ok(None),
            _ => evaluator.keys.rotation(rotation, level).map(Some),
        };
        let (mut babies, mut giant_keys) = (BTreeMap::new(), Vec::with_capacity(giants.len()));
        let switch_error = evaluator.switch_error(level)?;
        let giant_error = switch_error + noise::division_of_second(params.slots());
        // Bounds on the slots of inputs and on the errors of their rotations; the sum of the largest weights.
        let (mut worst, mut largest) = ([0.0_f64; 2], 0.0);
        let mut result =
            Ciphertext { scale: first.scale * scale, magnitude: 0.0, error: 0.0, ..evaluator.shell(first) };
        for giant in giants {
            giant_keys.push(key(giant.rotation)?);
            if giant.rotation != 0 {
                result.error += giant_error / result.scale;
            }
            for &Term { input, rotation, factor } in &giant.terms {
                let got = inputs.len();
                let x = *inputs.get(input).ok_or(SlotsError::Count {
                    what: "inputs",
                    expected: input + 1,
                    got,
                })?;
                if factor.params != *params {
                    return Err(SlotsError::Params);
                }
                if let Some(right) = [x.level, factor.level].into_iter().find(|&l| l != level) {
                    return Err(SlotsError::LevelMismatch { left: level, right });
                }
                if x.scale != first.scale || factor.scale != scale {
                    return Err(SlotsError::ScaleMismatch {
                        left: first.scale.log2(),
                        right: x.scale.log2(),
                    });
                }
                babies.insert((input, rotation), key(rotation)?);
                let error = x.error + if rotation == 0 { 0.0 } else { switch_error / x.scale };
                worst = [worst[0].max(x.magnitude), worst[1].max(error)];
                largest += factor.magnitude;
                result.error += (x.magnitude + error) * factor.error;
            }
        }
        let fold_keys =
            folds.iter().map(|&fold| evaluator.keys.rotation(fold, level)).collect::<Result<_, _>>()?;
        for _ in folds {
            largest *= 2.0;
            result.error = 2.0 * result.error + giant_error / result.scale;
        }
        let gain = gain.unwrap_or(largest).min(largest);
        result.magnitude = gain * worst[0];
        result.error += gain * worst[1];
        let inputs = inputs.iter().map(|x| evaluator.linear_parts(x)).collect::<Result<_, _>>()?;
        Ok(Self { evaluator, inputs, giants, giant_keys, fold_keys, babies, result })
    }

    /// The inner sums modulo q P, one pair per giant step.
    fn baby_steps(&self) -> Result<Vec<Pair>, SlotsError> {
        let params = self.evaluator.params();
        let (n, limbs) = (params.slots(), params.limbs(self.result.level)?);
        let basis = params.basis(limbs, true);
        let lift = &params.level(self.result.level)?.down;
        let rotates = |input| self.babies.keys().any(|&(i, rotation)| i == input && rotation != 0);
        let digits = self.inputs.iter().enumerate().map(|(i, [_, c1])| {
            rotates(i).then(|| Decomposed::of_values(params, c1, self.result.level)).transpose()
        });
        let digits = digits.collect::<Result<Vec<_>, _>>()?;
        let mut values: Vec<Vec<Vec<u32>>> =
            digits.iter().map(|d| vec![vec![0; n]; d.as_ref().map_or(0, Decomposed::count)]).collect();
        let mut sums: Vec<Pair> =
            self.giants.iter().map(|_| [(); 2].map(|()| Poly::any(n, basis.len()))).collect();
        let mut rotated: BTreeMap<(usize, u32), [Vec<u32>; 2]> =
            self.babies.keys().map(|&key| (key, [vec![0; n], vec![0; n]])).collect();
        let (mut scratch, mut product) = (vec![0; n], [vec![0; n], vec![0; n]]);
        for (limb, &index) in basis.iter().enumerate() {
            let modulus = params.plans()[index].modulus();
            for (digits, values) in digits.iter().zip(&mut values) {
                if let Some(digits) = digits {
                    digits.values(limb, &mut scratch, values);
                }
            }
            for ((&(input, rotation), key), image) in self.babies.iter().zip(rotated.values_mut()) {
                let [c0, c1] = self.inputs[input];
                match (key, &digits[input]) {
                    (Some(key), Some(digits)) => {
                        let [p0, p1] = &mut product;
                        p0.fill(0);
                        p1.fill(0);
                        digits.accumulate(&key.key, limb, index, &values[input], [p0, p1]);
                        if limb < limbs {
                            pointwise::scale_acc(modulus, p0, c0.limb(limb), lift.product_mod(index));
                        }
                        image
                            .iter_mut()
                            .zip([p0, p1])
                            .for_each(|(image, p)| key.automorphism.apply(p, image));
                    }
                    _ if limb < limbs => {
                        debug_assert_eq!(rotation, 0, "only the identity has no key");
                        for (image, part) in image.iter_mut().zip([c0, c1]) {
                            image.copy_from_slice(part.limb(limb));
                            pointwise::scale(modulus, image, lift.product_mod(index));
                        }
                    }
                    // P times anything vanishes modulo the primes of P.
                    _ => image.iter_mut().for_each(|image| image.fill(0)),
                }
            }
            for (giant, sum) in self.giants.iter().zip(&mut sums) {
                let factors: Vec<&[u32]> = giant.terms.iter().map(|t| t.factor.poly.limb(limb)).collect();
                let images: Vec<[&[u32]; 2]> = giant
                    .terms
                    .iter()
                    .map(|t| {
                        let [a, b] = &rotated[&(t.input, t.rotation)];
                        [&a[..], &b[..]]
                    })
                    .collect();
                let [s0, s1] = sum.each_mut().map(|sum| sum.limb_mut(limb));
                s0.fill(0);
                s1.fill(0);
                sum_products(modulus, [s0, s1], &factors, &images);
            }
        }
        Ok(sums)
    }

    /// Rotates and adds the inner sums, folds and divides.
    fn giant_steps(self, sums: Vec<Pair>) -> Result<Ciphertext, SlotsError> {
        let params = self.evaluator.params();
        let level = params.level(self.result.level)?;
        let basis = params.basis(params.limbs(self.result.level)?, true);
        let mut total: Pair = [(); 2].map(|()| Poly::zero(params.slots(), basis.len()));
        for (key, sum) in self.giant_keys.iter().zip(sums) {
            match key {
                Some(key) => self.add_rotated(&mut total, sum, key)?,
                None => total.iter_mut().zip(&sum).for_each(|(t, s)| t.add_assign(s, params.plans(), &basis)),
            }
        }
        for key in &self.fold_keys {
            let sum = total.clone();
            self.add_rotated(&mut total, sum, key)?;
        }
        let by = level.both.as_ref().unwrap_or(&level.down);
        let below = self.result.level.saturating_sub(1);
        self.evaluator.divide(total, by, below, self.result)
    }

    /// `total += rot(sum)`, modulo q P: the second half is divided by P and switched, the first is not.
    fn add_rotated(
        &self,
        total: &mut Pair,
        [sum0, mut sum1]: Pair,
        key: &RotationKey,
    ) -> Result<(), SlotsError> {
        let params = self.evaluator.params();
        let (n, limbs) = (params.slots(), params.limbs(self.result.level)?);
        let (basis, level) = (params.basis(limbs, true), params.level(self.result.level)?);
        let mut coefficients = Poly::any(n, basis.len());
        for (limb, &index) in basis.iter().enumerate() {
            params.plans()[index].inverse(sum1.limb_mut(limb), coefficients.limb_mut(limb));
        }
        level.down.apply_to_coefficients(params.plans(), &mut coefficients, &basis, limbs);
        let digits = Decomposed::of_coefficients(params, &coefficients, self.result.level)?;
        let (mut values, mut scratch) = (vec![vec![0; n]; digits.count()], vec![0; n]);
        let (mut image, mut switched) = (vec![0; n], [vec![0; n], vec![0; n]]);
        for (limb, &index) in basis.iter().enumerate() {
            let modulus = params.plans()[index].modulus();
            digits.values(limb, &mut scratch, &mut values);
            let [s0, s1] = &mut switched;
            s0.copy_from_slice(sum0.limb(limb));
            s1.fill(0);
            digits.accumulate(&key.key, limb, index, &values, [s0, s1]);
            for (total, switched) in total.iter_mut().zip(&switched) {
                key.automorphism.apply(switched, &mut image);
                pointwise::add_assign(modulus, total.limb_mut(limb), &image);
            }
        }
        Ok(())
    }
}
