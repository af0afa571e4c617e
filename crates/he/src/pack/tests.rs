//! Packed responses against the products that they hold.

use phineus_kernel::wire::{PeerMisbehaved, Wire};
use phineus_kernel::z2k::Pow2;
use phineus_kernel::zq::ntt_primes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::noise::{self, LayerInput, packing_noise};
use crate::tests::{Party, exact_noise, kolmogorov_smirnov, schoolbook};
use crate::{GaloisShape, Params, ParamsLiteral, ResponseShape};

/// Largest weight and number of weights of the tests' polynomials.
const MAX: i32 = 7;
const TERMS: usize = 8;

fn spec(params: &Params, coefficients: usize, ring: Pow2, levels: u32) -> ReplySpec {
    let [w1, w2] = [TERMS as f64, (TERMS as f64).sqrt()].map(|norm| norm * f64::from(MAX));
    let input = LayerInput { coefficients, w2, w1, ring };
    noise::prove_packed(&[(params, input, levels)]).unwrap().layers[0].spec
}

/// A response to a random product, and what its wanted coefficients are.
fn respond(party: &mut Party, ring: Pow2, positions: &[u32], spec: &ReplySpec) -> (Masked, Vec<u32>) {
    let (plain, weights) = (party.plain(ring), party.weights(TERMS, MAX.min((ring.mask() >> 1) as i32)));
    let mut product = vec![0; party.params.degree()];
    schoolbook(ring, &plain, &weights, &mut product);
    let mask: Vec<u32> = positions.iter().map(|_| ring.reduce(party.rng.random())).collect();
    let expected = positions.iter().zip(&mask).map(|(&i, &s)| ring.sub(product[i as usize], s)).collect();
    let sum = party.product(&[plain], &[weights], ring);
    let masked = Masked::new(sum, &party.public, positions, &mask, spec, &mut party.rng).unwrap();
    (masked, expected)
}

/// Packs responses with these positions, sends them and compares.
fn exact(party: &mut Party, ring: Pow2, positions: &[Vec<u32>], levels: u32) -> Layout {
    let params = party.params.clone();
    let keys = GaloisKeys::generate(&party.secret, levels, &mut party.rng).unwrap();
    let layout = Layout::new(params.degree(), positions, levels).unwrap();
    let spec = spec(&params, positions.iter().map(Vec::len).sum(), ring, levels);
    for group in 0..layout.groups() {
        let responses = layout.responses(group).map(|i| respond(party, ring, &positions[i], &spec));
        let (responses, expected): (Vec<_>, Vec<_>) = responses.unzip();
        let packed = pack(&keys, &layout, group, &spec, responses).unwrap();
        let coefficients = layout.positions(group).len();
        let shape = ResponseShape { params: params.clone(), spec, coefficients };
        let mut bytes = Vec::new();
        packed.encode(&mut bytes);
        assert_eq!(bytes.len(), Response::wire_len(&shape));
        let packed = Response::decode(&bytes, &shape).unwrap();
        let result = party.secret.decrypt(&packed, layout.positions(group), &spec).unwrap();
        assert!(result == expected.concat(), "degree {}, {levels} levels, {ring:?}", params.degree());
    }
    layout
}

#[test]
fn interleaved_responses_are_exact() {
    let literals = [
        ParamsLiteral::n4096(),
        ParamsLiteral::n4096_full(),
        ParamsLiteral::n8192(),
        ParamsLiteral::n8192_wide(),
    ];
    for (seed, literal) in literals.into_iter().enumerate() {
        let mut party = Party::new(&literal, 30 + seed as u64);
        let n = party.params.degree() as u32;
        for (levels, count, bits) in [(1, 2, 24), (3, 11, 20), (4, 13, 26), (2, 1, 4)] {
            let ring = Pow2::new(bits).unwrap();
            let stride = 1 << levels;
            let positions: Vec<Vec<u32>> = (0..count)
                .map(|i| {
                    // An offset of its own each, every place or some of them.
                    let offset = i * 5 % stride;
                    (0..n / stride).step_by(1 + i as usize % 3).map(|p| p * stride + offset).collect()
                })
                .collect();
            let layout = exact(&mut party, ring, &positions, levels);
            assert_eq!(layout.groups(), (count as usize).div_ceil(1 << levels));
        }
    }
}

#[test]
fn primes_of_different_lengths() {
    let primes = [50, 30].map(|bits| ntt_primes(bits, 4096, 1)[0]).to_vec();
    let mut party = Party::new(&ParamsLiteral { log_n: 12, primes }, 35);
    let positions: Vec<Vec<u32>> = vec![(0..1024).map(|i| 4 * i + 1).collect(); 4];
    let layout = exact(&mut party, Pow2::new(6).unwrap(), &positions, 2);
    assert_eq!(layout.switches(), 3);
}

#[test]
fn arbitrary_positions_are_exact() {
    let mut party = Party::new(&ParamsLiteral::n4096(), 40);
    let ring = Pow2::new(22).unwrap();
    // Contiguous runs: all residues of the finest division, one key switch per coefficient.
    let runs: Vec<Vec<u32>> =
        [0..5, 100..107, 4090..4096].into_iter().map(|r: std::ops::Range<u32>| r.collect()).collect();
    let layout = exact(&mut party, ring, &runs, 12);
    assert_eq!((layout.groups(), layout.levels()), (1, 5));
    // Pairs and triples of residues.
    let pairs: Vec<Vec<u32>> = (0..5)
        .map(|i| (0..64).map(|j| 64 * j + [3, 17, 40][(i + j as usize) % (2 + i % 2)]).collect())
        .collect();
    let layout = exact(&mut party, ring, &pairs, 3);
    assert_eq!((layout.groups(), layout.levels()), (2, 3));
}

// Requests are packed as they are, without flood, so that the noise of the switches can be seen.
#[test]
fn noise_is_within_its_bound() {
    for (levels, seed) in [(2, 50), (4, 51)] {
        let mut party = Party::new(&ParamsLiteral::n4096(), seed);
        let params = party.params.clone();
        let n = params.degree();
        let keys = GaloisKeys::generate(&party.secret, levels, &mut party.rng).unwrap();
        let ring = Pow2::new(20).unwrap();
        let mut body = Poly::<Coeff>::zero(&params);
        let mut messages = vec![0; n];
        let mut tree = Tree::new(&keys, levels);
        for place in 0..1_usize << levels {
            let plain = party.plain(ring);
            let ciphertext = crate::Requests::encrypt(&party.secret, &[&plain], ring, &mut party.rng)
                .into_ciphertexts()
                .remove(0);
            let target = place.reverse_bits() >> (usize::BITS - levels);
            let half = ciphertext.body.into_coeff();
            for at in (0..n).step_by(1 << levels) {
                messages[at + target] = plain[at];
                (0..params.limbs()).for_each(|l| body.limb_mut(l)[at + target] = half.limb(l)[at]);
            }
            tree.push(ciphertext.uniform.into_coeff(), 0);
        }
        let [switched, uniform] = tree.finish();
        for limb in 0..params.limbs() {
            pointwise::add_assign(params.modulus(limb), body.limb_mut(limb), switched.limb(limb));
        }
        let positions: Vec<u32> = (0..n as u32).collect();
        let phase = crate::tests::exact_phase(&party, &[body, uniform], &positions);
        let noise = exact_noise(&party, &phase, &messages, ring);
        let parameter = packing_noise(&params, levels);
        let variance = noise.iter().map(|&v| (v as f64).powi(2)).sum::<f64>() / n as f64;
        // Uniform digits have a third of the square of their bound.
        let ratio = variance / (parameter / 3.0);
        assert!((0.85..1.15).contains(&ratio), "{levels} levels: {ratio}");
        assert!(noise.iter().all(|&v| (v as f64).abs() < 9.0 * parameter.sqrt()));
    }
}

#[test]
fn other_coefficients_leave_nothing() {
    let mut party = Party::new(&ParamsLiteral::n4096(), 60);
    let ring = Pow2::new(24).unwrap();
    let positions: Vec<Vec<u32>> = vec![(0..512).map(|i| 8 * i).collect(); 3];
    let spec = spec(&party.params, 3 * 512, ring, 3);
    let keys = GaloisKeys::generate(&party.secret, 2, &mut party.rng).unwrap();
    let layout = Layout::new(4096, &positions, 2).unwrap();
    let plains = [(); 3].map(|()| party.plain(ring));
    let requests = crate::Requests::encrypt(&party.secret, &plains, ring, &mut party.rng);
    let one = Poly::from_signed(&party.params, &[1]).into_eval();
    let packed = |noise: i32| {
        // The same randomness both times, and something else at the coefficients that nobody wants.
        let mut rng = StdRng::seed_from_u64(1);
        let other: Vec<i32> = (0..4096).map(|i| if i % 8 == 0 { 0 } else { noise * (i + 1) }).collect();
        let other = Poly::from_signed(&party.params, &other).into_eval();
        let masked = requests.clone().into_ciphertexts().into_iter().zip(&positions).map(|(mut c, p)| {
            for limb in 0..party.params.limbs() {
                let modulus = party.params.modulus(limb);
                pointwise::add_assign(modulus, c.body.limb_mut(limb), other.limb(limb));
            }
            let mut sum = Accumulator::new(&party.params);
            sum.mul_acc(&c, &one);
            Masked::new(sum, &party.public, p, &[0; 512], &spec, &mut rng).unwrap()
        });
        pack(&keys, &layout, 0, &spec, masked.collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(packed(0), packed(100_003));
}

/// What a client can see of merged responses, c_1 and the noise of what it decrypts, for light and for heavy weights.
#[test]
fn merged_responses_look_alike_whatever_the_weights() {
    let mut party = Party::new(&ParamsLiteral::n4096(), 64);
    let n = party.params.degree();
    let ring = Pow2::new(22).unwrap();
    let positions: Vec<Vec<u32>> = vec![(0..1024).map(|i| 4 * i).collect(); 4];
    let layout = Layout::new(n, &positions, 2).unwrap();
    let keys = GaloisKeys::generate(&party.secret, 2, &mut party.rng).unwrap();
    let input = LayerInput { coefficients: n, w2: 8.0 * 127.0, w1: 64.0 * 127.0, ring };
    let spec = noise::prove_packed(&[(&party.params, input, 2)]).unwrap().layers[0].spec;
    let mut noises = [(1, 1), (64, 127)].map(|(terms, max)| {
        let responses: Vec<Masked> = positions
            .iter()
            .map(|positions| {
                let (plain, weights) = (party.plain(ring), party.weights(terms, max));
                let sum = party.product(&[plain], &[weights], ring);
                let mask: Vec<u32> = positions.iter().map(|_| ring.reduce(party.rng.random())).collect();
                Masked::new(sum, &party.public, positions, &mask, &spec, &mut party.rng).unwrap()
            })
            .collect();
        let packed = pack(&keys, &layout, 0, &spec, responses).unwrap();
        let mut classes = [0_u32; 64];
        packed.uniform.iter().for_each(|&v| classes[(v >> (spec.width() - 6)) as usize] += 1);
        let expected = n as f64 / 64.0;
        let chi_square: f64 = classes.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        // 63 degrees of freedom: exceeded with probability 10^-4.
        assert!(chi_square < 114.0, "{chi_square}");
        let phase = party.secret.phase(&packed, layout.positions(0), &spec).unwrap();
        let step = 1 << spec.guard();
        let noise = phase.iter().map(|&v| ((v + step / 2) % step) as f64 - step as f64 / 2.0);
        noise.collect::<Vec<_>>()
    });
    let [light, heavy] = &mut noises;
    let difference = kolmogorov_smirnov(light, heavy);
    // Exceeded with probability 10^-4.
    assert!(difference < 2.23 * (2.0 / n as f64).sqrt(), "{difference}");
}

#[test]
fn misuse_is_an_error() {
    let mut party = Party::new(&ParamsLiteral::n4096(), 61);
    let ring = Pow2::new(24).unwrap();
    let positions = [vec![0, 4], vec![8, 12], vec![16]];
    let spec = spec(&party.params, 5, ring, 2);
    let keys = GaloisKeys::generate(&party.secret, 1, &mut party.rng).unwrap();
    let layout = Layout::new(4096, &positions, 2).unwrap();
    let masked = |party: &mut Party| positions.each_ref().map(|p| respond(party, ring, p, &spec).0);
    let few_keys = pack(&keys, &layout, 0, &spec, masked(&mut party));
    assert_eq!(few_keys, Err(HeError::Levels { needed: 2, most: 1 }));
    let keys = GaloisKeys::generate(&party.secret, 2, &mut party.rng).unwrap();
    let few = pack(&keys, &layout, 0, &spec, masked(&mut party).into_iter().take(2));
    assert_eq!(few, Err(HeError::Count { what: "responses", expected: 3, got: 2 }));
    let many = masked(&mut party).into_iter().chain(masked(&mut party));
    let many = pack(&keys, &layout, 0, &spec, many);
    assert_eq!(many, Err(HeError::Count { what: "responses", expected: 3, got: 4 }));
    let swapped = pack(&keys, &layout, 0, &spec, masked(&mut party).into_iter().rev());
    assert_eq!(swapped, Err(HeError::Count { what: "coefficients", expected: 2, got: 1 }));
    let sum = Accumulator::new(&party.params);
    let short = Masked::new(sum, &party.public, &[1, 2], &[0], &spec, &mut party.rng);
    assert_eq!(short.err(), Some(HeError::Count { what: "mask", expected: 2, got: 1 }));
    let sum = Accumulator::new(&party.params);
    let far = Masked::new(sum, &party.public, &[4096], &[0], &spec, &mut party.rng);
    assert_eq!(far.err(), Some(HeError::Position { position: 4096, n: 4096 }));
}

#[test]
fn wrong_keys_spoil_results_only() {
    // Keys of another secret, as a peer might send them: garbage for it, no panic here.
    let mut party = Party::new(&ParamsLiteral::n4096(), 62);
    let ring = Pow2::new(24).unwrap();
    let positions = vec![(0..1024).map(|i| 4 * i).collect::<Vec<u32>>(); 4];
    let spec = spec(&party.params, 4096, ring, 2);
    let layout = Layout::new(4096, &positions, 2).unwrap();
    let other = Party::new(&ParamsLiteral::n4096(), 63);
    let keys = GaloisKeys::generate(&other.secret, 2, &mut party.rng).unwrap();
    let mut bytes = Vec::new();
    keys.encode(&mut bytes);
    let shape = GaloisShape { params: party.params.clone(), levels: 2 };
    let keys = GaloisKeys::decode(&bytes, &shape).unwrap();
    let responses: Vec<_> = positions.iter().map(|p| respond(&mut party, ring, p, &spec)).collect();
    let (responses, expected): (Vec<_>, Vec<_>) = responses.into_iter().unzip();
    let packed = pack(&keys, &layout, 0, &spec, responses).unwrap();
    let result = party.secret.decrypt(&packed, layout.positions(0), &spec).unwrap();
    let right = result.iter().zip(expected.iter().flatten()).filter(|(a, b)| a == b).count();
    assert!(right < 10, "{right} of 4096");
    let truncated = GaloisKeys::decode(&bytes[..bytes.len() - 1], &shape);
    assert!(matches!(truncated, Err(PeerMisbehaved::Length { .. })));
}
