//! A leveled scheme for real numbers in slots: additions, products and rotations on vectors, without interaction.
//!
//! CKKS (Cheon, Kim, Kim, Song, "Homomorphic encryption for arithmetic of approximate numbers", ASIACRYPT 2017) over the
//! conjugate-invariant ring (Kim and Song, ICISC 2018; [`phineus_kernel::ntt32`]): n real slots, one cycle of rotations.
//! Moduli are products of primes below 2^28, sixteen residues to a vector register.
//!
//! | step | who | what |
//! |---|---|---|
//! | [`SecretKey`], [`PublicKey`], [`KeyUpload`] | client | s; an encryption of zero; keys for products and rotations |
//! | [`Requests`] | client | (round(scale x) + e - a s, a), a from a seed |
//! | [`Evaluator`] | server | sums, products, [`linear`](Evaluator::linear) maps, rotations, rescalings |
//! | [`Evaluator::reply`] | server | + fresh zero + flood, switched to few bits, wanted coefficients only |
//! | [`SecretKey::decrypt`] | client | the slots, up to an error with a bound |
//!
//! Every [`Ciphertext`] knows its level, its scale, a bound on its slots and a bound on their error ([`noise`]);
//! operations that would exceed the chain, wrap around or mix scales are errors.
//!
//! **Security.** Semi-honest. The conjugate-invariant ring of degree n is the ring of integers of the maximal real subfield
//! of the 4n-th cyclotomic field. Its RLWE problem is one of dimension n: n secret coefficients, n equations per sample.
//! In the basis 1, Y^i + Y^-i, orthogonal in the canonical embedding, independent errors per coefficient are spherical up
//! to the first coordinate, and multiplication by a uniform element is an n x n matrix of uniform residues, so that the
//! known attacks (lattice reduction in dimension n, without use of the structure) cost what they do for the power-of-two
//! cyclotomic ring of degree n, and the same caps on log2 of the whole modulus, special primes included, give at least 130
//! bits; [`Params::new`] refuses more. That the ambient ring has degree 2n does not help: an instance in the larger ring
//! with invariant secret and error decomposes into this one.
//!
//! CKKS decryptions reveal their noise: see [`Decrypted`].

mod cipher;
mod combine;
mod convert;
mod encrypt;
mod error;
mod evaluate;
mod expand;
mod keys;
mod linear;
pub mod noise;
mod params;
mod poly;
mod reply;
mod switch;
#[cfg(test)]
mod tests;

pub use cipher::{Ciphertext, Factor, Summand};
pub use combine::Sums;
pub use encrypt::{RequestShape, Requests};
pub use error::SlotsError;
pub use evaluate::Evaluator;
pub use keys::{EvalKeys, KeyShape, KeyUpload, PublicKey, SecretKey};
pub use linear::{Giant, Term};
pub use params::{Params, ParamsLiteral};
pub use reply::{Decrypted, Reply, ReplySpec};
