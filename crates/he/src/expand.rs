//! The uniform halves of ciphertexts, which travel as a seed.
//!
//! Half number i of a seed is the output of AES-128 in counter mode under a key and a starting point derived by
//! BLAKE3 from purpose, seed and i. It is public: only its uniformity matters, and running times may depend on it.

use std::sync::Arc;

use phineus_kernel::prg::Prg;
use phineus_kernel::sample::uniform_mod_q;

use crate::{Ciphertext, Eval, Params, Poly};

/// What a uniform half is for; different purposes never share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    PublicKey,
    Request,
    Galois,
}

/// The server's end of a stream of ciphertexts under one seed.
#[derive(Debug)]
pub struct Expander {
    seed: [u8; 32],
    next: u64,
}

impl Expander {
    /// The stream of a seed, from its first ciphertext on.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, next: 0 }
    }

    /// The next ciphertext of the stream, from its body.
    #[must_use]
    pub fn next(&mut self, body: Poly<Eval>) -> Ciphertext {
        let index = self.next;
        self.next += 1;
        Ciphertext::from_seeded(&self.seed, index, body)
    }
}

impl Ciphertext {
    /// Ciphertext number `index` of a seed, from its body.
    #[must_use]
    pub fn from_seeded(seed: &[u8; 32], index: u64, body: Poly<Eval>) -> Self {
        let uniform = uniform_half(body.params(), Purpose::Request, seed, index);
        Self { body, uniform }
    }
}

/// Uniform half number `index` of a seed.
pub(crate) fn uniform_half(
    params: &Arc<Params>,
    purpose: Purpose,
    seed: &[u8; 32],
    index: u64,
) -> Poly<Eval> {
    let context = match purpose {
        Purpose::PublicKey => "phineus he: uniform half of a public key",
        Purpose::Request => "phineus he: uniform half of a request",
        Purpose::Galois => "phineus he: uniform half of a Galois key",
    };
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(seed).update(&index.to_le_bytes());
    let mut prg = Prg::from_seed32(hasher.finalize().as_bytes());
    let mut poly = Poly::zero(params);
    (0..params.limbs()).for_each(|limb| uniform_mod_q(&mut prg, params.modulus(limb), poly.limb_mut(limb)));
    poly
}
