//! What a session of a network under encryption adds: the client's keys, sent once per identity, and its inferences.
//!
//! | step | direction | content |
//! |---|---|---|
//! | token | C -> S | names the client's keys; goes with the agreement |
//! | gain | S -> C | by which power of two results are scaled |
//! | known, choice, keys | | see [`keys`] |
//! | evaluate | C -> S | how many inputs; then the executor's messages ([`crate::exec::cipher`]), and the server's times |
//!
//! Keys belong to a client and a scheme: a client that comes with another client's token can at most have the server
//! compute on ciphertexts that it cannot make or read, and have the other one send its keys again. The token says nothing about
//! any key, and a server that forgets keys ([`Keyring`]) is sent them again.

use std::sync::Arc;

use phineus_he::slots::SecretKey;
use phineus_kernel::prg::Prg;
use phineus_net::{Channel, Client, Server, Step};
use zeroize::Zeroizing;

use super::batched::Batches;
use super::client::Stats;
use super::hello::{COMMAND, Command, STATS};
use super::keys::{self, Kind};
use crate::ProtocolError;
use crate::cipher::{ClientKeys, Identity, Keyring};
use crate::clock::{Clock, Side};
use crate::compute::compute;
use crate::exec;
use crate::exec::cipher::{Ends, Found};
use crate::plan::{Encrypted, Plan};
use crate::protocol::script::Script;
use crate::report::{Output, Report};
use crate::served::Served;

const TOKEN: Step = Step::new("cipher.token");
const GAIN: Step = Step::new("cipher.gain");
const GAIN_LEN: usize = 2;

/// The client's side.
pub(super) struct Asking {
    identity: Arc<Identity>,
    secret: SecretKey,
    gain: i32,
    /// Bytes of keys that had to be sent.
    pub(super) uploaded: usize,
    ends: Ends<Client>,
    batches: Option<Batches<SecretKey>>,
}

/// The server's side.
pub(super) struct Answering {
    token: [u8; 32],
    keys: Arc<ClientKeys>,
    ends: Ends<Server>,
    batches: Option<Batches<ClientKeys>>,
}

/// The client names its keys; nothing is awaited.
pub(super) async fn introduce(
    channel: &mut Channel<Client>,
    identity: &Identity,
) -> Result<(), ProtocolError> {
    Ok(channel.send_bytes(TOKEN, &identity.token()).await?)
}

impl Asking {
    /// Sends the keys that the server does not have.
    pub(super) async fn begin(
        channel: &mut Channel<Client>,
        encrypted: &Encrypted,
        identity: Arc<Identity>,
        session: [u8; 32],
        rng: &mut Prg,
    ) -> Result<Self, ProtocolError> {
        let scheme = encrypted.scheme();
        let gain = channel.recv_bytes(GAIN, GAIN_LEN).await?;
        let gain = i16::from_le_bytes([gain[0], gain[1]]).into();
        let secret = compute(|| identity.secret(scheme.params(), scheme.digest()));
        let uploaded = keys::bring(channel, kind(encrypted), (&identity, &secret), rng).await?;
        let ends = Ends { session, transfers: None };
        Ok(Self { identity, secret, gain, uploaded, ends, batches: None })
    }

    /// The logits of at least two inputs that the network takes, at once.
    pub(super) async fn infer_batch(
        &mut self,
        channel: &mut Channel<Client>,
        plan: &Plan,
        inputs: &[&[i32]],
        rng: &mut Prg,
    ) -> Result<Vec<Vec<f64>>, ProtocolError> {
        let Self { identity, batches, uploaded, .. } = self;
        let mut outputs = Batches::ask(channel, (plan, identity), batches, uploaded, inputs, rng).await?;
        let unit = f64::from(-self.gain).exp2();
        outputs.iter_mut().flatten().for_each(|v| *v *= unit);
        Ok(outputs)
    }

    /// One inference, on an input that the network takes.
    pub(super) async fn infer(
        &mut self,
        channel: &mut Channel<Client>,
        plan: &Plan,
        input: &[i32],
        rng: &mut Prg,
    ) -> Result<(Vec<i64>, Report), ProtocolError> {
        let graph = &plan.public().graph;
        let step = graph.facts[0].step;
        let input = Zeroizing::new(input.iter().map(|&x| f64::from(x) * step).collect());
        let mut report = Report::empty(plan, "tcp");
        let mut clock = Clock::start(Side::Client, channel.traffic());
        channel.send(COMMAND, &Command::Evaluate(1)).await?;
        let start = clock.lap(channel.traffic());
        let (found, costs) =
            exec::cipher::client(channel, plan, &self.secret, &mut self.ends, &input, rng).await?;
        for (layer, cost) in report.layers.iter_mut().zip(costs) {
            layer.online = cost;
        }
        if let Some(layer) = report.layers.first_mut() {
            layer.online += start;
        }
        clock.lap(channel.traffic());
        channel.recv::<Stats>(STATS, plan).await?.enter(&mut report);
        if let Some(layer) = report.layers.last_mut() {
            layer.online += clock.lap(channel.traffic());
        }
        report.total();
        let values = match found {
            Found::Logits(scaled) => {
                let unit = f64::from(-self.gain).exp2();
                let logits: Vec<f64> = scaled.into_iter().map(|v| v * unit).collect();
                report.output = Output::of_real(graph, &logits);
                let step = graph.facts[graph.output].step;
                logits.into_iter().map(|v| (v / step).round() as i64).collect()
            }
            Found::ArgMax(index) => {
                let values = vec![index as i64];
                report.output = Output::of(graph, &values);
                values
            }
        };
        Ok((values, report))
    }
}

impl Answering {
    /// Receives the keys that `keyring` does not have.
    pub(super) async fn begin(
        channel: &mut Channel<Server>,
        keyring: &Keyring,
        served: &Served,
        session: [u8; 32],
    ) -> Result<Option<Self>, ProtocolError> {
        let Some((encrypted, service)) = served.plan().encrypted().zip(served.service()) else {
            return Ok(None);
        };
        let scheme = encrypted.scheme();
        let mut token = [0; 32];
        token.copy_from_slice(&channel.recv_bytes(TOKEN, 32).await?);
        let gain = i16::try_from(service.gain()).unwrap_or_default();
        channel.send_bytes(GAIN, &gain.to_le_bytes()).await?;
        let keys = keys::take(channel, kind(encrypted), (keyring, &token), scheme.bounds()).await?;
        Ok(Some(Self { token, keys, ends: Ends { session, transfers: None }, batches: None }))
    }

    /// Answers a batch of `count` inputs.
    pub(super) async fn infer_batch(
        &mut self,
        channel: &mut Channel<Server>,
        keyring: &Keyring,
        served: &Served,
        count: u32,
        rng: &mut Prg,
    ) -> Result<(), ProtocolError> {
        let service = served.service().ok_or(ProtocolError::Material)?;
        let at = (keyring, &self.token);
        Batches::answer(channel, (served.plan(), service), at, &mut self.batches, count, rng).await
    }

    /// Answers one input; the seconds of every row of the report.
    pub(super) async fn infer(
        &mut self,
        channel: &mut Channel<Server>,
        served: &Served,
        rng: &mut Prg,
    ) -> Result<Vec<f64>, ProtocolError> {
        let service = served.service().ok_or(ProtocolError::Material)?;
        exec::cipher::server(channel, (served.plan(), service), &self.keys, &mut self.ends, rng).await
    }
}

/// Enters what a new client sends before its first inference.
pub(crate) fn predict_keys(encrypted: &Encrypted, script: &mut Script) {
    script.up(32);
    script.down(GAIN_LEN);
    keys::predict(kind(encrypted), script);
}

fn kind(encrypted: &Encrypted) -> Kind<'_> {
    let scheme = encrypted.scheme();
    Kind { params: scheme.params(), shape: scheme.keys(), scheme: scheme.digest() }
}
