//! `cargo xtask test`: every test of the workspace.

use std::fmt;
use std::process::Stdio;

use crate::Outcome;
use crate::cargo::{Stream, cargo, execute_watched};

/// Runs all tests, then the examples in the documentation, and prints how many there were.
///
/// # Errors
/// The command that failed. The documentation is not tested after failed tests.
pub(crate) fn run() -> Outcome {
    let has_nextest = cargo(&["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let tests = if has_nextest {
        counted("tests", &["nextest", "run", "--workspace", "--no-fail-fast"], Stream::Error, "Summary")
    } else {
        counted("tests", &["test", "--workspace", "--tests", "--no-fail-fast"], Stream::Output, "test result")
    }?;
    let examples = counted("doc tests", &["test", "--doc", "--workspace"], Stream::Output, "test result")?;
    println!("{tests}\n{examples}");
    Ok(())
}

/// How many tests of one kind there were.
struct Counts {
    kind: &'static str,
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, passed, failed, skipped } = self;
        write!(f, "{kind}: {passed} passed, {failed} failed, {skipped} skipped")
    }
}

impl Counts {
    /// Adds what a summary line of nextest or of a test program says.
    fn add(&mut self, summary: &str) {
        let words: Vec<&str> = summary.split_whitespace().collect();
        for pair in words.windows(2) {
            let [number, word] = pair else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match word.trim_end_matches([',', ';', '.']) {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "skipped" | "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

fn counted(kind: &'static str, arguments: &[&str], stream: Stream, summary: &str) -> Result<Counts, String> {
    let mut counts = Counts { kind, passed: 0, failed: 0, skipped: 0 };
    let outcome = execute_watched(cargo(arguments), stream, |line| {
        if line.trim_start().starts_with(summary) {
            counts.add(line);
        }
    });
    outcome.map_err(|reason| format!("{counts}\n{reason}"))?;
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_understood() {
        let mut counts = Counts { kind: "tests", passed: 0, failed: 0, skipped: 0 };
        counts.add("     Summary [   0.172s] 31 tests run: 29 passed (1 slow), 2 failed, 4 skipped");
        counts.add(
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.17s",
        );
        assert_eq!(counts.to_string(), "tests: 34 passed, 2 failed, 5 skipped");
    }
}
