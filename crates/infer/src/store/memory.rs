//! A store that is lost with the process: for servers and clients that prepare and infer in one run.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::peer::Peer;
use super::{Limits, Lot, PoolId, PrepId, Stock, Store, StoreError, stock_of};

/// Pre-computes in memory.
pub struct MemoryStore {
    id: PoolId,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    order: u64,
    records: HashMap<PrepId, Record>,
    peers: HashMap<PoolId, Peer>,
}

struct Record {
    lot: Lot,
    order: u64,
    bytes: Zeroizing<Vec<u8>>,
}

impl State {
    fn sizes(&self) -> impl Iterator<Item = (Lot, u64)> {
        self.records.values().map(|record| (record.lot, record.bytes.len() as u64))
    }
}

impl MemoryStore {
    /// An empty store. Its pre-computes live as long as it does, whatever the limits say of their lives.
    #[must_use]
    pub fn new(limits: Limits, rng: &mut impl CryptoRng) -> Self {
        Self { id: PoolId::random(rng), limits, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock only means that another session panicked; the maps are consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn identity(&self) -> PoolId {
        self.id
    }

    fn put(&self, lot: &Lot, id: PrepId, record: &[u8]) -> Result<(), StoreError> {
        let mut state = self.state();
        self.limits.check(state.sizes(), lot, 1, record.len() as u64)?;
        state.order += 1;
        let record = Record { lot: *lot, order: state.order, bytes: Zeroizing::new(record.to_vec()) };
        state.records.insert(id, record);
        Ok(())
    }

    fn take(&self, lot: &Lot, id: PrepId) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let mut state = self.state();
        if state.records.get(&id).is_none_or(|record| record.lot != *lot) {
            return Err(StoreError::Unknown(id));
        }
        state.records.remove(&id).map(|record| record.bytes).ok_or(StoreError::Unknown(id))
    }

    fn check_room(&self, lot: &Lot, count: usize, bytes: u64) -> Result<(), StoreError> {
        self.limits.check(self.state().sizes(), lot, count, bytes)
    }

    fn list(&self, lot: &Lot) -> Result<Vec<PrepId>, StoreError> {
        let state = self.state();
        let mut ids: Vec<_> =
            state.records.iter().filter(|(_, r)| r.lot == *lot).map(|(id, r)| (r.order, *id)).collect();
        ids.sort_unstable();
        Ok(ids.into_iter().map(|(_, id)| id).collect())
    }

    fn stock(&self) -> Result<Vec<Stock>, StoreError> {
        Ok(stock_of(self.state().sizes()))
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
        let before = state.records.len();
        state.records.retain(|_, record| record.lot.peer != peer);
        Ok(before - state.records.len())
    }
}
