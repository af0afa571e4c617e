//! A store that is lost with the process: for servers and clients that prepare and infer in one run.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::index::{Entry, Index};
use super::peer::Peer;
use super::pool::now;
use super::{Limits, Lot, PoolId, PrepId, Stock, Store, StoreError};

/// Pre-computes in memory.
pub struct MemoryStore {
    id: PoolId,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    order: u64,
    index: Index,
    records: HashMap<PrepId, Zeroizing<Vec<u8>>>,
    peers: HashMap<PoolId, Peer>,
}

impl State {
    fn remove(&mut self, id: PrepId) -> Option<Zeroizing<Vec<u8>>> {
        self.index.remove(id);
        self.records.remove(&id)
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits, rng: &mut impl CryptoRng) -> Self {
        Self { id: PoolId::random(rng), limits, state: Mutex::default() }
    }

    /// The records that have not expired.
    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock only means that another session panicked; the maps are consistent.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for id in state.index.expired(self.limits.life, now()) {
            state.remove(id);
        }
        state
    }
}

impl Store for MemoryStore {
    fn identity(&self) -> PoolId {
        self.id
    }

    fn put(&self, lot: &Lot, id: PrepId, record: &[u8]) -> Result<(), StoreError> {
        let mut state = self.state();
        let bytes = record.len() as u64;
        self.limits.check(state.index.load(lot), 1, bytes)?;
        state.order += 1;
        let entry = Entry { lot: *lot, order: state.order, made: now(), bytes };
        state.index.insert(id, entry);
        state.records.insert(id, Zeroizing::new(record.to_vec()));
        Ok(())
    }

    fn take(&self, lot: &Lot, id: PrepId) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let mut state = self.state();
        state.index.get(lot, id).ok_or(StoreError::Unknown(id))?;
        state.remove(id).ok_or(StoreError::Unknown(id))
    }

    fn check_room(&self, lot: &Lot, count: usize, bytes: u64) -> Result<(), StoreError> {
        self.limits.check(self.state().index.load(lot), count as u64, bytes)
    }

    fn list(&self, lot: &Lot) -> Result<Vec<PrepId>, StoreError> {
        Ok(self.state().index.list(lot))
    }

    fn stock(&self) -> Result<Vec<Stock>, StoreError> {
        Ok(self.state().index.stock())
    }

    fn advance(&self, peer: PoolId) -> Result<u64, StoreError> {
        Ok(self.state().peers.entry(peer).or_default().advance())
    }

    fn witness(&self, peer: PoolId, epoch: u64) -> Result<bool, StoreError> {
        let fresh = self.state().peers.entry(peer).or_default().witness(epoch);
        if !fresh {
            self.burn(peer)?;
        }
        Ok(fresh)
    }

    fn burn(&self, peer: PoolId) -> Result<usize, StoreError> {
        let mut state = self.state();
        let shared = state.index.of_peer(peer);
        shared.iter().for_each(|id| drop(state.remove(*id)));
        Ok(shared.len())
    }
}
