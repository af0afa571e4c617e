//! What a server counts: sessions, pre-computes, requests and their times, in the text format of Prometheus.
//!
//! Nothing here tells one client from another: counts are per model and engine, of which there are as many as the server
//! offers. Names of clients, ids of pre-computes and addresses never enter.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use phineus_net::Traffic;
use serde::Serialize;

use crate::schedule;
use crate::served::{Catalogue, Served};
use crate::store::{PoolId, Store, StoreError};

/// What one server has done since it started.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: u64,
    ended: u64,
    failed: u64,
    sent: u64,
    received: u64,
    plans: BTreeMap<Labels, Times>,
}

/// How long the pre-computes and requests of a model took.
#[derive(Debug, Clone, Default)]
struct Times {
    offline: Histogram,
    online: Histogram,
}

/// A model under an engine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Labels {
    /// Name of the model; empty for pre-computes of plans that nobody has asked this server for yet.
    pub model: String,
    /// Name of the engine.
    pub engine: &'static str,
}

/// What waits in a store for one model under one engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Depth {
    /// Pre-computes.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many clients they belong to.
    pub clients: u64,
}

/// How often something took how long.
#[derive(Debug, Clone, Default)]
struct Histogram {
    counts: [u64; BOUNDS.len()],
    count: u64,
    seconds: f64,
}

/// Upper bounds of the bars, in seconds.
const BOUNDS: [f64; 16] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0, 300.0];

impl Metrics {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // A poisoned lock only means that another session panicked; counts are consistent after any statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins, and lasts until what is returned is dropped.
    pub(crate) fn begins(&self) -> Running<'_> {
        self.counts().open += 1;
        Running { metrics: self, traffic: Traffic::default(), well: false }
    }

    /// So many pre-computes took so long together.
    pub(crate) fn prepared(&self, served: &Served, count: u64, all: Duration) {
        let each = all.as_secs_f64() / count.max(1) as f64;
        self.counts().plans.entry(Labels::of(served)).or_default().offline.enter(each, count);
    }

    /// A request was answered.
    pub(crate) fn answered(&self, served: &Served, time: Duration) {
        self.counts().plans.entry(Labels::of(served)).or_default().online.enter(time.as_secs_f64(), 1);
    }
}

/// A session in progress; one that does not end well has failed.
pub(crate) struct Running<'m> {
    metrics: &'m Metrics,
    traffic: Traffic,
    well: bool,
}

impl Running<'_> {
    /// How it ended, and what crossed the connection.
    pub(crate) fn ends(mut self, well: bool, traffic: Traffic) {
        (self.well, self.traffic) = (well, traffic);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut counts = self.metrics.counts();
        counts.open -= 1;
        counts.ended += 1;
        counts.failed += u64::from(!self.well);
        counts.sent += self.traffic.sent;
        counts.received += self.traffic.received;
    }
}

impl Labels {
    fn of(served: &Served) -> Self {
        Self { model: served.model().name.clone(), engine: served.plan().options().engine.name() }
    }

    fn write(&self) -> String {
        // The format's own escapes.
        let model = self.model.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("model=\"{model}\",engine=\"{}\"", self.engine)
    }
}

impl Histogram {
    fn enter(&mut self, seconds: f64, count: u64) {
        if let Some(i) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.counts[i] += count;
        }
        self.count += count;
        self.seconds += seconds * count as f64;
    }

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        let mut below = 0;
        for (bound, count) in BOUNDS.iter().zip(self.counts) {
            below += count;
            line(out, &format!("{name}_bucket{{{labels},le=\"{bound}\"}}"), below);
        }
        line(out, &format!("{name}_bucket{{{labels},le=\"+Inf\"}}"), self.count);
        line(out, &format!("{name}_sum{{{labels}}}"), self.seconds);
        line(out, &format!("{name}_count{{{labels}}}"), self.count);
    }
}

/// What waits in a server's store, by model and engine.
///
/// # Errors
/// [`StoreError::Io`].
pub fn depths(catalogue: &Catalogue, store: &dyn Store) -> Result<BTreeMap<Labels, Depth>, StoreError> {
    let known = catalogue.plans();
    let mut found: BTreeMap<Labels, (Depth, HashSet<PoolId>)> =
        known.iter().map(|served| (Labels::of(served), Default::default())).collect();
    for stock in store.stock()? {
        let served = known.iter().find(|served| *served.plan().digest() == stock.lot.plan);
        let labels = served.map_or(Labels { model: String::new(), engine: "" }, |served| Labels::of(served));
        let (depth, clients) = found.entry(labels).or_default();
        depth.records += stock.count;
        depth.bytes = depth.bytes.saturating_add(stock.bytes);
        clients.insert(stock.lot.peer);
    }
    let depth = |(labels, (depth, clients)): (_, (Depth, HashSet<PoolId>))| {
        (labels, Depth { clients: clients.len() as u64, ..depth })
    };
    Ok(found.into_iter().map(depth).collect())
}

/// All that a server counts, in the text format of Prometheus, version 0.0.4.
///
/// # Errors
/// [`StoreError::Io`].
pub fn render(catalogue: &Catalogue, store: &dyn Store, peak_rss: u64) -> Result<String, StoreError> {
    let depths = depths(catalogue, store)?;
    let lost = store.lost();
    let mut out = String::new();
    type Column = (&'static str, &'static str, fn(&Depth) -> u64);
    let columns: [Column; 3] = [
        ("phineus_pool_records", "Pre-computes in the store.", |d| d.records),
        ("phineus_pool_bytes", "Bytes of the pre-computes in the store.", |d| d.bytes),
        ("phineus_pool_clients", "Clients that have pre-computes in the store.", |d| d.clients),
    ];
    for (name, words, of) in columns {
        head(&mut out, name, words, "gauge");
        depths
            .iter()
            .for_each(|(labels, depth)| line(&mut out, &format!("{name}{{{}}}", labels.write()), of(depth)));
    }
    let mut one = |name: &str, words: &str, kind: &str, value: u64| {
        head(&mut out, name, words, kind);
        line(&mut out, name, value);
    };
    one("phineus_pool_expired_total", "Pre-computes thrown away for their age.", "counter", lost.expired);
    one(
        "phineus_pool_burned_total",
        "Pre-computes burned because a store went back in time.",
        "counter",
        lost.burned,
    );
    one("phineus_peak_rss_bytes", "Largest resident set of the process.", "gauge", peak_rss);
    let counts = catalogue.metrics().counts();
    one("phineus_sessions_open", "Sessions in progress.", "gauge", counts.open);
    one("phineus_sessions_total", "Sessions that have ended.", "counter", counts.ended);
    one("phineus_sessions_failed_total", "Sessions that ended with an error.", "counter", counts.failed);
    one("phineus_sent_bytes_total", "Bytes sent in sessions that have ended.", "counter", counts.sent);
    one(
        "phineus_received_bytes_total",
        "Bytes received in sessions that have ended.",
        "counter",
        counts.received,
    );
    head(&mut out, "phineus_in_flight", "Pieces of work in flight.", "gauge");
    for (priority, count) in ["online", "foreground", "background"].into_iter().zip(schedule::in_flight()) {
        line(&mut out, &format!("phineus_in_flight{{priority=\"{priority}\"}}"), count);
    }
    type Row = (&'static str, &'static str, fn(&Times) -> &Histogram);
    let histograms: [Row; 2] = [
        ("phineus_offline_seconds", "Time of a pre-compute, shares of common work included.", |t| &t.offline),
        ("phineus_online_seconds", "Time of a request from its id to the result.", |t| &t.online),
    ];
    for (name, words, of) in histograms {
        head(&mut out, name, words, "histogram");
        counts.plans.iter().for_each(|(labels, times)| of(times).write(name, &labels.write(), &mut out));
    }
    Ok(out)
}

fn head(out: &mut String, name: &str, words: &str, kind: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "# HELP {name} {words}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(out, "{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_is_below_each_bound() {
        let mut histogram = Histogram::default();
        histogram.enter(0.0005, 1);
        histogram.enter(0.02, 3);
        histogram.enter(1000.0, 1);
        let mut out = String::new();
        histogram.write("t", "a=\"b\"", &mut out);
        for expected in [
            "t_bucket{a=\"b\",le=\"0.001\"} 1\n",
            "t_bucket{a=\"b\",le=\"0.01\"} 1\n",
            "t_bucket{a=\"b\",le=\"0.02\"} 4\n",
            "t_bucket{a=\"b\",le=\"300\"} 4\n",
            "t_bucket{a=\"b\",le=\"+Inf\"} 5\n",
            "t_count{a=\"b\"} 5\n",
        ] {
            assert!(out.contains(expected), "{expected} in {out}");
        }
    }

    #[test]
    fn names_of_models_cannot_break_a_line() {
        let labels = Labels { model: "a\"b\\c\nd".into(), engine: "ot" };
        assert_eq!(labels.write(), "model=\"a\\\"b\\\\c\\nd\",engine=\"ot\"");
    }
}
