//! Batches: two full ones in a session, of which the second counts.

use std::time::Instant;

use phineus_infer::cipher::Precision;

use super::mode::{Mode, real};
use super::pair::Pair;
use super::{Answer, Clear, Exactness, Row, Sources};
use crate::failure::Failure;
use crate::process;

/// As many inputs as there are slots, one after the other as often as it takes; the first ones are compared.
pub(super) async fn measure(mode: &Mode, sources: &Sources<'_>) -> Result<Row, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", mode.name));
    let task = mode.task(sources, sources.count)?;
    let mut pair = Pair::connect(mode, &task).await?;
    let served = pair.served.clone();
    let service = served.service().ok_or_else(|| failed(&"not under encryption"))?;
    let scheme = pair.session.batches().map_err(|e| failed(&e))?;
    let precision = Precision::of_batch(&scheme).map_err(|e| failed(&e))?;
    let clear = Clear { network: service.network(), precision: &precision };

    let inputs: Vec<&[i32]> = task.inputs.iter().map(|(x, _)| &x[..]).cycle().take(scheme.size()).collect();
    pair.session.predict_batch(&inputs[..2.min(inputs.len())]).await.map_err(|e| failed(&e))?;
    let before = pair.session.traffic();
    let start = Instant::now();
    let found = pair.session.predict_batch(&inputs).await.map_err(|e| failed(&e))?;
    let seconds = start.elapsed().as_secs_f64();
    let traffic = pair.session.traffic() - before;
    let answer = |((input, label), found): (&(Vec<i32>, Option<usize>), Vec<f64>)| Answer {
        input: real(&task.model, input),
        found,
        label: *label,
    };
    let answers: Vec<Answer> = task.inputs.iter().zip(found).map(answer).collect();
    let key_bytes = pair.session.uploaded() as u64;
    pair.close().await?;
    Ok(Row {
        mode: mode.name,
        inputs: task.source,
        weights: mode.weights(),
        slots: scheme.size(),
        images: task.inputs.len(),
        end_to_end_ms: seconds * 1e3,
        encrypt_ms: f64::NAN,
        server_ms: f64::NAN,
        decrypt_ms: f64::NAN,
        images_per_second: inputs.len() as f64 / seconds,
        key_switches: scheme.batch().squares(),
        products: scheme.batch().products(),
        request_bytes: traffic.sent,
        reply_bytes: traffic.received,
        key_bytes,
        exactness: Exactness::of(&clear, &answers),
        peak_rss_bytes: process::peak_rss_bytes(),
    })
}
