//! Where a figure comes from.

use std::fmt;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use phineus_kernel::cpu::Backend;
use serde::Serialize;

/// Machine, code and command of a measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Provenance {
    processor: String,
    backend: String,
    /// Empty outside a repository.
    commit: String,
    /// Day of the run, UTC.
    date: String,
    command: String,
}

impl Provenance {
    pub(crate) fn collect() -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
        let command = std::iter::once("phineus".to_owned()).chain(std::env::args().skip(1));
        Self {
            processor: processor(),
            backend: format!("{:?}", Backend::detected()),
            commit: commit().unwrap_or_default(),
            date: date(seconds / 86_400),
            command: command.collect::<Vec<_>>().join(" "),
        }
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, backend, commit, date, command } = self;
        write!(f, "{command}; commit {commit}, {date}; {processor}, {backend}")
    }
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |key: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|k| k.trim() == key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let family = |key: &str| field(key).unwrap_or_else(|| "?".to_owned());
    match field("model name") {
        Some(name) => format!("{name}, family {}, model {}", family("cpu family"), family("model")),
        None => "unknown".to_owned(),
    }
}

fn commit() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date(day: u64) -> String {
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    format!("{}-{month:02}-{day:02}", era * 400 + year + u64::from(month <= 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let days = [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (20_088, "2024-12-31")];
        assert!(days.iter().all(|(day, text)| date(*day) == *text), "{:?}", days.map(|(d, _)| date(d)));
    }
}
