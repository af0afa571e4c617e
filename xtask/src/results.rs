//! `cargo xtask results`: measures networks with `phineus bench` and rewrites the table between the markers of
//! README.md, with the raw reports beside it in `bench/results/networks.json`.

use serde_json::{Value, json};
use std::fmt::Write as _;

use crate::Outcome;
use crate::figures::{self, megabytes, number};

/// Rows of the table: a zoo network, the engine of its activations, and the imitated link, if any.
const ROWS: &[(&str, &str, Option<&str>)] = &[
    ("lola-mnist-relu", "delphi", None),
    ("lola-mnist-relu", "ot", None),
    ("minionn-cifar10", "delphi", None),
    ("minionn-cifar10", "client-garbler", None),
    ("minionn-cifar10", "ot", None),
    ("resnet20-cifar10", "ot", None),
    ("resnet32-cifar100", "delphi", None),
    ("resnet32-cifar100", "client-garbler", None),
    ("resnet32-cifar100", "ot", None),
    ("resnet32-cifar100", "ot", Some("lan")),
    ("resnet32-cifar100", "ot", Some("wan")),
    ("vgg16-cifar100", "ot", None),
    ("resnet18-cifar100", "ot", None),
    ("resnet18-tiny", "ot", None),
];
/// Inferences per network; the report is that of the median.
const COUNT: &str = "3";
const START: &str = "<!-- results: cargo xtask results -->\n";
const END: &str = "<!-- end of results -->\n";

pub(crate) fn run() -> Outcome {
    let reports = ROWS.iter().map(measure).collect::<Result<Vec<Value>, String>>()?;
    let provenance = figures::provenance("results")?;
    let table = table(&reports, &provenance)?;
    figures::store("networks", &json!({ "provenance": provenance, "reports": reports }))?;
    figures::publish(START, END, &table)?;
    println!("{table}");
    Ok(())
}

fn measure(&(network, engine, link): &(&str, &str, Option<&str>)) -> Result<Value, String> {
    let mut arguments =
        vec!["bench", network, "--engine", engine, "--transfers", "auto", "--count", COUNT, "--json"];
    arguments.extend(link.iter().flat_map(|link| ["--link", *link]));
    let mut report = figures::phineus(&arguments)?;
    report["engine"] = engine.into();
    Ok(report)
}

fn table(reports: &[Value], provenance: &Value) -> Result<String, String> {
    let mut text = String::from(
        "| network | engine | link | offline s | online s | offline MB | online MB | stored MB, client / server | memory MB, \
         client / server | equals reference |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for report in reports {
        let word = |field: &str| report[field].as_str().unwrap_or_default();
        let row = writeln!(
            text,
            "| {} | {} | {} | {:.3} | {:.4} | {:.1} | {:.2} | {:.1} / {:.1} | {:.0} / {:.0} | {} |",
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
        );
        row.map_err(|e| e.to_string())?;
    }
    let field = |name: &str| provenance[name].as_str().unwrap_or("unknown").to_owned();
    let cores = &provenance["cores"];
    let note = writeln!(
        text,
        "\nMedians of {COUNT} inferences, both processes on one machine ({}, {cores} cores), over loopback or an imitated link, {}; made by \
         `cargo xtask results`.",
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
            "client": { "peak_rss_bytes": 5e6, "stored_bytes": 4.5e6 },
            "server": { "peak_rss_bytes": 6e6, "stored_bytes": 1e6 },
        })
    }

    #[test]
    fn a_row_has_all_figures() {
        let table = table(&[report()], &json!({ "processor": "x", "date": "d", "cores": 2 })).unwrap();
        assert!(
            table
                .contains("| net | ot | loopback | 0.500 | 0.5000 | 3.5 | 3.50 | 4.5 / 1.0 | 5 / 6 | true |"),
            "{table}"
        );
    }

    #[test]
    fn a_report_without_figures_is_an_error() {
        assert!(table(&[json!({ "model": "net" })], &json!({})).is_err());
    }
}
