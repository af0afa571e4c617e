//! Products of two values: which elements meet, in which ring, and in what pieces.

use std::ops::Range;

use phineus_kernel::pack::packed_len;
use phineus_model::fixed::Graph;
use phineus_model::graph::NodeId;
use phineus_mpc::product::{self, Product, ServerMaterial};
use phineus_mpc::square::ClientMaterial;

use super::PlanError;

/// A product of two values on shares, by oblivious transfer (`protocol::act_product`).
#[derive(Debug)]
pub struct ProductLayer {
    /// The node.
    pub node: NodeId,
    /// The values it reads.
    pub inputs: [NodeId; 2],
    /// Elements of the first value and of the product.
    pub instances: usize,
    /// Elements of the second value.
    pub factors: usize,
    /// In the ring of the product.
    pub product: Product,
}

/// Elements that are worked on at a time: bounds the memory beside what is kept.
const RUN: usize = 1 << 18;

impl ProductLayer {
    /// The layer of a node with two inputs.
    pub(super) fn new(graph: &Graph, node: NodeId) -> Result<Self, PlanError> {
        let this = &graph.nodes[node];
        let refused = |reason: String| PlanError::Unsupported { node: this.name.clone(), reason };
        let &[first, second] = &this.inputs[..] else { return Err(refused("not two factors".to_owned())) };
        let product = Product::new(graph.facts[node].bits).map_err(|e| refused(e.to_string()))?;
        let (instances, factors) = (this.len(), graph.nodes[second].len());
        Ok(Self { node, inputs: [first, second], instances, factors, product })
    }

    /// The instances in pieces that are worked on at a time.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let instances = self.instances;
        (0..instances).step_by(RUN).map(move |first| first..(first + RUN).min(instances))
    }

    /// The second factors of some instances.
    pub(crate) fn spread(&self, factors: &[u32], instances: Range<usize>) -> Vec<u32> {
        let places = (self.instances / self.factors.max(1)).max(1);
        instances.map(|i| factors.get(i / places).copied().unwrap_or_default()).collect()
    }

    /// Oblivious transfers of some instances, all down.
    pub(crate) fn transfers(&self, instances: usize) -> usize {
        product::extensions(&self.product, instances).into_iter().sum()
    }

    /// Oblivious transfers of all instances.
    pub(crate) fn all_transfers(&self) -> usize {
        self.runs().map(|run| self.transfers(run.len())).sum()
    }

    /// Bytes of the client's shares of both values, which it keeps.
    pub(crate) fn share_bytes(&self) -> [usize; 2] {
        [self.instances, self.factors].map(|len| packed_len(len, self.product.bits()))
    }

    /// What the client keeps.
    pub(crate) fn client_bytes(&self) -> usize {
        let [first, second] = self.share_bytes();
        first
            + second
            + self.runs().map(|run| ClientMaterial::byte_len(&self.product, run.len())).sum::<usize>()
    }

    /// What the server keeps.
    pub(crate) fn server_bytes(&self) -> usize {
        self.runs().map(|run| ServerMaterial::byte_len(&self.product, run.len())).sum()
    }
}
