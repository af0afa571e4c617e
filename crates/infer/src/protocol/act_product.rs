//! Products of two values by oblivious transfer.
//!
//! Functionality: server and client share `x = y_0 + c_0` and `g = y_1 + c_1` modulo 2^m, the client's c and its mask r' are
//! known offline; the server gets `x g - r'`. Where g is one number per channel, its shares count for every place.
//!
//! Method: `phineus_mpc::product`, whatever engine runs the activations: a garbled product has m^2 / 2 ANDs of 32 bytes.
//!
//! Offline, for as many layers at a time as transfers allow, so that they share one round trip:
//! 1. client -> server: the bits of its shares as choices.
//! 2. server -> client: corrections.
//!
//! Online, layer by layer: steps 3 and 4 of `mpc::product`.
//!
//! Cost, security: those of `mpc::product`; the client also keeps its shares, m bits per element.

use std::ops::Range;

use phineus_kernel::pack::{pack, unpack};
use phineus_mpc::product::{self, ServerMaterial};
use phineus_mpc::rot;
use phineus_mpc::square::ClientMaterial;
use phineus_net::{Channel, Client, Server};
use zeroize::Zeroizing;

use super::act_ot::{GROUP_OTS, Record, stored, take, with_room};
use crate::ProtocolError;
use crate::clock::{Clock, Side};
use crate::plan::ProductLayer;
use crate::protocol::groups::groups;
use crate::protocol::script::{Script, Way};
use crate::report::Cost;

/// A run of instances of one layer.
struct Part {
    layer: usize,
    instances: Range<usize>,
}

/// Offline, client: what it keeps of each layer, and what each cost. `inputs` are its shares of both values.
pub(crate) async fn prepare_client(
    channel: &mut Channel<Client>,
    layers: &[&ProductLayer],
    inputs: &[[&[u32]; 2]],
    receive: &mut rot::Receiver<Client>,
) -> Result<Vec<(Record, Cost)>, ProtocolError> {
    let mut clock = Clock::start(Side::Client, channel.traffic());
    let mut done = Vec::with_capacity(layers.len());
    let mut shares: Vec<[Zeroizing<Vec<u32>>; 2]> = Vec::with_capacity(layers.len());
    for (layer, inputs) in layers.iter().zip(inputs) {
        let mask = u32::MAX >> (32 - layer.product.bits());
        let reduced =
            |k: usize| Zeroizing::new(inputs[k].iter().map(|word| word & mask).collect::<Vec<u32>>());
        let c = [reduced(0), reduced(1)];
        let mut record = with_room(layer.client_bytes())?;
        c.iter().for_each(|c| pack(c, layer.product.bits(), &mut record));
        shares.push(c);
        done.push((record, Cost::default()));
    }
    for group in schedule(layers) {
        // 1. Choices.
        let mut pending = Vec::with_capacity(group.len());
        for Part { layer: index, instances } in &group {
            let (layer, [first, second]) = (layers[*index], &shares[*index]);
            let factors = Zeroizing::new(layer.spread(second, instances.clone()));
            let c = [&first[instances.clone()], &factors[..]];
            pending.push(product::begin_client(channel, &layer.product, c, receive).await?);
            done[*index].1 += clock.lap(channel.traffic());
        }
        channel.flush().await?;
        // 2. Corrections.
        for (part, pending) in group.iter().zip(pending) {
            let (product, (record, cost)) = (&layers[part.layer].product, &mut done[part.layer]);
            let material = product::finish_client(channel, product, pending).await?;
            record.extend_from_slice(&Zeroizing::new(material.to_bytes(product)));
            *cost += clock.lap(channel.traffic());
        }
    }
    Ok(done)
}

/// Offline, server: what it keeps of each layer, and what each cost.
pub(crate) async fn prepare_server(
    channel: &mut Channel<Server>,
    layers: &[&ProductLayer],
    send: &mut rot::Sender<Server>,
) -> Result<Vec<(Record, Cost)>, ProtocolError> {
    let mut clock = Clock::start(Side::Server, channel.traffic());
    let mut done = Vec::with_capacity(layers.len());
    for layer in layers {
        done.push((with_room(layer.server_bytes())?, Cost::default()));
    }
    for group in schedule(layers) {
        // 1. Choices.
        let mut pending = Vec::with_capacity(group.len());
        for part in &group {
            let (product, n) = (&layers[part.layer].product, part.instances.len());
            pending.push(product::begin_server(channel, product, n, send).await?);
            done[part.layer].1 += clock.lap(channel.traffic());
        }
        // 2. Corrections.
        for (part, pending) in group.iter().zip(pending) {
            let (record, cost) = &mut done[part.layer];
            let material = product::finish_server(channel, pending).await?;
            record.extend_from_slice(&Zeroizing::new(material.to_bytes(&layers[part.layer].product)));
            *cost += clock.lap(channel.traffic());
        }
    }
    Ok(done)
}

/// Online, client: helps the server to its share under `mask`.
pub(crate) async fn client(
    channel: &mut Channel<Client>,
    layer: &ProductLayer,
    record: &[u8],
    mask: &[u32],
) -> Result<(), ProtocolError> {
    let (product, bits) = (&layer.product, layer.product.bits());
    let mut rest = record;
    let [first, second] = layer.share_bytes().map(|len| take(&mut rest, len));
    let first = Zeroizing::new(unpack(RECORD, first, layer.instances, bits).map_err(stored)?);
    let second: Zeroizing<Vec<u32>> =
        Zeroizing::new(unpack(RECORD, second, layer.factors, bits).map_err(stored)?);
    for run in layer.runs() {
        let n = run.len();
        let factors = Zeroizing::new(layer.spread(&second, run.clone()));
        let material = take(&mut rest, ClientMaterial::byte_len(product, n));
        let material = ClientMaterial::from_bytes(product, n, material).map_err(stored)?;
        let c = [&first[run.clone()], &factors[..]];
        product::online_client(channel, product, material, c, &mask[run]).await?;
    }
    Ok(())
}

/// Online, server: its share of the product, from its shares of both values.
pub(crate) async fn server(
    channel: &mut Channel<Server>,
    layer: &ProductLayer,
    record: &[u8],
    [first, second]: [&[u32]; 2],
) -> Result<Vec<u32>, ProtocolError> {
    let product = &layer.product;
    let mut rest = record;
    let mut shares = Vec::with_capacity(layer.instances);
    for run in layer.runs() {
        let n = run.len();
        let factors = layer.spread(second, run.clone());
        let material = take(&mut rest, ServerMaterial::byte_len(product, n));
        let material = ServerMaterial::from_bytes(product, n, material).map_err(stored)?;
        let first = first.get(run).ok_or(ProtocolError::Material)?;
        shares.extend(product::online_server(channel, product, material, [first, &factors]).await?);
    }
    Ok(shares)
}

/// Enters the offline phase of all layers into a script; the cost of each.
pub(crate) fn predict_offline(layers: &[&ProductLayer], script: &mut Script) -> Vec<Cost> {
    let mut costs = vec![Cost::default(); layers.len()];
    for group in schedule(layers) {
        // 1. Choices.
        for Part { layer, instances } in &group {
            let sizes = product::extensions(&layers[*layer].product, instances.len());
            sizes.into_iter().for_each(|n| script.extend(Way::Down, n));
            costs[*layer] += script.lap();
        }
        // 2. Corrections.
        for Part { layer, instances } in &group {
            script.down(product::offline_bytes(&layers[*layer].product, instances.len()));
            costs[*layer] += script.lap();
        }
    }
    costs
}

/// Enters the online phase of a layer.
pub(crate) fn predict_online(layer: &ProductLayer, script: &mut Script) {
    for run in layer.runs() {
        let [down, up] = product::messages(&layer.product, run.len());
        script.down(down);
        script.up(up);
    }
}

/// All instances of all layers, in groups that take one round each.
fn schedule(layers: &[&ProductLayer]) -> Vec<Vec<Part>> {
    let parts = layers.iter().enumerate().flat_map(|(index, layer)| {
        layer.runs().map(move |instances| {
            let transfers = layer.transfers(instances.len());
            (Part { layer: index, instances }, transfers)
        })
    });
    groups(GROUP_OTS, parts)
}

const RECORD: &str = "stored share";
