//! `phineus simulate`.

use crate::process::{fails, phineus, succeeds};

#[test]
fn the_papers_figures_come_out_again() {
    let text = succeeds(&[&"simulate", &"--published", &"--days", &"60"]);
    let row = text.lines().find(|l| l.contains("client-garbler") && l.contains("0.27 min")).unwrap();
    assert_eq!(row.matches("0.27 min").count(), 2, "{row}");
}

#[test]
fn figures_are_kept_with_their_provenance() {
    let folder = tempfile::tempdir().unwrap();
    let stem = folder.path().join("published");
    succeeds(&[
        &"simulate",
        &"--published",
        &"--days",
        &"2",
        &"--rates",
        &"0.0001,0.001",
        &"--storage",
        &"16GB",
        &"--output",
        &stem,
    ]);
    let csv = std::fs::read_to_string(stem.with_extension("csv")).unwrap();
    assert!(csv.starts_with("# phineus simulate --published --days 2"), "{csv}");
    // Ten figures, the header, and the line before it.
    assert_eq!(csv.lines().count(), 12, "{csv}");
    let svg = std::fs::read_to_string(stem.with_extension("svg")).unwrap();
    assert!(
        svg.starts_with("<!-- phineus simulate")
            && svg.contains("CIFAR ResNet-32 (client-garbler, published)")
    );
}

#[test]
fn table_and_plot_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let (csv, svg) = (folder.path().join("a.csv"), folder.path().join("a.svg"));
    let done = phineus(&[
        &"simulate",
        &"--paper",
        &"tiny-resnet18",
        &"--storage",
        &"16GB,128GB",
        &"--rates",
        &"0.0001,0.0005",
        &"--csv",
        &csv,
        &"--plot",
        &svg,
        &"--days",
        &"5",
    ]);
    assert!(done.succeeded, "{}", done.stderr);
    // Two systems, two stores, two rates, and the header.
    assert_eq!(std::fs::read_to_string(csv).unwrap().lines().count(), 9);
    let svg = std::fs::read_to_string(svg).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("Tiny ResNet-18 (server-garbler, published)"));
}

#[test]
fn bad_input_is_named() {
    let no_report = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    fails(&[&"simulate"], &["nothing to simulate"]);
    fails(&[&"simulate", &"--paper", &"alexnet"], &["alexnet"]);
    fails(&[&"simulate", &"--paper", &"tiny-vgg16", &"--rates", &"0"], &["--rates"]);
    fails(&[&"simulate", &"--paper", &"tiny-vgg16", &"--rates", &"1e9"], &["too many"]);
    fails(&[&"simulate", &"--paper", &"tiny-vgg16", &"--hours", &"NaN"], &["--hours"]);
    fails(&[&"simulate", &"--paper", &"tiny-vgg16", &"--clients", &"0"], &["--clients"]);
    fails(&[&"simulate", &no_report], &["Cargo.toml", "no report"]);
}
