//! One-time use survives everything: seeded runs in which disks lose their power, are full or write halves, and
//! connections break, at any moment.
//!
//! What must hold in every run: no pre-compute is handed out twice by a store; what a store said it has kept is there, or
//! was lost in a failure that it reported; every failure is a typed error; and afterwards everything works.
//!
//! `PHINEUS_FAULT_RUNS` sets the number of runs; 1,000 are a few minutes.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use phineus_infer::ProtocolError;
use phineus_infer::session::client::{Prepared, Request, Session};
use phineus_infer::store::{
    Limits, Lost, Lot, MemoryStore, Named, Pool, PoolId, PrepId, Stock, Store, StoreError,
};
use phineus_model::reference;
use phineus_net::{Channel, mem};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use zeroize::Zeroizing;

use crate::nets;
use crate::party::{Host, generator, input};
use crate::sim_disk::{Fault, SimDisk};

fn runs(default: u64) -> u64 {
    std::env::var("PHINEUS_FAULT_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

fn open(disk: &SimDisk) -> Result<Pool<SimDisk>, StoreError> {
    Pool::open(disk.clone(), Zeroizing::new([5; 32]), Limits::default(), &mut generator())
}

/// Opens a pool, restarting the disk if it fails meanwhile.
fn reopen(disk: &SimDisk) -> Pool<SimDisk> {
    open(disk).unwrap_or_else(|_| {
        disk.restart();
        open(disk).expect("a disk that works")
    })
}

fn some_fault(rng: &mut StdRng, disk: &SimDisk, within: u32) {
    let fault = if rng.random() { Fault::Power } else { Fault::Full(rng.random_range(1..4)) };
    disk.fail_after(rng.random_range(0..within), fault);
}

fn record(id: PrepId) -> Vec<u8> {
    id.bytes().repeat(usize::from(id.bytes()[0]))
}

#[test]
fn a_pool_hands_out_what_it_kept_and_nothing_twice() {
    for seed in 0..runs(150) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let lot = Lot { plan: [1; 32], peer: PoolId::from_bytes([2; 16]) };
        let (mut used, mut kept, mut all) = (HashSet::new(), HashSet::new(), Vec::new());
        let mut epoch = 0;
        for life in 0..4 {
            if life > 0 {
                some_fault(rng, &disk, 80);
            }
            let pool = reopen(&disk);
            if pool.list(&lot).is_ok_and(|listed| listed.is_empty()) {
                // Peers with whom nothing is shared are forgotten.
                epoch = 0;
            }
            for _ in 0..12 {
                match rng.random_range(0..4) {
                    0 | 1 => {
                        let id = PrepId::from_bytes(rng.random());
                        all.push(id);
                        if pool.put(&lot, id, &record(id)).is_ok() {
                            kept.insert(id);
                        }
                    }
                    2 if !all.is_empty() => {
                        let id = all[rng.random_range(0..all.len())];
                        match pool.take(&lot, id) {
                            Ok(bytes) => {
                                assert!(used.insert(id), "seed {seed}: {id:?} twice");
                                assert_eq!(*bytes, record(id), "seed {seed}");
                                kept.remove(&id);
                            }
                            Err(StoreError::Unknown(_)) => {
                                assert!(!kept.contains(&id), "seed {seed}: {id:?} lost")
                            }
                            Err(StoreError::Io { .. }) => drop(kept.remove(&id)),
                            Err(error) => panic!("seed {seed}: {error}"),
                        }
                    }
                    _ => {
                        if let Ok(next) = pool.advance(lot.peer) {
                            assert!(next > epoch, "seed {seed}: epoch {next} after {epoch}");
                            epoch = next;
                        }
                        if let Ok(listed) = pool.list(&lot) {
                            assert!(listed.iter().all(|id| !used.contains(id)), "seed {seed}");
                        }
                    }
                }
            }
            if rng.random() {
                disk.cut();
            }
            drop(pool);
            disk.restart();
        }
        let pool = reopen(&disk);
        for id in kept {
            assert_eq!(*pool.take(&lot, id).unwrap(), record(id), "seed {seed}");
        }
    }
}

/// Several sessions of one server at its disk, which fails meanwhile.
#[test]
fn threads_at_one_pool_keep_the_promise_together() {
    for seed in 0..runs(40) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let lot = Lot { plan: [1; 32], peer: PoolId::from_bytes([2; 16]) };
        let limits = Limits { per_peer: 10, ..Limits::default() };
        let open = || Pool::open(disk.clone(), Zeroizing::new([5; 32]), limits, &mut generator());
        let pool = open().unwrap();
        some_fault(rng, &disk, 200);
        let (used, kept, doubtful) =
            (Mutex::new(Vec::new()), Mutex::new(HashSet::new()), Mutex::new(HashSet::new()));
        std::thread::scope(|scope| {
            for thread in 0..3_u8 {
                let (pool, used, kept, doubtful) = (&pool, &used, &kept, &doubtful);
                let rng = StdRng::seed_from_u64(seed << 2 | u64::from(thread));
                scope.spawn(move || take_and_put(pool, &lot, rng, used, kept, doubtful));
            }
        });
        assert!(pool.list(&lot).is_ok_and(|listed| listed.len() <= 10) || pool.list(&lot).is_err());
        drop(pool);
        disk.restart();
        let pool = open().unwrap();
        let (used, kept) = (used.into_inner().unwrap(), kept.into_inner().unwrap());
        let distinct: HashSet<PrepId> = used.iter().copied().collect();
        assert_eq!(distinct.len(), used.len(), "seed {seed}: one twice");
        let doubtful = doubtful.into_inner().unwrap();
        for id in kept.difference(&distinct).filter(|id| !doubtful.contains(id)) {
            assert_eq!(*pool.take(&lot, *id).unwrap(), record(*id), "seed {seed}");
        }
        assert!(
            used.iter().all(|id| matches!(pool.take(&lot, *id), Err(StoreError::Unknown(_)))),
            "seed {seed}"
        );
    }
}

/// One of the threads: `doubtful` are those whose removal failed, which may be there or not.
fn take_and_put(
    pool: &Pool<SimDisk>,
    lot: &Lot,
    mut rng: StdRng,
    used: &Mutex<Vec<PrepId>>,
    kept: &Mutex<HashSet<PrepId>>,
    doubtful: &Mutex<HashSet<PrepId>>,
) {
    for _ in 0..12 {
        if rng.random() {
            let id = PrepId::from_bytes(rng.random());
            match pool.put(lot, id, &record(id)) {
                Ok(()) => drop(kept.lock().unwrap().insert(id)),
                Err(StoreError::Full { .. } | StoreError::Io { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            continue;
        }
        let Ok(listed) = pool.list(lot) else { continue };
        for id in listed.into_iter().take(2) {
            match pool.take(lot, id) {
                Ok(bytes) => {
                    assert_eq!(*bytes, record(id));
                    used.lock().unwrap().push(id);
                }
                Err(StoreError::Unknown(_)) => {}
                Err(StoreError::Io { .. }) => drop(doubtful.lock().unwrap().insert(id)),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_store_that_spills_to_a_failing_disk_hands_nothing_out_twice() {
    for seed in 0..runs(100) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let lot = Lot { plan: [1; 32], peer: PoolId::from_bytes([2; 16]) };
        for _ in 0..3 {
            some_fault(rng, &disk, 60);
            let open = || MemoryStore::spilling(Limits::default(), 5_000, disk.clone(), &mut generator());
            let store = open().unwrap_or_else(|_| {
                disk.restart();
                open().expect("a disk that works")
            });
            let (mut used, mut kept) = (HashSet::new(), Vec::new());
            for _ in 0..30 {
                if rng.random() || kept.is_empty() {
                    let id = PrepId::from_bytes(rng.random());
                    match store.put(&lot, id, &record(id)) {
                        Ok(()) => kept.push(id),
                        Err(StoreError::Io { .. }) => {
                            assert!(
                                matches!(store.take(&lot, id), Err(StoreError::Unknown(_))),
                                "seed {seed}"
                            );
                        }
                        Err(error) => panic!("seed {seed}: {error}"),
                    }
                    continue;
                }
                let id = kept.swap_remove(rng.random_range(0..kept.len()));
                match store.take(&lot, id) {
                    Ok(bytes) => {
                        assert_eq!(*bytes, record(id), "seed {seed}");
                        assert!(used.insert(id), "seed {seed}: {id:?} twice");
                    }
                    // It was on the disk, which works no more.
                    Err(StoreError::Io { .. }) => {}
                    Err(error) => panic!("seed {seed}: {error}"),
                }
                assert!(matches!(store.take(&lot, id), Err(StoreError::Unknown(_))), "seed {seed}");
            }
            let mut listed = store.list(&lot).unwrap();
            listed.sort_unstable();
            kept.sort_unstable();
            assert_eq!(listed, kept, "seed {seed}");
            drop(store);
            disk.restart();
        }
    }
}

/// A store that writes down what it hands out.
struct Watched {
    pool: Pool<SimDisk>,
    log: Log,
}

type Log = Arc<Mutex<BTreeMap<[u8; 16], usize>>>;

impl Store for Watched {
    fn identity(&self) -> PoolId {
        self.pool.identity()
    }

    fn put(&self, lot: &Lot, id: PrepId, record: &[u8]) -> Result<(), StoreError> {
        self.pool.put(lot, id, record)
    }

    fn take(&self, lot: &Lot, id: PrepId) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let taken = self.pool.take(lot, id)?;
        *self.log.lock().unwrap().entry(*id.bytes()).or_default() += 1;
        Ok(taken)
    }

    fn check_room(&self, lot: &Lot, count: usize, bytes: u64) -> Result<(), StoreError> {
        self.pool.check_room(lot, count, bytes)
    }

    fn list(&self, lot: &Lot) -> Result<Vec<PrepId>, StoreError> {
        self.pool.list(lot)
    }

    fn stock(&self) -> Result<Vec<Stock>, StoreError> {
        self.pool.stock()
    }

    fn lost(&self) -> Lost {
        self.pool.lost()
    }

    fn advance(&self, peer: PoolId) -> Result<u64, StoreError> {
        self.pool.advance(peer)
    }

    fn witness(&self, peer: PoolId, epoch: u64) -> Result<bool, StoreError> {
        self.pool.witness(peer, epoch)
    }

    fn burn(&self, peer: PoolId) -> Result<usize, StoreError> {
        self.pool.burn(peer)
    }

    fn keep(&self, lot: &Lot, name: PrepId, record: &[u8]) -> Result<(), StoreError> {
        self.pool.keep(lot, name, record)
    }

    fn resume(&self, lot: &Lot, name: Option<PrepId>) -> Result<Option<Named>, StoreError> {
        let taken = self.pool.resume(lot, name)?;
        if let Some((name, _)) = &taken {
            *self.log.lock().unwrap().entry(*name.bytes()).or_default() += 1;
        }
        Ok(taken)
    }
}

/// A client with a pool: prepares some and uses some, in one session.
async fn client(
    channel: Channel<phineus_net::Client>,
    store: &dyn Store,
    inputs: &[Vec<i32>],
    results: &mut Vec<(usize, Vec<i64>)>,
) -> Result<(), ProtocolError> {
    let mut session = Session::connect(channel, &Request::default(), store, &mut generator()).await?;
    let lot = *session.lot();
    for _ in 0..2 {
        let prepared = session.prepare().await?;
        store.put(&lot, prepared.id(), &prepared.to_bytes())?;
    }
    for (i, x) in inputs.iter().enumerate() {
        let Some(id) = store.list(&lot)?.first().copied() else { break };
        let prepared = Prepared::from_bytes(id, &store.take(&lot, id)?, session.plan())?;
        results.push((i, session.infer(prepared, x).await?.values));
    }
    session.close_into(store).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_use_every_pre_compute_once_whatever_fails() {
    let model = nets::tiny("tiny");
    let inputs: Vec<Vec<i32>> = (0..3).map(|i| input(&model, i)).collect();
    let expected: Vec<Vec<i64>> = inputs.iter().map(|x| reference::run(&model, x).unwrap()).collect();
    let catalogue = Host::of([model.clone()]).catalogue;
    let mut failures = 0;
    for seed in 0..runs(60) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let disks = [SimDisk::new(2 * seed), SimDisk::new(2 * seed + 1)];
        let logs: [Log; 2] = Default::default();
        for life in 0..5 {
            let last = life == 4;
            if !last {
                // One side's disk, both, or only the connection.
                for (i, disk) in disks.iter().enumerate() {
                    if rng.random_range(0..3) != i {
                        some_fault(rng, disk, 150);
                    }
                }
            }
            let [mine, theirs] = [0, 1].map(|i| Watched { pool: reopen(&disks[i]), log: logs[i].clone() });
            let host = Host { catalogue: catalogue.clone(), store: Arc::new(theirs) };
            let (near, far) = mem::pair();
            let serving = host.serve(far);
            let mut results = Vec::new();
            let conversation = client(near, &mine, &inputs, &mut results);
            let outcome = if !last && rng.random_ratio(1, 3) {
                // Killed at some moment.
                let moment = std::time::Duration::from_micros(rng.random_range(0..20_000));
                tokio::time::timeout(moment, conversation).await.unwrap_or(Err(ProtocolError::Over))
            } else {
                conversation.await
            };
            for (i, values) in results {
                assert_eq!(values, expected[i], "seed {seed}, life {life}");
            }
            if last {
                outcome.unwrap_or_else(|error| panic!("seed {seed}: after all failures: {error}"));
            } else {
                failures += usize::from(outcome.is_err());
            }
            // The server may have failed, but it has ended.
            let _either_way = serving.await.expect("no panic");
            drop((mine, host));
            disks.iter().for_each(SimDisk::restart);
        }
        for (log, side) in logs.iter().zip(["client", "server"]) {
            let log = log.lock().unwrap();
            assert!(log.values().all(|times| *times == 1), "seed {seed}: {side}: {log:?}");
        }
    }
    assert!(failures > 0, "the faults never came");
}
