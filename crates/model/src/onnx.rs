//! ONNX files in and out, operator sets 13 to 21.
//!
//! Functionality: `import: bytes -> float::Graph` and `export: float::Graph -> bytes` with
//! `import(export(g)) = g` for every graph the importer can produce. The batch dimension is 1 on import and
//! symbolic on export; every other dimension is a constant.
//!
//! Method: nodes are read in file order. A name stands for a constant, for a value of the network, or for a
//! *polynomial of* a value (`arithmetic`): that way any spelling of an activation `c0 + c1 x + c2 x^2` with
//! additions and products becomes one [`Poly`](crate::float::Op::Poly). The subgraphs that frameworks export to
//! compute shapes and paddings are evaluated on the spot (`fold`).
//!
//! Security: the bytes are untrusted. Every length is checked against the data it describes before use, the number of
//! nodes and the total size of all constants are bounded, and nothing here indexes or computes unchecked.
#![warn(clippy::indexing_slicing)]

mod arithmetic;
mod attributes;
mod choice;
mod error;
mod export;
mod fold;
mod import;
mod layers;
mod metadata;
mod movers;
mod proto;
mod tensor;
mod windows;

#[cfg(test)]
mod tests;

pub use error::ImportError;
pub use export::export;
pub use import::import;
pub use metadata::{metadata, with_metadata};
