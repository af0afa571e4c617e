//! The evaluator: active labels through the garbled gates.

use phineus_kernel::block::Block;
use phineus_kernel::halfgates;

use super::circuit::{Circuit, Outputs};
use super::garble::{colours, for_batches, pack_words};
use super::input::{GarblerLabels, load};
use super::{GcError, LANES, Span};
use crate::Bits;

/// Evaluates the instances of `span` and returns the colours of the active output labels, or the evaluator's shares of
/// the integers: what [`Circuit::decode`] combines with the garbler's decoding.
///
/// A wrong table, label or tweak gives random colours, never a panic.
///
/// # Errors
/// [`GcError`] on wrong lengths or an unaligned span.
pub fn evaluate(
    circuit: &Circuit,
    span: Span,
    tables: &[u8],
    garbler_labels: GarblerLabels<'_>,
    evaluator_labels: &[Block],
) -> Result<Bits, GcError> {
    span.check()?;
    let (g, e) = (circuit.garbler_inputs, circuit.evaluator_inputs);
    GcError::check_len("tables", circuit.table_bytes(span.count), tables.len())?;
    garbler_labels.check(circuit, span)?;
    GcError::check_len("evaluator's labels", span.count * e, evaluator_labels.len())?;
    let mut out = vec![0; (span.count * circuit.outputs()).div_ceil(8)];
    let out_size = (LANES * circuit.outputs() / 8).max(1);
    for_batches::<u8>(circuit, span.count, (&mut [], 1), (&mut out, out_size), |b, memory, _, out| {
        let lanes = LANES.min(span.count - b * LANES);
        let of_batch = |width: usize| b * LANES * width..(b * LANES + lanes) * width;
        garbler_labels.load(circuit, b * LANES, lanes, &mut memory.slots);
        load(&mut memory.slots[g..], &evaluator_labels[of_batch(e)], e);
        let tables = &tables[of_batch(circuit.table_bytes(1))];
        let (tables, words) = tables.split_at(lanes * circuit.gate_bytes());
        let tables = if lanes == LANES {
            tables
        } else {
            memory.tables.resize(LANES * circuit.gate_bytes(), 0);
            let rows = memory.tables.chunks_exact_mut(LANES * Block::BYTES);
            for (row, full) in tables.chunks_exact(lanes * Block::BYTES).zip(rows) {
                full[..row.len()].copy_from_slice(row);
            }
            &memory.tables
        };
        let tweak = span.batch_tweak(circuit, b);
        halfgates::evaluate(&circuit.gates, tweak, &mut memory.slots, tables);
        match &circuit.outputs {
            Outputs::Bits(outputs) => colours(outputs, &memory.slots, lanes, false, out),
            Outputs::Word(word) => {
                let tweak = tweak.wrapping_add(circuit.ciphertexts as u128);
                let shares = word.evaluate(tweak, &memory.slots, words);
                pack_words(&shares[..lanes], word.width, out);
            }
        }
    });
    Ok(Bits::from_packed(out, span.count * circuit.outputs()))
}
