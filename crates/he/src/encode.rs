//! Messages modulo 2^l in R_q: m becomes round(q m / 2^l).
//!
//! Since q = 0 modulo p_i, `round(q m / 2^l) = (q m + 2^(l-1) - v) / 2^l = 1/2 - v / 2^l` modulo p_i, with
//! `v = (q m + 2^(l-1)) mod 2^l`, which needs only the low bits of q. (Rounding q / 2^l first would multiply the
//! rounding error by m.) Constant time in m.

use phineus_kernel::ntt::round::{self, Encoder};
use phineus_kernel::wipe::Wiped;
use phineus_kernel::z2k::Pow2;

use crate::Params;

/// The encoding for one ring.
pub(crate) struct Encoding<'p> {
    params: &'p Params,
    ring: Pow2,
}

impl<'p> Encoding<'p> {
    pub(crate) fn new(params: &'p Params, ring: Pow2) -> Self {
        Self { params, ring }
    }

    /// round(q m / 2^l) modulo the prime of `limb`, for every m, taken modulo 2^l.
    pub(crate) fn residues(&self, limb: usize, messages: &[u32]) -> Wiped<u64> {
        self.residues_plus(limb, messages, 0)
    }

    /// [`Encoding::residues`] plus a constant.
    pub(crate) fn residues_plus(&self, limb: usize, messages: &[u32], constant: u64) -> Wiped<u64> {
        let modulus = self.params.modulus(limb);
        let half = modulus.value().div_ceil(2);
        let encoder = Encoder {
            q: self.params.q_low() as u32,
            half_step: 1 << (self.ring.bits() - 1),
            mask: self.ring.mask(),
            inverse: modulus.shoup(modulus.pow(half, self.ring.bits().into())),
            constant: modulus.add(half, constant),
        };
        let mut residues = Wiped::new(messages.len());
        round::encode(modulus, &encoder, messages, &mut residues);
        residues
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParamsLiteral;

    #[test]
    fn rounds_to_nearest() {
        let params = Params::new(&ParamsLiteral::largest(11, 1)).unwrap();
        let q = u128::from(params.modulus(0).value());
        for bits in [1, 4, 20, 31, 32] {
            let ring = Pow2::new(bits).unwrap();
            let encoding = Encoding::new(&params, ring);
            for m in [0, 1, 2, 3, 1000, ring.mask() / 2, ring.mask() / 2 + 1, ring.mask() - 1, ring.mask()] {
                let m = ring.reduce(m);
                let exact = (q * u128::from(m) + (1 << (bits - 1))) >> bits;
                assert_eq!(u128::from(encoding.residues(0, &[m])[0]), exact % q, "{m} modulo 2^{bits}");
            }
        }
    }

    #[test]
    fn limbs_agree() {
        // Two primes: q < 2^100, and round(q m / 2^l) exactly in 128 bits.
        let params = Params::new(&ParamsLiteral::n4096()).unwrap();
        let primes = [params.modulus(0).value(), params.modulus(1).value()];
        let q = u128::from(primes[0]) * u128::from(primes[1]);
        let ring = Pow2::new(24).unwrap();
        let encoding = Encoding::new(&params, ring);
        for m in [1, 77, 0x80_0000, 0xff_ffff] {
            let exact = (q * u128::from(m) + (1 << 23)) >> 24;
            for (limb, &p) in primes.iter().enumerate() {
                assert_eq!(u128::from(encoding.residues(limb, &[m])[0]), exact % u128::from(p));
            }
        }
    }
}
