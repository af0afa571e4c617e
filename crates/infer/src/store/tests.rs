use std::fs;
use std::path::Path;

use phineus_kernel::prg::Prg;
use tempfile::TempDir;

use super::*;

fn id(n: u8) -> PrepId {
    PrepId::from_bytes([n; 16])
}

fn lot(n: u8) -> Lot {
    Lot { plan: [n; 32], peer: PoolId::from_bytes([n; 16]) }
}

fn open(path: &Path, limits: Limits) -> Pool {
    Pool::in_directory(path, None, false, limits, &mut Prg::from_generator(&mut rand::rng())).unwrap()
}

fn stores(limits: Limits) -> (TempDir, Vec<Box<dyn Store>>) {
    let directory = tempfile::tempdir().unwrap();
    let pool = open(&directory.path().join("pool"), limits);
    let memory = MemoryStore::new(limits, &mut Prg::new([1; 16]));
    // Nothing fits its memory but empty records.
    let disk = disk::Directory::open(directory.path().join("spill")).unwrap();
    let spilling = MemoryStore::spilling(limits, 0, disk, &mut Prg::new([2; 16])).unwrap();
    (directory, vec![Box::new(memory), Box::new(spilling), Box::new(pool)])
}

#[test]
fn a_record_is_handed_out_exactly_once_and_to_its_lot_only() {
    for store in stores(Limits::default()).1 {
        store.put(&lot(1), id(1), b"one").unwrap();
        store.put(&lot(1), id(2), b"").unwrap();
        assert_eq!(store.list(&lot(1)).unwrap(), [id(1), id(2)]);
        let strangers = Lot { peer: PoolId::from_bytes([9; 16]), ..lot(1) };
        for wrong in [lot(2), strangers] {
            assert!(matches!(store.take(&wrong, id(1)), Err(StoreError::Unknown(_))));
        }
        assert_eq!(store.take(&lot(1), id(1)).unwrap().as_slice(), b"one");
        assert!(matches!(store.take(&lot(1), id(1)), Err(StoreError::Unknown(_))));
        assert_eq!(store.take(&lot(1), id(2)).unwrap().as_slice(), b"");
        assert!(store.stock().unwrap().is_empty());
    }
}

#[test]
fn many_threads_get_each_record_once() {
    let (_directory, stores) = stores(Limits::default());
    for store in stores {
        for n in 0..40 {
            store.put(&lot(1), id(n), &[n]).unwrap();
        }
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..40).filter(|n| store.take(&lot(1), id(*n)).is_ok()).count();
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            workers.into_iter().map(|w| w.join().unwrap()).sum()
        });
        assert_eq!(taken, 40);
    }
}

#[test]
fn every_quota_is_kept() {
    let limits = Limits { per_plan: 3, per_peer: 2, bytes: 100, ..Limits::default() };
    for store in stores(limits).1 {
        store.put(&lot(1), id(1), &[0; 40]).unwrap();
        let full = |result: Result<(), StoreError>| match result {
            Err(StoreError::Full { what, .. }) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(full(store.put(&lot(1), id(2), &[0; 61])), "bytes");
        store.put(&lot(1), id(2), &[0; 10]).unwrap();
        assert_eq!(full(store.put(&lot(1), id(3), b"")), "pre-computes of a client");
        let other = Lot { peer: PoolId::from_bytes([9; 16]), ..lot(1) };
        assert_eq!(full(store.check_room(&other, 2, 0)), "pre-computes of a model");
        store.put(&other, id(3), b"").unwrap();
        drop(store.take(&lot(1), id(1)).unwrap());
        assert!(store.check_room(&lot(1), 1, 90).is_ok());
        let mut stock: Vec<_> = store.stock().unwrap().iter().map(|s| (s.count, s.bytes)).collect();
        stock.sort_unstable();
        assert_eq!(stock, [(1, 0), (1, 10)]);
    }
}

/// Many sessions at once do not share the last place.
#[test]
fn a_quota_holds_among_threads() {
    let limits = Limits { per_peer: 5, ..Limits::default() };
    for store in stores(limits).1 {
        let put = |n: u8| match store.put(&lot(1), id(n), &[n; 100_000]) {
            Ok(()) => true,
            Err(StoreError::Full { limit: 5, .. }) => false,
            Err(error) => panic!("{error}"),
        };
        let kept: usize = std::thread::scope(|scope| {
            let putting = |first: u8| (first..first + 6).filter(|n| put(*n)).count();
            let workers: Vec<_> = (0..4).map(|w| scope.spawn(move || putting(6 * w))).collect();
            workers.into_iter().map(|w| w.join().unwrap()).sum()
        });
        assert_eq!((kept, store.list(&lot(1)).unwrap().len()), (5, 5));
        drop(store.take(&lot(1), store.list(&lot(1)).unwrap()[0]).unwrap());
        assert!(put(30) && !put(31));
    }
}

#[test]
fn a_peer_that_goes_back_in_time_loses_its_pre_computes() {
    for store in stores(Limits::default()).1 {
        let peer = lot(1).peer;
        assert!(store.witness(peer, 5).unwrap() && store.witness(peer, 6).unwrap());
        store.put(&lot(1), id(1), b"x").unwrap();
        store.put(&lot(2), id(2), b"y").unwrap();
        assert!(!store.witness(peer, 6).unwrap());
        assert!(matches!(store.take(&lot(1), id(1)), Err(StoreError::Unknown(_))));
        assert!(store.take(&lot(2), id(2)).is_ok());
        assert_eq!(store.lost(), Lost { expired: 0, burned: 1 });
        assert!(!store.witness(peer, 3).unwrap() && store.witness(peer, 4).unwrap());
        let (a, b) = (store.advance(peer).unwrap(), store.advance(peer).unwrap());
        assert!(a < b);
    }
}

#[test]
fn a_pool_outlives_a_restart_and_a_damaged_record_is_burned() {
    let directory = tempfile::tempdir().unwrap();
    let pool = open(directory.path(), Limits::default());
    let (name, epoch) = (pool.identity(), pool.advance(lot(1).peer).unwrap());
    pool.put(&lot(1), id(1), b"first").unwrap();
    pool.put(&lot(1), id(2), b"second").unwrap();
    let records = directory.path().join("records");
    let file = records.join(id::hex(id(1).bytes()));
    let mut bytes = fs::read(&file).unwrap();
    assert!(!bytes.windows(5).any(|w| w == b"first"), "records are sealed");
    bytes[0] ^= 1;
    fs::write(&file, bytes).unwrap();
    fs::write(records.join("00.tmp"), b"half").unwrap();
    drop(pool);
    let pool = open(directory.path(), Limits::default());
    assert_eq!(pool.identity(), name);
    assert!(pool.advance(lot(1).peer).unwrap() > epoch);
    assert!(!records.join("00.tmp").exists());
    assert!(matches!(pool.take(&lot(1), id(1)), Err(StoreError::Damaged(_))));
    assert!(matches!(pool.take(&lot(1), id(1)), Err(StoreError::Unknown(_))));
    assert_eq!(pool.take(&lot(1), id(2)).unwrap().as_slice(), b"second");
}

#[test]
fn two_processes_do_not_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let pool = open(directory.path(), Limits::default());
    let second = Pool::in_directory(directory.path(), None, false, Limits::default(), &mut Prg::new([2; 16]));
    assert!(matches!(second, Err(StoreError::Io { .. })));
    drop(pool);
    open(directory.path(), Limits::default());
}

/// Copies a pool's files, as a backup does.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("records")).unwrap();
    for name in ["ledger", "key"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
    for entry in fs::read_dir(from.join("records")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join("records").join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_cloned_directory_begins_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (original, clone) = (directory.path().join("a"), directory.path().join("b"));
    let pool = open(&original, Limits::default());
    pool.put(&lot(1), id(1), b"x").unwrap();
    let name = pool.identity();
    drop(pool);
    copy(&original, &clone);
    let cloned = open(&clone, Limits::default());
    assert_ne!(cloned.identity(), name);
    assert!(cloned.list(&lot(1)).unwrap().is_empty());
    assert_eq!(open(&original, Limits::default()).list(&lot(1)).unwrap(), [id(1)]);
}

#[test]
fn a_backup_restored_into_new_files_begins_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (path, backup) = (directory.path().join("a"), directory.path().join("b"));
    let pool = open(&path, Limits::default());
    pool.put(&lot(1), id(1), b"x").unwrap();
    drop(pool);
    copy(&path, &backup);
    let pool = open(&path, Limits::default());
    drop(pool.take(&lot(1), id(1)).unwrap());
    drop(pool);
    // The old file stays while the new one is written, so that its number cannot be given out again.
    fs::rename(&path, directory.path().join("old")).unwrap();
    copy(&backup, &path);
    assert!(open(&path, Limits::default()).list(&lot(1)).unwrap().is_empty());
}

#[test]
fn expired_records_count_no_more() {
    let limits = Limits { per_plan: 1, life: Some(Duration::ZERO), ..Limits::default() };
    for store in stores(limits).1 {
        store.put(&lot(1), id(1), b"x").unwrap();
        store.check_room(&lot(1), 1, 0).unwrap();
        store.put(&lot(1), id(2), b"x").unwrap();
        assert!(store.list(&lot(1)).unwrap().is_empty() && store.stock().unwrap().is_empty());
        assert!(matches!(store.take(&lot(1), id(2)), Err(StoreError::Unknown(_))));
        assert_eq!(store.lost(), Lost { expired: 2, burned: 0 });
    }
}

#[test]
fn what_does_not_fit_memory_is_spilled_sealed_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let files = || {
        let all = fs::read_dir(directory.path().join("records")).unwrap().map(|file| file.unwrap().path());
        all.filter(|path| !path.ends_with("complete"))
    };
    let open = || {
        let disk = disk::Directory::open(directory.path()).unwrap();
        MemoryStore::spilling(Limits::default(), 100, disk, &mut Prg::new([2; 16]))
    };
    let store = open().unwrap();
    for n in 1..=4 {
        store.put(&lot(n % 2), id(n), &[n; 45]).unwrap();
    }
    assert_eq!(files().count(), 2);
    for file in files() {
        let sealed = fs::read(file).unwrap();
        assert!(!sealed.windows(8).any(|bytes| bytes.iter().all(|b| *b == bytes[0])), "records are sealed");
    }
    // Its directory is its own.
    assert!(matches!(open(), Err(StoreError::Io { .. })));
    assert_eq!(store.take(&lot(0), id(4)).unwrap().as_slice(), [4; 45]);
    assert_eq!(store.take(&lot(1), id(1)).unwrap().as_slice(), [1; 45]);
    assert_eq!(files().count(), 1);
    // There is room in memory again.
    store.put(&lot(1), id(5), &[5; 45]).unwrap();
    assert_eq!((files().count(), store.list(&lot(1)).unwrap()), (1, vec![id(3), id(5)]));
    // A file that was changed is burned.
    let file = files().next().unwrap();
    fs::write(&file, b"something else").unwrap();
    assert!(matches!(store.take(&lot(1), id(3)), Err(StoreError::Damaged(_))));
    assert!(matches!(store.take(&lot(1), id(3)), Err(StoreError::Unknown(_))));
    store.put(&lot(1), id(6), &[6; 60]).unwrap();
    assert_eq!(files().count(), 1);
    drop(store);
    assert_eq!(files().count(), 0);
    // What a crash leaves is removed.
    fs::write(directory.path().join("records/left"), b"sealed").unwrap();
    open().unwrap();
    assert_eq!(files().count(), 0);
    // A pool that was meant to last is not swept away.
    let pool = self::open(directory.path(), Limits::default());
    pool.put(&lot(1), id(1), b"x").unwrap();
    drop(pool);
    assert!(matches!(open(), Err(StoreError::Io { .. })));
    assert_eq!(self::open(directory.path(), Limits::default()).list(&lot(1)).unwrap(), [id(1)]);
}

#[test]
fn expired_records_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { life: Some(Duration::ZERO), ..Limits::default() };
    let pool = open(directory.path(), limits);
    pool.put(&lot(1), id(1), b"x").unwrap();
    assert!(pool.list(&lot(1)).unwrap().is_empty());
    assert!(matches!(pool.take(&lot(1), id(1)), Err(StoreError::Unknown(_))));
    pool.put(&lot(1), id(2), b"x").unwrap();
    drop(pool);
    open(directory.path(), limits);
    assert_eq!(fs::read_dir(directory.path().join("records")).unwrap().count(), 1);
}

#[test]
fn another_key_opens_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pool");
    let pool = open(&path, Limits::default());
    pool.put(&lot(1), id(1), b"x").unwrap();
    drop(pool);
    let elsewhere = directory.path().join("other.key");
    let pool = Pool::in_directory(&path, Some(&elsewhere), false, Limits::default(), &mut Prg::new([3; 16]))
        .unwrap();
    assert!(matches!(pool.take(&lot(1), id(1)), Err(StoreError::Damaged(_))));
    drop(pool);
    fs::write(&elsewhere, b"short").unwrap();
    let short = Pool::in_directory(&path, Some(&elsewhere), false, Limits::default(), &mut Prg::new([3; 16]));
    assert!(matches!(short, Err(StoreError::Io { .. })));
}

#[test]
fn clients_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        Pool::in_directory(directory.path(), None, true, Limits::default(), &mut Prg::new([2; 16])).unwrap()
    };
    let (one, other) = (open(), open());
    assert_eq!(one.identity(), other.identity());
    let taken: usize = std::thread::scope(|scope| {
        let putting = scope.spawn(|| (0..20).for_each(|n| one.put(&lot(1), id(n), &[n; 1000]).unwrap()));
        let taking = scope.spawn(|| {
            let mut taken = 0;
            let start = std::time::Instant::now();
            while taken < 20 && start.elapsed() < Duration::from_secs(60) {
                for id in other.list(&lot(1)).unwrap() {
                    taken += usize::from(other.take(&lot(1), id).is_ok());
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            taken
        });
        putting.join().unwrap();
        taking.join().unwrap()
    });
    assert_eq!(taken, 20);
}

/// What 1,000 records cost next to ten. `cargo test -p phineus-infer --lib store::tests::the_cost -- --ignored --nocapture`.
#[test]
#[ignore = "prints times"]
fn the_cost_of_a_record_by_the_number_of_records() {
    for shared in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let pool =
            Pool::in_directory(directory.path(), None, shared, Limits::default(), &mut Prg::new([2; 16]))
                .unwrap();
        let name = |n: u32| PrepId::from_bytes(std::array::from_fn(|i| n.to_le_bytes()[i % 4]));
        let mut kept = 0;
        for many in [10, 1000] {
            while kept < many {
                pool.put(&lot(1), name(kept), &[7; 100]).unwrap();
                kept += 1;
            }
            let time = |what: &str, work: &mut dyn FnMut(u32)| {
                let start = std::time::Instant::now();
                (0..20).for_each(&mut *work);
                println!("shared {shared}, {many} records, {what}: {:?}", start.elapsed() / 20);
            };
            time("put", &mut |i| pool.put(&lot(1), name(100_000 + i), &[7; 100]).unwrap());
            time("list", &mut |_| assert!(!pool.list(&lot(1)).unwrap().is_empty()));
            time("check_room", &mut |_| pool.check_room(&lot(1), 1, 0).unwrap());
            time("take", &mut |i| drop(pool.take(&lot(1), name(100_000 + i)).unwrap()));
            time("advance", &mut |_| assert!(pool.advance(lot(1).peer).unwrap() > 0));
        }
    }
}

#[test]
fn states_serve_once_and_make_room_for_newer_ones() {
    let limits = Limits { states: 250, ..Limits::default() };
    let (_folder, stores) = stores(limits);
    let (lot, other) = (lot(9), Lot { plan: [8; 32], ..lot(9) });
    for store in stores {
        let name = |n: u8| PrepId::from_bytes([n; 16]);
        let keep = |lot: &Lot, n: u8, bytes: usize| store.keep(lot, name(n), &vec![n; bytes]).unwrap();
        let resume = |lot: &Lot, n: Option<u8>| {
            store.resume(lot, n.map(name)).unwrap().map(|(id, r)| (id, r.to_vec()))
        };
        // By name, or the latest; of their own lot; once. They are no pre-computes.
        keep(&lot, 1, 50);
        keep(&lot, 2, 50);
        keep(&other, 3, 50);
        assert!(store.stock().unwrap().is_empty() && store.list(&lot).unwrap().is_empty());
        assert_eq!(resume(&other, Some(1)), None);
        assert_eq!(resume(&lot, None), Some((name(2), vec![2; 50])));
        assert_eq!(resume(&lot, Some(1)), Some((name(1), vec![1; 50])));
        assert_eq!((resume(&lot, Some(1)), resume(&lot, None)), (None, None));
        // The oldest go: by size, and beyond four of one peer.
        keep(&lot, 4, 210);
        assert_eq!(resume(&other, None), None);
        keep(&lot, 5, 251);
        assert_eq!(resume(&lot, Some(5)), None);
        assert_eq!(resume(&lot, None), Some((name(4), vec![4; 210])));
        (10..15).for_each(|n| keep(&lot, n, 10));
        assert_eq!(resume(&lot, Some(10)), None);
        assert_eq!(resume(&lot, Some(11)), Some((name(11), vec![11; 10])));
        // Burned with all that is shared with the peer.
        store.burn(lot.peer).unwrap();
        assert_eq!(resume(&lot, None), None);
    }
}
