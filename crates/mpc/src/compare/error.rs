//! What can go wrong in a comparison.

use phineus_kernel::wire::PeerMisbehaved;
use phineus_net::ChannelError;
use thiserror::Error;

/// Misuse by the caller, or a failure of the channel or of the peer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompareError {
    /// Public parameters that this engine does not support; another engine must take the layer.
    #[error("a non-linear layer by oblivious transfer: {what} = {got} is not supported")]
    Unsupported {
        /// The parameter.
        what: &'static str,
        /// Its value.
        got: i64,
    },
    /// A slice of the wrong length.
    #[error("{what}: expected {expected} elements, got {got}")]
    Length {
        /// The slice.
        what: &'static str,
        /// Elements of the layer.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// The channel or the peer failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

impl From<PeerMisbehaved> for CompareError {
    fn from(error: PeerMisbehaved) -> Self {
        Self::Channel(error.into())
    }
}

impl CompareError {
    pub(crate) fn check_len(what: &'static str, expected: usize, got: usize) -> Result<(), Self> {
        if expected == got { Ok(()) } else { Err(Self::Length { what, expected, got }) }
    }
}
