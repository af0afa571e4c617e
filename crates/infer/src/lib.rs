//! To be written.

pub mod packing;
