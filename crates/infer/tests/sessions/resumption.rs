//! A session goes on with the oblivious transfers of the one before, and whatever stands in the way costs a set-up and
//! nothing else.

use std::path::Path;
use std::sync::Arc;

use phineus_infer::plan::{Engine, Options, Plan, Transfers};
use phineus_infer::report::Cost;
use phineus_infer::session::client::{Request, Session};
use phineus_infer::store::{Limits, Lot, MemoryStore, Pool, Store};
use phineus_model::fixed::Model;
use phineus_model::reference;
use phineus_net::mem;

use crate::nets;
use crate::party::{Host, generator, input, pool};

fn fresh(limits: Limits) -> MemoryStore {
    MemoryStore::new(limits, &mut generator())
}

/// How a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With a goodbye, and all is kept.
    Kept,
    /// With a goodbye, and the client keeps nothing.
    Plain,
    /// The client vanishes.
    Lost,
}

/// One inference in a session of its own: whether the client had a state, and bytes up, down and rounds of its preparation.
async fn session(host: &Host, store: &dyn Store, model: &Model, end: End) -> (bool, [u64; 3]) {
    let (near, far) = mem::pair();
    let serving = host.serve(far);
    let request = Request { wishes: host.wishes(), ..Request::default() };
    let mut session = Session::connect(near, &request, store, &mut generator()).await.unwrap();
    let had = session.resumes();
    let before = session.traffic();
    let prepared = session.prepare().await.unwrap();
    let cost = session.traffic() - before;
    let x = input(model, 5);
    let values = session.infer(prepared, &x).await.unwrap().values;
    assert_eq!(values, reference::run(model, &x).unwrap(), "{}", model.name);
    match end {
        End::Kept => session.close_into(store).await.unwrap(),
        End::Plain => session.close().await.unwrap(),
        End::Lost => drop(session),
    }
    assert_eq!(serving.await.unwrap().is_ok(), end != End::Lost);
    (had, [cost.sent, cost.received, cost.rounds])
}

fn traffic(cost: &Cost) -> [u64; 3] {
    [cost.client_to_server_bytes, cost.server_to_client_bytes, cost.rounds]
}

/// The cost without the keys, which the server still has.
fn without_keys(host: &Host, cost: [u64; 3]) -> [u64; 3] {
    let plan = host.plan();
    [cost[0] - plan.key_bytes(plan.linear()), cost[1], cost[2]]
}

/// What the keys and transfers of an earlier session save, rounds at the end of the set-up included.
fn saving(plan: &Plan) -> [u64; 3] {
    let first = (traffic(&plan.set_up_cost(plan.linear())), traffic(&plan.predicted().offline));
    let later =
        (traffic(&plan.resumption_cost(plan.linear())), traffic(&plan.predicted_with([0; 2]).offline));
    std::array::from_fn(|i| first.0[i] + first.1[i] - later.0[i] - later.1[i])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_session_saves_the_set_up_to_the_byte() {
    let model = nets::tiny("tiny");
    for engine in [Engine::Delphi, Engine::ClientGarbler, Engine::Ot, Engine::Auto] {
        for transfers in [Transfers::SoftSpoken, Transfers::Silent] {
            let options = Options { transfers, ..Options::of(engine) };
            let host = Host::of_options(&options, [model.clone()]);
            let mine = fresh(Limits::default());
            let (had, first) = session(&host, &mine, &model, End::Kept).await;
            assert!(!had);
            let saving = saving(&host.plan());
            // A setup is 12 kilobytes per direction at least.
            assert!(saving[0] + saving[1] > 12_000, "{saving:?}");
            for _ in 0..3 {
                let (had, later) = session(&host, &mine, &model, End::Kept).await;
                assert!(had);
                let expected: [u64; 3] = std::array::from_fn(|i| first[i] - saving[i]);
                assert_eq!(later, expected, "{engine} {transfers:?}");
            }
        }
    }
}

/// Sessions that only use what is there leave the state where it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_preparation_passes_the_state_on() {
    let model = nets::tiny("tiny");
    let (host, mine) = (Host::of([model.clone()]), fresh(Limits::default()));
    session(&host, &mine, &model, End::Kept).await;
    let (near, far) = mem::pair();
    let serving = host.serve(far);
    let idle = Session::connect(near, &Request::default(), &mine, &mut generator()).await.unwrap();
    assert!(idle.resumes());
    // Meanwhile another session finds none and sets up anew.
    assert!(!session(&host, &mine, &model, End::Plain).await.0);
    idle.close_into(&mine).await.unwrap();
    serving.await.unwrap().unwrap();
    assert!(session(&host, &mine, &model, End::Kept).await.0);
}

/// The cost of a session that goes on, and of one that sets up.
async fn costs(host: &Host, store: &dyn Store, model: &Model) -> [[u64; 3]; 2] {
    let (_, set_up) = session(host, store, model, End::Kept).await;
    let (had, resumed) = session(host, store, model, End::Kept).await;
    assert!(had && resumed[0] < set_up[0]);
    [resumed, set_up]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_breaks_leaves_no_state() {
    let model = nets::tiny("tiny");
    let (host, mine) =
        (Host::of_options(&Options::of(Engine::Ot), [model.clone()]), fresh(Limits::default()));
    let [resumed, set_up] = costs(&host, &mine, &model).await;
    assert_eq!(session(&host, &mine, &model, End::Lost).await, (true, resumed));
    assert_eq!(session(&host, &mine, &model, End::Kept).await, (false, set_up));
    // The client alone forgets.
    assert_eq!(session(&host, &mine, &model, End::Plain).await, (true, resumed));
    assert_eq!(session(&host, &mine, &model, End::Kept).await, (false, set_up));
    assert_eq!(session(&host, &mine, &model, End::Kept).await, (true, resumed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_no_room_or_starts_again_sets_up_anew() {
    let model = nets::tiny("tiny");
    for limit in [0, 8_000] {
        let store = fresh(Limits { states: limit, ..Limits::default() });
        let host = Host::new([model.clone()], Arc::new(store));
        let mine = fresh(Limits::default());
        let (_, set_up) = session(&host, &mine, &model, End::Kept).await;
        let (had, again) = session(&host, &mine, &model, End::Kept).await;
        // The first is still there where it fits.
        assert!(had);
        assert_eq!(again == without_keys(&host, set_up), limit == 0, "{limit}");
    }
    // Room for one: whoever comes last has it.
    let store = fresh(Limits { states: 8_000, ..Limits::default() });
    let host = Host::new([model.clone()], Arc::new(store));
    let clients = [fresh(Limits::default()), fresh(Limits::default())];
    let (_, set_up) = session(&host, &clients[0], &model, End::Kept).await;
    session(&host, &clients[1], &model, End::Kept).await;
    assert_eq!(session(&host, &clients[0], &model, End::Kept).await, (true, without_keys(&host, set_up)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_fits_the_transfers_it_was_made_for() {
    let model = nets::tiny("tiny");
    let store: Arc<dyn Store> = Arc::new(fresh(Limits::default()));
    let mine = fresh(Limits::default());
    let host = |transfers| {
        let options = Options { transfers, ..Options::of(Engine::Ot) };
        Host::under(&options, [model.clone()], store.clone())
    };
    let (plain, silent) = (host(Transfers::SoftSpoken), host(Transfers::Silent));
    assert!(!session(&plain, &mine, &model, End::Kept).await.0);
    assert!(!session(&silent, &mine, &model, End::Kept).await.0);
    // Each has its own, and another model's plan with the same transfers shares it.
    assert!(session(&plain, &mine, &model, End::Kept).await.0);
    let other = nets::tiny("namesake");
    let options = Options { transfers: Transfers::SoftSpoken, ..Options::of(Engine::Ot) };
    let namesake = Host::under(&options, [other.clone()], store.clone());
    assert_ne!(namesake.plan().digest(), plain.plan().digest());
    assert!(session(&namesake, &mine, &other, End::Kept).await.0);
}

/// Whoever knows a client's name but not its token finds nothing at the server, and burns nothing.
#[tokio::test(flavor = "multi_thread")]
async fn another_token_or_state_is_refused_and_the_owner_keeps_its_own() {
    let model = nets::tiny("tiny");
    let server = Arc::new(fresh(Limits::default()));
    let (host, mine) = (Host::new([model.clone()], server.clone()), fresh(Limits::default()));
    let [resumed, set_up] = costs(&host, &mine, &model).await;
    let plan = host.plan().directions().digest();
    let at_client = Lot { plan, peer: server.identity() };
    let (name, record) = mine.resume(&at_client, None).unwrap().unwrap();
    let token = 9;
    for (place, offered) in [
        // Another format: no state.
        (0, false),
        // Another epoch, another token: another name.
        (1, true),
        (token, true),
        // The counter of messages.
        (record.len() - (32 + 512 * 16) - 1, true),
    ] {
        let mut forged = record.to_vec();
        forged[place] ^= 1;
        mine.keep(&at_client, name, &forged).unwrap();
        let (had, cost) = session(&host, &mine, &model, End::Plain).await;
        let expected = if offered { without_keys(&host, set_up) } else { set_up };
        assert_eq!((had, cost), (offered, expected), "byte {place}");
    }
    // The owner goes on where it stopped.
    mine.keep(&at_client, name, &record).unwrap();
    assert_eq!(session(&host, &mine, &model, End::Kept).await, (true, resumed));
    // A state whose secrets differ passes the comparison and fails the first check: an error, and nothing is left.
    let (name, record) = mine.resume(&at_client, None).unwrap().unwrap();
    let mut forged = record.to_vec();
    // One of the sixteen seeds of each of the 32 trees: the server lacks one of them, which would tell nothing.
    let seeds = forged.len() - 512 * 16;
    forged[seeds..].iter_mut().step_by(16 * 16).for_each(|byte| *byte ^= 1);
    mine.keep(&at_client, name, &forged).unwrap();
    let (near, far) = mem::pair();
    let serving = host.serve(far);
    let mut cheat = Session::connect(near, &Request::default(), &mine, &mut generator()).await.unwrap();
    let error = cheat.prepare().await.err().unwrap();
    assert!(error.to_string().contains("check"), "{error}");
    assert!(serving.await.unwrap().is_err());
    mine.keep(&at_client, name, &record).unwrap();
    let expected = (true, without_keys(&host, set_up));
    assert_eq!(session(&host, &mine, &model, End::Kept).await, expected);
}

fn host(folder: &Path, model: &Model) -> Host {
    Host::new([model.clone()], Arc::new(pool(folder.join("server"))))
}

#[tokio::test(flavor = "multi_thread")]
async fn states_survive_restarts_but_not_copies() {
    let folder = tempfile::tempdir().unwrap();
    let model = nets::tiny("tiny");
    let client = |name: &str| -> Pool { pool(folder.path().join(name)) };
    let (_, set_up) = session(&host(folder.path(), &model), &client("client"), &model, End::Kept).await;
    let (had, resumed) = session(&host(folder.path(), &model), &client("client"), &model, End::Kept).await;
    assert!(had && resumed[0] < set_up[0]);
    // A copy of the client's directory begins anew.
    copy_all(&folder.path().join("client"), &folder.path().join("copy"));
    let host = host(folder.path(), &model);
    assert_eq!(session(&host, &client("copy"), &model, End::Kept).await, (false, set_up));
    assert_eq!(session(&host, &client("client"), &model, End::Kept).await, (true, resumed));
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            // In place where the file is there: it stays the same file.
            std::fs::write(target, std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// A directory is put back as it was, in the same files.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_sets_up_anew() {
    let model = nets::tiny("tiny");
    for restored in ["client", "server"] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let one =
            async || session(&host(folder.path(), &model), &pool(path("client")), &model, End::Kept).await;
        let (_, set_up) = one().await;
        copy_all(&path(restored), &path("backup"));
        let (had, resumed) = one().await;
        assert!(had && resumed[0] < set_up[0]);
        copy_all(&path("backup"), &path(restored));
        assert_eq!(one().await, (false, set_up), "{restored}");
        assert_eq!(one().await, (true, resumed), "{restored}");
    }
}
