//! The proof that an inference decrypts correctly and hides the weights.
//!
//! Write sigma^2 = 10.5 for the variance of the errors (CBD(21) is sub-Gaussian with exactly this parameter:
//! E exp(t e) = cosh(t/2)^42 <= exp(10.5 t^2 / 2)), w for the weights of one coefficient of the result,
//! W_1 and W_2 for public bounds of their l1 and l2 norms, s for the ternary secret. The flood is the sum of three
//! uniform integers of [0, K), centred.
//! Encoding a message x leaves round(q x / 2^l) = q x / 2^l + delta(x), |delta| <= 1/2. The phase of a result
//! y = w r - s' modulo 2^l (mask s') before switching is
//!
//! ```text
//! q y / 2^l + delta(y) + N + flood,
//! N = w e + [w delta(r) - delta(s') - delta(y)] + (e_pk u + e_0 + e_1 s).
//! ```
//!
//! **Correctness.** Switching scales this by 2^(l+g) / q, which makes a step of the message 2^g units, and adds the
//! rounding errors of c_0, at most 2^(g-g_0-1), and of c_1 s: independent, uniform on [-1/2, 1/2] (c_1 is
//! pseudo-random), hence sub-Gaussian with parameter |s|^2 / 12. |s|^2 <= 2n/3 + 4 sqrt(n) but for
//! exp(-32) < 2^-46 of all keys (Hoeffding). N is, up to the constant 1 and the mean 2^-(l+1) W_1 of delta(r), a sum
//! of independent sub-Gaussian terms with parameter (sigma^2 + 1/4) W_2^2 + sigma^2 (2n + 1). Each of the two exceeds
//! `tail` times the root of its parameter with probability 2 exp(-tail^2 / 2); over all C coefficients of an inference
//! the choice `tail^2 = 2 ln(4 C 2^41)` leaves 2^-41, together with the bad keys less than 2^-40. Decryption is right
//! if all these bounds, the fixed-point error and half the width of the flood, (3 K / 2) 2^(l+g) / q, stay below
//! 2^(g-1). K is the largest power of two that does, g_0 the smallest that does not make it smaller.
//!
//! **Hiding.** Compare the client's view with one in which N is missing. Both are the same function of
//! (everything else, N + flood), so given everything else that N depends on (the honest client's errors, keys and
//! masks, the server's u, e_0, e_1; the client may know all of it) their distance is at most that of N + flood from
//! flood, for fixed integers N, independently in every coefficient. Let p be the distribution of one coefficient's
//! flood and g = sqrt(p). For x < K, p(x) = (x+1)(x+2) / (2 K^3), and
//! `(g(x) - g(x-1))^2 <= (p(x) - p(x-1))^2 / (p(x) + p(x-1)) = 1 / K^3` exactly, K terms at either end of the support;
//! in the K - 1 steps between, p(x) - p(x-1) = (K - 2 - 2j) / K^3 for j = 0, .., K - 2, whose squares add up to at most
//! 1 / (3 K^3), and p(x) + p(x-1) > 1 / K. Hence `sum_x (g(x) - g(x-1))^2 <= 7 / (3 K^2)`; a shift by N is |N| steps, so
//! that by the triangle inequality the affinity of the two is at least `1 - (7/6) N^2 / K^2`. Affinities multiply over
//! coefficients, statistical distance is at most sqrt(2 (1 - affinity)), and by Jensen's inequality
//!
//! ```text
//! distance <= E sqrt(7/3 sum N^2 / K^2) <= sqrt(7/3 sum n_i M_i^2 / K_i^2),      where E N^2 <= M^2,
//! M = sqrt(sigma^2 + 1/6) W_2 + 2^-(l+1) W_1 + 1 + sqrt(sigma^2 (4n/3 + 1))
//! ```
//!
//! over the layers i of an inference with n_i coefficients returned each. It grows with the root of their number, where
//! the distances of uniform floods would add up: for 2^20 coefficients that is worth eight bits of q.
//!
//! In the view without N the phase depends on y only, and c_1 = (..) + a u + e_1 is indistinguishable from uniform
//! under RLWE with the secret u, which nothing else depends on any more. Dropping unwanted coefficients, packing
//! and switching act on the view. Hence for two weight tensors that agree in what the client may know, statistical
//! distance at most twice that (beside RLWE); [`prove`] requires 2^-40.
//!
//! **Cut requests** ([`CutBody`](crate::CutBody)) without t low bits add the errors of these bits to e: functions of the
//! bodies, which nobody without s can tell from uniform ones. Whether their sum with the weights exceeds a bound, and what
//! it contributes to the distance, can be computed from bodies and weights alone; so both are, but for the advantage
//! against RLWE, what they are for uniform bodies: independent errors uniform on an interval of width 2^t (up to 2^t / q),
//! sub-Gaussian with parameter 4^t / 12, with mean -1/2 at most. This adds 4^t / 12 W_2^2 to the parameter of N, and
//! W_1 / 2 + 2^t W_2 / sqrt(12) to M.
//!
//! **Packing** ([`pack`](mod@crate::pack)) with k levels leaves message, noise and flood as they are and adds the noise
//! of key switches. The one at level t has coefficients `sum_i (d_i e_i)`, with digits |d_i| <= p_i / 2 that depend
//! on the uniform halves of requests and keys and on u, w and e_1, but on no body of anything, hence not on the
//! errors e_i of the keys of this level: given the digits it is sub-Gaussian with parameter
//! `K = sigma^2 n sum_i p_i^2 / 4`. A coefficient of the packed ciphertext collects one switch per level, of which the
//! levels t - 1, .., 0 after it double that of level t; the levels have keys of their own. So the sum has parameter
//! `K (1 + 4 + .. + 4^(k-1)) = K (4^k - 1) / 3`, given everything but the errors of these keys, and this adds to the
//! parameter of N. c_1 of a packed ciphertext is uniform, as the rounding errors of the switch require: its last key
//! switch added a combination of uniform halves of a key that nothing before it used.
//!
//! Hiding is not affected but for a smaller K: the view is that of unpacked responses with this flood, processed.

use std::fmt;

use phineus_kernel::sample::CBD_VARIANCE;
use phineus_kernel::z2k::Pow2;

use crate::galois::check_levels;
use crate::{HeError, Params, ReplySpec};

/// log2 of the allowed probability that some coefficient of an inference decrypts wrongly.
pub const LOG2_FAILURE: f64 = -40.0;
/// log2 of the allowed statistical distance of an inference.
pub const LOG2_DISTANCE: f64 = -40.0;

/// The public facts about one linear layer. What bounds the norms is the caller's business; they must hold for
/// every weight tensor that the client may have to reckon with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerInput {
    /// Coefficients returned per inference, over all responses of the layer.
    pub coefficients: usize,
    /// Bound on the l2 norm of the weights of one coefficient.
    pub w2: f64,
    /// Bound on their l1 norm.
    pub w1: f64,
    /// Ring of the layer.
    pub ring: Pow2,
}

/// What is proven of one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerProof {
    /// Degree of its parameters.
    pub degree: usize,
    /// log2 of their ciphertext modulus.
    pub log2_q: f64,
    /// The layer.
    pub input: LayerInput,
    /// Levels of packing, 0 for none.
    pub levels: u32,
    /// Low bits that its requests come without.
    pub dropped: u32,
    /// How it is flooded and switched.
    pub spec: ReplySpec,
    /// log2 of M, the bound on the root of the mean square of the noise.
    pub log2_noise: f64,
    /// log2 of its share of the statistical distance: the squares of the shares add up.
    pub log2_distance: f64,
    /// log2 of its share of the failure probability.
    pub log2_failure: f64,
}

/// What is proven of an inference. `Display` prints it as a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// Per layer.
    pub layers: Vec<LayerProof>,
    /// log2 of the statistical distance.
    pub log2_distance: f64,
    /// log2 of the failure probability, bad keys included.
    pub log2_failure: f64,
}

/// Chooses flood and switched modulus of each layer and proves them.
///
/// # Errors
/// [`HeError::GuardBits`], [`HeError::TooNoisy`], [`HeError::Distance`] if these parameters do not suffice.
pub fn prove(layers: &[(&Params, LayerInput)]) -> Result<Proof, HeError> {
    prove_packed(&layers.iter().map(|&(params, input)| (params, input, 0)).collect::<Vec<_>>())
}

/// As [`prove`], for layers whose responses are packed with so many levels.
///
/// # Errors
/// As [`prove_cut`].
pub fn prove_packed(layers: &[(&Params, LayerInput, u32)]) -> Result<Proof, HeError> {
    prove_cut(layers, 0)
}

/// As [`prove`], for layers whose responses are [packed](mod@crate::pack) with up to so many levels (0: not packed), and whose
/// requests come without their `dropped` lowest bits wherever parameters [allow it](Params::can_cut).
///
/// # Errors
/// Those of [`prove`], and [`HeError::Levels`] for more than log2 n levels.
pub fn prove_cut(layers: &[(&Params, LayerInput, u32)], dropped: u32) -> Result<Proof, HeError> {
    let total = layers.iter().map(|(_, layer, _)| layer.coefficients as f64).sum::<f64>().max(1.0);
    // tail^2 = 2 ln(4 C / target), the target half of what is allowed.
    let tail = (2.0 * ((4.0 * total).ln() + (1.0 - LOG2_FAILURE) * std::f64::consts::LN_2)).sqrt();
    let layers = layers
        .iter()
        .enumerate()
        .map(|(index, (params, input, levels))| {
            let dropped = if params.can_cut() { dropped } else { 0 };
            prove_layer(params, index, *input, *levels, dropped, tail)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let sum = |term: fn(&LayerProof) -> f64| layers.iter().map(|l| term(l).exp2()).sum::<f64>();
    let log2_distance = sum(|l| 2.0 * l.log2_distance).log2() / 2.0;
    let log2_failure = (sum(|l| l.log2_failure) + (-32_f64).exp()).log2();
    if log2_distance > LOG2_DISTANCE {
        let loudest = |a: &usize, b: &usize| layers[*a].log2_distance.total_cmp(&layers[*b].log2_distance);
        let layer = (0..layers.len()).max_by(loudest).unwrap_or(0);
        return Err(HeError::Distance { log2_distance, limit: LOG2_DISTANCE, layer });
    }
    Ok(Proof { layers, log2_distance, log2_failure })
}

/// The sub-Gaussian parameter (a variance) of what packing with so many levels adds, in units of q.
pub(crate) fn packing_noise(params: &Params, levels: u32) -> f64 {
    let squares: f64 = params.plans().iter().map(|plan| (plan.modulus().value() as f64).powi(2)).sum();
    let switch = CBD_VARIANCE * params.degree() as f64 * squares / 4.0;
    switch * ((2.0 * f64::from(levels)).exp2() - 1.0) / 3.0
}

fn prove_layer(
    params: &Params,
    layer: usize,
    input: LayerInput,
    levels: u32,
    dropped: u32,
    tail: f64,
) -> Result<LayerProof, HeError> {
    check_levels(params, levels)?;
    let LayerInput { coefficients, w2, w1, ring } = input;
    let n = params.degree() as f64;
    let bits = ring.bits();

    // Switching, in units of the modulus of c_1. Half of what decryption tolerates at most.
    let rounding = tail * (secret_weight(n) / 12.0).sqrt();
    let fixed_point = |guard: u32| {
        let ulps = 3.0 * params.limbs() as f64 * (1.0 + n);
        ulps * (f64::from(bits + guard) - 64.0).exp2()
    };
    let guard = (1..=52_u32.saturating_sub(bits))
        .find(|&guard| rounding + fixed_point(guard) <= 0.25 * f64::from(guard).exp2())
        .ok_or(HeError::GuardBits { layer, bits })?;

    // The noise before switching, in units of q.
    let (cut, cut_mean) =
        if dropped == 0 { (0.0, 0.0) } else { ((2.0 * f64::from(dropped)).exp2() / 12.0, 0.5) };
    let mean = w1 * ((-f64::from(bits + 1)).exp2() + cut_mean) + 1.0;
    let parameter = (CBD_VARIANCE + 0.25 + cut) * w2 * w2 + CBD_VARIANCE * (2.0 * n + 1.0);
    let spread = (parameter + packing_noise(params, levels)).sqrt();
    let unit = params.log2_q() - f64::from(bits + guard);
    let room = f64::from(guard - 1).exp2() - rounding - fixed_point(guard);
    let room = room - (mean + tail * spread) * (-unit).exp2();
    let log_flood = |body_guard: u32| {
        let room = room - (f64::from(guard - body_guard) - 1.0).exp2();
        // The subtrahend covers the rounding of these few floating-point operations.
        ((room / 1.5).log2() + unit - 1e-6).floor()
    };
    let widest = log_flood(guard);
    // No room at all makes the logarithm NaN.
    if widest.is_nan() || widest < 1.0 {
        return Err(HeError::TooNoisy { layer });
    }
    let body_guard = (1..guard).find(|&body_guard| log_flood(body_guard) >= widest).unwrap_or(guard);

    let fresh = (CBD_VARIANCE * (4.0 * n / 3.0 + 1.0)).sqrt();
    let noise = ((CBD_VARIANCE + 1.0 / 6.0).sqrt() + cut.sqrt()) * w2 + mean + fresh;
    let count = (coefficients as f64).log2();
    Ok(LayerProof {
        degree: params.degree(),
        log2_q: params.log2_q(),
        input,
        levels,
        dropped,
        spec: ReplySpec::new(ring, guard, body_guard, widest as u32),
        log2_noise: noise.log2(),
        log2_distance: 1.0 + ((7.0_f64 / 3.0).log2() + count) / 2.0 + noise.log2() - widest,
        log2_failure: 2.0 + count - tail * tail / 2.0 / std::f64::consts::LN_2,
    })
}

/// Bound on the number of non-zero coefficients of all but 2^-46 of the secrets.
fn secret_weight(n: f64) -> f64 {
    2.0 * n / 3.0 + 4.0 * n.sqrt()
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "layer      n  log2 q  coefficients  bits  guard  levels  log2 K  log2 rms N  log2 distance  log2 failure"
        )?;
        for (i, l) in self.layers.iter().enumerate() {
            writeln!(
                f,
                "{i:>5}  {:>5}  {:>6.1}  {:>12}  {:>4}  {:>5}  {:>6}  {:>6}  {:>10.1}  {:>13.1}  {:>12.1}",
                l.degree,
                l.log2_q,
                l.input.coefficients,
                l.spec.ring().bits(),
                l.spec.guard(),
                l.levels,
                l.spec.log_flood(),
                l.log2_noise,
                l.log2_distance,
                l.log2_failure
            )?;
        }
        write!(f, "total  {:>83.1}  {:>12.1}", self.log2_distance, self.log2_failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParamsLiteral;

    fn layer(coefficients: usize, w2: f64, bits: u32) -> LayerInput {
        LayerInput { coefficients, w2, w1: 32.0 * w2, ring: Pow2::new(bits).unwrap() }
    }

    #[test]
    fn a_typical_network() {
        let params = Params::new(&ParamsLiteral::n4096()).unwrap();
        let proof =
            prove(&[(&params, layer(16_384, 2000.0, 22)), (&params, layer(8192, 4000.0, 24))]).unwrap();
        assert!(proof.log2_distance <= -40.0 && proof.log2_failure <= -40.0);
        assert!(proof.layers.iter().all(|l| l.spec.guard() == 10));
        // q / 2^l, less a bit and a half for the three parts, less than one for the noise, at most one for the power of
        // two.
        assert_eq!(proof.layers[0].spec.log_flood(), 75);
        assert_eq!(proof.layers[1].spec.log_flood(), 73);
        // The rounding of c_0 finds room in what the power of two leaves.
        assert!(proof.layers.iter().all(|l| l.spec.body_guard() <= 4));
        let table = proof.to_string();
        assert_eq!(table.lines().count(), 4);
        let widths: Vec<_> = table.lines().map(str::len).collect();
        assert!(widths.windows(2).all(|w| w[0] == w[1]), "{table}");
    }

    /// The heart of the proof of hiding, for widths that can be enumerated.
    #[test]
    fn shifted_floods_are_as_close_as_claimed() {
        for width in 1..40_usize {
            let uniform = vec![1.0 / width as f64; width];
            let convolve = |a: &[f64]| -> Vec<f64> {
                let window = |i: usize| &a[(i + 1).saturating_sub(width).min(a.len())..(i + 1).min(a.len())];
                (0..a.len() + width - 1).map(|i| window(i).iter().sum::<f64>() / width as f64).collect()
            };
            let flood = convolve(&convolve(&uniform));
            assert!((flood.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let at = |x: i64| usize::try_from(x).ok().and_then(|x| flood.get(x)).copied().unwrap_or(0.0);
            let (k, end) = (width as f64, 3 * width as i64);
            for shift in [1, 2, 3, 7] {
                let pairs = (0..end + shift).map(|x| (at(x), at(x - shift)));
                let affinity: f64 = pairs.clone().map(|(a, b)| (a * b).sqrt()).sum();
                let distance: f64 = pairs.map(|(a, b)| (a - b).abs() / 2.0).sum();
                let claimed = 7.0 / 6.0 * (shift as f64 / k).powi(2);
                assert!(1.0 - affinity <= claimed + 1e-12, "{width} {shift}: {affinity}");
                assert!(distance <= (2.0 * claimed).sqrt() + 1e-12, "{width} {shift}: {distance}");
            }
        }
    }

    #[test]
    fn monotone() {
        let params = Params::new(&ParamsLiteral::n8192()).unwrap();
        let base = prove(&[(&params, layer(1000, 1000.0, 24))]).unwrap();
        let louder = prove(&[(&params, layer(1000, 1e6, 24))]).unwrap();
        let more = prove(&[(&params, layer(100_000, 1000.0, 24))]).unwrap();
        let wider = prove(&[(&params, layer(1000, 1000.0, 32))]).unwrap();
        for worse in [louder, more, wider] {
            assert!(worse.log2_distance > base.log2_distance);
        }
    }

    #[test]
    fn packing_costs_little_of_the_flood() {
        let input = layer(16_384, 2000.0, 24);
        for (literal, lost) in [
            // Digits of 50 bits leave noise near 2^59 2^k, which the margin of 2^75 holds without loss up to k = 6.
            (ParamsLiteral::n4096(), [(6, 0), (12, 2)]),
            (ParamsLiteral::n8192(), [(6, 0), (13, 0)]),
        ] {
            let params = Params::new(&literal).unwrap();
            let plain = prove(&[(&params, input)]).unwrap();
            for (levels, bits) in lost {
                let packed = prove_packed(&[(&params, input, levels)]).unwrap();
                assert!(packed.log2_failure <= -40.0 && packed.log2_distance <= -40.0);
                let [before, after] = [&plain, &packed].map(|p| p.layers[0].spec.log_flood());
                assert!(after <= before && before - after <= bits, "{levels} levels: {before} to {after}");
            }
        }
    }

    #[test]
    fn packing_refused() {
        let params = Params::new(&ParamsLiteral::n4096()).unwrap();
        let input = layer(4096, 2000.0, 32);
        // A step of the message is 2^68 here, less than nine deviations of the noise of twelve levels.
        assert!(prove(&[(&params, input)]).is_ok());
        assert_eq!(prove_packed(&[(&params, input, 12)]).err(), Some(HeError::TooNoisy { layer: 0 }));
        let deep = prove_packed(&[(&params, input, 13)]);
        assert_eq!(deep.err(), Some(HeError::Levels { needed: 13, most: 12 }));
        let small = Params::new(&ParamsLiteral::largest(11, 1)).unwrap();
        assert!(prove_packed(&[(&small, layer(1, 1.0, 4), 1)]).is_err());
    }

    #[test]
    fn refuses_what_cannot_be_hidden() {
        let params = Params::new(&ParamsLiteral::n4096()).unwrap();
        let distance = prove(&[(&params, layer(1 << 20, 1e6, 32))]);
        assert!(matches!(distance, Err(HeError::Distance { log2_distance, .. }) if log2_distance > -40.0));
        let noisy = prove(&[(&params, layer(1, 1.0, 20)), (&params, layer(1, 1e26, 20))]);
        assert_eq!(noisy, Err(HeError::TooNoisy { layer: 1 }));
        let small =
            Params::new(&ParamsLiteral { log_n: 10, primes: phineus_kernel::zq::ntt_primes(26, 1024, 1) });
        assert!(prove(&[(small.unwrap().as_ref(), layer(1, 1.0, 8))]).is_err());
    }
}
