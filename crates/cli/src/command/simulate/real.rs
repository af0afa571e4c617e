//! The simulator against reality: a client and a server, requests at the simulated times.
//!
//! Both parties share this machine's cores, and what prepares gives way to requests; so does the simulation. It is made
//! twice: from costs that were measured before, which foretells the day, and from the mean costs of the day itself, which
//! shows how much of a difference is that of costs on a machine with other work, and how much the model's.

use std::time::{Duration, Instant};

use phineus_infer::report::Report;
use phineus_infer::simulate::{self, Day, Profile, Setting};

use super::{Arguments, stream};
use crate::compile;
use crate::failure::Failure;
use crate::station::Station;
use crate::table;

/// Inferences whose median costs are the profile.
const PROBES: usize = 9;

/// Simulates one day, lives it, and prints both.
pub(super) async fn run(arguments: &Arguments, network: &str) -> Result<(), Failure> {
    let (Some(rate), Some(storage)) = (arguments.rates.first(), arguments.storage.first()) else {
        return Err(Failure::new("--rates and --storage need a value each"));
    };
    let model = compile::load(network, &[], &arguments.quantisation)?;
    let mut station = Station::open(&model, &arguments.plan, arguments.link).await?;
    let [each, _] = station.plan().stored_bytes();
    let room = usize::try_from(storage.0.checked_div(each).unwrap_or(0)).unwrap_or(usize::MAX).min(MOST);
    if room == 0 {
        return Err(Failure::new(format!("--storage: one pre-compute has {}", table::bytes(each))));
    }
    let bulk = arguments.batch.min(room);

    // 1. What one inference costs, with nothing else going on.
    let reports = station.probe(PROBES, bulk).await?;
    let mut profile = Profile::measured(&reports[0]);
    profile.offline.seconds = of_bulks(&reports, bulk);
    profile.online.seconds = median(reports.iter().map(|r| r.online.seconds).collect());

    // 2. The same requests, simulated and real. What was measured contains the link.
    let setting = Setting {
        rate: *rate,
        hours: arguments.hours,
        client_storage: Some(room as u64 * profile.client_bytes),
        batch: bulk,
        shared: true,
        ..Setting::default()
    };
    let predicted = simulate::simulate(&profile, &setting, 1, &mut stream(arguments, 0));
    let end = 3600.0 * arguments.hours;
    let arrivals = simulate::arrivals(*rate, end, &mut stream(arguments, 0));
    let (mut desk, mut stock) = station.stock_up(room, bulk);
    let start = Instant::now();
    let mut day = Day { requests: arrivals.len(), ..Day::default() };
    let mut reports = Vec::new();
    for arrival in &arrivals {
        tokio::time::sleep(Duration::from_secs_f64(*arrival).saturating_sub(start.elapsed())).await;
        day.ready += usize::from(!stock.is_empty());
        let prepared = stock.take().await?;
        reports.push(desk.answer(prepared).await?);
        day.latency += start.elapsed().as_secs_f64() - arrival;
    }
    day.latency /= day.requests.max(1) as f64;
    stock.close().await?;
    println!(
        "{}: offline {:.4} s, online {:.4} s, room for {room}, {bulk} at a time; {} requests in {:.0} s",
        profile.name, profile.offline.seconds, profile.online.seconds, day.requests, end
    );
    println!(
        "mean latency: {:.4} s simulated, {:.4} s measured ({:+.1} %); found one ready: {:.1} % simulated, {:.1} % measured",
        predicted.latency,
        day.latency,
        100.0 * (day.latency / predicted.latency - 1.0),
        100.0 * predicted.ready,
        100.0 * day.ready as f64 / day.requests.max(1) as f64,
    );
    // 3. The model by itself: what pauses a job is in the job's own time now.
    let count = reports.len().max(1) as f64;
    let mean = |of: fn(&Report) -> f64| reports.iter().map(of).sum::<f64>() / count;
    profile.offline.seconds = mean(|r| r.offline.seconds);
    profile.online.seconds = mean(|r| r.online.seconds);
    let setting = Setting { shared: false, ..setting };
    let own = simulate::simulate(&profile, &setting, 1, &mut stream(arguments, 0));
    println!(
        "from the day's own mean costs, offline {:.4} s and online {:.4} s: {:.4} s simulated ({:+.1} % measured)",
        profile.offline.seconds,
        profile.online.seconds,
        own.latency,
        100.0 * (day.latency / own.latency - 1.0),
    );
    Ok(())
}

/// Median over the bulks of their mean offline seconds per inference.
pub(crate) fn of_bulks(reports: &[Report], bulk: usize) -> f64 {
    let mean = |bulk: &[Report]| bulk.iter().map(|r| r.offline.seconds).sum::<f64>() / bulk.len() as f64;
    median(reports.chunks(bulk.max(1)).map(mean).collect())
}

/// 0 of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Most places of a stock: more are never filled in the hours that one waits for.
const MOST: usize = 1 << 16;
