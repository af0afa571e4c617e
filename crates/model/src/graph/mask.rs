//! Sets of elements of a value.

use serde::{Deserialize, Serialize};

/// Some elements of a value: bit `i % 8` of byte `i / 8` says whether element `i` is one of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mask(Vec<u8>);

impl Mask {
    /// The elements for which `is_in` is true, in their order.
    #[must_use]
    pub fn new(is_in: &[bool]) -> Self {
        let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
        Self(is_in.chunks(8).map(byte).collect())
    }

    /// Whether this is a set of some of `len` elements: in the one encoding that such a set has.
    #[must_use]
    pub fn is_of(&self, len: usize) -> bool {
        let unused = self.0.last().map_or(0, |last| u32::from(*last) >> ((len + 7) % 8 + 1));
        self.0.len() == len.div_ceil(8) && unused == 0
    }

    /// Number of elements in the set.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// Whether element `i` is in the set.
    #[must_use]
    pub fn contains(&self, i: usize) -> bool {
        self.0.get(i / 8).is_some_and(|byte| byte >> (i % 8) & 1 == 1)
    }

    /// The other ones of `len` elements.
    #[must_use]
    pub fn complement(&self, len: usize) -> Self {
        Self::new(&(0..len).map(|i| !self.contains(i)).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_set_has_one_encoding() {
        for len in 0..40 {
            let bits: Vec<bool> = (0..len).map(|i| i * i % 5 < 2).collect();
            let mask = Mask::new(&bits);
            assert!(mask.is_of(len));
            assert_eq!(mask.count(), bits.iter().filter(|bit| **bit).count());
            assert!((0..len).all(|i| mask.contains(i) == bits[i]) && !mask.contains(len + 8));
            let rest = mask.complement(len);
            assert!(rest.is_of(len) && rest.count() == len - mask.count());
            assert_eq!(rest.complement(len), mask);
        }
        assert!(!Mask(vec![1, 0]).is_of(8));
        assert!(!Mask(vec![]).is_of(1));
        for len in 9..16 {
            assert!(!Mask(vec![0, 1 << (len - 8)]).is_of(len), "{len}");
        }
        assert!(Mask(vec![0, 0xff]).is_of(16));
    }
}
