//! Where bytes go.

pub mod mem;
pub mod shaped;
pub mod tcp;
pub mod tls;
