//! Arithmetic modulo an odd prime p with 2^20 < p < 2^50.
//!
//! Products are reduced by Barrett's method; products with a fixed factor w by Shoup's, with a quotient of 52
//! bits, `w' = floor(w 2^52 / p)`: for y < 2^52, `y w - floor(y w' / 2^52) p` lies in `[0, 2p)`. The 52 bits are
//! those of the AVX-512 IFMA multiplier, so that one table of constants serves every backend (Harvey, "Faster
//! arithmetic for number-theoretic transforms", section 3, with word size 2^52).
//!
//! Everything but primality testing and [`Modulus::inv`] runs in constant time.

mod prime;

use thiserror::Error;

pub use prime::{is_prime, ntt_primes};

/// Bits of the multiplier for which Shoup quotients are made.
pub(crate) const SHOUP_BITS: u32 = 52;
/// The low [`SHOUP_BITS`] bits.
pub(crate) const MASK52: u64 = (1 << SHOUP_BITS) - 1;

/// Why a number is not a modulus.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ModulusError {
    /// Not in (2^20, 2^50).
    #[error("modulus {0} is outside (2^20, 2^50)")]
    Range(u64),
    /// Composite.
    #[error("modulus {0} is not prime")]
    Composite(u64),
    /// The order of the transform is not a supported power of two.
    #[error("transform size {0} is not a power of two in 1,024..=32,768")]
    Size(usize),
    /// p - 1 is not divisible by twice the order of the transform.
    #[error("prime {p} is not 1 modulo {order}")]
    NoRoot {
        /// The prime.
        p: u64,
        /// Twice the size of the transform.
        order: u64,
    },
}

/// An odd prime p, 2^20 < p < 2^50, with the constants of its reductions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modulus {
    p: u64,
    /// 2^(k-1) <= p < 2^k.
    bits: u32,
    /// floor(2^2k / p), at most k + 1 bits.
    barrett: u64,
    /// 1, 2^52 and 2^104 modulo p.
    pub(crate) powers: [Shoup; 3],
}

/// A factor w in [0, p) with its quotient floor(w 2^52 / p).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shoup {
    /// The factor.
    pub value: u64,
    /// floor(value 2^52 / p).
    pub quotient: u64,
}

impl Modulus {
    /// Checks range and primality.
    ///
    /// # Errors
    /// [`ModulusError::Range`], [`ModulusError::Composite`].
    pub fn new(p: u64) -> Result<Self, ModulusError> {
        if !(1 << 20 < p && p < 1 << 50) {
            return Err(ModulusError::Range(p));
        }
        if !is_prime(p) {
            return Err(ModulusError::Composite(p));
        }
        let bits = u64::BITS - p.leading_zeros();
        let barrett = ((1_u128 << (2 * bits)) / u128::from(p)) as u64;
        let power = |e: u32| Shoup::new(((1_u128 << e) % u128::from(p)) as u64, p);
        Ok(Self { p, bits, barrett, powers: [power(0), power(52), power(104)] })
    }

    /// p.
    #[must_use]
    #[inline]
    pub fn value(&self) -> u64 {
        self.p
    }

    /// The length of p in bits.
    #[must_use]
    #[inline]
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// `a + b`, all in [0, p).
    #[must_use]
    #[inline]
    pub fn add(&self, a: u64, b: u64) -> u64 {
        self.lift(a + b)
    }

    /// `a - b`, all in [0, p).
    #[must_use]
    #[inline]
    pub fn sub(&self, a: u64, b: u64) -> u64 {
        self.lift(a + self.p - b)
    }

    /// `-a`, both in [0, p).
    #[must_use]
    #[inline]
    pub fn neg(&self, a: u64) -> u64 {
        self.lift(self.p - a)
    }

    /// `a b`, all in [0, p).
    #[must_use]
    #[inline]
    pub fn mul(&self, a: u64, b: u64) -> u64 {
        debug_assert!(a < self.p && b < self.p, "operands are reduced");
        let x = u128::from(a) * u128::from(b);
        let q = (((x >> (self.bits - 1)) * u128::from(self.barrett)) >> (self.bits + 1)) as u64;
        // floor(x / p) - 2 <= q <= floor(x / p), so the remainder is below 3p < 2^52.
        let r = (x as u64).wrapping_sub(q.wrapping_mul(self.p));
        self.lift(min_sub(r, 2 * self.p))
    }

    /// `a w` in [0, p), for a < 2^52.
    #[must_use]
    #[inline]
    pub fn mul_shoup(&self, a: u64, w: Shoup) -> u64 {
        self.lift(w.mul_lazy(a, self.p))
    }

    /// The factor with its quotient; `value` in [0, p).
    #[must_use]
    pub fn shoup(&self, value: u64) -> Shoup {
        debug_assert!(value < self.p, "factor is reduced");
        Shoup::new(value, self.p)
    }

    /// `base^exponent`, constant time in the base only.
    #[must_use]
    pub fn pow(&self, base: u64, mut exponent: u64) -> u64 {
        let (mut square, mut result) = (base, 1);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = self.mul(result, square);
            }
            square = self.mul(square, square);
            exponent >>= 1;
        }
        result
    }

    /// The inverse of `a` in [1, p); 0 for 0. (Fermat.)
    #[must_use]
    pub fn inv(&self, a: u64) -> u64 {
        self.pow(a, self.p - 2)
    }

    /// Any 128-bit number modulo p.
    #[must_use]
    #[inline]
    pub fn reduce_u128(&self, x: u128) -> u64 {
        let digits = [x as u64 & MASK52, (x >> 52) as u64 & MASK52, (x >> 104) as u64];
        self.reduce_digits(digits)
    }

    /// A signed number modulo p.
    #[must_use]
    #[inline]
    pub fn reduce_i64(&self, x: i64) -> u64 {
        let magnitude = self.reduce_u128(u128::from(x.unsigned_abs()));
        let sign = (x >> 63) as u64;
        // -magnitude where x is negative, by masks only.
        self.lift((magnitude ^ sign).wrapping_sub(sign).wrapping_add(self.p & sign))
    }

    /// A signed number of absolute value below p.
    #[must_use]
    #[inline]
    pub fn lift_signed(&self, x: i64) -> u64 {
        debug_assert!(x.unsigned_abs() < self.p, "absolute value below p");
        (x as u64).wrapping_add(self.p & (x >> 63) as u64)
    }

    /// `lo + 2^52 hi` modulo p, for any words.
    #[must_use]
    #[inline]
    pub fn reduce_split(&self, lo: u64, hi: u64) -> u64 {
        // The carry is below 2^12; hi + carry may not overflow, hence hi is split first.
        let carry = lo >> 52;
        let middle = (hi & MASK52) + carry;
        self.reduce_digits([lo & MASK52, middle & MASK52, (hi >> 52) + (middle >> 52)])
    }

    /// `sum d_i 2^(52 i)` for digits below 2^52.
    #[inline]
    fn reduce_digits(&self, digits: [u64; 3]) -> u64 {
        let p = self.p;
        let [one, two52, two104] = self.powers;
        // Each term is below 2p.
        let sum = one.mul_lazy(digits[0], p) + two52.mul_lazy(digits[1], p) + two104.mul_lazy(digits[2], p);
        self.lift(min_sub(min_sub(sum, 4 * p), 2 * p))
    }

    /// From [0, 2p) to [0, p).
    #[inline]
    fn lift(&self, a: u64) -> u64 {
        min_sub(a, self.p)
    }
}

impl Shoup {
    fn new(value: u64, p: u64) -> Self {
        Self { value, quotient: ((u128::from(value) << SHOUP_BITS) / u128::from(p)) as u64 }
    }

    /// `a value` modulo p in [0, 2p), for a < 2^52.
    #[inline]
    pub(crate) fn mul_lazy(self, a: u64, p: u64) -> u64 {
        let q = ((u128::from(a) * u128::from(self.quotient)) >> SHOUP_BITS) as u64;
        a.wrapping_mul(self.value).wrapping_sub(q.wrapping_mul(p))
    }
}

/// `a - m` if a >= m, else `a`; for a < 2^63.
#[inline]
pub(crate) fn min_sub(a: u64, m: u64) -> u64 {
    a.min(a.wrapping_sub(m))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moduli() -> Vec<Modulus> {
        let mut values = vec![1_048_583, ntt_primes(26, 1024, 1)[0], ntt_primes(33, 2048, 1)[0]];
        values.extend(ntt_primes(50, 32_768, 2));
        values.into_iter().map(|p| Modulus::new(p).unwrap()).collect()
    }

    #[test]
    fn range_and_primality() {
        assert_eq!(Modulus::new(1_048_573), Err(ModulusError::Range(1_048_573)));
        assert_eq!(Modulus::new((1 << 50) + 55), Err(ModulusError::Range((1 << 50) + 55)));
        assert_eq!(Modulus::new(1 << 30), Err(ModulusError::Composite(1 << 30)));
        assert_eq!(Modulus::new(1_048_583 * 1_048_589), Err(ModulusError::Composite(1_048_583 * 1_048_589)));
        assert_eq!(Modulus::new(16_777_213 * 3), Err(ModulusError::Composite(16_777_213 * 3)));
    }

    #[test]
    fn edge_values() {
        for m in moduli() {
            let p = m.value();
            for (a, b) in [(p - 1, p - 1), (p - 1, 1), (0, p - 1), (p / 2, 2), (0, 0)] {
                assert_eq!(u128::from(m.mul(a, b)), u128::from(a) * u128::from(b) % u128::from(p));
            }
            assert_eq!((m.add(p - 1, 1), m.sub(0, p - 1), m.neg(0), m.neg(1)), (0, 1, 0, p - 1));
            assert_eq!(u128::from(m.reduce_u128(u128::MAX)), u128::MAX % u128::from(p));
            let top = (u128::from(u64::MAX) << 52) + u128::from(u64::MAX);
            assert_eq!(u128::from(m.reduce_split(u64::MAX, u64::MAX)), top % u128::from(p));
            assert_eq!(m.mul_shoup(MASK52, m.shoup(p - 1)), m.mul(m.reduce_u128(MASK52.into()), p - 1));
        }
    }

    proptest! {
        #[test]
        fn field_laws(a: u64, b: u64, c: u64, x: u128, s: i64) {
            for m in moduli() {
                let p = u128::from(m.value());
                let [a, b, c] = [a, b, c].map(|v| v % m.value());
                prop_assert_eq!(u128::from(m.mul(a, b)), u128::from(a) * u128::from(b) % p);
                prop_assert_eq!(m.mul_shoup(a, m.shoup(b)), m.mul(a, b));
                prop_assert_eq!(m.mul(a, m.add(b, c)), m.add(m.mul(a, b), m.mul(a, c)));
                prop_assert_eq!(m.add(m.sub(a, b), b), a);
                prop_assert_eq!(m.mul(a, m.inv(a)), u64::from(a != 0));
                prop_assert_eq!(u128::from(m.reduce_u128(x)), x % p);
                prop_assert_eq!(i128::from(m.reduce_i64(s)), i128::from(s).rem_euclid(p as i128));
                let small = s % m.value() as i64;
                prop_assert_eq!(m.lift_signed(small), m.reduce_i64(s));
            }
        }
    }
}
