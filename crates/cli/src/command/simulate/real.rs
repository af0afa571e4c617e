//! The simulator against reality: a client and a server, requests at the simulated times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use phineus_infer::ProtocolError;
use phineus_infer::simulate::{self, Day, Profile, Setting};
use phineus_infer::store::{Limits, MemoryStore};
use phineus_model::phn;
use tokio::sync::{Semaphore, mpsc};

use super::{Arguments, stream};
use crate::command::zoo::random_pixels;
use crate::compile;
use crate::failure::Failure;
use crate::pair::{self, ServerProcess};
use crate::table;

/// Inferences whose median costs are the profile.
const PROBES: usize = 5;

/// Simulates one day, lives it, and prints both.
pub(super) async fn run(arguments: &Arguments, network: &str) -> Result<(), Failure> {
    let (Some(rate), Some(storage)) = (arguments.rates.first(), arguments.storage.first()) else {
        return Err(Failure::new("--rates and --storage need a value each"));
    };
    let model = compile::load(network, &[], &arguments.quantisation)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("model.phn");
    std::fs::write(&file, phn::write(&model))?;
    let server = ServerProcess::start(&file, &arguments.plan).await?;
    let shape = compile::shape_of(&model.graph.nodes)?;
    let pixels = random_pixels(shape, 1).into_iter().next();
    let input = model.encode_pixels(&pixels.ok_or_else(|| Failure::new("no input"))?.pixels)?;
    let store = MemoryStore::new(Limits::default(), &mut rand::rng());
    let mut making = pair::connect_as(&store, &server.address, &arguments.plan).await?;
    let mut using = pair::connect_as(&store, &server.address, &arguments.plan).await?;

    // 1. What one inference costs; the first also sets the sessions up.
    let mut reports = Vec::new();
    for _ in 0..=PROBES {
        let prepared = making.prepare().await?;
        reports.push(using.infer(prepared, &input).await?.report);
    }
    let mut reports = reports.split_off(1);
    let median = |of: fn(&phineus_infer::report::Report) -> f64, reports: &mut Vec<_>| {
        reports.sort_by(|a, b| of(a).total_cmp(&of(b)));
        of(&reports[PROBES / 2])
    };
    let mut profile = Profile::measured(&reports[0]);
    profile.offline.seconds = median(|r| r.offline.seconds, &mut reports);
    profile.online.seconds = median(|r| r.online.seconds, &mut reports);

    // 2. The same requests, simulated and real.
    let setting = Setting {
        rate: *rate,
        hours: arguments.hours,
        client_storage: Some(storage.0),
        ..Setting::default()
    };
    let predicted = simulate::simulate(&profile, &setting, 1, &mut stream(arguments, 0));
    let end = 3600.0 * arguments.hours;
    let arrivals = simulate::arrivals(*rate, end, &mut stream(arguments, 0));
    let room = storage.0.checked_div(profile.client_bytes).unwrap_or(0) as usize;
    if room == 0 {
        return Err(Failure::new(format!(
            "--storage: one pre-compute has {}",
            table::bytes(profile.client_bytes)
        )));
    }
    let (stock, mut ready) = mpsc::unbounded_channel();
    let places = Arc::new(Semaphore::new(room));
    let free = places.clone();
    let maker = tokio::spawn(async move {
        // A place is free again when a request takes what is in it.
        while let Ok(place) = free.acquire().await {
            place.forget();
            if stock.send(making.prepare().await?).is_err() {
                // The day is over.
                break;
            }
        }
        Ok::<_, ProtocolError>(())
    });
    let start = Instant::now();
    let mut day = Day { requests: arrivals.len(), ..Day::default() };
    for arrival in &arrivals {
        tokio::time::sleep(Duration::from_secs_f64(*arrival).saturating_sub(start.elapsed())).await;
        day.ready += usize::from(!ready.is_empty());
        let Some(prepared) = ready.recv().await else { break };
        places.add_permits(1);
        using.infer(prepared, &input).await?;
        day.latency += start.elapsed().as_secs_f64() - arrival;
    }
    day.latency /= day.requests.max(1) as f64;
    places.close();
    drop(ready);
    maker.await.map_err(|e| Failure::new(e.to_string()))??;
    println!(
        "{}: offline {:.4} s, online {:.4} s, room for {room}; {} requests in {:.0} s",
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
    Ok(())
}
