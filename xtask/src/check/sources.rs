//! Rules about source text: where unsafe code and seeded generators may stand, and how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cargo::{Package, root};

/// Everything that breaks a rule.
///
/// # Errors
/// The file or folder that could not be read.
pub(super) fn check(packages: &[Package]) -> Result<Vec<String>, String> {
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| package.is_member && package.name != UNSAFE_CRATE) {
        for path in &package.crate_roots {
            if !forbids_unsafe(&read(path)?) {
                findings.push(format!("{}: #![forbid(unsafe_code)] is missing", shown(path)));
            }
        }
    }
    for folder in FOLDERS {
        for path in rust_files(&root().join(folder))? {
            let text = read(&path)?;
            findings.extend(objections(&shown(&path), &text));
        }
    }
    Ok(findings)
}

fn forbids_unsafe(text: &str) -> bool {
    text.lines().any(|line| line.trim() == "#![forbid(unsafe_code)]")
}

/// What is wrong with the text of the file `path`.
fn objections(path: &str, text: &str) -> Vec<String> {
    let is_for_tests = path.split(['/', '.']).any(|part| TEST_PARTS.contains(&part));
    if is_for_tests {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut lines = 0;
    for (number, line) in (1..).zip(without_tests(text)) {
        lines += 1;
        if let Some(word) = SEEDED.iter().find(|word| line.contains(**word)) {
            findings.push(format!("{path}:{number}: {word}: generators are arguments, seeds are for tests"));
        }
    }
    if lines > MAX_LINES {
        findings.push(format!("{path}: {lines} lines without tests, at most {MAX_LINES} are allowed"));
    }
    findings
}

/// The lines before the module of tests, which is the last item of a file.
fn without_tests(text: &str) -> impl Iterator<Item = &str> {
    let end = text.find("\n#[cfg(test)]\nmod tests {").map_or(text.len(), |before| before + 1);
    text.get(..end).unwrap_or(text).lines()
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error| format!("{}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// Folders with source text.
const FOLDERS: [&str; 2] = ["crates", "reference"];
/// The one crate in which unsafe code is allowed.
const UNSAFE_CRATE: &str = "phineus-kernel";
const MAX_LINES: usize = 600;
/// Generators that are seeded with something other than fresh secret bits.
const SEEDED: [&str; 5] =
    ["seed_from_u64(", "StdRng::from_seed(", "SmallRng", "Rng::from_seed([", "Prg::from_seed(["];
/// Folders and files of these names are for tests, benchmarks and models made for them.
const TEST_PARTS: [&str; 6] = ["tests", "testing", "benches", "bench", "examples", "zoo"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_must_be_forbidden_by_code() {
        assert!(forbids_unsafe("//! Doc.\n#![forbid(unsafe_code)]\n"));
        assert!(!forbids_unsafe("//! We say #![forbid(unsafe_code)] elsewhere.\n"));
    }

    #[test]
    fn seeds() {
        let text = format!("fn f() {{\n    let rng = StdRng::{}7);\n}}\n", SEEDED[0]);
        assert_eq!(objections("crates/he/src/key.rs", &text).len(), 1);
        assert!(objections("crates/he/src/key.rs", &text)[0].starts_with("crates/he/src/key.rs:2:"));
        assert!(objections("crates/model/src/zoo.rs", &text).is_empty());
        assert!(objections("crates/he/tests/all.rs", &text).is_empty());
        let inside_tests = format!("fn g() {{}}\n\n#[cfg(test)]\nmod tests {{\n{text}}}\n");
        assert!(objections("crates/he/src/key.rs", &inside_tests).is_empty());
    }

    #[test]
    fn lengths() {
        let code = "// line\n".repeat(MAX_LINES - 1);
        let with_tests = format!("{code}\n#[cfg(test)]\nmod tests {{\n{code}}}\n");
        assert!(objections("a.rs", &with_tests).is_empty());
        assert!(objections("a.rs", &format!("// one more\n{with_tests}"))[0].contains("601 lines"));
    }
}
