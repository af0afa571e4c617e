//! From public parameters to digits and a circuit.

use zeroize::Zeroizing;

use super::CompareError;
use super::circuit::{Builder, Carry, Circuit, Wire};
use super::digit::Digit;
use super::digit::Predicate::{self, Carry as Generate, Equal, LowCarry, LowPropagate, Propagate};

/// How the dropped bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// Round half up, bit for bit.
    Exact,
    /// Each party drops the low bits of its own share: the result is the floor or one more, the latter with a
    /// probability equal to the fraction dropped (plus `2^-shift`). Within one of [`Rounding::Exact`] before the clamp.
    Stochastic,
}

/// Public parameters of one element: `clamp((v + 2^(shift - 1)) >> shift, lo, hi)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReluSpec {
    /// Width `l` of the input ring, 2..=32.
    pub in_bits: u32,
    /// Bits dropped.
    pub shift: u32,
    /// Smallest result, 0 for a rectifier.
    pub lo: i32,
    /// Largest result; `hi - lo + 1` is a power of two, at least 2 and below `2^(in_bits - shift)`.
    pub hi: i32,
    /// Width of the output ring, 1..=32.
    pub out_bits: u32,
    /// How the dropped bits count.
    pub rounding: Rounding,
}

/// A supported specification with its digits and its circuit.
///
/// The sum `u = y + c - lo 2^shift`, rounding included, has three parts: `low` (`shift` bits, exact only), `mid` (the
/// result's bits) and `top`. With carries `k` out of low and `w` out of mid the result is
///
/// `lo + inside (y_mid + c_mid + k - 2^m w - max) + max positive`,  `max = hi - lo = 2^m - 1`,
///
/// where `inside` says that all bits of `top` are zero and `positive` that the highest is. The products of `inside` with
/// `k` and `w` are taken modulo 2, with `y_mid` and `c_mid` as module `select` does. A plain rectifier, which neither
/// drops bits nor saturates, is `inside (y + c)` with `inside = positive`, and needs no other digits than those of the sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relu {
    spec: ReluSpec,
    mid_bits: u32,
    plain: bool,
    pub(super) digits: Vec<Digit>,
    pub(super) circuit: Circuit,
    /// Bits that become ring words: first those that `inside` is multiplied with. None in a plain rectifier.
    pub(super) words: Vec<Word>,
    pub(super) inside: Wire,
}

/// A bit that becomes a ring word of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) wire: Wire,
    /// Whether `inside` is multiplied with it first.
    pub(super) gated: bool,
    /// What it counts in the result.
    pub(super) weight: u32,
    /// Width of the words: with `weight`, that of the output ring.
    pub(super) bits: u32,
}

impl Relu {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`CompareError::Unsupported`] with the parameter that is out of range.
    pub fn new(spec: ReluSpec) -> Result<Self, CompareError> {
        let require =
            |what, got: i64, ok| if ok { Ok(()) } else { Err(CompareError::Unsupported { what, got }) };
        require("in_bits", spec.in_bits.into(), (2..=32).contains(&spec.in_bits))?;
        require("out_bits", spec.out_bits.into(), (1..=32).contains(&spec.out_bits))?;
        require("shift", spec.shift.into(), spec.shift < spec.in_bits)?;
        let range = i64::from(spec.hi) - i64::from(spec.lo) + 1;
        require("hi - lo + 1", range, range >= 2 && range & (range - 1) == 0)?;
        let mid_bits = range.trailing_zeros();
        require("hi - lo + 1", range, mid_bits < spec.in_bits - spec.shift)?;
        let keeps_all = spec.shift == 0 && spec.lo == 0 && mid_bits == spec.in_bits - 1;
        if keeps_all && spec.out_bits <= spec.in_bits {
            Ok(Self::plain(spec, mid_bits))
        } else {
            Ok(Self::lay_out(spec, mid_bits))
        }
    }

    /// The parameters.
    #[must_use]
    pub fn spec(&self) -> &ReluSpec {
        &self.spec
    }

    /// The largest accumulator for which the result is as specified: `-lo 2^shift`, and what rounding adds, must not
    /// leave the ring. The smallest is `-2^(in_bits - 1)`, less by `-lo 2^shift` where `lo > 0`.
    #[must_use]
    pub fn largest(&self) -> i64 {
        (1_i64 << (self.spec.in_bits - 1)) - 1 - self.offset()
    }

    /// What the server adds to its share.
    pub(super) fn offset(&self) -> i64 {
        let unit = 1_i64 << self.spec.shift;
        let rounding = match self.spec.rounding {
            Rounding::Exact => unit >> 1,
            Rounding::Stochastic if self.spec.shift == 0 => 0,
            Rounding::Stochastic => unit,
        };
        rounding - i64::from(self.spec.lo) * unit
    }

    /// What the server's word contributes to the product with `inside`.
    pub(super) fn server_word(&self, y: u32) -> u32 {
        if self.plain { y } else { self.mid(y).wrapping_sub(self.max()) }
    }

    /// What the client's words contribute to the product with `inside`.
    pub(super) fn client_words(&self, c: &[u32]) -> Zeroizing<Vec<u32>> {
        Zeroizing::new(c.iter().map(|c| if self.plain { *c } else { self.mid(*c) }).collect())
    }

    /// The bits of `mid` of a word.
    fn mid(&self, word: u32) -> u32 {
        word >> self.spec.shift & self.max()
    }

    /// `hi - lo`.
    pub(super) fn max(&self) -> u32 {
        ((1_u64 << self.mid_bits) - 1) as u32
    }

    /// The bits of `top` of `-(y >> ..)`, at their place.
    pub(super) fn negated_top(&self, y: u32) -> u32 {
        let at = self.spec.shift + self.mid_bits;
        (y >> at).wrapping_neg() << at
    }

    /// The highest bit of the input ring.
    pub(super) fn sign_bit(&self) -> u32 {
        self.spec.in_bits - 1
    }

    /// The words that are products with `inside`.
    pub(super) fn gated(&self) -> impl Iterator<Item = &Word> {
        self.words.iter().take_while(|word| word.gated)
    }

    /// Widths of all products of bits, in the order in which triples are consumed; the last are those with `inside`.
    pub(super) fn products(&self) -> impl Iterator<Item = usize> {
        self.circuit.widths().chain(std::iter::once(self.gated().count()))
    }

    /// Bits of the client's share that are choices of OTs.
    pub(super) fn choice_bits(&self) -> usize {
        self.digits.iter().map(|digit| digit.bits as usize).sum()
    }

    /// Wires that the digits supply; the sign's sum modulo 2 is one more.
    pub(super) fn digit_wires(&self) -> usize {
        self.digits.iter().map(|digit| digit.asked.len()).sum()
    }

    fn plain(spec: ReluSpec, mid_bits: u32) -> Self {
        let mut digits = Digits::default();
        let carries = digits.carries(0, mid_bits, false);
        let Digits { digits, wires: sign } = digits;
        let mut b = Builder::new(sign + 1);
        let negative = match b.chain(carries) {
            Some((carry, _)) => b.xor(sign, carry),
            None => sign,
        };
        let inside = b.not(negative);
        Self { spec, mid_bits, plain: true, digits, circuit: b.finish(), words: Vec::new(), inside }
    }

    fn lay_out(spec: ReluSpec, mid_bits: u32) -> Self {
        let exact = spec.rounding == Rounding::Exact && spec.shift > 0;
        let top_at = spec.shift + mid_bits;
        let mut digits = Digits::default();
        let low = if exact { digits.carries(0, spec.shift, false) } else { Vec::new() };
        let mid = digits.carries(spec.shift, mid_bits, exact);
        // All bits of the sum are one if the lower ones are and the sign's are not both: one more AND in depth, which
        // is free beside the low bits, and one predicate less in the digit of the sign.
        let by_sign = exact && spec.in_bits - top_at > 4;
        let (top, ones, zeros) = digits.top(top_at, spec.in_bits - top_at, by_sign);
        let Digits { digits, wires: sign } = digits;

        let mut b = Builder::new(sign + 1);
        let k = b.chain(low).map(|(g, _)| g);
        let w = match (b.chain(mid), k) {
            (Some((g, Some(p))), Some(k)) => {
                let [through] = b.and(p, [k]);
                b.xor(g, through)
            }
            (Some((g, _)), _) => g,
            // `mid` has at least one bit.
            (None, _) => sign,
        };
        let zeros = b.all(zeros).unwrap_or(sign);
        let (g, p) = b.chain(top).unwrap_or((sign, None));
        let ones = match p {
            Some(p) if by_sign => b.and(p, [sign])[0],
            _ => b.all(ones).unwrap_or(sign),
        };
        let change = b.xor(zeros, ones);
        let [changed, through] = b.and(w, [change, p.unwrap_or(sign)]);
        let inside = b.xor(zeros, changed);
        let carry = b.xor(g, through);
        let negative = b.xor(sign, carry);
        let positive = b.not(negative);
        // `k`, `-2^m w` where it is not zero in the output ring, `max positive`.
        let gated = |wire, shift: u32| Word {
            wire,
            gated: true,
            weight: if shift == 0 { 1 } else { (1_u32 << shift).wrapping_neg() },
            bits: spec.out_bits.saturating_sub(shift),
        };
        let mut words: Vec<Word> = k.map(|k| gated(k, 0)).into_iter().chain([gated(w, mid_bits)]).collect();
        words.retain(|word| word.bits > 0);
        let weight = ((1_u64 << mid_bits) - 1) as u32;
        words.push(Word { wire: positive, gated: false, weight, bits: spec.out_bits });
        Self { spec, mid_bits, plain: false, digits, circuit: b.finish(), words, inside }
    }
}

/// Digits so far, and the wires they supply.
#[derive(Default)]
struct Digits {
    digits: Vec<Digit>,
    wires: usize,
}

impl Digits {
    /// A digit; its first wire.
    fn push(&mut self, (at, bits): (u32, u32), asked: Vec<Predicate>) -> Wire {
        let first = self.wires;
        self.wires += asked.len();
        self.digits.push(Digit { at, bits, asked });
        first
    }

    /// Digits of which only the carry out matters; `carry_in` if one comes in.
    fn carries(&mut self, at: u32, bits: u32, carry_in: bool) -> Vec<Carry> {
        let mut carries = Vec::new();
        for (i, place) in Digit::split(at, bits).enumerate() {
            carries.push(if i == 0 && !carry_in {
                (self.push(place, vec![Generate]), None)
            } else {
                let first = self.push(place, vec![Generate, Propagate]);
                (first, Some(first + 1))
            });
        }
        carries
    }

    /// The digits of `top`: carries into the highest bit, and per digit whether all bits of the sum are one without
    /// a carry in (not if `by_sign`), and whether all are zero.
    fn top(&mut self, at: u32, bits: u32, by_sign: bool) -> (Vec<Carry>, Vec<Wire>, Vec<Wire>) {
        let (mut carries, mut ones, mut zeros) = (Vec::new(), Vec::new(), Vec::new());
        let places = Digit::split(at, bits);
        let last = places.len() - 1;
        for (i, place) in places.enumerate() {
            let (g, p) = if i == last && by_sign {
                let first = self.push(place, vec![LowCarry, LowPropagate, Equal]);
                (first, first + 1)
            } else if i == last {
                let first = self.push(place, vec![LowCarry, LowPropagate, Propagate, Equal]);
                ones.push(first + 2);
                (first, first + 1)
            } else {
                let first = self.push(place, vec![Generate, Propagate, Equal]);
                ones.push(first + 1);
                (first, first + 1)
            };
            zeros.push(self.wires - 1);
            carries.push((g, Some(p)));
        }
        (carries, ones, zeros)
    }
}
