//! Packing: the wanted coefficients of several responses in one ciphertext.
//!
//! A response costs n words for c_1 however few coefficients of c_0 are wanted. If the wanted positions of 2^k
//! ciphertexts (c_j0, c_j1) are multiples of 2^k, one ciphertext holds them all, with `m_j[p]` at p + j: with the
//! automorphisms phi_t of [`GaloisKeys`], `c -> c + phi_t(c)` doubles the coefficients at the multiples of
//! 2^(t+1) and cancels those at the odd multiples of 2^t, and therefore
//!
//! ```text
//! merge_t(a, b) = a + X^(2^t) b + phi_t(a - X^(2^t) b),    t = k - 1, .., 1, 0,
//! ```
//!
//! interleaves the multiples of 2^(t+1) of a and b, doubled, where phi_t is homomorphic and takes one key switch.
//! Ciphertexts are multiplied by 2^-k modulo q beforehand, so that the doublings leave the message as it was and its
//! noise too; only the noise of the key switches is added ([`noise`](crate::noise) bounds it). What stood at other
//! coefficients cancels exactly. Wanted positions of other residues modulo 2^k are first multiplied down by
//! X^-residue, a response with several residues once for each ([`Layout`]): with k = log2 n that packs any
//! coefficients of any ciphertexts (Chen, Dai, Kim, Song, "Efficient homomorphic conversion between (ring) LWE
//! ciphertexts", ACNS 2021, section 3.3, PackLWEs); with one residue per response it costs one switch per
//! *response*.
//!
//! The trace acts on both halves alike. Hence c_0 of the result is c_0 of the responses, moved, plus what the key
//! switches of c_1 add, and only c_1 goes up the tree.
//!
//! Cost: 2^k - 1 switches of limbs^2 transforms for 2^k residues; the ciphertext is one [`Response`].
//!
//! Privacy: a packed ciphertext is a function of the Galois keys and of what an unpacked response publishes (c_1
//! and the wanted coefficients of c_0, after fresh zero, flood and mask; no other coefficient enters, see
//! [`Masked`]), before its modulus switch. Whatever a client learns from it, it could have computed from the
//! unpacked responses, whatever keys it sent: the distance proven for those holds for packed ones, with the flood
//! that [`noise::prove_packed`](crate::noise::prove_packed) leaves room for.

mod layout;
mod tree;

use std::fmt;

use phineus_kernel::ntt::pointwise;
use rand::CryptoRng;

use crate::respond::{check_mask, publish, randomise};
use crate::{Accumulator, Coeff, GaloisKeys, HeError, Poly, PublicKey, ReplySpec, Response};

pub use layout::Layout;
use tree::Tree;

/// A response that may be published, before the modulus switch: c_0 at the wanted positions, and c_1.
pub struct Masked {
    /// Limb after limb, in the order of the positions.
    body: Vec<u64>,
    uniform: Poly<Coeff>,
}

impl Masked {
    /// Steps 1 to 3 of a [response](crate::respond): fresh zero, flood and mask.
    ///
    /// # Errors
    /// [`HeError::Position`], [`HeError::Count`] as [`respond`](crate::respond()).
    ///
    /// # Panics
    /// If `public` has other parameters than `sum`.
    pub fn new(
        sum: Accumulator,
        public: &PublicKey,
        positions: &[u32],
        mask: &[u32],
        spec: &ReplySpec,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, HeError> {
        check_mask(public.params(), positions, mask)?;
        let [body, uniform] = randomise(sum, public, positions, mask, spec, rng);
        let wanted = (0..public.params().limbs()).flat_map(|limb| {
            let limb = body.limb(limb);
            positions.iter().map(|&i| limb[i as usize])
        });
        let wanted = wanted.collect();
        // Its other coefficients know about the weights.
        body.erase();
        Ok(Self { body: wanted, uniform })
    }

    fn coefficients(&self) -> usize {
        self.body.len() / self.uniform.params().limbs()
    }
}

/// Ciphertext number `group` of a layout: the response at [`Layout::positions`] to the `responses` of
/// [`Layout::responses`], which are taken one by one.
///
/// # Errors
/// [`HeError::Levels`] if there are fewer keys than the layout needs, [`HeError::Count`] if the responses are not those of
/// the layout.
///
/// # Panics
/// If keys and responses have different parameters, or there is no such group.
pub fn pack(
    keys: &GaloisKeys,
    layout: &Layout,
    group: usize,
    spec: &ReplySpec,
    responses: impl IntoIterator<Item = Masked>,
) -> Result<Response, HeError> {
    let params = keys.params();
    assert_eq!(layout.degree(), params.degree(), "layout of this degree");
    let group = layout.group(group);
    if group.levels() > keys.levels() {
        return Err(HeError::Levels { needed: group.levels(), most: keys.levels() });
    }
    let mut body = Poly::<Coeff>::zero(params);
    let mut tree = Tree::new(keys, group.levels());
    let mut taken = 0;
    for response in responses {
        assert!(response.uniform.params() == params, "one set of parameters");
        let expected = group.responses().len();
        let Some(residues) = group.residues(taken) else {
            return Err(HeError::Count { what: "responses", expected, got: taken + 1 });
        };
        let count = response.coefficients();
        let targets = group.targets(taken);
        if targets.len() != count {
            return Err(HeError::Count { what: "coefficients", expected: targets.len(), got: count });
        }
        for limb in 0..params.limbs() {
            let values = &response.body[limb * count..][..count];
            let body = body.limb_mut(limb);
            targets.iter().zip(values).for_each(|(&target, &value)| body[target as usize] = value);
        }
        if let Some((&last, others)) = residues.split_last() {
            others.iter().for_each(|&residue| tree.push(response.uniform.clone(), residue));
            tree.push(response.uniform, last);
        }
        taken += 1;
    }
    if taken != group.responses().len() {
        return Err(HeError::Count { what: "responses", expected: group.responses().len(), got: taken });
    }
    let [switched, uniform] = tree.finish();
    for limb in 0..params.limbs() {
        pointwise::add_assign(params.modulus(limb), body.limb_mut(limb), switched.limb(limb));
    }
    Ok(publish(&[body, uniform], group.positions(), spec))
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masked({} coefficients)", self.coefficients())
    }
}

#[cfg(test)]
mod tests;
