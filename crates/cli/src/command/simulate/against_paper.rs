//! The paper's figures beside what the same costs give here, with the standard error of the days simulated.

use std::fmt::Write as _;

use phineus_infer::simulate::published::{LATENCIES, NETWORKS, SUSTAINED, System};
use phineus_infer::simulate::{self, Setting};
use serde::Serialize;

use super::{Arguments, stream};
use crate::table;

/// One published figure.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    network: &'static str,
    system: &'static str,
    client_storage: u64,
    /// Of a latency; a highest sustained rate has none.
    rate: Option<f64>,
    unit: &'static str,
    /// The least and the most that was read.
    published: [f64; 2],
    /// `None` where no rate is sustained.
    simulated: Option<f64>,
    standard_error: Option<f64>,
}

/// All of them.
pub(super) fn rows(arguments: &Arguments) -> Vec<Row> {
    let latencies = LATENCIES.iter().enumerate().map(|(i, row)| {
        let profile = NETWORKS[row.network].profile(row.system);
        let setting = Setting { rate: row.rate, client_storage: Some(row.storage), ..Setting::default() };
        let got = simulate::simulate(&profile, &setting, arguments.days, &mut stream(arguments, i));
        Row {
            network: NETWORKS[row.network].name,
            system: name(row.system),
            client_storage: row.storage,
            rate: Some(row.rate),
            unit: "min",
            published: row.minutes,
            simulated: Some(got.latency / 60.0),
            standard_error: Some(got.error / 60.0),
        }
    });
    let rates = SUSTAINED.iter().enumerate().map(|(i, row)| {
        let profile = NETWORKS[row.network].profile(row.system);
        let setting = Setting { client_storage: Some(row.storage), ..Setting::default() };
        let tried: Vec<f64> = row.tried().collect();
        let rng = &mut stream(arguments, 1000 + i);
        Row {
            network: NETWORKS[row.network].name,
            system: name(row.system),
            client_storage: row.storage,
            rate: None,
            unit: "/s sustained",
            published: [row.rate; 2],
            simulated: simulate::sustained(&profile, &setting, &tried, arguments.days, rng),
            standard_error: None,
        }
    });
    latencies.chain(rates).collect()
}

pub(super) fn tabulate(rows: &[Row]) -> String {
    let header = ["network", "system", "client storage", "requests/s", "published", "simulated", "+-"];
    let mut text = table::new(&header, 2);
    for row in rows {
        let [low, high] = row.published;
        let places = if row.rate.is_some() { 2 } else { 5 };
        let number = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.places$}"));
        text.add_row([
            row.network.to_owned(),
            row.system.to_owned(),
            table::bytes(row.client_storage),
            row.rate.map_or_else(|| "highest sustained".to_owned(), |rate| rate.to_string()),
            if low == high { format!("{low} {}", row.unit) } else { format!("{low} to {high} {}", row.unit) },
            row.simulated.map_or_else(|| "none".to_owned(), |v| format!("{v:.places$} {}", row.unit)),
            number(row.standard_error),
        ]);
    }
    text.to_string()
}

pub(super) fn csv(rows: &[Row]) -> String {
    let mut text = String::from(
        "network,system,client_storage_bytes,requests_per_second,unit,published_low,published_high,simulated,standard_error\n",
    );
    let number = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.6}"));
    for row in rows {
        let Row { network, system, client_storage, unit, published: [low, high], .. } = row;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{network},{system},{client_storage},{},{unit},{low},{high},{},{}",
            row.rate.map_or_else(String::new, |rate| rate.to_string()),
            number(row.simulated),
            number(row.standard_error),
        );
    }
    text
}

fn name(system: System) -> &'static str {
    match system {
        System::ServerGarbler => "server-garbler",
        System::ClientGarbler => "client-garbler",
    }
}
