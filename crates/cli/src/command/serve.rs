//! `phineus serve`: the provider's server.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use phineus_infer::metrics as counts;
use phineus_infer::served::{Catalogue, Served};
use phineus_infer::session::server::{self, Summary};
use phineus_infer::store::disk::Directory;
use phineus_infer::store::{Limits, MemoryStore, Store, StoreError};
use phineus_kernel::prg::Prg;
use phineus_net::{Channel, Server};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;

use crate::command::infer::PoolFlags;
use crate::encrypted::KeyringFlags;
use crate::failure::Failure;
use crate::options::OfferFlags;
use crate::size::Size;
use crate::tls::{Doorway, ServerOptions};
use crate::{metrics, process};

/// Options of `phineus serve`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Compiled models (.phn). A client names the one it wants; a single model needs no name.
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// Address to listen on; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:7878")]
    listen: String,
    #[command(flatten)]
    transport: ServerOptions,
    #[command(flatten)]
    offer: OfferFlags,
    #[command(flatten)]
    keyring: KeyringFlags,
    #[command(flatten)]
    pool: PoolFlags,
    /// Most pre-computes kept per model.
    #[arg(long, default_value_t = 1024)]
    max_prepared: u64,
    /// Most pre-computes kept per client.
    #[arg(long, default_value_t = 1024)]
    max_prepared_per_client: u64,
    /// Most bytes of pre-computes, as in 16GB; no limit by default.
    #[arg(long)]
    max_stored: Option<Size>,
    /// Hours after which an unused pre-compute is thrown away; never by default.
    #[arg(long)]
    expire_hours: Option<u64>,
    /// Without --store: most bytes of pre-computes in memory, as in 2GB. Further ones lie sealed in the directory --spill.
    #[arg(long, requires = "spill")]
    max_memory: Option<Size>,
    /// Directory for what does not fit --max-memory. It is this server's alone, and emptied when it starts.
    #[arg(long, requires = "max_memory", conflicts_with = "store")]
    spill: Option<PathBuf>,
    /// Serve metrics in the format of Prometheus by plain HTTP at this port of loopback, or at this address.
    #[arg(long, value_parser = metrics::address)]
    metrics: Option<String>,
    /// Print a line of JSON after each session.
    #[arg(long)]
    json: bool,
    /// Most clients served at once; further ones wait.
    #[arg(long, default_value_t = 16)]
    max_sessions: usize,
    /// Seconds that a client may make no progress.
    #[arg(long, default_value_t = 60)]
    deadline: u64,
    /// Megabytes of transformed weights kept per model.
    #[arg(long, default_value_t = 1024)]
    weight_cache_mb: usize,
    /// Stop when standard input closes: for a parent process that must not leave servers behind.
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

/// Serves until interrupted.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let doorway = Arc::new(arguments.transport.doorway()?);
    let listener = doorway.listen(&arguments.listen).await?;
    let serving = Arc::new(Serving::load(&arguments, &doorway)?);
    // The first line is an interface: a parent process reads the port from it.
    println!("listening on {}", listener.local_addr()?);
    if let Some(address) = &arguments.metrics {
        let listener = tokio::net::TcpListener::bind(address).await?;
        println!("metrics on {}", listener.local_addr()?);
        let serving = serving.clone();
        tokio::spawn(metrics::serve(listener, Arc::new(move || serving.page())));
    }
    if arguments.expire_hours.is_some() {
        tokio::spawn(expire(serving.clone()));
    }
    let sessions = Arc::new(Semaphore::new(arguments.max_sessions.max(1)));
    let deadline = Duration::from_secs(arguments.deadline.max(1));
    let stop = stop_signal(arguments.until_stdin_closes);
    tokio::pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut stop => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: existing sessions go on and free some.
                    tracing::warn!("accept failed: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (serving, sessions) = (serving.clone(), sessions.clone());
        let (doorway, json) = (doorway.clone(), arguments.json);
        tokio::spawn(async move {
            // Before it takes a session: strangers that dawdle must not keep clients waiting.
            let mut channel = match doorway.receive(stream, deadline.min(HANDSHAKE)).await {
                Ok(channel) => channel,
                Err(error) => return tracing::warn!("{peer}: {error}"),
            };
            channel.set_deadline(deadline);
            let Ok(_permit) = sessions.acquire_owned().await else { return };
            let start = Instant::now();
            let done = serving.session(channel).await;
            match &done {
                Ok(summary) => tracing::info!("{peer}: {summary}"),
                Err(error) => tracing::warn!("{peer}: {error}"),
            }
            if json {
                // Whoever reads the lines may go; the server stays.
                let _ = writeln!(std::io::stdout(), "{}", serving.line(&done, start.elapsed()));
            }
        });
    }
}

/// What a server has for its clients.
struct Serving {
    catalogue: Catalogue,
    store: Box<dyn Store>,
}

impl Serving {
    /// The models with their plans, and the store of pre-computes.
    fn load(arguments: &Arguments, doorway: &Doorway) -> Result<Self, Failure> {
        let offer = arguments.offer.offer(doorway.link());
        let options = offer.first().map_err(|e| Failure::new(e.to_string()))?;
        let mut catalogue = Catalogue::new(offer).with_keyring(arguments.keyring.keyring());
        for path in &arguments.models {
            let bytes = std::fs::read(path).map_err(|e| Failure::at(path, e))?;
            let model = phineus_model::phn::read(&bytes).map_err(|e| Failure::at(path, e))?;
            let served = Served::new(model, &options, arguments.weight_cache_mb << 20)
                .map_err(|e| Failure::at(path, e))?;
            catalogue.add(served).map_err(|e| Failure::at(path, e))?;
        }
        let limits = Limits {
            per_plan: arguments.max_prepared,
            per_peer: arguments.max_prepared_per_client,
            bytes: arguments.max_stored.map_or(u64::MAX, |size| size.0),
            life: arguments.expire_hours.map(|hours| Duration::from_secs(hours.saturating_mul(3600))),
            ..Limits::default()
        };
        let store: Box<dyn Store> = match (arguments.pool.open(false, limits)?, &arguments.spill) {
            (Some(pool), _) => Box::new(pool),
            (None, Some(spill)) => {
                let disk = Directory::open(spill).map_err(|e| Failure::at(spill, e))?;
                let memory = arguments.max_memory.map_or(u64::MAX, |size| size.0);
                Box::new(MemoryStore::spilling(limits, memory, disk, &mut rand::rng())?)
            }
            (None, None) => Box::new(MemoryStore::new(limits, &mut rand::rng())),
        };
        Ok(Self { catalogue, store })
    }

    /// One client, from hello to goodbye.
    async fn session(&self, channel: Channel<Server>) -> Result<Summary, Failure> {
        let mut rng = Prg::from_generator(&mut rand::rng());
        let rss = process::peak_rss_bytes;
        Ok(server::serve(channel, &self.catalogue, self.store.as_ref(), rss, &mut rng).await?)
    }

    /// All that is counted, as text; `None` where the store fails.
    fn page(&self) -> Option<String> {
        let page = counts::render(&self.catalogue, self.store.as_ref(), process::peak_rss_bytes());
        page.inspect_err(|error| tracing::warn!("metrics: {error}")).ok()
    }

    /// What waits in the store, by model and engine.
    fn pool(&self) -> Result<Vec<serde_json::Value>, StoreError> {
        let entry = |(labels, depth): (counts::Labels, counts::Depth)| {
            serde_json::json!({
                "model": labels.model, "engine": labels.engine,
                "records": depth.records, "bytes": depth.bytes, "clients": depth.clients,
            })
        };
        Ok(counts::depths(&self.catalogue, self.store.as_ref())?.into_iter().map(entry).collect())
    }

    /// A session as a line of JSON: nothing in it tells one client from another.
    fn line(&self, done: &Result<Summary, Failure>, time: Duration) -> serde_json::Value {
        let (summary, error) = match done {
            Ok(summary) => (*summary, None),
            Err(error) => (Summary::default(), Some(error.to_string())),
        };
        serde_json::json!({
            "seconds": time.as_secs_f64(), "error": error,
            "prepared": summary.prepared, "served": summary.served,
            "sent_bytes": summary.traffic.sent, "received_bytes": summary.traffic.received,
            "rounds": summary.traffic.rounds, "pool": self.pool().ok(),
        })
    }
}

/// Throws away what has expired even if nobody comes.
async fn expire(serving: Arc<Serving>) {
    loop {
        tokio::time::sleep(EXPIRY).await;
        if let Err(error) = tokio::task::block_in_place(|| serving.pool()) {
            tracing::warn!("{error}");
        }
    }
}

/// Between two looks for what has expired.
const EXPIRY: Duration = Duration::from_secs(60);

async fn stop_signal(until_stdin_closes: bool) {
    let interrupted = tokio::signal::ctrl_c();
    if until_stdin_closes {
        let stdin_closed = async {
            let mut byte = [0];
            let mut stdin = tokio::io::stdin();
            while matches!(stdin.read(&mut byte).await, Ok(1..)) {}
        };
        tokio::select! { _ = interrupted => {}, () = stdin_closed => {} }
    } else if interrupted.await.is_err() {
        // No signal handler: serve until killed.
        std::future::pending::<()>().await;
    }
}

/// Most time that a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
