//! The ring Z_{2^l}, 1 <= l <= 32: words are `u32`, reduced to [0, 2^l).
//!
//! Wrapping arithmetic and a mask; constant time.

/// The ring of integers modulo 2^bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pow2 {
    bits: u32,
}

impl Pow2 {
    /// The ring of words of `bits` bits; `None` unless 1 <= bits <= 32.
    #[must_use]
    pub const fn new(bits: u32) -> Option<Self> {
        if 1 <= bits && bits <= 32 { Some(Self { bits }) } else { None }
    }

    /// l.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u32 {
        self.bits
    }

    /// 2^l - 1.
    #[must_use]
    #[inline]
    pub const fn mask(self) -> u32 {
        u32::MAX >> (32 - self.bits)
    }

    /// Any word modulo 2^l.
    #[must_use]
    #[inline]
    pub const fn reduce(self, a: u32) -> u32 {
        a & self.mask()
    }

    /// `a + b`.
    #[must_use]
    #[inline]
    pub const fn add(self, a: u32, b: u32) -> u32 {
        self.reduce(a.wrapping_add(b))
    }

    /// `a - b`.
    #[must_use]
    #[inline]
    pub const fn sub(self, a: u32, b: u32) -> u32 {
        self.reduce(a.wrapping_sub(b))
    }

    /// `-a`.
    #[must_use]
    #[inline]
    pub const fn neg(self, a: u32) -> u32 {
        self.reduce(a.wrapping_neg())
    }

    /// `a b`.
    #[must_use]
    #[inline]
    pub const fn mul(self, a: u32, b: u32) -> u32 {
        self.reduce(a.wrapping_mul(b))
    }

    /// The representative in [-2^(l-1), 2^(l-1)).
    #[must_use]
    #[inline]
    pub const fn to_signed(self, a: u32) -> i64 {
        let unused = 32 - self.bits;
        (((a << unused) as i32) >> unused) as i64
    }

    /// Any integer modulo 2^l.
    #[must_use]
    #[inline]
    pub const fn from_signed(self, a: i64) -> u32 {
        self.reduce(a as u32)
    }

    /// `a += b`, element by element.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add_assign(self, a: &mut [u32], b: &[u32]) {
        assert_eq!(a.len(), b.len(), "operands of one length");
        a.iter_mut().zip(b).for_each(|(a, &b)| *a = self.add(*a, b));
    }

    /// `a -= b`, element by element.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn sub_assign(self, a: &mut [u32], b: &[u32]) {
        assert_eq!(a.len(), b.len(), "operands of one length");
        a.iter_mut().zip(b).for_each(|(a, &b)| *a = self.sub(*a, b));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn widths() {
        assert_eq!((Pow2::new(0), Pow2::new(33)), (None, None));
        assert_eq!(Pow2::new(32).unwrap().mask(), u32::MAX);
        let bit = Pow2::new(1).unwrap();
        assert_eq!((bit.mask(), bit.to_signed(1), bit.to_signed(0)), (1, -1, 0));
        assert_eq!(Pow2::new(8).unwrap().to_signed(0x80), -128);
    }

    proptest! {
        #[test]
        fn agrees_with_integers(bits in 1_u32..=32, a: u32, b: u32, s: i64) {
            let ring = Pow2::new(bits).unwrap();
            let m = 1_i128 << bits;
            let [a, b] = [a, b].map(|v| ring.reduce(v));
            let (x, y) = (i128::from(a), i128::from(b));
            prop_assert_eq!(i128::from(ring.add(a, b)), (x + y).rem_euclid(m));
            prop_assert_eq!(i128::from(ring.sub(a, b)), (x - y).rem_euclid(m));
            prop_assert_eq!(i128::from(ring.neg(a)), (-x).rem_euclid(m));
            prop_assert_eq!(i128::from(ring.mul(a, b)), (x * y).rem_euclid(m));
            prop_assert_eq!(i128::from(ring.from_signed(s)), i128::from(s).rem_euclid(m));
            prop_assert_eq!(ring.from_signed(ring.to_signed(a)), a);
            prop_assert!((-m / 2..m / 2).contains(&i128::from(ring.to_signed(a))));
            let mut v = [a, b];
            ring.add_assign(&mut v, &[b, a]);
            ring.sub_assign(&mut v, &[b, a]);
            prop_assert_eq!(v, [a, b]);
        }
    }
}
