//! Trained networks keep their accuracy as integers.
#![expect(clippy::unwrap_used, reason = "tests")]

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

/// The float accuracy on a part of the test set, and the integer accuracy and model for each calibration.
fn on_cifar(
    file: &str,
    preprocess: &Preprocess,
    calibrations: &[Calibration],
    stride: usize,
) -> Option<(f64, Vec<(f64, Model)>)> {
    let graph = data::network(file)?;
    let (training, test) = (data::cifar("train", 800)?, data::cifar("test", stride)?);
    let float = float_accuracy(&graph, preprocess, &test);
    eprintln!("{file}, {} images: float {float:.2} %", test.len());
    let integers = calibrations.iter().map(|&calibration| {
        let model = compile(&graph, preprocess.clone(), &training, calibration);
        let accuracy = integer_accuracy(&model, &test);
        eprintln!("{file}, {calibration:?}: {accuracy:.2} % in at most {} bits", widest(&model));
        (accuracy, model)
    });
    Some((float, integers.collect()))
}

/// The network takes pixels in `[0, 1]`.
#[test]
fn minionn_relu() {
    let Some((float, integers)) = on_cifar("delphi_minionn_relu.onnx", &unit(3), &[Calibration::Max], 50)
    else {
        return;
    };
    let (accuracy, model) = &integers[0];
    assert!((float - accuracy).abs() <= 0.5, "{float} {accuracy}");
    assert!(widest(model) <= 24);
}

/// The network takes pixels normalised as for ImageNet.
#[test]
fn resnet20() {
    let Some((float, integers)) = on_cifar("akamaster_resnet20.onnx", &imagenet(), &[Calibration::Max], 50)
    else {
        return;
    };
    let (accuracy, model) = &integers[0];
    assert!((float - accuracy).abs() <= 0.5, "{float} {accuracy}");
    assert!(widest(model) <= 25);
}

#[test]
#[ignore = "minutes of all cores"]
fn cifar_2000() {
    let calibrations = [Calibration::Max, Calibration::Quantile(0.9999), Calibration::Quantile(0.999)];
    on_cifar("delphi_minionn_relu.onnx", &unit(3), &calibrations, 5);
    on_cifar("akamaster_resnet20.onnx", &imagenet(), &calibrations, 5);
}

/// Squares: the polynomial's argument is tuned, its square costs no multiplication by a coefficient.
#[test]
fn mnist_squares() {
    let (Some(graph), Some(training), Some(test)) =
        (data::network("mnist_a_sq5_s1.onnx"), data::mnist("train"), data::mnist("t10k"))
    else {
        return;
    };
    let model = compile(&graph, unit(1), &training[..256], Calibration::Max);
    print(&model);
    let accuracy = integer_accuracy(&model, &test[..2000]);
    eprintln!("MNIST squares, 2,000 images: {accuracy:.2} %");
    assert!(accuracy >= 98.0, "{accuracy}");
}

/// Learned quadratics next to ReLUs.
#[test]
#[ignore = "a minute of all cores"]
fn minionn_approximated() {
    for file in ["delphi_minionn_3_approx.onnx", "delphi_minionn_7_approx.onnx", "akamaster_resnet32.onnx"] {
        let preprocess = if file.starts_with("delphi") { unit(3) } else { imagenet() };
        on_cifar(file, &preprocess, &[Calibration::Max, Calibration::Quantile(0.9999)], 20);
    }
}
