//! Trained networks of others, end to end; skipped where the files are absent.

use std::path::{Path, PathBuf};

use crate::process::succeeds;

fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(name);
    if !path.exists() {
        eprintln!("skipped: {name} is absent");
        return None;
    }
    Some(path)
}

/// Compiles a network and runs one image between two processes with the engine.
fn assert_one_image_is_exact(model: &str, engine: &str, preprocess: &[&str]) {
    let (Some(onnx), Some(data)) = (shared(&format!("models/{model}")), shared("data/cifar10-jpeg")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let compiled = folder.path().join("model.phn");
    let mut compile: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![
        &"compile",
        &onnx,
        &"--calibrate",
        &data,
        &"--samples",
        &"16",
        &"-o",
        &compiled,
        &"--engine",
        &engine,
    ];
    preprocess.iter().for_each(|argument| compile.push(argument));
    let text = succeeds(&compile);
    assert!(text.contains("log2 distance"), "{text}");
    let text = succeeds(&[&"verify", &compiled, &"--data", &data, &"--count", &"1", &"--engine", &engine]);
    assert!(text.contains("1 of 1 private results equal the reference bit for bit"), "{text}");
}

#[test]
fn delphis_minionn_is_exact() {
    assert_one_image_is_exact("delphi_minionn_relu.onnx", "delphi", &[]);
}

/// Delphi's planned networks: so many of the seven activations are polynomials.
#[test]
fn delphis_mixes_are_exact() {
    for (quadratic, engine) in [(3, "ot"), (5, "client-garbler"), (6, "ot"), (7, "ot")] {
        assert_one_image_is_exact(&format!("delphi_minionn_{quadratic}_approx.onnx"), engine, &[]);
    }
}

#[test]
fn a_residual_network_is_exact() {
    assert_one_image_is_exact(
        "akamaster_resnet20.onnx",
        "delphi",
        &["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"],
    );
}
