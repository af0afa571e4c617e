//! What the parties keep of a layer between offline and online.

use std::fmt;

use phineus_kernel::block::Block;
use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::{PeerMisbehaved, check_len};
use rand::Rng as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::encode;
use crate::compare::Relu;
use crate::compare::arith::SharedBit;
use crate::compare::planes;
use crate::compare::select::{ClientSelect, ServerSelect};
use crate::triple::Triple;

/// The server's correlations for one layer; consumed by the online phase.
#[must_use]
pub struct ServerMaterial {
    pub(super) n: usize,
    /// Of its [`Choices`].
    pub(super) seed: Zeroizing<Block>,
    /// Per digit and element the pads of the truth tables.
    pub(super) pads: Pads,
    pub(super) rest: Rest,
    pub(super) select: ServerSelect,
}

/// The client's correlations for one layer; consumed by the online phase.
#[must_use]
pub struct ClientMaterial {
    pub(super) n: usize,
    /// Of its [`Choices`].
    pub(super) seed: Zeroizing<Block>,
    /// The pads at the client's positions.
    pub(super) pads: Planes,
    pub(super) rest: Rest,
    pub(super) select: ClientSelect,
}

/// Words of all elements, digit by digit.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Pads(pub(super) Vec<Vec<u64>>);

/// Planes of all predicates.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Planes(pub(super) Vec<Vec<u64>>);

/// What both parties have alike.
pub(super) struct Rest {
    pub(super) triples: Vec<Triple>,
    /// Of the products with `inside`.
    pub(super) product: Triple,
    pub(super) words: Vec<SharedBit>,
}

/// A party's random choices in the transfers of a layer, and the server's share of bits that become words: planes that
/// follow from a seed, so that they need not be kept.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Choices {
    planes: Vec<Vec<u64>>,
    products: usize,
}

impl Choices {
    pub(super) fn new(relu: &Relu, seed: Block, lanes: usize) -> Self {
        let (mut rng, products) = (Prg::new(seed), relu.products().count());
        let mut plane = || {
            let mut bytes = Zeroizing::new(vec![0; 8 * lanes]);
            rng.fill_bytes(&mut bytes);
            planes::from_bytes(&bytes)
        };
        Self { planes: (0..products + relu.words.len()).map(|_| plane()).collect(), products }
    }

    /// All of them in the order in which the client uses them.
    pub(super) fn all(&self) -> &[Vec<u64>] {
        &self.planes
    }

    /// One per product of bits; the last is that of the products with `inside`.
    pub(super) fn products(&self) -> &[Vec<u64>] {
        &self.planes[..self.products]
    }

    /// The last of the [`Choices::products`].
    pub(super) fn select(&self) -> &[u64] {
        self.products().last().map_or(&[], Vec::as_slice)
    }

    /// One per bit that becomes a word.
    pub(super) fn words(&self) -> &[Vec<u64>] {
        &self.planes[self.products..]
    }
}

impl ServerMaterial {
    /// Elements of the layer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Length of the encoding for `n` elements.
    #[must_use]
    pub fn byte_len(relu: &Relu, n: usize) -> usize {
        let pads: usize = relu.digits.iter().map(|digit| packed_len(n, digit.width())).sum();
        Block::BYTES + pads + Rest::byte_len(relu, n) + 2 * packed_len(n, relu.spec().out_bits)
    }

    /// The secret contents, for storage by their owner: exactly [`ServerMaterial::byte_len`] bytes.
    #[must_use]
    pub fn to_bytes(&self, relu: &Relu) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::byte_len(relu, self.n));
        out.extend(self.seed.to_bytes());
        for (digit, pads) in relu.digits.iter().zip(&self.pads.0) {
            pack(pads, digit.width(), &mut out);
        }
        self.rest.append_to(relu, self.n, &mut out);
        let bits = relu.spec().out_bits;
        encode(self.n, [(&self.select.pad[..], bits), (&self.select.difference, bits)], &mut out);
        out
    }

    /// The reverse of [`ServerMaterial::to_bytes`].
    ///
    /// # Errors
    /// [`PeerMisbehaved`] if the bytes have another length or unused bits are set.
    pub fn from_bytes(relu: &Relu, n: usize, bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        check_len(WHAT, bytes, Self::byte_len(relu, n))?;
        let mut bytes = bytes;
        let (seed, choices) = take_choices(&mut bytes, relu, n);
        let pads = relu.digits.iter().map(|digit| take_words(&mut bytes, n, digit.width()));
        let pads = Pads(pads.collect::<Result<_, _>>()?);
        let rest = Rest::take(relu, n, &choices, &mut bytes)?;
        let mut word = || take_words(&mut bytes, n, relu.spec().out_bits);
        let (bit, pad, difference) = (choices.select().to_vec(), word()?, word()?);
        Ok(Self { n, seed, pads, rest, select: ServerSelect { bit, pad, difference } })
    }
}

impl ClientMaterial {
    /// Elements of the layer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Length of the encoding for `n` elements.
    #[must_use]
    pub fn byte_len(relu: &Relu, n: usize) -> usize {
        let pads = 8 * planes::lanes(n) * relu.digit_wires();
        Block::BYTES + pads + Rest::byte_len(relu, n) + packed_len(n, relu.spec().out_bits)
    }

    /// The secret contents, for storage by their owner: exactly [`ClientMaterial::byte_len`] bytes.
    #[must_use]
    pub fn to_bytes(&self, relu: &Relu) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::byte_len(relu, self.n));
        out.extend(self.seed.to_bytes());
        self.pads.0.iter().for_each(|plane| planes::to_bytes(plane, &mut out));
        self.rest.append_to(relu, self.n, &mut out);
        encode(self.n, [(&self.select.pad[..], relu.spec().out_bits)], &mut out);
        out
    }

    /// The reverse of [`ClientMaterial::to_bytes`].
    ///
    /// # Errors
    /// [`PeerMisbehaved`] if the bytes have another length or unused bits are set.
    pub fn from_bytes(relu: &Relu, n: usize, bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        check_len(WHAT, bytes, Self::byte_len(relu, n))?;
        let mut bytes = bytes;
        let (seed, choices) = take_choices(&mut bytes, relu, n);
        let pads = Planes(take_planes(&mut bytes, relu.digit_wires(), n));
        let rest = Rest::take(relu, n, &choices, &mut bytes)?;
        let pad = take_words(&mut bytes, n, relu.spec().out_bits)?;
        Ok(Self { n, seed, pads, rest, select: ClientSelect { bit: choices.select().to_vec(), pad } })
    }
}

impl fmt::Debug for ServerMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerMaterial({} elements)", self.n)
    }
}

impl fmt::Debug for ClientMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientMaterial({} elements)", self.n)
    }
}

impl Rest {
    /// Planes of the triples; words of the shared bits.
    fn byte_len(relu: &Relu, n: usize) -> usize {
        let triples: usize = relu.products().map(Triple::planes).sum();
        let words: usize = relu.words.iter().map(|word| packed_len(n, word.bits)).sum();
        8 * planes::lanes(n) * triples + words
    }

    fn append_to(&self, relu: &Relu, n: usize, out: &mut Vec<u8>) {
        let mut all = Vec::new();
        self.triples.iter().for_each(|triple| triple.append_to(&mut all));
        self.product.append_to(&mut all);
        planes::to_bytes(&all, out);
        all.zeroize();
        let words = self.words.iter().zip(&relu.words);
        encode(n, words.map(|(shared, word)| (&shared.word[..], word.bits)), out);
    }

    /// From the front of a string of which the length has been checked.
    fn take(relu: &Relu, n: usize, choices: &Choices, bytes: &mut &[u8]) -> Result<Self, PeerMisbehaved> {
        let mut triple = |width: usize, x: &[u64]| {
            let mut planes = take_planes(bytes, Triple::planes(width), n);
            let triple = Triple::from_planes(width, x.to_vec(), planes.iter().flatten().copied());
            planes.zeroize();
            triple
        };
        let triples =
            relu.circuit.widths().zip(choices.products()).map(|(width, x)| triple(width, x)).collect();
        let product = triple(relu.gated().count(), choices.select());
        let mut words = Vec::new();
        for (word, bit) in relu.words.iter().zip(choices.words()) {
            words.push(SharedBit { bit: bit.clone(), word: take_words(bytes, n, word.bits)? });
        }
        Ok(Self { triples, product, words })
    }
}

const WHAT: &str = "stored correlations of a comparison";

/// The first `len` bytes; all there are if fewer, which the caller has excluded.
fn take<'b>(bytes: &mut &'b [u8], len: usize) -> &'b [u8] {
    let (head, tail) = bytes.split_at(len.min(bytes.len()));
    *bytes = tail;
    head
}

/// The seed, and what follows from it.
fn take_choices(bytes: &mut &[u8], relu: &Relu, n: usize) -> (Zeroizing<Block>, Choices) {
    let mut block = [0; Block::BYTES];
    block.copy_from_slice(take(bytes, Block::BYTES));
    let seed = Zeroizing::new(Block::from_bytes(block));
    let choices = Choices::new(relu, *seed, planes::lanes(n));
    (seed, choices)
}

fn take_planes(bytes: &mut &[u8], count: usize, n: usize) -> Vec<Vec<u64>> {
    (0..count).map(|_| planes::from_bytes(take(bytes, 8 * planes::lanes(n)))).collect()
}

fn take_words<W: phineus_kernel::pack::Word>(
    bytes: &mut &[u8],
    n: usize,
    bits: u32,
) -> Result<Vec<W>, PeerMisbehaved> {
    unpack(WHAT, take(bytes, packed_len(n, bits)), n, bits)
}
