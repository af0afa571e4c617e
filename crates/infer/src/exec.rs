//! The one executor: walks a plan, node by node, in four halves that have the same outline.

pub(crate) mod client;
pub(crate) mod material;
pub(crate) mod server;

use phineus_kernel::pack::packed_len;
use phineus_net::FRAME_HEADER;

use crate::plan::Plan;
use crate::report::Report;

/// Enters the bytes of the masked input, and the bytes and the wait of the opened output.
pub(crate) fn predict(plan: &Plan, report: &mut Report) {
    let graph = &plan.public().graph;
    let message =
        |node: usize| (packed_len(graph.nodes[node].len(), graph.facts[node].bits) + FRAME_HEADER) as u64;
    if let Some(input) = report.layers.first_mut() {
        input.online.client_to_server_bytes = message(0);
    }
    if let (None, Some(output)) = (plan.argmax(), report.layers.last_mut()) {
        output.online.server_to_client_bytes = message(graph.output);
        output.online.rounds = 1;
    }
}
