//! The one executor: walks a plan, node by node, in four halves that have the same outline.

pub(crate) mod cipher;
pub(crate) mod client;
pub(crate) mod material;
pub(crate) mod server;
pub(crate) mod transfers;

use phineus_kernel::pack::packed_len;
use phineus_model::graph::NodeId;

use crate::plan::Plan;
use crate::protocol::script::Script;

/// Enters the masked input into a script.
pub(crate) fn predict_input(plan: &Plan, node: NodeId, script: &mut Script) {
    script.up(message(plan, node));
}

/// Enters the opened output.
pub(crate) fn predict_output(plan: &Plan, script: &mut Script) {
    script.down(message(plan, plan.public().graph.output));
}

fn message(plan: &Plan, node: NodeId) -> usize {
    let graph = &plan.public().graph;
    packed_len(graph.nodes[node].len(), graph.facts[node].bits)
}
