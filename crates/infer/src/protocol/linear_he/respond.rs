//! The server's sums of products, block by block of output polynomials that share their weights.
//!
//! An output polynomial is `sum_t request[i_t] weight[w_t]` over the [terms](Interleaved::terms) of its packing. Blocks
//! that read the same requests are computed together ([`groups`]): each request goes through the cache once for all of
//! them, each transformed weight once for all tiles. What becomes of a sum (a response, or the part of a merged one)
//! is the caller's business.
//!
//! Cost: `products` multiply-adds of a ciphertext and a weight, and the transforms of those weights that
//! [`Served`] does not keep.

use std::sync::Arc;

use phineus_he::{Accumulator, Ciphertext, Coeff, Eval, Params, Poly};
use phineus_kernel::prg::Prg;
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::ProtocolError;
use crate::packing::Interleaved;
use crate::plan::LinearLayer;
use crate::served::Served;

/// Output polynomials per batch: bounds what the server holds at once.
const BATCH: usize = 32;
/// Sums that are computed together: each request is read once for all of them.
const GROUP: usize = 8;
/// Products that are added to a sum at a time: bounds the transformed weights that a group holds.
const TERMS: usize = 8;

/// A block of output polynomials, one per tile, and the randomness of what they become.
pub(super) type Block = (usize, Prg);

/// The blocks of a layer in order, in parts that are computed and sent before the next ones.
pub(super) fn batches(packing: &Interleaved, rng: &mut impl CryptoRng) -> impl Iterator<Item = Vec<Block>> {
    let blocks = packing.outputs() / packing.tiles();
    let batch = (GROUP * rayon::current_num_threads()).max(BATCH).div_ceil(packing.tiles());
    (0..blocks).step_by(batch).map(move |first| {
        (first..blocks.min(first + batch)).map(|block| (block, Prg::from_generator(rng))).collect()
    })
}

/// Blocks of outputs that are computed together: they read the same requests.
pub(super) fn groups<'b>(packing: &Interleaved, blocks: &'b mut [Block]) -> Vec<&'b mut [Block]> {
    let tiles = packing.tiles();
    let reads = move |block: usize| packing.terms(block * tiles).next().map(|(input, _)| input);
    let same = move |a: &Block, b: &Block| reads(a.0) == reads(b.0);
    let most = (GROUP / tiles).max(1);
    blocks.chunk_by_mut(same).flat_map(move |blocks| blocks.chunks_mut(most)).collect()
}

/// What `finish(sum, o, rng)` makes of every output polynomial o of each of these blocks, which read the same requests.
pub(super) fn respond_blocks<T>(
    served: &Served,
    layer: &LinearLayer,
    requests: &[Ciphertext],
    blocks: &mut [Block],
    finish: impl Fn(Accumulator, usize, &mut Prg) -> Result<T, ProtocolError>,
) -> Result<Vec<Vec<T>>, ProtocolError> {
    let packing = &layer.packing;
    let tiles = packing.tiles();
    let params = &served.plan().rings()[layer.ring];
    let mut sums: Vec<Vec<Accumulator>> =
        (0..tiles).map(|_| blocks.iter().map(|_| Accumulator::new(params)).collect()).collect();
    let first = blocks.first().map_or(0, |(block, _)| *block);
    for terms in (0..packing.max_terms()).collect::<Vec<_>>().chunks(TERMS) {
        // Every tile has the same weight polynomials, in the same order.
        let weights: Vec<Vec<_>> = blocks
            .iter()
            .map(|(block, _)| {
                let of_block = packing.terms(block * tiles).skip(terms[0]).take(terms.len());
                of_block.map(|(_, weight)| served.weight_poly(layer, weight)).collect()
            })
            .collect();
        let weights: Vec<Vec<&Poly<Eval>>> =
            weights.iter().map(|row| row.iter().map(AsRef::as_ref).collect()).collect();
        for (tile, sums) in sums.iter_mut().enumerate() {
            let read = packing.terms(first * tiles + tile).skip(terms[0]).take(terms.len());
            let ciphertexts: Vec<&Ciphertext> = read.map(|(input, _)| &requests[input]).collect();
            Accumulator::mul_acc_all(sums, &ciphertexts, &weights);
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
