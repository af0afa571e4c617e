//! One digit of a sum by one-of-N oblivious transfer.
//!
//! Functionality: the server has a digit `y` (and a digit `v`), the client a digit `c` of at most four bits; they get
//! shares modulo 2 of public predicates of the pair.
//!
//! Method: the client's bits are the choices of one random OT each. The strings of all of them, added, give one pad for
//! every value of the digit, of which the client knows that of `c`: position `j` of the sum takes from OT `i` the
//! string of bit `i` of `j` (Naor and Pinkas, *Oblivious transfer and polynomial evaluation*, STOC 1999,
//! section 3, with one output bit of the hash in place of one call of a function). Online the server sends its truth
//! table under the pads, plus its share of the result; that share is what makes the first entry zero, which need not be
//! sent. A predicate of fewer bits has a table of so many fewer entries.

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

impl Predicate {
    /// How many of the client's `k` bits it depends on.
    fn bits(self, k: u32) -> u32 {
        match self {
            Self::Carry | Self::Propagate | Self::Equal => k,
            Self::LowCarry | Self::LowPropagate => k - 1,
        }
    }
}

/// Which bits of a word make a digit, and what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digit {
    /// Lowest bit.
    pub(crate) at: u32,
    /// Number of bits, `1..=4`.
    pub(crate) bits: u32,
    /// At most four, `Low` ones among them if all four.
    pub(crate) asked: Vec<Predicate>,
}

/// Largest digit.
const MAX_BITS: usize = 4;

/// The truth table of one predicate in a word: one bit per value of the client's digit.
struct Place {
    /// Its first entry.
    at: u32,
    /// `2^bits` entries.
    bits: u32,
}

impl Place {
    fn all(&self) -> u64 {
        u64::MAX >> (64 - (1 << self.bits)) << self.at
    }

    /// The entries but the first, moved to the bottom.
    fn rest(&self, word: u64) -> u64 {
        (word & self.all()) >> self.at >> 1
    }
}

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

    /// Where the truth tables of the predicates lie, one behind the other.
    fn places(&self) -> impl Iterator<Item = Place> {
        self.asked.iter().scan(0, |end, predicate| {
            let place = Place { at: *end, bits: predicate.bits(self.bits) };
            *end += 1 << place.bits;
            Some(place)
        })
    }

    /// Bits of the truth tables of all predicates; at most 64.
    pub(crate) fn width(&self) -> u32 {
        self.places().map(|place| 1 << place.bits).sum()
    }

    /// Bits of the truth tables that are sent.
    pub(crate) fn sent_width(&self) -> u32 {
        self.width() - self.asked.len() as u32
    }

    /// The digit of a word.
    #[inline]
    pub(crate) fn of(&self, word: u32) -> u32 {
        word >> self.at & ((1 << self.bits) - 1)
    }

    /// The entries to which OT number `i` contributes, and among them those of its string 1.
    fn entries(&self, i: u32) -> (u64, u64) {
        self.places().filter(|place| i < place.bits).fold((0, 0), |(all, ones), place| {
            let set = (0..1_u32 << place.bits).filter(|j| j >> i & 1 == 1);
            (all | place.all(), ones | set.fold(0, |m, j| m | 1 << (place.at + j)))
        })
    }

    /// Adds what OT number `i` contributes to the pads of every element.
    pub(crate) fn add_pads(&self, i: u32, strings: &[[u64; 2]], pads: &mut [u64]) {
        let (all, ones) = self.entries(i);
        let zeros = all & !ones;
        pads.iter_mut().zip(strings).for_each(|(pad, m)| *pad ^= m[0] & zeros | m[1] & ones);
    }

    /// Adds what OT number `i` contributes to the pads that the client knows; others hold anything.
    pub(crate) fn add_known_pads(&self, i: u32, strings: &[u64], pads: &mut [u64]) {
        let (all, _) = self.entries(i);
        pads.iter_mut().zip(strings).for_each(|(pad, m)| *pad ^= m & all);
    }

    /// The truth tables for the server's digits `y` and `v`; shifts only, no table lookup by a secret.
    #[inline]
    pub(crate) fn tables(&self, y: u32, v: u32) -> u64 {
        let (n, half) = (1_u32 << self.bits, 1_u32 << self.bits >> 1);
        let carry = |n: u32, y: u32| {
            let full = (1_u64 << n) - 1;
            full & full << (n - y)
        };
        let low = y & (half - 1);
        self.asked.iter().rev().fold(0, |tables, predicate| {
            tables << (1 << predicate.bits(self.bits))
                | match predicate {
                    Predicate::Carry => carry(n, y),
                    Predicate::Propagate => 1 << (n - 1 - y),
                    Predicate::Equal => 1 << v,
                    Predicate::LowCarry => carry(half, low),
                    Predicate::LowPropagate => 1 << (half - 1 - low),
                }
        })
    }

    /// Truth tables under their pads, of all elements, become what is sent: the server's share of a predicate is what makes
    /// the first entry zero, which is left out. Returned are the planes of these shares.
    pub(crate) fn conceal(&self, words: &mut [u64]) -> Vec<Vec<u64>> {
        let places: Vec<Place> = self.places().collect();
        let mut planes = vec![vec![0; words.len().div_ceil(64)]; places.len()];
        for (w, words) in words.chunks_mut(64).enumerate() {
            for (i, word) in words.iter_mut().enumerate() {
                let (mut sent, mut at) = (0, 0);
                for (place, plane) in places.iter().zip(&mut planes) {
                    let share = *word >> place.at & 1;
                    plane[w] |= share << i;
                    sent |= place.rest(*word ^ share.wrapping_neg()) << at;
                    at += (1 << place.bits) - 1;
                }
                *word = sent;
            }
        }
        planes
    }

    /// What is sent becomes truth tables again, the first entries zero.
    pub(crate) fn expand(&self, words: &mut [u64]) {
        let places: Vec<Place> = self.places().collect();
        for word in words {
            let (mut tables, mut sent) = (0, *word);
            for place in &places {
                tables |= sent << 1 << place.at & place.all() & !(1 << place.at);
                sent >>= (1 << place.bits) - 1;
            }
            *word = tables;
        }
    }

    /// The bits at the client's positions: planes of all predicates.
    pub(crate) fn look_up(&self, c: &[u32], words: &[u64]) -> Vec<Vec<u64>> {
        let places: Vec<Place> = self.places().collect();
        let mut planes = vec![vec![0; c.len().div_ceil(64)]; places.len()];
        for (w, (c, words)) in c.chunks(64).zip(words.chunks(64)).enumerate() {
            for (i, (c, word)) in c.iter().zip(words).enumerate() {
                let digit = self.of(*c);
                for (place, plane) in places.iter().zip(&mut planes) {
                    let at = place.at + (digit & ((1 << place.bits) - 1));
                    plane[w] |= (word >> at & 1) << i;
                }
            }
        }
        planes
    }
}

#[cfg(test)]
mod tests {
    use phineus_kernel::prg::Prg;
    use rand::Rng as _;

    use super::*;
    use Predicate::*;

    #[test]
    fn tables_state_the_predicates() {
        for bits in 1..=4 {
            let digit = Digit { at: 3, bits, asked: vec![LowPropagate, Carry, Equal, LowCarry] };
            let other = Digit { at: 0, bits, asked: vec![Propagate] };
            let (n, half) = (1_u32 << bits, 1_u32 << bits >> 1);
            for (y, c) in (0..n).flat_map(|y| (0..n).map(move |c| (y, c))) {
                let v = y.wrapping_neg() & (n - 1);
                let planes = digit.look_up(&[c << digit.at], &[digit.tables(y, v)]);
                let bit = |o: usize| planes[o][0] == 1;
                let (low_y, low_c) = (y & (half - 1), c & (half - 1));
                assert_eq!(bit(0), low_y + low_c == half - 1);
                assert_eq!(bit(1), y + c >= n);
                assert_eq!(bit(2), (y + c) % n == 0);
                assert_eq!(bit(3), low_y + low_c >= half);
                assert_eq!(other.tables(y, 0) >> c & 1 == 1, y + c == n - 1);
            }
            assert_eq!((digit.width(), digit.sent_width()), (3 * n, 3 * n - 4));
        }
    }

    #[test]
    fn shares_of_the_predicates_come_out() {
        let rng = &mut Prg::new([1; 16]);
        for (bits, asked) in [(4, vec![LowCarry, LowPropagate, Propagate, Equal]), (1, vec![LowCarry, Equal])]
        {
            let digit = Digit { at: 2, bits, asked };
            let n = 100;
            let (mut c, mut y) = (vec![0; n], vec![0; n]);
            rng.fill_u32(8, &mut c);
            rng.fill_u32(8, &mut y);
            let (mut pads, mut known) = (vec![0; n], vec![0; n]);
            for i in 0..bits {
                let strings: Vec<[u64; 2]> = (0..n).map(|_| [rng.next_u64(), rng.next_u64()]).collect();
                let choice = |(m, c): (&[u64; 2], &u32)| m[(c >> (digit.at + i) & 1) as usize];
                let chosen: Vec<u64> = strings.iter().zip(&c).map(choice).collect();
                digit.add_pads(i, &strings, &mut pads);
                digit.add_known_pads(i, &chosen, &mut known);
            }
            let mine = digit.look_up(&c, &known);
            pads.iter_mut().zip(&y).for_each(|(pad, y)| *pad ^= digit.tables(digit.of(*y), digit.of(*y)));
            let shares = digit.conceal(&mut pads);
            assert!(pads.iter().all(|word| word >> digit.sent_width() == 0));
            digit.expand(&mut pads);
            let theirs = digit.look_up(&c, &pads);
            for i in 0..n {
                let ideal = digit.look_up(&c[i..=i], &[digit.tables(digit.of(y[i]), digit.of(y[i]))]);
                for (o, ideal) in ideal.iter().enumerate() {
                    let bit = |planes: &[Vec<u64>]| planes[o][i / 64] >> (i % 64) & 1;
                    assert_eq!(bit(&mine) ^ bit(&theirs) ^ bit(&shares), ideal[0]);
                }
            }
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
