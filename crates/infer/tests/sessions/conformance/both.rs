//! Both parties, and somebody in the middle who does one thing to one frame of their conversation.

use std::time::Duration;

use phineus_infer::ProtocolError;
use phineus_infer::plan::Options;
use phineus_infer::session::client::{Request, Session};
use phineus_infer::session::server::Summary;
use phineus_model::fixed::Model;
use phineus_net::{Channel, Client};
use tokio::time::timeout;

use crate::harm::{Harm, verdict};
use crate::party::{CLIENT, Host, generator, input};
use crate::tap::{Frame, Way, tapped};

/// One conversation.
struct Both {
    client: Result<Vec<i64>, ProtocolError>,
    server: Result<Summary, ProtocolError>,
    /// What was on its way up and down.
    seen: [Vec<Frame>; 2],
}

/// How long a conversation may take at most; far beyond all deadlines.
const BOUND: Duration = Duration::from_secs(60);

/// Harms every frame in turn, all conversations at once, each in another way.
pub(super) async fn learn(options: Options, model: Model, turn: usize) {
    let x = input(&model, 7);
    let host = Host::of_options(&options, [model]);
    let honest = converse(&host, &x, None, BOUND).await;
    let values = honest.client.unwrap();
    honest.server.unwrap();
    let mut runs = Vec::new();
    for (way, frames) in [Way::Up, Way::Down].into_iter().zip(honest.seen) {
        for k in 0..frames.len() {
            let (host, x, tags) = (host.clone(), x.clone(), frames[..=k].iter().map(Frame::tag).collect());
            let harm = Harm::ALL[(k + turn) % Harm::ALL.len()];
            let run = tokio::spawn(async move { reach(&host, &x, (way, k, harm), tags).await });
            runs.push((way, frames.len() - k - 1, harm, run));
        }
    }
    for (way, left, harm, run) in runs {
        let at = format!("{}: {harm:?}, {left} before the last, {way:?}", options.engine);
        let both = run.await.unwrap_or_else(|panic| panic!("{at}: {panic}"));
        // The client's last word is the goodbye, behind all that its value needs; the server's is figures only, which the
        // notice that it gives up may complete.
        let late = match way {
            Way::Up => left == 0 || (left == 1 && harm.is_behind()),
            Way::Down => left == 0 && (harm.is_behind() || harm == Harm::Cut),
        };
        match both.client {
            Ok(found) => {
                assert!(late || harm == Harm::Flip, "{at}: the client noticed nothing");
                assert_eq!(found.len(), values.len(), "{at}");
            }
            Err(error) => assert!(verdict(&error).is_some(), "{at}: {error}"),
        }
        match both.server {
            Ok(_) => assert!(
                (left == 0 && harm.is_behind()) || harm == Harm::Flip,
                "{at}: the server noticed nothing"
            ),
            Err(error) => assert!(verdict(&error).is_some(), "{at}: {error}"),
        }
    }
    let after = converse(&host, &x, None, BOUND).await;
    assert_eq!(after.client.unwrap().len(), values.len());
}

/// A conversation in which the frame was reached, behind those before it: under load, a short deadline may pass earlier.
async fn reach(host: &Host, x: &[i32], case: (Way, usize, Harm), tags: Vec<u16>) -> Both {
    let mut deadline = Duration::from_millis(400);
    loop {
        let both = converse(host, x, Some(case), deadline).await;
        let seen = &both.seen[usize::from(case.0 == Way::Down)];
        if seen.iter().map(Frame::tag).take(tags.len()).eq(tags.iter().copied()) {
            return both;
        }
        deadline *= 2;
        assert!(deadline < BOUND, "{case:?} was never reached");
    }
}

async fn converse(host: &Host, x: &[i32], case: Option<(Way, usize, Harm)>, deadline: Duration) -> Both {
    let (mut client, mut server, tap) = tapped();
    client.set_deadline(deadline);
    server.set_deadline(deadline);
    let middle = tokio::spawn(tap.listen(case));
    let serving = host.serve(server);
    let client = timeout(BOUND, ask(client, host, x)).await.expect("the client hangs");
    let server = timeout(BOUND, serving).await.expect("the server hangs").expect("the server panicked");
    let seen = timeout(BOUND, middle).await.expect("the middle hangs").expect("the middle panicked");
    Both { client, server, seen }
}

async fn ask(channel: Channel<Client>, host: &Host, x: &[i32]) -> Result<Vec<i64>, ProtocolError> {
    let request = Request { wishes: host.wishes(), ..Request::default() };
    let mut session = Session::connect(channel, &request, &*CLIENT, &mut generator()).await?;
    let values = session.predict(x).await?.values;
    // The value stands, whatever becomes of the goodbye.
    let _ = session.close().await;
    Ok(values)
}
