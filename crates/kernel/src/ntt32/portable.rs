//! The transforms in plain Rust, and the same compiled for AVX2.

use super::roots::TAIL;
use super::{BLOCK, Modulus, Plan, exchanged, restored};

#[inline(always)]
pub(super) fn forward(plan: &Plan, coefficients: &[i32], values: &mut [u32]) {
    let (n, m) = (plan.n, plan.modulus);
    let mut work = vec![0; n];
    work[0] = coefficients[0];
    for j in 1..n {
        work[j] = centre(coefficients[j] - mul(coefficients[n - j], plan.fold, m), m);
    }
    let mut groups = 1;
    while groups <= n / BLOCK {
        for (i, group) in work.chunks_exact_mut(n / groups).enumerate() {
            let root = plan.forward.head[groups + i];
            let (upper, lower) = group.split_at_mut(n / groups / 2);
            upper.iter_mut().zip(lower).for_each(|(x, y)| (*x, *y) = cooley_tukey(*x, *y, root, m));
        }
        groups *= 2;
    }
    let (blocks, _) = work.as_chunks_mut::<BLOCK>();
    let (outputs, _) = values.as_chunks_mut::<BLOCK>();
    for ((b, block), output) in blocks.iter_mut().enumerate().zip(outputs) {
        for step in 0..4 {
            *block = exchanged(step, block);
            for lane in 0..16 {
                let root = plan.forward.tail[TAIL * b + 16 * step + lane];
                (block[lane], block[16 + lane]) = cooley_tukey(block[lane], block[16 + lane], root, m);
            }
        }
        output.iter_mut().zip(block).for_each(|(out, v)| *out = positive(*v, m));
    }
    work.fill(0);
}

#[inline(always)]
pub(super) fn inverse(plan: &Plan, values: &mut [u32], coefficients: &mut [u32]) {
    let (n, m) = (plan.n, plan.modulus);
    let mut work: Vec<i32> = values.iter().map(|&v| v as i32).collect();
    let (blocks, _) = work.as_chunks_mut::<BLOCK>();
    for (b, block) in blocks.iter_mut().enumerate() {
        for step in (0..4).rev() {
            for lane in 0..16 {
                let root = plan.inverse.tail[TAIL * b + 16 * step + lane];
                (block[lane], block[16 + lane]) = gentleman_sande(block[lane], block[16 + lane], root, m);
            }
            *block = restored(step, block);
        }
    }
    let mut groups = n / BLOCK;
    while groups > 1 {
        for (i, group) in work.chunks_exact_mut(n / groups).enumerate() {
            let root = plan.inverse.head[groups + i];
            let (upper, lower) = group.split_at_mut(n / groups / 2);
            upper.iter_mut().zip(lower).for_each(|(x, y)| (*x, *y) = gentleman_sande(*x, *y, root, m));
        }
        groups /= 2;
    }
    let (upper, lower) = work.split_at_mut(n / 2);
    for (x, y) in upper.iter_mut().zip(lower) {
        (*x, *y) = (mul(*x + *y, plan.scale[0], m), mul(*x - *y, plan.scale[1], m));
    }
    coefficients[0] = positive(centre(2 * work[0], m), m);
    for j in 1..n {
        coefficients[j] = positive(centre(work[j] + mul(work[n - j], plan.fold, m), m), m);
    }
    work.fill(0);
    values.fill(0);
}

/// Absolute values below p to the same.
#[inline(always)]
fn cooley_tukey(x: i32, y: i32, root: i32, m: Modulus) -> (i32, i32) {
    let t = mul(y, root, m);
    (centre(x + t, m), centre(x - t, m))
}

/// Absolute values at most p to the same.
#[inline(always)]
fn gentleman_sande(x: i32, y: i32, root: i32, m: Modulus) -> (i32, i32) {
    (centre(x + y, m), mul(x - y, root, m))
}

/// `y root` in (-3p/4, 3p/4).
#[inline(always)]
fn mul(y: i32, root: i32, m: Modulus) -> i32 {
    let product = i64::from(y) * i64::from(root);
    let q = (product as i32).wrapping_mul(m.inverse());
    ((product - i64::from(q) * i64::from(m.value())) >> 32) as i32
}

/// From (-2p, 2p) to [-p, p).
#[inline(always)]
fn centre(v: i32, m: Modulus) -> i32 {
    let p = m.value() as i32;
    (v + ((2 * p) & (v >> 31))) - p
}

/// From [-p, p) to [0, p).
#[inline(always)]
fn positive(v: i32, m: Modulus) -> u32 {
    (v + (m.value() as i32 & (v >> 31))) as u32
}

/// The functions above with vectors of eight residues.
#[cfg(target_arch = "x86_64")]
pub(super) mod avx2 {
    use super::Plan;

    #[target_feature(enable = "avx2")]
    pub(in super::super) fn forward(plan: &Plan, coefficients: &[i32], values: &mut [u32]) {
        super::forward(plan, coefficients, values);
    }

    #[target_feature(enable = "avx2")]
    pub(in super::super) fn inverse(plan: &Plan, values: &mut [u32], coefficients: &mut [u32]) {
        super::inverse(plan, values, coefficients);
    }
}
