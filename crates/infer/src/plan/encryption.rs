//! Encryption parameters of every linear layer: the smallest degree that is proven to decrypt and to hide.

use std::sync::Arc;

use phineus_he::noise::{self, LayerInput, Proof};
use phineus_he::{HeError, Params, ParamsLiteral};
use phineus_kernel::z2k::Pow2;
use phineus_model::fixed::{Fact, Op};
use phineus_model::graph::{Conv, NodeId};
use phineus_model::phn::Public;

use super::{LinearLayer, PlanError};
use crate::packing::{CostModel, Packing};

/// Parameter sets in the order in which they are tried.
const LADDER: [fn() -> ParamsLiteral; 3] =
    [ParamsLiteral::n4096, ParamsLiteral::n8192, ParamsLiteral::n8192_wide];

/// Parameters, layers and proof of a network.
pub(super) struct Encryption {
    /// The parameter sets in use.
    pub(super) rings: Vec<Arc<Params>>,
    /// One per linear layer, in order.
    pub(super) layers: Vec<LinearLayer>,
    /// Of all layers together.
    pub(super) proof: Proof,
}

/// A layer before its parameters are known.
struct Demand {
    node: NodeId,
    conv: Conv,
    weights: usize,
    ring: Pow2,
    /// Largest l1 norm that the weights of one output can have.
    l1: f64,
    /// Largest magnitude of a weight.
    largest: f64,
}

impl Encryption {
    /// Starts every layer at the smallest parameters and moves the one that stands in the way of the proof up the
    /// ladder until the proof holds.
    pub(super) fn choose(public: &Public) -> Result<Self, PlanError> {
        let graph = &public.graph;
        let demands: Vec<Demand> = graph
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(node, this)| match this.op {
                Op::Linear { conv, weights, weight_bits } => {
                    let (input, output) = (&graph.facts[this.inputs[0]], &graph.facts[node]);
                    Some(Demand::new(node, conv, weights, weight_bits, input, output))
                }
                _ => None,
            })
            .collect();
        let name = |layer: usize| graph.nodes[demands[layer].node].name.clone();
        let ladder = LADDER
            .iter()
            .map(|literal| Params::new(&literal()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| PlanError::Parameters { node: "parameters".into(), source })?;
        let mut rungs = vec![0; demands.len()];
        loop {
            let packings = demands
                .iter()
                .zip(&rungs)
                .map(|(demand, rung)| demand.pack(&ladder[*rung]))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|(node, reason)| PlanError::Unsupported {
                    node: graph.nodes[node].name.clone(),
                    reason,
                })?;
            let inputs: Vec<(&Params, LayerInput)> = demands
                .iter()
                .zip(&packings)
                .zip(&rungs)
                .map(|((demand, packing), rung)| (ladder[*rung].as_ref(), demand.noise(packing)))
                .collect();
            match noise::prove(&inputs) {
                Ok(proof) => return Ok(Self::assemble(&ladder, demands, &rungs, packings, proof)),
                Err(source) => {
                    let layer = source.layer().unwrap_or(0);
                    match rungs.get_mut(layer) {
                        Some(rung) if *rung + 1 < ladder.len() => *rung += 1,
                        _ => return Err(PlanError::Parameters { node: name(layer), source }),
                    }
                }
            }
        }
    }

    fn assemble(
        ladder: &[Arc<Params>],
        demands: Vec<Demand>,
        rungs: &[usize],
        packings: Vec<Packing>,
        proof: Proof,
    ) -> Self {
        let used: Vec<usize> = (0..ladder.len()).filter(|r| rungs.contains(r)).collect();
        let layers = demands
            .into_iter()
            .zip(rungs)
            .zip(packings)
            .zip(&proof.layers)
            .enumerate()
            .map(|(index, (((demand, rung), packing), proof))| LinearLayer {
                index,
                node: demand.node,
                conv: demand.conv,
                bits: demand.ring.bits(),
                ring: used.iter().position(|u| u == rung).unwrap_or(0),
                packing,
                weights: demand.weights,
                spec: proof.spec,
            })
            .collect();
        Self { rings: used.iter().map(|u| ladder[*u].clone()).collect(), layers, proof }
    }
}

impl Demand {
    fn new(node: NodeId, conv: Conv, weights: usize, weight_bits: u32, input: &Fact, output: &Fact) -> Self {
        let largest = f64::from((1_u32 << (weight_bits - 1)) - 1);
        let count = conv.weights_per_output() as f64;
        // An accumulator takes every value between the extremes of w x, which are |w|_1 (hi - lo) apart and fit
        // the ring: that bounds |w|_1 for every weight tensor that this public graph admits.
        let span = (input.hi - input.lo).max(1) as f64;
        let l1 = (f64::from(output.bits).exp2() / span).min(largest * count);
        #[expect(clippy::expect_used, reason = "validated graphs have widths of 2..=32 bits")]
        let ring = Pow2::new(output.bits).expect("validated width");
        Self { node, conv, weights, ring, l1, largest }
    }

    fn pack(&self, params: &Params) -> Result<Packing, (NodeId, String)> {
        let cost = CostModel { limbs: params.limbs() as f64, ..CostModel::default() };
        Packing::plan(&self.conv, params.degree(), &cost).map_err(|e| (self.node, e.to_string()))
    }

    /// Every coefficient of a response collects input noise through all weights of its polynomial product.
    fn noise(&self, packing: &Packing) -> LayerInput {
        let w1 = self.l1 * packing.block().outputs as f64;
        LayerInput {
            coefficients: self.conv.output_len(),
            w1,
            w2: (w1 * self.largest).sqrt(),
            ring: self.ring,
        }
    }
}

/// The layer that a failed proof names.
trait Blame {
    fn layer(&self) -> Option<usize>;
}

impl Blame for HeError {
    fn layer(&self) -> Option<usize> {
        match self {
            Self::GuardBits { layer, .. } | Self::TooNoisy { layer } | Self::Distance { layer, .. } => {
                Some(*layer)
            }
            _ => None,
        }
    }
}
