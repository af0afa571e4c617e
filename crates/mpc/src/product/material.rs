//! What the parties keep of a layer between offline and online.

use std::fmt;

use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::wire::{PeerMisbehaved, check_len};
use zeroize::Zeroizing;

use super::Product;

/// The server's products for one layer; consumed by the online phase.
#[must_use]
pub struct ServerMaterial {
    /// `a_0` and `a_1`, modulo `2^m`.
    pub(super) factors: [Zeroizing<Vec<u32>>; 2],
    /// Its shares of `a_0 c_1 + a_1 c_0`.
    pub(super) share: Zeroizing<Vec<u32>>,
}

/// The client's products for one layer; consumed by the online phase.
#[must_use]
pub struct ClientMaterial {
    /// Its shares of `a_0 c_1 + a_1 c_0`, modulo `2^m`.
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
    pub fn byte_len(product: &Product, n: usize) -> usize {
        3 * packed_len(n, product.bits())
    }

    /// The secret contents, for storage by their owner: exactly [`ServerMaterial::byte_len`] bytes.
    #[must_use]
    pub fn to_bytes(&self, product: &Product) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::byte_len(product, self.len()));
        let [first, second] = &self.factors;
        [first, second, &self.share].into_iter().for_each(|words| pack(words, product.bits(), &mut out));
        out
    }

    /// The reverse of [`ServerMaterial::to_bytes`].
    ///
    /// # Errors
    /// [`PeerMisbehaved`] if the bytes have another length or unused bits are set.
    pub fn from_bytes(product: &Product, n: usize, bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        check_len(WHAT, bytes, Self::byte_len(product, n))?;
        let (factors, share) = bytes.split_at(bytes.len() / 3 * 2);
        let (first, second) = factors.split_at(factors.len() / 2);
        let read = |bytes| Ok(Zeroizing::new(unpack(WHAT, bytes, n, product.bits())?));
        Ok(Self { factors: [read(first)?, read(second)?], share: read(share)? })
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
    pub fn byte_len(product: &Product, n: usize) -> usize {
        packed_len(n, product.bits())
    }

    /// The secret contents, for storage by their owner: exactly [`ClientMaterial::byte_len`] bytes.
    #[must_use]
    pub fn to_bytes(&self, product: &Product) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::byte_len(product, self.len()));
        pack(&self.share, product.bits(), &mut out);
        out
    }

    /// The reverse of [`ClientMaterial::to_bytes`].
    ///
    /// # Errors
    /// As [`ServerMaterial::from_bytes`].
    pub fn from_bytes(product: &Product, n: usize, bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        check_len(WHAT, bytes, Self::byte_len(product, n))?;
        Ok(Self { share: Zeroizing::new(unpack(WHAT, bytes, n, product.bits())?) })
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

const WHAT: &str = "stored products of two values";
