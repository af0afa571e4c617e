//! Networks under encryption, over real sockets: an engine among the others of one server, and everything that a peer or
//! somebody in the middle can do to it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use phineus_infer::ProtocolError;
use phineus_infer::cipher::{Identity, Keyring};
use phineus_infer::plan::{Engine, Offer, Options, PlanError, State, Wishes};
use phineus_infer::report::Output;
use phineus_infer::served::{Catalogue, Served};
use phineus_infer::session::client::{Inference, Request, Session};
use phineus_infer::session::server::{self, Summary};
use phineus_model::fixed::{Model, Reveal};
use phineus_model::float::Op;
use phineus_model::quantize;
use phineus_net::{FRAME_HEADER, Step, tcp};
use rand::Rng as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::nets::{Net, compile, squares, tiny};
use crate::party::{CLIENT, Host, generator, input, memory};

/// One server with all engines.
fn host(models: impl IntoIterator<Item = Model>, keyring: Keyring) -> Host {
    let mut catalogue = Catalogue::new(Offer::default()).with_keyring(keyring);
    for model in models {
        catalogue.add(Served::new(model, &Options::default(), 1 << 26).unwrap()).unwrap();
    }
    Host { catalogue: Arc::new(catalogue), store: memory(100) }
}

fn identity(seed: u8) -> Arc<Identity> {
    Arc::new(Identity::from_seed(zeroize::Zeroizing::new([seed; 32])))
}

fn request(model: &str, identity: Option<Arc<Identity>>) -> Request {
    let wishes = Wishes { engine: Some(Engine::He), ..Wishes::default() };
    Request { model: model.to_owned(), wishes, identity, ..Request::default() }
}

/// Result of the same arithmetic in the clear.
fn clear(host: &Host, model: &Model, x: &[i32]) -> Output {
    let wishes = Wishes { engine: Some(Engine::He), ..Wishes::default() };
    let served = host.catalogue.find(&model.name, &wishes).unwrap();
    let real: Vec<f64> = x.iter().map(|&x| f64::from(x) * model.graph.facts[0].step).collect();
    Output::of_real(&model.graph, &served.service().unwrap().clear(&real))
}

/// What happens to a frame: whether it goes up, its number in that direction, its bytes.
type Meddler = Arc<dyn Fn(bool, usize, Vec<u8>) -> Vec<u8> + Send + Sync>;

fn honest() -> Meddler {
    Arc::new(|_, _, frame| frame)
}

type Outcome = (Result<Inference, ProtocolError>, Result<Summary, ProtocolError>);

/// A client that asks once over a socket that somebody sits on; tags of the frames that went up and down.
async fn through(
    host: &Host,
    request: Request,
    x: &[i32],
    meddle: Meddler,
) -> (Outcome, [Vec<u16>; 2], usize) {
    let (front, back) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (front_address, back_address) = (front.local_addr().unwrap(), back.local_addr().unwrap());
    let Host { catalogue, store } = host.clone();
    let serving = tokio::spawn(async move {
        let mut channel = tcp::from_stream(back.accept().await.unwrap().0).unwrap();
        channel.set_deadline(DEADLINE);
        server::serve(channel, &catalogue, store.as_ref(), || 1, &mut generator()).await
    });
    let seen = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
    let middle = {
        let seen = seen.clone();
        tokio::spawn(async move {
            let (client_reader, client_writer) = front.accept().await.unwrap().0.into_split();
            let (server_reader, server_writer) = TcpStream::connect(back_address).await.unwrap().into_split();
            tokio::select! {
                () = relay(client_reader, server_writer, true, &meddle, &seen) => {}
                () = relay(server_reader, client_writer, false, &meddle, &seen) => {}
            }
        })
    };
    let ask = async {
        let mut channel = tcp::connect(front_address, DEADLINE).await.unwrap();
        channel.set_deadline(DEADLINE);
        let mut session = Session::connect(channel, &request, &*CLIENT, &mut generator()).await?;
        let (uploaded, found) = (session.uploaded(), session.predict(x).await?);
        // The result stands, whatever becomes of the goodbye.
        let _ = session.close().await;
        Ok((found, uploaded))
    };
    let asked = timeout(BOUND, ask).await.expect("the client hangs");
    let served = timeout(BOUND, serving).await.expect("the server hangs").expect("the server panicked");
    let _ = timeout(BOUND, middle).await.expect("the middle hangs");
    let uploaded = asked.as_ref().map_or(0, |(_, uploaded)| *uploaded);
    let seen = seen.lock().unwrap().clone();
    ((asked.map(|(found, _)| found), served), seen, uploaded)
}

async fn relay(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    up: bool,
    meddle: &Meddler,
    seen: &Mutex<[Vec<u16>; 2]>,
) {
    let mut number = 0;
    loop {
        let mut frame = vec![0; FRAME_HEADER];
        if from.read_exact(&mut frame).await.is_err() {
            return;
        }
        let len = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        frame.resize(FRAME_HEADER + len, 0);
        if from.read_exact(&mut frame[FRAME_HEADER..]).await.is_err() {
            return;
        }
        seen.lock().unwrap()[usize::from(!up)].push(u16::from_le_bytes([frame[4], frame[5]]));
        if to.write_all(&meddle(up, number, frame)).await.is_err() {
            return;
        }
        number += 1;
    }
}

fn roomy() -> Keyring {
    Keyring::default()
}

/// How long a party waits, and how long a test does.
const DEADLINE: Duration = Duration::from_secs(4);
const BOUND: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn logits_are_those_of_the_clear_and_keys_cross_once() {
    let model = squares("squares", Reveal::Logits);
    let host = host([model.clone()], roomy());
    for visit in 0..3_u8 {
        let x = input(&model, 5 + u64::from(visit));
        // The third one is somebody else.
        let request = request("", Some(identity(visit / 2)));
        let ((found, served), _, uploaded) = through(&host, request, &x, honest()).await;
        let found = found.unwrap();
        assert_eq!(served.unwrap().served, 1);
        assert_eq!(uploaded == 0, visit == 1, "visit {visit}");
        let expected = clear(&host, &model, &x);
        let size = expected.logits.iter().fold(0.0, |max: f32, v| max.max(v.abs()));
        for (a, b) in found.report.output.logits.iter().zip(&expected.logits) {
            assert!((a - b).abs() < 0.01 * size, "{a} {b}");
        }
        assert_eq!(found.values.len(), 5);
        assert_eq!((found.report.online.rounds, found.report.equals_reference), (1, None));
        assert_eq!(found.report.offline.client_to_server_bytes, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_arg_max_is_all_that_a_client_learns_where_that_is_the_policy() {
    let model = squares("squares", Reveal::ArgMax);
    let host = host([model.clone()], roomy());
    let options = Options::of(Engine::He);
    let served = Served::new(model.clone(), &options, 0).unwrap();
    let plan = served.plan();
    let encrypted = plan.encrypted().unwrap();
    assert!(encrypted.log2_distance() <= -40.0);
    for seed in 2..6 {
        let x = input(&model, seed);
        let ((found, _), ..) = through(&host, request("", Some(identity(1))), &x, honest()).await;
        let found = found.unwrap();
        assert_eq!(found.report.output.argmax, clear(&host, &model, &x).argmax, "seed {seed}");
        assert!(found.report.output.logits.is_empty() && found.values.len() == 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_meter_counts_what_the_plan_foretells() {
    for reveal in [Reveal::Logits, Reveal::ArgMax] {
        let model = squares("squares", reveal);
        let host = Host::of_options(&Options::of(Engine::He), [model.clone()]);
        let plan = host.plan();
        assert!(plan.linear().layers().is_empty() && plan.state(0).is_some_and(|s| s != State::Shared));
        let (mut session, server) = host.connect().await;
        let x = input(&model, 3);
        // The first one of an arg-max sets transfers up.
        session.predict(&x).await.unwrap();
        let found = session.predict(&x).await.unwrap().report;
        let predicted = plan.predicted_with([session.stock()[0].max(1 << 20), 0]);
        for (i, (real, foretold)) in found.layers.iter().zip(&predicted.layers).enumerate() {
            let (real, foretold) = (&real.online, &foretold.online);
            let command = if i == 0 { FRAME_HEADER as u64 + 37 } else { 0 };
            assert_eq!(real.client_to_server_bytes, foretold.client_to_server_bytes + command, "row {i}");
            let last = i + 1 == found.layers.len();
            let stats = if last { (FRAME_HEADER + 16 + 16 * plan.rows()) as u64 } else { 0 };
            assert_eq!(real.server_to_client_bytes, foretold.server_to_client_bytes + stats, "row {i}");
        }
        session.close().await.unwrap();
        server.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_serves_clients_of_all_engines_at_once() {
    let model = squares("squares", Reveal::Logits);
    let host = host([model.clone()], roomy());
    let x = input(&model, 9);
    let on_shares = async |engine: Engine| {
        let wishes = Wishes { engine: Some(engine), ..Wishes::default() };
        let request = Request { wishes, ..Request::default() };
        through(&host, request, &x, honest()).await.0.0.unwrap()
    };
    let (a, b, c) = tokio::join!(
        through(&host, request("squares", None), &x, honest()),
        on_shares(Engine::Delphi),
        on_shares(Engine::Ot),
    );
    let expected = phineus_model::reference::run(&model, &x).unwrap();
    assert_eq!((&b.values, &c.values), (&expected, &expected));
    assert_eq!(a.0.0.unwrap().report.output.argmax, clear(&host, &model, &x).argmax);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_for_this_engine_is_refused_with_advice() {
    let mut deep = Net::new("deep", &[4]);
    let mut x = deep.dense(0, 4);
    for _ in 0..20 {
        x = deep.push(Op::Poly { coefficients: vec![0.0, 0.5, 0.25] }, &[x]);
        x = deep.dense(x, 4);
    }
    let deep =
        compile(&deep.finish(x), &quantize::Options { name: "deep".into(), ..quantize::Options::default() });
    for (model, advice) in [(tiny("rectifier"), "train the network with x^2"), (deep, "levels")] {
        let error = Served::new(model.clone(), &Options::of(Engine::He), 0).err().unwrap();
        assert!(matches!(error, PlanError::Encrypted(_)), "{error}");
        let host = host([model.clone()], roomy());
        let ((asked, served), ..) = through(&host, request("", None), &input(&model, 2), honest()).await;
        // Both sides say why, and the next client is served.
        for error in [asked.err().unwrap().to_string(), served.err().unwrap().to_string()] {
            assert!(error.contains(advice), "{error}");
        }
        let shares = Request::default();
        through(&host, shares, &input(&model, 2), honest()).await.0.0.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_nothing_to_prepare_and_nothing_else_to_evaluate() {
    let host = Host::of_options(&Options::of(Engine::He), [squares("squares", Reveal::Logits)]);
    let (mut session, server) = host.connect().await;
    let error = session.prepare().await.err().unwrap();
    assert!(matches!(error, ProtocolError::Engine { engine: Engine::He, .. }), "{error}");
    assert!(server.await.unwrap().is_err());
    // A client that does it all the same, and one that evaluates where that is not the engine.
    let commands: [(Engine, &[u8]); 3] =
        [(Engine::He, &[1, 1]), (Engine::He, &[2]), (Engine::Delphi, &[5, 1])];
    for (engine, bytes) in commands {
        let model = squares("squares", Reveal::Logits);
        let host = Host::of_options(&Options::of(engine), [model.clone()]);
        let (command, bytes) = (Step::new("session.command").tag().to_le_bytes(), bytes.to_vec());
        let replace = move |up: bool, _: usize, mut frame: Vec<u8>| {
            if up && frame[4..6] == command {
                frame[FRAME_HEADER..].fill(0);
                frame[FRAME_HEADER..][..bytes.len()].copy_from_slice(&bytes);
            }
            frame
        };
        let wishes = Wishes { engine: Some(engine), ..Wishes::default() };
        let request = Request { wishes, ..Request::default() };
        let ((asked, served), ..) = through(&host, request, &input(&model, 2), Arc::new(replace)).await;
        assert!(asked.is_err());
        let error = served.unwrap_err();
        assert!(matches!(error, ProtocolError::Engine { .. }), "{engine}: {error}");
    }
}

/// Replaces the payload of the frames of a step.
fn payload(step: &'static str, change: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Meddler {
    let tag = Step::new(step).tag().to_le_bytes();
    Arc::new(move |_, _, mut frame| {
        if frame[4..6] == tag {
            change(&mut frame[FRAME_HEADER..]);
        }
        frame
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_that_are_no_residues_are_refused() {
    let model = squares("squares", Reveal::Logits);
    let host = host([model.clone()], Keyring::new(0, Duration::ZERO));
    let x = input(&model, 4);
    for step in ["cipher.public-key", "cipher.keys", "cipher.request"] {
        let meddle = payload(step, |bytes| bytes.fill(0xff));
        let ((asked, served), ..) = through(&host, request("", None), &x, meddle).await;
        assert!(asked.is_err());
        let error = served.unwrap_err().to_string();
        assert!(error.contains("not reduced"), "{step}: {error}");
    }
    // Random contents that are residues decrypt to something else, and harm nobody.
    let meddle = payload("cipher.reply", |bytes| rand::rng().fill_bytes(bytes));
    let ((asked, _), ..) = through(&host, request("", None), &x, meddle).await;
    assert_ne!(asked.unwrap().report.output.logits, clear(&host, &model, &x).logits);
    let meddle = payload("cipher.known", |bytes| bytes[0] = 1);
    let ((asked, served), ..) = through(&host, request("", None), &x, meddle).await;
    assert!(asked.is_err() && served.is_err(), "a server that seems to have keys is asked to replace them");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_under_another_clients_token_cost_it_an_upload_and_no_answer() {
    let model = squares("squares", Reveal::Logits);
    let x = input(&model, 6);
    let token = identity(1).token();
    let posing = payload("cipher.token", move |bytes| bytes.copy_from_slice(&token));
    // Before the owner comes, or the server having forgotten its keys; and while it has them.
    for known in [false, true] {
        let host = host([model.clone()], roomy());
        let right = clear(&host, &model, &x).argmax;
        let ask = async |owner: u8, meddle: Meddler| {
            let ((asked, served), _, uploaded) =
                through(&host, request("", Some(identity(owner))), &x, meddle).await;
            served.unwrap();
            (asked.unwrap().report.output.argmax, uploaded > 0)
        };
        if known {
            assert_eq!(ask(1, honest()).await, (right, true));
        }
        // It uses no keys but its own, whoever it says it is.
        assert_eq!(ask(2, posing.clone()).await, (right, true));
        assert_eq!(ask(2, posing.clone()).await, (right, false));
        assert_eq!(ask(1, honest()).await, (right, true));
        assert_eq!(ask(1, honest()).await, (right, false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_keys_are_used_as_they_were_made_or_not_at_all() {
    let model = squares("squares", Reveal::Logits);
    let host = host([model.clone()], roomy());
    let x = input(&model, 6);
    let right = clear(&host, &model, &x).argmax;
    through(&host, request("", Some(identity(1))), &x, honest()).await.0.0.unwrap();
    // A digest or a voucher of something else: the keys are replaced.
    for at in [1, 33, 64] {
        let meddle = payload("cipher.known", move |bytes| bytes[at] ^= 1);
        let ((asked, _), _, uploaded) = through(&host, request("", Some(identity(1))), &x, meddle).await;
        assert_eq!((asked.unwrap().report.output.argmax, uploaded > 0), (right, true));
    }
    // Keys that somebody altered on their way are not those that their owner vouches for.
    let meddle = payload("cipher.voucher", |bytes| bytes[0] ^= 1);
    through(&host, request("", Some(identity(2))), &x, meddle).await.0.0.unwrap();
    let ((asked, _), _, uploaded) = through(&host, request("", Some(identity(2))), &x, honest()).await;
    assert_eq!((asked.unwrap().report.output.argmax, uploaded > 0), (right, true));
    let meddle = payload("cipher.choice", |bytes| bytes[0] = 7);
    let ((asked, served), ..) = through(&host, request("", Some(identity(2))), &x, meddle).await;
    assert!(asked.is_err());
    assert!(served.unwrap_err().to_string().contains("neither yes nor no"));
}

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_keys_are_sent_again() {
    let model = squares("squares", Reveal::Logits);
    let x = input(&model, 6);
    let full = Keyring::new(1000, Duration::from_secs(60));
    for keyring in [full, Keyring::new(usize::MAX, Duration::ZERO)] {
        let host = host([model.clone()], keyring);
        for _ in 0..2 {
            let ((asked, _), _, uploaded) =
                through(&host, request("", Some(identity(3))), &x, honest()).await;
            asked.unwrap();
            assert!(uploaded > 0);
        }
    }
}
