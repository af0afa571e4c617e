//! Outputs as additive shares of an integer: what the garbler adds and the evaluator gets sum to
//! `constant + sum_j weight_j b_j + s sum_j u_j d_j mod 2^width` for wires `b_j`, `d_j` and a selecting wire `s`.
//!
//! Method. *Projection*: one entry per wire `b` of a weight (Ball, Malkin, Rosulek, *Garbling gadgets for Boolean and
//! arithmetic circuits*, CCS 2016, section 5.1) with the row of colour 0 left out. Let `B_c` be the label of colour
//! `c`, which means `c + p`, and `h_c = H(B_c, i) mod 2^width`. With `w = h_0 - p weight` the entry is
//! `T = w + (1 - p) weight - h_1`; the evaluator computes `h_c + c T = w + b weight`, the garbler's share is `-w`.
//!
//! *Products* with half gates over the integers: `d = c + p (mod 2)` is `p + (1 - 2p) c`, so that
//! `s u d = s u p + c (1 - 2p) u s`. The first summands of all j are one projection of `s` with the weight
//! `sum_j u_j p_j`, which only the garbler knows. For the second the evaluator gets `x = w' + s (1 - 2p) u`, a projection
//! of `s` again, and, gated by the label `D_c` of `d`, `h(D_c) + c (T'' + x)` with `T'' = h(D_0) - h(D_1) - w'`: in both
//! cases `h(D_0) + c (1 - 2p) u s`. The garbler's share is `-h(D_0)`.
//!
//! Cost: `ceil(width / 8)` bytes per wire `b_j`, twice that per `d_j`, and once for `s`; a product by half gates and its
//! projection would cost 32 bytes more per wire. Hash calls garbling: two per wire and per four weights of `s`; half of
//! that evaluating.
//!
//! Security: of every pair `h_0, h_1` the evaluator knows one; the other is pseudo-random under the TCCR hash and masks the
//! one entry that depends on it, or the share that the entry completes. So are, in any colours, `T` by `h_1` or `w` by
//! `h_0`, and `T''` by `h(D_1)` or `h(D_0)`. Weights need not be public. The tweaks are not used elsewhere.

use phineus_kernel::block::Block;
use phineus_kernel::hash::tccr_groups;

use super::{LANES, Lanes};
use crate::Delta;

/// A wire's part of an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Slot of the wire after the last gate.
    pub slot: u32,
    /// What the wire adds if it is 1, modulo `2^width`.
    pub weight: u32,
}

/// A sum of wires that counts only if another wire is 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// Slot of the selecting wire.
    pub slot: u32,
    /// Whether it selects when it is 0.
    pub inverted: bool,
    /// What the selection alone adds.
    pub weight: u32,
    /// The wires.
    pub terms: Vec<Term>,
}

/// An integer of `width` bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// A sum of wires.
    pub terms: Vec<Term>,
    /// Another one, times a bit.
    pub selected: Option<Selected>,
    /// A constant summand, modulo `2^width`.
    pub constant: u32,
    /// Bits, 1..=32.
    pub width: u32,
}

/// One word per instance of a batch.
type Words = [u32; LANES];

/// Words that a hash of one label yields.
const WORDS: usize = Block::BYTES / 4;

impl Selected {
    /// Hashes of the selecting wire's label: a word for its own weight, and one per term.
    fn hashes(&self) -> usize {
        (1 + self.terms.len()).div_ceil(WORDS)
    }

    fn slots(&self) -> impl Iterator<Item = u32> {
        std::iter::repeat_n(self.slot, self.hashes()).chain(self.terms.iter().map(|t| t.slot))
    }
}

impl Word {
    /// The lowest `width` bits.
    #[must_use]
    pub fn mask(&self) -> u32 {
        u32::MAX >> (32 - self.width)
    }

    /// The integer, from the values of the slots.
    pub(super) fn eval(&self, slots: &[bool]) -> u32 {
        let sum = |start: u32, terms: &[Term]| {
            terms.iter().fold(start, |sum, t| sum.wrapping_add(t.weight * u32::from(slots[t.slot as usize])))
        };
        let selected = self.selected.as_ref().filter(|s| slots[s.slot as usize] != s.inverted);
        let selected = selected.map_or(0, |s| sum(s.weight, &s.terms));
        sum(self.constant, &self.terms).wrapping_add(selected) & self.mask()
    }

    /// The slots whose labels are hashed, in the order of their tweaks.
    pub(super) fn hashed(&self) -> impl Iterator<Item = u32> {
        let selected = self.selected.iter().flat_map(Selected::slots);
        self.terms.iter().map(|t| t.slot).chain(selected)
    }

    /// Bytes of the tables per instance.
    pub(super) fn table_bytes(&self) -> usize {
        self.entries() * self.entry()
    }

    fn entries(&self) -> usize {
        self.terms.len() + self.selected.as_ref().map_or(0, |s| 1 + 2 * s.terms.len())
    }

    /// Bytes of one entry.
    fn entry(&self) -> usize {
        self.width.div_ceil(8) as usize
    }

    /// The garbler's shares of all lanes, and the tables of the first ones: as many as fit, entry after entry.
    pub(super) fn garble(&self, delta: &Delta, tweak: u128, slots: &[Lanes], tables: &mut [u8]) -> Words {
        let offset = delta.block();
        let of_colours = |slot: u32| {
            let zero = &slots[slot as usize];
            let first: Lanes =
                std::array::from_fn(|lane| zero[lane] ^ offset & Block::mask(zero[lane].lsb()));
            [first, first.map(|label| label ^ offset)]
        };
        let mut rows: Vec<[Lanes; 2]> = self.hashed().map(of_colours).collect();
        tccr_groups(tweak, &mut rows);
        let mut entries = tables.chunks_mut((tables.len() / self.entries().max(1)).max(1));
        let mut put = |words: Words| {
            for (bytes, word) in
                entries.next().into_iter().flat_map(|e| e.chunks_mut(self.entry())).zip(words)
            {
                bytes.copy_from_slice(&(word & self.mask()).to_le_bytes()[..bytes.len()]);
            }
        };
        let mut shares = [self.constant; LANES];
        let (terms, rows) = rows.split_at(self.terms.len());
        for (term, row) in self.terms.iter().zip(terms) {
            let (w, entry) = project(row, 0, &colours(slots, term.slot), &[term.weight; LANES]);
            put(entry);
            shares = sub(&shares, &w);
        }
        if let Some(selected) = &self.selected {
            let (own, terms) = rows.split_at(selected.hashes());
            let colour = colours(slots, selected.slot).map(|c| c ^ u32::from(selected.inverted));
            let mut weight = [selected.weight; LANES];
            for term in &selected.terms {
                weight = add(&weight, &colours(slots, term.slot).map(|p| p.wrapping_mul(term.weight)));
            }
            let (w, entry) = project(&own[0], 0, &colour, &weight);
            put(entry);
            shares = sub(&shares, &w);
            for (j, (term, row)) in (1..).zip(selected.terms.iter().zip(terms)) {
                let weight = colours(slots, term.slot)
                    .map(|p| term.weight.wrapping_sub((2 * p).wrapping_mul(term.weight)));
                let (w, entry) = project(&own[j / WORDS], j % WORDS, &colour, &weight);
                put(entry);
                let [h_0, h_1] = [word(&row[0], 0), word(&row[1], 0)];
                put(sub(&sub(&h_0, &h_1), &w));
                shares = sub(&shares, &h_0);
            }
        }
        shares.map(|share| share & self.mask())
    }

    /// The evaluator's shares; those of lanes beyond the tables mean nothing.
    pub(super) fn evaluate(&self, tweak: u128, slots: &[Lanes], tables: &[u8]) -> Words {
        let mut rows: Vec<[Lanes; 1]> = self.hashed().map(|slot| [slots[slot as usize]]).collect();
        tccr_groups(tweak, &mut rows);
        let mut entries = tables.chunks((tables.len() / self.entries().max(1)).max(1));
        let mut get = || {
            let mut words = [0; LANES];
            for (bytes, word) in
                entries.next().into_iter().flat_map(|e| e.chunks(self.entry())).zip(&mut words)
            {
                let mut all = [0; 4];
                all[..bytes.len()].copy_from_slice(bytes);
                *word = u32::from_le_bytes(all);
            }
            words
        };
        let mut shares = [0; LANES];
        let (terms, rows) = rows.split_at(self.terms.len());
        for (term, [row]) in self.terms.iter().zip(terms) {
            shares = add(&shares, &add(&word(row, 0), &gate(&colours(slots, term.slot), &get())));
        }
        if let Some(selected) = &self.selected {
            let (own, terms) = rows.split_at(selected.hashes());
            let colour = colours(slots, selected.slot);
            let projected =
                |j: usize, entry: Words| add(&word(&own[j / WORDS][0], j % WORDS), &gate(&colour, &entry));
            shares = add(&shares, &projected(0, get()));
            for (j, (term, [row])) in (1..).zip(selected.terms.iter().zip(terms)) {
                let x = projected(j, get());
                let product = gate(&colours(slots, term.slot), &add(&get(), &x));
                shares = add(&shares, &add(&word(row, 0), &product));
            }
        }
        shares.map(|share| share & self.mask())
    }
}

/// A projection of word `j` of the hashes: `w` and the entry. `p` is what colour 0 means.
fn project(row: &[Lanes; 2], j: usize, p: &Words, weight: &Words) -> (Words, Words) {
    let if_one: Words = std::array::from_fn(|lane| p[lane].wrapping_mul(weight[lane]));
    let w = sub(&word(&row[0], j), &if_one);
    (w, sub(&add(&w, &sub(weight, &if_one)), &word(&row[1], j)))
}

/// Word `j` of the blocks.
fn word(blocks: &Lanes, j: usize) -> Words {
    blocks.map(|block| (block.0 >> (32 * j)) as u32)
}

/// The lowest bits of the labels in a slot.
fn colours(slots: &[Lanes], slot: u32) -> Words {
    slots[slot as usize].map(|label| u32::from(label.lsb()))
}

/// The words whose bit is 1, zero elsewhere.
fn gate(bits: &Words, words: &Words) -> Words {
    std::array::from_fn(|lane| words[lane] & bits[lane].wrapping_neg())
}

fn add(a: &Words, b: &Words) -> Words {
    std::array::from_fn(|lane| a[lane].wrapping_add(b[lane]))
}

fn sub(a: &Words, b: &Words) -> Words {
    std::array::from_fn(|lane| a[lane].wrapping_sub(b[lane]))
}
