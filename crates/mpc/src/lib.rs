//! Two-party computation on bits: oblivious transfer, garbled circuits, comparison of shared values.
//!
//! * [`ot::cot`]: SoftSpoken OT extension. The sender holds one [`Delta`]; per transfer it gets `K`, the receiver
//!   with choice `c` gets `K + c Delta`. [`ot::silent`]: the same from a small reserve of transfers at a twentieth of
//!   the bytes; [`ot::engine`]: either of them.
//! * [`gc`]: half-gates garbling under the same [`Delta`]. `K` is the label of 0 of an evaluator's input wire and
//!   `K + c Delta` its label of `c`: outputs of the transfer *are* wire labels.
//! * [`compare`]: rectifiers with rescale on additive shares, by random OT ([`rot`]) made offline.
//! * [`square`]: polynomials of degree two on additive shares, likewise; [`product`]: of two values.
#![forbid(unsafe_code)]

mod bits;
pub mod compare;
mod delta;
pub mod gc;
mod kept;
pub mod ot;
pub mod product;
pub mod rot;
pub mod square;
#[cfg(test)]
mod tests;
mod triple;

pub use bits::{Bits, LengthMismatch};
pub use delta::Delta;
