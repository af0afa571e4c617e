//! The circuits of the non-linear layers.

use std::collections::HashMap;
use std::sync::Arc;

use phineus_model::fixed::Act;
use phineus_model::graph::NodeId;
use phineus_model::op;
use phineus_model::phn::Public;
use phineus_mpc::gc::gadgets::{self, ActSpec, QuadraticSpec};
use phineus_mpc::gc::{Circuit, GcError};

use super::{GarbledLayer, PlanError};

/// Circuits by specification: layers that differ in size only share one.
#[derive(Default)]
pub(super) struct Circuits {
    known: HashMap<ActSpec, Arc<Circuit>>,
    /// Input bits of all circuits so far.
    bits: usize,
}

/// Most input bits of the distinct circuits of a network together: bounds what a server can make a client build.
const MAX_BITS: usize = 1 << 20;

impl Circuits {
    /// The garbled layer of activation `node`.
    pub(super) fn act(
        &mut self,
        public: &Public,
        node: NodeId,
        act: &Act,
    ) -> Result<GarbledLayer, PlanError> {
        let graph = &public.graph;
        let this = &graph.nodes[node];
        let input = this.inputs[0];
        let gather = act.max_pool.as_ref().and_then(|window| match *graph.nodes[input].shape {
            [c, h, w] => Some(op::pool::indices([c, h, w], window)),
            _ => None,
        });
        let spec = ActSpec {
            in_bits: graph.facts[input].bits,
            window: gather.as_ref().map_or(1, |g| g.len() / this.len()),
            shift: act.rescale.shift,
            lo: act.rescale.lo,
            hi: act.rescale.hi,
            quadratic: act.quadratic.map(|q| QuadraticSpec {
                c2: q.c2,
                c1: q.c1,
                c0: q.c0,
                shift: q.rescale.shift,
                lo: q.rescale.lo,
                hi: q.rescale.hi,
            }),
            out_bits: graph.facts[node].bits,
        };
        Ok(GarbledLayer {
            node,
            input,
            circuit: self.get(&this.name, spec)?,
            instances: this.len(),
            gather,
            window: spec.window,
            in_bits: spec.in_bits,
            mask_bits: spec.out_bits,
            half: act.rescale.half() as u32,
        })
    }

    /// One circuit that reveals to the client which output is the largest, and nothing else.
    pub(super) fn argmax(&mut self, public: &Public) -> Result<GarbledLayer, PlanError> {
        self.largest(public, public.graph.facts[public.graph.output].bits)
    }

    /// The same on shares modulo 2^`in_bits` of what the outputs are.
    pub(super) fn largest(&mut self, public: &Public, in_bits: u32) -> Result<GarbledLayer, PlanError> {
        let graph = &public.graph;
        let (input, values) = (graph.output, graph.nodes[graph.output].len());
        self.afford(values * in_bits as usize)?;
        let circuit = gadgets::argmax(in_bits, values).map_err(|e| refused(&graph.nodes[input].name, e))?;
        Ok(GarbledLayer {
            node: graph.nodes.len(),
            input,
            circuit: Arc::new(circuit),
            instances: 1,
            gather: None,
            window: values,
            in_bits,
            mask_bits: 0,
            half: 0,
        })
    }

    fn afford(&mut self, bits: usize) -> Result<(), PlanError> {
        self.bits = self.bits.saturating_add(bits);
        if self.bits > MAX_BITS {
            let (got, limit) = (self.bits as u64, MAX_BITS as u64);
            return Err(PlanError::TooLarge { what: "input bits of all circuits", got, limit });
        }
        Ok(())
    }

    fn get(&mut self, node: &str, spec: ActSpec) -> Result<Arc<Circuit>, PlanError> {
        if let Some(circuit) = self.known.get(&spec) {
            return Ok(circuit.clone());
        }
        let in_bits = spec.in_bits as usize;
        // A square is about as large as that many additions.
        let square = if spec.quadratic.is_some() { in_bits * in_bits } else { 0 };
        self.afford(spec.window * in_bits + square)?;
        let circuit = Arc::new(gadgets::act_shared(&spec).map_err(|e| refused(node, e))?);
        self.known.insert(spec, circuit.clone());
        Ok(circuit)
    }
}

fn refused(node: &str, error: GcError) -> PlanError {
    PlanError::Unsupported { node: node.to_owned(), reason: error.to_string() }
}
