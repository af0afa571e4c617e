//! Interleaved packing: the planes of a polynomial side by side, so that responses can be merged.
//!
//! Let S = 2^k divide n and Y = X^S, so that X^n + 1 = Y^(n/S) + 1. S polynomials of a [packing](super) with n/S
//! coefficients ride in one of n, input number c multiplied by X^c and its weights by X^-c:
//!
//! ```text
//! input    sum_c X^c  x_c(Y)
//! weights  sum_c X^-c w_c(Y)        (a negative power is -X^(n - ..))
//! product  sum_c x_c(Y) w_c(Y) at the multiples of S
//! ```
//!
//! since X^(c - d) with |c - d| < S is a power of Y for c = d only: at the multiples of S nothing else arrives. A block
//! of the inner packing with C planes thus makes one of S C planes, and the results of the inner product at p stand at
//! S p. It takes S times a power of two more coefficients than planes where S does not divide them; otherwise requests
//! and products are those of the inner blocks in the order of Cheetah (Huang et al., USENIX Security 2022, section 4.1),
//! with one difference: all wanted positions are multiples of S, so that S responses fit one ciphertext at one key
//! switch each (`phineus_he::pack`), where contiguous runs of results would take a key switch for every coefficient.
//!
//! With responses almost free, the cheapest block takes all planes it can: fewer requests, and as many products.

use phineus_model::graph::Conv;
use zeroize::Zeroizing;

use super::geometry::Geometry;
use super::search::even_parts;
use super::{Block, CostModel, Counts, Packing, PackingError, cost::Amounts};

/// Which coefficient of which polynomial holds what, with all results at multiples of 2^k.
///
/// Polynomials are numbered as those of [`Packing`], with S of its plane blocks in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interleaved {
    /// In polynomials of n / S coefficients.
    inner: Packing,
    levels: u32,
}

/// A packing and its price.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) price: f64,
    pub(crate) packing: Interleaved,
}

impl Interleaved {
    /// The cheapest interleaved packing of `conv` in polynomials of `n` coefficients, a power of two, with at most
    /// `levels` levels of merges; where none pays, the one of [`Packing::plan`].
    ///
    /// # Errors
    /// [`PackingError::Geometry`], [`PackingError::Empty`], [`PackingError::Kernel`].
    pub fn plan(conv: &Conv, n: usize, levels: u32, cost: &CostModel) -> Result<Self, PackingError> {
        let candidates = Self::candidates(conv, n, levels, cost)?.into_iter();
        let cheapest = candidates.reduce(|best, other| if other.price < best.price { other } else { best });
        cheapest.map(|candidate| candidate.packing).ok_or(PackingError::Empty)
    }

    /// For every number of levels up to `levels` the cheapest packing, ascending; for 0, always there, the one of
    /// [`Packing::plan`].
    ///
    /// # Errors
    /// As [`Interleaved::plan`].
    pub(crate) fn candidates(
        conv: &Conv,
        n: usize,
        levels: u32,
        cost: &CostModel,
    ) -> Result<Vec<Candidate>, PackingError> {
        let plain = Self { inner: Packing::plan(conv, n, cost)?, levels: 0 };
        let geometry = plain.inner.geometry.clone();
        let mut candidates = vec![Candidate { price: cost.price(n, &plain.amounts()), packing: plain }];
        for levels in 1..=levels.min(n.checked_ilog2().unwrap_or(0)) {
            let (small, width) = (n >> levels, 1_usize << levels);
            let mut best: Option<(f64, Block)> = None;
            for tile in tiles(&geometry) {
                let area = geometry.strides(tile).plane;
                if area > small {
                    continue;
                }
                // Fuller blocks of S planes each; no more than hold planes.
                for planes in even_parts(geometry.planes_per_group().div_ceil(width)) {
                    let outputs = geometry.outputs_per_group();
                    let fitting = (small / (planes * area)).min(outputs);
                    if fitting == 0 {
                        continue;
                    }
                    let outputs = outputs.div_ceil(outputs.div_ceil(fitting));
                    let block = Block { tile, groups: 1, planes, outputs };
                    let price = cost.price(n, &amounts(&Counts::new(&geometry, &block), levels));
                    if best.is_none_or(|(least, _)| price < least) {
                        best = Some((price, block));
                    }
                }
            }
            if let Some((price, block)) = best {
                candidates.push(Candidate { price, packing: Self::new(conv, n, block, levels)? });
            }
        }
        Ok(candidates)
    }

    /// 2^`levels` blocks of planes of the packing with `block` in polynomials of n / 2^`levels` coefficients.
    ///
    /// # Errors
    /// [`PackingError::Geometry`], [`PackingError::Empty`]; [`PackingError::Block`] also if n is no multiple of
    /// 2^`levels`.
    pub fn new(conv: &Conv, n: usize, block: Block, levels: u32) -> Result<Self, PackingError> {
        let width = 1_usize.checked_shl(levels).filter(|&width| n.is_multiple_of(width));
        let width = width.ok_or(PackingError::Block { block, n })?;
        Ok(Self { inner: Packing::new(conv, n / width, block)?, levels })
    }

    /// The convolution.
    #[must_use]
    pub fn conv(&self) -> &Conv {
        self.inner.conv()
    }

    /// Coefficients of a polynomial.
    #[must_use]
    pub fn degree(&self) -> usize {
        self.inner.degree() << self.levels
    }

    /// What one polynomial covers in each of its 2^k parts.
    #[must_use]
    pub fn block(&self) -> Block {
        self.inner.block()
    }

    /// k: all results stand at multiples of 2^k, and as many responses fit one ciphertext.
    #[must_use]
    pub fn levels(&self) -> u32 {
        self.levels
    }

    /// Levels of key switches that merging the responses takes: as many as there are responses for; 0 where each is
    /// sent by itself.
    #[must_use]
    pub fn merge_levels(&self) -> u32 {
        self.levels.min(self.outputs().next_power_of_two().ilog2())
    }

    /// Number of input polynomials: ciphertexts of the request.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inner.counts.groups * self.max_terms() * self.tiles()
    }

    /// Number of output polynomials: responses before they are merged.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.inner.outputs()
    }

    /// Number of weight polynomials; each serves every tile.
    #[must_use]
    pub fn weight_polys(&self) -> usize {
        self.inner.counts.all_outputs * self.max_terms()
    }

    /// As [`Packing::octets`]; not where planes are interleaved.
    #[must_use]
    pub fn octets(&self) -> bool {
        self.levels == 0 && self.inner.octets()
    }

    /// As [`Packing::pack_octet`].
    ///
    /// # Panics
    /// As [`Packing::pack_octet`].
    pub fn pack_octet(&self, first: usize, count: usize, weights: &[i32], out: &mut [i32]) {
        assert!(self.octets(), "polynomials in X^8");
        self.inner.pack_octet(first, count, weights, out);
    }

    /// Number of products of an input and a weight polynomial.
    #[must_use]
    pub fn products(&self) -> usize {
        self.outputs() * self.max_terms()
    }

    /// Number of tiles: consecutive outputs that share their weight polynomials.
    #[must_use]
    pub fn tiles(&self) -> usize {
        self.inner.tiles()
    }

    /// Products that are added up in one output polynomial.
    #[must_use]
    pub fn max_terms(&self) -> usize {
        self.inner.max_terms().div_ceil(1 << self.levels)
    }

    /// As [`Packing::noise_weights`].
    #[must_use]
    pub fn noise_weights(&self) -> usize {
        self.inner.noise_weights()
    }

    /// The pairs (input, weight polynomial) whose products add up to output polynomial `o`.
    ///
    /// # Panics
    /// If `o` is not below [`Interleaved::outputs`].
    pub fn terms(&self, o: usize) -> impl ExactSizeIterator<Item = (usize, usize)> + use<> {
        assert!(o < self.outputs(), "output polynomial {o}");
        let (terms, tiles) = (self.max_terms(), self.tiles());
        let (output_block, tile) = (o / tiles, o % tiles);
        let group_block = output_block / self.inner.counts.outputs;
        (0..terms).map(move |t| ((group_block * terms + t) * tiles + tile, output_block * terms + t))
    }

    /// Writes input polynomial `i` of the ring words `x`, laid out `[c][h][w]`, to the `n` words of `out`.
    ///
    /// # Panics
    /// If `i` is not below [`Interleaved::inputs`], or a slice has the wrong length.
    pub fn pack_input(&self, i: usize, x: &[u32], out: &mut [u32]) {
        assert!(i < self.inputs(), "input polynomial {i}");
        assert_eq!(out.len(), self.degree(), "coefficients");
        let (terms, tiles) = (self.max_terms(), self.tiles());
        let (block, tile) = (i / tiles, i % tiles);
        let mut rider = Zeroizing::new(vec![0; self.inner.degree()]);
        out.fill(0);
        for (c, planes) in self.riders(block % terms) {
            let first = block / terms * self.inner.max_terms();
            self.inner.pack_input((first + planes) * tiles + tile, x, &mut rider);
            let places = out[c..].iter_mut().step_by(1 << self.levels);
            places.zip(rider.iter()).for_each(|(place, &value)| *place = value);
        }
    }

    /// Writes weight polynomial `w` of the weights, laid out `[out][in / groups][h][w]`, to the `n` words of `out`.
    ///
    /// # Panics
    /// If `w` is not below [`Interleaved::weight_polys`], or a slice has the wrong length.
    pub fn pack_weights(&self, w: usize, weights: &[i32], out: &mut [i32]) {
        assert!(w < self.weight_polys(), "weight polynomial {w}");
        assert_eq!(out.len(), self.degree(), "coefficients");
        let (n, terms) = (self.degree(), self.max_terms());
        out.fill(0);
        for (c, planes) in self.riders(w % terms) {
            self.inner.each_weight(w / terms * self.inner.max_terms() + planes, weights, |j, weight| {
                // X^-c: down by c places, what falls off to the end with its sign turned.
                match (j << self.levels).checked_sub(c) {
                    Some(place) => out[place] = weight,
                    None => out[(j << self.levels) + n - c] = weight.wrapping_neg(),
                }
            });
        }
    }

    /// Where output polynomial `o` holds wanted results: pairs of coefficient, a multiple of 2^k, and element of the
    /// output tensor `[m][h][w]`, ascending in the coefficients. Over all `o` every element appears exactly once.
    ///
    /// # Panics
    /// If `o` is not below [`Interleaved::outputs`].
    #[must_use]
    pub fn positions(&self, o: usize) -> Vec<(u32, u32)> {
        let mut positions = self.inner.positions(o);
        positions.iter_mut().for_each(|(coefficient, _)| *coefficient <<= self.levels);
        positions
    }

    /// Nanoseconds of one core that the client and the server work for one use of it.
    #[must_use]
    pub fn work(&self, cost: &CostModel) -> [f64; 2] {
        cost.work(self.degree(), &self.amounts())
    }

    pub(super) fn amounts(&self) -> Amounts {
        match self.levels {
            0 => self.inner.counts.amounts(self.octets()),
            levels => amounts(&self.inner.counts, levels),
        }
    }

    /// The plane blocks of the inner packing, counted within a group block, that ride in block `term`, and their
    /// powers of X.
    fn riders(&self, term: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let first = term << self.levels;
        (first..self.inner.max_terms().min(first + (1 << self.levels))).enumerate()
    }
}

/// The numbers of polynomials of 2^`levels` blocks of planes in one, responses merged as far as possible.
fn amounts(counts: &Counts, levels: u32) -> Amounts {
    let terms = counts.planes.div_ceil(1 << levels);
    let outputs = counts.all_outputs * counts.tiles();
    Amounts {
        inputs: counts.groups * terms * counts.tiles(),
        outputs,
        ciphertexts: outputs.div_ceil(1 << levels),
        weight_polys: counts.all_outputs * terms,
        products: outputs * terms,
    }
}

/// All tiles that split the outputs evenly.
fn tiles(geometry: &Geometry) -> impl Iterator<Item = [usize; 2]> {
    let [height, width] = geometry.grid();
    even_parts(height).flat_map(move |h| even_parts(width).map(move |w| [h, w]))
}

#[cfg(test)]
mod tests;
