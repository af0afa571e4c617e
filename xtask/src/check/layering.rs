//! The crate table of ARCHITECTURE.md against the manifests: a crate may use what its row names and what that uses
//! in turn; its tests may use [`ORACLES`] besides.

use std::collections::{BTreeMap, BTreeSet};

use crate::cargo::Package;

/// What the table says: for each crate all crates it may use.
type Table = BTreeMap<String, BTreeSet<String>>;

/// Every dependency that the table does not allow, and every crate that is only on one side.
pub(super) fn check(architecture: &str, packages: &[Package]) -> Vec<String> {
    let table = read_table(architecture);
    let members: BTreeMap<&str, &Package> = packages
        .iter()
        .filter(|package| package.is_member)
        .map(|package| (package.name.as_str(), package))
        .collect();
    let unknown = table.keys().filter(|name| !members.contains_key(name.as_str()));
    let mut findings: Vec<_> =
        unknown.map(|name| format!("ARCHITECTURE.md: no crate is named {name}")).collect();
    for (name, package) in &members {
        match table.get(*name) {
            None => findings.push(format!("ARCHITECTURE.md: {name} is not in the table of crates")),
            Some(allowed) => findings.extend(forbidden(package, allowed, &members)),
        }
    }
    findings
}

fn forbidden(
    package: &Package,
    allowed: &BTreeSet<String>,
    members: &BTreeMap<&str, &Package>,
) -> Vec<String> {
    let is_ours = |name: &&String| members.contains_key(name.as_str());
    let normal = package.dependencies.iter().filter(|name| !allowed.contains(*name));
    let dev = package.dev_dependencies.iter().filter(|name| {
        !allowed.contains(*name) && **name != package.name && !ORACLES.contains(&name.as_str())
    });
    normal
        .chain(dev)
        .filter(is_ours)
        .map(|name| format!("{} depends on {name}, which ARCHITECTURE.md does not allow", package.name))
        .collect()
}

/// Reads the rows `| `name` .. | what | depends on |`. The last column is `-`, `all above`, or a list of names
/// without the prefix `phineus-`, each perhaps with a remark in brackets.
fn read_table(architecture: &str) -> Table {
    let mut table = Table::new();
    for line in architecture.lines() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let [name, _, uses] = cells[..] else { continue };
        let Some((name, _)) = name.strip_prefix('`').and_then(|name| name.split_once('`')) else { continue };
        if name != "xtask" && name != "phineus" && !name.starts_with(PREFIX) {
            continue;
        }
        let direct: Vec<String> = match uses {
            "-" => Vec::new(),
            "all above" => table.keys().cloned().collect(),
            list => without_remarks(list).split(',').map(|name| format!("{PREFIX}{}", name.trim())).collect(),
        };
        let indirect = direct.iter().filter_map(|name| table.get(name)).flatten().cloned();
        let all = indirect.chain(direct.iter().cloned()).collect();
        table.insert(name.to_owned(), all);
    }
    table
}

fn without_remarks(list: &str) -> String {
    let mut depth = 0;
    let outside = |c: &char| {
        depth += i32::from(*c == '(');
        let is_outside = depth == 0;
        depth -= i32::from(*c == ')');
        is_outside
    };
    list.chars().filter(outside).collect()
}

const PREFIX: &str = "phineus-";
/// Slow second implementations that the tests of any crate may compare with.
const ORACLES: [&str; 1] = ["phineus-reference"];

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "
| crate | what it is | depends on |
|---|---|---|
| `phineus-kernel` | arithmetic | - |
| `phineus-net` | channels | kernel (`wire` only) |
| `phineus-mpc` | circuits | kernel, net |
| `phineus-model` | networks | - |
| `phineus-infer` | the executor | all above |
| `phineus` (`crates/cli`) | the program | infer |

| step | offline | online |
| `protocol` | - | - |
";

    fn member(name: &str, dependencies: &[&str], dev_dependencies: &[&str]) -> Package {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Package {
            name: name.into(),
            version: "0.1.0".into(),
            license: None,
            repository: String::new(),
            is_member: true,
            dependencies: names(dependencies),
            dev_dependencies: names(dev_dependencies),
            crate_roots: Vec::new(),
        }
    }

    fn workspace() -> Vec<Package> {
        vec![
            member("phineus-kernel", &["subtle"], &[]),
            member("phineus-net", &["phineus-kernel", "tokio"], &[]),
            member("phineus-mpc", &["phineus-net"], &["phineus-mpc"]),
            member("phineus-model", &[], &[]),
            member("phineus-infer", &["phineus-mpc", "phineus-model"], &[]),
            member("phineus", &["phineus-infer", "phineus-kernel"], &[]),
        ]
    }

    #[test]
    fn the_table_is_read() {
        let table = read_table(PAGE);
        let uses = |name: &str| table[name].iter().map(|n| &n[PREFIX.len()..]).collect::<Vec<_>>().join(" ");
        assert_eq!(table.len(), 6);
        assert_eq!(uses("phineus-kernel"), "");
        assert_eq!(uses("phineus-net"), "kernel");
        assert_eq!(uses("phineus-mpc"), "kernel net");
        assert_eq!(uses("phineus"), "infer kernel model mpc net");
    }

    #[test]
    fn an_allowed_workspace() {
        assert_eq!(check(PAGE, &workspace()), [] as [String; 0]);
    }

    #[test]
    fn forbidden_and_missing() {
        let mut packages = workspace();
        packages[3].dependencies.insert("phineus-kernel".into());
        packages[1].dev_dependencies.insert("phineus-mpc".into());
        packages.push(member("phineus-extra", &[], &[]));
        packages.remove(0);
        let findings = check(PAGE, &packages).join("\n");
        assert_eq!(findings.lines().count(), 3, "{findings}");
        assert!(findings.contains("no crate is named phineus-kernel"));
        assert!(findings.contains("phineus-net depends on phineus-mpc"));
        assert!(findings.contains("phineus-extra is not in the table"));

        let mut packages = workspace();
        packages[3].dependencies.insert("phineus-kernel".into());
        assert!(check(PAGE, &packages)[0].contains("phineus-model depends on phineus-kernel"));
    }
}
