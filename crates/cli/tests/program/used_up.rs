//! The life of a pool: prepared by several sessions while the server is killed, restarted over on both sides, and used up,
//! every pre-compute once and every result exact.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use phineus_infer::report::Report;
use phineus_infer::store::PrepId;
use phineus_model::fixed::Model;
use phineus_model::{phn, reference};

use crate::pool::{files, ids};
use crate::process::{Server, compile_digits, spawn, succeeds, within};

#[test]
fn a_pool_of_ten_is_used_up() {
    let folder = tempfile::tempdir().unwrap();
    let model = compile_digits(folder.path());
    Life::new(folder.path(), model, 10).live();
}

/// `PHINEUS_POOL=1000 cargo test --release -p phineus --test program a_pool_of_minionn -- --ignored --nocapture`; 1,000
/// pre-computes take 12 GB of the temporary directory. 50 by default.
#[test]
#[ignore = "takes minutes and gigabytes"]
fn a_pool_of_minionn_is_used_up() {
    let folder = tempfile::tempdir().unwrap();
    let (onnx, model) = (folder.path().join("minionn.onnx"), folder.path().join("minionn.phn"));
    succeeds(&[&"zoo", &"minionn-cifar10", &"-o", &onnx]);
    let images = folder.path().join("calibration.npy");
    let pixels = (0..16 * 3 * 32 * 32_usize).map(|i| (i * i % 251) as u8);
    std::fs::write(&images, npy([16, 3, 32, 32], pixels)).unwrap();
    succeeds(&[&"compile", &onnx, &"--calibrate", &images, &"-o", &model]);
    let count = std::env::var("PHINEUS_POOL").ok().and_then(|n| n.parse().ok()).unwrap_or(50);
    Life::new(folder.path(), model, count).live();
}

/// Waves in which a pool is used up, each with a server of its own.
const WAVES: usize = 4;
/// Different inputs.
const INPUTS: usize = 5;
/// For one process at most.
const PATIENCE: Duration = Duration::from_secs(1200);

struct Life {
    folder: PathBuf,
    model: PathBuf,
    count: usize,
    images: Vec<Vec<u8>>,
    /// The reference's outputs for `images`.
    expected: Vec<Vec<f32>>,
    shape: Vec<usize>,
    restarts: usize,
}

impl Life {
    fn new(folder: &Path, model: PathBuf, count: usize) -> Self {
        let compiled: Model = phn::read(&std::fs::read(&model).unwrap()).unwrap();
        let shape = compiled.graph.nodes[0].shape.clone();
        let len: usize = shape.iter().product();
        let image = |seed: usize| (0..len).map(|i| (i * (2 * seed + 31) % 253) as u8).collect::<Vec<u8>>();
        let images: Vec<Vec<u8>> = (0..INPUTS).map(image).collect();
        let exact = |pixels: &Vec<u8>| {
            let values = reference::run(&compiled, &compiled.encode_pixels(pixels).unwrap()).unwrap();
            compiled.decode_output(&values)
        };
        let expected = images.iter().map(exact).collect();
        Self { folder: folder.to_owned(), model, count, images, expected, shape, restarts: 0 }
    }

    fn mine(&self) -> PathBuf {
        self.folder.join("client")
    }

    fn theirs(&self) -> PathBuf {
        self.folder.join("server")
    }

    fn server(&mut self) -> Server {
        self.restarts += 1;
        Server::start(
            &self.model,
            &[
                &"--store",
                &self.theirs(),
                &"--engine",
                &"ot",
                &"--max-prepared",
                &"100000",
                &"--max-prepared-per-client",
                &"100000",
            ],
        )
    }

    /// All of it.
    fn live(mut self) {
        let start = Instant::now();
        let (killed, made) = self.prepare();
        let prepared = start.elapsed();
        let sizes = [self.mine(), self.theirs()].map(|pool| bytes(&pool));
        let (mut left, mut done, mut used) = (self.count, 0, HashSet::new());
        for wave in (1..=WAVES).rev() {
            let size = left.div_ceil(wave);
            left -= size;
            let before = ids(&self.mine());
            let theirs = ids(&self.theirs());
            assert!(before.is_disjoint(&used) && theirs.is_disjoint(&used), "a used one came back");
            assert!(before.is_subset(&theirs), "the server lacks what the client has");
            let mut server = self.server();
            self.infer(&server.address, done, size);
            server.kill();
            // Both sides have used the same ones.
            let gone: HashSet<PrepId> = before.difference(&ids(&self.mine())).copied().collect();
            assert_eq!(gone.len(), size);
            assert_eq!(theirs.difference(&ids(&self.theirs())).copied().collect::<HashSet<_>>(), gone);
            assert!(gone.iter().all(|id| used.insert(*id)), "used twice");
            done += size;
        }
        assert!(ids(&self.mine()).is_empty());
        let consumed = start.elapsed() - prepared;
        println!(
            "prepared {made}, {killed} of them before the server was killed; stored {} bytes by the client, {} by the \
             server; servers started {}; consumed {}, reused {}, bit-equal {done}; {:.1} s preparing, {:.1} s consuming",
            sizes[0],
            sizes[1],
            self.restarts,
            used.len(),
            done - used.len(),
            prepared.as_secs_f64(),
            consumed.as_secs_f64(),
        );
    }

    /// Prepares while the server is killed and started again; how many there were when it was killed, and in the end.
    fn prepare(&mut self) -> (usize, usize) {
        let mut server = self.server();
        let sessions = ["--bulk", "16", "--sessions", "2", "--engine", "ot"];
        let (mine, count) = (self.mine(), self.count.to_string());
        let arguments = |address: &str, count: &str| -> Vec<std::ffi::OsString> {
            let mut all: Vec<std::ffi::OsString> = vec!["prepare".into(), "--server".into(), address.into()];
            all.extend(["--store".into(), mine.clone().into_os_string(), "--count".into(), count.into()]);
            all.extend(sessions.map(Into::into));
            all
        };
        fn borrowed(arguments: &[std::ffi::OsString]) -> Vec<&dyn AsRef<std::ffi::OsStr>> {
            arguments.iter().map(|a| a as &dyn AsRef<std::ffi::OsStr>).collect()
        }
        let first = arguments(&server.address, &count);
        let mut preparing = spawn(&borrowed(&first));
        let start = Instant::now();
        while files(&mine) < self.count / 3 + 1 && preparing.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < PATIENCE, "no progress");
            std::thread::sleep(Duration::from_millis(5));
        }
        server.kill();
        let _either_way = preparing.wait().unwrap();
        let killed = ids(&mine).len();
        let missing = (self.count - killed).to_string();
        if missing != "0" {
            let server = self.server();
            let rest = arguments(&server.address, &missing);
            let done = within(PATIENCE, &borrowed(&rest));
            assert!(done.succeeded, "{}", done.stderr);
        }
        (killed, ids(&mine).len())
    }

    /// `size` inferences from the pool, the first on image number `first`, compared with the reference.
    fn infer(&self, server: &str, first: usize, size: usize) {
        let file = self.folder.join("wave.npy");
        let [channels, height, width] = self.shape[..] else { panic!("{:?}", self.shape) };
        let images = (first..first + size).flat_map(|i| &self.images[i % INPUTS]).copied();
        std::fs::write(&file, npy([size, channels, height, width], images)).unwrap();
        let mine = self.mine();
        let done = within(
            PATIENCE,
            &[&"infer", &"--server", &server, &"--store", &mine, &"--engine", &"ot", &"--json", &file],
        );
        assert!(done.succeeded, "{}", done.stderr);
        let reports: Vec<Report> =
            done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(reports.len(), size);
        for (i, report) in (first..).zip(&reports) {
            assert_eq!(report.output.logits, self.expected[i % INPUTS], "inference {i}");
        }
    }
}

fn bytes(pool: &Path) -> u64 {
    let files = std::fs::read_dir(pool.join("records")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

/// NumPy's format for bytes.
fn npy(shape: [usize; 4], pixels: impl Iterator<Item = u8>) -> Vec<u8> {
    let [n, c, h, w] = shape;
    let mut header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({n}, {c}, {h}, {w}), }}");
    let len = (header.len() + 11).next_multiple_of(64) - 10;
    header.push_str(&" ".repeat(len - header.len() - 1));
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((len as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(pixels);
    file
}
