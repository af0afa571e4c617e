//! Channels between the two parties: typed by role, framed, metered, with deadlines.
//!
//! A [`Channel`] carries *messages*. The receiver states which step it expects and how many bytes that step has
//! (both follow from the plan); anything else is a [`PeerMisbehaved`](phineus_kernel::wire::PeerMisbehaved)
//! error that names the step. Every frame carries the step's tag and a sequence number, so that a repeated,
//! dropped or reordered message is an error at the place where it happens and never a wrong value.
//!
//! Nothing waits without end. A channel's deadline bounds every wait for the transport: each MiB of a message, or
//! what is left of it, must cross within the deadline, in either direction; so must a flush, and the wait for a
//! message to begin. A peer thus holds a receive of n bytes for at most 2 + ⌈n / MiB⌉ deadlines. Establishing a
//! connection takes a deadline of its own, which covers name resolution, TCP and the whole TLS handshake. The
//! deadline must exceed the time that the peer computes between two messages. After any error the channel is given
//! up: a message may have been cut.
#![forbid(unsafe_code)]

mod channel;
mod error;
mod meter;
mod role;
mod step;
mod transport;

pub use channel::{Channel, FRAME_HEADER, Receiver, Sender};
pub use error::ChannelError;
pub use meter::Traffic;
pub use role::{Client, Role, Server};
pub use step::Step;
pub use transport::{mem, shaped, tcp, tls};
