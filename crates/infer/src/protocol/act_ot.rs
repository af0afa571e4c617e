//! Non-linear layers by oblivious transfer.
//!
//! Functionality: that of `act_gc`: server and client share `acc = y + c` modulo 2^l, the client's c and its mask r'
//! are known offline; the server gets `f(acc) - r'`.
//!
//! Method: `phineus_mpc::compare`. Where f has windows, a tree of maxima comes first; its result is shared under a mask
//! that the client draws offline, so that the rescale behind it is prepared offline as well. A polynomial behind the
//! rescale follows in the same way (`act_square`).
//!
//! The arg-max is a tree of maxima on words that end with the index, `v 2^k + n - 1 - i`: shares modulo 2^l times 2^k are
//! shares modulo 2^(l + k). Of the server's share of the largest word it sends the low k bits, and those of the client's
//! mask make them the index and nothing else.
//!
//! Offline, for as many layers at a time as [`GROUP_OTS`] transfers allow, so that they share one round trip:
//! 1. client -> server: the choices of all transfers, among them the bits of c.
//! 2. server -> client: messages of shared bits; the choices of the server's transfers.
//!
//! Online, layer by layer: truth tables, carries, products (steps 3 to 7 of `compare::relu`), once per level of the tree
//! of maxima and once for the rescale.
//!
//! Cost per rescale, l = 24, f = 8: 43 transfers offline, 41 bytes online; kept packed, about 24 bytes by the client and 40
//! by the server.
//!
//! Security: semi-honest, transfers secure against malicious parties; see `compare::relu`.

use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::wire::PeerMisbehaved;
use phineus_mpc::compare::{max, relu};
use phineus_mpc::rot;
use phineus_net::{Channel, ChannelError, Client, Server, Step};
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::ProtocolError;
use crate::clock::{Clock, Side};
use crate::masks::Seed;
use crate::plan::OtLayer;
use crate::progress::progress;
use crate::protocol::act_square;
use crate::protocol::script::{Script, Way};
use crate::report::Cost;

/// Transfers of the layers that are prepared in one round.
pub(super) const GROUP_OTS: usize = 1 << 23;

/// What a party keeps of a layer, in bytes of a length that the plan gives.
pub(crate) type Record = Zeroizing<Vec<u8>>;

/// A run of instances of one layer.
struct Part {
    layer: usize,
    instances: std::ops::Range<usize>,
}

impl OtLayer {
    /// What the client keeps.
    pub(crate) fn client_bytes(&self) -> usize {
        let polynomial = |n| self.polynomial.iter().flat_map(move |p| p.client_lengths(n));
        let of = |n| self.client_lengths(n).into_iter().chain(polynomial(n)).sum::<usize>();
        self.runs().map(|run| of(run.len())).sum()
    }

    /// What the server keeps.
    pub(crate) fn server_bytes(&self) -> usize {
        let polynomial = |n| self.polynomial.iter().flat_map(move |p| p.server_lengths(n));
        let of = |n| self.server_lengths(n).into_iter().chain(polynomial(n)).sum::<usize>();
        self.runs().map(|run| of(run.len())).sum()
    }

    /// Of a run: its share of the input, material of the maxima, material of the rescale.
    fn client_lengths(&self, instances: usize) -> [usize; 3] {
        let max = self.max.as_ref().map_or(0, |max| max::ClientMaterial::byte_len(max, instances));
        let share = packed_len(instances * self.window, self.in_bits);
        let rescale = self.relu.as_ref().map_or(0, |r| relu::ClientMaterial::byte_len(r, instances));
        [share, max, rescale]
    }

    fn server_lengths(&self, instances: usize) -> [usize; 2] {
        let max = self.max.as_ref().map_or(0, |max| max::ServerMaterial::byte_len(max, instances));
        [max, self.relu.as_ref().map_or(0, |r| relu::ServerMaterial::byte_len(r, instances))]
    }

    /// The client's mask of the maxima, between the two comparisons.
    fn mask_of_maxima(&self, seed: &Seed) -> Zeroizing<Vec<u32>> {
        let len = if self.max.is_some() { self.instances } else { 0 };
        Zeroizing::new(seed.pool(self.node, self.in_bits, len))
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
    for layer in layers {
        done.push((with_room(layer.client_bytes())?, Cost::default()));
    }
    let groups = groups(layers);
    for (index, group) in groups.iter().enumerate() {
        progress("offline, comparisons", index, groups.len());
        // 1. Choices.
        let mut pending = Vec::with_capacity(group.len());
        for part in group {
            let layer = layers[part.layer];
            let c = Zeroizing::new(layer.gather(inputs[part.layer], part.instances.clone()));
            let maxima = match &layer.max {
                Some(max) => Some(max::begin_client(channel, max, &c, receive, rng).await?),
                None => None,
            };
            let mask = layer.mask_of_maxima(seed);
            let compared = if layer.max.is_some() { &mask[part.instances.clone()] } else { &c };
            let rescale = match &layer.relu {
                Some(r) => Some(relu::begin_client(channel, r, compared, receive, rng).await?),
                None => None,
            };
            let polynomial = match &layer.polynomial {
                Some(polynomial) => {
                    let masks = act_square::Masks::new(layer, seed);
                    let run = part.instances.clone();
                    Some(act_square::begin_client(channel, polynomial, &masks, run, receive, rng).await?)
                }
                None => None,
            };
            pending.push((c, maxima, rescale, polynomial));
            done[part.layer].1 += clock.lap(channel.traffic());
        }
        channel.flush().await?;
        // 2. Shared bits and the server's choices.
        for (part, (c, maxima, rescale, polynomial)) in group.iter().zip(pending) {
            let (layer, (record, cost)) = (layers[part.layer], &mut done[part.layer]);
            pack(&c, layer.in_bits, record);
            if let Some((max, maxima)) = layer.max.as_ref().zip(maxima) {
                let material = max::finish_client(channel, max, maxima, send).await?;
                record.extend_from_slice(&Zeroizing::new(material.to_bytes(max)));
            }
            if let Some((r, rescale)) = layer.relu.as_ref().zip(rescale) {
                let material = relu::finish_client(channel, r, rescale, send).await?;
                record.extend_from_slice(&Zeroizing::new(material.to_bytes(r)));
            }
            if let Some((polynomial, pending)) = layer.polynomial.as_ref().zip(polynomial) {
                act_square::finish_client(channel, polynomial, pending, send, record).await?;
            }
            *cost += clock.lap(channel.traffic());
        }
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
    for group in groups(layers) {
        // 1. Choices.
        let mut pending = Vec::with_capacity(group.len());
        for part in &group {
            let (layer, n) = (layers[part.layer], part.instances.len());
            let maxima = match &layer.max {
                Some(max) => Some(max::begin_server(channel, max, n, send, rng).await?),
                None => None,
            };
            let rescale = match &layer.relu {
                Some(r) => Some(relu::begin_server(channel, r, n, send, rng).await?),
                None => None,
            };
            let polynomial = match &layer.polynomial {
                Some(polynomial) => Some(act_square::begin_server(channel, polynomial, n, send, rng).await?),
                None => None,
            };
            pending.push((maxima, rescale, polynomial));
            done[part.layer].1 += clock.lap(channel.traffic());
        }
        // 2. Shared bits and the server's choices.
        for (part, (maxima, rescale, polynomial)) in group.iter().zip(pending) {
            let (layer, (record, cost)) = (layers[part.layer], &mut done[part.layer]);
            if let Some((max, maxima)) = layer.max.as_ref().zip(maxima) {
                let material = max::finish_server(channel, max, maxima, receive).await?;
                record.extend_from_slice(&Zeroizing::new(material.to_bytes(max)));
            }
            if let Some((r, rescale)) = layer.relu.as_ref().zip(rescale) {
                let material = relu::finish_server(channel, r, rescale, receive).await?;
                record.extend_from_slice(&Zeroizing::new(material.to_bytes(r)));
            }
            if let Some((polynomial, pending)) = layer.polynomial.as_ref().zip(polynomial) {
                act_square::finish_server(channel, polynomial, pending, receive, record).await?;
            }
            *cost += clock.lap(channel.traffic());
        }
        channel.flush().await?;
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
    let mut revealed = Vec::new();
    let mask_of_maxima = layer.mask_of_maxima(seed);
    let masks = act_square::Masks::new(layer, seed);
    for run in layer.runs() {
        let n = run.len();
        let [share, maxima, rescale] = layer.client_lengths(n).map(|len| take(&mut rest, len));
        let mut c = Zeroizing::new(unpack(RECORD, share, n * layer.window, layer.in_bits).map_err(stored)?);
        if let Some(max) = &layer.max {
            let material = max::ClientMaterial::from_bytes(max, n, maxima).map_err(stored)?;
            let r = &mask_of_maxima[run.clone()];
            max::online_client(channel, max, material, &c, r).await?;
            c = Zeroizing::new(r.to_vec());
        }
        let Some(r) = &layer.relu else {
            revealed.push(index(channel, layer, &c).await?);
            continue;
        };
        let material = relu::ClientMaterial::from_bytes(r, n, rescale).map_err(stored)?;
        let Some(polynomial) = &layer.polynomial else {
            relu::online_client(channel, r, material, &c, &mask[run]).await?;
            continue;
        };
        relu::online_client(channel, r, material, &c, &masks.argument[run.clone()]).await?;
        act_square::client(channel, polynomial, &mut rest, &masks, run.clone(), &mask[run]).await?;
    }
    Ok(revealed)
}

/// The index of the largest value, from the server's low bits and the client's mask of the largest word.
async fn index(channel: &mut Channel<Client>, layer: &OtLayer, mask: &[u32]) -> Result<u32, ProtocolError> {
    let bytes = channel.recv_bytes(INDEX, packed_len(1, layer.index_bits)).await?;
    let low: Vec<u32> = unpack(INDEX.name(), &bytes, 1, layer.index_bits).map_err(ChannelError::from)?;
    let word = low.iter().chain(mask).fold(0_u32, |sum, word| sum.wrapping_add(*word));
    let from_behind = word & ((1 << layer.index_bits) - 1);
    (layer.window as u32 - 1).checked_sub(from_behind).ok_or_else(|| {
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
    let mut shares = Vec::with_capacity(layer.instances);
    for run in layer.runs() {
        let n = run.len();
        let [maxima, rescale] = layer.server_lengths(n).map(|len| take(&mut rest, len));
        let mut y = layer.gather(y, run);
        layer.enter_indices(&mut y);
        if let Some(max) = &layer.max {
            let material = max::ServerMaterial::from_bytes(max, n, maxima).map_err(stored)?;
            y = max::online_server(channel, max, material, &y).await?;
        }
        let Some(r) = &layer.relu else {
            let low: Vec<u32> = y.iter().map(|word| word & ((1 << layer.index_bits) - 1)).collect();
            let mut message = Vec::new();
            pack(&low, layer.index_bits, &mut message);
            channel.send_bytes(INDEX, &message).await?;
            channel.flush().await?;
            continue;
        };
        let material = relu::ServerMaterial::from_bytes(r, n, rescale).map_err(stored)?;
        let mut share = relu::online_server(channel, r, material, &y).await?;
        if let Some(polynomial) = &layer.polynomial {
            share = act_square::server(channel, polynomial, &mut rest, &share).await?;
        }
        shares.extend(share);
    }
    Ok(shares)
}

/// Enters the offline phase of all layers into a script; the cost of each.
pub(crate) fn predict_offline(layers: &[&OtLayer], script: &mut Script) -> Vec<Cost> {
    let mut costs = vec![Cost::default(); layers.len()];
    for group in groups(layers) {
        // 1. Choices.
        for part in &group {
            for (stage, n) in layers[part.layer].stages(part.instances.len()) {
                let [sizes, _] = stage.extensions(n);
                sizes.into_iter().for_each(|n| script.extend(Way::Down, n));
            }
            costs[part.layer] += script.lap();
        }
        // 2. Shared bits and the server's choices.
        for part in &group {
            for (stage, n) in layers[part.layer].stages(part.instances.len()) {
                stage.offline_bytes(n).into_iter().for_each(|len| script.down(len));
                let [_, sizes] = stage.extensions(n);
                sizes.into_iter().for_each(|n| script.extend(Way::Up, n));
            }
            costs[part.layer] += script.lap();
        }
    }
    costs
}

/// Enters the online phase of a layer.
pub(crate) fn predict_online(layer: &OtLayer, script: &mut Script) {
    for run in layer.runs() {
        for hop in layer.stages(run.len()).flat_map(|(stage, n)| stage.hops(n)) {
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
}

/// All instances of all layers, in groups that take one round each.
fn groups(layers: &[&OtLayer]) -> Vec<Vec<Part>> {
    let mut groups: Vec<Vec<Part>> = Vec::new();
    let mut held = 0;
    for (index, layer) in layers.iter().enumerate() {
        for instances in layer.runs() {
            let transfers: usize = layer.transfers(instances.len()).iter().sum();
            let part = Part { layer: index, instances };
            match groups.last_mut() {
                Some(group) if held + transfers <= GROUP_OTS => group.push(part),
                _ => {
                    groups.push(vec![part]);
                    held = 0;
                }
            }
            held += transfers;
        }
    }
    groups
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
