//! Integer matrix products on ring words: `C += A B` modulo 2^32, where A (m x k) holds weights and B (k x n) the
//! columns of an image of shares.
//!
//! Method: every word of B is written as `lo + 2^16 hi` with `lo` and `hi` signed 16-bit numbers, so that with
//! 16-bit weights a product is two 16-bit multiply-adds, `A B = A lo + 2^16 (A hi)`, each exact because sums wrap
//! modulo 2^32. This is what the multiply-add instructions on pairs of 16-bit numbers compute (`vpmaddwd`,
//! `vpdpwssd`), at half the instructions of a 32-bit multiplication. A weight that needs more than 16 bits is split in
//! the same way, into a second product.
//!
//! Layout: A is kept as *panels* of `ROWS` rows, B is split into *strips* of `COLUMNS` columns; a tile kernel
//! multiplies one panel by one strip with the result in registers. Two values of k are neighbours in one 32-bit word.
//! Blocks of B stay in the second-level cache, blocks of a panel in the first. A few columns (a dense layer) are
//! inner products over the panels, as fast as memory delivers them.
//!
//! Time depends on the shapes and on whether A has wide weights, never on the values of B.

use std::cell::RefCell;

use rayon::prelude::*;

use crate::cpu::Backend;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

/// Rows of a panel of weights.
const ROWS: usize = 8;
/// Columns of a strip.
const COLUMNS: usize = 16;
/// Pairs of k per block: a panel's block takes 16 KiB, a strip's 64 KiB.
const BLOCK_PAIRS: usize = 512;
/// Columns per block.
const BLOCK_COLUMNS: usize = 8 * COLUMNS;
/// Up to this many columns are computed one by one.
const FEW_COLUMNS: usize = 4;

thread_local! {
    /// Room for a block of strips: fresh memory would cost as much as a small product.
    static STRIPS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// A tile of the result, row-major.
type Tile = [[u32; COLUMNS]; ROWS];

/// `c += a b` modulo 2^32, row-major: `a` is m x k, `b` is k x n, `c` is m x n.
///
/// Weights that are used more than once are better packed once, see [`Weights`].
///
/// # Panics
/// If a slice does not have the length of its matrix.
pub fn gemm(m: usize, n: usize, k: usize, a: &[i32], b: &[u32], c: &mut [u32]) {
    Weights::pack(m, k, a).multiply(n, b, c);
}

/// A matrix of weights in the layout of the kernels, packed once per model.
///
/// Takes two bytes per weight (rows rounded up to a multiple of 8), four if a weight is outside `[-2^15, 2^15)`.
#[derive(Clone)]
pub struct Weights {
    rows: usize,
    cols: usize,
    low: Vec<u32>,
    high: Option<Vec<u32>>,
}

impl Weights {
    /// Packs the row-major `rows` x `cols` matrix `a`.
    ///
    /// # Panics
    /// If `a` does not have `rows * cols` elements.
    #[must_use]
    pub fn pack(rows: usize, cols: usize, a: &[i32]) -> Self {
        assert_eq!(a.len(), rows * cols, "weights");
        let wide = a.iter().any(|&w| i16::try_from(w).is_err());
        Self { rows, cols, low: panels(rows, cols, a, low), high: wide.then(|| panels(rows, cols, a, high)) }
    }

    /// Rows of the matrix: outputs of the layer.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the matrix: products per output.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// `c += self b` modulo 2^32 for row-major `b` (`cols` x n) and `c` (`rows` x n), on one thread.
    ///
    /// # Panics
    /// If a slice does not have the length of its matrix.
    pub fn multiply(&self, n: usize, b: &[u32], c: &mut [u32]) {
        self.multiply_on(Backend::detected(), n, b, c);
    }

    /// [`Weights::multiply`] on a chosen backend.
    ///
    /// # Panics
    /// If a slice does not have the length of its matrix, or the machine lacks the backend.
    pub fn multiply_on(&self, backend: Backend, n: usize, b: &[u32], c: &mut [u32]) {
        assert_eq!(c.len(), self.rows * n, "result");
        self.rows_from(Kernel::of(backend), 0, n, b, c);
    }

    /// [`Weights::multiply`] with blocks of rows spread over the threads of the current `rayon` pool.
    ///
    /// # Panics
    /// If a slice does not have the length of its matrix.
    pub fn multiply_parallel(&self, n: usize, b: &[u32], c: &mut [u32]) {
        assert_eq!(c.len(), self.rows * n, "result");
        let kernel = Kernel::of(Backend::detected());
        // Each block splits B anew: fewer than 16 rows would spend their time on that.
        let rows = self.rows.div_ceil(rayon::current_num_threads()).max(16).next_multiple_of(ROWS);
        c.par_chunks_mut((rows * n).max(1))
            .enumerate()
            .for_each(|(block, c)| self.rows_from(kernel, block * rows, n, b, c));
    }

    /// The rows of the result from `first` (a multiple of `ROWS`) on, as many as `c` holds.
    fn rows_from(&self, kernel: Kernel, first: usize, n: usize, b: &[u32], c: &mut [u32]) {
        assert_eq!(b.len(), self.cols * n, "right matrix");
        if c.is_empty() || b.is_empty() {
            return;
        }
        product(kernel, self.cols, from_panel(&self.low, self.cols, first), n, b, c);
        if let Some(high) = &self.high {
            let mut shifted = vec![0; c.len()];
            product(kernel, self.cols, from_panel(high, self.cols, first), n, b, &mut shifted);
            for (c, s) in c.iter_mut().zip(shifted) {
                *c = c.wrapping_add(s << 16);
            }
        }
    }
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weights({} x {})", self.rows, self.cols)
    }
}

type ColumnKernel = fn(&[u32], &[u32], &[u32]) -> [u32; ROWS];

/// The functions that differ between backends.
#[derive(Clone, Copy)]
struct Kernel {
    /// [`split_strip`].
    split: fn(View<'_>, usize, usize, &mut [u32]),
    /// Panel block (pairs x `ROWS`) times strip block (pairs x 2 x `COLUMNS`: a row of low, a row of high halves).
    tile: fn(&[u32], &[u32], &mut Tile),
    /// Panel (pairs x `ROWS`, an even number of pairs) times a column given as low and high pairs.
    column: ColumnKernel,
}

impl Kernel {
    fn of(backend: Backend) -> Self {
        assert!(Backend::available().contains(&backend), "{backend:?} is not available");
        match backend {
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => Self { split: avx512::split, tile: avx512::tile, column: avx512::column },
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => Self { split: avx2::split, tile: avx2::tile, column: avx2::column },
            _ => Self { split: split_strip, tile: portable::tile, column: portable::column },
        }
    }
}

/// A row-major matrix of ring words.
#[derive(Clone, Copy)]
struct View<'a> {
    rows: usize,
    cols: usize,
    words: &'a [u32],
}

/// `c += a b` for panels `a` of 16-bit weights.
fn product(kernel: Kernel, k: usize, a: &[u32], n: usize, b: &[u32], c: &mut [u32]) {
    if n <= FEW_COLUMNS {
        return columns(kernel, k, a, n, b, c);
    }
    STRIPS.with_borrow_mut(|strips| {
        let len = padded_pairs(k).min(BLOCK_PAIRS) * 2 * BLOCK_COLUMNS.min(n.next_multiple_of(COLUMNS));
        if strips.len() < len {
            strips.resize(len, 0);
        }
        blocks(kernel, k, a, n, b, c, strips);
    });
}

/// [`product`] with room for the strips of one block.
fn blocks(kernel: Kernel, k: usize, a: &[u32], n: usize, b: &[u32], c: &mut [u32], strips: &mut [u32]) {
    let pairs = padded_pairs(k);
    let mut tile = Tile::default();
    for j in (0..n).step_by(BLOCK_COLUMNS) {
        let width = BLOCK_COLUMNS.min(n - j);
        for q in (0..pairs).step_by(BLOCK_PAIRS) {
            let depth = BLOCK_PAIRS.min(pairs - q);
            for s in 0..width.div_ceil(COLUMNS) {
                let strip = &mut strips[s * depth * 2 * COLUMNS..][..depth * 2 * COLUMNS];
                (kernel.split)(View { rows: k, cols: n, words: b }, q, j + s * COLUMNS, strip);
            }
            for (c, panel) in c.chunks_mut(ROWS * n).zip(a.chunks_exact(pairs * ROWS)) {
                let panel = &panel[q * ROWS..][..depth * ROWS];
                for s in 0..width.div_ceil(COLUMNS) {
                    (kernel.tile)(
                        panel,
                        &strips[s * depth * 2 * COLUMNS..][..depth * 2 * COLUMNS],
                        &mut tile,
                    );
                    let first = j + s * COLUMNS;
                    let end = n.min(first + COLUMNS);
                    for (c, tile) in c.chunks_exact_mut(n).zip(&tile) {
                        add_assign(&mut c[first..end], tile);
                    }
                }
            }
        }
    }
}

/// `c += a b` column by column.
fn columns(kernel: Kernel, k: usize, a: &[u32], n: usize, b: &[u32], c: &mut [u32]) {
    let pairs = padded_pairs(k);
    let (mut lows, mut highs) = (vec![0; pairs], vec![0; pairs]);
    for j in 0..n {
        for q in 0..k.div_ceil(2) {
            let even = b[2 * q * n + j];
            let odd = b.get((2 * q + 1) * n + j).copied().unwrap_or(0);
            (lows[q], highs[q]) = split(even, odd);
        }
        for (c, panel) in c.chunks_mut(ROWS * n).zip(a.chunks_exact(pairs * ROWS)) {
            let sums = (kernel.column)(panel, &lows, &highs);
            for (c, sum) in c.chunks_exact_mut(n).zip(sums) {
                c[j] = c[j].wrapping_add(sum);
            }
        }
    }
}

/// Splits the columns from `first_col` on and the pairs of rows from `first_pair` on into a strip, zero where the
/// matrix ends.
#[inline(always)]
fn split_strip(b: View<'_>, first_pair: usize, first_col: usize, strip: &mut [u32]) {
    let width = COLUMNS.min(b.cols - first_col);
    let row = |i: usize| {
        let mut row = [0; COLUMNS];
        if i < b.rows {
            let words = &b.words[i * b.cols + first_col..][..width];
            if let Ok(words) = <&[u32; COLUMNS]>::try_from(words) {
                row = *words;
            } else {
                row[..width].copy_from_slice(words);
            }
        }
        row
    };
    let (outs, _) = strip.as_chunks_mut::<{ 2 * COLUMNS }>();
    for (pair, out) in (first_pair..).zip(outs) {
        let (even, odd) = (row(2 * pair), row(2 * pair + 1));
        for lane in 0..COLUMNS {
            out[lane] = split(even[lane], odd[lane]).0;
        }
        for lane in 0..COLUMNS {
            out[COLUMNS + lane] = split(even[lane], odd[lane]).1;
        }
    }
}

/// The panels of `half` of every weight: `[panel][pair][row]`, zero beyond the matrix.
fn panels(rows: usize, cols: usize, a: &[i32], half: impl Fn(i32) -> u32) -> Vec<u32> {
    let pairs = padded_pairs(cols);
    let mut out = vec![0; rows.div_ceil(ROWS) * pairs * ROWS];
    if cols == 0 {
        return out;
    }
    for (row, weights) in a.chunks_exact(cols).enumerate() {
        let panel = &mut out[row / ROWS * pairs * ROWS..][..pairs * ROWS];
        for (pair, weights) in weights.chunks(2).enumerate() {
            let odd = weights.get(1).map_or(0, |&w| half(w));
            panel[pair * ROWS + row % ROWS] = half(weights[0]) | odd << 16;
        }
    }
    out
}

/// The panels from the one that starts with row `first`.
fn from_panel(panels: &[u32], cols: usize, first: usize) -> &[u32] {
    &panels[first * padded_pairs(cols)..]
}

/// Pairs of k, rounded up to an even number: kernels take two pairs at a time.
fn padded_pairs(k: usize) -> usize {
    k.div_ceil(2).next_multiple_of(2)
}

/// The signed low halves and the signed high halves of two words, each as a pair.
#[inline(always)]
fn split(even: u32, odd: u32) -> (u32, u32) {
    let (even_high, odd_high) = (even.wrapping_add(0x8000), odd.wrapping_add(0x8000));
    ((even & 0xffff) | (odd << 16), (even_high >> 16) | (odd_high & 0xffff_0000))
}

/// The low half of a weight, read as a signed number by the kernels.
fn low(w: i32) -> u32 {
    w as u32 & 0xffff
}

/// What [`low`] leaves, over 2^16.
fn high(w: i32) -> u32 {
    (w as u32).wrapping_add(0x8000) >> 16
}

fn add_assign(c: &mut [u32], tile: &[u32; COLUMNS]) {
    if let Ok(c) = <&mut [u32; COLUMNS]>::try_from(&mut *c) {
        for (c, t) in c.iter_mut().zip(tile) {
            *c = c.wrapping_add(*t);
        }
    } else {
        for (c, t) in c.iter_mut().zip(tile) {
            *c = c.wrapping_add(*t);
        }
    }
}

#[cfg(test)]
mod tests;
