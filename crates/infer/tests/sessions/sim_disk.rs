//! A disk that fails on demand: it loses its power between any two operations, with or without what was not synced; it
//! is full; it writes half of what it is told to.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use phineus_infer::store::disk::Disk;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use redb::StorageBackend;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The power fails; nothing works until [`SimDisk::restart`].
    Power,
    /// So many further writes find no room; the first of them writes a part.
    Full(u32),
}

#[derive(Debug)]
struct Medium {
    /// What a power failure leaves of the ledger, before any of `unsynced`.
    durable: Vec<u8>,
    ledger: Vec<u8>,
    unsynced: Vec<Change>,
    records: BTreeMap<String, Vec<u8>>,
    /// Removed, but perhaps not for good.
    removed: BTreeMap<String, Vec<u8>>,
    /// In how many writing operations it fails.
    fault: Option<(u32, Fault)>,
    full: u32,
    off: bool,
    /// Counts restarts: handles of an earlier life are dead.
    life: u32,
    rng: StdRng,
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

/// Cheap to copy: all copies are the same disk.
#[derive(Debug, Clone)]
pub(crate) struct SimDisk(Arc<Mutex<Medium>>);

/// The ledger of a [`SimDisk`], in one of its lives.
#[derive(Debug)]
pub(crate) struct SimLedger {
    disk: SimDisk,
    life: u32,
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Medium {
            durable: Vec::new(),
            ledger: Vec::new(),
            unsynced: Vec::new(),
            records: BTreeMap::new(),
            removed: BTreeMap::new(),
            fault: None,
            full: 0,
            off: false,
            life: 0,
            rng: StdRng::seed_from_u64(seed),
        })))
    }

    /// Lets the disk fail after so many further writing operations.
    pub(crate) fn fail_after(&self, operations: u32, fault: Fault) {
        self.medium().fault = Some((operations, fault));
    }

    /// Cuts the power now.
    pub(crate) fn cut(&self) {
        self.medium().cut();
    }

    /// The power is back, and nothing more is wrong.
    pub(crate) fn restart(&self) {
        let mut medium = self.medium();
        if !medium.off {
            medium.cut();
        }
        medium.off = false;
        medium.full = 0;
        medium.fault = None;
        medium.life += 1;
    }

    fn medium(&self) -> std::sync::MutexGuard<'_, Medium> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Medium {
    /// One writing operation: whether it may go on, and if not, whether a part of it still happens.
    fn step(&mut self) -> Result<(), (io::Error, bool)> {
        if self.off {
            return Err((io::Error::other("no power"), false));
        }
        if let Some((left, fault)) = &mut self.fault {
            if *left > 0 {
                *left -= 1;
            } else {
                match *fault {
                    Fault::Power => {
                        let part = self.rng.random();
                        return Err((io::Error::other("the power fails"), part));
                    }
                    Fault::Full(count) => self.full = count,
                }
                self.fault = None;
            }
        }
        if self.full > 0 {
            self.full -= 1;
            return Err((io::Error::from(io::ErrorKind::StorageFull), true));
        }
        Ok(())
    }

    /// Whether the fault that is due is the power's.
    fn fails(&mut self) {
        if let Some((0, Fault::Power)) = self.fault {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let unsynced = std::mem::take(&mut self.unsynced);
        let mut left = self.durable.clone();
        for change in unsynced {
            match change {
                _ if self.rng.random::<bool>() => {}
                Change::Write(at, bytes) => {
                    let kept = if self.rng.random_ratio(1, 4) {
                        self.rng.random_range(0..=bytes.len())
                    } else {
                        bytes.len()
                    };
                    write_at(&mut left, at, &bytes[..kept]);
                }
                Change::Length(len) => left.resize(len as usize, 0),
            }
        }
        self.durable.clone_from(&left);
        self.ledger = left;
        for (name, bytes) in std::mem::take(&mut self.removed) {
            if self.rng.random() {
                self.records.insert(name, bytes);
            }
        }
        self.off = true;
        self.fault = None;
    }
}

fn write_at(bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    let at = at as usize;
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

impl SimLedger {
    fn medium(&self) -> io::Result<std::sync::MutexGuard<'_, Medium>> {
        let medium = self.disk.medium();
        if medium.off || medium.life != self.life {
            return Err(io::Error::other("no power"));
        }
        Ok(medium)
    }
}

impl StorageBackend for SimLedger {
    fn len(&self) -> io::Result<u64> {
        Ok(self.medium()?.ledger.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let medium = self.medium()?;
        let from = offset as usize;
        let bytes = medium.ledger.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut medium = self.medium()?;
        if let Err((error, _)) = medium.step() {
            medium.fails();
            return Err(error);
        }
        medium.ledger.resize(len as usize, 0);
        medium.unsynced.push(Change::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut medium = self.medium()?;
        if let Err((error, _)) = medium.step() {
            medium.fails();
            return Err(error);
        }
        for change in std::mem::take(&mut medium.unsynced) {
            match change {
                Change::Write(at, bytes) => write_at(&mut medium.durable, at, &bytes),
                Change::Length(len) => medium.durable.resize(len as usize, 0),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut medium = self.medium()?;
        let (data, error) = match medium.step() {
            Ok(()) => (data, None),
            Err((error, false)) => (&data[..0], Some(error)),
            Err((error, true)) => (&data[..data.len() / 2], Some(error)),
        };
        write_at(&mut medium.ledger, offset, data);
        medium.unsynced.push(Change::Write(offset, data.to_vec()));
        medium.fails();
        error.map_or(Ok(()), Err)
    }
}

impl Disk for SimDisk {
    type Ledger = SimLedger;

    fn ledger(&self) -> io::Result<SimLedger> {
        let medium = self.medium();
        if medium.off {
            return Err(io::Error::other("no power"));
        }
        Ok(SimLedger { disk: self.clone(), life: medium.life })
    }

    fn stamp(&self) -> io::Result<[u8; 32]> {
        Ok([1; 32])
    }

    fn write(&self, name: &str, next: &mut dyn FnMut() -> Option<Vec<u8>>) -> io::Result<()> {
        let mut medium = self.medium();
        let (mut bytes, unfinished) = (Vec::new(), format!("{name}.tmp"));
        // Creating, every piece, syncing, renaming, syncing the directory.
        let stop = |medium: &mut Medium, left: Option<(&str, &[u8])>| {
            let Err((error, part)) = medium.step() else { return Ok(()) };
            if let (Some((name, bytes)), true) = (left, part) {
                medium.records.insert(name.to_owned(), bytes.to_vec());
            }
            medium.fails();
            if !medium.off {
                // The disk is full: what was begun is removed.
                medium.records.remove(&unfinished);
                medium.records.remove(name);
            }
            Err(error)
        };
        stop(&mut medium, None)?;
        while let Some(piece) = next() {
            let half = [&bytes[..], &piece[..piece.len() / 2]].concat();
            stop(&mut medium, Some((&unfinished, &half)))?;
            bytes.extend(piece);
        }
        stop(&mut medium, Some((&unfinished, &bytes)))?;
        stop(&mut medium, Some((&unfinished, &bytes)))?;
        stop(&mut medium, Some((name, &bytes)))?;
        medium.records.insert(name.to_owned(), bytes);
        // The directory is durable now, with all that was removed from it.
        medium.removed.clear();
        Ok(())
    }

    fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        let medium = self.medium();
        if medium.off {
            return Err(io::Error::other("no power"));
        }
        let bytes = medium.records.get(name).ok_or(io::ErrorKind::NotFound)?;
        if bytes.len() as u64 > limit { Err(io::ErrorKind::InvalidData.into()) } else { Ok(bytes.clone()) }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut medium = self.medium();
        if let Err((error, _)) = medium.step() {
            medium.fails();
            return Err(error);
        }
        let bytes = medium.records.remove(name).ok_or(io::ErrorKind::NotFound)?;
        medium.removed.insert(name.to_owned(), bytes);
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let medium = self.medium();
        if medium.off {
            Err(io::Error::other("no power"))
        } else {
            Ok(medium.records.keys().cloned().collect())
        }
    }

    fn place(&self) -> PathBuf {
        "simulated disk".into()
    }
}
