//! The keys of a session: the client makes them when a plan first needs them, and keeps the secret halves.
//!
//! Per ring in use one public key, from which the server makes fresh zeros, and where responses are
//! [merged](crate::packing::Interleaved) the Galois keys of as many levels as any layer merges. A later plan of the same
//! session (a stack of several inferences) may call for further rings, or for more levels in a known one: then a
//! complete new set of Galois keys replaces the old one.
//!
//! Cost: once per session, (1 + levels limbs) polynomials of n log2 q bits and 32 bytes of seed each.
//!
//! Security: Galois keys encrypt the secret under its own conjugates (`phineus_he::GaloisKeys`).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use phineus_he::{GaloisKeys, GaloisShape, PublicKey, SecretKey};
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::Wire;
use phineus_net::{Channel, Client, FRAME_HEADER, Server, Step};
use rand::CryptoRng;

use crate::ProtocolError;
use crate::compute::compute;
use crate::plan::{LinearPlan, Plan};

const PUBLIC: Step = Step::new("linear.public_key");
const GALOIS: Step = Step::new("linear.galois_keys");

/// The client's secret keys, by ring.
#[derive(Default)]
pub(crate) struct ClientKeys(BTreeMap<usize, ClientRing>);

struct ClientRing {
    secret: SecretKey,
    /// Levels of the Galois keys that the server has.
    levels: u32,
}

/// What the server has of a client's keys, by ring.
#[derive(Default)]
pub(crate) struct ServerKeys(BTreeMap<usize, ServerRing>);

pub(super) struct ServerRing {
    pub(super) public: PublicKey,
    galois: Option<GaloisKeys>,
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
            let ring = match self.0.entry(index) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(missing) => {
                    let secret = SecretKey::generate(params, rng);
                    channel.send(PUBLIC, &secret.public_key(rng)).await?;
                    missing.insert(ClientRing { secret, levels: 0 })
                }
            };
            if ring.levels < levels {
                let mut rng = Prg::from_generator(rng);
                let keys = compute(|| GaloisKeys::generate(&ring.secret, levels, &mut rng))?;
                channel.send(GALOIS, &keys).await?;
                ring.levels = levels;
            }
        }
        channel.flush().await?;
        Ok(())
    }

    pub(super) fn secret(&self, ring: usize) -> Result<&SecretKey, ProtocolError> {
        self.0.get(&ring).map(|ring| &ring.secret).ok_or(ProtocolError::Material)
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
            let ring = match self.0.entry(index) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(missing) => {
                    let public = channel.recv(PUBLIC, params).await?;
                    missing.insert(ServerRing { public, galois: None })
                }
            };
            if ring.galois.as_ref().map_or(0, GaloisKeys::levels) < levels {
                let shape = GaloisShape { params: params.clone(), levels };
                ring.galois = Some(channel.recv(GALOIS, &shape).await?);
            }
        }
        Ok(())
    }

    pub(super) fn ring(&self, ring: usize) -> Result<&ServerRing, ProtocolError> {
        self.0.get(&ring).ok_or(ProtocolError::Material)
    }
}

impl ServerRing {
    pub(super) fn galois(&self) -> Result<&GaloisKeys, ProtocolError> {
        self.galois.as_ref().ok_or(ProtocolError::Material)
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
