//! Outputs as additive shares of an integer: what the garbler adds and the evaluator gets sum to
//! `constant + sum_j weight_j b_j mod 2^width` for wires `b_j`.
//!
//! Method: one projection per wire into `Z_{2^width}` (Ball, Malkin, Rosulek, *Garbling gadgets for Boolean and
//! arithmetic circuits*, CCS 2016, section 5.1) with the row of colour 0 left out. Let `B_s` be the label of colour
//! `s`, which means `s + p`, and `h_s = H(B_s, i) mod 2^width`. With `w = h_0 - p weight` the table is
//! `T = w + (1 - p) weight - h_1`; the evaluator computes `h_s + s T = w + b weight`, the garbler's share is `-w`.
//!
//! Cost: `ceil(width / 8)` bytes per wire where bits plus a subtraction of the evaluator's mask would cost 32 per bit
//! of the ring; two hash calls garbling, one evaluating. Security: the evaluator knows one of `h_0, h_1`; the other
//! is pseudo-random under the TCCR hash, hence so are `T` given the first row, and `w`. The tweak is not used
//! elsewhere.

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

/// An integer of `width` bits, a sum of wires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The wires.
    pub terms: Vec<Term>,
    /// A constant summand, modulo `2^width`.
    pub constant: u32,
    /// Bits, 1..=32.
    pub width: u32,
}

impl Word {
    /// The lowest `width` bits.
    #[must_use]
    pub fn mask(&self) -> u32 {
        u32::MAX >> (32 - self.width)
    }

    /// Bytes of the tables per instance.
    pub(super) fn table_bytes(&self) -> usize {
        self.terms.len() * self.entry()
    }

    /// Bytes of one entry.
    fn entry(&self) -> usize {
        self.width.div_ceil(8) as usize
    }

    /// The garbler's shares of all lanes, and the tables of the first ones: as many as fit, term after term.
    pub(super) fn garble(
        &self,
        delta: &Delta,
        tweak: u128,
        slots: &[Lanes],
        tables: &mut [u8],
    ) -> [u32; LANES] {
        let offset = delta.block();
        let of_colours = |term: &Term| {
            let mut rows = [slots[term.slot as usize]; 2];
            for lane in 0..LANES {
                let zero = slots[term.slot as usize][lane];
                let swap = offset & Block::mask(zero.lsb());
                rows[0][lane] = zero ^ swap;
                rows[1][lane] = zero ^ swap ^ offset;
            }
            rows
        };
        let mut rows: Vec<[Lanes; 2]> = self.terms.iter().map(of_colours).collect();
        tccr_groups(tweak, &mut rows);
        let mut shares = [self.constant & self.mask(); LANES];
        for ((term, [row_0, row_1]), table) in self.terms.iter().zip(&rows).zip(self.tables_mut(tables)) {
            for (lane, share) in shares.iter_mut().enumerate() {
                let colour = u32::from(slots[term.slot as usize][lane].lsb());
                let w = low(row_0[lane]).wrapping_sub(colour * term.weight);
                *share = share.wrapping_sub(w) & self.mask();
                let entry = w.wrapping_add((1 - colour) * term.weight).wrapping_sub(low(row_1[lane]));
                let bytes = (entry & self.mask()).to_le_bytes();
                if let Some(out) = table.get_mut(lane * self.entry()..(lane + 1) * self.entry()) {
                    out.copy_from_slice(&bytes[..self.entry()]);
                }
            }
        }
        shares
    }

    /// The evaluator's shares; those of lanes beyond the tables mean nothing.
    pub(super) fn evaluate(&self, tweak: u128, slots: &[Lanes], tables: &[u8]) -> [u32; LANES] {
        let mut rows: Vec<[Lanes; 1]> = self.terms.iter().map(|t| [slots[t.slot as usize]]).collect();
        tccr_groups(tweak, &mut rows);
        let mut shares = [0_u32; LANES];
        let size = (tables.len() / self.terms.len().max(1)).max(1);
        for ((term, [row]), table) in self.terms.iter().zip(&rows).zip(tables.chunks(size)) {
            for ((lane, share), entry) in shares.iter_mut().enumerate().zip(table.chunks(self.entry())) {
                let mut bytes = [0; 4];
                bytes[..entry.len()].copy_from_slice(entry);
                let colour = u32::from(slots[term.slot as usize][lane].lsb());
                let value = low(row[lane]).wrapping_add(u32::from_le_bytes(bytes) & colour.wrapping_neg());
                *share = share.wrapping_add(value) & self.mask();
            }
        }
        shares
    }

    fn tables_mut<'t>(&self, tables: &'t mut [u8]) -> impl Iterator<Item = &'t mut [u8]> {
        let size = (tables.len() / self.terms.len().max(1)).max(1);
        tables.chunks_mut(size)
    }
}

fn low(x: Block) -> u32 {
    x.0 as u32
}
