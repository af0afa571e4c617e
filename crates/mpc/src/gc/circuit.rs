//! Boolean circuits in execution order on a small set of reused slots.

use phineus_kernel::block::Block;

use super::LANES;
use super::word::Word;
use crate::Bits;

pub use phineus_kernel::halfgates::Gate;

/// Where an output bit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// A constant.
    Const(bool),
    /// A slot after the last gate, negated if `inverted`.
    Slot {
        /// The slot.
        slot: u32,
        /// Whether it is negated.
        inverted: bool,
    },
}

/// What a circuit yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outputs {
    /// Bits; the garbler's decoding plus the evaluator's colours, modulo 2.
    Bits(Vec<Output>),
    /// One integer; the sum of the parties' shares.
    Word(Word),
}

/// A circuit of XOR, AND and free negations. Made by [`Builder`](super::builder::Builder).
///
/// Before the first gate, slots `0..garbler_inputs` hold the garbler's inputs and the next `evaluator_inputs` the
/// evaluator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circuit {
    pub(super) garbler_inputs: usize,
    pub(super) evaluator_inputs: usize,
    pub(super) gates: Vec<Gate>,
    pub(super) outputs: Outputs,
    pub(super) slots: usize,
    pub(super) and_count: usize,
    pub(super) ciphertexts: usize,
    pub(super) mixes: bool,
}

impl Circuit {
    /// Input bits of the garbler per instance.
    #[must_use]
    pub fn garbler_inputs(&self) -> usize {
        self.garbler_inputs
    }

    /// Input bits of the evaluator per instance.
    #[must_use]
    pub fn evaluator_inputs(&self) -> usize {
        self.evaluator_inputs
    }

    /// Output bits per instance.
    #[must_use]
    pub fn outputs(&self) -> usize {
        match &self.outputs {
            Outputs::Bits(bits) => bits.len(),
            Outputs::Word(word) => word.width as usize,
        }
    }

    /// AND gates per instance.
    #[must_use]
    pub fn and_count(&self) -> usize {
        self.and_count
    }

    /// Gates in execution order.
    #[must_use]
    pub fn gates(&self) -> &[Gate] {
        &self.gates
    }

    /// Whether no gate and no output hashes a sum of the garbler's inputs alone, as
    /// [`GarblerInputs::Now`](super::GarblerInputs::Now) requires.
    #[must_use]
    pub fn mixes(&self) -> bool {
        self.mixes
    }

    /// Slots of working memory.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Bytes of the tables of `instances` instances.
    #[must_use]
    pub fn table_bytes(&self, instances: usize) -> usize {
        instances * (self.gate_bytes() + self.word().map_or(0, Word::table_bytes))
    }

    /// What garbler and evaluator got, put together: the outputs in order (instance, bit).
    ///
    /// # Panics
    /// If the lengths differ.
    #[must_use]
    pub fn decode(&self, decoding: &Bits, output: &Bits) -> Bits {
        let mut decoded = output.clone();
        match &self.outputs {
            Outputs::Bits(_) => decoded.xor_assign(decoding),
            Outputs::Word(word) => {
                assert_eq!(decoding.len(), output.len(), "shares of one length");
                let width = word.width as usize;
                let (a, b) = (decoding.to_words(width), output.to_words(width));
                let sums: Vec<u32> = a.iter().zip(&b).map(|(a, b)| a.wrapping_add(*b)).collect();
                decoded = Bits::from_words(&sums, width);
            }
        }
        decoded
    }

    /// Tweaks used by `instances` instances.
    #[must_use]
    pub fn tweaks(&self, instances: usize) -> u128 {
        instances.div_ceil(LANES) as u128 * self.batch_tweaks()
    }

    /// Evaluation in the clear: what garbling must equal. Variable time.
    ///
    /// # Panics
    /// If the number of inputs is wrong.
    #[must_use]
    pub fn eval(&self, garbler: &[bool], evaluator: &[bool]) -> Vec<bool> {
        assert_eq!(garbler.len(), self.garbler_inputs, "garbler's inputs");
        assert_eq!(evaluator.len(), self.evaluator_inputs, "evaluator's inputs");
        let mut slots = vec![false; self.slots];
        slots[..garbler.len()].copy_from_slice(garbler);
        slots[garbler.len()..][..evaluator.len()].copy_from_slice(evaluator);
        for gate in &self.gates {
            match *gate {
                Gate::Xor { a, b, out } => slots[out as usize] = slots[a as usize] ^ slots[b as usize],
                Gate::And { a, b, out, invert_a, invert_b }
                | Gate::AndKnown { a, b, out, invert_a, invert_b } => {
                    slots[out as usize] = (slots[a as usize] ^ invert_a) & (slots[b as usize] ^ invert_b);
                }
            }
        }
        let read = |output: &Output| match *output {
            Output::Const(bit) => bit,
            Output::Slot { slot, inverted } => slots[slot as usize] ^ inverted,
        };
        match &self.outputs {
            Outputs::Bits(bits) => bits.iter().map(read).collect(),
            Outputs::Word(word) => {
                let sum = word.eval(&slots);
                (0..word.width).map(|i| sum >> i & 1 == 1).collect()
            }
        }
    }

    /// Bytes of the gates' tables of one instance.
    pub(super) fn gate_bytes(&self) -> usize {
        self.ciphertexts * Block::BYTES
    }

    /// The integer, if that is what the circuit yields.
    pub(super) fn word(&self) -> Option<&Word> {
        match &self.outputs {
            Outputs::Bits(_) => None,
            Outputs::Word(word) => Some(word),
        }
    }

    /// Tweaks used by one batch: one per ciphertext and one per hash of an output.
    pub(super) fn batch_tweaks(&self) -> u128 {
        (self.ciphertexts + self.word().map_or(0, |w| w.hashed().count())) as u128
    }
}
