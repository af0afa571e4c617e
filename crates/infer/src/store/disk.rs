//! Where a pool keeps its bytes.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

/// A directory with one ledger and any number of record files.
///
/// What is written is durable when the call returns. Every operation may fail, and a crash may come before, within
/// and after each: [`Pool`](super::Pool) needs nothing else to keep its promise.
pub trait Disk: Send + Sync + 'static {
    /// The ledger's bytes; no other opener may have them.
    type Ledger: StorageBackend;

    /// Opens the ledger, which its backend locks.
    ///
    /// # Errors
    /// The operating system's.
    fn ledger(&self) -> io::Result<Self::Ledger>;

    /// Tells this ledger from any copy of it.
    ///
    /// # Errors
    /// The operating system's.
    fn stamp(&self) -> io::Result<[u8; 32]>;

    /// Writes a record, all of it or, whatever happens, none: `next` yields its bytes piece by piece.
    ///
    /// # Errors
    /// The operating system's, and those of `next`.
    fn write(&self, name: &str, next: &mut dyn FnMut() -> Option<Vec<u8>>) -> io::Result<()>;

    /// Reads a record of at most `limit` bytes.
    ///
    /// # Errors
    /// The operating system's, and [`io::ErrorKind::InvalidData`] for more bytes.
    fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>>;

    /// Removes a record; it may come back in a crash.
    ///
    /// # Errors
    /// The operating system's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// All records.
    ///
    /// # Errors
    /// The operating system's.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Whether other processes may have the ledger between two uses of it: it is closed after each then.
    fn shared(&self) -> bool {
        false
    }

    /// For messages.
    fn place(&self) -> PathBuf;
}

/// A directory of the file system: `ledger`, `lock` by the ledger, and `records/`.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    records: PathBuf,
    shared: bool,
}

/// Extension of a record that is still being written.
const UNFINISHED: &str = "tmp";

impl Directory {
    /// Opens or creates a directory that is private to its owner.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let records = path.join("records");
        fs::create_dir_all(&records)?;
        private(&path)?;
        Ok(Self { path, records, shared: false })
    }

    /// For several processes: each has the ledger for a moment and waits for its turn.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { shared: true, ..self }
    }

    /// The key that records are sealed with: 32 bytes in a file of the owner, drawn from `fresh` if there is none.
    ///
    /// # Errors
    /// The operating system's; [`io::ErrorKind::InvalidData`] if the file holds anything but 32 bytes.
    pub fn key(file: &Path, fresh: impl FnOnce() -> [u8; 32]) -> io::Result<zeroize::Zeroizing<[u8; 32]>> {
        match fs::read(file) {
            Ok(bytes) => {
                let bytes = zeroize::Zeroizing::new(bytes);
                let key = bytes.as_slice().try_into().map_err(|_| invalid("a key has 32 bytes"))?;
                Ok(zeroize::Zeroizing::new(key))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = zeroize::Zeroizing::new(fresh());
                let mut options = fs::OpenOptions::new();
                options.write(true).create_new(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                let mut created = options.open(file)?;
                created.write_all(key.as_slice())?;
                created.sync_all()?;
                sync(file.parent().unwrap_or(Path::new(".")))?;
                Ok(key)
            }
            Err(error) => Err(error),
        }
    }
}

impl Disk for Directory {
    type Ledger = FileBackend;

    fn ledger(&self) -> io::Result<FileBackend> {
        let path = self.path.join("ledger");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        sync(&self.path)?;
        FileBackend::new(file).map_err(|e| io::Error::other(e.to_string()))
    }

    /// The file's number and time of birth: a copy, and a backup restored as a new file, have others.
    fn stamp(&self) -> io::Result<[u8; 32]> {
        let meta = fs::metadata(self.path.join("ledger"))?;
        let mut hasher = blake3::Hasher::new_derive_key("phineus pool stamp 1");
        #[cfg(unix)]
        hasher.update(&std::os::unix::fs::MetadataExt::ino(&meta).to_le_bytes());
        if let Ok(Ok(born)) = meta.created().map(|t| t.duration_since(std::time::UNIX_EPOCH)) {
            hasher.update(&born.as_nanos().to_le_bytes());
        }
        Ok(*hasher.finalize().as_bytes())
    }

    fn write(&self, name: &str, next: &mut dyn FnMut() -> Option<Vec<u8>>) -> io::Result<()> {
        let temporary = self.records.join(format!("{name}.{UNFINISHED}"));
        let write = |next: &mut dyn FnMut() -> Option<Vec<u8>>| {
            let mut file = File::create(&temporary)?;
            while let Some(piece) = next() {
                file.write_all(&piece)?;
            }
            file.sync_all()?;
            fs::rename(&temporary, self.records.join(name))?;
            sync(&self.records)
        };
        let written = write(next);
        if written.is_err() {
            // Best effort: no ledger names it, and the next opener removes it.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.records.join(name))?;
        if file.metadata()?.len() > limit {
            return Err(invalid("more bytes than were written"));
        }
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes)?;
        Ok(bytes)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.records.join(name))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.records)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn shared(&self) -> bool {
        self.shared
    }

    fn place(&self) -> PathBuf {
        self.path.clone()
    }
}

fn invalid(words: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(unix)]
fn private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn private(_: &Path) -> io::Result<()> {
    Ok(())
}
