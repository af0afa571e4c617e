//! The client's encryptions: `body = round(scale x) + e - a s` with a from a seed, which halves the traffic.

use std::fmt;
use std::sync::Arc;

use phineus_kernel::wire::{PeerMisbehaved, Wire, check_len};
use rand::CryptoRng;

use super::expand::{Purpose, uniform};
use super::poly::Poly;
use super::{Ciphertext, Params, SecretKey, SlotsError, noise};

/// Encryptions under one seed in one message.
#[derive(Clone)]
pub struct Requests {
    shape: RequestShape,
    seed: [u8; 32],
    bodies: Vec<Poly>,
}

/// What determines the size of [`Requests`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestShape {
    /// Parameters.
    pub params: Arc<Params>,
    /// Number of ciphertexts.
    pub count: usize,
    /// Their level.
    pub level: usize,
}

impl Requests {
    /// Encrypts lists of slots at one level under a new seed; slots that are not given are zero.
    ///
    /// # Errors
    /// [`SlotsError::Level`], [`SlotsError::TooManyValues`], [`SlotsError::Value`].
    pub fn encrypt<V: AsRef<[f64]>>(
        secret: &SecretKey,
        inputs: &[V],
        level: usize,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, SlotsError> {
        let params = secret.params();
        let (scale, basis) = (params.scale(level)?, params.basis(params.limbs(level)?, false));
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let encrypt = |(index, input): (u64, &V)| {
            let message = params.coefficients(input.as_ref(), scale)?;
            let uniform = uniform(params, Purpose::Request, &seed, (index, 0), &basis);
            Ok(secret.mask(&uniform, &basis, Some(&message), rng))
        };
        let bodies = (0..).zip(inputs).map(encrypt).collect::<Result<_, SlotsError>>()?;
        let shape = RequestShape { params: params.clone(), count: inputs.len(), level };
        Ok(Self { shape, seed, bodies })
    }

    /// The ciphertexts with their uniform halves; `magnitude` is a public bound on the slots.
    ///
    /// # Errors
    /// [`SlotsError::Overflow`] if the bound exceeds what the level holds, [`SlotsError::Level`].
    pub fn into_ciphertexts(self, magnitude: f64) -> Result<Vec<Ciphertext>, SlotsError> {
        let Self { shape: RequestShape { params, level, .. }, seed, bodies } = self;
        let (scale, basis) = (params.scale(level)?, params.basis(params.limbs(level)?, false));
        let error = noise::fresh(params.slots()) / scale;
        let cipher = |(index, body): (u64, Poly)| {
            let uniform = uniform(&params, Purpose::Request, &seed, (index, 0), &basis);
            let parts = vec![body, uniform];
            Ciphertext { params: params.clone(), parts, level, scale, magnitude, error }.checked()
        };
        (0..).zip(bodies).map(cipher).collect()
    }
}

/// Seed, then bodies.
impl Wire for Requests {
    type Spec = RequestShape;

    const NAME: &'static str = "encrypted slots";

    fn wire_len(shape: &Self::Spec) -> usize {
        32 + shape.count * shape.body_len()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seed);
        let basis = self.shape.basis();
        self.bodies.iter().for_each(|body| body.encode(self.shape.params.plans(), &basis, out));
    }

    fn decode(bytes: &[u8], shape: &Self::Spec) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(shape))?;
        let (head, tail) = bytes.split_at(32);
        let mut seed = [0; 32];
        seed.copy_from_slice(head);
        let (plans, n, basis) = (shape.params.plans(), shape.params.slots(), shape.basis());
        let bodies = tail.chunks_exact(shape.body_len().max(1));
        let bodies = bodies.map(|body| Poly::decode(Self::NAME, body, plans, n, &basis));
        Ok(Self { shape: shape.clone(), seed, bodies: bodies.collect::<Result<_, _>>()? })
    }
}

impl RequestShape {
    /// No prime at a level that does not exist.
    fn basis(&self) -> Vec<usize> {
        self.params.basis(self.params.limbs(self.level).unwrap_or_default(), false)
    }

    fn body_len(&self) -> usize {
        Poly::wire_len(self.params.plans(), self.params.slots(), &self.basis())
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Requests({} at level {})", self.shape.count, self.shape.level)
    }
}
