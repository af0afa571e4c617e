//! Punctured pseudo-random functions on `K` bits from `K` base OTs each.
//!
//! GGM trees of depth [`K`]. The *owner* knows every leaf; the *holder* with secret index `delta` learns every leaf
//! but number `delta`: per level it obtains by base OT the XOR of all nodes on the side its path does not take.
//! Owner's cheating is caught by the PPRF consistency check of Roy, *SoftSpokenOT*, CRYPTO 2022:
//! each leaf yields a further tag `t_x`; the owner sends `sum_x t_x` and a hash of all tags, the holder recovers the
//! missing tag and compares. What remains is a guess of bits of `delta` that aborts when wrong.
//!
//! The holder keeps its leaves in the order `y = x + delta` (XOR), built by conditional swaps: no index depends on
//! the secret. Leaf `y = 0` is the unknown one.
//!
//! Cost: one message from the owner of [`MESSAGE`] bytes for all [`TREES`] trees.

use phineus_kernel::block::Block;
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::{PeerMisbehaved, check_len};
use subtle::{Choice, ConditionallySelectable};

use crate::Delta;

/// Bits per tree. Extension costs `128 / K` bits per OT on the wire and `2^K / K` AES blocks per OT on each side.
pub(super) const K: usize = 4;
/// Trees: all bits of the offset.
pub(super) const TREES: usize = 128 / K;
/// Leaves per tree.
pub(super) const LEAVES: usize = 1 << K;
/// Base OTs, all bits of the offset.
pub(super) const BASE: usize = TREES * K;
/// Bytes from the owner: two sums per level below the first, one sum of tags per tree, one hash.
pub(super) const MESSAGE: usize = TREES * ((K - 1) * 32 + 32) + 32;

const _: () = assert!(128 % K == 0 && K > 1);

type Tag = [Block; 2];

/// Seeds of all leaves of all trees, tree after tree, and the message to the holder.
pub(super) fn own(session: &[u8; 32], keys: &[[Block; 2]]) -> (Vec<Block>, Vec<u8>) {
    let mut seeds = Vec::with_capacity(TREES * LEAVES);
    let mut message = Vec::with_capacity(MESSAGE);
    let mut hasher = tag_hasher(session);
    for keys in keys.as_chunks::<K>().0 {
        let mut nodes = keys[0].to_vec();
        for key in &keys[1..] {
            nodes = nodes.into_iter().flat_map(children).collect();
            for (side, key) in key.iter().enumerate() {
                let sum = nodes.iter().skip(side).step_by(2).fold(*key, |s, n| s ^ *n);
                message.extend(sum.to_bytes());
            }
        }
        let mut sum = Tag::default();
        for (seed, tag) in nodes.into_iter().map(leaf) {
            seeds.push(seed);
            hash_tag(&mut hasher, &tag);
            add(&mut sum, &tag);
        }
        message.extend(sum.iter().flat_map(|b| b.to_bytes()));
    }
    message.extend(hasher.finalize().as_bytes());
    (seeds, message)
}

/// The holder's base OT choices, in the order of [`own`]'s keys.
pub(super) fn choices(delta: &Delta) -> Vec<bool> {
    (0..BASE).map(|i| !path_bit(delta, i / K, i % K)).collect()
}

/// Seeds of the leaves `y = 1..` of all trees in the holder's order, tree after tree.
///
/// # Errors
/// [`PeerMisbehaved::CheckFailed`] if the owner's message is inconsistent.
pub(super) fn hold(
    session: &[u8; 32],
    delta: &Delta,
    keys: &[Block],
    message: &[u8],
) -> Result<Vec<Block>, PeerMisbehaved> {
    check_len("cot.setup", message, MESSAGE)?;
    let (trees, digest) = message.split_at(MESSAGE - 32);
    let mut seeds = Vec::with_capacity(TREES * (LEAVES - 1));
    let mut hasher = tag_hasher(session);
    for (tree, (keys, part)) in keys.as_chunks::<K>().0.iter().zip(trees.chunks_exact(K * 32)).enumerate() {
        let mut blocks = part.as_chunks().0.iter().map(|&b| Block::from_bytes(b));
        let mut next = || blocks.next().unwrap_or_default();
        // nodes[0] stands for the unknown node and stays zero.
        let mut nodes = vec![Block::ZERO, keys[0]];
        for (level, key) in keys.iter().enumerate().skip(1) {
            let bit = Choice::from(u8::from(path_bit(delta, tree, level)));
            let sums = [next(), next()];
            let mut below = vec![Block::ZERO; 2];
            let mut sibling = *key ^ Block::conditional_select(&sums[1], &sums[0], bit);
            for node in &nodes[1..] {
                let [mut same, mut other] = children(*node);
                Block::conditional_swap(&mut same, &mut other, bit);
                sibling ^= other;
                below.extend([same, other]);
            }
            below[1] = sibling;
            nodes = below;
        }
        let mut tags = vec![[next(), next()]];
        for (seed, tag) in nodes[1..].iter().map(|n| leaf(*n)) {
            seeds.push(seed);
            add(&mut tags[0], &tag);
            tags.push(tag);
        }
        for bit in 0..K {
            let swap = Choice::from(u8::from(delta.bit(tree * K + bit)));
            for y in (0..LEAVES).filter(|y| y >> bit & 1 == 0) {
                let (low, high) = tags.split_at_mut(y + 1);
                for (a, b) in low[y].iter_mut().zip(&mut high[(1 << bit) - 1]) {
                    Block::conditional_swap(a, b, swap);
                }
            }
        }
        tags.iter().for_each(|t| hash_tag(&mut hasher, t));
    }
    // `blake3::Hash` compares in constant time.
    let expected: [u8; 32] = std::array::from_fn(|i| digest[i]);
    if hasher.finalize() == blake3::Hash::from_bytes(expected) {
        Ok(seeds)
    } else {
        Err(PeerMisbehaved::CheckFailed { what: "cot.setup" })
    }
}

/// The turn of the secret path at a level; the first level is the most significant bit of the leaf number.
fn path_bit(delta: &Delta, tree: usize, level: usize) -> bool {
    delta.bit(tree * K + K - 1 - level)
}

fn children(node: Block) -> [Block; 2] {
    let mut prg = Prg::new(node);
    [prg.next_block(), prg.next_block()]
}

fn leaf(node: Block) -> (Block, Tag) {
    let mut prg = Prg::new(node);
    (prg.next_block(), [prg.next_block(), prg.next_block()])
}

fn add(sum: &mut Tag, tag: &Tag) {
    for (s, t) in sum.iter_mut().zip(tag) {
        *s ^= *t;
    }
}

fn tag_hasher(session: &[u8; 32]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_derive_key("phineus SoftSpoken, tags of a punctured function");
    hasher.update(session);
    hasher
}

fn hash_tag(hasher: &mut blake3::Hasher, tag: &Tag) {
    hasher.update(Block::as_bytes(tag));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> (Delta, Vec<[Block; 2]>, Vec<Block>) {
        let rng = &mut Prg::new([3; 16]);
        let delta = Delta::random(rng);
        let pairs: Vec<[Block; 2]> = (0..BASE).map(|_| [Block::random(rng), Block::random(rng)]).collect();
        let chosen = pairs.iter().zip(choices(&delta)).map(|(p, c)| p[usize::from(c)]).collect();
        (delta, pairs, chosen)
    }

    #[test]
    fn the_holder_knows_all_leaves_but_one() {
        let (delta, pairs, chosen) = setup();
        let (all, message) = own(&[9; 32], &pairs);
        assert_eq!(message.len(), MESSAGE);
        let held = hold(&[9; 32], &delta, &chosen, &message).unwrap();
        for tree in 0..TREES {
            let secret = (0..K).fold(0, |s, b| s | usize::from(delta.bit(tree * K + b)) << b);
            for y in 1..LEAVES {
                assert_eq!(held[tree * (LEAVES - 1) + y - 1].0, all[tree * LEAVES + (y ^ secret)].0);
            }
            assert!(!held.iter().any(|h| h.0 == all[tree * LEAVES + secret].0));
        }
    }

    #[test]
    fn changed_messages_are_caught_or_harmless() {
        let (delta, pairs, chosen) = setup();
        let (_, message) = own(&[9; 32], &pairs);
        let honest = hold(&[9; 32], &delta, &chosen, &message).unwrap();
        let mut caught = 0;
        for at in (0..MESSAGE).step_by(37) {
            let mut bad = message.clone();
            bad[at] ^= 0x10;
            match hold(&[9; 32], &delta, &chosen, &bad) {
                Err(PeerMisbehaved::CheckFailed { .. }) => caught += 1,
                // The changed sum was of the side that the holder does not read.
                Ok(seeds) => assert!(seeds.iter().zip(&honest).all(|(a, b)| a.0 == b.0)),
                Err(other) => panic!("{other}"),
            }
        }
        assert!(caught >= MESSAGE / 37 / 3, "{caught}");
        assert!(matches!(hold(&[9; 32], &delta, &chosen, &message[1..]), Err(PeerMisbehaved::Length { .. })));
        assert!(hold(&[8; 32], &delta, &chosen, &message).is_err(), "another session");
    }
}
