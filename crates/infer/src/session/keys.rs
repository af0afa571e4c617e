//! A client's keys on their way to the server, which sends them back to nobody and keeps them for later sessions.
//!
//! | step | direction | content |
//! |---|---|---|
//! | known | S -> C | whether there are keys under the client's token for this scheme; their digest and voucher |
//! | choice | C -> S | only if there are: whether they are the client's own |
//! | keys | C -> S | unless they are: public key, evaluation keys, voucher |
//!
//! A token is no secret: whoever knows it can leave keys under it, in place of forgotten ones or, by a choice, of the owner's.
//! The server computes the digest of what it received, and the *voucher* is a MAC of that digest under a key that only the
//! owner has ([`Identity::voucher`]). A client uses no keys but those that it vouches for, so that what another client
//! leaves costs it an upload and no wrong answer. The client need not remember or make its keys for that.

use std::sync::Arc;

use phineus_he::slots::{KeyShape, KeyUpload, Params, PublicKey, SecretKey};
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::{PeerMisbehaved, Wire};
use phineus_net::{Channel, ChannelError, Client, Server, Step};

use crate::ProtocolError;
use crate::cipher::{Bounds, ClientKeys, Encrypted as Evaluation, Identity, Keyring};
use crate::compute::compute;
use crate::protocol::script::Script;

const KNOWN: Step = Step::new("cipher.known");
const CHOICE: Step = Step::new("cipher.choice");
const PUBLIC_KEY: Step = Step::new("cipher.public-key");
const KEYS: Step = Step::new("cipher.keys");
const VOUCHER: Step = Step::new("cipher.voucher");
/// Whether keys are known, their digest, their voucher.
const KNOWN_LEN: usize = 1 + 32 + 32;

/// What the keys of a scheme consist of.
#[derive(Clone, Copy)]
pub(super) struct Kind<'s> {
    pub(super) params: &'s Arc<Params>,
    pub(super) shape: &'s KeyShape,
    /// Digest of the scheme.
    pub(super) scheme: &'s [u8; 32],
}

impl Kind<'_> {
    fn wire_len(&self) -> usize {
        PublicKey::wire_len(self.params) + KeyUpload::wire_len(self.shape)
    }
}

/// The client's half: sends its keys unless the server has them; how many bytes of keys that were.
pub(super) async fn bring(
    channel: &mut Channel<Client>,
    kind: Kind<'_>,
    (identity, secret): (&Identity, &SecretKey),
    rng: &mut Prg,
) -> Result<usize, ProtocolError> {
    let known = channel.recv_bytes(KNOWN, KNOWN_LEN).await?;
    if known[0] != 0 {
        let (digest, voucher) = (array(&known[1..33]), array(&known[33..]));
        let own = identity.vouches(kind.scheme, &digest, &voucher);
        channel.send_bytes(CHOICE, &[u8::from(own)]).await?;
        if own {
            return Ok(0);
        }
    }
    let (public, keys) = compute(|| (secret.public_key(rng), KeyUpload::generate(secret, kind.shape, rng)));
    let (public, keys) = (encoded(&public), encoded(&keys?));
    channel.send_bytes(PUBLIC_KEY, &public).await?;
    channel.send_bytes(KEYS, &keys).await?;
    channel.send_bytes(VOUCHER, &identity.voucher(kind.scheme, &digest(&public, &keys))).await?;
    channel.flush().await?;
    Ok(kind.wire_len())
}

/// The server's half: the client's keys, from `keyring` or from the client, for values within `bounds`.
pub(super) async fn take(
    channel: &mut Channel<Server>,
    kind: Kind<'_>,
    (keyring, token): (&Keyring, &[u8; 32]),
    bounds: Bounds,
) -> Result<Arc<ClientKeys>, ProtocolError> {
    let name = Keyring::name(token, kind.scheme);
    let known = keyring.get(&name);
    let mut message = [0; KNOWN_LEN];
    if let Some(keys) = &known {
        message[0] = 1;
        message[1..33].copy_from_slice(&keys.digest);
        message[33..].copy_from_slice(&keys.voucher);
    }
    channel.send_bytes(KNOWN, &message).await?;
    channel.flush().await?;
    if let Some(keys) = known {
        match channel.recv_bytes(CHOICE, 1).await?[..] {
            [1] => return Ok(keys),
            [0] => {}
            _ => {
                let (what, reason) = ("cipher.choice", "neither yes nor no");
                return Err(ChannelError::Peer(PeerMisbehaved::Invalid { what, reason }).into());
            }
        }
    }
    let public = channel.recv_bytes(PUBLIC_KEY, PublicKey::wire_len(kind.params)).await?;
    let keys = channel.recv_bytes(KEYS, KeyUpload::wire_len(kind.shape)).await?;
    let voucher = array(&channel.recv_bytes(VOUCHER, 32).await?);
    let keys = compute(|| {
        let (digest, public) = (digest(&public, &keys), PublicKey::decode(&public, kind.params)?);
        let evaluator = Evaluation::new(KeyUpload::decode(&keys, kind.shape)?.expand(), bounds);
        Ok::<_, PeerMisbehaved>(Arc::new(ClientKeys { evaluator, public, digest, voucher }))
    });
    let keys = keys.map_err(ChannelError::from)?;
    // Two halves of every key, in words of 32 bits where the message has 28.
    keyring.put(name, keys.clone(), kind.wire_len() * 16 / 7);
    Ok(keys)
}

/// Enters what a new client sends.
pub(super) fn predict(kind: Kind<'_>, script: &mut Script) {
    script.down(KNOWN_LEN);
    script.up(PublicKey::wire_len(kind.params));
    script.up(KeyUpload::wire_len(kind.shape));
    script.up(32);
}

fn digest(public: &[u8], keys: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("phineus cipher keys 1");
    *hasher.update(public).update(keys).finalize().as_bytes()
}

fn encoded(message: &impl Wire) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

/// The first 32 bytes; zeros for those that are not there.
fn array(bytes: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    array.iter_mut().zip(bytes).for_each(|(a, b)| *a = *b);
    array
}
