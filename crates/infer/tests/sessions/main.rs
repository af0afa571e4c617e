//! Whole sessions between a client and a server: exact results, exact traffic, and every way the other side can
//! misbehave.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod bad_peer;
mod batch;
mod bulk;
mod cipher;
mod client_garbler;
mod conformance;
mod cost;
mod end_to_end;
mod faults;
mod harm;
mod hello;
mod limits;
mod links;
mod nets;
mod party;
mod planner;
mod resumption;
mod sim_disk;
mod stochastic;
mod stored;
mod tap;
mod uniform;
