//! Encryption parameters of every linear layer: the smallest degree that is proven to decrypt and to hide.

use std::collections::BTreeMap;
use std::sync::Arc;

use phineus_he::noise::{self, LayerInput, Proof};
use phineus_he::{HeError, Params, ParamsLiteral};
use phineus_kernel::z2k::Pow2;
use phineus_model::fixed::{Fact, Op};
use phineus_model::graph::NodeId;
use phineus_model::phn::Public;

use super::{LinearLayer, PlanError, Stack};
use crate::packing::{CostModel, Interleaved};

/// Parameter sets in the order in which they are tried.
const LADDER: [fn() -> ParamsLiteral; 4] =
    [ParamsLiteral::n4096, ParamsLiteral::n4096_full, ParamsLiteral::n8192, ParamsLiteral::n8192_wide];

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
}

/// A layer before its parameters are known.
struct Demand {
    node: NodeId,
    stack: Stack,
    weights: usize,
    ring: Pow2,
    /// Largest l1 norm that the weights of one output can have.
    l1: f64,
    /// Largest magnitude of a weight.
    largest: f64,
}

impl LinearPlan {
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

    /// Starts every layer at the smallest parameters and moves the one that stands in the way of the proof up the
    /// ladder until the proof holds.
    pub(super) fn choose(public: &Public, ladder: &[Arc<Params>], count: usize) -> Result<Self, PlanError> {
        let graph = &public.graph;
        let demands: Vec<Demand> = graph
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(node, this)| match this.op {
                Op::Linear { conv, weights, weight_bits } => {
                    let (input, output) = (&graph.facts[this.inputs[0]], &graph.facts[node]);
                    Some(Demand::new(node, Stack::new(conv, count), weights, weight_bits, input, output))
                }
                _ => None,
            })
            .collect();
        let name = |layer: usize| graph.nodes[demands[layer].node].name.clone();
        let mut rungs = vec![0; demands.len()];
        let pack = |layer: usize, rung: usize| {
            let unsupported = |reason| PlanError::Unsupported { node: name(layer), reason };
            demands[layer].pack(&ladder[rung]).map_err(unsupported)
        };
        let mut packings = (0..demands.len()).map(|layer| pack(layer, 0)).collect::<Result<Vec<_>, _>>()?;
        // What fails alone fails with others: most steps cost the proof of one layer, not of all.
        for (layer, demand) in demands.iter().enumerate() {
            let fails = |rung: usize, packing: &Interleaved| {
                noise::prove_packed(&[(&ladder[rung], demand.noise(packing), packing.merge_levels())])
                    .is_err()
            };
            while rungs[layer] + 1 < ladder.len() && fails(rungs[layer], &packings[layer]) {
                rungs[layer] += 1;
                packings[layer] = pack(layer, rungs[layer])?;
            }
        }
        loop {
            let inputs: Vec<(&Params, LayerInput, u32)> = demands
                .iter()
                .zip(&packings)
                .zip(&rungs)
                .map(|((demand, packing), rung)| {
                    (ladder[*rung].as_ref(), demand.noise(packing), packing.merge_levels())
                })
                .collect();
            match noise::prove_packed(&inputs) {
                Ok(proof) => {
                    let layers = assemble(demands, &rungs, packings, &proof);
                    return Ok(Self { count, layers, proof });
                }
                Err(source) => {
                    let layer = source.layer().unwrap_or(0);
                    match rungs.get_mut(layer) {
                        Some(rung) if *rung + 1 < ladder.len() => {
                            *rung += 1;
                            packings[layer] = pack(layer, *rung)?;
                        }
                        _ => return Err(PlanError::Parameters { node: name(layer), source }),
                    }
                }
            }
        }
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
            spec: proof.spec,
        })
        .collect()
}

impl Demand {
    fn new(
        node: NodeId,
        stack: Stack,
        weights: usize,
        weight_bits: u32,
        input: &Fact,
        output: &Fact,
    ) -> Self {
        let largest = f64::from((1_u32 << (weight_bits - 1)) - 1);
        let count = stack.conv().weights_per_output() as f64;
        // An accumulator takes every value between the extremes of w x, which are |w|_1 (hi - lo) apart and fit
        // the ring: that bounds |w|_1 for every weight tensor that this public graph admits.
        let any = largest * count;
        // A constant input says nothing about the weights.
        let span = (input.hi - input.lo) as f64;
        let l1 = if span < 1.0 { any } else { (f64::from(output.bits).exp2() / span).min(any) };
        #[expect(clippy::expect_used, reason = "validated graphs have widths of 2..=32 bits")]
        let ring = Pow2::new(output.bits).expect("validated width");
        Self { node, stack, weights, ring, l1, largest }
    }

    fn pack(&self, params: &Params) -> Result<Interleaved, String> {
        let (limbs, request_bits) = (params.limbs() as f64, params.log2_q());
        let cost = CostModel { limbs, request_bits, ..CostModel::default() };
        Interleaved::plan(&self.stack.tall(), params.degree(), MOST_LEVELS, &cost).map_err(|e| e.to_string())
    }

    /// Every coefficient of a response collects input noise through all weights of its polynomial product.
    fn noise(&self, packing: &Interleaved) -> LayerInput {
        let w1 = self.l1 * packing.block().outputs as f64;
        LayerInput {
            coefficients: self.stack.count() * self.stack.conv().output_len(),
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
