//! What a linear layer demands of its encryption.

use phineus_he::noise::LayerInput;
use phineus_kernel::z2k::Pow2;
use phineus_model::fixed::{Fact, Op};
use phineus_model::graph::NodeId;
use phineus_model::phn::Public;

use crate::packing::Interleaved;
use crate::plan::Stack;

/// A layer before its parameters are known.
pub(super) struct Demand {
    pub(super) node: NodeId,
    pub(super) stack: Stack,
    pub(super) weights: usize,
    pub(super) ring: Pow2,
    /// Largest l1 norm that the weights of one output can have.
    l1: f64,
    /// Largest magnitude of a weight.
    largest: f64,
}

impl Demand {
    /// Those of all linear layers, for stacks of `count` inferences.
    pub(super) fn all(public: &Public, count: usize) -> Vec<Self> {
        let graph = &public.graph;
        let nodes = graph.nodes.iter().enumerate();
        let demand = |(node, this): (NodeId, &phineus_model::graph::Node<Op>)| match this.op {
            Op::Linear { conv, weights, weight_bits } => {
                let (input, output) = (&graph.facts[this.inputs[0]], &graph.facts[node]);
                Some(Self::new(node, Stack::new(conv, count), weights, weight_bits, input, output))
            }
            _ => None,
        };
        nodes.filter_map(demand).collect()
    }

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

    /// Every coefficient of a response collects input noise through all weights of its polynomial product.
    pub(super) fn noise(&self, packing: &Interleaved) -> LayerInput {
        let w1 = self.l1 * packing.block().outputs as f64;
        LayerInput {
            coefficients: self.stack.count() * self.stack.conv().output_len(),
            w1,
            w2: (w1 * self.largest).sqrt(),
            ring: self.ring,
        }
    }
}
