//! Products of two shared values, with products of shares made beforehand.
//!
//! Functionality: server and client share `v_k = y_k + c_k` for `k = 0, 1`; the client also has a mask `r`. The server gets
//! `v_0 v_1 - r` modulo `2^m`, the client nothing. The client's `c_k` and `r` are known offline, the server's `y_k` only
//! online.
//!
//! Method: `v_0 v_1 = y_0 y_1 + y_0 c_1 + y_1 c_0 + c_0 c_1`. Offline the parties share `a_0 c_1 + a_1 c_0` for random `a_k` of
//! the server (`square::cross`). Online `y_0 c_1 = (y_0 - a_0) c_1 + a_0 c_1`, and alike the other: half of a
//! triple of Beaver, *Efficient multiparty protocols using circuit randomization*, CRYPTO 1991, because the client's
//! shares are no secret of the online phase.
//!
//! Offline:
//! 1. client -> server: random OTs with the bits of `c_1`, then with those of `c_0`.
//! 2. server -> client: their corrections.
//!
//! Online:
//! 3. server -> client: `d_k = y_k - a_k` modulo `2^m`.
//! 4. client -> server: `c_0 c_1 + d_0 c_1 + d_1 c_0 + s - r` modulo `2^m`, `s` its share of `a_0 c_1 + a_1 c_0`.
//!
//! Cost per element: `2 m` OTs and `m (m - 1)` bits offline, `3 m` bits and two messages online. Two factors of 8 bits have
//! `m = 17`: 34 bytes offline beside the OTs, 51 bits online. Exactly: [`cost`].
//!
//! Security: semi-honest (the OTs also against malicious parties). The client sees strings that differ from random ones
//! by a string it does not have, and `d_k`, under the one-time `a_k`; the server sees one word under `r`.
//!
//! The halves are generic in the network role: either party may hold the online share.

use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::wire::check_len;
use phineus_net::{Channel, FRAME_HEADER, Role, Step};
use zeroize::Zeroizing;

use crate::compare::CompareError;
use crate::compare::planes::lanes;
use crate::compare::relu::{Cost, Traffic};
use crate::rot;
use crate::rot::columns::{Down, Up};
use crate::square::cross::{Cross, Sent};
use crate::square::{ClientMaterial, Products, material};

const CORRECTIONS: Step = Step::new("product.corrections");
const DIFFERENCES: Step = Step::new("product.differences");
const RESULT: Step = Step::new("product.result");

/// Products modulo `2^m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    cross: Cross,
}

impl Product {
    /// In the ring of this width, 1..=32.
    ///
    /// # Errors
    /// [`CompareError::Unsupported`] if it is out of range.
    pub fn new(bits: u32) -> Result<Self, CompareError> {
        if !(1..=32).contains(&bits) {
            return Err(CompareError::Unsupported { what: "bits of a product", got: bits.into() });
        }
        Ok(Self { cross: Cross { bits } })
    }

    /// Width `m` of the ring, of both factors and of the product.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.cross.bits
    }

    /// Columns of transfers.
    fn columns(self) -> usize {
        2 * self.cross.bits as usize
    }

    fn word_bytes(self, n: usize) -> usize {
        packed_len(n, self.cross.bits)
    }
}

/// The server's words `a_0` and `a_1`, and its shares of `a_0 c_1 + a_1 c_0`.
pub type ServerMaterial = material::ServerMaterial<2>;

impl Products for Product {
    fn product_bits(&self) -> u32 {
        self.cross.bits
    }
}

/// Cost of a layer of `n` elements; offline with SoftSpoken OT, as in [`Cost::offline`].
#[must_use]
pub fn cost(product: &Product, n: usize) -> Cost {
    let message = |bytes: usize| (bytes + FRAME_HEADER) as u64;
    let [down, up] = messages(product, n);
    Cost {
        offline: Traffic {
            server_to_client: message(offline_bytes(product, n)),
            client_to_server: rot::columns::bytes(extensions(product, n)),
            hops: 2,
        },
        online: Traffic { server_to_client: message(down), client_to_server: message(up), hops: 2 },
        server_ots: product.columns(),
        client_ots: 0,
    }
}

/// Sizes of the extensions in their order, all of random OTs that the server sends.
#[must_use]
pub fn extensions(product: &Product, n: usize) -> Vec<usize> {
    rot::columns::extensions(product.columns(), n)
}

/// Payload of the server's message offline.
#[must_use]
pub fn offline_bytes(product: &Product, n: usize) -> usize {
    2 * product.cross.correction_bytes(n)
}

/// Payloads of the two messages of the online phase: the server's, then the client's.
#[must_use]
pub fn messages(product: &Product, n: usize) -> [usize; 2] {
    [2 * product.word_bytes(n), product.word_bytes(n)]
}

/// What the server has between its two halves of the offline phase.
#[must_use]
pub struct ServerPending {
    material: ServerMaterial,
    corrections: Vec<u8>,
}

/// What the client has between its two halves of the offline phase.
#[must_use]
pub struct ClientPending {
    c: [Zeroizing<Vec<u32>>; 2],
    /// Of `a_0 c_1` and `a_1 c_0`.
    shares: [Zeroizing<Vec<u32>>; 2],
}

/// Offline, server, first half: the client's choices for a layer of `n` elements.
///
/// # Errors
/// [`CompareError::Channel`] if the channel fails or the client misbehaves.
pub async fn begin_server<R: Role>(
    channel: &mut Channel<R>,
    product: &Product,
    n: usize,
    send: &mut rot::Sender<R>,
) -> Result<ServerPending, CompareError> {
    // 1. Strings.
    let mut corrections = Vec::with_capacity(offline_bytes(product, n));
    let mut columns = Down::new(channel, send, product.columns(), lanes(n));
    let Sent { factor: first, mut share } = product.cross.send(&mut columns, n, &mut corrections).await?;
    let Sent { factor: second, share: other } = product.cross.send(&mut columns, n, &mut corrections).await?;
    let mask = product.cross.mask();
    share.iter_mut().zip(other.iter()).for_each(|(s, t)| *s = s.wrapping_add(*t) & mask);
    Ok(ServerPending { material: ServerMaterial { factors: [first, second], share }, corrections })
}

/// Offline, server, second half.
///
/// # Errors
/// [`CompareError::Channel`] if the channel fails.
pub async fn finish_server<R: Role>(
    channel: &mut Channel<R>,
    pending: ServerPending,
) -> Result<ServerMaterial, CompareError> {
    // 2. Corrections.
    channel.send_bytes(CORRECTIONS, &pending.corrections).await?;
    channel.flush().await?;
    Ok(pending.material)
}

/// Offline, client, first half: its shares `c_0` and `c_1` of the values, as choices.
///
/// # Errors
/// [`CompareError::Length`] if they are not of one length; [`CompareError::Channel`] if the channel fails or the server
/// misbehaves.
pub async fn begin_client<R: Role>(
    channel: &mut Channel<R>,
    product: &Product,
    c: [&[u32]; 2],
    receive: &mut rot::Receiver<R>,
) -> Result<ClientPending, CompareError> {
    let n = c[0].len();
    CompareError::check_len("client's second share", n, c[1].len())?;
    // 1. Strings.
    let [c0, c1] = c;
    let choices: Zeroizing<Vec<_>> =
        Zeroizing::new(product.cross.choices(c1).chain(product.cross.choices(c0)).collect());
    let mut columns = Up::new(channel, receive, &choices, lanes(n));
    let mut shares = [Zeroizing::new(vec![0_u32; n]), Zeroizing::new(vec![0_u32; n])];
    for share in &mut shares {
        product.cross.receive(&mut columns, share).await?;
    }
    Ok(ClientPending { c: c.map(|c| Zeroizing::new(c.to_vec())), shares })
}

/// Offline, client, second half.
///
/// # Errors
/// [`CompareError::Channel`] if the channel fails or the server misbehaves.
pub async fn finish_client<R: Role>(
    channel: &mut Channel<R>,
    product: &Product,
    pending: ClientPending,
) -> Result<ClientMaterial, CompareError> {
    let ClientPending { c, shares: [mut share, mut other] } = pending;
    let len = offline_bytes(product, share.len());
    // 2. Corrections.
    let bytes = channel.recv_bytes(CORRECTIONS, len).await?;
    check_len(CORRECTIONS.name(), &bytes, len)?;
    let (first, second) = bytes.split_at(len / 2);
    product.cross.correct(CORRECTIONS.name(), &c[1], &mut share, first)?;
    product.cross.correct(CORRECTIONS.name(), &c[0], &mut other, second)?;
    let mask = product.cross.mask();
    share.iter_mut().zip(other.iter()).for_each(|(s, t)| *s = s.wrapping_add(*t) & mask);
    Ok(ClientMaterial { share })
}

/// Online, server: its share `v_0 v_1 - r` from its shares `y_0` and `y_1` of the values.
///
/// # Errors
/// [`CompareError::Length`] if they have not the elements of the material; [`CompareError::Channel`].
pub async fn online_server<R: Role>(
    channel: &mut Channel<R>,
    product: &Product,
    material: ServerMaterial,
    y: [&[u32]; 2],
) -> Result<Vec<u32>, CompareError> {
    let n = material.len();
    y.iter().try_for_each(|y| CompareError::check_len("server's share", n, y.len()))?;
    let (ServerMaterial { factors, share }, mask) = (material, product.cross.mask());
    // 3. y_k - a_k.
    let mut message = Vec::with_capacity(2 * product.word_bytes(n));
    for (y, a) in y.iter().zip(&factors) {
        let difference: Vec<u32> = y.iter().zip(a.iter()).map(|(y, a)| y.wrapping_sub(*a) & mask).collect();
        pack(&difference, product.bits(), &mut message);
    }
    channel.send_bytes(DIFFERENCES, &message).await?;
    channel.flush().await?;
    // 4. The client's part.
    let bytes = channel.recv_bytes(RESULT, product.word_bytes(n)).await?;
    let theirs: Vec<u32> = unpack(RESULT.name(), &bytes, n, product.bits())?;
    let own = y[0].iter().zip(y[1]).map(|(a, b)| a.wrapping_mul(*b)).zip(share.iter());
    Ok(own.zip(theirs).map(|((own, s), t)| own.wrapping_add(*s).wrapping_add(t) & mask).collect())
}

/// Online, client: helps the server to `v_0 v_1 - r`, from the shares the material was made for and the mask `r`.
///
/// # Errors
/// [`CompareError::Length`] if they have not the elements of the material; [`CompareError::Channel`].
pub async fn online_client<R: Role>(
    channel: &mut Channel<R>,
    product: &Product,
    material: ClientMaterial,
    c: [&[u32]; 2],
    r: &[u32],
) -> Result<(), CompareError> {
    let n = material.len();
    c.iter().try_for_each(|c| CompareError::check_len("client's share", n, c.len()))?;
    CompareError::check_len("client's mask", n, r.len())?;
    let ClientMaterial { share } = material;
    // 3. y_k - a_k.
    let (len, bits) = (product.word_bytes(n), product.bits());
    let bytes = channel.recv_bytes(DIFFERENCES, 2 * len).await?;
    check_len(DIFFERENCES.name(), &bytes, 2 * len)?;
    let (first, second) = bytes.split_at(len);
    let d: [Vec<u32>; 2] =
        [unpack(DIFFERENCES.name(), first, n, bits)?, unpack(DIFFERENCES.name(), second, n, bits)?];
    // 4. Its part of the product.
    let mask = product.cross.mask();
    let one = |i: usize| {
        let (c0, c1) = (c[0][i], c[1][i]);
        let sum = c0.wrapping_add(d[0][i]).wrapping_mul(c1).wrapping_add(d[1][i].wrapping_mul(c0));
        sum.wrapping_add(share[i]).wrapping_sub(r[i]) & mask
    };
    let mut message = Vec::with_capacity(len);
    pack(&(0..n).map(one).collect::<Vec<u32>>(), bits, &mut message);
    channel.send_bytes(RESULT, &message).await?;
    channel.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests;
