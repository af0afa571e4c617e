//! Model files: what the compiler prints and proves, and files that are no models.

use std::path::Path;

use crate::process::{asset, compile_digits, fails, succeeds};

/// `check` and `compile` of these bytes both fail and say where.
fn assert_refused(folder: &Path, bytes: &[u8], about: &[&str]) {
    let file = folder.join("bad.onnx");
    std::fs::write(&file, bytes).unwrap();
    let about = [&["bad.onnx"], about].concat();
    fails(&[&"check", &file], &about);
    fails(&[&"compile", &file, &"--calibrate", &asset("digits")], &about);
    assert!(!folder.join("bad.phn").exists());
}

#[test]
fn compile_prints_the_proof_of_its_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let (model, onnx, digits) = (folder.path().join("m.phn"), asset("mnist-relu.onnx"), asset("digits"));
    let text = succeeds(&[&"compile", &onnx, &"--calibrate", &digits, &"-o", &model]);
    let lines: Vec<&str> = text.lines().collect();
    let head = lines.iter().position(|l| l.contains("log2 distance") && l.contains("log2 failure")).unwrap();
    let total = lines.iter().position(|l| l.starts_with("total")).unwrap();
    // Three linear layers, each with its degree and modulus below the caps for 128-bit security.
    assert_eq!(total - head, 4, "{text}");
    for row in &lines[head + 1..total] {
        let fields: Vec<f64> = row.split_whitespace().map(|f| f.parse().unwrap()).collect();
        let cap = match fields[1] as u32 {
            4096 => 105.0,
            8192 => 211.0,
            other => panic!("degree {other}"),
        };
        assert!(fields[2] > 0.0 && fields[2] <= cap, "{row}");
    }
    let proven: Vec<f64> = lines[total].split_whitespace().skip(1).map(|f| f.parse().unwrap()).collect();
    let [distance, failure] = proven[..] else { panic!("{}", lines[total]) };
    assert!(distance <= -40.0 && failure <= -40.0, "{distance} {failure}");
    let digest = lines.iter().find_map(|l| l.strip_prefix("plan digest ")).unwrap();
    assert_eq!(digest.len(), 64);
    assert!(model.exists());
}

#[test]
fn truncated_and_random_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(asset("mnist-relu.onnx")).unwrap();
    for part in [0, 1, 3, 7, 12, 15] {
        assert_refused(folder.path(), &whole[..whole.len() * part / 16], &[]);
    }
    let mut word = 1_u64;
    for len in [1, 64, 5000] {
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (word >> 56) as u8
        })
        .take(len)
        .collect();
        assert_refused(folder.path(), &noise, &[]);
    }
}

#[test]
fn an_unsupported_operator_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(asset("mnist-relu.onnx")).unwrap();
    // Field 4 of a node is its operator.
    let at = bytes.windows(6).position(|w| w == b"\x22\x04Conv").unwrap();
    bytes[at + 2..at + 6].copy_from_slice(b"Loop");
    assert_refused(folder.path(), &bytes, &["node `", "(Loop)"]);
}

#[test]
fn missing_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (nothing, onnx) = (folder.path().join("nothing"), asset("mnist-relu.onnx"));
    fails(&[&"check", &nothing], &["nothing", "No such file"]);
    fails(&[&"compile", &nothing, &"--calibrate", &asset("digits")], &["nothing", "No such file"]);
    fails(&[&"compile", &onnx, &"--calibrate", &nothing], &["nothing"]);
    fails(&[&"check", &folder.path()], &[]);
    fails(&[&"serve", &nothing], &["nothing", "No such file"]);
    fails(&[&"bench", &nothing], &["nothing"]);
    let target = folder.path().join("no folder/m.phn");
    fails(&[&"compile", &onnx, &"--calibrate", &asset("digits"), &"-o", &target], &["m.phn"]);
}

#[test]
fn options_out_of_range_are_refused() {
    let (onnx, digits) = (asset("mnist-relu.onnx"), asset("digits"));
    fails(&[&"check", &onnx, &"--activation-bits", &"13"], &["2 to 12"]);
    fails(&[&"check", &onnx, &"--weight-bits", &"1"], &["2 to 12"]);
    fails(&[&"check", &onnx, &"--std", &"0"], &["--std"]);
    fails(&[&"check", &onnx, &"--mean", &"1,2"], &["--mean"]);
    fails(&[&"compile", &onnx, &"--calibrate", &digits, &"--samples", &"0"], &[]);
}

#[test]
fn damaged_compiled_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(compile_digits(folder.path())).unwrap();
    let bad = folder.path().join("bad.phn");
    let refused = |bytes: &[u8]| {
        std::fs::write(&bad, bytes).unwrap();
        fails(&[&"serve", &bad, &"--listen", &"127.0.0.1:0"], &["bad.phn"]);
        fails(&[&"verify", &bad, &"--data", &asset("digits")], &["bad.phn"]);
    };
    refused(&[]);
    refused(&whole[..whole.len() / 2]);
    refused(&whole[..whole.len() - 1]);
    refused(&[&whole[..], &[0]].concat());
    for part in 0..8 {
        let mut flipped = whole.clone();
        flipped[part * (whole.len() - 1) / 7] ^= 1;
        refused(&flipped);
    }
}
