//! The offline phase: in two steps, so that many layers can share one round trip.

use phineus_kernel::pack::packed_len;
use phineus_kernel::prg::Prg;
use phineus_net::{Channel, Role};
use rand::{CryptoRng, Rng};
use zeroize::Zeroizing;

use super::material::{ClientMaterial, Pads, Planes, Rest, ServerMaterial};
use super::{SHARED, cost, decode, encode};
use crate::compare::arith::{ProductReceiver, ProductSender, SharedBit};
use crate::compare::planes::{column, lanes};
use crate::compare::{CompareError, Relu};
use crate::rot;
use crate::rot::columns::{Down, Up};
use crate::triple::{Received, Sent, Triple};

/// The server's half of a layer after step 1.
#[must_use]
pub struct ServerPending {
    n: usize,
    pads: Pads,
    shares: Planes,
    halves: Vec<Sent>,
    words: Vec<SharedBit>,
    /// Messages of the shared bits, to be sent.
    messages: Zeroizing<Vec<Vec<u32>>>,
    product: ProductSender,
    rng: Prg,
}

/// The client's half of a layer after step 1.
#[must_use]
pub struct ClientPending {
    n: usize,
    pads: Planes,
    halves: Vec<Received>,
    /// Choices and strings of the shared bits.
    bits: Zeroizing<Vec<(Vec<u64>, Vec<u32>)>>,
    chosen: ProductReceiver,
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
    finish_server(channel, relu, pending, receive).await
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
    finish_client(channel, relu, pending, send).await
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
    let (mut rng, lanes) = (Prg::from_generator(rng), lanes(n));
    // 1. Client's choices: pads, and the server's halves.
    let mut sent = Down::new(channel, send, cost::columns(relu).0, lanes);
    let (mut pads, mut shares) = (Pads(Vec::new()), Planes(Vec::new()));
    for digit in &relu.digits {
        let mut words = Zeroizing::new(vec![0; 64 * lanes]);
        for i in 0..digit.bits {
            digit.add_pads(i, sent.next().await?, &mut words);
        }
        for o in 0..digit.asked.len() {
            let share = plane(&mut rng, lanes);
            digit.add_share(o, &share, &mut words);
            shares.0.push(share);
        }
        pads.0.push(words[..n].to_vec());
    }
    let mut halves = Vec::new();
    for width in relu.circuit.widths() {
        halves.push(Sent::new(width, sent.next().await?));
    }
    let (mut words, mut messages) = (Vec::new(), Zeroizing::new(Vec::new()));
    for _ in &relu.words {
        let (shared, message) = SharedBit::sender(plane(&mut rng, lanes), sent.next().await?);
        words.push(shared);
        messages.push(message);
    }
    let product = ProductSender::new(sent.next().await?);
    Ok(ServerPending { n, pads, shares, halves, words, messages, product, rng })
}

/// Step 2, server. With SoftSpoken it only sends.
///
/// # Errors
/// As [`prepare_server`].
pub async fn finish_server<R: Role>(
    channel: &mut Channel<R>,
    relu: &Relu,
    pending: ServerPending,
    receive: &mut rot::Receiver<R>,
) -> Result<ServerMaterial, CompareError> {
    let ServerPending { n, pads, shares, halves, words, messages, product, mut rng } = pending;
    let lanes = lanes(n);
    // 2. Messages of the shared bits, then the server's choices.
    let message = encode(relu, n, messages.iter().map(Vec::as_slice));
    channel.send_bytes(SHARED, &message).await?;
    let choices: Zeroizing<Vec<_>> =
        Zeroizing::new((0..=halves.len()).map(|_| plane(&mut rng, lanes)).collect());
    let mut received = Up::new(channel, receive, &choices, lanes);
    let mut triples = Vec::new();
    for ((half, width), x) in halves.into_iter().zip(relu.circuit.widths()).zip(choices.iter()) {
        triples.push(Triple::join(half, Received::new(width, x.clone(), received.next().await?)));
    }
    let last = choices.last().cloned().unwrap_or_default();
    let chosen = ProductReceiver::new(last, received.next().await?);
    channel.flush().await?;
    Ok(ServerMaterial { n, pads, shares, rest: Rest { triples, words, send: product, receive: chosen } })
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
    let (mut rng, n, lanes) = (Prg::from_generator(rng), c.len(), lanes(c.len()));
    // 1. Choices: bits of the share, then random ones.
    let of_share = relu.digits.iter().flat_map(|digit| (0..digit.bits).map(|i| column(c, digit.at + i)));
    let mut choices: Zeroizing<Vec<_>> = Zeroizing::new(of_share.collect());
    let ands = relu.circuit.widths().count();
    choices.extend((0..ands + relu.words.len() + 1).map(|_| plane(&mut rng, lanes)));
    let mut received = Up::new(channel, receive, &choices, lanes);
    let mut pads = Planes(Vec::new());
    for digit in &relu.digits {
        let mut words = Zeroizing::new(vec![0; 64 * lanes]);
        for _ in 0..digit.bits {
            words.iter_mut().zip(received.next().await?).for_each(|(word, m)| *word ^= m);
        }
        pads.0.extend(digit.look_up(c, &words));
    }
    let mut random = choices[relu.choice_bits()..].iter().cloned();
    let mut next_choice = || random.next().unwrap_or_default();
    let mut halves = Vec::new();
    for width in relu.circuit.widths() {
        halves.push(Received::new(width, next_choice(), received.next().await?));
    }
    let mut bits = Zeroizing::new(Vec::new());
    for _ in &relu.words {
        let strings: Vec<u32> = received.next().await?.iter().map(|m| *m as u32).collect();
        bits.push((next_choice(), strings));
    }
    let chosen = ProductReceiver::new(next_choice(), received.next().await?);
    Ok(ClientPending { n, pads, halves, bits, chosen })
}

/// Step 2, client. With SoftSpoken it only receives.
///
/// # Errors
/// As [`prepare_client`].
pub async fn finish_client<R: Role>(
    channel: &mut Channel<R>,
    relu: &Relu,
    pending: ClientPending,
    send: &mut rot::Sender<R>,
) -> Result<ClientMaterial, CompareError> {
    let ClientPending { n, pads, halves, mut bits, chosen } = pending;
    // 2. Messages of the shared bits, then the server's choices.
    let bytes = channel.recv_bytes(SHARED, bits.len() * packed_len(n, relu.spec().out_bits)).await?;
    let messages = decode(SHARED, relu, n, bits.len(), &bytes)?;
    let words = bits
        .iter_mut()
        .zip(&messages)
        .map(|((bit, strings), message)| SharedBit::receiver(std::mem::take(bit), strings, message))
        .collect();
    let mut sent = Down::new(channel, send, halves.len() + 1, lanes(n));
    let mut triples = Vec::new();
    for (half, width) in halves.into_iter().zip(relu.circuit.widths()) {
        triples.push(Triple::join(Sent::new(width, sent.next().await?), half));
    }
    let product = ProductSender::new(sent.next().await?);
    Ok(ClientMaterial { n, pads, rest: Rest { triples, words, send: product, receive: chosen } })
}

/// A plane of random bits.
fn plane(rng: &mut impl Rng, lanes: usize) -> Vec<u64> {
    (0..lanes).map(|_| rng.next_u64()).collect()
}
