//! Non-linear layers by garbled circuits.
//!
//! Functionality: garbler and evaluator share `acc = y + c` modulo 2^l; the evaluator also has a mask r'. The
//! garbler gets `f(acc) - r'` modulo 2^l' for the layer's public function f (rectifier, rescale, clamp, maximum),
//! or, in the arg-max layer, the evaluator gets `f(acc)`. The evaluator's c is known offline, the garbler's y only
//! online (Mishra et al., "Delphi", USENIX Security 2020, section 4.1.2; there r' is an input of the circuit).
//!
//! The circuit leaves `f(acc)` in additive shares, g of the garbler and e of the evaluator; the evaluator sends
//! `e - r'`, uniform because r' is, and the garbler adds g. The mask costs no gate and no label.
//!
//! Offline:
//! 1. evaluator -> garbler: corrections of one correlated OT per input bit of the evaluator. The sender's offset is
//!    the garbler's, so the outputs of the OT *are* the labels.
//! 2. garbler -> evaluator: the start of the hash tweaks (once), then the tables, chunk by chunk; for a layer whose
//!    output is the evaluator's, also the decoding bits.
//!
//! Online:
//! 3. garbler -> evaluator: the labels of y, chunk by chunk.
//! 4. evaluator -> garbler: `e - r'` (not for the arg-max).
//!
//! Cost per instance: the circuit's tables down and about 4 bytes per bit of c up offline; 16 bytes per bit of y down
//! and l' bits up online. The garbler keeps a seed and g.
//!
//! Security: semi-honest, with correlated OT secure against a malicious evaluator. The evaluator sees labels and
//! tables (private under the re-keyed hash), the garbler f(acc) - r'.
//!
//! The halves are generic in the network role: either party may garble.

mod layout;

use phineus_kernel::block::Block;
use phineus_mpc::gc::{GarblerInputs, GarblerLabels, evaluate, garble_into};
use phineus_mpc::ot::engine;
use phineus_mpc::{Bits, Delta};
use phineus_net::{Channel, Role, Step};
use rand::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::ProtocolError;
use crate::clock::{Clock, Side};
use crate::compute::compute;
use crate::masks::Seed;
use crate::plan::GarbledLayer;
use crate::protocol::script::{Script, Way};
use crate::report::Cost;

pub(crate) use layout::{Part, of_span, own_bits, peer_bits, recv_bits, schedule};

const TWEAK: Step = Step::new("act.tweak");
const TABLES: Step = Step::new("act.tables");
const DECODING: Step = Step::new("act.decoding");
const LABELS: Step = Step::new("act.labels");
const OUTPUT: Step = Step::new("act.output");

/// What the evaluator keeps of one layer.
pub(crate) struct EvaluatorLayer {
    pub(crate) labels: Vec<Block>,
    pub(crate) tables: Vec<u8>,
    /// Only where the evaluator learns the output.
    pub(crate) decoding: Option<Bits>,
}

impl Drop for EvaluatorLayer {
    fn drop(&mut self) {
        self.labels.zeroize();
    }
}

impl GarbledLayer {
    /// What the evaluator keeps from offline to online.
    pub(crate) fn client_bytes(&self) -> u64 {
        (self.table_bytes() + self.evaluator_bits() * Block::BYTES) as u64
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
        Ok(Self { labels, tables, decoding: None })
    }
}

/// Pairs each layer with the first of its tweaks.
pub(crate) fn tweaks<'p>(
    layers: impl Iterator<Item = &'p GarbledLayer>,
    start: u128,
) -> impl Iterator<Item = (&'p GarbledLayer, u128)> {
    layers.scan(start, |next, layer| {
        let tweak = *next;
        *next = next.wrapping_add(layer.circuit.tweaks(layer.instances));
        Some((layer, tweak))
    })
}

/// Offline, evaluator: labels and tables of all layers, the tweak they start at, and what each layer cost. `inputs` are
/// its shares of the values that the layers read.
pub(crate) async fn prepare_evaluator<R: Role>(
    channel: &mut Channel<R>,
    cot: &mut engine::Receiver<R>,
    layers: &[&GarbledLayer],
    inputs: &[&[u32]],
    side: Side,
) -> Result<(u128, Vec<(EvaluatorLayer, Cost)>), ProtocolError> {
    let mut clock = Clock::start(side, channel.traffic());
    let mut start = None;
    let mut done = Vec::with_capacity(layers.len());
    for layer in layers {
        done.push((EvaluatorLayer::with_room(layer)?, Cost::default()));
    }
    for group in schedule(layers, 0) {
        // 1. Corrections of the whole group, so that it takes one round.
        for part in &group {
            let (layer, (material, cost)) = (layers[part.layer], &mut done[part.layer]);
            let values = Zeroizing::new(layer.gather(inputs[part.layer], part.span));
            let choices = Bits::from_words(&values, layer.in_bits as usize);
            let labels = Zeroizing::new(cot.extend(channel, &choices).await?);
            material.labels.extend_from_slice(&labels);
            *cost += clock.lap(channel.traffic());
        }
        // 2. Tables.
        if start.is_none() {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&channel.recv_bytes(TWEAK, 16).await?);
            start = Some(u128::from_le_bytes(bytes));
        }
        for part in &group {
            let (layer, (material, cost)) = (layers[part.layer], &mut done[part.layer]);
            for span in layer.table_spans(part.span) {
                let tables = channel.recv_bytes(TABLES, layer.circuit.table_bytes(span.count)).await?;
                material.tables.extend_from_slice(&tables);
            }
            if layer.reveals() {
                material.decoding = Some(recv_bits(channel, DECODING, layer.output_bits()).await?);
            }
            *cost += clock.lap(channel.traffic());
        }
    }
    Ok((start.unwrap_or(0), done))
}

/// Offline, garbler: the decoding bits of all layers, the tweak they start at, and what each layer cost.
pub(crate) async fn prepare_garbler<R: Role>(
    channel: &mut Channel<R>,
    cot: &mut engine::Sender<R>,
    layers: &[&GarbledLayer],
    seed: &Seed,
    side: Side,
    rng: &mut impl CryptoRng,
) -> Result<(u128, Vec<(Bits, Cost)>), ProtocolError> {
    let mut clock = Clock::start(side, channel.traffic());
    let start = Block::random(rng).0;
    let mut decodings: Vec<Vec<u8>> =
        layers.iter().map(|layer| Vec::with_capacity(layer.output_bits().div_ceil(8))).collect();
    let mut costs = vec![Cost::default(); layers.len()];
    // One message at a time; its memory is used again.
    let mut tables = Vec::new();
    for (number, group) in schedule(layers, start).iter().enumerate() {
        // 1. Corrections: the zero labels of the evaluator's inputs.
        let mut zero_labels = Vec::with_capacity(group.len());
        for Part { layer, span } in group {
            let count = span.count * layers[*layer].circuit.evaluator_inputs();
            zero_labels.push(Zeroizing::new(cot.extend(channel, count).await?));
            costs[*layer] += clock.lap(channel.traffic());
        }
        // 2. Tables.
        if number == 0 {
            channel.send_bytes(TWEAK, &start.to_le_bytes()).await?;
        }
        for (part, zero_labels) in group.iter().zip(zero_labels) {
            let (layer, decoding) = (layers[part.layer], &mut decodings[part.layer]);
            let inputs = seed.labels(layer.node);
            for span in layer.table_spans(part.span) {
                let labels = &zero_labels[layer.inputs_within(span, part.span)];
                tables.resize(layer.circuit.table_bytes(span.count), 0);
                let inputs = GarblerInputs::Later(&inputs);
                let bits =
                    compute(|| garble_into(&layer.circuit, cot.delta(), span, inputs, labels, &mut tables))?;
                channel.send_bytes(TABLES, &tables).await?;
                // Chunks are whole batches, so their bits end at whole bytes but for the last.
                decoding.extend_from_slice(bits.as_bytes());
            }
            if layer.reveals() {
                channel.send_bytes(DECODING, decoding).await?;
            }
            costs[part.layer] += clock.lap(channel.traffic());
        }
        channel.flush().await?;
    }
    let decodings = layers.iter().zip(decodings).map(|(layer, bytes)| own_bits(bytes, layer.output_bits()));
    let done = decodings.zip(costs).map(|(bits, cost)| Ok((bits?, cost)));
    Ok((start, done.collect::<Result<_, ProtocolError>>()?))
}

/// Online, garbler: its share of the layer's output, from its share `y` of the input; nothing where the evaluator
/// learns the output.
pub(crate) async fn garbler<R: Role>(
    channel: &mut Channel<R>,
    layer: &GarbledLayer,
    delta: &Delta,
    seed: &Seed,
    decoding: &Bits,
    y: &[u32],
) -> Result<Vec<u32>, ProtocolError> {
    // 3. Labels of y, the rounding constant included.
    let inputs = seed.labels(layer.node);
    for span in layer.label_spans(0, layer.circuit.garbler_inputs()) {
        let labels = compute(|| {
            let mut values = layer.gather(y, span);
            values.iter_mut().for_each(|word| *word = word.wrapping_add(layer.half));
            let bits = Bits::from_words(&values, layer.in_bits as usize);
            inputs.labels(&layer.circuit, delta, span, &bits)
        })?;
        channel.send_bytes(LABELS, Block::as_bytes(&labels)).await?;
    }
    channel.flush().await?;
    if layer.reveals() {
        return Ok(Vec::new());
    }
    // 4. e - r', to which it adds g.
    let output = recv_bits(channel, OUTPUT, layer.output_bits()).await?;
    Ok(layer.circuit.decode(decoding, &output).to_words(layer.mask_bits as usize))
}

/// Online, evaluator: the output where it is the evaluator's to learn; elsewhere `mask` is its share of the output.
pub(crate) async fn evaluator<R: Role>(
    channel: &mut Channel<R>,
    layer: &GarbledLayer,
    tweak: u128,
    material: &EvaluatorLayer,
    mask: &[u32],
) -> Result<Vec<u32>, ProtocolError> {
    // 3. Labels of y.
    let circuit = &layer.circuit;
    let mut output = Vec::with_capacity(layer.output_bits().div_ceil(8));
    for span in layer.label_spans(tweak, circuit.garbler_inputs()) {
        let bytes = channel.recv_bytes(LABELS, span.count * circuit.garbler_inputs() * Block::BYTES).await?;
        let tables = &material.tables[of_span(span, circuit.table_bytes(1))];
        let labels = &material.labels[of_span(span, circuit.evaluator_inputs())];
        let chunk = compute(|| {
            let theirs = Block::vec_from_bytes(&bytes).unwrap_or_default();
            evaluate(circuit, span, tables, GarblerLabels::Sent(&theirs), labels)
        })?;
        output.extend_from_slice(chunk.as_bytes());
    }
    let output = own_bits(output, layer.output_bits())?;
    if let Some(decoding) = &material.decoding {
        // Of a single value the arg-max is known: there is nothing to decode.
        let bits = layer.circuit.outputs();
        return Ok(if bits == 0 {
            Vec::new()
        } else {
            layer.circuit.decode(decoding, &output).to_words(bits)
        });
    }
    // 4. e - r'.
    let mut masked = output.to_words(layer.mask_bits as usize);
    masked.iter_mut().zip(mask).for_each(|(e, r)| *e = e.wrapping_sub(*r));
    channel.send_bytes(OUTPUT, Bits::from_words(&masked, layer.mask_bits as usize).as_bytes()).await?;
    channel.flush().await?;
    Ok(Vec::new())
}

/// Enters the offline phase of all layers into a script in which the client evaluates; the cost of each.
pub(crate) fn predict_offline(layers: &[&GarbledLayer], script: &mut Script) -> Vec<Cost> {
    let mut costs = vec![Cost::default(); layers.len()];
    for (i, group) in schedule(layers, 0).into_iter().enumerate() {
        // 1. Corrections.
        for part in &group {
            script.extend(Way::Down, part.span.count * layers[part.layer].circuit.evaluator_inputs());
            costs[part.layer] += script.lap();
        }
        // 2. Tables.
        if i == 0 {
            script.down(16);
        }
        for part in &group {
            let layer = layers[part.layer];
            layer.table_spans(part.span).for_each(|span| script.down(layer.circuit.table_bytes(span.count)));
            if layer.reveals() {
                script.down(layer.output_bits().div_ceil(8));
            }
            costs[part.layer] += script.lap();
        }
    }
    costs
}

/// Enters the online phase of a layer.
pub(crate) fn predict_online(layer: &GarbledLayer, script: &mut Script) {
    let inputs = layer.circuit.garbler_inputs();
    layer.label_spans(0, inputs).for_each(|span| script.down(span.count * inputs * Block::BYTES));
    if !layer.reveals() {
        script.up(layer.output_bits().div_ceil(8));
    }
}
