//! Who wrote the code we depend on, and on what terms. `deny.toml` says the same to cargo-deny.

use super::spdx::satisfied;
use crate::cargo::Package;

/// Every package of others that must not be used.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    packages.iter().filter(|package| !package.is_member).filter_map(objection).collect()
}

fn objection(package: &Package) -> Option<String> {
    let Package { name, version, license, repository, .. } = package;
    if BANNED.contains(&name.as_str()) || BANNED_OWNERS.iter().any(|owner| repository.contains(owner)) {
        return Some(format!("{name} {version} must not be used (see deny.toml)"));
    }
    let Some(license) = license else {
        return Some(format!("{name} {version} states no licence"));
    };
    match satisfied(license, &|licence| ALLOWED.contains(&licence)) {
        Some(true) => None,
        Some(false) => Some(format!("{name} {version}: the licence '{license}' is not allowed")),
        None => Some(format!("{name} {version}: the licence '{license}' is malformed")),
    }
}

const ALLOWED: [&str; 9] =
    ["MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "Unicode-3.0", "CC0-1.0", "0BSD"];
const BANNED: [&str; 3] = ["ocelot", "scuttlebutt", "seec"];
/// Their licences leave patents out.
const BANNED_OWNERS: [&str; 1] = ["github.com/zama-ai/"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn package(name: &str, license: Option<&str>, repository: &str) -> Package {
        Package {
            name: name.into(),
            version: "1.0.0".into(),
            license: license.map(Into::into),
            repository: repository.into(),
            is_member: false,
            dependencies: BTreeSet::new(),
            dev_dependencies: BTreeSet::new(),
            crate_roots: Vec::new(),
        }
    }

    #[test]
    fn objections() {
        assert_eq!(objection(&package("a", Some("MIT OR GPL-3.0-only"), "")), None);
        let refused = [
            (package("b", Some("GPL-3.0-only"), ""), "not allowed"),
            (package("c", Some("BSD-3-Clause-Clear"), ""), "not allowed"),
            (package("d", Some("MIT AND"), ""), "malformed"),
            (package("e", None, ""), "states no licence"),
            (package("seec", Some("MIT"), ""), "must not be used"),
            (package("f", Some("MIT"), "https://github.com/zama-ai/f"), "must not be used"),
        ];
        for (package, reason) in refused {
            assert!(objection(&package).unwrap().contains(reason), "{}", package.name);
        }
    }
}
