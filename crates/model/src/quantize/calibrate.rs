//! Ranges of values over the samples.
//!
//! Quantiles come from a histogram of magnitudes by the upper half of their floating-point word, so bins are at most
//! 1/128 wide relative to the value, one pass suffices, and partial counts add up in any order to the same result.

use rayon::prelude::*;

use super::{Calibration, QuantizeError};
use crate::fixed::Preprocess;
use crate::float::Graph;

/// What a value was in the samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    /// Smallest value.
    pub(super) lo: f64,
    /// Largest value.
    pub(super) hi: f64,
    /// The calibrated magnitude that should be representable.
    pub(super) magnitude: f64,
}

/// One per node. The input's range includes everything that pre-processing can make of an 8-bit image.
pub(super) fn ranges(
    graph: &Graph,
    samples: &[Vec<f32>],
    preprocess: &Preprocess,
    calibration: Calibration,
) -> Result<Vec<Range>, QuantizeError> {
    let n = graph.nodes.len();
    let empty = || vec![Histogram::new(calibration); n];
    let seen = samples
        .par_iter()
        .try_fold(empty, |mut seen, sample| -> Result<_, QuantizeError> {
            for (histogram, values) in seen.iter_mut().zip(graph.trace(sample)?) {
                histogram.add(&values);
            }
            Ok(seen)
        })
        .try_reduce(empty, |mut a, b| {
            a.iter_mut().zip(b).for_each(|(a, b)| a.merge(&b));
            Ok(a)
        })?;
    let mut ranges = Vec::with_capacity(n);
    for (node, histogram) in graph.nodes.iter().zip(&seen) {
        if !histogram.finite {
            return Err(QuantizeError::NotFinite { node: node.name.clone() });
        }
        ranges.push(histogram.range(calibration));
    }
    let (lo, hi) = preprocess.range();
    let input = &mut ranges[0];
    (input.lo, input.hi) = (input.lo.min(lo), input.hi.max(hi));
    input.magnitude = input.hi.max(-input.lo);
    Ok(ranges)
}

#[derive(Clone)]
struct Histogram {
    lo: f32,
    hi: f32,
    finite: bool,
    /// By the upper 15 bits of the magnitude's word; empty unless a quantile is wanted.
    counts: Vec<u64>,
}

impl Histogram {
    fn new(calibration: Calibration) -> Self {
        let bins = if calibration == Calibration::Max { 0 } else { 1 << 15 };
        Self { lo: f32::INFINITY, hi: f32::NEG_INFINITY, finite: true, counts: vec![0; bins] }
    }

    fn add(&mut self, values: &[f32]) {
        for &x in values {
            self.lo = self.lo.min(x);
            self.hi = self.hi.max(x);
            self.finite &= x.is_finite();
        }
        if !self.counts.is_empty() {
            values.iter().for_each(|x| self.counts[(x.abs().to_bits() >> 16) as usize] += 1);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.lo = self.lo.min(other.lo);
        self.hi = self.hi.max(other.hi);
        self.finite &= other.finite;
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
    }

    fn range(&self, calibration: Calibration) -> Range {
        let (lo, hi) = (f64::from(self.lo), f64::from(self.hi));
        let largest = hi.max(-lo);
        let magnitude = match calibration {
            Calibration::Max => largest,
            Calibration::Quantile(q) => self.quantile(q).min(largest),
        };
        Range { lo, hi, magnitude }
    }

    /// Upper end of the first bin at which the fraction `q` of all values is reached.
    fn quantile(&self, q: f64) -> f64 {
        let total: u64 = self.counts.iter().sum();
        let wanted = (q * total as f64).ceil() as u64;
        let mut below = 0;
        for (bin, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= wanted {
                return f32::from_bits(((bin as u32 + 1) << 16) - 1).into();
            }
        }
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_bin() {
        let calibration = Calibration::Quantile(0.9);
        let (mut a, mut b) = (Histogram::new(calibration), Histogram::new(calibration));
        let values: Vec<f32> = (1..=1000).map(|i| if i % 2 == 0 { i as f32 } else { -i as f32 }).collect();
        a.add(&values[..300]);
        b.add(&values[300..]);
        a.merge(&b);
        let range = a.range(calibration);
        assert_eq!((range.lo, range.hi), (-999.0, 1000.0));
        assert!((900.0..=908.0).contains(&range.magnitude), "{range:?}");
        assert_eq!(a.range(Calibration::Max).magnitude, 1000.0);
        assert_eq!(a.range(Calibration::Quantile(1.0)).magnitude, 1000.0);
    }
}
