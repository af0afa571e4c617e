//! The server's response: what the client may decrypt of a sum of products, and nothing else.
//!
//! In this order, on (c_0, c_1) with phase `c_0 + c_1 s = q m / 2^l + noise`:
//! 1. add a fresh encryption of zero under the public key: (b u + e_0, a u + e_1), so that c_1 says nothing about
//!    the weights (RLWE with secret u);
//! 2. flood: add to every wanted coefficient of c_0 the sum of three uniform integers of [0, K), centred, so that the
//!    noise says nothing either ([`noise`](crate::noise) counts the distance);
//! 3. subtract the mask, round(q s / 2^l);
//! 4. switch c_1 to modulus 2^(l+g), round(2^(l+g) c_1 / q), and c_0 to 2^(l+g_0): its rounding error stands alone,
//!    while that of c_1 is multiplied by s. From residues, `c / q = sum_i ([c (q/p_i)^-1] mod p_i) / p_i` modulo 1, in
//!    64-bit fixed point: less than 3 units of 2^-64 too small per prime;
//! 5. drop the coefficients of c_0 that are not wanted.
//!
//! Steps 4 and 5 only see what may be published. Constant time in weights, masks and randomness.

use std::borrow::Cow;
use std::sync::Arc;

use phineus_kernel::ntt::{pointwise, round};
use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::sample::{centred_binomial, ternary};
use phineus_kernel::wipe::Wiped;
use phineus_kernel::wire::{PeerMisbehaved, Wire, check_len};
use phineus_kernel::z2k::Pow2;
use phineus_kernel::zq::Modulus;
use rand::CryptoRng;

use crate::encode::Encoding;
use crate::{Accumulator, Ciphertext, Coeff, HeError, Params, Poly, PublicKey};

/// Largest operand of the modular products, in bits.
const WORD: u32 = 52;
/// Bits of a digit of the flood, so that a sum of three is an operand.
const DIGIT: u32 = WORD - 2;

/// How one layer's responses are flooded and switched; made by [`noise::prove`](crate::noise::prove) only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplySpec {
    ring: Pow2,
    guard: u32,
    body_guard: u32,
    log_flood: u32,
}

/// The switched ciphertext: words of l + g_0 and of l + g bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    spec: ReplySpec,
    /// c_0 at the wanted positions, in their order.
    pub(crate) body: Vec<u64>,
    /// c_1, all coefficients.
    pub(crate) uniform: Vec<u64>,
}

/// What determines the size of a [`Response`].
#[derive(Debug, Clone)]
pub struct ResponseShape {
    /// Parameters.
    pub params: Arc<Params>,
    /// Flood and moduli.
    pub spec: ReplySpec,
    /// Number of wanted coefficients.
    pub coefficients: usize,
}

impl ReplySpec {
    pub(crate) fn new(ring: Pow2, guard: u32, body_guard: u32, log_flood: u32) -> Self {
        debug_assert!(0 < guard && ring.bits() + guard <= WORD, "switched modulus");
        debug_assert!((1..=guard).contains(&body_guard), "the body is switched further");
        Self { ring, guard, body_guard, log_flood }
    }

    /// Z_{2^l} of the messages.
    #[must_use]
    pub fn ring(&self) -> Pow2 {
        self.ring
    }

    /// g: bits below the message in the modulus that c_1 is switched to.
    #[must_use]
    pub fn guard(&self) -> u32 {
        self.guard
    }

    /// g_0, at most g: bits below the message in that of c_0.
    #[must_use]
    pub fn body_guard(&self) -> u32 {
        self.body_guard
    }

    /// log2 of K, the width of each of the three parts of the flood.
    #[must_use]
    pub fn log_flood(&self) -> u32 {
        self.log_flood
    }

    /// l + g, at most 52.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.ring.bits() + self.guard
    }

    /// l + g_0.
    #[must_use]
    pub fn body_width(&self) -> u32 {
        self.ring.bits() + self.body_guard
    }
}

/// The response to `sum`: an encryption of its coefficients at `positions`, minus `mask` modulo 2^l.
///
/// # Errors
/// [`HeError::Position`] on positions repeated or beyond the degree, [`HeError::Count`] if there is not one mask
/// value per position.
///
/// # Panics
/// If `public` has other parameters than `sum`.
pub fn respond(
    sum: Accumulator,
    public: &PublicKey,
    positions: &[u32],
    mask: &[u32],
    spec: &ReplySpec,
    rng: &mut impl CryptoRng,
) -> Result<Response, HeError> {
    check_mask(public.params(), positions, mask)?;
    Ok(publish(&randomise(sum, public, positions, mask, spec, rng), positions, spec))
}

/// Fails unless there is one mask value for each of the positions, which are distinct coefficients.
pub(crate) fn check_mask(params: &Params, positions: &[u32], mask: &[u32]) -> Result<(), HeError> {
    check_positions(params, positions)?;
    if mask.len() != positions.len() {
        return Err(HeError::Count { what: "mask", expected: positions.len(), got: mask.len() });
    }
    Ok(())
}

/// Fails on a position that is no coefficient or occurs twice.
pub(crate) fn check_positions(params: &Params, positions: &[u32]) -> Result<(), HeError> {
    check_distinct(params.degree(), positions)
}

/// Fails on a position that is not below n or occurs twice.
pub(crate) fn check_distinct(n: usize, positions: &[u32]) -> Result<(), HeError> {
    let mut seen = vec![false; n];
    for &position in positions {
        match seen.get_mut(position as usize) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(HeError::Position { position, n }),
        }
    }
    Ok(())
}

/// Steps 1 to 3; the coefficients of the first half are complete at `positions` only.
pub(crate) fn randomise(
    mut sum: Accumulator,
    public: &PublicKey,
    positions: &[u32],
    mask: &[u32],
    spec: &ReplySpec,
    rng: &mut impl CryptoRng,
) -> [Poly<Coeff>; 2] {
    let params = public.params();
    let mut small = Wiped::<i8>::new(params.degree());

    ternary(rng, &mut small);
    let u = Poly::from_bytes(params, &small).into_eval();
    sum.mul_acc_operand(public.operand(), &u);
    u.erase();
    let Ciphertext { body, uniform } = sum.finish();
    let (mut body, mut uniform) = (body.into_coeff(), uniform.into_coeff());
    centred_binomial(rng, &mut small);
    let error = Poly::from_bytes(params, &small);
    for limb in 0..params.limbs() {
        let modulus = params.modulus(limb);
        pointwise::add_assign(modulus, uniform.limb_mut(limb), error.limb(limb));
    }
    error.erase();

    let error = &mut small[..positions.len()];
    centred_binomial(rng, error);
    let flood = Flood::draw(positions.len(), spec.log_flood, rng);
    let encoding = Encoding::new(params, spec.ring);
    let mut shift = Wiped::new(positions.len());
    for limb in 0..params.limbs() {
        let modulus = params.modulus(limb);
        // flood + error - mask, with the mean of the flood taken away.
        let mean = modulus.mul(3, modulus.pow(2, u64::from(spec.log_flood) - 1));
        pointwise::lift_bytes(modulus, error, &mut shift);
        flood.add_residues(modulus, &mut shift);
        pointwise::sub_assign(modulus, &mut shift, &encoding.residues_plus(limb, mask, mean));
        let body = body.limb_mut(limb);
        for (&position, &shift) in positions.iter().zip(shift.iter()) {
            let slot = &mut body[position as usize];
            *slot = modulus.add(*slot, shift);
        }
    }
    [body, uniform]
}

/// Steps 4 and 5.
pub(crate) fn publish(halves: &[Poly<Coeff>; 2], positions: &[u32], spec: &ReplySpec) -> Response {
    let [body, uniform] = halves;
    let wanted = |limb: &[u64]| positions.iter().map(|&i| limb[i as usize]).collect();
    let body = switch(body, spec.body_width(), positions.len(), |limb| Cow::Owned(wanted(limb)));
    let uniform = switch(uniform, spec.width(), uniform.params().degree(), Cow::Borrowed);
    Response { spec: *spec, body, uniform }
}

/// `round(2^width c / q)` modulo 2^width at `count` coefficients, those that `choose` takes from every limb.
fn switch<'p>(
    poly: &'p Poly<Coeff>,
    width: u32,
    count: usize,
    choose: impl Fn(&'p [u64]) -> Cow<'p, [u64]>,
) -> Vec<u64> {
    let params = poly.params();
    let mut fractions = vec![1_u64 << (63 - width); count];
    for limb in 0..params.limbs() {
        let residues = choose(poly.limb(limb));
        round::add_fractions(params.modulus(limb), params.fraction(limb), &residues, &mut fractions);
    }
    fractions.iter_mut().for_each(|v| *v >>= 64 - width);
    fractions
}

/// Sums of three uniform integers below 2^k, in sums of digits.
struct Flood {
    /// Digit after digit, each for all integers.
    digits: Wiped<u64>,
    count: usize,
}

impl Flood {
    fn draw(count: usize, bits: u32, rng: &mut impl CryptoRng) -> Self {
        let mut digits = Wiped::new(count * bits.div_ceil(DIGIT) as usize);
        let mut bytes = Wiped::new(8 * count);
        for (j, digit) in (0..).zip(digits.chunks_exact_mut(count.max(1))) {
            let mask = (1 << DIGIT.min(bits - j * DIGIT)) - 1;
            for _ in 0..3 {
                rng.fill_bytes(&mut bytes);
                for (value, word) in digit.iter_mut().zip(bytes.as_chunks().0) {
                    *value += u64::from_le_bytes(*word) & mask;
                }
            }
        }
        Self { digits, count }
    }

    /// Adds the integers to residues modulo a prime: the sum of the digits times their weights.
    fn add_residues(&self, modulus: &Modulus, sum: &mut [u64]) {
        let mut term = Wiped::new(self.count);
        for (j, digit) in (0..).zip(self.digits.chunks_exact(self.count.max(1))) {
            term.copy_from_slice(digit);
            pointwise::scale(modulus, &mut term, modulus.shoup(modulus.pow(2, j * u64::from(DIGIT))));
            pointwise::add_assign(modulus, sum, &term);
        }
    }
}

/// c_1, then the wanted coefficients of c_0.
impl Wire for Response {
    type Spec = ResponseShape;

    const NAME: &'static str = "response";

    fn wire_len(shape: &Self::Spec) -> usize {
        let ResponseShape { params, spec, coefficients } = shape;
        packed_len(params.degree(), spec.width()) + packed_len(*coefficients, spec.body_width())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        pack(&self.uniform, self.spec.width(), out);
        pack(&self.body, self.spec.body_width(), out);
    }

    fn decode(bytes: &[u8], shape: &Self::Spec) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(shape))?;
        let (spec, n) = (shape.spec, shape.params.degree());
        let (uniform, body) = bytes.split_at(packed_len(n, spec.width()));
        let uniform = unpack(Self::NAME, uniform, n, spec.width())?;
        let body = unpack(Self::NAME, body, shape.coefficients, spec.body_width())?;
        Ok(Self { spec, body, uniform })
    }
}
