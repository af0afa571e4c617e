//! `phineus simulate`: mean latency of a day of requests, against their rate and the storage for pre-computes.

mod against_paper;
mod plot;
mod real;

pub(crate) use real::{median, of_bulks};

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use phineus_infer::plan::Link;
use phineus_infer::report::Report;
use phineus_infer::simulate::published::{self, NETWORKS, System};
use phineus_infer::simulate::{self, Phase, Profile, Setting, Summary, wireless};
use phineus_kernel::prg::Prg;
use phineus_net::shaped::LinkProfile;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::command::bench::provenance::Provenance;
use crate::compile::Quantisation;
use crate::failure::Failure;
use crate::options::PlanFlags;
use crate::size::{Rate, Size};
use crate::table;

/// Options of `phineus simulate`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Costs to simulate: reports of `phineus bench --json`, or files with several under "reports".
    profiles: Vec<PathBuf>,
    /// Beside them, the published costs of one of the paper's networks: resnet32, vgg16 or resnet18 after cifar- or tiny-.
    #[arg(long)]
    paper: Vec<String>,
    /// Repeat the paper's figures from its own costs, and print both.
    #[arg(long, conflicts_with_all = ["profiles", "paper"])]
    published: bool,
    /// Simulate one day of this network (a zoo name, an ONNX or .phn file) and live it: a client and a server on this machine,
    /// with the first of the rates and of the storages.
    #[arg(long, conflicts_with_all = ["profiles", "paper", "published"])]
    real: Option<String>,
    /// Requests per second and client.
    #[arg(long, value_delimiter = ',', default_value = "0.0001,0.0003,0.001,0.003,0.01,0.03,0.1,0.3,1")]
    rates: Vec<f64>,
    /// What a client has for pre-computes, as in 300MB or 16GB.
    #[arg(long, value_delimiter = ',', default_value = "8GB,16GB,32GB,64GB,128GB")]
    storage: Vec<Size>,
    /// What the server has for those of all clients; no limit by default.
    #[arg(long)]
    server_storage: Option<Size>,
    /// Length of a day.
    #[arg(long, default_value_t = 24.0)]
    hours: f64,
    /// Days that are averaged.
    #[arg(long, default_value_t = 40)]
    days: usize,
    /// Clients, each with its own link and store.
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// Offline jobs that the server computes at the same time.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Pre-computes per offline job.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Compute the next job while the link still moves the last one.
    #[arg(long)]
    overlap: bool,
    /// The link of every client: lan, metro, wan, or rate and round trip as in 100Mbps,40ms. Published costs contain theirs.
    #[arg(long)]
    link: Option<LinkProfile>,
    /// Start of the random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Beside the link's round trip: its rate in both directions together, split by the volumes of each system.
    #[arg(long)]
    shared: Option<Rate>,
    /// Of the reports, only those of these networks.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Write table and plot with their provenance to files of this name, with `.csv` and `.svg`.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Write the table as comma-separated values.
    #[arg(long)]
    csv: Option<PathBuf>,
    /// Write a plot of latency against rate as SVG.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plan: PlanFlags,
    #[command(flatten)]
    quantisation: Quantisation,
}

/// One point of the characterisation.
#[derive(Serialize)]
struct Point {
    system: String,
    client_storage: u64,
    rate: f64,
    latency_seconds: f64,
    standard_error: f64,
    ready: f64,
    outstanding: f64,
    sustained: bool,
}

/// A profile and the link that it is simulated over.
struct Candidate {
    profile: Profile,
    /// By `phineus bench`, over loopback; published costs contain their link.
    measured: bool,
    link: Option<Link>,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    check(arguments)?;
    if let Some(network) = &arguments.real {
        return real::run(arguments, network).await;
    }
    let candidates = candidates(arguments)?;
    let cases: Vec<(&Candidate, Size, f64)> = candidates
        .iter()
        .flat_map(|c| arguments.storage.iter().map(move |s| (c, *s)))
        .flat_map(|(c, s)| arguments.rates.iter().map(move |r| (c, s, *r)))
        .collect();
    let point = |(i, (candidate, storage, rate)): (usize, &(&Candidate, Size, f64))| {
        let setting = Setting {
            rate: *rate,
            client_storage: Some(storage.0),
            link: candidate.link,
            // What was measured here was measured with both parties on the same cores.
            shared: candidate.measured,
            ..setting(arguments)
        };
        let got = simulate::simulate(&candidate.profile, &setting, arguments.days, &mut stream(arguments, i));
        point(&candidate.profile.name, storage.0, *rate, &got, arguments.clients)
    };
    let points: Vec<Point> = cases.par_iter().enumerate().map(point).collect();
    let against = arguments.published.then(|| against_paper::rows(arguments));
    let table = match &against {
        Some(rows) => against_paper::csv(rows),
        None => csv(&points),
    };
    if let Some(path) = &arguments.csv {
        fs::write(path, &table).map_err(|e| Failure::at(path, e))?;
    }
    if let Some(path) = &arguments.plot {
        fs::write(path, plot::svg(&points)?).map_err(|e| Failure::at(path, e))?;
    }
    if let Some(stem) = &arguments.output {
        let origin = Provenance::collect();
        let (csv, svg) = (stem.with_extension("csv"), stem.with_extension("svg"));
        fs::write(&csv, format!("# {origin}\n{table}")).map_err(|e| Failure::at(&csv, e))?;
        // `--` ends a comment of XML.
        let comment = origin.to_string().replace("--", "- -");
        let plot = format!("<!-- {comment} -->\n{}", plot::svg(&points)?);
        fs::write(&svg, plot).map_err(|e| Failure::at(&svg, e))?;
    }
    if arguments.json {
        match &against {
            Some(rows) => println!("{}", serde_json::to_string_pretty(rows)?),
            None => println!("{}", serde_json::to_string_pretty(&points)?),
        }
        return Ok(());
    }
    match &against {
        Some(rows) => println!("{}", against_paper::tabulate(rows)),
        None => println!("{}", tabulate(&points)),
    }
    candidates.iter().filter(|c| c.measured).for_each(|c| explain_link(c, arguments));
    Ok(())
}

/// What the link costs a pre-compute, and what splitting it by volume is worth.
fn explain_link(candidate: &Candidate, arguments: &Arguments) {
    let Candidate { profile, link, .. } = candidate;
    let given = arguments.shared.map(|rate| rate.0);
    let total =
        given.or(link.map(|l| l.up_bits_per_second + l.down_bits_per_second)).unwrap_or(1_000_000_000);
    let split = wireless::split(&volumes(profile), total);
    println!(
        "{}: a shared link of {:.1} Mbit/s moves both phases in {:.3} s with {:.0} % of it for the way up ({:.3} s if split evenly)",
        profile.name,
        total as f64 / 1e6,
        split.seconds,
        100.0 * split.up,
        split.even_seconds,
    );
}

/// Of both phases.
fn volumes(profile: &Profile) -> Phase {
    let Profile { offline, online, .. } = profile;
    Phase {
        up_bytes: offline.up_bytes + online.up_bytes,
        down_bytes: offline.down_bytes + online.down_bytes,
        ..Phase::default()
    }
}

fn check(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { rates, hours, days, clients, workers, batch, .. } = arguments;
    if rates.iter().any(|rate| !(rate.is_finite() && *rate > 0.0)) {
        return Err(Failure::new("--rates: a rate is a positive number of requests per second"));
    }
    if !(hours.is_finite() && *hours > 0.0 && *hours <= 1e4) {
        return Err(Failure::new("--hours: a day has between 0 and 10,000 hours"));
    }
    if [days, clients, workers, batch].into_iter().any(|n| *n == 0) {
        return Err(Failure::new("--days, --clients, --workers and --batch are at least 1"));
    }
    let requests = rates.iter().fold(0.0, |a: f64, b| a.max(*b)) * hours * 3600.0 * *clients as f64;
    if requests > 1e7 {
        return Err(Failure::new(format!(
            "{requests:.0} requests a day are too many to simulate: lower --rates or --hours"
        )));
    }
    Ok(())
}

fn setting(arguments: &Arguments) -> Setting {
    Setting {
        hours: arguments.hours,
        clients: arguments.clients,
        server_storage: arguments.server_storage.map(|s| s.0),
        workers: arguments.workers,
        batch: arguments.batch,
        overlap: arguments.overlap,
        ..Setting::default()
    }
}

/// The random numbers of case `i`.
fn stream(arguments: &Arguments, i: usize) -> Prg {
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&arguments.seed.to_le_bytes());
    seed[8..].copy_from_slice(&(i as u64).to_le_bytes());
    Prg::new(seed)
}

fn point(system: &str, client_storage: u64, rate: f64, got: &Summary, clients: usize) -> Point {
    Point {
        system: system.to_owned(),
        client_storage,
        rate,
        latency_seconds: got.latency,
        standard_error: got.error,
        ready: got.ready,
        outstanding: got.outstanding,
        sustained: got.outstanding < simulate::SUSTAINED * clients as f64,
    }
}

fn candidates(arguments: &Arguments) -> Result<Vec<Candidate>, Failure> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum File {
        Many { reports: Vec<Report> },
        One(Box<Report>),
    }
    let mut candidates = Vec::new();
    for path in &arguments.profiles {
        let text = fs::read(path).map_err(|e| Failure::at(path, e))?;
        let file = serde_json::from_slice(&text)
            .map_err(|_| Failure::at(path, "no report of `phineus bench --json`"))?;
        let reports = match file {
            File::Many { reports } => reports,
            File::One(report) => vec![*report],
        };
        let wanted = |report: &&Report| {
            // What was measured over an imitated link contains it.
            let named = arguments.only.is_empty() || arguments.only.contains(&report.model);
            named && matches!(report.link.as_str(), "loopback" | "tcp")
        };
        candidates.extend(reports.iter().filter(wanted).map(|report| Candidate::measured(report, arguments)));
    }
    // The networks that have published latencies.
    let compared = ["cifar-resnet32", "tiny-resnet18"].map(str::to_owned);
    let names = if arguments.published { &compared[..] } else { &arguments.paper[..] };
    for name in names {
        let spelled =
            |n: &&published::Network| n.name.to_lowercase().replace('-', "").replace(' ', "-") == *name;
        let network = NETWORKS.iter().find(spelled);
        let network =
            network.ok_or_else(|| Failure::new(format!("--paper: no published network {name:?}")))?;
        for (system, word) in
            [(System::ServerGarbler, "server-garbler"), (System::ClientGarbler, "client-garbler")]
        {
            let mut profile = network.profile(system);
            profile.name = format!("{} ({word}, published)", network.name);
            candidates.push(Candidate { profile, measured: false, link: None });
        }
    }
    if candidates.is_empty() {
        return Err(Failure::new("nothing to simulate: name reports, or --paper NETWORK, or --published"));
    }
    Ok(candidates)
}

impl Candidate {
    fn measured(report: &Report, arguments: &Arguments) -> Self {
        let mut profile = Profile::measured(report);
        profile.name = format!("{} ({}, measured)", report.model, engine(report));
        let link = match arguments.shared {
            Some(Rate(total)) => {
                let up = (total as f64 * wireless::split(&volumes(&profile), total).up) as u64;
                let round_trip = arguments.link.map_or(Duration::ZERO, LinkProfile::rtt);
                let (up, down) = (up.clamp(1, total), (total - up).max(1));
                Some(Link { up_bits_per_second: up, down_bits_per_second: down, round_trip })
            }
            None => arguments.link.map(Link::from),
        };
        Self { profile, measured: true, link }
    }
}

/// The engine that ran most of a report's layers.
fn engine(report: &Report) -> &'static str {
    let count = |protocol: &str| report.layers.iter().filter(|layer| layer.protocol == protocol).count();
    let engines = [("act_gc", "delphi"), ("act_cg", "client-garbler"), ("act_ot", "ot")];
    engines.into_iter().max_by_key(|(protocol, _)| count(protocol)).map_or("", |(_, engine)| engine)
}

fn tabulate(points: &[Point]) -> String {
    let mut text = table::new(
        &[
            "system",
            "client storage",
            "requests/s",
            "mean latency s",
            "+-",
            "found one ready",
            "outstanding",
            "sustained",
        ],
        1,
    );
    for p in points {
        text.add_row([
            p.system.clone(),
            table::bytes(p.client_storage),
            format!("{}", p.rate),
            format!("{:.2}", p.latency_seconds),
            format!("{:.2}", p.standard_error),
            format!("{:.1} %", 100.0 * p.ready),
            format!("{:.2}", p.outstanding),
            if p.sustained { "yes" } else { "no" }.to_owned(),
        ]);
    }
    text.to_string()
}

fn csv(points: &[Point]) -> String {
    let mut text = String::from(
        "system,client_storage_bytes,requests_per_second,mean_latency_seconds,standard_error,ready,outstanding,sustained\n",
    );
    for p in points {
        let name = p.system.replace('"', "'");
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "\"{name}\",{},{},{:.4},{:.4},{:.4},{:.4},{}",
            p.client_storage,
            p.rate,
            p.latency_seconds,
            p.standard_error,
            p.ready,
            p.outstanding,
            p.sustained
        );
    }
    text
}
