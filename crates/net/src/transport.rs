//! Where bytes go.

pub mod mem;
pub mod tcp;
