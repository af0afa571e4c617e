//! Rectifier, or signed clamp, with rescale on shares, by oblivious transfer.
//!
//! Functionality: server and client share `acc = y + c` modulo `2^l`; the client also has a mask `r`. The server gets
//! `z - r` modulo `2^l'` with `z = clamp((acc + 2^(f-1)) >> f, lo, hi)`, the client nothing. The client's `c` and `r` are
//! known offline, the server's `y` only online.
//!
//! Offline:
//! 1. client -> server: random OTs with the bits of `c` as choices (all of them in `exact`, those above `f` in
//!    `stochastic` rounding), and with random choices one per AND, shared bit and product.
//! 2. server -> client: the messages of the shared bits (module `arith`); the random OTs of the other
//!    direction, one per AND and one for the product.
//!
//! Online:
//! 3. server -> client: truth tables of its digits under the pads (module `digit`).
//! 4. both at once, per layer of ANDs: the masked operands (module `triple`). Result: shares of the carries `k`,
//!    `w` and of the predicates `inside`, `positive` of [`Relu`].
//! 5. both at once: `k`, `w`, `positive` masked by shared random bits, and the correction of the product's choice.
//! 6. server -> client: the product of `inside` with the server's word.
//! 7. client -> server: the product of `inside` with the client's word; the client's share of the result minus `r`.
//!
//! Cost per element, `l = 24`, `f = 8`, results of 8 bits, `l' = 24`: 35 OTs one way and 8 the other; online 322
//! bits, 262 in `stochastic` rounding. Exactly: [`cost`].
//!
//! Security: semi-honest (the OTs also against malicious parties). The client sees truth tables under pads of
//! which it knows the one at its own digit, and there its masked share; both see masked operands; the server ends with
//! a share under the client's `r`. In `stochastic` rounding the rounding bit depends on `c`, which is uniform.
//!
//! The halves are generic in the network role: either party may hold the online share.

use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::wire::{PeerMisbehaved, check_len};
use phineus_net::{Channel, Role, Step};
use zeroize::{Zeroize, Zeroizing};

use super::arith::{ProductReceiver, ProductSender, SharedBit, add};
use super::circuit::Gate;
use super::planes::{column, xor};
use super::{CompareError, Relu, planes};
use crate::triple::Triple;

mod cost;
mod material;
mod prepare;

pub use cost::{Cost, Hop, Traffic, cost, extensions, hops, shared_bytes};
use material::Rest;
pub use material::{ClientMaterial, ServerMaterial};
pub use prepare::{
    ClientPending, ServerPending, begin_client, begin_server, finish_client, finish_server, prepare_client,
    prepare_server,
};

const SHARED: Step = Step::new("relu.shared");
const TABLES: Step = Step::new("relu.tables");
const OPENED: Step = Step::new("relu.opened");
const MASKED: Step = Step::new("relu.masked");
const PRODUCT: Step = Step::new("relu.product");
const RESULT: Step = Step::new("relu.result");

/// Online, server: its share `z - r` of the results from its share `y` of the inputs.
///
/// # Errors
/// [`CompareError::Length`] if `y` has not the elements of the material; [`CompareError::Channel`].
pub async fn online_server<R: Role>(
    channel: &mut Channel<R>,
    relu: &Relu,
    material: ServerMaterial,
    y: &[u32],
) -> Result<Vec<u32>, CompareError> {
    let ServerMaterial { n, mut pads, mut shares, rest } = material;
    CompareError::check_len("server's share", n, y.len())?;
    let offset = relu.offset() as u32;
    let y: Zeroizing<Vec<u32>> = Zeroizing::new(y.iter().map(|y| y.wrapping_add(offset)).collect());
    // 3. Truth tables.
    let mut message = Vec::new();
    for (digit, pads) in relu.digits.iter().zip(&mut pads.0) {
        for (pad, y) in pads.iter_mut().zip(y.iter()) {
            *pad ^= digit.tables(digit.of(*y), digit.of(relu.negated_top(*y)));
        }
        pack(pads, digit.width(), &mut message);
    }
    channel.send_bytes(TABLES, &message).await?;
    let mut inputs = std::mem::take(&mut shares.0);
    inputs.push(column(&y, relu.sign_bit()));
    // 4. and 5. Carries and predicates, and the words they become.
    let mut state = Opened::run(channel, relu, rest, inputs).await?;
    let own: Zeroizing<Vec<u32>> = y.iter().map(|y| relu.server_word(*y)).collect::<Vec<_>>().into();
    let mut share = state.select(relu, &own);
    // 6. Product with the server's word.
    let (product, message) = state.send.send(&state.inside, &state.factor, &state.correction);
    add(&mut share, &product);
    channel.send_bytes(PRODUCT, &encode(relu, n, [&message[..]])).await?;
    // 7. Product with the client's word, and the client's share.
    let bytes = channel.recv_bytes(RESULT, 2 * packed_len(n, relu.spec().out_bits)).await?;
    let [product, masked] = &decode(RESULT, relu, n, 2, &bytes)?[..] else {
        return Err(PeerMisbehaved::Invalid { what: RESULT.name(), reason: "two words per element" }.into());
    };
    add(&mut share, &state.receive.finish(&state.inside, product));
    add(&mut share, masked);
    let (lo, mask) = (relu.spec().lo as u32, u32::MAX >> (32 - relu.spec().out_bits));
    share.iter_mut().for_each(|z| *z = z.wrapping_add(lo) & mask);
    Ok(share)
}

/// Online, client: helps the server to `z - r`, from the share `c` the material was made for and the mask `r` modulo
/// `2^l'`.
///
/// # Errors
/// [`CompareError::Length`] if `c` or `r` has not the elements of the material; [`CompareError::Channel`].
pub async fn online_client<R: Role>(
    channel: &mut Channel<R>,
    relu: &Relu,
    material: ClientMaterial,
    c: &[u32],
    r: &[u32],
) -> Result<(), CompareError> {
    let ClientMaterial { n, mut pads, rest } = material;
    CompareError::check_len("client's share", n, c.len())?;
    CompareError::check_len("client's mask", n, r.len())?;
    // 3. Truth tables, at the client's digits.
    let bytes = channel.recv_bytes(TABLES, cost::table_bytes(relu, n)).await?;
    let mut inputs = std::mem::take(&mut pads.0);
    let (mut bytes, mut wires) = (&bytes[..], inputs.iter_mut());
    for digit in &relu.digits {
        let (head, tail) = bytes.split_at(packed_len(n, digit.width()).min(bytes.len()));
        bytes = tail;
        let tables: Vec<u64> = unpack(TABLES.name(), head, n, digit.width())?;
        for (found, pad) in digit.look_up(c, &tables).iter().zip(&mut wires) {
            xor(pad, found);
        }
    }
    inputs.push(column(c, relu.sign_bit()));
    // 4. and 5. Carries and predicates, and the words they become.
    let mut state = Opened::run(channel, relu, rest, inputs).await?;
    let own: Zeroizing<Vec<u32>> = c.iter().map(|c| relu.client_word(*c)).collect::<Vec<_>>().into();
    let mut share = state.select(relu, &own);
    // 6. Product with the server's word.
    let bytes = channel.recv_bytes(PRODUCT, packed_len(n, relu.spec().out_bits)).await?;
    for message in decode(PRODUCT, relu, n, 1, &bytes)? {
        add(&mut share, &state.receive.finish(&state.inside, &message));
    }
    // 7. Product with the client's word, and the client's share.
    let (product, message) = state.send.send(&state.inside, &state.factor, &state.correction);
    add(&mut share, &product);
    share.iter_mut().zip(r).for_each(|(z, r)| *z = z.wrapping_sub(*r));
    channel.send_bytes(RESULT, &encode(relu, n, [&message[..], &share])).await?;
    channel.flush().await?;
    share.zeroize();
    Ok(())
}

/// A party's state after step 5.
struct Opened {
    leader: bool,
    words: Vec<SharedBit>,
    /// The sums of the shared bits with the random ones.
    opened: Vec<Vec<u64>>,
    inside: Zeroizing<Vec<u64>>,
    /// This party's factor of the product that it sends.
    factor: Zeroizing<Vec<u32>>,
    /// The peer's correction of its choice in that product.
    correction: Vec<u64>,
    send: ProductSender,
    receive: ProductReceiver,
}

impl Opened {
    /// Steps 4 and 5.
    async fn run<R: Role>(
        channel: &mut Channel<R>,
        relu: &Relu,
        rest: Rest,
        inputs: Vec<Vec<u64>>,
    ) -> Result<Self, CompareError> {
        let Rest { triples, words, send, receive } = rest;
        let wires = evaluate(channel, relu, triples, inputs).await?;
        let inside = Zeroizing::new(wires[relu.inside].clone());
        let mut own = Vec::new();
        for (wire, shared) in relu.words.iter().zip(&words) {
            own.extend(wires[*wire].iter().zip(&shared.bit).map(|(b, s)| b ^ s));
        }
        own.extend(inside.iter().zip(&receive.choices).map(|(b, a)| b ^ a));
        let theirs = exchange(channel, MASKED, &own).await?;
        let lanes = inside.len();
        let masked = words.len() * lanes;
        let (sums, correction) = theirs.split_at(masked.min(theirs.len()));
        xor(&mut own[..masked], sums);
        let opened = if lanes == 0 {
            vec![Vec::new(); words.len()]
        } else {
            own[..masked].chunks(lanes).map(<[u64]>::to_vec).collect()
        };
        let correction = correction.to_vec();
        Ok(Self {
            leader: R::LEADER,
            words,
            opened,
            inside,
            factor: Zeroizing::default(),
            correction,
            send,
            receive,
        })
    }

    /// This party's factor: its part of `mid + k - 2^m w - max`; returned is its share of `max positive`.
    fn select(&mut self, relu: &Relu, own: &[u32]) -> Vec<u32> {
        let words: Vec<Vec<u32>> = self
            .words
            .iter()
            .zip(&self.opened)
            .map(|(shared, opened)| shared.finish(opened, self.leader))
            .collect();
        let max = relu.max();
        let part = |i: usize, o: usize| words.get(o).and_then(|w| w.get(i)).copied().unwrap_or(0);
        let factor = |(i, own): (usize, &u32)| {
            let k = part(i, 2);
            own.wrapping_add(k).wrapping_sub(part(i, 0).wrapping_mul(max.wrapping_add(1)))
        };
        self.factor = Zeroizing::new(own.iter().enumerate().map(factor).collect());
        (0..own.len()).map(|i| part(i, 1).wrapping_mul(max)).collect()
    }
}

/// Step 4: all wires of the circuit.
async fn evaluate<R: Role>(
    channel: &mut Channel<R>,
    relu: &Relu,
    triples: Vec<Triple>,
    inputs: Vec<Vec<u64>>,
) -> Result<Zeroizing<Vec<Vec<u64>>>, CompareError> {
    let circuit = &relu.circuit;
    let complement = u64::from(R::LEADER).wrapping_neg();
    let mut wires = Zeroizing::new(inputs);
    wires.resize(circuit.wires(), Vec::new());
    let mut triples = triples.into_iter();
    for round in 0..=circuit.rounds() {
        if round > 0 {
            let (mut own, mut pending) = (Vec::new(), Vec::new());
            for ((out, x, y), triple) in circuit.products(round).zip(&mut triples) {
                let operands: Vec<&[u64]> = y.iter().map(|wire| &wires[*wire][..]).collect();
                let start = own.len();
                triple.open(&wires[x], &operands, &mut own);
                pending.push((out, triple, start..own.len()));
            }
            let theirs = exchange(channel, OPENED, &own).await?;
            for (out, triple, range) in pending {
                let products = triple.finish(R::LEADER, &own[range.clone()], &theirs[range]);
                wires[out..].iter_mut().zip(products).for_each(|(wire, product)| *wire = product);
            }
        }
        for (out, gate) in circuit.free(round) {
            wires[out] = match gate {
                Gate::Xor(a, b) => wires[*a].iter().zip(&wires[*b]).map(|(a, b)| a ^ b).collect(),
                Gate::Not(a) => wires[*a].iter().map(|a| a ^ complement).collect(),
                Gate::And(..) => continue,
            };
        }
    }
    Ok(wires)
}

/// Both parties send planes of one length at once.
async fn exchange<R: Role>(
    channel: &mut Channel<R>,
    step: Step,
    planes: &[u64],
) -> Result<Vec<u64>, CompareError> {
    let mut message = Vec::with_capacity(8 * planes.len());
    planes::to_bytes(planes, &mut message);
    let (tx, rx) = channel.halves();
    let send = async {
        tx.send_bytes(step, &message).await?;
        tx.flush(step).await
    };
    let (sent, theirs) = tokio::join!(send, rx.recv_bytes(step, message.len()));
    sent?;
    let theirs = theirs?;
    check_len(step.name(), &theirs, message.len())?;
    Ok(planes::from_bytes(&theirs))
}

/// Words modulo `2^l'`, vector after vector.
fn encode<'w>(relu: &Relu, n: usize, vectors: impl IntoIterator<Item = &'w [u32]>) -> Vec<u8> {
    let bits = relu.spec().out_bits;
    let mut out = Vec::new();
    for words in vectors {
        let reduced: Vec<u32> = words[..n].iter().map(|word| word & (u32::MAX >> (32 - bits))).collect();
        pack(&reduced, bits, &mut out);
    }
    out
}

/// The reverse of [`encode`] for `count` vectors.
fn decode(
    step: Step,
    relu: &Relu,
    n: usize,
    count: usize,
    bytes: &[u8],
) -> Result<Vec<Vec<u32>>, PeerMisbehaved> {
    let (bits, len) = (relu.spec().out_bits, packed_len(n, relu.spec().out_bits));
    check_len(step.name(), bytes, count * len)?;
    (0..count).map(|i| unpack(step.name(), &bytes[i * len..(i + 1) * len], n, bits)).collect()
}

#[cfg(test)]
mod tests;
