//! The transforms with AVX-512 IFMA: eight residues per vector, two or three layers per pass over memory.
//!
//! The functions here carry their target features; only the entry points are reached from outside, after a check.

use std::arch::x86_64::*;

use super::{BLOCK, Factors, Plan, TAIL};
use crate::zq::MASK52;

/// Eight residues in memory.
type Lane8 = [u64; 8];

/// The modulus in every form that the butterflies use.
#[derive(Clone, Copy)]
struct Constants {
    p: __m512i,
    /// 2p.
    twice: __m512i,
    /// 2^52 - p.
    minus: __m512i,
    mask: __m512i,
}

/// Eight factors and their quotients.
#[derive(Clone, Copy)]
struct Root {
    value: __m512i,
    quotient: __m512i,
}

/// Coefficients to values; `values` has n elements.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn forward(plan: &Plan, values: &mut [u64]) {
    let c = Constants::new(plan);
    let (lanes, _) = values.as_chunks_mut::<8>();
    forward_head(c, plan, lanes);
    let (blocks, _) = lanes.as_chunks_mut::<8>();
    for (b, block) in blocks.iter_mut().enumerate() {
        let mut x = load8(block);
        let roots = head_roots8(&plan.forward.head, plan.n / BLOCK, b);
        forward8(c, &mut x, &roots);
        x = transpose(x);
        forward8(c, &mut x, &tail_roots(&plan.forward.tail, b));
        reduce8(c, block, x);
    }
}

/// Coefficients of eight polynomials in X^8 to their values; `values` has n elements.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn forward_octet(plan: &Plan, values: &mut [u64]) {
    let c = Constants::new(plan);
    let (lanes, _) = values.as_chunks_mut::<8>();
    forward_head(c, plan, lanes);
    let (blocks, _) = lanes.as_chunks_mut::<8>();
    for (b, block) in blocks.iter_mut().enumerate() {
        let mut x = load8(block);
        let roots = head_roots8(&plan.forward.head, plan.n / BLOCK, b);
        forward8(c, &mut x, &roots);
        reduce8(c, block, transpose(x));
    }
}

/// The layers above those within blocks of 64.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn forward_head(c: Constants, plan: &Plan, lanes: &mut [Lane8]) {
    let mut groups = 1;
    while groups < plan.n / BLOCK {
        // Passes of three layers, as long as the rest is not two or four.
        match (plan.n / BLOCK / groups).trailing_zeros() {
            2 | 4 => {
                forward_pass4(c, &plan.forward.head, lanes, groups);
                groups *= 4;
            }
            _ => {
                forward_pass8(c, &plan.forward.head, lanes, groups);
                groups *= 8;
            }
        }
    }
}

/// Stores rows in [0, 4p) as residues.
#[inline]
#[target_feature(enable = "avx512f")]
fn reduce8(c: Constants, block: &mut [Lane8; 8], x: [__m512i; 8]) {
    for (slot, v) in block.iter_mut().zip(x) {
        store(slot, below(below(v, c.twice), c.p));
    }
}

/// Values to coefficients; `values` has n elements.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn inverse(plan: &Plan, values: &mut [u64]) {
    let c = Constants::new(plan);
    let (lanes, _) = values.as_chunks_mut::<8>();
    let (blocks, _) = lanes.as_chunks_mut::<8>();
    for (b, block) in blocks.iter_mut().enumerate() {
        let mut x = load8(block);
        inverse8(c, &mut x, &tail_roots(&plan.inverse.tail, b));
        x = transpose(x);
        let roots = head_roots8(&plan.inverse.head, plan.n / BLOCK, b);
        inverse8(c, &mut x, &roots);
        block.iter_mut().zip(x).for_each(|(slot, v)| store(slot, v));
    }
    let mut groups = plan.n / BLOCK;
    while groups > 1 {
        match groups.trailing_zeros() {
            2 | 4 => {
                groups /= 4;
                inverse_pass4(c, plan, lanes, groups);
            }
            _ => {
                groups /= 8;
                inverse_pass8(c, plan, lanes, groups);
            }
        }
    }
}

impl Constants {
    #[target_feature(enable = "avx512f")]
    fn new(plan: &Plan) -> Self {
        let p = plan.modulus.value();
        Self { p: splat(p), twice: splat(2 * p), minus: splat((1 << 52) - p), mask: splat(MASK52) }
    }
}

/// The layers of `groups`, 2 `groups` and 4 `groups` groups.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn forward_pass8(c: Constants, head: &Factors, lanes: &mut [Lane8], groups: usize) {
    let size = lanes.len() / groups;
    for (i, group) in lanes.chunks_exact_mut(size).enumerate() {
        let roots = head_roots8(head, groups, i);
        let mut rows = rows::<8>(group, size / 8);
        for k in 0..size / 8 {
            let mut x = gather_rows(&rows, k);
            forward8(c, &mut x, &roots);
            rows.iter_mut().zip(x).for_each(|(row, v)| store(&mut row[k], v));
        }
    }
}

/// The layers of `groups` and 2 `groups` groups.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn forward_pass4(c: Constants, head: &Factors, lanes: &mut [Lane8], groups: usize) {
    let size = lanes.len() / groups;
    for (i, group) in lanes.chunks_exact_mut(size).enumerate() {
        let [r0, r1, r2] = head_roots4(head, groups, i);
        let mut rows = rows::<4>(group, size / 4);
        for k in 0..size / 4 {
            let [x0, x1, x2, x3] = gather_rows(&rows, k);
            let ((x0, x2), (x1, x3)) = (cooley_tukey(c, x0, x2, r0), cooley_tukey(c, x1, x3, r0));
            let ((x0, x1), (x2, x3)) = (cooley_tukey(c, x0, x1, r1), cooley_tukey(c, x2, x3, r2));
            rows.iter_mut().zip([x0, x1, x2, x3]).for_each(|(row, v)| store(&mut row[k], v));
        }
    }
}

/// The layers of 4 `groups`, 2 `groups` and `groups` groups, with the scaling if this is the last pass.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn inverse_pass8(c: Constants, plan: &Plan, lanes: &mut [Lane8], groups: usize) {
    let size = lanes.len() / groups;
    for (i, group) in lanes.chunks_exact_mut(size).enumerate() {
        let roots = head_roots8(&plan.inverse.head, groups, i);
        let mut rows = rows::<8>(group, size / 8);
        if groups == 1 {
            let scale = scale_roots(plan);
            for k in 0..size / 8 {
                let mut x = gather_rows(&rows, k);
                inverse8_layers(c, &mut x, &roots);
                let [x0, x1, x2, x3, x4, x5, x6, x7] = x;
                let ((x0, x4), (x1, x5)) = (finish(c, x0, x4, scale), finish(c, x1, x5, scale));
                let ((x2, x6), (x3, x7)) = (finish(c, x2, x6, scale), finish(c, x3, x7, scale));
                let x = [x0, x1, x2, x3, x4, x5, x6, x7];
                rows.iter_mut().zip(x).for_each(|(row, v)| store(&mut row[k], v));
            }
        } else {
            for k in 0..size / 8 {
                let mut x = gather_rows(&rows, k);
                inverse8(c, &mut x, &roots);
                rows.iter_mut().zip(x).for_each(|(row, v)| store(&mut row[k], v));
            }
        }
    }
}

/// The layers of 2 `groups` and `groups` groups, with the scaling if this is the last pass.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn inverse_pass4(c: Constants, plan: &Plan, lanes: &mut [Lane8], groups: usize) {
    let size = lanes.len() / groups;
    let scale = scale_roots(plan);
    for (i, group) in lanes.chunks_exact_mut(size).enumerate() {
        let [r0, r1, r2] = head_roots4(&plan.inverse.head, groups, i);
        let mut rows = rows::<4>(group, size / 4);
        for k in 0..size / 4 {
            let [x0, x1, x2, x3] = gather_rows(&rows, k);
            let ((x0, x1), (x2, x3)) = (gentleman_sande(c, x0, x1, r1), gentleman_sande(c, x2, x3, r2));
            let ((x0, x2), (x1, x3)) = if groups == 1 {
                (finish(c, x0, x2, scale), finish(c, x1, x3, scale))
            } else {
                (gentleman_sande(c, x0, x2, r0), gentleman_sande(c, x1, x3, r0))
            };
            rows.iter_mut().zip([x0, x1, x2, x3]).for_each(|(row, v)| store(&mut row[k], v));
        }
    }
}

/// Three layers across eight rows: distances 4, 2, 1.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn forward8(c: Constants, x: &mut [__m512i; 8], r: &[Root; TAIL]) {
    for j in 0..4 {
        (x[j], x[j + 4]) = cooley_tukey(c, x[j], x[j + 4], r[0]);
    }
    for j in [0, 1, 4, 5] {
        (x[j], x[j + 2]) = cooley_tukey(c, x[j], x[j + 2], r[1 + j / 4]);
    }
    for j in [0, 2, 4, 6] {
        (x[j], x[j + 1]) = cooley_tukey(c, x[j], x[j + 1], r[3 + j / 2]);
    }
}

/// Three layers across eight rows: distances 1, 2, 4.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn inverse8(c: Constants, x: &mut [__m512i; 8], r: &[Root; TAIL]) {
    inverse8_layers(c, x, r);
    for j in 0..4 {
        (x[j], x[j + 4]) = gentleman_sande(c, x[j], x[j + 4], r[0]);
    }
}

/// The first two layers of [`inverse8`].
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn inverse8_layers(c: Constants, x: &mut [__m512i; 8], r: &[Root; TAIL]) {
    for j in [0, 2, 4, 6] {
        (x[j], x[j + 1]) = gentleman_sande(c, x[j], x[j + 1], r[3 + j / 2]);
    }
    for j in [0, 1, 4, 5] {
        (x[j], x[j + 2]) = gentleman_sande(c, x[j], x[j + 2], r[1 + j / 4]);
    }
}

/// [0, 4p) to [0, 4p).
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn cooley_tukey(c: Constants, x: __m512i, y: __m512i, root: Root) -> (__m512i, __m512i) {
    let x = below(x, c.twice);
    let t = mul_lazy(c, y, root);
    (_mm512_add_epi64(x, t), _mm512_sub_epi64(_mm512_add_epi64(x, c.twice), t))
}

/// [0, 2p) to [0, 2p).
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn gentleman_sande(c: Constants, x: __m512i, y: __m512i, root: Root) -> (__m512i, __m512i) {
    let difference = _mm512_sub_epi64(_mm512_add_epi64(x, c.twice), y);
    (below(_mm512_add_epi64(x, y), c.twice), mul_lazy(c, difference, root))
}

/// The last butterfly with its scaling: [0, 2p) to [0, p).
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn finish(c: Constants, x: __m512i, y: __m512i, scale: [Root; 2]) -> (__m512i, __m512i) {
    let difference = _mm512_sub_epi64(_mm512_add_epi64(x, c.twice), y);
    let sum = mul_lazy(c, _mm512_add_epi64(x, y), scale[0]);
    (below(sum, c.p), below(mul_lazy(c, difference, scale[1]), c.p))
}

/// `y root` in [0, 2p), for y < 2^52.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn mul_lazy(c: Constants, y: __m512i, root: Root) -> __m512i {
    let zero = _mm512_setzero_si512();
    let q = _mm512_madd52hi_epu64(zero, y, root.quotient);
    let product = _mm512_madd52lo_epu64(zero, y, root.value);
    _mm512_and_si512(_mm512_madd52lo_epu64(product, q, c.minus), c.mask)
}

/// `a - m` where a >= m, else `a`.
#[inline]
#[target_feature(enable = "avx512f")]
fn below(a: __m512i, m: __m512i) -> __m512i {
    _mm512_min_epu64(a, _mm512_sub_epi64(a, m))
}

/// The roots of group i in the layers of m, 2m and 4m groups.
#[inline]
#[target_feature(enable = "avx512f")]
fn head_roots8(head: &Factors, m: usize, i: usize) -> [Root; TAIL] {
    let [r0, r1, r2] = head_roots4(head, m, i);
    let root = |j| broadcast(head, 4 * (m + i) + j);
    [r0, r1, r2, root(0), root(1), root(2), root(3)]
}

/// The roots of group i in the layers of m and 2m groups.
#[inline]
#[target_feature(enable = "avx512f")]
fn head_roots4(head: &Factors, m: usize, i: usize) -> [Root; 3] {
    [broadcast(head, m + i), broadcast(head, 2 * (m + i)), broadcast(head, 2 * (m + i) + 1)]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn broadcast(head: &Factors, index: usize) -> Root {
    Root { value: splat(head.values[index]), quotient: splat(head.quotients[index]) }
}

/// The roots of the last three layers in block b.
#[inline]
#[target_feature(enable = "avx512f")]
fn tail_roots(tail: &Factors, b: usize) -> [Root; TAIL] {
    let range = 8 * TAIL * b..8 * TAIL * (b + 1);
    let (values, _) = tail.values[range.clone()].as_chunks();
    let (quotients, _) = tail.quotients[range].as_chunks();
    std::array::from_fn(|j| Root { value: load(&values[j]), quotient: load(&quotients[j]) })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn scale_roots(plan: &Plan) -> [Root; 2] {
    plan.scale.map(|s| Root { value: splat(s.value), quotient: splat(s.quotient) })
}

/// The 8 x 8 matrix with rows and columns exchanged.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(x: [__m512i; 8]) -> [__m512i; 8] {
    let low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    let high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    // Columns (0 and 4), (1 and 5), (2 and 6), (3 and 7) of four rows.
    let four = |r: [__m512i; 4]| {
        let [even0, odd0] = [_mm512_unpacklo_epi64(r[0], r[1]), _mm512_unpackhi_epi64(r[0], r[1])];
        let [even1, odd1] = [_mm512_unpacklo_epi64(r[2], r[3]), _mm512_unpackhi_epi64(r[2], r[3])];
        [
            _mm512_permutex2var_epi64(even0, low, even1),
            _mm512_permutex2var_epi64(odd0, low, odd1),
            _mm512_permutex2var_epi64(even0, high, even1),
            _mm512_permutex2var_epi64(odd0, high, odd1),
        ]
    };
    let upper = four([x[0], x[1], x[2], x[3]]);
    let lower = four([x[4], x[5], x[6], x[7]]);
    std::array::from_fn(|j| {
        let (a, b) = (upper[j % 4], lower[j % 4]);
        if j < 4 { _mm512_shuffle_i64x2::<0x44>(a, b) } else { _mm512_shuffle_i64x2::<0xee>(a, b) }
    })
}

/// `R` consecutive slices of `len` vectors.
#[inline]
fn rows<const R: usize>(group: &mut [Lane8], len: usize) -> [&mut [Lane8]; R] {
    let mut rest = group;
    std::array::from_fn(|_| {
        let (row, tail) = std::mem::take(&mut rest).split_at_mut(len);
        rest = tail;
        row
    })
}

/// The rows of a block.
#[inline]
#[target_feature(enable = "avx512f")]
fn load8(block: &[Lane8; 8]) -> [__m512i; 8] {
    let mut x = [_mm512_setzero_si512(); 8];
    for (v, row) in x.iter_mut().zip(block) {
        *v = load(row);
    }
    x
}

/// One vector from each row.
#[inline]
#[target_feature(enable = "avx512f")]
fn gather_rows<const R: usize>(rows: &[&mut [Lane8]; R], k: usize) -> [__m512i; R] {
    // A loop rather than `array::map`, which has no target features and may stay a call.
    let mut x = [_mm512_setzero_si512(); R];
    for (v, row) in x.iter_mut().zip(rows) {
        *v = load(&row[k]);
    }
    x
}

#[inline]
#[target_feature(enable = "avx512f")]
fn splat(v: u64) -> __m512i {
    _mm512_set1_epi64(v as i64)
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(from: &Lane8) -> __m512i {
    // SAFETY: 64 readable bytes; the instruction needs no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(to: &mut Lane8, v: __m512i) {
    // SAFETY: 64 writable bytes; the instruction needs no alignment.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), v) }
}
