//! A matrix of weights times a vector of ciphertexts: `y_r += sum_k x_k w_rk`, value by value, for both halves of
//! every `x_k`.
//!
//! Sums are kept as in [`pointwise`], lower 52 and upper bits of every product in two words, and
//! reduced in the end. A tile of four sums of both halves stays in registers while all products pass by: six loads
//! for sixteen multiply-adds. For that the vector is laid out beforehand ([`Operands`]), the eight values of one place
//! of all `x_k` side by side, and all words of eight sums are neighbours ([`Sums`]): slices of a power of two apart
//! would compete for the same lines of the caches. Weights may be those of [octets](super::octet), whose eight values
//! serve a whole block of 64. All backends leave the same words. Constant time.

use std::ops::Range;

use super::{BLOCK, pointwise};
use crate::cpu::Backend;
use crate::wipe::wipe;
use crate::zq::{MASK52, Modulus};

/// Values of a vector.
const LANES: usize = 8;
/// Sums of both halves in registers: with two words each, 16 registers of 32.
const ROWS: usize = 4;

/// Eight values, in one line of the cache.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Vector([u64; LANES]);

/// Pairs of vectors of one length, in the order in which products read them.
#[derive(Clone)]
pub struct Operands {
    terms: usize,
    len: usize,
    /// `[vector of eight places][term][half]`.
    vectors: Vec<Vector>,
}

/// Unreduced sums of both halves, wiped when dropped.
pub struct Sums {
    /// `[vector of eight places][half][lower, upper bits]`.
    vectors: Vec<[[Vector; 2]; 2]>,
}

/// One sum and its weights.
#[derive(Debug)]
pub struct Row<'a, 'w> {
    /// The sums of all values.
    pub sums: &'a mut Sums,
    /// Of the terms that are added, in order, for the values that are added.
    pub weights: &'a [&'w [u64]],
}

/// How the weights of a row are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightForm {
    /// One slice per term, one weight per value.
    Single,
    /// One slice per eight terms, as [`forward_octet`](super::Plan::forward_octet) leaves them.
    Octet,
}

impl Operands {
    /// Lays out pairs of slices.
    ///
    /// # Panics
    /// If lengths differ or are no multiple of 64.
    #[must_use]
    pub fn new(pairs: &[[&[u64]; 2]]) -> Self {
        let (terms, len) = (pairs.len(), pairs.first().map_or(0, |pair| pair[0].len()));
        assert!(pairs.iter().flatten().all(|half| half.len() == len), "operands of one length");
        assert!(len.is_multiple_of(BLOCK), "whole blocks");
        let mut vectors = vec![Vector([0; LANES]); 2 * terms * len / LANES];
        // Block by block, so that reads and writes share the cache.
        for (block, vectors) in vectors.chunks_exact_mut((2 * terms * BLOCK / LANES).max(1)).enumerate() {
            for (term, pair) in pairs.iter().enumerate() {
                for (half, values) in pair.iter().enumerate() {
                    let (lanes, _) = values[block * BLOCK..][..BLOCK].as_chunks::<LANES>();
                    for (lane, vectors) in lanes.iter().zip(vectors.chunks_exact_mut(2 * terms)) {
                        vectors[2 * term + half] = Vector(*lane);
                    }
                }
            }
        }
        Self { terms, len, vectors }
    }

    /// Number of pairs.
    #[must_use]
    pub fn terms(&self) -> usize {
        self.terms
    }

    /// Values of a vector.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }
}

impl std::fmt::Debug for Operands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Operands({} x {})", self.terms, self.len)
    }
}

impl WeightForm {
    /// Terms of one slice of weights.
    #[must_use]
    pub fn terms(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Octet => 8,
        }
    }
}

impl Sums {
    /// Zeros.
    ///
    /// # Panics
    /// If `len` is no multiple of 64.
    #[must_use]
    pub fn new(len: usize) -> Self {
        assert!(len.is_multiple_of(BLOCK), "whole blocks");
        Self { vectors: vec![Default::default(); len / LANES] }
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.vectors.len() * LANES
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }

    /// The sums in `values` modulo p, in [0, p), both halves.
    ///
    /// # Panics
    /// If the slices are not as long as the range, or it is not made of blocks of 64 of these values.
    pub fn reduce(&self, modulus: &Modulus, values: Range<usize>, out: [&mut [u64]; 2]) {
        assert!(values.start.is_multiple_of(BLOCK) && values.len().is_multiple_of(BLOCK), "whole blocks");
        assert!(out.iter().all(|half| half.len() == values.len()), "one place per sum");
        let vectors = &self.vectors[values.start / LANES..values.end / LANES];
        for (half, out) in out.into_iter().enumerate() {
            let (blocks, _) = vectors.as_chunks::<{ BLOCK / LANES }>();
            for (vectors, out) in blocks.iter().zip(out.chunks_exact_mut(BLOCK)) {
                let [mut lo, mut hi] = [[0; BLOCK]; 2];
                for (i, vector) in vectors.iter().enumerate() {
                    lo[i * LANES..][..LANES].copy_from_slice(&vector[half][0].0);
                    hi[i * LANES..][..LANES].copy_from_slice(&vector[half][1].0);
                }
                pointwise::reduce_acc(modulus, &lo, &hi, out);
            }
        }
    }

    /// Replaces the sums in `values` by what they are modulo p: as much as one product adds.
    ///
    /// # Panics
    /// As [`Sums::reduce`].
    pub fn fold(&mut self, modulus: &Modulus, values: Range<usize>) {
        let mut reduced = [vec![0; values.len()], vec![0; values.len()]];
        self.reduce(modulus, values.clone(), reduced.each_mut().map(Vec::as_mut_slice));
        let vectors = &mut self.vectors[values.start / LANES..values.end / LANES];
        for (half, reduced) in reduced.iter_mut().enumerate() {
            for (vector, values) in vectors.iter_mut().zip(reduced.as_chunks().0) {
                vector[half] = [Vector(*values), Vector([0; LANES])];
            }
            wipe(reduced);
        }
    }
}

impl Drop for Sums {
    fn drop(&mut self) {
        wipe(&mut self.vectors);
    }
}

impl std::fmt::Debug for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sums({})", self.len())
    }
}

/// To the sums of every row, of the values in `values`, adds the products of the operands in `terms` with its weights;
/// at most [`MAX_PRODUCTS`](super::pointwise::MAX_PRODUCTS) may come together before a reduction.
///
/// # Panics
/// If operands or sums do not have these values, which are whole blocks of 64, weights do not have as many, or a row
/// does not have the weights of these terms.
pub fn mul_acc(
    rows: &mut [Row<'_, '_>],
    operands: &Operands,
    values: Range<usize>,
    terms: Range<usize>,
    form: WeightForm,
) {
    mul_acc_on(Backend::detected(), rows, operands, values, terms, form);
}

/// [`mul_acc`] on one backend; for tests. AVX2 runs the portable code.
///
/// # Panics
/// As [`mul_acc`], and if the machine lacks the backend.
pub fn mul_acc_on(
    backend: Backend,
    rows: &mut [Row<'_, '_>],
    operands: &Operands,
    values: Range<usize>,
    terms: Range<usize>,
    form: WeightForm,
) {
    let len = values.len();
    assert!(values.start.is_multiple_of(BLOCK) && len.is_multiple_of(BLOCK), "whole blocks");
    assert!(values.end <= operands.len && terms.end <= operands.terms, "values and terms of the operands");
    for row in rows.iter() {
        assert!(values.end <= row.sums.len(), "one sum per value");
        assert_eq!(row.weights.len(), terms.len().div_ceil(form.terms()), "one weight per term");
        assert!(row.weights.iter().all(|weights| weights.len() == len), "one weight per value");
    }
    // All rows take their turn at a block of the operands while the caches hold it.
    let mut room = Vec::new();
    for at in (0..len).step_by(BLOCK) {
        let block = Block { operands, start: values.start, at, terms: &terms, form };
        for rows in rows.chunks_mut(ROWS) {
            match backend {
                #[cfg(target_arch = "x86_64")]
                Backend::Avx512 => {
                    assert!(super::runs(backend), "backend of this machine");
                    // SAFETY: the machine has the instructions of this backend; lengths were checked above.
                    unsafe { avx512::mul_acc(rows, block, &mut room) }
                }
                _ => mul_acc_portable(rows, block),
            }
        }
    }
}

/// A block of 64 values of one multiplication.
#[derive(Clone, Copy)]
struct Block<'a> {
    operands: &'a Operands,
    /// The value that belongs to the first weights.
    start: usize,
    /// The first value of the block, counted from there.
    at: usize,
    terms: &'a Range<usize>,
    form: WeightForm,
}

impl Block<'_> {
    /// The vectors of the block.
    #[inline]
    fn vectors(&self) -> Range<usize> {
        (self.start + self.at) / LANES..(self.start + self.at + BLOCK) / LANES
    }

    /// The operands of one vector.
    #[inline]
    fn operands(&self, vector: usize) -> &[[Vector; 2]] {
        let (pairs, _) = self.operands.vectors.as_chunks::<2>();
        &pairs[vector * self.operands.terms + self.terms.start..][..self.terms.len()]
    }
}

fn mul_acc_portable(rows: &mut [Row<'_, '_>], block: Block<'_>) {
    for (place, vector) in block.vectors().enumerate() {
        for row in &mut *rows {
            for (half, [lo, hi]) in row.sums.vectors[vector].iter_mut().enumerate() {
                for (term, x) in block.operands(vector).iter().enumerate() {
                    let w = match block.form {
                        WeightForm::Single => &row.weights[term][block.at + place * LANES..],
                        WeightForm::Octet => &row.weights[term / LANES][block.at + term % LANES * LANES..],
                    };
                    let factors = x[half].0.iter().zip(w);
                    for ((lo, hi), (&x, &w)) in lo.0.iter_mut().zip(&mut hi.0).zip(factors) {
                        let product = u128::from(x) * u128::from(w);
                        *lo = lo.wrapping_add(product as u64 & MASK52);
                        *hi = hi.wrapping_add((product >> 52) as u64);
                    }
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{Block, LANES, Row, Vector, WeightForm};
    use crate::ntt::BLOCK;
    use crate::ntt::avx512::{load, store};

    /// Words of the sums of one row: lower and upper of the first half, then of the second.
    type Words = [__m512i; 4];

    /// At most four rows.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_acc(rows: &mut [Row<'_, '_>], block: Block<'_>, room: &mut Vec<Vector>) {
        match rows.len() {
            1 => mul_acc_rows::<1>(rows, block, room),
            2 => mul_acc_rows::<2>(rows, block, room),
            3 => mul_acc_rows::<3>(rows, block, room),
            _ => mul_acc_rows::<4>(rows, block, room),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn mul_acc_rows<const R: usize>(rows: &mut [Row<'_, '_>], block: Block<'_>, room: &mut Vec<Vector>) {
        let octets = block.form == WeightForm::Octet;
        if octets {
            // The weights of this block in the order in which they are read: once for each vector of the operands.
            room.clear();
            for term in 0..block.terms.len() {
                for row in &*rows {
                    let (lanes, _) = row.weights[term / LANES][block.at..][..BLOCK].as_chunks();
                    room.push(Vector(lanes[term % LANES]));
                }
            }
        }
        for (place, vector) in block.vectors().enumerate() {
            let mut sums = [[_mm512_setzero_si512(); 4]; R];
            for (sums, row) in sums.iter_mut().zip(&*rows) {
                let [[x_lo, x_hi], [y_lo, y_hi]] = &row.sums.vectors[vector];
                *sums = [load(&x_lo.0), load(&x_hi.0), load(&y_lo.0), load(&y_hi.0)];
            }
            let operands = block.operands(vector);
            let mut w = [_mm512_setzero_si512(); R];
            if octets {
                for ([x, y], weights) in operands.iter().zip(room.as_chunks::<R>().0) {
                    w.iter_mut().zip(weights).for_each(|(w, vector)| *w = load(&vector.0));
                    add_products(&mut sums, load(&x.0), load(&y.0), &w);
                }
            } else {
                let at = block.at + place * LANES;
                for (term, [x, y]) in operands.iter().enumerate() {
                    for (w, row) in w.iter_mut().zip(&*rows) {
                        let weights = row.weights[term];
                        // Far from each other, the slices of many terms are too many for the processor to foresee.
                        _mm_prefetch::<_MM_HINT_T0>(weights.as_ptr().wrapping_add(at + AHEAD).cast());
                        let (lanes, _) = weights[at..].as_chunks();
                        *w = load(&lanes[0]);
                    }
                    add_products(&mut sums, load(&x.0), load(&y.0), &w);
                }
            }
            for (sums, row) in sums.iter().zip(&mut *rows) {
                let words = row.sums.vectors[vector].as_flattened_mut();
                words.iter_mut().zip(sums).for_each(|(word, sum)| store(&mut word.0, *sum));
            }
        }
    }

    /// `sums_r += (x, y) w_r`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add_products<const R: usize>(sums: &mut [Words; R], x: __m512i, y: __m512i, w: &[__m512i; R]) {
        for (sums, w) in sums.iter_mut().zip(w) {
            sums[0] = _mm512_madd52lo_epu64(sums[0], x, *w);
            sums[1] = _mm512_madd52hi_epu64(sums[1], x, *w);
            sums[2] = _mm512_madd52lo_epu64(sums[2], y, *w);
            sums[3] = _mm512_madd52hi_epu64(sums[3], y, *w);
        }
    }

    /// Values from a weight to the one that is asked for with it.
    const AHEAD: usize = 2 * LANES;
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::zq::ntt_primes;

    #[test]
    fn is_a_matrix_product() {
        let mut rng = StdRng::seed_from_u64(1);
        let m = Modulus::new(ntt_primes(50, 1 << 15, 1)[0]).unwrap();
        let len = 192;
        let mut draw = |len: usize| (0..len).map(|_| rng.random_range(0..m.value())).collect::<Vec<u64>>();
        for (rows, all_terms, values, terms) in [
            (1, 1, 0..192, 0..1),
            (2, 9, 64..192, 0..9),
            (3, 8, 0..64, 0..8),
            (4, 20, 64..128, 3..20),
            (5, 17, 0..192, 8..17),
            (9, 3, 0..192, 1..3),
            (2, 4, 0..64, 2..2),
        ] {
            let pairs: Vec<[Vec<u64>; 2]> = (0..all_terms).map(|_| [draw(len), draw(len)]).collect();
            let views: Vec<_> = pairs.iter().map(|pair| pair.each_ref().map(Vec::as_slice)).collect();
            let operands = Operands::new(&views);
            for form in [WeightForm::Single, WeightForm::Octet] {
                let slices = terms.len().div_ceil(form.terms());
                let weights: Vec<Vec<Vec<u64>>> =
                    (0..rows).map(|_| (0..slices).map(|_| draw(values.len())).collect()).collect();
                let weight = |row: usize, i: usize, v: usize| match form {
                    WeightForm::Single => weights[row][i][v],
                    WeightForm::Octet => weights[row][i / 8][v / 64 * 64 + i % 8 * 8 + v % 8],
                };
                let exact = |row: usize, half: usize, v: usize| {
                    let product = |(i, term): (usize, usize)| {
                        m.mul(pairs[term][half][values.start + v], weight(row, i, v))
                    };
                    terms.clone().enumerate().map(product).fold(0, |a, b| m.add(a, b))
                };
                let views: Vec<Vec<&[u64]>> =
                    weights.iter().map(|row| row.iter().map(Vec::as_slice).collect()).collect();
                let mut words = Vec::new();
                for backend in Backend::available() {
                    let mut sums: Vec<Sums> = (0..rows).map(|_| Sums::new(len)).collect();
                    // Twice, with a reduction between.
                    for _ in 0..2 {
                        sums.iter_mut().for_each(|sums| sums.fold(&m, 0..len));
                        let mut rows: Vec<Row<'_, '_>> = sums
                            .iter_mut()
                            .zip(&views)
                            .map(|(sums, weights)| Row { sums, weights })
                            .collect();
                        mul_acc_on(backend, &mut rows, &operands, values.clone(), terms.clone(), form);
                    }
                    for (row, sums) in sums.iter().enumerate() {
                        let mut out = [vec![0; len], vec![0; len]];
                        sums.reduce(&m, 0..len, out.each_mut().map(Vec::as_mut_slice));
                        for (half, out) in out.iter().enumerate() {
                            for (at, &value) in out.iter().enumerate() {
                                let once = if values.contains(&at) {
                                    exact(row, half, at - values.start)
                                } else {
                                    0
                                };
                                assert_eq!(value, m.add(once, once), "{form:?} {backend:?}");
                            }
                        }
                    }
                    let all = sums.iter().flat_map(|sums| sums.vectors.as_flattened().as_flattened());
                    words.push(all.map(|vector| vector.0).collect::<Vec<_>>());
                }
                assert!(words.windows(2).all(|w| w[0] == w[1]), "all backends leave the same words");
            }
        }
    }
}
