//! The transforms in plain Rust.

use super::roots::TAIL;
use super::{BLOCK, Plan, Root, exchanged, restored};

pub(super) fn forward(plan: &Plan, coefficients: &[i32], values: &mut [u32]) {
    let (n, p) = (plan.n, plan.modulus.value() as i32);
    let mut work = vec![0; n];
    work[0] = coefficients[0];
    for j in 1..n {
        work[j] = centre(coefficients[j] - plan.fold.mul(coefficients[n - j], p), p);
    }
    let mut groups = 1;
    while groups <= n / BLOCK {
        for (i, group) in work.chunks_exact_mut(n / groups).enumerate() {
            let root = plan.forward.head.at(groups + i);
            let (upper, lower) = group.split_at_mut(n / groups / 2);
            upper.iter_mut().zip(lower).for_each(|(x, y)| (*x, *y) = cooley_tukey(*x, *y, root, p));
        }
        groups *= 2;
    }
    let (blocks, _) = work.as_chunks_mut::<BLOCK>();
    let (outputs, _) = values.as_chunks_mut::<BLOCK>();
    for ((b, block), output) in blocks.iter_mut().enumerate().zip(outputs) {
        for step in 0..4 {
            *block = exchanged(step, block);
            for lane in 0..16 {
                let root = plan.forward.tail.at(TAIL * b + 16 * step + lane);
                (block[lane], block[16 + lane]) = cooley_tukey(block[lane], block[16 + lane], root, p);
            }
        }
        output.iter_mut().zip(block).for_each(|(out, v)| *out = positive(*v, p));
    }
    work.fill(0);
}

pub(super) fn inverse(plan: &Plan, values: &mut [u32], coefficients: &mut [u32]) {
    let (n, p) = (plan.n, plan.modulus.value() as i32);
    let mut work: Vec<i32> = values.iter().map(|&v| v as i32).collect();
    let (blocks, _) = work.as_chunks_mut::<BLOCK>();
    for (b, block) in blocks.iter_mut().enumerate() {
        for step in (0..4).rev() {
            for lane in 0..16 {
                let root = plan.inverse.tail.at(TAIL * b + 16 * step + lane);
                (block[lane], block[16 + lane]) = gentleman_sande(block[lane], block[16 + lane], root, p);
            }
            *block = restored(step, block);
        }
    }
    let mut groups = n / BLOCK;
    while groups > 1 {
        for (i, group) in work.chunks_exact_mut(n / groups).enumerate() {
            let root = plan.inverse.head.at(groups + i);
            let (upper, lower) = group.split_at_mut(n / groups / 2);
            upper.iter_mut().zip(lower).for_each(|(x, y)| (*x, *y) = gentleman_sande(*x, *y, root, p));
        }
        groups /= 2;
    }
    let (upper, lower) = work.split_at_mut(n / 2);
    for (x, y) in upper.iter_mut().zip(lower) {
        (*x, *y) = (plan.scale[0].mul(*x + *y, p), plan.scale[1].mul(*x - *y, p));
    }
    coefficients[0] = positive(centre(2 * work[0], p), p);
    for j in 1..n {
        coefficients[j] = positive(centre(work[j] + plan.fold.mul(work[n - j], p), p), p);
    }
    work.fill(0);
    values.fill(0);
}

/// Absolute values below p to the same.
#[inline]
fn cooley_tukey(x: i32, y: i32, root: Root, p: i32) -> (i32, i32) {
    let t = root.mul(y, p);
    (centre(x + t, p), centre(x - t, p))
}

/// Absolute values at most p to the same.
#[inline]
fn gentleman_sande(x: i32, y: i32, root: Root, p: i32) -> (i32, i32) {
    (centre(x + y, p), root.mul(x - y, p))
}

/// From (-2p, 2p) to [-p, p).
#[inline]
fn centre(v: i32, p: i32) -> i32 {
    (v + ((2 * p) & (v >> 31))) - p
}

/// From [-p, p) to [0, p).
#[inline]
fn positive(v: i32, p: i32) -> u32 {
    (v + (p & (v >> 31))) as u32
}
