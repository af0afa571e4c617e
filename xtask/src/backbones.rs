//! `cargo xtask backbones`: what networks of 224x224 images cost between two processes, beside the published figures of
//! their peers, and what the engines cost on the two largest; rewrites the tables between the markers of README.md, with the
//! figures in `bench/results/backbones.json`.
//!
//! Every row is kept as soon as it is measured, with the commit, the day and the version of the code. A run that was
//! interrupted goes on where it stopped: rows that this version has measured on the same kind of image stay as they are;
//! `--only NAME` measures one network again whatever there is. With `--data DIR` inputs are real images, which DIR has in
//! the folders `imagenet-inputs` and `chest-xray`; random ones otherwise. Engines are planned to the byte on both links.
//! Garbling keeps about a kilobyte per activation, gigabytes in these networks, so that only `ot` is measured.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::figures::{self, megabytes, number};
use crate::{Outcome, cargo};

/// A row of the table.
struct Backbone {
    /// A network of the zoo, or the name of a file beside the repository.
    name: &'static str,
    /// That file, which is left out where it is absent.
    file: Option<&'static str>,
    /// Flags of its compilation.
    flags: &'static [&'static str],
    /// An image below `--data`.
    image: &'static str,
    /// What CrypTFlow2 and Cheetah need for it, by the sources that the note below the table names.
    peers: [&'static str; 2],
}

const fn zoo(name: &'static str, peers: [&'static str; 2]) -> Backbone {
    Backbone { name, file: None, flags: &[], image: PHOTOGRAPH, peers }
}

const PHOTOGRAPH: &str = "imagenet-inputs/n02109961_36.JPEG";
const XRAY: &str = "chest-xray/00000001_000.png";
const NETWORKS: &[Backbone] = &[
    // Blue first, less the mean of ImageNet, on the scale of bytes.
    Backbone {
        name: "squeezenet-trained",
        file: Some("shared/models/squeezenet1.1_imagenet.onnx"),
        flags: &["--bgr", "--mean", "0.40784,0.45882,0.48235", "--std", "0.0039216"],
        image: PHOTOGRAPH,
        peers: ["140.4 s, 6,359 MB", "48.6 s, 447 MB"],
    },
    zoo("squeezenet", ["", ""]),
    zoo("resnet18", ["", ""]),
    zoo("resnet50", ["about 30 GB", "189.4 s, 1,903 MB"]),
    zoo("densenet121", ["", "181.4 s, 2,289 MB"]),
    Backbone { image: XRAY, ..zoo("densenet121-xray", ["almost 3 TB", ""]) },
    zoo("mobilenetv2", ["", ""]),
    zoo("mobilenetv3-small", ["", ""]),
    zoo("mobilenetv3-large", ["", ""]),
    zoo("shufflenetv2", ["", ""]),
    zoo("efficientnet-lite0", ["", ""]),
];
/// Networks whose engines are compared.
const COMPARED: [&str; 2] = ["resnet50", "densenet121"];
const LINKS: [&str; 2] = ["lan", "wan"];
const START: &str = "<!-- backbones: cargo xtask backbones -->\n";
const END: &str = "<!-- end of backbones -->\n";

/// What is measured, and on what.
#[derive(Debug, Default, PartialEq)]
struct Options {
    only: Option<String>,
    data: Option<PathBuf>,
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self, String> {
        match arguments {
            [] => Ok(Self::default()),
            ["--only", name, rest @ ..] if NETWORKS.iter().any(|network| network.name == *name) => {
                Ok(Self { only: Some((*name).to_owned()), ..Self::parse(rest)? })
            }
            ["--only", ..] => {
                let known: Vec<&str> = NETWORKS.iter().map(|network| network.name).collect();
                Err(format!("--only takes one of {}", known.join(", ")))
            }
            ["--data", folder, rest @ ..] => {
                let folder = std::path::absolute(folder).map_err(|e| format!("--data: {e}"))?;
                Ok(Self { data: Some(folder), ..Self::parse(rest)? })
            }
            other => Err(format!("backbones takes --only NAME and --data DIR, not {other:?}")),
        }
    }

    /// The image of a network, if there are any.
    fn image(&self, network: &Backbone) -> Option<PathBuf> {
        self.data.as_ref().map(|folder| folder.join(network.image))
    }
}

/// Measures all networks that this version has not measured yet, or one.
pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let options = Options::parse(arguments)?;
    if let Some(missing) = NETWORKS.iter().filter_map(|n| options.image(n)).find(|image| !image.exists()) {
        return Err(format!("--data: there is no {}", missing.display()));
    }
    let path = cargo::root().join("bench/results/backbones.json");
    let mut rows: Map<String, Value> =
        fs::read_to_string(path).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let provenance = figures::provenance("backbones")?;
    let mut failed = Vec::new();
    for network in NETWORKS {
        let name = network.name;
        let image = options.data.as_ref().map_or("random", |_| network.image);
        let version = provenance["version"].as_str();
        let done = rows.get(name).is_some_and(|row| {
            version.is_some() && row["provenance"]["version"].as_str() == version && row["image"] == image
        });
        if options.only.as_ref().map_or(done, |only| only != name) {
            continue;
        }
        if network.source().is_none() {
            eprintln!("{name}: left out, its file is absent");
            continue;
        }
        let began = std::time::Instant::now();
        match measure(network, options.image(network).as_deref()) {
            Ok(mut row) => {
                (row["provenance"], row["image"]) = (provenance.clone(), image.into());
                rows.insert(name.to_owned(), row);
                figures::store("backbones", &Value::Object(rows.clone()))?;
                figures::publish(START, END, &tables(&rows)?)?;
                println!("{name}: {:.0} s", began.elapsed().as_secs_f64());
            }
            // The others are worth measuring all the same.
            Err(why) => failed.push(format!("{name}: {why}")),
        }
    }
    println!("{}", tables(&rows)?);
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

impl Backbone {
    /// What `phineus` knows it by; `None` for a file that is absent.
    fn source(&self) -> Option<String> {
        match self.file {
            None => Some(self.name.to_owned()),
            Some(file) => {
                let path = figures::beside(file);
                path.exists().then(|| path.to_string_lossy().into_owned())
            }
        }
    }
}

/// Everything about one network.
fn measure(network: &Backbone, image: Option<&Path>) -> Result<Value, String> {
    let mut row = json!({ "loopback": bench(network, image, None)? });
    if COMPARED.contains(&network.name) {
        for link in LINKS {
            let arguments =
                ["plan", network.name, "--json", "--plan-link", link, "--bulk", "1", "--transfers", "auto"];
            row["presets"][link] = figures::phineus(&arguments)?["presets"].take();
            row["measured"][link] = bench(network, image, Some(link))?;
        }
    }
    Ok(row)
}

/// The report of one inference by oblivious transfer, without its layers, and with the classes of the largest outputs in the
/// place of all.
fn bench(network: &Backbone, image: Option<&Path>, link: Option<&str>) -> Result<Value, String> {
    let source = network.source().ok_or("its file is absent")?;
    let image = image.map(Path::to_string_lossy);
    let mut arguments = vec!["bench", &source, "--engine", "ot", "--transfers", "auto", "--json"];
    arguments.extend(network.flags);
    arguments.extend(image.iter().flat_map(|image| ["--data", image, "--resize"]));
    arguments.extend(link.iter().flat_map(|link| ["--link", *link]));
    let mut report = figures::phineus(&arguments)?;
    let best = largest(&report["output"]["logits"]);
    if let Some(report) = report.as_object_mut() {
        report.retain(|field, _| !["layers", "output", "schema"].contains(&field.as_str()));
        report.insert("top5".to_owned(), best.into());
    }
    Ok(report)
}

/// The positions of the five largest numbers, the largest first.
fn largest(numbers: &Value) -> Vec<usize> {
    let mut all: Vec<(usize, f64)> =
        numbers.as_array().into_iter().flatten().filter_map(Value::as_f64).enumerate().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.into_iter().take(5).map(|(index, _)| index).collect()
}

fn tables(rows: &Map<String, Value>) -> Result<String, String> {
    let mut text = String::from(
        "| network | offline s | online s | offline MB | online MB | rounds | memory MB, client / server | equals reference | \
         CrypTFlow2 | Cheetah |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let written = |result: std::fmt::Result| result.map_err(|e| e.to_string());
    let measured = || NETWORKS.iter().filter_map(|network| Some((network, rows.get(network.name)?)));
    for (Backbone { name, peers: [cryptflow, cheetah], .. }, row) in measured() {
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
    for (Backbone { name, .. }, row) in measured() {
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
    if let Some(classes) = rows.get("squeezenet-trained").map(|row| &row["loopback"]["top5"]) {
        written(writeln!(
            text,
            "\nsqueezenet-trained has the weights of the ImageNet network, at 227x227 pixels as its peers; asked about an image of class \
             248, it answers {classes}, the likeliest first."
        ))?;
    }
    let of_rows = |field: &str| -> String {
        let mut all: Vec<&str> =
            measured().filter_map(|(_, row)| row["provenance"][field].as_str()).collect();
        all.sort_unstable();
        all.dedup();
        all.join(", ")
    };
    let cores = measured().next().map(|(_, row)| row["provenance"]["cores"].clone()).unwrap_or_default();
    let real =
        measured().filter(|(_, row)| row["image"].as_str().is_some_and(|image| image != "random")).count();
    written(writeln!(
        text,
        "\nOne inference each, {real} of {} on a real image, with random weights unless said, both processes on one machine ({}, {cores} \
         cores), over loopback or an imitated link, activations by oblivious transfer, {}; keys of the session included. Planned: to the \
         byte, seconds of link and processors. Garbled tables of these networks take gigabytes and are not run. Made by `cargo xtask \
         backbones --data DIR`. Peers: Cheetah, and CrypTFlow2 on SqueezeNet, were run over loopback on a 2-core Xeon with 37-bit rings; \
         CrypTFlow2 on ResNet-50 is 12.9 times the 2.3 GB of Cheetah, as the abstract of Cheetah (ePrint 2022/207) has it, and on the \
         X-ray network what arXiv 2209.00411 says; of the others we know no figures.",
        measured().count(),
        of_rows("processor"),
        of_rows("date"),
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
            "provenance": { "processor": "x", "cores": 2, "date": "d" }, "image": "photograph",
            "loopback": report, "measured": { "lan": report },
            "presets": { "lan": [preset("ot"), preset("delphi")] },
        });
        let mut rows = Map::new();
        rows.insert("resnet50".into(), row.clone());
        let text = tables(&rows).unwrap();
        let first =
            "| resnet50 | 1.00 | 0.50 | 3 | 1.5 | 3 + 3 | 5 / 5 | true | about 30 GB | 189.4 s, 1,903 MB |";
        assert!(text.contains(first), "{text}");
        assert!(
            text.contains("| resnet50 | lan | ot | 6 | 3 | 3 + 3 | 3 / 4 | 2.0 + 1.0 | 1.0 + 0.5 |"),
            "{text}"
        );
        assert!(
            text.contains("| resnet50 | lan | delphi | 6 | 3 | 3 + 3 | 3 / 4 | 2.0 + 1.0 |  |"),
            "{text}"
        );
        assert!(text.contains("1 of 1 on a real image") && !text.contains("answers"), "{text}");
        rows.insert("squeezenet-trained".into(), row.clone());
        rows["squeezenet-trained"]["loopback"]["top5"] = json!([248, 250]);
        assert!(tables(&rows).unwrap().contains("answers [248,250]"));
        rows["resnet50"]["loopback"] = json!({});
        assert!(tables(&rows).is_err());
    }

    #[test]
    fn options_come_in_any_order_and_only_known_networks() {
        let both = Options { only: Some("resnet18".into()), data: Some("/d".into()) };
        assert_eq!(Options::parse(&["--data", "/d", "--only", "resnet18"]), Ok(both));
        assert_eq!(Options::parse(&[]), Ok(Options::default()));
        for wrong in [&["--only", "alexnet"][..], &["--only"], &["--data"], &["x"]] {
            assert!(Options::parse(wrong).is_err());
        }
    }

    #[test]
    fn the_largest_come_first() {
        assert_eq!(largest(&json!([0.5, 3, -1, 2, 2.5, 1, 0])), [1, 4, 3, 5, 0]);
        assert_eq!(largest(&Value::Null), [0; 0]);
    }
}
