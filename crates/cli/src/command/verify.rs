//! `phineus verify`: private result against clear-text reference, bit for bit; with stochastic rounding and under
//! encryption, class against class.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use phineus_infer::plan::{Engine, Options, Rounding};
use phineus_model::phn;

use crate::compile;
use crate::data::{self, Split};
use crate::extractor::{self, ExtractorFlags};
use crate::failure::Failure;
use crate::options::PlanFlags;
use crate::pair::{self, Judge, ServerProcess};

/// Options of `phineus verify`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The compiled model (.phn).
    model: PathBuf,
    /// Images, labelled or not.
    #[arg(long)]
    data: PathBuf,
    /// How many of them, evenly spaced.
    #[arg(long, default_value_t = 20)]
    count: usize,
    /// Print one report per image as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plan: PlanFlags,
    #[command(flatten)]
    extractor: ExtractorFlags,
}

/// Runs every image privately, with the server in a process of its own, and compares.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let bytes = std::fs::read(&arguments.model).map_err(|e| Failure::at(&arguments.model, e))?;
    let model = phn::read(&bytes).map_err(|e| Failure::at(&arguments.model, e))?;
    let extractor = arguments.extractor.load()?;
    let shape = extractor::image_shape(extractor.as_ref(), compile::shape_of(&model.graph.nodes)?)?;
    let options = data::Options {
        split: Split::Test,
        skip: 0,
        limit: Some(arguments.count),
        resize: extractor.is_some(),
    };
    let samples = data::open(&arguments.data, shape, &options)?;
    let judge = Judge::new(&model, &arguments.plan.options(None))?;
    let server = ServerProcess::start(&arguments.model, &arguments.plan).await?;
    let mut session = pair::connect(&server.address, &arguments.plan).await?;
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} images, {eta} left")?;
    let bar = ProgressBar::new(samples.len() as u64).with_style(style);
    let (mut equal, mut same_class, mut private_right, mut right, mut labelled) = (0, 0, 0, 0, 0);
    let (mut offline, mut online) = (0.0, 0.0);
    for sample in &samples {
        let input = extractor::encode(extractor.as_ref(), &model.graph, &model.preprocess, sample)?;
        let inference = session.predict(&input).await?;
        let output = &inference.report.output;
        let verdict = judge.verdict(&input, output)?;
        equal += usize::from(verdict.equal == Some(true));
        same_class += usize::from(verdict.same_class);
        if let Some(label) = sample.label {
            labelled += 1;
            private_right += usize::from(output.argmax == label);
            right += usize::from(verdict.class == label);
        }
        offline += inference.report.offline.seconds;
        online += inference.report.online.seconds;
        if arguments.json {
            let mut report = inference.report;
            report.equals_reference = verdict.equal;
            println!("{}", serde_json::to_string(&report)?);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let Options { engine, rounding, .. } = *session.plan().options();
    let encrypted = engine == Engine::He;
    let exact = rounding == Rounding::Exact && !encrypted;
    session.close().await?;
    let count = samples.len();
    let mean = |total: f64| total / count.max(1) as f64;
    let compared = if exact {
        format!("{equal} of {count} private results equal the reference bit for bit")
    } else if encrypted {
        format!(
            "{same_class} of {count} classes under encryption are those of the same arithmetic in the clear"
        )
    } else {
        format!(
            "{same_class} of {count} private classes, rounded at random, are those of the exact reference"
        )
    };
    let summary = format!("{compared}; mean offline {:.3} s, online {:.3} s", mean(offline), mean(online));
    let accuracy = match labelled {
        0 => String::new(),
        _ if exact => format!("; {private_right} of {labelled} right"),
        _ => format!("; {private_right} of {labelled} right, in the clear {right}"),
    };
    if arguments.json {
        eprintln!("{summary}{accuracy}");
    } else {
        println!("{summary}{accuracy}");
    }
    // Rounding at random may move a result; how far is a matter of accuracy.
    if exact && equal != count {
        return Err(Failure::new("private results differ from the reference"));
    }
    if encrypted && same_class != count {
        return Err(Failure::new("classes under encryption differ from those in the clear"));
    }
    Ok(())
}
