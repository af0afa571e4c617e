//! A day of requests: what counts is not one inference in isolation, but how long requests wait when they come at
//! random and what answers them must be made, moved and stored beforehand.
//!
//! The model (Garimella et al., *Characterizing and Optimizing End-to-End Systems for Private Inference*, ASPLOS
//! 2023, section 5): requests of a client arrive as a Poisson process and are answered in order. An offline job makes
//! a pre-compute whenever client and server have room for one more; a request takes one pre-compute, waits if
//! there is none, and holds the client for the online time. A client that has no room for even one does everything
//! online. Room becomes free when a request takes its pre-compute.
//!
//! Beyond the paper: several clients that share the server's workers, jobs that make several pre-compute at once, and
//! overlap, where a worker computes the next job while the link still moves the last one, and cores that jobs share with
//! answers, to which they give way as [`schedule`](crate::schedule) has it: not at once, but after the computation that they
//! are at.
//!
//! The published tables are in [`published`], the best split of a shared link in [`wireless`].

mod day;
pub mod published;
pub mod wireless;

use rand::{Rng, RngExt as _};

use crate::plan::Link;
use crate::report::Report;

/// What one phase of one inference takes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Phase {
    /// Seconds in which the parties compute, or all seconds if the bytes are 0.
    pub seconds: f64,
    /// Bytes from client to server.
    pub up_bytes: u64,
    /// Bytes from server to client.
    pub down_bytes: u64,
    /// Times that one party waits for the other.
    pub rounds: u64,
}

impl Phase {
    /// Seconds on `link`, computing excluded.
    #[must_use]
    pub fn transfer_seconds(&self, link: Option<&Link>) -> f64 {
        link.map_or(0.0, |link| link.seconds(self.up_bytes, self.down_bytes, self.rounds))
    }
}

/// What one network costs under one system.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Name in tables.
    pub name: String,
    /// Before the input is known, per pre-compute.
    pub offline: Phase,
    /// After.
    pub online: Phase,
    /// Bytes a client keeps per pre-compute.
    pub client_bytes: u64,
    /// Bytes the server keeps per pre-compute.
    pub server_bytes: u64,
}

impl Profile {
    /// The cost that a run on loopback measured: its seconds are computing, its bytes and rounds cost what the link
    /// of the simulation makes of them.
    #[must_use]
    pub fn measured(report: &Report) -> Self {
        let phase = |cost: &crate::report::Cost| Phase {
            seconds: cost.seconds,
            up_bytes: cost.client_to_server_bytes,
            down_bytes: cost.server_to_client_bytes,
            rounds: cost.rounds,
        };
        Self {
            name: report.model.clone(),
            offline: phase(&report.offline),
            online: phase(&report.online),
            client_bytes: report.client.stored_bytes,
            server_bytes: report.server.stored_bytes,
        }
    }
}

/// The system that a day is simulated on.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Requests per second and client.
    pub rate: f64,
    /// Length of the day.
    pub hours: f64,
    /// Clients, each with its own link and store.
    pub clients: usize,
    /// Bytes each client has for pre-computes; `None`: no limit.
    pub client_storage: Option<u64>,
    /// Bytes the server has for the pre-computes of all clients; `None`: no limit.
    pub server_storage: Option<u64>,
    /// Every client's link; `None` if the profile's seconds contain the transfers.
    pub link: Option<Link>,
    /// Offline jobs that are computed at the same time.
    pub workers: usize,
    /// Pre-computes per offline job.
    pub batch: usize,
    /// Whether a worker is free while the link moves what it computed.
    pub overlap: bool,
    /// Whether jobs and answers compute on the same cores: jobs stand still while a request is answered.
    pub shared: bool,
    /// Seconds that an answer loses to a job on its cores: what it computes when the request comes is finished first.
    pub interruption: f64,
}

impl Default for Setting {
    /// The paper's: one client, one job at a time, 24 hours.
    fn default() -> Self {
        Self {
            rate: 0.001,
            hours: 24.0,
            clients: 1,
            client_storage: None,
            server_storage: None,
            link: None,
            workers: 1,
            batch: 1,
            overlap: false,
            shared: false,
            interruption: 0.0,
        }
    }
}

/// What became of the requests of one day.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Day {
    /// Requests that arrived; all of them are answered, the last ones after the day's end.
    pub requests: usize,
    /// Mean seconds from arrival to answer.
    pub latency: f64,
    /// Requests that found a pre-compute ready.
    pub ready: usize,
    /// Requests whose answer interrupted a job on the same cores.
    pub interrupting: usize,
    /// Mean number of requests that had arrived and not been answered.
    pub outstanding: f64,
}

/// Means over several days.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Summary {
    /// Mean over the days that had requests of their mean seconds from arrival to answer.
    pub latency: f64,
    /// Standard error of `latency`.
    pub error: f64,
    /// Share of requests that found a pre-compute ready.
    pub ready: f64,
    /// Share of requests whose answer interrupted a job on the same cores.
    pub interrupting: f64,
    /// Mean number of outstanding requests.
    pub outstanding: f64,
}

/// Outstanding requests above which a rate is not sustained (the paper's rule).
pub const SUSTAINED: f64 = 2.0;

/// Times, in seconds, of the requests that arrive at `rate` per second before `end`: a Poisson process.
pub fn arrivals(rate: f64, end: f64, rng: &mut impl Rng) -> Vec<f64> {
    let mut now = 0.0;
    let next = || {
        // 1 - u is never 0.
        now -= (1.0 - rng.random::<f64>()).ln() / rate;
        (now < end).then_some(now)
    };
    std::iter::from_fn(next).collect()
}

/// Simulates `days` days.
pub fn simulate(profile: &Profile, setting: &Setting, days: usize, rng: &mut impl Rng) -> Summary {
    let days: Vec<Day> = (0..days).map(|_| day::run(profile, setting, rng)).collect();
    let latencies: Vec<f64> = days.iter().filter(|d| d.requests > 0).map(|d| d.latency).collect();
    let count = latencies.len().max(1) as f64;
    let latency = latencies.iter().sum::<f64>() / count;
    let variance = latencies.iter().map(|l| (l - latency).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    let requests: usize = days.iter().map(|d| d.requests).sum();
    let share = |of: fn(&Day) -> usize| days.iter().map(of).sum::<usize>() as f64 / requests.max(1) as f64;
    Summary {
        latency,
        error: (variance / count).sqrt(),
        ready: share(|d| d.ready),
        interrupting: share(|d| d.interrupting),
        outstanding: days.iter().map(|d| d.outstanding).sum::<f64>() / days.len().max(1) as f64,
    }
}

/// The highest of `rates` (ascending) at which fewer than [`SUSTAINED`] requests are outstanding on average.
pub fn sustained(
    profile: &Profile,
    setting: &Setting,
    rates: &[f64],
    days: usize,
    rng: &mut impl Rng,
) -> Option<f64> {
    let holds = |rate: f64, rng: &mut _| {
        let setting = Setting { rate, ..setting.clone() };
        simulate(profile, &setting, days, rng).outstanding < SUSTAINED
    };
    rates.iter().copied().take_while(|rate| holds(*rate, rng)).last()
}

#[cfg(test)]
mod tests;
