//! `phineus check`: what a model consists of and whether it can be compiled.

use phineus_model::zoo;

use crate::command::zoo::random_samples;
use crate::compile::{self, Quantisation};
use crate::failure::Failure;
use crate::options::PlanFlags;
use crate::table;

/// Options of `phineus check`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The ONNX file, or the name of a zoo network.
    model: String,
    #[command(flatten)]
    plan: PlanFlags,
    #[command(flatten)]
    quantisation: Quantisation,
}

/// Prints every layer with its shape and its proven range, or the operator that stands in the way.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let graph = compile::import(&arguments.model)?;
    let stats = zoo::stats(&graph);
    println!(
        "{}: {} parameters, {} multiply-accumulates, {} activations",
        graph.name, stats.parameters, stats.macs, stats.activations
    );
    // Ranges are proven from the weights; only the scales need samples, and random ones do for a check.
    let samples = random_samples(&graph, compile::CHECK_SAMPLES);
    let model = compile::quantise(&graph, &samples, &arguments.quantisation)?;
    println!("{}", compile::layer_table(&model));
    if let Some(operators) = compile::operator_table(&model) {
        println!("{operators}");
    }
    let plan = compile::plan(&model, &arguments.plan.options(None))?;
    match plan.encrypted() {
        Some(encrypted) => println!("{encrypted}"),
        None => println!("{}", plan.proof()),
    }
    println!(
        "supported; scales shown here come from random inputs, `phineus compile --calibrate` sets the real ones"
    );
    println!("{}", table::report(&plan.predicted()));
    Ok(())
}
