//! Running cargo, and what `cargo metadata` says about the workspace.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::Outcome;

/// `cargo` with arguments, in the root of the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    // What `cargo run` tells this program about itself makes build scripts of dependencies run again, and with them everything.
    let own = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(own)) {
        command.env_remove(name);
    }
    command
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Runs a command to its end.
pub(crate) fn execute(mut command: Command) -> Outcome {
    let name = announce(&command);
    let child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
    finish(child, &name)
}

/// Runs a command to its end and hands every line of its standard output or error to `see`, after printing it.
pub(crate) fn execute_watched(mut command: Command, stream: Stream, mut see: impl FnMut(&str)) -> Outcome {
    let name = announce(&command);
    match stream {
        Stream::Output => command.stdout(Stdio::piped()),
        Stream::Error => command.stderr(Stdio::piped()),
    };
    let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).lines().map_while(Result::ok).for_each(|line| {
            println!("{line}");
            see(&line);
        });
    }
    if let Some(error) = child.stderr.take() {
        BufReader::new(error).lines().map_while(Result::ok).for_each(|line| {
            eprintln!("{line}");
            see(&line);
        });
    }
    finish(child, &name)
}

/// One of a program's two outputs.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Output,
    Error,
}

fn announce(command: &Command) -> String {
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    let name = format!("cargo {}", arguments.join(" "));
    eprintln!("> {name}");
    name
}

fn finish(mut child: Child, name: &str) -> Outcome {
    let status = child.wait().map_err(|error| format!("{name}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name}: {status}")) }
}

/// One package of the dependency tree.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) repository: String,
    /// Whether it is ours.
    pub(crate) is_member: bool,
    /// Names of the packages it needs to be built.
    pub(crate) dependencies: BTreeSet<String>,
    /// Names of the packages that only its tests need.
    pub(crate) dev_dependencies: BTreeSet<String>,
    /// Root source files of its libraries and programs.
    pub(crate) crate_roots: Vec<PathBuf>,
}

/// Our own packages.
pub(crate) fn members() -> Result<Vec<Package>, String> {
    metadata(&["--no-deps"])
}

/// All packages of the dependency tree, those of other platforms included. Cargo fetches what is not there yet.
pub(crate) fn packages() -> Result<Vec<Package>, String> {
    metadata(&["--locked"])
}

fn metadata(options: &[&str]) -> Result<Vec<Package>, String> {
    let output = cargo(&["metadata", "--format-version", "1"])
        .args(options)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", output.status));
    }
    let metadata: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    let members: BTreeSet<&str> = texts(&metadata["workspace_members"]).collect();
    Ok(items(&metadata["packages"]).map(|package| read_package(package, &members)).collect())
}

fn read_package(package: &Value, members: &BTreeSet<&str>) -> Package {
    let (dev, normal): (Vec<&Value>, Vec<&Value>) =
        items(&package["dependencies"]).partition(|dependency| dependency["kind"] == "dev");
    let names = |dependencies: Vec<&Value>| dependencies.iter().map(|d| text(&d["name"])).collect();
    let is_root = |target: &&Value| texts(&target["kind"]).any(|kind| kind.ends_with("lib") || kind == "bin");
    Package {
        name: text(&package["name"]),
        version: text(&package["version"]),
        license: package["license"].as_str().map(Into::into),
        repository: text(&package["repository"]),
        is_member: package["id"].as_str().is_some_and(|id| members.contains(id)),
        dependencies: names(normal),
        dev_dependencies: names(dev),
        crate_roots: items(&package["targets"])
            .filter(is_root)
            .map(|target| text(&target["src_path"]).into())
            .collect(),
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    items(value).filter_map(Value::as_str)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
