//! `phineus prepare`: fill the pool of pre-computes.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use phineus_infer::ProtocolError;
use phineus_infer::plan::MAX_BULK;
use phineus_infer::session::client::{Prepared, Session};
use phineus_infer::store::{Lot, Pool, Store as _};

use crate::command::infer::{Connection, Expiry};
use crate::failure::Failure;
use crate::table;

/// Options of `phineus prepare`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// Directory of this client's pool.
    #[arg(long)]
    store: PathBuf,
    /// File with the key that records are sealed with, 32 bytes; made if there is none. By default it lies in the pool.
    #[arg(long)]
    store_key: Option<PathBuf>,
    #[command(flatten)]
    expiry: Expiry,
    /// How many inferences to prepare for.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// Instead, keep so many in the pool: make what is missing, again and again, until interrupted. Requests, and
    /// preparations that somebody waits for, come first on both sides.
    #[arg(long, conflicts_with = "count")]
    keep: Option<usize>,
    /// How many of them share the work of the linear layers: less time and traffic each, more memory.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=MAX_BULK as u64))]
    bulk: u64,
    /// How many such groups to make at once, each in a session of its own: one computes while the others wait for the
    /// connection, the disk or the server.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    sessions: u64,
}

/// Prepares and stores.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let key = arguments.store_key.as_deref();
    let limits = arguments.expiry.limits();
    let store = Arc::new(Pool::in_directory(&arguments.store, key, true, limits, &mut rand::rng())?);
    let session = arguments.connection.open(store.as_ref()).await?;
    if let Some(depth) = arguments.keep {
        return tokio::select! {
            kept = keep(&arguments, &store, session, depth) => kept,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
    }
    let bytes = fill(&arguments, &store, session, arguments.count).await?;
    println!("{} pre-computes in {}, {}", arguments.count, arguments.store.display(), table::bytes(bytes));
    Ok(())
}

/// What sessions that fill a pool have in common.
struct Filling {
    store: Arc<Pool>,
    lot: Lot,
    bulk: usize,
    sessions: usize,
    /// Still to be begun.
    left: AtomicUsize,
    bytes: AtomicU64,
    bar: ProgressBar,
}

impl Filling {
    /// How many to make next; 0: there is nothing left.
    fn next(&self) -> usize {
        let size = |left: usize| left.div_ceil(self.sessions).min(self.bulk);
        let taken =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left - size(left)));
        taken.map_or(0, size)
    }

    /// One of the sessions, to its end.
    async fn work(self: Arc<Self>, mut session: Session) -> Result<(), ProtocolError> {
        let result = async {
            loop {
                match self.next() {
                    0 => return Ok(()),
                    count => session.prepare_many(count, |prepared| self.keep(prepared)).await?,
                }
            }
        };
        let result = result.await;
        match result {
            Ok(()) => session.close_into(self.store.as_ref()).await,
            Err(error) => {
                // The others finish what they have begun.
                self.left.store(0, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    fn keep(&self, prepared: Prepared) -> Result<(), ProtocolError> {
        let id = prepared.id();
        let record = prepared.into_bytes();
        self.bytes.fetch_add(record.len() as u64, Ordering::Relaxed);
        // The other sessions go on while this one waits for the disk.
        tokio::task::block_in_place(|| self.store.put(&self.lot, id, &record))?;
        self.bar.inc(1);
        Ok(())
    }
}

/// Prepares and stores `count` inferences, in `session` and as many others as are wanted; their bytes.
async fn fill(
    arguments: &Arguments,
    store: &Arc<Pool>,
    session: Session,
    count: usize,
) -> Result<u64, Failure> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} prepared, {eta} left")?;
    let sessions = (arguments.sessions as usize).clamp(1, count.max(1));
    let filling = Arc::new(Filling {
        store: store.clone(),
        lot: *session.lot(),
        bulk: arguments.bulk as usize,
        sessions,
        left: AtomicUsize::new(count),
        bytes: AtomicU64::new(0),
        bar: ProgressBar::new(count as u64).with_style(style),
    });
    let mut working = tokio::task::JoinSet::new();
    let mut next = Some(session);
    for _ in 0..sessions {
        let mut session = match next.take() {
            Some(session) => session,
            None => arguments.connection.open(store.as_ref()).await?,
        };
        if *session.lot() != filling.lot {
            return Err(Failure::new(OTHER_PLAN));
        }
        if arguments.keep.is_some() {
            session.set_background();
        }
        working.spawn(filling.clone().work(session));
    }
    let mut first = Ok(());
    while let Some(done) = working.join_next().await {
        let done = done.map_err(|e| Failure::new(e.to_string()))?;
        first = first.and(done.map_err(Failure::from));
    }
    filling.bar.finish_and_clear();
    first.map(|()| filling.bytes.load(Ordering::Relaxed))
}

/// Looks at the pool now and then and makes what is missing, in sessions of its own: a server ends one that is idle. A
/// server that is away or full is tried again, more and more rarely.
async fn keep(
    arguments: &Arguments,
    store: &Arc<Pool>,
    session: Session,
    depth: usize,
) -> Result<(), Failure> {
    let lot = *session.lot();
    let (mut session, mut pause) = (Some(session), INTERVAL);
    loop {
        match top_up(arguments, store, &lot, session.take(), depth).await {
            Ok(ControlFlow::Continue(())) => pause = INTERVAL,
            Ok(ControlFlow::Break(failure)) => return Err(failure),
            Err(failure) => {
                eprintln!("{failure}; trying again");
                pause = (2 * pause).min(LONGEST);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Makes what is missing once; breaks off where trying again is of no use.
async fn top_up(
    arguments: &Arguments,
    store: &Arc<Pool>,
    lot: &Lot,
    session: Option<Session>,
    depth: usize,
) -> Result<ControlFlow<Failure>, Failure> {
    let missing = depth.saturating_sub(store.list(lot)?.len());
    if missing == 0 {
        if let Some(session) = session {
            session.close_into(store.as_ref()).await?;
        }
        return Ok(ControlFlow::Continue(()));
    }
    let session = match session {
        Some(session) => session,
        None => arguments.connection.open(store.as_ref()).await?,
    };
    if session.lot() != lot {
        return Ok(ControlFlow::Break(Failure::new(OTHER_PLAN)));
    }
    fill(arguments, store, session, missing).await?;
    println!("{} pre-computes in {}", store.list(lot)?.len(), arguments.store.display());
    Ok(ControlFlow::Continue(()))
}

const OTHER_PLAN: &str = "the server has another plan for this model now; start again";

/// Between two looks at the pool.
const INTERVAL: Duration = Duration::from_millis(500);
/// The same where the server fails.
const LONGEST: Duration = Duration::from_secs(30);
