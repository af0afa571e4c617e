//! Ring elements by residues: limb after limb, one word per value or coefficient.

use std::cell::RefCell;

use phineus_kernel::ntt32::{Plan, pointwise};
use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::wire::{PeerMisbehaved, check_len};
use zeroize::Zeroize;

/// Residues modulo some primes; which ones, and whether values or coefficients, is up to the owner.
pub(crate) struct Poly {
    n: usize,
    residues: Vec<u32>,
}

thread_local! {
    /// Buffers of polynomials that are gone. Operations need many for a short time, and fresh pages of memory cost more
    /// than the arithmetic on them.
    static SPARE: RefCell<Vec<Vec<u32>>> = const { RefCell::new(Vec::new()) };
}

/// Spare buffers per thread.
const SPARES: usize = 48;
/// Words of the largest buffer that is kept.
const SPARE_WORDS: usize = 1 << 19;

impl Poly {
    pub(crate) fn zero(n: usize, limbs: usize) -> Self {
        let mut poly = Self::any(n, limbs);
        poly.residues.fill(0);
        poly
    }

    /// A polynomial that is going to be overwritten: its residues are those of some other one.
    pub(crate) fn any(n: usize, limbs: usize) -> Self {
        let words = n * limbs;
        let fits = |buffer: &Vec<u32>| (words..=4 * words).contains(&buffer.capacity());
        let spare = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            spare.iter().rposition(fits).map(|place| spare.swap_remove(place))
        });
        let mut residues = spare.ok().flatten().unwrap_or_default();
        residues.resize(words, 0);
        Self { n, residues }
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

impl Clone for Poly {
    fn clone(&self) -> Self {
        let mut poly = Self::any(self.n, self.residues.len() / self.n.max(1));
        poly.residues.copy_from_slice(&self.residues);
        poly
    }
}

impl Drop for Poly {
    fn drop(&mut self) {
        let residues = std::mem::take(&mut self.residues);
        if residues.capacity() == 0 || residues.capacity() > SPARE_WORDS {
            return;
        }
        // A thread that ends has no list any more.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARES {
                spare.push(residues);
            }
        });
    }
}
