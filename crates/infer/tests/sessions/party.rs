//! Both parties of a session, in one process.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use phineus_infer::ProtocolError;
use phineus_infer::plan::{Offer, Options, Plan, Rounding, Wishes};
use phineus_infer::served::{Catalogue, Served};
use phineus_infer::session::client::{Prepared, Request, Session};
use phineus_infer::session::server::{self, Summary};
use phineus_infer::store::{Limits, Lot, MemoryStore, Pool, Store};
use phineus_kernel::prg::Prg;
use phineus_model::fixed::Model;
use phineus_net::{Channel, Client, Server, mem};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinHandle;

/// What a server keeps between sessions.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) store: Arc<dyn Store>,
}

impl Host {
    pub(crate) fn new(models: impl IntoIterator<Item = Model>, store: Arc<dyn Store>) -> Self {
        Self::under(&Options::default(), models, store)
    }

    /// With plans for these options, which is all that is served.
    pub(crate) fn under(
        options: &Options,
        models: impl IntoIterator<Item = Model>,
        store: Arc<dyn Store>,
    ) -> Self {
        let mut catalogue = Catalogue::new(Offer {
            engines: vec![options.engine],
            roundings: vec![options.rounding],
            links: vec![options.link],
            transfers: options.transfers,
            forms: vec![options.form],
            precision: options.precision,
        });
        for model in models {
            catalogue.add(Served::new(model, options, 1 << 26).unwrap()).unwrap();
        }
        Self { catalogue: Arc::new(catalogue), store }
    }

    /// With a store in memory.
    pub(crate) fn of(models: impl IntoIterator<Item = Model>) -> Self {
        Self::new(models, memory(1000))
    }

    /// With plans for these options, in memory.
    pub(crate) fn of_options(options: &Options, models: impl IntoIterator<Item = Model>) -> Self {
        Self::under(options, models, memory(1000))
    }

    /// The plan of the only model.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        self.catalogue.find("", &self.wishes()).unwrap().plan().clone()
    }

    /// What a client says that takes whatever there is.
    pub(crate) fn wishes(&self) -> Wishes {
        let rounding = self.catalogue.offer().roundings.first().copied();
        Wishes { rounding: rounding.filter(|r| *r != Rounding::Exact), ..Wishes::default() }
    }

    /// Under which this process's pre-computes of the only model are stored.
    pub(crate) fn lot(&self) -> Lot {
        Lot { plan: *self.plan().digest(), peer: CLIENT.identity() }
    }

    /// Serves one session in a task of its own.
    pub(crate) fn serve(&self, channel: Channel<Server>) -> JoinHandle<Result<Summary, ProtocolError>> {
        let Self { catalogue, store } = self.clone();
        tokio::spawn(async move {
            server::serve(channel, &catalogue, store.as_ref(), || 0, &mut generator()).await
        })
    }

    /// A session in memory with the only model.
    pub(crate) async fn connect(&self) -> (Session, JoinHandle<Result<Summary, ProtocolError>>) {
        let (client, server) = mem::pair();
        let server = self.serve(server);
        let request = Request { wishes: self.wishes(), ..Request::default() };
        (Session::connect(client, &request, &*CLIENT, &mut generator()).await.unwrap(), server)
    }

    /// Prepares and infers in a session of its own; the result.
    pub(crate) async fn infer(&self, input: &[i32]) -> Vec<i64> {
        let (mut session, server) = self.connect().await;
        let prepared = session.prepare().await.unwrap();
        let values = session.infer(prepared, input).await.unwrap().values;
        session.close().await.unwrap();
        server.await.unwrap().unwrap();
        values
    }
}

/// The store that clients of this process have in common.
pub(crate) static CLIENT: LazyLock<MemoryStore> =
    LazyLock::new(|| MemoryStore::new(Limits::default(), &mut generator()));

/// A store for so many pre-computes of a model.
pub(crate) fn memory(limit: u64) -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(Limits::per_plan(limit), &mut generator()))
}

/// The pool in a directory, for ten pre-computes of a model.
pub(crate) fn pool(directory: impl AsRef<Path>) -> Pool {
    Pool::in_directory(directory.as_ref(), None, false, Limits::per_plan(10), &mut generator()).unwrap()
}

/// The client's side of a handshake.
pub(crate) async fn connect(
    channel: Channel<Client>,
    model: &str,
    pinned: Option<[u8; 32]>,
) -> Result<Session, ProtocolError> {
    let request = Request { model: model.to_owned(), pinned, ..Request::default() };
    Session::connect(channel, &request, &*CLIENT, &mut generator()).await
}

/// A copy of a pre-compute, as an attacker or a restored backup would have it.
pub(crate) fn copy(prepared: &Prepared, session: &Session) -> Prepared {
    Prepared::from_bytes(prepared.id(), &prepared.to_bytes(), session.plan()).unwrap()
}

/// A uniform input of the network, its extremes included.
pub(crate) fn input(model: &Model, seed: u64) -> Vec<i32> {
    let fact = &model.graph.facts[0];
    let (lo, hi) = (fact.lo as i32, fact.hi as i32);
    let len = model.graph.nodes[0].len();
    match seed {
        0 => vec![hi; len],
        1 => vec![lo; len],
        _ => {
            let mut rng = StdRng::seed_from_u64(seed);
            (0..len).map(|_| rng.random_range(lo..=hi)).collect()
        }
    }
}

/// One that may be held across an await.
pub(crate) fn generator() -> Prg {
    Prg::from_generator(&mut rand::rng())
}
