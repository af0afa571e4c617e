//! Modes with one input per request.

use std::time::{Duration, Instant};

use phineus_infer::cipher::Precision;

use super::mode::{Mode, real};
use super::pair::Pair;
use super::{Answer, Clear, Exactness, Row, Sources, median_ms};
use crate::failure::Failure;
use crate::process;

/// One session, one image after the other.
pub(super) async fn measure(mode: &Mode, sources: &Sources<'_>) -> Result<Row, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", mode.name));
    let task = mode.task(sources, sources.count)?;
    let mut pair = Pair::connect(mode, &task).await?;
    let served = pair.served.clone();
    let service = served.service().ok_or_else(|| failed(&"not under encryption"))?;
    let scheme = service.scheme();
    let precision = Precision::new(scheme).map_err(|e| failed(&e))?;
    let clear = Clear { network: service.network(), precision: &precision };

    let mut times: [Vec<Duration>; 4] = Default::default();
    let (mut answers, mut bytes) = (Vec::with_capacity(task.inputs.len()), [0; 2]);
    let output = task.model.graph.output;
    for (input, label) in &task.inputs {
        let start = Instant::now();
        let report = pair.session.predict(input).await.map_err(|e| failed(&e))?.report;
        let whole = start.elapsed();
        // The first row is the client's encryption, that of the output waits for the reply, the last one decrypts it.
        let row =
            |row: usize| Duration::from_secs_f64(report.layers.get(row).map_or(0.0, |l| l.online.seconds));
        let parts = [whole, row(0), row(output), row(report.layers.len() - 1)];
        times.iter_mut().zip(parts).for_each(|(times, time)| times.push(time));
        bytes = [report.online.client_to_server_bytes, report.online.server_to_client_bytes];
        let found = report.output.logits.iter().map(|&v| f64::from(v)).collect();
        answers.push(Answer { input: real(&task.model, input), found, label: *label });
    }
    let key_bytes = pair.session.uploaded() as u64;
    pair.close().await?;
    let [end_to_end_ms, encrypt_ms, server_ms, decrypt_ms] = times.map(median_ms);
    Ok(Row {
        mode: mode.name,
        inputs: task.source,
        weights: mode.weights(),
        slots: scheme.params().slots(),
        images: task.inputs.len(),
        end_to_end_ms,
        encrypt_ms,
        server_ms,
        decrypt_ms,
        images_per_second: 1e3 / end_to_end_ms,
        key_switches: scheme.program().switches(),
        products: scheme.program().products(),
        request_bytes: bytes[0],
        reply_bytes: bytes[1],
        key_bytes,
        exactness: Exactness::of(&clear, &answers),
        peak_rss_bytes: process::peak_rss_bytes(),
    })
}
