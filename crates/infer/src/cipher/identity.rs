//! A client's identity: one seed from which its secret keys follow, so that a server that has its evaluation keys need
//! not be sent them again.
//!
//! The token that names a client to the server and the secret key of every scheme are derived from the seed by BLAKE3
//! under different contexts; the token says nothing about the keys. Whoever knows a token can only use evaluation keys
//! that are public anyway.

use std::fmt;

use phineus_he::slots::SecretKey;
use phineus_kernel::prg::Prg;
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::scheme::Scheme;

/// The seed of a client's keys. Zeroed on drop, never shown.
pub struct Identity {
    seed: Zeroizing<[u8; 32]>,
}

impl Identity {
    /// A new identity.
    #[must_use]
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        Self { seed }
    }

    /// The identity of a kept seed.
    #[must_use]
    pub fn from_seed(seed: Zeroizing<[u8; 32]>) -> Self {
        Self { seed }
    }

    /// The seed, to be kept where only the client reads it.
    #[must_use]
    pub fn seed(&self) -> &Zeroizing<[u8; 32]> {
        &self.seed
    }

    /// What names the client to a server.
    #[must_use]
    pub fn token(&self) -> [u8; 32] {
        blake3::derive_key("phineus cipher token 1", &*self.seed)
    }

    /// The secret key of a scheme.
    #[must_use]
    pub fn secret(&self, scheme: &Scheme) -> SecretKey {
        let mut hasher = blake3::Hasher::new_derive_key("phineus cipher secret 1");
        hasher.update(&*self.seed).update(scheme.digest());
        let seed = Zeroizing::new(*hasher.finalize().as_bytes());
        SecretKey::generate(scheme.params(), &mut Prg::from_seed32(&seed))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}
