//! Tables for people.

use comfy_table::{CellAlignment, Table, presets};
use phineus_infer::report::{Cost, Footprint, Report};

/// An empty table with a header; all but the first `left` columns are aligned right.
pub(crate) fn new(header: &[&str], left: usize) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(header);
    for column in table.column_iter_mut().skip(left) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Bytes in the unit that fits.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0 => "-".into(),
        1..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

/// Seconds with three decimals.
pub(crate) fn seconds(s: f64) -> String {
    if s < 5e-7 { "-".into() } else { format!("{s:.4}") }
}

/// A report: one row per layer, then the totals.
pub(crate) fn report(report: &Report) -> String {
    let mut table = new(
        &["layer", "operation", "protocol", "offline s", "up", "down", "online s", "up", "down", "rounds"],
        3,
    );
    let mut row = |name: &str, op: &str, protocol: &str, offline: &Cost, online: &Cost| {
        table.add_row([
            name.to_owned(),
            op.to_owned(),
            protocol.to_owned(),
            seconds(offline.seconds),
            bytes(offline.client_to_server_bytes),
            bytes(offline.server_to_client_bytes),
            seconds(online.seconds),
            bytes(online.client_to_server_bytes),
            bytes(online.server_to_client_bytes),
            format!("{}+{}", offline.rounds, online.rounds),
        ]);
    };
    for layer in &report.layers {
        row(&layer.name, &layer.op, &layer.protocol, &layer.offline, &layer.online);
    }
    row("total", "", "", &report.offline, &report.online);
    table.to_string()
}

/// What the two processes had to hold.
pub(crate) fn footprint(report: &Report) -> String {
    let side = |name: &str, f: &Footprint| {
        format!(
            "{name}: peak memory {}, stored per inference {}",
            bytes(f.peak_rss_bytes),
            bytes(f.stored_bytes)
        )
    };
    format!("{}; {}", side("client", &report.client), side("server", &report.server))
}
