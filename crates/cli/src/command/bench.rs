//! `phineus bench`: what a network costs, both parties as processes of their own on this machine.

mod activations;
mod he;
mod kernels;
mod linear;
mod online;
mod party;
pub(crate) mod provenance;
mod sustained;

use std::path::{Path, PathBuf};

use phineus_infer::report::Report;
use phineus_model::phn;
use phineus_net::shaped::LinkProfile;

use self::party::{Conditions, Party};
use crate::command::zoo::random_pixels;
use crate::compile::{self, Quantisation};
use crate::data::{Split, npy};
use crate::extractor::ExtractorFlags;
use crate::failure::Failure;
use crate::options::PlanFlags;
use crate::pair::{self, Judge, ServerProcess};
use crate::size::Size;
use crate::table;

/// Options of `phineus bench`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A zoo name, an ONNX file or a .phn file; `linear` and `activations` are the tables of linear layers and of
    /// non-linear ones, `he` that of networks under encryption (with `--data` for the MNIST files, or for a folder of
    /// folders `mnist`, `cifar10-jpeg` and `caltech101`).
    network: String,
    /// Measure only a part of the network.
    #[arg(long)]
    layers: Option<Layers>,
    /// Images for calibration and input; random ones by default.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Scale images of another size to the network's.
    #[arg(long)]
    resize: bool,
    /// How many inferences; the report is that of the median total time.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// Let the two processes meet as over this link: lan, metro, wan, or rate and round trip as in 100Mbps,40ms.
    #[arg(long, conflicts_with = "layers")]
    link: Option<LinkProfile>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write the figures of a table, with their provenance, to this file.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Of a table, only the rows whose names contain this.
    #[arg(long, alias = "rows")]
    only: Option<String>,
    /// Instead, prepare and answer for so many seconds with every preset, and print what the planner foretells beside what is
    /// measured.
    #[arg(long, conflicts_with_all = ["layers", "count"])]
    sustained: Option<f64>,
    /// With `--sustained`: what either side has for pre-computes, as in 1GB.
    #[arg(long, default_value = "1GB")]
    storage: Size,
    #[command(flatten)]
    conditions: Conditions,
    #[command(flatten)]
    extractor: ExtractorFlags,
    /// Be one of the processes of a measurement.
    #[arg(long, hide = true)]
    party: Option<Party>,
    /// Where the other process listens.
    #[arg(long, hide = true, default_value = "")]
    address: String,
    #[command(flatten)]
    plan: PlanFlags,
    #[command(flatten)]
    quantisation: Quantisation,
}

/// A part of an inference.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Layers {
    /// The encrypted linear layers before the input is known.
    Linear,
    /// The linear layers in the clear on shares.
    Online,
}

/// Runs and reports.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { output, json, .. } = &arguments;
    let conditions = &Conditions { plan_link: arguments.plan.link(), ..arguments.conditions.clone() };
    if let Some(party) = arguments.party {
        return party::run(party, Path::new(&arguments.network), &arguments.address, conditions).await;
    }
    if arguments.network == "he" {
        let extractor = arguments.extractor.load()?;
        let data = arguments.data.as_deref();
        let sources = he::Sources { data, extractor, count: arguments.count.max(1) };
        return he::table(&sources, arguments.only.as_deref(), *json, output.as_deref()).await;
    }
    if arguments.network == "linear" {
        if arguments.link.is_some() {
            return Err(Failure::new("--link is for whole inferences, not for the table of linear layers"));
        }
        return linear::table(conditions, arguments.only.as_deref(), *json, output.as_deref()).await;
    }
    if arguments.network == "activations" {
        return activations::run(*json, output.as_deref());
    }
    let samples = match &arguments.data {
        Some(path) => {
            let shape = compile::input_shape(&compile::import(&arguments.network)?)?;
            compile::samples(path, shape, Split::Train, Some(256), arguments.resize)?
        }
        None => Vec::new(),
    };
    let model = compile::load(&arguments.network, &samples, &arguments.quantisation)?;
    match arguments.layers {
        Some(Layers::Linear) => return linear::network(&model, conditions, *json, output.as_deref()).await,
        Some(Layers::Online) => return online::run(model, conditions),
        None => {}
    }
    if let Some(seconds) = arguments.sustained {
        if !(seconds.is_finite() && (1.0..=86_400.0).contains(&seconds)) {
            return Err(Failure::new("--sustained takes 1 to 86,400 seconds"));
        }
        let trial = sustained::Trial {
            plan: &arguments.plan,
            seconds,
            storage: arguments.storage.0,
            bulk: conditions.bulk.max(1),
            link: arguments.link,
            only: arguments.only.as_deref(),
        };
        return sustained::run(&model, &trial, *json, output.as_deref()).await;
    }
    let folder = tempfile::tempdir()?;
    let model_file = folder.path().join("model.phn");
    std::fs::write(&model_file, phn::write(&model))?;
    let shape = compile::shape_of(&model.graph.nodes)?;
    let inputs = match samples.as_slice() {
        [] => random_pixels(shape, arguments.count.max(1)),
        samples => samples.iter().cycle().take(arguments.count.max(1)).cloned().collect(),
    };
    let judge = Judge::new(&model, &arguments.plan.options(arguments.link))?;
    let server = ServerProcess::start_over(arguments.link, &model_file, &arguments.plan).await?;
    let (mut reports, mut kept) = (Vec::new(), true);
    for (i, sample) in inputs.iter().enumerate() {
        let input_file = folder.path().join(format!("{i}.npy"));
        std::fs::write(&input_file, npy::encode(shape, &sample.pixels))?;
        let mut report = client_process(&server.address, &arguments, &input_file).await?;
        let input = model.encode_pixels(&sample.pixels)?;
        let verdict = judge.verdict(&input, &report.output)?;
        kept &= verdict.kept();
        report.equals_reference = verdict.equal;
        report.link = arguments.link.map_or_else(|| "loopback".into(), |link| link.to_string());
        reports.push(report);
    }
    reports.sort_by(|a, b| total(a).total_cmp(&total(b)));
    let report = reports.swap_remove(reports.len() / 2);
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", table::report(&report));
        println!("{}", table::footprint(&report));
    }
    if kept { Ok(()) } else { Err(Failure::new("a private result differs from the reference")) }
}

fn total(report: &Report) -> f64 {
    report.offline.seconds + report.online.seconds
}

async fn client_process(server: &str, arguments: &Arguments, input: &Path) -> Result<Report, Failure> {
    let mut command = pair::itself()?;
    command.args(["infer", "--json", "--deadline", "600", "--server", server]).arg(input);
    arguments.plan.infer(&mut command);
    if let Some(link) = arguments.link {
        command.args(["--link", &link.to_string()]);
    }
    let output = command.stderr(std::process::Stdio::inherit()).output().await?;
    if !output.status.success() {
        return Err(Failure::new("the client process failed"));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
