//! Coefficient packing: a convolution as sums of products in Z\[X\]/(X^n + 1), without rotations.
//!
//! **Phases.** A convolution with stride and dilation is one with stride 1 on *planes*: the padded input is split by
//! the residues of its coordinates modulo the stride, only residues that a tap reads are kept, and every pair of input
//! channel and residues is a channel of the new convolution. Padding is zeros of a plane, never data.
//!
//! **Blocks.** A block covers C planes, M outputs and a tile of outputs, and the part of the planes that the tile
//! reads. With row stride W, plane stride A and P = C A, where M P <= n:
//!
//! ```text
//! input    sum x[c, i, j]     X^(c A + i W + j)
//! weights  sum w[m, c, u, v]  X^(m P - c A - u W - v)       (a negative power is -X^(n - ..))
//! product  y[m, i, j] at                  X^(m P + i W + j)
//! ```
//!
//! This is the encoding of Cheetah (Huang et al., USENIX Security 2022, section 4.1) with several outputs per
//! polynomial. A coefficient is right if every index of `x` that it reads beyond its own row, plane, output or the
//! degree n holds zero. With all data in `[D, E)` and all reads in `[0, R]`, that is the case for a stride of at least
//! `max(E, R - D + 1)` at each of these levels, so that neighbouring rows and planes share their zero padding. The sum
//! over the blocks of planes is taken on ciphertexts.
//!
//! **Pointwise.** Where no plane is read at more than one offset, the outputs are one row of pixels that may be cut
//! anywhere. A dense layer is the case of one pixel. If the planes stand a multiple of eight coefficients apart, all
//! weight polynomials are polynomials in X^8 and eight of them share a transform ([`Packing::octets`]).
//!
//! **Groups.** A block of planes may span several whole groups; weights across groups are zero. Then M outputs still
//! take M P coefficients: k groups per polynomial take k^2 places.
//!
//! Everything here is public: shapes only. The one search ([`Packing::plan`]) is deterministic, so both parties find
//! the same packing from the same inputs.

mod cost;
mod geometry;
mod interleaved;
pub mod minimal;
mod search;

use phineus_model::graph::Conv;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use cost::CostModel;
use geometry::{Geometry, Strides};
pub(crate) use interleaved::Candidate;
pub use interleaved::Interleaved;

/// Why a convolution cannot be packed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PackingError {
    /// A size is zero or too large, or the groups do not divide the channels.
    #[error("a size is zero or too large, or the groups do not divide the channels")]
    Geometry,
    /// No output reads any input.
    #[error("no output of the convolution reads any input")]
    Empty,
    /// Not even one output of one channel fits a polynomial.
    #[error("one output reads {footprint} coefficients of a plane, more than the {n} of a polynomial")]
    Kernel {
        /// Coefficients between the first and the last input that one output reads.
        footprint: usize,
        /// The ring degree.
        n: usize,
    },
    /// A block that does not fit the convolution or the polynomial.
    #[error("{block:?} does not fit the convolution in polynomials of {n} coefficients")]
    Block {
        /// The block.
        block: Block,
        /// The ring degree.
        n: usize,
    },
}

/// What one polynomial covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Block {
    /// Rows and columns of outputs; one row of pixels for a pointwise convolution.
    pub tile: [usize; 2],
    /// Groups of channels; 1 unless a polynomial holds all planes of each of its groups.
    pub groups: usize,
    /// Planes: channels times phases.
    pub planes: usize,
    /// Outputs.
    pub outputs: usize,
}

/// Which coefficient of which polynomial holds what, for one convolution.
///
/// Input polynomials are numbered by (group block, plane block, tile), weight polynomials by (group block, output
/// block, plane block), output polynomials by (group block, output block, tile), the last running fastest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packing {
    geometry: Geometry,
    n: usize,
    block: Block,
    strides: Strides,
    counts: Counts,
}

/// Numbers of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    /// Vertical and horizontal.
    tiles: [usize; 2],
    groups: usize,
    /// In each group block.
    planes: usize,
    /// In each group block but perhaps the last.
    outputs: usize,
    /// In all group blocks together.
    all_outputs: usize,
}

impl Packing {
    /// The cheapest packing of `conv` in polynomials of `n` coefficients.
    ///
    /// # Errors
    /// [`PackingError::Geometry`], [`PackingError::Empty`], [`PackingError::Kernel`].
    pub fn plan(conv: &Conv, n: usize, cost: &CostModel) -> Result<Self, PackingError> {
        search::cheapest(Geometry::new(conv)?, n, cost)
    }

    /// The packing with the given block.
    ///
    /// # Errors
    /// [`PackingError::Geometry`], [`PackingError::Empty`], [`PackingError::Block`].
    pub fn new(conv: &Conv, n: usize, block: Block) -> Result<Self, PackingError> {
        let geometry = Geometry::new(conv)?;
        let misfit = PackingError::Block { block, n };
        let [grid_h, grid_w] = geometry.grid();
        let group_planes = geometry.planes_per_group();
        let fits = (1..=grid_h).contains(&block.tile[0])
            && (1..=grid_w).contains(&block.tile[1])
            && (1..=conv.groups).contains(&block.groups)
            && (1..=block.groups * geometry.outputs_per_group()).contains(&block.outputs)
            && match block.groups {
                1 => (1..=group_planes).contains(&block.planes),
                groups => block.planes == groups * group_planes,
            };
        if !fits {
            return Err(misfit);
        }
        match geometry.strides_in(n, &block) {
            Some(strides) => Ok(Self::checked(geometry, n, block, strides)),
            None => Err(misfit),
        }
    }

    /// The packing with a block that is known to fit.
    fn checked(geometry: Geometry, n: usize, block: Block, strides: Strides) -> Self {
        let counts = Counts::new(&geometry, &block);
        Self { geometry, n, block, strides, counts }
    }

    /// The convolution.
    #[must_use]
    pub fn conv(&self) -> &Conv {
        self.geometry.conv()
    }

    /// Coefficients of a polynomial.
    #[must_use]
    pub fn degree(&self) -> usize {
        self.n
    }

    /// What one polynomial covers.
    #[must_use]
    pub fn block(&self) -> Block {
        self.block
    }

    /// Number of input polynomials: ciphertexts of the request.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.counts.inputs()
    }

    /// Number of output polynomials: ciphertexts of the response.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.counts.all_outputs * self.tiles()
    }

    /// Number of weight polynomials; each serves every tile.
    #[must_use]
    pub fn weight_polys(&self) -> usize {
        self.counts.all_outputs * self.counts.planes
    }

    /// Whether all weight polynomials are polynomials in X^8, so that eight of them share one transform.
    #[must_use]
    pub fn octets(&self) -> bool {
        self.strides.octets(&self.geometry, self.n)
    }

    /// Number of products of an input and a weight polynomial.
    #[must_use]
    pub fn products(&self) -> usize {
        self.outputs() * self.max_terms()
    }

    /// Number of tiles: consecutive outputs that share their weight polynomials.
    #[must_use]
    pub fn tiles(&self) -> usize {
        self.counts.tiles()
    }

    /// Products that are added up in one output polynomial.
    #[must_use]
    pub fn max_terms(&self) -> usize {
        self.counts.planes
    }

    /// The largest number of non-zero coefficients in the weight polynomials of one output polynomial together:
    /// each coefficient of the result collects input noise through all of them.
    #[must_use]
    pub fn noise_weights(&self) -> usize {
        self.block.outputs * self.geometry.taps_per_output()
    }

    /// The pairs (input, weight polynomial) whose products add up to output polynomial `o`.
    ///
    /// # Panics
    /// If `o` is not below [`Packing::outputs`].
    pub fn terms(&self, o: usize) -> impl ExactSizeIterator<Item = (usize, usize)> + use<> {
        assert!(o < self.outputs(), "output polynomial {o}");
        let Counts { planes, outputs, .. } = self.counts;
        let tiles = self.tiles();
        let (output_block, tile) = (o / tiles, o % tiles);
        let group_block = output_block / outputs;
        (0..planes).map(move |p| ((group_block * planes + p) * tiles + tile, output_block * planes + p))
    }

    /// Writes input polynomial `i` of the ring words `x`, laid out `[c][h][w]`, to the `n` words of `out`.
    ///
    /// # Panics
    /// If `i` is not below [`Packing::inputs`], or a slice has the wrong length.
    pub fn pack_input(&self, i: usize, x: &[u32], out: &mut [u32]) {
        assert!(i < self.inputs(), "input polynomial {i}");
        assert_eq!(x.len(), self.conv().input_len(), "input");
        assert_eq!(out.len(), self.n, "coefficients");
        let (planes, tile) = (i / self.tiles(), i % self.tiles());
        let [first_row, first_col] = self.tile_origin(tile);
        let [rows, cols] = self.geometry.read_size(self.block.tile);
        let area = self.conv().input[0] * self.conv().input[1];
        out.fill(0);
        for (at, plane) in self.planes(planes / self.counts.planes, planes % self.counts.planes) {
            let x = &x[plane.channel * area..][..area];
            for row in 0..rows {
                let start = at * self.strides.plane + row * self.strides.row;
                for col in 0..cols {
                    if let Some(source) =
                        self.geometry.source(plane.phases, [first_row + row, first_col + col])
                    {
                        out[start + col] = x[source];
                    }
                }
            }
        }
    }

    /// Writes weight polynomial `w` of the weights, laid out `[out][in / groups][h][w]`, to the `n` words of `out`.
    ///
    /// # Panics
    /// If `w` is not below [`Packing::weight_polys`], or a slice has the wrong length.
    pub fn pack_weights(&self, w: usize, weights: &[i32], out: &mut [i32]) {
        assert_eq!(out.len(), self.n, "coefficients");
        out.fill(0);
        self.each_weight(w, weights, |coefficient, weight| out[coefficient] = weight);
    }

    /// Writes `sum_k X^k w_k` for up to eight weight polynomials w_k, those from number `first` on, all in X^8.
    ///
    /// # Panics
    /// If not [`Packing::octets`], there are more than eight, one of them is not below [`Packing::weight_polys`], or
    /// a slice has the wrong length.
    pub fn pack_octet(&self, first: usize, count: usize, weights: &[i32], out: &mut [i32]) {
        assert!(self.octets() && count <= 8, "at most eight polynomials in X^8");
        assert_eq!(out.len(), self.n, "coefficients");
        out.fill(0);
        for k in 0..count {
            self.each_weight(first + k, weights, |coefficient, weight| out[coefficient + k] = weight);
        }
    }

    /// Calls with every coefficient of weight polynomial `w` that a weight determines, and its value.
    fn each_weight(&self, w: usize, weights: &[i32], mut set: impl FnMut(usize, i32)) {
        assert!(w < self.weight_polys(), "weight polynomial {w}");
        assert_eq!(weights.len(), self.conv().weight_len(), "weights");
        let (output_block, plane_block) = (w / self.counts.planes, w % self.counts.planes);
        let group_block = output_block / self.counts.outputs;
        let channels = self.conv().in_channels / self.conv().groups;
        let kernel = self.conv().kernel;
        for (m, output) in self.output_channels(output_block).enumerate() {
            let group = output / self.geometry.outputs_per_group();
            for (at, plane) in self.planes(group_block, plane_block) {
                if plane.channel / channels != group {
                    continue;
                }
                let channel = output * channels + plane.channel % channels;
                for (tap, [u, v]) in self.geometry.taps(plane.phases) {
                    let weight = weights[channel * kernel[0] * kernel[1] + tap];
                    let up = m * self.output_stride();
                    let down = at * self.strides.plane + u * self.strides.row + v;
                    if up >= down {
                        set(up - down, weight);
                    } else {
                        set(self.n + up - down, weight.wrapping_neg());
                    }
                }
            }
        }
    }

    /// Where output polynomial `o` holds wanted results: pairs of coefficient and element of the output tensor
    /// `[m][h][w]`, ascending in the coefficients. Over all `o` every element appears exactly once.
    ///
    /// # Panics
    /// If `o` is not below [`Packing::outputs`].
    #[must_use]
    pub fn positions(&self, o: usize) -> Vec<(u32, u32)> {
        assert!(o < self.outputs(), "output polynomial {o}");
        let [grid_h, grid_w] = self.geometry.grid();
        let [first_row, first_col] = self.tile_origin(o % self.tiles());
        let [tile_h, tile_w] = self.block.tile;
        let mut found = Vec::new();
        for (m, output) in self.output_channels(o / self.tiles()).enumerate() {
            for row in first_row..grid_h.min(first_row + tile_h) {
                for col in first_col..grid_w.min(first_col + tile_w) {
                    let coefficient =
                        m * self.output_stride() + (row - first_row) * self.strides.row + col - first_col;
                    found.push((coefficient as u32, ((output * grid_h + row) * grid_w + col) as u32));
                }
            }
        }
        found
    }

    /// Coefficients between neighbouring outputs of a block.
    fn output_stride(&self) -> usize {
        self.block.planes * self.strides.plane
    }

    /// First row and column of a tile of outputs.
    fn tile_origin(&self, tile: usize) -> [usize; 2] {
        let [tile_h, tile_w] = self.block.tile;
        [tile / self.counts.tiles[1] * tile_h, tile % self.counts.tiles[1] * tile_w]
    }

    /// The planes of a block with their places in it.
    fn planes(
        &self,
        group_block: usize,
        plane_block: usize,
    ) -> impl Iterator<Item = (usize, geometry::Plane)> {
        let per_group = self.geometry.planes_per_group();
        let first = group_block * self.block.groups * per_group + plane_block * self.block.planes;
        let end = ((group_block + 1) * self.block.groups).min(self.conv().groups) * per_group;
        (first..end.min(first + self.block.planes)).map(|p| self.geometry.plane(p)).enumerate()
    }

    /// The output channels of a block, counted over all group blocks.
    fn output_channels(&self, output_block: usize) -> std::ops::Range<usize> {
        let (group_block, block) = (output_block / self.counts.outputs, output_block % self.counts.outputs);
        let per_group = self.geometry.outputs_per_group();
        let first = group_block * self.block.groups * per_group + block * self.block.outputs;
        let end = ((group_block + 1) * self.block.groups).min(self.conv().groups) * per_group;
        first..end.min(first + self.block.outputs)
    }
}

impl Counts {
    fn new(geometry: &Geometry, block: &Block) -> Self {
        let [grid_h, grid_w] = geometry.grid();
        let groups = geometry.conv().groups.div_ceil(block.groups);
        let last_groups = geometry.conv().groups - (groups - 1) * block.groups;
        let output_blocks = |groups: usize| (groups * geometry.outputs_per_group()).div_ceil(block.outputs);
        Self {
            tiles: [grid_h.div_ceil(block.tile[0]), grid_w.div_ceil(block.tile[1])],
            groups,
            planes: (block.groups * geometry.planes_per_group()).div_ceil(block.planes),
            outputs: output_blocks(block.groups),
            all_outputs: (groups - 1) * output_blocks(block.groups) + output_blocks(last_groups),
        }
    }

    fn tiles(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    fn inputs(&self) -> usize {
        self.groups * self.planes * self.tiles()
    }
}

#[cfg(test)]
mod tests;
