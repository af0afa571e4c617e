//! Parameters of the scheme, checked once.

use std::sync::Arc;

use phineus_kernel::ntt::Plan;
use phineus_kernel::ntt::round::Fraction;
use phineus_kernel::zq::{Modulus, ntt_primes};

use crate::HeError;

/// Largest log2 q at degree 2^10, 2^11, .., 2^15 for at least 130 bits of classical security with a ternary
/// secret and errors of standard deviation 3.2: primal (uSVP) and dual hybrid attacks of the lattice estimator
/// (Albrecht, Player, Scott, "On the concrete hardness of learning with errors", 2015, and its software).
const CAPS: [u32; 6] = [26, 52, 105, 211, 424, 854];

/// Unchecked parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamsLiteral {
    /// log2 of the degree n, 10..=15.
    pub log_n: u32,
    /// Distinct primes below 2^50, 1 modulo 2n; their product is q.
    pub primes: Vec<u64>,
}

/// Checked parameters with the constants derived from them.
#[derive(Debug)]
pub struct Params {
    n: usize,
    plans: Vec<Plan>,
    /// Per prime p_i its part of a fraction c / q.
    fractions: Vec<Fraction>,
    /// q modulo 2^64.
    q_low: u64,
    log2_q: f64,
    /// A prime of 50 bits, for exact products of short polynomials.
    exact: Plan,
    digest: [u8; 32],
}

impl ParamsLiteral {
    /// The largest `count` primes for degree 2^log_n.
    #[must_use]
    pub fn largest(log_n: u32, count: usize) -> Self {
        Self { log_n, primes: ntt_primes(50, 1 << log_n.min(32), count) }
    }

    /// n = 4,096 and 100 bits: two primes.
    #[must_use]
    pub fn n4096() -> Self {
        Self::largest(12, 2)
    }

    /// n = 4,096 and 105 bits, all that is secure at this degree: three primes.
    #[must_use]
    pub fn n4096_full() -> Self {
        Self { log_n: 12, primes: ntt_primes(35, 1 << 12, 3) }
    }

    /// n = 8,192 and 150 bits: three primes.
    #[must_use]
    pub fn n8192() -> Self {
        Self::largest(13, 3)
    }

    /// n = 8,192 and 200 bits: four primes.
    #[must_use]
    pub fn n8192_wide() -> Self {
        Self::largest(13, 4)
    }
}

/// The largest log2 q at degree 2^`log_n`, special primes of key switches included.
pub(crate) fn cap(log_n: u32) -> Option<u32> {
    log_n.checked_sub(10).and_then(|i| CAPS.get(i as usize)).copied()
}

impl Params {
    /// Checks degree, primes and security.
    ///
    /// # Errors
    /// [`HeError::Degree`], [`HeError::Primes`], [`HeError::Modulus`], [`HeError::Insecure`].
    pub fn new(literal: &ParamsLiteral) -> Result<Arc<Self>, HeError> {
        let ParamsLiteral { log_n, primes } = literal;
        let cap = cap(*log_n).ok_or(HeError::Degree(*log_n))?;
        let n = 1_usize << log_n;
        if primes.is_empty() || primes.iter().enumerate().any(|(i, p)| primes[..i].contains(p)) {
            return Err(HeError::Primes);
        }
        let log2_q = primes.iter().map(|&p| (p as f64).log2()).sum();
        if log2_q > f64::from(cap) {
            return Err(HeError::Insecure { n, log2_q, cap });
        }
        let plans = primes.iter().map(|&p| Plan::new(p, n)).collect::<Result<Vec<_>, _>>()?;
        let fractions = plans.iter().map(|plan| fraction(plan.modulus(), primes)).collect();
        let exact = Plan::new(ntt_primes(50, n, 1).first().copied().unwrap_or_default(), n)?;
        let q_low = primes.iter().fold(1, |q: u64, p| q.wrapping_mul(*p));
        Ok(Arc::new(Self { n, plans, fractions, q_low, log2_q, exact, digest: literal.digest() }))
    }

    /// n, the number of coefficients.
    #[must_use]
    pub fn degree(&self) -> usize {
        self.n
    }

    /// Number of primes.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.plans.len()
    }

    /// log2 q.
    #[must_use]
    pub fn log2_q(&self) -> f64 {
        self.log2_q
    }

    /// The primes of q with their transforms.
    #[must_use]
    pub fn plans(&self) -> &[Plan] {
        &self.plans
    }

    /// Identifies ring, modulus and distributions in a handshake.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    pub(crate) fn modulus(&self, limb: usize) -> &Modulus {
        self.plans[limb].modulus()
    }

    pub(crate) fn fraction(&self, limb: usize) -> &Fraction {
        &self.fractions[limb]
    }

    pub(crate) fn q_low(&self) -> u64 {
        self.q_low
    }

    pub(crate) fn exact(&self) -> &Plan {
        &self.exact
    }
}

impl PartialEq for Params {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Params {}

/// The constants of one of the primes.
fn fraction(modulus: &Modulus, primes: &[u64]) -> Fraction {
    let p = modulus.value();
    let others = primes.iter().filter(|&&other| other != p);
    let cofactor = others.fold(1, |acc, &other| modulus.mul(acc, other % p));
    let reciprocal = ((1_u128 << (63 + modulus.bits())) / u128::from(p)) as u64;
    Fraction { factor: modulus.shoup(modulus.inv(cofactor)), reciprocal }
}

impl ParamsLiteral {
    fn digest(&self) -> [u8; 32] {
        let mut hasher =
            blake3::Hasher::new_derive_key("phineus he parameters: ternary secret, CBD(21) errors");
        hasher.update(&self.log_n.to_le_bytes());
        self.primes.iter().for_each(|p| {
            hasher.update(&p.to_le_bytes());
        });
        *hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use phineus_kernel::zq::ModulusError;

    use super::*;

    #[test]
    fn presets_are_sound() {
        let literals = [
            ParamsLiteral::n4096(),
            ParamsLiteral::n4096_full(),
            ParamsLiteral::n8192(),
            ParamsLiteral::n8192_wide(),
        ];
        let params = literals.map(|l| Params::new(&l).unwrap());
        assert_eq!(params.each_ref().map(|p| p.log2_q().round() as u32), [100, 105, 150, 200]);
        assert_eq!(params.each_ref().map(|p| p.degree()), [4096, 4096, 8192, 8192]);
        assert!(params[1] != params[2]);
        assert!(Params::new(&ParamsLiteral::n4096()).unwrap() == params[0]);
    }

    #[test]
    fn refuses_what_is_insecure_or_malformed() {
        let mut primes = ntt_primes(50, 4096, 2);
        primes.truncate(1);
        primes.extend(ntt_primes(30, 4096, 2));
        // 109 bits and more at degree 4,096.
        assert!(matches!(
            Params::new(&ParamsLiteral { log_n: 12, primes }),
            Err(HeError::Insecure { n: 4096, cap: 105, .. })
        ));
        for (log_n, count) in [(13, 5), (14, 9), (12, 3), (11, 2), (10, 1)] {
            let literal = ParamsLiteral::largest(log_n, count);
            assert!(matches!(Params::new(&literal), Err(HeError::Insecure { .. })), "{log_n}");
        }
        let composite = ParamsLiteral { log_n: 12, primes: vec![8192 * 4097 + 1] };
        assert!(matches!(Params::new(&composite), Err(HeError::Modulus(ModulusError::Composite(_)))));
        let rootless = ParamsLiteral { log_n: 12, primes: vec![1_048_583] };
        assert!(matches!(Params::new(&rootless), Err(HeError::Modulus(ModulusError::NoRoot { .. }))));
        let p = ntt_primes(50, 4096, 1)[0];
        let twice = ParamsLiteral { log_n: 12, primes: vec![p, p] };
        assert_eq!(Params::new(&twice).err(), Some(HeError::Primes));
        let none = ParamsLiteral { log_n: 12, primes: vec![] };
        assert_eq!(Params::new(&none).err(), Some(HeError::Primes));
        for log_n in [0, 9, 16, 40] {
            let literal = ParamsLiteral { log_n, primes: vec![p] };
            assert_eq!(Params::new(&literal).err(), Some(HeError::Degree(log_n)));
        }
    }
}
