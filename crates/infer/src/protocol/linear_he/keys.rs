//! The client's keys: it makes them when a plan first needs them, and keeps the seeds of the secret halves.
//!
//! Per ring in use one public key, from which the server makes fresh zeros, and where responses are
//! [merged](crate::packing::Interleaved) the Galois keys of as many levels as any layer merges. A later plan of the same
//! session (a stack of several inferences) may call for further rings, or for more levels in a known one: then a
//! complete new set of Galois keys replaces the old one.
//!
//! The keys outlive a session: the client keeps its seeds with its ends of the transfers, the server what it received, within
//! a bound of memory ([`Keys`]). Both know the keys by the hash of all messages that brought them ([`KeyName`]).
//!
//! Cost: once, (1 + levels limbs) polynomials of n log2 q bits and 32 bytes of seed each.
//!
//! Security: Galois keys encrypt the secret under its own conjugates (`phineus_he::GaloisKeys`). A key that serves many
//! sessions is a key that serves many inferences: RLWE is assumed for any number of ciphertexts, every request has fresh
//! noise, and the flood and the fresh zeros of a reply are drawn per reply, so that the statistical distance stays 2^-40
//! *per inference* however many there are, as within one session. A key that was seen under a name tells whoever knows the name
//! nothing: it is public.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use phineus_he::{GaloisKeys, GaloisShape, Params, PublicKey, SecretKey};
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::Wire;
use phineus_net::{Channel, ChannelError, Client, FRAME_HEADER, Server, Step};
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::ProtocolError;
use crate::compute::compute;
use crate::plan::{LinearPlan, Plan};

const PUBLIC: Step = Step::new("linear.public_key");
const GALOIS: Step = Step::new("linear.galois_keys");

/// A hash of all messages that brought a set of keys; all zeros: none have come yet.
pub(crate) type KeyName = [u8; 32];

/// The client's secret keys, by ring.
#[derive(Default)]
pub(crate) struct ClientKeys {
    rings: BTreeMap<usize, ClientRing>,
    name: KeyName,
}

struct ClientRing {
    seed: Zeroizing<[u8; 32]>,
    secret: SecretKey,
    /// Levels of the Galois keys that the server has.
    levels: u32,
}

/// What the server has of a client's keys, by ring. Cheap to copy: the keys are not.
#[derive(Clone, Default)]
pub(crate) struct ServerKeys {
    rings: BTreeMap<usize, ServerRing>,
    name: KeyName,
    /// Bytes of the messages that brought them.
    bytes: usize,
}

#[derive(Clone)]
pub(super) struct ServerRing {
    public: Arc<PublicKey>,
    galois: Option<Arc<GaloisKeys>>,
}

impl ClientKeys {
    /// Makes and sends what `linear` needs and the server does not have.
    pub(crate) async fn send(
        &mut self,
        channel: &mut Channel<Client>,
        plan: &Plan,
        linear: &LinearPlan,
        rng: &mut impl CryptoRng,
    ) -> Result<(), ProtocolError> {
        for (index, levels) in linear.used() {
            let params = &plan.rings()[index];
            let ring = match self.rings.entry(index) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(missing) => {
                    let mut seed = Zeroizing::new([0; 32]);
                    rng.fill_bytes(&mut *seed);
                    let ring = missing.insert(ClientRing::new(seed, params));
                    let message = encoded(&ring.secret.public_key(rng));
                    channel.send_bytes(PUBLIC, &message).await?;
                    self.name = renamed(&self.name, &message);
                    ring
                }
            };
            if ring.levels < levels {
                let mut rng = Prg::from_generator(rng);
                let message = compute(|| {
                    GaloisKeys::generate(&ring.secret, levels, &mut rng).map(|keys| encoded(&keys))
                })?;
                channel.send_bytes(GALOIS, &message).await?;
                self.name = renamed(&self.name, &message);
                ring.levels = levels;
            }
        }
        channel.flush().await?;
        Ok(())
    }

    pub(super) fn secret(&self, ring: usize) -> Result<&SecretKey, ProtocolError> {
        self.rings.get(&ring).map(|ring| &ring.secret).ok_or(ProtocolError::Material)
    }

    /// By which both parties know them.
    pub(crate) fn name(&self) -> &KeyName {
        &self.name
    }

    /// Bytes of the longest encoding.
    pub(crate) const MOST: usize = 33 + 256 * 34;

    /// What makes the same keys again: the name, and per ring its number, its levels and its seed.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        out.extend(self.name);
        out.push(self.rings.len() as u8);
        for (index, ring) in &self.rings {
            out.extend([*index as u8, ring.levels as u8]);
            out.extend_from_slice(&*ring.seed);
        }
    }

    /// The reverse of [`ClientKeys::append_to`], and what is behind it; `None` for anything else.
    pub(crate) fn read<'b>(bytes: &'b [u8], rings: &[Arc<Params>]) -> Option<(Self, &'b [u8])> {
        let (name, rest) = bytes.split_first_chunk()?;
        let (count, mut rest) = rest.split_first()?;
        let mut keys = Self { rings: BTreeMap::new(), name: *name };
        for _ in 0..*count {
            let ([index, levels], tail) = rest.split_first_chunk()?;
            let (seed, tail) = tail.split_first_chunk()?;
            let mut ring = ClientRing::new(Zeroizing::new(*seed), rings.get(usize::from(*index))?);
            ring.levels = u32::from(*levels);
            keys.rings.insert(usize::from(*index), ring);
            rest = tail;
        }
        Some((keys, rest))
    }
}

impl ClientRing {
    fn new(seed: Zeroizing<[u8; 32]>, params: &Arc<Params>) -> Self {
        let secret = SecretKey::generate(params, &mut Prg::from_seed32(&seed));
        Self { seed, secret, levels: 0 }
    }
}

impl ServerKeys {
    /// The other half of [`ClientKeys::send`].
    pub(crate) async fn receive(
        &mut self,
        channel: &mut Channel<Server>,
        plan: &Plan,
        linear: &LinearPlan,
    ) -> Result<(), ProtocolError> {
        for (index, levels) in linear.used() {
            let params = &plan.rings()[index];
            let ring = match self.rings.entry(index) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(missing) => {
                    let message = channel.recv_bytes(PUBLIC, PublicKey::wire_len(params)).await?;
                    let public = PublicKey::decode(&message, params).map_err(ChannelError::from)?;
                    self.name = renamed(&self.name, &message);
                    self.bytes += message.len();
                    missing.insert(ServerRing { public: Arc::new(public), galois: None })
                }
            };
            if ring.galois.as_ref().map_or(0, |keys| keys.levels()) < levels {
                let shape = GaloisShape { params: params.clone(), levels };
                let message = channel.recv_bytes(GALOIS, GaloisKeys::wire_len(&shape)).await?;
                let keys = compute(|| GaloisKeys::decode(&message, &shape)).map_err(ChannelError::from)?;
                self.name = renamed(&self.name, &message);
                self.bytes += message.len();
                ring.galois = Some(Arc::new(keys));
            }
        }
        Ok(())
    }

    /// By which both parties know them.
    pub(crate) fn name(&self) -> &KeyName {
        &self.name
    }

    pub(super) fn ring(&self, ring: usize) -> Result<&ServerRing, ProtocolError> {
        self.rings.get(&ring).ok_or(ProtocolError::Material)
    }
}

fn encoded(message: &impl Wire) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

/// The name of keys after one more message.
fn renamed(name: &KeyName, message: &[u8]) -> KeyName {
    let mut hasher = blake3::Hasher::new_derive_key("phineus keys of a client 1");
    *hasher.update(name).update(message).finalize().as_bytes()
}

/// Bytes of all keys that a server keeps, as they came over the wire; in memory they take about three times as much.
const KEPT_BYTES: usize = 128 << 20;

/// What a server has of its clients' keys from earlier sessions, within a bound of memory: those used longest ago go first.
pub(crate) struct Keys {
    limit_bytes: usize,
    kept: Mutex<Vec<ServerKeys>>,
}

impl Default for Keys {
    /// Of at most [`KEPT_BYTES`].
    fn default() -> Self {
        Self { limit_bytes: KEPT_BYTES, kept: Mutex::default() }
    }
}

impl Keys {
    /// The keys of this name.
    pub(crate) fn get(&self, name: &KeyName) -> Option<ServerKeys> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().position(|keys| keys.name == *name)?;
        // The latest stand last.
        kept[found..].rotate_left(1);
        kept.last().cloned()
    }

    /// Keeps keys, in place of those that they grew from.
    pub(crate) fn put(&self, keys: ServerKeys, before: &KeyName) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.name != keys.name && one.name != *before);
        kept.push(keys);
        let mut bytes: usize = kept.iter().map(|keys| keys.bytes).sum();
        while bytes > self.limit_bytes {
            bytes -= kept.remove(0).bytes;
        }
    }
}

impl ServerRing {
    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn galois(&self) -> Result<&GaloisKeys, ProtocolError> {
        self.galois.as_deref().ok_or(ProtocolError::Material)
    }
}

impl Plan {
    /// Bytes of the keys that a client sends in a session that begins with `linear`.
    #[must_use]
    pub fn key_bytes(&self, linear: &LinearPlan) -> u64 {
        let ring = |(index, levels): (usize, u32)| {
            let params = &self.rings()[index];
            let public = FRAME_HEADER + PublicKey::wire_len(params);
            let galois = match levels {
                0 => 0,
                _ => FRAME_HEADER + GaloisKeys::wire_len(&GaloisShape { params: params.clone(), levels }),
            };
            (public + galois) as u64
        };
        linear.used().into_iter().map(ring).sum()
    }
}

#[cfg(test)]
mod tests {
    use phineus_he::ParamsLiteral;

    use super::*;

    #[test]
    fn keys_make_room_for_those_used_later() {
        let of = |name: u8, bytes| ServerKeys { name: [name; 32], bytes, ..ServerKeys::default() };
        let keys = Keys { limit_bytes: 100, kept: Mutex::default() };
        let has = |name: u8| keys.get(&[name; 32]).is_some();
        keys.put(of(1, 40), &[0; 32]);
        keys.put(of(2, 40), &[0; 32]);
        assert!(has(1) && !has(3));
        // The second is now the one used longest ago.
        keys.put(of(3, 40), &[0; 32]);
        assert!(!has(2) && has(1) && has(3));
        // More of the same keys replace them.
        keys.put(of(4, 50), &[1; 32]);
        assert!(!has(1) && has(3) && has(4));
        keys.put(of(5, 101), &[0; 32]);
        assert!(!has(5) && !has(4));
    }

    #[test]
    fn seeds_make_the_same_keys_again() {
        let rings =
            [ParamsLiteral::n4096(), ParamsLiteral::n4096_full()].map(|one| Params::new(&one).unwrap());
        let mut keys = ClientKeys { name: [7; 32], ..ClientKeys::default() };
        keys.rings.insert(1, ClientRing::new(Zeroizing::new([3; 32]), &rings[1]));
        let mut bytes = Vec::new();
        keys.append_to(&mut bytes);
        bytes.extend([9; 5]);
        let (again, rest) = ClientKeys::read(&bytes, &rings).unwrap();
        assert_eq!((again.name(), rest), (keys.name(), &[9; 5][..]));
        let public = |keys: &ClientKeys| encoded(&keys.rings[&1].secret.public_key(&mut Prg::new([1; 16])));
        assert!(public(&again) == public(&keys));
        assert!(ClientKeys::read(&bytes, &rings[..1]).is_none());
        assert!((0..67).all(|len| ClientKeys::read(&bytes[..len], &rings).is_none()));
    }
}
