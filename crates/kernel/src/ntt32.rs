//! Number-theoretic transform of the conjugate-invariant ring, modulo primes below 2^28 in lanes of 32 bits.
//!
//! The ring is Z_p\[Y + Y^-1\] for Y of order 4n: the polynomials `a_0 + sum_(0<i<n) a_i (Y^i + Y^-i)`, which are
//! those of Z_p\[Y\]/(Y^2n + 1) that the substitution of Y^-1 for Y fixes. `forward` maps the n coefficients to the
//! values at psi^e, e = 1 modulo 4, for psi of order 4n modulo p; the other half of the roots of Y^2n + 1 are the
//! inverses of these and have the same values. Products of ring elements become products of values. The order of
//! the values is [`Plan::exponent`]. (Kim and Song, "Approximate homomorphic encryption over the
//! conjugate-invariant ring", ICISC 2018.)
//!
//! With I = psi^n, a fourth root of one, Y^2n + 1 = (Y^n - I)(Y^n + I) and the ring maps into the first factor by
//! `b_j = a_j - I a_(n-j)`, since Y^-j = -Y^(2n-j) = -I Y^(n-j). One such fold is followed by the usual transform of
//! n points with Cooley-Tukey butterflies, the way back by Gentleman-Sande butterflies and
//! `a_j = (b_j + I b_(n-j)) / 2`.
//!
//! Residues are signed and lazy inside. Products with a root w are Montgomery's: for y in 32 bits,
//! `(y w - p (y w p^-1 mod 2^32)) / 2^32` has absolute value below 3p/4 if |w| <= p/2, and 2^31 > 8p leaves room for
//! nine layers without a reduction (Seiler, "Faster AVX2 optimized NTT multiplication for Ring-LWE lattice
//! cryptography", 2018, section 3).
//!
//! n (log2(n) + 2) / 2 products of three multiplications. Constant time.

mod automorphism;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod modulus;
pub mod pointwise;
mod portable;
mod roots;

use std::ops::RangeInclusive;

pub use automorphism::{Automorphism, rotation, slots};
pub use modulus::{MAX_BITS, Modulus};

use crate::cpu::Backend;
use crate::zq::ModulusError;
use roots::Roots;

/// Supported transform sizes (powers of two).
pub const SIZES: RangeInclusive<usize> = 1 << 10..=1 << 15;

/// Values that the last four layers treat together: two vectors of 16.
const BLOCK: usize = 32;

/// The constants of the transforms of one prime and one size.
#[derive(Debug, Clone)]
pub struct Plan {
    modulus: Modulus,
    n: usize,
    psi: u32,
    forward: Roots,
    inverse: Roots,
    /// I = psi^n, as the roots are stored.
    fold: i32,
    /// 1/2n, and 1/2n times the root of the last inverse layer.
    scale: [i32; 2],
}

impl Plan {
    /// The transforms of size n modulo p.
    ///
    /// # Errors
    /// [`ModulusError`] if p is not a prime in (2^16, 2^28) that is 1 modulo 4n, or n is not in [`SIZES`].
    pub fn new(p: u32, n: usize) -> Result<Self, ModulusError> {
        if !n.is_power_of_two() || !SIZES.contains(&n) {
            return Err(ModulusError::Size(n));
        }
        let modulus = Modulus::new(p)?;
        let order = 4 * n as u32;
        if p % order != 1 {
            return Err(ModulusError::NoRoot { p: p.into(), order: order.into() });
        }
        // A power (p - 1) / 4n has order 4n if and only if its 2n-th power is -1: half of all bases do.
        let psi = (2..p)
            .map(|base| modulus.pow(base, (p - 1) / order))
            .find(|&root| modulus.pow(root, order / 2) == p - 1)
            .ok_or(ModulusError::NoRoot { p: p.into(), order: order.into() })?;
        let forward = Roots::new(&modulus, n, psi);
        let inverse = Roots::new(&modulus, n, modulus.inv(psi));
        let scale = modulus.inv(order / 2);
        let last = modulus.pow(modulus.inv(psi), n as u32 / 2);
        let scale = [scale, modulus.mul(scale, last)].map(|v| factor(&modulus, v));
        let fold = factor(&modulus, modulus.pow(psi, n as u32));
        Ok(Self { modulus, n, psi, forward, inverse, fold, scale })
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

    /// psi, the root of unity of order 4n.
    #[must_use]
    pub fn root(&self) -> u32 {
        self.psi
    }

    /// The exponent e = 1 modulo 4 such that value `index` is the evaluation at psi^e.
    #[must_use]
    pub fn exponent(&self, index: usize) -> usize {
        exponent(self.n, index)
    }

    /// Writes the n values in [0, p) of the element with n coefficients in (-p, p).
    ///
    /// # Panics
    /// If a slice does not have n elements.
    pub fn forward(&self, coefficients: &[i32], values: &mut [u32]) {
        self.forward_on(Backend::detected(), coefficients, values);
    }

    /// Writes the n coefficients in [0, p) of the element with n values in [0, p). Destroys the values.
    ///
    /// # Panics
    /// If a slice does not have n elements.
    pub fn inverse(&self, values: &mut [u32], coefficients: &mut [u32]) {
        self.inverse_on(Backend::detected(), values, coefficients);
    }

    /// [`Plan::forward`] on one backend; for tests.
    ///
    /// # Panics
    /// If a slice does not have n elements or the machine lacks the backend.
    pub fn forward_on(&self, backend: Backend, coefficients: &[i32], values: &mut [u32]) {
        assert!(coefficients.len() == self.n && values.len() == self.n, "one value per coefficient");
        match backend {
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => {
                assert!(runs(backend), "backend of this machine");
                // SAFETY: the machine has the instructions of this backend.
                unsafe { avx512::forward(self, coefficients, values) }
            }
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => {
                assert!(runs(backend), "backend of this machine");
                // SAFETY: as above.
                unsafe { portable::avx2::forward(self, coefficients, values) }
            }
            _ => portable::forward(self, coefficients, values),
        }
    }

    /// [`Plan::inverse`] on one backend; for tests.
    ///
    /// # Panics
    /// If a slice does not have n elements or the machine lacks the backend.
    pub fn inverse_on(&self, backend: Backend, values: &mut [u32], coefficients: &mut [u32]) {
        assert!(coefficients.len() == self.n && values.len() == self.n, "one value per coefficient");
        match backend {
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => {
                assert!(runs(backend), "backend of this machine");
                // SAFETY: the machine has the instructions of this backend.
                unsafe { avx512::inverse(self, values, coefficients) }
            }
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => {
                assert!(runs(backend), "backend of this machine");
                // SAFETY: as above.
                unsafe { portable::avx2::inverse(self, values, coefficients) }
            }
            _ => portable::inverse(self, values, coefficients),
        }
    }
}

/// A residue in [0, p) in Montgomery form, centred.
fn factor(modulus: &Modulus, value: u32) -> i32 {
    modulus.centre(modulus.to_montgomery(value))
}

/// The exponent of value `index` among n.
fn exponent(n: usize, index: usize) -> usize {
    let natural = index / BLOCK * BLOCK + usize::from(ORDER[index % BLOCK]);
    4 * reverse(natural, n) + 1
}

/// Whether this machine has a backend.
#[inline]
fn runs(backend: Backend) -> bool {
    backend == Backend::detected() || Backend::available().contains(&backend)
}

/// The bits of an index below n, a power of two, in reverse.
fn reverse(index: usize, n: usize) -> usize {
    index.reverse_bits() >> (usize::BITS - n.trailing_zeros())
}

/// The place in natural (bit-reversed) order of each value of a block: what the four exchanges leave behind.
const ORDER: [u8; BLOCK] = {
    let mut order = [0; BLOCK];
    let mut i = 0;
    while i < BLOCK {
        order[i] = i as u8;
        i += 1;
    }
    let mut step = 0;
    while step < 4 {
        order = exchanged(step, &order);
        step += 1;
    }
    order
};

/// A block after exchange number `step` between its halves x and y. The exchanges make neighbours in natural order of
/// distance 8, 4, 2 and 1 stand in the same lane of x and y; each is two shuffles of AVX-512.
const fn exchanged<T: Copy>(step: usize, block: &[T; BLOCK]) -> [T; BLOCK] {
    let mut out = *block;
    let mut lane = 0;
    while lane < 16 {
        let (q, r) = (lane / 4, lane % 4);
        let (x, distance) = match step {
            0 => (16 * (lane / 8) + lane % 8, 8),
            1 => (16 * (q / 2) + 8 * (q % 2) + r, 4),
            2 => (16 * (r / 2) + 4 * q + r % 2, 2),
            _ => (16 * (r / 2) + 4 * q + 2 * (r % 2), 1),
        };
        out[lane] = block[x];
        out[16 + lane] = block[x + distance];
        lane += 1;
    }
    out
}

/// The inverse of [`exchanged`].
const fn restored<T: Copy>(step: usize, block: &[T; BLOCK]) -> [T; BLOCK] {
    let mut places = [0; BLOCK];
    let mut i = 0;
    while i < BLOCK {
        places[i] = i;
        i += 1;
    }
    let places = exchanged(step, &places);
    let mut out = *block;
    i = 0;
    while i < BLOCK {
        out[places[i]] = block[i];
        i += 1;
    }
    out
}

#[cfg(test)]
mod tests;
