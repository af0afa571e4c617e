//! Uniform polynomials from seeds, which replace half of every message that the client encrypts.

use phineus_kernel::ntt32::Modulus;
use phineus_kernel::prg::Prg;
use rand::Rng;

use super::params::Params;
use super::poly::Poly;

/// What a seed is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    PublicKey,
    Request,
    SwitchKey,
}

/// The uniform polynomial number (`index`, `part`) of a seed, by values modulo the primes `basis`.
pub(crate) fn uniform(
    params: &Params,
    purpose: Purpose,
    seed: &[u8; 32],
    (index, part): (u64, u64),
    basis: &[usize],
) -> Poly {
    let context = match purpose {
        Purpose::PublicKey => "phineus slots: uniform half of a public key",
        Purpose::Request => "phineus slots: uniform half of a request",
        Purpose::SwitchKey => "phineus slots: uniform half of a switching key",
    };
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(seed).update(&index.to_le_bytes()).update(&part.to_le_bytes());
    let mut prg = Prg::from_seed32(hasher.finalize().as_bytes());
    let mut poly = Poly::any(params.slots(), basis.len());
    for (limb, &index) in basis.iter().enumerate() {
        fill(&mut prg, params.plans()[index].modulus(), poly.limb_mut(limb));
    }
    poly
}

/// Uniform in [0, p), by rejection from words of the length of p: one word of 4 bytes per trial, in order.
pub(super) fn fill(rng: &mut impl Rng, modulus: &Modulus, out: &mut [u32]) {
    const TRIALS: usize = 1024;
    let mask = u32::MAX >> (u32::BITS - modulus.bits());
    let mut bytes = [0; 4 * TRIALS];
    let mut filled = 0;
    while filled < out.len() {
        let missing = &mut out[filled..];
        let trials = missing.len().min(TRIALS);
        rng.fill_bytes(&mut bytes[..4 * trials]);
        let mut kept = 0;
        for word in bytes[..4 * trials].as_chunks().0 {
            let candidate = u32::from_le_bytes(*word) & mask;
            // Written always, advanced only when accepted: kept < trials here.
            missing[kept] = candidate;
            kept += usize::from(candidate < modulus.value());
        }
        filled += kept;
    }
}
