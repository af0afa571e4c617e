//! The global offset of free XOR and of correlated OT.

use phineus_kernel::block::Block;
use rand::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret block with bit 0 set, so that the two labels of a wire have different colours. 127 bits of entropy.
#[derive(Debug, Clone, Zeroize, ZeroizeOnDrop)]
pub struct Delta(Block);

impl Delta {
    /// A uniform offset.
    #[must_use]
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        Self(Block::random(rng).with_lsb())
    }

    /// A stored offset; `None` unless bit 0 is set.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let block = Block::from_bytes(bytes);
        (block.0 & 1 == 1).then_some(Self(block))
    }

    /// The block.
    #[must_use]
    #[inline]
    pub fn block(&self) -> Block {
        self.0
    }

    /// The offset if `bit`, zero otherwise, without a branch.
    #[must_use]
    #[inline]
    pub fn times(&self, bit: bool) -> Block {
        self.0 & Block::mask(bit)
    }

    /// Bit `i` of the offset.
    #[must_use]
    pub(crate) fn bit(&self, i: usize) -> bool {
        self.0.0 >> i & 1 == 1
    }
}
