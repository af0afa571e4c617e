//! The garbler: half gates (Zahur, Rosulek, Evans, *Two halves make a whole*, EUROCRYPT 2015, figure 2) with free
//! XOR, free negation and point-and-permute.
//!
//! For an AND of wires with zero labels `A, B`, colours `p_a, p_b` and hash `H`:
//! `T_G = H(A, i) + H(A + Delta, i) + p_b Delta`, `T_E = H(B, i') + H(B + Delta, i') + A`,
//! `C = H(A, i) + p_a T_G + H(B, i') + p_b (T_E + A)`. Tweaks `i, i'` belong to the gate and the batch of [`LANES`]
//! instances, so that one AES key schedule serves all of them.
//!
//! Cost: 32 bytes per AND; four hash calls garbling, two evaluating. Security: privacy under the TCCR hash, see
//! [`phineus_kernel::hash`]; every span may be garbled under one [`Delta`] only once.

use phineus_kernel::block::Block;
use phineus_kernel::hash::tccr_batch;
use phineus_kernel::prg::Prg;
use rand::CryptoRng;
use rayon::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::circuit::{Circuit, Gate, Output};
use super::{GcError, LANES, Lanes, Span};
use crate::{Bits, Delta};

/// Where the labels of the garbler's inputs come from: all that the garbler has to store. One seed per layer.
#[derive(Debug, Clone, Zeroize, ZeroizeOnDrop)]
pub struct InputSeed(Block);

impl InputSeed {
    /// A uniform seed.
    #[must_use]
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        Self(Block::random(rng))
    }

    /// A stored seed.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Block::from_bytes(bytes))
    }

    /// The labels of the garbler's inputs in the instances of `span`: `zero label + bit Delta`.
    ///
    /// # Errors
    /// [`GcError`] if `bits` is not `span.count * garbler_inputs` long or the span is not aligned.
    ///
    /// # Security
    /// At most once per instance: two labels of one wire reveal [`Delta`].
    pub fn labels(
        &self,
        circuit: &Circuit,
        delta: &Delta,
        span: Span,
        bits: &Bits,
    ) -> Result<Vec<Block>, GcError> {
        span.check()?;
        GcError::check_len("garbler's input bits", span.count * circuit.garbler_inputs, bits.len())?;
        let mut labels = vec![Block::ZERO; bits.len()];
        self.fill_zero_labels(circuit, span.first, &mut labels);
        for (i, label) in labels.iter_mut().enumerate() {
            *label ^= delta.times(bits.get(i));
        }
        Ok(labels)
    }

    /// Zero labels from instance `first` on.
    fn fill_zero_labels(&self, circuit: &Circuit, first: u64, labels: &mut [Block]) {
        let mut prg = Prg::new(self.0);
        prg.seek(first * circuit.garbler_inputs as u64);
        prg.fill_blocks(labels);
    }
}

/// What garbling yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbled {
    /// The tables, [`Circuit::table_bytes`], to be sent to the evaluator.
    pub tables: Vec<u8>,
    /// Per output bit what must be added to the evaluator's colour to obtain the value: stays with the garbler if
    /// the garbler is to learn the output, else goes to the evaluator.
    pub decoding: Bits,
}

/// Garbles the instances of `span`.
///
/// `evaluator_zero_labels` holds the zero labels of the evaluator's inputs, `span.count * evaluator_inputs`.
///
/// # Errors
/// [`GcError`] on wrong lengths or an unaligned span.
pub fn garble(
    circuit: &Circuit,
    delta: &Delta,
    span: Span,
    seed: &InputSeed,
    evaluator_zero_labels: &[Block],
) -> Result<Garbled, GcError> {
    span.check()?;
    let expected = span.count * circuit.evaluator_inputs;
    GcError::check_len("evaluator's zero labels", expected, evaluator_zero_labels.len())?;
    let mut tables = vec![0; circuit.table_bytes(span.count)];
    // Batches start at whole bytes of the packed outputs because LANES is a multiple of 8.
    let mut decoding = vec![0; (span.count * circuit.outputs()).div_ceil(8)];
    let batch = |b: usize, memory: &mut Memory, tables: &mut [u8], decoding: &mut [u8]| {
        let lanes = LANES.min(span.count - b * LANES);
        let first = span.first + (b * LANES) as u64;
        memory.garbler.resize(lanes * circuit.garbler_inputs, Block::ZERO);
        seed.fill_zero_labels(circuit, first, &mut memory.garbler);
        let evaluator = &evaluator_zero_labels[b * LANES * circuit.evaluator_inputs..]
            [..lanes * circuit.evaluator_inputs];
        load(&mut memory.slots, &memory.garbler, circuit.garbler_inputs);
        load(&mut memory.slots[circuit.garbler_inputs..], evaluator, circuit.evaluator_inputs);
        gates(circuit, delta, span.batch_tweak(circuit, b), &mut memory.slots, tables, lanes);
        colours(circuit, &memory.slots, lanes, true, decoding);
    };
    let table_size = circuit.table_bytes(LANES).max(1);
    let decoding_size = (LANES * circuit.outputs() / 8).max(1);
    for_batches(circuit, span.count, (&mut tables, table_size), (&mut decoding, decoding_size), batch);
    let decoding = Bits::from_packed(decoding, span.count * circuit.outputs());
    Ok(Garbled { tables, decoding })
}

fn gates(
    circuit: &Circuit,
    delta: &Delta,
    mut tweak: u128,
    slots: &mut [Lanes],
    tables: &mut [u8],
    lanes: usize,
) {
    let offset = delta.block();
    let mut tables = tables.chunks_exact_mut(lanes * Block::BYTES);
    let (mut half_a, mut half_b) = (Half::new(), Half::new());
    for gate in &circuit.gates {
        match *gate {
            Gate::Xor { a, b, out } => xor(slots, a, b, out),
            Gate::And { a, b, out, invert_a, invert_b } => {
                half_a.hash(&slots[a as usize], delta.times(invert_a), offset, tweak);
                half_b.hash(&slots[b as usize], delta.times(invert_b), offset, tweak.wrapping_add(1));
                tweak = tweak.wrapping_add(2);
                let (mut generator, mut evaluator) = ([Block::ZERO; LANES], [Block::ZERO; LANES]);
                let out = &mut slots[out as usize];
                for lane in 0..LANES {
                    let (a, b) = (half_a.zero[lane], half_b.zero[lane]);
                    let (colour_a, colour_b) = (Block::mask(a.lsb()), Block::mask(b.lsb()));
                    let (hash_a, sum_a) = half_a.hash_and_sum(lane);
                    let (hash_b, sum_b) = half_b.hash_and_sum(lane);
                    generator[lane] = sum_a ^ offset & colour_b;
                    evaluator[lane] = sum_b ^ a;
                    out[lane] = hash_a ^ generator[lane] & colour_a ^ hash_b ^ sum_b & colour_b;
                }
                for rows in [&generator, &evaluator] {
                    if let Some(table) = tables.next() {
                        table.copy_from_slice(Block::as_bytes(&rows[..lanes]));
                    }
                }
            }
        }
    }
}

/// One operand of an AND gate in all lanes.
struct Half {
    zero: Lanes,
    labels: [Block; 2 * LANES],
    hashes: [Block; 2 * LANES],
}

impl Half {
    fn new() -> Self {
        Self {
            zero: [Block::ZERO; LANES],
            labels: [Block::ZERO; 2 * LANES],
            hashes: [Block::ZERO; 2 * LANES],
        }
    }

    /// Hashes both labels of the wire.
    fn hash(&mut self, labels: &Lanes, invert: Block, offset: Block, tweak: u128) {
        for (lane, label) in labels.iter().enumerate() {
            let zero = *label ^ invert;
            self.zero[lane] = zero;
            self.labels[lane] = zero;
            self.labels[LANES + lane] = zero ^ offset;
        }
        tccr_batch(tweak, &mut self.labels, &mut self.hashes);
    }

    /// `H(zero label)`, and its sum with `H(zero label + Delta)`.
    fn hash_and_sum(&self, lane: usize) -> (Block, Block) {
        (self.hashes[lane], self.hashes[lane] ^ self.hashes[LANES + lane])
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        for blocks in [&mut self.zero[..], &mut self.labels, &mut self.hashes] {
            Block::as_bytes_mut(blocks).zeroize();
        }
    }
}

/// The working memory of one batch.
pub(super) struct Memory {
    pub(super) slots: Vec<Lanes>,
    pub(super) garbler: Vec<Block>,
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
    let memory = || Memory { slots: vec![[Block::ZERO; LANES]; circuit.slots], garbler: vec![] };
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

/// Lays labels in order (instance, bit) out as (bit, lane); missing instances keep what was there.
pub(super) fn load(slots: &mut [Lanes], labels: &[Block], inputs: usize) {
    for (lane, labels) in labels.chunks_exact(inputs.max(1)).enumerate() {
        for (slot, label) in slots.iter_mut().zip(labels) {
            slot[lane] = *label;
        }
    }
}

pub(super) fn xor(slots: &mut [Lanes], a: u32, b: u32, out: u32) {
    let (a, b) = (slots[a as usize], slots[b as usize]);
    for (out, (a, b)) in slots[out as usize].iter_mut().zip(a.iter().zip(&b)) {
        *out = *a ^ *b;
    }
}

/// Packs the colours of the outputs in order (instance, bit). The garbler adds its negations and constants.
pub(super) fn colours(circuit: &Circuit, slots: &[Lanes], lanes: usize, garbler: bool, out: &mut [u8]) {
    out.fill(0);
    let colour = |lane: usize, output: &Output| match *output {
        Output::Const(bit) => bit & garbler,
        Output::Slot { slot, inverted } => slots[slot as usize][lane].lsb() ^ (inverted & garbler),
    };
    let bits = (0..lanes).flat_map(|lane| circuit.outputs.iter().map(move |o| (lane, o)));
    for (at, (lane, output)) in bits.enumerate() {
        out[at / 8] |= u8::from(colour(lane, output)) << (at % 8);
    }
}
