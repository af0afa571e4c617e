//! `phineus bench NETWORK --sustained SECONDS`: every preset as two processes that prepare and answer without a pause, and
//! beside it what the planner foretells.
//!
//! Requests come one after the other; each takes a pre-compute as soon as there is one. Both processes share this machine,
//! and what prepares gives way to requests. Offline and online seconds are measured before, with nothing else going on.

use std::path::Path;
use std::time::{Duration, Instant};

use phineus_infer::plan::{Engine, Link};
use phineus_infer::preset::{Preset, Site};
use phineus_infer::report::{Cost, Report};
use phineus_model::fixed::Model;
use phineus_model::phn::Public;
use phineus_net::shaped::LinkProfile;
use serde::Serialize;

use super::provenance::Provenance;
use crate::command::simulate::{median, of_bulks};
use crate::failure::Failure;
use crate::options::PlanFlags;
use crate::station::Station;
use crate::table;

/// What is run, and how.
pub(crate) struct Trial<'a> {
    /// Flags of the plan; its engine is replaced.
    pub(crate) plan: &'a PlanFlags,
    /// How long requests come.
    pub(crate) seconds: f64,
    /// Bytes for pre-computes, at either side.
    pub(crate) storage: u64,
    /// Pre-computes made together.
    pub(crate) bulk: usize,
    /// An imitated link.
    pub(crate) link: Option<LinkProfile>,
    /// Of the presets, only those whose names contain this.
    pub(crate) only: Option<&'a str>,
}

/// One figure, foretold and measured.
#[derive(Debug, Clone, Copy, Serialize)]
struct Pair {
    predicted: f64,
    measured: f64,
}

/// One preset.
#[derive(Debug, Serialize)]
struct Row {
    engine: &'static str,
    bulk: usize,
    offline_seconds: Pair,
    online_seconds: Pair,
    per_second: Pair,
    /// Predicted from the two phases as measured by themselves.
    per_second_of_phases: Pair,
    offline_bytes: Pair,
    online_bytes: Pair,
    client_stored_bytes: Pair,
    server_stored_bytes: Pair,
    /// Processor seconds of both phases, the client's and the server's.
    client_cpu_seconds: [Pair; 2],
    server_cpu_seconds: [Pair; 2],
    /// Requests that were answered.
    answered: usize,
}

/// Everything that a run prints.
#[derive(Serialize)]
struct Results {
    provenance: Provenance,
    network: String,
    link: String,
    seconds: f64,
    rows: Vec<Row>,
}

/// Inferences that are measured by themselves.
const PROBES: usize = 5;

/// Runs and prints all presets.
pub(crate) async fn run(
    model: &Model,
    trial: &Trial<'_>,
    json: bool,
    output: Option<&Path>,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for engine in [Engine::Delphi, Engine::ClientGarbler, Engine::Ot] {
        if trial.only.is_none_or(|only| engine.name().contains(only)) {
            rows.push(preset(model, trial, engine).await?);
        }
    }
    let results = Results {
        provenance: Provenance::collect(),
        network: model.name.clone(),
        link: trial.link.map_or_else(|| "loopback".to_owned(), |link| link.to_string()),
        seconds: trial.seconds,
        rows,
    };
    if let Some(path) = output {
        std::fs::write(path, serde_json::to_string_pretty(&results)? + "\n")
            .map_err(|e| Failure::at(path, e))?;
    }
    if json {
        println!("{}", serde_json::to_string(&results)?);
    } else {
        println!("{}", print(&results.rows));
    }
    Ok(())
}

async fn preset(model: &Model, trial: &Trial<'_>, engine: Engine) -> Result<Row, Failure> {
    let flags = trial.plan.with_engine(engine);
    // 1. What is foretold: the plan is for its own link, the prediction for what carries it here.
    let options = flags.options(trial.link);
    let site = Site {
        link: options.link,
        client_storage: Some(trial.storage),
        server_storage: Some(trial.storage),
        cores: std::thread::available_parallelism().map_or(2, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        one_machine: true,
        bulk: trial.bulk,
        ..Site::default()
    };
    let (planned, _) = site.preset(&Public::of(model), &options)?;
    let bulk = planned.bulk;
    let foretold = planned.over(trial.link.map_or(LOOPBACK, Link::from), &site);
    let room = foretold.room.and_then(|room| usize::try_from(room).ok()).unwrap_or(usize::MAX);
    if room == 0 {
        let kept = foretold.stored.into_iter().max().unwrap_or(0);
        return Err(Failure::new(format!("--storage: {engine} keeps {}", table::bytes(kept))));
    }
    // 2. Phases by themselves.
    let mut station = Station::open(model, &flags, trial.link).await?;
    let reports = station.probe(PROBES, bulk).await?;
    // 3. As many as possible.
    let (mut desk, mut stock) = station.stock_up(room.min(4 * bulk), bulk);
    let mut answer_bulk = async || -> Result<(), Failure> {
        for _ in 0..bulk {
            let prepared = stock.take().await?;
            desk.answer(prepared).await?;
            stock.answered();
        }
        Ok(())
    };
    // From the end of one bulk to the end of another.
    answer_bulk().await?;
    let start = Instant::now();
    let length = Duration::from_secs_f64(trial.seconds);
    let mut answered = 0;
    while start.elapsed() < length {
        answer_bulk().await?;
        answered += bulk;
    }
    let rate = answered as f64 / start.elapsed().as_secs_f64();
    drop(desk);
    drop(stock);
    Ok(row(&foretold, &reports, answered, rate))
}

fn row(foretold: &Preset, reports: &[Report], answered: usize, rate: f64) -> Row {
    let count = reports.len().max(1) as f64;
    let mean = |of: &dyn Fn(&Report) -> f64| reports.iter().map(of).sum::<f64>() / count;
    let bytes = |cost: &Cost| (cost.client_to_server_bytes + cost.server_to_client_bytes) as f64;
    let pair = |predicted: f64, measured: f64| Pair { predicted, measured };
    let Preset { engine, bulk, offline, online, stored, work, .. } = foretold;
    let offline_seconds = pair(foretold.offline_seconds(), of_bulks(reports, *bulk));
    let measured = median(reports.iter().map(|r| r.online.seconds).collect());
    let online_seconds = pair(foretold.online_seconds(), measured);
    Row {
        engine: engine.name(),
        bulk: *bulk,
        offline_seconds,
        online_seconds,
        per_second: pair(foretold.rate, rate),
        per_second_of_phases: pair(1.0 / (offline_seconds.measured + online_seconds.measured), rate),
        offline_bytes: pair((offline.up_bytes + offline.down_bytes) as f64, mean(&|r| bytes(&r.offline))),
        online_bytes: pair((online.up_bytes + online.down_bytes) as f64, mean(&|r| bytes(&r.online))),
        client_stored_bytes: pair(stored[0] as f64, mean(&|r| r.client.stored_bytes as f64)),
        server_stored_bytes: pair(stored[1] as f64, mean(&|r| r.server.stored_bytes as f64)),
        client_cpu_seconds: [
            pair(work.offline[0], mean(&|r| r.offline.client_cpu_seconds)),
            pair(work.online[0], mean(&|r| r.online.client_cpu_seconds)),
        ],
        server_cpu_seconds: [
            pair(work.offline[1], mean(&|r| r.offline.server_cpu_seconds)),
            pair(work.online[1], mean(&|r| r.online.server_cpu_seconds)),
        ],
        answered,
    }
}

fn print(rows: &[Row]) -> comfy_table::Table {
    let header = ["preset", "figure", "predicted", "measured", "ratio"];
    let mut text = table::new(&header, 2);
    for row in rows {
        let figures = [
            ("offline s", row.offline_seconds),
            ("client's offline CPU s", row.client_cpu_seconds[0]),
            ("server's offline CPU s", row.server_cpu_seconds[0]),
            ("online s", row.online_seconds),
            ("client's online CPU s", row.client_cpu_seconds[1]),
            ("server's online CPU s", row.server_cpu_seconds[1]),
            ("sustained, 1/s", row.per_second),
            ("of measured phases", row.per_second_of_phases),
            ("offline MB", mega(row.offline_bytes)),
            ("online MB", mega(row.online_bytes)),
            ("client keeps MB", mega(row.client_stored_bytes)),
            ("server keeps MB", mega(row.server_stored_bytes)),
        ];
        for (i, (figure, Pair { predicted, measured })) in figures.into_iter().enumerate() {
            text.add_row([
                if i == 0 { format!("{} x{}", row.engine, row.bulk) } else { String::new() },
                figure.to_owned(),
                format!("{predicted:.4}"),
                format!("{measured:.4}"),
                format!("{:.2}", measured / predicted),
            ]);
        }
    }
    text
}

fn mega(pair: Pair) -> Pair {
    Pair { predicted: pair.predicted / 1e6, measured: pair.measured / 1e6 }
}

/// What two processes of one machine have between them; the time that copying takes is the processors'.
const LOOPBACK: Link = Link::symmetric(1_000_000_000_000, Duration::ZERO);
