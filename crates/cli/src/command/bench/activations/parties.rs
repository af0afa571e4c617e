//! Both parties of a measurement, each on a thread of its own that does all of its work: thread time is its cost.

use std::ops::AsyncFnOnce;

use cpu_time::ThreadTime;
use phineus_kernel::prg::Prg;
use phineus_mpc::Delta;
use phineus_mpc::ot::{cot, engine};
use phineus_mpc::rot::{Receiver, Sender, Tweaks};
use phineus_net::{Channel, Client, Role, Server, Traffic, mem};

use crate::failure::Failure;

/// A party with oblivious transfers in both directions.
pub(super) struct Party<R: Role> {
    pub(super) channel: Channel<R>,
    pub(super) send: Sender<R>,
    pub(super) receive: Receiver<R>,
    pub(super) rng: Prg,
    laps: Vec<Lap>,
    last: (ThreadTime, Traffic),
}

/// What a stretch cost one party.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lap {
    pub(super) cpu_seconds: f64,
    pub(super) sent: u64,
}

impl<R: Role> Party<R> {
    async fn set_up(mut channel: Channel<R>, kind: engine::Engine) -> Result<Self, Failure> {
        let rng = &mut Prg::from_generator(&mut rand::rng());
        let (send, receive) = if R::LEADER {
            let send = sender(&mut channel, kind, rng).await?;
            (send, receiver(&mut channel, kind, rng).await?)
        } else {
            let receive = receiver(&mut channel, kind, rng).await?;
            (sender(&mut channel, kind, rng).await?, receive)
        };
        let (down, up) = Tweaks::split(START);
        let (own, theirs) = if R::LEADER { (down, up) } else { (up, down) };
        let last = (ThreadTime::now(), channel.traffic());
        Ok(Self {
            channel,
            send: Sender::new(send, own),
            receive: Receiver::new(receive, theirs),
            rng: Prg::from_generator(rng),
            laps: Vec::new(),
            last,
        })
    }

    /// Ends a stretch.
    pub(super) fn lap(&mut self) {
        let (now, traffic) = (ThreadTime::now(), self.channel.traffic());
        let (then, before) = std::mem::replace(&mut self.last, (now, traffic));
        let cpu_seconds = now.duration_since(then).as_secs_f64();
        self.laps.push(Lap { cpu_seconds, sent: traffic.sent - before.sent });
    }
}

/// Session ids of the two directions' set-ups and the start of the hash keys: parties of one process need no fresh ones.
const SESSIONS: [[u8; 32]; 2] = [[1; 32], [2; 32]];
const START: u128 = 1 << 99;

async fn sender<R: Role>(
    channel: &mut Channel<R>,
    kind: engine::Engine,
    rng: &mut Prg,
) -> Result<engine::Sender<R>, Failure> {
    let base = cot::Sender::setup(channel, &SESSIONS[0], Delta::random(rng), rng).await?;
    Ok(engine::Sender::setup(kind, channel, &SESSIONS[1], base, rng).await?)
}

async fn receiver<R: Role>(
    channel: &mut Channel<R>,
    kind: engine::Engine,
    rng: &mut Prg,
) -> Result<engine::Receiver<R>, Failure> {
    let base = cot::Receiver::setup(channel, &SESSIONS[0], rng).await?;
    Ok(engine::Receiver::setup(kind, channel, &SESSIONS[1], base, rng).await?)
}

/// Sets up transfers, runs both halves, and returns their stretches, one of the client beside one of the server.
pub(super) fn run(
    kind: engine::Engine,
    client: impl AsyncFnOnce(&mut Party<Client>) -> Result<(), Failure> + Send,
    server: impl AsyncFnOnce(&mut Party<Server>) -> Result<(), Failure> + Send,
) -> Result<Vec<[Lap; 2]>, Failure> {
    let (client_end, server_end) = mem::pair();
    let (client, server) = std::thread::scope(|scope| {
        let server = scope.spawn(|| alone(server_end, kind, server));
        let client = alone(client_end, kind, client);
        (client, server.join())
    });
    let server = server.map_err(|_| Failure::new("the server's thread failed"))??;
    Ok(client?.into_iter().zip(server).map(|(c, s)| [c, s]).collect())
}

fn alone<R: Role>(
    channel: Channel<R>,
    kind: engine::Engine,
    work: impl AsyncFnOnce(&mut Party<R>) -> Result<(), Failure> + Send,
) -> Result<Vec<Lap>, Failure> {
    on_one_thread(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(async {
            let mut party = Party::set_up(channel, kind).await?;
            work(&mut party).await?;
            Ok(party.laps)
        })
    })
}

/// Work on a new thread that is the only worker of its pool.
pub(super) fn on_one_thread<T: Send>(work: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
    let pooled = || {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
        pool.map_err(|e| Failure::new(e.to_string()))?.install(work)
    };
    let joined = std::thread::scope(|scope| scope.spawn(pooled).join());
    joined.map_err(|_| Failure::new("a thread of the measurement failed"))?
}
