//! `phineus simulate`: mean latency of a day of requests, against their rate and the storage for pre-computes.

mod plot;
mod real;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use phineus_infer::plan::Link;
use phineus_infer::report::Report;
use phineus_infer::simulate::published::{self, LATENCIES, NETWORKS, SUSTAINED, System};
use phineus_infer::simulate::{self, Profile, Setting, Summary, wireless};
use phineus_kernel::prg::Prg;
use phineus_net::shaped::LinkProfile;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::compile::Quantisation;
use crate::failure::Failure;
use crate::options::PlanFlags;
use crate::size::Size;
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

/// A profile, and whether the link of the command line is for it.
struct Candidate {
    profile: Profile,
    linked: bool,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    check(arguments)?;
    if let Some(network) = &arguments.real {
        return real::run(arguments, network).await;
    }
    if arguments.published {
        return print_published(arguments);
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
            link: arguments.link.map(Link::from).filter(|_| candidate.linked),
            ..setting(arguments)
        };
        let got = simulate::simulate(&candidate.profile, &setting, arguments.days, &mut stream(arguments, i));
        point(&candidate.profile.name, storage.0, *rate, &got, arguments.clients)
    };
    let points: Vec<Point> = cases.par_iter().enumerate().map(point).collect();
    if let Some(path) = &arguments.csv {
        fs::write(path, csv(&points)).map_err(|e| Failure::at(path, e))?;
    }
    if let Some(path) = &arguments.plot {
        fs::write(path, plot::svg(&points)?).map_err(|e| Failure::at(path, e))?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&points)?);
        return Ok(());
    }
    println!("{}", tabulate(&points));
    for candidate in candidates.iter().filter(|c| c.linked) {
        let (profile, link) = (&candidate.profile, arguments.link.map(Link::from));
        let total = link.map_or(1_000_000_000, |l| l.up_bits_per_second + l.down_bits_per_second);
        let split = wireless::split(&profile.offline, total);
        println!(
            "{}: a shared link of {:.1} Mbit/s moves the offline phase in {:.3} s with {:.0} % of it for the way up ({:.3} s if split evenly)",
            profile.name,
            total as f64 / 1e6,
            split.seconds,
            100.0 * split.up,
            split.even_seconds,
        );
    }
    Ok(())
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
        let measured = |report: &Report| Candidate { profile: Profile::measured(report), linked: true };
        candidates.extend(reports.iter().map(measured));
    }
    for name in &arguments.paper {
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
            candidates.push(Candidate { profile, linked: false });
        }
    }
    if candidates.is_empty() {
        return Err(Failure::new("nothing to simulate: name reports, or --paper NETWORK, or --published"));
    }
    Ok(candidates)
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

/// The paper's figures beside what the same costs give here.
fn print_published(arguments: &Arguments) -> Result<(), Failure> {
    let name = |system| match system {
        System::ServerGarbler => "server-garbler",
        System::ClientGarbler => "client-garbler",
    };
    let mut text =
        table::new(&["network", "system", "client storage", "requests/s", "published", "simulated", "+-"], 2);
    for (i, row) in LATENCIES.iter().enumerate() {
        let profile = NETWORKS[row.network].profile(row.system);
        let setting = Setting { rate: row.rate, client_storage: Some(row.storage), ..Setting::default() };
        let got = simulate::simulate(&profile, &setting, arguments.days, &mut stream(arguments, i));
        let [low, high] = row.minutes;
        text.add_row([
            NETWORKS[row.network].name.to_owned(),
            name(row.system).to_owned(),
            table::bytes(row.storage),
            format!("{}", row.rate),
            if low == high { format!("{low} min") } else { format!("{low} to {high} min") },
            format!("{:.2} min", got.latency / 60.0),
            format!("{:.2}", got.error / 60.0),
        ]);
    }
    for (i, row) in SUSTAINED.iter().enumerate() {
        let profile = NETWORKS[row.network].profile(row.system);
        let setting = Setting { client_storage: Some(row.storage), ..Setting::default() };
        let rates: Vec<f64> = row.tried().collect();
        let got =
            simulate::sustained(&profile, &setting, &rates, arguments.days, &mut stream(arguments, 1000 + i));
        text.add_row([
            NETWORKS[row.network].name.to_owned(),
            name(row.system).to_owned(),
            table::bytes(row.storage),
            "highest sustained".to_owned(),
            format!("{}/s", row.rate),
            got.map_or_else(|| "none".to_owned(), |rate| format!("{rate:.5}/s")),
            String::new(),
        ]);
    }
    println!("{text}");
    Ok(())
}
