//! The transforms in plain Rust.

use super::{BLOCK, Plan, TAIL, transposed};
use crate::zq::{Shoup, min_sub};

pub(super) fn forward(plan: &Plan, values: &mut [u64]) {
    let p = plan.modulus.value();
    forward_head(plan, values);
    for (block, tail) in values.chunks_exact_mut(BLOCK).zip(0..) {
        let mut rows = transpose(block);
        for layer in [4, 2, 1] {
            each_pair(layer, |vector, upper, lower| {
                for lane in 0..8 {
                    let root = plan.forward.tail.at(8 * (TAIL * tail + vector) + lane);
                    let (x, y) = cooley_tukey(rows[8 * upper + lane], rows[8 * lower + lane], root, p);
                    (rows[8 * upper + lane], rows[8 * lower + lane]) = (x, y);
                }
            });
        }
        reduce(block, rows, p);
    }
}

pub(super) fn forward_octet(plan: &Plan, values: &mut [u64]) {
    forward_head(plan, values);
    for block in values.chunks_exact_mut(BLOCK) {
        reduce(block, transpose(block), plan.modulus.value());
    }
}

/// The layers of distance 8 and more.
fn forward_head(plan: &Plan, values: &mut [u64]) {
    let p = plan.modulus.value();
    let mut groups = 1;
    while groups <= plan.n / 16 {
        for (i, group) in values.chunks_exact_mut(plan.n / groups).enumerate() {
            let root = plan.forward.head.at(groups + i);
            let (upper, lower) = group.split_at_mut(plan.n / groups / 2);
            upper.iter_mut().zip(lower).for_each(|(x, y)| (*x, *y) = cooley_tukey(*x, *y, root, p));
        }
        groups *= 2;
    }
}

/// Stores rows in [0, 4p) as residues.
fn reduce(block: &mut [u64], rows: [u64; BLOCK], p: u64) {
    block.iter_mut().zip(rows).for_each(|(v, row)| *v = min_sub(min_sub(row, 2 * p), p));
}

pub(super) fn inverse(plan: &Plan, values: &mut [u64]) {
    let p = plan.modulus.value();
    for (block, tail) in values.chunks_exact_mut(BLOCK).zip(0..) {
        for layer in [1, 2, 4] {
            each_pair(layer, |vector, upper, lower| {
                for lane in 0..8 {
                    let root = plan.inverse.tail.at(8 * (TAIL * tail + vector) + lane);
                    let (x, y) = gentleman_sande(block[8 * upper + lane], block[8 * lower + lane], root, p);
                    (block[8 * upper + lane], block[8 * lower + lane]) = (x, y);
                }
            });
        }
        let rows = transpose(block);
        block.copy_from_slice(&rows);
    }
    let mut groups = plan.n / 16;
    while groups > 1 {
        for (i, group) in values.chunks_exact_mut(plan.n / groups).enumerate() {
            let root = plan.inverse.head.at(groups + i);
            let (upper, lower) = group.split_at_mut(plan.n / groups / 2);
            upper.iter_mut().zip(lower).for_each(|(x, y)| (*x, *y) = gentleman_sande(*x, *y, root, p));
        }
        groups /= 2;
    }
    let (upper, lower) = values.split_at_mut(plan.n / 2);
    for (x, y) in upper.iter_mut().zip(lower) {
        let (sum, difference) = (*x + *y, *x + 2 * p - *y);
        *x = plan.modulus.mul_shoup(sum, plan.scale[0]);
        *y = plan.modulus.mul_shoup(difference, plan.scale[1]);
    }
}

/// [0, 4p) to [0, 4p).
#[inline]
fn cooley_tukey(x: u64, y: u64, root: Shoup, p: u64) -> (u64, u64) {
    let x = min_sub(x, 2 * p);
    let t = root.mul_lazy(y, p);
    (x + t, x + 2 * p - t)
}

/// [0, 2p) to [0, 2p).
#[inline]
fn gentleman_sande(x: u64, y: u64, root: Shoup, p: u64) -> (u64, u64) {
    (min_sub(x + y, 2 * p), root.mul_lazy(x + 2 * p - y, p))
}

/// Calls with (vector of roots, upper row, lower row) for every pair of rows of a layer of this distance.
#[inline]
fn each_pair(distance: usize, mut butterfly: impl FnMut(usize, usize, usize)) {
    let groups = 4 / distance;
    for group in 0..groups {
        for row in 0..distance {
            let upper = 2 * distance * group + row;
            butterfly(groups - 1 + group, upper, upper + distance);
        }
    }
}

#[inline]
fn transpose(block: &[u64]) -> [u64; BLOCK] {
    std::array::from_fn(|i| block[transposed(i)])
}
