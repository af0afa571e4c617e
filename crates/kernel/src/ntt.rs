//! Negacyclic number-theoretic transform: Z_p\[X\]/(X^n + 1) to n evaluations and back.
//!
//! For psi of order 2n modulo p, `forward` maps a polynomial a to its values a(psi^e) at the odd powers e of psi,
//! so that products of polynomials modulo X^n + 1 become products of values. The order of the values is
//! [`Plan::exponent`].
//!
//! Cooley-Tukey butterflies forward and Gentleman-Sande butterflies back, with Harvey's lazy ranges ([0, 4p) and
//! [0, 2p); "Faster arithmetic for number-theoretic transforms", sections 3 and 4), which p < 2^50 leaves room
//! for in words of 52 bits. The last six layers act within blocks of 64 values: three across the rows of an
//! 8 x 8 matrix, a transposition, three more across rows. The blocks stay transposed in the evaluation domain.
//!
//! n log2(n) / 2 butterflies of three multiplications. Constant time.

pub mod automorphism;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod inner;
pub mod matrix;
pub mod octet;
pub mod pointwise;
mod portable;
pub mod round;

use std::ops::RangeInclusive;

use crate::cpu::Backend;
use crate::zq::{Modulus, ModulusError, Shoup};

/// Supported transform sizes (powers of two).
pub const SIZES: RangeInclusive<usize> = 1 << 10..=1 << 15;

/// Values transformed together by the last six layers.
const BLOCK: usize = 64;
/// Vectors of eight roots per block in the last three layers: 1 + 2 + 4.
const TAIL: usize = 7;

/// The constants of the transforms of one prime and one size.
#[derive(Debug, Clone)]
pub struct Plan {
    modulus: Modulus,
    n: usize,
    psi: u64,
    forward: Roots,
    inverse: Roots,
    /// 1/n, and 1/n times the root of the last inverse layer.
    scale: [Shoup; 2],
}

/// Powers of psi (or of its inverse), as factors and quotients.
#[derive(Debug, Clone)]
struct Roots {
    /// Index m + i holds the root of group i in the layer of m groups, m <= n / 16.
    head: Factors,
    /// Per block the seven vectors of roots of the layers of n/8, n/4 and n/2 groups, for transposed blocks.
    tail: Factors,
}

#[derive(Debug, Clone, Default)]
struct Factors {
    values: Vec<u64>,
    quotients: Vec<u64>,
}

impl Plan {
    /// The transforms of size n modulo p.
    ///
    /// # Errors
    /// [`ModulusError`] if p is not a prime in (2^20, 2^50) that is 1 modulo 2n, or n is not in [`SIZES`].
    pub fn new(p: u64, n: usize) -> Result<Self, ModulusError> {
        if !n.is_power_of_two() || !SIZES.contains(&n) {
            return Err(ModulusError::Size(n));
        }
        let modulus = Modulus::new(p)?;
        let order = 2 * n as u64;
        if p % order != 1 {
            return Err(ModulusError::NoRoot { p, order });
        }
        // A power (p - 1) / 2n has order 2n if and only if its n-th power is -1: half of all bases do.
        let psi = (2..p)
            .map(|base| modulus.pow(base, (p - 1) / order))
            .find(|&root| modulus.pow(root, n as u64) == p - 1)
            .ok_or(ModulusError::NoRoot { p, order })?;
        let forward = Roots::new(&modulus, n, psi);
        let inverse = Roots::new(&modulus, n, modulus.inv(psi));
        let scale = modulus.inv(n as u64);
        let scale = [scale, modulus.mul(scale, inverse.head.values[1])].map(|v| modulus.shoup(v));
        Ok(Self { modulus, n, psi, forward, inverse, scale })
    }

    /// The prime.
    #[must_use]
    pub fn modulus(&self) -> &Modulus {
        &self.modulus
    }

    /// n.
    #[must_use]
    pub fn size(&self) -> usize {
        self.n
    }

    /// psi, the root of unity of order 2n.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.psi
    }

    /// The odd exponent e such that value `index` is the evaluation at psi^e.
    #[must_use]
    pub fn exponent(&self, index: usize) -> usize {
        let natural = index / BLOCK * BLOCK + transposed(index % BLOCK);
        2 * reverse(natural, self.n) + 1
    }

    /// Coefficients to values, both n residues in [0, p).
    ///
    /// # Panics
    /// If the slice does not have n elements.
    pub fn forward(&self, values: &mut [u64]) {
        self.forward_on(Backend::detected(), values);
    }

    /// Values to coefficients, both n residues in [0, p).
    ///
    /// # Panics
    /// If the slice does not have n elements.
    pub fn inverse(&self, values: &mut [u64]) {
        self.inverse_on(Backend::detected(), values);
    }

    /// [`Plan::forward`] on one backend; for tests. AVX2 without FMA runs the portable code.
    ///
    /// # Panics
    /// If the slice does not have n elements or the machine lacks the backend.
    pub fn forward_on(&self, backend: Backend, values: &mut [u64]) {
        assert_eq!(values.len(), self.n, "one value per coefficient");
        match backend {
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => {
                assert!(runs(backend), "backend of this machine");
                // SAFETY: the machine has the instructions of this backend.
                unsafe { avx512::forward(self, values) }
            }
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 if is_x86_feature_detected!("fma") => {
                assert!(runs(backend), "backend of this machine");
                // SAFETY: the machine has the instructions of this backend, and FMA.
                unsafe { avx2::forward(self, values) }
            }
            _ => portable::forward(self, values),
        }
    }

    /// [`Plan::inverse`] on one backend; for tests. AVX2 without FMA runs the portable code.
    ///
    /// # Panics
    /// If the slice does not have n elements or the machine lacks the backend.
    pub fn inverse_on(&self, backend: Backend, values: &mut [u64]) {
        assert_eq!(values.len(), self.n, "one value per coefficient");
        match backend {
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => {
                assert!(runs(backend), "backend of this machine");
                // SAFETY: the machine has the instructions of this backend.
                unsafe { avx512::inverse(self, values) }
            }
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 if is_x86_feature_detected!("fma") => {
                assert!(runs(backend), "backend of this machine");
                // SAFETY: the machine has the instructions of this backend, and FMA.
                unsafe { avx2::inverse(self, values) }
            }
            _ => portable::inverse(self, values),
        }
    }
}

impl Roots {
    fn new(modulus: &Modulus, n: usize, psi: u64) -> Self {
        let mut powers = Vec::with_capacity(n);
        let mut power = 1;
        for _ in 0..n {
            powers.push(power);
            power = modulus.mul(power, psi);
        }
        let root = |index: usize| modulus.shoup(powers[reverse(index, n)]);
        let mut head = Factors::default();
        (0..n / 8).for_each(|index| head.push(root(index)));
        let mut tail = Factors::default();
        for block in 0..n / BLOCK {
            for (groups, per_lane) in [(n / 8, 1), (n / 4, 2), (n / 2, 4)] {
                for vector in 0..per_lane {
                    for lane in 0..8 {
                        tail.push(root(groups + per_lane * (8 * block + lane) + vector));
                    }
                }
            }
        }
        Self { head, tail }
    }
}

impl Factors {
    fn push(&mut self, factor: Shoup) {
        self.values.push(factor.value);
        self.quotients.push(factor.quotient);
    }

    #[inline]
    fn at(&self, index: usize) -> Shoup {
        Shoup { value: self.values[index], quotient: self.quotients[index] }
    }
}

/// Whether this machine has a backend.
#[inline]
fn runs(backend: Backend) -> bool {
    backend == Backend::detected() || Backend::available().contains(&backend)
}

/// The place of an element of a block in the transposed block.
#[inline]
fn transposed(index: usize) -> usize {
    8 * (index % 8) + index / 8
}

/// The bits of an index below n, a power of two, in reverse.
fn reverse(index: usize, n: usize) -> usize {
    index.reverse_bits() >> (usize::BITS - n.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::zq::ntt_primes;

    fn random(rng: &mut StdRng, p: u64, n: usize) -> Vec<u64> {
        (0..n).map(|_| rng.random_range(0..p)).collect()
    }

    fn schoolbook(m: &Modulus, a: &[u64], b: &[u64]) -> Vec<u64> {
        let n = a.len();
        let mut c = vec![0; n];
        for (i, &x) in a.iter().enumerate() {
            for (j, &y) in b.iter().enumerate() {
                let product = m.mul(x, y);
                let slot = &mut c[(i + j) % n];
                *slot = if i + j < n { m.add(*slot, product) } else { m.sub(*slot, product) };
            }
        }
        c
    }

    #[test]
    fn refuses_other_sizes_and_primes() {
        let p = ntt_primes(50, 1 << 15, 1)[0];
        assert_eq!(Plan::new(p, 512).err(), Some(ModulusError::Size(512)));
        assert_eq!(Plan::new(p, 3000).err(), Some(ModulusError::Size(3000)));
        assert_eq!(Plan::new(p, 1 << 16).err(), Some(ModulusError::Size(1 << 16)));
        assert_eq!(
            Plan::new(1_048_583, 1024).err(),
            Some(ModulusError::NoRoot { p: 1_048_583, order: 2048 })
        );
    }

    #[test]
    fn every_backend_inverts_and_agrees() {
        let mut rng = StdRng::seed_from_u64(1);
        for log_n in 10..=15 {
            let n = 1 << log_n;
            for bits in [50, 36, 26] {
                let p = ntt_primes(bits, n, 1)[0];
                let plan = Plan::new(p, n).unwrap();
                for input in [random(&mut rng, p, n), vec![p - 1; n], vec![0; n]] {
                    let mut expected = input.clone();
                    plan.forward_on(Backend::Portable, &mut expected);
                    for backend in Backend::available() {
                        let mut values = input.clone();
                        plan.forward_on(backend, &mut values);
                        assert!(values == expected, "forward {n} {p} {backend:?}");
                        plan.inverse_on(backend, &mut values);
                        assert!(values == input, "inverse {n} {p} {backend:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn values_are_evaluations() {
        let n = 1 << 11;
        let p = ntt_primes(50, n, 1)[0];
        let plan = Plan::new(p, n).unwrap();
        let m = plan.modulus();
        let input = random(&mut StdRng::seed_from_u64(2), p, n);
        let mut values = input.clone();
        plan.forward(&mut values);
        for index in [0, 1, 7, 8, 63, 64, 1000, n - 1] {
            let x = m.pow(plan.root(), plan.exponent(index) as u64);
            let horner = input.iter().rev().fold(0, |acc, &c| m.add(m.mul(acc, x), c));
            assert_eq!(values[index], horner, "value {index}");
        }
        let mut exponents: Vec<_> = (0..n).map(|i| plan.exponent(i)).collect();
        exponents.sort_unstable();
        assert!(exponents.iter().enumerate().all(|(i, &e)| e == 2 * i + 1));
    }

    #[test]
    fn products_are_negacyclic() {
        let n = 1 << 10;
        for p in [ntt_primes(50, n, 1)[0], ntt_primes(21, n, 1)[0]] {
            let plan = Plan::new(p, n).unwrap();
            let mut rng = StdRng::seed_from_u64(3);
            let (a, b) = (random(&mut rng, p, n), random(&mut rng, p, n));
            for (a, b) in [(a, b), (vec![p - 1; n], vec![p - 1; n])] {
                let expected = schoolbook(plan.modulus(), &a, &b);
                let (mut x, mut y) = (a, b);
                plan.forward(&mut x);
                plan.forward(&mut y);
                pointwise::mul_assign(plan.modulus(), &mut x, &y);
                plan.inverse(&mut x);
                assert!(x == expected, "product modulo {p}");
            }
        }
    }
}
