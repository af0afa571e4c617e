//! What the parties keep of a layer between offline and online.

use std::fmt;

use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::wire::{PeerMisbehaved, check_len};
use zeroize::Zeroizing;

use super::Square;

/// The server's products for one layer; consumed by the online phase.
#[must_use]
pub struct ServerMaterial {
    /// `a`, modulo `2^m`.
    pub(super) factor: Zeroizing<Vec<u32>>,
    /// Its shares of `a c`.
    pub(super) share: Zeroizing<Vec<u32>>,
}

/// The client's products for one layer; consumed by the online phase.
#[must_use]
pub struct ClientMaterial {
    /// Its shares of `a c`, modulo `2^m`.
    pub(super) share: Zeroizing<Vec<u32>>,
}

impl ServerMaterial {
    /// Elements of the layer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.share.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.share.is_empty()
    }

    /// Length of the encoding for `n` elements.
    #[must_use]
    pub fn byte_len(square: &Square, n: usize) -> usize {
        2 * packed_len(n, square.cross.bits)
    }

    /// The secret contents, for storage by their owner: exactly [`ServerMaterial::byte_len`] bytes.
    #[must_use]
    pub fn to_bytes(&self, square: &Square) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::byte_len(square, self.len()));
        append(square, &self.factor, &mut out);
        append(square, &self.share, &mut out);
        out
    }

    /// The reverse of [`ServerMaterial::to_bytes`].
    ///
    /// # Errors
    /// [`PeerMisbehaved`] if the bytes have another length or unused bits are set.
    pub fn from_bytes(square: &Square, n: usize, bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        check_len(WHAT, bytes, Self::byte_len(square, n))?;
        let (factor, share) = bytes.split_at(bytes.len() / 2);
        Ok(Self { factor: read(square, n, factor)?, share: read(square, n, share)? })
    }
}

impl ClientMaterial {
    /// Elements of the layer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.share.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.share.is_empty()
    }

    /// Length of the encoding for `n` elements.
    #[must_use]
    pub fn byte_len(square: &Square, n: usize) -> usize {
        packed_len(n, square.cross.bits)
    }

    /// The secret contents, for storage by their owner: exactly [`ClientMaterial::byte_len`] bytes.
    #[must_use]
    pub fn to_bytes(&self, square: &Square) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::byte_len(square, self.len()));
        append(square, &self.share, &mut out);
        out
    }

    /// The reverse of [`ClientMaterial::to_bytes`].
    ///
    /// # Errors
    /// As [`ServerMaterial::from_bytes`].
    pub fn from_bytes(square: &Square, n: usize, bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        check_len(WHAT, bytes, Self::byte_len(square, n))?;
        Ok(Self { share: read(square, n, bytes)? })
    }
}

impl fmt::Debug for ServerMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerMaterial({} elements)", self.len())
    }
}

impl fmt::Debug for ClientMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientMaterial({} elements)", self.len())
    }
}

const WHAT: &str = "stored products of a polynomial";

/// Words of no bits take no bytes.
fn append(square: &Square, words: &[u32], out: &mut Vec<u8>) {
    if square.cross.bits > 0 {
        pack(words, square.cross.bits, out);
    }
}

fn read(square: &Square, n: usize, bytes: &[u8]) -> Result<Zeroizing<Vec<u32>>, PeerMisbehaved> {
    Ok(Zeroizing::new(match square.cross.bits {
        0 => vec![0; n],
        bits => unpack(WHAT, bytes, n, bits)?,
    }))
}
