//! Plain Rust; the cipher is the `aes` crate's.

use aes::Aes128Enc;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};

use subtle::ConstantTimeEq;

use super::engine::{Engine, LANE_BYTES, Lanes, tweaks};
use super::{KEYS, LANES, sigma};
use crate::block::Block;

#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Engine for Portable {
    type Lanes = Lanes;
    type Schedules = [Aes128Enc; KEYS];

    #[inline(always)]
    fn load(self, bytes: &[u8; LANE_BYTES]) -> Lanes {
        let mut x = [Block::ZERO; LANES];
        Block::as_bytes_mut(&mut x).copy_from_slice(bytes);
        x
    }

    #[inline(always)]
    fn store(self, x: Lanes, bytes: &mut [u8; LANE_BYTES]) {
        bytes.copy_from_slice(Block::as_bytes(&x));
    }

    #[inline(always)]
    fn splat(self, x: Block) -> Lanes {
        [x; LANES]
    }

    #[inline(always)]
    fn xor(self, mut a: Lanes, b: Lanes) -> Lanes {
        a.iter_mut().zip(b).for_each(|(a, b)| *a ^= b);
        a
    }

    #[inline(always)]
    fn and(self, mut a: Lanes, b: Lanes) -> Lanes {
        a.iter_mut().zip(b).for_each(|(a, b)| *a &= b);
        a
    }

    #[inline(always)]
    fn colours(self, x: Lanes) -> Lanes {
        x.map(|x| Block::mask(x.lsb()))
    }

    #[inline(always)]
    fn equal(self, mut a: Lanes, b: Lanes) -> Lanes {
        a.iter_mut().zip(b).for_each(|(a, b)| *a = Block::mask(a.ct_eq(&b).into()));
        a
    }

    fn schedules(self, tweak: u128) -> [Aes128Enc; KEYS] {
        tweaks(tweak).map(|key| Aes128Enc::new(&Array::from(key.to_bytes())))
    }

    fn hash<const N: usize>(
        self,
        schedules: &[Aes128Enc; KEYS],
        key: usize,
        mut x: [Lanes; N],
    ) -> [Lanes; N] {
        for x in x.as_flattened_mut() {
            *x = sigma(*x);
        }
        let mut out = x;
        let (blocks, _) = Array::slice_as_chunks_mut(Block::as_bytes_mut(out.as_flattened_mut()));
        schedules[key].encrypt_blocks(blocks);
        out.as_flattened_mut().iter_mut().zip(x.as_flattened()).for_each(|(out, x)| *out ^= *x);
        out
    }
}
