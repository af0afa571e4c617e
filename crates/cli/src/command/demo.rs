//! `phineus demo`: a provider and a client on this machine, a real model, a real image.

use phineus_model::{onnx, phn, reference};

use crate::compile::{self, Quantisation};
use crate::data::{self, Sample};
use crate::failure::Failure;
use crate::options::PlanFlags;
use crate::pair::{self, ServerProcess};
use crate::{process, table};

/// The LoLa-shaped network with ReLU, trained on MNIST by `training/mnist_relu.py`.
const MODEL: &[u8] = include_bytes!("../../../../assets/mnist-relu.onnx");

macro_rules! digits {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../../../assets/digits/", $name, ".png")))),*]
    };
}

/// Digits drawn for this project; the first character of the name is the digit.
const DIGITS: &[(&str, &[u8])] = digits!["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// Options of `phineus demo`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which of the drawn digits to classify.
    #[arg(default_value_t = 7, value_parser = clap::value_parser!(u8).range(0..10))]
    digit: u8,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plan: PlanFlags,
}

/// Compiles the model in the box, starts a server process, and asks it about a digit it never sees.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let graph = onnx::import(MODEL)?;
    let shape = compile::input_shape(&graph)?;
    let samples = DIGITS
        .iter()
        .map(|(name, png)| data::decode_image(name, png, shape))
        .collect::<Result<Vec<Sample>, _>>()?;
    let model = compile::quantise(&graph, &samples, &Quantisation::plain("mnist-relu"))?;
    let folder = tempfile::tempdir()?;
    let model_file = folder.path().join("mnist-relu.phn");
    std::fs::write(&model_file, phn::write(&model))?;

    let sample = &samples[usize::from(arguments.digit)];
    let server = ServerProcess::start(&model_file, &arguments.plan).await?;
    let mut session = pair::connect(&server.address, &arguments.plan).await?;
    let input = model.encode_pixels(&sample.pixels)?;
    let prepared = session.prepare().await?;
    let inference = session.infer(prepared, &input).await?;
    session.close().await?;
    let expected = reference::run(&model, &input)?;
    let mut report = inference.report;
    report.client.peak_rss_bytes = process::peak_rss_bytes();
    report.equals_reference = Some(inference.values == expected);
    report.link = "loopback".into();
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", picture(&sample.pixels, shape.width));
        println!("{}", table::report(&report));
        println!("{}\n", table::footprint(&report));
        println!("What the server saw (process {}):", server.id().unwrap_or(0));
        println!("  the model's own weights; ciphertexts of the client's random masks; oblivious-transfer");
        println!(
            "  corrections; the image minus a uniform mask; for each activation, its value minus a uniform"
        );
        println!("  mask. Never the image, an activation or the prediction.");
        println!("What the client saw (process {}):", std::process::id());
        println!(
            "  its image; the network's shape and ring widths; re-randomised and flooded ciphertexts of"
        );
        println!(
            "  masked products; garbled circuits; {} logits. Never a weight.\n",
            report.output.logits.len()
        );
        println!(
            "prediction: {}   (drawn: {})   confidence {:.1} %",
            report.output.argmax,
            arguments.digit,
            100.0 * crate::command::infer::confidence(&report.output.logits).unwrap_or(0.0)
        );
        println!("equals_reference: {}", inference.values == expected);
    }
    if inference.values != expected {
        return Err(Failure::new("the private result differs from the reference"));
    }
    if report.output.argmax != usize::from(arguments.digit) {
        return Err(Failure::new("the prediction is not the digit that was drawn"));
    }
    Ok(())
}

/// The image in characters, two pixels of a column to a character.
fn picture(pixels: &[u8], width: usize) -> String {
    let rows: Vec<&[u8]> = pixels.chunks(width).collect();
    let mut text = String::new();
    for pair in rows.chunks(2) {
        for x in 0..width {
            let on = |row: Option<&&[u8]>| row.is_some_and(|r| r[x] > 96);
            text.push(match (on(pair.first()), on(pair.get(1))) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        text.push('\n');
    }
    text
}
