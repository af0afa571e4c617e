//! What the server computes: sums, products, rescalings and rotations.
//!
//! Between operations ciphertexts have two parts and the canonical scale of their level. Products double the scale until
//! a rescale divides it by the primes of the level.

use std::sync::Arc;

use phineus_kernel::ntt32::pointwise;

use super::cipher::{Ciphertext, Factor, Summand};
use super::convert::Division;
use super::poly::Poly;
use super::switch::{Decomposed, Pair};
use super::{EvalKeys, Params, SlotsError, noise};

/// Relative difference of scales that counts as none: far below the precision of any chain.
const SAME_SCALE: f64 = 1e-12;

/// The server's half: parameters and the client's keys.
#[derive(Debug)]
pub struct Evaluator {
    params: Arc<Params>,
    pub(crate) keys: EvalKeys,
}

impl Evaluator {
    /// An evaluator with these keys.
    #[must_use]
    pub fn new(keys: EvalKeys) -> Self {
        Self { params: keys.params().clone(), keys }
    }

    /// Parameters.
    #[must_use]
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// `x += y`.
    ///
    /// # Errors
    /// [`SlotsError::Params`], [`SlotsError::LevelMismatch`], [`SlotsError::ScaleMismatch`], [`SlotsError::Overflow`].
    pub fn add(&self, x: &mut Ciphertext, y: &Ciphertext) -> Result<(), SlotsError> {
        self.combine_with(x, y, Poly::add_assign)
    }

    /// `x -= y`.
    ///
    /// # Errors
    /// As [`Evaluator::add`].
    pub fn sub(&self, x: &mut Ciphertext, y: &Ciphertext) -> Result<(), SlotsError> {
        // The parts that x lacks are those of -y.
        if x.parts.len() < y.parts.len() {
            self.check(x)?;
            x.parts.resize(y.parts.len(), Poly::zero(self.params.slots(), self.params.limbs(x.level)?));
        }
        self.combine_with(x, y, Poly::sub_assign)
    }

    /// `x += y` for a constant.
    ///
    /// # Errors
    /// As [`Evaluator::add`].
    pub fn add_plain(&self, x: &mut Ciphertext, y: &Summand) -> Result<(), SlotsError> {
        self.check(x)?;
        if y.params != self.params {
            return Err(SlotsError::Params);
        }
        check_match((x.level, x.scale), (y.level, y.scale))?;
        let basis = x.basis();
        x.parts[0].add_assign(&y.poly, self.params.plans(), &basis);
        x.magnitude += y.magnitude;
        x.error += y.error;
        checked(x)
    }

    /// `x += number`, in all slots: a constant, which is its own values.
    ///
    /// # Errors
    /// [`SlotsError::Params`], [`SlotsError::Value`], [`SlotsError::Overflow`].
    pub fn add_number(&self, x: &mut Ciphertext, number: f64) -> Result<(), SlotsError> {
        self.check(x)?;
        let scaled = (number * x.scale).round();
        if scaled.is_nan() || scaled.abs() >= 61_f64.exp2() {
            return Err(SlotsError::Value { log2_scale: x.scale.log2() });
        }
        for index in x.basis() {
            let modulus = self.params.plans()[index].modulus();
            let constant = modulus.reduce_i64(scaled as i64);
            x.parts[0].limb_mut(index).iter_mut().for_each(|v| *v = modulus.add(*v, constant));
        }
        x.magnitude += number.abs();
        x.error += 0.5 / x.scale;
        checked(x)
    }

    /// The product of x and a plaintext, slot by slot, before the rescale.
    ///
    /// # Errors
    /// [`SlotsError::Params`], [`SlotsError::LevelMismatch`], [`SlotsError::Overflow`].
    pub fn mul_plain(&self, x: &Ciphertext, y: &Factor) -> Result<Ciphertext, SlotsError> {
        self.check(x)?;
        if y.params != self.params {
            return Err(SlotsError::Params);
        }
        check_match((x.level, 1.0), (y.level, 1.0))?;
        let mut product = x.clone();
        for part in &mut product.parts {
            for index in x.basis() {
                let modulus = self.params.plans()[index].modulus();
                pointwise::mul_assign(modulus, part.limb_mut(index), y.poly.limb(index));
            }
        }
        product.scale = x.scale * y.scale;
        product.magnitude = x.magnitude * y.magnitude;
        product.error = y.magnitude * x.error + (x.magnitude + x.error) * y.error;
        product.checked()
    }

    /// The product of x and y, slot by slot, in three parts and before the rescale.
    ///
    /// # Errors
    /// [`SlotsError::Params`], [`SlotsError::NotLinear`], [`SlotsError::LevelMismatch`], [`SlotsError::Overflow`].
    pub fn mul(&self, x: &Ciphertext, y: &Ciphertext) -> Result<Ciphertext, SlotsError> {
        let ([x0, x1], [y0, y1]) = (self.linear_parts(x)?, self.linear_parts(y)?);
        check_match((x.level, 1.0), (y.level, 1.0))?;
        let (n, limbs) = (self.params.slots(), self.params.limbs(x.level)?);
        let [mut d0, mut d1, mut d2] = [(); 3].map(|()| Poly::any(n, limbs));
        for index in 0..limbs {
            let out = [d0.limb_mut(index), d1.limb_mut(index), d2.limb_mut(index)];
            let modulus = self.params.plans()[index].modulus();
            pointwise::tensor(
                modulus,
                [x0.limb(index), x1.limb(index)],
                [y0.limb(index), y1.limb(index)],
                out,
            );
        }
        Ciphertext {
            params: self.params.clone(),
            parts: vec![d0, d1, d2],
            level: x.level,
            scale: x.scale * y.scale,
            magnitude: x.magnitude * y.magnitude,
            error: x.magnitude * y.error + y.magnitude * x.error + x.error * y.error,
        }
        .checked()
    }

    /// The square of x, relinearised and rescaled.
    ///
    /// # Errors
    /// Those of [`Evaluator::mul`], [`Evaluator::relinearize`] and [`Evaluator::rescale`].
    pub fn square(&self, x: &Ciphertext) -> Result<Ciphertext, SlotsError> {
        self.relinearize_and_rescale(&self.mul(x, x)?)
    }

    /// Two parts in place of three.
    ///
    /// # Errors
    /// [`SlotsError::Params`], [`SlotsError::MissingRelin`], [`SlotsError::KeyLevel`].
    pub fn relinearize(&self, x: &Ciphertext) -> Result<Ciphertext, SlotsError> {
        self.check(x)?;
        let level = self.params.level(x.level)?;
        self.relinearize_by(x, &level.down, x.level)
    }

    /// [`Evaluator::relinearize`] and [`Evaluator::rescale`] with one division.
    ///
    /// # Errors
    /// Those of both.
    pub fn relinearize_and_rescale(&self, x: &Ciphertext) -> Result<Ciphertext, SlotsError> {
        self.check(x)?;
        let both = self.params.level(x.level)?.both.as_ref().ok_or(self.exhausted())?;
        self.relinearize_by(x, both, x.level - 1)
    }

    fn relinearize_by(&self, x: &Ciphertext, by: &Division, level: usize) -> Result<Ciphertext, SlotsError> {
        let [d0, d1, d2] = &x.parts[..] else {
            // Nothing to relinearise.
            return if level == x.level { Ok(x.clone()) } else { self.rescale(x) };
        };
        let key = self.keys.relin(x.level)?;
        let digits = Decomposed::of_values(&self.params, d2, x.level)?;
        let mut sums = digits.switch(&[key]).pop().ok_or(SlotsError::MissingRelin)?;
        for (sum, part) in sums.iter_mut().zip([d0, d1]) {
            self.add_lifted(sum, part, x.level)?;
        }
        let error = x.error + self.switch_error(x.level)? / x.scale;
        self.divide(sums, by, level, Ciphertext { parts: vec![], error, ..self.shell(x) })
    }

    /// Divides by the primes of the level, which brings the scale of a product back to the canonical one.
    ///
    /// # Errors
    /// [`SlotsError::Params`], [`SlotsError::Exhausted`] at level 0, [`SlotsError::Overflow`].
    pub fn rescale(&self, x: &Ciphertext) -> Result<Ciphertext, SlotsError> {
        self.check(x)?;
        let by = self.params.level(x.level)?.rescale.as_ref().ok_or(self.exhausted())?;
        let (basis, level) = (x.basis(), x.level - 1);
        let keep = self.params.limbs(level)?;
        let parts = x.parts.iter().map(|part| by.apply(self.params.plans(), part.clone(), &basis, keep));
        let mut result =
            Ciphertext { parts: parts.collect(), level, scale: x.scale / by.product(), ..self.shell(x) };
        let third = if x.parts.len() == 3 { noise::secret_bound(self.params.slots()) } else { 1.0 };
        result.error += third * noise::division(self.params.slots()) / result.scale;
        self.snap(&mut result)?;
        result.checked()
    }

    /// The same slots at a lower level and its canonical scale.
    ///
    /// # Errors
    /// [`SlotsError::Params`], [`SlotsError::LevelMismatch`] if the level is higher, [`SlotsError::ScaleMismatch`] if a
    /// rescale is due first, [`SlotsError::Overflow`].
    pub fn drop_to(&self, x: &Ciphertext, level: usize) -> Result<Ciphertext, SlotsError> {
        self.check(x)?;
        if level > x.level {
            return Err(SlotsError::LevelMismatch { left: x.level, right: level });
        }
        check_match((0, x.scale), (0, self.params.scale(x.level)?))?;
        if level == x.level {
            return Ok(x.clone());
        }
        // Down to one level above, then times 1 at the scale that a rescale turns into the canonical one.
        let mut x = x.clone();
        x.level = level + 1;
        let limbs = self.params.limbs(level + 1)?;
        x.parts.iter_mut().for_each(|part| part.truncate(limbs));
        let by = self.params.level(level + 1)?.rescale.as_ref().ok_or(self.exhausted())?;
        let factor = (by.product() * self.params.scale(level)? / x.scale).round();
        for part in &mut x.parts {
            for index in 0..limbs {
                let modulus = self.params.plans()[index].modulus();
                let factor = modulus.to_montgomery(modulus.reduce(factor as u64));
                pointwise::scale(modulus, part.limb_mut(index), factor);
            }
        }
        x.scale *= factor;
        let mut x = self.rescale(&x)?;
        // The factor was rounded: a relative error of at most half over itself.
        x.error += (x.magnitude + x.error) / factor;
        x.scale = self.params.scale(level)?;
        Ok(x)
    }

    /// Slot j of the result is slot j + `rotation` of x, cyclically.
    ///
    /// # Errors
    /// [`SlotsError::Params`], [`SlotsError::NotLinear`], [`SlotsError::Rotation`], [`SlotsError::MissingKey`],
    /// [`SlotsError::KeyLevel`].
    pub fn rotate(&self, x: &Ciphertext, rotation: u32) -> Result<Ciphertext, SlotsError> {
        let rotated = self.rotate_all(x, &[rotation])?;
        rotated.into_iter().next().ok_or(SlotsError::Count { what: "rotations", expected: 1, got: 0 })
    }

    /// Several rotations of one ciphertext, which share the decomposition into digits.
    ///
    /// # Errors
    /// As [`Evaluator::rotate`].
    pub fn rotate_all(&self, x: &Ciphertext, rotations: &[u32]) -> Result<Vec<Ciphertext>, SlotsError> {
        let [c0, c1] = self.linear_parts(x)?;
        let keys = rotations.iter().filter(|&&k| k != 0).map(|&k| self.keys.rotation(k, x.level));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let down = &self.params.level(x.level)?.down;
        let (n, basis) = (self.params.slots(), x.basis());
        let error = x.error + self.switch_error(x.level)? / x.scale;
        let switching: Vec<_> = keys.iter().map(|key| &key.key).collect();
        let sums = Decomposed::of_values(&self.params, c1, x.level)?.switch(&switching);
        let mut rotated = Vec::with_capacity(rotations.len());
        let mut sums = keys.iter().zip(sums);
        for &rotation in rotations {
            let Some((key, sum)) = (if rotation == 0 { None } else { sums.next() }) else {
                rotated.push(x.clone());
                continue;
            };
            let mut switched = self.divide(sum, down, x.level, Ciphertext { error, ..self.shell(x) })?;
            switched.parts[0].add_assign(c0, self.params.plans(), &basis);
            for part in &mut switched.parts {
                let mut image = Poly::any(n, basis.len());
                basis.iter().for_each(|&i| key.automorphism.apply(part.limb(i), image.limb_mut(i)));
                *part = image;
            }
            rotated.push(switched);
        }
        Ok(rotated)
    }

    /// `sum += P part`, for a sum modulo q P and a part modulo q.
    pub(crate) fn add_lifted(&self, sum: &mut Poly, part: &Poly, level: usize) -> Result<(), SlotsError> {
        let down = &self.params.level(level)?.down;
        for index in 0..self.params.limbs(level)? {
            let modulus = self.params.plans()[index].modulus();
            pointwise::scale_acc(modulus, sum.limb_mut(index), part.limb(index), down.product_mod(index));
        }
        Ok(())
    }

    /// Divides both halves of a sum modulo q P; level and scale of the result are those after the division by P that is
    /// part of it. `shell` has level, scale and bounds from before.
    pub(crate) fn divide(
        &self,
        sums: Pair,
        by: &Division,
        level: usize,
        shell: Ciphertext,
    ) -> Result<Ciphertext, SlotsError> {
        let basis = self.params.basis(self.params.limbs(shell.level)?, true);
        let keep = self.params.limbs(level)?;
        let special = self.params.level(level)?.down.product();
        let parts = sums.into_iter().map(|sum| by.apply(self.params.plans(), sum, &basis, keep)).collect();
        let scale = shell.scale * special / by.product();
        let error = shell.error + noise::division(self.params.slots()) / scale;
        let mut result = Ciphertext { parts, level, scale, error, ..shell };
        if result.level < shell.level {
            self.snap(&mut result)?;
        }
        result.checked()
    }

    /// Bound on what a key switch adds to the phase, besides rounding.
    pub(crate) fn switch_error(&self, level: usize) -> Result<f64, SlotsError> {
        let level = self.params.level(level)?;
        let digit = level.groups.iter().map(|group| group.product()).fold(0.0, f64::max);
        Ok(noise::switch(self.params.slots(), level.groups.len(), digit, level.down.product()))
    }

    /// Both parts of a ciphertext that has two.
    pub(crate) fn linear_parts<'c>(&self, x: &'c Ciphertext) -> Result<[&'c Poly; 2], SlotsError> {
        self.check(x)?;
        match &x.parts[..] {
            [c0, c1] => Ok([c0, c1]),
            _ => Err(SlotsError::NotLinear),
        }
    }

    pub(crate) fn exhausted(&self) -> SlotsError {
        SlotsError::Exhausted { top: self.params.top() }
    }

    /// Everything of a ciphertext but its parts.
    pub(crate) fn shell(&self, x: &Ciphertext) -> Ciphertext {
        Ciphertext { params: self.params.clone(), parts: Vec::new(), ..*x }
    }

    /// Makes the scale exactly canonical where it is so up to rounding.
    pub(crate) fn snap(&self, x: &mut Ciphertext) -> Result<(), SlotsError> {
        let canonical = self.params.scale(x.level)?;
        if (x.scale / canonical - 1.0).abs() < SAME_SCALE {
            x.scale = canonical;
        }
        Ok(())
    }

    fn check(&self, x: &Ciphertext) -> Result<(), SlotsError> {
        if x.params == self.params { Ok(()) } else { Err(SlotsError::Params) }
    }

    fn combine_with(
        &self,
        x: &mut Ciphertext,
        y: &Ciphertext,
        operation: impl Fn(&mut Poly, &Poly, &[phineus_kernel::ntt32::Plan], &[usize]),
    ) -> Result<(), SlotsError> {
        self.check(x)?;
        self.check(y)?;
        check_match((x.level, x.scale), (y.level, y.scale))?;
        let (basis, plans) = (x.basis(), self.params.plans());
        let common = x.parts.len();
        x.parts.iter_mut().zip(&y.parts).for_each(|(x, y)| operation(x, y, plans, &basis));
        x.parts.extend(y.parts.iter().skip(common).cloned());
        x.magnitude += y.magnitude;
        x.error += y.error;
        checked(x)
    }
}

/// Fails if levels or scales differ.
pub(crate) fn check_match(left: (usize, f64), right: (usize, f64)) -> Result<(), SlotsError> {
    if left.0 != right.0 {
        return Err(SlotsError::LevelMismatch { left: left.0, right: right.0 });
    }
    if (left.1 / right.1 - 1.0).abs() < SAME_SCALE {
        return Ok(());
    }
    Err(SlotsError::ScaleMismatch { left: left.1.log2(), right: right.1.log2() })
}

/// [`Ciphertext::checked`] by reference.
fn checked(x: &Ciphertext) -> Result<(), SlotsError> {
    Ciphertext { params: x.params.clone(), parts: Vec::new(), ..*x }.checked().map(drop)
}
