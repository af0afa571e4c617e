//! Neural networks as data: ONNX in, integers out, and the clear-text reference that every private engine must
//! equal bit for bit. No cryptography.
#![forbid(unsafe_code)]

pub mod exec;
pub mod fixed;
pub mod float;
pub mod graph;
pub mod onnx;
pub mod op;
pub mod pass;
pub mod phn;
pub mod quantize;
pub mod reference;
pub mod zoo;
