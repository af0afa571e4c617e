//! Arithmetic modulo a prime below 2^28 by Montgomery's method with R = 2^32.

use crate::zq::{ModulusError, is_prime};

/// Primes are below 2 to this power, so that signed words hold eight times a prime.
pub const MAX_BITS: u32 = 28;

/// A prime p, 2^16 < p < 2^28, with the constants of its reductions. All but [`Modulus::pow`] and [`Modulus::inv`] run
/// in constant time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modulus {
    p: u32,
    /// p^-1 modulo 2^32.
    inverse: u32,
    /// 2^64 modulo p.
    square: u32,
}

impl Modulus {
    /// Checks range and primality.
    ///
    /// # Errors
    /// [`ModulusError::Range`], [`ModulusError::Composite`].
    pub fn new(p: u32) -> Result<Self, ModulusError> {
        if !(1 << 16 < p && p < 1 << MAX_BITS) {
            return Err(ModulusError::Range(p.into()));
        }
        if !is_prime(p.into()) {
            return Err(ModulusError::Composite(p.into()));
        }
        // Newton's iteration: odd numbers are their own inverses modulo 8, every step doubles the bits.
        let inverse = (0..4).fold(p, |x: u32, _| x.wrapping_mul(2_u32.wrapping_sub(p.wrapping_mul(x))));
        let square = ((1_u128 << 64) % u128::from(p)) as u32;
        Ok(Self { p, inverse, square })
    }

    /// p.
    #[must_use]
    #[inline]
    pub fn value(&self) -> u32 {
        self.p
    }

    /// The length of p in bits.
    #[must_use]
    #[inline]
    pub fn bits(&self) -> u32 {
        u32::BITS - self.p.leading_zeros()
    }

    /// p^-1 modulo 2^32.
    #[inline]
    pub(crate) fn inverse(&self) -> i32 {
        self.inverse as i32
    }

    /// `a + b`, all in [0, p).
    #[must_use]
    #[inline]
    pub fn add(&self, a: u32, b: u32) -> u32 {
        let sum = a + b;
        sum.min(sum.wrapping_sub(self.p))
    }

    /// `a - b`, all in [0, p).
    #[must_use]
    #[inline]
    pub fn sub(&self, a: u32, b: u32) -> u32 {
        let difference = a.wrapping_sub(b);
        difference.min(difference.wrapping_add(self.p))
    }

    /// `-a`, both in [0, p).
    #[must_use]
    #[inline]
    pub fn neg(&self, a: u32) -> u32 {
        self.sub(0, a)
    }

    /// `x 2^-32` in [0, p), for x < 2^32 p.
    #[must_use]
    #[inline]
    pub fn redc(&self, x: u64) -> u32 {
        let q = (x as u32).wrapping_mul(self.inverse);
        let t = ((x >> 32) as u32).wrapping_sub(((u64::from(q) * u64::from(self.p)) >> 32) as u32);
        t.min(t.wrapping_add(self.p))
    }

    /// `a b 2^-32` in [0, p), for a < 2^32 and b in [0, p): the product where b is in Montgomery form.
    #[must_use]
    #[inline]
    pub fn mul_montgomery(&self, a: u32, b: u32) -> u32 {
        self.redc(u64::from(a) * u64::from(b))
    }

    /// `a 2^32` in [0, p), for a < 2^32.
    #[must_use]
    #[inline]
    pub fn to_montgomery(&self, a: u32) -> u32 {
        self.mul_montgomery(a, self.square)
    }

    /// `a b`, all in [0, p).
    #[must_use]
    #[inline]
    pub fn mul(&self, a: u32, b: u32) -> u32 {
        self.to_montgomery(self.mul_montgomery(a, b))
    }

    /// The representative of absolute value at most p/2 of a residue in [0, p).
    #[must_use]
    #[inline]
    pub fn centre(&self, a: u32) -> i32 {
        // All ones where a is above p/2.
        let upper = ((self.p / 2).wrapping_sub(a) as i32 >> 31) as u32;
        a.wrapping_sub(self.p & upper) as i32
    }

    /// Any number modulo p.
    #[must_use]
    #[inline]
    pub fn reduce(&self, x: u64) -> u32 {
        // Each half times its power of two, both below p.
        let low = self.to_montgomery(self.mul_montgomery(x as u32, 1));
        self.add(low, self.to_montgomery((x >> 32) as u32))
    }

    /// A signed number modulo p.
    #[must_use]
    #[inline]
    pub fn reduce_i64(&self, x: i64) -> u32 {
        let magnitude = self.reduce(x.unsigned_abs());
        let sign = (x >> 63) as u32;
        // p - magnitude where x is negative, by masks only.
        let negated = self.neg(magnitude);
        (negated & sign) | (magnitude & !sign)
    }

    /// `base^exponent`.
    #[must_use]
    pub fn pow(&self, base: u32, mut exponent: u32) -> u32 {
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
    pub fn inv(&self, a: u32) -> u32 {
        self.pow(a, self.p - 2)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn range_and_primality() {
        assert_eq!(Modulus::new(65_521), Err(ModulusError::Range(65_521)));
        assert_eq!(Modulus::new(1 << 28), Err(ModulusError::Range(1 << 28)));
        assert_eq!(Modulus::new(65_535 * 3), Err(ModulusError::Composite(65_535 * 3)));
        assert_eq!(Modulus::new(268_369_921).unwrap().bits(), 28);
    }

    proptest! {
        #[test]
        fn field_laws(a: u32, b: u32, c: u32, x: u64, s: i64) {
            for p in [65_537, 786_433, 268_369_921] {
                let m = Modulus::new(p).unwrap();
                let wide = u64::from(p);
                let [a, b, c] = [a, b, c].map(|v| v % p);
                prop_assert_eq!(u64::from(m.mul(a, b)), u64::from(a) * u64::from(b) % wide);
                prop_assert_eq!(m.mul(a, m.add(b, c)), m.add(m.mul(a, b), m.mul(a, c)));
                prop_assert_eq!(m.add(m.sub(a, b), b), a);
                prop_assert_eq!(m.add(m.neg(a), a), 0);
                prop_assert_eq!(m.mul(a, m.inv(a)), u32::from(a != 0));
                prop_assert_eq!(m.mul_montgomery(a, m.to_montgomery(b)), m.mul(a, b));
                for x in [x, u64::MAX, wide - 1, wide] {
                    prop_assert_eq!(u64::from(m.reduce(x)), x % wide);
                }
                for s in [s, i64::MIN, -1] {
                    prop_assert_eq!(i64::from(m.reduce_i64(s)), s.rem_euclid(wide as i64));
                }
            }
        }
    }
}
