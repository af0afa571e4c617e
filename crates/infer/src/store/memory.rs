//! A store that is lost with the process: for servers and clients that prepare and infer in one run.
//!
//! Beyond a bound of memory it spills: further records lie on a disk, sealed with a key that ends with the process. Whoever
//! takes the oldest first finds it in memory. What a crash leaves on the disk nobody can read, and the next store that
//! spills there removes it.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use phineus_kernel::prg::Prg;
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::disk::{Directory, Disk};
use super::id::hex;
use super::index::{Entry, Index};
use super::ledger::Ledger;
use super::peer::Peer;
use super::pool::{COMPLETE, begin, now, random};
use super::seal::Seal;
use super::states::States;
use super::{Limits, Lost, Lot, Named, PoolId, PrepId, Stock, Store, StoreError};

/// Pre-computes in memory.
pub struct MemoryStore<D: Disk = Directory> {
    id: PoolId,
    limits: Limits,
    state: Mutex<State>,
    spill: Option<Spill<D>>,
}

/// Where records go that do not fit memory.
struct Spill<D: Disk> {
    disk: D,
    /// The disk is this store's alone as long as it holds the ledger, which stays empty.
    _alone: Ledger,
    /// Most bytes in memory.
    memory: u64,
    key: Zeroizing<[u8; 32]>,
    rng: Mutex<Prg>,
}

#[derive(Default)]
struct State {
    order: u64,
    index: Index,
    records: HashMap<PrepId, Place>,
    /// Bytes of the records in memory.
    memory: u64,
    /// Records on their way to the disk, which count as if they were there.
    writing: Index,
    lost: Lost,
    peers: HashMap<PoolId, Peer>,
    states: States,
}

/// Where a record is.
enum Place {
    Memory(Zeroizing<Vec<u8>>),
    /// On the disk, sealed with this salt.
    Disk(Zeroizing<[u8; 32]>),
}

impl State {
    fn insert(&mut self, id: PrepId, entry: Entry, place: Place) {
        // Ids are the peer's: it may send one twice.
        self.remove(id);
        if let Place::Memory(bytes) = &place {
            self.memory = self.memory.saturating_add(bytes.len() as u64);
        }
        self.order += 1;
        self.index.insert(id, Entry { order: self.order, ..entry });
        self.records.insert(id, place);
    }

    fn remove(&mut self, id: PrepId) -> Option<Place> {
        self.index.remove(id);
        let place = self.records.remove(&id)?;
        if let Place::Memory(bytes) = &place {
            self.memory = self.memory.saturating_sub(bytes.len() as u64);
        }
        Some(place)
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits, rng: &mut impl CryptoRng) -> Self {
        Self { id: PoolId::random(rng), limits, state: Mutex::default(), spill: None }
    }
}

impl<D: Disk> MemoryStore<D> {
    /// An empty store that keeps at most `memory` bytes of records in memory and the others on a disk, from which whatever
    /// is there is removed.
    ///
    /// # Errors
    /// [`StoreError::Io`], also if another store has the disk, or a [`Pool`](super::Pool) left pre-computes there.
    pub fn spilling(
        limits: Limits,
        memory: u64,
        disk: D,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Io { path: disk.place(), source };
        let mut rng = Prg::from_generator(rng);
        let (alone, _) = begin(&disk, &mut rng)?;
        let rows = alone.index().map_err(|e| failed(io::Error::other(e.to_string())))?;
        if rows.ids().next().is_some() {
            let words = "this directory holds a pool that outlives its server";
            return Err(failed(io::Error::new(io::ErrorKind::DirectoryNotEmpty, words)));
        }
        for name in disk.names().map_err(failed)? {
            if name != COMPLETE {
                disk.remove(&name).map_err(failed)?;
            }
        }
        // A store that has forgotten everything is another store.
        let (id, key) = (PoolId::random(&mut rng), Zeroizing::new(random(&mut rng)));
        let spill = Spill { disk, _alone: alone, memory, key, rng: Mutex::new(rng) };
        Ok(Self { id, limits, state: Mutex::default(), spill: Some(spill) })
    }

    /// The records that have not expired.
    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock only means that another session panicked; the maps are consistent.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let expired = state.index.expired(self.limits.life, now());
        state.lost.expired += self.throw_away(&mut state, &expired);
        state
    }

    /// Removes records that nobody shall have; how many.
    fn throw_away(&self, state: &mut State, ids: &[PrepId]) -> u64 {
        for id in ids {
            if let (Some(Place::Disk(_)), Some(spill)) = (state.remove(*id), &self.spill) {
                // Best effort: without its salt nobody can open it, and the next store removes it.
                let _ = spill.disk.remove(&hex(id.bytes()));
            }
        }
        ids.len() as u64
    }
}

impl<D: Disk> Spill<D> {
    fn write(&self, lot: &Lot, id: PrepId, record: &[u8]) -> Result<Place, StoreError> {
        let salt = random(&mut *self.rng.lock().unwrap_or_else(PoisonError::into_inner));
        let seal = Seal::new(&self.key, &salt, &lot.plan, id.bytes());
        let written = self.disk.write(&hex(id.bytes()), &mut seal.pieces(record));
        written.map_err(|source| self.failed(source))?;
        Ok(Place::Disk(Zeroizing::new(salt)))
    }

    fn read(
        &self,
        lot: &Lot,
        id: PrepId,
        salt: &[u8; 32],
        len: u64,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let name = hex(id.bytes());
        let sealed = self.disk.read(&name, Seal::len(len));
        let _ = self.disk.remove(&name);
        let sealed = sealed.map_err(|source| self.failed(source))?;
        Seal::new(&self.key, salt, &lot.plan, id.bytes()).open(sealed).map_err(|_| StoreError::Damaged(id))
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.disk.place(), source }
    }
}

impl<D: Disk> Drop for MemoryStore<D> {
    fn drop(&mut self) {
        let all: Vec<PrepId> = self.state().records.keys().copied().collect();
        let mut state = self.state();
        self.throw_away(&mut state, &all);
    }
}

impl<D: Disk> Store for MemoryStore<D> {
    fn identity(&self) -> PoolId {
        self.id
    }

    fn put(&self, lot: &Lot, id: PrepId, record: &[u8]) -> Result<(), StoreError> {
        let bytes = record.len() as u64;
        let entry = Entry { lot: *lot, order: 0, made: now(), bytes };
        let mut state = self.state();
        self.limits.check(state.index.load(lot) + state.writing.load(lot), 1, bytes)?;
        let spill = match &self.spill {
            Some(spill) if state.memory.saturating_add(bytes) > spill.memory => spill,
            _ => {
                state.insert(id, entry, Place::Memory(Zeroizing::new(record.to_vec())));
                return Ok(());
            }
        };
        state.writing.insert(id, entry);
        drop(state);
        // Others go on meanwhile.
        let written = spill.write(lot, id, record);
        let mut state = self.state();
        state.writing.remove(id);
        state.insert(id, entry, written?);
        Ok(())
    }

    fn take(&self, lot: &Lot, id: PrepId) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let mut state = self.state();
        let bytes = state.index.get(lot, id).ok_or(StoreError::Unknown(id))?.bytes;
        let place = state.remove(id).ok_or(StoreError::Unknown(id))?;
        drop(state);
        match (place, &self.spill) {
            (Place::Memory(record), _) => Ok(record),
            (Place::Disk(salt), Some(spill)) => spill.read(lot, id, &salt, bytes),
            (Place::Disk(_), None) => Err(StoreError::Unknown(id)),
        }
    }

    fn check_room(&self, lot: &Lot, count: usize, bytes: u64) -> Result<(), StoreError> {
        let state = self.state();
        self.limits.check(state.index.load(lot) + state.writing.load(lot), count as u64, bytes)
    }

    fn list(&self, lot: &Lot) -> Result<Vec<PrepId>, StoreError> {
        Ok(self.state().index.list(lot))
    }

    fn stock(&self) -> Result<Vec<Stock>, StoreError> {
        Ok(self.state().index.stock())
    }

    fn lost(&self) -> Lost {
        self.state().lost
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
        state.lost.burned += self.throw_away(&mut state, &shared);
        state.states.burn(peer);
        Ok(shared.len())
    }

    fn keep(&self, lot: &Lot, name: PrepId, record: &[u8]) -> Result<(), StoreError> {
        self.state().states.keep(lot, name, record, &self.limits, now());
        Ok(())
    }

    fn resume(&self, lot: &Lot, name: Option<PrepId>) -> Result<Option<Named>, StoreError> {
        Ok(self.state().states.resume(lot, name, &self.limits, now()))
    }
}
