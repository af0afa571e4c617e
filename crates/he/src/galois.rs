//! Galois keys: what the server needs to follow the automorphisms of [packing](mod@crate::pack).
//!
//! Level t of a degree n is phi_t: X -> X^(n / 2^t + 1), which fixes X^(2^(t+1)) and negates X^(2^t). A ciphertext
//! (c_0, c_1) becomes one of phi_t of its message by applying phi_t to both halves and switching from phi_t(s) back
//! to s. With c_1 = sum_i d_i E_i mod q, where d_i is c_1 modulo p_i, centred, and E_i = (q/p_i) \[(q/p_i)^-1\]_(p_i)
//! is 1 modulo p_i and 0 modulo the other primes, the key holds for every prime
//!
//! ```text
//! (k_i0, k_i1) = (e_i + E_i s - a_i phi_t^-1(s), a_i),   and
//! phi_t(c_0 + sum_i d_i k_i0) + phi_t(sum_i d_i k_i1) s = phi_t(c_0 + c_1 s) + phi_t(sum_i d_i e_i).
//! ```
//!
//! The digits are the residues that a polynomial consists of anyway, and no further prime is needed (Bajard, Eynard,
//! Hasan, Zucca, "A full RNS variant of FV like somewhat homomorphic encryption schemes", SAC 2016, on relinearisation).
//! Encrypting s under phi_t^-1(s) rather than phi_t(s) under s leaves one permutation of the two sums per switch.
//!
//! Cost: `limbs` encryptions per level, seeded, once per session. A switch takes limbs^2 transforms.
//!
//! Security: the usual assumption of circular security, that encryptions of s under its conjugates look uniform. The
//! keys are public; the client makes them, and it can only harm its own results by making them wrong.

use std::fmt;
use std::sync::Arc;

use phineus_kernel::ntt::automorphism::Automorphism;
use phineus_kernel::ntt::pointwise;
use phineus_kernel::sample::centred_binomial;
use phineus_kernel::wire::{PeerMisbehaved, Wire, check_len};
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::expand::{Purpose, uniform_half};
use crate::{Ciphertext, Eval, HeError, Params, Poly, SecretKey};

/// The keys of the levels 0, 1, .. up to a number that the plan fixes.
pub struct GaloisKeys {
    params: Arc<Params>,
    seed: [u8; 32],
    levels: Vec<Level>,
}

/// What determines the size of [`GaloisKeys`].
#[derive(Debug, Clone)]
pub struct GaloisShape {
    /// Parameters.
    pub params: Arc<Params>,
    /// Number of levels, at most log2 n.
    pub levels: u32,
}

/// phi_t, its key and the factor of the merge that it belongs to.
pub(crate) struct Level {
    pub(crate) automorphism: Automorphism,
    /// (k_i0, k_i1) per prime.
    pub(crate) digits: Vec<Ciphertext>,
    /// X^(2^t).
    pub(crate) monomial: Poly<Eval>,
}

impl GaloisKeys {
    /// The keys of `levels` levels, enough to merge 2^`levels` responses into one.
    ///
    /// # Errors
    /// [`HeError::Levels`] if there are more levels than log2 n.
    pub fn generate(key: &SecretKey, levels: u32, rng: &mut impl CryptoRng) -> Result<Self, HeError> {
        let params = key.params();
        check_levels(params, levels)?;
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let mut bodies = Vec::with_capacity(levels as usize * params.limbs());
        for level in 0..levels {
            let inverse = automorphism(params, inverse_exponent(params.degree(), level));
            for digit in 0..params.limbs() {
                let uniform = uniform(params, &seed, level, digit);
                bodies.push(encrypt_secret(key, &inverse, &uniform, digit, rng));
            }
        }
        Ok(Self::from_bodies(params, seed, bodies))
    }

    /// Parameters of the keys.
    #[must_use]
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// Number of levels.
    #[must_use]
    pub fn levels(&self) -> u32 {
        self.levels.len() as u32
    }

    pub(crate) fn level(&self, level: u32) -> &Level {
        &self.levels[level as usize]
    }

    /// `limbs` bodies per level.
    fn from_bodies(params: &Arc<Params>, seed: [u8; 32], bodies: Vec<Poly<Eval>>) -> Self {
        let mut levels = Vec::with_capacity(bodies.len() / params.limbs());
        let mut bodies = bodies.into_iter().peekable();
        while bodies.peek().is_some() {
            let level = levels.len() as u32;
            let digits = bodies.by_ref().take(params.limbs()).enumerate();
            let digits = digits
                .map(|(digit, body)| Ciphertext { body, uniform: uniform(params, &seed, level, digit) })
                .collect();
            let mut monomial = vec![0; params.degree()];
            monomial[1 << level] = 1;
            levels.push(Level {
                automorphism: automorphism(params, exponent(params.degree(), level)),
                digits,
                monomial: Poly::from_signed(params, &monomial).into_eval(),
            });
        }
        Self { params: params.clone(), seed, levels }
    }
}

/// Seed, then bodies, level by level.
impl Wire for GaloisKeys {
    type Spec = GaloisShape;

    const NAME: &'static str = "Galois keys";

    fn wire_len(shape: &Self::Spec) -> usize {
        32 + shape.levels as usize * shape.params.limbs() * Poly::<Eval>::wire_len(&shape.params)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seed);
        self.levels.iter().flat_map(|level| &level.digits).for_each(|digit| digit.body.encode(out));
    }

    fn decode(bytes: &[u8], shape: &Self::Spec) -> Result<Self, PeerMisbehaved> {
        let GaloisShape { params, levels } = shape;
        if check_levels(params, *levels).is_err() {
            return Err(PeerMisbehaved::Invalid { what: Self::NAME, reason: "more levels than log2 n" });
        }
        check_len(Self::NAME, bytes, Self::wire_len(shape))?;
        let (head, tail) = bytes.split_at(32);
        let mut seed = [0; 32];
        seed.copy_from_slice(head);
        let bodies = tail.chunks_exact(Poly::<Eval>::wire_len(params));
        let bodies = bodies.map(|body| Poly::decode(body, params)).collect::<Result<_, _>>()?;
        Ok(Self::from_bodies(params, seed, bodies))
    }
}

impl fmt::Debug for GaloisKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GaloisKeys({} levels)", self.levels.len())
    }
}

/// n / 2^t + 1.
fn exponent(n: usize, level: u32) -> usize {
    (n >> level) + 1
}

/// The exponent h with `h exponent(n, level) = 1` modulo 2n.
fn inverse_exponent(n: usize, level: u32) -> usize {
    let g = exponent(n, level);
    // Newton's iteration; odd numbers are their own inverses modulo 8, and every step doubles the bits.
    (0..5).fold(g, |h, _| h.wrapping_mul(2_usize.wrapping_sub(g.wrapping_mul(h)))) % (2 * n)
}

/// The permutation is the same for all primes.
fn automorphism(params: &Params, g: usize) -> Automorphism {
    params.plans()[0].automorphism(g)
}

fn uniform(params: &Arc<Params>, seed: &[u8; 32], level: u32, digit: usize) -> Poly<Eval> {
    uniform_half(params, Purpose::Galois, seed, u64::from(level) << 32 | digit as u64)
}

/// `e + E_i s - a phi^-1(s)`.
fn encrypt_secret(
    key: &SecretKey,
    inverse: &Automorphism,
    uniform: &Poly<Eval>,
    digit: usize,
    rng: &mut impl CryptoRng,
) -> Poly<Eval> {
    let params = key.params();
    let mut error = Zeroizing::new(vec![0_i8; params.degree()]);
    centred_binomial(rng, &mut error);
    let mut body = Poly::from_bytes(params, &error).into_eval();
    let mut product = Zeroizing::new(vec![0; params.degree()]);
    for limb in 0..params.limbs() {
        let modulus = params.modulus(limb);
        inverse.apply(key.limb(limb), &mut product);
        pointwise::mul_assign(modulus, &mut product, uniform.limb(limb));
        pointwise::sub_assign(modulus, body.limb_mut(limb), &product);
        if limb == digit {
            pointwise::add_assign(modulus, body.limb_mut(limb), key.limb(limb));
        }
    }
    body
}

/// Fails on more levels than log2 n.
pub(crate) fn check_levels(params: &Params, levels: u32) -> Result<(), HeError> {
    let most = params.degree().ilog2();
    if levels <= most { Ok(()) } else { Err(HeError::Levels { needed: levels, most }) }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::ParamsLiteral;

    #[test]
    fn inverse_exponents() {
        for n in [1024_usize, 4096, 32_768] {
            for level in 0..n.ilog2() {
                assert_eq!(exponent(n, level) * inverse_exponent(n, level) % (2 * n), 1);
            }
        }
    }

    #[test]
    fn keys_encrypt_the_secret_under_its_conjugate() {
        let params = Params::new(&ParamsLiteral::n8192()).unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let secret = SecretKey::generate(&params, &mut rng);
        let keys = GaloisKeys::generate(&secret, 3, &mut rng).unwrap();
        for level in 0..3 {
            let inverse = automorphism(&params, inverse_exponent(params.degree(), level));
            for (digit, key) in keys.level(level).digits.iter().enumerate() {
                // Body + uniform phi^-1(s) - E_i s, in every limb the same small error.
                let mut error = Poly::<Eval>::zero(&params);
                for limb in 0..params.limbs() {
                    let modulus = params.modulus(limb);
                    let error = error.limb_mut(limb);
                    inverse.apply(secret.limb(limb), error);
                    pointwise::mul_assign(modulus, error, key.uniform.limb(limb));
                    pointwise::add_assign(modulus, error, key.body.limb(limb));
                    if limb == digit {
                        pointwise::sub_assign(modulus, error, secret.limb(limb));
                    }
                }
                let error = error.into_coeff();
                let signed = |limb: usize| {
                    let p = params.modulus(limb).value();
                    let centre = move |v: &u64| if *v > p / 2 { *v as i64 - p as i64 } else { *v as i64 };
                    error.limb(limb).iter().map(centre).collect::<Vec<_>>()
                };
                assert!(signed(0).iter().all(|e| e.abs() <= 21));
                assert!((1..params.limbs()).all(|limb| signed(limb) == signed(0)));
            }
        }
    }

    #[test]
    fn round_trip_and_malformed_keys() {
        let params = Params::new(&ParamsLiteral::n4096()).unwrap();
        let mut rng = StdRng::seed_from_u64(2);
        let secret = SecretKey::generate(&params, &mut rng);
        let keys = GaloisKeys::generate(&secret, 2, &mut rng).unwrap();
        let shape = GaloisShape { params: params.clone(), levels: 2 };
        let mut bytes = Vec::new();
        keys.encode(&mut bytes);
        assert_eq!(bytes.len(), 32 + 2 * 2 * 51_200);
        let decoded = GaloisKeys::decode(&bytes, &shape).unwrap();
        for (a, b) in keys.levels.iter().zip(&decoded.levels) {
            for (a, b) in a.digits.iter().zip(&b.digits) {
                assert!(a.body.values() == b.body.values() && a.uniform.values() == b.uniform.values());
            }
        }
        for levels in [1, 3] {
            let shape = GaloisShape { params: params.clone(), levels };
            assert!(matches!(GaloisKeys::decode(&bytes, &shape), Err(PeerMisbehaved::Length { .. })));
        }
        assert!(matches!(GaloisKeys::decode(&bytes[1..], &shape), Err(PeerMisbehaved::Length { .. })));
        assert!(matches!(GaloisKeys::decode(&[], &shape), Err(PeerMisbehaved::Length { .. })));
        // The first residue becomes 2^50 - 1 >= p.
        bytes[32..38].fill(0xff);
        bytes[38] |= 3;
        assert!(matches!(GaloisKeys::decode(&bytes, &shape), Err(PeerMisbehaved::Invalid { .. })));
        let deep = GaloisShape { params, levels: 13 };
        assert!(matches!(GaloisKeys::decode(&bytes, &deep), Err(PeerMisbehaved::Invalid { .. })));
        let refused = GaloisKeys::generate(&secret, 13, &mut rng);
        assert!(matches!(refused, Err(HeError::Levels { needed: 13, most: 12 })));
    }
}
