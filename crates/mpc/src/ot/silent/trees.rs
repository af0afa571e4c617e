//! The trees of a round, in batches of sixteen: single-point correlated OT.
//!
//! Leaf `j` of tree `lane` of batch `b` is sample `(b 2^d + j) 16 + lane`.

use phineus_kernel::block::Block;
use phineus_kernel::ggm::{self, LANES, Puncture, position};
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::{PeerMisbehaved, check_len};
use rayon::prelude::*;
use zeroize::Zeroize;

use super::{SUMS, Set};
use crate::Delta;

type Lanes = [Block; LANES];

/// The sender: all leaves, into zeros, and the masked sums of the left nodes of all levels.
pub(super) fn grow(
    set: Set,
    delta: &Delta,
    reserve: &[Block],
    roots: &mut Prg,
    tweak: u128,
    leaves: &mut [Block],
) -> Vec<u8> {
    let depth = set.depth();
    let mut first = vec![[Block::ZERO; LANES]; set.trees() / LANES];
    roots.fill_blocks(first.as_flattened_mut());
    let mut sums = reserve[set.paths()].to_vec();
    leaves
        .par_chunks_mut(LANES << depth)
        .zip(sums.par_chunks_mut(depth * LANES))
        .zip(&first)
        .enumerate()
        .for_each(|(batch, ((leaves, sums), root))| {
            let (nodes, _) = leaves.as_chunks_mut::<LANES>();
            nodes[0] = *root;
            nodes[1] = root.map(|k| k ^ delta.block());
            mask(&mut sums[..LANES], root);
            for level in 1..depth {
                let [left, _] = ggm::expand(level_tweak(set, tweak, batch, level), nodes, 1 << level);
                mask(&mut sums[level * LANES..], &left);
            }
            ggm::leaves(nodes);
        });
    first.as_flattened_mut().zeroize();
    Block::as_bytes(&sums).to_vec()
}

/// The receiver: all leaves, into zeros, the unknown ones plus the offset.
///
/// # Errors
/// If the message has not the length of the masked sums.
pub(super) fn reconstruct(
    set: Set,
    reserve: &[Block],
    sums: &[u8],
    tweak: u128,
    leaves: &mut [Block],
) -> Result<(), PeerMisbehaved> {
    check_len(SUMS.name(), sums, set.sums_len())?;
    let depth = set.depth();
    leaves
        .par_chunks_mut(LANES << depth)
        .zip(reserve[set.paths()].par_chunks(depth * LANES))
        .zip(sums.par_chunks(depth * LANES * Block::BYTES))
        .enumerate()
        .for_each(|(batch, ((leaves, old), sums))| {
            let (nodes, _) = leaves.as_chunks_mut::<LANES>();
            let (old, _) = old.as_chunks::<LANES>();
            let mut sums = sums.as_chunks().0.iter().map(|&s| Block::from_bytes(s));
            // The side that the path does not take: its sum, unmasked.
            let mut unmask = |old: &Lanes| old.map(|label| label ^ sums.next().unwrap_or_default());
            let turn = |old: &Lanes| old.map(|label| Block::mask(!label.lsb()) & position(1));
            let path = turn(&old[0]);
            let mut puncture =
                Puncture { path, sibling_at: path.map(|p| p ^ position(1)), sibling: unmask(&old[0]) };
            for (level, old) in old.iter().enumerate().skip(1) {
                let tweak = level_tweak(set, tweak, batch, level);
                let [left, right] = ggm::expand_punctured(tweak, nodes, 1 << level, &puncture);
                let (turn, wanted) = (turn(old), unmask(old));
                for lane in 0..LANES {
                    let off_path = Block::mask(turn[lane].lsb());
                    let known = right[lane] ^ (left[lane] ^ right[lane]) & off_path;
                    puncture.sibling[lane] = wanted[lane] ^ known;
                    // Positions are small: doubling one carries nothing between the words of its block.
                    puncture.path[lane] = Block(puncture.path[lane].0 << 1) ^ turn[lane];
                    puncture.sibling_at[lane] = puncture.path[lane] ^ position(1);
                }
            }
            ggm::leaves_punctured(nodes, &puncture);
        });
    Ok(())
}

/// First tweak of the parents on level `level` of a batch: every parent of every batch has its own.
fn level_tweak(set: Set, tweak: u128, batch: usize, level: usize) -> u128 {
    tweak.wrapping_add(((batch << set.depth()) + (1 << level)) as u128)
}

fn mask(sums: &mut [Block], sum: &Lanes) {
    sums.iter_mut().zip(sum).for_each(|(masked, sum)| *masked ^= *sum);
}
