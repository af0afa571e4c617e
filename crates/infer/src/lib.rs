//! Private inference: how tensors are packed, which protocol computes which layer, and the one executor that runs
//! the plan between a client and a server.
#![forbid(unsafe_code)]

pub mod cipher;
pub mod clear;
mod clock;
mod compute;
mod error;
mod exec;
mod local;
mod masks;
pub mod metrics;
pub mod packing;
pub mod plan;
pub mod preset;
mod progress;
mod protocol;
pub mod rehearsal;
pub mod report;
pub mod schedule;
pub mod served;
pub mod session;
pub mod simulate;
pub mod store;

pub use error::ProtocolError;
pub use plan::PlanError;
