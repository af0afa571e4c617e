//! Construction of circuits with constants folded and negations free.
//!
//! The evaluator knows its own inputs and their sums. The labels of its inputs carry the value in their colour, and
//! colours add as values do, so that an AND with such a wire costs one ciphertext instead of two
//! ([`Gate::AndKnown`]). What only the garbler knows saves nothing: tables are made before its inputs exist.

use super::circuit::{Circuit, Gate, Output, Outputs};
use super::word::{Selected, Term, Word};

/// A bit while a circuit is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bit {
    /// Known to everybody.
    Const(bool),
    /// A wire, negated if `inverted`.
    Wire {
        /// Its number.
        id: u32,
        /// Whether it is negated.
        inverted: bool,
    },
}

/// The constant 0.
pub const ZERO: Bit = Bit::Const(false);
/// The constant 1.
pub const ONE: Bit = Bit::Const(true);

impl std::ops::Not for Bit {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Const(bit) => Self::Const(!bit),
            Self::Wire { id, inverted } => Self::Wire { id, inverted: !inverted },
        }
    }
}

/// A number as a sum of weighted bits, some of which count only if a selecting bit is 1.
#[derive(Debug, Clone)]
pub struct Number {
    /// What is added in any case.
    pub terms: Vec<(Bit, i64)>,
    /// Decides on the rest.
    pub selector: Bit,
    /// What is added if it is 1.
    pub selected: Vec<(Bit, i64)>,
}

impl Number {
    /// A signed number in two's complement, least significant bit first.
    #[must_use]
    pub fn signed(bits: &[Bit]) -> Self {
        let top = bits.len().saturating_sub(1);
        let weight = |i: usize| {
            let power = 1_i64.checked_shl(i as u32).unwrap_or(0);
            if i == top { power.wrapping_neg() } else { power }
        };
        let terms = bits.iter().enumerate().map(|(i, bit)| (*bit, weight(i))).collect();
        Self { terms, selector: ZERO, selected: vec![] }
    }
}

/// A sum of wires modulo a power of two.
#[derive(Default)]
struct Linear {
    constant: u32,
    weights: Vec<(u32, u32)>,
}

impl Linear {
    fn add(&mut self, terms: &[(Bit, i64)]) {
        for (bit, weight) in terms {
            let weight = *weight as u32;
            match *bit {
                Bit::Const(one) => {
                    self.constant = self.constant.wrapping_add(weight & u32::from(one).wrapping_neg());
                }
                Bit::Wire { id, inverted } => {
                    let signed = if inverted { weight.wrapping_neg() } else { weight };
                    self.constant = self.constant.wrapping_add(weight & u32::from(inverted).wrapping_neg());
                    match self.weights.iter_mut().find(|(wire, _)| *wire == id) {
                        Some((_, sum)) => *sum = sum.wrapping_add(signed),
                        None => self.weights.push((id, signed)),
                    }
                }
            }
        }
    }

    /// Modulo `2^width`, without wires that add nothing.
    fn reduce(&mut self, width: u32) -> &Self {
        let mask = u32::MAX >> (32 - width);
        self.constant &= mask;
        self.weights.iter_mut().for_each(|(_, weight)| *weight &= mask);
        self.weights.retain(|(_, weight)| *weight != 0);
        self
    }

    fn wires(&self) -> impl Iterator<Item = Bit> {
        self.weights.iter().map(|(id, _)| wire(*id as usize))
    }
}

/// Collects gates; [`Builder::finish`] drops the unused ones and assigns slots.
///
/// Wires are numbered: inputs of the garbler, inputs of the evaluator, results of gates.
#[derive(Debug, Clone)]
pub struct Builder {
    garbler_inputs: usize,
    evaluator_inputs: usize,
    gates: Vec<Gate>,
    /// Per gate whether the evaluator knows the result from its colour.
    known: Vec<bool>,
}

impl Builder {
    /// A builder for circuits with so many inputs.
    #[must_use]
    pub fn new(garbler_inputs: usize, evaluator_inputs: usize) -> Self {
        Self { garbler_inputs, evaluator_inputs, gates: vec![], known: vec![] }
    }

    /// Bits `start..start + len` of the garbler's input.
    ///
    /// # Panics
    /// If there are fewer inputs.
    #[must_use]
    pub fn garbler(&self, start: usize, len: usize) -> Vec<Bit> {
        assert!(start + len <= self.garbler_inputs, "garbler's inputs");
        (start..start + len).map(wire).collect()
    }

    /// Bits `start..start + len` of the evaluator's input.
    ///
    /// # Panics
    /// If there are fewer inputs.
    #[must_use]
    pub fn evaluator(&self, start: usize, len: usize) -> Vec<Bit> {
        assert!(start + len <= self.evaluator_inputs, "evaluator's inputs");
        (start..start + len).map(|i| wire(self.garbler_inputs + i)).collect()
    }

    /// `a + b`.
    pub fn xor(&mut self, a: Bit, b: Bit) -> Bit {
        match (a, b) {
            (Bit::Const(c), x) | (x, Bit::Const(c)) => {
                if c {
                    !x
                } else {
                    x
                }
            }
            (Bit::Wire { id: a, inverted: i }, Bit::Wire { id: b, inverted: j }) if a == b => {
                Bit::Const(i ^ j)
            }
            (Bit::Wire { id: a, inverted: i }, Bit::Wire { id: b, inverted: j }) => {
                let known = self.knows(a) && self.knows(b);
                let id = self.push(known, |out| Gate::Xor { a, b, out });
                Bit::Wire { id, inverted: i ^ j }
            }
        }
    }

    /// `a b`.
    pub fn and(&mut self, a: Bit, b: Bit) -> Bit {
        match (a, b) {
            (Bit::Const(false), _) | (_, Bit::Const(false)) => ZERO,
            (Bit::Const(true), x) | (x, Bit::Const(true)) => x,
            (Bit::Wire { id: p, .. }, Bit::Wire { id: q, .. }) if p == q => {
                if a == b {
                    a
                } else {
                    ZERO
                }
            }
            (Bit::Wire { id: a, inverted: invert_a }, Bit::Wire { id: b, inverted: invert_b }) => {
                let id = match (self.knows(a), self.knows(b)) {
                    (_, true) => self.push(false, |out| Gate::AndKnown { a, b, out, invert_a, invert_b }),
                    (true, false) => self.push(false, |out| Gate::AndKnown {
                        a: b,
                        b: a,
                        out,
                        invert_a: invert_b,
                        invert_b: invert_a,
                    }),
                    (false, false) => self.push(false, |out| Gate::And { a, b, out, invert_a, invert_b }),
                };
                Bit::Wire { id, inverted: false }
            }
        }
    }

    /// `a or b`: one AND.
    pub fn or(&mut self, a: Bit, b: Bit) -> Bit {
        !self.and(!a, !b)
    }

    /// `a` if `s`, else `b`: one AND.
    pub fn select(&mut self, s: Bit, a: Bit, b: Bit) -> Bit {
        let difference = self.xor(a, b);
        let chosen = self.and(s, difference);
        self.xor(b, chosen)
    }

    /// The circuit with these outputs.
    #[must_use]
    pub fn finish(self, outputs: &[Bit]) -> Circuit {
        self.build(outputs, |slots| {
            let place = |bit: &Bit| match *bit {
                Bit::Const(bit) => Output::Const(bit),
                Bit::Wire { id, inverted } => Output::Slot { slot: slots.of(id), inverted },
            };
            Outputs::Bits(outputs.iter().map(place).collect())
        })
    }

    /// The circuit of which the parties get additive shares of a number, modulo `2^width`.
    ///
    /// # Panics
    /// If `width` is not in `1..=32`.
    #[must_use]
    pub fn finish_word(self, number: &Number, width: u32) -> Circuit {
        assert!((1..=32).contains(&width), "words of 32 bits");
        let (mut plain, mut chosen) = (Linear::default(), Linear::default());
        plain.add(&number.terms);
        match number.selector {
            Bit::Const(false) => {}
            Bit::Const(true) => plain.add(&number.selected),
            Bit::Wire { .. } => chosen.add(&number.selected),
        }
        if let Bit::Wire { id, inverted } = number.selector {
            if chosen.reduce(width).weights.is_empty() {
                // Nothing is selected but a constant.
                plain.add(&[(number.selector, i64::from(chosen.constant))]);
            } else if let Some(at) = plain.weights.iter().position(|(wire, _)| *wire == id) {
                // What the selector adds by itself costs nothing more.
                let (_, weight) = plain.weights.swap_remove(at);
                let (constant, own) = if inverted { (weight, weight.wrapping_neg()) } else { (0, weight) };
                plain.constant = plain.constant.wrapping_add(constant);
                chosen.constant = chosen.constant.wrapping_add(own);
            }
        }
        plain.reduce(width);
        chosen.reduce(width);
        let mut live: Vec<Bit> = plain.wires().chain(chosen.wires()).collect();
        let selector =
            if let (Bit::Wire { id, inverted }, false) = (number.selector, chosen.weights.is_empty()) {
                live.push(number.selector);
                Some((id, inverted))
            } else {
                None
            };
        self.build(&live, |slots| {
            let terms = |linear: &Linear| {
                linear.weights.iter().map(|&(id, weight)| Term { slot: slots.of(id), weight }).collect()
            };
            let selected = selector.map(|(id, inverted)| Selected {
                slot: slots.of(id),
                inverted,
                weight: chosen.constant,
                terms: terms(&chosen),
            });
            Outputs::Word(Word { terms: terms(&plain), selected, constant: plain.constant, width })
        })
    }

    /// Drops what `live` does not need and assigns slots.
    fn build(self, outputs: &[Bit], place: impl FnOnce(&Slots) -> Outputs) -> Circuit {
        let inputs = self.garbler_inputs + self.evaluator_inputs;
        let last_use = self.last_uses(outputs);
        let mut slots = Slots::new(&last_use, inputs);
        let mut gates: Vec<Gate> = vec![];
        for (i, gate) in self.gates.into_iter().enumerate() {
            if last_use[inputs + i] == UNUSED {
                continue;
            }
            let (a, b) = operands(&gate);
            let (slot_a, slot_b) = (slots.of(a), slots.of(b));
            for operand in [a, b] {
                if last_use[operand as usize] == i {
                    slots.release(operand);
                }
            }
            let out = slots.take(inputs + i);
            gates.push(match gate {
                Gate::Xor { .. } => Gate::Xor { a: slot_a, b: slot_b, out },
                Gate::And { invert_a, invert_b, .. } => {
                    Gate::And { a: slot_a, b: slot_b, out, invert_a, invert_b }
                }
                Gate::AndKnown { invert_a, invert_b, .. } => {
                    Gate::AndKnown { a: slot_a, b: slot_b, out, invert_a, invert_b }
                }
            });
        }
        let outputs = place(&slots);
        Circuit {
            mixes: mixes(self.garbler_inputs, self.evaluator_inputs, slots.count, &gates, &outputs),
            garbler_inputs: self.garbler_inputs,
            evaluator_inputs: self.evaluator_inputs,
            outputs,
            and_count: gates.iter().filter(|g| g.ciphertexts() > 0).count(),
            ciphertexts: gates.iter().map(Gate::ciphertexts).sum(),
            gates,
            slots: slots.count,
        }
    }

    /// Per wire the last gate that reads it, [`OUTPUT`] if it is an output, [`UNUSED`] if nothing needs it.
    fn last_uses(&self, outputs: &[Bit]) -> Vec<usize> {
        let inputs = self.garbler_inputs + self.evaluator_inputs;
        let mut last_use = vec![UNUSED; inputs + self.gates.len()];
        for output in outputs {
            if let Bit::Wire { id, .. } = output {
                last_use[*id as usize] = OUTPUT;
            }
        }
        for (i, gate) in self.gates.iter().enumerate().rev() {
            if last_use[inputs + i] != UNUSED {
                let (a, b) = operands(gate);
                for operand in [a, b] {
                    let last = &mut last_use[operand as usize];
                    if *last == UNUSED {
                        *last = i;
                    }
                }
            }
        }
        last_use
    }

    /// Whether the colour of a wire's active label is its value, and so known to the evaluator.
    fn knows(&self, wire: u32) -> bool {
        let (wire, inputs) = (wire as usize, self.garbler_inputs + self.evaluator_inputs);
        wire >= self.garbler_inputs && (wire < inputs || self.known[wire - inputs])
    }

    fn push(&mut self, known: bool, gate: impl FnOnce(u32) -> Gate) -> u32 {
        let id = (self.garbler_inputs + self.evaluator_inputs + self.gates.len()) as u32;
        self.gates.push(gate(id));
        self.known.push(known);
        id
    }
}

const UNUSED: usize = usize::MAX;
const OUTPUT: usize = usize::MAX - 1;

fn wire(id: usize) -> Bit {
    Bit::Wire { id: id as u32, inverted: false }
}

fn operands(gate: &Gate) -> (u32, u32) {
    let (Gate::Xor { a, b, .. } | Gate::And { a, b, .. } | Gate::AndKnown { a, b, .. }) = *gate;
    (a, b)
}

/// Whether nothing that is a sum of the garbler's inputs alone is hashed. Wires are tagged: zero for the garbler's inputs,
/// a number of its own for any other that is no sum of others. Sums of different tags of 128 bits vanish with
/// negligible probability.
fn mixes(garbler: usize, evaluator: usize, slots: usize, gates: &[Gate], outputs: &Outputs) -> bool {
    let mut fresh = (1_u64..).map(tag);
    let mut tags = vec![0_u128; slots];
    tags[garbler..garbler + evaluator].iter_mut().zip(&mut fresh).for_each(|(slot, tag)| *slot = tag);
    for gate in gates {
        let (a, b, out, hashes_a) = match *gate {
            Gate::Xor { a, b, out } => {
                tags[out as usize] = tags[a as usize] ^ tags[b as usize];
                continue;
            }
            Gate::And { a, b, out, .. } => (a, b, out, true),
            Gate::AndKnown { a, b, out, .. } => (a, b, out, false),
        };
        if tags[b as usize] == 0 || hashes_a && tags[a as usize] == 0 {
            return false;
        }
        tags[out as usize] = fresh.next().unwrap_or_default();
    }
    match outputs {
        Outputs::Bits(_) => true,
        Outputs::Word(word) => word.hashed().all(|slot| tags[slot as usize] != 0),
    }
}

/// Two steps of SplitMix64.
fn tag(n: u64) -> u128 {
    let half = |n: u64| {
        let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        u128::from(z ^ z >> 31)
    };
    half(2 * n) << 64 | half(2 * n + 1)
}

/// Assignment of wires to slots; a slot is reused as soon as its wire is dead.
struct Slots {
    of_wire: Vec<u32>,
    free: Vec<u32>,
    count: usize,
}

impl Slots {
    fn new(last_use: &[usize], inputs: usize) -> Self {
        let mut of_wire = vec![u32::MAX; last_use.len()];
        let mut free = vec![];
        for (i, slot) in of_wire.iter_mut().enumerate().take(inputs) {
            *slot = i as u32;
            if last_use[i] == UNUSED {
                free.push(i as u32);
            }
        }
        Self { of_wire, free, count: inputs }
    }

    fn of(&self, wire: u32) -> u32 {
        self.of_wire[wire as usize]
    }

    fn release(&mut self, wire: u32) {
        self.free.push(self.of_wire[wire as usize]);
    }

    fn take(&mut self, wire: usize) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count as u32 - 1
        });
        self.of_wire[wire] = slot;
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_and_equal_wires_fold() {
        let mut b = Builder::new(1, 1);
        let (x, y) = (b.garbler(0, 1)[0], b.evaluator(0, 1)[0]);
        assert_eq!(b.xor(x, ONE), !x);
        assert_eq!(b.xor(x, x), ZERO);
        assert_eq!(b.xor(x, !x), ONE);
        assert_eq!(b.and(x, ONE), x);
        assert_eq!(b.and(ZERO, y), ZERO);
        assert_eq!(b.and(x, x), x);
        assert_eq!(b.and(x, !x), ZERO);
        assert_eq!(b.or(y, ONE), ONE);
        assert_eq!(b.select(y, ONE, ZERO), y);
        assert_eq!(b.clone().finish(&[x, y, ONE]).gates().len(), 0);
        let used = b.and(x, !y);
        let _unused = b.and(used, y);
        let circuit = b.finish(&[!used, ONE]);
        assert_eq!((circuit.and_count(), circuit.gates().len()), (1, 1));
        for i in 0..4 {
            let (x, y) = (i & 1 == 1, i & 2 == 2);
            assert_eq!(circuit.eval(&[x], &[y]), [!(x & !y), true]);
        }
    }

    #[test]
    fn dead_slots_are_reused_and_shared_wires_are_not() {
        let mut b = Builder::new(2, 0);
        let x = b.garbler(0, 2);
        let mut a = x[0];
        for _ in 0..50 {
            let t = b.xor(a, x[1]);
            a = b.and(t, !x[0]);
            a = b.xor(a, t);
        }
        let circuit = b.finish(&[a, x[0], a]);
        assert!(circuit.slots() <= 4, "{}", circuit.slots());
        for i in 0..4 {
            let (p, q) = (i & 1 == 1, i & 2 == 2);
            let expected = (0..50).fold(p, |a, _| ((a ^ q) & !p) ^ a ^ q);
            assert_eq!(circuit.eval(&[p, q], &[]), [expected, p, expected]);
        }
    }
}
