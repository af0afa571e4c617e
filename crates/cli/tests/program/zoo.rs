//! Architectures with random weights.

use phineus_model::zoo::NAMES;

use crate::process::{fails, succeeds};

/// Those whose files are small and whose plans are made in no time.
const SMALL: &[&str] =
    &["lola-mnist", "lola-mnist-relu", "lola-small", "lola-cifar", "linear-4096-102", "minionn-cifar10"];

#[test]
fn all_are_listed() {
    let list = succeeds(&[&"zoo"]);
    for name in NAMES {
        assert!(list.lines().any(|l| l.split_whitespace().next() == Some(name)), "{name}");
    }
}

#[test]
fn small_ones_are_written_and_can_be_compiled() {
    let folder = tempfile::tempdir().unwrap();
    for name in SMALL {
        let file = folder.path().join(format!("{name}.onnx"));
        succeeds(&[&"zoo", name, &"-o", &file]);
        let text = succeeds(&[&"check", &file]);
        assert!(text.contains("supported") && text.contains("log2 distance"), "{text}");
    }
}

#[test]
fn every_one_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        let file = folder.path().join("net.onnx");
        succeeds(&[&"zoo", name, &"-o", &file]);
        assert!(std::fs::metadata(&file).unwrap().len() > 1000, "{name}");
    }
    // The same seed gives the same file, another one another.
    let write = |seed: &str| {
        let file = folder.path().join("net.onnx");
        succeeds(&[&"zoo", &"lola-small", &"--seed", &seed, &"-o", &file]);
        std::fs::read(file).unwrap()
    };
    assert_eq!(write("5"), write("5"));
    assert_ne!(write("5"), write("6"));
}

#[test]
fn an_unknown_one_is_refused_with_the_names() {
    fails(&[&"zoo", &"lenet", &"-o", &"unused"], &["`lenet`", "resnet50"]);
    let nowhere = std::path::Path::new("/no such folder/net.onnx");
    fails(&[&"zoo", &"lola-small", &"-o", &nowhere], &["/no such folder/net.onnx"]);
}
