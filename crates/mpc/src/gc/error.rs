//! Misuse of garbling.

use thiserror::Error;

/// What is wrong with the arguments of a function of [`gc`](super).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GcError {
    /// A slice of the wrong length.
    #[error("{what}: expected {expected}, got {got}")]
    Length {
        /// The slice.
        what: &'static str,
        /// Elements that circuit and instances call for.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// A span that does not start at a batch.
    #[error("instance {first} is not the first of a batch")]
    Unaligned {
        /// Its first instance.
        first: u64,
    },
    /// A zero label of an evaluator's input with bit 0 set.
    #[error("zero label {index} of the evaluator's inputs has bit 0 set")]
    Colour {
        /// Its number.
        index: usize,
    },
    /// Inputs known while garbling, of a circuit that hashes a sum of them alone.
    #[error("the circuit hashes the garbler's inputs before it mixes them with others")]
    Unmixed,
    /// Parameters of a gadget out of range.
    #[error("{what} out of range: {got}")]
    Spec {
        /// The parameter.
        what: &'static str,
        /// Its value.
        got: i64,
    },
}

impl GcError {
    pub(super) fn check_len(what: &'static str, expected: usize, got: usize) -> Result<(), Self> {
        if expected == got { Ok(()) } else { Err(Self::Length { what, expected, got }) }
    }
}
