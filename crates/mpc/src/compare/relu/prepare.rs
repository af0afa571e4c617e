//! The offline phase: in three steps, so that many layers can share one round trip and a half.

use phineus_kernel::block::Block;
use phineus_kernel::pack::{packed_len, unpack};
use phineus_kernel::wire::check_len;
use phineus_net::{Channel, Role};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::material::{Choices, ClientMaterial, Pads, Planes, Rest, ServerMaterial};
use super::{FACTOR, SHARED, cost, encode};
use crate::compare::arith::SharedBit;
use crate::compare::planes::{column, lanes};
use crate::compare::select::{ClientBegun, ServerBegun};
use crate::compare::{CompareError, Relu};
use crate::rot;
use crate::rot::columns::{Down, Up};
use crate::triple::{Received, Sent, Triple};

/// The server's half of a layer after step 1.
#[must_use]
pub struct ServerPending {
    n: usize,
    seed: Zeroizing<Block>,
    choices: Choices,
    pads: Pads,
    halves: Vec<Sent>,
    select: ServerBegun,
    words: Vec<SharedBit>,
    /// Messages of the shared bits, to be sent.
    messages: Zeroizing<Vec<Vec<u32>>>,
}

/// The client's half of a layer after step 1.
#[must_use]
pub struct ClientPending {
    n: usize,
    seed: Zeroizing<Block>,
    pads: Planes,
    halves: Vec<Received>,
    select: ClientBegun,
    /// Choices and strings of the shared bits.
    bits: Zeroizing<Vec<(Vec<u64>, Vec<u32>)>>,
    /// The words of the product.
    factor: Zeroizing<Vec<u32>>,
}

/// The server's half of a layer after step 2.
#[must_use]
pub struct ServerAnswered(ServerMaterial);

/// The client's half of a layer after step 2, with its message of step 3.
#[must_use]
pub struct ClientAnswered {
    material: ClientMaterial,
    message: Zeroizing<Vec<u32>>,
}

/// Offline, server: the correlations of a layer of `n` elements.
///
/// # Errors
/// [`CompareError::Channel`] if the channel fails or the client misbehaves.
pub async fn prepare_server<R: Role>(
    channel: &mut Channel<R>,
    relu: &Relu,
    n: usize,
    send: &mut rot::Sender<R>,
    receive: &mut rot::Receiver<R>,
    rng: &mut impl CryptoRng,
) -> Result<ServerMaterial, CompareError> {
    let pending = begin_server(channel, relu, n, send, rng).await?;
    let answered = answer_server(channel, relu, pending, receive).await?;
    channel.flush().await?;
    finish_server(channel, relu, answered).await
}

/// Offline, client: the correlations of a layer from the client's share `c` of its inputs, modulo `2^l`.
///
/// # Errors
/// [`CompareError::Channel`] if the channel fails or the server misbehaves.
pub async fn prepare_client<R: Role>(
    channel: &mut Channel<R>,
    relu: &Relu,
    c: &[u32],
    send: &mut rot::Sender<R>,
    receive: &mut rot::Receiver<R>,
    rng: &mut impl CryptoRng,
) -> Result<ClientMaterial, CompareError> {
    let pending = begin_client(channel, relu, c, receive, rng).await?;
    channel.flush().await?;
    let answered = answer_client(channel, relu, pending, send).await?;
    let material = finish_client(channel, relu, answered).await?;
    channel.flush().await?;
    Ok(material)
}

/// Step 1, server. With SoftSpoken it only receives.
///
/// # Errors
/// As [`prepare_server`].
pub async fn begin_server<R: Role>(
    channel: &mut Channel<R>,
    relu: &Relu,
    n: usize,
    send: &mut rot::Sender<R>,
    rng: &mut impl CryptoRng,
) -> Result<ServerPending, CompareError> {
    let (seed, lanes) = (Zeroizing::new(Block::random(rng)), lanes(n));
    let choices = Choices::new(relu, *seed, lanes);
    // 1. Client's choices: pads, and the server's halves.
    let mut sent = Down::new(channel, send, cost::columns(relu).0, lanes);
    let mut pads = Pads(Vec::new());
    for digit in &relu.digits {
        let mut words = Zeroizing::new(vec![0; 64 * lanes]);
        for i in 0..digit.bits {
            digit.add_pads(i, sent.next().await?, &mut words);
        }
        pads.0.push(words[..n].to_vec());
    }
    let mut halves = Vec::new();
    for width in relu.circuit.widths() {
        halves.push(Sent::new(width, sent.next().await?));
    }
    let select = ServerBegun::new(relu.gated().count(), sent.next().await?);
    let (mut words, mut messages) = (Vec::new(), Zeroizing::new(Vec::new()));
    for bit in choices.words() {
        let (shared, message) = SharedBit::sender(bit.clone(), &sent.next().await?[..n]);
        words.push(shared);
        messages.push(message);
    }
    Ok(ServerPending { n, seed, choices, pads, halves, select, words, messages })
}

/// Step 2, server. With SoftSpoken it only sends.
///
/// # Errors
/// As [`prepare_server`].
pub async fn answer_server<R: Role>(
    channel: &mut Channel<R>,
    relu: &Relu,
    pending: ServerPending,
    receive: &mut rot::Receiver<R>,
) -> Result<ServerAnswered, CompareError> {
    let ServerPending { n, seed, choices, pads, halves, select, words, messages } = pending;
    // 2. Messages of the shared bits, then the server's choices.
    if !messages.is_empty() {
        let vectors = messages.iter().zip(&relu.words).map(|(words, word)| (&words[..], word.bits));
        let mut message = Vec::new();
        encode(n, vectors, &mut message);
        channel.send_bytes(SHARED, &message).await?;
    }
    let mut received = Up::new(channel, receive, choices.products(), lanes(n));
    let mut triples = Vec::new();
    for ((half, width), x) in halves.into_iter().zip(relu.circuit.widths()).zip(choices.products()) {
        triples.push(Triple::join(half, Received::new(width, x.clone(), received.next().await?)));
    }
    let bit = choices.select().to_vec();
    let (product, select) = select.join(relu.gated().count(), bit, &received.next().await?[..n]);
    Ok(ServerAnswered(ServerMaterial { n, seed, pads, rest: Rest { triples, product, words }, select }))
}

/// Step 3, server. It only receives.
///
/// # Errors
/// As [`prepare_server`].
pub async fn finish_server<R: Role>(
    channel: &mut Channel<R>,
    relu: &Relu,
    answered: ServerAnswered,
) -> Result<ServerMaterial, CompareError> {
    let ServerAnswered(mut material) = answered;
    let bytes = channel.recv_bytes(FACTOR, cost::factor_bytes(relu, material.n)).await?;
    material.select.settle(&unpack::<u32>(FACTOR.name(), &bytes, material.n, relu.spec().out_bits)?);
    Ok(material)
}

/// Step 1, client. With SoftSpoken it only sends.
///
/// # Errors
/// As [`prepare_client`].
pub async fn begin_client<R: Role>(
    channel: &mut Channel<R>,
    relu: &Relu,
    c: &[u32],
    receive: &mut rot::Receiver<R>,
    rng: &mut impl CryptoRng,
) -> Result<ClientPending, CompareError> {
    let (seed, n, lanes) = (Zeroizing::new(Block::random(rng)), c.len(), lanes(c.len()));
    // 1. Choices: bits of the share, then random ones.
    let of_share = relu.digits.iter().flat_map(|digit| (0..digit.bits).map(|i| column(c, digit.at + i)));
    let mut choices: Zeroizing<Vec<_>> = Zeroizing::new(of_share.collect());
    let random = Choices::new(relu, *seed, lanes);
    choices.extend_from_slice(random.all());
    let mut received = Up::new(channel, receive, &choices, lanes);
    let mut pads = Planes(Vec::new());
    for digit in &relu.digits {
        let mut words = Zeroizing::new(vec![0; 64 * lanes]);
        for i in 0..digit.bits {
            digit.add_known_pads(i, received.next().await?, &mut words);
        }
        pads.0.extend(digit.look_up(c, &words));
    }
    let mut halves = Vec::new();
    for (width, x) in relu.circuit.widths().zip(random.products()) {
        halves.push(Received::new(width, x.clone(), received.next().await?));
    }
    let bit = random.select().to_vec();
    let select = ClientBegun::new(relu.gated().count(), bit, &received.next().await?[..n]);
    let mut bits = Zeroizing::new(Vec::new());
    for bit in random.words() {
        let strings: Vec<u32> = received.next().await?[..n].iter().map(|m| *m as u32).collect();
        bits.push((bit.clone(), strings));
    }
    Ok(ClientPending { n, seed, pads, halves, select, bits, factor: relu.client_words(c) })
}

/// Step 2, client. With SoftSpoken it only receives.
///
/// # Errors
/// As [`prepare_client`].
pub async fn answer_client<R: Role>(
    channel: &mut Channel<R>,
    relu: &Relu,
    pending: ClientPending,
    send: &mut rot::Sender<R>,
) -> Result<ClientAnswered, CompareError> {
    let ClientPending { n, seed, pads, halves, select, mut bits, factor } = pending;
    // 2. Messages of the shared bits, then the server's choices.
    let mut words = Vec::new();
    if let Some(len) = cost::shared_bytes(relu, n) {
        let bytes = channel.recv_bytes(SHARED, len).await?;
        check_len(SHARED.name(), &bytes, len)?;
        let mut rest = &bytes[..];
        for ((bit, strings), word) in bits.iter_mut().zip(&relu.words) {
            let (head, tail) = rest.split_at(packed_len(n, word.bits));
            rest = tail;
            let message: Vec<u32> = unpack(SHARED.name(), head, n, word.bits)?;
            words.push(SharedBit::receiver(std::mem::take(bit), strings, &message));
        }
    }
    let mut sent = Down::new(channel, send, halves.len() + 1, lanes(n));
    let mut triples = Vec::new();
    for (half, width) in halves.into_iter().zip(relu.circuit.widths()) {
        triples.push(Triple::join(Sent::new(width, sent.next().await?), half));
    }
    let (product, select, message) = select.join(relu.gated().count(), sent.next().await?, &factor);
    let material = ClientMaterial { n, seed, pads, rest: Rest { triples, product, words }, select };
    Ok(ClientAnswered { material, message })
}

/// Step 3, client. It only sends.
///
/// # Errors
/// As [`prepare_client`].
pub async fn finish_client<R: Role>(
    channel: &mut Channel<R>,
    relu: &Relu,
    answered: ClientAnswered,
) -> Result<ClientMaterial, CompareError> {
    let ClientAnswered { material, message } = answered;
    let mut bytes = Vec::new();
    encode(material.n, [(&message[..], relu.spec().out_bits)], &mut bytes);
    channel.send_bytes(FACTOR, &bytes).await?;
    Ok(material)
}
