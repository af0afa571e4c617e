//! The engines as presets, under the limits of a site: the second half of `phineus plan`.

use phineus_infer::plan::{Engine, Options};
use phineus_infer::preset::{self, Choice, Objective, Preset, Site};
use phineus_infer::simulate::Phase;
use phineus_model::phn::Public;
use serde_json::{Value, json};

use crate::options::PlanFlags;
use crate::size::{Rate, Size};
use crate::table;

/// What the two parties have, and what counts.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct SiteFlags {
    /// What a client has for pre-computes, as in 300MB; no limit by default.
    #[arg(long)]
    client_storage: Option<Size>,
    /// What the server has for those of one client; no limit by default.
    #[arg(long)]
    server_storage: Option<Size>,
    /// From the client to the server, as in 20Mbps, in place of the link's rate.
    #[arg(long)]
    up: Option<Rate>,
    /// From the server to the client, in place of the link's rate.
    #[arg(long)]
    down: Option<Rate>,
    /// Both directions share this rate (a wireless link): split it by the plan's own volumes.
    #[arg(long, conflicts_with_all = ["up", "down"])]
    shared: Option<Rate>,
    /// Cores of each party.
    #[arg(long, default_value_t = 2)]
    cores: u32,
    /// Both parties run on one machine and share its cores.
    #[arg(long)]
    one_machine: bool,
    /// Most pre-computes whose linear layers are made together.
    #[arg(long, default_value_t = 16)]
    bulk: usize,
    /// What the preset is chosen for.
    #[arg(long, value_enum, default_value_t = Aim::Latency)]
    objective: Aim,
}

/// An [`Objective`] as flags name it.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// Seconds from a request to its answer.
    Latency,
    /// Inferences per second.
    Rate,
    /// Bytes on the link.
    Bytes,
    /// Bytes in the client's store.
    Storage,
}

impl From<Aim> for Objective {
    fn from(aim: Aim) -> Self {
        match aim {
            Aim::Latency => Self::Latency,
            Aim::Rate => Self::Rate,
            Aim::Bytes => Self::Bytes,
            Aim::Storage => Self::Storage,
        }
    }
}

impl SiteFlags {
    /// The site that the flags describe, over the link of `options`.
    pub(crate) fn site(&self, options: &Options) -> Site {
        let mut link = options.link;
        link.up_bits_per_second = self.up.map_or(link.up_bits_per_second, |rate| rate.0);
        link.down_bits_per_second = self.down.map_or(link.down_bits_per_second, |rate| rate.0);
        Site {
            link,
            shared: self.shared.map(|rate| rate.0),
            client_storage: self.client_storage.map(|size| size.0),
            server_storage: self.server_storage.map(|size| size.0),
            cores: self.cores.max(1),
            one_machine: self.one_machine,
            bulk: self.bulk.max(1),
        }
    }
}

/// All presets of a network, and the one that serves the objective.
pub(crate) struct Comparison {
    presets: Vec<Preset>,
    digests: Vec<String>,
    /// Engines that cannot run it, and why.
    refused: Vec<(Engine, String)>,
    choice: Option<Choice>,
}

/// Derives all of them; the engine of the flags does not matter, and neither does its rounding where only one is possible.
pub(crate) fn compare(public: &Public, plan: &PlanFlags, flags: &SiteFlags) -> Comparison {
    let options = plan.options(None);
    let site = flags.site(&options);
    let (mut presets, mut digests, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for &engine in Engine::ON_SHARES {
        match site.preset(public, &Options { engine, ..options }) {
            Ok((preset, plan)) => {
                presets.push(preset);
                digests.push(plan.digest_hex());
            }
            Err(error) => refused.push((engine, error.to_string())),
        }
    }
    let choice = preset::choose(&presets, flags.objective.into());
    Comparison { presets, digests, refused, choice }
}

impl Comparison {
    /// For people.
    pub(crate) fn print(&self) {
        let header = [
            "preset",
            "client keeps",
            "server keeps",
            "offline up",
            "down",
            "online up",
            "down",
            "offline s",
            "online s",
            "fit",
            "rate/s",
            "latency, pool full",
            "empty",
            "",
        ];
        let mut table = table::new(&header, 1);
        for (i, preset) in self.presets.iter().enumerate() {
            let Preset { engine, offline, online, stored, room, rate, .. } = preset;
            table.add_row([
                engine.to_string(),
                table::bytes(stored[0]),
                table::bytes(stored[1]),
                table::bytes(offline.up_bytes),
                table::bytes(offline.down_bytes),
                table::bytes(online.up_bytes),
                table::bytes(online.down_bytes),
                table::seconds(preset.offline_seconds()),
                table::seconds(preset.online_seconds()),
                room.map_or_else(|| "any".to_owned(), |n| n.to_string()),
                format!("{rate:.3}"),
                if preset.fits() { table::seconds(preset.online_seconds()) } else { "-".to_owned() },
                table::seconds(preset.unprepared_seconds()),
                if self.chosen() == Some(i) { "<-".to_owned() } else { String::new() },
            ]);
        }
        println!("{table}");
        for (engine, error) in &self.refused {
            println!("{engine}: {error}");
        }
        if let Some((choice, preset)) =
            self.choice.as_ref().and_then(|c| Some((c, self.presets.get(c.index)?)))
        {
            println!("--engine {}: {}", preset.engine, choice.reason);
        }
        for preset in &self.presets {
            if let Some(split) = &preset.split {
                println!("{}: {}", preset.engine, explain(split, preset));
            }
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let phase = |phase: &Phase, seconds: f64| {
            json!({
                "seconds": seconds,
                "computing_seconds": phase.seconds,
                "client_to_server_bytes": phase.up_bytes,
                "server_to_client_bytes": phase.down_bytes,
                "rounds": phase.rounds,
            })
        };
        let preset = |(preset, digest): (&Preset, &String)| {
            json!({
                "engine": preset.engine.name(),
                "plan_digest": digest,
                "client_stored_bytes": preset.stored[0],
                "server_stored_bytes": preset.stored[1],
                "offline": phase(&preset.offline, preset.offline_seconds()),
                "online": phase(&preset.online, preset.online_seconds()),
                "client_core_seconds": [preset.work.offline[0], preset.work.online[0]],
                "server_core_seconds": [preset.work.offline[1], preset.work.online[1]],
                "bulk": preset.bulk,
                "room": preset.room,
                "sustained_per_second": preset.rate,
                "latency_full_seconds": preset.fits().then(|| preset.online_seconds()),
                "latency_empty_seconds": preset.unprepared_seconds(),
                "up_bits_per_second": preset.link.up_bits_per_second,
                "down_bits_per_second": preset.link.down_bits_per_second,
                "split": preset.split.map(|s| json!({
                    "up": s.up, "seconds": s.seconds, "even_seconds": s.even_seconds,
                })),
            })
        };
        let refused = |(engine, error): &(Engine, String)| json!({ "engine": engine.name(), "error": error });
        json!({
            "presets": self.presets.iter().zip(&self.digests).map(preset).collect::<Vec<_>>(),
            "refused": self.refused.iter().map(refused).collect::<Vec<_>>(),
            "choice": self.choice.as_ref().and_then(|choice| {
                Some(json!({ "engine": self.presets.get(choice.index)?.engine.name(), "reason": choice.reason }))
            }),
        })
    }

    fn chosen(&self) -> Option<usize> {
        self.choice.as_ref().map(|choice| choice.index)
    }
}

/// The split of a shared link in words and in its formula.
fn explain(split: &preset::Split, preset: &Preset) -> String {
    let (up, down) = (
        preset.offline.up_bytes + preset.online.up_bytes,
        preset.offline.down_bytes + preset.online.down_bytes,
    );
    format!(
        "of the shared link {:.1} % for the way up: f = sqrt U / (sqrt U + sqrt D) with U = {}, D = {}; \
         (sqrt U + sqrt D)^2 / B = {:.3} s per inference, {:.3} s if split evenly",
        100.0 * split.up,
        table::bytes(up),
        table::bytes(down),
        split.seconds,
        split.even_seconds,
    )
}
