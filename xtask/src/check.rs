//! `cargo xtask check`: what a change must pass besides the tests.

mod layering;
mod licences;
mod sources;
mod spdx;

use crate::Outcome;
use crate::cargo::{Package, cargo, execute, members, packages, root};

/// Runs every check and reports all that fail.
///
/// # Errors
/// The findings, one line each.
pub(crate) fn run() -> Outcome {
    let mut findings = house_rules(&members()?)?;
    findings.extend(licences::check(&packages()?));
    findings.extend([format(), lints(), documentation()].into_iter().filter_map(Result::err));
    if findings.is_empty() {
        eprintln!("all checks passed");
        return Ok(());
    }
    Err(findings.iter().map(|finding| format!("error: {finding}\n")).collect())
}

/// The rules about our own crates: layering and source text. The findings are empty if all is well.
fn house_rules(members: &[Package]) -> Result<Vec<String>, String> {
    let architecture = root().join("ARCHITECTURE.md");
    let architecture = std::fs::read_to_string(&architecture)
        .map_err(|error| format!("{}: {error}", architecture.display()))?;
    let mut findings = layering::check(&architecture, members);
    findings.extend(sources::check(members)?);
    Ok(findings)
}

fn format() -> Outcome {
    execute(cargo(&["fmt", "--all", "--check"]))
}

fn lints() -> Outcome {
    execute(cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn documentation() -> Outcome {
    let mut command = cargo(&["doc", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    execute(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So that `cargo xtask test` alone already keeps the rules.
    #[test]
    fn the_workspace_keeps_the_house_rules() {
        assert_eq!(house_rules(&members().unwrap()).unwrap(), [] as [String; 0]);
    }
}
