//! `phineus infer`: a private prediction.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use phineus_infer::cipher::Identity;
use phineus_infer::report::Report;
use phineus_infer::session::client::{Prepared, Request, Session};
use phineus_infer::store::{Limits, MemoryStore, Pool, PrepId, Store, StoreError};
use phineus_net::{Channel, Client};
use rayon::prelude::*;

use crate::data::{self, Sample, Split};
use crate::encrypted::IdentityFlags;
use crate::extractor::{self, Extractor, ExtractorFlags};
use crate::failure::Failure;
use crate::options::WishFlags;
use crate::tls::ClientOptions;
use crate::{compile, process, table};

/// Which server and model.
#[derive(clap::Args)]
pub(crate) struct Connection {
    /// Address of the server.
    #[arg(long, default_value = "127.0.0.1:7878")]
    server: String,
    /// Name of the model; not needed where the server has only one.
    #[arg(long, default_value = "")]
    model: String,
    /// Insist on this plan digest (64 hexadecimal digits, as `compile` prints it).
    #[arg(long, value_parser = digest)]
    plan: Option<[u8; 32]>,
    /// Seconds that the server may make no progress.
    #[arg(long, default_value_t = 60)]
    deadline: u64,
    #[command(flatten)]
    wishes: WishFlags,
    #[command(flatten)]
    transport: ClientOptions,
}

impl Connection {
    /// Connects.
    async fn channel(&self) -> Result<Channel<Client>, Failure> {
        let deadline = Duration::from_secs(self.deadline.max(1));
        let mut channel = self.transport.connect(&self.server, deadline).await?;
        channel.set_deadline(deadline);
        Ok(channel)
    }

    /// Connects and agrees on the plan.
    pub(crate) async fn open(&self, store: &dyn Store) -> Result<Session, Failure> {
        self.open_as(store, None).await
    }

    /// As [`Connection::open`], with this client's keys where the network is evaluated under encryption.
    async fn open_as(&self, store: &dyn Store, identity: Option<Arc<Identity>>) -> Result<Session, Failure> {
        let channel = self.channel().await?;
        let wishes = self.wishes.wishes();
        let request = Request { model: self.model.clone(), pinned: self.plan, wishes, identity };
        Ok(Session::connect(channel, &request, store, &mut rand::rng()).await?)
    }
}

/// Where pre-computes are kept between runs.
#[derive(clap::Args)]
pub(crate) struct PoolFlags {
    /// Directory of the pool of pre-computes. Without it they live in memory and end with the program.
    #[arg(long)]
    store: Option<PathBuf>,
    /// File with the key that records are sealed with, 32 bytes; made if there is none. By default it lies in the pool.
    #[arg(long, requires = "store")]
    store_key: Option<PathBuf>,
}

impl PoolFlags {
    /// The pool, if one is named; with `shared`, other processes may use it at the same time.
    pub(crate) fn open(&self, shared: bool, limits: Limits) -> Result<Option<Pool>, Failure> {
        let Some(directory) = &self.store else { return Ok(None) };
        let key = self.store_key.as_deref();
        Ok(Some(Pool::in_directory(directory, key, shared, limits, &mut rand::rng())?))
    }
}

/// How long a client's pre-computes live.
#[derive(clap::Args)]
pub(crate) struct Expiry {
    /// Hours after which an unused pre-compute is thrown away, whichever server it belongs to; never by default. Servers
    /// that are gone take no other way out of the pool.
    #[arg(long)]
    expire_hours: Option<u64>,
}

impl Expiry {
    /// As limits of a pool.
    pub(crate) fn limits(&self) -> Limits {
        let life = self.expire_hours.map(|hours| Duration::from_secs(hours.saturating_mul(3600)));
        Limits { life, ..Limits::default() }
    }
}

/// Options of `phineus infer`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// PNG, JPEG or NPY files, one prediction each.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    pool: PoolFlags,
    /// Scale images of another size to the model's.
    #[arg(long)]
    resize: bool,
    /// Print one report per image as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    identity: IdentityFlags,
    #[command(flatten)]
    extractor: ExtractorFlags,
    /// With `--engine he`: all images at once, as many per ciphertext as it has slots.
    #[arg(long)]
    batch: bool,
    #[command(flatten)]
    expiry: Expiry,
}

/// Predicts each image.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let pool = arguments.pool.open(true, arguments.expiry.limits())?;
    let store: Box<dyn Store> = match pool {
        Some(pool) => Box::new(pool),
        None => Box::new(MemoryStore::new(Limits::default(), &mut rand::rng())),
    };
    let identity = arguments.identity.open()?;
    let mut session = arguments.connection.open_as(store.as_ref(), identity).await?;
    let public = session.plan().public().clone();
    let extractor = arguments.extractor.load()?;
    let shape = extractor::image_shape(extractor.as_ref(), compile::shape_of(&public.graph.nodes)?)?;
    let resize = arguments.resize || extractor.is_some();
    let options = data::Options { split: Split::Test, skip: 0, limit: None, resize };
    if arguments.batch {
        let images = arguments.images.iter().map(|path| data::open(path, shape, &options));
        let images: Vec<Sample> = images.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        batch(&mut session, extractor.as_ref(), &images, arguments.json).await?;
        return Ok(session.close().await?);
    }
    let mut known = VecDeque::new();
    for path in &arguments.images {
        let samples = data::open(path, shape, &options)?;
        for sample in samples {
            let input = extractor::encode(extractor.as_ref(), &public.graph, &public.preprocess, &sample)
                .map_err(|e| Failure::at(path, e))?;
            let prepared = from_pool(store.as_ref(), &session, &mut known)?;
            let report = predict(&mut session, prepared, &input).await?;
            if arguments.json {
                println!("{}", serde_json::to_string(&report)?);
            } else {
                print_prediction(&sample.name, &report, &public.labels);
            }
        }
    }
    session.close_into(store.as_ref()).await?;
    Ok(())
}

/// Predicts all images at once.
async fn batch(
    session: &mut Session,
    extractor: Option<&Extractor>,
    images: &[Sample],
    json: bool,
) -> Result<(), Failure> {
    let public = session.plan().public().clone();
    let encode = |image: &Sample| extractor::encode(extractor, &public.graph, &public.preprocess, image);
    let inputs: Vec<Vec<i32>> = images.par_iter().map(encode).collect::<Result<_, _>>()?;
    let inputs: Vec<&[i32]> = inputs.iter().map(|x| &x[..]).collect();
    let start = Instant::now();
    let outputs = session.predict_batch(&inputs).await?;
    let seconds = start.elapsed().as_secs_f64();
    for (image, logits) in images.iter().zip(&outputs) {
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        let class = best.map_or(0, |(class, _)| class);
        if json {
            println!("{}", serde_json::json!({ "name": image.name, "argmax": class, "logits": logits }));
        } else {
            let label = public.labels.get(class).cloned().unwrap_or_else(|| format!("class {class}"));
            println!("{}: {label}", image.name);
        }
    }
    let rate = images.len() as f64 / seconds;
    let traffic = session.traffic();
    let both = table::bytes(traffic.sent + traffic.received);
    eprintln!("{} images in {seconds:.3} s, {rate:.1} images/s, {both}", images.len());
    Ok(())
}

/// One inference, on a pre-compute of the pool or on one made now.
pub(crate) async fn predict(
    session: &mut Session,
    prepared: Option<Prepared>,
    input: &[i32],
) -> Result<Report, Failure> {
    let inference = match prepared {
        Some(prepared) => session.infer(prepared, input).await?,
        None => session.predict(input).await?,
    };
    let mut report = inference.report;
    report.client.peak_rss_bytes = process::peak_rss_bytes();
    Ok(report)
}

/// The oldest pre-compute of the pool that can be used; `known` are those that the pool had when it was last asked.
fn from_pool(
    store: &dyn Store,
    session: &Session,
    known: &mut VecDeque<PrepId>,
) -> Result<Option<Prepared>, Failure> {
    if known.is_empty() {
        known.extend(store.list(session.lot())?);
    }
    while let Some(id) = known.pop_front() {
        match store.take(session.lot(), id) {
            Ok(record) => match Prepared::from_bytes(id, &record, session.plan()) {
                Ok(prepared) => return Ok(Some(prepared)),
                Err(error) => tracing::warn!("{id:?}: {error}; burned"),
            },
            // Another process was faster, or the file was damaged and is burned: the next one will do.
            Err(StoreError::Unknown(_)) => {}
            Err(error @ StoreError::Damaged(_)) => tracing::warn!("{error}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Label, confidence, time and bytes.
fn print_prediction(name: &str, report: &Report, labels: &[String]) {
    let label = |class: usize| labels.get(class).cloned().unwrap_or_else(|| format!("class {class}"));
    let class = report.output.argmax;
    let scores = &report.output.scores;
    for (class, score) in scores.iter().enumerate() {
        println!("{name}: {} {:.1} %", label(class), 100.0 * score);
    }
    let label = label(class);
    let confidence = if scores.is_empty() { confidence(&report.output.logits) } else { None };
    let confidence = confidence.map_or_else(String::new, |p| format!(" ({:.1} %)", 100.0 * p));
    let both =
        |c: &phineus_infer::report::Cost| table::bytes(c.client_to_server_bytes + c.server_to_client_bytes);
    println!(
        "{name}: {label}{confidence}   offline {:.3} s, {}; online {:.3} s, {}",
        report.offline.seconds,
        both(&report.offline),
        report.online.seconds,
        both(&report.online),
    );
}

/// Softmax of the largest logit.
pub(crate) fn confidence(logits: &[f32]) -> Option<f64> {
    let max = logits.iter().copied().reduce(f32::max)?;
    Some(1.0 / logits.iter().map(|l| f64::from(l - max).exp()).sum::<f64>())
}

fn digest(text: &str) -> Result<[u8; 32], String> {
    let parse = |i: usize| text.get(2 * i..2 * i + 2).and_then(|d| u8::from_str_radix(d, 16).ok());
    let digits: Option<Vec<u8>> = (0..32).map(parse).collect();
    match digits.and_then(|d| <[u8; 32]>::try_from(d).ok()) {
        Some(digest) if text.len() == 64 => Ok(digest),
        _ => Err("64 hexadecimal digits are needed".into()),
    }
}
