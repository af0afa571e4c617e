//! `phineus compile`: integers, proofs and a `.phn` file.

use std::path::PathBuf;

use phineus_infer::report::Output;
use phineus_model::phn;
use rayon::prelude::*;

use crate::compile::{self, Quantisation};
use crate::data::{Sample, Split};
use crate::failure::Failure;
use crate::table;

/// Options of `phineus compile`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The ONNX file.
    model: PathBuf,
    /// Images that set the scales: a folder of PNG, JPEG or NPY files, MNIST files, or JPEG records.
    #[arg(long)]
    calibrate: PathBuf,
    /// How many of them are used.
    #[arg(long, default_value_t = 256)]
    samples: usize,
    /// Measure the accuracy of both the float and the integer network on the test half of the calibration data.
    #[arg(long)]
    accuracy: bool,
    /// At most so many images for the accuracy.
    #[arg(long)]
    limit: Option<usize>,
    /// The file to write; the model's name with `.phn` by default.
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    quantisation: Quantisation,
}

/// Compiles, prints what was proven, and writes the file.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let graph = compile::import(&arguments.model.to_string_lossy())?;
    let shape = compile::input_shape(&graph)?;
    let samples = compile::samples(&arguments.calibrate, shape, Split::Train, Some(arguments.samples))?;
    let model = compile::quantise(&graph, &samples, &arguments.quantisation)?;
    println!("{}", compile::layer_table(&model));
    let plan = compile::plan(&model)?;
    println!("{}", plan.proof());
    println!("plan digest {}", plan.digest_hex());
    if arguments.accuracy {
        let test = compile::samples(&arguments.calibrate, shape, Split::Test, arguments.limit)?;
        let (float, integer, same) = accuracy(&graph, &model, &test)?;
        let percent = |n: usize| 100.0 * n as f64 / test.len().max(1) as f64;
        println!(
            "accuracy on {} images: float {:.2} %, integers {:.2} %, same class {:.2} %",
            test.len(),
            percent(float),
            percent(integer),
            percent(same)
        );
    }
    let path = arguments.output.clone().unwrap_or_else(|| arguments.model.with_extension("phn"));
    let bytes = phn::write(&model);
    std::fs::write(&path, &bytes).map_err(|e| Failure::at(&path, e))?;
    println!("{} ({})", path.display(), table::bytes(bytes.len() as u64));
    Ok(())
}

/// Right answers of the float network and of the integers, and how often the two agree.
fn accuracy(
    graph: &phineus_model::float::Graph,
    model: &phineus_model::fixed::Model,
    samples: &[Sample],
) -> Result<(usize, usize, usize), Failure> {
    let of_one = |sample: &Sample| -> Result<(usize, usize, usize), Failure> {
        let real: Vec<f32> = model.preprocess.apply(&sample.pixels)?.into_iter().map(|x| x as f32).collect();
        let float = argmax(&graph.run(&real)?);
        let input = model.encode_pixels(&sample.pixels)?;
        let integer = Output::of(&model.graph, &phineus_model::reference::run(model, &input)?).argmax;
        let right = |c: usize| usize::from(sample.label == Some(c));
        Ok((right(float), right(integer), usize::from(float == integer)))
    };
    samples.par_iter().map(of_one).try_reduce(|| (0, 0, 0), |a, b| Ok((a.0 + b.0, a.1 + b.1, a.2 + b.2)))
}

/// Index of the largest value, the lowest of equals.
fn argmax(values: &[f32]) -> usize {
    let best = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    (0..values.len()).reduce(best).unwrap_or(0)
}
