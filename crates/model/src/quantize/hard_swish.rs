//! `hswish(x) = x clamp(x + 3, 0, 6) / 6` (Howard et al., *Searching for MobileNetV3*, ICCV 2019, section 5.2) of two
//! activations that exist, without a product of two values.
//!
//! With `u = clamp(x, -3, 3)`
//!
//! `hswish(x) = (u^2 / 6 + u / 2 - 3) + clamp(x, 3, inf)`:
//!
//! a *curve*, which is a polynomial of degree two on a clamped value, and a *line*, whose sum each party takes alone. In
//! integers with a step `s = 3 2^-k` the clamp keeps a power of two of levels `[-2^k, 2^k - 1]`, so that a comparison can
//! saturate there, the square has the coefficient `2^-(k+1)`, and both parts meet at `u = 2^k - 1` exactly: the curve rounds to
//! zero there. A step of any other form gives the same function with thresholds at the nearest integers. Where all sampled
//! arguments are small, the step is finer and the clamp tighter than the knee: the line goes on from there.

use super::{QuantizeError, scale};
use crate::fixed::{Act, Rescale};

/// Where the function turns into the identity; its negative is where it leaves zero.
pub(super) const KNEE: f64 = 3.0;

/// Smallest steps of argument and result, for magnitudes of both and activations of `bits` bits.
pub(super) fn least_steps([argument, result]: [f64; 2], bits: u32) -> [f64; 2] {
    let signed = f64::from(1 << (bits - 1));
    [argument.min(KNEE) / signed, (result - KNEE).max(0.0) / (2.0 * signed - 1.0)]
}

/// The next step of the form `3 2^-k`.
pub(super) fn pinned(step: f64, slack: f64) -> f64 {
    KNEE * ((step / KNEE).log2() - slack).ceil().exp2()
}

/// Levels on each side of zero of the clamped argument of step `u`.
fn levels(u: f64, bits: u32) -> i32 {
    (KNEE / u).round().clamp(2.0, f64::from(1 << (bits - 1))) as i32
}

/// Smallest integer of the line for steps `u` of the argument and `z` of the result.
fn start([u, z]: [f64; 2], bits: u32) -> i32 {
    (f64::from(levels(u, bits) - 1) * u / z).round() as i32
}

/// The curve, for activations of `bits` bits: `shift` drops the accumulator to an argument of step `u`; results have the
/// step `z`.
pub(super) fn curve(shift: u32, [u, z]: [f64; 2], bits: u32, node: &str) -> Result<Act, QuantizeError> {
    let (start, levels) = (start([u, z], bits), levels(u, bits));
    let coefficients = [-f64::from(start) * z, 0.5, 1.0 / (2.0 * KNEE)];
    let mut quadratic = scale::quadratic(coefficients, u, z, bits)
        .ok_or_else(|| QuantizeError::Width { node: node.to_owned(), bits: 33 })?;
    // The least value is that of the parabola's vertex, -3/8 below zero.
    let least = (start + (KNEE / 8.0 / z).ceil() as i32 + 1).max(1) as u32;
    (quadratic.rescale.lo, quadratic.rescale.hi) = (1 - least.next_power_of_two() as i32, 0);
    let rescale = Rescale { shift, lo: -levels, hi: levels - 1 };
    Ok(Act { max_pool: None, rescale, quadratic: Some(quadratic) })
}

/// The line, for activations of `bits` bits.
pub(super) fn line(shift: u32, steps: [f64; 2], bits: u32) -> Act {
    let lo = start(steps, bits);
    let rescale = Rescale { shift, lo, hi: lo + ((1 << bits) - 1) };
    Act { max_pool: None, rescale, quadratic: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(x: f64) -> f64 {
        x * (x + 3.0).clamp(0.0, 6.0) / 6.0
    }

    #[test]
    fn curve_and_line_are_the_function_within_one_unit() {
        for step in [3.0 / 128.0, 3.0 / 64.0, 3.0 / 16.0, 0.05, 0.031, 3.0 / 1024.0] {
            for shift in [0, 4, 9] {
                let curve = curve(shift, [step; 2], 8, "n").unwrap();
                let line = line(shift, [step; 2], 8);
                let unit = step / f64::from(1 << shift);
                // A fine step sees the curve only.
                let top = if step < KNEE / 128.0 { curve.rescale.hi } else { line.rescale.hi };
                for v in (-400..600).map(|v| v << shift) {
                    let x = v as f64 * unit;
                    let z = curve.apply(v) + line.apply(v);
                    if x < step * f64::from(top) && (x > -step * f64::from(top) || step >= KNEE / 128.0) {
                        assert!(
                            (z as f64 * step - exact(x)).abs() <= 1.01 * step,
                            "{step}, {shift}: {x} {z}"
                        );
                    }
                }
                // Where no power of two of steps makes the knee, the two parts meet within a unit.
                let pinned = (KNEE / step).log2().fract() == 0.0;
                if top == line.rescale.hi {
                    assert!((if pinned { 0 } else { -1 }..=0).contains(&curve.apply(1 << 40)));
                    assert_eq!(curve.apply(-(1 << 40)) + line.apply(-(1 << 40)), 0);
                }
            }
        }
    }

    #[test]
    fn pinned_steps_saturate_at_powers_of_two() {
        for (least, wanted) in [(3.0 / 128.0, 3.0 / 128.0), (0.03, 3.0 / 64.0), (5.0, 6.0), (3.0, 3.0)] {
            assert_eq!(pinned(least, 1e-9), wanted);
            let curve = curve(2, [wanted; 2], 8, "n").unwrap();
            for Rescale { lo, hi, .. } in [curve.rescale, curve.quadratic.unwrap().rescale] {
                let levels = hi - lo + 1;
                assert!(wanted > 1.0 || levels.count_ones() == 1, "{wanted}: {lo}..{hi}");
            }
            if wanted < 1.0 {
                assert_eq!(curve.quadratic.unwrap().c2.count_ones(), 1);
            }
        }
    }
}
