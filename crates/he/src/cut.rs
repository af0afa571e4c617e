//! Requests without their low bits.
//!
//! A coefficient b of the body of an encryption is a number of [0, q) whose lowest bits carry nothing but noise. The
//! client sends floor(b / 2^t) only, and the server works with `2^t floor(b / 2^t) + 2^(t-1)`: up to one half uniform
//! noise of width 2^t beside the errors of the encryption, since b is pseudo-random ([`noise`](crate::noise) counts it).
//! What is left of b takes `ceil(log2 q) - t` bits. Bodies travel by coefficients then, not by values; q is below 2^127.
//!
//! Security: a function of the encryption.

use std::fmt;
use std::sync::Arc;

use phineus_kernel::ntt::pointwise;
use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::wire::{PeerMisbehaved, Wire, check_len};

use crate::{Coeff, Eval, Params, Poly};

/// Most bits that can be dropped: those of the smallest prime that is of use.
pub const MOST_DROPPED: u32 = 24;

/// What is left of a body, in two words per coefficient.
pub struct CutBody {
    shape: CutShape,
    low: Vec<u64>,
    high: Vec<u64>,
}

/// What determines the size of a [`CutBody`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutShape {
    params: Arc<Params>,
    /// (q - 1) / 2^t.
    most: u128,
    dropped: u32,
}

impl CutShape {
    /// Bodies without their `dropped` lowest bits, 1 to [`MOST_DROPPED`]; `None` where these parameters keep all.
    #[must_use]
    pub fn new(params: &Arc<Params>, dropped: u32) -> Option<Self> {
        if !params.can_cut() || !(1..=MOST_DROPPED).contains(&dropped) {
            return None;
        }
        let q: u128 = params.plans().iter().map(|plan| u128::from(plan.modulus().value())).product();
        Some(Self { params: params.clone(), most: (q - 1) >> dropped, dropped })
    }

    /// Bits of the low and of the high word.
    fn widths(&self) -> [u32; 2] {
        let width = u128::BITS - self.most.leading_zeros();
        [width.div_ceil(2), width / 2]
    }
}

impl Params {
    /// Whether [`CutShape`] knows bodies modulo this q.
    #[must_use]
    pub fn can_cut(&self) -> bool {
        self.log2_q() < 106.0 && self.limbs() > 1
    }
}

impl CutBody {
    /// Drops the low bits.
    pub(crate) fn new(body: &Poly<Coeff>, shape: &CutShape) -> Self {
        let CutShape { params, dropped, .. } = shape;
        let [low_bits, _] = shape.widths();
        let mask = (1_u64 << low_bits) - 1;
        let mut low = Vec::with_capacity(params.degree());
        let mut high = Vec::with_capacity(params.degree());
        let compose = Compose::new(params);
        for i in 0..params.degree() {
            let value = compose.value(params, |limb| body.limb(limb)[i]) >> dropped;
            low.push(value as u64 & mask);
            high.push((value >> low_bits) as u64);
        }
        Self { shape: shape.clone(), low, high }
    }

    /// The body that the server works with.
    #[must_use]
    pub fn into_body(self) -> Poly<Eval> {
        let Self { shape: CutShape { params, dropped, .. }, .. } = &self;
        let [low_bits, _] = self.shape.widths();
        let mut body = Poly::<Coeff>::zero(params);
        let mut other = vec![0; params.degree()];
        for limb in 0..params.limbs() {
            let modulus = params.modulus(limb);
            let values = body.limb_mut(limb);
            values.copy_from_slice(&self.low);
            pointwise::scale(modulus, values, modulus.shoup(modulus.pow(2, u64::from(*dropped))));
            other.copy_from_slice(&self.high);
            let weight = modulus.pow(2, u64::from(dropped + low_bits));
            pointwise::scale(modulus, &mut other, modulus.shoup(weight));
            pointwise::add_assign(modulus, values, &other);
            other.fill(modulus.pow(2, u64::from(dropped - 1)));
            pointwise::add_assign(modulus, values, &other);
        }
        body.into_eval()
    }
}

/// Numbers from their residues, digit by digit in mixed radix (Garner).
struct Compose {
    /// Per prime p_i and prime p_j before it, p_j^-1 modulo p_i.
    inverses: Vec<Vec<u64>>,
}

impl Compose {
    fn new(params: &Params) -> Self {
        let inverses = |limb: usize| {
            let modulus = params.modulus(limb);
            let before = (0..limb).map(|j| params.modulus(j).value() % modulus.value());
            before.map(|p| modulus.inv(p)).collect()
        };
        Self { inverses: (0..params.limbs()).map(inverses).collect() }
    }

    fn value(&self, params: &Params, residue: impl Fn(usize) -> u64) -> u128 {
        let mut digits = [0_u64; 4];
        let (mut value, mut radix) = (0_u128, 1_u128);
        for (limb, inverses) in self.inverses.iter().enumerate() {
            let modulus = params.modulus(limb);
            let mut digit = residue(limb);
            for (&before, &inverse) in digits.iter().zip(inverses) {
                digit = modulus.mul(modulus.sub(digit, before % modulus.value()), inverse);
            }
            digits[limb] = digit;
            value += radix * u128::from(digit);
            radix *= u128::from(modulus.value());
        }
        value
    }
}

/// The low words, then the high ones.
impl Wire for CutBody {
    type Spec = CutShape;

    const NAME: &'static str = "cut body";

    fn wire_len(shape: &CutShape) -> usize {
        shape.widths().map(|width| packed_len(shape.params.degree(), width)).iter().sum()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let [low, high] = self.shape.widths();
        pack(&self.low, low, out);
        pack(&self.high, high, out);
    }

    fn decode(bytes: &[u8], shape: &CutShape) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(shape))?;
        let ([low_bits, high_bits], n) = (shape.widths(), shape.params.degree());
        let (low, high) = bytes.split_at(packed_len(n, low_bits));
        let low = unpack::<u64>(Self::NAME, low, n, low_bits)?;
        let high = unpack::<u64>(Self::NAME, high, n, high_bits)?;
        let value = |(&low, &high): (&u64, &u64)| u128::from(high) << low_bits | u128::from(low);
        if low.iter().zip(&high).any(|words| value(words) > shape.most) {
            return Err(PeerMisbehaved::Invalid { what: Self::NAME, reason: "coefficient is not reduced" });
        }
        Ok(Self { shape: shape.clone(), low, high })
    }
}

impl fmt::Debug for CutBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CutBody({} coefficients)", self.low.len())
    }
}

#[cfg(test)]
mod tests {
    use phineus_kernel::z2k::Pow2;

    use super::*;
    use crate::tests::{Party, exact_noise, exact_phase};
    use crate::{Ciphertext, Encryptor, Expander, ParamsLiteral};

    #[test]
    fn cut_bodies_lose_what_they_may() {
        let mut party = Party::new(&ParamsLiteral::n4096(), 70);
        let ring = Pow2::new(22).unwrap();
        let n = party.params.degree();
        let positions: Vec<u32> = (0..n as u32).collect();
        for dropped in [1, 7, 12, MOST_DROPPED] {
            let shape = CutShape::new(&party.params, dropped).unwrap();
            let plain = party.plain(ring);
            let mut stream = Encryptor::new(&party.secret, &mut party.rng);
            let body = stream.slot().encrypt_cut(&plain, ring, &shape, &mut party.rng);
            let mut bytes = Vec::new();
            body.encode(&mut bytes);
            assert_eq!(bytes.len(), CutBody::wire_len(&shape));
            let bits = 100 - dropped as usize;
            assert_eq!(bytes.len(), bits * n / 8);
            let body = CutBody::decode(&bytes, &shape).unwrap().into_body();
            let Ciphertext { body, uniform } = Expander::new(stream.seed()).next(body);
            let halves = [body.into_coeff(), uniform.into_coeff()];
            let phase = exact_phase(&party, &halves, &positions);
            let noise = exact_noise(&party, &phase, &plain, ring);
            // The error of the encryption is at most 21, that of the encoding 1.
            let bound = (1_i128 << (dropped - 1)) + 22;
            assert!(noise.iter().all(|v| v.abs() <= bound), "{dropped}");
            let variance = noise.iter().map(|&v| (v as f64).powi(2)).sum::<f64>() / n as f64;
            let expected = 10.5 + (2.0 * f64::from(dropped)).exp2() / 12.0;
            assert!((0.9..1.1).contains(&(variance / expected)), "{dropped}: {variance} {expected}");
        }
    }

    #[test]
    fn numbers_from_residues() {
        for literal in [ParamsLiteral::n4096(), ParamsLiteral::n4096_full()] {
            let params = Params::new(&literal).unwrap();
            let most = CutShape::new(&params, 1).unwrap().most;
            let compose = Compose::new(&params);
            for value in [0, 1, most, 2 * most, most / 3, 123_456_789_012_345_678_901_234_567] {
                let residue = |limb: usize| (value % u128::from(params.modulus(limb).value())) as u64;
                assert_eq!(compose.value(&params, residue), value);
            }
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let params = Params::new(&ParamsLiteral::n4096_full()).unwrap();
        let shape = CutShape::new(&params, 9).unwrap();
        let full = vec![0xff; CutBody::wire_len(&shape)];
        assert!(matches!(CutBody::decode(&full, &shape), Err(PeerMisbehaved::Invalid { .. })));
        assert!(matches!(CutBody::decode(&full[1..], &shape), Err(PeerMisbehaved::Length { .. })));
        assert!(CutShape::new(&params, 0).is_none() && CutShape::new(&params, MOST_DROPPED + 1).is_none());
        let wide = Params::new(&ParamsLiteral::n8192()).unwrap();
        assert!(CutShape::new(&wide, 4).is_none());
    }
}
