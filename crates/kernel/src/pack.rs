//! k-bit little-endian packing: value i occupies bits `[k i, k (i + 1))` of the byte string, least significant
//! bit first; the bits after the last value are zero. One value list has one packing, so that a message has one
//! encoding.

use crate::wire::{PeerMisbehaved, check_len};

/// A word that can be packed.
pub trait Word: Copy {
    /// Its size; the most bits it can be packed at.
    const BITS: u32;

    /// As 64 bits.
    fn to_u64(self) -> u64;

    /// From 64 bits, of which the upper ones are zero.
    fn from_u64(v: u64) -> Self;
}

impl Word for u32 {
    const BITS: u32 = 32;

    #[inline]
    fn to_u64(self) -> u64 {
        self.into()
    }

    #[inline]
    fn from_u64(v: u64) -> Self {
        v as Self
    }
}

impl Word for u64 {
    const BITS: u32 = 64;

    #[inline]
    fn to_u64(self) -> u64 {
        self
    }

    #[inline]
    fn from_u64(v: u64) -> Self {
        v
    }
}

/// Bytes of `count` values of `bits` bits.
#[must_use]
pub const fn packed_len(count: usize, bits: u32) -> usize {
    // In two parts, so that no count overflows that fits in memory.
    let bits = bits as usize;
    count / 8 * bits + (count % 8 * bits).div_ceil(8)
}

/// Appends `values`, each below 2^bits, to `out`.
///
/// # Panics
/// If `bits` is 0 or above the size of the word, or a value is too large (a wrong encoding is never sent).
pub fn pack<W: Word>(values: &[W], bits: u32, out: &mut Vec<u8>) {
    assert!(0 < bits && bits <= W::BITS, "width of a packed value");
    out.reserve(packed_len(values.len(), bits));
    let (mut pending, mut held, mut seen) = (0_u128, 0, 0_u64);
    for value in values {
        let value = value.to_u64();
        seen |= value;
        pending |= u128::from(value) << held;
        held += bits;
        if held >= 64 {
            out.extend_from_slice(&(pending as u64).to_le_bytes());
            pending >>= 64;
            held -= 64;
        }
    }
    assert!(bits == 64 || seen >> bits == 0, "values fit their width");
    out.extend_from_slice(&pending.to_le_bytes()[..held.div_ceil(8) as usize]);
}

/// Reads `count` values of `bits` bits from exactly [`packed_len`] bytes.
///
/// # Errors
/// [`PeerMisbehaved`] on a wrong length or trailing bits that are not zero.
///
/// # Panics
/// If `bits` is 0 or above the size of the word.
pub fn unpack<W: Word>(
    what: &'static str,
    bytes: &[u8],
    count: usize,
    bits: u32,
) -> Result<Vec<W>, PeerMisbehaved> {
    assert!(0 < bits && bits <= W::BITS, "width of a packed value");
    check_len(what, bytes, packed_len(count, bits))?;
    let mask = u64::MAX >> (64 - bits);
    let mut words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    let (mut pending, mut held) = (0_u128, 0);
    let values = (0..count)
        .map(|_| {
            if held < bits {
                pending |= u128::from(words.next().unwrap_or(0)) << held;
                held += 64;
            }
            let value = W::from_u64(pending as u64 & mask);
            pending >>= bits;
            held -= bits;
            value
        })
        .collect();
    if pending == 0 {
        Ok(values)
    } else {
        Err(PeerMisbehaved::Invalid { what, reason: "trailing bits are not zero" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layout() {
        let mut out = vec![0xff];
        pack(&[1_u32, 2, 3, 4, 5], 3, &mut out);
        // 001 010 011 100 101 from the least significant bit on.
        assert_eq!(out, [0xff, 0b1101_0001, 0b0101_1000]);
        assert_eq!(packed_len(5, 3), 2);
        assert_eq!(unpack::<u32>("t", &out[1..], 5, 3), Ok(vec![1, 2, 3, 4, 5]));
    }

    #[test]
    fn refuses_other_encodings() {
        let mut out = Vec::new();
        pack(&[5_u64; 3], 5, &mut out);
        assert!(matches!(
            unpack::<u64>("t", &out[..1], 3, 5),
            Err(PeerMisbehaved::Length { expected: 2, got: 1, .. })
        ));
        out[1] |= 0x80;
        assert!(matches!(unpack::<u64>("t", &out, 3, 5), Err(PeerMisbehaved::Invalid { .. })));
        assert!(unpack::<u64>("t", &[], 0, 5).unwrap().is_empty());
    }

    #[test]
    #[should_panic(expected = "fit their width")]
    fn too_large() {
        pack(&[8_u32], 3, &mut Vec::new());
    }

    proptest! {
        #[test]
        fn round_trip(bits in 1_u32..=64, values in prop::collection::vec(any::<u64>(), 0..70)) {
            let values: Vec<_> = values.iter().map(|v| v >> (64 - bits)).collect();
            let mut out = Vec::new();
            pack(&values, bits, &mut out);
            prop_assert_eq!(out.len(), (values.len() * bits as usize).div_ceil(8));
            prop_assert_eq!(unpack::<u64>("t", &out, values.len(), bits).unwrap(), values.clone());
            if bits <= 32 {
                let words: Vec<_> = values.iter().map(|&v| v as u32).collect();
                let mut other = Vec::new();
                pack(&words, bits, &mut other);
                prop_assert_eq!(&out, &other);
                prop_assert_eq!(unpack::<u32>("t", &out, words.len(), bits).unwrap(), words);
            }
        }
    }
}
