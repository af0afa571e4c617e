//! Parameters: a chain of primes, checked once.

use std::ops::Range;
use std::sync::Arc;

use phineus_kernel::embedding::Embedding;
use phineus_kernel::ntt32::{MAX_BITS, Plan};
use phineus_kernel::zq::is_prime;

use super::SlotsError;
use super::convert::{Division, Extension};
use crate::params::cap;

/// Unchecked parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamsLiteral {
    /// log2 of the degree n, 10..=15.
    pub log_n: u32,
    /// Primes of level 0.
    pub base: Vec<u32>,
    /// Primes that level 1, 2, .. add; a rescale divides by those of its level.
    pub steps: Vec<Vec<u32>>,
    /// Primes of the auxiliary modulus P of key switches. As many limbs make one digit.
    pub special: Vec<u32>,
    /// log2 of the scale of the top level.
    pub log_scale: f64,
    /// Per level, from level 0, log2 of the scale of factors where it is not that of the level's ciphertexts; levels that
    /// the list does not reach have the same scale for both.
    pub log_factors: Vec<Option<f64>>,
}

/// Checked parameters with the constants derived from them.
#[derive(Debug)]
pub struct Params {
    n: usize,
    /// Primes of q in the order of the levels, then the special ones.
    plans: Vec<Plan>,
    /// Primes of q.
    q_count: usize,
    /// Per level: number of limbs.
    limbs: Vec<usize>,
    /// Per level: canonical scale.
    scales: Vec<f64>,
    /// Per level: scale of factors.
    factors: Vec<f64>,
    levels: Vec<Level>,
    embedding: Embedding,
    log2_qp: f64,
    digest: [u8; 32],
}

/// Constants of one level.
#[derive(Debug)]
pub(crate) struct Level {
    /// The digits of a key switch.
    pub(crate) groups: Vec<Extension>,
    /// Division by P.
    pub(crate) down: Division,
    /// Division by the primes of this level; none at level 0.
    pub(crate) rescale: Option<Division>,
    /// Division by both.
    pub(crate) both: Option<Division>,
    /// log2 of the modulus.
    pub(crate) log2_q: f64,
}

impl ParamsLiteral {
    /// A chain for scales near 2^`log_scale` at every level: a rescale divides by `per_step` primes whose product is near
    /// the scale.
    ///
    /// # Errors
    /// [`SlotsError::NoPrimes`], [`SlotsError::Degree`].
    pub fn near(
        log_n: u32,
        log_scale: f64,
        depth: usize,
        per_step: usize,
        base: &[u32],
        special: &[u32],
    ) -> Result<Self, SlotsError> {
        let goals = vec![log_scale; depth + 1];
        let bits = |primes: &[u32]| primes.iter().map(|&bits| f64::from(bits)).collect::<Vec<_>>();
        Self::along(log_n, &goals, &[], per_step, [&bits(base), &bits(special)])
    }

    /// A chain whose level l has ciphertexts of scale near 2^`goals`\[l\] and factors of scale 2^`log_factors`\[l\], or that
    /// of its ciphertexts where there is none: a rescale from l divides by `per_step` primes whose product is near
    /// 2^(goals\[l\] + log_factors\[l\] - goals\[l - 1\]). `lengths` are log2 of the primes of level 0 and of the special ones.
    ///
    /// # Errors
    /// [`SlotsError::NoPrimes`], [`SlotsError::Degree`]; [`SlotsError::Chain`] without a level.
    pub fn along(
        log_n: u32,
        goals: &[f64],
        log_factors: &[Option<f64>],
        per_step: usize,
        lengths: [&[f64]; 2],
    ) -> Result<Self, SlotsError> {
        if !(10..=15).contains(&log_n) {
            return Err(SlotsError::Degree(log_n));
        }
        let Some((&log_scale, lower)) = goals.split_last() else {
            return Err(SlotsError::Chain("a chain has a level at least"));
        };
        let mut taken = Vec::new();
        let mut near = |bits: &[f64]| {
            bits.iter().map(|bits| nearest(log_n, bits.exp2(), &mut taken)).collect::<Result<Vec<_>, _>>()
        };
        let [base, special] = lengths;
        let (special, base) = (near(special)?, near(base)?);
        // From the top down, so that each step corrects the drift of the scale above it.
        let mut scale = log_scale.exp2();
        let mut steps = Vec::new();
        for (below, goal) in lower.iter().enumerate().rev() {
            let product = scale * log_factors.get(below + 1).copied().flatten().map_or(scale, f64::exp2);
            // Later primes of a step make up for the earlier ones.
            let mut rest = product / goal.exp2();
            let step = (0..per_step).rev().map(|left| {
                let p = nearest(log_n, rest.powf(1.0 / (left + 1) as f64), &mut taken)?;
                rest /= f64::from(p);
                Ok(p)
            });
            let step = step.collect::<Result<Vec<_>, SlotsError>>()?;
            scale = step.iter().fold(product, |scale, &p| scale / f64::from(p));
            steps.push(step);
        }
        steps.reverse();
        Ok(Self { log_n, base, steps, special, log_scale, log_factors: log_factors.to_vec() })
    }
}

impl Params {
    /// Checks degree, primes and security.
    ///
    /// # Errors
    /// [`SlotsError::Degree`], [`SlotsError::Chain`], [`SlotsError::Modulus`], [`SlotsError::Insecure`].
    pub fn new(literal: &ParamsLiteral) -> Result<Arc<Self>, SlotsError> {
        let ParamsLiteral { log_n, base, steps, special, log_scale, log_factors } = literal;
        let cap = cap(*log_n).ok_or(SlotsError::Degree(*log_n))?;
        let n = 1_usize << log_n;
        let q: Vec<u32> = base.iter().chain(steps.iter().flatten()).copied().collect();
        let primes: Vec<u32> = q.iter().chain(special).copied().collect();
        if base.is_empty() || special.is_empty() || steps.iter().any(Vec::is_empty) {
            return Err(SlotsError::Chain("every level and the special modulus need a prime"));
        }
        if steps.iter().any(|step| step.len() + special.len() > 4) {
            return Err(SlotsError::Chain("at most four primes are divided by at once"));
        }
        if primes.iter().enumerate().any(|(i, p)| primes[..i].contains(p)) {
            return Err(SlotsError::Chain("primes must be distinct"));
        }
        if !std::iter::once(log_scale)
            .chain(log_factors.iter().flatten())
            .all(|log| (10.0..=60.0).contains(log))
        {
            return Err(SlotsError::Chain("the scale is between 2^10 and 2^60"));
        }
        let log2 = |primes: &[u32]| primes.iter().map(|&p| f64::from(p).log2()).sum::<f64>();
        let log2_qp = log2(&primes);
        if log2_qp > f64::from(cap) {
            return Err(SlotsError::Insecure { n, log2_qp, cap });
        }
        let plans = primes.iter().map(|&p| Plan::new(p, n)).collect::<Result<Vec<_>, _>>()?;
        let mut limbs = vec![base.len()];
        steps.iter().for_each(|step| limbs.push(limbs[limbs.len() - 1] + step.len()));
        let factor =
            |level: usize, scale: f64| log_factors.get(level).copied().flatten().map_or(scale, f64::exp2);
        let mut scales = vec![log_scale.exp2()];
        for (below, step) in steps.iter().enumerate().rev() {
            let scale = scales[scales.len() - 1];
            let product = scale * factor(below + 1, scale);
            scales.push(step.iter().fold(product, |scale, &p| scale / f64::from(p)));
        }
        scales.reverse();
        let factors = scales.iter().enumerate().map(|(level, &scale)| factor(level, scale)).collect();
        let (q_count, size) = (q.len(), special.len());
        let specials: Vec<usize> = (q_count..q_count + size).collect();
        let level = |(level, &count): (usize, &usize)| {
            let groups = (0..count).step_by(size).map(|i| (i..count.min(i + size)).collect::<Vec<_>>());
            let own = level.checked_sub(1).map(|below| (limbs[below]..count).collect::<Vec<_>>());
            let both = own.as_ref().map(|own| [&specials[..], own].concat());
            Level {
                groups: groups.map(|group| Extension::new(&plans, &group)).collect(),
                down: Division::new(&plans, &specials),
                rescale: own.map(|own| Division::new(&plans, &own)),
                both: both.map(|both| Division::new(&plans, &both)),
                log2_q: log2(&primes[..count]),
            }
        };
        let levels = limbs.iter().enumerate().map(level).collect();
        let embedding = Embedding::new(n);
        Ok(Arc::new(Self {
            n,
            plans,
            q_count,
            limbs,
            scales,
            factors,
            levels,
            embedding,
            log2_qp,
            digest: literal.digest(),
        }))
    }

    /// n: the degree and the number of real slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.n
    }

    /// The highest level, which is the number of rescalings there are.
    #[must_use]
    pub fn top(&self) -> usize {
        self.limbs.len() - 1
    }

    /// The canonical scale of a level: that of ciphertexts between operations. For the scale w of [`Params::factor_scale`] and
    /// the primes q of the level, `scale(l - 1) = scale(l) w(l) / q_l`. Squares come out at the canonical scale where
    /// `w(l) = scale(l)`.
    ///
    /// # Errors
    /// [`SlotsError::Level`].
    pub fn scale(&self, level: usize) -> Result<f64, SlotsError> {
        self.check_level(level)?;
        Ok(self.scales[level])
    }

    /// The scale of what ciphertexts of a level are multiplied by.
    ///
    /// # Errors
    /// [`SlotsError::Level`].
    pub fn factor_scale(&self, level: usize) -> Result<f64, SlotsError> {
        self.check_level(level)?;
        Ok(self.factors[level])
    }

    /// The scale of a product at level 0, which is not rescaled: that of results whose last linear map is there. Level 0
    /// then has primes for both scales, and the noise of a reply is small against the result.
    #[must_use]
    pub fn result_scale(&self) -> f64 {
        self.scales[0] * self.factors[0]
    }

    /// Largest absolute value that slots may have at a level with the canonical scale, and before a rescale to it: half
    /// the modulus over the scale.
    ///
    /// # Errors
    /// [`SlotsError::Level`].
    pub fn capacity(&self, level: usize) -> Result<f64, SlotsError> {
        Ok((self.level(level)?.log2_q - 1.0).exp2() / self.scales[level])
    }

    /// log2 of the product of all primes, special ones included: what security depends on.
    #[must_use]
    pub fn log2_qp(&self) -> f64 {
        self.log2_qp
    }

    /// Number of primes at a level.
    ///
    /// # Errors
    /// [`SlotsError::Level`].
    pub fn limbs(&self, level: usize) -> Result<usize, SlotsError> {
        self.check_level(level)?;
        Ok(self.limbs[level])
    }

    /// Number of special primes.
    #[must_use]
    pub fn special(&self) -> usize {
        self.plans.len() - self.q_count
    }

    /// Identifies ring, primes, scale and distributions in a handshake.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    pub(crate) fn embedding(&self) -> &Embedding {
        &self.embedding
    }

    /// The primes of q, then the special ones.
    pub(crate) fn plans(&self) -> &[Plan] {
        &self.plans
    }

    pub(crate) fn level(&self, level: usize) -> Result<&Level, SlotsError> {
        self.levels.get(level).ok_or(SlotsError::Level { level, top: self.top() })
    }

    /// Indices of the special primes among [`Params::plans`].
    pub(crate) fn specials(&self) -> Range<usize> {
        self.q_count..self.plans.len()
    }

    /// Indices of the primes of polynomials with `count` limbs of q, followed by the special ones if `extended`.
    pub(crate) fn basis(&self, count: usize, extended: bool) -> Vec<usize> {
        let specials = if extended { self.specials() } else { 0..0 };
        (0..count).chain(specials).collect()
    }

    fn check_level(&self, level: usize) -> Result<(), SlotsError> {
        self.level(level).map(drop)
    }
}

impl PartialEq for Params {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Params {}

impl ParamsLiteral {
    fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("phineus slots: ternary secret, CBD(21) errors");
        let mut list = |primes: &[u32]| {
            hasher.update(&(primes.len() as u64).to_le_bytes());
            primes.iter().for_each(|p| {
                hasher.update(&p.to_le_bytes());
            });
        };
        list(&[self.log_n, self.steps.len() as u32]);
        list(&self.base);
        self.steps.iter().for_each(|step| list(step));
        list(&self.special);
        hasher.update(&self.log_scale.to_le_bytes());
        for factor in &self.log_factors {
            // No scale of a factor is 2^0.
            hasher.update(&factor.unwrap_or_default().to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// The prime nearest to `target`, in ratio, that is 1 modulo 4n, below 2^28 and not taken yet.
fn nearest(log_n: u32, target: f64, taken: &mut Vec<u32>) -> Result<u32, SlotsError> {
    let order = 4_u64 << log_n;
    let limit = 1_u64 << MAX_BITS;
    let none = SlotsError::NoPrimes { count: 1, bits: target.log2().round() as u32, n: 1 << log_n };
    if !(1 << 17..=limit).contains(&(target as u64)) {
        return Err(none);
    }
    let middle = (target as u64 / order) as i64;
    let found = (0..2 * (limit / order) as i64).find_map(|step| {
        let k = if step % 2 == 0 { middle - step / 2 } else { middle + 1 + step / 2 };
        let p = u64::try_from(k).ok()? * order + 1;
        let fits = 1 << 16 < p && p < limit;
        (fits && is_prime(p) && !taken.contains(&(p as u32))).then_some(p as u32)
    });
    found.inspect(|&p| taken.push(p)).ok_or(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_keep_their_scale() {
        for (log_n, scale, depth, per_step) in
            [(12, 22.0, 2, 1), (13, 26.0, 5, 1), (14, 52.0, 5, 2), (15, 26.0, 6, 1)]
        {
            let literal = ParamsLiteral::near(log_n, scale, depth, per_step, &[28], &[28]).unwrap();
            let params = Params::new(&literal).unwrap();
            assert_eq!(params.top(), depth);
            for level in 0..=depth {
                assert!((params.scale(level).unwrap().log2() - scale).abs() < 0.1, "{log_n}: level {level}");
                assert_eq!(params.limbs(level).unwrap(), 1 + level * per_step);
            }
            assert!(matches!(params.scale(depth + 1), Err(SlotsError::Level { .. })));
        }
    }

    #[test]
    fn factors_have_scales_of_their_own() {
        let (goals, factors) = ([29.0, 27.0, 29.0, 27.0], [Some(23.0), None, Some(23.0), Some(27.0)]);
        let literal = ParamsLiteral::along(13, &goals, &factors, 1, [&[27.5; 2], &[28.0; 2]]).unwrap();
        let params = Params::new(&literal).unwrap();
        for (level, goal) in goals.iter().enumerate() {
            assert!((params.scale(level).unwrap().log2() - goal).abs() < 0.1, "level {level}");
            let factor = factors[level].map_or(params.scale(level).unwrap(), f64::exp2);
            assert_eq!(params.factor_scale(level).unwrap(), factor);
        }
        assert!((params.result_scale().log2() - 52.0).abs() < 0.1);
        assert!(matches!(params.factor_scale(4), Err(SlotsError::Level { .. })));
        let same = ParamsLiteral { log_factors: vec![], ..literal.clone() };
        assert_ne!(Params::new(&same).unwrap(), params);
        let tiny = ParamsLiteral { log_factors: vec![Some(2.0)], ..literal };
        assert!(matches!(Params::new(&tiny), Err(SlotsError::Chain(_))));
        assert!(matches!(ParamsLiteral::along(13, &[], &[], 1, [&[], &[]]), Err(SlotsError::Chain(_))));
    }

    #[test]
    fn refuses_what_is_insecure_or_malformed() {
        let near = |log_n, depth| ParamsLiteral::near(log_n, 26.0, depth, 1, &[28], &[28]).unwrap();
        assert!(Params::new(&near(12, 1)).is_ok());
        assert!(matches!(Params::new(&near(12, 2)), Err(SlotsError::Insecure { n: 4096, cap: 105, .. })));
        assert!(Params::new(&near(13, 5)).is_ok());
        assert!(matches!(Params::new(&near(13, 6)), Err(SlotsError::Insecure { n: 8192, cap: 211, .. })));
        assert!(Params::new(&near(14, 14)).is_ok());
        assert!(matches!(Params::new(&near(14, 15)), Err(SlotsError::Insecure { n: 16_384, cap: 424, .. })));
        let broken = |change: &dyn Fn(&mut ParamsLiteral)| {
            let mut literal = near(13, 2);
            change(&mut literal);
            Params::new(&literal).err()
        };
        assert_eq!(broken(&|l| l.log_n = 9), Some(SlotsError::Degree(9)));
        assert!(matches!(broken(&|l| l.special.clear()), Some(SlotsError::Chain(_))));
        assert!(matches!(broken(&|l| l.base.clear()), Some(SlotsError::Chain(_))));
        assert!(matches!(broken(&|l| l.steps[0].clear()), Some(SlotsError::Chain(_))));
        assert!(matches!(broken(&|l| l.steps[1] = l.base.clone()), Some(SlotsError::Chain(_))));
        assert!(matches!(broken(&|l| l.log_scale = f64::NAN), Some(SlotsError::Chain(_))));
        assert!(matches!(broken(&|l| l.base[0] = 65_537), Some(SlotsError::Modulus(_)) | None));
        assert!(matches!(broken(&|l| l.base[0] += 2), Some(SlotsError::Modulus(_))));
        assert!(ParamsLiteral::near(13, 26.0, 1, 1, &[29], &[28]).is_err());
        assert!(ParamsLiteral::near(16, 26.0, 1, 1, &[28], &[28]).is_err());
        assert_ne!(Params::new(&near(13, 5)).unwrap(), Params::new(&near(13, 4)).unwrap());
    }
}
