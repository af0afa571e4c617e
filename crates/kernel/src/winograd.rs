//! Winograd's minimal filtering on ring words: 3x3 convolutions of stride 1, exact modulo 2^l (Lavin and Gray, "Fast
//! algorithms for convolutional neural networks", CVPR 2016, sections 4.1 to 4.3).
//!
//! F(m x m, 3 x 3) makes m^2 outputs from (m+2)^2 products instead of 9 m^2: 2.25 times fewer for m = 2, 4 times for m = 4.
//! With a tile d of (m+2)^2 inputs and a kernel g,
//!
//! ```text
//! s^2 y = A^T [ (G g G^T) * (B^T d B) ] A        (* element by element; summed over the channels before A)
//! ```
//!
//! where A, B and G are integer matrices: Lavin's G has denominators, which are moved into A, so that the result comes
//! out s^2 times too large with s = 2 for m = 2 and s = 24 for m = 4. Summed over the channels this is one product of
//! matrices per element of a tile ([`gemm`]), outputs x channels times channels x tiles.
//!
//! **Why it is exact.** All three transforms are polynomials in the words with integer coefficients, so the identity holds
//! in every commutative ring, here the integers modulo 2^32: the words of the result are s^2 y mod 2^32. For m = 2 that is
//! 4 y, a multiple of 4 whatever y is, and a shift by 2 leaves y mod 2^30. For m = 4 it is 576 y = 2^6 9 y: 9 is a unit
//! modulo 2^32, so a multiplication by its inverse leaves 2^6 y, and a shift by 6 leaves y mod 2^26. Nothing else is
//! divided and nothing is rounded. Where y is wanted modulo 2^l, l must be at most 30 or 26 ([`Tile::most_bits`]); words
//! of x may be any representatives modulo 2^l.
//!
//! Weights grow by at most 9 (m = 2) or 49 (m = 4): those of 8 bits stay within the 16 bits that [`gemm`] multiplies at
//! once. Time depends on shapes and on whether weights are wide, never on words.

use rayon::prelude::*;

use crate::cpu::Backend;
use crate::gemm;

mod form;

use form::{F2, F4, Form, LANES, V};

/// Outputs per side of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tile {
    /// F(2x2, 3x3).
    Two,
    /// F(4x4, 3x3).
    Four,
}

impl Tile {
    /// Outputs per side.
    #[must_use]
    pub const fn side(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Widest ring in which results are exact.
    #[must_use]
    pub const fn most_bits(self) -> u32 {
        match self {
            Self::Two => u32::BITS - F2::SHIFT,
            Self::Four => u32::BITS - F4::SHIFT,
        }
    }

    /// Products of a matrix of outputs x channels with one of channels x tiles.
    #[must_use]
    pub const fn products(self) -> usize {
        (self.side() + 2) * (self.side() + 2)
    }
}

/// The input of a layer: rows, columns and zeros around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// Of every channel.
    pub rows: usize,
    /// Of every channel.
    pub columns: usize,
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
}

impl Image {
    /// Rows and columns of the output; zero where the kernel does not fit.
    #[must_use]
    pub fn output(&self) -> [usize; 2] {
        let [top, left, bottom, right] = self.pads;
        [(self.rows + top + bottom).saturating_sub(2), (self.columns + left + right).saturating_sub(2)]
    }
}

/// The weights of a layer, transformed and packed once per model.
///
/// Takes two bytes per weight and product of a tile: 32 or 72 per kernel where a direct product takes 18.
#[derive(Clone)]
pub struct Weights {
    tile: Tile,
    outputs: usize,
    channels: usize,
    /// One per element of a tile.
    matrices: Vec<gemm::Weights>,
}

impl Weights {
    /// Transforms `[outputs][channels][3][3]`.
    ///
    /// # Panics
    /// If `weights` has another length, or one has more than 24 bits.
    #[must_use]
    pub fn pack(tile: Tile, outputs: usize, channels: usize, weights: &[i32]) -> Self {
        let (kernels, rest) = weights.as_chunks::<9>();
        assert!(rest.is_empty() && kernels.len() == outputs * channels, "weights");
        assert!(weights.iter().all(|w| w.unsigned_abs() < 1 << 24), "weights of at most 24 bits");
        let transformed: Vec<Vec<i32>> = match tile {
            Tile::Two => transform::<F2, 2, 4>(kernels),
            Tile::Four => transform::<F4, 4, 6>(kernels),
        };
        let pack = |matrix: Vec<i32>| gemm::Weights::pack(outputs, channels, &matrix);
        Self { tile, outputs, channels, matrices: transformed.into_iter().map(pack).collect() }
    }

    /// `sum += y` in the lower [`Tile::most_bits`] bits for `x` laid out `[channel][row][column]` and `sum` laid out
    /// `[output][row][column]`; the upper bits of `sum` become arbitrary. Spread over the threads of the current `rayon`
    /// pool.
    ///
    /// # Panics
    /// If a slice does not have the length of its image.
    pub fn multiply(&self, image: &Image, x: &[u32], sum: &mut [u32]) {
        self.multiply_on(Backend::detected(), image, x, sum);
    }

    /// [`Weights::multiply`] on a chosen backend.
    ///
    /// # Panics
    /// As [`Weights::multiply`], and if the machine lacks the backend.
    pub fn multiply_on(&self, backend: Backend, image: &Image, x: &[u32], sum: &mut [u32]) {
        assert!(
            backend == Backend::detected() || Backend::available().contains(&backend),
            "backend of this machine"
        );
        match self.tile {
            Tile::Two => self.run::<F2, 2, 4>(backend, image, x, sum),
            Tile::Four => self.run::<F4, 4, 6>(backend, image, x, sum),
        }
    }

    fn run<F: Form<M, A>, const M: usize, const A: usize>(
        &self,
        backend: Backend,
        image: &Image,
        x: &[u32],
        sum: &mut [u32],
    ) {
        let [oh, ow] = image.output();
        assert_eq!(x.len(), self.channels * image.rows * image.columns, "input");
        assert_eq!(sum.len(), self.outputs * oh * ow, "result");
        if sum.is_empty() {
            return;
        }
        let (down, across) = (oh.div_ceil(M), ow.div_ceil(M));
        // As many rows of tiles at a time as the caches hold, transformed inputs and products together.
        let per_row = A * A * (self.channels + self.outputs) * across * size_of::<u32>();
        let rows = (CACHE / per_row.max(1)).max(LEAST_TILES.div_ceil(across)).min(down);
        let blocks: Vec<usize> = (0..down).step_by(rows).collect();
        for blocks in blocks.chunks(rayon::current_num_threads()) {
            let products: Vec<Grid<M>> = blocks
                .par_iter()
                .map(|&first| {
                    let grid = Grid { first, rows: rows.min(down - first), across, products: Vec::new() };
                    self.products::<F, M, A>(backend, image, x, grid)
                })
                .collect();
            sum.par_chunks_mut(oh * ow).enumerate().for_each(|(output, sum)| {
                for grid in &products {
                    let from = &grid.products[output * grid.tiles()..];
                    gather_on::<F, M, A>(backend, grid, from, self.outputs * grid.tiles(), ow, sum);
                }
            });
        }
    }

    /// The products of some rows of tiles.
    fn products<F: Form<M, A>, const M: usize, const A: usize>(
        &self,
        backend: Backend,
        image: &Image,
        x: &[u32],
        grid: Grid<M>,
    ) -> Grid<M> {
        let tiles = grid.tiles();
        let inputs = self.channels * tiles;
        // Behind every matrix there is room for what is written past the last tile.
        let stride = inputs + LANES;
        let mut plane = Plane::<M>::new(&grid);
        let mut transformed = vec![0; A * A * stride];
        for channel in 0..self.channels {
            plane.fill(image, grid.first, &x[channel * image.rows * image.columns..]);
            scatter_on::<F, M, A>(backend, &grid, &plane, stride, &mut transformed[channel * tiles..]);
        }
        let outputs = self.outputs * tiles;
        let mut products = vec![0; A * A * outputs + LANES];
        let pairs = products.chunks_exact_mut(outputs).zip(transformed.chunks_exact(stride));
        for (weights, (product, input)) in self.matrices.iter().zip(pairs) {
            weights.multiply_on(backend, tiles, &input[..inputs], product);
        }
        Grid { products, ..grid }
    }
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weights({:?}, {} x {} x 3 x 3)", self.tile, self.outputs, self.channels)
    }
}

/// Bytes of transformed inputs and products at a time: about a second-level cache.
const CACHE: usize = 1 << 20;
/// Fewest tiles at a time: each use of the weights has to fetch them.
const LEAST_TILES: usize = 64;

/// `G g G^T` of all kernels, one matrix per element.
fn transform<F: Form<M, A>, const M: usize, const A: usize>(kernels: &[[i32; 9]]) -> Vec<Vec<i32>> {
    let mut matrices = vec![Vec::with_capacity(kernels.len()); A * A];
    for kernel in kernels {
        let (rows, _) = kernel.as_chunks::<3>();
        let [a, b, c] = [0, 1, 2].map(|row| F::weights(rows[row]));
        for v in 0..A {
            let column = F::weights([a[v], b[v], c[v]]);
            for u in 0..A {
                matrices[u * A + v].push(column[u]);
            }
        }
    }
    matrices
}

/// Some rows of tiles of M x M outputs, from tile row `first` on, and their products.
struct Grid<const M: usize> {
    first: usize,
    rows: usize,
    across: usize,
    /// `[element of a tile][output][tile]`, and room for a vector behind them.
    products: Vec<u32>,
}

impl<const M: usize> Grid<M> {
    fn tiles(&self) -> usize {
        self.rows * self.across
    }
}

/// The padded rows that some tiles read, columns sorted by their residue modulo M.
struct Plane<const M: usize> {
    /// Columns per residue, with room for a vector.
    columns: usize,
    words: Vec<u32>,
}

impl<const M: usize> Plane<M> {
    fn new(grid: &Grid<M>) -> Self {
        let columns = grid.across + 1 + LANES;
        Self { columns, words: vec![0; (M * grid.rows + 2) * M * columns] }
    }

    /// Takes a channel; what is padding stays as it is, zero.
    fn fill(&mut self, image: &Image, first: usize, channel: &[u32]) {
        let [top, left, ..] = image.pads;
        for (row, line) in self.words.chunks_exact_mut(M * self.columns).enumerate() {
            let Some(y) = (M * first + row).checked_sub(top).filter(|&y| y < image.rows) else { continue };
            let source = &channel[y * image.columns..][..image.columns];
            for (residue, line) in line.chunks_exact_mut(self.columns).enumerate() {
                // Column M t + residue of the padded image.
                let skip = left.saturating_sub(residue).div_ceil(M);
                let start = (M * skip + residue).saturating_sub(left).min(source.len());
                let line = line.iter_mut().skip(skip);
                line.zip(source[start..].iter().step_by(M)).for_each(|(to, from)| *to = *from);
            }
        }
    }

    /// A vector of the columns of a row whose index is `j` modulo M, from tile `at` on; j may exceed M.
    #[inline(always)]
    fn load(&self, row: usize, j: usize, at: usize) -> V {
        V::load(&self.words[(row * M + j % M) * self.columns + at + j / M..])
    }
}

/// `B^T d B` of all tiles of a channel, element (u, v) of them to `out[(u A + v) stride..]`. Up to a vector behind the
/// tiles is overwritten: rows and channels come in order.
#[inline(always)]
fn scatter<F: Form<M, A>, const M: usize, const A: usize>(
    grid: &Grid<M>,
    plane: &Plane<M>,
    stride: usize,
    out: &mut [u32],
) {
    for row in 0..grid.rows {
        for at in (0..grid.across).step_by(LANES) {
            let mut rows = [[V::ZERO; A]; A];
            for (i, line) in rows.iter_mut().enumerate() {
                let mut words = [V::ZERO; A];
                for (j, word) in words.iter_mut().enumerate() {
                    *word = plane.load(M * row + i, j, at);
                }
                *line = F::input(words);
            }
            let place = row * grid.across + at;
            for v in 0..A {
                let mut column = [V::ZERO; A];
                for (word, line) in column.iter_mut().zip(&rows) {
                    *word = line[v];
                }
                for (u, word) in F::input(column).into_iter().enumerate() {
                    word.store(&mut out[(u * A + v) * stride + place..]);
                }
            }
        }
    }
}

/// `sum += A^T m A / s^2` for the tiles of one output, element (u, v) of them at `products[(u A + v) stride..]`.
#[inline(always)]
fn gather<F: Form<M, A>, const M: usize, const A: usize>(
    grid: &Grid<M>,
    products: &[u32],
    stride: usize,
    width: usize,
    sum: &mut [u32],
) {
    let lines = sum.chunks_exact_mut(width).skip(M * grid.first).take(M * grid.rows);
    let mut lines: Vec<&mut [u32]> = lines.collect();
    for (row, lines) in lines.chunks_mut(M).enumerate() {
        for at in (0..grid.across).step_by(LANES) {
            let place = row * grid.across + at;
            let mut columns = [[V::ZERO; M]; A];
            for (v, column) in columns.iter_mut().enumerate() {
                let mut words = [V::ZERO; A];
                for (u, word) in words.iter_mut().enumerate() {
                    *word = V::load(&products[(u * A + v) * stride + place..]);
                }
                *column = F::output(words);
            }
            for (i, line) in lines.iter_mut().enumerate() {
                let mut words = [V::ZERO; A];
                for (word, column) in words.iter_mut().zip(&columns) {
                    *word = column[i];
                }
                let words = F::output(words).map(|word| word.times(F::INVERSE).shifted(F::SHIFT));
                let mut mixed = [[0; M]; LANES];
                for (lane, mixed) in mixed.iter_mut().enumerate() {
                    *mixed = words.map(|word| word.0[lane]);
                }
                let line = &mut line[M * at..];
                line.iter_mut().zip(mixed.as_flattened()).for_each(|(s, y)| *s = s.wrapping_add(*y));
            }
        }
    }
}

/// A function for every backend: compiled for its vectors.
macro_rules! for_backends {
    ($on:ident, $plain:ident, $avx2:ident, $avx512:ident, ($($name:ident: $type:ty),*)) => {
        fn $on<F: Form<M, A>, const M: usize, const A: usize>(backend: Backend, $($name: $type),*) {
            match backend {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the machine has the instructions of this backend.
                Backend::Avx512 => unsafe { $avx512::<F, M, A>($($name),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the machine has the instructions of this backend.
                Backend::Avx2 => unsafe { $avx2::<F, M, A>($($name),*) },
                _ => $plain::<F, M, A>($($name),*),
            }
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
        fn $avx512<F: Form<M, A>, const M: usize, const A: usize>($($name: $type),*) {
            $plain::<F, M, A>($($name),*);
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn $avx2<F: Form<M, A>, const M: usize, const A: usize>($($name: $type),*) {
            $plain::<F, M, A>($($name),*);
        }
    };
}

for_backends!(
    scatter_on, scatter, scatter_avx2, scatter_avx512,
    (grid: &Grid<M>, plane: &Plane<M>, stride: usize, out: &mut [u32])
);
for_backends!(
    gather_on, gather, gather_avx2, gather_avx512,
    (grid: &Grid<M>, products: &[u32], stride: usize, width: usize, sum: &mut [u32])
);

#[cfg(test)]
mod tests;
