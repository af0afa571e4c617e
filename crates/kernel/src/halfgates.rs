//! Half-gates garbling and evaluation of one batch of [`LANES`] instances of a circuit.
//!
//! Zahur, Rosulek, Evans, *Two halves make a whole*, EUROCRYPT 2015. With offset `Delta` (free XOR), zero labels
//! `A, B`, colours (lowest bits) `p_a, p_b`, and hash `H` under the tweaks `i, i'` of the gate and the batch:
//!
//! * [`Gate::And`], figure 2: `T_G = H(A, i) + H(A + Delta, i) + p_b Delta`, `T_E = H(B, i') + H(B + Delta, i') + A`,
//!   `C = H(A, i) + p_a T_G + H(B, i') + p_b (T_E + A)`. From active labels `A, B` of colours `s_a, s_b` the
//!   evaluator gets `C = H(A, i) + s_a T_G + H(B, i') + s_b (T_E + A)`.
//! * [`Gate::AndKnown`], section 3.2: where the evaluator knows `b` the generator's half is not needed. Requires
//!   `p_b = 0`, so that the active label's colour *is* `b`: `T = H(B, i) + H(B + Delta, i) + A`, `C = H(B, i)`; the
//!   evaluator gets `C = H(B, i) + s_b (T + A)`. For `a (b + 1) = ab + a` both add `A`: its label is known to them.
//!
//! Cost: 32 and 16 bytes; four and two hash calls garbling, half of that evaluating. Table order: gate, then half
//! (generator's first), then lane.

use crate::block::Block;
use crate::cpu::Backend;
use crate::hash::{Engine, Job, KEYS, LANE_BYTES, Lanes, dispatch};

pub use crate::hash::LANES;

/// A gate. Operands and result are slots; the result may overwrite an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// `out = a + b`, free.
    Xor {
        /// First operand.
        a: u32,
        /// Second operand.
        b: u32,
        /// Result.
        out: u32,
    },
    /// `out = (a + invert_a)(b + invert_b)`.
    And {
        /// First operand.
        a: u32,
        /// Second operand.
        b: u32,
        /// Result.
        out: u32,
        /// Whether the first operand is negated.
        invert_a: bool,
        /// Whether the second operand is negated.
        invert_b: bool,
    },
    /// The same where the colour of `b` is its value, which the evaluator knows.
    AndKnown {
        /// First operand.
        a: u32,
        /// The known operand.
        b: u32,
        /// Result.
        out: u32,
        /// Whether the first operand is negated.
        invert_a: bool,
        /// Whether the second operand is negated.
        invert_b: bool,
    },
}

impl Gate {
    /// Ciphertexts per instance, which is also the number of tweaks.
    #[must_use]
    pub const fn ciphertexts(&self) -> usize {
        match self {
            Self::Xor { .. } => 0,
            Self::And { .. } => 2,
            Self::AndKnown { .. } => 1,
        }
    }
}

/// Bytes of the tables of one batch of the gates.
#[must_use]
pub fn table_bytes(gates: &[Gate]) -> usize {
    gates.iter().map(Gate::ciphertexts).sum::<usize>() * LANE_BYTES
}

/// Garbles: zero labels of the inputs in `slots` become those of the outputs; fills `tables`. Tweaks count up from
/// `tweak`, one per ciphertext.
///
/// # Panics
/// If `tables` has not [`table_bytes`] bytes, or a gate names a slot beyond `slots`.
pub fn garble(gates: &[Gate], delta: Block, tweak: u128, slots: &mut [[Block; LANES]], tables: &mut [u8]) {
    garble_on(Backend::detected(), gates, delta, tweak, slots, tables);
}

/// As [`garble`], on a given backend.
///
/// # Panics
/// As [`garble`].
pub fn garble_on(
    backend: Backend,
    gates: &[Gate],
    delta: Block,
    tweak: u128,
    slots: &mut [[Block; LANES]],
    tables: &mut [u8],
) {
    assert_eq!(tables.len(), table_bytes(gates), "bytes of the tables");
    dispatch(backend, Garble { gates, delta, tweak, slots, tables });
}

/// Evaluates: active labels of the inputs in `slots` become those of the outputs.
///
/// # Panics
/// As [`garble`].
pub fn evaluate(gates: &[Gate], tweak: u128, slots: &mut [[Block; LANES]], tables: &[u8]) {
    evaluate_on(Backend::detected(), gates, tweak, slots, tables);
}

/// As [`evaluate`], on a given backend.
///
/// # Panics
/// As [`garble`].
pub fn evaluate_on(
    backend: Backend,
    gates: &[Gate],
    tweak: u128,
    slots: &mut [[Block; LANES]],
    tables: &[u8],
) {
    assert_eq!(tables.len(), table_bytes(gates), "bytes of the tables");
    dispatch(backend, Evaluate { gates, tweak, slots, tables });
}

struct Garble<'g> {
    gates: &'g [Gate],
    delta: Block,
    tweak: u128,
    slots: &'g mut [Lanes],
    tables: &'g mut [u8],
}

impl Job for Garble<'_> {
    type Output = ();

    #[inline(always)]
    fn run<E: Engine>(self, e: E) {
        let Self { gates, delta, tweak, slots, tables } = self;
        let offset = e.splat(delta);
        let mut keys = Keys::new(e, tweak);
        let mut tables = tables.as_chunks_mut::<LANE_BYTES>().0.iter_mut();
        for gate in gates {
            match *gate {
                Gate::Xor { a, b, out } => xor(e, slots, a, b, out),
                Gate::And { a, b, out, invert_a, invert_b } => {
                    let a = e.xor(e.get(&slots[a as usize]), e.splat(delta & Block::mask(invert_a)));
                    let b = e.xor(e.get(&slots[b as usize]), e.splat(delta & Block::mask(invert_b)));
                    let key = keys.take(e, 2);
                    let [a_0, a_1] = e.hash(&keys.schedules, key, [a, e.xor(a, offset)]);
                    let [b_0, b_1] = e.hash(&keys.schedules, key + 1, [b, e.xor(b, offset)]);
                    let (colour_a, colour_b) = (e.colours(a), e.colours(b));
                    let generator = e.xor(e.xor(a_0, a_1), e.and(offset, colour_b));
                    let sum_b = e.xor(b_0, b_1);
                    let c = e.xor(e.xor(a_0, e.and(generator, colour_a)), e.xor(b_0, e.and(sum_b, colour_b)));
                    e.put(c, &mut slots[out as usize]);
                    for half in [generator, e.xor(sum_b, a)] {
                        if let Some(table) = tables.next() {
                            e.store(half, table);
                        }
                    }
                }
                Gate::AndKnown { a, b, out, invert_a, invert_b } => {
                    let a = e.xor(e.get(&slots[a as usize]), e.splat(delta & Block::mask(invert_a)));
                    let b = e.get(&slots[b as usize]);
                    let key = keys.take(e, 1);
                    let [b_0, b_1] = e.hash(&keys.schedules, key, [b, e.xor(b, offset)]);
                    let c = e.xor(b_0, e.and(a, e.splat(Block::mask(invert_b))));
                    e.put(c, &mut slots[out as usize]);
                    if let Some(table) = tables.next() {
                        e.store(e.xor(e.xor(b_0, b_1), a), table);
                    }
                }
            }
        }
    }
}

struct Evaluate<'g> {
    gates: &'g [Gate],
    tweak: u128,
    slots: &'g mut [Lanes],
    tables: &'g [u8],
}

impl Job for Evaluate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<E: Engine>(self, e: E) {
        let Self { gates, tweak, slots, tables } = self;
        let mut keys = Keys::new(e, tweak);
        let mut tables = tables.as_chunks::<LANE_BYTES>().0.iter();
        let mut table = || e.load(tables.next().unwrap_or(&[0; LANE_BYTES]));
        for gate in gates {
            match *gate {
                Gate::Xor { a, b, out } => xor(e, slots, a, b, out),
                Gate::And { a, b, out, .. } => {
                    let (a, b) = (e.get(&slots[a as usize]), e.get(&slots[b as usize]));
                    let key = keys.take(e, 2);
                    let [hash_a] = e.hash(&keys.schedules, key, [a]);
                    let [hash_b] = e.hash(&keys.schedules, key + 1, [b]);
                    let generator = e.and(table(), e.colours(a));
                    let evaluator = e.and(e.xor(table(), a), e.colours(b));
                    let c = e.xor(e.xor(hash_a, generator), e.xor(hash_b, evaluator));
                    e.put(c, &mut slots[out as usize]);
                }
                Gate::AndKnown { a, b, out, invert_b, .. } => {
                    let (a, b) = (e.get(&slots[a as usize]), e.get(&slots[b as usize]));
                    let key = keys.take(e, 1);
                    let [hash_b] = e.hash(&keys.schedules, key, [b]);
                    let c = e.xor(hash_b, e.and(e.xor(table(), a), e.colours(b)));
                    let c = e.xor(c, e.and(a, e.splat(Block::mask(invert_b))));
                    e.put(c, &mut slots[out as usize]);
                }
            }
        }
    }
}

#[inline(always)]
fn xor<E: Engine>(e: E, slots: &mut [Lanes], a: u32, b: u32, out: u32) {
    let sum = e.xor(e.get(&slots[a as usize]), e.get(&slots[b as usize]));
    e.put(sum, &mut slots[out as usize]);
}

/// The schedules of the next tweaks.
struct Keys<E: Engine> {
    schedules: E::Schedules,
    /// First tweak of the schedules.
    first: u128,
    used: usize,
}

impl<E: Engine> Keys<E> {
    #[inline(always)]
    fn new(e: E, tweak: u128) -> Self {
        Self { schedules: e.schedules(tweak), first: tweak, used: 0 }
    }

    /// The number of the first of `count` keys not used yet.
    #[inline(always)]
    fn take(&mut self, e: E, count: usize) -> usize {
        if self.used + count > KEYS {
            self.first = self.first.wrapping_add(self.used as u128);
            self.used = 0;
            self.schedules = e.schedules(self.first);
        }
        self.used += count;
        self.used - count
    }
}

#[cfg(test)]
mod tests;
