//! `phineus bench he`: networks under encryption, client and server over a loopback socket, one row per mode.
//!
//! Every figure is a median over the images of one session, keys already sent. End to end is encoding, encryption,
//! both crossings, evaluation, reply, decryption. *Same class* compares with the network in the clear, whose numbers are
//! those that are encrypted. *Error* is the largest one seen, *bound* what [`Precision`] proves for the same images, both
//! relative to the largest logit, as is the *nearest tie*, the smallest margin of a class in the clear; *certain* are images
//! whose class no error within the bound can change.

mod batch;
mod mode;
mod pair;
mod reference;
mod single;

use std::path::Path;
use std::time::Duration;

use phineus_infer::cipher::{Network, Precision};
use rayon::prelude::*;
use serde::Serialize;

use self::mode::MODES;
use self::reference::Reference;
use super::provenance::Provenance;
use crate::extractor::Extractor;
use crate::failure::Failure;
use crate::table;

/// Where images come from.
pub(super) struct Sources<'a> {
    /// Folder with the MNIST files, or with folders `mnist`, `cifar10-jpeg` and `caltech101`.
    pub(super) data: Option<&'a Path>,
    /// The public network before the layer for Caltech-101.
    pub(super) extractor: Option<Extractor>,
    /// Images of a row.
    pub(super) count: usize,
}

/// What was measured of a mode.
#[derive(Debug, Serialize)]
struct Row {
    mode: &'static str,
    /// Where inputs come from.
    inputs: &'static str,
    /// Whether somebody trained the weights: classes by made-up ones mean nothing.
    weights: &'static str,
    slots: usize,
    /// Images whose results were compared.
    images: usize,
    end_to_end_ms: f64,
    encrypt_ms: f64,
    server_ms: f64,
    decrypt_ms: f64,
    /// Of batches; of single images the inverse of the time end to end.
    images_per_second: f64,
    key_switches: usize,
    products: usize,
    request_bytes: u64,
    reply_bytes: u64,
    key_bytes: u64,
    #[serde(flatten)]
    exactness: Exactness,
    /// Of this process, which is client and server, since it began.
    peak_rss_bytes: u64,
}

/// Results under encryption beside those in the clear.
#[derive(Debug, Serialize)]
struct Exactness {
    /// Images for which the class is that of the network in the clear.
    same_class: usize,
    /// Images for which the bound proves that it is.
    certain: usize,
    /// Largest error of a logit, relative to the largest logit.
    worst_error: f64,
    /// Largest bound on it.
    error_bound: f64,
    /// Smallest distance of the largest logit to the second in the clear: how close to a tie the images come.
    narrowest: f64,
    /// Right predictions, where labels are known.
    right: Option<usize>,
    #[serde(skip)]
    largest: f64,
}

impl Exactness {
    /// Of all answers; errors are relative to the largest logit.
    fn of(clear: &Clear<'_>, answers: &[Answer]) -> Self {
        answers
            .par_iter()
            .map(|answer| Self::of_one(clear, answer))
            .reduce(Self::default, Self::and)
            .relative()
    }

    fn of_one(clear: &Clear<'_>, Answer { input, found, label }: &Answer) -> Self {
        let unit = f64::from(-clear.network.gain()).exp2();
        let trace = clear.network.trace(input);
        let bound = clear.precision.bound_of(clear.network, input, &trace) * unit;
        let expected: Vec<f64> =
            trace.last().map_or_else(Vec::new, |last| last.iter().map(|v| v * unit).collect());
        let mut sorted = expected.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let margin = sorted.get(1).map_or(f64::INFINITY, |second| sorted[0] - second);
        let class = largest_at(found);
        let errors = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        Self {
            same_class: usize::from(class == largest_at(&expected)),
            certain: usize::from(margin > 2.0 * bound),
            worst_error: errors.fold(0.0, f64::max),
            error_bound: bound,
            narrowest: margin,
            right: label.map(|label| usize::from(class == label)),
            largest: expected.iter().fold(0.0, |most: f64, v| most.max(v.abs())),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            same_class: self.same_class + other.same_class,
            certain: self.certain + other.certain,
            worst_error: self.worst_error.max(other.worst_error),
            error_bound: self.error_bound.max(other.error_bound),
            narrowest: self.narrowest.min(other.narrowest),
            right: self.right.into_iter().chain(other.right).reduce(usize::saturating_add),
            largest: self.largest.max(other.largest),
        }
    }

    /// Errors relative to the largest logit.
    fn relative(self) -> Self {
        let unit = self.largest.max(f64::MIN_POSITIVE);
        let [worst_error, error_bound, narrowest] =
            [self.worst_error, self.error_bound, self.narrowest].map(|size| size / unit);
        Self { worst_error, error_bound, narrowest, ..self }
    }
}

impl Default for Exactness {
    /// Of no answer.
    fn default() -> Self {
        Self {
            same_class: 0,
            certain: 0,
            worst_error: 0.0,
            error_bound: 0.0,
            narrowest: f64::INFINITY,
            right: None,
            largest: 0.0,
        }
    }
}

/// What an image gave under encryption.
struct Answer {
    /// The numbers that were encrypted.
    input: Vec<f64>,
    found: Vec<f64>,
    label: Option<usize>,
}

/// What results are compared with.
struct Clear<'a> {
    network: &'a Network,
    precision: &'a Precision,
}

#[derive(Serialize)]
struct Figures {
    provenance: Provenance,
    reference: Reference,
    rows: Vec<Row>,
}

/// Measures all modes whose names contain `only`.
pub(super) async fn table(
    sources: &Sources<'_>,
    only: Option<&str>,
    json: bool,
    output: Option<&Path>,
) -> Result<(), Failure> {
    let reference = Reference::measure()?;
    let mut figures = Figures { provenance: Provenance::collect(), reference, rows: Vec::new() };
    for mode in MODES.iter().filter(|mode| only.is_none_or(|only| mode.name.contains(only))) {
        let row = if mode.batch {
            batch::measure(mode, sources).await?
        } else {
            single::measure(mode, sources).await?
        };
        tracing::info!("{row:?}");
        figures.rows.push(row);
        // After every row: some take minutes.
        if let Some(path) = output {
            std::fs::write(path, serde_json::to_string_pretty(&figures)?)?;
        }
    }
    if json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        print(&figures.rows);
        println!("{}", figures.reference);
    }
    Ok(())
}

fn print(rows: &[Row]) {
    let header = [
        "mode",
        "inputs",
        "weights",
        "slots",
        "end to end ms",
        "encrypt",
        "server",
        "decrypt",
        "images/s",
        "switches",
        "products",
        "request",
        "reply",
        "keys",
        "same class",
        "certain",
        "error",
        "bound",
        "nearest tie",
        "right",
        "memory",
    ];
    let mut table = table::new(&header, 2);
    for row in rows {
        let Row { exactness, images, .. } = row;
        let of = |count: usize| format!("{count} of {images}");
        table.add_row([
            row.mode.to_owned(),
            row.inputs.to_owned(),
            row.weights.to_owned(),
            row.slots.to_string(),
            format!("{:.2}", row.end_to_end_ms),
            ms(row.encrypt_ms),
            ms(row.server_ms),
            ms(row.decrypt_ms),
            format!("{:.1}", row.images_per_second),
            row.key_switches.to_string(),
            row.products.to_string(),
            table::bytes(row.request_bytes),
            table::bytes(row.reply_bytes),
            table::bytes(row.key_bytes),
            of(exactness.same_class),
            of(exactness.certain),
            format!("{:.1e}", exactness.worst_error),
            format!("{:.1e}", exactness.error_bound),
            format!("{:.1e}", exactness.narrowest),
            exactness.right.map_or_else(|| "-".to_owned(), of),
            table::bytes(row.peak_rss_bytes),
        ]);
    }
    println!("{table}");
}

/// Batches have no times of their parts, which overlap.
fn ms(time: f64) -> String {
    if time.is_nan() { "-".to_owned() } else { format!("{time:.2}") }
}

fn largest_at(values: &[f64]) -> usize {
    let at = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    at.map_or(usize::MAX, |(index, _)| index)
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |t| t.as_secs_f64() * 1e3)
}
