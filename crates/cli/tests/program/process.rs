//! Running the program.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) succeeded: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Far more than any run takes.
const BOUND: Duration = Duration::from_secs(120);

/// Runs the program to its end.
pub(crate) fn phineus(arguments: &[&dyn AsRef<OsStr>]) -> Done {
    within(BOUND, arguments)
}

/// The same for a run that may take longer.
pub(crate) fn within(bound: Duration, arguments: &[&dyn AsRef<OsStr>]) -> Done {
    let mut child = command(arguments).spawn().unwrap();
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let start = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if start.elapsed() > bound => {
                child.kill().unwrap();
                let words: Vec<_> = arguments.iter().map(|a| a.as_ref()).collect();
                panic!("{words:?} hangs: {}", stderr.join().unwrap());
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let done =
        Done { succeeded: status.success(), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() };
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    done
}

/// What a successful run prints.
pub(crate) fn succeeds(arguments: &[&dyn AsRef<OsStr>]) -> String {
    let done = phineus(arguments);
    assert!(done.succeeded, "{}", done.stderr);
    done.stdout
}

/// Asserts that the program says in one line what is wrong and where.
pub(crate) fn fails(arguments: &[&dyn AsRef<OsStr>], about: &[&str]) {
    let done = phineus(arguments);
    assert!(!done.succeeded, "succeeded: {}", done.stdout);
    let lines: Vec<&str> = done.stderr.lines().collect();
    let [line] = lines[..] else { panic!("not one line: {:?}", done.stderr) };
    assert!(line.starts_with("error: "), "{line}");
    for words in about {
        assert!(line.contains(words), "{words:?} is missing: {line}");
    }
}

/// A `phineus serve`; it is killed with this value.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    log: Option<JoinHandle<String>>,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    pub(crate) fn start(model: &Path, more: &[&dyn AsRef<OsStr>]) -> Self {
        let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"serve", &model, &"--listen", &"127.0.0.1:0"];
        arguments.extend(more);
        let mut child = command(&arguments).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let log = Some(drain(child.stderr.take()));
        let mut server = Self { address: String::new(), child, log, stdout };
        let line = server.next_line();
        let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}"));
        server.address = address.to_owned();
        server
    }

    /// What it prints next.
    pub(crate) fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it at once; what it logged.
    pub(crate) fn kill(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log.take().map(|log| log.join().unwrap()).unwrap_or_default();
        assert!(!log.contains("panicked"), "{log}");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file that comes with the project.
pub(crate) fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets").join(name)
}

/// The network for drawn digits, compiled into `folder`.
pub(crate) fn compile_digits(folder: &Path) -> PathBuf {
    let model = folder.join("digits.phn");
    let (onnx, digits) = (asset("mnist-relu.onnx"), asset("digits"));
    succeeds(&[&"compile", &onnx, &"--calibrate", &digits, &"--name", &"digits", &"-o", &model]);
    model
}

/// The program, left to itself.
pub(crate) fn spawn(arguments: &[&dyn AsRef<OsStr>]) -> Child {
    command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn command(arguments: &[&dyn AsRef<OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phineus"));
    command.args(arguments.iter().map(|a| a.as_ref())).env_remove("PHINEUS_LOG").env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.unwrap().read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    })
}
