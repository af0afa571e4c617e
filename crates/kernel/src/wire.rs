//! Canonical bytes of protocol messages.
//!
//! Every message has exactly one encoding, and its length follows from a *spec* that both parties compute from
//! the plan. Nothing about a message's size is ever read from the peer.

use thiserror::Error;

/// The peer sent something that the protocol does not allow. Carries sizes and names only, never contents.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// A message of the wrong length.
    #[error("{what}: expected {expected} bytes, got {got}")]
    Length {
        /// The message.
        what: &'static str,
        /// Bytes the plan calls for.
        expected: u64,
        /// Bytes announced or received.
        got: u64,
    },
    /// A message that was not due: another step, a repetition or a reordering.
    #[error("expected message {expected}, got {got}")]
    OutOfOrder {
        /// The step that was due.
        expected: String,
        /// What arrived.
        got: String,
    },
    /// Contents that are not canonical or out of range.
    #[error("{what}: {reason}")]
    Invalid {
        /// The message.
        what: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A consistency check of a protocol failed.
    #[error("{what}: consistency check failed")]
    CheckFailed {
        /// The protocol.
        what: &'static str,
    },
}

/// A message with one canonical encoding.
pub trait Wire: Sized {
    /// Everything public that determines the message's shape, computed from the plan.
    type Spec: ?Sized;

    /// Name used in errors.
    const NAME: &'static str;

    /// Exact number of bytes of the encoding.
    fn wire_len(spec: &Self::Spec) -> usize;

    /// Appends the encoding, exactly [`Wire::wire_len`] bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads an encoding of exactly [`Wire::wire_len`] bytes.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] on a wrong length or non-canonical contents. Never panics.
    fn decode(bytes: &[u8], spec: &Self::Spec) -> Result<Self, PeerMisbehaved>;
}

/// Fails unless `bytes` has exactly `expected` bytes.
///
/// # Errors
/// [`PeerMisbehaved::Length`].
pub fn check_len(what: &'static str, bytes: &[u8], expected: usize) -> Result<(), PeerMisbehaved> {
    if bytes.len() == expected {
        Ok(())
    } else {
        Err(PeerMisbehaved::Length { what, expected: expected as u64, got: bytes.len() as u64 })
    }
}
