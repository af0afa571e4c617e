//! 1-out-of-2 base OTs: Masny, Rindal, *Endemic oblivious transfer*, CCS 2019, section 5 (Diffie-Hellman).
//!
//! In the Ristretto group with generator `G`, per transfer with choice `b`: the receiver draws a random point
//! `r_(1-b)` and `a`, and sends `r_0, r_1` with `r_b = a G - H(b, r_(1-b))`. The sender publishes one `B = m G` and
//! derives `key_j` from `m (r_j + H(j, r_(1-j)))`; the receiver derives `key_b` from `a B`.
//!
//! Cost: 64 bytes per transfer one way, 32 bytes in all the other way; the two messages do not depend on each other.
//!
//! Security: malicious, in the random-oracle model under CDH; *endemic*: a corrupt party may choose its own keys,
//! which is all that the extension needs. Session, index and position separate all hash calls.

use curve25519_dalek::constants::RISTRETTO_BASEPOINT_TABLE;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use phineus_kernel::block::Block;
use phineus_kernel::wire::{PeerMisbehaved, check_len};
use rand::CryptoRng;
use subtle::{Choice, ConditionallySelectable};
use zeroize::Zeroizing;

/// Bytes of an encoded point.
pub(super) const POINT: usize = 32;

/// The receiver between its message and the sender's.
pub(super) struct Receiver {
    session: [u8; 32],
    choices: Zeroizing<Vec<bool>>,
    secrets: Zeroizing<Vec<Scalar>>,
    message: Vec<u8>,
}

impl Receiver {
    /// Prepares one transfer per choice.
    pub(super) fn new(session: &[u8; 32], choices: Vec<bool>, rng: &mut impl CryptoRng) -> Self {
        let mut secrets = Zeroizing::new(Vec::with_capacity(choices.len()));
        let mut message = Vec::with_capacity(2 * POINT * choices.len());
        for (index, &b) in choices.iter().enumerate() {
            let a = Scalar::random(rng);
            let other = RistrettoPoint::random(rng);
            let other_bytes = other.compress().to_bytes();
            let own = RISTRETTO_BASEPOINT_TABLE * &a - hash_to_group(session, index, b, &other_bytes);
            let own_bytes = own.compress().to_bytes();
            let choice = Choice::from(u8::from(b));
            for j in 0..2 {
                let is_own = choice ^ Choice::from(1 - j);
                message.extend(select(&other_bytes, &own_bytes, is_own));
            }
            secrets.push(a);
        }
        Self { session: *session, choices: Zeroizing::new(choices), secrets, message }
    }

    /// What the sender needs: `2 * POINT` bytes per transfer.
    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }

    /// The chosen keys.
    pub(super) fn finish(self, reply: &[u8]) -> Result<Vec<Block>, PeerMisbehaved> {
        let shared = point("base_ot.reply", reply)?;
        let transfers = self.message.as_chunks::<{ 2 * POINT }>().0;
        Ok(transfers
            .iter()
            .zip(&**self.secrets)
            .zip(&**self.choices)
            .enumerate()
            .map(|(index, ((points, a), &b))| key(&self.session, index, b, reply, points, &(shared * a)))
            .collect())
    }
}

/// The sender's message and both keys of each of `count` transfers.
pub(super) fn send(
    session: &[u8; 32],
    count: usize,
    message: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<([u8; POINT], Vec<[Block; 2]>), PeerMisbehaved> {
    check_len("base_ot.points", message, 2 * POINT * count)?;
    let secret = Zeroizing::new(Scalar::random(rng));
    let reply = (RISTRETTO_BASEPOINT_TABLE * &*secret).compress().to_bytes();
    let transfers = message.as_chunks::<{ 2 * POINT }>().0;
    let keys = transfers
        .iter()
        .enumerate()
        .map(|(index, points)| {
            let halves = points.as_chunks::<POINT>().0;
            let mut keys = [Block::ZERO; 2];
            for (key_j, j) in keys.iter_mut().zip([0, 1]) {
                let base = point("base_ot.points", &halves[j])?
                    + hash_to_group(session, index, j == 1, &halves[1 - j]);
                *key_j = key(session, index, j == 1, &reply, points, &(base * *secret));
            }
            Ok(keys)
        })
        .collect::<Result<_, PeerMisbehaved>>()?;
    Ok((reply, keys))
}

/// A canonical encoding of a point other than the identity.
fn point(what: &'static str, bytes: &[u8]) -> Result<RistrettoPoint, PeerMisbehaved> {
    check_len(what, bytes, POINT)?;
    CompressedRistretto::from_slice(bytes)
        .ok()
        .and_then(|c| c.decompress())
        .filter(|p| !p.is_identity())
        .ok_or(PeerMisbehaved::Invalid { what, reason: "not a point of the group" })
}

fn select(a: &[u8; POINT], b: &[u8; POINT], choice: Choice) -> [u8; POINT] {
    std::array::from_fn(|i| u8::conditional_select(&a[i], &b[i], choice))
}

fn hash_to_group(session: &[u8; 32], index: usize, position: bool, other: &[u8; POINT]) -> RistrettoPoint {
    let mut bytes = Zeroizing::new([0; 64]);
    blake3::Hasher::new_derive_key("phineus base OT, hash to group")
        .update(session)
        .update(&(index as u64).to_le_bytes())
        .update(&[u8::from(position)])
        .update(other)
        .finalize_xof()
        .fill(&mut *bytes);
    RistrettoPoint::from_uniform_bytes(&bytes)
}

fn key(
    session: &[u8; 32],
    index: usize,
    position: bool,
    reply: &[u8],
    points: &[u8; 2 * POINT],
    shared: &RistrettoPoint,
) -> Block {
    let mut bytes = [0; 16];
    blake3::Hasher::new_derive_key("phineus base OT, key")
        .update(session)
        .update(&(index as u64).to_le_bytes())
        .update(&[u8::from(position)])
        .update(reply)
        .update(points)
        .update(shared.compress().as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    Block::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use phineus_kernel::prg::Prg;

    use super::*;

    #[test]
    fn the_receiver_gets_the_chosen_key_only() {
        let choices: Vec<bool> = (0..20).map(|i| i % 3 == 1).collect();
        let session = [5; 32];
        let receiver = Receiver::new(&session, choices.clone(), &mut Prg::new([1; 16]));
        let (reply, keys) = send(&session, 20, receiver.message(), &mut Prg::new([2; 16])).unwrap();
        let chosen = receiver.finish(&reply).unwrap();
        for ((k, c), b) in keys.iter().zip(&chosen).zip(choices) {
            assert_eq!(k[usize::from(b)].0, c.0);
            assert_ne!(k[usize::from(!b)].0, c.0);
        }
        let distinct: std::collections::HashSet<_> = keys.iter().flatten().map(|k| k.0).collect();
        assert_eq!(distinct.len(), 40);
    }

    #[test]
    fn sessions_do_not_mix() {
        let receiver = Receiver::new(&[1; 32], vec![false], &mut Prg::new([1; 16]));
        let (reply, keys) = send(&[2; 32], 1, receiver.message(), &mut Prg::new([2; 16])).unwrap();
        assert_ne!(receiver.finish(&reply).unwrap()[0].0, keys[0][0].0);
    }

    #[test]
    fn bad_points_are_refused() {
        let rng = &mut Prg::new([1; 16]);
        let receiver = Receiver::new(&[1; 32], vec![true, false], rng);
        let mut message = receiver.message().to_vec();
        assert!(matches!(send(&[1; 32], 1, &message, rng), Err(PeerMisbehaved::Length { .. })));
        message[32..64].fill(0xff);
        assert!(matches!(send(&[1; 32], 2, &message, rng), Err(PeerMisbehaved::Invalid { .. })));
        message[32..64].fill(0);
        assert!(matches!(send(&[1; 32], 2, &message, rng), Err(PeerMisbehaved::Invalid { .. })));
        assert!(matches!(receiver.finish(&[0; 32]), Err(PeerMisbehaved::Invalid { .. })));
    }
}
