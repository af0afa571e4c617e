//! A client's identity: one seed from which its secret keys follow, so that a server that has its evaluation keys need
//! not be sent them again.
//!
//! The token that names a client to the server and the secret key of every scheme are derived from the seed by BLAKE3
//! under different contexts; the token says nothing about the keys. Whoever knows a token can use evaluation keys that are
//! public anyway, and leave others in their place: the client knows its own by their voucher.

use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use phineus_he::slots::{Params, SecretKey};
use phineus_kernel::prg::Prg;
use rand::CryptoRng;
use zeroize::Zeroizing;

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

    /// The identity in a file of 32 bytes that only its owner may read; a new one if there is no file.
    ///
    /// # Errors
    /// A file of another length, or one that cannot be read or made.
    pub fn in_file(path: &Path, rng: &mut impl CryptoRng) -> io::Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        match std::fs::read(path).map(Zeroizing::new) {
            Ok(bytes) if bytes.len() == seed.len() => seed.copy_from_slice(&bytes),
            Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "an identity has 32 bytes")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                rng.fill_bytes(&mut *seed);
                let mut options = std::fs::OpenOptions::new();
                options.write(true).create_new(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                options.open(path)?.write_all(&*seed)?;
            }
            Err(error) => return Err(error),
        }
        Ok(Self { seed })
    }

    /// What names the client to a server.
    #[must_use]
    pub fn token(&self) -> [u8; 32] {
        blake3::derive_key("phineus cipher token 1", &*self.seed)
    }

    /// By what the client knows keys of this digest, made by it for this scheme, again: a MAC under a key that nobody else has.
    #[must_use]
    pub fn voucher(&self, scheme: &[u8; 32], keys: &[u8; 32]) -> [u8; 32] {
        *self.mac(scheme, keys).as_bytes()
    }

    /// Whether this is the voucher of these keys. Takes the same time for all wrong ones.
    #[must_use]
    pub fn vouches(&self, scheme: &[u8; 32], keys: &[u8; 32], voucher: &[u8; 32]) -> bool {
        self.mac(scheme, keys) == *voucher
    }

    fn mac(&self, scheme: &[u8; 32], keys: &[u8; 32]) -> blake3::Hash {
        let key = Zeroizing::new(blake3::derive_key("phineus cipher voucher 1", &*self.seed));
        blake3::Hasher::new_keyed(&key).update(scheme).update(keys).finalize()
    }

    /// The secret key for a scheme of this digest with these parameters.
    #[must_use]
    pub fn secret(&self, params: &Arc<Params>, scheme: &[u8; 32]) -> SecretKey {
        let mut hasher = blake3::Hasher::new_derive_key("phineus cipher secret 1");
        hasher.update(&*self.seed).update(scheme);
        let seed = Zeroizing::new(*hasher.finalize().as_bytes());
        SecretKey::generate(params, &mut Prg::from_seed32(&seed))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voucher_is_for_one_client_one_scheme_and_these_keys() {
        let identity = |seed: u8| Identity::from_seed(Zeroizing::new([seed; 32]));
        let (owner, scheme, keys) = (identity(1), [2; 32], [3; 32]);
        let voucher = owner.voucher(&scheme, &keys);
        assert!(owner.vouches(&scheme, &keys, &voucher));
        assert!(!identity(2).vouches(&scheme, &keys, &voucher));
        assert!(!owner.vouches(&[0; 32], &keys, &voucher) && !owner.vouches(&scheme, &[0; 32], &voucher));
        assert!(!owner.vouches(&scheme, &keys, &[0; 32]));
        assert!(voucher != owner.token());
    }

    #[test]
    fn an_identity_is_kept_in_a_file() {
        let folder = std::env::temp_dir().join(format!("phineus-identity-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("seed");
        let mut rng = Prg::from_seed32(&[4; 32]);
        let first = Identity::in_file(&path, &mut rng).unwrap();
        let again = Identity::in_file(&path, &mut rng).unwrap();
        assert_eq!(first.token(), again.token());
        assert_ne!(first.token(), Identity::random(&mut rng).token());
        std::fs::write(&path, [0; 31]).unwrap();
        assert_eq!(Identity::in_file(&path, &mut rng).unwrap_err().kind(), io::ErrorKind::InvalidData);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(format!("{first:?}"), "Identity(..)");
    }
}
