//! The client's keys.

use std::fmt;
use std::sync::Arc;

use phineus_kernel::ntt::Plan;
use phineus_kernel::sample::ternary;
use phineus_kernel::wire::{PeerMisbehaved, Wire, check_len};
use rand::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::encrypt::encrypt_under;
use crate::expand::{Purpose, uniform_half};
use crate::{Ciphertext, Eval, Operands, Params, Poly};

/// A uniform ternary polynomial s. Zeroed on drop, not `Clone`, never shown.
#[derive(ZeroizeOnDrop)]
pub struct SecretKey {
    #[zeroize(skip)]
    params: Arc<Params>,
    /// s modulo the primes of q, in the evaluation domain.
    eval: Vec<u64>,
    /// s modulo the prime of exact products, in the evaluation domain.
    exact: Vec<u64>,
}

/// An encryption of zero, from which the server makes fresh ones.
#[derive(Debug, Clone)]
pub struct PublicKey {
    seed: [u8; 32],
    pub(crate) zero: Ciphertext,
    /// The same, laid out for products.
    operand: Operands,
}

impl SecretKey {
    /// A new key.
    #[must_use]
    pub fn generate(params: &Arc<Params>, rng: &mut impl CryptoRng) -> Self {
        let n = params.degree();
        let mut secret = Zeroizing::new(vec![0; n]);
        ternary(rng, &mut secret);
        let residues = |plan: &Plan| {
            let mut values: Vec<_> = secret.iter().map(|&t| plan.modulus().lift_signed(t.into())).collect();
            plan.forward(&mut values);
            values
        };
        let mut eval = Vec::with_capacity(params.limbs() * n);
        params.plans().iter().for_each(|plan| eval.extend_from_slice(&Zeroizing::new(residues(plan))));
        let exact = residues(params.exact());
        Self { params: params.clone(), eval, exact }
    }

    /// The public key that belongs to this key.
    #[must_use]
    pub fn public_key(&self, rng: &mut impl CryptoRng) -> PublicKey {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let uniform = uniform_half(&self.params, Purpose::PublicKey, &seed, 0);
        let body = encrypt_under(self, &uniform, &[], None, rng);
        PublicKey::new(seed, Ciphertext { body, uniform })
    }

    /// Parameters of the key.
    #[must_use]
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// One limb of s in the evaluation domain.
    pub(crate) fn limb(&self, limb: usize) -> &[u64] {
        &self.eval[limb * self.params.degree()..][..self.params.degree()]
    }

    /// s modulo the prime of [`Params::exact`], in the evaluation domain.
    pub(crate) fn exact(&self) -> &[u64] {
        &self.exact
    }
}

impl PublicKey {
    /// Parameters of the key.
    #[must_use]
    pub fn params(&self) -> &Arc<Params> {
        self.zero.body.params()
    }

    /// The encryption of zero.
    pub(crate) fn operand(&self) -> &Operands {
        &self.operand
    }

    fn new(seed: [u8; 32], zero: Ciphertext) -> Self {
        let operand = Operands::new(&[&zero]);
        Self { seed, zero, operand }
    }
}

/// Seed, then body.
impl Wire for PublicKey {
    type Spec = Arc<Params>;

    const NAME: &'static str = "public key";

    fn wire_len(params: &Self::Spec) -> usize {
        32 + Poly::<Eval>::wire_len(params)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seed);
        self.zero.body.encode(out);
    }

    fn decode(bytes: &[u8], params: &Self::Spec) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(params))?;
        let (head, tail) = bytes.split_at(32);
        let mut seed = [0; 32];
        seed.copy_from_slice(head);
        let body = Poly::decode(tail, params)?;
        let uniform = uniform_half(params, Purpose::PublicKey, &seed, 0);
        Ok(Self::new(seed, Ciphertext { body, uniform }))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}
