//! A non-linear layer and the protocol that runs it.

use std::sync::Arc;

use phineus_model::graph::NodeId;
use phineus_mpc::gc::Circuit;

use super::options::Engine;
use super::ot::OtLayer;
use super::product::ProductLayer;

/// A non-linear layer, by the protocol that runs it: an activation, a rescale, a max-pool, a product of two values, or the
/// arg-max at the end.
///
/// Every protocol meets the same contract: the server's y and the client's c add up to an input, offline only c is
/// known; the server gets `f(y + c) - r'` and r' is the client's. Only in the arg-max layer the client learns the output.
#[derive(Debug)]
pub enum NonLinear {
    /// The server garbles, the client evaluates (`protocol::act_gc`).
    ServerGarbles(GarbledLayer),
    /// Comparison by oblivious transfer (`protocol::act_ot`).
    Ot(Box<OtLayer>),
    /// The client garbles, the server evaluates (`protocol::act_cg`).
    ClientGarbles(GarbledLayer),
    /// A product of two values by oblivious transfer (`protocol::act_product`).
    Product(ProductLayer),
}

/// A non-linear layer by garbled circuits: `instances` copies of one circuit.
#[derive(Debug)]
pub struct GarbledLayer {
    /// The node; for the arg-max, the number of nodes.
    pub node: NodeId,
    /// The value it reads.
    pub input: NodeId,
    /// The circuit of one output.
    pub circuit: Arc<Circuit>,
    /// Outputs.
    pub instances: usize,
    /// Values per instance, in the order of the circuit's inputs; `None`: value `i` goes to instance `i`.
    pub gather: Option<Vec<u32>>,
    /// Values per instance.
    pub window: usize,
    /// Width of the values.
    pub in_bits: u32,
    /// Width of the output and of the client's next mask; 0 where the client learns the output.
    pub mask_bits: u32,
    /// What the garbler adds to its share beforehand: half of a rounding step.
    pub half: u32,
}

impl NonLinear {
    /// Garbled by the client if the engine says so and the circuit allows for it, else by the server.
    pub(super) fn garbled(layer: GarbledLayer, engine: Engine) -> Self {
        match engine {
            Engine::ClientGarbler if layer.circuit.mixes() => Self::ClientGarbles(layer),
            _ => Self::ServerGarbles(layer),
        }
    }

    /// The node; for the arg-max, the number of nodes.
    #[must_use]
    pub fn node(&self) -> NodeId {
        match self {
            Self::ServerGarbles(layer) | Self::ClientGarbles(layer) => layer.node,
            Self::Ot(layer) => layer.node,
            Self::Product(layer) => layer.node,
        }
    }

    /// The values it reads: two in a product, else one.
    #[must_use]
    pub fn inputs(&self) -> &[NodeId] {
        match self {
            Self::ServerGarbles(layer) | Self::ClientGarbles(layer) => std::slice::from_ref(&layer.input),
            Self::Ot(layer) => std::slice::from_ref(&layer.input),
            Self::Product(layer) => &layer.inputs,
        }
    }

    /// Outputs.
    #[must_use]
    pub fn instances(&self) -> usize {
        match self {
            Self::ServerGarbles(layer) | Self::ClientGarbles(layer) => layer.instances,
            Self::Ot(layer) => layer.instances,
            Self::Product(layer) => layer.instances,
        }
    }

    /// Width of the output and of the client's next mask; 0 where the client learns the output.
    #[must_use]
    pub fn mask_bits(&self) -> u32 {
        match self {
            Self::ServerGarbles(layer) | Self::ClientGarbles(layer) => layer.mask_bits,
            Self::Ot(layer) => layer.mask_bits,
            Self::Product(layer) => layer.product.bits(),
        }
    }

    /// Bytes that the client keeps from offline to online.
    #[must_use]
    pub fn client_bytes(&self) -> u64 {
        match self {
            Self::ServerGarbles(layer) => layer.client_bytes(),
            Self::Ot(layer) => layer.client_bytes() as u64,
            Self::Product(layer) => layer.client_bytes() as u64,
            Self::ClientGarbles(layer) => layer.garbler_bytes(),
        }
    }

    /// Oblivious transfers for one inference, down and up.
    pub(super) fn transfers(&self) -> [usize; 2] {
        match self {
            Self::ServerGarbles(layer) => [layer.evaluator_bits(), 0],
            Self::Ot(layer) => layer.all_transfers(),
            Self::Product(layer) => [layer.all_transfers(), 0],
            Self::ClientGarbles(layer) => [0, layer.evaluator_bits()],
        }
    }

    /// Name of the protocol in reports; the arg-max has names of its own.
    #[must_use]
    pub fn protocol(&self) -> &'static str {
        match self {
            Self::ServerGarbles(layer) if layer.reveals() => "argmax_gc",
            Self::ServerGarbles(_) => "act_gc",
            Self::Ot(layer) if layer.reveals() => "argmax_ot",
            Self::Ot(_) => "act_ot",
            Self::Product(_) => "product_ot",
            Self::ClientGarbles(layer) if layer.reveals() => "argmax_cg",
            Self::ClientGarbles(_) => "act_cg",
        }
    }

    /// Everything that determines the layer's messages, for the plan's digest.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Ot(layer) => {
                let polynomial = layer.polynomial.as_ref().map(|p| (p.square.spec(), p.relu.spec()));
                let relu = layer.relu.as_ref().map(|relu| relu.spec());
                let pools: Vec<_> = layer.pools.iter().map(|p| (p.windows, p.max.window())).collect();
                format!("ot {} {pools:?} {} {relu:?} {polynomial:?}", layer.instances, layer.in_bits)
            }
            Self::Product(layer) => {
                format!("product {} {} {}", layer.instances, layer.factors, layer.product.bits())
            }
            Self::ServerGarbles(layer) => format!("gc {}", layer.describe()),
            Self::ClientGarbles(layer) => format!("cg {}", layer.describe()),
        }
    }
}

impl GarbledLayer {
    fn describe(&self) -> String {
        format!("{} {} {}", self.instances, self.circuit.table_bytes(1), self.half)
    }
}
