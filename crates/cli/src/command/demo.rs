//! `phineus demo`: a provider and a client on this machine, a real model, a real image.

use phineus_infer::plan::Engine;
use phineus_model::{onnx, phn};

use crate::compile::{self, Quantisation};
use crate::data::{self, Sample};
use crate::failure::Failure;
use crate::options::PlanFlags;
use crate::pair::{self, Judge, ServerProcess};
use crate::{process, table};

/// The LoLa-shaped network with ReLU, trained on MNIST by `training/mnist_relu.py`.
const MODEL: &[u8] = include_bytes!("../../../../assets/mnist-relu.onnx");
/// The small one with squares, for evaluation under encryption, trained by `training/lola_mnist.py`.
const SQUARES: &[u8] = include_bytes!("../../../../assets/lola-small.onnx");

macro_rules! digits {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../../../assets/digits/", $name, ".png")))),*]
    };
}

/// Digits drawn for this project; the first character of the name is the digit.
const DIGITS: &[(&str, &[u8])] = digits!["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// What server and client saw.
const SEEN_ON_SHARES: [&str; 2] = [
    "  the model's own weights; ciphertexts of the client's random masks; oblivious-transfer
  corrections; the image minus a uniform mask; for each activation, its value minus a uniform
  mask. Never the image, an activation or the prediction.",
    "  its image; the network's shape and ring widths; re-randomised and flooded ciphertexts of
  masked products; garbled circuits; the logits. Never a weight.",
];
/// The same under encryption.
const SEEN_ENCRYPTED: [&str; 2] = [
    "  the model's own weights; the client's public and evaluation keys; one ciphertext of the image.
  Never the image, an activation or the prediction.",
    "  its image; the network's shape; one re-randomised and flooded ciphertext of the logits, which
  it must not send to anybody. Never a weight.",
];

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
    let encrypted = arguments.plan.engine() == Engine::He;
    let (name, bytes) = if encrypted { ("lola-small", SQUARES) } else { ("mnist-relu", MODEL) };
    let graph = onnx::import(bytes)?;
    let shape = compile::input_shape(&graph)?;
    let samples = DIGITS
        .iter()
        .map(|(name, png)| data::decode_image(name, png, shape))
        .collect::<Result<Vec<Sample>, _>>()?;
    let model = compile::quantise(&graph, &samples, &Quantisation::plain(name))?;
    let folder = tempfile::tempdir()?;
    let model_file = folder.path().join(format!("{name}.phn"));
    std::fs::write(&model_file, phn::write(&model))?;

    let sample = &samples[usize::from(arguments.digit)];
    let server = ServerProcess::start(&model_file, &arguments.plan).await?;
    let mut session = pair::connect(&server.address, &arguments.plan).await?;
    let session_options = &arguments.plan.options(None);
    let input = model.encode_pixels(&sample.pixels)?;
    let mut report = session.predict(&input).await?.report;
    session.close().await?;
    let verdict = Judge::new(&model, session_options)?.verdict(&input, &report.output)?;
    report.client.peak_rss_bytes = process::peak_rss_bytes();
    report.equals_reference = verdict.equal;
    report.link = "loopback".into();
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", picture(&sample.pixels, shape.width));
        println!("{}", table::report(&report));
        println!("{}\n", table::footprint(&report));
        let seen = if encrypted { SEEN_ENCRYPTED } else { SEEN_ON_SHARES };
        println!("What the server saw (process {}):\n{}", server.id().unwrap_or(0), seen[0]);
        println!("What the client saw (process {}):\n{}\n", std::process::id(), seen[1]);
        println!(
            "prediction: {}   (drawn: {})   confidence {:.1} %",
            report.output.argmax,
            arguments.digit,
            100.0 * crate::command::infer::confidence(&report.output.logits).unwrap_or(0.0)
        );
        match verdict.equal {
            Some(equal) => println!("equals_reference: {equal}"),
            None => println!("same class as in the clear: {}", verdict.same_class),
        }
    }
    if !verdict.kept() {
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
