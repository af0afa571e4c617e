//! One digit of a sum by one-of-N oblivious transfer.
//!
//! Functionality: the server has a digit `y` (and a digit `v`), the client a digit `c` of at most four bits; they get
//! shares modulo 2 of public predicates of the pair.
//!
//! Method: the client's bits are the choices of one random OT each. The strings of all of them, added, give one pad for
//! every value of the digit, of which the client knows that of `c`: position `j` of the sum takes from OT `i` the
//! string of bit `i` of `j` (Naor and Pinkas, *Oblivious transfer and polynomial evaluation*, STOC 1999,
//! section 3, with one output bit of the hash in place of one call of a function). Online the server sends its truth
//! table under the pads, plus its share of the result.

/// A predicate of the digits `y`, `c` of `k` bits, `v` the digit of a second number of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Predicate {
    /// `y + c >= 2^k`.
    Carry,
    /// `y + c = 2^k - 1`.
    Propagate,
    /// `c = v`.
    Equal,
    /// As `Carry`, of the lowest `k - 1` bits.
    LowCarry,
    /// As `Propagate`, of the lowest `k - 1` bits.
    LowPropagate,
}

/// Which bits of a word make a digit, and what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digit {
    /// Lowest bit.
    pub(crate) at: u32,
    /// Number of bits, `1..=4`.
    pub(crate) bits: u32,
    /// At most four.
    pub(crate) asked: Vec<Predicate>,
}

/// Largest digit.
const MAX_BITS: usize = 4;

impl Digit {
    /// The fewest digits of similar size for `bits` bits from bit `at` on.
    pub(crate) fn split(
        at: u32,
        bits: u32,
    ) -> impl DoubleEndedIterator<Item = (u32, u32)> + ExactSizeIterator {
        let count = bits.div_ceil(MAX_BITS as u32);
        let cut = move |i: u32| at + i * bits / count.max(1);
        (0..count).map(move |i| (cut(i), cut(i + 1) - cut(i)))
    }

    /// Values of the digit.
    fn values(&self) -> u32 {
        1 << self.bits
    }

    /// Bits of the truth tables of all predicates, predicate after predicate; at most 64.
    pub(crate) fn width(&self) -> u32 {
        self.asked.len() as u32 * self.values()
    }

    fn all(&self) -> u64 {
        u64::MAX >> (64 - self.width())
    }

    /// The digit of a word.
    #[inline]
    pub(crate) fn of(&self, word: u32) -> u32 {
        word >> self.at & (self.values() - 1)
    }

    /// Adds what OT number `i` contributes to the pads of every element.
    pub(crate) fn add_pads(&self, i: u32, strings: &[[u64; 2]], pads: &mut [u64]) {
        let ones = (0..self.width()).filter(|j| (j % self.values()) >> i & 1 == 1).fold(0, |m, j| m | 1 << j);
        let zeros = self.all() & !ones;
        pads.iter_mut().zip(strings).for_each(|(pad, m)| *pad ^= m[0] & zeros | m[1] & ones);
    }

    /// The server's share of predicate `o`, spread over its truth table, added to the pads.
    pub(crate) fn add_share(&self, o: usize, share: &[u64], pads: &mut [u64]) {
        let ones = (u64::MAX >> (64 - self.values())) << (o as u32 * self.values());
        for (pads, share) in pads.chunks_mut(64).zip(share) {
            for (i, pad) in pads.iter_mut().enumerate() {
                *pad ^= (share >> i & 1).wrapping_neg() & ones;
            }
        }
    }

    /// The truth tables for the server's digits `y` and `v`; shifts only, no table lookup by a secret.
    #[inline]
    pub(crate) fn tables(&self, y: u32, v: u32) -> u64 {
        let (n, half) = (self.values(), self.values() / 2);
        let carry = |n: u32, y: u32| {
            let full = (1_u64 << n) - 1;
            full & full << (n - y)
        };
        let low = y & (half - 1);
        let twice = |row: u64| row | row << half;
        self.asked.iter().rev().fold(0, |tables, predicate| {
            tables << n
                | match predicate {
                    Predicate::Carry => carry(n, y),
                    Predicate::Propagate => 1 << (n - 1 - y),
                    Predicate::Equal => 1 << v,
                    Predicate::LowCarry => twice(carry(half, low)),
                    Predicate::LowPropagate => twice(1 << (half - 1 - low)),
                }
        })
    }

    /// The bits at the client's positions: planes of all predicates.
    pub(crate) fn look_up(&self, c: &[u32], words: &[u64]) -> Vec<Vec<u64>> {
        let mut planes = vec![vec![0; c.len().div_ceil(64)]; self.asked.len()];
        for (w, (c, words)) in c.chunks(64).zip(words.chunks(64)).enumerate() {
            for (i, (c, word)) in c.iter().zip(words).enumerate() {
                let chosen = word >> self.of(*c);
                for (o, plane) in planes.iter_mut().enumerate() {
                    plane[w] |= (chosen >> (o as u32 * self.values()) & 1) << i;
                }
            }
        }
        planes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Predicate::*;

    #[test]
    fn tables_state_the_predicates() {
        for bits in 1..=4 {
            let digit = Digit { at: 0, bits, asked: vec![LowPropagate, Carry, Equal, LowCarry] };
            let other = Digit { at: 0, bits, asked: vec![Propagate] };
            let (n, half) = (1_u32 << bits, 1_u32 << bits >> 1);
            for (y, c) in (0..n).flat_map(|y| (0..n).map(move |c| (y, c))) {
                let v = y.wrapping_neg() & (n - 1);
                let table = digit.tables(y, v);
                let bit = |o: u32| table >> (o * n + c) & 1 == 1;
                let (low_y, low_c) = (y & (half - 1), c & (half - 1));
                assert_eq!(bit(0), low_y + low_c == half - 1);
                assert_eq!(bit(1), y + c >= n);
                assert_eq!(bit(2), (y + c) % n == 0);
                assert_eq!(bit(3), low_y + low_c >= half);
                assert_eq!(other.tables(y, 0) >> c & 1 == 1, y + c == n - 1);
            }
            assert_eq!(digit.width(), 4 * n);
        }
    }

    #[test]
    fn digits_cover_their_bits() {
        for bits in 0..=32 {
            let digits: Vec<_> = Digit::split(3, bits).collect();
            assert_eq!(digits.len() as u32, bits.div_ceil(4));
            let end = digits.iter().fold(3, |end, (at, bits)| {
                assert!(*at == end && (1..=4).contains(bits));
                end + bits
            });
            assert_eq!(end, 3 + bits);
        }
    }
}
