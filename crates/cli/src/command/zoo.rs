//! `phineus zoo`: architectures with random weights, as ONNX.

use std::path::PathBuf;

use phineus_model::{onnx, zoo};

use crate::failure::Failure;
use crate::table;

/// Options of `phineus zoo`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Name of the architecture; without it, the list.
    name: Option<String>,
    /// The file to write.
    #[arg(short, long, requires = "name")]
    output: Option<PathBuf>,
    /// Seed of the weights.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Writes a network, or lists them all.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Some(name) = &arguments.name else {
        let mut list = table::new(&["name", "input", "parameters", "MACs", "activations"], 2);
        for name in zoo::NAMES {
            let graph = zoo::build(name, arguments.seed)?;
            let stats = zoo::stats(&graph);
            list.add_row([
                (*name).to_owned(),
                format!("{:?}", graph.nodes.first().map(|n| n.shape.clone()).unwrap_or_default()),
                stats.parameters.to_string(),
                stats.macs.to_string(),
                stats.activations.to_string(),
            ]);
        }
        println!("{list}");
        return Ok(());
    };
    let graph = zoo::build(name, arguments.seed)?;
    let path = arguments.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.onnx")));
    let bytes = onnx::export(&graph);
    std::fs::write(&path, &bytes).map_err(|e| Failure::at(&path, e))?;
    println!("{} ({})", path.display(), table::bytes(bytes.len() as u64));
    Ok(())
}
