//! What the parties keep of a layer of products of shares between offline and online.

use std::fmt;

use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::wire::{PeerMisbehaved, check_len};
use zeroize::Zeroizing;

/// A layer that is computed with products of shares, made beforehand.
pub trait Products {
    /// Width `m` of the ring of the products, 0..=32.
    fn product_bits(&self) -> u32;
}

/// The server's products for one layer, of `K` factors per element; consumed by the online phase.
#[must_use]
pub struct ServerMaterial<const K: usize> {
    /// Its random factors `a`, modulo `2^m`.
    pub(crate) factors: [Zeroizing<Vec<u32>>; K],
    /// Its shares of the sum of the products of each `a` with the client's word.
    pub(crate) share: Zeroizing<Vec<u32>>,
}

/// The client's products for one layer; consumed by the online phase.
#[must_use]
pub struct ClientMaterial {
    /// Its shares of the same sum, modulo `2^m`.
    pub(crate) share: Zeroizing<Vec<u32>>,
}

impl<const K: usize> ServerMaterial<K> {
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
    pub fn byte_len(layer: &impl Products, n: usize) -> usize {
        (K + 1) * packed_len(n, layer.product_bits())
    }

    /// The secret contents, for storage by their owner: exactly [`ServerMaterial::byte_len`] bytes.
    #[must_use]
    pub fn to_bytes(&self, layer: &impl Products) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::byte_len(layer, self.len()));
        self.factors.iter().chain([&self.share]).for_each(|words| append(layer, words, &mut out));
        out
    }

    /// The reverse of [`ServerMaterial::to_bytes`].
    ///
    /// # Errors
    /// [`PeerMisbehaved`] if the bytes have another length or unused bits are set.
    pub fn from_bytes(layer: &impl Products, n: usize, bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        check_len(WHAT, bytes, Self::byte_len(layer, n))?;
        let mut rest = bytes;
        let mut next = || {
            let (head, tail) = rest.split_at(packed_len(n, layer.product_bits()));
            rest = tail;
            read(layer, n, head)
        };
        let mut factors = std::array::from_fn(|_| Zeroizing::new(Vec::new()));
        for factor in &mut factors {
            *factor = next()?;
        }
        Ok(Self { factors, share: next()? })
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
    pub fn byte_len(layer: &impl Products, n: usize) -> usize {
        packed_len(n, layer.product_bits())
    }

    /// The secret contents, for storage by their owner: exactly [`ClientMaterial::byte_len`] bytes.
    #[must_use]
    pub fn to_bytes(&self, layer: &impl Products) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::byte_len(layer, self.len()));
        append(layer, &self.share, &mut out);
        out
    }

    /// The reverse of [`ClientMaterial::to_bytes`].
    ///
    /// # Errors
    /// [`PeerMisbehaved`] if the bytes have another length or unused bits are set.
    pub fn from_bytes(layer: &impl Products, n: usize, bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        check_len(WHAT, bytes, Self::byte_len(layer, n))?;
        Ok(Self { share: read(layer, n, bytes)? })
    }
}

impl<const K: usize> fmt::Debug for ServerMaterial<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerMaterial({} elements)", self.len())
    }
}

impl fmt::Debug for ClientMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientMaterial({} elements)", self.len())
    }
}

const WHAT: &str = "stored products of shares";

/// Words of no bits take no bytes.
fn append(layer: &impl Products, words: &[u32], out: &mut Vec<u8>) {
    if layer.product_bits() > 0 {
        pack(words, layer.product_bits(), out);
    }
}

fn read(layer: &impl Products, n: usize, bytes: &[u8]) -> Result<Zeroizing<Vec<u32>>, PeerMisbehaved> {
    Ok(Zeroizing::new(match layer.product_bits() {
        0 => vec![0; n],
        bits => unpack(WHAT, bytes, n, bits)?,
    }))
}
