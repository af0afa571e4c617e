//! The two processes of a measurement of linear layers, and the parent that starts them.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use phineus_infer::plan::{LinearPlan, Options, Plan};
use phineus_infer::rehearsal::{self, Run};
use phineus_infer::served::Served;
use phineus_kernel::prg::Prg;
use phineus_model::fixed::Model;
use phineus_model::phn::{self, Public};
use phineus_net::shaped::LinkProfile;
use phineus_net::{Client, Server, tcp};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;

use crate::failure::Failure;
use crate::{pair, process};

/// Which of the two processes this is.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Party {
    /// Holds the compiled model.
    Server,
    /// Holds its public half.
    Client,
}

/// What both processes are told.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Conditions {
    /// Threads per party.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Inferences whose linear layers are prepared together.
    #[arg(long, default_value_t = 1)]
    pub(crate) bulk: usize,
    /// Runs, of which the median counts.
    #[arg(long, default_value_t = 3)]
    pub(crate) runs: usize,
    /// Megabytes of transformed weights that the server keeps.
    #[arg(long, default_value_t = 4096)]
    pub(crate) weight_cache_mb: usize,
    /// Link that the packings are chosen for; of the table, only those rows.
    #[arg(skip)]
    pub(crate) plan_link: Option<LinkProfile>,
}

impl Conditions {
    /// The link that packings are chosen for.
    pub(crate) fn link(&self) -> LinkProfile {
        self.plan_link.unwrap_or(LinkProfile::LAN)
    }

    fn options(&self) -> Options {
        Options { link: self.link().into(), ..Options::default() }
    }
}

/// The runs of both parties, in order.
pub(crate) struct Measured {
    /// Client's and server's.
    pub(crate) runs: Vec<(Run, Run)>,
    /// Of the server before the first run: model, plan and transformed weights.
    pub(crate) linear: LinearPlan,
    /// The plan that was run.
    pub(crate) plan: Plan,
}

/// Runs the linear layers of a model between two processes.
pub(crate) async fn measure(model: &Model, conditions: &Conditions) -> Result<Measured, Failure> {
    let folder = tempfile::tempdir()?;
    let (model_file, public_file) = (folder.path().join("model.phn"), folder.path().join("public"));
    std::fs::write(&model_file, phn::write(model))?;
    std::fs::write(&public_file, Public::of(model).to_bytes())?;
    let mut server = command(Party::Server, &model_file, conditions)?.spawn()?;
    let mut lines = match server.stdout.take() {
        Some(out) => BufReader::new(out).lines(),
        None => return Err(Failure::new("the server process has no output")),
    };
    let first = lines.next_line().await?.unwrap_or_default();
    let Some(address) = first.strip_prefix("listening on ") else {
        return Err(Failure::new("the server process did not start"));
    };
    let client =
        command(Party::Client, &public_file, conditions)?.args(["--address", address]).output().await?;
    if !client.status.success() {
        return Err(Failure::new("the client process failed"));
    }
    let mut runs = Vec::new();
    for client in String::from_utf8_lossy(&client.stdout).lines() {
        let server = lines.next_line().await?.unwrap_or_default();
        runs.push((serde_json::from_str(client)?, serde_json::from_str(&server)?));
    }
    if !server.wait().await?.success() || runs.len() != conditions.runs {
        return Err(Failure::new("the server process failed"));
    }
    let plan = Plan::new(Public::of(model), &conditions.options())?;
    let linear = plan.bulk(conditions.bulk)?;
    Ok(Measured { runs, linear, plan })
}

/// One of the two processes: prints one line per run.
pub(crate) async fn run(
    party: Party,
    file: &Path,
    address: &str,
    conditions: &Conditions,
) -> Result<(), Failure> {
    let bytes = std::fs::read(file).map_err(|e| Failure::at(file, e))?;
    let mut rng = Prg::from_generator(&mut rand::rng());
    match party {
        Party::Server => {
            let model = phn::read(&bytes).map_err(|e| Failure::at(file, e))?;
            drop(bytes);
            // A stack of inferences has other weight polynomials, each of which it transforms once.
            let cache = if conditions.bulk == 1 { conditions.weight_cache_mb << 20 } else { 0 };
            let served = Served::new(model, &conditions.options(), cache)?;
            let linear = served.plan().bulk(conditions.bulk)?;
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            println!("listening on {}", listener.local_addr()?);
            let mut channel = tcp::from_stream::<Server>(listener.accept().await?.0)?;
            channel.set_deadline(DEADLINE);
            for _ in 0..conditions.runs {
                let rss = process::peak_rss_bytes;
                let run = rehearsal::server(&mut channel, &served, &linear, rss, &mut rng).await?;
                println!("{}", serde_json::to_string(&run)?);
            }
        }
        Party::Client => {
            let plan = {
                let public = phn::read_public(&bytes).map_err(|e| Failure::at(file, e))?;
                Plan::new(public, &conditions.options())?
            };
            let linear = plan.bulk(conditions.bulk)?;
            let mut channel = tcp::connect::<Client>(address, DEADLINE).await?;
            channel.set_deadline(DEADLINE);
            for _ in 0..conditions.runs {
                let rss = process::peak_rss_bytes;
                let run = rehearsal::client(&mut channel, &plan, &linear, rss, &mut rng).await?;
                println!("{}", serde_json::to_string(&run)?);
            }
        }
    }
    Ok(())
}

fn command(party: Party, file: &Path, conditions: &Conditions) -> Result<tokio::process::Command, Failure> {
    let mut command = pair::itself()?;
    let party = if party == Party::Server { "server" } else { "client" };
    command.arg("bench").arg(file).args(["--party", party]);
    for (name, value) in [
        ("--bulk", conditions.bulk),
        ("--runs", conditions.runs),
        ("--weight-cache-mb", conditions.weight_cache_mb),
    ] {
        command.args([name, &value.to_string()]);
    }
    command.args(["--plan-link", &conditions.link().to_string()]);
    let threads = conditions.threads.max(1).to_string();
    command.env("RAYON_NUM_THREADS", &threads).env("TOKIO_WORKER_THREADS", &threads);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    Ok(command)
}

/// Both parties share this machine: a large layer may keep either of them busy for long.
const DEADLINE: Duration = Duration::from_secs(600);
