//! The local linear code: every sample is the sum of ten entries of a table at public pseudo-random places.
//!
//! Sample `j` takes its places from the AES blocks `2j, 2j + 1` of a public seed: three of 21 bits from each 64-bit
//! word. The table stays in the cache; loads of one sample and the next do not depend on each other.

use phineus_kernel::block::Block;
use phineus_kernel::prg::Prg;
use rayon::prelude::*;

/// Terms of a sample.
pub(super) const TERMS: usize = 10;
/// Bits of a place.
const PLACE: u32 = 21;
/// Samples whose places are drawn together.
const GROUP: usize = 128;
/// Samples per task.
const TASK: usize = 64 * GROUP;

/// `out[j] += sum_l table[i_(j, l)]`. The table has a power of two of entries, at most `2^21`.
pub(super) fn add(seed: Block, table: &[Block], out: &mut [Block]) {
    debug_assert!(table.len().is_power_of_two() && table.len() <= 1 << PLACE);
    out.par_chunks_mut(TASK).enumerate().for_each(|(task, out)| {
        let mut places = Prg::new(seed);
        places.seek((2 * task * TASK) as u64);
        let mut drawn = [Block::ZERO; 2 * GROUP];
        for out in out.chunks_mut(GROUP) {
            let drawn = &mut drawn[..2 * out.len()];
            places.fill_blocks(drawn);
            for (out, places) in out.iter_mut().zip(drawn.as_chunks().0) {
                *out ^= sample(table, places);
            }
        }
    });
}

#[inline(always)]
fn sample(table: &[Block], places: &[Block; 2]) -> Block {
    let words =
        [places[0].0 as u64, (places[0].0 >> 64) as u64, places[1].0 as u64, (places[1].0 >> 64) as u64];
    let mut sum = Block::ZERO;
    for l in 0..TERMS {
        let place = (words[l / 3] >> (PLACE * (l % 3) as u32)) as usize;
        sum ^= table[place & (table.len() - 1)];
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_linear_local_and_spread() {
        let n = TASK + GROUP + 5;
        let unit = |i: usize| {
            let mut table = vec![Block::ZERO; 64];
            table[i] = Block(1 << i);
            let mut out = vec![Block::ZERO; n];
            add(Block(7), &table, &mut out);
            out
        };
        let mut weights = vec![0; n];
        let mut sum = vec![Block::ZERO; n];
        for i in 0..64 {
            for (j, x) in unit(i).into_iter().enumerate() {
                sum[j] ^= x;
                weights[j] += u32::from(x.0 != 0);
            }
        }
        // An odd number of equal places counts once: the weight has the parity of ten and is at most ten.
        assert!(weights.iter().all(|w| *w <= 10 && w % 2 == 0) && weights.contains(&10));
        let table: Vec<Block> = (0..64).map(|i| Block(1 << i)).collect();
        let mut out = vec![Block::ZERO; n];
        add(Block(7), &table, &mut out);
        assert!(out.iter().zip(&sum).all(|(a, b)| a.0 == b.0));
        let distinct: std::collections::HashSet<_> = out.iter().map(|b| b.0).collect();
        assert!(distinct.len() > n - 10);
    }
}
