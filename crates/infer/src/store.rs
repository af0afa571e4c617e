//! Where pre-computes wait, and the rule that none is ever used twice.
//!
//! `take` removes the record, makes the removal durable, and only then returns the material. A crash at any
//! moment therefore loses a pre-compute at worst; it never hands one out a second time.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rand::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

/// Names one pre-compute on both sides. Drawn by the server; a client proves its claim by knowing it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PrepId([u8; 16]);

impl PrepId {
    /// A fresh name.
    #[must_use]
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut id = [0; 16];
        rng.fill_bytes(&mut id);
        Self(id)
    }

    /// From its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn parse(name: &str) -> Option<Self> {
        if name.len() != 32 || !name.is_ascii() {
            return None;
        }
        let mut id = [0; 16];
        for (i, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(name.get(2 * i..2 * i + 2)?, 16).ok()?;
        }
        Some(Self(id))
    }

    fn file_name(self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl fmt::Debug for PrepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The whole id is a bearer token; four bytes suffice to tell records apart in a log.
        write!(f, "PrepId({:02x}{:02x}{:02x}{:02x}..)", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// A store failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No such pre-compute for this plan: never made, or already used.
    #[error("no such pre-compute: {0:?}")]
    Unknown(PrepId),
    /// No room for another one.
    #[error("the store is full: {limit} pre-computes")]
    Full {
        /// The quota.
        limit: usize,
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

/// Holds serialised pre-computes by plan digest and id.
pub trait Store: Send + Sync {
    /// Keeps a pre-compute.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Io`]; nothing is kept then.
    fn put(&self, plan: &[u8; 32], id: PrepId, material: &[u8]) -> Result<(), StoreError>;

    /// Hands a pre-compute out, once and for all.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] if it is not there, [`StoreError::Io`] if its removal could not be made durable
    /// (it is then not handed out).
    fn take(&self, plan: &[u8; 32], id: PrepId) -> Result<Zeroizing<Vec<u8>>, StoreError>;

    /// Fails unless `count` more pre-computes of a plan would be kept now. Asked before the work is done; it reserves
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Io`].
    fn check_room(&self, plan: &[u8; 32], count: usize) -> Result<(), StoreError>;

    /// The pre-computes of a plan, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn list(&self, plan: &[u8; 32]) -> Result<Vec<PrepId>, StoreError>;
}

/// Lost with the process: for servers and clients that prepare and infer in one run.
pub struct MemoryStore {
    limit: usize,
    records: Mutex<Records>,
}

#[derive(Default)]
struct Records {
    next: u64,
    by_id: HashMap<([u8; 32], PrepId), Record>,
}

/// Order of arrival and material.
type Record = (u64, Zeroizing<Vec<u8>>);

impl Records {
    /// Order of arrival and id of a plan's records, in no order.
    fn of(&self, plan: &[u8; 32]) -> impl Iterator<Item = (u64, PrepId)> {
        self.by_id.iter().filter(move |((p, _), _)| p == plan).map(|((_, id), (order, _))| (*order, *id))
    }
}

impl MemoryStore {
    /// An empty store for at most `limit` pre-computes of a plan.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, records: Mutex::default() }
    }

    fn records(&self) -> std::sync::MutexGuard<'_, Records> {
        // A poisoned lock only means that another session panicked; the map itself is consistent.
        self.records.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn put(&self, plan: &[u8; 32], id: PrepId, material: &[u8]) -> Result<(), StoreError> {
        let mut records = self.records();
        room(self.limit, records.of(plan).count(), 1)?;
        records.next += 1;
        let order = records.next;
        records.by_id.insert((*plan, id), (order, Zeroizing::new(material.to_vec())));
        Ok(())
    }

    fn check_room(&self, plan: &[u8; 32], count: usize) -> Result<(), StoreError> {
        room(self.limit, self.records().of(plan).count(), count)
    }

    fn take(&self, plan: &[u8; 32], id: PrepId) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.records().by_id.remove(&(*plan, id)).map(|(_, m)| m).ok_or(StoreError::Unknown(id))
    }

    fn list(&self, plan: &[u8; 32]) -> Result<Vec<PrepId>, StoreError> {
        let mut ids: Vec<_> = self.records().of(plan).collect();
        ids.sort_unstable_by_key(|(order, _)| *order);
        Ok(ids.into_iter().map(|(_, id)| id).collect())
    }
}

/// One file per pre-compute under `directory/<plan>/<id>`.
pub struct FileStore {
    directory: PathBuf,
    limit: usize,
}

const CHECKSUM: usize = 32;
/// Extension of a record that is still being written.
const UNFINISHED: &str = "tmp";

impl FileStore {
    /// Opens or creates a store for at most `limit` pre-computes per plan. The directory is private to its owner.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(directory: impl Into<PathBuf>, limit: usize) -> Result<Self, StoreError> {
        let directory = directory.into();
        fs::create_dir_all(&directory).map_err(|e| failed(&directory, e))?;
        private(&directory)?;
        let store = Self { directory, limit };
        store.remove_unfinished()?;
        Ok(store)
    }

    /// Removes what a crash has left of records that were never complete.
    fn remove_unfinished(&self) -> Result<(), StoreError> {
        let entries = |path: &Path| -> Result<Vec<PathBuf>, StoreError> {
            let entries = fs::read_dir(path).and_then(|all| all.map(|e| e.map(|e| e.path())).collect());
            entries.map_err(|e| failed(path, e))
        };
        for plan in entries(&self.directory)?.iter().filter(|path| path.is_dir()) {
            for path in entries(plan)?.iter().filter(|path| path.extension().is_some_and(|e| e == UNFINISHED))
            {
                fs::remove_file(path).map_err(|e| failed(plan, e))?;
            }
        }
        Ok(())
    }

    fn plan_directory(&self, plan: &[u8; 32]) -> PathBuf {
        self.directory.join(plan.iter().map(|b| format!("{b:02x}")).collect::<String>())
    }
}

impl Store for FileStore {
    fn put(&self, plan: &[u8; 32], id: PrepId, material: &[u8]) -> Result<(), StoreError> {
        let directory = self.plan_directory(plan);
        fs::create_dir_all(&directory).map_err(|e| failed(&directory, e))?;
        self.check_room(plan, 1)?;
        let temporary = directory.join(format!("{}.{UNFINISHED}", id.file_name()));
        let path = directory.join(id.file_name());
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(blake3::hash(material).as_bytes())?;
            file.write_all(material)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        });
        if let Err(error) = written {
            // Best effort: the record was never complete, so it can be neither listed nor taken.
            let _ = fs::remove_file(&temporary);
            return Err(failed(&directory, error));
        }
        sync_directory(&directory)?;
        sync_directory(&self.directory)
    }

    fn check_room(&self, plan: &[u8; 32], count: usize) -> Result<(), StoreError> {
        room(self.limit, self.list(plan)?.len(), count)
    }

    fn take(&self, plan: &[u8; 32], id: PrepId) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let directory = self.plan_directory(plan);
        let path = directory.join(id.file_name());
        let missing = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Unknown(id),
            _ => failed(&directory, error),
        };
        let mut file = File::open(&path).map_err(missing)?;
        // Of two takers that opened the same record only one removes it.
        fs::remove_file(&path).map_err(missing)?;
        sync_directory(&directory)?;
        let mut record = Zeroizing::new(Vec::new());
        file.read_to_end(&mut record).map_err(|e| failed(&directory, e))?;
        match record.split_at_checked(CHECKSUM) {
            Some((checksum, material)) if blake3::hash(material).as_bytes() == checksum => {
                Ok(Zeroizing::new(material.to_vec()))
            }
            _ => Err(StoreError::Damaged(id)),
        }
    }

    fn list(&self, plan: &[u8; 32]) -> Result<Vec<PrepId>, StoreError> {
        let directory = self.plan_directory(plan);
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&directory, error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| failed(&directory, e))?;
            if let Some(id) = entry.file_name().to_str().and_then(PrepId::parse) {
                // A record that another process has just taken has no age; it sorts first and is then Unknown.
                let age = entry.metadata().and_then(|m| m.modified()).ok();
                found.push((age, id));
            }
        }
        found.sort_unstable_by_key(|(age, id)| (*age, *id.bytes()));
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }
}

fn room(limit: usize, kept: usize, more: usize) -> Result<(), StoreError> {
    if more <= limit.saturating_sub(kept) { Ok(()) } else { Err(StoreError::Full { limit }) }
}

fn failed(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), source }
}

fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    File::open(directory).and_then(|d| d.sync_all()).map_err(|e| failed(directory, e))
}

#[cfg(unix)]
fn private(directory: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(|e| failed(directory, e))
}

#[cfg(not(unix))]
fn private(_: &Path) -> Result<(), StoreError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: [u8; 32] = [7; 32];

    fn id(n: u8) -> PrepId {
        PrepId::from_bytes([n; 16])
    }

    fn stores(limit: usize) -> (tempfile::TempDir, Vec<Box<dyn Store>>) {
        let directory = tempfile::tempdir().unwrap();
        let file = FileStore::open(directory.path().join("pool"), limit).unwrap();
        (directory, vec![Box::new(MemoryStore::new(limit)), Box::new(file)])
    }

    #[test]
    fn a_record_is_handed_out_exactly_once() {
        for store in stores(10).1 {
            store.put(&PLAN, id(1), b"one").unwrap();
            store.put(&PLAN, id(2), b"two").unwrap();
            assert_eq!(store.list(&PLAN).unwrap().len(), 2);
            assert_eq!(store.take(&PLAN, id(1)).unwrap().as_slice(), b"one");
            assert!(matches!(store.take(&PLAN, id(1)), Err(StoreError::Unknown(_))));
            assert!(matches!(store.take(&[8; 32], id(2)), Err(StoreError::Unknown(_))));
            assert_eq!(store.list(&PLAN).unwrap(), [id(2)]);
        }
    }

    #[test]
    fn many_threads_get_each_record_once() {
        let (_directory, stores) = stores(100);
        for store in stores {
            for n in 0..50 {
                store.put(&PLAN, id(n), &[n]).unwrap();
            }
            let taken: usize = std::thread::scope(|scope| {
                let workers: Vec<_> = (0..4)
                    .map(|_| scope.spawn(|| (0..50).filter(|n| store.take(&PLAN, id(*n)).is_ok()).count()))
                    .collect();
                workers.into_iter().map(|w| w.join().unwrap()).sum()
            });
            assert_eq!(taken, 50);
        }
    }

    #[test]
    fn a_full_store_refuses() {
        for store in stores(1).1 {
            store.put(&PLAN, id(1), b"x").unwrap();
            assert!(matches!(store.put(&PLAN, id(2), b"y"), Err(StoreError::Full { limit: 1 })));
            assert!(matches!(store.check_room(&PLAN, 1), Err(StoreError::Full { limit: 1 })));
            drop(store.take(&PLAN, id(1)).unwrap());
            assert!(store.check_room(&PLAN, 1).is_ok() && store.check_room(&PLAN, 2).is_err());
        }
    }

    #[test]
    fn a_damaged_record_is_burned_and_survivors_outlive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(directory.path(), 10).unwrap();
        store.put(&PLAN, id(1), b"first").unwrap();
        store.put(&PLAN, id(2), b"second").unwrap();
        let unfinished = store.plan_directory(&PLAN).join("00.tmp");
        fs::write(&unfinished, b"half").unwrap();
        let path = store.plan_directory(&PLAN).join(id(1).file_name());
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        let store = FileStore::open(directory.path(), 10).unwrap();
        assert!(!unfinished.exists());
        assert!(matches!(store.take(&PLAN, id(1)), Err(StoreError::Damaged(_))));
        assert!(matches!(store.take(&PLAN, id(1)), Err(StoreError::Unknown(_))));
        assert_eq!(store.take(&PLAN, id(2)).unwrap().as_slice(), b"second");
    }
}
