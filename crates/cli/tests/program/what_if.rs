//! Other operators, priced before and compared after training.

use std::path::Path;

use crate::process::{fails, succeeds};

#[test]
fn every_replacement_is_priced_layer_by_layer() {
    for operator in ["depthwise", "grouped", "xop-a", "xop-b", "bottleneck"] {
        let text = succeeds(&[&"plan", &"minionn-cifar10", &"--what-if", &operator, &"--engine", &"ot"]);
        // Four of its layers are standard convolutions of enough channels.
        let verdicts = text.lines().filter(|line| line.contains("3x3/1")).count();
        assert!(verdicts == 4 && text.contains("all replaced") && text.contains("of 4 layers pay"), "{text}");
    }
    let text = succeeds(&[&"plan", &"minionn-cifar10", &"--what-if", &"winograd"]);
    assert!(text.contains("F(2x2,3x3)") && text.contains("does not pay"), "{text}");
    fails(&[&"plan", &"lola-mnist", &"--what-if", &"xop-a"], &["fits no layer"]);
}

#[test]
fn trained_operators_are_named_and_compared() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let model = root.join("assets/pneumonia-xop-b.onnx");
    let accuracies = root.join("training/results.json");
    if !model.exists() || !accuracies.exists() {
        eprintln!("skipped: no trained operators");
        return;
    }
    let text = succeeds(&[&"check", &model]);
    assert!(text.contains("xop-b (form unverified)"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("operators.svg");
    let text =
        succeeds(&[&"operators", &root.join("assets"), &"--accuracies", &accuracies, &"--plot", &plot]);
    assert!(text.contains("pneumonia") && text.contains("xop-a"), "{text}");
    assert!(std::fs::read_to_string(&plot).unwrap().contains("multiplications"));
    fails(&[&"operators", &folder.path(), &"--accuracies", &accuracies], &["no ONNX file"]);
}
