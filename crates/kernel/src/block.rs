//! 128-bit strings: wire labels, correlations, seeds.
//!
//! A block is a vector of F_2^128; `+` is [`BitXor`]. Bit 0 is the least significant bit of byte 0 and carries the
//! *colour* (point-and-permute bit) of a wire label.

use std::fmt;
use std::ops::{BitAnd, BitAndAssign, BitXor, BitXorAssign};

use rand::CryptoRng;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::DefaultIsZeroes;

// Slices of blocks are encrypted in place as slices of bytes.
const _: () = assert!(cfg!(target_endian = "little"), "blocks are laid out for little-endian machines");

/// 128 bits. Always treated as a secret: `Debug` prints no contents and comparison is constant-time only.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub struct Block(pub u128);

impl Block {
    /// Bytes of a block.
    pub const BYTES: usize = 16;
    /// The zero vector.
    pub const ZERO: Self = Self(0);

    /// A uniform block.
    #[must_use]
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        Self::from_bytes(bytes)
    }

    /// Little-endian reading of 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }

    /// Little-endian bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// Bit 0: the colour of a wire label.
    #[must_use]
    #[inline]
    pub const fn lsb(self) -> bool {
        self.0 & 1 == 1
    }

    /// The same block with bit 0 set.
    #[must_use]
    pub const fn with_lsb(self) -> Self {
        Self(self.0 | 1)
    }

    /// The same block with bit 0 equal to `colour`, without a branch.
    #[must_use]
    #[inline]
    pub const fn with_colour(self, colour: bool) -> Self {
        Self(self.0 & !1 | colour as u128)
    }

    /// All ones if `bit`, all zeros otherwise, without a branch.
    #[must_use]
    #[inline]
    pub const fn mask(bit: bool) -> Self {
        Self((bit as u128).wrapping_neg())
    }

    /// The bytes of a slice of blocks.
    #[must_use]
    pub fn as_bytes(blocks: &[Self]) -> &[u8] {
        // SAFETY: `Block` is a transparent `u128`: 16 initialised bytes without padding, and `u8` has alignment 1.
        unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), size_of_val(blocks)) }
    }

    /// The bytes of a slice of blocks.
    #[must_use]
    pub fn as_bytes_mut(blocks: &mut [Self]) -> &mut [u8] {
        // SAFETY: as in `as_bytes`, and every bit pattern written back is a valid `u128`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(blocks.as_mut_ptr().cast(), size_of_val(blocks)) }
    }

    /// Blocks of a byte string, or `None` if its length is not a multiple of 16.
    #[must_use]
    pub fn vec_from_bytes(bytes: &[u8]) -> Option<Vec<Self>> {
        let (chunks, rest) = bytes.as_chunks();
        rest.is_empty().then(|| chunks.iter().map(|&c| Self::from_bytes(c)).collect())
    }
}

impl BitXor for Block {
    type Output = Self;

    #[inline]
    fn bitxor(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }
}

impl BitXorAssign for Block {
    #[inline]
    fn bitxor_assign(&mut self, other: Self) {
        self.0 ^= other.0;
    }
}

impl BitAnd for Block {
    type Output = Self;

    #[inline]
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitAndAssign for Block {
    #[inline]
    fn bitand_assign(&mut self, other: Self) {
        self.0 &= other.0;
    }
}

impl DefaultIsZeroes for Block {}

impl From<[u8; 16]> for Block {
    fn from(bytes: [u8; 16]) -> Self {
        Self::from_bytes(bytes)
    }
}

impl From<&[u8; 16]> for Block {
    fn from(bytes: &[u8; 16]) -> Self {
        Self::from_bytes(*bytes)
    }
}

impl ConstantTimeEq for Block {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl ConditionallySelectable for Block {
    fn conditional_select(a: &Self, b: &Self, choice: Choice) -> Self {
        Self(u128::conditional_select(&a.0, &b.0, choice))
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Block(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_bits() {
        let mut bytes = [0; 16];
        bytes[0] = 3;
        bytes[15] = 0x80;
        let b = Block::from(bytes);
        assert!(b.lsb());
        assert_eq!(b.0 >> 127, 1);
        assert_eq!(b.to_bytes(), bytes);
        assert_eq!(Block::as_bytes(&[b, Block::ZERO])[..16], bytes);
        let mut two = [Block::ZERO; 2];
        Block::as_bytes_mut(&mut two)[16] = 1;
        assert!(!two[0].lsb() && two[1].lsb());
        assert_eq!(Block::vec_from_bytes(&bytes).map(|v| v[0].0), Some(b.0));
        assert!(Block::vec_from_bytes(&bytes[1..]).is_none());
    }

    #[test]
    fn selection_and_equality() {
        let (a, b) = (Block(5), Block(1 << 100));
        assert_eq!(Block::conditional_select(&a, &b, Choice::from(0)).0, a.0);
        assert_eq!(Block::conditional_select(&a, &b, Choice::from(1)).0, b.0);
        assert!(bool::from(a.ct_eq(&a)) && !bool::from(a.ct_eq(&b)));
        assert_eq!((Block::mask(true) & b).0, b.0);
        assert_eq!((Block::mask(false) & b).0, 0);
        assert_eq!((a ^ b ^ a).0, b.0);
        assert!(Block(4).with_lsb().lsb());
        assert_eq!((Block(5).with_colour(false).0, Block(4).with_colour(true).0), (4, 5));
    }

    #[test]
    fn debug_is_redacted() {
        assert_eq!(format!("{:?}", Block(77)), "Block(..)");
    }
}
