use super::*;
use crate::float::{self, Builder, Head};
use crate::onnx;
use crate::pass::tests::{layer, numbers};
use crate::quantize::{self, Options};
use crate::zoo::rewrite::{self, Operator};

/// Two standard convolutions, the second with stride.
fn network() -> float::Graph {
    let mut b = Builder::new("g", "x", &[3, 8, 8]).unwrap();
    let conv = |inputs, outputs, input, stride| Conv {
        input: [input; 2],
        kernel: [3, 3],
        pads: [1; 4],
        stride: [stride; 2],
        ..Conv::dense(inputs, outputs)
    };
    let mut x = b.push("stem", layer(conv(3, 16, 8, 1), 1), &[0]).unwrap();
    for (i, stride) in [1, 2].into_iter().enumerate() {
        x = b.push(&format!("relu{i}"), float::Op::Clip { lo: 0.0, hi: f32::INFINITY }, &[x]).unwrap();
        x = b.push(&format!("conv{i}"), layer(conv(16, 16, 8, stride), i), &[x]).unwrap();
    }
    b.finish(x, Head::Logits).unwrap()
}

fn compiled(graph: &float::Graph) -> Graph {
    let len = graph.nodes[0].len();
    let samples: Vec<Vec<f32>> =
        (0..3).map(|seed| numbers(len, seed).into_iter().map(f32::abs).collect()).collect();
    let preprocess = crate::fixed::Preprocess { mean: vec![0.0; 3], std: vec![1.0; 3], bgr: false };
    quantize::quantize(graph, &samples, preprocess, &Options::default()).unwrap().graph
}

#[test]
fn every_replacement_is_recognised_after_a_round_trip_through_onnx() {
    assert_eq!(recognise(&compiled(&network())), []);
    let groups = rewrite::GROUPS;
    for (operator, form, parts) in [
        (Operator::Depthwise, Form::Separable, 2),
        (Operator::XopA, Form::XopA { groups }, 3),
        (Operator::XopB, Form::XopB, 3),
        (Operator::Grouped, Form::Shuffled { groups }, 2),
    ] {
        let replaced = rewrite::replace(network(), operator, |_| true).unwrap();
        let graph = compiled(&onnx::import(&onnx::export(&replaced)).unwrap());
        let found = recognise(&graph);
        assert_eq!(found.len(), 2, "{operator}");
        for (pattern, name) in found.iter().zip(["conv0", "conv1"]) {
            assert_eq!((pattern.form, pattern.layers.len()), (form, parts), "{operator}");
            assert_eq!(graph.nodes[*pattern.layers.last().unwrap()].name, name);
            assert!(pattern.macs < pattern.standard_macs);
        }
        assert_eq!(found[0].standard_macs, 9 * 16 * 16 * 64, "{operator}");
        assert_eq!(found[1].standard_macs, 9 * 16 * 16 * 16, "{operator}");
    }
}

#[test]
fn what_somebody_else_reads_is_no_part() {
    let mut b = Builder::new("g", "x", &[3, 8, 8]).unwrap();
    let window = Conv { input: [8; 2], kernel: [3, 3], pads: [1; 4], groups: 3, ..Conv::dense(3, 3) };
    let mix = Conv { input: [8; 2], ..Conv::dense(3, 3) };
    let w = b.push("w", layer(window, 1), &[0]).unwrap();
    let m = b.push("m", layer(mix, 2), &[w]).unwrap();
    let separable = b.clone().finish(m, Head::Logits).unwrap();
    assert_eq!(recognise(&compiled(&separable)).len(), 1);
    let sum = b.push("s", float::Op::Add, &[w, m]).unwrap();
    assert_eq!(recognise(&compiled(&b.finish(sum, Head::Logits).unwrap())), []);
}
