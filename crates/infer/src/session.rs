//! A connection between a client and a server: hello, agreement on the plan, then any number of pre-computes and
//! inferences.
//!
//! | step | direction | content |
//! |---|---|---|
//! | hello | C -> S | protocol version, model name, the plan digest that the client insists on, its wishes, its store's name |
//! | welcome | S -> C | protocol version, nonce, its store's name and count of sessions, the options served, public half of the model |
//! | agree | C -> S | nonce, the plan digest that the client derived, its store's count of sessions, whether it has burned what the two have prepared |
//! | agreed | S -> C | the same of the server |
//! | prepare | C -> S | how many, digest of the linear layers' common plan; public keys the first time; then the offline phase: linear layers, the first time oblivious transfers (of an earlier session, or set up anew), the others, at its end the id |
//! | infer | C -> S | an id; the server burns it, answers, and the online phase runs |
//! | evaluate | C -> S | under encryption instead: the input, in one round; see `session::encrypted` |
//!
//! Any failure ends the session and burns the pre-compute in use. Every failure on one side is told to the other. After a
//! goodbye each side keeps its ends of the oblivious transfers for the next session (`resumption`).

mod batched;
pub mod client;
mod encrypted;
mod hello;
mod keys;
pub(crate) mod resumption;
pub mod server;

pub(crate) use encrypted::predict_keys;

use crate::ProtocolError;
use crate::plan::Plan;

/// Binds all that follows to this session: both nonces and the plan.
fn session_id(client: &[u8; 32], server: &[u8; 32], plan: &[u8; 32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("phineus session 1");
    hasher.update(client).update(server).update(plan);
    *hasher.finalize().as_bytes()
}

/// Under encryption there is nothing to prepare.
fn refuse_unprepared(plan: &Plan) -> Result<(), ProtocolError> {
    match plan.encrypted() {
        None => Ok(()),
        Some(_) => Err(ProtocolError::Engine {
            engine: plan.options().engine,
            what: "use pre-computes",
            instead: "ask for the inference itself",
        }),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
