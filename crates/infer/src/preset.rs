//! The engines as presets: what each asks of both parties' stores, of the link and of the processors, how many inferences
//! it sustains, and which one serves an objective best under the limits of a site.
//!
//! A preset is a [`Plan`] of one engine with its volumes to the byte and its work in core seconds
//! ([`Work`]). From these follow, for a bulk of n pre-computes made together:
//!
//! * a phase takes `(client + server) / (cores e) + up / B_up + down / B_down + rounds RTT` seconds, since the parties mostly
//!   wait for each other; e is the share of the cores that a phase keeps busy;
//! * a link that both directions share is split by the plan's own volumes ([`wireless`]), and the plan is derived for the
//!   link that this gives;
//! * an inference that finds a pre-compute takes the online phase, one that finds none both;
//! * the sustained rate is the inverse of whatever an inference keeps busy longest: the processors (a request pauses what
//!   prepares for others), either direction of the link, the one offline job, the one request at a time. Where a store has
//!   no room for a single pre-compute, nothing is prepared beforehand, and an inference takes both phases.

use serde::Serialize;

use crate::plan::{Engine, Link, Options, Plan, PlanError, Work};
use crate::report::Cost;
use crate::simulate::wireless;
pub use crate::simulate::wireless::Split;
use crate::simulate::{Phase, Profile};
use phineus_model::phn::Public;

/// What the two parties have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Site {
    /// Between them. Of a shared link only the round trip counts.
    pub link: Link,
    /// Bits per second that both directions share, if they do.
    pub shared: Option<u64>,
    /// Bytes that a client has for pre-computes; `None`: no limit.
    pub client_storage: Option<u64>,
    /// Bytes that the server has for those of one client; `None`: no limit.
    pub server_storage: Option<u64>,
    /// Cores of each party, or of the one machine that both run on.
    pub cores: u32,
    /// Whether both parties run on one machine.
    pub one_machine: bool,
    /// Most pre-computes that are made together.
    pub bulk: usize,
}

impl Default for Site {
    /// A LAN, two cores each, no limits, 16 pre-computes at a time.
    fn default() -> Self {
        Self {
            link: Link::LAN,
            shared: None,
            client_storage: None,
            server_storage: None,
            cores: 2,
            one_machine: false,
            bulk: 16,
        }
    }
}

/// What a preset is chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Seconds from a request to its answer: with a pool that is filled, or without one where there is no room.
    #[default]
    Latency,
    /// Inferences per second.
    Rate,
    /// Bytes on the link, both phases.
    Bytes,
    /// Bytes in the client's store.
    Storage,
}

/// One engine at a site; seconds and rates are predictions.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset {
    /// The engine.
    pub engine: Engine,
    /// The link that the plan is for: that of the site, or what the split of a shared one gives.
    pub link: Link,
    /// How a shared link is split.
    pub split: Option<Split>,
    /// Pre-computes that are made together.
    pub bulk: usize,
    /// Core seconds.
    pub work: Work,
    /// Before the input is known, per inference; its seconds are computing.
    pub offline: Phase,
    /// After; its seconds are computing.
    pub online: Phase,
    /// What the client and the server keep per inference.
    pub stored: [u64; 2],
    /// Pre-computes that both stores have room for; `None`: no limit.
    pub room: Option<u64>,
    /// Inferences per second.
    pub rate: f64,
}

/// A preset that was chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its number.
    pub index: usize,
    /// In words.
    pub reason: String,
}

/// Share of the cores that the parties keep busy together in the offline phase.
const BUSY_OFFLINE: f64 = 0.75;
/// And in the online phase.
const BUSY_ONLINE: f64 = 0.56;
/// Seconds that one party wakes later than the other's message has come.
const WAKE: f64 = 40e-6;

impl Site {
    /// The plan of an engine here, and what it costs.
    ///
    /// # Errors
    /// [`PlanError`] if the engine cannot run the network.
    pub fn preset(&self, public: &Public, options: &Options) -> Result<(Preset, Plan), PlanError> {
        let Some(total) = self.shared else {
            return self.preset_over(public, options, self.link, None);
        };
        // The volumes depend on the plan, which depends on the link, which depends on the volumes; the split hardly moves
        // after the first time.
        let over = |split: &Split| {
            let up = (total as f64 * split.up.clamp(LEAST, 1.0 - LEAST)) as u64;
            Link {
                up_bits_per_second: up.max(1),
                down_bits_per_second: (total - up).max(1),
                round_trip: self.link.round_trip,
            }
        };
        let even = wireless::split(&Phase::default(), total);
        let (first, _) = self.preset_over(public, options, over(&even), Some(even))?;
        let split = wireless::split(&first.both(), total);
        let (mut preset, plan) = self.preset_over(public, options, over(&split), Some(split))?;
        // Of the volumes that this plan has, by the split that it was made for.
        let exact = wireless::split(&preset.both(), total);
        preset.split = Some(Split { up: split.up, ..exact });
        Ok((preset, plan))
    }

    fn preset_over(
        &self,
        public: &Public,
        options: &Options,
        link: Link,
        split: Option<Split>,
    ) -> Result<(Preset, Plan), PlanError> {
        let plan = Plan::new(public.clone(), &Options { link, ..*options })?;
        let stored = plan.stored_bytes();
        let fits = |limit: Option<u64>, each: u64| limit.and_then(|bytes| bytes.checked_div(each));
        let rooms = [fits(self.client_storage, stored[0]), fits(self.server_storage, stored[1])];
        let room = rooms.into_iter().flatten().min();
        let bulk = room.map_or(self.bulk, |room| self.bulk.min(usize::try_from(room).unwrap_or(usize::MAX)));
        let bulk = bulk.clamp(1, plan.together());
        let stacked = if bulk > 1 { Some(plan.bulk(bulk)?) } else { None };
        let linear = stacked.as_ref().unwrap_or(plan.linear());
        let work = plan.work(linear);
        let [offline, online] = plan.predicted_mean(linear);
        let [compute_offline, compute_online] = work.of_both();
        let cores = f64::from(self.cores.max(1));
        let phase = |seconds: f64, cost: &Cost| Phase {
            seconds,
            up_bytes: cost.client_to_server_bytes,
            down_bytes: cost.server_to_client_bytes,
            rounds: cost.rounds,
        };
        let offline = phase(compute_offline / (cores * BUSY_OFFLINE), &offline);
        let waking = WAKE * online.rounds as f64;
        let online = phase(compute_online / (cores * BUSY_ONLINE) + waking, &online);
        let mut preset = Preset {
            engine: options.engine,
            link,
            split,
            bulk,
            work,
            offline,
            online,
            stored,
            room,
            rate: 0.0,
        };
        preset.rate = 1.0 / preset.busiest(self);
        Ok((preset, plan))
    }
}

impl Preset {
    /// Seconds of the offline phase of one inference of a bulk, on the processors and the link.
    #[must_use]
    pub fn offline_seconds(&self) -> f64 {
        self.offline.seconds + self.offline.transfer_seconds(Some(&self.link))
    }

    /// Seconds of the online phase: the latency of a request that finds a pre-compute.
    #[must_use]
    pub fn online_seconds(&self) -> f64 {
        self.online.seconds + self.online.transfer_seconds(Some(&self.link))
    }

    /// Seconds from a request to its answer if nothing is prepared.
    #[must_use]
    pub fn unprepared_seconds(&self) -> f64 {
        self.offline_seconds() + self.online_seconds()
    }

    /// Whether both stores have room for a pre-compute.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.room != Some(0)
    }

    /// The same plan over another link than the one that it was made for.
    #[must_use]
    pub fn over(mut self, link: Link, site: &Site) -> Self {
        (self.link, self.split) = (link, None);
        self.rate = 1.0 / self.busiest(site);
        self
    }

    /// For the simulator, over the link of the preset.
    #[must_use]
    pub fn profile(&self, name: &str) -> Profile {
        let [client_bytes, server_bytes] = self.stored;
        Profile {
            name: format!("{name}, {}", self.engine),
            offline: self.offline,
            online: self.online,
            client_bytes,
            server_bytes,
        }
    }

    /// The volumes of both phases.
    fn both(&self) -> Phase {
        Phase {
            seconds: self.offline.seconds + self.online.seconds,
            up_bytes: self.offline.up_bytes + self.online.up_bytes,
            down_bytes: self.offline.down_bytes + self.online.down_bytes,
            rounds: self.offline.rounds + self.online.rounds,
        }
    }

    /// Seconds per inference of what is busiest.
    fn busiest(&self, site: &Site) -> f64 {
        if !self.fits() {
            return self.unprepared_seconds();
        }
        let both = self.both();
        let computing = match site.one_machine {
            // A request has all of it to itself.
            true => self.offline.seconds + self.online.seconds,
            // Either party works for its own half while the other one does for the next.
            false => {
                let cores = f64::from(site.cores.max(1));
                let busy = |party: usize| {
                    self.work.offline[party] / (cores * BUSY_OFFLINE)
                        + self.work.online[party] / (cores * BUSY_ONLINE)
                };
                busy(0).max(busy(1))
            }
        };
        let link = self.link;
        let one_way = |up, down| link.seconds(up, down, 0);
        [
            computing,
            one_way(both.up_bytes, 0),
            one_way(0, both.down_bytes),
            self.offline_seconds(),
            self.online_seconds(),
        ]
        .into_iter()
        .fold(0.0, f64::max)
    }

    /// What an objective minimises.
    fn score(&self, objective: Objective) -> f64 {
        let both = self.both();
        match objective {
            Objective::Latency if self.fits() => self.online_seconds(),
            Objective::Latency => self.unprepared_seconds(),
            Objective::Rate => -self.rate,
            Objective::Bytes => (both.up_bytes + both.down_bytes) as f64,
            Objective::Storage => self.stored[0] as f64,
        }
    }
}

/// The best of `presets` by `objective`: of those that both stores have room for, if there are any. Ties go to the first.
#[must_use]
pub fn choose(presets: &[Preset], objective: Objective) -> Option<Choice> {
    let any_fits = presets.iter().any(Preset::fits);
    let fitting = || presets.iter().enumerate().filter(|(_, preset)| preset.fits() == any_fits);
    let better = |best: (usize, f64), one: (usize, f64)| if one.1 < best.1 { one } else { best };
    let scores = fitting().map(|(index, preset)| (index, preset.score(objective)));
    let (index, _) = scores.reduce(better)?;
    let best = presets.get(index)?;
    let why = match objective {
        Objective::Latency if any_fits => {
            format!("fastest answer, {:.4} s with a pool", best.online_seconds())
        }
        Objective::Latency => format!("fastest answer, {:.4} s", best.unprepared_seconds()),
        Objective::Rate => format!("highest rate, {:.3}/s", best.rate),
        Objective::Bytes => "fewest bytes on the link".to_owned(),
        Objective::Storage => "least kept by the client".to_owned(),
    };
    let excluded: Vec<&str> = presets.iter().filter(|p| !p.fits()).map(|p| p.engine.name()).collect();
    let reason = match (any_fits, excluded.is_empty()) {
        (false, _) => format!("{why}; no preset fits into the stores, so that everything is done online"),
        (true, true) => why,
        (true, false) => format!("{why}; no room for a pre-compute of {}", excluded.join(", ")),
    };
    Some(Choice { index, reason })
}

/// Least share of a shared link for one way: messages without content take time as well.
const LEAST: f64 = 0.01;

#[cfg(test)]
mod tests;
