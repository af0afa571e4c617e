//! The evaluation keys that a server keeps for its clients: bounded in bytes, forgotten after a while.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use phineus_he::slots::PublicKey;

use super::encrypted::Encrypted;

/// A client's keys for one scheme.
#[derive(Debug)]
pub struct ClientKeys {
    /// For the evaluation.
    pub evaluator: Encrypted,
    /// For fresh encryptions of zero.
    pub public: PublicKey,
    /// Digest of the messages in which the keys came.
    pub digest: [u8; 32],
    /// What came with them, by which their owner knows them again: see [`Identity::voucher`](super::Identity::voucher).
    pub voucher: [u8; 32],
}

/// Keys by client and scheme. Those used longest ago make room for new ones.
pub struct Keyring {
    limit_bytes: usize,
    lifetime: Duration,
    entries: Mutex<HashMap<[u8; 32], Entry>>,
}

struct Entry {
    keys: Arc<ClientKeys>,
    bytes: usize,
    used: Instant,
}

impl Keyring {
    /// A keyring of at most so many bytes that forgets keys that are not used for `lifetime`.
    #[must_use]
    pub fn new(limit_bytes: usize, lifetime: Duration) -> Self {
        Self { limit_bytes, lifetime, entries: Mutex::default() }
    }

    /// Name of a client's keys for a scheme.
    #[must_use]
    pub fn name(token: &[u8; 32], scheme: &[u8; 32]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("phineus cipher keyring 1");
        *hasher.update(token).update(scheme).finalize().as_bytes()
    }

    /// The keys of this name, if they are still there.
    #[must_use]
    pub fn get(&self, name: &[u8; 32]) -> Option<Arc<ClientKeys>> {
        self.get_at(name, Instant::now())
    }

    /// Keeps keys that occupy so many bytes. Keys that exceed the limit on their own are not kept.
    pub fn put(&self, name: [u8; 32], keys: Arc<ClientKeys>, bytes: usize) {
        self.put_at(name, keys, bytes, Instant::now());
    }

    fn get_at(&self, name: &[u8; 32], now: Instant) -> Option<Arc<ClientKeys>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| now.duration_since(entry.used) < self.lifetime);
        let entry = entries.get_mut(name)?;
        entry.used = now;
        Some(entry.keys.clone())
    }

    fn put_at(&self, name: [u8; 32], keys: Arc<ClientKeys>, bytes: usize, now: Instant) {
        if bytes > self.limit_bytes {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.remove(&name);
        while entries.values().map(|entry| entry.bytes).sum::<usize>() > self.limit_bytes - bytes {
            let Some(oldest) = entries.iter().min_by_key(|(_, entry)| entry.used).map(|(name, _)| *name)
            else {
                break;
            };
            entries.remove(&oldest);
        }
        entries.insert(name, Entry { keys, bytes, used: now });
    }
}

impl Default for Keyring {
    /// A gigabyte, a day.
    fn default() -> Self {
        Self::new(1 << 30, Duration::from_secs(86_400))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.entries.lock().map_or(0, |entries| entries.len());
        write!(f, "Keyring({count} keys)")
    }
}

#[cfg(test)]
mod tests {
    use phineus_he::slots::{KeyShape, KeyUpload, Params, ParamsLiteral, SecretKey};
    use phineus_kernel::prg::Prg;

    use super::*;
    use crate::cipher::Bounds;

    #[test]
    fn keys_are_forgotten_by_age_and_size() {
        let params = Params::new(&ParamsLiteral::near(10, 20.0, 0, 1, &[24], &[25]).unwrap());
        let params =
            params.or_else(|_| Params::new(&ParamsLiteral::near(11, 20.0, 0, 1, &[24], &[25]).unwrap()));
        let params = params.unwrap();
        let mut rng = Prg::from_seed32(&[1; 32]);
        let secret = SecretKey::generate(&params, &mut rng);
        let shape = KeyShape::new(&params, None, [(1, 0)].into()).unwrap();
        let upload = KeyUpload::generate(&secret, &shape, &mut rng).unwrap();
        let evaluator = Encrypted::new(upload.expand(), Bounds::default());
        let keys = Arc::new(ClientKeys {
            evaluator,
            public: secret.public_key(&mut rng),
            digest: [0; 32],
            voucher: [0; 32],
        });

        let ring = Keyring::new(100, Duration::from_secs(10));
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        ring.put_at([1; 32], keys.clone(), 40, at(0));
        ring.put_at([2; 32], keys.clone(), 40, at(1));
        assert!(ring.get_at(&[1; 32], at(2)).is_some());
        // The second is now the one used longest ago.
        ring.put_at([3; 32], keys.clone(), 40, at(3));
        assert!(ring.get_at(&[2; 32], at(4)).is_none());
        ring.put_at([4; 32], keys, 101, at(4));
        assert!(ring.get_at(&[4; 32], at(4)).is_none());
        assert!(ring.get_at(&[1; 32], at(11)).is_some());
        assert!(ring.get_at(&[3; 32], at(13)).is_none());
        assert!(ring.get_at(&[1; 32], at(21)).is_none());
        assert_ne!(Keyring::name(&[1; 32], &[2; 32]), Keyring::name(&[2; 32], &[1; 32]));
    }
}
