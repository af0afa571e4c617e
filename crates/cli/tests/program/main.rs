//! The program as its users run it: what it prints, what it writes, and how it fails.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod demo;
mod encrypted;
mod models;
mod plan;
mod pool;
mod process;
mod real_models;
mod simulate;
mod strangers;
mod used_up;
mod what_if;
mod zoo;
