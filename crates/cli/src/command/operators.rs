//! `phineus operators`: accuracy of trained networks of different operators against what they cost in private, as a table and
//! a plot.
//!
//! Accuracies are those that `training/operators.py` recorded; costs are planned for each ONNX file, bytes and rounds to
//! the byte, seconds over the link of the plan.

mod plot;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use phineus_infer::plan::Plan;
use phineus_model::phn::Public;
use phineus_model::zoo;
use serde::Deserialize;

use crate::command::zoo::random_samples;
use crate::compile::{self, Quantisation};
use crate::failure::Failure;
use crate::options::PlanFlags;
use crate::table;

/// Options of `phineus operators`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder with ONNX files named as their accuracies, `TASK-OPERATOR.onnx`.
    models: PathBuf,
    /// What training recorded: a JSON object with an object per network.
    #[arg(long, default_value = "training/results.json")]
    accuracies: PathBuf,
    /// Write a plot to this SVG file.
    #[arg(long)]
    plot: Option<PathBuf>,
    #[command(flatten)]
    plan: PlanFlags,
    #[command(flatten)]
    quantisation: Quantisation,
}

/// The recipe whose networks differ in nothing but the operator.
const RECIPE: &str = "operators.py";

/// What is known of a trained network.
#[derive(Deserialize)]
struct Trained {
    /// The script that trained it.
    recipe: String,
    accuracy: Option<f64>,
    accuracy_of_seeds: Option<Vec<f64>>,
}

/// A network with its accuracy and its cost.
struct Row {
    /// Before the first hyphen of its name.
    task: String,
    /// Behind it.
    operator: String,
    /// Mean over the seeds, percent.
    accuracy: f64,
    /// Least and largest over the seeds.
    range: [f64; 2],
    macs: u64,
    activations: u64,
    offline_bytes: u64,
    online_bytes: u64,
    rounds: u64,
    seconds: f64,
}

/// Prints the table and writes the plot.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { models, accuracies, plot, .. } = arguments;
    let text = std::fs::read_to_string(accuracies).map_err(|e| Failure::at(accuracies, e))?;
    let known: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text)?;
    let mut rows = Vec::new();
    for (name, value) in known {
        let path = models.join(&name).with_extension("onnx");
        if let (Some((task, operator)), true) = (name.split_once('-'), path.exists()) {
            rows.extend(row([task, operator], &path, serde_json::from_value(value)?, arguments)?);
        }
    }
    if rows.is_empty() {
        return Err(Failure::at(models, "no ONNX file of a network whose accuracy is recorded"));
    }
    println!("{}", listed(&rows));
    if let Some(path) = plot {
        std::fs::write(path, plot::svg(&rows)?).map_err(|e| Failure::at(path, e))?;
        println!("{}", path.display());
    }
    Ok(())
}

fn row(
    [task, operator]: [&str; 2],
    path: &Path,
    trained: Trained,
    arguments: &Arguments,
) -> Result<Option<Row>, Failure> {
    let seeds = trained.accuracy_of_seeds.unwrap_or_else(|| trained.accuracy.into_iter().collect());
    if seeds.is_empty() || trained.recipe != RECIPE {
        return Ok(None);
    }
    let graph = compile::import(&path.to_string_lossy())?;
    let samples = random_samples(&graph, compile::CHECK_SAMPLES);
    let model = compile::quantise(&graph, &samples, &arguments.quantisation)?;
    let report = Plan::new(Public::of(&model), &arguments.plan.options(None))?.forecast();
    let stats = zoo::stats(&graph);
    let bytes =
        |cost: &phineus_infer::report::Cost| cost.client_to_server_bytes + cost.server_to_client_bytes;
    Ok(Some(Row {
        task: task.to_owned(),
        operator: operator.to_owned(),
        accuracy: seeds.iter().sum::<f64>() / seeds.len() as f64,
        range: [f64::min, f64::max].map(|f| seeds.iter().copied().reduce(f).unwrap_or_default()),
        macs: stats.macs,
        activations: stats.activations,
        offline_bytes: bytes(&report.offline),
        online_bytes: bytes(&report.online),
        rounds: report.online.rounds,
        seconds: report.offline.seconds + report.online.seconds,
    }))
}

fn listed(rows: &[Row]) -> comfy_table::Table {
    let header = [
        "task",
        "operator",
        "accuracy %",
        "of seeds",
        "MACs",
        "activations",
        "offline",
        "online",
        "rounds",
        "total s",
    ];
    let mut table = table::new(&header, 2);
    for row in rows {
        let [least, most] = row.range;
        table.add_row([
            row.task.clone(),
            row.operator.clone(),
            format!("{:.2}", row.accuracy),
            format!("{least:.2} to {most:.2}"),
            row.macs.to_string(),
            row.activations.to_string(),
            table::bytes(row.offline_bytes),
            table::bytes(row.online_bytes),
            row.rounds.to_string(),
            table::seconds(row.seconds),
        ]);
    }
    table
}
