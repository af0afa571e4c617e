//! Everything a party draws for one inference, derived from 32 bytes.
//!
//! A pre-compute keeps a seed, not tensors: masks and labels are expanded again where they are needed. Each
//! purpose and node has its own stream, so that no two values ever share pseudo-random bits.

use phineus_kernel::prg::Prg;
use phineus_mpc::gc::InputSeed;
use rand::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The secret from which one party's randomness for one inference follows.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Seed([u8; 32]);

impl Seed {
    /// A fresh seed.
    #[must_use]
    pub(crate) fn random(rng: &mut impl CryptoRng) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        Self(seed)
    }

    /// From a stored pre-compute.
    #[must_use]
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// For storing.
    #[must_use]
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Uniform ring words: the client's mask of the value of `node`, or the server's mask of a linear layer.
    #[must_use]
    pub(crate) fn mask(&self, node: usize, bits: u32, len: usize) -> Vec<u32> {
        self.words(b"mask", node, bits, len)
    }

    /// Uniform ring words: the client's mask of the maxima of layer `node`, between two comparisons; of the first maxima or of
    /// those of these.
    #[must_use]
    pub(crate) fn pool(&self, node: usize, second: bool, bits: u32, len: usize) -> Vec<u32> {
        self.words(if second { b"pool of maxima" } else { b"pool" }, node, bits, len)
    }

    /// Uniform ring words: the client's mask of the argument of the polynomial of layer `node`.
    #[must_use]
    pub(crate) fn argument(&self, node: usize, bits: u32, len: usize) -> Vec<u32> {
        self.words(b"argument", node, bits, len)
    }

    /// Uniform ring words: the client's mask of the polynomial of layer `node`, before its rescale.
    #[must_use]
    pub(crate) fn polynomial(&self, node: usize, bits: u32, len: usize) -> Vec<u32> {
        self.words(b"polynomial", node, bits, len)
    }

    /// Seed of the garbler's input labels of layer `node`.
    #[must_use]
    pub(crate) fn labels(&self, node: usize) -> InputSeed {
        let mut half = [0; 16];
        half.copy_from_slice(&self.derive(b"labels", node)[..16]);
        InputSeed::from_bytes(half)
    }

    /// One-time pads of the labels that the other party's inputs of layer `node` have, where this party garbles.
    #[must_use]
    pub(crate) fn pads(&self, node: usize) -> Prg {
        Prg::from_seed32(&self.derive(b"pads", node))
    }

    fn words(&self, purpose: &[u8], node: usize, bits: u32, len: usize) -> Vec<u32> {
        let mut words = vec![0; len];
        Prg::from_seed32(&self.derive(purpose, node)).fill_u32(bits, &mut words);
        words
    }

    fn derive(&self, purpose: &[u8], node: usize) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(purpose);
        hasher.update(&(node as u64).to_le_bytes());
        *hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_purpose_and_node_and_repeat_otherwise() {
        let (a, b) = (Seed::from_bytes([1; 32]), Seed::from_bytes([2; 32]));
        assert_eq!(a.mask(3, 20, 9), a.mask(3, 20, 9));
        assert_ne!(a.mask(3, 20, 9), a.mask(4, 20, 9));
        assert_ne!(a.mask(3, 20, 9), b.mask(3, 20, 9));
        assert!(a.mask(3, 20, 1000).iter().all(|w| *w < 1 << 20));
    }
}
