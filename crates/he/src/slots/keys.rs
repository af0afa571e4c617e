//! The client's keys: secret, public, and those that let the server relinearise and rotate.
//!
//! A switching key from s' to s (Han and Ki, "Better bootstrapping for approximate homomorphic encryption", CT-RSA 2020,
//! hybrid key switching) holds for every digit g of the modulus
//!
//! ```text
//! (k_g0, k_g1) = (e_g + P E_g s' - a_g s, a_g) modulo q P,   E_g = 1 modulo the primes of digit g, 0 modulo the others,
//! ```
//!
//! so that for d_g = c modulo the product of digit g, centred, `sum d_g (k_g0 + k_g1 s) = P c s' + sum d_g e_g`, and a
//! division by P leaves c s' with a noise of the size of P D / P. Since E_g does not depend on the level, a key for a high
//! level serves all lower ones; a key that is used at level l at most is made of the limbs and digits of level l only.
//!
//! The key of a rotation phi encrypts s under phi^-1(s), so that the automorphism is applied after the switch, to two
//! polynomials instead of all digits, and all rotations of one ciphertext share the digits ("hoisting").
//!
//! Security: RLWE with the conjugate-invariant ring, and circular security, as usual: encryptions of s^2 under s and of s
//! under its conjugates look uniform.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use phineus_kernel::ntt32::{Automorphism, pointwise, rotation};
use phineus_kernel::sample::{centred_binomial, ternary};
use phineus_kernel::wire::{PeerMisbehaved, Wire, check_len};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::expand::{Purpose, uniform};
use super::noise::secret_bound;
use super::poly::Poly;
use super::{Params, SlotsError};

/// A uniform ternary element s whose slots are not unusually large. Zeroed on drop, not `Clone`, never shown.
pub struct SecretKey {
    params: Arc<Params>,
    /// s modulo all primes, by values in Montgomery form.
    eval: Vec<Zeroizing<Vec<u32>>>,
}

/// An encryption of zero at level 0, from which the server makes fresh ones.
#[derive(Clone)]
pub struct PublicKey {
    pub(crate) params: Arc<Params>,
    seed: [u8; 32],
    pub(crate) body: Poly,
    pub(crate) uniform: Poly,
}

/// Which keys a program needs; both parties derive it from the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyShape {
    params: Arc<Params>,
    /// Highest level of a relinearisation.
    relin: Option<usize>,
    /// For each rotation the highest level at which it is used.
    rotations: BTreeMap<u32, usize>,
}

/// The client's message with all switching keys: a seed and one half of each.
#[derive(Clone)]
pub struct KeyUpload {
    shape: KeyShape,
    seed: [u8; 32],
    /// Relinearisation first, then rotations in ascending order; one polynomial per digit.
    bodies: Vec<Vec<Poly>>,
}

/// The keys as the server uses them.
pub struct EvalKeys {
    params: Arc<Params>,
    relin: Option<SwitchKey>,
    rotations: BTreeMap<u32, RotationKey>,
}

/// A switching key.
pub(crate) struct SwitchKey {
    /// Highest level.
    pub(crate) level: usize,
    /// Number of limbs of q.
    pub(crate) limbs: usize,
    /// Per digit both halves, by values in Montgomery form, modulo the limbs of its level and the special primes.
    pub(crate) digits: Vec<[Poly; 2]>,
}

/// A rotation and its key.
pub(crate) struct RotationKey {
    pub(crate) automorphism: Automorphism,
    pub(crate) key: SwitchKey,
}

impl SecretKey {
    /// A new key.
    #[must_use]
    pub fn generate(params: &Arc<Params>, rng: &mut impl CryptoRng) -> Self {
        let n = params.slots();
        let mut secret = Zeroizing::new(vec![0_i8; n]);
        // Large slots would void the bounds on noise. Fewer than one key in fifty is drawn again.
        loop {
            ternary(rng, &mut secret);
            let real: Zeroizing<Vec<f64>> = Zeroizing::new(secret.iter().map(|&t| f64::from(t)).collect());
            let slots = Zeroizing::new(params.embedding().slots(&real));
            if slots.iter().fold(0.0, |max: f64, v| max.max(v.abs())) <= secret_bound(n) {
                break;
            }
        }
        Self::from_ternary(params, &secret)
    }

    /// The key with these coefficients.
    pub(crate) fn from_ternary(params: &Arc<Params>, secret: &[i8]) -> Self {
        let n = params.slots();
        let small: Zeroizing<Vec<i32>> = Zeroizing::new(secret.iter().map(|&t| t.into()).collect());
        let residues = |plan: &phineus_kernel::ntt32::Plan| {
            let mut values = Zeroizing::new(vec![0; n]);
            plan.forward(&small, &mut values);
            pointwise::to_montgomery(plan.modulus(), &mut values);
            values
        };
        Self { params: params.clone(), eval: params.plans().iter().map(residues).collect() }
    }

    /// The public key that belongs to this key.
    #[must_use]
    pub fn public_key(&self, rng: &mut impl CryptoRng) -> PublicKey {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let basis = public_basis(&self.params);
        let uniform = uniform(&self.params, Purpose::PublicKey, &seed, (0, 0), &basis);
        let body = self.mask(&uniform, &basis, None, rng);
        PublicKey { params: self.params.clone(), seed, body, uniform }
    }

    /// Parameters of the key.
    #[must_use]
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// s modulo one prime, by values in Montgomery form.
    pub(crate) fn limb(&self, index: usize) -> &[u32] {
        &self.eval[index]
    }

    /// `message + e - uniform s` modulo the primes `basis`, by values; the message by coefficients.
    pub(crate) fn mask(
        &self,
        uniform: &Poly,
        basis: &[usize],
        message: Option<&[i64]>,
        rng: &mut impl CryptoRng,
    ) -> Poly {
        self.mask_under(uniform, basis, message, None, rng)
    }

    /// [`SecretKey::mask`] under the image of s under an automorphism.
    fn mask_under(
        &self,
        uniform: &Poly,
        basis: &[usize],
        message: Option<&[i64]>,
        map: Option<&Automorphism>,
        rng: &mut impl CryptoRng,
    ) -> Poly {
        let n = self.params.slots();
        let mut error = Zeroizing::new(vec![0_i8; n]);
        centred_binomial(rng, &mut error);
        let mut small: Zeroizing<Vec<i32>> = Zeroizing::new(error.iter().map(|&e| e.into()).collect());
        let mut sum = Zeroizing::new(Vec::new());
        if let Some(message) = message {
            sum.extend(message.iter().zip(error.iter()).map(|(&m, &e)| m + i64::from(e)));
        }
        let mut product = Zeroizing::new(vec![0; n]);
        let mut conjugate = Zeroizing::new(vec![0; n]);
        let mut body = Poly::any(n, basis.len());
        for (limb, &index) in basis.iter().enumerate() {
            let plan = &self.params.plans()[index];
            if message.is_some() {
                pointwise::reduce_i64(plan.modulus(), &sum, &mut small);
            }
            plan.forward(&small, body.limb_mut(limb));
            product.copy_from_slice(uniform.limb(limb));
            let secret = match map {
                None => self.limb(index),
                Some(map) => {
                    map.apply(self.limb(index), &mut conjugate);
                    &conjugate
                }
            };
            pointwise::mul_assign(plan.modulus(), &mut product, secret);
            pointwise::sub_assign(plan.modulus(), body.limb_mut(limb), &product);
        }
        body
    }

    /// The bodies of a switching key up to `level`, of s^2 under s, or of s under its image.
    fn switch_bodies(
        &self,
        (seed, number): (&[u8; 32], u64),
        level: usize,
        map: Option<&Automorphism>,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<Poly>, SlotsError> {
        let params = &self.params;
        let basis = params.basis(params.limbs(level)?, true);
        let at = params.level(level)?;
        let mut source = Zeroizing::new(vec![0; params.slots()]);
        let mut bodies = Vec::with_capacity(at.groups.len());
        for (digit, group) in at.groups.iter().enumerate() {
            let uniform = uniform(params, Purpose::SwitchKey, seed, (number, digit as u64), &basis);
            let mut body = self.mask_under(&uniform, &basis, None, map, rng);
            for &index in group.from() {
                let modulus = params.plans()[index].modulus();
                source.copy_from_slice(self.limb(index));
                if map.is_none() {
                    // The square stays in Montgomery form.
                    pointwise::mul_assign(modulus, &mut source, self.limb(index));
                }
                // Out of Montgomery form by a factor without it.
                let factor = modulus.mul_montgomery(at.down.product_mod(index), 1);
                pointwise::scale(modulus, &mut source, factor);
                pointwise::add_assign(modulus, body.limb_mut(index), &source);
            }
            bodies.push(body);
        }
        Ok(bodies)
    }
}

impl KeyShape {
    /// The keys of a program.
    ///
    /// # Errors
    /// [`SlotsError::Level`], [`SlotsError::Rotation`] unless 0 < rotation < slots.
    pub fn new(
        params: &Arc<Params>,
        relin: Option<usize>,
        rotations: BTreeMap<u32, usize>,
    ) -> Result<Self, SlotsError> {
        for &level in relin.iter().chain(rotations.values()) {
            params.level(level)?;
        }
        let slots = params.slots();
        if let Some(&rotation) = rotations.keys().find(|&&k| k == 0 || k as usize >= slots) {
            return Err(SlotsError::Rotation { rotation, slots });
        }
        Ok(Self { params: params.clone(), relin, rotations })
    }

    /// Parameters of the keys.
    #[must_use]
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// (number, level) of every key: 0 for relinearisation, k for the rotation by k.
    fn keys(&self) -> impl Iterator<Item = (u32, usize)> {
        let rotations = self.rotations.iter().map(|(&rotation, &level)| (rotation, level));
        self.relin.map(|level| (0, level)).into_iter().chain(rotations)
    }

    /// Primes, and number of digits, of a key of this level.
    fn extent(&self, level: usize) -> (Vec<usize>, usize) {
        let limbs = self.params.limbs(level).unwrap_or_default();
        (self.params.basis(limbs, true), limbs.div_ceil(self.params.special()))
    }
}

impl KeyUpload {
    /// Makes the keys.
    ///
    /// # Errors
    /// [`SlotsError::Params`] if the shape has other parameters than the secret key.
    pub fn generate(
        secret: &SecretKey,
        shape: &KeyShape,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, SlotsError> {
        if shape.params != *secret.params() {
            return Err(SlotsError::Params);
        }
        let n = shape.params.slots();
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let mut bodies = Vec::new();
        for (number, level) in shape.keys() {
            let inverse = (number != 0).then(|| Automorphism::new(n, rotation(n, n - number as usize)));
            bodies.push(secret.switch_bodies((&seed, number.into()), level, inverse.as_ref(), rng)?);
        }
        Ok(Self { shape: shape.clone(), seed, bodies })
    }

    /// The keys with their uniform halves.
    #[must_use]
    pub fn expand(self) -> EvalKeys {
        let Self { shape, seed, bodies } = self;
        let n = shape.params.slots();
        let mut keys = EvalKeys { params: shape.params.clone(), relin: None, rotations: BTreeMap::new() };
        for ((number, level), bodies) in shape.keys().zip(bodies) {
            let (basis, _) = shape.extent(level);
            let digit = |(digit, body): (u64, Poly)| {
                let uniform =
                    uniform(&shape.params, Purpose::SwitchKey, &seed, (number.into(), digit), &basis);
                [body, uniform].map(|mut half| {
                    for (limb, &index) in basis.iter().enumerate() {
                        pointwise::to_montgomery(shape.params.plans()[index].modulus(), half.limb_mut(limb));
                    }
                    half
                })
            };
            let limbs = basis.len() - shape.params.special();
            let key = SwitchKey { level, limbs, digits: (0..).zip(bodies).map(digit).collect() };
            if number == 0 {
                keys.relin = Some(key);
            } else {
                let automorphism = Automorphism::new(n, rotation(n, number as usize));
                keys.rotations.insert(number, RotationKey { automorphism, key });
            }
        }
        keys
    }
}

impl EvalKeys {
    /// Parameters of the keys.
    #[must_use]
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// The key of relinearisation at a level.
    pub(crate) fn relin(&self, level: usize) -> Result<&SwitchKey, SlotsError> {
        let key = self.relin.as_ref().ok_or(SlotsError::MissingRelin)?;
        key.check(level, || "relinearisation".into())?;
        Ok(key)
    }

    /// The key of a rotation at a level.
    pub(crate) fn rotation(&self, rotation: u32, level: usize) -> Result<&RotationKey, SlotsError> {
        let slots = self.params.slots();
        if rotation as usize >= slots {
            return Err(SlotsError::Rotation { rotation, slots });
        }
        let key = self.rotations.get(&rotation).ok_or(SlotsError::MissingKey { rotation })?;
        key.key.check(level, || format!("rotation by {rotation}"))?;
        Ok(key)
    }
}

impl SwitchKey {
    fn check(&self, level: usize, what: impl Fn() -> String) -> Result<(), SlotsError> {
        if level <= self.level {
            Ok(())
        } else {
            Err(SlotsError::KeyLevel { what: what(), key: self.level, level })
        }
    }

    /// Both halves of digit `digit` modulo limb `limb` of a basis of `limbs` primes of q and the special ones.
    pub(crate) fn halves(&self, digit: usize, limb: usize, limbs: usize) -> [&[u32]; 2] {
        let own = if limb < limbs { limb } else { limb - limbs + self.limbs };
        let [body, uniform] = &self.digits[digit];
        [body.limb(own), uniform.limb(own)]
    }
}

/// Seed, then bodies.
impl Wire for KeyUpload {
    type Spec = KeyShape;

    const NAME: &'static str = "evaluation keys";

    fn wire_len(shape: &Self::Spec) -> usize {
        let key = |(_, level)| {
            let (basis, digits) = shape.extent(level);
            digits * Poly::wire_len(shape.params.plans(), shape.params.slots(), &basis)
        };
        32 + shape.keys().map(key).sum::<usize>()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seed);
        for ((_, level), bodies) in self.shape.keys().zip(&self.bodies) {
            let (basis, _) = self.shape.extent(level);
            bodies.iter().for_each(|body| body.encode(self.shape.params.plans(), &basis, out));
        }
    }

    fn decode(bytes: &[u8], shape: &Self::Spec) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(shape))?;
        let (plans, n) = (shape.params.plans(), shape.params.slots());
        let (head, mut rest) = bytes.split_at(32);
        let mut seed = [0; 32];
        seed.copy_from_slice(head);
        let mut bodies = Vec::new();
        for (_, level) in shape.keys() {
            let (basis, digits) = shape.extent(level);
            let len = Poly::wire_len(plans, n, &basis);
            let (own, tail) = rest.split_at(digits * len);
            let own = own.chunks_exact(len).map(|body| Poly::decode(Self::NAME, body, plans, n, &basis));
            bodies.push(own.collect::<Result<_, _>>()?);
            rest = tail;
        }
        Ok(Self { shape: shape.clone(), seed, bodies })
    }
}

/// Seed, then body.
impl Wire for PublicKey {
    type Spec = Arc<Params>;

    const NAME: &'static str = "public key of slots";

    fn wire_len(params: &Self::Spec) -> usize {
        32 + Poly::wire_len(params.plans(), params.slots(), &public_basis(params))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seed);
        self.body.encode(self.params.plans(), &public_basis(&self.params), out);
    }

    fn decode(bytes: &[u8], params: &Self::Spec) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(params))?;
        let (head, tail) = bytes.split_at(32);
        let mut seed = [0; 32];
        seed.copy_from_slice(head);
        let basis = public_basis(params);
        let body = Poly::decode(Self::NAME, tail, params.plans(), params.slots(), &basis)?;
        let uniform = uniform(params, Purpose::PublicKey, &seed, (0, 0), &basis);
        Ok(Self { params: params.clone(), seed, body, uniform })
    }
}

/// The primes of a public key: replies are made at level 0.
pub(crate) fn public_basis(params: &Params) -> Vec<usize> {
    params.basis(params.limbs(0).unwrap_or_default(), false)
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey")
    }
}

impl fmt::Debug for KeyUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyUpload({} keys)", self.bodies.len())
    }
}

impl fmt::Debug for EvalKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EvalKeys({} rotations)", self.rotations.len())
    }
}
