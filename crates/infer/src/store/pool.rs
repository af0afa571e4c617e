//! A durable store: a ledger of small rows, and one sealed file per pre-compute.
//!
//! * A record's file is complete and synced before its row is; a row is gone, durably, before its file is read. So a
//!   crash loses a pre-compute at worst, and files without a row are swept at the next opening.
//! * One process at a time has the ledger: a server for as long as it runs, clients for one use each.
//! * A copied directory begins anew: the ledger knows the file it was written to, and a ledger that finds itself in
//!   another file forgets its pre-computes and takes a new name. What a copy inside the same file hides from this
//!   check, the epochs show to the peer ([`Store::witness`]).
//! * After a failure of the disk the ledger is opened again at the next use.

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use phineus_kernel::prg::Prg;
use rand::CryptoRng;
use redb::{DatabaseError, StorageBackend as _};
use zeroize::Zeroizing;

use super::disk::{Directory, Disk};
use super::id::hex;
use super::index::Index;
use super::ledger::{Ledger, Own, Row};
use super::peer::Peer;
use super::seal::Seal;
use super::states::surplus;
use super::{Limits, Lost, Lot, Named, PoolId, PrepId, Stock, Store, StoreError};

/// A store of pre-computes on a disk.
pub struct Pool<D: Disk = Directory> {
    disk: D,
    key: Zeroizing<[u8; 32]>,
    limits: Limits,
    id: PoolId,
    state: Mutex<State>,
    rng: Mutex<Prg>,
}

/// What is known of the ledger between two uses.
#[derive(Default)]
struct State {
    /// `None` where another process may have it, and after a failure.
    ledger: Option<Ledger>,
    mirror: Option<Mirror>,
    /// Records that are being written: they have no row yet and count as if they had.
    writing: Index,
    lost: Lost,
}

/// The rows of a ledger after so many changes.
struct Mirror {
    changes: u64,
    index: Index,
}

/// An open ledger with its rows.
struct Open<'s> {
    ledger: &'s Ledger,
    index: &'s mut Index,
    writing: &'s mut Index,
    lost: &'s mut Lost,
}

impl<D: Disk> Pool<D> {
    /// Opens or creates the pool of a disk; `key` seals its records.
    ///
    /// # Errors
    /// [`StoreError::Io`], also if another process has it open.
    pub fn open(
        disk: D,
        key: Zeroizing<[u8; 32]>,
        limits: Limits,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, StoreError> {
        let mut rng = Prg::from_generator(rng);
        let (ledger, id) = begin(&disk, &mut rng)?;
        let state = Mutex::new(State { ledger: Some(ledger), ..State::default() });
        let pool = Self { disk, key, limits, id, state, rng: Mutex::new(rng) };
        pool.with(|open| {
            pool.expire(open)?;
            // With whom nothing is shared, nothing can be used twice.
            let states = open.ledger.states()?;
            let shared = |peer| open.index.has_peer(peer) || states.iter().any(|(_, s)| s.lot.peer == peer);
            open.ledger.retain_peers(shared)?;
            pool.sweep(open)
        })?;
        Ok(pool)
    }

    /// Runs `work` on the ledger. Whatever goes wrong with it, it is opened again the next time.
    fn with<T>(&self, work: impl FnOnce(&mut Open<'_>) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let mut state = lock(&self.state);
        let State { ledger: place, mirror: known, writing, lost } = &mut *state;
        let failed = |e: redb::Error| self.failed(io::Error::other(e.to_string()));
        let (ledger, mirror) = match place.take() {
            Some(ledger) => (ledger, known.take()),
            None => {
                let (ledger, id) = begin(&self.disk, &mut lock(&self.rng))?;
                if id != self.id {
                    return Err(self.failed(io::Error::other("the ledger was replaced while it was in use")));
                }
                let changes = ledger.changes().map_err(failed)?;
                (ledger, known.take().filter(|mirror| mirror.changes == changes))
            }
        };
        let mut index = match mirror {
            Some(mirror) => mirror.index,
            None => ledger.index().map_err(failed)?,
        };
        let done = work(&mut Open { ledger: &ledger, index: &mut index, writing, lost }).map_err(failed)?;
        *known = Some(Mirror { changes: ledger.changes().map_err(failed)?, index });
        if !self.disk.shared() {
            *place = Some(ledger);
        }
        Ok(done)
    }

    /// Removes files that no row names.
    fn sweep(&self, open: &Open<'_>) -> Result<(), redb::Error> {
        let states = open.ledger.states()?.into_iter().map(|(name, _)| file_of_state(name));
        let known: HashSet<String> = open.index.ids().map(|id| hex(id.bytes())).chain(states).collect();
        for name in self.disk.names()? {
            if name != COMPLETE && !known.contains(&name) {
                self.disk.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Removes what has expired.
    fn expire(&self, open: &mut Open<'_>) -> Result<(), redb::Error> {
        let expired = open.index.expired(self.limits.life, now());
        self.drop_records(open, &expired)?;
        open.lost.expired += expired.len() as u64;
        Ok(())
    }

    /// Removes records that nobody shall have.
    fn drop_records(&self, open: &mut Open<'_>, ids: &[PrepId]) -> Result<(), redb::Error> {
        if ids.is_empty() {
            return Ok(());
        }
        open.ledger.remove(ids)?;
        for id in ids {
            open.index.remove(*id);
            // Best effort: without its row nobody can open it, and the next opener sweeps it.
            let _ = self.disk.remove(&hex(id.bytes()));
        }
        Ok(())
    }

    /// Whether so much more may join what is there and what is being written.
    fn room(&self, open: &mut Open<'_>, lot: &Lot, count: u64, bytes: u64) -> Result<Fits, redb::Error> {
        self.expire(open)?;
        Ok(self.limits.check(open.index.load(lot) + open.writing.load(lot), count, bytes))
    }

    /// Best effort: without their rows nobody can open them, and the next opener sweeps them.
    fn remove_states(&self, names: &[PrepId]) {
        names.iter().for_each(|name| drop(self.disk.remove(&file_of_state(*name))));
    }

    /// A new row, not entered yet.
    fn row(&self, lot: &Lot, record: &[u8]) -> Row {
        Row {
            plan: lot.plan,
            peer: *lot.peer.bytes(),
            order: 0,
            made: now(),
            bytes: record.len() as u64,
            salt: random(&mut *lock(&self.rng)),
        }
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.disk.place(), source }
    }
}

/// Whether something fits, if the ledger could say.
type Fits = Result<(), StoreError>;

impl Pool {
    /// The pool in a directory; its key lies beside it in the file `key`, or where `key` says. With `shared`, other
    /// processes may use it at the same time.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn in_directory(
        path: impl Into<std::path::PathBuf>,
        key: Option<&std::path::Path>,
        shared: bool,
        limits: Limits,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, StoreError> {
        let path = path.into();
        let failed = |source| StoreError::Io { path: path.clone(), source };
        let directory = Directory::open(&path).map_err(failed)?;
        let directory = if shared { directory.shared() } else { directory };
        let beside = path.join("key");
        let key = Directory::key(key.unwrap_or(&beside), || random(rng)).map_err(failed)?;
        Self::open(directory, key, limits, rng)
    }
}

impl<D: Disk> Store for Pool<D> {
    fn identity(&self) -> PoolId {
        self.id
    }

    fn put(&self, lot: &Lot, id: PrepId, record: &[u8]) -> Result<(), StoreError> {
        let row = self.row(lot, record);
        let seal = Seal::new(&self.key, &row.salt, &lot.plan, id.bytes());
        let name = hex(id.bytes());
        if self.disk.shared() {
            // With the ledger in hand: no other process sweeps a file that has no row yet.
            return self.with(|open| {
                let fits = self.room(open, lot, 1, row.bytes)?;
                if fits.is_ok() {
                    self.disk.write(&name, &mut seal.pieces(record))?;
                    open.index.insert(id, open.ledger.insert(id, row)?);
                }
                Ok(fits)
            })?;
        }
        // Room is taken first, so that no two sessions take the same; others go on while the file is written.
        self.with(|open| {
            let fits = self.room(open, lot, 1, row.bytes)?;
            if fits.is_ok() {
                open.writing.insert(id, row.entry());
            }
            Ok(fits)
        })??;
        let written = self.disk.write(&name, &mut seal.pieces(record)).map_err(|e| self.failed(e));
        let entered = written.and_then(|()| {
            self.with(|open| {
                open.writing.remove(id);
                open.index.insert(id, open.ledger.insert(id, row)?);
                Ok(())
            })
        });
        lock(&self.state).writing.remove(id);
        entered
    }

    fn take(&self, lot: &Lot, id: PrepId) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let row = self.with(|open| {
            self.expire(open)?;
            if open.index.get(lot, id).is_none() {
                return Ok(None);
            }
            let row = open.ledger.remove(&[id])?.pop();
            open.index.remove(id);
            Ok(row)
        })?;
        let row = row.ok_or(StoreError::Unknown(id))?;
        let name = hex(id.bytes());
        let sealed = self.disk.read(&name, Seal::len(row.bytes));
        // Best effort: without its row nobody can open it, and the next opener sweeps it.
        let _ = self.disk.remove(&name);
        let opened =
            Seal::new(&self.key, &row.salt, &row.plan, id.bytes()).open(sealed.map_err(|e| self.failed(e))?);
        opened.map_err(|_| StoreError::Damaged(id))
    }

    fn check_room(&self, lot: &Lot, count: usize, bytes: u64) -> Result<(), StoreError> {
        self.with(|open| self.room(open, lot, count as u64, bytes))?
    }

    fn list(&self, lot: &Lot) -> Result<Vec<PrepId>, StoreError> {
        self.with(|open| {
            self.expire(open)?;
            Ok(open.index.list(lot))
        })
    }

    fn stock(&self) -> Result<Vec<Stock>, StoreError> {
        self.with(|open| {
            self.expire(open)?;
            Ok(open.index.stock())
        })
    }

    fn lost(&self) -> Lost {
        lock(&self.state).lost
    }

    fn advance(&self, peer: PoolId) -> Result<u64, StoreError> {
        self.with(|open| open.ledger.with_peer(peer, Peer::advance))
    }

    fn witness(&self, peer: PoolId, epoch: u64) -> Result<bool, StoreError> {
        let fresh = self.with(|open| open.ledger.with_peer(peer, |known| known.witness(epoch)))?;
        if !fresh {
            self.burn(peer)?;
        }
        Ok(fresh)
    }

    fn burn(&self, peer: PoolId) -> Result<usize, StoreError> {
        self.with(|open| {
            let shared = open.index.of_peer(peer);
            self.drop_records(open, &shared)?;
            open.lost.burned += shared.len() as u64;
            let mut states = open.ledger.states()?;
            states.retain(|(_, state)| state.lot.peer == peer);
            let names: Vec<_> = states.into_iter().map(|(name, _)| name).collect();
            open.ledger.forget(&names)?;
            self.remove_states(&names);
            Ok(shared.len())
        })
    }

    fn keep(&self, lot: &Lot, name: PrepId, record: &[u8]) -> Result<(), StoreError> {
        let row = self.row(lot, record);
        let seal = Seal::new(&self.key, &row.salt, &lot.plan, name.bytes());
        self.with(|open| {
            self.disk.write(&file_of_state(name), &mut seal.pieces(record))?;
            let gone = open.ledger.keep(name, row, |all| surplus(all, &self.limits, now()))?;
            self.remove_states(&gone);
            Ok(())
        })
    }

    fn resume(&self, lot: &Lot, name: Option<PrepId>) -> Result<Option<Named>, StoreError> {
        let Some((name, row)) = self.with(|open| open.ledger.resume(lot, name))? else { return Ok(None) };
        let sealed = self.disk.read(&file_of_state(name), Seal::len(row.bytes));
        self.remove_states(&[name]);
        let lives = self.limits.lives(&row.entry(), now());
        let opened = sealed
            .ok()
            .filter(|_| lives)
            .and_then(|sealed| Seal::new(&self.key, &row.salt, &row.plan, name.bytes()).open(sealed).ok());
        // What cannot be read is set up anew.
        Ok(opened.map(|record| (name, record)))
    }
}

/// How long to wait for a ledger that another process has.
const PATIENCE: Duration = Duration::from_secs(10);

/// An empty record that says that the ledger was created completely.
pub(super) const COMPLETE: &str = "complete";

/// Name of a state's file: no record has it.
fn file_of_state(name: PrepId) -> String {
    format!("state-{}", hex(name.bytes()))
}

/// Opens the ledger of a disk; a copy begins anew.
pub(super) fn begin<D: Disk>(disk: &D, rng: &mut Prg) -> Result<(Ledger, PoolId), StoreError> {
    let failed = |source| StoreError::Io { path: disk.place(), source };
    let broken = |e: redb::Error| failed(io::Error::other(e.to_string()));
    let complete = disk.names().map_err(failed)?.iter().any(|name| name == COMPLETE);
    let start = Instant::now();
    let ledger = loop {
        match Ledger::open(disk.ledger().map_err(failed)?) {
            Err(DatabaseError::DatabaseAlreadyOpen) if disk.shared() && start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                let words = "another process has this pool open";
                return Err(failed(io::Error::new(io::ErrorKind::ResourceBusy, words)));
            }
            Err(_) if !complete => {
                // Its creation was interrupted: it never held anything.
                let ledger = disk.ledger().map_err(failed)?;
                ledger.set_len(0).map_err(failed)?;
                break Ledger::open(ledger).map_err(|e| broken(e.into()))?;
            }
            opened => break opened.map_err(|e| broken(e.into()))?,
        }
    };
    let stamp = disk.stamp().map_err(failed)?;
    let id = PoolId::random(rng);
    let own = ledger.own(|| Own { id, stamp }).map_err(broken)?;
    if !complete {
        disk.write(COMPLETE, &mut || None).map_err(failed)?;
    }
    if own.stamp == stamp {
        return Ok((ledger, own.id));
    }
    ledger.begin_anew(&Own { id, stamp }).map_err(broken)?;
    Ok((ledger, id))
}

pub(super) fn random(rng: &mut impl CryptoRng) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// A poisoned lock only means that another session panicked: what it guards is consistent after any statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
