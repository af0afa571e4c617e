//! A piece of a non-linear layer: one protocol on some of its elements, in the steps of `act_ot`.

use std::ops::Range;

use phineus_mpc::compare::{Relu, max, relu};
use phineus_mpc::rot;
use phineus_net::{Channel, Client, Server};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::{Record, stored};
use crate::ProtocolError;
use crate::masks::Seed;
use crate::plan::{OtLayer, Polynomial, Pool, Protocol};
use crate::protocol::act_square;

/// The client's shares of what the protocols of a layer read, and what they know of each other's results.
pub(super) struct ClientValues {
    /// Per protocol, what it reads: the value before the layer, then masks.
    read: Zeroizing<Vec<Vec<u32>>>,
    /// The mask of the polynomial before its rescale; empty if there is none.
    inner: Zeroizing<Vec<u32>>,
}

impl ClientValues {
    /// From the client's share of the layer's input.
    pub(super) fn new(layer: &OtLayer, input: &[u32], seed: &Seed) -> Self {
        let mut read = vec![layer.enter(input)];
        for (index, pool) in layer.pools.iter().enumerate() {
            read.push(seed.pool(layer.node, index > 0, layer.in_bits, pool.windows));
        }
        let mut inner = Vec::new();
        if let Some(Polynomial { square, .. }) = &layer.polynomial {
            read.push(seed.argument(layer.node, square.in_bits(), layer.instances));
            inner = seed.polynomial(layer.node, square.spec().out_bits, layer.instances);
        }
        Self { read: Zeroizing::new(read), inner: Zeroizing::new(inner) }
    }

    /// What protocol number `stage` reads for the elements in `run`.
    pub(super) fn read(&self, layer: &OtLayer, stage: usize, run: &Range<usize>) -> Zeroizing<Vec<u32>> {
        let values = self.read.get(stage).map_or(&[][..], Vec::as_slice);
        Zeroizing::new(layer.gather(stage, values, run))
    }

    /// The mask of what protocol number `stage` makes of the elements in `run`; `last` is that of the layer's output.
    pub(super) fn mask<'v>(&'v self, stage: usize, run: &Range<usize>, last: &'v [u32]) -> &'v [u32] {
        &self.read.get(stage + 1).map_or(last, Vec::as_slice)[run.clone()]
    }

    /// The polynomial's mask before its rescale, of the elements in `run`.
    pub(super) fn inner(&self, run: &Range<usize>) -> &[u32] {
        self.inner.get(run.clone()).unwrap_or_default()
    }

    /// Of the arg-max, the client's share of the largest word.
    pub(super) fn last(&self) -> &[u32] {
        self.read.last().map_or(&[], Vec::as_slice)
    }
}

impl Protocol<'_> {
    /// What the client keeps of `n` elements.
    pub(super) fn client_bytes(&self, n: usize) -> usize {
        match self {
            Self::Maxima(Pool { max, .. }) => max::ClientMaterial::byte_len(max, n),
            Self::Rescale(relu) => relu::ClientMaterial::byte_len(relu, n),
            Self::Polynomial(polynomial) => polynomial.client_lengths(n).iter().sum(),
        }
    }

    /// What the server keeps.
    pub(super) fn server_bytes(&self, n: usize) -> usize {
        match self {
            Self::Maxima(Pool { max, .. }) => max::ServerMaterial::byte_len(max, n),
            Self::Rescale(relu) => relu::ServerMaterial::byte_len(relu, n),
            Self::Polynomial(polynomial) => polynomial.server_lengths(n).iter().sum(),
        }
    }
}

/// A party's half of a piece between two steps of the offline phase.
pub(super) enum Half<'l, M, R, P> {
    Maxima(&'l Pool, M),
    Rescale(&'l Relu, Box<R>),
    Polynomial(&'l Polynomial, Box<P>),
}

/// The client between steps 1 and 2.
pub(super) type ClientPending<'l> =
    Half<'l, max::ClientPending, relu::ClientPending, act_square::ClientPending>;
/// The client between steps 2 and 3.
pub(super) type ClientAnswered<'l> =
    Half<'l, max::ClientAnswered, relu::ClientAnswered, act_square::ClientAnswered>;
/// The server between steps 1 and 2.
pub(super) type ServerPending<'l> =
    Half<'l, max::ServerPending, relu::ServerPending, act_square::ServerPending>;
/// The server between steps 2 and 3.
pub(super) type ServerAnswered<'l> =
    Half<'l, max::ServerAnswered, relu::ServerAnswered, act_square::ServerAnswered>;

/// Step 1, client: its choices, from its share `c` of what the protocol reads and the mask `inner` of a polynomial.
pub(super) async fn begin_client<'l>(
    channel: &mut Channel<Client>,
    protocol: Protocol<'l>,
    c: &[u32],
    inner: &[u32],
    receive: &mut rot::Receiver<Client>,
    rng: &mut impl CryptoRng,
) -> Result<ClientPending<'l>, ProtocolError> {
    Ok(match protocol {
        Protocol::Maxima(pool) => {
            Half::Maxima(pool, max::begin_client(channel, &pool.max, c, receive, rng).await?)
        }
        Protocol::Rescale(relu) => {
            Half::Rescale(relu, Box::new(relu::begin_client(channel, relu, c, receive, rng).await?))
        }
        Protocol::Polynomial(p) => {
            let pending = act_square::begin_client(channel, p, c, inner, receive, rng).await?;
            Half::Polynomial(p, Box::new(pending))
        }
    })
}

/// Step 1, server, for `n` elements.
pub(super) async fn begin_server<'l>(
    channel: &mut Channel<Server>,
    protocol: Protocol<'l>,
    n: usize,
    send: &mut rot::Sender<Server>,
    rng: &mut impl CryptoRng,
) -> Result<ServerPending<'l>, ProtocolError> {
    Ok(match protocol {
        Protocol::Maxima(pool) => {
            Half::Maxima(pool, max::begin_server(channel, &pool.max, n, send, rng).await?)
        }
        Protocol::Rescale(relu) => {
            Half::Rescale(relu, Box::new(relu::begin_server(channel, relu, n, send, rng).await?))
        }
        Protocol::Polynomial(p) => {
            Half::Polynomial(p, Box::new(act_square::begin_server(channel, p, n, send, rng).await?))
        }
    })
}

/// Step 2, client: shared bits and the server's choices.
pub(super) async fn answer_client<'l>(
    channel: &mut Channel<Client>,
    pending: ClientPending<'l>,
    send: &mut rot::Sender<Client>,
) -> Result<ClientAnswered<'l>, ProtocolError> {
    Ok(match pending {
        Half::Maxima(pool, half) => {
            Half::Maxima(pool, max::answer_client(channel, &pool.max, half, send).await?)
        }
        Half::Rescale(relu, half) => {
            Half::Rescale(relu, Box::new(relu::answer_client(channel, relu, *half, send).await?))
        }
        Half::Polynomial(p, half) => {
            Half::Polynomial(p, Box::new(act_square::answer_client(channel, p, *half, send).await?))
        }
    })
}

/// Step 2, server.
pub(super) async fn answer_server<'l>(
    channel: &mut Channel<Server>,
    pending: ServerPending<'l>,
    receive: &mut rot::Receiver<Server>,
) -> Result<ServerAnswered<'l>, ProtocolError> {
    Ok(match pending {
        Half::Maxima(pool, half) => {
            Half::Maxima(pool, max::answer_server(channel, &pool.max, half, receive).await?)
        }
        Half::Rescale(relu, half) => {
            Half::Rescale(relu, Box::new(relu::answer_server(channel, relu, *half, receive).await?))
        }
        Half::Polynomial(p, half) => {
            Half::Polynomial(p, Box::new(act_square::answer_server(channel, p, *half, receive).await?))
        }
    })
}

/// Step 3, client: products with its share; what it keeps goes to the end of the record.
pub(super) async fn finish_client(
    channel: &mut Channel<Client>,
    answered: ClientAnswered<'_>,
    record: &mut Record,
) -> Result<(), ProtocolError> {
    let bytes = match answered {
        Half::Maxima(Pool { max, .. }, half) => max::finish_client(channel, max, half).await?.to_bytes(max),
        Half::Rescale(relu, half) => relu::finish_client(channel, relu, *half).await?.to_bytes(relu),
        Half::Polynomial(p, half) => return act_square::finish_client(channel, p, *half, record).await,
    };
    record.extend_from_slice(&Zeroizing::new(bytes));
    Ok(())
}

/// Step 3, server.
pub(super) async fn finish_server(
    channel: &mut Channel<Server>,
    answered: ServerAnswered<'_>,
    record: &mut Record,
) -> Result<(), ProtocolError> {
    let bytes = match answered {
        Half::Maxima(Pool { max, .. }, half) => max::finish_server(channel, max, half).await?.to_bytes(max),
        Half::Rescale(relu, half) => relu::finish_server(channel, relu, *half).await?.to_bytes(relu),
        Half::Polynomial(p, half) => return act_square::finish_server(channel, p, *half, record).await,
    };
    record.extend_from_slice(&Zeroizing::new(bytes));
    Ok(())
}

/// Online, client: helps the server to its share under `mask`, from what [`begin_client`] had and what was kept.
pub(super) async fn client(
    channel: &mut Channel<Client>,
    protocol: Protocol<'_>,
    kept: &[u8],
    c: &[u32],
    inner: &[u32],
    mask: &[u32],
) -> Result<(), ProtocolError> {
    let n = mask.len();
    match protocol {
        Protocol::Maxima(Pool { max, .. }) => {
            let material = max::ClientMaterial::from_bytes(max, n, kept).map_err(stored)?;
            max::online_client(channel, max, material, c, mask).await?;
        }
        Protocol::Rescale(relu) => {
            let material = relu::ClientMaterial::from_bytes(relu, n, kept).map_err(stored)?;
            relu::online_client(channel, relu, material, c, mask).await?;
        }
        Protocol::Polynomial(p) => act_square::client(channel, p, kept, c, inner, mask).await?,
    }
    Ok(())
}

/// Online, server: its share of what the protocol makes of `n` elements, from its share `y` of what it reads.
pub(super) async fn server(
    channel: &mut Channel<Server>,
    protocol: Protocol<'_>,
    kept: &[u8],
    y: &[u32],
    n: usize,
) -> Result<Vec<u32>, ProtocolError> {
    Ok(match protocol {
        Protocol::Maxima(Pool { max, .. }) => {
            let material = max::ServerMaterial::from_bytes(max, n, kept).map_err(stored)?;
            max::online_server(channel, max, material, y).await?
        }
        Protocol::Rescale(relu) => {
            let material = relu::ServerMaterial::from_bytes(relu, n, kept).map_err(stored)?;
            relu::online_server(channel, relu, material, y).await?
        }
        Protocol::Polynomial(p) => act_square::server(channel, p, kept, y).await?,
    })
}
