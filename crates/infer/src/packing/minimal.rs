//! Winograd's F(2x2, 3x3) under encryption: what it would cost, and why no plan has it.
//!
//! **The protocol that is priced.** The output is cut into T tiles of 2x2. Of every channel the client encrypts the four
//! planes of the padded input by the parities of its coordinates, as for a stride of 2: no more coefficients than
//! directly. Modulo X^n + 1 a shift of a plane is a product with a power of X, so that the server makes the sixteen
//! elements of `B^T d B` from ciphertexts by additions. Each element then is a pointwise convolution of T pixels, and the
//! four elements of `A^T m A` are sums of ciphertexts again: four planes of responses, no more coefficients than directly.
//! They hold 4 y modulo 2^(l+2), and the server's mask is four times a uniform one modulo 2^l, so that the client's
//! share is what it decrypts, shifted by 2: exact.
//!
//! **The count.** A product of two polynomials of n coefficients makes n multiplications of a pointwise convolution, but
//! 9 n of one with 3x3 kernels: in this packing a kernel of any size costs one product. So where minimal filtering saves
//! 36 / 16 = 2.25 of the multiplications, it needs 16 / 4 = 4 times the *products* (16 elements with T = P / 4 pixels each
//! instead of one with P) and 4 times the weight polynomials, though eight of them share a transform as those of pointwise
//! layers do; as many requests and responses; and two bits more of ring and about three more of noise. The sixteen elements
//! take 32 passes over the four planes' ciphertexts, the way back 24.
//!
//! [`ratio`] lets each side choose its own blocks and leaves out, in favour of minimal filtering, the halos where
//! planes are cut and the noise. `phineus plan NET --what-if winograd` prints it per layer.
//!
//! Where a product costs as much as its multiplications it does pay: on words in the clear ([`crate::clear`]). There are no
//! linear layers by oblivious transfer here; at l (l + 1) / 2 bits per multiplication they would save 2.25 times.

use phineus_model::graph::Conv;

use super::cost::Amounts;
use super::interleaved::Candidate;
use super::{CostModel, Interleaved, PackingError};

/// The least that minimal filtering would cost under encryption over what the direct convolution costs, both in
/// polynomials of `n` coefficients at the best of up to `levels` levels of merges; `None` where it does not apply.
///
/// # Errors
/// As [`Interleaved::plan`].
pub fn ratio(conv: &Conv, n: usize, levels: u32, cost: &CostModel) -> Result<Option<f64>, PackingError> {
    let Some(element) = element(conv) else { return Ok(None) };
    let direct = Interleaved::candidates(conv, n, levels, cost)?;
    let direct = direct.iter().map(|candidate| candidate.price).fold(f64::INFINITY, f64::min);
    let wider = CostModel { response_bits: cost.response_bits + 2.0, ..*cost };
    let pass = 2.0 * cost.limbs * cost.product_ns * n as f64;
    // Blocks are searched at the weight that products and transforms have beside requests and responses.
    let searched =
        CostModel { product_ns: PLANES * cost.product_ns, weight_ntts: PLANES * cost.weight_ntts, ..wider };
    let price = |candidate: &Candidate| {
        let Amounts { inputs, outputs, ciphertexts, weight_polys, products } = candidate.packing.amounts();
        let (planes, elements) = (PLANES as usize, ELEMENTS);
        let amounts = Amounts {
            inputs: planes * inputs,
            outputs: planes * outputs,
            ciphertexts: planes * ciphertexts,
            weight_polys: elements * weight_polys,
            products: elements * products,
        };
        wider.price(n, &amounts) + pass * (INPUT_PASSES * inputs as f64 + OUTPUT_PASSES * outputs as f64)
    };
    let all = Interleaved::candidates(&element, n, levels, &searched)?;
    Ok(Some(all.iter().map(price).fold(f64::INFINITY, f64::min) / direct))
}

/// The pointwise convolution of one element of all tiles, and of the row and the column of a plane that shifts need beside.
fn element(conv: &Conv) -> Option<Conv> {
    let fits = conv.kernel == [3, 3] && [conv.stride, conv.dilation] == [[1, 1]; 2] && conv.groups == 1;
    let tiles = conv.output().map(|side| side.div_ceil(2) + 1);
    fits.then(|| Conv { input: tiles, ..Conv::dense(conv.in_channels, conv.out_channels) })
}

/// Planes of requests and of responses.
const PLANES: f64 = 4.0;
/// Elements of a tile.
const ELEMENTS: usize = 16;
/// Sums of two ciphertexts per block of requests, and of responses.
const INPUT_PASSES: f64 = 32.0;
const OUTPUT_PASSES: f64 = 24.0;

#[cfg(test)]
mod tests {
    use super::super::tests::{expected, sparse_product, words};
    use super::super::{Block, Packing};
    use super::*;
    use crate::plan::Link;

    fn layer(channels: usize, side: usize, outputs: usize) -> Conv {
        Conv { input: [side; 2], kernel: [3, 3], pads: [1; 4], ..Conv::dense(channels, outputs) }
    }

    #[test]
    fn it_pays_for_no_layer_of_the_backbones() {
        let shapes = [
            (64, 56, 64),
            (128, 28, 128),
            (256, 14, 256),
            (512, 7, 512), // ResNet
            (128, 56, 32),
            (128, 28, 32),
            (128, 14, 32),
            (128, 7, 32), // DenseNet-121
            (16, 55, 64),
            (32, 27, 128),
            (64, 13, 256), // SqueezeNet
            (64, 224, 64),
            (256, 56, 256),
            (512, 14, 512),
            (16, 32, 16), // VGG, CIFAR
        ];
        for link in [Link::LAN, Link::METRO, Link::WAN] {
            for (n, limbs) in [(4096, 2.0), (8192, 4.0)] {
                let up = link.up_bits_per_second as f64 * 1e-9;
                let cost = CostModel { limbs, up, down: up, ..CostModel::default() };
                for (channels, side, outputs) in shapes {
                    for cost in [cost, cost.keeping_weights()] {
                        let ratio = ratio(&layer(channels, side, outputs), n, 8, &cost).unwrap().unwrap();
                        assert!(ratio > 1.0, "{channels}x{side} {outputs}, {n}, {link:?}: {ratio}");
                    }
                }
            }
        }
    }

    #[test]
    fn it_needs_a_square_of_three_and_stride_one() {
        let cost = CostModel::default();
        let none = |conv: &Conv| ratio(conv, 4096, 0, &cost).unwrap().is_none();
        assert!(none(&Conv { stride: [2, 2], ..layer(8, 8, 8) }));
        assert!(none(&Conv { kernel: [1, 1], pads: [0; 4], ..layer(8, 8, 8) }));
        assert!(!none(&layer(8, 8, 8)));
    }

    /// The protocol of this module's head on plaintexts: parity planes, shifts and sums of polynomials, sixteen
    /// pointwise packings, sums of responses, words modulo 2^(l+2) shifted by 2.
    #[test]
    fn sums_of_packed_polynomials_are_the_convolution_in_the_ring() {
        let (conv, n, bits) = (layer(5, 8, 3), 256, 20);
        let mask = (1 << (bits + 2)) - 1;
        let x: Vec<u32> = words(1, conv.input_len()).iter().map(|w| w & mask >> 2).collect();
        let weights: Vec<i32> = words(2, conv.weight_len()).iter().map(|w| (w >> 24) as i32 - 128).collect();
        let element = Conv { input: [4, 4], ..Conv::dense(5, 3) };
        let block = Block { tile: [1, 16], groups: 1, planes: 5, outputs: 3 };
        let packing = Packing::new(&element, n, block).unwrap();
        // What tile (a, b) reads at (i, j): the padded input at (2 a + i, 2 b + j).
        let at = |channel: usize, row: usize, column: usize| match (row.checked_sub(1), column.checked_sub(1))
        {
            (Some(y), Some(z)) if y < 8 && z < 8 => x[(channel * 8 + y) * 8 + z],
            _ => 0,
        };
        let pack = |i: usize, j: usize| {
            let tile = |k: usize| at(k / 16, 2 * (k / 4 % 4) + i, 2 * (k % 4) + j);
            let mut poly = vec![0; n];
            packing.pack_input(0, &(0..80).map(tile).collect::<Vec<_>>(), &mut poly);
            poly
        };
        let sum = |terms: &[(i32, Vec<u32>)]| {
            let mut sum = vec![0_u32; n];
            for (factor, poly) in terms {
                sum.iter_mut()
                    .zip(poly)
                    .for_each(|(s, p)| *s = s.wrapping_add(p.wrapping_mul(*factor as u32)));
            }
            sum
        };
        let input = [[(0, 1), (2, -1)], [(1, 1), (2, 1)], [(1, -1), (2, 1)], [(1, 1), (3, -1)]];
        let kernel = [[1, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 1]];
        let output = [[2, 1, 1, 0], [0, 1, -1, -2]];
        let mut products = Vec::new();
        for u in 0..4 {
            for v in 0..4 {
                let terms = input[u].iter().flat_map(|&(i, a)| input[v].map(|(j, b)| (a * b, pack(i, j))));
                let element = sum(&terms.collect::<Vec<_>>());
                let transformed = weights
                    .chunks(9)
                    .map(|g| (0..9).map(|tap| kernel[u][tap / 3] * kernel[v][tap % 3] * g[tap]).sum::<i32>());
                let mut weight = vec![0; n];
                packing.pack_weights(0, &transformed.collect::<Vec<_>>(), &mut weight);
                let mut product = vec![0; n];
                sparse_product(&element, &weight, &mut product);
                products.push(product);
            }
        }
        let direct = expected(&conv, &x, &weights);
        for (p, q) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let terms = products.iter().enumerate();
            let terms = terms.map(|(k, product)| (output[p][k / 4] * output[q][k % 4], product.clone()));
            let response = sum(&terms.collect::<Vec<_>>());
            for (coefficient, k) in packing.positions(0) {
                let (m, a, b) = (k as usize / 16, k as usize / 4 % 4, k as usize % 4);
                let word = response[coefficient as usize] & mask;
                assert_eq!(word % 4, 0);
                let wanted = direct[(m * 8 + 2 * a + p) * 8 + 2 * b + q];
                assert_eq!(word >> 2, wanted & mask >> 2, "output {m}, tile {a} {b}, {p} {q}");
            }
        }
    }
}
