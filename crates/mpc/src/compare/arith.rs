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

/// The product of a shared bit with the sender's word: one OT per element, the receiver's choice its share of the bit,
/// corrected online. The sender's half; consumed by one use.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct ProductSender {
    pub(super) strings: Vec<[u32; 2]>,
}

/// The receiver's half of [`ProductSender`].
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct ProductReceiver {
    pub(super) choices: Vec<u64>,
    pub(super) strings: Vec<u32>,
}

impl ProductSender {
    pub(super) fn new(strings: &[[u64; 2]]) -> Self {
        Self { strings: strings.iter().map(|m| m.map(|m| m as u32)).collect() }
    }

    /// Its share of the product and its message, from its share of the bit, its word and the receiver's correction.
    pub(super) fn send(&self, bit: &[u64], words: &[u32], correction: &[u64]) -> (Vec<u32>, Vec<u32>) {
        let one = |(i, (m, v)): (usize, (&[u32; 2], &u32))| {
            let (b, e) = (get(bit, i).wrapping_neg(), get(correction, i).wrapping_neg());
            let swap = e & (m[0] ^ m[1]);
            let (m0, m1) = (m[0] ^ swap, m[1] ^ swap);
            // (1 - 2 b) v
            let signed = (v ^ b).wrapping_sub(b);
            ((b & v).wrapping_sub(m0), signed.wrapping_add(m0).wrapping_sub(m1))
        };
        self.strings.iter().zip(words).enumerate().map(one).unzip()
    }
}

impl ProductReceiver {
    pub(super) fn new(choices: Vec<u64>, strings: &[u64]) -> Self {
        Self { choices, strings: strings.iter().map(|m| *m as u32).collect() }
    }

    /// Its share of the product, from its share of the bit and the sender's message.
    pub(super) fn finish(&self, bit: &[u64], message: &[u32]) -> Vec<u32> {
        let one = |(i, (m, d)): (usize, (&u32, &u32))| m.wrapping_add(get(bit, i).wrapping_neg() & d);
        self.strings.iter().zip(message).enumerate().map(one).collect()
    }
}

/// `a += b`.
pub(super) fn add(a: &mut [u32], b: &[u32]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a = a.wrapping_add(*b));
}
