//! What can go wrong between two parties: each layer wraps the one below.

use phineus_he::HeError;
use phineus_he::slots::SlotsError;
use phineus_mpc::compare::CompareError;
use phineus_mpc::gc::GcError;
use phineus_net::ChannelError;
use thiserror::Error;

use crate::plan::PlanError;
use crate::store::StoreError;

/// A failure of a session; it names the place and holds no secrets.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The channel failed or the peer misbehaved.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Encryption refused its arguments.
    #[error("encryption: {0}")]
    He(#[from] HeError),
    /// Encryption of slots refused its arguments.
    #[error("encryption: {0}")]
    Slots(#[from] SlotsError),
    /// A batch of inputs under encryption failed.
    #[error(transparent)]
    Batch(#[from] crate::cipher::batch::LinkError),
    /// A request that the engine of the plan does not know.
    #[error("engine {engine} does not {what}: {instead}")]
    Engine {
        /// Of the plan.
        engine: crate::plan::Engine,
        /// What was asked for.
        what: &'static str,
        /// What to do.
        instead: &'static str,
    },
    /// Garbling refused its arguments.
    #[error("garbling: {0}")]
    Gc(#[from] GcError),
    /// Comparison refused its arguments, or its peer misbehaved.
    #[error("comparison: {0}")]
    Compare(#[from] CompareError),
    /// The model has no plan.
    #[error("plan: {0}")]
    Plan(#[from] PlanError),
    /// The store of pre-computes failed.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// The two parties do not speak the same version.
    #[error("protocol version {ours} here, {theirs} there")]
    Version {
        /// This side's.
        ours: u16,
        /// The peer's.
        theirs: u16,
    },
    /// The two parties do not have the same plan.
    #[error("plan digest {ours} here, {theirs} there")]
    PlanDiffers {
        /// This side's, in hexadecimal.
        ours: String,
        /// The peer's.
        theirs: String,
    },
    /// The server answered with options that the client did not ask for.
    #[error("the server answered with {} and {}, which were not asked for", options.engine, options.rounding)]
    Unfulfilled {
        /// What the client asked for.
        wishes: Box<crate::plan::Wishes>,
        /// What it got.
        options: Box<crate::plan::Options>,
    },
    /// No such model.
    #[error(transparent)]
    Catalogue(#[from] crate::served::CatalogueError),
    /// What the server sent is no public half of a model.
    #[error("the server's model: {0}")]
    Public(#[from] phineus_model::phn::PhnError),
    /// An input that does not fit the network.
    #[error("input: expected {expected} values in [{lo}, {hi}], got {got}")]
    Input {
        /// Values the network takes.
        expected: usize,
        /// Values given.
        got: usize,
        /// Smallest.
        lo: i64,
        /// Largest.
        hi: i64,
    },
    /// A stored pre-compute that does not fit the plan.
    #[error("the pre-compute does not belong to this plan")]
    Material,
    /// A pre-compute does not fit this machine's memory.
    #[error("no memory for {0} bytes of a pre-compute")]
    Memory(usize),
    /// The session has failed before and is over.
    #[error("the session is over after an earlier failure")]
    Over,
}

impl ProtocolError {
    /// What the peer may be told: the same, but nothing about this side's file system.
    pub(crate) fn public(&self) -> String {
        match self {
            Self::Store(StoreError::Io { .. }) => "the store of pre-computes failed".into(),
            other => other.to_string(),
        }
    }
}
