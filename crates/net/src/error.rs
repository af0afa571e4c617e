//! What can go wrong on a channel.

use std::io;
use std::time::Duration;

use phineus_kernel::wire::PeerMisbehaved;
use thiserror::Error;

/// A failure of a channel; it names the step at which it happened and holds no contents.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The transport failed.
    #[error("transport failed at {step}: {source}")]
    Io {
        /// Where.
        step: &'static str,
        /// The operating system's words.
        source: io::Error,
    },
    /// The peer closed the connection.
    #[error("the peer closed the connection at {step}")]
    Closed {
        /// Where.
        step: &'static str,
    },
    /// Nothing arrived, or nothing could be sent, for too long.
    #[error("no progress for {waited:?} at {step}")]
    Timeout {
        /// Where.
        step: &'static str,
        /// The deadline that passed.
        waited: Duration,
    },
    /// The two ends cannot agree on a secure connection, or what arrived was not sent by the other end.
    #[error("no secure connection at {step}: {source}")]
    Tls {
        /// Where.
        step: &'static str,
        /// Whose fault it is and why.
        source: rustls::Error,
    },
    /// The peer gave up and said why.
    #[error("the peer stopped at {step}: {reason}")]
    Aborted {
        /// Where this side was.
        step: &'static str,
        /// The peer's words, printable characters only.
        reason: String,
    },
    /// The peer sent what the protocol does not allow.
    #[error("the peer misbehaved: {0}")]
    Peer(#[from] PeerMisbehaved),
}
