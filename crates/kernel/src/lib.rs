//! Arithmetic and symmetric-key kernels. The only crate of the workspace in which `unsafe` is allowed, and
//! the only one with machine-specific code: every such function has a portable twin with the same result.
#![deny(unsafe_op_in_unsafe_fn)]

#[macro_use]
mod wide;

pub mod block;

pub mod correlate;
pub mod cpu;
pub mod embedding;
pub mod gemm;
pub mod ggm;
pub mod halfgates;
pub mod hash;
pub mod ntt;
pub mod ntt32;
pub mod pack;
pub mod prg;
pub mod rates;
pub mod sample;
pub mod transpose;
pub mod winograd;
pub mod wipe;
pub mod wire;
pub mod z2k;
pub mod zq;
