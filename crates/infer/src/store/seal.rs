//! Records at rest: ChaCha20-Poly1305 (RFC 8439) in pieces, so that a long record never needs a second copy.
//!
//! Every record has a key of its own, `BLAKE3(key of the pool; salt, plan, id)`, so that the pieces' numbers serve as
//! nonces. The salt stands in the ledger only and goes with the record's row: what a file system keeps of a used
//! record's file can then be read no more. A piece's associated data is its number and whether it is the last.

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use zeroize::Zeroizing;

/// Bytes of a piece before its tag.
const PIECE: usize = 1 << 20;
const TAG: usize = 16;

/// Seals and opens one record.
pub(super) struct Seal(ChaCha20Poly1305);

/// A record was changed, cut or extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

impl Seal {
    pub(super) fn new(pool: &[u8; 32], salt: &[u8; 32], plan: &[u8; 32], id: &[u8; 16]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(pool);
        hasher.update(b"record").update(salt).update(plan).update(id);
        let key = Zeroizing::new(*hasher.finalize().as_bytes());
        Self(ChaCha20Poly1305::new(&Key::from(*key)))
    }

    /// Length of a sealed record of `bytes`.
    pub(super) fn len(bytes: u64) -> u64 {
        bytes + pieces(bytes) * TAG as u64
    }

    /// Piece by piece.
    pub(super) fn pieces<'s>(&'s self, record: &'s [u8]) -> impl FnMut() -> Option<Vec<u8>> + 's {
        let count = pieces(record.len() as u64);
        let mut next = 0;
        move || {
            if next == count {
                return None;
            }
            let from = next as usize * PIECE;
            let mut piece = Vec::with_capacity(PIECE.min(record.len() - from) + TAG);
            piece.extend_from_slice(&record[from..record.len().min(from + PIECE)]);
            let (nonce, data) = place(next, next + 1 == count);
            let tag =
                self.0.encrypt_inout_detached(&nonce, &data, InOutBuf::from(piece.as_mut_slice())).ok()?;
            piece.extend_from_slice(&tag);
            next += 1;
            Some(piece)
        }
    }

    /// Opens a record in place.
    pub(super) fn open(&self, sealed: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, Damaged> {
        let mut record = Zeroizing::new(sealed);
        let count = record.len().div_ceil(PIECE + TAG).max(1);
        let mut kept = 0;
        for i in 0..count {
            let from = i * (PIECE + TAG);
            let to = record.len().min(from + PIECE + TAG);
            let body = to.checked_sub(from + TAG).ok_or(Damaged)?;
            let tag = Tag::try_from(&record[to - TAG..to]).map_err(|_| Damaged)?;
            let (nonce, data) = place(i as u64, i + 1 == count);
            let piece = InOutBuf::from(&mut record[from..from + body]);
            self.0.decrypt_inout_detached(&nonce, &data, piece, &tag).map_err(|_| Damaged)?;
            record.copy_within(from..from + body, kept);
            kept += body;
        }
        record.truncate(kept);
        Ok(record)
    }
}

/// An empty record has one empty piece.
fn pieces(bytes: u64) -> u64 {
    bytes.div_ceil(PIECE as u64).max(1)
}

fn place(piece: u64, last: bool) -> (Nonce, [u8; 9]) {
    let (mut nonce, mut data) = ([0; 12], [0; 9]);
    nonce[..8].copy_from_slice(&piece.to_le_bytes());
    data[..8].copy_from_slice(&piece.to_le_bytes());
    data[8] = u8::from(last);
    (Nonce::from(nonce), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(seal: &Seal, record: &[u8]) -> Vec<u8> {
        let mut next = seal.pieces(record);
        std::iter::from_fn(&mut next).flatten().collect()
    }

    #[test]
    fn records_of_any_length_come_back() {
        let seal = Seal::new(&[1; 32], &[2; 32], &[3; 32], &[4; 16]);
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 77] {
            let record: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
            let bytes = sealed(&seal, &record);
            assert_eq!(bytes.len() as u64, Seal::len(len as u64));
            assert_eq!(*seal.open(bytes).unwrap(), record, "{len}");
        }
    }

    #[test]
    fn nothing_else_opens() {
        let seal = Seal::new(&[1; 32], &[2; 32], &[3; 32], &[4; 16]);
        let bytes = sealed(&seal, &vec![5; PIECE + 100]);
        let mut flipped = bytes.clone();
        flipped[PIECE + 20] ^= 1;
        let mut longer = bytes.clone();
        longer.push(0);
        let swapped = [&bytes[PIECE + TAG..], &bytes[..PIECE + TAG]].concat();
        for bad in [
            flipped,
            longer,
            swapped,
            bytes[..PIECE + TAG].to_vec(),
            bytes[..bytes.len() - 1].to_vec(),
            vec![],
        ] {
            assert_eq!(seal.open(bad).unwrap_err(), Damaged);
        }
        let other = Seal::new(&[1; 32], &[9; 32], &[3; 32], &[4; 16]);
        assert_eq!(other.open(bytes).unwrap_err(), Damaged);
    }
}
