//! `--engine he`: a network of squares under encryption, among the other engines of the program.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::{Server, asset, compile_digits, fails, succeeds};

/// LoLa-Small, compiled for drawn digits.
fn compile_small(folder: &Path, reveal: &str) -> PathBuf {
    let model = folder.join(format!("{reveal}.phn"));
    let (onnx, digits) = (asset("lola-small.onnx"), asset("digits"));
    let flags: [&dyn AsRef<std::ffi::OsStr>; 11] = [
        &"compile",
        &onnx,
        &"--calibrate",
        &digits,
        &"--weight-bits",
        &"12",
        &"--reveal",
        &reveal,
        &"--name",
        &"small",
        &"-o",
    ];
    let mut flags = flags.to_vec();
    flags.push(&model);
    succeeds(&flags);
    model
}

fn infer(server: &Server, image: &Path, more: &[&dyn AsRef<std::ffi::OsStr>]) -> Value {
    let mut flags: Vec<&dyn AsRef<std::ffi::OsStr>> =
        vec![&"infer", &"--json", &"--server", &server.address, &image];
    flags.extend(more);
    serde_json::from_str(&succeeds(&flags)).unwrap()
}

#[test]
fn one_server_answers_under_encryption_and_on_shares() {
    let folder = tempfile::tempdir().unwrap();
    let model = compile_small(folder.path(), "logits");
    let server = Server::start(&model, &[]);
    let identity = folder.path().join("identity");
    let image = asset("digits/7.png");
    let shares = infer(&server, &image, &[]);
    for visit in 0..2 {
        let found = infer(&server, &image, &[&"--engine", &"he", &"--identity", &identity]);
        assert_eq!(found["schema"], "phineus.report/1");
        assert_eq!(found["output"]["argmax"], shares["output"]["argmax"], "visit {visit}");
        assert_eq!(found["output"]["logits"].as_array().unwrap().len(), 10);
        assert_eq!(found["online"]["rounds"], 1);
        assert!(found["equals_reference"].is_null());
        let protocols: Vec<_> = found["layers"].as_array().unwrap().iter().map(|l| &l["protocol"]).collect();
        assert_eq!((protocols[0], *protocols.last().unwrap()), (&"encrypt".into(), &"decrypt".into()));
    }
    assert_eq!(std::fs::metadata(&identity).unwrap().len(), 32);
}

#[test]
fn the_arg_max_alone_leaves_an_encrypted_network() {
    let folder = tempfile::tempdir().unwrap();
    let model = compile_small(folder.path(), "argmax");
    let server = Server::start(&model, &[&"--engine", &"he"]);
    let found = infer(&server, &asset("digits/3.png"), &[]);
    assert!(found["output"]["argmax"].as_u64().unwrap() < 10);
    assert!(found["output"]["logits"].as_array().unwrap().is_empty());
    assert_eq!(found["layers"].as_array().unwrap().last().unwrap()["protocol"], "argmax_gc");
}

#[test]
fn verify_compares_with_the_same_arithmetic_in_the_clear() {
    let folder = tempfile::tempdir().unwrap();
    let model = compile_small(folder.path(), "logits");
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/mnist");
    let (data, count) = if real.exists() {
        (real, "8")
    } else {
        eprintln!("drawn digits instead: MNIST is absent");
        (asset("digits"), "8")
    };
    let text = succeeds(&[&"verify", &model, &"--data", &data, &"--count", &count, &"--engine", &"he"]);
    let words = format!("{count} of {count} classes under encryption are those of the same arithmetic");
    assert!(text.contains(&words), "{text}");
}

#[test]
fn check_tells_what_a_client_learns_and_what_stands_in_the_way() {
    let text = succeeds(&[&"check", &"lola-small", &"--engine", &"he"]);
    assert!(text.contains("the client learns the logits") && text.contains("keys"), "{text}");
    let text = succeeds(&[&"check", &"lola-small", &"--engine", &"he", &"--reveal", &"argmax"]);
    assert!(text.contains("distance of its views of the model 0"), "{text}");
    fails(&[&"check", &"resnet20-cifar10", &"--engine", &"he"], &["under encryption"]);
    let folder = tempfile::tempdir().unwrap();
    let model = compile_digits(folder.path());
    let server = Server::start(&model, &[]);
    let image = asset("digits/1.png");
    let flags: [&dyn AsRef<std::ffi::OsStr>; 6] =
        [&"infer", &"--server", &server.address, &image, &"--engine", &"he"];
    fails(&flags, &["train the network with x^2"]);
    let store = folder.path().join("pool");
    let small = Server::start(&compile_small(folder.path(), "logits"), &[&"--engine", &"he"]);
    fails(&[&"prepare", &"--server", &small.address, &"--store", &store], &["does not use pre-computes"]);
}

#[test]
fn the_demo_runs_under_encryption() {
    let text = succeeds(&[&"demo", &"--engine", &"he"]);
    assert!(text.contains("one ciphertext of the image") && text.contains("prediction: 7"), "{text}");
}
