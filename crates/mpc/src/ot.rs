//! Oblivious transfer: base transfers, punctured functions, correlated extension.

mod base;
pub mod cot;
mod pprf;
