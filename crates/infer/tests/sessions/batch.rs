//! Batches under encryption, beside single inputs in the same sessions.

use phineus_infer::ProtocolError;
use phineus_infer::plan::{Engine, Options};
use phineus_model::fixed::{Model, Preprocess, Reveal};
use phineus_model::float::{Builder, Head, Op};
use phineus_model::graph::Conv;
use phineus_model::quantize::{self, Calibration};

use crate::party::{Host, input};

/// A convolution, squares, a dense layer.
fn squares(reveal: Reveal) -> Model {
    let numbers =
        |count: usize| (0..count).map(|k| (k * 7919 % 101) as f32 / 100.0 - 0.5).collect::<Vec<_>>();
    let mut b = Builder::new("squares", "x", &[1, 6, 6]).unwrap();
    let conv =
        Conv { input: [6, 6], kernel: [3, 3], stride: [2, 2], pads: [0, 0, 1, 1], ..Conv::dense(1, 2) };
    let y = b.push("conv", Op::Linear { conv, weights: numbers(18), bias: vec![0.1, -0.2] }, &[0]).unwrap();
    let y = b.push("square", Op::Poly { coefficients: vec![0.0, 0.0, 1.0] }, &[y]).unwrap();
    let y = b.reshape("flat", y, &[18]).unwrap();
    let dense = Op::Linear { conv: Conv::dense(18, 4), weights: numbers(72), bias: vec![0.0; 4] };
    let y = b.push("dense", dense, &[y]).unwrap();
    let graph = b.finish(y, Head::Logits).unwrap();
    let samples: Vec<Vec<f32>> =
        (0..4).map(|k| numbers(36 + k)[k..].iter().map(|v| v + 0.5).collect()).collect();
    let preprocess = Preprocess { mean: vec![0.0], std: vec![1.0], bgr: false };
    let options = quantize::Options {
        activation_bits: 8,
        weight_bits: 8,
        calibration: Calibration::Max,
        reveal,
        labels: Vec::new(),
        name: "squares".into(),
    };
    quantize::quantize(&graph, &samples, preprocess, &options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_and_single_inputs_give_the_same() {
    let model = squares(Reveal::Logits);
    let host = Host::of_options(&Options::of(Engine::He), [model.clone()]);
    let (mut session, server) = host.connect().await;
    let inputs: Vec<Vec<i32>> = (0..7).map(|seed| input(&model, seed)).collect();
    let inputs: Vec<&[i32]> = inputs.iter().map(|x| &x[..]).collect();
    let refused = session.predict_batch(&[inputs[0], &[1, 2]]).await;
    assert!(matches!(refused, Err(ProtocolError::Input { expected: 36, got: 2, .. })));
    let outputs = session.predict_batch(&inputs).await.unwrap();
    let uploaded = session.uploaded();
    for (input, found) in inputs.iter().zip(&outputs) {
        let expected = session.predict(input).await.unwrap().report.output.logits;
        let size = expected.iter().fold(0.1, |m: f32, v| m.max(v.abs()));
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - f64::from(*b)).abs() < 0.02 * f64::from(size), "{found:?} {expected:?}");
        }
    }
    assert_eq!(session.predict_batch(&inputs[..3]).await.unwrap().len(), 3);
    assert_eq!(session.predict_batch(&inputs[..1]).await.unwrap().len(), 1);
    // Keys go over once.
    assert_eq!(session.uploaded(), uploaded);
    session.close().await.unwrap();
    assert_eq!(server.await.unwrap().unwrap().served, 7 + 7 + 3 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_reveals_its_arg_max_only_has_no_batches() {
    let model = squares(Reveal::ArgMax);
    let host = Host::of_options(&Options::of(Engine::He), [model.clone()]);
    let (mut session, server) = host.connect().await;
    let inputs = [input(&model, 2), input(&model, 3)];
    let refused = session.predict_batch(&[&inputs[0], &inputs[1]]).await;
    assert!(matches!(refused, Err(ProtocolError::Engine { .. })));
    session.close().await.unwrap();
    assert_eq!(server.await.unwrap().unwrap().served, 0);
}
