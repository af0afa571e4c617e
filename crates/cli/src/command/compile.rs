//! `phineus compile`: integers, proofs and a `.phn` file.

use std::path::PathBuf;

use phineus_infer::plan::Rounding;
use phineus_infer::report::Output;
use phineus_model::{phn, reference};
use rayon::prelude::*;

use crate::compile::{self, Quantisation};
use crate::data::{self, Sample, Split};
use crate::extractor::{self, Extractor, ExtractorFlags};
use crate::failure::Failure;
use crate::options::PlanFlags;
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
    /// Measure the accuracy of the float network, and of the integers with the rounding of the plan, on the test half of
    /// the calibration data.
    #[arg(long)]
    accuracy: bool,
    /// At most so many images for the accuracy.
    #[arg(long)]
    limit: Option<usize>,
    /// The file to write; the model's name with `.phn` by default.
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    plan: PlanFlags,
    #[command(flatten)]
    quantisation: Quantisation,
    #[command(flatten)]
    extractor: ExtractorFlags,
}

/// Compiles, prints what was proven, and writes the file.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let graph = compile::import(&arguments.model.to_string_lossy())?;
    let extractor = arguments.extractor.load()?;
    let shape = extractor::image_shape(extractor.as_ref(), compile::input_shape(&graph)?)?;
    let images = |split, limit| {
        let options = data::Options { split, skip: 0, limit, resize: extractor.is_some() };
        data::open(&arguments.calibrate, shape, &options)
    };
    let samples = images(Split::Train, Some(arguments.samples))?;
    let quantisation = arguments.quantisation.clone().with_labels(compile::labels(&arguments.model)?);
    let model = match &extractor {
        Some(extractor) => {
            let features = samples.par_iter().map(|s| extractor.features(s));
            compile::quantise_inputs(&graph, &features.collect::<Result<Vec<_>, _>>()?, &quantisation)?
        }
        None => compile::quantise(&graph, &samples, &quantisation)?,
    };
    println!("{}", compile::layer_table(&model));
    let options = arguments.plan.options(None);
    let plan = compile::plan(&model, &options)?;
    println!("{}", plan.proof());
    println!("plan digest {}", plan.digest_hex());
    if arguments.accuracy {
        let test = images(Split::Test, arguments.limit)?;
        let right = accuracy(&graph, &model, extractor.as_ref(), &test, options.rounding)?;
        let percent = |n: usize| 100.0 * n as f64 / test.len().max(1) as f64;
        let [float, integer, same] = right.map(percent);
        let rounding = match options.rounding {
            Rounding::Exact => "",
            Rounding::Stochastic => " with stochastic rounding",
        };
        let images = test.len();
        println!(
            "accuracy on {images} images: float {float:.2} %, integers{rounding} {integer:.2} %, same class {same:.2} %"
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
    extractor: Option<&Extractor>,
    samples: &[Sample],
    rounding: Rounding,
) -> Result<[usize; 3], Failure> {
    let of_one = |sample: &Sample| -> Result<[usize; 3], Failure> {
        let real: Vec<f32> = match extractor {
            Some(extractor) => extractor.features(sample)?,
            None => model.preprocess.apply(&sample.pixels)?.into_iter().map(|x| x as f32).collect(),
        };
        let float = argmax(&graph.run(&real)?);
        let input = model.encode_input(&real)?;
        let values = match rounding {
            Rounding::Exact => reference::run(model, &input)?,
            Rounding::Stochastic => reference::stochastic::run(model, &input, &mut rand::rng())?,
        };
        let integer = Output::of(&model.graph, &values).argmax;
        let right = |c: usize| sample.label == Some(c);
        Ok([right(float), right(integer), float == integer].map(usize::from))
    };
    let add = |a: [usize; 3], b: [usize; 3]| std::array::from_fn(|i| a[i] + b[i]);
    samples.par_iter().map(of_one).try_reduce(|| [0; 3], |a, b| Ok(add(a, b)))
}

/// Index of the largest value, the lowest of equals.
fn argmax(values: &[f32]) -> usize {
    let best = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    (0..values.len()).reduce(best).unwrap_or(0)
}
