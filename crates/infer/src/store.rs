//! Where pre-computes wait, and the rule that none is ever used twice.
//!
//! `take` removes the record, makes the removal durable, and only then returns the material. A crash at any
//! moment therefore loses a pre-compute at worst; it never hands one out a second time.
//!
//! **Epochs.** A pool that is restored from a backup, or copied, has pre-computes that were used since. Two stores count
//! the sessions they have with each other, each for itself; at the beginning of a session each tells the other its count,
//! and each remembers the counts it has heard. Who comes with a count that was heard before has forgotten something:
//! all pre-computes of the two are burned on both sides. Sessions may begin at the same time: counts may arrive out of
//! order within a window of 64. What no store can see is that both went back to the same moment.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use zeroize::Zeroizing;

pub mod disk;
mod id;
mod index;
mod ledger;
mod memory;
mod peer;
mod pool;
mod seal;
mod states;

pub use id::{PoolId, PrepId};
pub use memory::MemoryStore;
pub use pool::Pool;

/// A store failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No such pre-compute for this plan and peer: never made, already used, or expired.
    #[error("no such pre-compute: {0:?}")]
    Unknown(PrepId),
    /// No room for another one.
    #[error("the store is full: {what} is limited to {limit}")]
    Full {
        /// What there is no more of.
        what: &'static str,
        /// The quota.
        limit: u64,
    },
    /// The record is damaged; it has been burned.
    #[error("pre-compute {0:?} is damaged and was burned")]
    Damaged(PrepId),
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The directory: file names are ids, which are secret until they are used.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
}

/// Whose a pre-compute is: of one plan, with one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lot {
    /// Digest of the plan.
    pub plan: [u8; 32],
    /// The other party's store.
    pub peer: PoolId,
}

/// What a store keeps at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pre-computes of one plan, all peers together.
    pub per_plan: u64,
    /// Pre-computes with one peer, all plans together.
    pub per_peer: u64,
    /// Bytes of all records.
    pub bytes: u64,
    /// How long a pre-compute or a state lives; `None`: until it is used.
    pub life: Option<Duration>,
    /// Bytes of all states; the oldest make room.
    pub states: u64,
}

impl Default for Limits {
    /// None for pre-computes, 256 MiB for states.
    fn default() -> Self {
        Self { per_plan: u64::MAX, per_peer: u64::MAX, bytes: u64::MAX, life: None, states: 256 << 20 }
    }
}

impl Limits {
    /// At most this many pre-computes of a plan, and nothing else.
    #[must_use]
    pub fn per_plan(limit: u64) -> Self {
        Self { per_plan: limit, ..Self::default() }
    }
}

/// How many pre-computes of a lot there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    /// Whose.
    pub lot: Lot,
    /// How many.
    pub count: u64,
    /// Bytes of their records.
    pub bytes: u64,
}

/// Pre-computes that a store has thrown away since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// For their age.
    pub expired: u64,
    /// Because a store had gone back in time, the peer's or this one.
    pub burned: u64,
}

/// A record with its name.
pub type Named = (PrepId, Zeroizing<Vec<u8>>);

/// Holds serialised pre-computes.
pub trait Store: Send + Sync {
    /// The store's name towards its peers.
    fn identity(&self) -> PoolId;

    /// Keeps a pre-compute.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Io`]; nothing is kept then.
    fn put(&self, lot: &Lot, id: PrepId, record: &[u8]) -> Result<(), StoreError>;

    /// Hands a pre-compute out, once and for all.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] if it is not there, [`StoreError::Io`] if its removal could not be made durable
    /// (it is then not handed out), [`StoreError::Damaged`].
    fn take(&self, lot: &Lot, id: PrepId) -> Result<Zeroizing<Vec<u8>>, StoreError>;

    /// Fails unless `count` more pre-computes of `bytes` in all would be kept now. Asked before the work is done; it
    /// reserves nothing.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Io`].
    fn check_room(&self, lot: &Lot, count: usize, bytes: u64) -> Result<(), StoreError>;

    /// The pre-computes of a lot, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn list(&self, lot: &Lot) -> Result<Vec<PrepId>, StoreError>;

    /// How many there are, lot by lot.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn stock(&self) -> Result<Vec<Stock>, StoreError>;

    /// What was thrown away.
    fn lost(&self) -> Lost;

    /// Counts a session with `peer`: a number larger than any before.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn advance(&self, peer: PoolId) -> Result<u64, StoreError>;

    /// Notes the count that a peer gives. `false` if it was given before: the peer has gone back in time, and all
    /// pre-computes shared with it are burned.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn witness(&self, peer: PoolId, epoch: u64) -> Result<bool, StoreError>;

    /// Burns all pre-computes and states shared with a peer; how many pre-computes there were.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn burn(&self, peer: PoolId) -> Result<usize, StoreError>;

    /// Keeps a state that the next session with the same peer may take up, under a name that both know. Old ones make room
    /// for it. `lot.plan` names what it is a state of.
    ///
    /// # Errors
    /// [`StoreError::Io`]; it is not kept then.
    fn keep(&self, lot: &Lot, name: PrepId, record: &[u8]) -> Result<(), StoreError>;

    /// Hands out the state of this name, or the latest, once and for all; `None` if there is none that can be read.
    ///
    /// # Errors
    /// [`StoreError::Io`] if its removal could not be made durable: it is then not handed out.
    fn resume(&self, lot: &Lot, name: Option<PrepId>) -> Result<Option<Named>, StoreError>;
}

#[cfg(test)]
mod tests;
