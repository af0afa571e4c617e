//! Channels between the two parties: typed by role, framed, metered, with deadlines.
//!
//! A [`Channel`] carries *messages*. The receiver states which step it expects and how many bytes that step has
//! (both follow from the plan); anything else is a [`PeerMisbehaved`](phineus_kernel::wire::PeerMisbehaved)
//! error that names the step. Every frame carries the step's tag and a sequence number, so that a repeated,
//! dropped or reordered message is an error at the place where it happens and never a wrong value.
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
pub use transport::{mem, tcp};
