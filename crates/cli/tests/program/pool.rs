//! Serving, preparing and inferring as separate processes.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use phineus_infer::store::{Limits, Pool, PrepId, Store as _};
use serde_json::Value;

use crate::process::{Server, asset, compile_digits, fails, phineus, spawn, succeeds};

/// The pre-computes in a pool that no server has open.
pub(crate) fn ids(pool: &Path) -> HashSet<PrepId> {
    let pool = Pool::in_directory(pool, None, true, Limits::default(), &mut rand::rng()).unwrap();
    let lots = pool.stock().unwrap();
    lots.iter().flat_map(|stock| pool.list(&stock.lot).unwrap()).collect()
}

/// How many there are.
fn stored(pool: &Path) -> usize {
    ids(pool).len()
}

/// Files of records, but for the one that says that the ledger is complete.
pub(crate) fn files(pool: &Path) -> usize {
    std::fs::read_dir(pool.join("records")).map_or(0, |files| files.count().saturating_sub(1))
}

#[test]
fn a_pool_is_used_up_then_pre_computes_are_made_on_the_spot() {
    let folder = tempfile::tempdir().unwrap();
    let model = compile_digits(folder.path());
    let (mine, theirs) = (folder.path().join("client"), folder.path().join("server"));
    let mut server = Server::start(&model, &[&"--store", &theirs]);
    let text = succeeds(&[&"prepare", &"--server", &server.address, &"--store", &mine, &"--count", &"2"]);
    assert!(text.contains("2 pre-computes"), "{text}");
    server.kill();
    assert_eq!((stored(&mine), stored(&theirs)), (2, 2));
    // Both pools are files: another server process serves what this one prepared.
    let infer = |digits: &[u8]| {
        let mut server = Server::start(&model, &[&"--store", &theirs]);
        let images: Vec<_> = digits.iter().map(|d| asset(&format!("digits/{d}.png"))).collect();
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> =
            vec![&"infer", &"--server", &server.address, &"--store", &mine, &"--json"];
        images.iter().for_each(|image| arguments.push(image));
        let text = succeeds(&arguments);
        let found: Vec<u64> = text
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap()["output"]["argmax"].as_u64().unwrap())
            .collect();
        assert_eq!(found, digits.iter().map(|d| u64::from(*d)).collect::<Vec<_>>());
        server.kill();
    };
    infer(&[3]);
    assert_eq!((stored(&mine), stored(&theirs)), (1, 1));
    // One from the pool, two made now.
    infer(&[1, 4, 9]);
    assert_eq!((stored(&mine), stored(&theirs)), (0, 0));
    infer(&[0]);
}

/// A server that forgot everything is another server: what was prepared with the old one is left alone.
#[test]
fn a_server_without_its_pool_is_prepared_for_anew() {
    let folder = tempfile::tempdir().unwrap();
    let model = compile_digits(folder.path());
    let mine = folder.path().join("client");
    let mut server = Server::start(&model, &[]);
    succeeds(&[&"prepare", &"--server", &server.address, &"--store", &mine, &"--count", &"1"]);
    server.kill();
    let server = Server::start(&model, &[]);
    let image = asset("digits/5.png");
    let text = succeeds(&[&"infer", &"--server", &server.address, &"--store", &mine, &image]);
    assert!(text.contains("5.png: class 5"), "{text}");
    assert_eq!(stored(&mine), 1);
}

/// Processes that are killed at any moment: afterwards both pools work, and no pre-compute is left on one side that the
/// other has used.
#[test]
fn killed_processes_leave_pools_that_work() {
    let folder = tempfile::tempdir().unwrap();
    let model = compile_digits(folder.path());
    let (mine, theirs) = (folder.path().join("client"), folder.path().join("server"));
    let runs = std::env::var("PHINEUS_FAULT_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let image = asset("digits/2.png");
    for run in 0..runs {
        let mut server = Server::start(&model, &[&"--store", &theirs]);
        let at = server.address.clone();
        let prepare: [&dyn AsRef<std::ffi::OsStr>; 7] =
            [&"prepare", &"--server", &at, &"--store", &mine, &"--count", &"4"];
        let infer: [&dyn AsRef<std::ffi::OsStr>; 8] =
            [&"infer", &"--server", &at, &"--store", &mine, &image, &image, &image];
        let mut client = if run % 2 == 0 { spawn(&prepare) } else { spawn(&infer) };
        // From before the handshake to after the end.
        std::thread::sleep(std::time::Duration::from_millis(17 * (run * 7 % 23)));
        if run / 2 % 2 == 0 {
            client.kill().unwrap();
            server.kill();
        } else {
            server.kill();
        }
        let _either_way = client.wait().unwrap();
    }
    let server = Server::start(&model, &[&"--store", &theirs]);
    let at = &server.address;
    succeeds(&[&"prepare", &"--server", at, &"--store", &mine, &"--count", &"2"]);
    let images: Vec<_> = (0..stored(&mine) + 1).map(|_| image.clone()).collect();
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"infer", &"--server", at, &"--store", &mine];
    arguments.extend(images.iter().map(|image| image as &dyn AsRef<std::ffi::OsStr>));
    // What one side lost when it was killed costs an error each, and is burned.
    for _ in 0..images.len() {
        let done = phineus(&arguments);
        if done.succeeded {
            assert_eq!(done.stdout.matches("class 2").count(), images.len(), "{}", done.stdout);
            assert_eq!(stored(&mine), 0);
            return;
        }
        assert!(done.stderr.contains("no such pre-compute"), "{}", done.stderr);
    }
    panic!("the pools do not recover");
}

#[test]
fn a_damaged_record_is_burned_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let model = compile_digits(folder.path());
    let mine = folder.path().join("client");
    let server = Server::start(&model, &[]);
    succeeds(&[&"prepare", &"--server", &server.address, &"--store", &mine, &"--count", &"1"]);
    let only = ids(&mine).into_iter().next().unwrap();
    let name: String = only.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let record = mine.join("records").join(name);
    let mut bytes = std::fs::read(&record).unwrap();
    bytes.truncate(bytes.len() / 2);
    std::fs::write(&record, bytes).unwrap();
    let image = asset("digits/6.png");
    let done = phineus(&[&"infer", &"--server", &server.address, &"--store", &mine, &image]);
    assert!(done.succeeded && done.stdout.contains("class 6"), "{}", done.stderr);
    assert!(done.stderr.contains("damaged and was burned"), "{}", done.stderr);
    assert!(!record.exists());
}

/// The page of metrics.
fn metrics(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
    page
}

#[test]
fn metrics_and_lines_say_what_happened_and_to_nobody_whom() {
    let folder = tempfile::tempdir().unwrap();
    let model = compile_digits(folder.path());
    let (mine, theirs) = (folder.path().join("client"), folder.path().join("server"));
    let mut server =
        Server::start(&model, &[&"--store", &theirs, &"--metrics", &"0", &"--json", &"--engine", &"ot"]);
    let line = server.next_line();
    let page = line.strip_prefix("metrics on ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
    let has = |line: &str| {
        let page = metrics(&page);
        assert!(page.lines().any(|l| l == line), "{line:?} is missing: {page}");
    };
    has("phineus_pool_records{model=\"digits\",engine=\"ot\"} 0");
    let at = server.address.clone();
    succeeds(&[
        &"prepare",
        &"--server",
        &at,
        &"--store",
        &mine,
        &"--count",
        &"7",
        &"--bulk",
        &"2",
        &"--sessions",
        &"3",
    ]);
    assert_eq!(stored(&mine), 7);
    let mut prepared = 0;
    for _ in 0..3 {
        let line: Value = serde_json::from_str(&server.next_line()).unwrap();
        assert_eq!((&line["error"], line["served"].as_u64()), (&Value::Null, Some(0)));
        prepared += line["prepared"].as_u64().unwrap();
    }
    assert_eq!(prepared, 7);
    has("phineus_pool_records{model=\"digits\",engine=\"ot\"} 7");
    has("phineus_pool_clients{model=\"digits\",engine=\"ot\"} 1");
    has("phineus_offline_seconds_count{model=\"digits\",engine=\"ot\"} 7");
    has("phineus_sessions_total 3");
    let (three, mine) = (asset("digits/3.png"), &mine);
    succeeds(&[&"infer", &"--server", &at, &"--store", mine, &three]);
    let line: Value = serde_json::from_str(&server.next_line()).unwrap();
    assert_eq!((line["served"].as_u64(), line["pool"][0]["records"].as_u64()), (Some(1), Some(6)));
    has("phineus_online_seconds_count{model=\"digits\",engine=\"ot\"} 1");
    has("phineus_online_seconds_bucket{model=\"digits\",engine=\"ot\",le=\"+Inf\"} 1");
    has("phineus_sessions_failed_total 0");
    // Whatever is old is thrown away, here all of it, and the request is prepared for on the spot.
    succeeds(&[&"infer", &"--server", &at, &"--store", mine, &"--expire-hours", &"0", &three]);
    assert_eq!(stored(mine), 0);
    has("phineus_pool_records{model=\"digits\",engine=\"ot\"} 6");
    // Nothing that looks like an id, a key or an address.
    let page = metrics(&page);
    assert!(!page.contains("127.0.0.1"), "{page}");
    let longest = page.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
    assert!(longest < Some(32), "{page}");
}

#[test]
fn a_server_spills_what_does_not_fit_its_memory() {
    let folder = tempfile::tempdir().unwrap();
    let model = compile_digits(folder.path());
    let (mine, spill) = (folder.path().join("client"), folder.path().join("spill"));
    let start = || Server::start(&model, &[&"--max-memory", &"50kB", &"--spill", &spill]);
    let mut server = start();
    let at = server.address.clone();
    succeeds(&[&"prepare", &"--server", &at, &"--store", &mine, &"--count", &"3", &"--engine", &"ot"]);
    assert!(files(&spill) > 0);
    let image = asset("digits/8.png");
    let text = succeeds(&[
        &"infer",
        &"--server",
        &at,
        &"--store",
        &mine,
        &"--engine",
        &"ot",
        &image,
        &image,
        &image,
    ]);
    assert_eq!(text.matches("class 8").count(), 3, "{text}");
    assert_eq!((stored(&mine), files(&spill)), (0, 0));
    // What a killed server leaves is of no use to anybody, and removed.
    succeeds(&[&"prepare", &"--server", &at, &"--store", &mine, &"--count", &"3", &"--engine", &"ot"]);
    assert!(files(&spill) > 0);
    server.kill();
    let _server = start();
    assert_eq!(files(&spill), 0);
}

#[test]
fn what_does_not_fit_is_refused_and_the_server_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let model = compile_digits(folder.path());
    let mut server = Server::start(&model, &[]);
    let at = server.address.clone();
    let (seven, digits) = (asset("digits/7.png"), asset("digits"));
    let wide = folder.path().join("wide.png");
    image::GrayImage::new(29, 28).save(&wide).unwrap();
    let text = folder.path().join("text.png");
    std::fs::write(&text, "no image").unwrap();
    fails(&[&"infer", &"--server", &at, &wide], &["wide.png"]);
    fails(&[&"infer", &"--server", &at, &text], &["text.png"]);
    fails(&[&"infer", &"--server", &at, &folder.path().join("missing.png")], &["missing.png"]);
    fails(&[&"infer", &"--server", &at, &"--plan", &"00".repeat(32), &seven], &["plan digest", "0000"]);
    fails(&[&"infer", &"--server", &at, &"--model", &"other", &seven], &["no model \"other\"", "digits"]);
    let done = phineus(&[&"infer", &"--server", &at, &"--plan", &"123", &seven]);
    assert!(!done.succeeded && done.stderr.contains("64 hexadecimal digits"), "{}", done.stderr);
    // The digest that `compile` prints is the one to pin.
    let onnx = asset("mnist-relu.onnx");
    let again = folder.path().join("again.phn");
    let printed =
        succeeds(&[&"compile", &onnx, &"--calibrate", &digits, &"--name", &"digits", &"-o", &again]);
    let digest = printed.lines().find_map(|l| l.strip_prefix("plan digest ")).unwrap();
    let pinned: [&dyn AsRef<std::ffi::OsStr>; 9] =
        [&"infer", &"--server", &at, &"--plan", &digest, &"--resize", &"--json", &seven, &wide];
    assert_eq!(succeeds(&pinned).lines().count(), 2);
    assert!(server.is_running());
    server.kill();
}
