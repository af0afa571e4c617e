//! Graphs grown node by node, every shape derived and checked on the way.

use super::{Graph, GraphError, Head, Op};
use crate::graph::{Node, NodeId};

/// A graph under construction.
#[derive(Debug, Clone)]
pub struct Builder {
    name: String,
    nodes: Vec<Node<Op>>,
}

impl Builder {
    /// A graph with one input of this shape (no batch dimension).
    ///
    /// # Errors
    /// A shape with a zero side or more than [`MAX_ELEMENTS`](super::MAX_ELEMENTS) elements.
    pub fn new(name: &str, input: &str, shape: &[usize]) -> Result<Self, GraphError> {
        let node = Node { name: input.to_owned(), op: Op::Input, inputs: Vec::new(), shape: shape.to_vec() };
        super::shape::check_node(&[], &node)?;
        Ok(Self { name: name.to_owned(), nodes: vec![node] })
    }

    /// Appends an operation whose output shape follows from its inputs; everything but [`Op::Input`] and
    /// [`Op::Reshape`].
    ///
    /// # Errors
    /// What the operation does not accept.
    pub fn push(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        let shape = super::shape::infer(&self.nodes, &op, inputs)
            .map_err(|reason| GraphError { node: name.to_owned(), reason })?;
        self.push_node(Node { name: name.to_owned(), op, inputs: inputs.to_vec(), shape })
    }

    /// Appends the same elements under another shape.
    ///
    /// # Errors
    /// A shape of another number of elements.
    pub fn reshape(&mut self, name: &str, input: NodeId, shape: &[usize]) -> Result<NodeId, GraphError> {
        let shape = shape.to_vec();
        self.push_node(Node { name: name.to_owned(), op: Op::Reshape, inputs: vec![input], shape })
    }

    /// Appends a finished node.
    ///
    /// # Errors
    /// A shape that the operation does not produce.
    pub fn push_node(&mut self, node: Node<Op>) -> Result<NodeId, GraphError> {
        super::shape::check_node(&self.nodes, &node)?;
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    /// The nodes so far.
    #[must_use]
    pub fn nodes(&self) -> &[Node<Op>] {
        &self.nodes
    }

    /// The node, if there is one of this index.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node<Op>> {
        self.nodes.get(id)
    }

    /// The operation of a node, to amend its parameters, never its shape.
    pub(crate) fn op_mut(&mut self, id: NodeId) -> Option<&mut Op> {
        self.nodes.get_mut(id).map(|node| &mut node.op)
    }

    /// The graph that ends with node `output`.
    ///
    /// # Errors
    /// There is no such node.
    pub fn finish(self, output: NodeId, head: Head) -> Result<Graph, GraphError> {
        let graph = Graph { name: self.name, nodes: self.nodes, output, head };
        graph.check_output()?;
        Ok(graph)
    }
}
