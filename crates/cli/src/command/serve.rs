//! `phineus serve`: the provider's server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use phineus_infer::served::{Catalogue, Served};
use phineus_infer::session::server;
use phineus_infer::store::{Limits, MemoryStore, Store};
use phineus_kernel::prg::Prg;
use phineus_net::{Channel, Server};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;

use crate::command::infer::PoolFlags;
use crate::encrypted::{ServeFlags, Services};
use crate::failure::Failure;
use crate::options::OfferFlags;
use crate::process;
use crate::size::Size;
use crate::tls::{Doorway, ServerOptions};

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
    encrypted: ServeFlags,
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
    let serving = Arc::new(if arguments.offer.encrypted()? {
        Serving::Encrypted(Services::load(&arguments.models, &arguments.encrypted)?)
    } else {
        shares(&arguments, &doorway)?
    });
    // The first line is an interface: a parent process reads the port from it.
    println!("listening on {}", listener.local_addr()?);
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
        let doorway = doorway.clone();
        tokio::spawn(async move {
            // Before it takes a session: strangers that dawdle must not keep clients waiting.
            let mut channel = match doorway.receive(stream, deadline.min(HANDSHAKE)).await {
                Ok(channel) => channel,
                Err(error) => return tracing::warn!("{peer}: {error}"),
            };
            channel.set_deadline(deadline);
            let Ok(_permit) = sessions.acquire_owned().await else { return };
            match serving.session(channel).await {
                Ok(summary) => tracing::info!("{peer}: {summary}"),
                Err(error) => tracing::warn!("{peer}: {error}"),
            }
        });
    }
}

/// What a server does with its clients.
enum Serving {
    /// Engines on shares.
    Shares(Catalogue, Box<dyn Store>),
    /// Networks under encryption.
    Encrypted(Services),
}

impl Serving {
    /// One client, from hello to goodbye; what was done, in words.
    async fn session(&self, channel: Channel<Server>) -> Result<String, Failure> {
        match self {
            Self::Shares(catalogue, store) => {
                let mut rng = Prg::from_generator(&mut rand::rng());
                let rss = process::peak_rss_bytes;
                let summary = server::serve(channel, catalogue, store.as_ref(), rss, &mut rng).await?;
                Ok(summary.to_string())
            }
            Self::Encrypted(services) => {
                let summary = services.serve(channel).await?;
                Ok(format!("{} served under encryption", summary.served))
            }
        }
    }
}

/// The models with their plans, and the store of pre-computes.
fn shares(arguments: &Arguments, doorway: &Doorway) -> Result<Serving, Failure> {
    let offer = arguments.offer.offer(doorway.link());
    let options = offer.first().map_err(|e| Failure::new(e.to_string()))?;
    let mut catalogue = Catalogue::new(offer);
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
    };
    let store: Box<dyn Store> = match arguments.pool.open(false, limits)? {
        Some(pool) => Box::new(pool),
        None => Box::new(MemoryStore::new(limits, &mut rand::rng())),
    };
    Ok(Serving::Shares(catalogue, store))
}

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
