//! Rectifier, or signed clamp, with rescale on shares, by oblivious transfer.
//!
//! Functionality: server and client share `acc = y + c` modulo `2^l`; the client also has a mask `r`. The server gets
//! `z - r` modulo `2^l'` with `z = clamp((acc + 2^(f-1)) >> f, lo, hi)`, the client nothing. The client's `c` and `r` are
//! known offline, the server's `y` only online.
//!
//! Offline:
//! 1. client -> server: random OTs with the bits of `c` as choices (all of them in `exact`, those above `f` in
//!    `stochastic` rounding), and with random choices one per AND, shared bit and the product with `inside`.
//! 2. server -> client: the messages of the shared bits (module `arith`); the random OTs of the other
//!    direction, one per AND and one for the product.
//! 3. client -> server: the product of `inside` with the client's word (module `select`).
//!
//! Online:
//! 4. server -> client: truth tables of its digits under the pads (module `digit`); the product of `inside` with the
//!    server's word.
//! 5. both at once, per layer of ANDs: the masked operands (module `triple`). Result: shares of the carries `k`,
//!    `w` and of the predicates `inside`, `positive` of [`Relu`].
//! 6. both at once: `inside`, and `k` and `w` for their products with it, masked.
//! 7. both at once: these products and `positive`, masked by shared random bits.
//! 8. client -> server: the client's share of the result minus `r`.
//!
//! Cost per element, `l = 24`, `f = 8`, results of 8 bits, `l' = 24`: 35 OTs one way and 8 the other; online 273
//! bits, 214 in `stochastic` rounding. Exactly: [`cost`].
//!
//! Security: semi-honest (the OTs also against malicious parties). The client sees truth tables under pads of
//! which it knows the one at its own digit, and there its masked share; both see masked operands; the server ends with
//! a share under the client's `r`. In `stochastic` rounding the rounding bit depends on `c`, which is uniform.
//!
//! The halves are generic in the network role: either party may hold the online share.

use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::wire::check_len;
use phineus_net::{Channel, Role, Step};
use zeroize::{Zeroize, Zeroizing};

use super::arith::add;
use super::circuit::Gate;
use super::layout::Word;
use super::planes::{column, xor};
use super::{CompareError, Relu, planes};
use crate::triple::Triple;

mod cost;
mod material;
mod prepare;

pub use cost::{Cost, Hop, Traffic, cost, extensions, factor_bytes, hops, shared_bytes};
use material::Rest;
pub use material::{ClientMaterial, ServerMaterial};
pub use prepare::{
    ClientAnswered, ClientPending, ServerAnswered, ServerPending, answer_client, answer_server, begin_client,
    begin_server, finish_client, finish_server, prepare_client, prepare_server,
};

const SHARED: Step = Step::new("relu.shared");
const FACTOR: Step = Step::new("relu.factor");
const TABLES: Step = Step::new("relu.tables");
const OPENED: Step = Step::new("relu.opened");
const SELECTED: Step = Step::new("relu.selected");
const MASKED: Step = Step::new("relu.masked");
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
    let ServerMaterial { n, seed: _, mut pads, rest, select } = material;
    CompareError::check_len("server's share", n, y.len())?;
    let offset = relu.offset() as u32;
    let y: Zeroizing<Vec<u32>> = Zeroizing::new(y.iter().map(|y| y.wrapping_add(offset)).collect());
    // 4. Truth tables, and the product with the server's word.
    let (mut message, mut inputs) = (Vec::with_capacity(cost::table_bytes(relu, n)), Vec::new());
    for (digit, pads) in relu.digits.iter().zip(&mut pads.0) {
        for (pad, y) in pads.iter_mut().zip(y.iter()) {
            *pad ^= digit.tables(digit.of(*y), digit.of(relu.negated_top(*y)));
        }
        inputs.extend(digit.conceal(pads));
        pack(pads, digit.sent_width(), &mut message);
    }
    let factor: Zeroizing<Vec<u32>> = y.iter().map(|y| relu.server_word(*y)).collect::<Vec<_>>().into();
    encode(n, [(&select.message(&factor)[..], relu.spec().out_bits)], &mut message);
    channel.send_bytes(TABLES, &message).await?;
    inputs.push(column(&y, relu.sign_bit()));
    // 5. to 7. Carries and predicates, and the words they become.
    let Selected { opened, words: mut share } = Selected::run(channel, relu, rest, inputs, n).await?;
    add(&mut share, &select.finish(&opened, &factor));
    // 8. The client's share.
    let bytes = channel.recv_bytes(RESULT, packed_len(n, relu.spec().out_bits)).await?;
    add(&mut share, &unpack(RESULT.name(), &bytes, n, relu.spec().out_bits)?);
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
    let ClientMaterial { n, seed: _, mut pads, rest, select } = material;
    CompareError::check_len("client's share", n, c.len())?;
    CompareError::check_len("client's mask", n, r.len())?;
    // 4. Truth tables, at the client's digits, and the product with the server's word.
    let bytes = channel.recv_bytes(TABLES, cost::table_bytes(relu, n)).await?;
    let mut inputs = std::mem::take(&mut pads.0);
    let (mut bytes, mut wires) = (&bytes[..], inputs.iter_mut());
    for digit in &relu.digits {
        let (head, tail) = bytes.split_at(packed_len(n, digit.sent_width()).min(bytes.len()));
        bytes = tail;
        let mut tables: Vec<u64> = unpack(TABLES.name(), head, n, digit.sent_width())?;
        digit.expand(&mut tables);
        for (found, pad) in digit.look_up(c, &tables).iter().zip(&mut wires) {
            xor(pad, found);
        }
    }
    let product: Vec<u32> = unpack(TABLES.name(), bytes, n, relu.spec().out_bits)?;
    inputs.push(column(c, relu.sign_bit()));
    // 5. to 7. Carries and predicates, and the words they become.
    let Selected { opened, words: mut share } = Selected::run(channel, relu, rest, inputs, n).await?;
    add(&mut share, &select.finish(&opened, &relu.client_words(c), &product));
    // 8. The client's share.
    share.iter_mut().zip(r).for_each(|(z, r)| *z = z.wrapping_sub(*r));
    let mut message = Vec::new();
    encode(n, [(&share[..], relu.spec().out_bits)], &mut message);
    channel.send_bytes(RESULT, &message).await?;
    channel.flush().await?;
    share.zeroize();
    Ok(())
}

/// A party's state after step 7.
struct Selected {
    /// The sum of `inside` and the bit that masks it.
    opened: Vec<u64>,
    /// This party's share of the words that bits become, weighted.
    words: Vec<u32>,
}

impl Selected {
    /// Steps 5 to 7.
    async fn run<R: Role>(
        channel: &mut Channel<R>,
        relu: &Relu,
        rest: Rest,
        inputs: Vec<Vec<u64>>,
        n: usize,
    ) -> Result<Self, CompareError> {
        let Rest { triples, product, words } = rest;
        // 5. All wires of the circuit.
        let mut wires = evaluate(channel, relu, triples, inputs).await?;
        // 6. Products with `inside`.
        let gated: Vec<&[u64]> = relu.gated().map(|word| &wires[word.wire][..]).collect();
        let mut own = Vec::new();
        product.open(&wires[relu.inside], &gated, &mut own);
        let theirs = exchange(channel, SELECTED, &own).await?;
        let lanes = wires[relu.inside].len();
        let opened = own.iter().zip(&theirs).take(lanes).map(|(a, b)| a ^ b).collect();
        let products = product.finish(R::LEADER, &own, &theirs);
        for (Word { wire, .. }, product) in relu.gated().zip(products) {
            wires[*wire] = product;
        }
        if words.is_empty() {
            return Ok(Self { opened, words: vec![0; n] });
        }
        // 7. Ring words.
        let mut own = Vec::with_capacity(words.len() * lanes);
        for (Word { wire, .. }, shared) in relu.words.iter().zip(&words) {
            own.extend(wires[*wire].iter().zip(&shared.bit).map(|(b, s)| b ^ s));
        }
        let theirs = exchange(channel, MASKED, &own).await?;
        xor(&mut own, &theirs);
        let mut sum = vec![0_u32; n];
        for ((Word { weight, .. }, shared), opened) in
            relu.words.iter().zip(&words).zip(own.chunks(lanes.max(1)))
        {
            for (sum, word) in sum.iter_mut().zip(shared.finish(opened, R::LEADER)) {
                *sum = sum.wrapping_add(word.wrapping_mul(*weight));
            }
        }
        Ok(Self { opened, words: sum })
    }
}

/// Step 5: all wires of the circuit.
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

/// Appends vectors of `n` words, each modulo two to its width.
fn encode<'w>(n: usize, vectors: impl IntoIterator<Item = (&'w [u32], u32)>, out: &mut Vec<u8>) {
    for (words, bits) in vectors {
        let reduced: Zeroizing<Vec<u32>> =
            Zeroizing::new(words[..n].iter().map(|word| word & (u32::MAX >> (32 - bits))).collect());
        pack(&reduced, bits, out);
    }
}

#[cfg(test)]
mod tests;
