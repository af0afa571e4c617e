//! Operations that are additive and data-independent: each party applies them to its own share.
//!
//! The same function serves the client's share offline and the server's share online, so that the two can never
//! disagree. Shares arrive in the ring of their own node and leave in the ring of the result, which the compiler
//! made no wider.

use phineus_kernel::z2k::Pow2;
use phineus_model::fixed::Graph;
use phineus_model::graph::NodeId;
use phineus_model::reference;

/// The ring of a node's value.
#[must_use]
pub(crate) fn ring(graph: &Graph, node: NodeId) -> Pow2 {
    #[expect(
        clippy::expect_used,
        reason = "a plan is made of validated graphs only, whose widths are 2..=32"
    )]
    Pow2::new(graph.facts[node].bits).expect("validated width")
}

/// This party's share of the local operation `node`, from its shares of all earlier values.
#[must_use]
pub(crate) fn apply(graph: &Graph, node: NodeId, shares: &[Option<Vec<u32>>]) -> Option<Vec<u32>> {
    let this = &graph.nodes[node];
    let inputs = this.inputs.iter().map(|i| shares[*i].as_deref()).collect::<Option<Vec<&[u32]>>>()?;
    let mut words = reference::additive(&this.op, &inputs, &graph.nodes[this.inputs[0]].shape);
    let mask = ring(graph, node).mask();
    words.iter_mut().for_each(|w| *w &= mask);
    Some(words)
}
