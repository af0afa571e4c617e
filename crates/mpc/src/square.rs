//! Polynomials of degree two on shares, with products made beforehand.
//!
//! Functionality: server and client share `v = y + c`; the client also has a mask `r`. The server gets `p(v) - r` modulo
//! `2^w` for the public polynomial `p(v) = c2 v^2 + c1 v + c0`, the client nothing. The client's `c` and `r` are known
//! offline, the server's `y` only online.
//!
//! Method: `p(y + c) = p(y) + (c2 c + c1) c + 2 c2 y c`, where each party alone has all but the last product, of which
//! `m = w - 1 - t` bits count if `2^t` is the largest power of two in `c2`. Offline the parties share `a c` for a random
//! `a` of the server (module `cross`). Online `y c = (y - a) c + a c`.
//!
//! Offline:
//! 1. client -> server: random OTs with the bits of `c`.
//! 2. server -> client: their corrections.
//!
//! Online:
//! 3. server -> client: `d = y - a` modulo `2^m`.
//! 4. client -> server: `(c2 c + c1) c + 2 c2 (d c + s) - r` modulo `2^w`, `s` its share of `a c`.
//!
//! Cost per element: `m` OTs and `m (m - 1) / 2` bits offline, `m + w` bits and two messages online. A square of 8 bits
//! that is rescaled to 8 bits has `w = 17`, `m = 16`: 15 bytes offline beside the OTs, 33 bits online. (By homomorphic
//! encryption the products would need slots modulo primes of 73 bits together, to hide `a c` statistically, hence two
//! ciphertexts each way: about 50 bytes.) Exactly: [`cost`].
//!
//! Security: semi-honest (the OTs also against malicious parties). The client sees strings that differ from random ones
//! by a string it does not have, and `d`, under the one-time `a`; the server sees one word under `r`.
//!
//! The halves are generic in the network role: either party may hold the online share.

use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::wire::check_len;
use phineus_net::{Channel, FRAME_HEADER, Role, Step};
use zeroize::Zeroizing;

use crate::compare::CompareError;
use crate::compare::planes::lanes;
use crate::compare::relu::{Cost, Hop, Traffic};
use crate::rot;
use crate::rot::columns::{Down, Up};

pub(crate) mod cross;
pub(crate) mod material;

use cross::{Cross, Sent};
pub use material::{ClientMaterial, Products};

const CORRECTIONS: Step = Step::new("square.corrections");
const DIFFERENCE: Step = Step::new("square.difference");
const RESULT: Step = Step::new("square.result");

/// Public parameters: `c2 v^2 + c1 v + c0` modulo `2^out_bits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SquareSpec {
    /// Coefficient of the square.
    pub c2: i32,
    /// Coefficient of the value.
    pub c1: i32,
    /// Constant term.
    pub c0: i32,
    /// Width `w` of the output ring, 1..=32.
    pub out_bits: u32,
}

/// A supported specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Square {
    spec: SquareSpec,
    /// Products of the two shares, modulo `2^m`.
    cross: Cross,
    in_bits: u32,
}

/// The server's words `a` and its shares of `a c`.
pub type ServerMaterial = material::ServerMaterial<1>;

impl Products for Square {
    fn product_bits(&self) -> u32 {
        self.cross.bits
    }
}

impl Square {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`CompareError::Unsupported`] if `out_bits` is out of range.
    pub fn new(spec: SquareSpec) -> Result<Self, CompareError> {
        let w = spec.out_bits;
        if !(1..=32).contains(&w) {
            return Err(CompareError::Unsupported { what: "out_bits", got: w.into() });
        }
        let cross_bits = (w - 1).saturating_sub(spec.c2.trailing_zeros());
        let linear_bits = w.saturating_sub(spec.c1.trailing_zeros());
        Ok(Self { spec, cross: Cross { bits: cross_bits }, in_bits: cross_bits.max(linear_bits).max(1) })
    }

    /// The parameters.
    #[must_use]
    pub fn spec(&self) -> &SquareSpec {
        &self.spec
    }

    /// Width of the ring in which `y + c` must be the value: no more of its bits count. 1..=32, at most `out_bits`.
    #[must_use]
    pub fn in_bits(&self) -> u32 {
        self.in_bits
    }

    fn out_mask(&self) -> u32 {
        u32::MAX >> (32 - self.spec.out_bits)
    }

    /// `(c2 x + c1) x`.
    fn without_constant(&self, x: u32) -> u32 {
        (self.spec.c2 as u32).wrapping_mul(x).wrapping_add(self.spec.c1 as u32).wrapping_mul(x)
    }

    /// `2 c2 product`.
    fn cross(&self, product: u32) -> u32 {
        (self.spec.c2 as u32).wrapping_mul(product).wrapping_shl(1)
    }

    /// Bytes of `d` for `n` elements.
    fn difference_bytes(&self, n: usize) -> usize {
        packed_len(n, self.cross.bits)
    }
}

/// Cost of a layer of `n` elements; offline with SoftSpoken OT, as in [`Cost::offline`].
#[must_use]
pub fn cost(square: &Square, n: usize) -> Cost {
    let frame = FRAME_HEADER as u64;
    let crosses = u64::from(square.cross.bits > 0);
    let message = |bytes: usize| bytes as u64 + frame;
    Cost {
        offline: Traffic {
            server_to_client: crosses * message(square.cross.correction_bytes(n)),
            client_to_server: rot::columns::bytes(extensions(square, n)),
            hops: 2 * crosses,
        },
        online: Traffic {
            server_to_client: crosses * message(square.difference_bytes(n)),
            client_to_server: message(packed_len(n, square.spec.out_bits)),
            hops: crosses + 1,
        },
        server_ots: square.cross.bits as usize,
        client_ots: 0,
    }
}

/// Sizes of the extensions in their order, all of random OTs that the server sends.
#[must_use]
pub fn extensions(square: &Square, n: usize) -> Vec<usize> {
    rot::columns::extensions(square.cross.bits as usize, n)
}

/// Payload of the server's message offline, if there is one.
#[must_use]
pub fn offline_bytes(square: &Square, n: usize) -> Option<usize> {
    (square.cross.bits > 0).then(|| square.cross.correction_bytes(n))
}

/// The messages of the online phase of `n` elements, in their order.
#[must_use]
pub fn hops(square: &Square, n: usize) -> Vec<Hop> {
    let difference = (square.cross.bits > 0).then(|| Hop::ToClient(square.difference_bytes(n)));
    let result = Hop::ToServer(packed_len(n, square.spec.out_bits));
    difference.into_iter().chain([result]).collect()
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
    c: Zeroizing<Vec<u32>>,
    share: Zeroizing<Vec<u32>>,
}

/// Offline, server, first half: the client's choices for a layer of `n` elements.
///
/// # Errors
/// [`CompareError::Channel`] if the channel fails or the client misbehaves.
pub async fn begin_server<R: Role>(
    channel: &mut Channel<R>,
    square: &Square,
    n: usize,
    send: &mut rot::Sender<R>,
) -> Result<ServerPending, CompareError> {
    // 1. Strings.
    let mut corrections = Vec::with_capacity(square.cross.correction_bytes(n));
    let mut columns = Down::new(channel, send, square.cross.bits as usize, lanes(n));
    let Sent { factor, share } = square.cross.send(&mut columns, n, &mut corrections).await?;
    Ok(ServerPending { material: ServerMaterial { factors: [factor], share }, corrections })
}

/// Offline, server, second half.
///
/// # Errors
/// [`CompareError::Channel`] if the channel fails.
pub async fn finish_server<R: Role>(
    channel: &mut Channel<R>,
    square: &Square,
    pending: ServerPending,
) -> Result<ServerMaterial, CompareError> {
    // 2. Corrections.
    if square.cross.bits > 0 {
        channel.send_bytes(CORRECTIONS, &pending.corrections).await?;
        channel.flush().await?;
    }
    Ok(pending.material)
}

/// Offline, client, first half: its share `c` of the values, as choices.
///
/// # Errors
/// [`CompareError::Channel`] if the channel fails or the server misbehaves.
pub async fn begin_client<R: Role>(
    channel: &mut Channel<R>,
    square: &Square,
    c: &[u32],
    receive: &mut rot::Receiver<R>,
) -> Result<ClientPending, CompareError> {
    // 1. Strings.
    let mut share = Zeroizing::new(vec![0_u32; c.len()]);
    let choices: Zeroizing<Vec<_>> = Zeroizing::new(square.cross.choices(c).collect());
    let mut columns = Up::new(channel, receive, &choices, lanes(c.len()));
    square.cross.receive(&mut columns, &mut share).await?;
    Ok(ClientPending { c: Zeroizing::new(c.to_vec()), share })
}

/// Offline, client, second half.
///
/// # Errors
/// [`CompareError::Channel`] if the channel fails or the server misbehaves.
pub async fn finish_client<R: Role>(
    channel: &mut Channel<R>,
    square: &Square,
    pending: ClientPending,
) -> Result<ClientMaterial, CompareError> {
    let ClientPending { c, mut share } = pending;
    // 2. Corrections.
    if square.cross.bits > 0 {
        let bytes = channel.recv_bytes(CORRECTIONS, square.cross.correction_bytes(c.len())).await?;
        check_len(CORRECTIONS.name(), &bytes, square.cross.correction_bytes(c.len()))?;
        square.cross.correct(CORRECTIONS.name(), &c, &mut share, &bytes)?;
    }
    Ok(ClientMaterial { share })
}

/// Online, server: its share `p(v) - r` from its share `y` of the values.
///
/// # Errors
/// [`CompareError::Length`] if `y` has not the elements of the material; [`CompareError::Channel`].
pub async fn online_server<R: Role>(
    channel: &mut Channel<R>,
    square: &Square,
    material: ServerMaterial,
    y: &[u32],
) -> Result<Vec<u32>, CompareError> {
    let n = material.len();
    CompareError::check_len("server's share", n, y.len())?;
    let ServerMaterial { factors: [factor], share } = material;
    // 3. y - a.
    if square.cross.bits > 0 {
        let mask = square.cross.mask();
        let difference: Vec<u32> =
            y.iter().zip(factor.iter()).map(|(y, a)| y.wrapping_sub(*a) & mask).collect();
        let mut message = Vec::new();
        pack(&difference, square.cross.bits, &mut message);
        channel.send_bytes(DIFFERENCE, &message).await?;
        channel.flush().await?;
    }
    // 4. The client's part.
    let bytes = channel.recv_bytes(RESULT, packed_len(n, square.spec.out_bits)).await?;
    let theirs: Vec<u32> = unpack(RESULT.name(), &bytes, n, square.spec.out_bits)?;
    let (constant, mask) = (square.spec.c0 as u32, square.out_mask());
    let one = |((y, s), theirs): ((&u32, &u32), u32)| {
        let own = square.without_constant(*y).wrapping_add(square.cross(*s));
        own.wrapping_add(constant).wrapping_add(theirs) & mask
    };
    Ok(y.iter().zip(share.iter()).zip(theirs).map(one).collect())
}

/// Online, client: helps the server to `p(v) - r`, from the share `c` the material was made for and the mask `r` modulo
/// `2^w`.
///
/// # Errors
/// [`CompareError::Length`] if `c` or `r` has not the elements of the material; [`CompareError::Channel`].
pub async fn online_client<R: Role>(
    channel: &mut Channel<R>,
    square: &Square,
    material: ClientMaterial,
    c: &[u32],
    r: &[u32],
) -> Result<(), CompareError> {
    let n = material.len();
    CompareError::check_len("client's share", n, c.len())?;
    CompareError::check_len("client's mask", n, r.len())?;
    let ClientMaterial { share } = material;
    // 3. y - a.
    let difference: Vec<u32> = if square.cross.bits > 0 {
        let bytes = channel.recv_bytes(DIFFERENCE, square.difference_bytes(n)).await?;
        unpack(DIFFERENCE.name(), &bytes, n, square.cross.bits)?
    } else {
        vec![0; n]
    };
    // 4. Its part of the polynomial.
    let mask = square.out_mask();
    let one = |(((c, s), d), r): (((&u32, &u32), u32), &u32)| {
        let product = d.wrapping_mul(*c).wrapping_add(*s);
        square.without_constant(*c).wrapping_add(square.cross(product)).wrapping_sub(*r) & mask
    };
    let part: Vec<u32> = c.iter().zip(share.iter()).zip(difference).zip(r).map(one).collect();
    let mut message = Vec::new();
    pack(&part, square.spec.out_bits, &mut message);
    channel.send_bytes(RESULT, &message).await?;
    channel.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests;
