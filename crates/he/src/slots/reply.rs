//! The server's reply: the slots of a result at level 0, rescaled or not, and nothing else of how it came about.
//!
//! In this order, on (c_0, c_1) modulo q, the modulus of level 0:
//! 1. add a fresh encryption of zero under the public key, (b u + e_0, a u + e_1), so that c_1 says nothing about the
//!    weights (RLWE with secret u);
//! 2. flood: add to every coefficient of c_0 that is sent a uniform integer of [-F/2, F/2), F = 2^`log_flood`;
//! 3. switch both halves to modulus 2^width: round(2^width c / q), in 64-bit fixed point;
//! 4. drop the coefficients of c_0 that are not sent.
//!
//! **Periods.** Slots that repeat with period d, a power of two, are those of an element of the subring of degree d: of its
//! coefficients only every (n/d)-th differs from zero. A result that has been summed over rotations by d, 2d, .., n/2 is
//! of this kind up to noise. For such results only these d coefficients of c_0 are sent. The others, which hold only noise,
//! never leave the server, and the client's slots are less noisy by sqrt(n/d).
//!
//! **Hiding.** Let two models give results whose exact slots agree. The phases of their ciphertexts differ by at most the
//! error bound E of the ciphertext in every slot, hence, a coefficient being a mean of slots times numbers of absolute value
//! at most 1, by `2 scale E` in every coefficient. The two views differ in statistical distance by at most
//! d 2 scale E / F, besides RLWE: [`ReplySpec::log2_distance`]. E bounds the error of an *approximate* scheme: the client
//! sees the exact result only up to flood and error, so hiding 2^-t takes t + log2 d bits of precision more than the result
//! needs, at every level: scales of several primes. With scales of one prime a flood only blurs, and the error, which depends
//! on the weights in ways that a client with its key can compute, is not hidden in the sense of a proof.
//! What is promised is this number, not more. It covers weights that give the same result; what the result itself says
//! about the weights no flood hides.
//!
//! **Shares.** Instead of a flood, [`Evaluator::share`] adds to every coefficient that is sent one that is uniform modulo q,
//! and keeps the negative of it, switched to 2^width: the two parties hold additive shares, modulo 2^width, of what the
//! coefficients are. The client's words are uniform whatever the result and its error are, at every size of the modulus:
//! the distance is 0, besides RLWE. What a protocol then computes from the shares is all that anybody learns.

use std::fmt;
use std::sync::Arc;

use phineus_kernel::ntt32::pointwise;
use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::sample::{centred_binomial, ternary};
use phineus_kernel::wire::{PeerMisbehaved, Wire, check_len};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::cipher::Ciphertext;
use super::keys::public_basis;
use super::poly::Poly;
use super::{Evaluator, Params, PublicKey, SecretKey, SlotsError, noise};

/// How results are sent: agreed in the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplySpec {
    params: Arc<Params>,
    period: usize,
    width: u32,
    log_flood: u32,
    /// That of the results.
    scale: f64,
}

/// A switched ciphertext: words of `width` bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    width: u32,
    /// c_0 at every (n/d)-th place.
    body: Vec<u64>,
    /// c_1, all coefficients.
    uniform: Vec<u64>,
}

/// What the client has decrypted. It stays with the client: an approximate decryption contains the noise, from which who
/// also has the ciphertext could compute the key (Li and Micciancio, "On the security of homomorphic encryption on
/// approximate numbers", EUROCRYPT 2021). Hence this type has no encoding.
pub struct Decrypted {
    slots: Zeroizing<Vec<f64>>,
}

impl ReplySpec {
    /// Replies with slots of period `period`, words of `width` bits and a flood of 2^`log_flood`.
    ///
    /// # Errors
    /// [`SlotsError::Reply`] unless the period is a power of two up to n, the width is in 8..=56 and no more than the bits
    /// of the modulus of level 0, and the flood leaves room below it.
    pub fn new(params: &Arc<Params>, period: usize, width: u32, log_flood: u32) -> Result<Self, SlotsError> {
        let scale = params.scale(0)?;
        let fail = |reason| Err(SlotsError::Reply { period, width, reason });
        let log2_q = params.level(0)?.log2_q;
        if !period.is_power_of_two() || period > params.slots() {
            return fail("the period is a power of two and at most the number of slots");
        }
        if !(8..=56).contains(&width) || f64::from(width) > log2_q.ceil() {
            return fail("the width is at least 8, at most 56, and not above the modulus");
        }
        if f64::from(log_flood) > log2_q - 2.0 || log_flood > 60 {
            return fail("the flood exceeds the modulus");
        }
        // The client's exact product: coefficients below 2^(width - 1) times a sum of at most 2n of them.
        if f64::from(width) + (2.0 * params.slots() as f64).log2() + 1.0 > exact_primes(params).1 {
            return fail("the primes of the chain do not hold a product of this width");
        }
        Ok(Self { params: params.clone(), period, width, log_flood, scale })
    }

    /// The same for results of scale [`Params::result_scale`].
    #[must_use]
    pub fn of_products(self) -> Self {
        Self { scale: self.params.result_scale(), ..self }
    }

    /// Number of different slots.
    #[must_use]
    pub fn period(&self) -> usize {
        self.period
    }

    /// Bits of a word.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// log2 of the flood.
    #[must_use]
    pub fn log_flood(&self) -> u32 {
        self.log_flood
    }

    /// Shares are words of 32 bits at most.
    pub(super) fn check_share(&self) -> Result<(), SlotsError> {
        let Self { period, width, .. } = *self;
        let reason = "shares have at most 32 bits";
        if width > 32 { Err(SlotsError::Reply { period, width, reason }) } else { Ok(()) }
    }

    /// log2 of the bound on the statistical distance of replies to the same result with errors up to `error`.
    #[must_use]
    pub fn log2_distance(&self, error: f64) -> f64 {
        (self.period as f64 * (2.0 * self.scale * error + 1.0)).log2() - f64::from(self.log_flood)
    }

    /// Bound on the error of decrypted slots, where that of the result was `error`.
    #[must_use]
    pub fn error(&self, error: f64) -> f64 {
        let (n, d) = (self.params.slots(), self.period);
        let level = self.params.level(0).map_or(0.0, |level| level.log2_q);
        // b u + e_0 + e_1 s, where b u leaves e u: of a period of d only d coefficients count.
        let part = (d as f64 / n as f64).sqrt();
        let flood = if self.log_flood == 0 {
            0.0
        } else {
            noise::slots_bound(d, (2.0 * f64::from(self.log_flood)).exp2() / 12.0)
        };
        let step = (level - f64::from(self.width)).exp2();
        error + (part * (noise::fresh_zero(n) + step * noise::division(n)) + flood) / self.scale
    }
}

impl Evaluator {
    /// The reply that carries `result`, a ciphertext at level 0.
    ///
    /// # Errors
    /// [`SlotsError::Params`], [`SlotsError::NotLinear`]; [`SlotsError::LevelMismatch`] above level 0;
    /// [`SlotsError::ScaleMismatch`] unless the scale is that of the specification; [`SlotsError::Overflow`] if result and flood could wrap
    /// around the modulus.
    pub fn reply(
        &self,
        result: &Ciphertext,
        public: &PublicKey,
        spec: &ReplySpec,
        rng: &mut impl CryptoRng,
    ) -> Result<Reply, SlotsError> {
        let flood = draw_flood(spec, rng);
        let mut small = Zeroizing::new(vec![0; spec.period]);
        let cover = |index: usize, out: &mut [u32]| {
            pointwise::reduce_i64(self.params().plans()[index].modulus(), &flood, &mut small);
            out.iter_mut().zip(small.iter()).for_each(|(out, &f)| *out = f as u32);
        };
        self.covered(result, public, spec, cover, rng)
    }

    /// A reply that says nothing, and this party's share: modulo 2^width it and the client's ([`SecretKey::share`]) add up
    /// to the coefficients of `result` times 2^width / q, up to rounding and the error of the result.
    ///
    /// # Errors
    /// As [`Evaluator::reply`]; [`SlotsError::Reply`] for words of more than 32 bits.
    pub fn share(
        &self,
        result: &Ciphertext,
        public: &PublicKey,
        spec: &ReplySpec,
        rng: &mut impl CryptoRng,
    ) -> Result<(Reply, Zeroizing<Vec<u32>>), SlotsError> {
        spec.check_share()?;
        let params = self.params();
        let basis = public_basis(params);
        let mut mask = Poly::zero(spec.period, basis.len());
        for &index in &basis {
            super::expand::fill(rng, params.plans()[index].modulus(), mask.limb_mut(index));
        }
        let cover = |index: usize, out: &mut [u32]| out.copy_from_slice(mask.limb(index));
        let reply = self.covered(result, public, spec, cover, rng)?;
        let words = Zeroizing::new(switch(params, &mask, spec.width, 1));
        mask.erase();
        let share = words.iter().map(|&w| (w.wrapping_neg() & low_bits(spec.width)) as u32).collect();
        Ok((reply, Zeroizing::new(share)))
    }

    /// Steps 1 to 4, with what `cover` writes modulo each prime added to the coefficients that are sent.
    fn covered(
        &self,
        result: &Ciphertext,
        public: &PublicKey,
        spec: &ReplySpec,
        mut cover: impl FnMut(usize, &mut [u32]),
        rng: &mut impl CryptoRng,
    ) -> Result<Reply, SlotsError> {
        let params = self.params();
        let [c0, c1] = self.linear_parts(result)?;
        if public.params != *params || spec.params != *params {
            return Err(SlotsError::Params);
        }
        if result.level != 0 {
            return Err(SlotsError::LevelMismatch { left: result.level, right: 0 });
        }
        super::evaluate::check_match((0, result.scale), (0, spec.scale))?;
        Ciphertext { error: spec.error(result.error), ..result.clone() }.checked()?;

        let n = params.slots();
        let basis = public_basis(params);
        let mut bytes = Zeroizing::new(vec![0_i8; n]);
        let mut draw = |sample: &mut dyn FnMut(&mut [i8])| {
            sample(&mut bytes);
            Zeroizing::new(bytes.iter().map(|&v| i32::from(v)).collect::<Vec<_>>())
        };
        let u = draw(&mut |out| ternary(rng, out));
        let errors =
            [draw(&mut |out| centred_binomial(rng, out)), draw(&mut |out| centred_binomial(rng, out))];
        let stride = n / spec.period;
        let mut halves = [(); 2].map(|()| Poly::any(n, basis.len()));
        let mut values = Zeroizing::new(vec![0; n]);
        let mut residues = Zeroizing::new(vec![0; spec.period]);
        for &index in &basis {
            let plan = &params.plans()[index];
            let modulus = plan.modulus();
            plan.forward(&u, &mut values);
            pointwise::to_montgomery(modulus, &mut values);
            let zero = [&public.body, &public.uniform];
            for (((half, zero), part), error) in halves.iter_mut().zip(zero).zip([c0, c1]).zip(&errors) {
                let mut sum = part.limb(index).to_vec();
                pointwise::mul_acc(modulus, &mut sum, zero.limb(index), &values);
                plan.inverse(&mut sum, half.limb_mut(index));
                for (out, &e) in half.limb_mut(index).iter_mut().zip(error.iter()) {
                    *out = modulus.add(*out, modulus.reduce_i64(e.into()));
                }
            }
            cover(index, &mut residues);
            let body = halves[0].limb_mut(index);
            body.iter_mut().step_by(stride).zip(residues.iter()).for_each(|(out, &f)| {
                *out = modulus.add(*out, f);
            });
        }
        let [body, uniform] = &halves;
        Ok(Reply {
            width: spec.width,
            body: switch(params, body, spec.width, stride),
            uniform: switch(params, uniform, spec.width, 1),
        })
    }
}

impl SecretKey {
    /// The slots of a reply, one period of them.
    ///
    /// # Errors
    /// [`SlotsError::Params`] if the specification has other parameters, [`SlotsError::Count`] if the reply has another
    /// shape than the specification.
    pub fn decrypt(&self, reply: &Reply, spec: &ReplySpec) -> Result<Decrypted, SlotsError> {
        let params = self.params();
        let phases = self.phases(reply, spec)?;
        let (n, stride, wrap) = (params.slots(), params.slots() / spec.period, 64 - spec.width);
        let unit = (params.level(0)?.log2_q - f64::from(spec.width)).exp2() / spec.scale;
        let mut coefficients = Zeroizing::new(vec![0.0; n]);
        for (out, &phase) in coefficients.iter_mut().step_by(stride).zip(phases.iter()) {
            *out = ((phase << wrap) as i64 >> wrap) as f64 * unit;
        }
        let mut slots = Zeroizing::new(params.embedding().slots(&coefficients));
        slots.truncate(spec.period);
        Ok(Decrypted { slots })
    }

    /// The client's share of the coefficients of a reply made by [`Evaluator::share`], modulo 2^width.
    ///
    /// # Errors
    /// As [`SecretKey::decrypt`]; [`SlotsError::Reply`] for words of more than 32 bits.
    pub fn share(&self, reply: &Reply, spec: &ReplySpec) -> Result<Zeroizing<Vec<u32>>, SlotsError> {
        spec.check_share()?;
        let low = low_bits(spec.width);
        Ok(Zeroizing::new(self.phases(reply, spec)?.iter().map(|&phase| (phase & low) as u32).collect()))
    }

    /// c_0 + c_1 s at the coefficients that were sent, modulo 2^width.
    fn phases(&self, reply: &Reply, spec: &ReplySpec) -> Result<Zeroizing<Vec<u64>>, SlotsError> {
        let params = self.params();
        if spec.params != *params {
            return Err(SlotsError::Params);
        }
        let (n, stride) = (params.slots(), params.slots() / spec.period);
        for (what, expected, got) in [
            ("coefficients of a reply", spec.period, reply.body.len()),
            ("coefficients of a reply", n, reply.uniform.len()),
            ("bits of a reply", spec.width as usize, reply.width as usize),
        ] {
            if expected != got {
                return Err(SlotsError::Count { what, expected, got });
            }
        }
        // c_1 s exactly, as residues modulo enough primes, then modulo 2^width by mixed-radix digits.
        let (primes, _) = exact_primes(params);
        let wrap = 64 - spec.width;
        let signed: Vec<i64> = reply.uniform.iter().map(|&v| ((v << wrap) as i64) >> wrap).collect();
        let mut product = Zeroizing::new(vec![0_u64; n]);
        let mut residues = Poly::any(n, primes.len());
        let (mut small, mut values) = (vec![0; n], Zeroizing::new(vec![0; n]));
        for (limb, &index) in primes.iter().enumerate() {
            let plan = &params.plans()[index];
            pointwise::reduce_i64(plan.modulus(), &signed, &mut small);
            plan.forward(&small, &mut values);
            pointwise::mul_assign(plan.modulus(), &mut values, self.limb(index));
            plan.inverse(&mut values, residues.limb_mut(limb));
        }
        let extension = super::convert::Extension::new(params.plans(), &primes);
        let digits = extension.digits(params.plans(), residues.limbs());
        extension.wrapping(params.plans(), &digits, &mut product);
        residues.erase();
        let sums = product.iter().step_by(stride).zip(&reply.body).map(|(p, body)| p.wrapping_add(*body));
        Ok(Zeroizing::new(sums.collect()))
    }
}

impl Decrypted {
    /// The slots.
    #[must_use]
    pub fn slots(&self) -> &[f64] {
        &self.slots
    }
}

impl Params {
    /// The slots, one period of them, of the element whose `index`-th coefficient of a reply is one and the others zero.
    /// Who wants values in coefficients makes these combinations of them.
    #[must_use]
    pub fn slots_of_coefficient(&self, period: usize, index: usize) -> Vec<f64> {
        let n = self.slots();
        let mut coefficients = vec![0.0; n];
        if let Some(one) = coefficients.iter_mut().step_by(n / period.clamp(1, n)).nth(index) {
            *one = 1.0;
        }
        let mut slots = self.embedding().slots(&coefficients);
        slots.truncate(period);
        slots
    }
}

/// Indices of the primes in which the client multiplies, and log2 of their product.
fn exact_primes(params: &Params) -> (Vec<usize>, f64) {
    let bits = |index: &usize| f64::from(params.plans()[*index].modulus().value()).log2();
    let mut primes: Vec<usize> = (0..params.plans().len()).collect();
    // The longest four.
    primes.sort_by(|a, b| bits(b).total_cmp(&bits(a)));
    primes.truncate(4);
    let log2 = primes.iter().map(bits).sum();
    (primes, log2)
}

/// The lowest bits of a word.
fn low_bits(width: u32) -> u64 {
    u64::MAX >> (64 - width)
}

/// Uniform integers of [-F/2, F/2); none without a flood.
fn draw_flood(spec: &ReplySpec, rng: &mut impl CryptoRng) -> Zeroizing<Vec<i64>> {
    let mut flood = Zeroizing::new(vec![0; spec.period]);
    if spec.log_flood > 0 {
        let shift = 64 - spec.log_flood;
        flood.iter_mut().for_each(|f| *f = (rng.next_u64() as i64) >> shift);
    }
    flood
}

/// `round(2^width c / q)` modulo 2^width at every `stride`-th coefficient.
fn switch(params: &Params, poly: &Poly, width: u32, stride: usize) -> Vec<u64> {
    let count = poly.degree() / stride;
    let mut fractions = vec![1_u64 << (63 - width); count];
    let limbs: Vec<_> = public_basis(params);
    for &index in &limbs {
        let modulus = params.plans()[index].modulus();
        let others = limbs.iter().filter(|&&other| other != index);
        let cofactor = others.fold(1, |acc, &other| {
            modulus.mul(acc, modulus.reduce(params.plans()[other].modulus().value().into()))
        });
        let garner = modulus.to_montgomery(modulus.inv(cofactor));
        // 2^64 y / p from floor(2^(63 + k) / p), for p of k bits: less than 3 too small.
        let shift = modulus.bits() - 1;
        let inverse = (1_u128 << (64 + shift)) / u128::from(modulus.value());
        for (sum, &c) in fractions.iter_mut().zip(poly.limb(index).iter().step_by(stride)) {
            let y = modulus.mul_montgomery(c, garner);
            *sum = sum.wrapping_add(((u128::from(y) * inverse) >> shift) as u64);
        }
    }
    fractions.iter_mut().for_each(|v| *v >>= 64 - width);
    fractions
}

/// c_1, then the coefficients of c_0.
impl Wire for Reply {
    type Spec = ReplySpec;

    const NAME: &'static str = "reply";

    fn wire_len(spec: &Self::Spec) -> usize {
        packed_len(spec.params.slots(), spec.width) + packed_len(spec.period, spec.width)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        pack(&self.uniform, self.width, out);
        pack(&self.body, self.width, out);
    }

    fn decode(bytes: &[u8], spec: &Self::Spec) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(spec))?;
        let (width, n) = (spec.width, spec.params.slots());
        let (uniform, body) = bytes.split_at(packed_len(n, width));
        let uniform = unpack(Self::NAME, uniform, n, width)?;
        let body = unpack(Self::NAME, body, spec.period, width)?;
        Ok(Self { width, body, uniform })
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({} slots of {} bits)", self.body.len(), self.width)
    }
}

impl fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decrypted({} slots)", self.slots.len())
    }
}
