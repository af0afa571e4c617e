//! The circuits of the protocols: a non-linear layer on shares, and arg-max.

use super::arith::{constant, extend};
use super::builder::{Bit, Builder};
use super::circuit::Circuit;
use super::error::GcError;

/// `clamp(c2 z^2 + c1 z + c0 + half) >> shift, lo, hi)` with `half = 2^(shift - 1)`, or 0 if `shift = 0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuadraticSpec {
    /// Coefficient of the square.
    pub c2: i32,
    /// Coefficient of the value.
    pub c1: i32,
    /// Constant term.
    pub c0: i32,
    /// Bits dropped, at most 31.
    pub shift: u32,
    /// Smallest result.
    pub lo: i32,
    /// Largest result.
    pub hi: i32,
}

/// A non-linear layer's element, public parameters only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ActSpec {
    /// Width of the input ring, 2..=32.
    pub in_bits: u32,
    /// Values of which the maximum is taken, 1 if there is no pooling.
    pub window: usize,
    /// Bits dropped, below `in_bits`.
    pub shift: u32,
    /// Smallest result.
    pub lo: i32,
    /// Largest result.
    pub hi: i32,
    /// A polynomial on the result.
    pub quadratic: Option<QuadraticSpec>,
    /// Width of the output ring, 1..=32.
    pub out_bits: u32,
}

/// Largest window: 32 by 32.
const MAX_WINDOW: usize = 1024;

/// The circuit of `z - r` with `z = clamp(max_j(v_j) >> shift, lo, hi)`, `v_j = y_j + c_j` signed modulo
/// `2^in_bits`, followed by the quadratic if there is one.
///
/// Garbler's inputs: `y_j`, `in_bits` each, *with the rounding constant `2^(shift - 1)` already added* (`shift = 0`
/// adds nothing): the maximum commutes with adding a constant, and the plan proves that nothing overflows.
/// Evaluator's inputs: `c_j`, `in_bits` each, then `r` on `out_bits`. Outputs: `z - r mod 2^out_bits`.
///
/// ANDs for one value of `l` bits, clamp to `0..2^b`, output width `l'`: `(l - 1) + (l - shift - 1) + (l' - 1)`, of
/// which `1 + 1 + (l' - 1 - b)` are with a bit that the evaluator knows and cost half. [`act_shared`] is cheaper.
///
/// # Errors
/// [`GcError::Spec`] if a parameter is out of range.
pub fn act(spec: &ActSpec) -> Result<Circuit, GcError> {
    let out_bits = spec.out_bits as usize;
    let (mut b, [lo, hi], v) = activation(spec, out_bits)?;
    let z = b.clamp(&v, lo, hi);
    let mask = b.evaluator(spec.window * spec.in_bits as usize, out_bits);
    let out = b.sub(&extend(&z, out_bits), &mask);
    Ok(b.finish(&out))
}

/// As [`act`], with `z` modulo `2^out_bits` left in additive shares of garbler and evaluator, and no mask among the
/// inputs: an evaluator that subtracts its mask `r` from its share and sends the difference has the garbler learn
/// `z - r`, as with [`act`]. The difference must be sent, never the share itself, which would reveal `z`.
///
/// ANDs: `(l - 1) + (l - shift - b - 1)`; further bytes: `2 b + 2` words of `out_bits` bits.
///
/// # Errors
/// As [`act`].
pub fn act_shared(spec: &ActSpec) -> Result<Circuit, GcError> {
    let (mut b, [lo, hi], v) = activation(spec, 0)?;
    let z = b.clamp_number(&v, lo, hi);
    Ok(b.finish_word(&z, spec.out_bits))
}

/// The signed result before the last clamp, and that clamp's bounds, in a builder that has `more` further inputs of the
/// evaluator.
fn activation(spec: &ActSpec, more: usize) -> Result<(Builder, [i64; 2], Vec<Bit>), GcError> {
    let l = spec.in_bits as usize;
    require("in_bits", spec.in_bits.into(), (2..=32).contains(&l))?;
    require("out_bits", spec.out_bits.into(), (1..=32).contains(&spec.out_bits))?;
    require("window", spec.window as i64, (1..=MAX_WINDOW).contains(&spec.window))?;
    require("shift", spec.shift.into(), spec.shift < spec.in_bits)?;
    require("hi", spec.hi.into(), spec.lo <= spec.hi)?;
    let mut b = Builder::new(spec.window * l, spec.window * l + more);
    let values: Vec<Vec<Bit>> = (0..spec.window).map(|j| b.reveal(j, l)).collect();
    let largest = tournament(values, |l, r| b.max(&l, &r));
    let shifted = &largest[spec.shift as usize..];
    let (lo, hi) = (spec.lo.into(), spec.hi.into());
    if let Some(quadratic) = &spec.quadratic {
        require("quadratic shift", quadratic.shift.into(), quadratic.shift < 32)?;
        require("quadratic hi", quadratic.hi.into(), quadratic.lo <= quadratic.hi)?;
        let z = b.clamp(shifted, lo, hi);
        let value = b.quadratic(&z, lo, hi, quadratic);
        return Ok((b, [quadratic.lo.into(), quadratic.hi.into()], value));
    }
    Ok((b, [lo, hi], shifted.to_vec()))
}

/// The index of the largest of `n` signed shared values of `bits` bits, the lowest index of equals, on
/// `ceil(log2 n)` bits.
///
/// Inputs: the garbler's and the evaluator's shares, value after value. Depth `log2 n` comparisons.
///
/// # Errors
/// [`GcError::Spec`] if `bits` is not in 2..=32 or `n` is not in `1..=2^20`.
pub fn argmax(bits: u32, n: usize) -> Result<Circuit, GcError> {
    let l = bits as usize;
    require("bits", bits.into(), (2..=32).contains(&l))?;
    require("n", n as i64, (1..=1 << 20).contains(&n))?;
    let index_bits = n.next_power_of_two().trailing_zeros() as usize;
    let mut b = Builder::new(n * l, n * l);
    let entries = (0..n).map(|i| (b.reveal(i, l), constant(i as i64, index_bits))).collect();
    let (_, index) = tournament(entries, |(left, i), (right, j)| {
        let less = b.less(&left, &right);
        (b.mux(less, &right, &left), b.mux(less, &j, &i))
    });
    Ok(b.finish(&index))
}

impl Builder {
    /// The value number `j` that the parties share additively on `l` bits.
    fn reveal(&mut self, j: usize, l: usize) -> Vec<Bit> {
        let (y, c) = (self.garbler(j * l, l), self.evaluator(j * l, l));
        self.add(&y, &c)
    }

    /// The polynomial before its clamp.
    fn quadratic(&mut self, z: &[Bit], lo: i64, hi: i64, q: &QuadraticSpec) -> Vec<Bit> {
        let half = if q.shift == 0 { 0 } else { 1_i128 << (q.shift - 1) };
        let offset = i128::from(q.c0) + half;
        // Bounds by intervals of the terms; magnitudes stay below 2^95.
        let corners = |c: i32, a: i128, b: i128| {
            let (x, y) = (i128::from(c) * a, i128::from(c) * b);
            (x.min(y), x.max(y))
        };
        let (lo, hi) = (i128::from(lo), i128::from(hi));
        let smallest_square = if lo <= 0 && hi >= 0 { 0 } else { (lo * lo).min(hi * hi) };
        let (square_lo, square_hi) = corners(q.c2, smallest_square, (lo * lo).max(hi * hi));
        let (linear_lo, linear_hi) = corners(q.c1, lo, hi);
        let width = width_of(square_lo + linear_lo + offset, square_hi + linear_hi + offset);
        let square = self.square(z, width);
        let square = self.times(&square, q.c2.into(), width);
        let linear = self.times(z, q.c1.into(), width);
        let sum = self.add(&square, &linear);
        let offset: Vec<Bit> = (0..width).map(|i| Bit::Const(offset >> i & 1 == 1)).collect();
        let sum = self.add(&sum, &offset);
        let kept = sum.get(q.shift as usize..).filter(|s| !s.is_empty()).unwrap_or(&sum[width - 1..]);
        kept.to_vec()
    }
}

/// Bits of two's complement for an interval of wide integers.
fn width_of(lo: i128, hi: i128) -> usize {
    let bits = |x: i128| 129 - (x ^ (x >> 127)).leading_zeros() as usize;
    bits(lo).max(bits(hi))
}

/// Folds neighbours pairwise until one is left.
fn tournament<T>(mut entries: Vec<T>, mut join: impl FnMut(T, T) -> T) -> T {
    while entries.len() > 1 {
        let mut next = Vec::with_capacity(entries.len().div_ceil(2));
        let mut iter = entries.into_iter();
        while let Some(left) = iter.next() {
            next.push(match iter.next() {
                Some(right) => join(left, right),
                None => left,
            });
        }
        entries = next;
    }
    #[expect(clippy::expect_used, reason = "both callers pass at least one entry")]
    entries.pop().expect("at least one entry")
}

fn require(what: &'static str, got: i64, ok: bool) -> Result<(), GcError> {
    if ok { Ok(()) } else { Err(GcError::Spec { what, got }) }
}

#[cfg(test)]
mod tests;
