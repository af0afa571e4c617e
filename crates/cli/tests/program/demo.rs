//! The first thing that anybody runs, and the public schema of reports.

use serde_json::Value;

use crate::process::{asset, compile_digits, fails, phineus, succeeds};

/// Asserts that an object has exactly these fields.
fn assert_fields(value: &Value, fields: &[&str]) {
    let mut present: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    let mut wanted = fields.to_vec();
    present.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(present, wanted);
}

const COST: &[&str] = &[
    "seconds",
    "client_to_server_bytes",
    "server_to_client_bytes",
    "rounds",
    "client_cpu_seconds",
    "server_cpu_seconds",
];

/// Asserts the schema `phineus.report/1` and that the totals are the sums of the layers.
pub(crate) fn assert_report(report: &Value) {
    assert_fields(
        report,
        &[
            "schema",
            "model",
            "plan_digest",
            "link",
            "offline",
            "online",
            "client",
            "server",
            "layers",
            "output",
            "equals_reference",
        ],
    );
    assert_eq!(report["schema"], "phineus.report/1");
    assert_eq!(report["plan_digest"].as_str().unwrap().len(), 64);
    assert_fields(&report["output"], &["argmax", "logits"]);
    for party in ["client", "server"] {
        assert_fields(&report[party], &["peak_rss_bytes", "stored_bytes"]);
        for size in ["peak_rss_bytes", "stored_bytes"] {
            assert!(report[party][size].as_u64().unwrap() > 0, "{party} {size}");
        }
    }
    let layers = report["layers"].as_array().unwrap();
    for layer in layers {
        assert_fields(layer, &["name", "op", "protocol", "offline", "online"]);
    }
    for phase in ["offline", "online"] {
        assert_fields(&report[phase], COST);
        for field in ["client_to_server_bytes", "server_to_client_bytes", "rounds"] {
            let sum: u64 = layers.iter().map(|l| l[phase][field].as_u64().unwrap()).sum();
            assert_eq!(report[phase][field].as_u64().unwrap(), sum, "{phase} {field}");
            assert!(sum > 0, "{phase} {field}");
        }
        layers.iter().for_each(|layer| assert_fields(&layer[phase], COST));
        assert!(report[phase]["seconds"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn every_drawn_digit_is_recognised_and_the_report_has_the_public_schema() {
    for digit in 0..10 {
        let report: Value =
            serde_json::from_str(&succeeds(&[&"demo", &"--json", &digit.to_string()])).unwrap();
        assert_report(&report);
        assert_eq!(report["equals_reference"], true);
        assert_eq!(report["output"]["argmax"], digit);
        assert_eq!(report["output"]["logits"].as_array().unwrap().len(), 10);
        assert_eq!(report["link"], "loopback");
    }
}

#[test]
fn the_demo_says_what_each_side_saw() {
    let text = succeeds(&[&"demo"]);
    for words in ["What the server saw", "What the client saw", "prediction: 7", "equals_reference: true"] {
        assert!(text.contains(words), "{words:?} is missing: {text}");
    }
    assert!(text.contains("linear_he") && text.contains("act_gc"), "{text}");
    assert!(!phineus(&[&"demo", &"10"]).succeeded);
}

#[test]
fn verify_compares_a_folder_of_images() {
    let folder = tempfile::tempdir().unwrap();
    let model = compile_digits(folder.path());
    let digits = asset("digits");
    let text = succeeds(&[&"verify", &model, &"--data", &digits, &"--count", &"100"]);
    let images = std::fs::read_dir(&digits).unwrap().count();
    let words = format!("{images} of {images} private results equal the reference bit for bit");
    assert!(text.contains(&words), "{text}");

    let json = succeeds(&[&"verify", &model, &"--data", &digits, &"--count", &"2", &"--json"]);
    assert_eq!(json.lines().count(), 2);
    for line in json.lines() {
        let report: Value = serde_json::from_str(line).unwrap();
        assert_eq!(report["schema"], "phineus.report/1");
        assert_eq!(report["equals_reference"], true);
    }
    let nowhere = folder.path().join("nowhere");
    fails(&[&"verify", &model, &"--data", &nowhere], &["nowhere"]);
}

#[test]
fn bench_runs_both_sides_as_processes() {
    let report: Value = serde_json::from_str(&succeeds(&[&"bench", &"lola-small", &"--json"])).unwrap();
    assert_report(&report);
    assert_eq!(report["equals_reference"], true);
}

/// As when the output goes to a pager that is left early.
#[test]
fn a_closed_standard_output_is_no_panic() {
    use std::io::Read as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_phineus"))
        .args(["check", "resnet20-cifar10"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(stderr.starts_with("error: "), "{stderr}");
}
