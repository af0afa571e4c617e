//! Non-linear layers by oblivious transfer, on additive shares modulo `2^l`.
//!
//! * [`relu`]: rectifier or signed clamp with rescale. All correlations are made offline from random OTs
//!   ([`crate::rot`]) and consumed online; the client's share, known offline, is put into the choices of the OTs, so
//!   that online it is never sent.
//! * [`max`]: the largest of a window, as a tree of plain rectifiers.
//! * Inside: digits by one-of-16 OT (Rathee et al., *CrypTFlow2*, CCS 2020, section 3.1), their carries by ANDs on
//!   bit-sliced shares in logarithmic depth, the selected value by products of a shared bit with a ring word of each party.

mod arith;
mod circuit;
mod digit;
mod error;
mod layout;
pub mod max;
pub(crate) mod planes;
pub mod relu;
mod select;

pub use error::CompareError;
pub use layout::{Relu, ReluSpec, Rounding};
