//! A linear layer: offline by homomorphic encryption, online in the clear.
//!
//! Functionality: the client has r, the server has M and draws s; the client gets `c = M r - s`. Online the server,
//! which holds `x - r`, computes `y = M (x - r) + s + b`; then `y + c = M x + b`, all modulo 2^l (Mishra et al.,
//! "Delphi", USENIX Security 2020, section 4.1.1, with the encryption of Cheetah, section 3).
//!
//! Offline, all layers of a network and several inferences at once ([`Stack`](crate::plan::Stack)), one round:
//! 1. client -> server: a seed, then the bodies of Enc(r), packed by [`Interleaved`](crate::packing::Interleaved),
//!    without low bits that carry noise only.
//! 2. server -> client: for every output polynomial the sum of products with the weights, re-randomised by a fresh
//!    encryption of zero, flooded, masked by s and switched to a small modulus; only the coefficients that hold
//!    results. Where the plan merges responses ([`Interleaved`](crate::packing::Interleaved)), 2^k of them share a
//!    ciphertext, by the client's Galois keys ([`phineus_he::pack`]).
//!
//! Cost per layer: `inputs` requests of n (log2 q - dropped) bits up, `outputs` / 2^k ciphertexts of n (l + g) bits and the results
//! down; `outputs` key switches where k > 0.
//!
//! Security: semi-honest. The server sees RLWE ciphertexts and, online, a uniformly masked input. The client sees
//! ciphertexts that are independent of M up to 2^-40 (see `phineus_he::noise`), and c, uniform because s is.

use std::collections::VecDeque;

use phineus_he::{
    Accumulator, Ciphertext, CutBody, CutShape, Encryptor, Eval, Expander, HeError, Layout, Masked, Poly,
    Response, ResponseShape, SecretKey, pack, respond,
};
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::Wire;
use phineus_net::{Channel, Client, FRAME_HEADER, Receiver, Sender, Server, Step, Traffic};
use rand::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::ProtocolError;
use crate::clock::{Clock, Side};
use crate::compute::compute;
use crate::masks::Seed;
use crate::plan::{LinearLayer, LinearPlan, Plan, Wanted};
use crate::progress::progress;
use crate::report::Cost;
use crate::served::Served;

mod keys;
pub(crate) mod respond;

use keys::ServerRing;
pub(crate) use keys::{ClientKeys, KeyName, Keys, ServerKeys};

const SEED: Step = Step::new("linear.seed");
const REQUESTS: Step = Step::new("linear.requests");
const RESPONSES: Step = Step::new("linear.responses");

/// Ciphertexts per message: bounds what either side holds at once.
const BATCH: usize = 32;

/// Client: of every linear layer, in order, its output share in each inference, and what the layer cost.
///
/// `input` gives its share of a layer's stacked input, in that layer's ring, when the layer's turn has come.
pub(crate) async fn client(
    channel: &mut Channel<Client>,
    plan: &Plan,
    linear: &LinearPlan,
    keys: &ClientKeys,
    input: impl Fn(&LinearLayer) -> Zeroizing<Vec<u32>>,
    rng: &mut impl CryptoRng,
) -> Result<Vec<(Vec<Vec<u32>>, Cost)>, ProtocolError> {
    let seeds = linear.layers().iter().map(|_| Prg::from_generator(rng)).collect::<Vec<_>>();
    let (tx, rx) = channel.halves();
    // The wait for a layer's responses begins when its requests are out: sending them may take longer than a deadline.
    let (sent_layer, mut to_receive) = tokio::sync::mpsc::unbounded_channel();
    let sending = async {
        let mut sent = Vec::with_capacity(linear.layers().len());
        for (layer, mut rng) in linear.layers().iter().zip(seeds) {
            let before = tx.bytes();
            send_requests(tx, plan, layer, keys.secret(layer.ring)?, &input(layer), &mut rng).await?;
            sent.push(tx.bytes() - before);
            // The other end lives as long as this future does.
            let _ = sent_layer.send(());
        }
        Ok::<_, ProtocolError>(sent)
    };
    let receiving = async {
        let mut received = Vec::with_capacity(linear.layers().len());
        for layer in linear.layers() {
            progress("offline, linear layers", received.len(), linear.layers().len());
            to_receive.recv().await;
            let mut clock =
                Clock::start(Side::Client, Traffic { received: rx.bytes(), ..Traffic::default() });
            let share = receive_responses(rx, plan, layer, keys.secret(layer.ring)?).await?;
            received.push((share, clock.lap(Traffic { received: rx.bytes(), ..Traffic::default() })));
        }
        Ok::<_, ProtocolError>(received)
    };
    let (sent, mut received) = tokio::try_join!(sending, receiving)?;
    for ((_, cost), sent) in received.iter_mut().zip(sent) {
        cost.client_to_server_bytes = sent;
    }
    if let Some((_, cost)) = received.first_mut() {
        cost.rounds = 1;
    }
    Ok(received)
}

/// Server: the other half of [`client`]; its masks s follow from `seeds`, one per inference.
pub(crate) async fn server(
    channel: &mut Channel<Server>,
    served: &Served,
    linear: &LinearPlan,
    keys: &ServerKeys,
    seeds: &[Seed],
    rng: &mut impl CryptoRng,
) -> Result<Vec<Cost>, ProtocolError> {
    let plan = served.plan();
    let mut clock = Clock::start(Side::Server, channel.traffic());
    let mut costs = Vec::new();
    for layer in linear.layers() {
        // 1. Requests.
        let requests = receive_requests(channel, plan, layer).await?;
        let inputs = compute(|| respond::Inputs::new(&layer.packing, &requests));
        drop(requests);
        // 2. Responses, block by block of outputs that share their weights.
        let one = |seed: &Seed| Zeroizing::new(seed.mask(layer.node, layer.bits, layer.conv.output_len()));
        let masks: Vec<_> = seeds.iter().map(one).collect();
        let keys = keys.ring(layer.ring)?;
        if layer.packing.merge_levels() == 0 {
            send_responses(channel, served, layer, &inputs, keys, &masks, rng).await?;
        } else {
            send_merged(channel, served, layer, &inputs, keys, &masks, rng).await?;
        }
        channel.flush().await?;
        costs.push(clock.lap(channel.traffic()));
    }
    Ok(costs)
}

/// Server, online: `M x + s + b` for its share `x` of the input, reduced to the layer's ring.
pub(crate) fn online(served: &Served, layer: &LinearLayer, seed: &Seed, x: &[u32]) -> Vec<u32> {
    let mask = seed.mask(layer.node, layer.bits, layer.conv.output_len());
    served.linear(layer, x, mask)
}

async fn send_requests(
    tx: &mut Sender,
    plan: &Plan,
    layer: &LinearLayer,
    key: &SecretKey,
    input: &[u32],
    rng: &mut Prg,
) -> Result<(), ProtocolError> {
    let mut stream = Encryptor::new(key, rng);
    tx.send_bytes(SEED, &stream.seed()).await?;
    let ring = layer.spec.ring();
    let n = key.params().degree();
    let cut = cut_shape(plan, layer);
    let indices: Vec<usize> = (0..layer.packing.inputs()).collect();
    for batch in indices.chunks(BATCH) {
        let slots: Vec<_> = batch.iter().map(|i| (*i, stream.slot(), Prg::from_generator(rng))).collect();
        let bodies = compute(|| {
            let encrypt = |(i, slot, mut rng): (usize, phineus_he::Slot<'_>, Prg)| {
                let mut plain = Zeroizing::new(vec![0; n]);
                layer.packing.pack_input(i, input, &mut plain);
                let mut bytes = Vec::new();
                match &cut {
                    Some(cut) => slot.encrypt_cut(&plain, ring, cut, &mut rng).encode(&mut bytes),
                    None => slot.encrypt(&plain, ring, &mut rng).encode(&mut bytes),
                }
                bytes
            };
            slots.into_par_iter().map(encrypt).collect::<Vec<Vec<u8>>>()
        });
        tx.send_bytes(REQUESTS, &bodies.concat()).await?;
    }
    tx.flush(REQUESTS).await?;
    Ok(())
}

async fn receive_requests(
    channel: &mut Channel<Server>,
    plan: &Plan,
    layer: &LinearLayer,
) -> Result<Vec<Ciphertext>, ProtocolError> {
    let params = &plan.rings()[layer.ring];
    let cut = cut_shape(plan, layer);
    let mut seed = [0; 32];
    seed.copy_from_slice(&channel.recv_bytes(SEED, 32).await?);
    let mut stream = Expander::new(seed);
    let each = request_len(plan, layer);
    let mut requests = Vec::with_capacity(layer.packing.inputs());
    while requests.len() < layer.packing.inputs() {
        let count = BATCH.min(layer.packing.inputs() - requests.len());
        let bytes = channel.recv_bytes(REQUESTS, count * each).await?;
        let decode = |body: &[u8]| match &cut {
            Some(cut) => CutBody::decode(body, cut).map(CutBody::into_body),
            None => Poly::decode(body, params),
        };
        let bodies = compute(|| bytes.par_chunks_exact(each).map(decode).collect::<Result<Vec<_>, _>>());
        for body in bodies.map_err(phineus_net::ChannelError::from)? {
            requests.push(stream.next(body));
        }
    }
    Ok(requests)
}

/// Every response by itself: one message per block.
async fn send_responses(
    channel: &mut Channel<Server>,
    served: &Served,
    layer: &LinearLayer,
    inputs: &respond::Inputs,
    keys: &ServerRing,
    masks: &[Zeroizing<Vec<u32>>],
    rng: &mut impl CryptoRng,
) -> Result<(), ProtocolError> {
    let finish = |sum: Accumulator, output: usize, rng: &mut Prg| {
        let (positions, mask) = masked(layer, masks, output);
        Ok(respond(sum, keys.public(), &positions, &mask, &layer.spec, rng)?)
    };
    for mut blocks in respond::batches(&layer.packing, rng) {
        let responses = compute(|| {
            respond::groups(&layer.packing, &mut blocks)
                .into_par_iter()
                .map(|blocks| respond::respond_blocks(served, layer, inputs, blocks, finish))
                .collect::<Result<Vec<Vec<Vec<Response>>>, ProtocolError>>()
        })?;
        for block in responses.iter().flatten() {
            let mut bytes = Vec::new();
            block.iter().for_each(|response| response.encode(&mut bytes));
            channel.send_bytes(RESPONSES, &bytes).await?;
        }
    }
    Ok(())
}

/// As many responses as fit merged into one: one message per merged response, as soon as its last part is computed.
async fn send_merged(
    channel: &mut Channel<Server>,
    served: &Served,
    layer: &LinearLayer,
    inputs: &respond::Inputs,
    keys: &ServerRing,
    masks: &[Zeroizing<Vec<u32>>],
    rng: &mut impl CryptoRng,
) -> Result<(), ProtocolError> {
    let (layout, galois) = (layer.layout()?, keys.galois()?);
    let finish = |sum: Accumulator, output: usize, rng: &mut Prg| {
        let (positions, mask) = masked(layer, masks, output);
        Ok(Masked::new(sum, keys.public(), &positions, &mask, &layer.spec, rng)?)
    };
    let mut waiting: VecDeque<Masked> = VecDeque::new();
    let (mut sent, mut computed) = (0, 0);
    for mut blocks in respond::batches(&layer.packing, rng) {
        let parts = compute(|| {
            respond::groups(&layer.packing, &mut blocks)
                .into_par_iter()
                .map(|blocks| respond::respond_blocks(served, layer, inputs, blocks, finish))
                .collect::<Result<Vec<Vec<Vec<Masked>>>, ProtocolError>>()
        })?;
        waiting.extend(parts.into_iter().flatten().flatten());
        computed += blocks.len() * layer.packing.tiles();
        let complete: Vec<(usize, Vec<Masked>)> = (sent..layout.groups())
            .take_while(|&group| layout.responses(group).end <= computed)
            .map(|group| (group, waiting.drain(..layout.responses(group).len()).collect()))
            .collect();
        sent += complete.len();
        let merged = compute(|| {
            let merge = |(group, parts)| pack(galois, &layout, group, &layer.spec, parts);
            complete.into_par_iter().map(merge).collect::<Result<Vec<Response>, _>>()
        })?;
        for response in &merged {
            let mut bytes = Vec::new();
            response.encode(&mut bytes);
            channel.send_bytes(RESPONSES, &bytes).await?;
        }
    }
    Ok(())
}

/// Where output polynomial `o` holds results, and their masks.
fn masked(layer: &LinearLayer, masks: &[Zeroizing<Vec<u32>>], o: usize) -> (Vec<u32>, Zeroizing<Vec<u32>>) {
    let wanted = layer.wanted(o);
    let mask = |w: &Wanted| masks[w.inference][w.element as usize];
    (wanted.iter().map(|w| w.coefficient).collect(), Zeroizing::new(wanted.iter().map(mask).collect()))
}

async fn receive_responses(
    rx: &mut Receiver,
    plan: &Plan,
    layer: &LinearLayer,
    key: &SecretKey,
) -> Result<Vec<Vec<u32>>, ProtocolError> {
    let mut shares = vec![vec![0; layer.conv.output_len()]; layer.stack.count()];
    let mut enter = |wanted: &[Wanted], words: &[u32]| {
        for (word, wanted) in words.iter().zip(wanted) {
            shares[wanted.inference][wanted.element as usize] = *word;
        }
    };
    if layer.packing.merge_levels() > 0 {
        let layout = layer.layout()?;
        for group in 0..layout.groups() {
            let positions = layout.positions(group);
            let shape = response_shape(plan, layer, positions.len());
            let bytes = rx.recv_bytes(RESPONSES, Response::wire_len(&shape)).await?;
            let words = compute(|| decrypt(&bytes, &shape, positions, layer, key))?;
            let wanted: Vec<Wanted> = layout.responses(group).flat_map(|o| layer.wanted(o)).collect();
            enter(&wanted, &words);
        }
        return Ok(shares);
    }
    let tiles = layer.packing.tiles();
    for block in 0..layer.packing.outputs() / tiles {
        let wanted: Vec<Vec<Wanted>> =
            (block * tiles..(block + 1) * tiles).map(|o| layer.wanted(o)).collect();
        let shapes: Vec<ResponseShape> =
            wanted.iter().map(|w| response_shape(plan, layer, w.len())).collect();
        let bytes = rx.recv_bytes(RESPONSES, shapes.iter().map(Response::wire_len).sum()).await?;
        let mut rest = bytes.as_slice();
        let mut parts = Vec::with_capacity(tiles);
        for shape in &shapes {
            let (part, tail) = rest.split_at(Response::wire_len(shape));
            parts.push(part);
            rest = tail;
        }
        let decrypted = compute(|| {
            let decrypt = |((part, shape), wanted): ((&&[u8], &ResponseShape), &Vec<Wanted>)| {
                let positions: Vec<u32> = wanted.iter().map(|w| w.coefficient).collect();
                decrypt(part, shape, &positions, layer, key)
            };
            let parts = parts.par_iter().zip(&shapes).zip(&wanted);
            parts.map(decrypt).collect::<Result<Vec<Vec<u32>>, ProtocolError>>()
        })?;
        decrypted.iter().zip(&wanted).for_each(|(words, wanted)| enter(wanted, words));
    }
    Ok(shares)
}

fn decrypt(
    bytes: &[u8],
    shape: &ResponseShape,
    positions: &[u32],
    layer: &LinearLayer,
    key: &SecretKey,
) -> Result<Vec<u32>, ProtocolError> {
    let response = Response::decode(bytes, shape).map_err(phineus_net::ChannelError::from)?;
    Ok(key.decrypt(&response, positions, &layer.spec)?)
}

/// Bytes that a layer moves offline, as the client counts them.
pub(crate) fn predict(plan: &Plan, layer: &LinearLayer) -> Traffic {
    let packing = &layer.packing;
    let requests = packing.inputs() * request_len(plan, layer);
    let response = |coefficients| Response::wire_len(&response_shape(plan, layer, coefficients));
    // A plan whose layers have no layout does not exist.
    let merged = if packing.merge_levels() > 0 { layer.layout().ok() } else { None };
    let (responses, frames): (usize, usize) = match merged {
        Some(layout) => {
            let groups = (0..layout.groups()).map(|group| response(layout.positions(group).len()));
            (groups.sum(), layout.groups())
        }
        None => {
            let outputs = (0..packing.outputs()).map(|o| response(layer.wanted(o).len()));
            (outputs.sum(), packing.outputs() / packing.tiles())
        }
    };
    Traffic {
        sent: (32 + requests + (packing.inputs().div_ceil(BATCH) + 1) * FRAME_HEADER) as u64,
        received: (responses + frames * FRAME_HEADER) as u64,
        rounds: 0,
    }
}

impl LinearLayer {
    /// Where output polynomial `o` holds results.
    pub(crate) fn wanted(&self, o: usize) -> Vec<Wanted> {
        let positions = self.packing.positions(o).into_iter();
        let wanted = |(coefficient, element)| {
            let (inference, element) = self.stack.split(element)?;
            Some(Wanted { coefficient, inference, element })
        };
        positions.filter_map(wanted).collect()
    }

    /// Which responses are merged into one ciphertext, and where their results stand in it.
    pub(crate) fn layout(&self) -> Result<Layout, HeError> {
        let positions: Vec<Vec<u32>> = (0..self.packing.outputs())
            .map(|o| self.wanted(o).iter().map(|wanted| wanted.coefficient).collect())
            .collect();
        Layout::new(self.packing.degree(), &positions, self.packing.levels())
    }
}

/// How requests are cut, if they are.
fn cut_shape(plan: &Plan, layer: &LinearLayer) -> Option<CutShape> {
    CutShape::new(&plan.rings()[layer.ring], layer.dropped)
}

/// Bytes of one request.
fn request_len(plan: &Plan, layer: &LinearLayer) -> usize {
    let whole = || Poly::<Eval>::wire_len(&plan.rings()[layer.ring]);
    cut_shape(plan, layer).map_or_else(whole, |cut| CutBody::wire_len(&cut))
}

fn response_shape(plan: &Plan, layer: &LinearLayer, coefficients: usize) -> ResponseShape {
    ResponseShape { params: plan.rings()[layer.ring].clone(), spec: layer.spec, coefficients }
}
