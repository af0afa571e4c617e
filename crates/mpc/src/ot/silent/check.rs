//! The consistency check in GF(2^128) with POLYVAL's product `a * b = a b x^-128`, itself the product of a field.
//!
//! `h(v) = sum_(i < n) chi^(n - i) v_i`, powers by that product. A set of blocks with a nonzero hash difference slips
//! through for at most `n` of the `2^128` values of `chi`.

use phineus_kernel::block::Block;
use phineus_kernel::ggm::LANES;
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

use super::Set;

/// The challenge.
pub(super) struct Chi {
    chi: Block,
    universal: Polyval,
}

impl Chi {
    pub(super) fn new(chi: Block) -> Self {
        Self { chi, universal: key(chi) }
    }

    /// `h(v)`.
    pub(super) fn hash(&self, v: &[Block]) -> Block {
        let mut polyval = self.universal.clone();
        let (blocks, _) = polyval::Block::slice_as_chunks(Block::as_bytes(v));
        polyval.update(blocks);
        Block::from(polyval.finalize().0)
    }

    /// The sum of the coefficients of `h` at one secret leaf per tree; `paths` are the receiver's old transfers, whose
    /// bits are the complements of the bits of the position, first the highest.
    ///
    /// Leaf `j` of tree `lane` of batch `b` is number `(b 2^d + j) 16 + lane`: its power of `chi` is that of leaf
    /// `2^d - 1` times `chi^16` to the power `2^d - 1 - j`, whose bits are the complements of those of `j`.
    pub(super) fn at_positions(&self, set: Set, paths: &[Block]) -> Block {
        let depth = set.depth();
        let mut of_lane = [self.chi; LANES];
        for lane in (0..LANES - 1).rev() {
            of_lane[lane] = times(of_lane[lane + 1], self.chi);
        }
        // chi^(16 2^i)
        let mut power = of_lane[0];
        let mut of_bit = Vec::with_capacity(depth);
        for _ in 0..depth {
            of_bit.push((power, key(power)));
            power = times(power, power);
        }
        let batch_step = power;
        let mut sum = Block::ZERO;
        for batch in paths.chunks_exact(depth * LANES).rev() {
            for (lane, coefficient) in of_lane.iter_mut().enumerate() {
                let mut at = *coefficient;
                for (level, (_, factor)) in of_bit.iter().rev().enumerate() {
                    let moved = product(factor, at);
                    at ^= (at ^ moved) & Block::mask(batch[level * LANES + lane].lsb());
                }
                sum ^= at;
                *coefficient = times(*coefficient, batch_step);
            }
        }
        sum
    }
}

/// `sum_i e_i * x_i` for the unit blocks `e_i`.
pub(super) fn pack(x: &[Block]) -> Block {
    x.iter().enumerate().fold(Block::ZERO, |sum, (i, x)| sum ^ times(Block(1 << i), *x))
}

/// The product.
pub(super) fn times(a: Block, b: Block) -> Block {
    product(&key(a), b)
}

fn product(a: &Polyval, b: Block) -> Block {
    let mut polyval = a.clone();
    polyval.update(&[b.to_bytes().into()]);
    Block::from(polyval.finalize().0)
}

fn key(chi: Block) -> Polyval {
    Polyval::new(&chi.to_bytes().into())
}

#[cfg(test)]
mod tests {
    use phineus_kernel::prg::Prg;
    use rand::Rng;

    use super::*;

    #[test]
    fn coefficients_at_positions_are_those_of_the_hash() {
        let set = Set::B10;
        let rng = &mut Prg::new([1; 16]);
        let chi = Chi::new(Block::random(rng));
        let mut paths = vec![Block::ZERO; set.trees() * set.depth()];
        rng.fill_blocks(&mut paths);
        let mut e = vec![Block::ZERO; set.n()];
        let scale = Block::random(rng);
        for (b, batch) in paths.chunks_exact(set.depth() * LANES).enumerate() {
            for lane in 0..LANES {
                let bit = |level: usize| usize::from(!batch[level * LANES + lane].lsb());
                let j = (0..set.depth()).fold(0, |j, level| 2 * j + bit(level));
                e[((b << set.depth()) + j) * LANES + lane] = scale;
            }
        }
        assert_eq!(times(chi.at_positions(set, &paths), scale).0, chi.hash(&e).0);
        let bits = Block(u128::from(rng.next_u64()) << 40 | 5);
        let multiples: Vec<Block> = (0..128).map(|i| scale & Block::mask(bits.0 >> i & 1 == 1)).collect();
        assert_eq!(pack(&multiples).0, times(bits, scale).0);
    }
}
