//! The transforms with AVX2 and FMA: residues as double-precision integers, four per vector.
//!
//! There is no wide multiplication of 64-bit integers before AVX-512 IFMA, but fused multiply-adds give exact products
//! of 53-bit numbers: with h = fl(y w) and l = y w - h, exact, and q = round(y (w / p)), the remainder
//! `y w - q p = (h - q p) + l` is exact too, because it and both of its parts are integers below 2^53 (van der Hoeven,
//! Lecerf and Quintin, "Modular SIMD arithmetic in Mathemagix", section 3; FLINT's `fft_small`).
//!
//! Ranges, in multiples of p < 2^50 and of either sign: w / p and 1 / p are off by a relative 3 2^-53 together, hence
//! for |y| <= 4 the product is at most 0.5 + 0.375 |y| <= 2. A forward butterfly whose first operand was reduced to
//! 0.5 before turns 3.9 into 2.5, one that leaves it alone turns 2.5 into 3.9; they alternate. Back, sums are reduced
//! and differences multiplied: 2 becomes 2.

use std::arch::x86_64::*;

use super::{BLOCK, Factors, Plan, TAIL};

/// Eight residues in memory: integers outside, the bits of doubles between the passes.
type Lane8 = [u64; 8];
/// Eight residues.
type Row = [__m256d; 2];

/// The modulus and its inverse.
#[derive(Clone, Copy)]
struct Constants {
    p: __m256d,
    inverse: __m256d,
}

/// Factors w and w / p.
#[derive(Clone, Copy)]
struct Root {
    value: Row,
    ratio: Row,
}

/// Coefficients to values; `values` has n elements.
#[target_feature(enable = "avx2,fma")]
pub(super) fn forward(plan: &Plan, values: &mut [u64]) {
    let c = Constants::new(plan);
    let (lanes, _) = values.as_chunks_mut::<8>();
    forward_head(c, plan, lanes);
    let (blocks, _) = lanes.as_chunks_mut::<8>();
    for (b, block) in blocks.iter_mut().enumerate() {
        let mut x = transpose(block);
        for (distance, reduced) in [(4, false), (2, true), (1, false)] {
            for (vector, upper, lower) in pairs(distance) {
                let root = tail_root(c, &plan.forward.tail, TAIL * b + vector);
                (x[upper], x[lower]) = cooley_tukey(c, x[upper], x[lower], root, reduced);
            }
        }
        block.iter_mut().zip(x).for_each(|(lane, row)| store_integers(c, lane, row));
    }
}

/// Coefficients of eight polynomials in X^8 to their values; `values` has n elements.
#[target_feature(enable = "avx2,fma")]
pub(super) fn forward_octet(plan: &Plan, values: &mut [u64]) {
    let c = Constants::new(plan);
    let (lanes, _) = values.as_chunks_mut::<8>();
    forward_head(c, plan, lanes);
    let (blocks, _) = lanes.as_chunks_mut::<8>();
    for block in blocks {
        let x = transpose(block);
        block.iter_mut().zip(x).for_each(|(lane, row)| store_integers(c, lane, row));
    }
}

/// Values to coefficients; `values` has n elements.
#[target_feature(enable = "avx2,fma")]
pub(super) fn inverse(plan: &Plan, values: &mut [u64]) {
    let c = Constants::new(plan);
    let (lanes, _) = values.as_chunks_mut::<8>();
    let (blocks, _) = lanes.as_chunks_mut::<8>();
    for (b, block) in blocks.iter_mut().enumerate() {
        let mut x = [[_mm256_setzero_pd(); 2]; 8];
        x.iter_mut().zip(&*block).for_each(|(row, lane)| *row = load_integers(lane));
        for distance in [1, 2, 4] {
            for (vector, upper, lower) in pairs(distance) {
                let root = tail_root(c, &plan.inverse.tail, TAIL * b + vector);
                (x[upper], x[lower]) = gentleman_sande(c, x[upper], x[lower], root);
            }
        }
        block.iter_mut().zip(x).for_each(|(lane, row)| store(lane, row));
        let x = transpose(block);
        block.iter_mut().zip(x).for_each(|(lane, row)| store(lane, row));
    }
    // The layer of most groups by itself where the others do not come in pairs.
    let mut groups = plan.n / 8;
    if groups.trailing_zeros() % 2 == 1 {
        groups /= 2;
        let size = lanes.len() / groups;
        for (i, group) in lanes.chunks_exact_mut(size).enumerate() {
            let root = head_root(c, &plan.inverse.head, groups + i);
            let (upper, lower) = group.split_at_mut(size / 2);
            for (x, y) in upper.iter_mut().zip(lower) {
                let (a, b) = gentleman_sande(c, load(x), load(y), root);
                store(x, a);
                store(y, b);
            }
        }
    }
    while groups > 1 {
        groups /= 4;
        inverse_pass4(c, plan, lanes, groups);
    }
}

/// The layers of distance 8 and more; integers become doubles.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward_head(c: Constants, plan: &Plan, lanes: &mut [Lane8]) {
    let mut groups = 1;
    if (plan.n / 8).trailing_zeros() % 2 == 1 {
        let root = head_root(c, &plan.forward.head, 1);
        let (upper, lower) = lanes.split_at_mut(plan.n / 16);
        for (x, y) in upper.iter_mut().zip(lower) {
            let (a, b) = cooley_tukey(c, load_integers(x), load_integers(y), root, true);
            store(x, a);
            store(y, b);
        }
        groups = 2;
    } else {
        lanes.iter_mut().for_each(|lane| store(lane, load_integers(lane)));
    }
    while groups < plan.n / 8 {
        let size = lanes.len() / groups;
        for (i, group) in lanes.chunks_exact_mut(size).enumerate() {
            let [r0, r1, r2] = head_roots(c, &plan.forward.head, groups + i);
            let [a, b, d, e] = quarters(group);
            for (((a, b), d), e) in a.iter_mut().zip(b).zip(d).zip(e) {
                let (x0, x2) = cooley_tukey(c, load(a), load(d), r0, false);
                let (x1, x3) = cooley_tukey(c, load(b), load(e), r0, false);
                let (x0, x1) = cooley_tukey(c, x0, x1, r1, true);
                let (x2, x3) = cooley_tukey(c, x2, x3, r2, true);
                store(a, x0);
                store(b, x1);
                store(d, x2);
                store(e, x3);
            }
        }
        groups *= 4;
    }
}

/// The layers of 2 `groups` and `groups` groups; the last pass scales and leaves integers.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_pass4(c: Constants, plan: &Plan, lanes: &mut [Lane8], groups: usize) {
    let scale = [Root::splat(c, plan.scale[0].value), Root::splat(c, plan.scale[1].value)];
    let size = lanes.len() / groups;
    for (i, group) in lanes.chunks_exact_mut(size).enumerate() {
        let [r0, r1, r2] = head_roots(c, &plan.inverse.head, groups + i);
        let [a, b, d, e] = quarters(group);
        for (((a, b), d), e) in a.iter_mut().zip(b).zip(d).zip(e) {
            let (x0, x1) = gentleman_sande(c, load(a), load(b), r1);
            let (x2, x3) = gentleman_sande(c, load(d), load(e), r2);
            if groups == 1 {
                for (upper, lower, x, y) in [(a, d, x0, x2), (b, e, x1, x3)] {
                    store_integers(c, upper, mul(c, add(x, y), scale[0]));
                    store_integers(c, lower, mul(c, sub(x, y), scale[1]));
                }
            } else {
                let ((x0, x2), (x1, x3)) = (gentleman_sande(c, x0, x2, r0), gentleman_sande(c, x1, x3, r0));
                store(a, x0);
                store(b, x1);
                store(d, x2);
                store(e, x3);
            }
        }
    }
}

impl Constants {
    #[target_feature(enable = "avx2")]
    fn new(plan: &Plan) -> Self {
        let p = plan.modulus.value() as f64;
        Self { p: _mm256_set1_pd(p), inverse: _mm256_set1_pd(p.recip()) }
    }
}

impl Root {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(c: Constants, value: Row) -> Self {
        Self { value, ratio: [_mm256_mul_pd(value[0], c.inverse), _mm256_mul_pd(value[1], c.inverse)] }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn splat(c: Constants, value: u64) -> Self {
        Self::new(c, [_mm256_set1_pd(value as f64); 2])
    }
}

/// `(x + y root, x - y root)`, x reduced before or not.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn cooley_tukey(c: Constants, x: Row, y: Row, root: Root, reduced: bool) -> (Row, Row) {
    let x = if reduced { reduce(c, x) } else { x };
    let t = mul(c, y, root);
    (add(x, t), sub(x, t))
}

/// `(x + y, (x - y) root)`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn gentleman_sande(c: Constants, x: Row, y: Row, root: Root) -> (Row, Row) {
    (reduce(c, add(x, y)), mul(c, sub(x, y), root))
}

/// `y root` in [-2p, 2p], for y in [-4p, 4p].
#[inline]
#[target_feature(enable = "avx2,fma")]
fn mul(c: Constants, y: Row, root: Root) -> Row {
    let mut product = y;
    for (i, y) in y.into_iter().enumerate() {
        let high = _mm256_mul_pd(y, root.value[i]);
        let low = _mm256_fmsub_pd(y, root.value[i], high);
        let quotient = round(_mm256_mul_pd(y, root.ratio[i]));
        product[i] = _mm256_add_pd(_mm256_fnmadd_pd(quotient, c.p, high), low);
    }
    product
}

/// To [-p/2, p/2] and a little more.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn reduce(c: Constants, mut x: Row) -> Row {
    for x in &mut x {
        *x = _mm256_fnmadd_pd(round(_mm256_mul_pd(*x, c.inverse)), c.p, *x);
    }
    x
}

#[inline]
#[target_feature(enable = "avx2")]
fn round(x: __m256d) -> __m256d {
    _mm256_round_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(x: Row, y: Row) -> Row {
    [_mm256_add_pd(x[0], y[0]), _mm256_add_pd(x[1], y[1])]
}

#[inline]
#[target_feature(enable = "avx2")]
fn sub(x: Row, y: Row) -> Row {
    [_mm256_sub_pd(x[0], y[0]), _mm256_sub_pd(x[1], y[1])]
}

/// The root of one group in all lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn head_root(c: Constants, head: &Factors, index: usize) -> Root {
    Root::splat(c, head.values[index])
}

/// The roots of a group in its layer and of its halves in the next.
#[inline]
#[target_feature(enable = "avx2")]
fn head_roots(c: Constants, head: &Factors, index: usize) -> [Root; 3] {
    [head_root(c, head, index), head_root(c, head, 2 * index), head_root(c, head, 2 * index + 1)]
}

/// One vector of roots of the last three layers.
#[inline]
#[target_feature(enable = "avx2")]
fn tail_root(c: Constants, tail: &Factors, vector: usize) -> Root {
    let (lanes, _) = tail.values[8 * vector..][..8].as_chunks();
    Root::new(c, load_integers(&lanes[0]))
}

/// Vector of roots, upper and lower row of every butterfly of a layer of this distance.
#[inline]
fn pairs(distance: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let groups = 4 / distance;
    (0..4).map(move |i| {
        let (group, row) = (i / distance, i % distance);
        let upper = 2 * distance * group + row;
        (groups - 1 + group, upper, upper + distance)
    })
}

/// Four consecutive parts.
#[inline]
fn quarters(group: &mut [Lane8]) -> [&mut [Lane8]; 4] {
    let (upper, lower) = group.split_at_mut(group.len() / 2);
    let ((a, b), (c, d)) = (upper.split_at_mut(upper.len() / 2), lower.split_at_mut(lower.len() / 2));
    [a, b, c, d]
}

/// The rows of a block of doubles with rows and columns exchanged.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(block: &[Lane8; 8]) -> [Row; 8] {
    let mut x = [[_mm256_setzero_pd(); 2]; 8];
    for (row, lane) in x.iter_mut().zip(block) {
        *row = load(lane);
    }
    let mut out = x;
    for row in 0..2 {
        for column in 0..2 {
            let (a, b) = (x[4 * row][column], x[4 * row + 1][column]);
            let (c, d) = (x[4 * row + 2][column], x[4 * row + 3][column]);
            let (even0, odd0) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            let (even1, odd1) = (_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
            out[4 * column][row] = _mm256_permute2f128_pd::<0x20>(even0, even1);
            out[4 * column + 1][row] = _mm256_permute2f128_pd::<0x20>(odd0, odd1);
            out[4 * column + 2][row] = _mm256_permute2f128_pd::<0x31>(even0, even1);
            out[4 * column + 3][row] = _mm256_permute2f128_pd::<0x31>(odd0, odd1);
        }
    }
    out
}

/// Integers below 2^52 as doubles: below the leading bit of 2^52 they are its fraction.
#[inline]
#[target_feature(enable = "avx2")]
fn load_integers(lane: &Lane8) -> Row {
    let exponent = _mm256_set1_pd(TWO52);
    // Loops rather than `array::map`, which has no target features and may stay a call.
    let mut row = load(lane);
    for x in &mut row {
        *x = _mm256_sub_pd(_mm256_or_pd(*x, exponent), exponent);
    }
    row
}

/// Residues in [-4p, 4p] as integers in [0, p).
#[inline]
#[target_feature(enable = "avx2,fma")]
fn store_integers(c: Constants, lane: &mut Lane8, x: Row) {
    let exponent = _mm256_set1_pd(TWO52);
    let mut row = reduce(c, x);
    for x in &mut row {
        // Negative ones are those with the sign bit, which selects.
        *x = _mm256_blendv_pd(*x, _mm256_add_pd(*x, c.p), *x);
        *x = _mm256_xor_pd(_mm256_add_pd(*x, exponent), exponent);
    }
    store(lane, row);
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(lane: &Lane8) -> Row {
    // SAFETY: twice 32 readable bytes; the instruction needs no alignment.
    unsafe { [_mm256_loadu_pd(lane.as_ptr().cast()), _mm256_loadu_pd(lane.as_ptr().add(4).cast())] }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(lane: &mut Lane8, x: Row) {
    // SAFETY: twice 32 writable bytes; the instruction needs no alignment.
    unsafe {
        _mm256_storeu_pd(lane.as_mut_ptr().cast(), x[0]);
        _mm256_storeu_pd(lane.as_mut_ptr().add(4).cast(), x[1]);
    }
}

const TWO52: f64 = (1_u64 << 52) as f64;

const _: () = assert!(BLOCK == 64, "eight rows of eight");
