//! Whole networks on encrypted slots, without interaction.
//!
//! The client encrypts its input once, the server evaluates the network, the client decrypts: CryptoNets
//! (Gilad-Bachrach et al., ICML 2016) and LoLa (Brutzkus, Elisha, Gilad-Bachrach, ICML 2019). A network is a chain of
//! linear maps and squares; [`planner`] turns its public shape into a [`Program`] over the operations of an
//! [`Evaluator`], choosing a [`Layout`] for every value by cost.

pub mod batch;
pub mod clear;
mod coefficients;
pub mod cost;
pub mod diagonal;
mod encrypted;
mod evaluator;
mod identity;
mod keyring;
mod layout;
pub mod map;
pub mod network;
pub mod planner;
pub mod precision;
mod program;
mod reach;
pub mod scheme;
pub mod service;
#[cfg(test)]
mod tests;

pub use clear::Clear;
pub use encrypted::{Bounds, Encrypted};
pub use evaluator::{Encoder, Evaluator, Giant, Term};
pub use identity::Identity;
pub use keyring::{ClientKeys, Keyring};
pub use layout::{Content, Layout};
pub use network::Network;
pub use precision::Precision;
pub use program::{Affine, Program, Weights};
pub use reach::InputForm;
pub use scheme::Scheme;
pub use service::Service;
