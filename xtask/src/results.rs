//! `cargo xtask results`: measures networks with `phineus bench` and rewrites the table between the markers of
//! README.md, with the raw reports beside it in `bench/results/networks.json`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::Outcome;
use crate::figures::{self, megabytes, number};

/// Rows of the table: a zoo network, or a file beside the repository, which is left out where it is absent; the engine of
/// its activations; and the imitated link, if any.
const ROWS: &[(&str, &str, Option<&str>)] = &[
    ("lola-mnist-relu", "delphi", None),
    ("lola-mnist-relu", "ot", None),
    ("minionn-cifar10", "delphi", None),
    ("minionn-cifar10", "client-garbler", None),
    ("minionn-cifar10", "ot", None),
    // Delphi's networks: so many of the seven activations are polynomials.
    ("shared/models/delphi_minionn_3_approx.onnx", "ot", None),
    ("shared/models/delphi_minionn_5_approx.onnx", "ot", None),
    ("shared/models/delphi_minionn_6_approx.onnx", "ot", None),
    ("shared/models/delphi_minionn_7_approx.onnx", "ot", None),
    ("resnet20-cifar10", "ot", None),
    ("resnet32-cifar100", "delphi", None),
    ("resnet32-cifar100", "client-garbler", None),
    ("resnet32-cifar100", "ot", None),
    ("resnet32-cifar100", "ot", Some("lan")),
    ("resnet32-cifar100", "ot", Some("wan")),
    ("vgg16-cifar100", "ot", None),
    ("resnet18-cifar100", "ot", None),
    ("resnet32-tiny", "ot", None),
    ("vgg16-tiny", "ot", None),
    ("resnet18-tiny", "ot", None),
];
/// What the networks of files are calibrated on and asked about.
const IMAGES: &str = "shared/data/cifar10-jpeg";
/// Networks of files, and the share of their values that must not saturate: the more polynomials, the further their few
/// largest values are from all others.
const FILES: &[(&str, &str)] = &[
    ("shared/models/delphi_minionn_3_approx.onnx", "0.9999"),
    ("shared/models/delphi_minionn_5_approx.onnx", "0.9999"),
    ("shared/models/delphi_minionn_6_approx.onnx", "0.995"),
    ("shared/models/delphi_minionn_7_approx.onnx", "0.995"),
];
/// Images of the accuracy in the clear.
const LIMIT: &str = "2000";
/// Inferences per network; the report is that of the median.
const COUNT: &str = "3";
const START: &str = "<!-- results: cargo xtask results -->\n";
const END: &str = "<!-- end of results -->\n";

pub(crate) fn run() -> Outcome {
    let there = ROWS.iter().filter(|(network, ..)| {
        let there = quantile(network).is_none() || figures::beside(network).exists();
        if !there {
            eprintln!("left out: {network} is absent");
        }
        there
    });
    let reports = there.map(measure).collect::<Result<Vec<Value>, String>>()?;
    let provenance = figures::provenance("results")?;
    let table = table(&reports, &provenance)?;
    figures::store("networks", &json!({ "provenance": provenance, "reports": reports }))?;
    figures::publish(START, END, &table)?;
    println!("{table}");
    Ok(())
}

/// Of a file; a zoo network has none.
fn quantile(network: &str) -> Option<&'static str> {
    FILES.iter().find(|(file, _)| *file == network).map(|(_, quantile)| *quantile)
}

fn measure(&(network, engine, link): &(&str, &str, Option<&str>)) -> Result<Value, String> {
    let (file, images) = (figures::beside(network), figures::beside(IMAGES));
    let (file, images) = (file.to_string_lossy(), images.to_string_lossy());
    let quantile = quantile(network);
    let name = if quantile.is_some() { &*file } else { network };
    let mut arguments =
        vec!["bench", name, "--engine", engine, "--transfers", "auto", "--count", COUNT, "--json"];
    arguments.extend(link.iter().flat_map(|link| ["--link", *link]));
    if let Some(quantile) = quantile {
        arguments.extend(["--data", &*images, "--quantile", quantile]);
    }
    let mut report = figures::phineus(&arguments)?;
    report["engine"] = engine.into();
    if let Some(quantile) = quantile {
        report["accuracy"] = accuracy(name, &images, quantile)?.into();
    }
    Ok(report)
}

/// Of the float network and of the integers in the clear, in percent.
fn accuracy(network: &str, images: &str, quantile: &str) -> Result<Vec<f64>, String> {
    let compiled = std::env::temp_dir().join("phineus-results.phn");
    let compiled = compiled.to_string_lossy();
    let mut arguments = vec!["compile", network, "--calibrate", images, "--quantile", quantile];
    arguments.extend(["--accuracy", "--limit", LIMIT, "--output", &*compiled]);
    percentages(&figures::printed(&arguments)?).ok_or_else(|| format!("{network}: no accuracy"))
}

/// Of the line `accuracy on N images: float F %, integers I %, ..`.
fn percentages(text: &str) -> Option<Vec<f64>> {
    let line = text.lines().find(|line| line.starts_with("accuracy"))?;
    let after = |word: &str| line.split_once(word)?.1.trim_start().split_once(' ')?.0.parse().ok();
    ["float", "integers"].into_iter().map(after).collect()
}

fn table(reports: &[Value], provenance: &Value) -> Result<String, String> {
    let mut text = String::from(
        "| network | engine | link | offline s | online s | offline MB | online MB | stored MB, client / server | memory MB, \
         client / server | equals reference | accuracy, float / integers |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for report in reports {
        let word = |field: &str| report[field].as_str().unwrap_or_default();
        let row = writeln!(
            text,
            "| {} | {} | {} | {:.3} | {:.4} | {:.1} | {:.2} | {:.1} / {:.1} | {:.0} / {:.0} | {} | {} |",
            word("model"),
            word("engine"),
            word("link"),
            number(report, "/offline/seconds")?,
            number(report, "/online/seconds")?,
            megabytes(report, "offline")?,
            megabytes(report, "online")?,
            number(report, "/client/stored_bytes")? / 1e6,
            number(report, "/server/stored_bytes")? / 1e6,
            number(report, "/client/peak_rss_bytes")? / 1e6,
            number(report, "/server/peak_rss_bytes")? / 1e6,
            report["equals_reference"],
            match report["accuracy"].as_array().map(Vec::as_slice) {
                Some([float, integers]) => format!("{float} / {integers} %"),
                _ => String::new(),
            },
        );
        row.map_err(|e| e.to_string())?;
    }
    let field = |name: &str| provenance[name].as_str().unwrap_or("unknown").to_owned();
    let cores = &provenance["cores"];
    let note = writeln!(
        text,
        "\nMedians of {COUNT} inferences, both processes on one machine ({}, {cores} cores), over loopback or an imitated link, {}; made by \
         `cargo xtask results`. Accuracy in the clear, on {LIMIT} images of CIFAR-10 (JPEG copy).",
        field("processor"),
        field("date"),
    );
    note.map_err(|e| e.to_string())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Value {
        let cost = json!({ "seconds": 0.5, "client_to_server_bytes": 1e6, "server_to_client_bytes": 2.5e6 });
        json!({
            "model": "net", "engine": "ot", "link": "loopback", "offline": cost, "online": cost, "equals_reference": true,
            "accuracy": [80.5, 79],
            "client": { "peak_rss_bytes": 5e6, "stored_bytes": 4.5e6 },
            "server": { "peak_rss_bytes": 6e6, "stored_bytes": 1e6 },
        })
    }

    #[test]
    fn a_row_has_all_figures() {
        let table = table(&[report()], &json!({ "processor": "x", "date": "d", "cores": 2 })).unwrap();
        assert!(
            table
                .contains("| net | ot | loopback | 0.500 | 0.5000 | 3.5 | 3.50 | 4.5 / 1.0 | 5 / 6 | true | 80.5 / 79 % |"),
            "{table}"
        );
    }

    #[test]
    fn a_report_without_figures_is_an_error() {
        assert!(table(&[json!({ "model": "net" })], &json!({})).is_err());
    }

    #[test]
    fn the_accuracy_is_read_from_what_compile_prints() {
        let text = "a\naccuracy on 200 images: float 81.00 %, integers 83.50 %, same class 96.00 %\nb";
        assert_eq!(percentages(text), Some(vec![81.0, 83.5]));
        assert_eq!(percentages("float 1 %"), None);
    }
}
