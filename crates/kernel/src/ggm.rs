//! Correlated GGM trees, sixteen at a time: Guo, Yang, Wang, Zhang, Xie, Liu, Zhao, *Half-tree: halving the cost of
//! tree expansion in COT and DPF*, EUROCRYPT 2023, figure 3.
//!
//! A node `x` has the children `H(x)` and `x + H(x)`: one hash for two children, and the sum of all nodes of a level
//! is that of the level above. Node `j` of a level is hashed under tweak `tweak + j`, shared by the sixteen trees
//! (see [`hash`](crate::hash) for what that costs). A level is a slice of [`LANES`]-tuples, one block per tree.
//!
//! *Punctured* trees lack the nodes on one secret path each. No index depends on a path: paths are compared with
//! every position and nodes are masked.

use crate::block::Block;
use crate::cpu::Backend;
use crate::hash::{Engine, Job, KEYS, Lanes, dispatch};

pub use crate::hash::LANES;

/// Sums over the left and over the right children of a level, per tree.
pub type Sums = [[Block; LANES]; 2];

/// What the holder of sixteen punctured trees knows of their current level.
#[derive(Clone)]
pub struct Puncture {
    /// Position of the unknown node, see [`position`].
    pub path: [Block; LANES],
    /// Position of its sibling.
    pub sibling_at: [Block; LANES],
    /// The sibling, which the level holds as zero.
    pub sibling: [Block; LANES],
}

/// A position in the form that is compared.
#[must_use]
pub fn position(j: u32) -> Block {
    Block(u128::from(j) * 0x1_0000_0001_0000_0001_0000_0001)
}

/// Replaces the first `parents` nodes by their `2 parents` children.
///
/// # Panics
/// If there is no room for the children.
pub fn expand(tweak: u128, nodes: &mut [[Block; LANES]], parents: usize) -> Sums {
    expand_on(Backend::detected(), tweak, nodes, parents)
}

/// As [`expand`], on a given backend.
///
/// # Panics
/// As [`expand`].
pub fn expand_on(backend: Backend, tweak: u128, nodes: &mut [[Block; LANES]], parents: usize) -> Sums {
    let nodes = &mut nodes[..2 * parents];
    dispatch(backend, Expand { tweak, nodes, puncture: None })
}

/// As [`expand`] for punctured trees: puts the sibling in its place and leaves zeros for the children of the unknown
/// node, which count as zero in the sums.
///
/// # Panics
/// As [`expand`].
pub fn expand_punctured(
    tweak: u128,
    nodes: &mut [[Block; LANES]],
    parents: usize,
    puncture: &Puncture,
) -> Sums {
    expand_punctured_on(Backend::detected(), tweak, nodes, parents, puncture)
}

/// As [`expand_punctured`], on a given backend.
///
/// # Panics
/// As [`expand`].
pub fn expand_punctured_on(
    backend: Backend,
    tweak: u128,
    nodes: &mut [[Block; LANES]],
    parents: usize,
    puncture: &Puncture,
) -> Sums {
    let nodes = &mut nodes[..2 * parents];
    dispatch(backend, Expand { tweak, nodes, puncture: Some(puncture) })
}

/// Ends the expansion of whole trees: clears bit 0 of all leaves.
pub fn leaves(nodes: &mut [[Block; LANES]]) {
    nodes.as_flattened_mut().iter_mut().for_each(|leaf| *leaf = leaf.with_colour(false));
}

/// Ends the expansion of punctured trees: puts the sibling in its place, clears bit 0 of all leaves, and sets the
/// unknown leaf to the sum of the others with bit 0 set.
///
/// Where the leaves of a whole tree `v_j` add up to a `Delta` with bit 0 set, that is `v_alpha + Delta`, bit 0 of
/// `v_alpha` having been cleared.
pub fn leaves_punctured(nodes: &mut [[Block; LANES]], puncture: &Puncture) {
    leaves_punctured_on(Backend::detected(), nodes, puncture);
}

/// As [`leaves_punctured`], on a given backend.
pub fn leaves_punctured_on(backend: Backend, nodes: &mut [[Block; LANES]], puncture: &Puncture) {
    dispatch(backend, Leaves { nodes, puncture });
}

struct Expand<'n> {
    tweak: u128,
    nodes: &'n mut [Lanes],
    puncture: Option<&'n Puncture>,
}

impl Job for Expand<'_> {
    type Output = Sums;

    #[inline(always)]
    fn run<E: Engine>(self, e: E) -> Sums {
        let Self { tweak, nodes, puncture } = self;
        let parents = nodes.len() / 2;
        let zero = e.splat(Block::ZERO);
        let (mut left_sum, mut right_sum) = (zero, zero);
        let places = puncture.map(|p| (e.get(&p.path), e.get(&p.sibling_at), e.get(&p.sibling)));
        // From the top down, so that children never overwrite parents still to be read.
        for base in (0..parents).step_by(KEYS).rev() {
            let schedules = e.schedules(tweak.wrapping_add(base as u128));
            for j in (base..parents.min(base + KEYS)).rev() {
                let mut parent = e.get(&nodes[j]);
                if let Some((_, sibling_at, sibling)) = places {
                    let here = e.equal(sibling_at, e.splat(position(j as u32)));
                    parent = e.xor(parent, e.and(sibling, here));
                }
                let [mut left] = e.hash(&schedules, j - base, [parent]);
                let mut right = e.xor(parent, left);
                if let Some((path, ..)) = places {
                    let unknown = e.equal(path, e.splat(position(j as u32)));
                    left = e.xor(left, e.and(left, unknown));
                    right = e.xor(right, e.and(right, unknown));
                }
                left_sum = e.xor(left_sum, left);
                right_sum = e.xor(right_sum, right);
                e.put(left, &mut nodes[2 * j]);
                e.put(right, &mut nodes[2 * j + 1]);
            }
        }
        let mut sums = [[Block::ZERO; LANES]; 2];
        e.put(left_sum, &mut sums[0]);
        e.put(right_sum, &mut sums[1]);
        sums
    }
}

struct Leaves<'n> {
    nodes: &'n mut [Lanes],
    puncture: &'n Puncture,
}

impl Job for Leaves<'_> {
    type Output = ();

    #[inline(always)]
    fn run<E: Engine>(self, e: E) {
        let Self { nodes, puncture } = self;
        let (path, sibling_at, sibling) =
            (e.get(&puncture.path), e.get(&puncture.sibling_at), e.get(&puncture.sibling));
        let keep = e.splat(Block(!1));
        let mut sum = e.splat(Block::ZERO);
        for (j, node) in nodes.iter_mut().enumerate() {
            let here = e.equal(sibling_at, e.splat(position(j as u32)));
            let leaf = e.and(e.xor(e.get(node), e.and(sibling, here)), keep);
            sum = e.xor(sum, leaf);
            e.put(leaf, node);
        }
        let sum = e.xor(sum, e.splat(Block(1)));
        for (j, node) in nodes.iter_mut().enumerate() {
            let unknown = e.equal(path, e.splat(position(j as u32)));
            let leaf = e.xor(e.get(node), e.and(sum, unknown));
            e.put(leaf, node);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;
    use crate::prg::Prg;

    const DEPTH: usize = 7;

    /// The holder's tree from the sums of the sides its path does not take.
    fn reconstruct(backend: Backend, alpha: &[u32; LANES], chosen: &[Lanes; DEPTH]) -> Vec<Lanes> {
        let mut nodes = vec![[Block::ZERO; LANES]; 1 << DEPTH];
        let at = |level: usize, flip: u32| {
            std::array::from_fn(|lane| position(alpha[lane] >> (DEPTH - level) ^ flip))
        };
        let mut puncture = Puncture { path: at(1, 0), sibling_at: at(1, 1), sibling: chosen[0] };
        for level in 2..=DEPTH {
            let sums = expand_punctured_on(backend, 1000, &mut nodes, 1 << (level - 1), &puncture);
            let sibling = std::array::from_fn(|lane| {
                let side = 1 - (alpha[lane] >> (DEPTH - level) & 1) as usize;
                sums[side][lane] ^ chosen[level - 1][lane]
            });
            puncture = Puncture { path: at(level, 0), sibling_at: at(level, 1), sibling };
        }
        leaves_punctured_on(backend, &mut nodes, &puncture);
        nodes
    }

    #[test]
    fn punctured_trees_differ_in_one_leaf_by_the_offset() {
        let rng = &mut Prg::new([1; 16]);
        let delta = Block::random(rng).with_lsb();
        let mut root = [Block::ZERO; LANES];
        rng.fill_blocks(&mut root);
        let mut alpha = [0; LANES];
        alpha.iter_mut().for_each(|a| *a = rng.next_u32() % (1 << DEPTH));
        (alpha[0], alpha[1]) = (0, (1 << DEPTH) - 1);
        let mut first: Option<Vec<u128>> = None;
        for backend in Backend::available() {
            let mut nodes = vec![[Block::ZERO; LANES]; 1 << DEPTH];
            nodes[0] = root;
            nodes[1] = root.map(|k| k ^ delta);
            let mut chosen = [[Block::ZERO; LANES]; DEPTH];
            for level in 1..=DEPTH {
                let sums = match level {
                    1 => [nodes[0], nodes[1]],
                    _ => expand_on(backend, 1000, &mut nodes, 1 << (level - 1)),
                };
                for lane in 0..LANES {
                    assert_eq!((sums[0][lane] ^ sums[1][lane]).0, delta.0, "level {level}");
                    let side = 1 - (alpha[lane] >> (DEPTH - level) & 1) as usize;
                    chosen[level - 1][lane] = sums[side][lane];
                }
            }
            leaves(&mut nodes);
            let punctured = reconstruct(backend, &alpha, &chosen);
            for (j, (v, w)) in (0..).zip(nodes.iter().zip(&punctured)) {
                for lane in 0..LANES {
                    let expected = v[lane] ^ delta & Block::mask(alpha[lane] == j);
                    assert_eq!(w[lane].0, expected.0, "{backend:?}, tree {lane}, leaf {j}");
                }
            }
            let all: Vec<u128> = nodes.as_flattened().iter().map(|b| b.0).collect();
            assert_eq!(*first.get_or_insert_with(|| all.clone()), all, "{backend:?} differs");
        }
    }
}
