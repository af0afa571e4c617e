//! Bit slicing: a *plane* is one bit of many elements, element `64 w + i` at bit `i` of word `w`.

/// Words of a plane of `n` elements.
pub(crate) const fn lanes(n: usize) -> usize {
    n.div_ceil(64)
}

/// Bit `bit` of every word, as a plane; missing elements of the last word are zero.
pub(crate) fn column<W: Copy + Into<u64>>(words: &[W], bit: u32) -> Vec<u64> {
    words
        .chunks(64)
        .map(|chunk| chunk.iter().rev().fold(0, |plane, &word| plane << 1 | (word.into() >> bit & 1)))
        .collect()
}

/// Bit of element `i`.
#[inline]
pub(crate) fn get(plane: &[u64], i: usize) -> u32 {
    (plane[i / 64] >> (i % 64)) as u32 & 1
}

/// `a += b` modulo 2.
pub(crate) fn xor(a: &mut [u64], b: &[u64]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a ^= b);
}

/// The planes as bytes.
pub(crate) fn to_bytes(words: &[u64], out: &mut Vec<u8>) {
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

/// Words of a byte string of which the length has been checked.
pub(crate) fn from_bytes(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_hold_one_bit_of_every_word() {
        for n in [1_usize, 63, 64, 65, 200] {
            let words: Vec<u32> = (0..n as u32).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
            for bit in 0..32 {
                let plane = column(&words, bit);
                assert_eq!(plane.len(), lanes(n));
                for (i, word) in words.iter().enumerate() {
                    assert_eq!(get(&plane, i), word >> bit & 1);
                }
                assert_eq!(plane.iter().map(|w| w.count_ones()).sum::<u32>(), {
                    words.iter().map(|w| w >> bit & 1).sum::<u32>()
                });
                let mut bytes = Vec::new();
                to_bytes(&plane, &mut bytes);
                assert_eq!(from_bytes(&bytes), plane);
            }
        }
    }
}
