//! Encryption parameters and packing of every linear layer: of the smallest parameters that are proven to decrypt and to
//! hide, the packing that takes the least time over the link of the plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use phineus_he::noise::Proof;
use phineus_he::{Params, ParamsLiteral};
use phineus_model::phn::Public;

use super::{LinearLayer, Link, PlanError};
use crate::packing::{CostModel, Interleaved};

mod demand;
mod search;

use demand::Demand;
use search::{Found, Search};

/// Parameter sets in the order in which they are tried.
const LADDER: [fn() -> ParamsLiteral; 4] =
    [ParamsLiteral::n4096, ParamsLiteral::n4096_full, ParamsLiteral::n8192, ParamsLiteral::n8192_wide];

/// Most bytes of transformed weights that a plan counts on the server to keep from inference to inference.
const KEPT_WEIGHTS: usize = 1 << 30;

/// Most levels of merges: bounds the keys, and the responses that the server holds until one ciphertext is complete.
const MOST_LEVELS: u32 = 8;

/// The parameter sets, smallest first.
pub(super) fn ladder() -> Result<Vec<Arc<Params>>, PlanError> {
    LADDER
        .iter()
        .map(|literal| Params::new(&literal()))
        .collect::<Result<_, _>>()
        .map_err(|source| PlanError::Parameters { node: "parameters".into(), source })
}

/// The linear layers of a network, for a number of inferences at once.
#[derive(Debug)]
pub struct LinearPlan {
    count: usize,
    layers: Vec<LinearLayer>,
    proof: Proof,
    /// Whether transformed weights are kept from inference to inference.
    keeps_weights: bool,
}

impl LinearPlan {
    /// Of a network without linear layers on shares.
    pub(super) fn none() -> Self {
        let nothing = f64::NEG_INFINITY;
        let proof = Proof { layers: Vec::new(), log2_distance: nothing, log2_failure: nothing };
        Self { count: 1, layers: Vec::new(), proof, keeps_weights: false }
    }

    /// Inferences at once.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// One per linear layer, in order.
    #[must_use]
    pub fn layers(&self) -> &[LinearLayer] {
        &self.layers
    }

    /// Security, flooding and decryption of all layers together.
    #[must_use]
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// The parameter sets in use, as indices of [`Plan::rings`](super::Plan::rings), each with the levels of key
    /// switches that its layers take.
    #[must_use]
    pub fn used(&self) -> BTreeMap<usize, u32> {
        let mut used = BTreeMap::new();
        for layer in &self.layers {
            let levels: &mut u32 = used.entry(layer.ring).or_default();
            *levels = layer.packing.merge_levels().max(*levels);
        }
        used
    }

    /// Seconds of one core that the client and the server work for each inference, keys and what is computed once for all
    /// inferences excluded.
    pub(crate) fn work(&self, rings: &[Arc<Params>]) -> [f64; 2] {
        let layers = self.layers.iter().map(|layer| self.work_of(layer, rings));
        let sum = layers.fold([0.0; 2], |[a, b], [client, server]| [a + client, b + server]);
        sum.map(|nanoseconds| nanoseconds * 1e-9 / self.count as f64)
    }

    /// Nanoseconds of one core that the client and the server work on a layer, for all inferences at once.
    pub(super) fn work_of(&self, layer: &LinearLayer, rings: &[Arc<Params>]) -> [f64; 2] {
        let cost = CostModel::new(&rings[layer.ring], layer.bits, &Link::LAN);
        layer.packing.work(&if self.keeps_weights { cost.keeping_weights() } else { cost })
    }

    /// Bytes that a party holds for each inference while it makes these layers: the server the requests of one layer and
    /// its masks, the client its shares of all layers.
    pub(super) fn bytes_per_inference(&self, rings: &[Arc<Params>]) -> usize {
        let word = size_of::<u32>();
        let server = |layer: &LinearLayer| {
            let params = &rings[layer.ring];
            let ciphertext = 2 * params.limbs() * params.degree() * size_of::<u64>();
            layer.packing.inputs() * ciphertext + word * layer.stack.count() * layer.conv.output_len()
        };
        let client = |layer: &LinearLayer| {
            word * layer.stack.count() * (2 * layer.conv.input_len() + layer.conv.output_len())
        };
        let server = self.layers.iter().map(server).max().unwrap_or(0);
        server.max(self.layers.iter().map(client).sum()).div_ceil(self.count)
    }

    /// Chooses for stacks of `count` inferences over `link`. Transformed weights are kept from inference to inference
    /// where they are few enough, and for stacks every one of them is transformed once for all inferences.
    pub(super) fn choose(
        public: &Public,
        ladder: &[Arc<Params>],
        count: usize,
        link: &Link,
    ) -> Result<Self, PlanError> {
        let demands = Demand::all(public, count);
        let name = |layer: usize| public.graph.nodes[demands[layer].node].name.clone();
        let search = |keep: bool| Search::new(&demands, ladder, link, keep).run(&name);
        let mut keeps_weights = count == 1;
        let mut found = search(keeps_weights)?;
        if keeps_weights && found.weight_bytes(ladder) > KEPT_WEIGHTS {
            keeps_weights = false;
            found = search(false)?;
        }
        let Found { rungs, packings, proof } = found;
        let layers = assemble(demands, &rungs, packings, &proof);
        Ok(Self { count, layers, proof, keeps_weights })
    }
}

fn assemble(
    demands: Vec<Demand>,
    rungs: &[usize],
    packings: Vec<Interleaved>,
    proof: &Proof,
) -> Vec<LinearLayer> {
    let layers = demands.into_iter().zip(rungs).zip(packings).zip(&proof.layers);
    layers
        .enumerate()
        .map(|(index, (((demand, ring), packing), proof))| LinearLayer {
            index,
            node: demand.node,
            conv: *demand.stack.conv(),
            bits: demand.ring.bits(),
            ring: *ring,
            stack: demand.stack,
            packing,
            weights: demand.weights,
            dropped: proof.dropped,
            spec: proof.spec,
        })
        .collect()
}
