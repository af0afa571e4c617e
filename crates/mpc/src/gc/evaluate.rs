//! The evaluator. With active labels `A, B` of colours `s_a, s_b`:
//! `C = H(A, i) + s_a T_G + H(B, i') + s_b (T_E + A)`.

use phineus_kernel::block::Block;
use phineus_kernel::hash::tccr_batch;

use super::circuit::{Circuit, Gate};
use super::garble::{colours, for_batches, load, xor};
use super::{GcError, LANES, Lanes, Span};
use crate::Bits;

/// Evaluates the instances of `span` and returns the colours of the active output labels: the values masked by the
/// garbler's decoding.
///
/// A wrong table, label or tweak gives random colours, never a panic.
///
/// # Errors
/// [`GcError`] on wrong lengths or an unaligned span.
pub fn evaluate(
    circuit: &Circuit,
    span: Span,
    tables: &[u8],
    garbler_labels: &[Block],
    evaluator_labels: &[Block],
) -> Result<Bits, GcError> {
    span.check()?;
    let (g, e) = (circuit.garbler_inputs, circuit.evaluator_inputs);
    GcError::check_len("tables", circuit.table_bytes(span.count), tables.len())?;
    GcError::check_len("garbler's labels", span.count * g, garbler_labels.len())?;
    GcError::check_len("evaluator's labels", span.count * e, evaluator_labels.len())?;
    let mut out = vec![0; (span.count * circuit.outputs()).div_ceil(8)];
    let out_size = (LANES * circuit.outputs() / 8).max(1);
    for_batches::<u8>(circuit, span.count, (&mut [], 1), (&mut out, out_size), |b, memory, _, out| {
        let lanes = LANES.min(span.count - b * LANES);
        let of_batch = |width: usize| b * LANES * width..(b * LANES + lanes) * width;
        load(&mut memory.slots, &garbler_labels[of_batch(g)], g);
        load(&mut memory.slots[g..], &evaluator_labels[of_batch(e)], e);
        let tables = &tables[of_batch(circuit.table_bytes(1))];
        gates(circuit, span.batch_tweak(circuit, b), &mut memory.slots, tables, lanes);
        colours(circuit, &memory.slots, lanes, false, out);
    });
    Ok(Bits::from_packed(out, span.count * circuit.outputs()))
}

fn gates(circuit: &Circuit, mut tweak: u128, slots: &mut [Lanes], tables: &[u8], lanes: usize) {
    let mut tables = tables.chunks_exact(2 * lanes * Block::BYTES);
    let (mut hash_a, mut hash_b) = ([Block::ZERO; LANES], [Block::ZERO; LANES]);
    for gate in &circuit.gates {
        match *gate {
            Gate::Xor { a, b, out } => xor(slots, a, b, out),
            Gate::And { a, b, out, .. } => {
                let (a, b) = (slots[a as usize], slots[b as usize]);
                let (mut input_a, mut input_b) = (a, b);
                tccr_batch(tweak, &mut input_a, &mut hash_a);
                tccr_batch(tweak.wrapping_add(1), &mut input_b, &mut hash_b);
                tweak = tweak.wrapping_add(2);
                let rows = tables.next().unwrap_or_default().as_chunks().0;
                let (generator, evaluator) = rows.split_at(rows.len() / 2);
                let out = &mut slots[out as usize];
                for (lane, (t_g, t_e)) in generator.iter().zip(evaluator).enumerate() {
                    let (colour_a, colour_b) = (Block::mask(a[lane].lsb()), Block::mask(b[lane].lsb()));
                    out[lane] = hash_a[lane]
                        ^ Block::from(t_g) & colour_a
                        ^ hash_b[lane]
                        ^ (Block::from(t_e) ^ a[lane]) & colour_b;
                }
            }
        }
    }
}
