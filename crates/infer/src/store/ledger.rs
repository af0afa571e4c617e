//! The ledger of a pool: which pre-computes exist, whose they are, and how far every peer has come.
//!
//! The table of rows is read whole when it is opened and then mirrored by an [`Index`]; a count of its changes tells whether
//! a mirror is up to date.

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::index::{Entry, Index};
use super::peer::Peer;
use super::{Lot, PoolId, PrepId};

mod states;

const RECORDS: TableDefinition<'_, [u8; 16], [u8; Row::BYTES]> = TableDefinition::new("records");
const PEERS: TableDefinition<'_, [u8; 16], [u8; Peer::BYTES]> = TableDefinition::new("peers");
const OWN: TableDefinition<'_, &str, [u8; 32]> = TableDefinition::new("own");

/// One pre-compute.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Row {
    pub(super) plan: [u8; 32],
    pub(super) peer: [u8; 16],
    /// Order of arrival.
    pub(super) order: u64,
    /// Seconds since 1970.
    pub(super) made: u64,
    /// Length of the record before it is sealed.
    pub(super) bytes: u64,
    pub(super) salt: [u8; 32],
}

impl Row {
    const BYTES: usize = 32 + 16 + 3 * 8 + 32;

    pub(super) fn entry(&self) -> Entry {
        let lot = Lot { plan: self.plan, peer: PoolId::from_bytes(self.peer) };
        Entry { lot, order: self.order, made: self.made, bytes: self.bytes }
    }

    fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        let numbers = [self.order, self.made, self.bytes].map(u64::to_le_bytes);
        let parts: [&[u8]; 6] = [&self.plan, &self.peer, &numbers[0], &numbers[1], &numbers[2], &self.salt];
        let mut at = 0;
        for part in parts {
            out[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        out
    }

    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
            let mut part = [0; N];
            part.copy_from_slice(&bytes[at..at + N]);
            part
        }
        let number = |i: usize| u64::from_le_bytes(part(bytes, 48 + 8 * i));
        Self {
            plan: part(bytes, 0),
            peer: part(bytes, 32),
            order: number(0),
            made: number(1),
            bytes: number(2),
            salt: part(bytes, 72),
        }
    }
}

/// What the ledger says about its own pool.
pub(super) struct Own {
    pub(super) id: PoolId,
    /// Of the file that this ledger was written to last.
    pub(super) stamp: [u8; 32],
}

impl Own {
    fn enter(&self, table: &mut redb::Table<'_, &'static str, [u8; 32]>) -> Result<(), redb::Error> {
        let mut id = [0; 32];
        id[..16].copy_from_slice(self.id.bytes());
        table.insert("id", id)?;
        table.insert("stamp", self.stamp)?;
        Ok(())
    }
}

/// An open ledger. Every change is durable when its method returns.
pub(super) struct Ledger(Database);

impl Ledger {
    pub(super) fn open(backend: impl redb::StorageBackend) -> Result<Self, redb::DatabaseError> {
        Ok(Self(Database::builder().create_with_backend(backend)?))
    }

    /// What the ledger says about its pool, or what `fresh` says if it is new.
    pub(super) fn own(&self, fresh: impl FnOnce() -> Own) -> Result<Own, redb::Error> {
        if let Some(known) = self.known()? {
            return Ok(known);
        }
        let write = self.0.begin_write()?;
        let fresh = fresh();
        {
            write.open_table(RECORDS)?;
            write.open_table(PEERS)?;
            fresh.enter(&mut write.open_table(OWN)?)?;
        }
        write.commit()?;
        Ok(fresh)
    }

    fn known(&self) -> Result<Option<Own>, redb::Error> {
        let table = match self.0.begin_read()?.open_table(OWN) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (Some(id), Some(stamp)) = (table.get("id")?, table.get("stamp")?) else { return Ok(None) };
        let mut short = [0; 16];
        short.copy_from_slice(&id.value()[..16]);
        Ok(Some(Own { id: PoolId::from_bytes(short), stamp: stamp.value() }))
    }

    /// Forgets all pre-computes and takes a new name and stamp: this ledger is a copy, and the pool it was copied from
    /// may have used them and gone on.
    pub(super) fn begin_anew(&self, own: &Own) -> Result<(), redb::Error> {
        let write = self.0.begin_write()?;
        {
            write.open_table(RECORDS)?.retain(|_, _| false)?;
            write.open_table(PEERS)?.retain(|_, _| false)?;
            write.open_table(states::STATES)?.retain(|_, _| false)?;
            let mut table = write.open_table(OWN)?;
            next(&mut table, "changes")?;
            own.enter(&mut table)?;
        }
        write.commit()?;
        Ok(())
    }

    /// How often the rows have changed.
    pub(super) fn changes(&self) -> Result<u64, redb::Error> {
        let table = self.0.begin_read()?.open_table(OWN)?;
        Ok(table.get("changes")?.map_or(0, |n| counter(&n.value())))
    }

    /// All rows.
    pub(super) fn index(&self) -> Result<Index, redb::Error> {
        let table = self.0.begin_read()?.open_table(RECORDS)?;
        let mut index = Index::default();
        for entry in table.iter()? {
            let (id, row) = entry?;
            index.insert(PrepId::from_bytes(id.value()), Row::from_bytes(&row.value()).entry());
        }
        Ok(index)
    }

    /// Adds a row as the latest; what it is listed as.
    pub(super) fn insert(&self, id: PrepId, mut row: Row) -> Result<Entry, redb::Error> {
        let write = self.0.begin_write()?;
        {
            let mut own = write.open_table(OWN)?;
            row.order = next(&mut own, "order")?;
            next(&mut own, "changes")?;
            write.open_table(RECORDS)?.insert(id.bytes(), row.to_bytes())?;
        }
        write.commit()?;
        Ok(row.entry())
    }

    /// Removes rows; those that were there.
    pub(super) fn remove(&self, ids: &[PrepId]) -> Result<Vec<Row>, redb::Error> {
        let write = self.0.begin_write()?;
        let mut rows = Vec::with_capacity(ids.len());
        {
            next(&mut write.open_table(OWN)?, "changes")?;
            let mut table = write.open_table(RECORDS)?;
            for id in ids {
                rows.extend(table.remove(id.bytes())?.map(|row| Row::from_bytes(&row.value())));
            }
        }
        write.commit()?;
        Ok(rows)
    }

    /// Changes what is known of a peer.
    pub(super) fn with_peer<T>(
        &self,
        peer: PoolId,
        change: impl FnOnce(&mut Peer) -> T,
    ) -> Result<T, redb::Error> {
        let write = self.0.begin_write()?;
        let told = {
            let mut peers = write.open_table(PEERS)?;
            let mut known =
                peers.get(peer.bytes())?.map_or_else(Peer::default, |p| Peer::from_bytes(&p.value()));
            let told = change(&mut known);
            peers.insert(peer.bytes(), known.to_bytes())?;
            told
        };
        write.commit()?;
        Ok(told)
    }

    /// Removes what is known of peers that `stays` does not name.
    pub(super) fn retain_peers(&self, stays: impl Fn(PoolId) -> bool) -> Result<(), redb::Error> {
        let write = self.0.begin_write()?;
        write.open_table(PEERS)?.retain(|peer, _| stays(PoolId::from_bytes(peer)))?;
        write.commit()?;
        Ok(())
    }
}

/// Raises a count of the pool by one.
fn next(own: &mut redb::Table<'_, &'static str, [u8; 32]>, name: &str) -> Result<u64, redb::Error> {
    let next = own.get(name)?.map_or(0, |n| counter(&n.value())).saturating_add(1);
    own.insert(name, wide(next))?;
    Ok(next)
}

fn counter(wide: &[u8; 32]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&wide[..8]);
    u64::from_le_bytes(bytes)
}

fn wide(n: u64) -> [u8; 32] {
    let mut wide = [0; 32];
    wide[..8].copy_from_slice(&n.to_le_bytes());
    wide
}
