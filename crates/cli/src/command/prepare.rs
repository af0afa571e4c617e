//! `phineus prepare`: fill the pool of pre-computes.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use phineus_infer::plan::MAX_BULK;
use phineus_infer::session::client::{Prepared, Session};
use phineus_infer::store::{Limits, Pool, Store as _};

use crate::command::infer::Connection;
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
    /// How many inferences to prepare for.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// Instead, keep so many in the pool: make what is missing, again and again, until interrupted.
    #[arg(long, conflicts_with = "count")]
    keep: Option<usize>,
    /// How many of them share the work of the linear layers: less time and traffic each, more memory.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=MAX_BULK as u64))]
    bulk: u64,
}

/// Prepares and stores.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let key = arguments.store_key.as_deref();
    let store = Pool::in_directory(&arguments.store, key, true, Limits::default(), &mut rand::rng())?;
    let mut session = arguments.connection.open(&store).await?;
    if let Some(depth) = arguments.keep {
        return tokio::select! {
            kept = keep(&arguments, &store, session, depth) => kept,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
    }
    let bytes = fill(&arguments, &store, &mut session, arguments.count).await?;
    session.close().await?;
    println!("{} pre-computes in {}, {}", arguments.count, arguments.store.display(), table::bytes(bytes));
    Ok(())
}

/// Prepares and stores `count` inferences; their bytes.
async fn fill(
    arguments: &Arguments,
    store: &Pool,
    session: &mut Session,
    count: usize,
) -> Result<u64, Failure> {
    let lot = *session.lot();
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} prepared, {eta} left")?;
    let bar = ProgressBar::new(count as u64).with_style(style);
    let mut bytes = 0;
    let mut left = count;
    while left > 0 {
        let now = left.min(arguments.bulk as usize);
        let keep = |prepared: Prepared| {
            let id = prepared.id();
            let record = prepared.into_bytes();
            bytes += record.len() as u64;
            store.put(&lot, id, &record)?;
            bar.inc(1);
            Ok(())
        };
        session.prepare_many(now, keep).await?;
        left -= now;
    }
    bar.finish_and_clear();
    Ok(bytes)
}

/// Looks at the pool now and then and makes what is missing, in sessions of its own: a server ends one that is idle.
async fn keep(arguments: &Arguments, store: &Pool, session: Session, depth: usize) -> Result<(), Failure> {
    let lot = *session.lot();
    let mut session = Some(session);
    loop {
        let missing = depth.saturating_sub(store.list(&lot)?.len());
        if missing > 0 {
            let mut open = match session.take() {
                Some(open) => open,
                None => arguments.connection.open(store).await?,
            };
            if *open.lot() != lot {
                return Err(Failure::new("the server has another plan for this model now; start again"));
            }
            fill(arguments, store, &mut open, missing).await?;
            open.close().await?;
            println!("{} pre-computes in {}", store.list(&lot)?.len(), arguments.store.display());
        } else if let Some(open) = session.take() {
            open.close().await?;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Between two looks at the pool.
const INTERVAL: Duration = Duration::from_millis(500);
