//! Ring elements by residues: limb after limb, one word per value or coefficient.

use phineus_kernel::ntt32::{Plan, pointwise};
use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::wire::{PeerMisbehaved, check_len};
use zeroize::Zeroize;

/// Residues modulo some primes; which ones, and whether values or coefficients, is up to the owner.
#[derive(Clone)]
pub(crate) struct Poly {
    n: usize,
    residues: Vec<u32>,
}

impl Poly {
    pub(crate) fn zero(n: usize, limbs: usize) -> Self {
        Self { n, residues: vec![0; n * limbs] }
    }

    pub(crate) fn degree(&self) -> usize {
        self.n
    }

    pub(crate) fn limb(&self, limb: usize) -> &[u32] {
        &self.residues[limb * self.n..][..self.n]
    }

    pub(crate) fn limb_mut(&mut self, limb: usize) -> &mut [u32] {
        &mut self.residues[limb * self.n..][..self.n]
    }

    pub(crate) fn limbs(&self) -> impl Iterator<Item = &[u32]> {
        self.residues.chunks_exact(self.n)
    }

    /// Drops all limbs but the first ones.
    pub(crate) fn truncate(&mut self, limbs: usize) {
        self.residues.truncate(limbs * self.n);
    }

    /// Overwrites what it held.
    pub(crate) fn erase(mut self) {
        self.residues.zeroize();
    }

    /// `self += other`, for the primes with the indices `basis`.
    pub(crate) fn add_assign(&mut self, other: &Self, plans: &[Plan], basis: &[usize]) {
        for (limb, &index) in basis.iter().enumerate() {
            pointwise::add_assign(plans[index].modulus(), self.limb_mut(limb), other.limb(limb));
        }
    }

    /// `self -= other`, for the primes with the indices `basis`.
    pub(crate) fn sub_assign(&mut self, other: &Self, plans: &[Plan], basis: &[usize]) {
        for (limb, &index) in basis.iter().enumerate() {
            pointwise::sub_assign(plans[index].modulus(), self.limb_mut(limb), other.limb(limb));
        }
    }

    /// Bytes of an encoding: every residue at the length of its prime.
    pub(crate) fn wire_len(plans: &[Plan], n: usize, basis: &[usize]) -> usize {
        basis.iter().map(|&index| packed_len(n, plans[index].modulus().bits())).sum()
    }

    pub(crate) fn encode(&self, plans: &[Plan], basis: &[usize], out: &mut Vec<u8>) {
        for (limb, &index) in self.limbs().zip(basis) {
            pack(limb, plans[index].modulus().bits(), out);
        }
    }

    pub(crate) fn decode(
        what: &'static str,
        bytes: &[u8],
        plans: &[Plan],
        n: usize,
        basis: &[usize],
    ) -> Result<Self, PeerMisbehaved> {
        check_len(what, bytes, Self::wire_len(plans, n, basis))?;
        let mut residues = Vec::with_capacity(n * basis.len());
        let mut rest = bytes;
        for &index in basis {
            let modulus = plans[index].modulus();
            let (limb, tail) = rest.split_at(packed_len(n, modulus.bits()));
            let limb: Vec<u32> = unpack(what, limb, n, modulus.bits())?;
            if limb.iter().any(|&v| v >= modulus.value()) {
                return Err(PeerMisbehaved::Invalid { what, reason: "a residue is not reduced" });
            }
            residues.extend(limb);
            rest = tail;
        }
        Ok(Self { n, residues })
    }
}
