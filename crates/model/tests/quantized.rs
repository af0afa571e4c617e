//! Trained networks keep their accuracy as integers.

#[path = "quantized/data.rs"]
mod data;

use data::Sample;
use phineus_model::fixed::{Model, Preprocess, Reveal};
use phineus_model::float::Graph;
use phineus_model::quantize::{Calibration, Options, quantize, report};
use phineus_model::reference;
use rayon::prelude::*;

fn unit(channels: usize) -> Preprocess {
    Preprocess { mean: vec![0.0; channels], std: vec![1.0; channels], bgr: false }
}

fn imagenet() -> Preprocess {
    Preprocess { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225], bgr: false }
}

fn real(preprocess: &Preprocess, sample: &Sample) -> Vec<f32> {
    preprocess.apply(&sample.0).unwrap().into_iter().map(|x| x as f32).collect()
}

fn compile(graph: &Graph, preprocess: Preprocess, training: &[Sample], calibration: Calibration) -> Model {
    let samples: Vec<Vec<f32>> = training.iter().map(|sample| real(&preprocess, sample)).collect();
    let options = Options { reveal: Reveal::ArgMax, calibration, ..Options::default() };
    quantize(graph, &samples, preprocess, &options).unwrap()
}

fn correct(samples: &[Sample], class: impl Fn(&Sample) -> usize + Sync) -> f64 {
    let hits = samples.par_iter().filter(|sample| class(sample) == sample.1).count();
    100.0 * hits as f64 / samples.len() as f64
}

fn float_accuracy(graph: &Graph, preprocess: &Preprocess, samples: &[Sample]) -> f64 {
    correct(samples, |sample| {
        let logits = graph.run(&real(preprocess, sample)).unwrap();
        (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
    })
}

fn integer_accuracy(model: &Model, samples: &[Sample]) -> f64 {
    correct(samples, |sample| {
        let input = model.encode_pixels(&sample.0).unwrap();
        reference::run(model, &input).unwrap()[0] as usize
    })
}

fn print(model: &Model) {
    for row in report(model) {
        eprintln!(
            "{:28} {:12} {:?} step {:.3e} bits {} bound {:?} shift {:?}",
            row.name, row.op, row.shape, row.step, row.bits, row.bound, row.shift
        );
    }
}

fn widest(model: &Model) -> u32 {
    model.graph.facts.iter().map(|fact| fact.bits).max().unwrap()
}

#[test]
fn mnist_relu() {
    let (Some(graph), Some(training), Some(test)) =
        (data::network("mnist_b_relu5_s1.onnx"), data::mnist("train"), data::mnist("t10k"))
    else {
        return;
    };
    let model = compile(&graph, unit(1), &training[..256], Calibration::Max);
    print(&model);
    let t = std::time::Instant::now();
    let accuracy = integer_accuracy(&model, &test);
    eprintln!("MNIST ReLU, 10,000 images: {accuracy:.2} % {:?}", t.elapsed());
    assert!(accuracy >= 98.7, "{accuracy}");
    assert!(widest(&model) <= 26, "{}", widest(&model));
}

/// Both accuracies on a part of the test set.
fn on_cifar(
    file: &str,
    preprocess: Preprocess,
    calibration: Calibration,
    stride: usize,
) -> Option<(f64, f64, Model)> {
    let graph = data::network(file)?;
    let (training, test) = (data::cifar("train", 800)?, data::cifar("test", stride)?);
    let float = float_accuracy(&graph, &preprocess, &test);
    let model = compile(&graph, preprocess, &training, calibration);
    print(&model);
    let integer = integer_accuracy(&model, &test);
    eprintln!("{file} {calibration:?}, {} images: float {float:.2} %, integers {integer:.2} %", test.len());
    Some((float, integer, model))
}

#[test]
fn minionn_relu() {
    // The network takes pixels in [0, 1].
    let Some((float, integer, model)) = on_cifar("delphi_minionn_relu.onnx", unit(3), Calibration::Max, 50)
    else {
        return;
    };
    assert!((float - integer).abs() <= 0.5, "{float} {integer}");
    assert!(widest(&model) <= 26);
}

#[test]
fn resnet20() {
    let Some((float, integer, model)) = on_cifar("akamaster_resnet20.onnx", imagenet(), Calibration::Max, 50)
    else {
        return;
    };
    assert!((float - integer).abs() <= 0.5, "{float} {integer}");
    assert!(widest(&model) <= 26);
}

#[test]
#[ignore = "a minute of all cores"]
fn cifar_2000() {
    for calibration in [Calibration::Max, Calibration::Quantile(0.9999), Calibration::Quantile(0.999)] {
        on_cifar("delphi_minionn_relu.onnx", unit(3), calibration, 5);
        on_cifar("akamaster_resnet20.onnx", imagenet(), calibration, 5);
    }
}
