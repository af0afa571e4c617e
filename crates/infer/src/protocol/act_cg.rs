//! Non-linear layers by garbled circuits that the client garbles.
//!
//! Functionality: as in [`act_gc`](super::act_gc), with the roles exchanged. Garbler and evaluator share `acc = y + c`
//! modulo 2^l; here the *garbler* knows its c and a mask r' offline, the evaluator's y is known only online. The
//! evaluator gets `f(acc) - r'` modulo 2^l', or, in the arg-max layer, the garbler gets `f(acc)` (Garimella et al.,
//! "Characterizing and optimizing end-to-end systems for private inference", ASPLOS 2023, section 5: the client stores
//! next to nothing).
//!
//! Inputs. Bit b of c is known while garbling: its label of 0 is `b Delta`, its active label is zero, nothing is sent
//! ([`GarblerInputs::Now`]). The labels of y come from correlated OT on random choices, made offline: the garbler has
//! K, the evaluator `M = K + b Delta`. The garbler draws a pad P per bit, lowest bit clear, and garbles with `K + P` as
//! the label of 0. Online the evaluator sends `d = y + b`, the garbler answers `P + d Delta`, and
//! `M + P + d Delta = (K + P) + y Delta` is the label of y. K is forgotten once the tables are made and P follows from the
//! seed, so that the garbler stores nothing per element.
//!
//! Outputs. The circuit leaves `f(acc)` in additive shares, g of the garbler and e of the evaluator. g is known while
//! garbling: the garbler sends `k = g - r'` with the tables, and the evaluator's share of the output is `e + k`.
//!
//! Offline:
//! 1. evaluator -> garbler: corrections of one correlated OT per bit of y.
//! 2. garbler -> evaluator: the start of the hash tweaks (once), then tables and k, chunk by chunk.
//!
//! Online:
//! 3. evaluator -> garbler: d.
//! 4. garbler -> evaluator: `P + d Delta`, chunk by chunk.
//! 5. In the arg-max layer, evaluator -> garbler: the colours of the outputs, which the garbler decodes.
//!
//! Cost per instance: the circuit's tables and l' bits up and about 4 bytes per bit of y down offline; one bit per bit of y
//! down and 16 bytes up online. The garbler keeps a seed and Delta, the evaluator the tables, 16 bytes per bit of y, and
//! k.
//!
//! Security: semi-honest, with correlated OT secure against a malicious evaluator.
//! * The evaluator's view: of the two labels of every wire it holds one. M and the pads are uniform, so the label of y is
//!   independent of everything else; the active labels of c are public constants. Tables hide the other labels under the
//!   re-keyed hash, whose inputs differ between the instances that share a key because no circuit hashes a sum of c's
//!   labels alone (checked by [`garble_into`]). g is an offset of e by which both are uniform, and `k` is uniform
//!   because r' is: all that the evaluator learns is its output. Colours of output labels tell nothing without the
//!   decoding, which stays with the garbler (half gates are oblivious).
//! * The garbler sees d, uniform because b is. A pad masks one answer only: material is used once.
//!
//! The halves are generic in the network role.

use phineus_kernel::block::Block;
use phineus_mpc::gc::{GarblerInputs, GarblerLabels, Span, evaluate, garble_into};
use phineus_mpc::ot::engine;
use phineus_mpc::{Bits, Delta};
use phineus_net::{Channel, Role, Step};
use rand::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::act_gc::{Part, of_span, own_bits, peer_bits, recv_bits, schedule};
use super::script::{Script, Way};
use crate::ProtocolError;
use crate::clock::{Clock, Side};
use crate::compute::compute;
use crate::masks::Seed;
use crate::plan::GarbledLayer;
use crate::report::Cost;

#[cfg(test)]
mod tests;

const TWEAK: Step = Step::new("cg.tweak");
const TABLES: Step = Step::new("cg.tables");
const FLIPS: Step = Step::new("cg.flips");
const LABELS: Step = Step::new("cg.labels");
const OUTPUT: Step = Step::new("cg.output");

/// What the evaluator keeps of one layer.
pub(crate) struct EvaluatorLayer {
    /// First hash tweak.
    pub(crate) tweak: u128,
    /// M; bit 0 is the choice b.
    pub(crate) labels: Vec<Block>,
    pub(crate) tables: Vec<u8>,
    /// k of every instance; empty where the garbler learns the output.
    pub(crate) corrections: Bits,
}

impl Drop for EvaluatorLayer {
    fn drop(&mut self) {
        self.labels.zeroize();
    }
}

/// What the garbler keeps of one layer: the decoding where it learns the output, else nothing.
pub(crate) type GarblerLayer = Option<Bits>;

impl GarbledLayer {
    /// Bits of k of so many instances.
    pub(crate) fn correction_bits(&self, instances: usize) -> usize {
        instances * self.mask_bits as usize
    }

    /// The garbler's masks of the outputs; none where it learns them.
    fn masks(&self, seed: &Seed) -> Vec<u32> {
        if self.reveals() { Vec::new() } else { seed.mask(self.node, self.mask_bits, self.instances) }
    }

    /// Bytes of the message with the tables of so many instances.
    fn message_bytes(&self, instances: usize) -> usize {
        self.circuit.table_bytes(instances) + self.correction_bits(instances).div_ceil(8)
    }

    /// What the garbler keeps from offline to online.
    pub(crate) fn garbler_bytes(&self) -> u64 {
        if self.reveals() { self.output_bits().div_ceil(8) as u64 } else { 0 }
    }
}

/// Offline, garbler: what it keeps of every layer, and what each cost. `inputs` are its shares of the values that the
/// layers read; its masks of the outputs are those of `seed`.
pub(crate) async fn prepare_garbler<R: Role>(
    channel: &mut Channel<R>,
    cot: &mut engine::Sender<R>,
    layers: &[&GarbledLayer],
    inputs: &[&[u32]],
    seed: &Seed,
    side: Side,
    rng: &mut impl CryptoRng,
) -> Result<Vec<(GarblerLayer, Cost)>, ProtocolError> {
    let mut clock = Clock::start(side, channel.traffic());
    let start = Block::random(rng).0;
    let mut decodings = vec![Vec::new(); layers.len()];
    let mut costs = vec![Cost::default(); layers.len()];
    // One message at a time; its memory is used again.
    let (mut message, mut labels) = (Vec::new(), Zeroizing::new(Vec::new()));
    for (number, group) in schedule(layers, start).iter().enumerate() {
        // 1. K.
        let mut keys = Vec::with_capacity(group.len());
        for Part { layer, span } in group {
            let count = span.count * layers[*layer].circuit.evaluator_inputs();
            keys.push(Zeroizing::new(cot.extend(channel, count).await?));
            costs[*layer] += clock.lap(channel.traffic());
        }
        // 2. Tables and k.
        if number == 0 {
            channel.send_bytes(TWEAK, &start.to_le_bytes()).await?;
        }
        for (part, keys) in group.iter().zip(&keys) {
            let (layer, own) = (layers[part.layer], inputs[part.layer]);
            let masks = Zeroizing::new(layer.masks(seed));
            for span in layer.table_spans(part.span) {
                let keys = &keys[layer.inputs_within(span, part.span)];
                let decoding = compute(|| {
                    pads(layer, seed, span, &mut labels);
                    labels.iter_mut().zip(keys).for_each(|(pad, key)| *pad ^= *key);
                    message.resize(layer.circuit.table_bytes(span.count), 0);
                    let known = known_bits(layer, own, span);
                    let known = GarblerInputs::Now(&known);
                    garble_into(&layer.circuit, cot.delta(), span, known, &labels, &mut message)
                })?;
                if layer.reveals() {
                    decodings[part.layer].extend_from_slice(decoding.as_bytes());
                } else {
                    let k = corrections(layer, &decoding, &masks[of_span(span, 1)]);
                    message.extend_from_slice(k.as_bytes());
                }
                channel.send_bytes(TABLES, &message).await?;
            }
            costs[part.layer] += clock.lap(channel.traffic());
        }
        channel.flush().await?;
    }
    let keep = |(layer, bytes): (&&GarbledLayer, Vec<u8>)| match layer.reveals() {
        true => own_bits(bytes, layer.output_bits()).map(Some),
        false => Ok(None),
    };
    let kept = layers.iter().zip(decodings).map(keep);
    kept.zip(costs).map(|(kept, cost)| Ok((kept?, cost))).collect()
}

/// Offline, evaluator: what it keeps of every layer, and what each cost.
pub(crate) async fn prepare_evaluator<R: Role>(
    channel: &mut Channel<R>,
    cot: &mut engine::Receiver<R>,
    layers: &[&GarbledLayer],
    side: Side,
    rng: &mut impl CryptoRng,
) -> Result<Vec<(EvaluatorLayer, Cost)>, ProtocolError> {
    let mut clock = Clock::start(side, channel.traffic());
    let mut start = None;
    let mut done = Vec::with_capacity(layers.len());
    for layer in layers {
        done.push((EvaluatorLayer::with_room(layer)?, Cost::default()));
    }
    let mut corrections = vec![Vec::new(); layers.len()];
    for group in schedule(layers, 0) {
        // 1. M of random choices.
        for part in &group {
            let (layer, (material, cost)) = (layers[part.layer], &mut done[part.layer]);
            let choices = random_bits(part.span.count * layer.circuit.evaluator_inputs(), rng)?;
            let labels = Zeroizing::new(cot.extend(channel, &choices).await?);
            material.labels.extend_from_slice(&labels);
            *cost += clock.lap(channel.traffic());
        }
        // 2. Tables and k.
        let start = match start {
            Some(start) => start,
            None => {
                let mut bytes = [0; 16];
                bytes.copy_from_slice(&channel.recv_bytes(TWEAK, 16).await?);
                *start.insert(u128::from_le_bytes(bytes))
            }
        };
        for part in &group {
            let (layer, (material, cost)) = (layers[part.layer], &mut done[part.layer]);
            for span in layer.table_spans(part.span) {
                let bytes = channel.recv_bytes(TABLES, layer.message_bytes(span.count)).await?;
                let (tables, chunk) = bytes.split_at(layer.circuit.table_bytes(span.count));
                material.tables.extend_from_slice(tables);
                // Chunks are whole batches, so their bits end at whole bytes but for the last.
                corrections[part.layer].extend_from_slice(chunk);
            }
            material.tweak = start.wrapping_add(part.span.tweak);
            *cost += clock.lap(channel.traffic());
        }
    }
    for ((layer, (material, _)), bytes) in layers.iter().zip(&mut done).zip(corrections) {
        material.corrections = peer_bits(TABLES, bytes, layer.correction_bits(layer.instances))?;
    }
    Ok(done)
}

/// Online, garbler: the output where it is the garbler's to learn.
pub(crate) async fn garbler<R: Role>(
    channel: &mut Channel<R>,
    layer: &GarbledLayer,
    delta: &Delta,
    seed: &Seed,
    kept: Option<&Bits>,
) -> Result<Vec<u32>, ProtocolError> {
    // 3. d.
    let flips = recv_bits(channel, FLIPS, layer.evaluator_bits()).await?;
    // 4. P + d Delta.
    let inputs = layer.circuit.evaluator_inputs();
    let mut labels = Zeroizing::new(Vec::new());
    for span in layer.label_spans(0, inputs) {
        compute(|| {
            pads(layer, seed, span, &mut labels);
            for (label, i) in labels.iter_mut().zip(of_span(span, inputs)) {
                *label ^= delta.times(flips.get(i));
            }
        });
        channel.send_bytes(LABELS, Block::as_bytes(&labels)).await?;
    }
    channel.flush().await?;
    // 5. The output.
    let Some(decoding) = kept else { return Ok(Vec::new()) };
    let colours = recv_bits(channel, OUTPUT, layer.output_bits()).await?;
    // Of a single value the arg-max is known: there is nothing to decode.
    let width = layer.circuit.outputs();
    let decoded = || layer.circuit.decode(decoding, &colours).to_words(width);
    Ok(if width == 0 { Vec::new() } else { decoded() })
}

/// Online, evaluator: its share of the layer's output, from its share `y` of the input; nothing where the garbler learns
/// the output.
pub(crate) async fn evaluator<R: Role>(
    channel: &mut Channel<R>,
    layer: &GarbledLayer,
    material: &mut EvaluatorLayer,
    y: &[u32],
) -> Result<Vec<u32>, ProtocolError> {
    // 3. d.
    let circuit = &layer.circuit;
    let inputs = circuit.evaluator_inputs();
    let choices = Bits::from_iter(material.labels.iter().map(|label| label.lsb()));
    let values = layer.gather(y, Span::whole(0, layer.instances));
    let mut flips = Bits::from_words(&values, layer.in_bits as usize);
    flips.xor_assign(&choices);
    channel.send_bytes(FLIPS, flips.as_bytes()).await?;
    channel.flush().await?;
    // 4. Labels of y.
    let mut output = Vec::with_capacity(layer.output_bits().div_ceil(8));
    for span in layer.label_spans(material.tweak, inputs) {
        let bytes = channel.recv_bytes(LABELS, span.count * inputs * Block::BYTES).await?;
        let chunk = compute(|| {
            let labels = &mut material.labels[of_span(span, inputs)];
            for (label, answer) in labels.iter_mut().zip(bytes.as_chunks().0) {
                *label ^= Block::from(answer);
            }
            let tables = &material.tables[of_span(span, circuit.table_bytes(1))];
            evaluate(circuit, span, tables, GarblerLabels::Zero, labels)
        })?;
        output.extend_from_slice(chunk.as_bytes());
    }
    let output = own_bits(output, layer.output_bits())?;
    if layer.reveals() {
        // 5. Colours.
        channel.send_bytes(OUTPUT, output.as_bytes()).await?;
        channel.flush().await?;
        return Ok(Vec::new());
    }
    // e + k.
    let width = layer.mask_bits as usize;
    let mask = u32::MAX >> (32 - width);
    let mut shares = output.to_words(width);
    let corrections = material.corrections.to_words(width);
    shares.iter_mut().zip(corrections).for_each(|(e, k)| *e = e.wrapping_add(k) & mask);
    Ok(shares)
}

/// Enters the offline phase of all layers into a script in which the client garbles; the cost of each.
pub(crate) fn predict_offline(layers: &[&GarbledLayer], script: &mut Script) -> Vec<Cost> {
    let mut costs = vec![Cost::default(); layers.len()];
    for (number, group) in schedule(layers, 0).into_iter().enumerate() {
        // 1. Corrections.
        for part in &group {
            script.extend(Way::Up, part.span.count * layers[part.layer].circuit.evaluator_inputs());
            costs[part.layer] += script.lap();
        }
        // 2. Tables and k.
        if number == 0 {
            script.up(16);
        }
        for part in &group {
            let layer = layers[part.layer];
            layer.table_spans(part.span).for_each(|span| script.up(layer.message_bytes(span.count)));
            costs[part.layer] += script.lap();
        }
    }
    costs
}

/// Enters the online phase of a layer.
pub(crate) fn predict_online(layer: &GarbledLayer, script: &mut Script) {
    let inputs = layer.circuit.evaluator_inputs();
    script.down(layer.evaluator_bits().div_ceil(8));
    layer.label_spans(0, inputs).for_each(|span| script.up(span.count * inputs * Block::BYTES));
    if layer.reveals() {
        script.down(layer.output_bits().div_ceil(8));
    }
}

impl EvaluatorLayer {
    /// Nothing, with room for everything.
    fn with_room(layer: &GarbledLayer) -> Result<Self, ProtocolError> {
        let (mut labels, mut tables) = (Vec::new(), Vec::new());
        let memory = |bytes: usize| move |_| ProtocolError::Memory(bytes);
        let label_bytes = layer.evaluator_bits() * Block::BYTES;
        labels.try_reserve_exact(layer.evaluator_bits()).map_err(memory(label_bytes))?;
        tables.try_reserve_exact(layer.table_bytes()).map_err(memory(layer.table_bytes()))?;
        Ok(Self { tweak: 0, labels, tables, corrections: Bits::default() })
    }
}

/// The pads of the instances of `span`.
fn pads(layer: &GarbledLayer, seed: &Seed, span: Span, out: &mut Vec<Block>) {
    let inputs = layer.circuit.evaluator_inputs();
    out.resize(span.count * inputs, Block::ZERO);
    let mut stream = seed.pads(layer.node);
    stream.seek(span.first * inputs as u64);
    stream.fill_blocks(out);
    out.iter_mut().for_each(|pad| *pad = pad.with_colour(false));
}

/// The bits of the garbler's shares, the rounding constant included.
fn known_bits(layer: &GarbledLayer, c: &[u32], span: Span) -> Bits {
    let mut values = Zeroizing::new(layer.gather(c, span));
    values.iter_mut().for_each(|word| *word = word.wrapping_add(layer.half));
    Bits::from_words(&values, layer.in_bits as usize)
}

/// `k = g - r'`.
fn corrections(layer: &GarbledLayer, shares: &Bits, masks: &[u32]) -> Bits {
    let width = layer.mask_bits as usize;
    let mut words = Zeroizing::new(shares.to_words(width));
    words.iter_mut().zip(masks).for_each(|(g, r)| *g = g.wrapping_sub(*r));
    Bits::from_words(&words, width)
}

fn random_bits(len: usize, rng: &mut impl CryptoRng) -> Result<Bits, ProtocolError> {
    let mut bytes = vec![0; len.div_ceil(8)];
    rng.fill_bytes(&mut bytes);
    if let Some(last) = bytes.last_mut().filter(|_| !len.is_multiple_of(8)) {
        *last &= u8::MAX >> (8 - len % 8);
    }
    own_bits(bytes, len)
}
