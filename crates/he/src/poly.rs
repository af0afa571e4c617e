//! Elements of R_q by residues: one limb of n words in [0, p_i) per prime p_i, limb after limb.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use phineus_kernel::ntt::pointwise;
use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::wipe::wipe;
use phineus_kernel::wire::{PeerMisbehaved, Wire, check_len};

use crate::Params;

/// By coefficients.
#[derive(Debug, Clone, Copy)]
pub enum Coeff {}

/// By values at the roots of X^n + 1.
#[derive(Debug, Clone, Copy)]
pub enum Eval {}

/// [`Coeff`] or [`Eval`].
pub trait Domain: sealed::Sealed {}

impl Domain for Coeff {}
impl Domain for Eval {}

/// An element of R_q in one of its two domains. Its `Debug` form does not show it.
#[derive(Clone)]
pub struct Poly<D: Domain> {
    params: Arc<Params>,
    values: Vec<u64>,
    domain: PhantomData<D>,
}

impl<D: Domain> Poly<D> {
    /// Zero.
    #[must_use]
    pub fn zero(params: &Arc<Params>) -> Self {
        Self::from_values(params, vec![0; params.limbs() * params.degree()])
    }

    /// The parameters it was made for.
    #[must_use]
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// The n residues modulo prime number `limb`.
    ///
    /// # Panics
    /// If there is no such prime.
    #[must_use]
    pub fn limb(&self, limb: usize) -> &[u64] {
        &self.values[limb * self.params.degree()..][..self.params.degree()]
    }

    pub(crate) fn limb_mut(&mut self, limb: usize) -> &mut [u64] {
        &mut self.values[limb * self.params.degree()..][..self.params.degree()]
    }

    /// All limbs, one after the other.
    pub(crate) fn values(&self) -> &[u64] {
        &self.values
    }

    /// From limbs, reduced.
    pub(crate) fn from_values(params: &Arc<Params>, values: Vec<u64>) -> Self {
        debug_assert_eq!(values.len(), params.limbs() * params.degree(), "all limbs");
        Self { params: params.clone(), values, domain: PhantomData }
    }

    /// Overwrites what was secret.
    pub(crate) fn erase(mut self) {
        wipe(&mut self.values);
    }
}

impl Poly<Coeff> {
    /// The polynomial with these coefficients and zeros after them. Constant time in the coefficients.
    ///
    /// # Panics
    /// If there are more than n coefficients.
    #[must_use]
    pub fn from_signed(params: &Arc<Params>, coefficients: &[i32]) -> Self {
        assert!(coefficients.len() <= params.degree(), "at most n coefficients");
        let mut poly = Self::zero(params);
        for limb in 0..params.limbs() {
            let slots = &mut poly.limb_mut(limb)[..coefficients.len()];
            pointwise::lift(params.modulus(limb), coefficients, slots);
        }
        poly
    }

    /// As [`Poly::from_signed`], from bytes.
    pub(crate) fn from_bytes(params: &Arc<Params>, coefficients: &[i8]) -> Self {
        assert!(coefficients.len() <= params.degree(), "at most n coefficients");
        let mut poly = Self::zero(params);
        for limb in 0..params.limbs() {
            let slots = &mut poly.limb_mut(limb)[..coefficients.len()];
            pointwise::lift_bytes(params.modulus(limb), coefficients, slots);
        }
        poly
    }

    /// To the evaluation domain.
    #[must_use]
    pub fn into_eval(mut self) -> Poly<Eval> {
        let limbs = self.values.chunks_exact_mut(self.params.degree());
        limbs.zip(self.params.plans()).for_each(|(limb, plan)| plan.forward(limb));
        Poly { params: self.params, values: self.values, domain: PhantomData }
    }

    /// Of `sum_k X^k w_k(X^8)` the values of all eight w_k, see [`octet`](phineus_kernel::ntt::octet).
    pub(crate) fn into_octet(mut self) -> Poly<Eval> {
        let limbs = self.values.chunks_exact_mut(self.params.degree());
        limbs.zip(self.params.plans()).for_each(|(limb, plan)| plan.forward_octet(limb));
        Poly { params: self.params, values: self.values, domain: PhantomData }
    }
}

impl Poly<Eval> {
    /// To the coefficient domain.
    #[must_use]
    pub fn into_coeff(mut self) -> Poly<Coeff> {
        let limbs = self.values.chunks_exact_mut(self.params.degree());
        limbs.zip(self.params.plans()).for_each(|(limb, plan)| plan.inverse(limb));
        Poly { params: self.params, values: self.values, domain: PhantomData }
    }
}

/// Limb after limb, each packed at the length of its prime.
impl Wire for Poly<Eval> {
    type Spec = Arc<Params>;

    const NAME: &'static str = "polynomial";

    fn wire_len(params: &Self::Spec) -> usize {
        params.plans().iter().map(|plan| packed_len(params.degree(), plan.modulus().bits())).sum()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        for (i, plan) in self.params.plans().iter().enumerate() {
            pack(self.limb(i), plan.modulus().bits(), out);
        }
    }

    fn decode(bytes: &[u8], params: &Self::Spec) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(params))?;
        let mut values = Vec::with_capacity(params.limbs() * params.degree());
        let mut rest = bytes;
        for plan in params.plans() {
            let modulus = plan.modulus();
            let (limb, tail) = rest.split_at(packed_len(params.degree(), modulus.bits()));
            let limb = unpack::<u64>(Self::NAME, limb, params.degree(), modulus.bits())?;
            if limb.iter().any(|&v| v >= modulus.value()) {
                return Err(PeerMisbehaved::Invalid { what: Self::NAME, reason: "residue is not reduced" });
            }
            values.extend(limb);
            rest = tail;
        }
        Ok(Self::from_values(params, values))
    }
}

impl<D: Domain> fmt::Debug for Poly<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Poly({} x {})", self.params.limbs(), self.params.degree())
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Coeff {}
    impl Sealed for super::Eval {}
}
