//! A man in the middle does one thing to one frame of a whole conversation (hello, preparation, inference, goodbye):
//! in both directions, every kind of harm to every frame of a short conversation, and the six of the conformance suite to
//! one frame of every kind under every engine and rounding.
//!
//! Whatever it does, both parties end in time and without a panic, the client has an error or, where the harm came too
//! late or merely changed contents, a value; the server serves the next client from the same catalogue and store; and
//! the pre-compute that was in use is gone on both sides.

use std::time::Duration;

use phineus_infer::ProtocolError;
use phineus_infer::plan::{Engine, Options, Rounding, Wishes};
use phineus_infer::session::client::{Prepared, Request, Session};
use phineus_infer::session::server::Summary;
use phineus_infer::store::PrepId;
use phineus_model::fixed::Model;
use phineus_model::reference;
use phineus_net::{Channel, Client, FRAME_HEADER, Server, Step, mem};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::time::timeout;

use crate::party::{CLIENT, Host, copy, input};
use crate::{nets, party};

/// What happens to the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// Loses its second half; the header states the new length.
    Shorten,
    /// Loses its second half; the header states the old length.
    Cut,
    /// Gains some bytes; the header states the new length.
    Lengthen,
    /// Some bytes follow it that belong to no frame.
    Trail,
    /// One bit of the payload (of the tag where there is none) is flipped.
    Flip,
    /// One bit of the header is flipped.
    FlipHeader,
    /// Arrives twice.
    Repeat,
    /// Never arrives.
    Drop,
    /// Arrives behind the next one.
    Swap,
    /// Is replaced by random bytes.
    Garbage,
    /// The connection is closed instead.
    Close,
    /// Neither it nor anything behind it arrives, and the connection stays open.
    Stall,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Client to server.
    Up,
    Down,
}

/// One run.
struct Outcome {
    client: Result<Vec<i64>, ProtocolError>,
    server: Result<Summary, ProtocolError>,
    /// Of the pre-compute that the client used, with a copy of its half.
    prepared: Option<(PrepId, Vec<u8>)>,
    /// Tags of the frames that came up and down.
    seen: [Vec<u16>; 2],
}

/// How long a run may take at most; far beyond all deadlines.
const BOUND: Duration = Duration::from_secs(60);

/// Which frames of a conversation come to harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frames {
    All,
    /// The first of every step.
    OfEveryKind,
}

/// Harms frames in turn, all at once.
async fn harm_frames(harm: Harm, options: &Options, model: Model, which: Frames) {
    let x = input(&model, 7);
    let expected = reference::run(&model, &x).unwrap();
    let host = Host::of_options(options, [model.clone()]);

    let honest = converse(&host, &x, None, Duration::from_secs(30)).await;
    // Stochastic results differ from run to run.
    let exact = options.rounding == Rounding::Exact;
    let right = |values: &[i64]| if exact { values == expected } else { values.len() == expected.len() };
    assert!(right(&honest.client.unwrap()));
    honest.server.unwrap();
    let [up, down] = &honest.seen;
    let position = |tags: &[u16], step: Step, nth: usize| {
        tags.iter().enumerate().filter(|(_, t)| **t == step.tag()).nth(nth).expect("an honest step").0
    };
    let command = position(up, Step::new("session.command"), 1);
    let go = position(down, Step::new("session.go"), 0);
    let cases = (0..up.len()).map(|k| (Way::Up, k)).chain((0..down.len()).map(|k| (Way::Down, k)));
    let chosen = |(way, k): &(Way, usize)| {
        let tags = if *way == Way::Up { up } else { down };
        which == Frames::All || !tags[..*k].contains(&tags[*k])
    };

    let runs: Vec<_> = cases
        .filter(chosen)
        .map(|(way, k)| {
            let (host, x) = (host.clone(), x.clone());
            let before = if way == Way::Up { up[..=k].to_vec() } else { down[..=k].to_vec() };
            let run = tokio::spawn(async move { reach(&host, &x, (way, k, harm), &before).await });
            (way, k, run)
        })
        .collect();
    for (way, k, run) in runs {
        let at = format!("{}, {harm:?} of frame {k}, {way:?}", options.engine);
        let outcome = run.await.unwrap_or_else(|panic| panic!("{at}: {panic}"));
        let left = if way == Way::Up { up.len() } else { down.len() } - k - 1;
        let flip = harm == Harm::Flip;
        // What comes behind a frame does not harm the frame itself.
        let behind = matches!(harm, Harm::Repeat | Harm::Trail);
        // The client's last word is the goodbye, after the value; the one before it is all that the value needs. The
        // server's last word is figures only: cut off, they may be completed by the notice that it gives up.
        let unharmed = match way {
            Way::Up => left == 0 || (left == 1 && behind),
            Way::Down => left == 0 && (behind || harm == Harm::Cut),
        };
        match &outcome.client {
            Ok(values) if flip => assert_eq!(values.len(), expected.len(), "{at}"),
            Ok(values) => {
                assert!(unharmed, "{at}: the client noticed nothing");
                assert!(right(values), "{at}: {values:?}");
            }
            Err(error) => assert!(!error.to_string().is_empty(), "{at}"),
        }
        if outcome.server.is_ok() {
            assert!((left == 0 && behind) || flip, "{at}: the server noticed nothing");
        }
        let in_use = match way {
            Way::Up => k > command,
            Way::Down => k >= go,
        };
        if in_use {
            let (id, half) = outcome.prepared.unwrap_or_else(|| panic!("{at}: nothing was prepared"));
            assert!(!host.store.list(&host.lot()).unwrap().contains(&id), "{at}: not burned");
            assert_refused(&host, id, &half, &x).await;
        }
    }
    assert!(right(&host.infer(&x).await), "after {harm:?}");
}

/// A run in which the frame was reached, behind those before it: under load, a short deadline may pass earlier.
async fn reach(host: &Host, x: &[i32], case: (Way, usize, Harm), before: &[u16]) -> Outcome {
    let mut deadline = Duration::from_millis(400);
    loop {
        let outcome = converse(host, x, Some(case), deadline).await;
        if outcome.seen[usize::from(case.0 == Way::Down)].starts_with(before) {
            return outcome;
        }
        deadline *= 2;
        assert!(deadline < BOUND, "{case:?} was never reached");
    }
}

/// A client that has a copy of a used pre-compute gets nothing for it.
async fn assert_refused(host: &Host, id: PrepId, half: &[u8], x: &[i32]) {
    let (mut session, server) = host.connect().await;
    let prepared = Prepared::from_bytes(id, half, session.plan()).unwrap();
    let error = session.infer(prepared, x).await.unwrap_err();
    assert!(error.to_string().contains("no such pre-compute"), "{error}");
    assert!(matches!(server.await.unwrap(), Err(ProtocolError::Store(_))));
    let next = session.prepare().await.err().map(|e| e.to_string());
    assert_eq!(next, Some(ProtocolError::Over.to_string()));
}

/// A conversation through the middle.
async fn converse(host: &Host, x: &[i32], case: Option<(Way, usize, Harm)>, deadline: Duration) -> Outcome {
    let (client_end, left) = tokio::io::duplex(1 << 20);
    let (right, server_end) = tokio::io::duplex(1 << 20);
    let (reader, writer) = tokio::io::split(client_end);
    let mut client: Channel<Client> = Channel::new(reader, writer);
    let (reader, writer) = tokio::io::split(server_end);
    let mut server: Channel<Server> = Channel::new(reader, writer);
    client.set_deadline(deadline);
    server.set_deadline(deadline);
    let harm = |wanted| case.filter(|(way, ..)| *way == wanted).map(|(_, k, harm)| (k, harm));
    let (up, down) = (harm(Way::Up), harm(Way::Down));
    let middle = tokio::spawn(async move {
        let ((from_client, to_client), (from_server, to_server)) =
            (tokio::io::split(left), tokio::io::split(right));
        let (mut seen_up, mut seen_down) = (Vec::new(), Vec::new());
        // Once one direction is over, the connection is.
        tokio::select! {
            () = relay(from_client, to_server, up, &mut seen_up) => {}
            () = relay(from_server, to_client, down, &mut seen_down) => {}
        }
        [seen_up, seen_down]
    });
    let serving = host.serve(server);
    let mut prepared = None;
    let client =
        timeout(BOUND, client_side(client, host.wishes(), x, &mut prepared)).await.expect("the client hangs");
    let server = timeout(BOUND, serving).await.expect("the server hangs").expect("the server panicked");
    let seen = timeout(BOUND, middle).await.expect("the middle hangs").expect("the middle panicked");
    Outcome { client, server, prepared, seen }
}

async fn client_side(
    channel: Channel<Client>,
    wishes: Wishes,
    x: &[i32],
    used: &mut Option<(PrepId, Vec<u8>)>,
) -> Result<Vec<i64>, ProtocolError> {
    let request = Request { wishes, ..Request::default() };
    let mut session = Session::connect(channel, &request, &*CLIENT, &mut party::generator()).await?;
    let prepared = session.prepare().await?;
    *used = Some((prepared.id(), prepared.to_bytes().to_vec()));
    let values = session.infer(prepared, x).await?.values;
    // The value stands, whatever becomes of the goodbye.
    let _ = session.close().await;
    Ok(values)
}

/// Passes frames on until an end closes, harming one.
async fn relay(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    harm: Option<(usize, Harm)>,
    seen: &mut Vec<u16>,
) {
    let mut held = Vec::new();
    while let Some(frame) = read_frame(&mut from).await {
        let number = seen.len();
        seen.push(u16::from_le_bytes([frame[4], frame[5]]));
        let bytes = match harm {
            Some((k, Harm::Swap)) if k == number => {
                held = frame;
                continue;
            }
            Some((k, Harm::Swap)) if k + 1 == number => [frame, std::mem::take(&mut held)].concat(),
            Some((k, Harm::Close)) if k == number => return,
            Some((k, Harm::Stall)) if k == number => std::future::pending().await,
            Some((k, harm)) if k == number => harmed(frame, harm, k as u64),
            _ => frame,
        };
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// One frame, header and all; `None` at the end.
pub(crate) async fn read_frame(from: &mut ReadHalf<DuplexStream>) -> Option<Vec<u8>> {
    let mut frame = vec![0; FRAME_HEADER];
    from.read_exact(&mut frame).await.ok()?;
    let len = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    frame.resize(FRAME_HEADER + len, 0);
    from.read_exact(&mut frame[FRAME_HEADER..]).await.ok()?;
    Some(frame)
}

fn harmed(mut frame: Vec<u8>, harm: Harm, seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let len = frame.len() - FRAME_HEADER;
    let mut flip = |frame: &mut Vec<u8>, bytes: std::ops::Range<usize>| {
        frame[rng.random_range(bytes)] ^= 1 << rng.random_range(0..8);
    };
    match harm {
        // A frame without payload cannot lose half of it: it loses half of its header.
        Harm::Shorten | Harm::Cut if len == 0 => frame.truncate(FRAME_HEADER / 2),
        Harm::Shorten => {
            frame.truncate(FRAME_HEADER + len / 2);
            state_length(&mut frame);
        }
        Harm::Cut => frame.truncate(FRAME_HEADER + len / 2),
        Harm::Lengthen => {
            frame.extend([0x5a; 13]);
            state_length(&mut frame);
        }
        Harm::Trail => frame.extend([0x5a; 13]),
        Harm::Flip if len == 0 => flip(&mut frame, 4..6),
        Harm::Flip => flip(&mut frame, FRAME_HEADER..FRAME_HEADER + len),
        Harm::FlipHeader => flip(&mut frame, 0..FRAME_HEADER),
        Harm::Repeat => frame.extend_from_within(..),
        Harm::Drop => frame.clear(),
        Harm::Garbage => rng.fill_bytes(&mut frame),
        Harm::Swap | Harm::Close | Harm::Stall => {}
    }
    frame
}

fn state_length(frame: &mut [u8]) {
    let len = (frame.len() - FRAME_HEADER) as u32;
    frame[..4].copy_from_slice(&len.to_le_bytes());
}

/// Every engine with every rounding it has.
const WAYS: [(Engine, Rounding); 5] = [
    (Engine::ClientGarbler, Rounding::Exact),
    (Engine::Delphi, Rounding::Exact),
    (Engine::Ot, Rounding::Exact),
    (Engine::Ot, Rounding::Stochastic),
    (Engine::Auto, Rounding::Exact),
];

/// One frame of every kind, under every engine.
async fn harm_every_engine(harm: Harm) {
    for (engine, rounding) in WAYS {
        let options = Options { rounding, ..Options::of(engine) };
        harm_frames(harm, &options, nets::mixed(), Frames::OfEveryKind).await;
    }
}

macro_rules! harms {
    ($($test:ident: $harm:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            harm_frames(Harm::$harm, &Options::default(), nets::tiny("tiny"), Frames::All).await;
        }
    )*};
}

macro_rules! harms_of_engines {
    ($($test:ident: $harm:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            harm_every_engine(Harm::$harm).await;
        }
    )*};
}

harms_of_engines! {
    every_engine_with_shorter_frames: Shorten;
    every_engine_with_longer_frames: Lengthen;
    every_engine_with_flipped_contents: Flip;
    every_engine_with_repeated_frames: Repeat;
    every_engine_with_lost_frames: Drop;
    every_engine_with_swapped_frames: Swap;
}

harms! {
    shorter_frames: Shorten;
    frames_cut_off: Cut;
    longer_frames: Lengthen;
    bytes_between_frames: Trail;
    flipped_contents: Flip;
    flipped_headers: FlipHeader;
    repeated_frames: Repeat;
    lost_frames: Drop;
    swapped_frames: Swap;
    garbage: Garbage;
    closed_connections: Close;
    stalled_connections: Stall;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pre_compute_serves_once() {
    let model = nets::tiny("tiny");
    let host = Host::of([model.clone()]);
    let (mut session, server) = host.connect().await;
    let prepared = session.prepare().await.unwrap();
    let again = copy(&prepared, &session);
    let x = input(&model, 3);
    assert_eq!(session.infer(prepared, &x).await.unwrap().values, reference::run(&model, &x).unwrap());
    // The same session, the same id: refused, and the session is over on both sides.
    let error = session.infer(again, &x).await.unwrap_err();
    assert!(error.to_string().contains("no such pre-compute"), "{error}");
    assert!(matches!(server.await.unwrap(), Err(ProtocolError::Store(_))));
}

/// Either side may vanish at once.
#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_at_the_deadline() {
    let host = Host::of([nets::tiny("tiny")]);
    let (_client, mut server) = mem::pair();
    server.set_deadline(Duration::from_millis(50));
    let error = timeout(BOUND, host.serve(server)).await.unwrap().unwrap().unwrap_err();
    assert!(error.to_string().contains("no progress"), "{error}");
    let (mut client, _server) = mem::pair();
    client.set_deadline(Duration::from_millis(50));
    let error = party::connect(client, "", None).await.err().unwrap();
    assert!(error.to_string().contains("no progress"), "{error}");
}
