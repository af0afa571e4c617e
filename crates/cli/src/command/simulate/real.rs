//! The simulator against reality: a client and a server, requests at the simulated times.
//!
//! Both parties share this machine's cores, and what prepares gives way to requests; so does the simulation. What an answer
//! takes is measured before, as the day will have it: after a pause, from the moment for which the request was due, alone and
//! while something is prepared. The simulation is made twice: from these costs, which foretells the day, and from the mean
//! costs of the day itself, which shows how much of a difference is that of costs on a machine with other work, and how much
//! the model's.

use std::time::{Duration, Instant};

use phineus_infer::report::Report;
use phineus_infer::simulate::{self, Day, Profile, Setting};
use phineus_model::fixed::Model;

use super::{Arguments, stream};
use crate::compile;
use crate::failure::Failure;
use crate::station::{Desk, Station, Stock};
use crate::table;

/// Answers that are measured alone, and at most twice as many while something is prepared.
const PROBES: usize = 16;
/// Seconds between two of the latter, in the mean.
const PAUSE: f64 = 0.3;
/// Seconds after which a machine does not forget more of a network.
const LONG: f64 = 3.0;
/// Multiples of it are spread evenly modulo 1.
const GOLDEN: f64 = 0.618_033_988_75;

/// One request, from the moment for which it was due; in seconds.
struct Answer {
    /// Until it was noticed: the request before it, and the timer.
    waking: f64,
    /// Until it had a pre-compute.
    taking: f64,
    /// Until the answer.
    answering: f64,
    /// Whether there was one when it was noticed.
    ready: bool,
    /// Whether something was being prepared when it was taken.
    busy: bool,
    report: Report,
}

/// What an answer takes.
struct Calibration {
    alone: Vec<Answer>,
    busy: Vec<Answer>,
    /// Reports of inferences with nothing else going on.
    reports: Vec<Report>,
}

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

    // 1. What one inference costs, by itself and beside a preparation.
    let Calibration { alone, busy, reports } = calibrate(&model, arguments, *rate, bulk).await?;
    let mut profile = Profile::measured(&reports[0]);
    profile.offline.seconds = of_bulks(&reports, bulk);
    profile.online.seconds = mean(&alone, Answer::seconds);
    let interruption = (mean(&busy, Answer::seconds) - profile.online.seconds).max(0.0);

    // 2. The same requests, simulated and real. What was measured contains the link.
    let setting = Setting {
        rate: *rate,
        hours: arguments.hours,
        client_storage: Some(room as u64 * profile.client_bytes),
        batch: bulk,
        shared: true,
        interruption,
        ..Setting::default()
    };
    let predicted = simulate::simulate(&profile, &setting, 1, &mut stream(arguments, 0));
    let end = 3600.0 * arguments.hours;
    let arrivals = simulate::arrivals(*rate, end, &mut stream(arguments, 0));
    // Sessions are set up before the day, as before the measurements.
    station.probe(0, bulk).await?;
    let (mut desk, mut stock) = station.stock_up(room, bulk);
    let start = Instant::now();
    let mut day = Day { requests: arrivals.len(), ..Day::default() };
    let mut answers = Vec::new();
    for arrival in &arrivals {
        let due = start + Duration::from_secs_f64(*arrival);
        let answer = ask(&mut desk, &mut stock, due).await?;
        stock.answered();
        day.ready += usize::from(answer.ready);
        day.interrupting += usize::from(answer.busy);
        day.latency += answer.seconds();
        answers.push(answer);
    }
    day.latency /= day.requests.max(1) as f64;
    stock.close().await?;

    println!(
        "{}: offline {:.4} s, online {:.4} s, {:.4} s more while something is prepared; room for {room}, {bulk} at a time; \
         {} requests in {end:.0} s",
        profile.name, profile.offline.seconds, profile.online.seconds, interruption, day.requests,
    );
    let share = |count: usize| 100.0 * count as f64 / day.requests.max(1) as f64;
    let (met, calm): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(|answer| answer.busy);
    println!(
        "{}",
        components(&[
            ("before, alone", &alone),
            ("before, something is prepared", &busy),
            ("the day, alone", &calm),
            ("the day, something is prepared", &met),
        ])
    );
    println!(
        "mean latency: {:.4} s simulated, {:.4} s measured ({:+.1} %); found one ready: {:.1} % simulated, {:.1} % measured; \
         met a preparation: {:.1} % simulated, {:.1} % measured",
        predicted.latency,
        day.latency,
        100.0 * (day.latency / predicted.latency - 1.0),
        100.0 * predicted.ready,
        share(day.ready),
        100.0 * predicted.interrupting,
        share(day.interrupting),
    );
    // 3. The model by itself: what pauses a job is in the job's own time now, and what interrupts an answer in the answer's.
    let all = || calm.iter().chain(&met);
    profile.offline.seconds = mean(all(), |a| a.report.offline.seconds);
    profile.online.seconds = mean(all(), |a| a.answering);
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

/// Measures inferences back to back, then answers alone, then answers beside a preparation.
async fn calibrate(
    model: &Model,
    arguments: &Arguments,
    rate: f64,
    bulk: usize,
) -> Result<Calibration, Failure> {
    let mut station = Station::open(model, &arguments.plan, arguments.link).await?;
    let reports = station.probe(PROBES, bulk).await?;
    let places = (2 * PROBES).next_multiple_of(bulk);
    let (mut desk, mut stock) = station.stock_up(places, bulk);
    stock.filled(places).await;
    // No place becomes free, so that nothing is prepared.
    let mut alone = Vec::new();
    while alone.len() < PROBES {
        let due = Instant::now() + Duration::from_secs_f64(rate.recip().clamp(PAUSE, LONG));
        alone.push(ask(&mut desk, &mut stock, due).await?);
    }
    // More places than there will be requests, so that something always is.
    stock.make_room(8 * PROBES * bulk);
    let mut busy = Vec::new();
    for i in 0..2 * PROBES {
        // At moments that preparations have nothing to do with.
        let pause = PAUSE * (0.5 + (i as f64 * GOLDEN).fract());
        let answer = ask(&mut desk, &mut stock, Instant::now() + Duration::from_secs_f64(pause)).await?;
        busy.extend((answer.busy && answer.ready).then_some(answer));
    }
    stock.close().await?;
    Ok(Calibration { alone, busy, reports })
}

/// A request that is due at a moment.
async fn ask(desk: &mut Desk, stock: &mut Stock, due: Instant) -> Result<Answer, Failure> {
    tokio::time::sleep_until(due.into()).await;
    let woken = Instant::now();
    let ready = !stock.is_empty();
    let prepared = stock.take().await?;
    let taken = Instant::now();
    let busy = stock.is_busy();
    let report = desk.answer(prepared).await?;
    let [waking, taking, answering] = [woken - due, taken - woken, taken.elapsed()].map(|t| t.as_secs_f64());
    Ok(Answer { waking, taking, answering, ready, busy, report })
}

impl Answer {
    fn seconds(&self) -> f64 {
        self.waking + self.taking + self.answering
    }
}

/// 0 of nothing.
fn mean<'a>(answers: impl IntoIterator<Item = &'a Answer>, of: impl Fn(&Answer) -> f64) -> f64 {
    let (sum, count) = answers.into_iter().fold((0.0, 0_usize), |(sum, n), answer| (sum + of(answer), n + 1));
    sum / count.max(1) as f64
}

/// Where the time goes, in means.
fn components(of: &[(&str, &Vec<Answer>)]) -> comfy_table::Table {
    let header = [
        "answers",
        "count",
        "seconds",
        "until noticed",
        "until taken",
        "session",
        "protocol",
        "client's CPU",
        "server's CPU",
    ];
    let mut table = table::new(&header, 1);
    for (name, answers) in of {
        let online: fn(&Report) -> [f64; 3] =
            |r| [r.online.seconds, r.online.client_cpu_seconds, r.online.server_cpu_seconds];
        let figures = [
            mean(*answers, Answer::seconds),
            mean(*answers, |a| a.waking),
            mean(*answers, |a| a.taking),
            mean(*answers, |a| a.answering - online(&a.report)[0]),
            mean(*answers, |a| online(&a.report)[0]),
            mean(*answers, |a| online(&a.report)[1]),
            mean(*answers, |a| online(&a.report)[2]),
        ];
        let count = answers.len().to_string();
        table.add_row([(*name).to_owned(), count].into_iter().chain(figures.map(|s| format!("{s:.4}"))));
    }
    table
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
