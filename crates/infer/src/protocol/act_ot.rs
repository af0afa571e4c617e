//! Non-linear layers by oblivious transfer.
//!
//! Functionality: that of `act_gc`: server and client share `acc = y + c` modulo 2^l, the client's c and its mask r'
//! are known offline; the server gets `f(acc) - r'`.
//!
//! Method: `phineus_mpc::compare`. Where f has windows, trees of maxima come first (`plan::Pool`); their results are shared
//! under masks that the client draws offline, so that what is behind them is prepared offline as well. A polynomial behind
//! the rescale follows in the same way (`act_square`).
//!
//! The arg-max is a tree of maxima on words that end with the index, `v 2^k + n - 1 - i`: shares modulo 2^l times 2^k are
//! shares modulo 2^(l + k). Of the server's share of the largest word it sends the low k bits, and those of the client's
//! mask make them the index and nothing else.
//!
//! Offline, for as many layers at a time as [`GROUP_OTS`] transfers allow, so that they share one round trip:
//! 1. client -> server: the choices of all transfers, among them the bits of c.
//! 2. server -> client: messages of shared bits; the choices of the server's transfers.
//! 3. client -> server: products with the client's share.
//!
//! Online, layer by layer: truth tables, carries, products (steps 4 to 8 of `compare::relu`), once per level of the trees
//! of maxima and once for the rescale.
//!
//! Cost per rescale, l = 24, f = 8: 43 transfers offline, 34 bytes online; kept packed, 19 bytes by the client, its share
//! of the input included, and 41 by the server.
//!
//! Security: semi-honest, transfers secure against malicious parties; see `compare::relu`.

use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::wire::PeerMisbehaved;
use phineus_mpc::compare::relu;
use phineus_mpc::rot;
use phineus_net::{Channel, ChannelError, Client, Server, Step};
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::ProtocolError;
use crate::clock::{Clock, Side};
use crate::masks::Seed;
use crate::plan::{OtLayer, Piece};
use crate::progress::progress;
use crate::protocol::groups::groups;
use crate::protocol::script::{Script, Way};
use crate::report::Cost;

mod piece;

use piece::ClientValues;

/// Transfers of the layers that are prepared in one round.
pub(super) const GROUP_OTS: usize = 1 << 23;

/// What a party keeps of a layer, in bytes of a length that the plan gives.
pub(crate) type Record = Zeroizing<Vec<u8>>;

/// A piece of one layer.
struct Part<'l> {
    layer: usize,
    piece: Piece<'l>,
}

impl OtLayer {
    /// What the client keeps: its share of the input, then material piece by piece.
    pub(crate) fn client_bytes(&self) -> usize {
        let pieces = self.pieces().map(|piece| piece.protocol.client_bytes(piece.run.len()));
        self.share_bytes() + pieces.sum::<usize>()
    }

    /// What the server keeps.
    pub(crate) fn server_bytes(&self) -> usize {
        self.pieces().map(|piece| piece.protocol.server_bytes(piece.run.len())).sum()
    }

    fn share_bytes(&self) -> usize {
        packed_len(self.inputs, self.value_bits())
    }
}

/// Offline, client: what it keeps of each layer, and what each cost. `inputs` are its shares of the values that the
/// layers read.
pub(crate) async fn prepare_client(
    channel: &mut Channel<Client>,
    layers: &[&OtLayer],
    inputs: &[&[u32]],
    seed: &Seed,
    (send, receive): (&mut rot::Sender<Client>, &mut rot::Receiver<Client>),
    rng: &mut impl CryptoRng,
) -> Result<Vec<(Record, Cost)>, ProtocolError> {
    let mut clock = Clock::start(Side::Client, channel.traffic());
    let mut done = Vec::with_capacity(layers.len());
    for (layer, input) in layers.iter().zip(inputs) {
        let mut record = with_room(layer.client_bytes())?;
        pack(input, layer.value_bits(), &mut record);
        done.push((record, Cost::default()));
    }
    let groups = schedule(layers);
    for (index, group) in groups.iter().enumerate() {
        progress("offline, comparisons", index, groups.len());
        // 1. Choices.
        let (mut pending, mut last) = (Vec::with_capacity(group.len()), None);
        for Part { layer: index, piece: Piece { protocol, stage, run } } in group {
            let layer = layers[*index];
            let values = match last.take() {
                Some((of, values)) if of == index => values,
                _ => ClientValues::new(layer, inputs[*index], seed),
            };
            let (c, inner) = (values.read(layer, *stage, run), values.inner(run));
            pending.push(piece::begin_client(channel, *protocol, &c, inner, receive, rng).await?);
            last = Some((index, values));
            done[*index].1 += clock.lap(channel.traffic());
        }
        channel.flush().await?;
        // 2. Shared bits and the server's choices.
        let mut answered = Vec::with_capacity(group.len());
        for (part, pending) in group.iter().zip(pending) {
            answered.push(piece::answer_client(channel, pending, send).await?);
            done[part.layer].1 += clock.lap(channel.traffic());
        }
        // 3. Products with the client's share.
        for (part, answered) in group.iter().zip(answered) {
            let (record, cost) = &mut done[part.layer];
            piece::finish_client(channel, answered, record).await?;
            *cost += clock.lap(channel.traffic());
        }
        channel.flush().await?;
    }
    Ok(done)
}

/// Offline, server: what it keeps of each layer, and what each cost.
pub(crate) async fn prepare_server(
    channel: &mut Channel<Server>,
    layers: &[&OtLayer],
    (send, receive): (&mut rot::Sender<Server>, &mut rot::Receiver<Server>),
    rng: &mut impl CryptoRng,
) -> Result<Vec<(Record, Cost)>, ProtocolError> {
    let mut clock = Clock::start(Side::Server, channel.traffic());
    let mut done = Vec::with_capacity(layers.len());
    for layer in layers {
        done.push((with_room(layer.server_bytes())?, Cost::default()));
    }
    for group in schedule(layers) {
        // 1. Choices.
        let mut pending = Vec::with_capacity(group.len());
        for Part { layer, piece: Piece { protocol, run, .. } } in &group {
            pending.push(piece::begin_server(channel, *protocol, run.len(), send, rng).await?);
            done[*layer].1 += clock.lap(channel.traffic());
        }
        // 2. Shared bits and the server's choices.
        let mut answered = Vec::with_capacity(group.len());
        for (part, pending) in group.iter().zip(pending) {
            answered.push(piece::answer_server(channel, pending, receive).await?);
            done[part.layer].1 += clock.lap(channel.traffic());
        }
        channel.flush().await?;
        // 3. Products with the client's share.
        for (part, answered) in group.iter().zip(answered) {
            let (record, cost) = &mut done[part.layer];
            piece::finish_server(channel, answered, record).await?;
            *cost += clock.lap(channel.traffic());
        }
    }
    Ok(done)
}

/// Online, client: helps the server to its share under `mask`; the index in the arg-max, else nothing.
pub(crate) async fn client(
    channel: &mut Channel<Client>,
    layer: &OtLayer,
    record: &[u8],
    seed: &Seed,
    mask: &[u32],
) -> Result<Vec<u32>, ProtocolError> {
    let mut rest = record;
    let share = take(&mut rest, layer.share_bytes());
    let share: Vec<u32> = unpack(RECORD, share, layer.inputs, layer.value_bits()).map_err(stored)?;
    let values = ClientValues::new(layer, &Zeroizing::new(share), seed);
    for Piece { protocol, stage, run } in layer.pieces() {
        let kept = take(&mut rest, protocol.client_bytes(run.len()));
        let (c, inner) = (values.read(layer, stage, &run), values.inner(&run));
        piece::client(channel, protocol, kept, &c, inner, values.mask(stage, &run, mask)).await?;
    }
    if layer.reveals() {
        return Ok(vec![index(channel, layer, values.last()).await?]);
    }
    Ok(Vec::new())
}

/// The index of the largest value, from the server's low bits and the client's mask of the largest word.
async fn index(channel: &mut Channel<Client>, layer: &OtLayer, mask: &[u32]) -> Result<u32, ProtocolError> {
    let bytes = channel.recv_bytes(INDEX, packed_len(1, layer.index_bits)).await?;
    let low: Vec<u32> = unpack(INDEX.name(), &bytes, 1, layer.index_bits).map_err(ChannelError::from)?;
    let word = low.iter().chain(mask).fold(0_u32, |sum, word| sum.wrapping_add(*word));
    let from_behind = word & ((1 << layer.index_bits) - 1);
    (layer.inputs as u32 - 1).checked_sub(from_behind).ok_or_else(|| {
        let misbehaved = PeerMisbehaved::Invalid { what: INDEX.name(), reason: "no output has this index" };
        ChannelError::from(misbehaved).into()
    })
}

/// Online, server: its share of the output, from its share `y` of the input; nothing in the arg-max.
pub(crate) async fn server(
    channel: &mut Channel<Server>,
    layer: &OtLayer,
    record: &[u8],
    y: &[u32],
) -> Result<Vec<u32>, ProtocolError> {
    let mut rest = record;
    let mut values = layer.enter(y);
    layer.enter_indices(&mut values);
    // What the protocol at work has made so far.
    let (mut made, mut at) = (Vec::new(), 0);
    for Piece { protocol, stage, run } in layer.pieces() {
        if stage > at {
            (values, at) = (std::mem::take(&mut made), stage);
        }
        let kept = take(&mut rest, protocol.server_bytes(run.len()));
        let y = layer.gather(stage, &values, &run);
        made.extend(piece::server(channel, protocol, kept, &y, run.len()).await?);
    }
    if layer.reveals() {
        let low: Vec<u32> = made.drain(..).map(|word| word & ((1 << layer.index_bits) - 1)).collect();
        let mut message = Vec::new();
        pack(&low, layer.index_bits, &mut message);
        channel.send_bytes(INDEX, &message).await?;
        channel.flush().await?;
    }
    Ok(made)
}

/// Enters the offline phase of all layers into a script; the cost of each.
pub(crate) fn predict_offline(layers: &[&OtLayer], script: &mut Script) -> Vec<Cost> {
    let mut costs = vec![Cost::default(); layers.len()];
    for group in schedule(layers) {
        // 1. Choices.
        for part in &group {
            for (stage, n) in part.piece.stages() {
                let [sizes, _] = stage.extensions(n);
                sizes.into_iter().for_each(|n| script.extend(Way::Down, n));
            }
            costs[part.layer] += script.lap();
        }
        // 2. Shared bits and the server's choices.
        for part in &group {
            for (stage, n) in part.piece.stages() {
                stage.offline_bytes(n).into_iter().for_each(|len| script.down(len));
                let [_, sizes] = stage.extensions(n);
                sizes.into_iter().for_each(|n| script.extend(Way::Up, n));
            }
            costs[part.layer] += script.lap();
        }
        // 3. Products with the client's share.
        for part in &group {
            for (stage, n) in part.piece.stages() {
                stage.factor_bytes(n).into_iter().for_each(|len| script.up(len));
            }
            costs[part.layer] += script.lap();
        }
    }
    costs
}

/// Enters the online phase of a layer.
pub(crate) fn predict_online(layer: &OtLayer, script: &mut Script) {
    for hop in layer.stages().flat_map(|(stage, n)| stage.hops(n)) {
        match hop {
            relu::Hop::ToClient(len) => script.down(len),
            relu::Hop::ToServer(len) => script.up(len),
            relu::Hop::Both(len) => script.both(len),
        }
    }
    if layer.reveals() {
        script.down(packed_len(1, layer.index_bits));
    }
}

/// All pieces of all layers, in groups that take one round each.
fn schedule<'l>(layers: &[&'l OtLayer]) -> Vec<Vec<Part<'l>>> {
    let parts = layers.iter().enumerate().flat_map(|(index, layer)| {
        layer.pieces().map(move |piece| {
            let transfers = piece.transfers().iter().sum();
            (Part { layer: index, piece }, transfers)
        })
    });
    groups(GROUP_OTS, parts)
}

const RECORD: &str = "stored share";
const INDEX: Step = Step::new("argmax.index");

pub(super) fn with_room(bytes: usize) -> Result<Record, ProtocolError> {
    let mut record = Vec::new();
    record.try_reserve_exact(bytes).map_err(|_| ProtocolError::Memory(bytes))?;
    Ok(Zeroizing::new(record))
}

/// The first `len` bytes; all there are if fewer, which no material accepts.
pub(super) fn take<'b>(rest: &mut &'b [u8], len: usize) -> &'b [u8] {
    let (head, tail) = rest.split_at(len.min(rest.len()));
    *rest = tail;
    head
}

/// Bytes of this party's own store that are no material.
pub(super) fn stored(_: PeerMisbehaved) -> ProtocolError {
    ProtocolError::Material
}
