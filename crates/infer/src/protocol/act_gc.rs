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

use phineus_kernel::block::Block;
use phineus_mpc::gc::{GarblerInputs, GarblerLabels, GcError, Span, evaluate, garble};
use phineus_mpc::ot::cot;
use phineus_mpc::{Bits, Delta};
use phineus_net::{Channel, FRAME_HEADER, Role, Step, Traffic};
use rand::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::ProtocolError;
use crate::clock::{Clock, Side};
use crate::compute::compute;
use crate::masks::Seed;
use crate::plan::GarbledLayer;
use crate::report::Cost;

const TWEAK: Step = Step::new("act.tweak");
const TABLES: Step = Step::new("act.tables");
const DECODING: Step = Step::new("act.decoding");
const LABELS: Step = Step::new("act.labels");
const OUTPUT: Step = Step::new("act.output");

/// Bytes of tables or labels per message, roughly.
const CHUNK_BYTES: usize = 1 << 21;
/// OTs whose labels either side holds at once while garbling; layers are taken together up to this number.
const GROUP_OTS: usize = 1 << 22;

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
    /// Evaluator's input bits of all instances.
    pub(crate) fn evaluator_bits(&self) -> usize {
        self.instances * self.circuit.evaluator_inputs()
    }

    /// Bytes of all tables.
    pub(crate) fn table_bytes(&self) -> usize {
        self.circuit.table_bytes(self.instances)
    }

    /// What the evaluator keeps from offline to online.
    pub(crate) fn client_bytes(&self) -> u64 {
        (self.table_bytes() + self.evaluator_bits() * Block::BYTES) as u64
    }

    /// Output bits of all instances.
    pub(crate) fn output_bits(&self) -> usize {
        self.instances * self.circuit.outputs()
    }

    /// Whether the evaluator learns the output.
    pub(crate) fn reveals(&self) -> bool {
        self.mask_bits == 0
    }

    /// The layer's share of values in the order of the circuit's inputs.
    pub(crate) fn gather(&self, values: &[u32]) -> Vec<u32> {
        match &self.gather {
            Some(indices) => indices.iter().map(|i| values[*i as usize]).collect(),
            None => values.to_vec(),
        }
    }

    fn spans(&self, tweak: u128, bytes_per_instance: usize) -> impl Iterator<Item = Span> + use<> {
        Span::whole(tweak, self.instances).chunks(CHUNK_BYTES / bytes_per_instance.max(1))
    }

    fn table_spans(&self, tweak: u128) -> impl Iterator<Item = Span> + use<> {
        self.spans(tweak, self.circuit.table_bytes(1))
    }

    fn label_spans(&self, tweak: u128) -> impl Iterator<Item = Span> + use<> {
        self.spans(tweak, self.circuit.garbler_inputs() * Block::BYTES)
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
    cot: &mut cot::Receiver<R>,
    layers: &[&GarbledLayer],
    inputs: &[Zeroizing<Vec<u32>>],
    side: Side,
) -> Result<(u128, Vec<(EvaluatorLayer, Cost)>), ProtocolError> {
    let mut clock = Clock::start(side, channel.traffic());
    let mut tweak = None;
    let mut done = Vec::with_capacity(layers.len());
    for group in groups(layers) {
        // 1. Corrections of the whole group, so that it takes one round.
        let mut received = Vec::new();
        for (layer, input) in layers[group.clone()].iter().zip(&inputs[group.clone()]) {
            let values = Zeroizing::new(layer.gather(input));
            let choices = Bits::from_words(&values, layer.in_bits as usize);
            let labels = cot.extend(channel, &choices).await?;
            received.push((labels, clock.lap(channel.traffic())));
        }
        // 2. Tables.
        if tweak.is_none() {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&channel.recv_bytes(TWEAK, 16).await?);
            tweak = Some(u128::from_le_bytes(bytes));
        }
        for (layer, (labels, mut cost)) in layers[group].iter().zip(received) {
            let mut tables = Vec::new();
            tables
                .try_reserve_exact(layer.table_bytes())
                .map_err(|_| ProtocolError::Memory(layer.table_bytes()))?;
            for span in layer.table_spans(0) {
                tables.extend(channel.recv_bytes(TABLES, layer.circuit.table_bytes(span.count)).await?);
            }
            let decoding = if layer.reveals() {
                Some(recv_bits(channel, DECODING, layer.output_bits()).await?)
            } else {
                None
            };
            cost += clock.lap(channel.traffic());
            done.push((EvaluatorLayer { labels, tables, decoding }, cost));
        }
    }
    Ok((tweak.unwrap_or(0), done))
}

/// Offline, garbler: the decoding bits of all layers, the tweak they start at, and what each layer cost.
pub(crate) async fn prepare_garbler<R: Role>(
    channel: &mut Channel<R>,
    cot: &mut cot::Sender<R>,
    layers: &[&GarbledLayer],
    seed: &Seed,
    side: Side,
    rng: &mut impl CryptoRng,
) -> Result<(u128, Vec<(Bits, Cost)>), ProtocolError> {
    let mut clock = Clock::start(side, channel.traffic());
    let start = Block::random(rng).0;
    let tweaks: Vec<u128> = tweaks(layers.iter().copied(), start).map(|(_, tweak)| tweak).collect();
    let mut done = Vec::with_capacity(layers.len());
    for group in groups(layers) {
        // 1. Corrections: the zero labels of the evaluator's inputs.
        let mut zero_labels = Vec::new();
        for layer in &layers[group.clone()] {
            let labels = Zeroizing::new(cot.extend(channel, layer.evaluator_bits()).await?);
            zero_labels.push((labels, clock.lap(channel.traffic())));
        }
        // 2. Tables.
        if group.start == 0 {
            channel.send_bytes(TWEAK, &start.to_le_bytes()).await?;
        }
        for ((layer, tweak), (zero_labels, mut cost)) in
            layers[group.clone()].iter().zip(&tweaks[group]).zip(zero_labels)
        {
            let inputs = seed.labels(layer.node);
            let per_instance = layer.circuit.evaluator_inputs();
            let mut decoding = Vec::with_capacity(layer.output_bits().div_ceil(8));
            for span in layer.table_spans(*tweak) {
                let first = span.first as usize * per_instance;
                let labels = &zero_labels[first..first + span.count * per_instance];
                let inputs = GarblerInputs::Later(&inputs);
                let garbled = compute(|| garble(&layer.circuit, cot.delta(), span, inputs, labels))?;
                channel.send_bytes(TABLES, &garbled.tables).await?;
                // Chunks are whole batches, so their bits end at whole bytes but for the last.
                decoding.extend_from_slice(garbled.decoding.as_bytes());
            }
            let decoding = bits(decoding, layer.output_bits())?;
            if layer.reveals() {
                channel.send_bytes(DECODING, decoding.as_bytes()).await?;
            }
            cost += clock.lap(channel.traffic());
            done.push((decoding, cost));
        }
        channel.flush().await?;
    }
    Ok((start, done))
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
    let values: Vec<u32> = layer.gather(y).iter().map(|word| word.wrapping_add(layer.half)).collect();
    for span in layer.label_spans(0) {
        let first = span.first as usize * layer.window;
        let values = &values[first..first + span.count * layer.window];
        let labels = compute(|| {
            let bits = Bits::from_words(values, layer.in_bits as usize);
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
    let per_instance = layer.circuit.evaluator_inputs();
    let mut output = Vec::with_capacity(layer.output_bits().div_ceil(8));
    for span in layer.label_spans(tweak) {
        let len = span.count * layer.circuit.garbler_inputs() * Block::BYTES;
        let bytes = channel.recv_bytes(LABELS, len).await?;
        let first = span.first as usize;
        let tables =
            &material.tables[layer.circuit.table_bytes(first)..][..layer.circuit.table_bytes(span.count)];
        let labels = &material.labels[first * per_instance..][..span.count * per_instance];
        let chunk = compute(|| {
            let theirs = Block::vec_from_bytes(&bytes).unwrap_or_default();
            evaluate(&layer.circuit, span, tables, GarblerLabels::Sent(&theirs), labels)
        })?;
        output.extend_from_slice(chunk.as_bytes());
    }
    let output = bits(output, layer.output_bits())?;
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

/// Bytes of all layers offline and of each layer online, as the evaluator counts them.
pub(crate) fn predict(layers: &[&GarbledLayer]) -> (Vec<Traffic>, Vec<Traffic>) {
    let frames = |n: usize| (n * FRAME_HEADER) as u64;
    let bits = |n: usize| n.div_ceil(8) as u64;
    let offline = layers.iter().enumerate().map(|(i, layer)| {
        let revealed = if layer.reveals() { bits(layer.output_bits()) + frames(1) } else { 0 };
        let tweak = if i == 0 { 16 + frames(1) } else { 0 };
        Traffic {
            sent: cot::extend_cost(layer.evaluator_bits()).receiver_to_sender,
            received: layer.table_bytes() as u64 + frames(layer.table_spans(0).count()) + revealed + tweak,
            rounds: 0,
        }
    });
    let online = layers.iter().map(|layer| {
        let labels = layer.instances * layer.circuit.garbler_inputs() * Block::BYTES;
        let sent = if layer.reveals() { 0 } else { bits(layer.output_bits()) + frames(1) };
        Traffic { sent, received: labels as u64 + frames(layer.label_spans(0).count()), rounds: 1 }
    });
    (offline.collect(), online.collect())
}

/// Consecutive layers with at most [`GROUP_OTS`] together, or one larger layer: what takes one round offline.
pub(crate) fn groups(layers: &[&GarbledLayer]) -> Vec<std::ops::Range<usize>> {
    let mut groups: Vec<std::ops::Range<usize>> = Vec::new();
    let mut held = 0;
    for (i, layer) in layers.iter().enumerate() {
        match groups.last_mut() {
            Some(group) if held + layer.evaluator_bits() <= GROUP_OTS => group.end = i + 1,
            _ => {
                groups.push(i..i + 1);
                held = 0;
            }
        }
        held += layer.evaluator_bits();
    }
    groups
}

async fn recv_bits<R: Role>(channel: &mut Channel<R>, step: Step, len: usize) -> Result<Bits, ProtocolError> {
    let bytes = channel.recv_bytes(step, len.div_ceil(8)).await?;
    Bits::from_bytes(bytes, len).map_err(|_| {
        let reason = "bits beyond the last one";
        phineus_net::ChannelError::from(phineus_kernel::wire::PeerMisbehaved::Invalid {
            what: step.name(),
            reason,
        })
        .into()
    })
}

fn bits(bytes: Vec<u8>, len: usize) -> Result<Bits, ProtocolError> {
    let got = bytes.len();
    let length = |_| GcError::Length { what: "packed bits", expected: len.div_ceil(8), got };
    Bits::from_bytes(bytes, len).map_err(length).map_err(ProtocolError::from)
}
