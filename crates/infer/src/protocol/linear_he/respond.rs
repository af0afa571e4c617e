//! The server's sums of products, block by block of output polynomials that share their weights.
//!
//! An output polynomial is `sum_t request[i_t] weight[w_t]` over the [terms](Interleaved::terms) of its packing. Blocks
//! that read the same requests are computed together ([`groups`]), a few sums and terms at a time: each transformed
//! weight serves all tiles while it is in the cache, each request all sums of a group. Weights in X^8 are transformed
//! eight at a time ([`Interleaved::octets`]). What becomes of a sum (a response, or the part of a merged one) is the
//! caller's business.
//!
//! Cost: `products` multiply-adds of a ciphertext and a weight, and the transforms of those weights that
//! [`Served`] does not keep.

use std::ops::Range;
use std::sync::Arc;

use phineus_he::{Accumulator, Ciphertext, Coeff, Eval, Operands, Params, Poly, Room, Weight, WeightForm};
use phineus_kernel::prg::Prg;
use rand::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::ProtocolError;
use crate::packing::Interleaved;
use crate::plan::LinearLayer;
use crate::served::Served;

/// Output polynomials per batch: bounds what the server holds at once.
const BATCH: usize = 32;
/// Sums that are computed together: each request is read once for all of them.
const GROUP: usize = 16;
/// Blocks that are computed together even if they have many tiles: as many as one tile of the kernel.
const BLOCKS: usize = 4;

/// A block of output polynomials, one per tile, and the randomness of what they become.
pub(super) type Block = (usize, Prg);

/// The requests of a layer, laid out for products: those that one output polynomial reads side by side.
pub(super) struct Inputs(Vec<Operands>);

impl Inputs {
    /// Lays out the requests.
    pub(super) fn new(packing: &Interleaved, requests: &[Ciphertext]) -> Self {
        let (terms, tiles) = (packing.max_terms(), packing.tiles());
        let operands = |read: usize| {
            let first = read / tiles * terms * tiles + read % tiles;
            Operands::new(&(0..terms).map(|term| &requests[first + term * tiles]).collect::<Vec<_>>())
        };
        Self((0..packing.inputs() / terms).into_par_iter().map(operands).collect())
    }

    /// What output polynomial `o` reads.
    fn of(&self, packing: &Interleaved, o: usize) -> &Operands {
        let first = packing.terms(o).next().map_or(0, |(input, _)| input);
        let tiles = packing.tiles();
        &self.0[first / (packing.max_terms() * tiles) * tiles + first % tiles]
    }
}

/// The blocks of a layer in order, in parts that are computed and sent before the next ones.
pub(super) fn batches(packing: &Interleaved, rng: &mut impl CryptoRng) -> impl Iterator<Item = Vec<Block>> {
    let blocks = packing.outputs() / packing.tiles();
    let batch = (GROUP * rayon::current_num_threads()).max(BATCH).div_ceil(packing.tiles()).max(BLOCKS);
    (0..blocks).step_by(batch).map(move |first| {
        (first..blocks.min(first + batch)).map(|block| (block, Prg::from_generator(rng))).collect()
    })
}

/// Blocks of outputs that are computed together: they read the same requests.
pub(super) fn groups<'b>(packing: &Interleaved, blocks: &'b mut [Block]) -> Vec<&'b mut [Block]> {
    let tiles = packing.tiles();
    let reads = move |block: usize| packing.terms(block * tiles).next().map(|(input, _)| input);
    let same = move |a: &Block, b: &Block| reads(a.0) == reads(b.0);
    let most = (GROUP / tiles).max(BLOCKS);
    blocks.chunk_by_mut(same).flat_map(move |blocks| blocks.chunks_mut(most)).collect()
}

/// What `finish(sum, o, rng)` makes of every output polynomial o of each of these blocks, which read the same requests.
pub(super) fn respond_blocks<T>(
    served: &Served,
    layer: &LinearLayer,
    inputs: &Inputs,
    blocks: &mut [Block],
    finish: impl Fn(Accumulator, usize, &mut Prg) -> Result<T, ProtocolError>,
) -> Result<Vec<Vec<T>>, ProtocolError> {
    let packing = &layer.packing;
    let tiles = packing.tiles();
    let params = &served.plan().rings()[layer.ring];
    let operands: Vec<&Operands> = match blocks.first() {
        Some((block, _)) => (0..tiles).map(|tile| inputs.of(packing, block * tiles + tile)).collect(),
        None => Vec::new(),
    };
    let mut sums: Vec<Vec<Accumulator>> =
        (0..tiles).map(|_| blocks.iter().map(|_| Accumulator::new(params)).collect()).collect();
    let steps = Steps::of(packing);
    let mut weights = Weights::new(served, layer, steps);
    for first_sum in (0..blocks.len()).step_by(steps.sums) {
        let of_step = first_sum..blocks.len().min(first_sum + steps.sums);
        for first in (0..packing.max_terms()).step_by(steps.terms) {
            let terms = first..packing.max_terms().min(first + steps.terms);
            let mut tiles: Vec<(&mut [Accumulator], &Operands)> =
                sums.iter_mut().zip(&operands).map(|(sums, of)| (&mut sums[of_step.clone()], *of)).collect();
            weights.multiply(&mut tiles, blocks[of_step.clone()].iter().map(|(block, _)| *block), terms);
        }
    }
    let mut finished: Vec<Vec<T>> = blocks.iter().map(|_| Vec::with_capacity(tiles)).collect();
    for (tile, sums) in sums.into_iter().enumerate() {
        for ((sum, (block, rng)), finished) in sums.into_iter().zip(blocks.iter_mut()).zip(&mut finished) {
            finished.push(finish(sum, *block * tiles + tile, rng)?);
        }
    }
    Ok(finished)
}

/// How many sums and terms go through the cache together.
#[derive(Clone, Copy)]
struct Steps {
    form: WeightForm,
    sums: usize,
    terms: usize,
}

impl Steps {
    /// For one prime at degree 4,096, the weights of a step take a megabyte, those in X^8 two; more sums would read
    /// requests less often and spill more weights.
    fn of(packing: &Interleaved) -> Self {
        if packing.octets() {
            Self { form: WeightForm::Octet, sums: 8, terms: 64 }
        } else {
            Self { form: WeightForm::Single, sums: 8, terms: 4 }
        }
    }
}

/// The weights of one step after the other.
struct Weights<'s> {
    served: &'s Served,
    layer: &'s LinearLayer,
    steps: Steps,
    /// Coefficients, of every polynomial or octet of a step.
    plain: Zeroizing<Vec<i32>>,
    room: Room,
}

impl<'s> Weights<'s> {
    fn new(served: &'s Served, layer: &'s LinearLayer, steps: Steps) -> Self {
        Self { served, layer, steps, plain: Zeroizing::default(), room: Room::default() }
    }

    /// Adds the products with the weights of one step: those of some blocks, one sum in every tile, and terms.
    fn multiply(
        &mut self,
        tiles: &mut [(&mut [Accumulator], &Operands)],
        blocks: impl ExactSizeIterator<Item = usize> + Clone,
        terms: Range<usize>,
    ) {
        let packing = &self.layer.packing;
        let (n, form) = (packing.degree(), self.steps.form);
        let slices = terms.len().div_ceil(form.terms());
        // The first weight polynomial of a slice, and how many there are in it.
        let slice = |block: usize, slice: usize| {
            let skipped = slice * form.terms();
            let (_, first) =
                packing.terms(block * packing.tiles()).nth(terms.start + skipped).unwrap_or_default();
            (first, form.terms().min(terms.len() - skipped))
        };
        let all = blocks.clone().flat_map(|block| (0..slices).map(move |i| (block, i)));
        let all: Vec<(usize, usize)> = all.map(|(block, i)| slice(block, i)).collect();
        let kept: Vec<Option<&Poly<Eval>>> =
            all.iter().map(|(first, _)| self.served.kept_weights(self.layer, *first)).collect();
        if self.plain.len() < all.len() * n && kept.iter().any(Option::is_none) {
            self.plain.resize(all.len() * n, 0);
        }
        let weights = self.served.weights(self.layer);
        let mut packed = self.plain.chunks_exact_mut(n);
        let mut given: Vec<Weight<'_>> = Vec::with_capacity(all.len());
        for ((first, count), kept) in all.into_iter().zip(kept) {
            given.push(match (kept, packed.next()) {
                (Some(values), _) => Weight::Values(values),
                (None, plain) => {
                    let plain = plain.unwrap_or_default();
                    match form {
                        WeightForm::Single => packing.pack_weights(first, weights, plain),
                        WeightForm::Octet => packing.pack_octet(first, count, weights, plain),
                    }
                    Weight::Coefficients(plain)
                }
            });
        }
        let rows: Vec<&[Weight<'_>]> = given.chunks(slices).collect();
        Accumulator::mul_acc_all(tiles, terms, &rows, form, &mut self.room);
    }
}

/// A weight polynomial in the domain of products.
pub(crate) fn transform(
    layer: &LinearLayer,
    params: &Arc<Params>,
    index: usize,
    weights: &[i32],
) -> Poly<Eval> {
    let mut plain = Zeroizing::new(vec![0; params.degree()]);
    layer.packing.pack_weights(index, weights, &mut plain);
    Poly::<Coeff>::from_signed(params, &plain).into_eval()
}
