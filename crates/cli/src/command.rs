//! One command, one file.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod compile;
pub(crate) mod demo;
pub(crate) mod infer;
pub(crate) mod operators;
pub(crate) mod plan;
pub(crate) mod prepare;
pub(crate) mod serve;
pub(crate) mod simulate;
pub(crate) mod verify;
pub(crate) mod zoo;
