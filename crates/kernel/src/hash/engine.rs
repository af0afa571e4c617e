//! What a hash needs of a processor: sixteen blocks at a time, and AES under several keys.

use super::{KEYS, LANES};
use crate::block::Block;

/// One block per instance of a batch.
pub(crate) type Lanes = [Block; LANES];

/// Bytes of [`Lanes`].
pub(crate) const LANE_BYTES: usize = LANES * Block::BYTES;

/// A set of instructions. A value of it proves that the machine has them.
///
/// Methods are always inlined into a function that is compiled for the instructions.
pub(crate) trait Engine: Copy {
    /// Sixteen blocks in registers.
    type Lanes: Copy;
    /// The AES-128 key schedules of [`KEYS`] consecutive tweaks.
    type Schedules;

    fn load(self, bytes: &[u8; LANE_BYTES]) -> Self::Lanes;
    fn store(self, x: Self::Lanes, bytes: &mut [u8; LANE_BYTES]);
    fn splat(self, x: Block) -> Self::Lanes;
    fn xor(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    fn and(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// All ones where the lowest bit of a block is set, else zero.
    fn colours(self, x: Self::Lanes) -> Self::Lanes;
    /// All ones where the blocks are equal, else zero. Every 32-bit word of a block must equal the others.
    fn equal(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    fn schedules(self, tweak: u128) -> Self::Schedules;
    /// The hashes of all blocks under key number `key` of the schedules.
    fn hash<const N: usize>(
        self,
        schedules: &Self::Schedules,
        key: usize,
        x: [Self::Lanes; N],
    ) -> [Self::Lanes; N];

    #[inline(always)]
    fn get(self, x: &Lanes) -> Self::Lanes {
        self.load(bytes(x))
    }

    #[inline(always)]
    fn put(self, x: Self::Lanes, out: &mut Lanes) {
        self.store(x, bytes_mut(out));
    }
}

/// The tweaks from `tweak` on, as the bytes of AES keys.
#[inline(always)]
pub(super) fn tweaks(tweak: u128) -> [Block; KEYS] {
    let mut keys = [Block::ZERO; KEYS];
    for (j, key) in (0..).zip(&mut keys) {
        *key = Block(tweak.wrapping_add(j));
    }
    keys
}

#[inline(always)]
fn bytes(x: &Lanes) -> &[u8; LANE_BYTES] {
    #[expect(clippy::expect_used, reason = "the length is that of the type")]
    Block::as_bytes(x).as_array().expect("sixteen blocks")
}

#[inline(always)]
fn bytes_mut(x: &mut Lanes) -> &mut [u8; LANE_BYTES] {
    #[expect(clippy::expect_used, reason = "the length is that of the type")]
    Block::as_bytes_mut(x).as_mut_array().expect("sixteen blocks")
}
