//! Two-party computation on bits: correlated oblivious transfer and garbled circuits.
//!
//! * [`ot::cot`]: SoftSpoken OT extension. The sender holds one [`Delta`]; per transfer it gets `K`, the receiver
//!   with choice `c` gets `K + c Delta`.
//! * [`gc`]: half-gates garbling under the same [`Delta`]. `K` is the label of 0 of an evaluator's input wire and
//!   `K + c Delta` its label of `c`: outputs of the transfer *are* wire labels.
#![forbid(unsafe_code)]

mod bits;
mod delta;
pub mod gc;
pub mod ot;
#[cfg(test)]
mod tests;

pub use bits::{Bits, LengthMismatch};
pub use delta::Delta;
