//! Labels of the garbler's inputs.

use phineus_kernel::block::Block;
use phineus_kernel::prg::Prg;
use rand::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::circuit::Circuit;
use super::{GcError, LANES, Lanes, Span};
use crate::{Bits, Delta};

/// When the garbler learns its inputs.
#[derive(Debug, Clone, Copy)]
pub enum GarblerInputs<'i> {
    /// After garbling. The labels come from a seed; the active ones are [`InputSeed::labels`] and must be sent.
    Later(&'i InputSeed),
    /// Before: its bits in order (instance, bit). The label of 0 is `bit Delta`, so that the active label is zero:
    /// public, and nothing has to be sent.
    ///
    /// The labels of other instances are the same: a hash of such a label under a tweak that a batch shares would
    /// repeat, and the tables of two instances would differ by multiples of `Delta`. Hence only circuits that mix these
    /// inputs with something else before any hash ([`Circuit::mixes`]) are garbled this way.
    Now(&'i Bits),
}

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

impl GarblerInputs<'_> {
    pub(super) fn check(&self, circuit: &Circuit, span: Span) -> Result<(), GcError> {
        match self {
            Self::Later(_) => Ok(()),
            Self::Now(_) if !circuit.mixes => Err(GcError::Unmixed),
            Self::Now(bits) => {
                GcError::check_len("garbler's input bits", span.count * circuit.garbler_inputs, bits.len())
            }
        }
    }

    /// The zero labels of `lanes` instances from number `start` of the span on, into the first slots.
    pub(super) fn load(
        &self,
        circuit: &Circuit,
        delta: &Delta,
        (span, start, lanes): (Span, usize, usize),
        memory: &mut Vec<Block>,
        slots: &mut [Lanes],
    ) {
        let inputs = circuit.garbler_inputs;
        match self {
            Self::Later(seed) => {
                memory.resize(lanes * inputs, Block::ZERO);
                seed.fill_zero_labels(circuit, span.first + start as u64, memory);
                load(slots, memory, inputs);
            }
            Self::Now(bits) => {
                for (bit, slot) in slots[..inputs].iter_mut().enumerate() {
                    for (lane, label) in slot[..lanes].iter_mut().enumerate() {
                        *label = delta.times(bits.get((start + lane) * inputs + bit));
                    }
                }
            }
        }
    }
}

/// The active labels of the garbler's inputs as the evaluator has them.
#[derive(Debug, Clone, Copy)]
pub enum GarblerLabels<'l> {
    /// Sent, in order (instance, bit).
    Sent(&'l [Block]),
    /// Of inputs that the garbler knew while garbling: zero.
    Zero,
}

impl GarblerLabels<'_> {
    pub(super) fn check(&self, circuit: &Circuit, span: Span) -> Result<(), GcError> {
        match self {
            Self::Sent(labels) => {
                GcError::check_len("garbler's labels", span.count * circuit.garbler_inputs, labels.len())
            }
            Self::Zero => Ok(()),
        }
    }

    /// The labels of `lanes` instances from number `start` of the span on, into the first slots.
    pub(super) fn load(&self, circuit: &Circuit, start: usize, lanes: usize, slots: &mut [Lanes]) {
        let inputs = circuit.garbler_inputs;
        match self {
            Self::Sent(labels) => load(slots, &labels[start * inputs..(start + lanes) * inputs], inputs),
            Self::Zero => slots[..inputs].fill([Block::ZERO; LANES]),
        }
    }
}

/// Lays labels in order (instance, bit) out as (bit, lane); missing instances keep what was there.
pub(super) fn load(slots: &mut [Lanes], labels: &[Block], inputs: usize) {
    for (lane, labels) in labels.chunks_exact(inputs.max(1)).enumerate() {
        for (slot, label) in slots.iter_mut().zip(labels) {
            slot[lane] = *label;
        }
    }
}
