//! Neural networks as data: ONNX in, integers out, and the clear-text reference that every private engine must
//! equal bit for bit. No cryptography.

pub mod fixed;
pub mod float;
pub mod graph;
pub mod op;
