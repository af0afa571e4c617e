//! What a store holds, counted as it changes: quotas, lists and ages cost for thousands of records what they cost for ten.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use super::{Limits, Lot, PoolId, PrepId, Stock, StoreError};

/// What is known of a record without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) lot: Lot,
    /// Order of arrival, different for each.
    pub(super) order: u64,
    /// Seconds since 1970.
    pub(super) made: u64,
    /// Length of the record before it is sealed.
    pub(super) bytes: u64,
}

/// The records of a store.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: HashMap<PrepId, Entry>,
    lots: HashMap<Lot, Shelf>,
    plans: HashMap<[u8; 32], u64>,
    peers: HashMap<PoolId, u64>,
    /// By the time they were made.
    ages: BTreeSet<(u64, PrepId)>,
    bytes: u64,
}

/// The records of a lot, by order of arrival.
#[derive(Debug, Default)]
struct Shelf {
    ids: BTreeMap<u64, PrepId>,
    bytes: u64,
}

/// What counts against the quotas of one lot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) of_plan: u64,
    pub(super) of_peer: u64,
    pub(super) bytes: u64,
}

impl Index {
    /// Adds a record; one of the same name is replaced.
    pub(super) fn insert(&mut self, id: PrepId, entry: Entry) {
        self.remove(id);
        let Entry { lot, order, made, bytes } = entry;
        let shelf = self.lots.entry(lot).or_default();
        shelf.ids.insert(order, id);
        shelf.bytes = shelf.bytes.saturating_add(bytes);
        *self.plans.entry(lot.plan).or_default() += 1;
        *self.peers.entry(lot.peer).or_default() += 1;
        self.ages.insert((made, id));
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries.insert(id, entry);
    }

    /// Removes a record.
    pub(super) fn remove(&mut self, id: PrepId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        let Entry { lot, order, made, bytes } = entry;
        if let Some(shelf) = self.lots.get_mut(&lot) {
            shelf.ids.remove(&order);
            shelf.bytes = shelf.bytes.saturating_sub(bytes);
            if shelf.ids.is_empty() {
                self.lots.remove(&lot);
            }
        }
        decrement(&mut self.plans, lot.plan);
        decrement(&mut self.peers, lot.peer);
        self.ages.remove(&(made, id));
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(entry)
    }

    /// A record by name, if it is of this lot.
    pub(super) fn get(&self, lot: &Lot, id: PrepId) -> Option<&Entry> {
        self.entries.get(&id).filter(|entry| entry.lot == *lot)
    }

    /// All records.
    pub(super) fn ids(&self) -> impl Iterator<Item = &PrepId> {
        self.entries.keys()
    }

    /// The records of a lot, oldest first.
    pub(super) fn list(&self, lot: &Lot) -> Vec<PrepId> {
        self.lots.get(lot).map(|shelf| shelf.ids.values().copied().collect()).unwrap_or_default()
    }

    /// The records shared with a peer.
    pub(super) fn of_peer(&self, peer: PoolId) -> Vec<PrepId> {
        let shelves = self.lots.iter().filter(|(lot, _)| lot.peer == peer);
        shelves.flat_map(|(_, shelf)| shelf.ids.values().copied()).collect()
    }

    /// Whether anything is shared with a peer.
    pub(super) fn has_peer(&self, peer: PoolId) -> bool {
        self.peers.contains_key(&peer)
    }

    /// The records that have outlived `life`. A clock that went back makes records younger, never older.
    pub(super) fn expired(&self, life: Option<Duration>, now: u64) -> Vec<PrepId> {
        let Some(newest) = life.and_then(|life| now.checked_sub(life.as_secs())) else { return Vec::new() };
        self.ages.iter().take_while(|(made, _)| *made <= newest).map(|(_, id)| *id).collect()
    }

    /// How many there are, lot by lot.
    pub(super) fn stock(&self) -> Vec<Stock> {
        let stock = |(lot, shelf): (&Lot, &Shelf)| Stock {
            lot: *lot,
            count: shelf.ids.len() as u64,
            bytes: shelf.bytes,
        };
        self.lots.iter().map(stock).collect()
    }

    /// What counts against the quotas of `lot`.
    pub(super) fn load(&self, lot: &Lot) -> Load {
        Load {
            of_plan: self.plans.get(&lot.plan).copied().unwrap_or(0),
            of_peer: self.peers.get(&lot.peer).copied().unwrap_or(0),
            bytes: self.bytes,
        }
    }
}

impl std::ops::Add for Load {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            of_plan: self.of_plan.saturating_add(other.of_plan),
            of_peer: self.of_peer.saturating_add(other.of_peer),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl Limits {
    /// Fails unless `count` more records with `bytes` in all may join what counts already.
    pub(super) fn check(&self, load: Load, count: u64, bytes: u64) -> Result<(), StoreError> {
        let wanted = load + Load { of_plan: count, of_peer: count, bytes };
        let quotas = [
            ("pre-computes of a model", wanted.of_plan, self.per_plan),
            ("pre-computes of a client", wanted.of_peer, self.per_peer),
            ("bytes", wanted.bytes, self.bytes),
        ];
        match quotas.into_iter().find(|(_, wanted, limit)| wanted > limit) {
            Some((what, _, limit)) => Err(StoreError::Full { what, limit }),
            None => Ok(()),
        }
    }
}

fn decrement<K: Eq + Hash>(counts: &mut HashMap<K, u64>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever comes and goes, the counters are what counting would give.
        #[test]
        fn counters_agree_with_counting(
            changes in proptest::collection::vec((any::<bool>(), 0_u8..12, 0_u8..3, 0_u8..3, 0_u64..5, 0_u64..100), 0..60),
        ) {
            let (mut index, mut plain) = (Index::default(), BTreeMap::new());
            for (order, (put, id, plan, peer, made, bytes)) in (0..).zip(changes) {
                let id = PrepId::from_bytes([id; 16]);
                if put {
                    let lot = Lot { plan: [plan; 32], peer: PoolId::from_bytes([peer; 16]) };
                    let entry = Entry { lot, order, made, bytes };
                    index.insert(id, entry);
                    plain.insert(id, entry);
                } else {
                    prop_assert_eq!(index.remove(id), plain.remove(&id));
                }
            }
            let sum = |of: &dyn Fn(&Entry) -> bool| plain.values().filter(|e| of(e)).map(|e| e.bytes).sum::<u64>();
            let count = |of: &dyn Fn(&Entry) -> bool| plain.values().filter(|e| of(e)).count() as u64;
            for (plan, peer) in (0..3).flat_map(|plan| (0..3).map(move |peer| (plan, peer))) {
                let lot = Lot { plan: [plan; 32], peer: PoolId::from_bytes([peer; 16]) };
                let expected = Load {
                    of_plan: count(&|e| e.lot.plan == lot.plan),
                    of_peer: count(&|e| e.lot.peer == lot.peer),
                    bytes: sum(&|_| true),
                };
                prop_assert_eq!(index.load(&lot), expected);
                prop_assert_eq!(index.of_peer(lot.peer).len() as u64, expected.of_peer);
                prop_assert_eq!(index.has_peer(lot.peer), expected.of_peer > 0);
                let mut listed: Vec<_> = plain.iter().filter(|(_, e)| e.lot == lot).collect();
                listed.sort_by_key(|(_, e)| e.order);
                prop_assert_eq!(index.list(&lot), listed.iter().map(|(id, _)| **id).collect::<Vec<_>>());
                let stock = index.stock().into_iter().find(|stock| stock.lot == lot);
                let of_lot = |e: &Entry| e.lot == lot;
                prop_assert_eq!(stock.map_or((0, 0), |s| (s.count, s.bytes)), (count(&of_lot), sum(&of_lot)));
            }
            for now in 0..8 {
                let old = index.expired(Some(Duration::from_secs(2)), now);
                prop_assert_eq!(old.len() as u64, count(&|e| now >= e.made + 2));
            }
            prop_assert!(index.expired(None, u64::MAX).is_empty());
        }
    }
}
