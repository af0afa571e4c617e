//! The client's encryptions: `body = round(q m / 2^l) + e - a s` with a from a seed, so that a ciphertext costs
//! half its size in traffic. Everything but a is constant time.

use std::fmt;
use std::sync::Arc;

use phineus_kernel::ntt::pointwise;
use phineus_kernel::sample::centred_binomial;
use phineus_kernel::wipe::Wiped;
use phineus_kernel::wire::{PeerMisbehaved, Wire, check_len};
use phineus_kernel::z2k::Pow2;
use rand::CryptoRng;

use crate::encode::Encoding;
use crate::expand::{Purpose, uniform_half};
use crate::{Ciphertext, CutBody, CutShape, Eval, Expander, Params, Poly, SecretKey};

/// A stream of encryptions under one seed, each with its own uniform half; a big layer goes out one by one.
pub struct Encryptor<'k> {
    key: &'k SecretKey,
    seed: [u8; 32],
    next: u64,
}

/// The right to make one encryption of a stream, for doing several at a time on several cores.
pub struct Slot<'k> {
    key: &'k SecretKey,
    seed: [u8; 32],
    index: u64,
}

/// Encryptions under one seed in one message.
#[derive(Debug, Clone)]
pub struct Requests {
    /// Seed of the uniform halves.
    pub seed: [u8; 32],
    /// Bodies, in the order of the plan.
    pub bodies: Vec<Poly<Eval>>,
}

/// What determines the size of [`Requests`].
#[derive(Debug, Clone)]
pub struct RequestShape {
    /// Parameters.
    pub params: Arc<Params>,
    /// Number of ciphertexts.
    pub count: usize,
}

impl<'k> Encryptor<'k> {
    /// A stream under a new seed.
    #[must_use]
    pub fn new(key: &'k SecretKey, rng: &mut impl CryptoRng) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        Self { key, seed, next: 0 }
    }

    /// The public seed, for the [`Expander`] at the other end.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.seed
    }

    /// The next place in the stream.
    pub fn slot(&mut self) -> Slot<'k> {
        let index = self.next;
        self.next += 1;
        Slot { key: self.key, seed: self.seed, index }
    }

    /// The body of the next encryption of the stream; see [`Slot::encrypt`].
    ///
    /// # Panics
    /// If there are more than n messages.
    pub fn encrypt(&mut self, plain: &[u32], ring: Pow2, rng: &mut impl CryptoRng) -> Poly<Eval> {
        self.slot().encrypt(plain, ring, rng)
    }
}

impl Slot<'_> {
    /// The body of an encryption of the polynomial with coefficients `plain` modulo 2^l, zeros after them.
    ///
    /// # Panics
    /// If there are more than n messages.
    #[must_use]
    pub fn encrypt(self, plain: &[u32], ring: Pow2, rng: &mut impl CryptoRng) -> Poly<Eval> {
        let uniform = uniform_half(self.key.params(), Purpose::Request, &self.seed, self.index);
        encrypt_under(self.key, &uniform, plain, Some(ring), rng)
    }

    /// As [`Slot::encrypt`], without the low bits.
    ///
    /// # Panics
    /// If there are more than n messages, or the key has other parameters than `shape`.
    #[must_use]
    pub fn encrypt_cut(
        self,
        plain: &[u32],
        ring: Pow2,
        shape: &CutShape,
        rng: &mut impl CryptoRng,
    ) -> CutBody {
        CutBody::new(&self.encrypt(plain, ring, rng).into_coeff(), shape)
    }
}

impl Requests {
    /// Encrypts a list of polynomials under a new seed.
    ///
    /// # Panics
    /// If one of them has more than n coefficients.
    #[must_use]
    pub fn encrypt<P: AsRef<[u32]>>(
        key: &SecretKey,
        plains: &[P],
        ring: Pow2,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let mut stream = Encryptor::new(key, rng);
        let bodies = plains.iter().map(|plain| stream.encrypt(plain.as_ref(), ring, rng)).collect();
        Self { seed: stream.seed, bodies }
    }

    /// The ciphertexts, with their uniform halves.
    #[must_use]
    pub fn into_ciphertexts(self) -> Vec<Ciphertext> {
        let mut stream = Expander::new(self.seed);
        self.bodies.into_iter().map(|body| stream.next(body)).collect()
    }
}

/// Seed, then bodies.
impl Wire for Requests {
    type Spec = RequestShape;

    const NAME: &'static str = "requests";

    fn wire_len(shape: &Self::Spec) -> usize {
        32 + shape.count * Poly::<Eval>::wire_len(&shape.params)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seed);
        self.bodies.iter().for_each(|body| body.encode(out));
    }

    fn decode(bytes: &[u8], shape: &Self::Spec) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(shape))?;
        let (head, tail) = bytes.split_at(32);
        let mut seed = [0; 32];
        seed.copy_from_slice(head);
        let bodies = tail.chunks_exact(Poly::<Eval>::wire_len(&shape.params));
        let bodies = bodies.map(|body| Poly::decode(body, &shape.params)).collect::<Result<_, _>>()?;
        Ok(Self { seed, bodies })
    }
}

impl fmt::Debug for Encryptor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encryptor(next {})", self.next)
    }
}

impl fmt::Debug for Slot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({})", self.index)
    }
}

/// `round(q plain / 2^l) + e - uniform s`; without a ring, an encryption of zero.
pub(crate) fn encrypt_under(
    key: &SecretKey,
    uniform: &Poly<Eval>,
    plain: &[u32],
    ring: Option<Pow2>,
    rng: &mut impl CryptoRng,
) -> Poly<Eval> {
    let params = key.params();
    assert!(plain.len() <= params.degree(), "at most n messages");
    let mut error = Wiped::<i8>::new(params.degree());
    centred_binomial(rng, &mut error);
    let mut body = Poly::from_bytes(params, &error);
    if let Some(ring) = ring {
        let encoding = Encoding::new(params, ring);
        for limb in 0..params.limbs() {
            let residues = encoding.residues(limb, plain);
            pointwise::add_assign(params.modulus(limb), &mut body.limb_mut(limb)[..plain.len()], &residues);
        }
    }
    let mut body = body.into_eval();
    for limb in 0..params.limbs() {
        let (values, a) = (body.limb_mut(limb), uniform.limb(limb));
        pointwise::mul_sub_assign(params.modulus(limb), values, a, key.limb(limb));
    }
    body
}
