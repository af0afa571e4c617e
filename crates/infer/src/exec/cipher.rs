//! The two halves of an inference under encryption. There is no offline phase: the first message is the input.
//!
//! 1. client -> server: the encrypted input, in the layout that the program begins with.
//! 2. server -> client: the encrypted result, re-randomised, and flooded or masked ([`phineus_he::slots::Evaluator::reply`],
//!    [`share`](phineus_he::slots::Evaluator::share)).
//! 3. Where the client learns the arg-max only, one garbled circuit on the two shares, garbled now: transfers of the bits of
//!    the client's share, tables, the labels of the server's share ([`act_gc`](crate::protocol::act_gc)). What was decrypted
//!    in step 2 is a uniform mask.
//!
//! One round for logits. Nothing that a client has decrypted goes back to the server.

use phineus_he::slots::{Decrypted, Reply, Requests, SecretKey};
use phineus_net::{Channel, Client, Server, Step};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::transfers::Transfers;
use crate::ProtocolError;
use crate::cipher::{ClientKeys, Scheme, Service};
use crate::clock::{Clock, Side};
use crate::compute::compute;
use crate::masks::Seed;
use crate::plan::{Choice, Encrypted, GarbledLayer, NonLinear, Plan};
use crate::protocol::act_gc;
use crate::protocol::script::Script;
use crate::report::{Cost, Report};

const REQUEST: Step = Step::new("cipher.request");
const REPLY: Step = Step::new("cipher.reply");

/// A party's ends of what the arg-max takes, set up by the first inference of a session.
pub(crate) struct Ends<R: phineus_net::Role> {
    /// Binds transfers to the session.
    pub(crate) session: [u8; 32],
    pub(crate) transfers: Option<Transfers<R>>,
}

/// What the client learns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    /// 2^gain times the logits, up to the error of the scheme.
    Logits(Vec<f64>),
    ArgMax(usize),
}

/// The client's half: what it learns from an input of real numbers, and what each row of the report cost.
pub(crate) async fn client(
    channel: &mut Channel<Client>,
    plan: &Plan,
    secret: &SecretKey,
    ends: &mut Ends<Client>,
    input: &Zeroizing<Vec<f64>>,
    rng: &mut impl CryptoRng,
) -> Result<(Found, Vec<Cost>), ProtocolError> {
    let scheme = plan.encrypted().ok_or(ProtocolError::Material)?.scheme();
    let program = scheme.program();
    let mut costs = vec![Cost::default(); plan.rows()];
    let mut clock = Clock::start(Side::Client, channel.traffic());
    // 1. The input.
    let requests = compute(|| {
        let slots = Zeroizing::new(program.input().place(input));
        Requests::encrypt(secret, &slots, scheme.requests().level, rng)
    })?;
    channel.send(REQUEST, &requests).await?;
    channel.flush().await?;
    if let Some(cost) = costs.first_mut() {
        *cost = clock.lap(channel.traffic());
    }
    // 2. The result.
    let mut replies = Vec::with_capacity(program.output().ciphers());
    for _ in 0..program.output().ciphers() {
        replies.push(channel.recv::<Reply>(REPLY, scheme.reply()).await?);
    }
    let output = plan.public().graph.output;
    if let Some(cost) = costs.get_mut(output) {
        *cost += clock.lap(channel.traffic());
    }
    let found = match argmax(plan) {
        None => Found::Logits(compute(|| logits(scheme, secret, &replies))?),
        Some(layer) => {
            // 3. Its largest element.
            let mut shares = Zeroizing::new(Vec::new());
            for reply in &replies {
                shares.extend_from_slice(&secret.share(reply, scheme.reply())?);
            }
            shares.truncate(layer.window);
            if ends.transfers.is_none() {
                let directions = plan.directions();
                ends.transfers =
                    Some(Transfers::<Client>::set_up(channel, &ends.session, directions, rng).await?);
            }
            let cot = ends.transfers.as_mut().ok_or(ProtocolError::Material)?.receive()?.cot();
            let (tweak, prepared) =
                act_gc::prepare_evaluator(channel, cot, &[layer], &[&shares], Side::Client).await?;
            let (material, _) = prepared.first().ok_or(ProtocolError::Material)?;
            let index = act_gc::evaluator(channel, layer, tweak, material, &[]).await?;
            // A single output has an index of no bits.
            Found::ArgMax(index.first().copied().unwrap_or(0) as usize)
        }
    };
    if let Some(cost) = costs.last_mut() {
        *cost += clock.lap(channel.traffic());
    }
    Ok((found, costs))
}

/// The elements of the result, times the power of two that the network was scaled by.
fn logits(scheme: &Scheme, secret: &SecretKey, replies: &[Reply]) -> Result<Vec<f64>, ProtocolError> {
    let (output, spec) = (scheme.program().output(), scheme.reply());
    let mut slots = Zeroizing::new(Vec::with_capacity(replies.len()));
    for reply in replies {
        let decrypted: Decrypted = secret.decrypt(reply, spec)?;
        slots.push(decrypted.slots().repeat(output.slots() / spec.period()));
    }
    Ok(output.read(&slots))
}

/// The server's half; what each row of the report cost it.
pub(crate) async fn server(
    channel: &mut Channel<Server>,
    (plan, service): (&Plan, &Service),
    keys: &ClientKeys,
    ends: &mut Ends<Server>,
    rng: &mut impl CryptoRng,
) -> Result<Vec<f64>, ProtocolError> {
    let scheme = service.scheme();
    let mut clock = Clock::start(Side::Server, channel.traffic());
    let mut cpu_seconds = vec![0.0; plan.rows()];
    // 1. The input.
    let requests = channel.recv::<Requests>(REQUEST, scheme.requests()).await?;
    let traffic = channel.traffic();
    let mut maps = Vec::new();
    clock.lap(traffic);
    let results = compute(|| {
        service.evaluate(keys, requests, |map| maps.push((map, clock.lap(traffic).server_cpu_seconds)))
    })?;
    for (map, seconds) in maps {
        // The time of a map is that of the first node that comes out of it.
        let first = |choice: &Choice| matches!(choice, Choice::Cipher(of) if *of == Some(map));
        if let Some(row) = plan.choices().iter().position(first) {
            cpu_seconds[row] = seconds;
        }
    }
    // 2. The result.
    let evaluator = keys.evaluator.scheme();
    let layer = argmax(plan);
    let mut shares = Zeroizing::new(Vec::new());
    for result in &results {
        let reply = compute(|| match layer {
            None => evaluator.reply(result, &keys.public, scheme.reply(), rng),
            Some(_) => evaluator.share(result, &keys.public, scheme.reply(), rng).map(|(reply, share)| {
                shares.extend_from_slice(&share);
                reply
            }),
        })?;
        channel.send(REPLY, &reply).await?;
    }
    channel.flush().await?;
    if let Some(layer) = layer {
        // 3. Its largest element.
        shares.truncate(layer.window);
        if ends.transfers.is_none() {
            let directions = plan.directions();
            ends.transfers =
                Some(Transfers::<Server>::set_up(channel, &ends.session, directions, rng).await?);
        }
        let cot = ends.transfers.as_mut().ok_or(ProtocolError::Material)?.send()?.cot();
        let seed = Seed::random(rng);
        let (_, prepared) = act_gc::prepare_garbler(channel, cot, &[layer], &seed, Side::Server, rng).await?;
        let (decoding, _) = prepared.first().ok_or(ProtocolError::Material)?;
        act_gc::garbler(channel, layer, cot.delta(), &seed, decoding, &shares).await?;
    }
    if let Some(seconds) = cpu_seconds.last_mut() {
        *seconds += clock.lap(channel.traffic()).server_cpu_seconds;
    }
    Ok(cpu_seconds)
}

/// The circuit that reveals the index alone, where that is all that the client learns.
fn argmax(plan: &Plan) -> Option<&GarbledLayer> {
    match plan.argmax() {
        Some(NonLinear::ServerGarbles(layer)) => Some(layer),
        _ => None,
    }
}

/// Enters the bytes and rounds of an inference into a report.
pub(crate) fn predict(plan: &Plan, encrypted: &Encrypted, stock: [usize; 2], report: &mut Report) {
    let mut script = Script::new(*plan.directions(), stock);
    script.up(encrypted.request_bytes());
    if let Some(input) = report.layers.first_mut() {
        input.online = script.lap();
    }
    let replies = encrypted.scheme().program().output().ciphers();
    (0..replies).for_each(|_| script.down(encrypted.reply_bytes() / replies));
    if let Some(output) = report.layers.get_mut(plan.public().graph.output) {
        output.online += script.lap();
    }
    let mut cost = Cost::default();
    if let Some(layer) = argmax(plan) {
        act_gc::predict_offline(&[layer], &mut script).into_iter().for_each(|part| cost += part);
        act_gc::predict_online(layer, &mut script);
        cost += script.lap();
    }
    if let Some(output) = report.layers.last_mut() {
        output.online = cost;
    }
    report.total();
}
