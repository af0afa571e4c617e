//! What two stores have set up with each other and the next session takes up, beside the pre-computes.
//!
//! A state serves once, as a pre-compute does, and leaves its store in the same way. Unlike a pre-compute it can be made
//! again at any time: it counts against no quota, and old ones make room for new ones.

use std::collections::HashMap;

use zeroize::Zeroizing;

use super::index::Entry;
use super::{Limits, Lot, PoolId, PrepId};

/// States with one peer: more than one only where sessions overlap.
const PER_PEER: usize = 4;

/// Those of `all` that have to go: what has outlived its time, what is too much of one peer, and the oldest if all together
/// are too large.
pub(super) fn surplus(mut all: Vec<(PrepId, Entry)>, limits: &Limits, now: u64) -> Vec<PrepId> {
    all.sort_unstable_by_key(|(_, entry)| std::cmp::Reverse(entry.order));
    let (mut peers, mut bytes) = (HashMap::<PoolId, usize>::new(), 0_u64);
    let mut goes = |entry: &Entry| {
        let count = peers.entry(entry.lot.peer).or_default();
        let with = bytes.saturating_add(entry.bytes);
        if *count == PER_PEER || with > limits.states || !limits.lives(entry, now) {
            return true;
        }
        *count += 1;
        bytes = with;
        false
    };
    all.into_iter().filter(|(_, entry)| goes(entry)).map(|(name, _)| name).collect()
}

impl Limits {
    /// Whether a state has not expired. A clock that went back makes it younger, never older.
    pub(super) fn lives(&self, entry: &Entry, now: u64) -> bool {
        self.life.is_none_or(|life| now.saturating_sub(entry.made) < life.as_secs())
    }
}

/// States in memory.
#[derive(Default)]
pub(super) struct States {
    order: u64,
    all: HashMap<PrepId, (Entry, Zeroizing<Vec<u8>>)>,
}

impl States {
    pub(super) fn keep(&mut self, lot: &Lot, name: PrepId, record: &[u8], limits: &Limits, now: u64) {
        self.order += 1;
        let entry = Entry { lot: *lot, order: self.order, made: now, bytes: record.len() as u64 };
        self.all.insert(name, (entry, Zeroizing::new(record.to_vec())));
        let entries = self.all.iter().map(|(name, (entry, _))| (*name, *entry)).collect();
        surplus(entries, limits, now).iter().for_each(|name| drop(self.all.remove(name)));
    }

    pub(super) fn resume(
        &mut self,
        lot: &Lot,
        name: Option<PrepId>,
        limits: &Limits,
        now: u64,
    ) -> Option<(PrepId, Zeroizing<Vec<u8>>)> {
        let fits = |(found, (entry, _)): &(&PrepId, &(Entry, _))| {
            entry.lot == *lot && limits.lives(entry, now) && name.is_none_or(|name| name == **found)
        };
        let name = *self.all.iter().filter(fits).max_by_key(|(_, (entry, _))| entry.order)?.0;
        self.all.remove(&name).map(|(_, record)| (name, record))
    }

    pub(super) fn burn(&mut self, peer: PoolId) {
        self.all.retain(|_, (entry, _)| entry.lot.peer != peer);
    }
}
