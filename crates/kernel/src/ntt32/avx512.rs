//! The transforms with AVX-512: sixteen residues per vector, up to three layers per pass over memory.
//!
//! The functions here carry their target features; only the entry points are reached from outside, after a check.

use std::arch::x86_64::*;

use super::pointwise::{SUMS, TILE};
use super::roots::TAIL;
use super::{Modulus, Plan};

/// `out_h += sum_i a_i b_i,h` for h = 0 and 1, all in [0, p), the b_i in Montgomery form, below 2^4 products; all slices
/// have the same number of elements, a multiple of 16.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
pub(super) fn inner(modulus: &Modulus, out: [&mut [u32]; 2], a: &[&[u32]], b: &[[&[u32]; 2]]) {
    let (p, inverse) = (splat(modulus.value() as i32), splat(modulus.inverse()));
    let [o0, o1] = out;
    let (o0, _) = o0.as_chunks_mut::<16>();
    let (o1, _) = o1.as_chunks_mut::<16>();
    for (k, (o0, o1)) in o0.iter_mut().zip(o1).enumerate() {
        let at = |v: &[u32]| load_u32(&v.as_chunks::<16>().0[k]);
        let mut sums = [_mm512_setzero_si512(); 4];
        for (a, [b0, b1]) in a.iter().zip(b) {
            let (a, b0, b1) = (at(a), at(b0), at(b1));
            let (x, y0, y1) = (upper(a), upper(b0), upper(b1));
            sums[0] = _mm512_add_epi64(sums[0], _mm512_mul_epu32(a, b0));
            sums[1] = _mm512_add_epi64(sums[1], _mm512_mul_epu32(x, y0));
            sums[2] = _mm512_add_epi64(sums[2], _mm512_mul_epu32(a, b1));
            sums[3] = _mm512_add_epi64(sums[3], _mm512_mul_epu32(x, y1));
        }
        for (out, sums) in [o0, o1].into_iter().zip([[sums[0], sums[1]], [sums[2], sums[3]]]) {
            let [even, odd] = sums.map(|sum| {
                let q = _mm512_mul_epu32(sum, inverse);
                _mm512_sub_epi64(sum, _mm512_mul_epu32(q, p))
            });
            let reduced = _mm512_mask_shuffle_epi32::<0b11_11_01_01>(odd, 0x5555, even);
            let sum = _mm512_add_epi32(wrap(reduced, p), load_u32(out));
            store_u32(out, below(sum, p));
        }
    }
}

/// Adds `sum_i weights_o,i inputs_i` to each row, all in [0, p), weights in Montgomery form, at most 2^7 inputs.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
pub(super) fn add_weighted(
    modulus: &Modulus,
    weights: [&[u32]; SUMS],
    inputs: &[[u32; TILE]],
    out: &mut [[u32; TILE]; SUMS],
) {
    let (p, inverse) = (splat(modulus.value() as i32), splat(modulus.inverse()));
    let (upper_p, one) = (_mm512_slli_epi64::<32>(p), splat(modulus.to_montgomery(1) as i32));
    // Per row the even and the odd lanes of two vectors, below 2^63.
    let mut sums = [[_mm512_setzero_si512(); 4]; SUMS];
    for (i, input) in inputs.iter().enumerate() {
        let (vectors, _) = input.as_chunks::<16>();
        let [x, y] = [load_u32(&vectors[0]), load_u32(&vectors[1])];
        let lanes = [x, upper(x), y, upper(y)];
        for (sums, weights) in sums.iter_mut().zip(weights) {
            let weight = splat(weights[i] as i32);
            for (sum, lanes) in sums.iter_mut().zip(lanes) {
                *sum = _mm512_add_epi64(*sum, _mm512_mul_epu32(lanes, weight));
            }
        }
    }
    let reduce = |x| _mm512_sub_epi64(x, _mm512_mul_epu32(_mm512_mul_epu32(x, inverse), p));
    for (out, sums) in out.iter_mut().zip(sums) {
        let (vectors, _) = out.as_chunks_mut::<16>();
        for (out, sums) in vectors.iter_mut().zip([[sums[0], sums[1]], [sums[2], sums[3]]]) {
            // First to the upper half, in (-p, 2^31); then p more, times one in Montgomery form.
            let [even, odd] = sums.map(|sum| {
                let small = upper(_mm512_add_epi64(reduce(sum), upper_p));
                reduce(_mm512_mul_epu32(small, one))
            });
            let reduced = _mm512_mask_shuffle_epi32::<0b11_11_01_01>(odd, 0x5555, even);
            let sum = _mm512_add_epi32(wrap(reduced, p), load_u32(out));
            store_u32(out, below(sum, p));
        }
    }
}

/// Sixteen residues in memory.
type Lane16 = [i32; 16];

/// Multiples of the modulus.
#[derive(Clone, Copy)]
struct Constants {
    /// p^-1 modulo 2^32.
    inverse: __m512i,
    one: __m512i,
    two: __m512i,
    four: __m512i,
    eight: __m512i,
}

/// Sixteen factors and their quotients.
#[derive(Clone, Copy)]
struct Roots16 {
    /// Factors of the even lanes, in the lower half of every 64 bits.
    even: __m512i,
    /// Factors of the odd lanes, there too.
    odd: __m512i,
}

/// Roots of three layers: 1 + 2 + 4.
const ROOTS: usize = 7;

/// Coefficients in (-p, p) to values; both slices have n elements.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
pub(super) fn forward(plan: &Plan, coefficients: &[i32], values: &mut [u32]) {
    let c = Constants::new(plan);
    let (lanes, _) = as_signed(values).as_chunks_mut::<16>();
    fold(c, plan, coefficients, lanes);
    // The last pass takes seven layers.
    let top = plan.n / 128;
    let mut groups = 1;
    while groups < top {
        match (top / groups).trailing_zeros() {
            1 => groups = forward_pass::<2>(c, &plan.forward.head, lanes, groups),
            2 | 4 => groups = forward_pass::<4>(c, &plan.forward.head, lanes, groups),
            _ => groups = forward_pass::<8>(c, &plan.forward.head, lanes, groups),
        }
    }
    let (blocks, _) = lanes.as_chunks_mut::<8>();
    for (b, block) in blocks.iter_mut().enumerate() {
        let mut x = load_rows(block);
        // At most 1.75 p after the fold and 0.75 p more per layer: below 8 p at degree 2^15. The upper half is brought
        // to 2 p before seven more layers, which leave 7.25 p; the lower half is multiplied first.
        for v in &mut x[..4] {
            let reduced = below(wrap(*v, c.eight), c.four);
            *v = _mm512_sub_epi32(reduced, c.two);
        }
        forward_rows(c, &mut x, &head_roots::<8>(&plan.forward.head, top, b));
        for j in 0..4 {
            let tail = tail_roots(&plan.forward.tail, 4 * b + j);
            let (u, v) = (x[2 * j], x[2 * j + 1]);
            let (u, v) = (_mm512_shuffle_i64x2::<0x44>(u, v), _mm512_shuffle_i64x2::<0xee>(u, v));
            let (u, v) = cooley_tukey(c, u, v, tail[0]);
            let (u, v) = (_mm512_shuffle_i64x2::<0x88>(u, v), _mm512_shuffle_i64x2::<0xdd>(u, v));
            let (u, v) = cooley_tukey(c, u, v, tail[1]);
            let (u, v) = (_mm512_unpacklo_epi64(u, v), _mm512_unpackhi_epi64(u, v));
            let (u, v) = cooley_tukey(c, u, v, tail[2]);
            let (u, v) = (select::<0x88>(u, v), select::<0xdd>(u, v));
            let (u, v) = cooley_tukey(c, u, v, tail[3]);
            store(&mut block[2 * j], canonical(c, u));
            store(&mut block[2 * j + 1], canonical(c, v));
        }
    }
}

/// Values in [0, p) to coefficients in [0, p); both slices have n elements.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
pub(super) fn inverse(plan: &Plan, values: &mut [u32], coefficients: &mut [u32]) {
    let c = Constants::new(plan);
    let signed = as_signed(values);
    let (lanes, _) = signed.as_chunks_mut::<16>();
    let (blocks, _) = lanes.as_chunks_mut::<8>();
    let top = plan.n / 128;
    let low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    let high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    for (b, block) in blocks.iter_mut().enumerate() {
        let mut x = load_rows(block);
        for j in 0..4 {
            let tail = tail_roots(&plan.inverse.tail, 4 * b + j);
            let (u, v) = gentleman_sande(c, x[2 * j], x[2 * j + 1], tail[3]);
            let (u, v) = (_mm512_unpacklo_epi32(u, v), _mm512_unpackhi_epi32(u, v));
            let (u, v) = gentleman_sande(c, u, v, tail[2]);
            let (u, v) = (_mm512_unpacklo_epi64(u, v), _mm512_unpackhi_epi64(u, v));
            let (u, v) = gentleman_sande(c, u, v, tail[1]);
            let (u, v) = (_mm512_permutex2var_epi64(u, low, v), _mm512_permutex2var_epi64(u, high, v));
            let (u, v) = gentleman_sande(c, u, v, tail[0]);
            (x[2 * j], x[2 * j + 1]) =
                (_mm512_shuffle_i64x2::<0x44>(u, v), _mm512_shuffle_i64x2::<0xee>(u, v));
        }
        inverse_rows(c, &mut x, &head_roots::<8>(&plan.inverse.head, top, b));
        block.iter_mut().zip(x).for_each(|(slot, v)| store(slot, v));
    }
    let mut groups = top;
    while groups > 1 {
        match groups.trailing_zeros() {
            1 => groups = inverse_pass::<2>(c, plan, lanes, groups),
            2 | 4 => groups = inverse_pass::<4>(c, plan, lanes, groups),
            _ => groups = inverse_pass::<8>(c, plan, lanes, groups),
        }
    }
    unfold(c, plan, signed, coefficients);
}

impl Constants {
    #[target_feature(enable = "avx512f")]
    fn new(plan: &Plan) -> Self {
        let p = plan.modulus.value() as i32;
        // 8 p may pass 2^31; only its bits matter.
        let inverse = splat(plan.modulus.inverse());
        Self {
            inverse,
            one: splat(p),
            two: splat(2 * p),
            four: splat(4 * p),
            eight: splat(p.wrapping_mul(8)),
        }
    }
}

/// `b_j = a_j - I a_(n-j)`, in absolute value below 1.75 p.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw")]
fn fold(c: Constants, plan: &Plan, a: &[i32], out: &mut [Lane16]) {
    let root = broadcast(plan.fold);
    let (lanes, _) = a.as_chunks::<16>();
    for (k, (out, lane)) in out.iter_mut().zip(lanes).enumerate() {
        store(out, _mm512_sub_epi32(load(lane), mul(c, partner(a, k), root)));
    }
}

/// `a_j = b_j + I b_(n-j)` in [0, p), for |b_j| < p; a_0 = 2 b_0.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw")]
fn unfold(c: Constants, plan: &Plan, b: &[i32], out: &mut [u32]) {
    let root = broadcast(plan.fold);
    let (lanes, _) = b.as_chunks::<16>();
    let (out, _) = as_signed(out).as_chunks_mut::<16>();
    for (k, (out, lane)) in out.iter_mut().zip(lanes).enumerate() {
        let x = load(lane);
        let mut t = mul(c, partner(b, k), root);
        if k == 0 {
            t = _mm512_mask_mov_epi32(t, 1, x);
        }
        let sum = wrap(_mm512_add_epi32(x, t), c.two);
        store(out, below(sum, c.one));
    }
}

/// Elements n - 16 k - lane; zero for element n.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn partner(a: &[i32], k: usize) -> __m512i {
    let reversal = _mm512_setr_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let end = a.len() - 16 * k;
    let source = if k == 0 {
        // One element less: the vector that ends before element n, one lane up.
        let v = load(tail16(&a[..end]));
        return _mm512_maskz_permutexvar_epi32(
            0xfffe,
            _mm512_setr_epi32(0, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1),
            v,
        );
    } else {
        load(tail16(&a[..=end]))
    };
    _mm512_permutexvar_epi32(reversal, source)
}

/// The last sixteen elements of a slice that has as many.
#[inline]
fn tail16(a: &[i32]) -> &Lane16 {
    let (_, lanes) = a.as_rchunks::<16>();
    &lanes[lanes.len() - 1]
}

/// The log2(R) layers from that of `groups` groups on; the number of groups of the next.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw")]
fn forward_pass<const R: usize>(c: Constants, head: &[i32], lanes: &mut [Lane16], groups: usize) -> usize {
    let size = lanes.len() / groups;
    for (i, group) in lanes.chunks_exact_mut(size).enumerate() {
        let roots = head_roots::<R>(head, groups, i);
        let mut rows = rows::<R>(group, size / R);
        for k in 0..size / R {
            let mut x = gather(&rows, k);
            forward_rows(c, &mut x, &roots);
            rows.iter_mut().zip(x).for_each(|(row, v)| store(&mut row[k], v));
        }
    }
    groups * R
}

/// The log2(R) layers that end with that of `groups` / R groups, with the scaling if this is the last pass; the number
/// of groups of its last layer.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw")]
fn inverse_pass<const R: usize>(c: Constants, plan: &Plan, lanes: &mut [Lane16], groups: usize) -> usize {
    let groups = groups / R;
    let size = lanes.len() / groups;
    let scale = plan.scale.map(|root| broadcast(root));
    for (i, group) in lanes.chunks_exact_mut(size).enumerate() {
        let roots = head_roots::<R>(&plan.inverse.head, groups, i);
        let mut rows = rows::<R>(group, size / R);
        for k in 0..size / R {
            let mut x = gather(&rows, k);
            if groups == 1 {
                inverse_rows_but_last(c, &mut x, &roots);
                for j in 0..R / 2 {
                    let (u, v) = (x[j], x[j + R / 2]);
                    x[j] = mul(c, _mm512_add_epi32(u, v), scale[0]);
                    x[j + R / 2] = mul(c, _mm512_sub_epi32(u, v), scale[1]);
                }
            } else {
                inverse_rows(c, &mut x, &roots);
            }
            rows.iter_mut().zip(x).for_each(|(row, v)| store(&mut row[k], v));
        }
    }
    groups
}

/// log2(R) layers across R rows: distances R/2, .., 1. Absolute values grow by 0.75 p per layer.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw")]
fn forward_rows<const R: usize>(c: Constants, x: &mut [__m512i; R], roots: &[Roots16; ROOTS]) {
    let mut distance = R / 2;
    while distance > 0 {
        let parts = R / (2 * distance);
        for part in 0..parts {
            for j in 2 * distance * part..2 * distance * part + distance {
                (x[j], x[j + distance]) = cooley_tukey(c, x[j], x[j + distance], roots[parts - 1 + part]);
            }
        }
        distance /= 2;
    }
}

/// log2(R) layers across R rows: distances 1, .., R/2. [-p, p] to the same.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw")]
fn inverse_rows<const R: usize>(c: Constants, x: &mut [__m512i; R], roots: &[Roots16; ROOTS]) {
    inverse_rows_but_last(c, x, roots);
    for j in 0..R / 2 {
        (x[j], x[j + R / 2]) = gentleman_sande(c, x[j], x[j + R / 2], roots[0]);
    }
}

/// [`inverse_rows`] without the layer of distance R/2.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw")]
fn inverse_rows_but_last<const R: usize>(c: Constants, x: &mut [__m512i; R], roots: &[Roots16; ROOTS]) {
    let mut distance = 1;
    while distance < R / 2 {
        let parts = R / (2 * distance);
        for part in 0..parts {
            for j in 2 * distance * part..2 * distance * part + distance {
                (x[j], x[j + distance]) = gentleman_sande(c, x[j], x[j + distance], roots[parts - 1 + part]);
            }
        }
        distance *= 2;
    }
}

/// `(x + r y, x - r y)`.
#[inline]
#[target_feature(enable = "avx512f")]
fn cooley_tukey(c: Constants, x: __m512i, y: __m512i, root: Roots16) -> (__m512i, __m512i) {
    let t = mul(c, y, root);
    (_mm512_add_epi32(x, t), _mm512_sub_epi32(x, t))
}

/// `(x + y, r (x - y))`, [-p, p] to the same.
#[inline]
#[target_feature(enable = "avx512f")]
fn gentleman_sande(c: Constants, x: __m512i, y: __m512i, root: Roots16) -> (__m512i, __m512i) {
    let sum = wrap(_mm512_add_epi32(x, y), c.two);
    (_mm512_sub_epi32(sum, c.one), mul(c, _mm512_sub_epi32(x, y), root))
}

/// `y root` in (-0.75 p, 0.75 p), for any y.
#[inline]
#[target_feature(enable = "avx512f")]
fn mul(c: Constants, y: __m512i, root: Roots16) -> __m512i {
    // Quotients from 64-bit products rather than by one 32-bit product: as many steps, fewer constants.
    let reduce = |product| {
        let q = _mm512_mul_epi32(product, c.inverse);
        // The lower half of the difference is zero.
        _mm512_sub_epi64(product, _mm512_mul_epi32(q, c.one))
    };
    let even = reduce(_mm512_mul_epi32(y, root.even));
    let odd = reduce(_mm512_mul_epi32(upper(y), root.odd));
    _mm512_mask_shuffle_epi32::<0b11_11_01_01>(odd, 0x5555, even)
}

/// The odd lanes, in the lower half of every 64 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn upper(v: __m512i) -> __m512i {
    _mm512_srli_epi64::<32>(v)
}

/// From (-7.25 p, 7.25 p) to [0, p).
#[inline]
#[target_feature(enable = "avx512f")]
fn canonical(c: Constants, v: __m512i) -> __m512i {
    below(below(below(wrap(v, c.eight), c.four), c.two), c.one)
}

/// `v + m` where v < 0, else `v`; for |v| <= m.
#[inline]
#[target_feature(enable = "avx512f")]
fn wrap(v: __m512i, m: __m512i) -> __m512i {
    _mm512_min_epu32(v, _mm512_add_epi32(v, m))
}

/// `v - m` where v >= m, else `v`; for 0 <= v.
#[inline]
#[target_feature(enable = "avx512f")]
fn below(v: __m512i, m: __m512i) -> __m512i {
    _mm512_min_epu32(v, _mm512_sub_epi32(v, m))
}

/// Of every four lanes of u and of v two, as in `_mm512_shuffle_ps`.
#[inline]
#[target_feature(enable = "avx512f")]
fn select<const LANES: i32>(u: __m512i, v: __m512i) -> __m512i {
    _mm512_castps_si512(_mm512_shuffle_ps::<LANES>(_mm512_castsi512_ps(u), _mm512_castsi512_ps(v)))
}

/// The roots of group i in the layers of m, 2m, .., m R/2 groups.
#[inline]
#[target_feature(enable = "avx512f")]
fn head_roots<const R: usize>(head: &[i32], m: usize, i: usize) -> [Roots16; ROOTS] {
    let zero = _mm512_setzero_si512();
    let mut roots = [Roots16 { even: zero, odd: zero }; ROOTS];
    let mut groups = 1;
    while groups < R {
        for part in 0..groups {
            roots[groups - 1 + part] = broadcast(head[groups * (m + i) + part]);
        }
        groups *= 2;
    }
    roots
}

#[inline]
#[target_feature(enable = "avx512f")]
fn broadcast(root: i32) -> Roots16 {
    let value = splat(root);
    Roots16 { even: value, odd: value }
}

/// The roots of the last four layers in a block of 32 values.
#[inline]
#[target_feature(enable = "avx512f")]
fn tail_roots(tail: &[i32], block: usize) -> [Roots16; 4] {
    let range = TAIL * block..TAIL * (block + 1);
    let (values, _) = tail[range].as_chunks();
    let zero = _mm512_setzero_si512();
    let mut roots = [Roots16 { even: zero, odd: zero }; 4];
    for (root, value) in roots.iter_mut().zip(values) {
        let value = load(value);
        *root = Roots16 { even: value, odd: upper(value) };
    }
    roots
}

/// `R` consecutive slices of `len` vectors.
#[inline]
fn rows<const R: usize>(group: &mut [Lane16], len: usize) -> [&mut [Lane16]; R] {
    let mut rest = group;
    std::array::from_fn(|_| {
        let (row, tail) = std::mem::take(&mut rest).split_at_mut(len);
        rest = tail;
        row
    })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_rows(block: &[Lane16; 8]) -> [__m512i; 8] {
    let mut x = [_mm512_setzero_si512(); 8];
    x.iter_mut().zip(block).for_each(|(v, row)| *v = load(row));
    x
}

/// One vector from each row.
#[inline]
#[target_feature(enable = "avx512f")]
fn gather<const R: usize>(rows: &[&mut [Lane16]; R], k: usize) -> [__m512i; R] {
    let mut x = [_mm512_setzero_si512(); R];
    for (v, row) in x.iter_mut().zip(rows) {
        *v = load(&row[k]);
    }
    x
}

/// The same words as signed numbers.
#[inline]
fn as_signed(words: &mut [u32]) -> &mut [i32] {
    // SAFETY: both types have the same size, alignment and validity; the borrow is unique.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn splat(v: i32) -> __m512i {
    _mm512_set1_epi32(v)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(from: &Lane16) -> __m512i {
    // SAFETY: 64 readable bytes; the instruction needs no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(to: &mut Lane16, v: __m512i) {
    // SAFETY: 64 writable bytes; the instruction needs no alignment.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), v) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_u32(from: &[u32; 16]) -> __m512i {
    // SAFETY: 64 readable bytes; the instruction needs no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store_u32(to: &mut [u32; 16], v: __m512i) {
    // SAFETY: 64 writable bytes; the instruction needs no alignment.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), v) }
}
