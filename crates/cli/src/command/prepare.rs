//! `phineus prepare`: fill the pool of pre-computes.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use phineus_infer::plan::MAX_BULK;
use phineus_infer::session::client::Prepared;
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
    /// How many of them share the work of the linear layers: less time and traffic each, more memory.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=MAX_BULK as u64))]
    bulk: u64,
}

/// Prepares and stores `count` inferences.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let key = arguments.store_key.as_deref();
    let store = Pool::in_directory(&arguments.store, key, Limits::default(), &mut rand::rng())?;
    let mut session = arguments.connection.open(&store).await?;
    let lot = *session.lot();
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} prepared, {eta} left")?;
    let bar = ProgressBar::new(arguments.count as u64).with_style(style);
    let mut bytes = 0;
    let mut left = arguments.count;
    while left > 0 {
        let now = left.min(arguments.bulk as usize);
        let keep = |prepared: Prepared| {
            let record = prepared.to_bytes();
            bytes += record.len() as u64;
            store.put(&lot, prepared.id(), &record)?;
            bar.inc(1);
            Ok(())
        };
        session.prepare_many(now, keep).await?;
        left -= now;
    }
    bar.finish_and_clear();
    session.close().await?;
    println!("{} pre-computes in {}, {}", arguments.count, arguments.store.display(), table::bytes(bytes));
    Ok(())
}
