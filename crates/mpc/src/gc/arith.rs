//! Integers on bit vectors: two's complement, least significant bit first.
//!
//! A non-negative value of `n` bits is a vector of `n + 1` bits with a constant 0 on top; constants fold. AND gates
//! of unknown operands of `n` bits: addition and subtraction `n - 1`, comparison `n`, selection `n`.

use super::builder::{Bit, Builder, Number, ONE, ZERO};

impl Builder {
    /// `a + b mod 2^n` for operands of `n` bits.
    #[must_use]
    pub fn add(&mut self, a: &[Bit], b: &[Bit]) -> Vec<Bit> {
        self.add_with_carry(a, b, ZERO)
    }

    /// `a - b mod 2^n` for operands of `n` bits.
    #[must_use]
    pub fn sub(&mut self, a: &[Bit], b: &[Bit]) -> Vec<Bit> {
        let b: Vec<Bit> = b.iter().map(|b| !*b).collect();
        self.add_with_carry(a, &b, ONE)
    }

    /// `a < b` for signed operands of `n` bits.
    #[must_use]
    pub fn less(&mut self, a: &[Bit], b: &[Bit]) -> Bit {
        // Unsigned comparison after an exchange of the halves: flip both top bits; a < b iff a - b borrows.
        let top = a.len() - 1;
        let mut carry = ONE;
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            let flip = Bit::Const(i == top);
            let (a, b) = (self.xor(*a, flip), self.xor(!*b, flip));
            carry = self.carry(a, b, carry);
        }
        !carry
    }

    /// `a` if `s`, else `b`.
    #[must_use]
    pub fn mux(&mut self, s: Bit, a: &[Bit], b: &[Bit]) -> Vec<Bit> {
        a.iter().zip(b).map(|(a, b)| self.select(s, *a, *b)).collect()
    }

    /// The larger of two signed operands.
    #[must_use]
    pub fn max(&mut self, a: &[Bit], b: &[Bit]) -> Vec<Bit> {
        let less = self.less(a, b);
        self.mux(less, b, a)
    }

    /// Whether any bit is 1.
    #[must_use]
    pub fn any(&mut self, bits: &[Bit]) -> Bit {
        bits.iter().fold(ZERO, |any, b| self.or(any, *b))
    }

    /// `min(max(v, lo), hi)` for signed `v`, on as few bits as the result's range needs. `lo <= hi`.
    ///
    /// When `hi = 2^b - 1` and `lo` is 0 or `-2^b`, which is what rescaling to `b` bits asks for, one test of the
    /// bits above serves both ends; otherwise each end costs a comparison and a selection.
    #[must_use]
    pub fn clamp(&mut self, v: &[Bit], lo: i64, hi: i64) -> Vec<Bit> {
        let top = v.len() - 1;
        let (min, max) = (-(1_i64 << top), (1_i64 << top) - 1);
        if hi <= min || lo >= max || lo == hi {
            let only = if lo >= max { lo } else { hi };
            return constant(only, signed_width(only, only));
        }
        let (lo, hi) = (lo.max(min), hi.min(max));
        let width = signed_width(lo, hi);
        let (sign, kept) = (v[top], width - 1);
        let full = hi == (1 << kept) - 1;
        if full && hi < max && (lo == 0 || lo == -(1 << kept)) {
            let fill = if lo == 0 { ZERO } else { sign };
            let above: Vec<Bit> = v[kept..=top].iter().map(|b| self.xor(*b, fill)).collect();
            let saturated = self.any(&above);
            let mut out: Vec<Bit> = v[..kept].iter().map(|b| self.select(saturated, !sign, *b)).collect();
            out.push(fill);
            return out;
        }
        let mut out = v[..width.min(v.len())].to_vec();
        if hi < max {
            let bound = constant(hi, v.len());
            let above = self.less(&bound, v);
            out = self.mux(above, &constant(hi, width), &out);
        }
        if lo > min {
            let below = self.less(v, &constant(lo, v.len()));
            out = self.mux(below, &constant(lo, width), &out);
        }
        if lo >= 0 {
            out[width - 1] = ZERO;
        }
        out
    }

    /// As [`clamp`](Self::clamp), as a sum of bits: `v` where it lies within the bounds, selected by one bit that takes as
    /// many ANDs as the tests of the bounds, and the bound that it exceeds elsewhere.
    #[must_use]
    pub fn clamp_number(&mut self, v: &[Bit], lo: i64, hi: i64) -> Number {
        let top = v.len() - 1;
        let (min, max) = (-(1_i64 << top), (1_i64 << top) - 1);
        if hi <= min || lo >= max || lo == hi || (lo <= min && hi >= max) {
            return Number::signed(&self.clamp(v, lo, hi));
        }
        let (lo, hi) = (lo.max(min), hi.min(max));
        let width = signed_width(lo, hi);
        let (sign, kept) = (v[top], width - 1);
        if hi == (1 << kept) - 1 && hi < max && (lo == 0 || lo == -(1 << kept)) {
            // One test of the bits above for both ends. Without it, what is not negative is `hi`, the rest `lo`.
            let fill = if lo == 0 { ZERO } else { sign };
            let above: Vec<Bit> = v[kept..=top].iter().map(|b| self.xor(*b, fill)).collect();
            let within = !self.any(&above);
            let mut selected: Vec<(Bit, i64)> =
                v[..kept].iter().enumerate().map(|(i, b)| (*b, 1 << i)).collect();
            selected.push(if lo == 0 { (ONE, -hi) } else { (!sign, -hi) });
            return Number { terms: vec![(!sign, hi), (fill, lo)], selector: within, selected };
        }
        let above = if hi < max { self.less(&constant(hi, v.len()), v) } else { ZERO };
        let below = if lo > min { self.less(v, &constant(lo, v.len())) } else { ZERO };
        let kept = Number::signed(&v[..width.min(v.len())]);
        // At most one of them is 1.
        let within = !self.xor(above, below);
        Number { terms: vec![(above, hi), (below, lo)], selector: within, selected: kept.terms }
    }

    /// `k v mod 2^width` for signed `v`, by shifted additions and subtractions of the non-adjacent form of `k`.
    #[must_use]
    pub fn times(&mut self, v: &[Bit], k: i64, width: usize) -> Vec<Bit> {
        let v = extend(v, width);
        let mut sum = constant(0, width);
        let mut rest = i128::from(k);
        for shift in 0..width {
            if rest & 1 != 0 {
                let digit = 2 - (rest & 3);
                rest -= digit;
                let shifted: Vec<Bit> =
                    vec![ZERO; shift].into_iter().chain(v.iter().copied()).take(width).collect();
                sum = if digit == 1 { self.add(&sum, &shifted) } else { self.sub(&sum, &shifted) };
            }
            rest >>= 1;
        }
        sum
    }

    /// `v^2 mod 2^width` for signed `v`.
    #[must_use]
    pub fn square(&mut self, v: &[Bit], width: usize) -> Vec<Bit> {
        let u = self.magnitude(v);
        // u^2 = sum_i u_i (2^(2i) + sum_(j > i) u_j 2^(i + j + 1))
        let mut sum = constant(0, width);
        for (i, &bit) in u.iter().enumerate() {
            let mut row = constant(0, width);
            if 2 * i < width {
                row[2 * i] = bit;
            }
            for (j, &other) in u.iter().enumerate().skip(i + 1) {
                if i + j + 1 < width {
                    row[i + j + 1] = self.and(bit, other);
                }
            }
            sum = self.add(&sum, &row);
        }
        sum
    }

    /// `|v|` of a signed `v`, unsigned on the same number of bits.
    fn magnitude(&mut self, v: &[Bit]) -> Vec<Bit> {
        let sign = v[v.len() - 1];
        let flipped: Vec<Bit> = v.iter().map(|b| self.xor(*b, sign)).collect();
        self.add_with_carry(&flipped, &constant(0, v.len()), sign)
    }

    fn add_with_carry(&mut self, a: &[Bit], b: &[Bit], mut carry: Bit) -> Vec<Bit> {
        let mut sum = Vec::with_capacity(a.len());
        for (i, (&a_i, &b_i)) in a.iter().zip(b).enumerate() {
            let half = self.xor(a_i, b_i);
            sum.push(self.xor(half, carry));
            if i + 1 < a.len() {
                carry = self.carry(a_i, b_i, carry);
            }
        }
        sum
    }

    /// The majority of three bits: `c + (a + c)(b + c)`, or with a constant the AND or OR of the others, which may be
    /// known to the evaluator while their sums with `c` are not.
    fn carry(&mut self, a: Bit, b: Bit, c: Bit) -> Bit {
        match (a, b) {
            (Bit::Const(false), other) | (other, Bit::Const(false)) => return self.and(other, c),
            (Bit::Const(true), other) | (other, Bit::Const(true)) => return self.or(other, c),
            _ => {}
        }
        let (x, y) = (self.xor(a, c), self.xor(b, c));
        let product = self.and(x, y);
        self.xor(c, product)
    }
}

/// The lowest `width` bits of a number.
#[must_use]
pub(super) fn constant(value: i64, width: usize) -> Vec<Bit> {
    (0..width).map(|i| Bit::Const(value >> i.min(63) & 1 == 1)).collect()
}

/// Sign extension or truncation to `width` bits.
#[must_use]
pub(super) fn extend(v: &[Bit], width: usize) -> Vec<Bit> {
    (0..width).map(|i| v[i.min(v.len() - 1)]).collect()
}

/// Bits of two's complement that hold all of `lo..=hi`.
#[must_use]
pub(super) fn signed_width(lo: i64, hi: i64) -> usize {
    let bits = |x: i64| 65 - (x ^ (x >> 63)).leading_zeros() as usize;
    bits(lo).max(bits(hi))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bools(value: i64, width: usize) -> Vec<bool> {
        (0..width).map(|i| value >> i & 1 == 1).collect()
    }

    fn signed(bits: &[bool]) -> i64 {
        let raw = bits.iter().enumerate().fold(0, |v, (i, b)| v | i64::from(*b) << i);
        raw << (64 - bits.len()) >> (64 - bits.len())
    }

    /// Builds a circuit on two operands of `width` bits and runs it.
    fn run(
        width: usize,
        a: i64,
        b: i64,
        f: impl FnOnce(&mut Builder, &[Bit], &[Bit]) -> Vec<Bit>,
    ) -> (i64, usize) {
        let mut builder = Builder::new(width, width);
        let (x, y) = (builder.garbler(0, width), builder.evaluator(0, width));
        let out = f(&mut builder, &x, &y);
        let circuit = builder.finish(&out);
        (signed(&circuit.eval(&bools(a, width), &bools(b, width))), circuit.and_count())
    }

    fn wrap(v: i64, width: usize) -> i64 {
        v << (64 - width) >> (64 - width)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn ring_operations(width in 2_usize..=32, a: i64, b: i64) {
            let (a, b) = (wrap(a, width), wrap(b, width));
            prop_assert_eq!(run(width, a, b, |c, x, y| c.add(x, y)), (wrap(a.wrapping_add(b), width), width - 1));
            prop_assert_eq!(run(width, a, b, |c, x, y| c.sub(x, y)), (wrap(a.wrapping_sub(b), width), width - 1));
            prop_assert_eq!(run(width, a, b, |c, x, y| vec![c.less(x, y), ZERO]), (i64::from(a < b), width));
            prop_assert_eq!(run(width, a, b, |c, x, y| c.max(x, y)), (a.max(b), 2 * width));
        }

        #[test]
        fn clamps(width in 2_usize..=24, a: i64, lo in -300_i64..300, span in 0_i64..600) {
            let a = wrap(a, width);
            let hi = lo + span;
            for (lo, hi) in [(lo, hi), (0, hi.max(0)), (0, 255), (-128, 127), (-64, 127), (0, 127), (-1, 0)] {
                let (out, ands) = run(width, a, 0, |c, x, _| c.clamp(x, lo, hi));
                prop_assert_eq!(out, a.clamp(lo, hi), "clamp {} to {}..={}", a, lo, hi);
                prop_assert!(ands <= 4 * width);
                let mut builder = Builder::new(width, 0);
                let number = builder.garbler(0, width);
                let number = builder.clamp_number(&number, lo, hi);
                let circuit = builder.finish_word(&number, 32);
                prop_assert_eq!(signed(&circuit.eval(&bools(a, width), &[])), a.clamp(lo, hi), "{}..={}", lo, hi);
                prop_assert!(circuit.and_count() <= ands.min(2 * width));
            }
        }

        #[test]
        fn products(width in 2_usize..=10, out in 2_usize..=30, a: i64, k in -1000_i64..1000) {
            let a = wrap(a, width);
            prop_assert_eq!(run(width, a, 0, |c, x, _| c.times(x, k, out)).0, wrap(a * k, out));
            prop_assert_eq!(run(width, a, 0, |c, x, _| c.square(x, out)).0, wrap(a * a, out));
        }
    }

    #[test]
    fn gate_counts_of_the_clamps() {
        let count = |width, lo, hi| run(width, 0, 0, |c, x, _| c.clamp(x, lo, hi)).1;
        assert_eq!(count(16, 0, 255), 15);
        assert_eq!(count(16, -128, 127), 14);
        assert_eq!(count(9, 0, 255), 8, "sign only");
        assert_eq!(count(8, -128, 127), 0, "nothing to do");
        assert_eq!(count(12, 5, 5), 0);
    }

    #[test]
    fn widths() {
        assert_eq!(signed_width(0, 0), 1);
        assert_eq!(signed_width(-1, 0), 1);
        assert_eq!(signed_width(0, 1), 2);
        assert_eq!(signed_width(-128, 127), 8);
        assert_eq!(signed_width(0, 255), 9);
        assert_eq!(signed_width(-129, 0), 9);
        assert_eq!(signed_width(i64::MIN, i64::MAX), 64);
    }
}
