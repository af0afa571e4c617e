mod misuse;
mod oracle;
mod vectors;

use std::collections::BTreeMap;
use std::sync::Arc;

use phineus_kernel::prg::Prg;
use phineus_kernel::wire::{PeerMisbehaved, Wire};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// Two parties with keys for some rotations at the top level.
struct Pair {
    params: Arc<Params>,
    secret: SecretKey,
    public: PublicKey,
    evaluator: Evaluator,
    rng: Prg,
}

fn literal(log_n: u32, depth: usize) -> ParamsLiteral {
    ParamsLiteral::near(log_n, 26.0, depth, 1, &[28], &[28]).unwrap()
}

/// Two primes per step, two special ones.
fn precise(depth: usize) -> ParamsLiteral {
    ParamsLiteral::near(14, 52.0, depth, 2, &[28, 28, 27], &[28, 28]).unwrap()
}

impl Pair {
    fn new(literal: &ParamsLiteral, rotations: &[u32]) -> Self {
        let params = Params::new(literal).unwrap();
        let mut rng = Prg::from_seed32(&[3; 32]);
        let secret = SecretKey::generate(&params, &mut rng);
        let public = secret.public_key(&mut rng);
        let rotations: BTreeMap<_, _> = rotations.iter().map(|&k| (k, params.top())).collect();
        let shape = KeyShape::new(&params, Some(params.top()), rotations).unwrap();
        let evaluator = Evaluator::new(KeyUpload::generate(&secret, &shape, &mut rng).unwrap().expand());
        Self { params, secret, public, evaluator, rng }
    }

    fn encrypt(&mut self, values: &[f64], level: usize) -> Ciphertext {
        let magnitude = values.iter().fold(0.0, |max: f64, v| max.max(v.abs()));
        let requests = Requests::encrypt(&self.secret, &[values], level, &mut self.rng).unwrap();
        requests.into_ciphertexts(magnitude).unwrap().pop().unwrap()
    }

    /// All slots, by the definition: (c_0 + c_1 s + c_2 s^2) / scale. Tests only; clients see replies.
    fn open(&self, x: &Ciphertext) -> Vec<f64> {
        let plans = self.params.plans();
        let limbs = self.params.limbs(x.level).unwrap();
        let n = self.params.slots();
        // Exact for moduli up to 2^127.
        let basis: Vec<usize> = (0..limbs.min(4)).collect();
        let mut phase = poly::Poly::zero(n, basis.len());
        for &index in &basis {
            let modulus = plans[index].modulus();
            let mut sum = vec![0; n];
            for part in x.parts.iter().rev() {
                phineus_kernel::ntt32::pointwise::mul_assign(modulus, &mut sum, self.secret.limb(index));
                phineus_kernel::ntt32::pointwise::add_assign(modulus, &mut sum, part.limb(index));
            }
            plans[index].inverse(&mut sum, phase.limb_mut(index));
        }
        let primes: Vec<i128> = basis.iter().map(|&i| i128::from(plans[i].modulus().value())).collect();
        let q: i128 = primes.iter().product();
        let cofactors: Vec<i128> = basis
            .iter()
            .map(|&i| {
                let m = plans[i].modulus();
                let rest = primes
                    .iter()
                    .enumerate()
                    .filter(|(j, _)| *j != i)
                    .fold(1, |acc, (_, p)| acc * (p % primes[i]) % primes[i]);
                i128::from(m.inv(rest as u32))
            })
            .collect();
        let coefficients: Vec<f64> = (0..n)
            .map(|i| {
                let sum: i128 = basis
                    .iter()
                    .map(|&l| i128::from(phase.limb(l)[i]) * cofactors[l] % primes[l] * (q / primes[l]) % q)
                    .fold(0, |acc, v| (acc + v) % q);
                (if sum > q / 2 { sum - q } else { sum }) as f64 / x.scale
            })
            .collect();
        self.params.embedding().slots(&coefficients)
    }

    /// Asserts that a ciphertext holds these slots, within its bound, which is not more than `slack` times too large.
    fn expect(&self, x: &Ciphertext, expected: &[f64], slack: f64) {
        let worst = self.open(x).iter().zip(expected).fold(0.0, |max: f64, (a, b)| max.max((a - b).abs()));
        assert!(worst <= x.error, "error {worst:.3e} above the bound {:.3e}", x.error);
        assert!(worst * slack >= x.error, "error {worst:.3e}, far below the bound {:.3e}", x.error);
        let largest = expected.iter().fold(0.0, |max: f64, v| max.max(v.abs()));
        assert!(largest <= x.magnitude * (1.0 + 1e-12), "{largest} above {}", x.magnitude);
    }
}

fn random(n: usize, bound: f64, seed: u64) -> Vec<f64> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..n).map(|_| rng.random_range(-bound..bound)).collect()
}

fn rotated(x: &[f64], k: usize) -> Vec<f64> {
    (0..x.len()).map(|j| x[(j + k) % x.len()]).collect()
}

fn zip(x: &[f64], y: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    x.iter().zip(y).map(|(&a, &b)| f(a, b)).collect()
}

#[test]
fn fresh_encryptions_and_sums() {
    let mut pair = Pair::new(&literal(12, 1), &[]);
    let n = pair.params.slots();
    let (x, y) = (random(n, 1.0, 1), random(n - 5, 0.5, 2));
    let padded: Vec<f64> = (0..n).map(|i| y.get(i).copied().unwrap_or(0.0)).collect();
    let a = pair.encrypt(&x, 1);
    pair.expect(&a, &x, 3.0);
    let b = pair.encrypt(&y, 1);
    let mut sum = a.clone();
    pair.evaluator.add(&mut sum, &b).unwrap();
    pair.expect(&sum, &zip(&x, &padded, |a, b| a + b), 5.0);
    pair.evaluator.sub(&mut sum, &a).unwrap();
    pair.expect(&sum, &padded, 10.0);
    let mut shifted = a;
    pair.evaluator.add_plain(&mut shifted, &pair.params.summand(&padded, 1).unwrap()).unwrap();
    pair.expect(&shifted, &zip(&x, &padded, |a, b| a + b), 4.0);
    pair.evaluator.add_number(&mut shifted, -0.3).unwrap();
    pair.expect(&shifted, &zip(&x, &padded, |a, b| a + b - 0.3), 4.0);
    assert!(matches!(pair.evaluator.add_number(&mut shifted, f64::NAN), Err(SlotsError::Value { .. })));
}

#[test]
fn products_and_levels() {
    let mut pair = Pair::new(&literal(13, 3), &[]);
    let n = pair.params.slots();
    let (x, y) = (random(n, 2.0, 3), random(n, 3.0, 4));
    let (a, b) = (pair.encrypt(&x, 3), pair.encrypt(&y, 3));
    let xy = zip(&x, &y, |a, b| a * b);

    let by_plain = pair.evaluator.mul_plain(&a, &pair.params.factor(&y, 3).unwrap()).unwrap();
    pair.expect(&by_plain, &xy, 20.0);
    let by_plain = pair.evaluator.rescale(&by_plain).unwrap();
    pair.expect(&by_plain, &xy, 40.0);
    assert_eq!((by_plain.level(), by_plain.scale()), (2, pair.params.scale(2).unwrap()));

    let product = pair.evaluator.mul(&a, &b).unwrap();
    assert_eq!(product.parts(), 3);
    pair.expect(&product, &xy, 20.0);
    let mut twice = product.clone();
    pair.evaluator.add(&mut twice, &product).unwrap();
    pair.expect(
        &pair.evaluator.rescale(&twice).unwrap(),
        &xy.iter().map(|v| 2.0 * v).collect::<Vec<_>>(),
        1e4,
    );
    let relinearized = pair.evaluator.relinearize(&product).unwrap();
    assert_eq!(relinearized.parts(), 2);
    pair.expect(&relinearized, &xy, 20.0);
    let at_once = pair.evaluator.relinearize_and_rescale(&product).unwrap();
    pair.expect(&at_once, &xy, 40.0);
    let mut difference = pair.evaluator.rescale(&relinearized).unwrap();
    pair.evaluator.sub(&mut difference, &at_once).unwrap();
    // Two divisions in turn and one by the product round alike: the digits are the same.
    assert!(pair.open(&difference).iter().all(|v| v.abs() < 1e-12));

    let square = pair.evaluator.square(&by_plain).unwrap();
    pair.expect(&square, &xy.iter().map(|v| v * v).collect::<Vec<_>>(), 60.0);
    assert_eq!(square.level(), 1);
    let dropped = pair.evaluator.drop_to(&a, 1).unwrap();
    pair.expect(&dropped, &x, 40.0);
    let mut sum = square;
    pair.evaluator.add(&mut sum, &dropped).unwrap();
    assert_eq!(pair.evaluator.drop_to(&sum, 1).unwrap().parts(), 2);
}

#[test]
fn rotations() {
    let mut pair = Pair::new(&literal(12, 1), &[1, 77, 4095]);
    let n = pair.params.slots();
    let x = random(n, 1.0, 5);
    for level in [0, 1] {
        let a = pair.encrypt(&x, level);
        let all = pair.evaluator.rotate_all(&a, &[0, 1, 77, 4095]).unwrap();
        for (rotation, y) in [0, 1, 77, 4095].into_iter().zip(&all) {
            pair.expect(y, &rotated(&x, rotation), 30.0);
        }
        pair.expect(&pair.evaluator.rotate(&a, 77).unwrap(), &rotated(&x, 77), 30.0);
    }
}

/// g, and (i, b, w) of every term.
type ClearGiant = (u32, Vec<(usize, u32, Vec<f64>)>);

/// `sum_g rot_g(sum w rot_b(x_i))` in the clear.
fn linear_clear(inputs: &[&[f64]], plan: &[ClearGiant]) -> Vec<f64> {
    let n = inputs[0].len();
    let mut sum = vec![0.0; n];
    for (giant, terms) in plan {
        let mut inner = vec![0.0; n];
        for (input, baby, weights) in terms {
            let product = zip(&rotated(inputs[*input], *baby as usize), weights, |a, b| a * b);
            inner = zip(&inner, &product, |a, b| a + b);
        }
        sum = zip(&sum, &rotated(&inner, *giant as usize), |a, b| a + b);
    }
    sum
}

#[test]
fn linear_maps() {
    // The last one has shorter factors than ciphertexts, as far as nothing is squared.
    let own = [27.0, 26.0, 27.0, 26.0, 26.0];
    let own = ParamsLiteral::along(13, &own, &[Some(25.0); 5], 1, [&[26.5, 26.5], &[27.0, 27.0]]).unwrap();
    for literal in [literal(13, 4), ParamsLiteral::near(13, 25.0, 4, 1, &[28], &[28, 28]).unwrap(), own] {
        let mut pair = Pair::new(&literal, &[1, 2, 3, 4, 1024]);
        let n = pair.params.slots();
        let (x, y) = (random(n, 1.0, 6), random(n, 1.0, 7));
        let terms = |giant: u64| {
            let baby = |(i, (input, b)): (u64, (usize, u32))| (input, b, random(n, 0.09, 100 * giant + i));
            (0..).zip([(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 3)]).map(baby).collect::<Vec<_>>()
        };
        let plan = vec![(0, terms(1)), (4, terms(2)), (1024, terms(3))];
        let weights = plan.iter().flat_map(|(g, terms)| terms.iter().map(|(.., w)| rotated(w, *g as usize)));
        let gain = weights.fold(vec![0.0; n], |sum, w| zip(&sum, &w, |s, w| s + w.abs()));
        let gain = gain.into_iter().fold(0.0, f64::max);
        for level in [4, 3, 1] {
            let encode = |w: &Vec<f64>| pair.params.factor(w, level).unwrap();
            let factors: Vec<Vec<_>> =
                plan.iter().map(|(_, terms)| terms.iter().map(|(.., w)| encode(w)).collect()).collect();
            let giants: Vec<_> = plan
                .iter()
                .zip(&factors)
                .map(|((rotation, terms), factors)| {
                    let terms = terms.iter().zip(factors);
                    let terms = terms.map(|(&(input, rotation, _), factor)| Term { input, rotation, factor });
                    Giant { rotation: *rotation, terms: terms.collect() }
                })
                .collect();
            let (a, b) = (pair.encrypt(&x, level), pair.encrypt(&y, level));
            let result = pair.evaluator.linear(&[&a, &b], &giants, Some(gain)).unwrap();
            assert_eq!((result.level(), result.scale()), (level - 1, pair.params.scale(level - 1).unwrap()));
            let clear = linear_clear(&[&x, &y], &plan);
            pair.expect(&result, &clear, 60.0);
            if level > 1 {
                let folded =
                    pair.evaluator.linear_folded(&[&a, &b], &giants, &[2], Some(2.0 * gain), None).unwrap();
                let clear = zip(&clear, &rotated(&clear, 2), |a, b| a + b);
                pair.expect(&folded, &clear, 60.0);
            }
        }
    }
}

#[test]
fn weighted_sums_of_ciphertexts() {
    let mut pair = Pair::new(&literal(12, 1), &[]);
    let n = pair.params.slots();
    let inputs: Vec<_> = (0..3).map(|i| random(n, 0.4, 20 + i)).collect();
    let ciphers: Vec<_> = inputs.iter().map(|x| pair.encrypt(x, 1)).collect();
    let ciphers: Vec<_> = ciphers.iter().collect();
    let weights = [0.5, -1.0, 0.25, 0.0, 1.0, -0.125, 1.5, 1.5, 1.5, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
    let sums = pair.evaluator.combine(&ciphers, &weights).unwrap();
    assert_eq!(sums.len(), 5);
    for (row, sum) in weights.chunks(3).zip(&sums) {
        let clear = |j: usize| row.iter().zip(&inputs).map(|(w, x)| w * x[j]).sum();
        pair.expect(sum, &(0..n).map(clear).collect::<Vec<f64>>(), 40.0);
        assert_eq!((sum.level(), sum.scale()), (0, pair.params.scale(0).unwrap()));
    }
    let wrong = pair.evaluator.combine(&ciphers, &weights[1..]).err();
    assert!(matches!(wrong, Some(SlotsError::Count { .. })));
    assert!(pair.evaluator.combine(&ciphers, &[f64::NAN; 3]).is_err());
}

#[test]
fn chains_with_two_primes_per_step() {
    let mut pair = Pair::new(&precise(2), &[5]);
    let n = pair.params.slots();
    let x = random(n, 1.0, 8);
    let a = pair.encrypt(&x, 2);
    pair.expect(&a, &x, 3.0);
    assert!(a.error() < 1e-11);
    let square = pair.evaluator.square(&a).unwrap();
    let factor = pair.params.factor(&x, 1).unwrap();
    let giants = [Giant { rotation: 5, terms: vec![Term { input: 0, rotation: 0, factor: &factor }] }];
    let cube = pair.evaluator.linear(&[&square], &giants, None).unwrap();
    let expected = rotated(&x.iter().map(|v| v * v * v).collect::<Vec<_>>(), 5);
    pair.expect(&cube, &expected, 60.0);

    // Without a flood what is left is the rounding to 56 of 83 bits.
    let spec = ReplySpec::new(&pair.params, n, 56, 0).unwrap();
    let reply = pair.evaluator.reply(&cube, &pair.public, &spec, &mut pair.rng).unwrap();
    let slots = pair.secret.decrypt(&reply, &spec).unwrap();
    let worst = slots.slots().iter().zip(&expected).fold(0.0, |max: f64, (a, b)| max.max((a - b).abs()));
    assert!(worst < spec.error(cube.error()) && worst < 4e-3, "{worst}");
    // A flood that leaves six bits of the result and drowns its error.
    let spec = ReplySpec::new(&pair.params, n, 56, 40).unwrap();
    assert!(spec.log2_distance(cube.error()) < -3.0);
    let reply = pair.evaluator.reply(&cube, &pair.public, &spec, &mut pair.rng).unwrap();
    let slots = pair.secret.decrypt(&reply, &spec).unwrap();
    let worst = slots.slots().iter().zip(&expected).fold(0.0, |max: f64, (a, b)| max.max((a - b).abs()));
    assert!((4e-3..0.1).contains(&worst), "{worst}");
    assert!(worst < spec.error(cube.error()));
}

#[test]
fn replies() {
    let mut pair = Pair::new(&literal(12, 1), &[2048, 1024, 512, 256]);
    let n = pair.params.slots();
    let x = random(n, 0.02, 9);
    let a = pair.encrypt(&x, 0);
    for (width, flood) in [(28, 0), (20, 0), (24, 14)] {
        let spec = ReplySpec::new(&pair.params, n, width, flood).unwrap();
        let reply = pair.evaluator.reply(&a, &pair.public, &spec, &mut pair.rng).unwrap();
        let opened = pair.secret.decrypt(&reply, &spec).unwrap();
        let worst = opened.slots().iter().zip(&x).fold(0.0, |max: f64, (a, b)| max.max((a - b).abs()));
        assert!(worst <= spec.error(a.error()), "{worst}");
        let mut bytes = Vec::new();
        reply.encode(&mut bytes);
        assert_eq!(bytes.len(), Reply::wire_len(&spec));
        assert_eq!(bytes.len(), n * width as usize / 4);
        assert!(Reply::decode(&bytes, &spec).unwrap() == reply);
        assert!(matches!(Reply::decode(&bytes[1..], &spec), Err(PeerMisbehaved::Length { .. })));
    }
    // A sum over all rotations by 256 has period 256.
    let (mut sum, mut clear) = (a, x);
    for rotation in [2048, 1024, 512, 256] {
        let other = pair.evaluator.rotate(&sum, rotation).unwrap();
        pair.evaluator.add(&mut sum, &other).unwrap();
        clear = zip(&clear, &rotated(&clear, rotation as usize), |a, b| a + b);
    }
    let sum = sum.with_magnitude(1.0);
    let spec = ReplySpec::new(&pair.params, 256, 28, 0).unwrap();
    let reply = pair.evaluator.reply(&sum, &pair.public, &spec, &mut pair.rng).unwrap();
    assert_eq!(Reply::wire_len(&spec), 28 * (4096 + 256) / 8);
    let opened = pair.secret.decrypt(&reply, &spec).unwrap();
    assert_eq!(opened.slots().len(), 256);
    let error = |slots: &[f64]| slots.iter().zip(&clear).fold(0.0, |max: f64, (a, b)| max.max((a - b).abs()));
    assert!(error(opened.slots()) <= spec.error(sum.error()));
    // Dropping the other coefficients drops their noise.
    let whole = ReplySpec::new(&pair.params, n, 28, 0).unwrap();
    let reply = pair.evaluator.reply(&sum, &pair.public, &whole, &mut pair.rng).unwrap();
    assert!(error(pair.secret.decrypt(&reply, &whole).unwrap().slots()) > 2.0 * error(opened.slots()));
}

#[test]
fn results_that_are_not_rescaled() {
    for literal in [
        ParamsLiteral::near(12, 24.0, 0, 1, &[26, 26], &[26, 26]).unwrap(),
        ParamsLiteral::along(12, &[22.5], &[Some(25.5)], 1, [&[26.0; 2], &[26.0; 2]]).unwrap(),
    ] {
        a_result_that_is_not_rescaled(&literal);
    }
}

fn a_result_that_is_not_rescaled(literal: &ParamsLiteral) {
    let mut pair = Pair::new(literal, &[3]);
    let n = pair.params.slots();
    let (x, w, bias) = (random(n, 1.0, 41), random(n, 0.4, 42), random(n, 0.1, 43));
    let a = pair.encrypt(&x, 0);
    let factor = pair.params.factor(&w, 0).unwrap();
    let giants = [Giant { rotation: 3, terms: vec![Term { input: 0, rotation: 0, factor: &factor }] }];
    let mut y = pair.evaluator.linear(&[&a], &giants, Some(0.4)).unwrap();
    let summand = pair.params.result_summand(&bias).unwrap();
    pair.evaluator.add_plain(&mut y, &summand).unwrap();
    let expected = zip(&rotated(&zip(&x, &w, |a, b| a * b), 3), &bias, |a, b| a + b);
    assert_eq!(y.level(), 0);
    assert!((y.scale() / pair.params.result_scale() - 1.0).abs() < 1e-12);
    pair.expect(&y, &expected, 60.0);
    let spec = ReplySpec::new(&pair.params, n, 32, 30).unwrap();
    assert!(matches!(
        pair.evaluator.reply(&y, &pair.public, &spec, &mut pair.rng),
        Err(SlotsError::ScaleMismatch { .. })
    ));
    let spec = spec.of_products();
    let reply = pair.evaluator.reply(&y, &pair.public, &spec, &mut pair.rng).unwrap();
    let slots = pair.secret.decrypt(&reply, &spec).unwrap();
    let worst = slots.slots().iter().zip(&expected).fold(0.0, |max: f64, (a, b)| max.max((a - b).abs()));
    // At the canonical scale the fresh zero alone would add more than 1e-3.
    assert!(worst < spec.error(y.error()) && worst < 1e-3, "{worst}");

    // The same by sums of ciphertexts, in two parts.
    let b = pair.encrypt(&bias, 0);
    let mut sums = pair.evaluator.sums(1, 0).unwrap();
    pair.evaluator.accumulate(&mut sums, &[&a], &[0.5]).unwrap();
    pair.evaluator.accumulate(&mut sums, &[&b], &[-0.25]).unwrap();
    let sum = pair.evaluator.finish(sums, None).unwrap().remove(0);
    pair.expect(&sum, &zip(&x, &bias, |a, b| 0.5 * a - 0.25 * b), 60.0);
    assert!((sum.scale() / pair.params.result_scale() - 1.0).abs() < 1e-12);
}

#[test]
fn shares_of_coefficients_add_up_and_say_nothing_alone() {
    let mut pair = Pair::new(&literal(12, 1), &[]);
    let (period, n) = (16, pair.params.slots());
    let spec = ReplySpec::new(&pair.params, period, 27, 0).unwrap();
    let wanted: Vec<f64> = (0..period).map(|i| (i as f64 * 0.37).sin() / 16.0).collect();
    let mut slots = vec![0.0; period];
    for (i, w) in wanted.iter().enumerate() {
        let unit = pair.params.slots_of_coefficient(period, i);
        slots.iter_mut().zip(unit).for_each(|(slot, u)| *slot += w * u);
    }
    let values = slots.repeat(n / period);
    let x = pair.encrypt(&values, 0);
    let unit = 27_f64.exp2() * pair.params.scale(0).unwrap() / pair.params.level(0).unwrap().log2_q.exp2();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (reply, ours) = pair.evaluator.share(&x, &pair.public, &spec, &mut pair.rng).unwrap();
        let theirs = pair.secret.share(&reply, &spec).unwrap();
        for ((a, b), wanted) in ours.iter().zip(theirs.iter()).zip(&wanted) {
            let sum = (a.wrapping_add(*b) << 5) as i32 >> 5;
            assert!((f64::from(sum) / unit - wanted).abs() < 1e-3, "{} {wanted}", f64::from(sum) / unit);
        }
        seen.push(theirs.to_vec());
    }
    // The same ciphertext, other words.
    assert!(seen[0].iter().zip(&seen[1]).all(|(a, b)| a != b));
    let wide = ReplySpec::new(&Params::new(&precise(1)).unwrap(), period, 40, 0).unwrap();
    assert!(matches!(wide.check_share(), Err(SlotsError::Reply { .. })));
}
