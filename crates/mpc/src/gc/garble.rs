//! The garbler: half gates with free XOR, free negation and point-and-permute. The gates themselves are in
//! [`phineus_kernel::halfgates`]; tweaks belong to the gate and the batch of [`LANES`] instances, so that one AES key
//! schedule serves all of them.
//!
//! Security: privacy under the TCCR hash, see
//! [`phineus_kernel::hash`]; every span may be garbled under one [`Delta`] only once.

use phineus_kernel::block::Block;
use phineus_kernel::halfgates;
use rayon::prelude::*;
use zeroize::Zeroize;

use super::circuit::{Circuit, Output, Outputs};
use super::input::{GarblerInputs, load};
use super::{GcError, LANES, Lanes, Span};
use crate::{Bits, Delta};

/// What garbling yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbled {
    /// The tables, [`Circuit::table_bytes`], to be sent to the evaluator.
    pub tables: Vec<u8>,
    /// Per output bit what must be added to the evaluator's colour to obtain the value, or the garbler's share of the
    /// integer: stays with the garbler if the garbler is to learn the output, else goes to the evaluator. See
    /// [`Circuit::decode`].
    pub decoding: Bits,
}

/// Garbles the instances of `span`.
///
/// `evaluator_zero_labels` holds the zero labels of the evaluator's inputs, `span.count * evaluator_inputs`, all with
/// bit 0 clear as the sender of [`cot`](crate::ot::cot) gets them: the colour of an active label is the input bit.
///
/// # Errors
/// [`GcError`] on wrong lengths, an unaligned span, a label with bit 0 set, or a circuit that does not allow for inputs
/// known now.
pub fn garble(
    circuit: &Circuit,
    delta: &Delta,
    span: Span,
    inputs: GarblerInputs<'_>,
    evaluator_zero_labels: &[Block],
) -> Result<Garbled, GcError> {
    let mut tables = vec![0; circuit.table_bytes(span.count)];
    let decoding = garble_into(circuit, delta, span, inputs, evaluator_zero_labels, &mut tables)?;
    Ok(Garbled { tables, decoding })
}

/// As [`garble`], with the tables written to memory of the caller, [`Circuit::table_bytes`]. Returns the decoding
/// bits.
///
/// # Errors
/// As [`garble`].
pub fn garble_into(
    circuit: &Circuit,
    delta: &Delta,
    span: Span,
    inputs: GarblerInputs<'_>,
    evaluator_zero_labels: &[Block],
    tables: &mut [u8],
) -> Result<Bits, GcError> {
    span.check()?;
    inputs.check(circuit, span)?;
    let expected = span.count * circuit.evaluator_inputs;
    GcError::check_len("evaluator's zero labels", expected, evaluator_zero_labels.len())?;
    GcError::check_len("tables", circuit.table_bytes(span.count), tables.len())?;
    // Colours of zero labels are known to the evaluator: no secret decides here.
    if let Some(index) = evaluator_zero_labels.iter().position(|label| label.lsb()) {
        return Err(GcError::Colour { index });
    }
    // Batches start at whole bytes of the packed outputs because LANES is a multiple of 8.
    let mut decoding = vec![0; (span.count * circuit.outputs()).div_ceil(8)];
    let batch = |b: usize, memory: &mut Memory, tables: &mut [u8], decoding: &mut [u8]| {
        let lanes = LANES.min(span.count - b * LANES);
        inputs.load(circuit, delta, (span, b * LANES, lanes), &mut memory.garbler, &mut memory.slots);
        let evaluator = &evaluator_zero_labels[b * LANES * circuit.evaluator_inputs..]
            [..lanes * circuit.evaluator_inputs];
        load(&mut memory.slots[circuit.garbler_inputs..], evaluator, circuit.evaluator_inputs);
        let tweak = span.batch_tweak(circuit, b);
        let (tables, words) = tables.split_at_mut(lanes * circuit.gate_bytes());
        let garble = |slots: &mut [Lanes], tables: &mut [u8]| {
            halfgates::garble(&circuit.gates, delta.block(), tweak, slots, tables);
        };
        if lanes == LANES {
            garble(&mut memory.slots, tables);
        } else {
            memory.tables.resize(LANES * circuit.gate_bytes(), 0);
            garble(&mut memory.slots, &mut memory.tables);
            let rows = memory.tables.chunks_exact(LANES * Block::BYTES);
            for (row, full) in tables.chunks_exact_mut(lanes * Block::BYTES).zip(rows) {
                row.copy_from_slice(&full[..row.len()]);
            }
        }
        match &circuit.outputs {
            Outputs::Bits(outputs) => colours(outputs, &memory.slots, lanes, true, decoding),
            Outputs::Word(word) => {
                let tweak = tweak.wrapping_add(circuit.ciphertexts as u128);
                let shares = word.garble(delta, tweak, &memory.slots, words);
                pack_words(&shares[..lanes], word.width, decoding);
            }
        }
    };
    let table_size = circuit.table_bytes(LANES).max(1);
    let decoding_size = (LANES * circuit.outputs() / 8).max(1);
    for_batches(circuit, span.count, (tables, table_size), (&mut decoding, decoding_size), batch);
    Ok(Bits::from_packed(decoding, span.count * circuit.outputs()))
}

/// The working memory of one batch.
pub(super) struct Memory {
    pub(super) slots: Vec<Lanes>,
    pub(super) garbler: Vec<Block>,
    /// Tables of a batch that is not full, as if it were.
    pub(super) tables: Vec<u8>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        Block::as_bytes_mut(self.slots.as_flattened_mut()).zeroize();
        self.garbler.zeroize();
    }
}

/// Runs `batch(number, memory, first part, second part)` for all batches in parallel, the two outputs cut into parts
/// of the given sizes.
pub(super) fn for_batches<T: Send>(
    circuit: &Circuit,
    instances: usize,
    (first, first_size): (&mut [T], usize),
    (second, second_size): (&mut [u8], usize),
    batch: impl Fn(usize, &mut Memory, &mut [T], &mut [u8]) + Sync,
) {
    let memory =
        || Memory { slots: vec![[Block::ZERO; LANES]; circuit.slots], garbler: vec![], tables: vec![] };
    let batches = instances.div_ceil(LANES);
    // A circuit without gates or outputs still has batches: pad with empty parts.
    let mut firsts: Vec<&mut [T]> = first.chunks_mut(first_size).collect();
    let mut seconds: Vec<&mut [u8]> = second.chunks_mut(second_size).collect();
    firsts.resize_with(batches, Default::default);
    seconds.resize_with(batches, Default::default);
    firsts
        .into_par_iter()
        .zip(seconds)
        .enumerate()
        .for_each_init(memory, |memory, (b, (first, second))| batch(b, memory, first, second));
}

/// Packs the colours of the outputs in order (instance, bit). The garbler adds its negations and constants.
pub(super) fn colours(outputs: &[Output], slots: &[Lanes], lanes: usize, garbler: bool, out: &mut [u8]) {
    out.fill(0);
    let colour = |lane: usize, output: &Output| match *output {
        Output::Const(bit) => bit & garbler,
        Output::Slot { slot, inverted } => slots[slot as usize][lane].lsb() ^ (inverted & garbler),
    };
    let bits = (0..lanes).flat_map(|lane| outputs.iter().map(move |o| (lane, o)));
    for (at, (lane, output)) in bits.enumerate() {
        out[at / 8] |= u8::from(colour(lane, output)) << (at % 8);
    }
}

/// Packs one integer per instance.
pub(super) fn pack_words(words: &[u32], width: u32, out: &mut [u8]) {
    let packed = Bits::from_words(words, width as usize);
    out.copy_from_slice(packed.as_bytes());
}
