//! `phineus zoo`: architectures with random weights, as ONNX, and random images for them.

use std::path::PathBuf;

use phineus_model::{float, onnx, zoo};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::data::{Sample, Shape};
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

/// Images for a network with uniform pixels: the right thing for cost, not for accuracy.
pub(crate) fn random_samples(graph: &float::Graph, count: usize) -> Vec<Sample> {
    random(graph.nodes.first().map_or(0, |n| n.len()), count)
}

/// Images of a shape with uniform pixels.
pub(crate) fn random_pixels(shape: Shape, count: usize) -> Vec<Sample> {
    random(shape.channels * shape.height * shape.width, count)
}

fn random(len: usize, count: usize) -> Vec<Sample> {
    // Seeded, so that the same network gives the same compiled model on every run.
    let mut rng = StdRng::seed_from_u64(1);
    let sample = |i| {
        let mut pixels = vec![0; len];
        rng.fill_bytes(&mut pixels);
        Sample { pixels, label: None, name: format!("random {i}") }
    };
    (0..count).map(sample).collect()
}
