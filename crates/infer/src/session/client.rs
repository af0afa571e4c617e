//! The client's end.

use std::sync::Arc;

use phineus_kernel::prg::Prg;
use phineus_kernel::wire::{PeerMisbehaved, Wire};
use phineus_model::phn;
use phineus_net::{Channel, ChannelError, Client, Traffic};
use rand::{CryptoRng, Rng as _};
use zeroize::Zeroizing;

use super::encrypted::{self, Asking};
use super::hello::{
    AGREE, AGREED, AGREED_LEN, COMMAND, Command, GO, HELLO, Hello, MAX_PUBLIC, NAME_LEN, READY, STATS,
    VERSION, WELCOME, WELCOME_HEAD,
};
use super::resumption::{self, Kept, Live, Offered};
use super::{batched, hex, refuse_unprepared, session_id};
use crate::ProtocolError;
use crate::cipher::Identity;
use crate::clock::{Clock, Side};
use crate::exec;
use crate::exec::material::ClientMaterial;
use crate::exec::transfers::Transfers;
use crate::plan::{MAX_BULK, Options, Plan, Wishes};
use crate::protocol::linear_he::{ClientKeys, KeyName};
use crate::report::{Footprint, Output, Report};
use crate::schedule::{self, Priority};
use crate::served::CatalogueError;
use crate::store::{Lot, PoolId, PrepId, Store};

/// What a client asks for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Name of the model; empty leaves the choice to a server that has only one.
    pub model: String,
    /// Digest of the only plan that is accepted.
    pub pinned: Option<[u8; 32]>,
    /// Whatever is open, the server chooses.
    pub wishes: Wishes,
    /// Whose keys are used where the network is evaluated under encryption; without one, keys of this session alone.
    pub identity: Option<Arc<Identity>>,
}

/// An agreed session with a server.
pub struct Session {
    channel: Channel<Client>,
    plan: Arc<Plan>,
    lot: Lot,
    id: [u8; 32],
    rng: Prg,
    /// Where the network is evaluated under encryption.
    asking: Option<Asking>,
    keys: ClientKeys,
    /// Of an earlier session, until the first pre-compute of this one.
    kept: Option<Kept>,
    /// From the first pre-compute on.
    transfers: Option<Live<Client>>,
    priority: Priority,
    over: bool,
}

/// The client's half of a pre-compute: enough for one inference, used up by [`Session::infer`].
#[must_use = "a pre-compute that is dropped is lost"]
pub struct Prepared {
    id: PrepId,
    material: ClientMaterial,
}

/// What an inference yields.
#[derive(Debug, Clone)]
pub struct Inference {
    /// The revealed integers, or the index of the largest.
    pub values: Vec<i64>,
    /// Prediction and cost.
    pub report: Report,
}

/// What a handshake leaves: the plan, where its pre-computes are stored, the session's name, what is asked under encryption,
/// what there is of an earlier session.
type Agreed = (Arc<Plan>, Lot, [u8; 32], Option<Asking>, Option<Kept>, ClientKeys);

impl Session {
    /// Says hello, derives the plan from what the server answers, and agrees on it. If `store` or the server's store
    /// turns out to have gone back in time, `store` holds no pre-computes with this server afterwards.
    ///
    /// # Errors
    /// [`ProtocolError`]: the channel, another version, an unknown model, a wish that is not fulfilled, a malformed or
    /// unprovable plan.
    pub async fn connect(
        mut channel: Channel<Client>,
        request: &Request,
        store: &dyn Store,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ProtocolError> {
        let mut rng = Prg::from_generator(rng);
        match Self::agree(&mut channel, request, store, &mut rng).await {
            Ok((plan, lot, id, asking, kept, keys)) => {
                let (transfers, priority) = (None, Priority::Foreground);
                Ok(Self { channel, plan, lot, id, rng, asking, keys, kept, transfers, priority, over: false })
            }
            Err(error) => {
                channel.abort(&error.public()).await;
                Err(error)
            }
        }
    }

    async fn agree(
        channel: &mut Channel<Client>,
        request: &Request,
        store: &dyn Store,
        rng: &mut Prg,
    ) -> Result<Agreed, ProtocolError> {
        let Request { model, pinned, wishes, identity } = request.clone();
        if model.len() > NAME_LEN {
            // No server can have it.
            return Err(CatalogueError::Unknown {
                wanted: model,
                served: format!("names of up to {NAME_LEN} bytes"),
            }
            .into());
        }
        let pool = store.identity();
        channel.send(HELLO, &Hello { version: VERSION, model, pinned, wishes, pool }).await?;
        let welcome = channel.recv_bounded(WELCOME, WELCOME_HEAD + MAX_PUBLIC).await?;
        let got = welcome.len() as u64;
        let too_short = PeerMisbehaved::Length { what: WELCOME.name(), expected: WELCOME_HEAD as u64, got };
        // The version comes first, so that it is understood whatever follows.
        let (version, rest) =
            welcome.split_first_chunk::<2>().ok_or(ChannelError::Peer(too_short.clone()))?;
        let version = u16::from_le_bytes(*version);
        if version != VERSION {
            return Err(ProtocolError::Version { ours: VERSION, theirs: version });
        }
        let (server_nonce, rest) =
            rest.split_first_chunk::<32>().ok_or(ChannelError::Peer(too_short.clone()))?;
        let (pool, rest) = rest.split_first_chunk::<16>().ok_or(ChannelError::Peer(too_short.clone()))?;
        let (epoch, rest) = rest.split_first_chunk::<8>().ok_or(ChannelError::Peer(too_short.clone()))?;
        let (server, epoch) = (PoolId::from_bytes(*pool), u64::from_le_bytes(*epoch));
        let (options, public) =
            rest.split_at_checked(Options::WIRE_LEN).ok_or(ChannelError::Peer(too_short))?;
        let options = Options::decode(options, &()).map_err(ChannelError::from)?;
        if !wishes.fulfilled_by(&options) {
            return Err(ProtocolError::Unfulfilled { wishes: Box::new(wishes), options: Box::new(options) });
        }
        let plan = Plan::new(phn::read_public(public)?, &options)?;
        if let Some(pinned) = pinned.filter(|p| p != plan.digest()) {
            return Err(ProtocolError::PlanDiffers { ours: hex(&pinned), theirs: plan.digest_hex() });
        }
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let id = session_id(&nonce, server_nonce, plan.digest());
        let kept = [u8::from(store.witness(server, epoch)?)];
        let count = store.advance(server)?.to_le_bytes();
        let (mut transfers, mut keys) = Kept::take(store, &resumption::lot(&plan, server), &plan)?;
        let agreement = [&nonce[..], plan.digest(), &count, &kept, keys.name()].concat();
        channel.send_bytes(AGREE, &agreement).await?;
        let encrypted = plan.encrypted();
        let identity = encrypted.map(|_| identity.unwrap_or_else(|| Arc::new(Identity::random(rng))));
        if let Some(identity) = &identity {
            encrypted::introduce(channel, identity).await?;
        }
        channel.flush().await?;
        let [kept, known] = channel.recv_bytes(AGREED, AGREED_LEN).await?[..] else {
            return Err(misbehaved("neither kept nor burned"));
        };
        match (kept, known) {
            (0, _) => {
                store.burn(server)?;
                transfers = None;
            }
            (1, _) => {}
            _ => return Err(misbehaved("neither kept nor burned")),
        }
        match known {
            0 => keys = ClientKeys::default(),
            1 if *keys.name() != KeyName::default() => {}
            _ => return Err(misbehaved("keys that nobody has sent")),
        }
        let asking = match encrypted.zip(identity) {
            Some((encrypted, identity)) => Some(Asking::begin(channel, encrypted, identity, id, rng).await?),
            None => None,
        };
        let lot = Lot { plan: *plan.digest(), peer: server };
        Ok((Arc::new(plan), lot, id, asking, transfers, keys))
    }

    /// The plan both sides agreed on.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Under which the pre-computes of this session are stored.
    #[must_use]
    pub fn lot(&self) -> &Lot {
        &self.lot
    }

    /// Oblivious transfers in stock, down and up: the cost of the next pre-compute depends on them
    /// ([`Plan::predicted_with`]).
    #[must_use]
    pub fn stock(&self) -> [usize; 2] {
        self.transfers.as_ref().map_or([0; 2], |live| {
            let [send, receive] = live.transfers.stocks();
            [receive, send]
        })
    }

    /// Says that nobody waits for what is prepared from now on: on both sides it gives way to requests, and to
    /// preparations that somebody waits for.
    pub fn set_background(&mut self) {
        self.priority = Priority::Background;
    }

    /// Whether this side has oblivious transfers of an earlier session, which the next pre-compute will go on with if the
    /// server has them too ([`Plan::resumption_cost`]).
    #[must_use]
    pub fn resumes(&self) -> bool {
        self.kept.is_some()
    }

    /// Everything that has crossed the connection.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.channel.traffic()
    }

    /// The offline phase of one inference.
    ///
    /// # Errors
    /// [`ProtocolError`]; the session is over then.
    pub async fn prepare(&mut self) -> Result<Prepared, ProtocolError> {
        let mut one = None;
        self.prepare_many(1, |prepared| {
            one = Some(prepared);
            Ok(())
        })
        .await?;
        one.ok_or(ProtocolError::Material)
    }

    /// The offline phase of `count` inferences, at most [`MAX_BULK`]: their linear layers
    /// together, which costs less time and traffic each, then their non-linear layers one after the other. Of large
    /// networks only as many at a time as [`Plan::together`] allows. Each pre-compute goes to `keep` as soon as it is
    /// complete.
    ///
    /// # Errors
    /// [`ProtocolError`], also from `keep`; the session is over then, and what was kept stays valid.
    pub async fn prepare_many(
        &mut self,
        count: usize,
        mut keep: impl FnMut(Prepared) -> Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        let most = self.plan.together();
        // What is refused is refused as a whole.
        let parts = if (1..=MAX_BULK).contains(&count) { count.div_ceil(most) } else { 1 };
        let mut left = count;
        for part in (1..=parts).rev() {
            let size = left.div_ceil(part);
            left -= size;
            let result = self.try_prepare(size, &mut keep).await;
            self.conclude(result).await?;
        }
        Ok(())
    }

    /// One inference with all that it takes: evaluated under encryption where the plan says so, on a pre-compute that is
    /// made now everywhere else.
    ///
    /// # Errors
    /// [`ProtocolError`]; after anything but a refused input the session is over.
    pub async fn predict(&mut self, input: &[i32]) -> Result<Inference, ProtocolError> {
        if self.asking.is_none() {
            let prepared = self.prepare().await?;
            return self.infer(prepared, input).await;
        }
        let result = self.try_evaluate(input).await;
        self.conclude(result).await
    }

    /// The logits of many inputs, where the network is evaluated under encryption: as many at once as there are slots
    /// ([`Session::batches`]).
    ///
    /// # Errors
    /// [`ProtocolError`]; after anything but a refused input the session is over.
    pub async fn predict_batch(&mut self, inputs: &[&[i32]]) -> Result<Vec<Vec<f64>>, ProtocolError> {
        let size = self.batches()?.size();
        inputs.iter().try_for_each(|input| self.check_input(input))?;
        let mut outputs = Vec::with_capacity(inputs.len());
        for inputs in inputs.chunks(size) {
            if let [only] = inputs {
                let logits = self.predict(only).await?.report.output.logits;
                outputs.push(logits.into_iter().map(f64::from).collect());
                continue;
            }
            let result = self.try_batch(inputs).await;
            outputs.extend(self.conclude(result).await?);
        }
        Ok(outputs)
    }

    /// Parameters and size of batches.
    ///
    /// # Errors
    /// [`ProtocolError::Engine`] unless the network is evaluated under encryption and reveals its logits.
    pub fn batches(&self) -> Result<Arc<crate::cipher::batch::Scheme>, ProtocolError> {
        batched::scheme(&self.plan)
    }

    async fn try_batch(&mut self, inputs: &[&[i32]]) -> Result<Vec<Vec<f64>>, ProtocolError> {
        let _first = schedule::claim(Priority::Online);
        let asking = self.asking.as_mut().ok_or(ProtocolError::Material)?;
        asking.infer_batch(&mut self.channel, &self.plan, inputs, &mut self.rng).await
    }

    /// Bytes of keys that had to be sent, where the network is evaluated under encryption.
    #[must_use]
    pub fn uploaded(&self) -> usize {
        self.asking.as_ref().map_or(0, |asking| asking.uploaded)
    }

    /// The online phase. The pre-compute is used up whatever happens.
    ///
    /// # Errors
    /// [`ProtocolError`]; after anything but a refused input the session is over.
    pub async fn infer(&mut self, prepared: Prepared, input: &[i32]) -> Result<Inference, ProtocolError> {
        let result = self.try_infer(prepared, input).await;
        self.conclude(result).await
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// [`ProtocolError`] if the connection was lost; everything received before is valid all the same.
    pub async fn close(mut self) -> Result<(), ProtocolError> {
        self.say(&Command::Bye).await
    }

    /// Says goodbye, and keeps the oblivious transfers in `store`, the one of [`Session::connect`], for the next session.
    ///
    /// # Errors
    /// [`ProtocolError`] if the connection was lost or the store failed; everything received before is valid all the same.
    pub async fn close_into(mut self, store: &dyn Store) -> Result<(), ProtocolError> {
        let lot = resumption::lot(&self.plan, self.lot.peer);
        let last = if self.transfers.is_some() { Command::Keep } else { Command::Bye };
        self.say(&last).await?;
        let kept = self.kept.or_else(|| self.transfers.and_then(Live::suspend));
        kept.filter(|_| !self.over).map_or(Ok(()), |kept| kept.keep_with(&self.keys, store, &lot))
    }

    /// The last word, unless the session is over.
    async fn say(&mut self, last: &Command) -> Result<(), ProtocolError> {
        if !self.over {
            self.channel.send(COMMAND, last).await?;
            self.channel.flush().await?;
        }
        Ok(())
    }

    async fn conclude<T>(&mut self, mut result: Result<T, ProtocolError>) -> Result<T, ProtocolError> {
        if let Err(ProtocolError::Channel(ChannelError::Closed { .. })) = &result
            && let Err(told @ ChannelError::Aborted { .. }) = self.channel.recv_bytes(READY, 16).await
        {
            // A server that gives up while it is sent to has said why.
            result = Err(told.into());
        }
        if let Err(error) = &result
            && !matches!(error, ProtocolError::Input { .. } | ProtocolError::Over)
        {
            self.over = true;
            self.channel.abort(&error.public()).await;
        }
        result
    }

    async fn try_prepare(
        &mut self,
        count: usize,
        mut keep: impl FnMut(Prepared) -> Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        if self.over {
            return Err(ProtocolError::Over);
        }
        let plan = self.plan.clone();
        refuse_unprepared(&plan)?;
        let bulk = if count == 1 { None } else { Some(plan.bulk(count)?) };
        let linear = bulk.as_ref().unwrap_or(plan.linear());
        let mut clock = Clock::start(Side::Client, self.channel.traffic());
        let digest = plan.linear_digest(linear);
        self.channel.send(COMMAND, &Command::Prepare(count as u32, digest, self.priority)).await?;
        self.keys.send(&mut self.channel, &plan, linear, &mut self.rng).await?;
        let offered = self.offer_transfers().await?;
        // What the session itself costs goes to the last row, the output: every other row is a layer.
        let mut session = clock.lap(self.channel.traffic());
        let halves = exec::client::linear(&mut self.channel, &plan, linear, &self.keys, &mut self.rng);
        let halves = schedule::run(self.priority, halves).await?;
        clock.lap(self.channel.traffic());
        if let Some(offered) = offered {
            let (channel, directions) = (&mut self.channel, plan.directions());
            let live = resumption::settle(channel, offered, &self.id, directions, &mut self.rng);
            self.transfers = Some(schedule::run(self.priority, live).await?);
        }
        session += clock.lap(self.channel.traffic());
        let mut none = Transfers::default();
        let transfers = self.transfers.as_mut().map_or(&mut none, |live| &mut live.transfers);
        for half in halves {
            let material = exec::client::nonlinear(&mut self.channel, &plan, half, transfers, &mut self.rng);
            let mut material = schedule::run(self.priority, material).await?;
            clock.lap(self.channel.traffic());
            let id = self.channel.recv_bytes(READY, 16).await?;
            session += clock.lap(self.channel.traffic());
            if let Some(cost) = material.costs.last_mut() {
                *cost += std::mem::take(&mut session);
            }
            keep(Prepared { id: PrepId::from_bytes(id.try_into().unwrap_or_default()), material })?;
            clock.lap(self.channel.traffic());
        }
        Ok(())
    }

    /// The first time, if the plan uses any transfers.
    async fn offer_transfers(&mut self) -> Result<Option<Offered>, ProtocolError> {
        let directions = self.plan.directions();
        if self.transfers.is_some() || !directions.any() {
            return Ok(None);
        }
        let (channel, kept) = (&mut self.channel, self.kept.take());
        Ok(Some(resumption::offer(channel, kept, &self.id, directions, &mut self.rng).await?))
    }

    /// Refuses an input that the network does not take, and a session that is over.
    fn check_input(&self, input: &[i32]) -> Result<(), ProtocolError> {
        if self.over {
            return Err(ProtocolError::Over);
        }
        let graph = &self.plan.public().graph;
        let (fact, expected) = (graph.facts[0], graph.nodes[0].len());
        if input.len() != expected || input.iter().any(|x| !(fact.lo..=fact.hi).contains(&i64::from(*x))) {
            return Err(ProtocolError::Input { expected, got: input.len(), lo: fact.lo, hi: fact.hi });
        }
        Ok(())
    }

    async fn try_evaluate(&mut self, input: &[i32]) -> Result<Inference, ProtocolError> {
        self.check_input(input)?;
        let _first = schedule::claim(Priority::Online);
        let asking = self.asking.as_mut().ok_or(ProtocolError::Material)?;
        let (values, report) = asking.infer(&mut self.channel, &self.plan, input, &mut self.rng).await?;
        Ok(Inference { values, report })
    }

    async fn try_infer(&mut self, prepared: Prepared, input: &[i32]) -> Result<Inference, ProtocolError> {
        self.check_input(input)?;
        let plan = self.plan.clone();
        let graph = &plan.public().graph;
        let Prepared { id, material } = prepared;
        if material.plan != *plan.digest() {
            return Err(ProtocolError::Material);
        }
        let mut report = Report::empty(&plan, "tcp");
        report.client.stored_bytes = material.stored_bytes();
        for (layer, cost) in report.layers.iter_mut().zip(&material.costs) {
            layer.offline = *cost;
        }
        let mut clock = Clock::start(Side::Client, self.channel.traffic());
        let _first = schedule::claim(Priority::Online);
        self.channel.send(COMMAND, &Command::Infer(*id.bytes())).await?;
        self.channel.recv_bytes(GO, 0).await?;
        let start = clock.lap(self.channel.traffic());
        let (values, costs) = exec::client::online(&mut self.channel, &plan, material, input).await?;
        for (layer, cost) in report.layers.iter_mut().zip(costs) {
            layer.online = cost;
        }
        if let Some(layer) = report.layers.first_mut() {
            layer.online += start;
        }
        clock.lap(self.channel.traffic());
        let stats = self.channel.recv::<Stats>(STATS, plan.as_ref()).await?;
        stats.enter(&mut report);
        if let Some(layer) = report.layers.last_mut() {
            layer.online += clock.lap(self.channel.traffic());
        }
        report.total();
        report.output = Output::of(graph, &values);
        Ok(Inference { values, report })
    }
}

fn misbehaved(reason: &'static str) -> ProtocolError {
    ChannelError::Peer(PeerMisbehaved::Invalid { what: AGREED.name(), reason }).into()
}

impl Prepared {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> PrepId {
        self.id
    }

    /// For a [`Store`].
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.material.to_bytes()
    }

    /// The same, in place of the pre-compute: little of it is in memory twice.
    #[must_use]
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.material.into_bytes()
    }

    /// From a store.
    ///
    /// # Errors
    /// [`ProtocolError::Material`] if it was made for another plan.
    pub fn from_bytes(id: PrepId, bytes: &[u8], plan: &Plan) -> Result<Self, ProtocolError> {
        Ok(Self { id, material: ClientMaterial::from_bytes(bytes, plan)? })
    }
}

/// What the server tells about itself after an inference: sizes and times only.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stats {
    pub(crate) footprint: Footprint,
    pub(crate) offline_cpu: Vec<f64>,
    pub(crate) online_cpu: Vec<f64>,
}

impl Stats {
    pub(super) fn enter(&self, report: &mut Report) {
        report.server = self.footprint;
        for (layer, (offline, online)) in
            report.layers.iter_mut().zip(self.offline_cpu.iter().zip(&self.online_cpu))
        {
            layer.offline.server_cpu_seconds = *offline;
            layer.online.server_cpu_seconds = *online;
        }
    }
}

impl Wire for Stats {
    type Spec = Plan;
    const NAME: &'static str = "session.stats";

    fn wire_len(plan: &Plan) -> usize {
        16 + 16 * plan.rows()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.footprint.peak_rss_bytes.to_le_bytes());
        out.extend(self.footprint.stored_bytes.to_le_bytes());
        self.offline_cpu.iter().chain(&self.online_cpu).for_each(|s| out.extend(s.to_le_bytes()));
    }

    fn decode(bytes: &[u8], plan: &Plan) -> Result<Self, PeerMisbehaved> {
        phineus_kernel::wire::check_len(Self::NAME, bytes, Self::wire_len(plan))?;
        let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut count = || words.next().unwrap_or(0);
        let footprint = Footprint { peak_rss_bytes: count(), stored_bytes: count() };
        let mut seconds = || {
            let seconds: Vec<f64> = (0..plan.rows()).map(|_| f64::from_bits(count())).collect();
            let fine = seconds.iter().all(|s| s.is_finite() && *s >= 0.0);
            fine.then_some(seconds).ok_or(PeerMisbehaved::Invalid { what: Self::NAME, reason: "no time" })
        };
        Ok(Self { footprint, offline_cpu: seconds()?, online_cpu: seconds()? })
    }
}
