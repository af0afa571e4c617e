//! `cargo xtask results`: measures networks with `phineus bench` and rewrites the table between the markers of
//! README.md, with the raw reports beside it in `bench/results/networks.json`.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::{Outcome, cargo};

/// A row of the table.
struct Row {
    /// A zoo network, or a file beside the repository; its row is left out where it is absent.
    network: &'static str,
    /// What runs the activations.
    engine: &'static str,
    /// The imitated link, if any.
    link: Option<&'static str>,
}

const fn row(network: &'static str, engine: &'static str) -> Row {
    Row { network, engine, link: None }
}

const fn over(link: &'static str, network: &'static str, engine: &'static str) -> Row {
    Row { network, engine, link: Some(link) }
}

const ROWS: &[Row] = &[
    row("lola-mnist-relu", "delphi"),
    row("lola-mnist-relu", "ot"),
    row("minionn-cifar10", "delphi"),
    row("minionn-cifar10", "client-garbler"),
    row("minionn-cifar10", "ot"),
    // Delphi's networks with 3, 5, 6 and 7 of the 7 activations polynomials.
    row("../shared/models/delphi_minionn_3_approx.onnx", "ot"),
    row("../shared/models/delphi_minionn_5_approx.onnx", "ot"),
    row("../shared/models/delphi_minionn_6_approx.onnx", "ot"),
    row("../shared/models/delphi_minionn_7_approx.onnx", "ot"),
    row("resnet20-cifar10", "ot"),
    row("resnet32-cifar100", "delphi"),
    row("resnet32-cifar100", "client-garbler"),
    row("resnet32-cifar100", "ot"),
    over("lan", "resnet32-cifar100", "ot"),
    over("wan", "resnet32-cifar100", "ot"),
    row("vgg16-cifar100", "ot"),
    row("resnet18-cifar100", "ot"),
    row("resnet32-tiny", "ot"),
    row("vgg16-tiny", "ot"),
    row("resnet18-tiny", "ot"),
];
/// What the networks of files are calibrated on and asked about.
const IMAGES: &str = "../shared/data/cifar10-jpeg";
/// Share of their values that must not saturate: polynomials stretch the few largest ones.
const QUANTILE: &str = "0.995";
/// Images of the accuracy in the clear.
const LIMIT: &str = "2000";
/// Inferences per network; the report is that of the median.
const COUNT: &str = "3";
const START: &str = "<!-- results: cargo xtask results -->\n";
const END: &str = "<!-- end of results -->\n";

pub(crate) fn run() -> Outcome {
    let root = cargo::root();
    let there = ROWS.iter().filter(|row| {
        let there = !row.network.contains('/') || root.join(row.network).exists();
        if !there {
            eprintln!("left out: {} is absent", row.network);
        }
        there
    });
    let reports = there.map(measure).collect::<Result<Vec<Value>, String>>()?;
    let provenance = json!({
        "command": "cargo xtask results",
        "commit": output("git", &["rev-parse", "HEAD"])?,
        "date": output("date", &["-u", "+%Y-%m-%d"])?,
        "processor": processor(),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
    });
    let table = table(&reports, &provenance)?;
    let folder = root.join("bench/results");
    let raw = serde_json::to_string_pretty(&json!({ "provenance": provenance, "reports": reports }));
    let write = |path: std::path::PathBuf, text: String| {
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
    };
    fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    write(folder.join("networks.json"), raw.map_err(|e| e.to_string())? + "\n")?;
    let readme = root.join("README.md");
    let text = fs::read_to_string(&readme).map_err(|e| e.to_string())?;
    write(readme, replace(&text, &table)?)?;
    println!("{table}");
    Ok(())
}

fn measure(&Row { network, engine, link }: &Row) -> Result<Value, String> {
    let mut arguments = vec!["run", "--release", "--quiet", "--", "bench", network, "--engine", engine];
    arguments.extend(["--transfers", "auto", "--count", COUNT, "--json"]);
    arguments.extend(link.iter().flat_map(|link| ["--link", *link]));
    if network.contains('/') {
        arguments.extend(["--data", IMAGES, "--quantile", QUANTILE]);
    }
    let report = output("cargo", &arguments)?;
    let mut report: Value = serde_json::from_str(&report).map_err(|e| format!("{network}: {e}"))?;
    report["engine"] = engine.into();
    if network.contains('/') {
        report["accuracy"] = accuracy(network)?.into();
    }
    Ok(report)
}

/// Of the float network and of the integers, in percent.
fn accuracy(network: &str) -> Result<Vec<f64>, String> {
    let compiled = std::env::temp_dir().join("phineus-results.phn");
    let compiled = compiled.to_string_lossy();
    let mut arguments = vec!["run", "--release", "--quiet", "--", "compile", network, "--calibrate", IMAGES];
    arguments.extend(["--quantile", QUANTILE, "--accuracy", "--limit", LIMIT, "--output", &*compiled]);
    let text = output("cargo", &arguments)?;
    let line = text.lines().find(|line| line.starts_with("accuracy")).unwrap_or_default();
    let percent =
        |word: &str| -> Option<f64> { line.split_once(word)?.1.trim_start().split_once(' ')?.0.parse().ok() };
    let both: Option<Vec<f64>> = ["float", "integers"].into_iter().map(percent).collect();
    both.ok_or_else(|| format!("{network}: no accuracy in {line:?}"))
}

fn table(reports: &[Value], provenance: &Value) -> Result<String, String> {
    let mut text = String::from(
        "| network | engine | link | offline s | online s | offline MB | online MB | stored MB, client / server | memory MB, \
         client / server | equals reference | accuracy, float / integers |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for report in reports {
        let number = |path: &str| {
            report.pointer(path).and_then(Value::as_f64).ok_or_else(|| format!("no {path} in a report"))
        };
        let word = |field: &str| report[field].as_str().unwrap_or_default();
        let megabytes = |phase: &str| -> Result<f64, String> {
            let sum = number(&format!("/{phase}/client_to_server_bytes"))?
                + number(&format!("/{phase}/server_to_client_bytes"))?;
            Ok(sum / 1e6)
        };
        let row = writeln!(
            text,
            "| {} | {} | {} | {:.3} | {:.4} | {:.1} | {:.2} | {:.1} / {:.1} | {:.0} / {:.0} | {} | {} |",
            word("model"),
            word("engine"),
            word("link"),
            number("/offline/seconds")?,
            number("/online/seconds")?,
            megabytes("offline")?,
            megabytes("online")?,
            number("/client/stored_bytes")? / 1e6,
            number("/server/stored_bytes")? / 1e6,
            number("/client/peak_rss_bytes")? / 1e6,
            number("/server/peak_rss_bytes")? / 1e6,
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
         `cargo xtask results`. Accuracy of Delphi's networks in the clear, on {LIMIT} images of CIFAR-10 (JPEG copy).",
        field("processor"),
        field("date"),
    );
    note.map_err(|e| e.to_string())?;
    Ok(text)
}

fn replace(readme: &str, table: &str) -> Result<String, String> {
    let missing = || "README.md has no place for results".to_owned();
    let (before, rest) = readme.split_once(START).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{START}{table}{END}{after}"))
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.to_owned())
}

fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let failed = |why: String| format!("{program} {}: {why}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .current_dir(cargo::root())
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
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
    fn the_table_takes_the_place_of_the_old_one() {
        let table = table(&[report()], &json!({ "processor": "x", "date": "d", "cores": 2 })).unwrap();
        assert!(
            table
                .contains("| net | ot | loopback | 0.500 | 0.5000 | 3.5 | 3.50 | 4.5 / 1.0 | 5 / 6 | true | 80.5 / 79 % |"),
            "{table}"
        );
        let readme = format!("a\n{START}old\n{END}b\n");
        assert_eq!(replace(&readme, &table).unwrap(), format!("a\n{START}{table}{END}b\n"));
        assert!(replace("a", &table).is_err());
    }

    #[test]
    fn a_report_without_figures_is_an_error() {
        assert!(table(&[json!({ "model": "net" })], &json!({})).is_err());
    }
}
