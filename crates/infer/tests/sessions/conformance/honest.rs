//! Honest sessions with fixed generators: what everything else is measured against.
//!
//! A party with a fixed generator says the same whenever it hears the same. So one recorded inference serves for all that
//! may happen to it: whoever is under test runs alone, against what the other one said then. The two phases have a session
//! each, so that what befalls the second does not cost the first again.

use std::sync::Arc;
use std::time::Duration;

use phineus_infer::ProtocolError;
use phineus_infer::cipher::Keyring;
use phineus_infer::plan::{Engine, Offer, Options, Plan};
use phineus_infer::served::{Catalogue, Served};
use phineus_infer::session::client::{Inference, Prepared, Request, Session};
use phineus_infer::session::server::{self, Summary};
use phineus_infer::store::{Limits, Lot, MemoryStore, PrepId, Store};
use phineus_kernel::prg::Prg;
use phineus_model::fixed::Model;
use phineus_net::{Channel, Client, Server};
use tokio::io::{AsyncReadExt as _, sink};
use tokio::time::timeout;

use crate::party::{Host, input, memory};
use crate::tap::{Frame, Way, tapped};

/// What a client comes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    Prepare,
    /// On what was prepared.
    Infer,
    /// All at once, where nothing is prepared.
    Evaluate,
}

/// One session.
pub(super) struct Stage {
    pub(super) errand: Errand,
    /// Up and down.
    frames: [Vec<Frame>; 2],
}

/// A network under some options, an input, and one inference.
pub(super) struct Honest {
    parties: Parties,
    pub(super) stages: Vec<Stage>,
    pub(super) inference: Inference,
}

/// Both parties, in the same state whenever they begin.
struct Parties {
    catalogue: Arc<Catalogue>,
    input: Vec<i32>,
    prepared: Option<Halves>,
}

/// Of a pre-compute.
struct Halves {
    id: PrepId,
    client: Vec<u8>,
    server: Vec<u8>,
}

/// What a client comes home with.
enum Found {
    Prepared(PrepId, Vec<u8>),
    Inferred(Box<Inference>),
}

/// What became of a party that ran alone.
pub(super) enum Outcome {
    /// With the values, if it came for them.
    Client(Result<Option<Vec<i64>>, ProtocolError>),
    /// With its store.
    Server(Result<Summary, ProtocolError>, Box<MemoryStore>),
}

/// How long a party that hears nothing waits: everything that it will ever hear is there when it begins.
const PATIENCE: Duration = Duration::from_millis(5);
/// How long it may work.
const BOUND: Duration = Duration::from_secs(120);

impl Stage {
    pub(super) fn frames(&self, way: Way) -> &[Frame] {
        &self.frames[usize::from(way == Way::Down)]
    }

    /// The number of the first frame behind the handshake.
    pub(super) fn begin(&self, way: Way) -> usize {
        let handshake = ["session.hello", "session.agree", "session.welcome", "session.agreed"];
        self.frames(way).iter().position(|frame| !handshake.iter().any(|step| frame.is(step))).unwrap_or(0)
    }
}

impl Honest {
    /// Runs the model on the input of this seed.
    pub(super) async fn run(options: &Options, model: Model, seed: u64) -> Self {
        let input = input(&model, seed);
        let offer = Offer {
            engines: vec![options.engine],
            roundings: vec![options.rounding],
            links: vec![options.link],
            transfers: options.transfers,
            ..Offer::default()
        };
        // Keys for encryption are sent in every session.
        let mut catalogue = Catalogue::new(offer).with_keyring(Keyring::new(0, Duration::ZERO));
        catalogue.add(Served::new(model, options, 1 << 26).unwrap()).unwrap();
        let mut parties = Parties { catalogue: Arc::new(catalogue), input, prepared: None };
        let mut stages = Vec::new();
        if options.engine != Engine::He {
            let (stage, found, store) = parties.record(Errand::Prepare).await;
            let Found::Prepared(id, client) = found else { panic!("nothing prepared") };
            let server = store.take(&parties.lot(), id).unwrap().to_vec();
            parties.prepared = Some(Halves { id, client, server });
            stages.push(stage);
        }
        let last = if stages.is_empty() { Errand::Evaluate } else { Errand::Infer };
        let (stage, found, _) = parties.record(last).await;
        stages.push(stage);
        let Found::Inferred(inference) = found else { panic!("nothing inferred") };
        Self { parties, stages, inference: *inference }
    }

    pub(super) fn plan(&self) -> Arc<Plan> {
        self.parties.host().plan()
    }

    /// What encryption computes on these numbers, in the clear.
    pub(super) fn clear(&self, input: &[f64]) -> Vec<f64> {
        let served = self.parties.catalogue.find("", &self.parties.host().wishes()).unwrap();
        served.service().unwrap().clear(input)
    }

    pub(super) fn input(&self) -> &[i32] {
        &self.parties.input
    }

    /// The digests of everything that went up and down, but for the server's own times.
    pub(super) fn digests(&self) -> [blake3::Hash; 2] {
        [Way::Up, Way::Down].map(|way| {
            let mut hasher = blake3::Hasher::new();
            for frame in self.stages.iter().flat_map(|stage| stage.frames(way)) {
                if !frame.is("session.stats") {
                    hasher.update(&frame.0);
                }
            }
            hasher.finalize()
        })
    }

    /// The party that hears what goes this way runs alone, and hears these bytes; whether the connection stays open behind
    /// them.
    pub(super) async fn alone(&self, stage: usize, way: Way, (bytes, open): (Vec<u8>, bool)) -> Outcome {
        let (rest, held) = tokio::io::duplex(1);
        let held = Some(held).filter(|_| open);
        let hears = std::io::Cursor::new(bytes).chain(rest);
        let errand = self.stages[stage].errand;
        let run = async {
            match way {
                Way::Up => {
                    let mut channel = Channel::new(hears, sink());
                    channel.set_deadline(PATIENCE);
                    let (result, store) = self.parties.server(channel, errand).await;
                    Outcome::Server(result, Box::new(store))
                }
                Way::Down => {
                    let mut channel = Channel::new(hears, sink());
                    channel.set_deadline(PATIENCE);
                    Outcome::Client(self.parties.client(channel, errand).await.map(|found| match found {
                        Found::Prepared(..) => None,
                        Found::Inferred(inference) => Some(inference.values),
                    }))
                }
            }
        };
        let outcome = timeout(BOUND, run).await.expect("it works for ever");
        drop(held);
        outcome
    }

    /// Whether a store has the pre-compute, and nothing else.
    pub(super) fn is_there(&self, store: &MemoryStore) -> bool {
        let listed = store.list(&self.parties.lot()).unwrap();
        let known =
            self.parties.prepared.as_ref().is_none_or(|halves| listed.iter().all(|id| *id == halves.id));
        assert!(known && listed.len() <= 1, "{listed:?}");
        !listed.is_empty()
    }

    /// Somebody else's session with the server that is left with this store.
    pub(super) async fn next(&self, store: Option<MemoryStore>) -> Inference {
        let catalogue = self.parties.catalogue.clone();
        let store = store.map_or_else(|| memory(10), |store| -> Arc<dyn Store> { Arc::new(store) });
        let host = Host { catalogue, store };
        let (mut session, server) = host.connect().await;
        let inference = session.predict(&self.parties.input).await.unwrap();
        session.close().await.unwrap();
        server.await.unwrap().unwrap();
        inference
    }
}

impl Parties {
    fn host(&self) -> Host {
        Host { catalogue: self.catalogue.clone(), store: memory(1) }
    }

    /// Where the server keeps what it has prepared.
    fn lot(&self) -> Lot {
        Lot { plan: *self.host().plan().digest(), peer: Self::of_client().0.identity() }
    }

    fn of_client() -> (MemoryStore, Prg) {
        let mut rng = Prg::new([8; 16]);
        (MemoryStore::new(Limits::default(), &mut rng), rng)
    }

    async fn client(&self, channel: Channel<Client>, errand: Errand) -> Result<Found, ProtocolError> {
        let (store, mut rng) = Self::of_client();
        let request = Request { wishes: self.host().wishes(), ..Request::default() };
        let mut session = Session::connect(channel, &request, &store, &mut rng).await?;
        let found = match (errand, &self.prepared) {
            (Errand::Prepare, _) => {
                let prepared = session.prepare().await?;
                Found::Prepared(prepared.id(), prepared.to_bytes().to_vec())
            }
            (Errand::Infer, Some(halves)) => {
                let prepared = Prepared::from_bytes(halves.id, &halves.client, session.plan())?;
                Found::Inferred(Box::new(session.infer(prepared, &self.input).await?))
            }
            _ => Found::Inferred(Box::new(session.predict(&self.input).await?)),
        };
        // What is found stands, whatever becomes of the goodbye.
        let _ = session.close().await;
        Ok(found)
    }

    async fn server(
        &self,
        channel: Channel<Server>,
        errand: Errand,
    ) -> (Result<Summary, ProtocolError>, MemoryStore) {
        let mut rng = Prg::new([7; 16]);
        let store = MemoryStore::new(Limits::default(), &mut rng);
        if let (Errand::Infer, Some(halves)) = (errand, &self.prepared) {
            store.put(&self.lot(), halves.id, &halves.server).unwrap();
        }
        (server::serve(channel, &self.catalogue, &store, || 0, &mut rng).await, store)
    }

    async fn record(&self, errand: Errand) -> (Stage, Found, MemoryStore) {
        let (client, server, tap) = tapped();
        let (frames, found, (served, store)) =
            tokio::join!(tap.listen(None), self.client(client, errand), self.server(server, errand));
        served.unwrap();
        (Stage { errand, frames }, found.unwrap(), store)
    }
}
