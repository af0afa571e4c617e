//! Lengths and order of the messages of garbled layers, whoever garbles.

use std::ops::Range;

use phineus_kernel::block::Block;
use phineus_kernel::wire::PeerMisbehaved;
use phineus_mpc::Bits;
use phineus_mpc::gc::{GcError, Span};
use phineus_net::{Channel, ChannelError, Role, Step};

use crate::ProtocolError;
use crate::plan::GarbledLayer;
use crate::protocol::groups::groups;

/// Bytes of tables or labels per message, roughly.
const CHUNK_BYTES: usize = 1 << 21;
/// OTs whose labels the garbler holds at once: what is prepared in one round.
const GROUP_OTS: usize = 1 << 22;

/// A run of instances of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Index of the layer.
    pub(crate) layer: usize,
    /// Its instances; the tweak is that of the layer.
    pub(crate) span: Span,
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

    /// Output bits of all instances.
    pub(crate) fn output_bits(&self) -> usize {
        self.instances * self.circuit.outputs()
    }

    /// Whether the client learns the output.
    pub(crate) fn reveals(&self) -> bool {
        self.mask_bits == 0
    }

    /// The values that instances of the layer read, in the order of the circuit's inputs.
    pub(crate) fn gather(&self, values: &[u32], span: Span) -> Vec<u32> {
        let first = span.first as usize * self.window;
        let range = first..first + span.count * self.window;
        match &self.gather {
            Some(indices) => indices[range].iter().map(|i| values[*i as usize]).collect(),
            None => values[range].to_vec(),
        }
    }

    /// The evaluator's inputs of `span` among those of a part that contains it.
    pub(crate) fn inputs_within(&self, span: Span, part: Span) -> Range<usize> {
        of_span(Span { first: span.first - part.first, ..span }, self.circuit.evaluator_inputs())
    }

    /// The instances of `span` in runs whose tables make one message.
    pub(crate) fn table_spans(&self, span: Span) -> impl Iterator<Item = Span> + use<> {
        span.chunks(CHUNK_BYTES / self.circuit.table_bytes(1).max(1))
    }

    /// All instances in runs whose labels of `inputs` wires make one message.
    pub(crate) fn label_spans(&self, tweak: u128, inputs: usize) -> impl Iterator<Item = Span> + use<> {
        Span::whole(tweak, self.instances).chunks(CHUNK_BYTES / (inputs * Block::BYTES).max(1))
    }
}

/// The elements of `span` in an array that has `width` per instance.
pub(crate) fn of_span(span: Span, width: usize) -> Range<usize> {
    let first = span.first as usize;
    first * width..(first + span.count) * width
}

/// All instances of all layers, in groups that take one round each offline: consecutive layers with at most
/// [`GROUP_OTS`] together, and larger layers in pieces of about that many. Tweaks start at `start`.
pub(crate) fn schedule(layers: &[&GarbledLayer], start: u128) -> Vec<Vec<Part>> {
    let (mut parts, mut tweak) = (Vec::new(), start);
    for (index, layer) in layers.iter().enumerate() {
        let inputs = layer.circuit.evaluator_inputs().max(1);
        let spans = Span::whole(tweak, layer.instances).chunks(GROUP_OTS / inputs);
        parts.extend(spans.map(|span| (Part { layer: index, span }, span.count * inputs)));
        tweak = tweak.wrapping_add(layer.circuit.tweaks(layer.instances));
    }
    groups(GROUP_OTS, parts)
}

/// A string of bits from the peer.
pub(crate) async fn recv_bits<R: Role>(
    channel: &mut Channel<R>,
    step: Step,
    len: usize,
) -> Result<Bits, ProtocolError> {
    let bytes = channel.recv_bytes(step, len.div_ceil(8)).await?;
    peer_bits(step, bytes, len)
}

/// Bits that came from the peer.
pub(crate) fn peer_bits(step: Step, bytes: Vec<u8>, len: usize) -> Result<Bits, ProtocolError> {
    Bits::from_bytes(bytes, len).map_err(|_| {
        let reason = "bits beyond the last one";
        ChannelError::from(PeerMisbehaved::Invalid { what: step.name(), reason }).into()
    })
}

/// Packed bits of this party's own making.
pub(crate) fn own_bits(bytes: Vec<u8>, len: usize) -> Result<Bits, ProtocolError> {
    let got = bytes.len();
    let length = |_| GcError::Length { what: "packed bits", expected: len.div_ceil(8), got };
    Bits::from_bytes(bytes, len).map_err(length).map_err(ProtocolError::from)
}
