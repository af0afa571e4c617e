//! Packed bits.

use std::fmt;

use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A string of bits, eight per byte, least significant first; unused bits of the last byte are zero.
#[derive(Clone, Default, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Bits {
    bytes: Vec<u8>,
    len: usize,
}

/// Bytes that do not fit a bit string of the given length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{got} bytes are not the canonical form of {bits} bits")]
pub struct LengthMismatch {
    /// Bits asked for.
    pub bits: usize,
    /// Bytes given.
    pub got: usize,
}

impl Bits {
    /// `len` zeros.
    #[must_use]
    pub fn zeros(len: usize) -> Self {
        Self { bytes: vec![0; len.div_ceil(8)], len }
    }

    /// The lowest `width` bits of each word, word after word, least significant first.
    ///
    /// # Panics
    /// If `width` exceeds 32.
    #[must_use]
    pub fn from_words(words: &[u32], width: usize) -> Self {
        assert!(width <= 32, "words of 32 bits");
        let mut bits = Self::zeros(words.len() * width);
        let (mut held, mut count) = (0_u64, 0);
        let mut bytes = bits.bytes.iter_mut();
        for word in words {
            held |= (u64::from(*word) & ((1 << width) - 1)) << count;
            count += width;
            while count >= 8 {
                if let Some(byte) = bytes.next() {
                    *byte = held as u8;
                }
                held >>= 8;
                count -= 8;
            }
        }
        if let Some(byte) = bytes.next() {
            *byte = held as u8;
        }
        bits
    }

    /// Words of `width` bits each; a last incomplete word is dropped.
    ///
    /// # Panics
    /// If `width` is not in `1..=32`.
    #[must_use]
    pub fn to_words(&self, width: usize) -> Vec<u32> {
        assert!((1..=32).contains(&width), "words of 32 bits");
        let (mut held, mut count) = (0_u64, 0);
        let mut words = Vec::with_capacity(self.len / width);
        for byte in &self.bytes {
            held |= u64::from(*byte) << count;
            count += 8;
            while count >= width && words.len() < self.len / width {
                words.push((held & ((1 << width) - 1)) as u32);
                held >>= width;
                count -= width;
            }
        }
        words
    }

    /// Reads a packed string of `len` bits.
    ///
    /// # Errors
    /// If the number of bytes differs or an unused bit is set.
    pub fn from_bytes(bytes: Vec<u8>, len: usize) -> Result<Self, LengthMismatch> {
        let spare = bytes.last().filter(|_| !len.is_multiple_of(8)).map_or(0, |b| b >> (len % 8));
        if bytes.len() == len.div_ceil(8) && spare == 0 {
            Ok(Self { bytes, len })
        } else {
            Err(LengthMismatch { bits: len, got: bytes.len() })
        }
    }

    /// Bytes made by this crate: canonical by construction.
    pub(crate) fn from_packed(bytes: Vec<u8>, len: usize) -> Self {
        debug_assert_eq!(bytes.len(), len.div_ceil(8));
        Self { bytes, len }
    }

    /// The packed bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of bits.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bit `i`.
    ///
    /// # Panics
    /// If `i` is out of range.
    #[must_use]
    pub fn get(&self, i: usize) -> bool {
        assert!(i < self.len, "bit out of range");
        self.bytes[i / 8] >> (i % 8) & 1 == 1
    }

    /// Writes the lowest `width` bits of a word from bit `at` on, where zeros are.
    ///
    /// # Panics
    /// If the bits are out of range or `width` exceeds 32.
    pub fn set_word(&mut self, at: usize, width: usize, word: u32) {
        assert!(width <= 32 && at + width <= self.len, "bits out of range");
        let shifted = (u64::from(word) & ((1 << width) - 1)) << (at % 8);
        let bytes = &mut self.bytes[at / 8..];
        for (byte, part) in bytes.iter_mut().zip(shifted.to_le_bytes()) {
            *byte |= part;
        }
    }

    /// Adds another string of the same length modulo 2.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn xor_assign(&mut self, other: &Self) {
        assert_eq!(self.len, other.len, "strings of one length");
        self.bytes.iter_mut().zip(&other.bytes).for_each(|(a, b)| *a ^= b);
    }
}

impl FromIterator<bool> for Bits {
    fn from_iter<T: IntoIterator<Item = bool>>(bits: T) -> Self {
        let mut out = Self::default();
        for bit in bits {
            if out.len.is_multiple_of(8) {
                out.bytes.push(0);
            }
            if let Some(byte) = out.bytes.last_mut() {
                *byte |= u8::from(bit) << (out.len % 8);
            }
            out.len += 1;
        }
        out
    }
}

impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bits({} bits)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_and_bits_agree(words in prop::collection::vec(any::<u32>(), 0..40), width in 1_usize..=32) {
            let masked: Vec<u32> = words.iter().map(|w| (u64::from(*w) & ((1 << width) - 1)) as u32).collect();
            let bits = Bits::from_words(&words, width);
            prop_assert_eq!(bits.len(), words.len() * width);
            for (i, word) in masked.iter().enumerate() {
                for b in 0..width {
                    prop_assert_eq!(bits.get(i * width + b), word >> b & 1 == 1);
                }
            }
            prop_assert_eq!(bits.to_words(width), masked);
            let mut written = Bits::zeros(bits.len());
            for (i, word) in words.iter().enumerate() {
                written.set_word(i * width, width, *word);
            }
            prop_assert_eq!(&written, &bits);
            let again: Bits = (0..bits.len()).map(|i| bits.get(i)).collect();
            prop_assert_eq!(&again, &bits);
            prop_assert_eq!(Bits::from_bytes(bits.as_bytes().to_vec(), bits.len()), Ok(bits));
        }
    }

    #[test]
    fn only_the_canonical_form_is_read() {
        assert!(Bits::from_bytes(vec![1, 2], 9).is_err());
        assert!(Bits::from_bytes(vec![1, 1], 9).is_ok());
        assert!(Bits::from_bytes(vec![1], 9).is_err());
        assert!(Bits::from_bytes(vec![], 0).is_ok());
        assert_eq!(format!("{:?}", Bits::zeros(3)), "Bits(3 bits)");
    }
}
