//! The server's end.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use phineus_kernel::prg::Prg;
use phineus_kernel::wire::Wire as _;
use phineus_net::{Channel, Server, Traffic};
use rand::{CryptoRng, Rng as _};

use super::client::Stats;
use super::encrypted::Answering;
use super::hello::{
    AGREE, AGREE_LEN, AGREED, COMMAND, Command, GO, HELLO, Hello, READY, STATS, VERSION, WELCOME,
};
use super::resumption::{self, Live};
use super::{hex, refuse_unprepared, session_id};
use crate::ProtocolError;
use crate::compute::compute;
use crate::exec;
use crate::exec::material::ServerMaterial;
use crate::exec::transfers::Transfers;
use crate::protocol::linear_he::ServerKeys;
use crate::report::Footprint;
use crate::schedule::{self, Priority};
use crate::served::{Catalogue, Served};
use crate::store::{Lot, PrepId, Store};

/// How long a client may take to open its mouth.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);

/// What a session did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Summary {
    /// Pre-computes made.
    pub prepared: usize,
    /// Inferences served.
    pub served: usize,
    /// Bytes and rounds.
    pub traffic: Traffic,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Traffic { sent, received, rounds } = self.traffic;
        let Self { prepared, served, .. } = self;
        write!(f, "{prepared} prepared, {served} served, {sent} bytes out, {received} in, {rounds} rounds")
    }
}

/// Serves one client until it says goodbye.
///
/// `peak_rss` tells the largest resident set of this process, for reports.
///
/// # Errors
/// [`ProtocolError`]; the client has been told, and a pre-compute in use is burned.
pub async fn serve(
    mut channel: Channel<Server>,
    catalogue: &Catalogue,
    store: &dyn Store,
    peak_rss: fn() -> u64,
    rng: &mut impl CryptoRng,
) -> Result<Summary, ProtocolError> {
    let mut rng = Prg::from_generator(rng);
    let mut summary = Summary::default();
    let session = catalogue.metrics().begins();
    let result = converse(&mut channel, catalogue, store, peak_rss, &mut rng, &mut summary).await;
    summary.traffic = channel.traffic();
    session.ends(result.is_ok(), summary.traffic);
    match result {
        Ok(()) => Ok(summary),
        Err(error) => {
            channel.abort(&error.public()).await;
            Err(error)
        }
    }
}

async fn converse(
    channel: &mut Channel<Server>,
    catalogue: &Catalogue,
    store: &dyn Store,
    peak_rss: fn() -> u64,
    rng: &mut Prg,
    summary: &mut Summary,
) -> Result<(), ProtocolError> {
    let (served, lot, session, mut keys) = agree(channel, catalogue, store, rng).await?;
    let plan = served.plan();
    let states = resumption::lot(plan, lot.peer);
    let known = *keys.name();
    let mut live: Option<Live<Server>> = None;
    let mut answering = Answering::begin(channel, catalogue.keyring(), &served, session).await?;
    loop {
        match channel.recv::<Command>(COMMAND, &()).await? {
            Command::Bye => return Ok(()),
            Command::Keep => {
                catalogue.keys().put(keys, &known);
                let kept = live.and_then(Live::suspend);
                return kept.map_or(Ok(()), |kept| kept.keep(store, &states));
            }
            Command::Prepare(count, digest, priority) => {
                refuse_unprepared(plan)?;
                let start = Instant::now();
                store.check_room(&lot, count as usize, 0)?;
                let bulk = if count == 1 { None } else { Some(plan.bulk(count as usize)?) };
                let linear = bulk.as_ref().unwrap_or(plan.linear());
                let own = plan.linear_digest(linear);
                if digest != own {
                    return Err(ProtocolError::PlanDiffers { ours: hex(&own), theirs: hex(&digest) });
                }
                keys.receive(channel, plan, linear).await?;
                let directions = plan.directions();
                let offer = match live {
                    None if directions.any() => Some(resumption::receive(channel).await?),
                    _ => None,
                };
                let halves = exec::server::linear(channel, &served, linear, &keys, rng);
                let halves = schedule::run(priority, halves).await?;
                if let Some(offer) = offer {
                    let answer = offer.answer(channel, (store, &states), &session, directions, rng);
                    live = Some(schedule::run(priority, answer).await?);
                }
                let mut none = Transfers::default();
                let transfers = live.as_mut().map_or(&mut none, |live| &mut live.transfers);
                for half in halves {
                    let material = exec::server::nonlinear(channel, &served, half, transfers, rng);
                    let material = schedule::run(priority, material).await?;
                    let id = PrepId::random(rng);
                    compute(|| store.put(&lot, id, &material.into_bytes()))?;
                    channel.send_bytes(READY, id.bytes()).await?;
                    channel.flush().await?;
                    summary.prepared += 1;
                }
                catalogue.metrics().prepared(&served, count.into(), start.elapsed());
            }
            Command::Infer(id) => {
                refuse_unprepared(plan)?;
                let (_first, start) = (schedule::claim(Priority::Online), Instant::now());
                let record = compute(|| store.take(&lot, PrepId::from_bytes(id)))?;
                let stored_bytes = record.len() as u64;
                let material = ServerMaterial::from_bytes(&record, plan)?;
                drop(record);
                let offline_cpu = material.cpu_seconds.clone();
                channel.send_bytes(GO, &[]).await?;
                channel.flush().await?;
                let online_cpu = exec::server::online(channel, &served, material).await?;
                let footprint = Footprint { peak_rss_bytes: peak_rss(), stored_bytes };
                channel.send(STATS, &Stats { footprint, offline_cpu, online_cpu }).await?;
                channel.flush().await?;
                summary.served += 1;
                catalogue.metrics().answered(&served, start.elapsed());
            }
            Command::Evaluate(count) => {
                let answering = answering.as_mut().ok_or(ProtocolError::Engine {
                    engine: plan.options().engine,
                    what: "evaluate networks under encryption",
                    instead: "prepare first",
                })?;
                let (_first, start) = (schedule::claim(Priority::Online), Instant::now());
                if count == 1 {
                    let online_cpu = answering.infer(channel, &served, rng).await?;
                    let footprint = Footprint { peak_rss_bytes: peak_rss(), stored_bytes: 0 };
                    let offline_cpu = vec![0.0; plan.rows()];
                    channel.send(STATS, &Stats { footprint, offline_cpu, online_cpu }).await?;
                    channel.flush().await?;
                } else {
                    answering.infer_batch(channel, catalogue.keyring(), &served, count, rng).await?;
                }
                summary.served += count as usize;
                catalogue.metrics().answered(&served, start.elapsed());
            }
        }
    }
}

async fn agree(
    channel: &mut Channel<Server>,
    catalogue: &Catalogue,
    store: &dyn Store,
    rng: &mut Prg,
) -> Result<(Arc<Served>, Lot, [u8; 32], ServerKeys), ProtocolError> {
    // Whoever connects and stays silent must not keep others waiting for long.
    let patience = channel.deadline();
    channel.set_deadline(patience.min(HELLO_DEADLINE));
    let hello = channel.recv::<Hello>(HELLO, &()).await?;
    channel.set_deadline(patience);
    if hello.version != VERSION {
        return Err(ProtocolError::Version { ours: VERSION, theirs: hello.version });
    }
    let served = compute(|| catalogue.find(&hello.model, &hello.wishes))?;
    let plan = served.plan();
    if let Some(pinned) = hello.pinned.filter(|p| p != plan.digest()) {
        return Err(ProtocolError::PlanDiffers { ours: plan.digest_hex(), theirs: hex(&pinned) });
    }
    let mut nonce = [0; 32];
    rng.fill_bytes(&mut nonce);
    let count = store.advance(hello.pool)?.to_le_bytes();
    let mut welcome = [&VERSION.to_le_bytes()[..], &nonce, store.identity().bytes(), &count].concat();
    plan.options().encode(&mut welcome);
    welcome.extend(plan.public().to_bytes());
    channel.send_bytes(WELCOME, &welcome).await?;
    let agreed = channel.recv_bytes(AGREE, AGREE_LEN).await?;
    let (client_nonce, rest) = agreed.split_at(32);
    let (digest, epoch) = rest.split_at(32);
    if digest != plan.digest() {
        return Err(ProtocolError::PlanDiffers { ours: plan.digest_hex(), theirs: hex(digest) });
    }
    let id = session_id(client_nonce.try_into().unwrap_or(&[0; 32]), &nonce, plan.digest());
    let (epoch, rest) = epoch.split_at(8);
    let (has, name) = rest.split_at(1);
    let epoch = u64::from_le_bytes(epoch.try_into().unwrap_or_default());
    let kept = store.witness(hello.pool, epoch)?;
    if has != [1] {
        store.burn(hello.pool)?;
    }
    // Both sides forget everything, or neither does.
    let known =
        if kept && has == [1] { name.try_into().ok().and_then(|n| catalogue.keys().get(n)) } else { None };
    channel.send_bytes(AGREED, &[u8::from(kept), u8::from(known.is_some())]).await?;
    channel.flush().await?;
    let lot = Lot { plan: *plan.digest(), peer: hello.pool };
    Ok((served, lot, id, known.unwrap_or_default()))
}
