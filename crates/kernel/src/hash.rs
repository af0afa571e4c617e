//! The hash of garbled circuits: tweakable circular correlation robust, re-keyed per tweak.
//!
//! `H(x, i) = AES_i(sigma(x)) + sigma(x)` with the linear orthomorphism `sigma(L || R) = (L + R) || L`: the
//! construction of Guo, Katz, Wang, Weng, Yu, *Better concrete security for half-gates garbling (in the
//! multi-instance setting)*, CRYPTO 2020, section 4. The tweak is the AES *key*; one key serves a batch of blocks.
//!
//! Security. With AES as an ideal cipher, `p` evaluations of it by the adversary, `q` hash queries under an offset
//! of `rho` bits of entropy and no tweak used for more than `mu` queries, over all offsets, the advantage is at
//! most `(2 mu p + (mu - 1) q) / 2^rho`. Here `rho = 127` (the colour bit of the offset is fixed). Sharing each tweak among
//! `mu = 16` instances costs 4 bits: `2^5 p / 2^127`, against `log2` of the number of *all* gates for a fixed key.
//! `mu` counts every use of a key by anyone: starting tweaks must therefore be random per session.

use aes::Aes128Enc;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};

use crate::block::Block;

/// `sigma(L || R) = (L + R) || L`: linear, and both `sigma` and `x -> sigma(x) + x` are permutations.
#[must_use]
#[inline]
pub const fn sigma(x: Block) -> Block {
    Block((x.0 ^ x.0 << 64) & HIGH | x.0 >> 64)
}

/// `out[j] = H(x[j], tweak)` for all `j`; `x` becomes `sigma(x)`.
///
/// # Panics
/// If the slices differ in length.
#[inline]
pub fn tccr_batch(tweak: u128, x: &mut [Block], out: &mut [Block]) {
    assert_eq!(x.len(), out.len(), "one output per input");
    let cipher = Aes128Enc::new(&Array::from(tweak.to_le_bytes()));
    for x in x.iter_mut() {
        *x = sigma(*x);
    }
    out.copy_from_slice(x);
    let (blocks, _) = Array::slice_as_chunks_mut(Block::as_bytes_mut(out));
    cipher.encrypt_blocks(blocks);
    for (out, x) in out.iter_mut().zip(x) {
        *out ^= *x;
    }
}

const HIGH: u128 = (u64::MAX as u128) << 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_answer() {
        // FIPS-197, appendix C.1, as AES_key(sigma(x)) + sigma(x).
        let key = u128::from_le_bytes(std::array::from_fn(|i| i as u8));
        let plain = u128::from_le_bytes(std::array::from_fn(|i| 0x11 * i as u8));
        let cipher = 0x69c4_e0d8_6a7b_0430_d8cd_b780_70b4_c55a_u128.swap_bytes();
        // sigma^-1(H || L) = L || (H + L)
        let x = plain << 64 | ((plain >> 64) ^ (plain & u128::from(u64::MAX)));
        assert_eq!(sigma(Block(x)).0, plain);
        for n in [1, 7, 16, 64, 65, 130] {
            let (mut x, mut out) = (vec![Block(x); n], vec![Block::ZERO; n]);
            tccr_batch(key, &mut x, &mut out);
            assert!(out.iter().all(|o| o.0 == cipher ^ plain));
        }
    }

    proptest! {
        #[test]
        fn sigma_is_a_linear_orthomorphism(a: u128, b: u128) {
            let s = |x| sigma(Block(x)).0;
            prop_assert_eq!(s(a) ^ s(b), s(a ^ b));
            prop_assert!(a == 0 || (s(a) != 0 && s(a) ^ a != 0));
            // sigma^2 + sigma + 1 = 0, hence sigma and sigma + 1 are invertible.
            prop_assert_eq!(s(s(a)) ^ s(a) ^ a, 0);
        }

        #[test]
        fn tweaks_and_inputs_matter(x: u128, y: u128, i: u128, j: u128) {
            let h = |x, i| {
                let mut out = [Block::ZERO];
                tccr_batch(i, &mut [Block(x)], &mut out);
                out[0].0
            };
            prop_assert_eq!(x == y, h(x, i) == h(y, i));
            prop_assert_eq!(i == j, h(x, i) == h(x, j));
        }
    }
}
