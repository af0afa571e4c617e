//! The polynomial of an activation by oblivious transfer: what `act_ot` runs behind its first rescale.
//!
//! Functionality: server and client share `x = y + c`, the rescaled value; the client's c and its mask r' are known
//! offline; the server gets `rescale(c2 x^2 + c1 x + c0) - r'`.
//!
//! Method: `phineus_mpc::square` gives the server the polynomial under a mask that the client draws offline, so that its
//! rescale (`phineus_mpc::compare::relu`) is prepared offline as well. The ring of the polynomial is the narrowest that
//! holds it with the room that the comparison needs.
//!
//! Steps, cost, security: those of the two; in a ring of 17 bits, f = 6: 16 + 24 transfers, 15 bytes of corrections, and
//! 33 bits online for the polynomial alone.

use phineus_mpc::compare::relu;
use phineus_mpc::{rot, square};
use phineus_net::{Channel, Client, Server};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::act_ot::{Record, stored, take};
use crate::ProtocolError;
use crate::masks::Seed;
use crate::plan::{OtLayer, Polynomial};

/// The client between steps 1 and 2 of the offline phase.
pub(crate) struct ClientPending {
    square: square::ClientPending,
    rescale: relu::ClientPending,
}

/// The server between steps 1 and 2 of the offline phase.
pub(crate) struct ServerPending {
    square: square::ServerPending,
    rescale: relu::ServerPending,
}

/// The client's masks of all instances of a layer, from its seed: of the argument, and of the polynomial. Empty without
/// a polynomial.
pub(crate) struct Masks {
    pub(crate) argument: Zeroizing<Vec<u32>>,
    value: Zeroizing<Vec<u32>>,
}

impl Masks {
    pub(crate) fn new(layer: &OtLayer, seed: &Seed) -> Self {
        let [argument, value] =
            layer.polynomial.as_ref().map_or([1; 2], |p| [p.square.in_bits(), p.square.spec().out_bits]);
        let len = if layer.polynomial.is_some() { layer.instances } else { 0 };
        Self {
            argument: Zeroizing::new(seed.argument(layer.node, argument, len)),
            value: Zeroizing::new(seed.polynomial(layer.node, value, len)),
        }
    }
}

impl Polynomial {
    /// What the client keeps of `n` instances: of the polynomial, of its rescale.
    pub(crate) fn client_lengths(&self, n: usize) -> [usize; 2] {
        [square::ClientMaterial::byte_len(&self.square, n), relu::ClientMaterial::byte_len(&self.relu, n)]
    }

    /// What the server keeps.
    pub(crate) fn server_lengths(&self, n: usize) -> [usize; 2] {
        [square::ServerMaterial::byte_len(&self.square, n), relu::ServerMaterial::byte_len(&self.relu, n)]
    }
}

/// Offline, client: its choices, for the instances in `run`.
pub(crate) async fn begin_client(
    channel: &mut Channel<Client>,
    polynomial: &Polynomial,
    masks: &Masks,
    run: std::ops::Range<usize>,
    receive: &mut rot::Receiver<Client>,
    rng: &mut impl CryptoRng,
) -> Result<ClientPending, ProtocolError> {
    let (argument, value) = (&masks.argument[run.clone()], &masks.value[run]);
    let square = square::begin_client(channel, &polynomial.square, argument, receive).await?;
    let rescale = relu::begin_client(channel, &polynomial.relu, value, receive, rng).await?;
    Ok(ClientPending { square, rescale })
}

/// Offline, server: the client's choices, for `n` instances.
pub(crate) async fn begin_server(
    channel: &mut Channel<Server>,
    polynomial: &Polynomial,
    n: usize,
    send: &mut rot::Sender<Server>,
    rng: &mut impl CryptoRng,
) -> Result<ServerPending, ProtocolError> {
    let square = square::begin_server(channel, &polynomial.square, n, send).await?;
    let rescale = relu::begin_server(channel, &polynomial.relu, n, send, rng).await?;
    Ok(ServerPending { square, rescale })
}

/// Offline, client: the server's messages; what is kept goes to the end of the record.
pub(crate) async fn finish_client(
    channel: &mut Channel<Client>,
    polynomial: &Polynomial,
    pending: ClientPending,
    send: &mut rot::Sender<Client>,
    record: &mut Record,
) -> Result<(), ProtocolError> {
    let material = square::finish_client(channel, &polynomial.square, pending.square).await?;
    record.extend_from_slice(&Zeroizing::new(material.to_bytes(&polynomial.square)));
    let material = relu::finish_client(channel, &polynomial.relu, pending.rescale, send).await?;
    record.extend_from_slice(&Zeroizing::new(material.to_bytes(&polynomial.relu)));
    Ok(())
}

/// Offline, server: its messages; what is kept goes to the end of the record.
pub(crate) async fn finish_server(
    channel: &mut Channel<Server>,
    polynomial: &Polynomial,
    pending: ServerPending,
    receive: &mut rot::Receiver<Server>,
    record: &mut Record,
) -> Result<(), ProtocolError> {
    let material = square::finish_server(channel, &polynomial.square, pending.square).await?;
    record.extend_from_slice(&Zeroizing::new(material.to_bytes(&polynomial.square)));
    let material = relu::finish_server(channel, &polynomial.relu, pending.rescale, receive).await?;
    record.extend_from_slice(&Zeroizing::new(material.to_bytes(&polynomial.relu)));
    Ok(())
}

/// Online, client: helps the server to its share under `mask`, for the instances in `run`.
pub(crate) async fn client(
    channel: &mut Channel<Client>,
    polynomial: &Polynomial,
    rest: &mut &[u8],
    masks: &Masks,
    run: std::ops::Range<usize>,
    mask: &[u32],
) -> Result<(), ProtocolError> {
    let n = run.len();
    let [square, rescale] = polynomial.client_lengths(n).map(|len| take(rest, len));
    let (argument, value) = (&masks.argument[run.clone()], &masks.value[run]);
    let material = square::ClientMaterial::from_bytes(&polynomial.square, n, square).map_err(stored)?;
    square::online_client(channel, &polynomial.square, material, argument, value).await?;
    let material = relu::ClientMaterial::from_bytes(&polynomial.relu, n, rescale).map_err(stored)?;
    Ok(relu::online_client(channel, &polynomial.relu, material, value, mask).await?)
}

/// Online, server: its share of the output, from its share `y` of the rescaled value.
pub(crate) async fn server(
    channel: &mut Channel<Server>,
    polynomial: &Polynomial,
    rest: &mut &[u8],
    y: &[u32],
) -> Result<Vec<u32>, ProtocolError> {
    let [square, rescale] = polynomial.server_lengths(y.len()).map(|len| take(rest, len));
    let material = square::ServerMaterial::from_bytes(&polynomial.square, y.len(), square).map_err(stored)?;
    let value = Zeroizing::new(square::online_server(channel, &polynomial.square, material, y).await?);
    let material = relu::ServerMaterial::from_bytes(&polynomial.relu, y.len(), rescale).map_err(stored)?;
    Ok(relu::online_server(channel, &polynomial.relu, material, &value).await?)
}
