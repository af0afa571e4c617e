//! The whole path of a linear layer, and what it may show.

use std::sync::Arc;

use phineus_kernel::wire::{PeerMisbehaved, Wire};
use phineus_kernel::z2k::Pow2;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::noise::{self, LayerInput};
use crate::respond::randomise;
use crate::*;

pub(crate) struct Party {
    pub(crate) params: Arc<Params>,
    pub(crate) secret: SecretKey,
    pub(crate) public: PublicKey,
    pub(crate) rng: StdRng,
}

impl Party {
    pub(crate) fn new(literal: &ParamsLiteral, seed: u64) -> Self {
        let params = Params::new(literal).unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        let secret = SecretKey::generate(&params, &mut rng);
        let public = secret.public_key(&mut rng);
        Self { params, secret, public, rng }
    }

    pub(crate) fn plain(&mut self, ring: Pow2) -> Vec<u32> {
        (0..self.params.degree()).map(|_| ring.reduce(self.rng.random())).collect()
    }

    /// A weight polynomial with `terms` non-zero coefficients.
    pub(crate) fn weights(&mut self, terms: usize, max: i32) -> Vec<i32> {
        let mut weights = vec![0; self.params.degree()];
        for _ in 0..terms {
            weights[self.rng.random_range(0..self.params.degree())] = self.rng.random_range(-max..=max);
        }
        weights
    }

    /// Distinct positions in no particular order.
    fn positions(&mut self, count: usize) -> Vec<u32> {
        let n = self.params.degree() as u32;
        let offset = self.rng.random_range(0..n);
        // An odd factor permutes the residues modulo a power of two.
        (0..count as u32).map(|i| i.wrapping_mul(2_654_435_761).wrapping_add(offset) % n).collect()
    }

    pub(crate) fn product(&mut self, plains: &[Vec<u32>], weights: &[Vec<i32>], ring: Pow2) -> Accumulator {
        let ciphertexts = Requests::encrypt(&self.secret, plains, ring, &mut self.rng).into_ciphertexts();
        let mut sum = Accumulator::new(&self.params);
        for (ciphertext, w) in ciphertexts.iter().zip(weights) {
            sum.mul_acc(ciphertext, &Poly::from_signed(&self.params, w).into_eval());
        }
        sum
    }
}

fn spec(params: &Params, coefficients: usize, terms: f64, max: f64, ring: Pow2) -> ReplySpec {
    let input = LayerInput { coefficients, w2: max * terms.sqrt(), w1: max * terms, ring };
    noise::prove(&[(params, input)]).unwrap().layers[0].spec
}

/// Coefficients of a b modulo X^n + 1, 2^l.
pub(crate) fn schoolbook(ring: Pow2, plain: &[u32], weights: &[i32], sum: &mut [u32]) {
    let n = plain.len();
    for (j, &w) in weights.iter().enumerate().filter(|(_, w)| **w != 0) {
        let w = ring.from_signed(w.into());
        for (i, &r) in plain.iter().enumerate() {
            let slot = &mut sum[(i + j) % n];
            let product = ring.mul(r, w);
            *slot = if i + j < n { ring.add(*slot, product) } else { ring.sub(*slot, product) };
        }
    }
}

/// (c_0 + c_1 s) modulo q, centred, at some coefficients; q below 2^100.
pub(crate) fn exact_phase(party: &Party, halves: &[Poly<Coeff>; 2], positions: &[u32]) -> Vec<i128> {
    let params = &party.params;
    let [p0, p1] = [0, 1].map(|i| params.modulus(i).value());
    let residues = [0, 1].map(|limb| {
        let plan = &params.plans()[limb];
        let mut product = halves[1].limb(limb).to_vec();
        plan.forward(&mut product);
        phineus_kernel::ntt::pointwise::mul_assign(plan.modulus(), &mut product, party.secret.limb(limb));
        plan.inverse(&mut product);
        phineus_kernel::ntt::pointwise::add_assign(plan.modulus(), &mut product, halves[0].limb(limb));
        product
    });
    let modulus = params.modulus(1);
    let inverse = modulus.inv(p0 % p1);
    let q = i128::from(p0) * i128::from(p1);
    positions
        .iter()
        .map(|&i| {
            let (a, b) = (residues[0][i as usize], residues[1][i as usize]);
            let k = modulus.mul(modulus.sub(b, a % p1), inverse);
            let v = i128::from(a) + i128::from(p0) * i128::from(k);
            if v > q / 2 { v - q } else { v }
        })
        .collect()
}

/// The phase minus what it encodes, in units of q.
pub(crate) fn exact_noise(party: &Party, phase: &[i128], messages: &[u32], ring: Pow2) -> Vec<i128> {
    let q = i128::from(party.params.modulus(0).value()) * i128::from(party.params.modulus(1).value());
    let encode = |m: u32| (q * i128::from(m) + (1 << (ring.bits() - 1))) >> ring.bits();
    phase.iter().zip(messages).map(|(v, &m)| (v - encode(m) + q / 2).rem_euclid(q) - q / 2).collect()
}

fn variance(noise: &[i128]) -> f64 {
    noise.iter().map(|&v| (v as f64).powi(2)).sum::<f64>() / noise.len() as f64
}

#[test]
fn products_are_exact() {
    for (seed, literal) in
        [ParamsLiteral::n4096(), ParamsLiteral::n8192(), ParamsLiteral::n8192_wide()].into_iter().enumerate()
    {
        let mut party = Party::new(&literal, seed as u64);
        for round in 0..4 {
            let bits = [4, 32, party.rng.random_range(4..=32)][round % 3];
            let ring = Pow2::new(bits).unwrap();
            let max = 127.min(ring.mask() >> 1) as i32;
            let (terms, count) = (24, if round == 0 { party.params.degree() } else { 777 });
            let plains = [(); 2].map(|()| party.plain(ring));
            let weights = [(); 2].map(|()| party.weights(terms, max));
            let positions = party.positions(count);
            let mask: Vec<_> = (0..count).map(|_| ring.reduce(party.rng.random())).collect();
            let spec = spec(&party.params, count, 2.0 * terms as f64, max.into(), ring);

            let mut expected = vec![0; party.params.degree()];
            plains.iter().zip(&weights).for_each(|(r, w)| schoolbook(ring, r, w, &mut expected));
            let expected: Vec<_> =
                positions.iter().zip(&mask).map(|(&i, &s)| ring.sub(expected[i as usize], s)).collect();

            let sum = party.product(&plains, &weights, ring);
            let response = respond(sum, &party.public, &positions, &mask, &spec, &mut party.rng).unwrap();
            let shape = ResponseShape { params: party.params.clone(), spec, coefficients: count };
            let mut bytes = Vec::new();
            response.encode(&mut bytes);
            let response = Response::decode(&bytes, &shape).unwrap();
            let result = party.secret.decrypt(&response, &positions, &spec).unwrap();
            assert!(result == expected, "{bits} bits, degree {}", party.params.degree());
        }
    }
}

#[test]
fn noise_is_as_computed() {
    let mut party = Party::new(&ParamsLiteral::n4096(), 10);
    let ring = Pow2::new(20).unwrap();
    let n = party.params.degree();
    let positions: Vec<_> = (0..n as u32).collect();
    let (plain, weights) = (party.plain(ring), party.weights(500, 127));
    let norm2: f64 = weights.iter().map(|&w| f64::from(w).powi(2)).sum();
    let mut messages = vec![0; n];
    schoolbook(ring, &plain, &weights, &mut messages);
    // The smallest flood, so that the noise can be seen.
    let spec = ReplySpec::new(ring, 10, 10, 1);
    let sum = party.product(&[plain], &[weights], ring);
    let halves = randomise(sum, &party.public, &positions, &vec![0; n], &spec, &mut party.rng);
    let phase = exact_phase(&party, &halves, &positions);
    let noise = exact_noise(&party, &phase, &messages, ring);
    let expected = (10.5 + 1.0 / 12.0) * norm2 + 10.5 * (4.0 * n as f64 / 3.0 + 1.0);
    let ratio = variance(&noise) / expected;
    // Errors are shared by the coefficients, but n of them average well: standard deviation of about 2-3 %.
    assert!((0.85..1.15).contains(&ratio), "{ratio}");
    let bound = 9.0 * ((10.5 + 0.25) * norm2 + 10.5 * (2.0 * n as f64 + 1.0)).sqrt();
    assert!(noise.iter().all(|&v| (v.unsigned_abs() as f64) < bound));
}

#[test]
fn fresh_zeros_alone() {
    let mut party = Party::new(&ParamsLiteral::n4096(), 11);
    let n = party.params.degree();
    let positions: Vec<_> = (0..n as u32).collect();
    let ring = Pow2::new(20).unwrap();
    let spec = ReplySpec::new(ring, 10, 10, 1);
    let mut zero = || {
        let sum = Accumulator::new(&party.params);
        let halves = randomise(sum, &party.public, &positions, &vec![0; n], &spec, &mut party.rng);
        (exact_phase(&party, &halves, &positions), halves)
    };
    let (first, second) = (zero(), zero());
    let expected = 10.5 * (4.0 * n as f64 / 3.0 + 1.0);
    for (phase, _) in [&first, &second] {
        let ratio = variance(phase) / expected;
        assert!((0.85..1.15).contains(&ratio), "{ratio}");
    }
    // Fresh randomness: no coefficient of the uniform half is repeated, in either prime.
    for limb in 0..2 {
        let [a, b] = [&first.1[1], &second.1[1]].map(|half| half.limb(limb));
        assert!(a.iter().zip(b).filter(|(x, y)| x == y).count() == 0);
    }
}

/// Largest difference of two empirical distribution functions.
pub(crate) fn kolmogorov_smirnov(a: &mut [f64], b: &mut [f64]) -> f64 {
    a.sort_by(f64::total_cmp);
    b.sort_by(f64::total_cmp);
    let (mut i, mut j, mut worst) = (0, 0, 0.0_f64);
    while i < a.len() && j < b.len() {
        if a[i] <= b[j] {
            i += 1
        } else {
            j += 1
        }
        worst = worst.max((i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
    worst
}

/// The distribution function of the sum of three uniform numbers of [-1/2, 1/2].
fn of_three(x: f64) -> f64 {
    assert!(x.abs() <= 1.5 + 1e-9, "{x}");
    let cube = |t: f64| t.max(0.0).powi(3);
    (cube(x + 1.5) - 3.0 * cube(x + 0.5) + 3.0 * cube(x - 0.5)) / 6.0
}

#[test]
fn flooded_noise_is_the_flood_whatever_the_weights() {
    let mut party = Party::new(&ParamsLiteral::n4096(), 12);
    let n = party.params.degree();
    let ring = Pow2::new(20).unwrap();
    let positions: Vec<_> = (0..n as u32).collect();
    let spec = spec(&party.params, n, 64.0, 127.0, ring);
    let mut flooded = |terms: usize, max: i32| -> Vec<f64> {
        (0..2)
            .flat_map(|_| {
                let (plain, weights) = (party.plain(ring), party.weights(terms, max));
                let mask = party.plain(ring);
                let mut messages = vec![0; n];
                schoolbook(ring, &plain, &weights, &mut messages);
                ring.sub_assign(&mut messages, &mask);
                let sum = party.product(&[plain], &[weights], ring);
                let halves = randomise(sum, &party.public, &positions, &mask, &spec, &mut party.rng);
                let phase = exact_phase(&party, &halves, &positions);
                let noise = exact_noise(&party, &phase, &messages, ring);
                // In units of the width of one of the three parts, through their distribution function: uniform.
                noise.into_iter().map(|v| of_three(v as f64 * (-f64::from(spec.log_flood())).exp2()))
            })
            .collect()
    };
    let (mut light, mut heavy) = (flooded(1, 1), flooded(64, 127));
    for sample in [&light, &heavy] {
        let mut classes = [0_u32; 32];
        for v in sample {
            classes[(v * 32.0).clamp(0.0, 31.0) as usize] += 1;
        }
        let expected = sample.len() as f64 / 32.0;
        let chi_square: f64 = classes.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        // 31 degrees of freedom: exceeded with probability 10^-4.
        assert!(chi_square < 69.1, "{chi_square}");
    }
    let difference = kolmogorov_smirnov(&mut light, &mut heavy);
    // Two samples of 8,192: exceeded with probability 10^-4.
    assert!(difference < 2.23 * (2.0 / light.len() as f64).sqrt(), "{difference}");
}

#[test]
fn switched_responses_look_alike() {
    let mut party = Party::new(&ParamsLiteral::n4096(), 13);
    let n = party.params.degree();
    let ring = Pow2::new(22).unwrap();
    let positions: Vec<_> = (0..n as u32).collect();
    let spec = spec(&party.params, n, 64.0, 127.0, ring);
    let plain = party.plain(ring);
    let mut noises = [(1, 1), (64, 127)].map(|(terms, max)| {
        let weights = party.weights(terms, max);
        let sum = party.product(std::slice::from_ref(&plain), &[weights], ring);
        let mask = party.plain(ring);
        let response = respond(sum, &party.public, &positions, &mask, &spec, &mut party.rng).unwrap();
        let mut classes = [0_u32; 64];
        response.uniform.iter().for_each(|&v| classes[(v >> (spec.width() - 6)) as usize] += 1);
        let expected = n as f64 / 64.0;
        let chi_square: f64 = classes.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        // 63 degrees of freedom: exceeded with probability 10^-4.
        assert!(chi_square < 114.0, "{chi_square}");
        let phase = party.secret.phase(&response, &positions, &spec).unwrap();
        let step = 1 << spec.guard();
        let noise = phase.iter().map(|&v| ((v + step / 2) % step) as f64 - step as f64 / 2.0);
        noise.collect::<Vec<_>>()
    });
    let [light, heavy] = &mut noises;
    let difference = kolmogorov_smirnov(light, heavy);
    assert!(difference < 2.23 * (2.0 / n as f64).sqrt(), "{difference}");
    // The flood fills at least a quarter of the step and leaves room for rounding.
    let widest = light.iter().chain(heavy.iter()).fold(0.0_f64, |acc, v| acc.max(v.abs()));
    assert!((128.0..512.0).contains(&widest), "{widest}");
}

#[test]
fn same_input_other_response() {
    let mut party = Party::new(&ParamsLiteral::n4096(), 14);
    let ring = Pow2::new(16).unwrap();
    let spec = spec(&party.params, 10, 1.0, 1.0, ring);
    let plain = party.plain(ring);
    let ciphertext = Requests::encrypt(&party.secret, &[plain], ring, &mut party.rng).into_ciphertexts();
    let weight = Poly::from_signed(&party.params, &[1]).into_eval();
    let positions: Vec<_> = (0..10).collect();
    let responses = [(); 2].map(|()| {
        let mut sum = Accumulator::new(&party.params);
        sum.mul_acc(&ciphertext[0], &weight);
        respond(sum, &party.public, &positions, &[0; 10], &spec, &mut party.rng).unwrap()
    });
    assert_ne!(responses[0].body, responses[1].body);
    let same = responses[0].uniform.iter().zip(&responses[1].uniform).filter(|(a, b)| a == b).count();
    assert!(same < 10, "{same} coefficients of c_1 repeat");
    let decrypted = responses.map(|r| party.secret.decrypt(&r, &positions, &spec).unwrap());
    assert_eq!(decrypted[0], decrypted[1]);
}

#[test]
fn streams_equal_lists() {
    let mut party = Party::new(&ParamsLiteral::n4096(), 15);
    let ring = Pow2::new(24).unwrap();
    let plains = [(); 3].map(|()| party.plain(ring));
    let spec = spec(&party.params, 50, 1.0, 1.0, ring);
    let positions = party.positions(50);
    let mut stream = Encryptor::new(&party.secret, &mut party.rng);
    let mut expander = Expander::new(stream.seed());
    for plain in &plains {
        let mut bytes = Vec::new();
        stream.encrypt(plain, ring, &mut party.rng).encode(&mut bytes);
        let ciphertext = expander.next(Poly::decode(&bytes, &party.params).unwrap());
        let mut sum = Accumulator::new(&party.params);
        sum.mul_acc(&ciphertext, &Poly::from_signed(&party.params, &[-3]).into_eval());
        let response = respond(sum, &party.public, &positions, &[1; 50], &spec, &mut party.rng).unwrap();
        let result = party.secret.decrypt(&response, &positions, &spec).unwrap();
        let expected =
            positions.iter().map(|&i| ring.sub(ring.mul(ring.from_signed(-3), plain[i as usize]), 1));
        assert!(result.into_iter().eq(expected));
    }
}

#[test]
fn wire_round_trips_and_refusals() {
    let mut party = Party::new(&ParamsLiteral::n4096(), 16);
    let ring = Pow2::new(22).unwrap();
    let shape = RequestShape { params: party.params.clone(), count: 2 };
    let plains = [(); 2].map(|()| party.plain(ring));
    let requests = Requests::encrypt(&party.secret, &plains, ring, &mut party.rng);
    let mut bytes = Vec::new();
    requests.encode(&mut bytes);
    assert_eq!(bytes.len(), Requests::wire_len(&shape));
    assert_eq!(bytes.len(), 32 + 2 * 2 * 4096 * 50 / 8);
    let decoded = Requests::decode(&bytes, &shape).unwrap();
    assert!(decoded.seed == requests.seed);
    assert!(decoded.bodies.iter().zip(&requests.bodies).all(|(a, b)| a.values() == b.values()));
    refuses_other_lengths::<Requests>(&bytes, &shape);
    // The first residue becomes 2^50 - 1 >= p.
    let mut large = bytes.clone();
    large[32..38].fill(0xff);
    large[38] |= 3;
    assert!(matches!(Requests::decode(&large, &shape), Err(PeerMisbehaved::Invalid { .. })));

    let mut bytes = Vec::new();
    party.public.encode(&mut bytes);
    let public = PublicKey::decode(&bytes, &party.params).unwrap();
    assert!(public.zero.body.values() == party.public.zero.body.values());
    assert!(public.zero.uniform.values() == party.public.zero.uniform.values());
    refuses_other_lengths::<PublicKey>(&bytes, &party.params);

    let spec = spec(&party.params, 5, 1.0, 1.0, ring);
    let sum = party.product(&plains[..1], &[vec![1]], ring);
    let response = respond(sum, &party.public, &[9, 4, 1, 0, 8], &[0; 5], &spec, &mut party.rng).unwrap();
    let shape = ResponseShape { params: party.params.clone(), spec, coefficients: 5 };
    let mut bytes = Vec::new();
    response.encode(&mut bytes);
    let width = spec.body_width() as usize;
    assert_eq!(bytes.len(), 4096 * spec.width() as usize / 8 + (5 * width).div_ceil(8));
    assert_eq!(Response::decode(&bytes, &shape), Ok(response));
    refuses_other_lengths::<Response>(&bytes, &shape);
    assert_ne!(5 * width % 8, 0, "the last byte is not full");
    *bytes.last_mut().unwrap() |= 0x80;
    assert!(matches!(Response::decode(&bytes, &shape), Err(PeerMisbehaved::Invalid { .. })));
}

fn refuses_other_lengths<M: Wire>(bytes: &[u8], spec: &M::Spec) {
    let longer = [bytes, &[0]].concat();
    for wrong in [&bytes[..0], &bytes[..31], &bytes[..bytes.len() - 1], &longer] {
        assert!(matches!(M::decode(wrong, spec), Err(PeerMisbehaved::Length { .. })));
    }
}

#[test]
fn misuse_is_an_error() {
    let mut party = Party::new(&ParamsLiteral::n4096(), 17);
    let ring = Pow2::new(20).unwrap();
    let spec = spec(&party.params, 3, 1.0, 1.0, ring);
    let mut answer = |positions: &[u32], mask: &[u32]| {
        let sum = Accumulator::new(&party.params);
        respond(sum, &party.public, positions, mask, &spec, &mut party.rng)
    };
    assert_eq!(answer(&[0, 4096], &[0; 2]).err(), Some(HeError::Position { position: 4096, n: 4096 }));
    assert_eq!(answer(&[7, 8, 7], &[0; 3]).err(), Some(HeError::Position { position: 7, n: 4096 }));
    assert!(matches!(answer(&[1, 2], &[0]), Err(HeError::Count { expected: 2, got: 1, .. })));
    let response = answer(&[1, 2, 3], &[5; 3]).unwrap();
    assert!(matches!(party.secret.decrypt(&response, &[1, 2], &spec), Err(HeError::Count { .. })));
    assert_eq!(party.secret.decrypt(&response, &[1, 2, 3], &spec), Ok(vec![(1 << 20) - 5; 3]));
    let other = Party::new(&ParamsLiteral::n8192(), 18);
    assert!(matches!(other.secret.decrypt(&response, &[1, 2, 3], &spec), Err(HeError::Count { .. })));
    assert_eq!(format!("{:?}", party.secret), "SecretKey(..)");
}
