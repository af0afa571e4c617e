//! `cargo xtask backbones`: what networks of 224x224 images cost between two processes, beside the published figures of
//! their peers, and what the engines cost on the two largest; rewrites the tables between the markers of README.md, with the
//! figures in `bench/results/backbones.json`.
//!
//! Every row is kept as soon as it is measured, with the commit and the day; `--only NAME` measures one network again and
//! leaves the other rows as they are. Engines are planned to the byte on both links. Garbling keeps about a kilobyte per
//! activation, gigabytes in these networks, so that only `ot` is measured.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Map, Value, json};

use crate::figures::{self, megabytes, number};
use crate::{Outcome, cargo};

/// Networks of the zoo with what peers need for them: SqueezeNet, ResNet-50 and DenseNet-121 of OpenCheetah and SqueezeNet of
/// SCI (CrypTFlow2) were run over loopback on a 2-core Xeon with AVX-512; the rest is published.
const NETWORKS: &[(&str, &str, &str)] = &[
    ("squeezenet", "140.4 s, 6,359 MB", "48.6 s, 447 MB"),
    ("resnet18", "", ""),
    ("resnet50", "", "189.4 s, 1,903 MB"),
    ("densenet121", "", "181.4 s, 2,289 MB"),
    ("densenet121-xray", "almost 3 TB (arXiv 2209.00411)", ""),
    ("mobilenetv2", "", ""),
    ("mobilenetv3-small", "", ""),
    ("mobilenetv3-large", "", ""),
    ("shufflenetv2", "", ""),
    ("efficientnet-lite0", "", ""),
];
/// Networks whose engines are compared.
const COMPARED: [&str; 2] = ["resnet50", "densenet121"];
const LINKS: [&str; 2] = ["lan", "wan"];
const START: &str = "<!-- backbones: cargo xtask backbones -->\n";
const END: &str = "<!-- end of backbones -->\n";

/// Measures all networks, or one.
pub(crate) fn run(only: Option<&str>) -> Outcome {
    if only.is_some_and(|name| NETWORKS.iter().all(|(known, ..)| *known != name)) {
        let known: Vec<&str> = NETWORKS.iter().map(|(name, ..)| *name).collect();
        return Err(format!("no such backbone; known are {}", known.join(", ")));
    }
    let path = cargo::root().join("bench/results/backbones.json");
    let mut rows: Map<String, Value> =
        fs::read_to_string(path).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    for (name, ..) in NETWORKS.iter().filter(|(name, ..)| only.is_none_or(|wanted| wanted == *name)) {
        let began = std::time::Instant::now();
        match network(name) {
            Ok(row) => {
                rows.insert((*name).to_owned(), row);
                figures::store("backbones", &Value::Object(rows.clone()))?;
                figures::publish(START, END, &tables(&rows)?)?;
                println!("{name}: {:.0} s", began.elapsed().as_secs_f64());
            }
            // The others are worth measuring all the same.
            Err(why) => eprintln!("{name}: {why}"),
        }
    }
    println!("{}", tables(&rows)?);
    Ok(())
}

/// Everything about one network.
fn network(name: &str) -> Result<Value, String> {
    let mut row = json!({
        "provenance": figures::provenance("backbones")?,
        "loopback": bench(name, None)?,
    });
    if COMPARED.contains(&name) {
        for link in LINKS {
            let arguments =
                ["plan", name, "--json", "--plan-link", link, "--bulk", "1", "--transfers", "auto"];
            row["presets"][link] = figures::phineus(&arguments)?["presets"].take();
            row["measured"][link] = bench(name, Some(link))?;
        }
    }
    Ok(row)
}

/// The report of one inference by oblivious transfer, without its layers.
fn bench(name: &str, link: Option<&str>) -> Result<Value, String> {
    let mut arguments = vec!["bench", name, "--engine", "ot", "--transfers", "auto", "--json"];
    arguments.extend(link.iter().flat_map(|link| ["--link", *link]));
    let mut report = figures::phineus(&arguments)?;
    if let Some(report) = report.as_object_mut() {
        report.retain(|field, _| !["layers", "output", "schema"].contains(&field.as_str()));
    }
    Ok(report)
}

fn tables(rows: &Map<String, Value>) -> Result<String, String> {
    let mut text = String::from(
        "| network | offline s | online s | offline MB | online MB | rounds | memory MB, client / server | equals reference | \
         CrypTFlow2 | Cheetah |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let written = |result: std::fmt::Result| result.map_err(|e| e.to_string());
    let measured = || NETWORKS.iter().filter_map(|row| Some((row, rows.get(row.0)?)));
    for ((name, cryptflow, cheetah), row) in measured() {
        let report = &row["loopback"];
        written(writeln!(
            text,
            "| {name} | {:.2} | {:.2} | {:.0} | {:.1} | {:.0} + {:.0} | {:.0} / {:.0} | {} | {cryptflow} | {cheetah} |",
            number(report, "/offline/seconds")?,
            number(report, "/online/seconds")?,
            megabytes(report, "offline")?,
            megabytes(report, "online")?,
            number(report, "/offline/rounds")?,
            number(report, "/online/rounds")?,
            number(report, "/client/peak_rss_bytes")? / 1e6,
            number(report, "/server/peak_rss_bytes")? / 1e6,
            report["equals_reference"],
        ))?;
    }
    text.push_str(
        "\n| network | link | engine | offline MB | online MB | rounds | stored MB, client / server | planned s, offline + online | \
         measured s |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for ((name, ..), row) in measured() {
        for link in LINKS {
            for preset in row["presets"][link].as_array().into_iter().flatten() {
                let engine = preset["engine"].as_str().unwrap_or_default();
                let report = &row["measured"][link];
                let seconds = if engine == "ot" && !report.is_null() {
                    format!(
                        "{:.1} + {:.1}",
                        number(report, "/offline/seconds")?,
                        number(report, "/online/seconds")?
                    )
                } else {
                    String::new()
                };
                written(writeln!(
                    text,
                    "| {name} | {link} | {engine} | {:.0} | {:.0} | {:.0} + {:.0} | {:.0} / {:.0} | {:.1} + {:.1} | {seconds} |",
                    megabytes(preset, "offline")?,
                    megabytes(preset, "online")?,
                    number(preset, "/offline/rounds")?,
                    number(preset, "/online/rounds")?,
                    number(preset, "/client_stored_bytes")? / 1e6,
                    number(preset, "/server_stored_bytes")? / 1e6,
                    number(preset, "/offline/seconds")?,
                    number(preset, "/online/seconds")?,
                ))?;
            }
        }
    }
    let provenance = measured().next().map(|(_, row)| row["provenance"].clone()).unwrap_or_default();
    let word = |field: &str| provenance[field].as_str().unwrap_or("unknown").to_owned();
    written(writeln!(
        text,
        "\nOne inference with random weights and a random image, both processes on one machine ({}, {} cores), over loopback or an \
         imitated link, activations by oblivious transfer, {}; keys of the session included. Planned: to the byte, seconds of link and \
         processors. Garbled tables of these networks take gigabytes and are not run. Made by `cargo xtask backbones`; Cheetah's and \
         CrypTFlow2's SqueezeNet were run over loopback on a 2-core Xeon, 37-bit rings.",
        word("processor"),
        provenance["cores"],
        word("date"),
    ))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(scale: f64) -> Value {
        json!({
            "seconds": scale, "client_to_server_bytes": 1e6 * scale, "server_to_client_bytes": 2e6 * scale, "rounds": 3,
        })
    }

    #[test]
    fn rows_stand_beside_their_peers_and_engines() {
        let side = json!({ "peak_rss_bytes": 5e6, "stored_bytes": 1e6 });
        let report = json!({
            "offline": phase(1.0), "online": phase(0.5), "client": side, "server": side, "equals_reference": true,
        });
        let preset = |engine: &str| {
            json!({
                "engine": engine, "offline": phase(2.0), "online": phase(1.0), "client_stored_bytes": 3e6,
                "server_stored_bytes": 4e6,
            })
        };
        let row = json!({
            "provenance": { "processor": "x", "cores": 2, "date": "d" },
            "loopback": report, "measured": { "lan": report },
            "presets": { "lan": [preset("ot"), preset("delphi")] },
        });
        let mut rows = Map::new();
        rows.insert("resnet50".into(), row.clone());
        let text = tables(&rows).unwrap();
        let first = "| resnet50 | 1.00 | 0.50 | 3 | 1.5 | 3 + 3 | 5 / 5 | true |  | 189.4 s, 1,903 MB |";
        assert!(text.contains(first), "{text}");
        assert!(
            text.contains("| resnet50 | lan | ot | 6 | 3 | 3 + 3 | 3 / 4 | 2.0 + 1.0 | 1.0 + 0.5 |"),
            "{text}"
        );
        assert!(
            text.contains("| resnet50 | lan | delphi | 6 | 3 | 3 + 3 | 3 / 4 | 2.0 + 1.0 |  |"),
            "{text}"
        );
        rows["resnet50"]["loopback"] = json!({});
        assert!(tables(&rows).is_err());
    }
}
