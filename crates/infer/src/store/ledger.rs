//! The ledger of a pool: which pre-computes exist, whose they are, and how far every peer has come.
//!
//! A row is small and the table short (thousands of rows): it is read whole where an order is asked for.

use std::collections::HashSet;
use std::time::Duration;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::peer::Peer;
use super::{Lot, PoolId, PrepId};

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

    pub(super) fn lot(&self) -> Lot {
        Lot { plan: self.plan, peer: PoolId::from_bytes(self.peer) }
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

pub(super) type Rows = Vec<(PrepId, Row)>;

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
            own.enter(&mut write.open_table(OWN)?)?;
        }
        write.commit()?;
        Ok(())
    }

    pub(super) fn rows(&self) -> Result<Rows, redb::Error> {
        let table = self.0.begin_read()?.open_table(RECORDS)?;
        let mut rows = Vec::new();
        for entry in table.iter()? {
            let (id, row) = entry?;
            rows.push((PrepId::from_bytes(id.value()), Row::from_bytes(&row.value())));
        }
        rows.sort_unstable_by_key(|(_, row)| row.order);
        Ok(rows)
    }

    /// Adds a row as the latest.
    pub(super) fn insert(&self, id: PrepId, mut row: Row) -> Result<(), redb::Error> {
        let write = self.0.begin_write()?;
        {
            let mut own = write.open_table(OWN)?;
            row.order = 1 + own.get("order")?.map_or(0, |n| counter(&n.value()));
            own.insert("order", wide(row.order))?;
            write.open_table(RECORDS)?.insert(id.bytes(), row.to_bytes())?;
        }
        write.commit()?;
        Ok(())
    }

    /// Removes a row if it is of this lot.
    pub(super) fn remove(&self, lot: &Lot, id: PrepId) -> Result<Option<Row>, redb::Error> {
        let write = self.0.begin_write()?;
        let row = {
            let mut table = write.open_table(RECORDS)?;
            let row = table.get(id.bytes())?.map(|row| Row::from_bytes(&row.value()));
            let row = row.filter(|row| row.lot() == *lot);
            if row.is_some() {
                table.remove(id.bytes())?;
            }
            row
        };
        if row.is_some() {
            write.commit()?;
        } else {
            write.abort()?;
        }
        Ok(row)
    }

    /// Removes all rows that `which` names; how many.
    pub(super) fn remove_all(&self, which: impl Fn(&Row) -> bool) -> Result<usize, redb::Error> {
        let write = self.0.begin_write()?;
        let mut count = 0;
        write.open_table(RECORDS)?.retain(|_, row| {
            let goes = which(&Row::from_bytes(&row));
            count += usize::from(goes);
            !goes
        })?;
        write.commit()?;
        Ok(count)
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

    /// Removes peers that have no rows.
    pub(super) fn forget_strangers(&self) -> Result<(), redb::Error> {
        let with_rows: HashSet<[u8; 16]> = self.rows()?.iter().map(|(_, row)| row.peer).collect();
        let write = self.0.begin_write()?;
        write.open_table(PEERS)?.retain(|peer, _| with_rows.contains(&peer))?;
        write.commit()?;
        Ok(())
    }
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

/// Whether a row made at `made` has outlived `life`.
pub(super) fn expired(made: u64, life: Option<Duration>, now: u64) -> bool {
    // A clock that went back makes rows younger, never older.
    life.is_some_and(|life| now.saturating_sub(made) >= life.as_secs())
}
