//! Oblivious transfer: base transfers, punctured functions, correlated extension.

mod base;
pub mod cot;
pub mod engine;
mod pprf;
pub mod silent;
