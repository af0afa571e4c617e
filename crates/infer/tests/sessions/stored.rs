//! Pre-computes at rest: they outlive sessions and servers, belong to one plan, and serve once.

use std::path::Path;
use std::sync::Arc;

use phineus_infer::ProtocolError;
use phineus_infer::plan::{Engine, Options};
use phineus_infer::session::client::{Prepared, Request, Session};
use phineus_infer::store::{Lot, PrepId, Store as _, StoreError};
use phineus_model::fixed::Reveal;
use phineus_model::reference;

use crate::nets;
use crate::party::{CLIENT, Host, copy, generator, input, memory, pool};

/// A pre-compute in bytes.
async fn prepare(host: &Host) -> (PrepId, Vec<u8>) {
    let (mut session, server) = host.connect().await;
    let prepared = session.prepare().await.unwrap();
    session.close().await.unwrap();
    server.await.unwrap().unwrap();
    (prepared.id(), prepared.to_bytes().to_vec())
}

async fn infer(
    session: &mut Session,
    id: PrepId,
    bytes: &[u8],
    x: &[i32],
) -> Result<Vec<i64>, ProtocolError> {
    let prepared = Prepared::from_bytes(id, bytes, session.plan())?;
    Ok(session.infer(prepared, x).await?.values)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pre_compute_serves_in_another_session() {
    let engines = Engine::ON_SHARES.iter().flat_map(|engine| {
        [nets::tiny("tiny"), nets::dense_only(3, Reveal::ArgMax)].map(|model| (Options::of(*engine), model))
    });
    for (options, model) in engines {
        let host = Host::of_options(&options, [model.clone()]);
        let (id, bytes) = prepare(&host).await;
        let (later_id, later) = prepare(&host).await;
        let (mut session, _server) = host.connect().await;
        let same = Prepared::from_bytes(id, &bytes, session.plan()).unwrap();
        assert_eq!((same.id(), same.to_bytes().to_vec()), (id, bytes.clone()));
        // In any order, each with its own input, next to one that is made in this session.
        for (id, bytes, seed) in [(later_id, later, 5), (id, bytes, 6)] {
            let x = input(&model, seed);
            let values = infer(&mut session, id, &bytes, &x).await.unwrap();
            assert_eq!(values, reference::run(&model, &x).unwrap(), "{}", model.name);
        }
        let fresh = session.prepare().await.unwrap();
        let x = input(&model, 7);
        assert_eq!(session.infer(fresh, &x).await.unwrap().values, reference::run(&model, &x).unwrap());
        session.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_a_wrong_length_or_plan_are_no_material() {
    for engine in Engine::ON_SHARES {
        let host = Host::of_options(&Options::of(*engine), [nets::tiny("tiny")]);
        refuses_other_bytes(&host).await;
    }
}

async fn refuses_other_bytes(host: &Host) {
    let plan = host.plan();
    let (id, bytes) = prepare(host).await;
    for len in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
        let cut = Prepared::from_bytes(id, &bytes[..len], &plan);
        assert!(matches!(cut, Err(ProtocolError::Material)), "{len} bytes");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(Prepared::from_bytes(id, &longer, &plan), Err(ProtocolError::Material)));
    // Another network, and another network of the same shape.
    for other in [nets::dense_only(2, Reveal::Logits), nets::tiny("namesake")] {
        let other = Host::of([other]);
        assert_ne!(other.plan().digest(), plan.digest());
        let taken = Prepared::from_bytes(id, &bytes, &other.plan());
        assert!(matches!(taken, Err(ProtocolError::Material)), "{}", other.plan().public().name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_another_model_is_unknown() {
    let (one, two) = (nets::tiny("one"), nets::tiny("two"));
    let host = Host::of([one, two]);
    let start = async |name: &str| {
        let (client, server) = phineus_net::mem::pair();
        let serving = host.serve(server);
        (crate::party::connect(client, name, None).await.unwrap(), serving)
    };
    let (mut first, _serving) = start("one").await;
    let prepared = first.prepare().await.unwrap();
    let (mut second, serving) = start("two").await;
    let own = second.prepare().await.unwrap();
    let bytes = own.to_bytes();
    let foreign = Prepared::from_bytes(prepared.id(), &bytes, second.plan()).unwrap();
    let error = second.infer(foreign, &[0; 4]).await.unwrap_err();
    assert!(error.to_string().contains("no such pre-compute"), "{error}");
    assert!(matches!(serving.await.unwrap(), Err(ProtocolError::Store(StoreError::Unknown(_)))));
    // Nor does the pre-compute itself fit another model's session.
    let (mut third, _serving) = start("two").await;
    let foreign = copy(&prepared, &first);
    assert!(matches!(third.infer(foreign, &[0; 4]).await, Err(ProtocolError::Material)));
    // Neither has burned anything.
    let kept = host.store.list(&Lot { peer: CLIENT.identity(), ..*first.lot() }).unwrap();
    assert_eq!(kept, [prepared.id()]);
    assert!(first.infer(prepared, &[0; 4]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_claims_at_once_are_served_once() {
    let model = nets::tiny("tiny");
    let host = Host::of([model.clone()]);
    let (mut left, _left) = host.connect().await;
    let (mut right, _right) = host.connect().await;
    let x = input(&model, 2);
    for _ in 0..10 {
        let one = left.prepare().await;
        let Ok(one) = one else { break };
        let other = copy(&one, &left);
        let (a, b) = tokio::join!(left.infer(one, &x), right.infer(other, &x));
        let served: Vec<_> = [a, b].into_iter().filter_map(Result::ok).collect();
        assert_eq!(served.len(), 1);
        assert_eq!(served[0].values, reference::run(&model, &x).unwrap());
        if left.prepare().await.is_err() {
            (left, _) = host.connect().await;
        }
        if right.prepare().await.is_err() {
            (right, _) = host.connect().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_pools_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let model = nets::tiny("tiny");
    let open = |name: &str| pool(folder.path().join(name));
    // A new server and a new client, which know nothing but their files.
    let start = async || {
        let (host, mine) = (Host::new([model.clone()], Arc::new(open("server"))), open("client"));
        let (client, server) = phineus_net::mem::pair();
        let serving = host.serve(server);
        let session = Session::connect(client, &Request::default(), &mine, &mut generator()).await.unwrap();
        let theirs = Lot { peer: mine.identity(), ..*session.lot() };
        (host, mine, session, serving, theirs)
    };
    {
        let (_host, mine, mut session, _serving, _) = start().await;
        for _ in 0..3 {
            let prepared = session.prepare().await.unwrap();
            mine.put(session.lot(), prepared.id(), &prepared.to_bytes()).unwrap();
        }
    }
    let x = input(&model, 4);
    for left in (0..3).rev() {
        let (host, mine, mut session, _serving, theirs) = start().await;
        let id = mine.list(session.lot()).unwrap()[0];
        let bytes = mine.take(session.lot(), id).unwrap();
        let values = infer(&mut session, id, &bytes, &x).await.unwrap();
        assert_eq!(values, reference::run(&model, &x).unwrap());
        assert_eq!(mine.list(session.lot()).unwrap().len(), left);
        assert_eq!(host.store.list(&theirs).unwrap().len(), left);
        let error = infer(&mut session, id, &bytes, &x).await.unwrap_err();
        assert!(error.to_string().contains("no such pre-compute"), "{error}");
    }
}

/// A store that was copied at one moment and is put back, in the same files, at a later one.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_back_in_time_is_found_out_by_the_other() {
    for restored in ["client", "server"] {
        let folder = tempfile::tempdir().unwrap();
        let model = nets::tiny("tiny");
        let ledger = folder.path().join(restored).join("ledger");
        let start = async || {
            let (client, server) = phineus_net::mem::pair();
            let mine = pool(folder.path().join("client"));
            let host = Host::new([model.clone()], Arc::new(pool(folder.path().join("server"))));
            let serving = host.serve(server);
            let session =
                Session::connect(client, &Request::default(), &mine, &mut generator()).await.unwrap();
            (host, mine, session, serving)
        };
        let end = async |session: Session, serving: tokio::task::JoinHandle<_>| {
            session.close().await.unwrap();
            let _summary = serving.await.unwrap();
        };
        let (_, mine, mut session, serving) = start().await;
        for _ in 0..2 {
            let prepared = session.prepare().await.unwrap();
            mine.put(session.lot(), prepared.id(), &prepared.to_bytes()).unwrap();
        }
        end(session, serving).await;
        drop(mine);
        let backup = std::fs::read(&ledger).unwrap();
        let (_, mine, session, serving) = start().await;
        assert_eq!(mine.list(session.lot()).unwrap().len(), 2);
        end(session, serving).await;
        drop(mine);
        // In place: the file's number and birth stay, and the ledger cannot tell.
        std::fs::write(&ledger, backup).unwrap();
        let (host, mine, mut session, _serving) = start().await;
        let theirs = Lot { peer: mine.identity(), ..*session.lot() };
        assert!(mine.list(session.lot()).unwrap().is_empty(), "{restored}");
        assert!(host.store.list(&theirs).unwrap().is_empty(), "{restored}");
        // And life goes on.
        let prepared = session.prepare().await.unwrap();
        let x = input(&model, 4);
        assert_eq!(session.infer(prepared, &x).await.unwrap().values, reference::run(&model, &x).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_of_the_server_is_burned_and_the_client_told() {
    let folder = tempfile::tempdir().unwrap();
    let model = nets::tiny("tiny");
    let host = Host::new([model.clone()], Arc::new(pool(folder.path())));
    let (id, bytes) = prepare(&host).await;
    let record = only_file(&folder.path().join("records"));
    let mut content = std::fs::read(&record).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&record, content).unwrap();
    let x = input(&model, 4);
    let (mut session, server) = host.connect().await;
    let error = infer(&mut session, id, &bytes, &x).await.unwrap_err();
    assert!(error.to_string().contains("damaged and was burned"), "{error}");
    assert!(matches!(server.await.unwrap(), Err(ProtocolError::Store(StoreError::Damaged(_)))));
    assert!(!record.exists());
    assert_eq!(host.infer(&x).await, reference::run(&model, &x).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_record_of_the_client_gives_an_error_or_a_value() {
    let model = nets::tiny("tiny");
    let host = Host::of([model.clone()]);
    let x = input(&model, 4);
    for seed in 0..40 {
        let (id, mut bytes) = prepare(&host).await;
        // All bits of a stretch behind the digest are set: counters at their largest, times that are no numbers.
        let start = 32 + seed * (bytes.len() - 32) / 40;
        let end = bytes.len().min(start + 100);
        bytes[start..end].fill(0xff);
        let (mut session, server) = host.connect().await;
        if let Ok(values) = infer(&mut session, id, &bytes, &x).await {
            assert_eq!(values.len(), 2);
        }
        drop(session);
        let _either_way = server.await.unwrap();
    }
    assert_eq!(host.infer(&x).await, reference::run(&model, &x).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_ends_the_session_and_says_so() {
    let model = nets::tiny("tiny");
    let host = Host::new([model.clone()], memory(1));
    let (id, bytes) = prepare(&host).await;
    let (mut session, server) = host.connect().await;
    let error = session.prepare().await.err().unwrap().to_string();
    assert!(error.contains("pre-computes of a model is limited to 1"), "{error}");
    assert!(matches!(server.await.unwrap(), Err(ProtocolError::Store(StoreError::Full { limit: 1, .. }))));
    // The one that is there still serves.
    let x = input(&model, 4);
    let (mut session, _server) = host.connect().await;
    assert_eq!(infer(&mut session, id, &bytes, &x).await.unwrap(), reference::run(&model, &x).unwrap());
}

/// What goes wrong with the server's disk is the server's business.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_learns_no_paths_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::new([nets::tiny("tiny")], Arc::new(pool(folder.path())));
    // A file where a directory belongs.
    std::fs::remove_dir_all(folder.path().join("records")).unwrap();
    std::fs::write(folder.path().join("records"), b"").unwrap();
    let (mut session, server) = host.connect().await;
    let heard = session.prepare().await.err().unwrap().to_string();
    let error = server.await.unwrap().unwrap_err().to_string();
    let path = folder.path().to_string_lossy().into_owned();
    assert!(error.contains(&path), "{error}");
    assert!(!heard.contains(&path) && heard.contains("store"), "{heard}");
}

fn only_file(directory: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(directory).unwrap().map(|f| f.unwrap().path());
    let files: Vec<_> = files.filter(|path| !path.ends_with("complete")).collect();
    assert_eq!(files.len(), 1);
    files.into_iter().next().unwrap()
}
