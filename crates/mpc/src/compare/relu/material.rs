//! What the parties keep of a layer between offline and online.

use std::fmt;

use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::wire::{PeerMisbehaved, check_len};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::compare::Relu;
use crate::compare::arith::{ProductReceiver, ProductSender, SharedBit};
use crate::compare::planes;
use crate::triple::Triple;

/// The server's correlations for one layer; consumed by the online phase.
#[must_use]
pub struct ServerMaterial {
    pub(super) n: usize,
    /// Per digit and element the pads of the truth tables, the server's shares added.
    pub(super) pads: Pads,
    pub(super) shares: Planes,
    pub(super) rest: Rest,
}

/// The client's correlations for one layer; consumed by the online phase.
#[must_use]
pub struct ClientMaterial {
    pub(super) n: usize,
    /// The pads at the client's positions.
    pub(super) pads: Planes,
    pub(super) rest: Rest,
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
    pub(super) words: Vec<SharedBit>,
    pub(super) send: ProductSender,
    pub(super) receive: ProductReceiver,
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
        pads + 8 * planes::lanes(n) * relu.digit_wires() + Rest::byte_len(relu, n)
    }

    /// The secret contents, for storage by their owner: exactly [`ServerMaterial::byte_len`] bytes.
    #[must_use]
    pub fn to_bytes(&self, relu: &Relu) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::byte_len(relu, self.n));
        for (digit, pads) in relu.digits.iter().zip(&self.pads.0) {
            pack(pads, digit.width(), &mut out);
        }
        self.shares.0.iter().for_each(|plane| planes::to_bytes(plane, &mut out));
        self.rest.append_to(relu, self.n, &mut out);
        out
    }

    /// The reverse of [`ServerMaterial::to_bytes`].
    ///
    /// # Errors
    /// [`PeerMisbehaved`] if the bytes have another length or unused bits are set.
    pub fn from_bytes(relu: &Relu, n: usize, bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        check_len(WHAT, bytes, Self::byte_len(relu, n))?;
        let mut bytes = bytes;
        let pads = relu.digits.iter().map(|digit| take_words(&mut bytes, n, digit.width()));
        let pads = Pads(pads.collect::<Result<_, _>>()?);
        let shares = Planes(take_planes(&mut bytes, relu.digit_wires(), n));
        Ok(Self { n, pads, shares, rest: Rest::take(relu, n, bytes)? })
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
        8 * planes::lanes(n) * relu.digit_wires() + Rest::byte_len(relu, n)
    }

    /// The secret contents, for storage by their owner: exactly [`ClientMaterial::byte_len`] bytes.
    #[must_use]
    pub fn to_bytes(&self, relu: &Relu) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::byte_len(relu, self.n));
        self.pads.0.iter().for_each(|plane| planes::to_bytes(plane, &mut out));
        self.rest.append_to(relu, self.n, &mut out);
        out
    }

    /// The reverse of [`ClientMaterial::to_bytes`].
    ///
    /// # Errors
    /// [`PeerMisbehaved`] if the bytes have another length or unused bits are set.
    pub fn from_bytes(relu: &Relu, n: usize, bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        check_len(WHAT, bytes, Self::byte_len(relu, n))?;
        let mut bytes = bytes;
        let pads = Planes(take_planes(&mut bytes, relu.digit_wires(), n));
        Ok(Self { n, pads, rest: Rest::take(relu, n, bytes)? })
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
    /// Planes: the triples, the shared bits and the receiver's choices; words: one per shared bit, two and one for the
    /// products.
    fn byte_len(relu: &Relu, n: usize) -> usize {
        let triples: usize = relu.circuit.widths().map(Triple::planes).sum();
        let count = relu.words.len();
        8 * planes::lanes(n) * (triples + count + 1) + (count + 3) * packed_len(n, relu.spec().out_bits)
    }

    fn append_to(&self, relu: &Relu, n: usize, out: &mut Vec<u8>) {
        let mut all = Vec::new();
        self.triples.iter().for_each(|triple| triple.append_to(&mut all));
        self.words.iter().for_each(|word| all.extend(&word.bit));
        all.extend(&self.receive.choices);
        planes::to_bytes(&all, out);
        all.zeroize();
        let bits = relu.spec().out_bits;
        let mask = u32::MAX >> (32 - bits);
        let mut words = |words: &mut dyn Iterator<Item = u32>| {
            let mut words: Vec<u32> = words.take(n).map(|word| word & mask).collect();
            pack(&words, bits, out);
            words.zeroize();
        };
        self.words.iter().for_each(|shared| words(&mut shared.word.iter().copied()));
        words(&mut self.send.strings.iter().map(|m| m[0]));
        words(&mut self.send.strings.iter().map(|m| m[1]));
        words(&mut self.receive.strings.iter().copied());
    }

    /// From a string of which the length has been checked.
    fn take(relu: &Relu, n: usize, mut bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        let lanes = planes::lanes(n);
        let mut triples = Vec::new();
        for width in relu.circuit.widths() {
            let mut all = take_planes(&mut bytes, Triple::planes(width), n);
            triples.push(Triple::from_planes(width, lanes, all.iter().flatten().copied()));
            all.zeroize();
        }
        let mut bits = take_planes(&mut bytes, relu.words.len() + 1, n);
        let choices = bits.pop().unwrap_or_default();
        let mut next = || take_words::<u32>(&mut bytes, n, relu.spec().out_bits);
        let mut words = Vec::new();
        for bit in bits {
            words.push(SharedBit { bit, word: next()? });
        }
        let (mut first, mut second) = (next()?, next()?);
        let send = ProductSender { strings: first.iter().zip(&second).map(|(a, b)| [*a, *b]).collect() };
        first.zeroize();
        second.zeroize();
        Ok(Self { triples, words, send, receive: ProductReceiver { choices, strings: next()? } })
    }
}

const WHAT: &str = "stored correlations of a comparison";

/// The first `len` bytes; all there are if fewer, which the caller has excluded.
fn take<'b>(bytes: &mut &'b [u8], len: usize) -> &'b [u8] {
    let (head, tail) = bytes.split_at(len.min(bytes.len()));
    *bytes = tail;
    head
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
