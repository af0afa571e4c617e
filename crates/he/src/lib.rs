//! Linear layers on encrypted inputs, without rotations of the data.
//!
//! A BFV-like scheme over R_q = Z_q\[X\]/(X^n + 1) with plaintexts in R modulo 2^l, l <= 32, in *coefficient*
//! encoding: a product with a small integer polynomial is a negacyclic convolution modulo 2^l (Huang et al.,
//! "Cheetah", USENIX Security 2022, section 3). Rings of several widths l share one key.
//!
//! | step | who | what |
//! |---|---|---|
//! | [`SecretKey`], [`PublicKey`] | client | ternary s; an encryption of zero |
//! | [`Encryptor`], [`Requests`] | client | Enc(r) = (round(q r / 2^l) + e - a s, a), a from a seed |
//! | [`Accumulator`] | server | sum of Enc(r_j) w_j, lazily reduced |
//! | [`respond`] | server | + fresh zero + flood - s, switched to 2^(l+g), wanted coefficients only |
//! | [`pack()`](pack::pack) | server | several responses in one, where few coefficients of each are wanted |
//! | [`SecretKey::decrypt`] | client | w r - s modulo 2^l |
//! | [`noise::prove`] | both | decryption is correct and the response hides w, each up to 2^-40 |
//!
//! Security: semi-honest. The client's r is hidden by RLWE with at least 130 bits ([`Params`]); the server's
//! weights by the fresh encryption of zero (RLWE again) and by flooding ([`noise`]). Operations on secrets run in
//! constant time; secrets are zeroed on drop.
#![forbid(unsafe_code)]

mod accumulate;
mod cut;
mod decrypt;
mod encode;
mod encrypt;
mod expand;
mod galois;
mod keys;
pub mod noise;
pub mod pack;
mod params;
mod poly;
mod respond;
pub mod slots;
#[cfg(test)]
mod tests;

use phineus_kernel::zq::ModulusError;
use thiserror::Error;

pub use accumulate::{Accumulator, Ciphertext, Operands, Room, Weight, WeightForm};
pub use cut::{CutBody, CutShape, MOST_DROPPED};
pub use encrypt::{Encryptor, RequestShape, Requests, Slot};
pub use expand::Expander;
pub use galois::{GaloisKeys, GaloisShape};
pub use keys::{PublicKey, SecretKey};
pub use pack::{Layout, Masked, pack};
pub use params::{Params, ParamsLiteral};
pub use poly::{Coeff, Domain, Eval, Poly};
pub use respond::{ReplySpec, Response, ResponseShape, respond};

/// What this crate refuses. Nothing here depends on a peer's messages; those fail with
/// [`PeerMisbehaved`](phineus_kernel::wire::PeerMisbehaved).
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum HeError {
    /// A modulus is no prime of the right form.
    #[error(transparent)]
    Modulus(#[from] ModulusError),
    /// The degree is outside the supported range.
    #[error("degree 2^{0} is outside 2^10..=2^15")]
    Degree(u32),
    /// No prime at all, or one of them twice.
    #[error("the primes must be distinct and at least one")]
    Primes,
    /// The ciphertext modulus is too large for the degree.
    #[error("{log2_q:.2} bits of ciphertext modulus at degree {n}: at most {cap} are secure")]
    Insecure {
        /// Degree.
        n: usize,
        /// log2 of the product of the primes.
        log2_q: f64,
        /// The most that is allowed.
        cap: u32,
    },
    /// A position is outside the polynomial or given twice.
    #[error("coefficient {position} is repeated or outside a polynomial of {n}")]
    Position {
        /// The offending position.
        position: u32,
        /// Degree.
        n: usize,
    },
    /// Two lists that belong together differ in length.
    #[error("{what}: expected {expected} elements, got {got}")]
    Count {
        /// The list.
        what: &'static str,
        /// Its due length.
        expected: usize,
        /// Its length.
        got: usize,
    },
    /// More levels of automorphisms than there are, or than there are keys for.
    #[error("{needed} levels of automorphisms where there are {most}")]
    Levels {
        /// Levels asked for.
        needed: u32,
        /// The most that is possible.
        most: u32,
    },
    /// The switched modulus would exceed 52 bits.
    #[error("layer {layer}: {bits} bits of message leave no room for the guard bits below 2^52")]
    GuardBits {
        /// Index of the layer.
        layer: usize,
        /// Bits of the ring.
        bits: u32,
    },
    /// Decryption would fail even without flooding.
    #[error("layer {layer}: the noise exceeds the ciphertext modulus")]
    TooNoisy {
        /// Index of the layer.
        layer: usize,
    },
    /// Flooding as far as decryption allows does not hide enough.
    #[error("statistical distance 2^{log2_distance:.1} of an inference exceeds 2^{limit}")]
    Distance {
        /// log2 of the distance.
        log2_distance: f64,
        /// log2 of the allowed distance.
        limit: f64,
        /// The layer that contributes most.
        layer: usize,
    },
}
