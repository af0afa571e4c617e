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
use crate::plan::Polynomial;

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

/// The client between steps 2 and 3.
pub(crate) struct ClientAnswered {
    square: square::ClientMaterial,
    rescale: relu::ClientAnswered,
}

/// The server between steps 2 and 3.
pub(crate) struct ServerAnswered {
    square: square::ServerMaterial,
    rescale: relu::ServerAnswered,
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

/// Offline, client: its choices, from its share of the argument and its mask of the polynomial.
pub(crate) async fn begin_client(
    channel: &mut Channel<Client>,
    polynomial: &Polynomial,
    argument: &[u32],
    value: &[u32],
    receive: &mut rot::Receiver<Client>,
    rng: &mut impl CryptoRng,
) -> Result<ClientPending, ProtocolError> {
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

/// Offline, client: the server's messages.
pub(crate) async fn answer_client(
    channel: &mut Channel<Client>,
    polynomial: &Polynomial,
    pending: ClientPending,
    send: &mut rot::Sender<Client>,
) -> Result<ClientAnswered, ProtocolError> {
    let square = square::finish_client(channel, &polynomial.square, pending.square).await?;
    let rescale = relu::answer_client(channel, &polynomial.relu, pending.rescale, send).await?;
    Ok(ClientAnswered { square, rescale })
}

/// Offline, server: its messages.
pub(crate) async fn answer_server(
    channel: &mut Channel<Server>,
    polynomial: &Polynomial,
    pending: ServerPending,
    receive: &mut rot::Receiver<Server>,
) -> Result<ServerAnswered, ProtocolError> {
    let square = square::finish_server(channel, &polynomial.square, pending.square).await?;
    let rescale = relu::answer_server(channel, &polynomial.relu, pending.rescale, receive).await?;
    Ok(ServerAnswered { square, rescale })
}

/// Offline, client: its last message; what is kept goes to the end of the record.
pub(crate) async fn finish_client(
    channel: &mut Channel<Client>,
    polynomial: &Polynomial,
    answered: ClientAnswered,
    record: &mut Record,
) -> Result<(), ProtocolError> {
    record.extend_from_slice(&Zeroizing::new(answered.square.to_bytes(&polynomial.square)));
    let material = relu::finish_client(channel, &polynomial.relu, answered.rescale).await?;
    record.extend_from_slice(&Zeroizing::new(material.to_bytes(&polynomial.relu)));
    Ok(())
}

/// Offline, server: the client's last message; what is kept goes to the end of the record.
pub(crate) async fn finish_server(
    channel: &mut Channel<Server>,
    polynomial: &Polynomial,
    answered: ServerAnswered,
    record: &mut Record,
) -> Result<(), ProtocolError> {
    record.extend_from_slice(&Zeroizing::new(answered.square.to_bytes(&polynomial.square)));
    let material = relu::finish_server(channel, &polynomial.relu, answered.rescale).await?;
    record.extend_from_slice(&Zeroizing::new(material.to_bytes(&polynomial.relu)));
    Ok(())
}

/// Online, client: helps the server to its share under `mask`, from its share of the argument and its mask of the polynomial.
pub(crate) async fn client(
    channel: &mut Channel<Client>,
    polynomial: &Polynomial,
    mut kept: &[u8],
    argument: &[u32],
    value: &[u32],
    mask: &[u32],
) -> Result<(), ProtocolError> {
    let n = mask.len();
    let [square, rescale] = polynomial.client_lengths(n).map(|len| take(&mut kept, len));
    let material = square::ClientMaterial::from_bytes(&polynomial.square, n, square).map_err(stored)?;
    square::online_client(channel, &polynomial.square, material, argument, value).await?;
    let material = relu::ClientMaterial::from_bytes(&polynomial.relu, n, rescale).map_err(stored)?;
    Ok(relu::online_client(channel, &polynomial.relu, material, value, mask).await?)
}

/// Online, server: its share of the output, from its share `y` of the rescaled value.
pub(crate) async fn server(
    channel: &mut Channel<Server>,
    polynomial: &Polynomial,
    mut kept: &[u8],
    y: &[u32],
) -> Result<Vec<u32>, ProtocolError> {
    let [square, rescale] = polynomial.server_lengths(y.len()).map(|len| take(&mut kept, len));
    let material = square::ServerMaterial::from_bytes(&polynomial.square, y.len(), square).map_err(stored)?;
    let value = Zeroizing::new(square::online_server(channel, &polynomial.square, material, y).await?);
    let material = relu::ServerMaterial::from_bytes(&polynomial.relu, y.len(), rescale).map_err(stored)?;
    Ok(relu::online_server(channel, &polynomial.relu, material, &value).await?)
}
