//! What each party keeps between offline and online: enough for exactly one inference.
//!
//! Neither type can be copied; `online` takes it by value. On disk the lengths of all parts follow from the plan.

use phineus_kernel::block::Block;
use phineus_mpc::{Bits, Delta};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::ProtocolError;
use crate::masks::Seed;
use crate::plan::{NonLinear, Plan};
use crate::protocol::act_ot::Record;
use crate::protocol::{act_cg, act_gc};
use crate::report::Cost;

/// The client's half of a pre-compute.
pub(crate) struct ClientMaterial {
    /// Digest of the plan that it was made for.
    pub(crate) plan: [u8; 32],
    /// Its masks follow from it, and the labels of what it garbles.
    pub(crate) seed: Seed,
    /// First hash tweak of the circuits that the server garbled.
    pub(crate) tweak: u128,
    /// Offset of the labels; `None` where the client garbles nothing.
    pub(crate) delta: Option<Delta>,
    /// Per non-linear layer.
    pub(crate) layers: Vec<ClientLayer>,
    /// Its share of the revealed value.
    pub(crate) output: OutputShare,
    /// What it cost, per row of the report.
    pub(crate) costs: Vec<Cost>,
}

/// What the client keeps of a non-linear layer.
pub(crate) enum ClientLayer {
    /// It evaluates what the server garbled.
    Evaluator(act_gc::EvaluatorLayer),
    /// Correlations.
    Ot(Record),
    /// It garbled: the decoding of what it learns, else nothing.
    Garbler(act_cg::GarblerLayer),
}

/// What the server keeps of a non-linear layer.
pub(crate) enum ServerLayer {
    /// It garbled: its share of the outputs.
    Garbler(Bits),
    /// Correlations.
    Ot(Record),
    /// It evaluates what the client garbled.
    Evaluator(act_cg::EvaluatorLayer),
}

/// The client's share of the network's output.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct OutputShare(pub(crate) Vec<u32>);

/// The server's half of a pre-compute.
pub(crate) struct ServerMaterial {
    /// Its masks and input labels follow from it.
    pub(crate) seed: Seed,
    /// Offset of the labels; `None` where the server garbles nothing.
    pub(crate) delta: Option<Delta>,
    /// Per non-linear layer.
    pub(crate) layers: Vec<ServerLayer>,
    /// CPU seconds per row of the report.
    pub(crate) cpu_seconds: Vec<f64>,
}

impl ClientMaterial {
    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = self.head(self.stored_bytes() as usize);
        self.layers.iter().for_each(|layer| layer.append_to(&mut out));
        out
    }

    /// All but the layers, with room for all of it, so that no copy stays behind in memory that was outgrown.
    fn head(&self, len: usize) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(len));
        out.extend(self.plan);
        out.extend(self.seed.bytes());
        out.extend(self.tweak.to_le_bytes());
        self.delta.iter().for_each(|delta| out.extend(delta.block().to_bytes()));
        self.output.0.iter().for_each(|word| out.extend(word.to_le_bytes()));
        for cost in &self.costs {
            out.extend(cost.seconds.to_le_bytes());
            out.extend(cost.client_cpu_seconds.to_le_bytes());
            for count in [cost.client_to_server_bytes, cost.server_to_client_bytes, cost.rounds] {
                out.extend(count.to_le_bytes());
            }
        }
        out
    }

    /// As [`ClientMaterial::to_bytes`], and frees each layer once it is copied.
    pub(crate) fn into_bytes(mut self) -> Zeroizing<Vec<u8>> {
        let len = self.stored_bytes() as usize;
        let layers = std::mem::take(&mut self.layers);
        let mut out = self.head(len);
        layers.into_iter().for_each(|layer| layer.append_to(&mut out));
        out
    }

    /// Length of [`ClientMaterial::to_bytes`].
    pub(crate) fn stored_bytes(&self) -> u64 {
        let layers: usize = self.layers.iter().map(ClientLayer::stored_bytes).sum();
        let delta = self.delta.as_ref().map_or(0, |_| Block::BYTES);
        (32 + 32 + 16 + delta + 4 * self.output.0.len() + COST_BYTES * self.costs.len() + layers) as u64
    }

    /// # Errors
    /// [`ProtocolError::Material`] unless the bytes name this plan and have exactly the length that it calls for.
    pub(crate) fn from_bytes(bytes: &[u8], plan: &Plan) -> Result<Self, ProtocolError> {
        let mut reader = Reader(bytes);
        if reader.array()? != *plan.digest() {
            return Err(ProtocolError::Material);
        }
        let seed = Seed::from_bytes(reader.array()?);
        let tweak = u128::from_le_bytes(reader.array()?);
        let delta = reader.delta(plan.client_garbled().next().is_some())?;
        let graph = &plan.public().graph;
        let output = (0..graph.nodes[graph.output].len())
            .map(|_| Ok(u32::from_le_bytes(reader.array()?)))
            .collect::<Result<_, ProtocolError>>()?;
        let costs = (0..plan.rows()).map(|_| reader.cost()).collect::<Result<_, _>>()?;
        let layers =
            plan.nonlinear().map(|layer| ClientLayer::read(&mut reader, layer)).collect::<Result<_, _>>()?;
        reader.end()?;
        let output = OutputShare(output);
        Ok(Self { plan: *plan.digest(), seed, tweak, delta, layers, output, costs })
    }
}

impl ServerMaterial {
    /// Frees each layer once it is copied: tables are never there twice.
    pub(crate) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        let layers: usize = self.layers.iter().map(ServerLayer::stored_bytes).sum();
        let mut out = Zeroizing::new(Vec::with_capacity(48 + 8 * self.cpu_seconds.len() + layers));
        out.extend(self.seed.bytes());
        self.delta.iter().for_each(|delta| out.extend(delta.block().to_bytes()));
        self.cpu_seconds.iter().for_each(|s| out.extend(s.to_le_bytes()));
        self.layers.into_iter().for_each(|layer| layer.append_to(&mut out));
        out
    }

    /// # Errors
    /// [`ProtocolError::Material`] unless the bytes have exactly the length that the plan calls for.
    pub(crate) fn from_bytes(bytes: &[u8], plan: &Plan) -> Result<Self, ProtocolError> {
        let mut reader = Reader(bytes);
        let seed = Seed::from_bytes(reader.array()?);
        let delta = reader.delta(plan.server_garbled().next().is_some())?;
        let cpu_seconds = (0..plan.rows()).map(|_| reader.f64()).collect::<Result<_, _>>()?;
        let layers =
            plan.nonlinear().map(|layer| ServerLayer::read(&mut reader, layer)).collect::<Result<_, _>>()?;
        reader.end()?;
        Ok(Self { seed, delta, layers, cpu_seconds })
    }
}

/// Bytes of both materials of a plan, the client's and the server's.
pub(crate) fn stored_bytes(plan: &Plan) -> [u64; 2] {
    let graph = &plan.public().graph;
    let delta = |garbles: bool| if garbles { Block::BYTES } else { 0 };
    let client = 32 + 32 + 16 + delta(plan.client_garbled().next().is_some());
    let client = client + 4 * graph.nodes[graph.output].len() + COST_BYTES * plan.rows();
    let server = 32 + delta(plan.server_garbled().next().is_some()) + 8 * plan.rows();
    let layers = plan.nonlinear().map(|layer| match layer {
        NonLinear::ServerGarbles(layer) => {
            let decoding = layer.output_bits().div_ceil(8);
            let revealed = if layer.reveals() { decoding } else { 0 };
            [layer.evaluator_bits() * Block::BYTES + layer.table_bytes() + revealed, decoding]
        }
        NonLinear::Ot(layer) => [layer.client_bytes(), layer.server_bytes()],
        NonLinear::Product(layer) => [layer.client_bytes(), layer.server_bytes()],
        NonLinear::ClientGarbles(layer) => {
            let revealed = if layer.reveals() { layer.output_bits().div_ceil(8) } else { 0 };
            let corrections = layer.correction_bits(layer.instances).div_ceil(8);
            let kept = 16 + layer.evaluator_bits() * Block::BYTES + layer.table_bytes() + corrections;
            [revealed, kept]
        }
    });
    let fixed = [client as u64, server as u64];
    layers.fold(fixed, |[a, b], [client, server]| [a + client as u64, b + server as u64])
}

impl ClientLayer {
    fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Evaluator(layer) => {
                out.extend(Block::as_bytes(&layer.labels));
                out.extend(&layer.tables);
                out.extend(layer.decoding.iter().flat_map(Bits::as_bytes));
            }
            Self::Ot(record) => out.extend_from_slice(record),
            Self::Garbler(decoding) => out.extend(decoding.iter().flat_map(Bits::as_bytes)),
        }
    }

    fn stored_bytes(&self) -> usize {
        match self {
            Self::Evaluator(layer) => {
                let decoding = layer.decoding.as_ref().map_or(0, |bits| bits.as_bytes().len());
                layer.labels.len() * Block::BYTES + layer.tables.len() + decoding
            }
            Self::Ot(record) => record.len(),
            Self::Garbler(decoding) => decoding.as_ref().map_or(0, |bits| bits.as_bytes().len()),
        }
    }

    fn correlations(reader: &mut Reader<'_>, bytes: usize) -> Result<Self, ProtocolError> {
        Ok(Self::Ot(Zeroizing::new(reader.take(bytes)?.to_vec())))
    }

    fn read(reader: &mut Reader<'_>, layer: &NonLinear) -> Result<Self, ProtocolError> {
        match layer {
            NonLinear::ServerGarbles(layer) => {
                let labels = reader.take(layer.evaluator_bits() * Block::BYTES)?;
                let labels = Block::vec_from_bytes(labels).ok_or(ProtocolError::Material)?;
                let tables = reader.take(layer.table_bytes())?.to_vec();
                let decoding = if layer.reveals() { Some(reader.bits(layer.output_bits())?) } else { None };
                Ok(Self::Evaluator(act_gc::EvaluatorLayer { labels, tables, decoding }))
            }
            NonLinear::ClientGarbles(layer) => {
                let decoding = layer.reveals().then(|| reader.bits(layer.output_bits()));
                Ok(Self::Garbler(decoding.transpose()?))
            }
            NonLinear::Ot(layer) => Self::correlations(reader, layer.client_bytes()),
            NonLinear::Product(layer) => Self::correlations(reader, layer.client_bytes()),
        }
    }
}

impl ServerLayer {
    fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Garbler(bits) => out.extend(bits.as_bytes()),
            Self::Ot(record) => out.extend_from_slice(record),
            Self::Evaluator(layer) => {
                out.extend(layer.tweak.to_le_bytes());
                out.extend(Block::as_bytes(&layer.labels));
                out.extend(&layer.tables);
                out.extend(layer.corrections.as_bytes());
            }
        }
    }

    fn stored_bytes(&self) -> usize {
        match self {
            Self::Garbler(bits) => bits.as_bytes().len(),
            Self::Ot(record) => record.len(),
            Self::Evaluator(layer) => {
                let labels = layer.labels.len() * Block::BYTES;
                16 + labels + layer.tables.len() + layer.corrections.as_bytes().len()
            }
        }
    }

    fn correlations(reader: &mut Reader<'_>, bytes: usize) -> Result<Self, ProtocolError> {
        Ok(Self::Ot(Zeroizing::new(reader.take(bytes)?.to_vec())))
    }

    fn read(reader: &mut Reader<'_>, layer: &NonLinear) -> Result<Self, ProtocolError> {
        match layer {
            NonLinear::ServerGarbles(layer) => Ok(Self::Garbler(reader.bits(layer.output_bits())?)),
            NonLinear::Ot(layer) => Self::correlations(reader, layer.server_bytes()),
            NonLinear::Product(layer) => Self::correlations(reader, layer.server_bytes()),
            NonLinear::ClientGarbles(layer) => {
                let tweak = u128::from_le_bytes(reader.array()?);
                let labels = reader.take(layer.evaluator_bits() * Block::BYTES)?;
                let labels = Block::vec_from_bytes(labels).ok_or(ProtocolError::Material)?;
                let tables = reader.take(layer.table_bytes())?.to_vec();
                let corrections = reader.bits(layer.correction_bits(layer.instances))?;
                Ok(Self::Evaluator(act_cg::EvaluatorLayer { tweak, labels, tables, corrections }))
            }
        }
    }
}

/// Bytes of a stored [`Cost`].
const COST_BYTES: usize = 40;

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, len: usize) -> Result<&'b [u8], ProtocolError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(ProtocolError::Material)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        self.take(N)?.try_into().map_err(|_| ProtocolError::Material)
    }

    fn f64(&mut self) -> Result<f64, ProtocolError> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, ProtocolError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn delta(&mut self, present: bool) -> Result<Option<Delta>, ProtocolError> {
        let read = |bytes| Delta::from_bytes(bytes).ok_or(ProtocolError::Material);
        if present { self.array().and_then(read).map(Some) } else { Ok(None) }
    }

    fn bits(&mut self, len: usize) -> Result<Bits, ProtocolError> {
        Bits::from_bytes(self.take(len.div_ceil(8))?.to_vec(), len).map_err(|_| ProtocolError::Material)
    }

    fn cost(&mut self) -> Result<Cost, ProtocolError> {
        let (seconds, client_cpu_seconds) = (self.f64()?, self.f64()?);
        Ok(Cost {
            seconds,
            client_to_server_bytes: self.u64()?,
            server_to_client_bytes: self.u64()?,
            rounds: self.u64()?,
            client_cpu_seconds,
            server_cpu_seconds: 0.0,
        })
    }

    fn end(self) -> Result<(), ProtocolError> {
        if self.0.is_empty() { Ok(()) } else { Err(ProtocolError::Material) }
    }
}
