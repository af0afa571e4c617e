//! The ledger's second table: states ([`crate::store::states`]). There are few, so that it is read whole.

use redb::{ReadableDatabase as _, TableDefinition};

use super::{Ledger, OWN, Row, next};
use crate::store::index::Entry;
use crate::store::{Lot, PrepId};

pub(super) const STATES: TableDefinition<'_, [u8; 16], [u8; Row::BYTES]> = TableDefinition::new("states");

type Table<'t> = redb::Table<'t, [u8; 16], [u8; Row::BYTES]>;

fn entries(
    table: &impl redb::ReadableTable<[u8; 16], [u8; Row::BYTES]>,
) -> Result<Vec<(PrepId, Entry)>, redb::Error> {
    let mut all = Vec::new();
    for entry in table.iter()? {
        let (name, row) = entry?;
        all.push((PrepId::from_bytes(name.value()), Row::from_bytes(&row.value()).entry()));
    }
    Ok(all)
}

fn remove(table: &mut Table<'_>, name: PrepId) -> Result<Option<Row>, redb::Error> {
    Ok(table.remove(name.bytes())?.map(|row| Row::from_bytes(&row.value())))
}

impl Ledger {
    /// All states; none in a ledger that has never had any.
    pub(in crate::store) fn states(&self) -> Result<Vec<(PrepId, Entry)>, redb::Error> {
        match self.0.begin_read()?.open_table(STATES) {
            Ok(table) => entries(&table),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds a state as the latest, and removes those that `surplus` names; their names.
    pub(in crate::store) fn keep(
        &self,
        name: PrepId,
        mut row: Row,
        surplus: impl FnOnce(Vec<(PrepId, Entry)>) -> Vec<PrepId>,
    ) -> Result<Vec<PrepId>, redb::Error> {
        let write = self.0.begin_write()?;
        let gone = {
            row.order = next(&mut write.open_table(OWN)?, "order")?;
            let mut table = write.open_table(STATES)?;
            table.insert(name.bytes(), row.to_bytes())?;
            let gone = surplus(entries(&table)?);
            for name in &gone {
                remove(&mut table, *name)?;
            }
            gone
        };
        write.commit()?;
        Ok(gone)
    }

    /// Removes the state of this name, or the latest, if it is of this lot.
    pub(in crate::store) fn resume(
        &self,
        lot: &Lot,
        name: Option<PrepId>,
    ) -> Result<Option<(PrepId, Row)>, redb::Error> {
        let of_lot = self
            .states()?
            .into_iter()
            .filter(|(found, entry)| entry.lot == *lot && name.is_none_or(|name| name == *found));
        let Some((name, _)) = of_lot.max_by_key(|(_, entry)| entry.order) else { return Ok(None) };
        let write = self.0.begin_write()?;
        let row = remove(&mut write.open_table(STATES)?, name)?;
        write.commit()?;
        Ok(row.map(|row| (name, row)))
    }

    /// Removes states.
    pub(in crate::store) fn forget(&self, names: &[PrepId]) -> Result<(), redb::Error> {
        if names.is_empty() {
            return Ok(());
        }
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(STATES)?;
            for name in names {
                remove(&mut table, *name)?;
            }
        }
        write.commit()?;
        Ok(())
    }
}
