//! What the tables of measured figures share: runs of the release build, provenance, and places in README.md.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::{Outcome, cargo};

/// What the release build of `phineus` prints as JSON.
///
/// # Errors
/// The command that failed, or printed something else.
pub(crate) fn phineus(arguments: &[&str]) -> Result<Value, String> {
    let text = printed(arguments)?;
    serde_json::from_str(&text).map_err(|e| format!("phineus {}: {e}", arguments.join(" ")))
}

/// What the release build of `phineus` prints.
///
/// # Errors
/// The command that failed.
pub(crate) fn printed(arguments: &[&str]) -> Result<String, String> {
    let mut all = vec!["run", "--release", "--quiet", "--"];
    all.extend(arguments);
    output(cargo::cargo(&all))
}

/// A path beside the repository.
pub(crate) fn beside(path: &str) -> PathBuf {
    cargo::root().join("..").join(path)
}

/// Names what is measured: the same after commits that leave the crates as they are, and none for what no commit has.
fn version() -> Result<Option<String>, String> {
    let tree = said("git", &["rev-parse", "HEAD:crates"])?;
    let changed = said("git", &["status", "--porcelain", "--", "crates", "Cargo.lock"])?;
    Ok(changed.is_empty().then_some(tree))
}

/// Machine, commit, version and day of a measurement by `cargo xtask TASK`.
pub(crate) fn provenance(task: &str) -> Result<Value, String> {
    Ok(json!({
        "command": format!("cargo xtask {task}"),
        "commit": said("git", &["rev-parse", "HEAD"])?,
        "version": version()?,
        "date": said("date", &["-u", "+%Y-%m-%d"])?,
        "processor": processor(),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
    }))
}

/// A number of a report.
///
/// # Errors
/// There is none at the path.
pub(crate) fn number(report: &Value, path: &str) -> Result<f64, String> {
    report.pointer(path).and_then(Value::as_f64).ok_or_else(|| format!("no {path} in a report"))
}

/// Megabytes of both directions of a phase of a report.
pub(crate) fn megabytes(report: &Value, phase: &str) -> Result<f64, String> {
    let way = |way: &str| number(report, &format!("/{phase}/{way}_bytes"));
    Ok((way("client_to_server")? + way("server_to_client")?) / 1e6)
}

/// Writes figures to `bench/results/NAME.json`.
pub(crate) fn store(name: &str, figures: &Value) -> Outcome {
    let folder = cargo::root().join("bench/results");
    fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let text = serde_json::to_string_pretty(figures).map_err(|e| e.to_string())?;
    write(&folder.join(format!("{name}.json")), &(text + "\n"))
}

/// Puts a table between two lines of README.md.
pub(crate) fn publish(start: &str, end: &str, table: &str) -> Outcome {
    let readme = cargo::root().join("README.md");
    let text = fs::read_to_string(&readme).map_err(|e| e.to_string())?;
    write(&readme, &replace(&text, start, end, table)?)
}

/// The text with `table` in the place of what stands between two lines.
pub(crate) fn replace(text: &str, start: &str, end: &str, table: &str) -> Result<String, String> {
    let missing = || format!("README.md has no place {}", start.trim());
    let (before, rest) = text.split_once(start).ok_or_else(missing)?;
    let (_, after) = rest.split_once(end).ok_or_else(missing)?;
    Ok(format!("{before}{start}{table}{end}{after}"))
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.to_owned())
}

/// What a program says in the root of the workspace.
fn said(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(cargo::root());
    output(command)
}

fn output(mut command: Command) -> Result<String, String> {
    let failed = |command: &Command, why: &str| {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        format!("{}: {why}", words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
    };
    let output = command.output().map_err(|e| failed(&command, &e.to_string()))?;
    if !output.status.success() {
        return Err(failed(&command, &String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_old_one() {
        let readme = "a\n<x>\nold\n</x>\nb\n";
        assert_eq!(replace(readme, "<x>\n", "</x>\n", "new\n").unwrap(), "a\n<x>\nnew\n</x>\nb\n");
        assert!(replace("a", "<x>\n", "</x>\n", "new").is_err());
    }
}
