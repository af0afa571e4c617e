//! The networks of Brutzkus, Elisha and Gilad-Bachrach, "Low latency privacy preserving inference" (ICML 2019),
//! sections 5 and 6.

use super::net::{Kernel, Net, Result};
use crate::float::Graph;
use crate::graph::NodeId;

/// CryptoNets' network: 5 maps, 100 hidden units.
pub(super) fn mnist(mut net: Net, activation: fn(&mut Net, NodeId) -> Result<NodeId>) -> Result<Graph> {
    let x = net.conv_bias(0, 5, Kernel::same(5).stride(2).pad(1))?;
    let x = activation(&mut net, x)?;
    let x = net.dense(x, 100)?;
    let x = activation(&mut net, x)?;
    let x = net.dense(x, 10)?;
    net.finish(x)
}

/// One square only.
pub(super) fn small(mut net: Net) -> Result<Graph> {
    let x = net.conv_bias(0, 5, Kernel::same(5).stride(2).pad(1))?;
    let x = net.square(x)?;
    let x = net.dense(x, 10)?;
    net.finish(x)
}

/// The wide network for CIFAR-10: as in the paper with 163 maps of 6x6, as in its repository with 112 of 10x10.
pub(super) fn cifar(mut net: Net, maps: usize, second: Kernel) -> Result<Graph> {
    let x = net.conv_bias(0, 83, Kernel::same(8).stride(2).pad(1))?;
    let x = net.square(x)?;
    let x = net.conv_bias(x, maps, second)?;
    let x = net.square(x)?;
    let x = net.dense(x, 10)?;
    net.finish(x)
}

/// A linear classifier on features that the client extracts with a public network.
pub(super) fn linear(mut net: Net, classes: usize) -> Result<Graph> {
    let x = net.dense(0, classes)?;
    net.finish(x)
}
