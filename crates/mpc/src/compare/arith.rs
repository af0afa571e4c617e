//! From shared bits to shared ring words, by random OT.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::planes::get;

/// A random bit per element, shared modulo 2 and modulo `2^32` alike (the caller reduces). Consumed by one use.
///
/// From one OT: with bits `s` of the sender, `c` of the receiver as its choice, `s + c - 2 s c`; the sender's message `v +
/// m_0 - m_1` with `v = -2 s` gives the receiver `m_0 + c v`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct SharedBit {
    pub(super) bit: Vec<u64>,
    pub(super) word: Vec<u32>,
}

impl SharedBit {
    /// The sender's half and its message.
    pub(super) fn sender(bit: Vec<u64>, strings: &[[u64; 2]]) -> (Self, Vec<u32>) {
        let (mut word, mut message) = (Vec::with_capacity(strings.len()), Vec::with_capacity(strings.len()));
        for (i, m) in strings.iter().enumerate() {
            let (s, [m0, m1]) = (get(&bit, i), m.map(|m| m as u32));
            word.push(s.wrapping_sub(m0));
            message.push(m0.wrapping_sub(m1).wrapping_sub(2 * s));
        }
        (Self { bit, word }, message)
    }

    /// The receiver's half.
    pub(super) fn receiver(bit: Vec<u64>, strings: &[u32], message: &[u32]) -> Self {
        let one = |(i, (m, d)): (usize, (&u32, &u32))| {
            let c = get(&bit, i);
            c.wrapping_add(*m).wrapping_add(c.wrapping_neg() & d)
        };
        let word = strings.iter().zip(message).enumerate().map(one).collect();
        Self { bit, word }
    }

    /// A shared bit as ring words, from its sum with the random bit, which both parties know.
    pub(super) fn finish(&self, opened: &[u64], leader: bool) -> Vec<u32> {
        let one = |(i, word): (usize, &u32)| {
            let v = get(opened, i);
            // v + (1 - 2 v) word
            (word ^ v.wrapping_neg()).wrapping_add(v).wrapping_add(v & u32::from(leader))
        };
        self.word.iter().enumerate().map(one).collect()
    }
}

/// `a += b`.
pub(super) fn add(a: &mut [u32], b: &[u32]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a = a.wrapping_add(*b));
}
