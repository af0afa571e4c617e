//! `phineus plan`.

use crate::process::succeeds;

#[test]
fn presets_are_compared_under_limits() {
    let text = succeeds(&[&"plan", &"lola-mnist-relu", &"--shared", &"100Mbps", &"--objective", &"bytes"]);
    assert!(text.contains("--engine ot: fewest bytes"), "{text}");
    assert_eq!(text.matches("of the shared link").count(), 4, "{text}");
    // 600 kB are enough for what a client that compares keeps, not for tables; 5 kB only for one that garbles itself.
    let limited = |size: &str| succeeds(&[&"plan", &"lola-mnist-relu", &"--client-storage", &size]);
    assert!(limited("600kB").contains("no room for a pre-compute of delphi"), "{}", limited("600kB"));
    assert!(limited("5kB").contains("--engine client-garbler"), "{}", limited("5kB"));
    assert!(limited("1B").contains("everything is done online"), "{}", limited("1B"));
}

#[test]
fn presets_are_printed_for_programs() {
    let text = succeeds(&[&"plan", &"lola-mnist-relu", &"--json", &"--up", &"20Mbps"]);
    let plan: serde_json::Value = serde_json::from_str(&text).unwrap();
    let presets = plan["presets"].as_array().unwrap();
    assert_eq!(presets.len(), 4);
    for preset in presets {
        assert_eq!(preset["up_bits_per_second"], 20_000_000);
        let seconds = |phase: &str| preset[phase]["seconds"].as_f64().unwrap();
        let empty = preset["latency_empty_seconds"].as_f64().unwrap();
        assert!((empty - seconds("offline") - seconds("online")).abs() < 1e-9);
        assert!(preset["sustained_per_second"].as_f64().unwrap() <= 1.0 / seconds("offline") + 1e-9);
    }
    assert!(plan["choice"]["engine"].is_string());
}
