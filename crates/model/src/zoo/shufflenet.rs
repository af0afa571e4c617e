//! Ma et al., "ShuffleNet V2: practical guidelines for efficient CNN architecture design" (ECCV 2018), figure 3 and
//! table 5.

use super::IMAGENET_CLASSES;
use super::net::{Kernel, Net, Result};
use crate::float::Graph;
use crate::graph::NodeId;

/// Width 1.0.
pub(super) fn v2(mut net: Net) -> Result<Graph> {
    let x = net.conv_norm_relu(0, 24, Kernel::same(3).stride(2))?;
    let mut x = net.max_pool(x, Kernel::same(3).stride(2), false)?;
    for (channels, units) in [(116, 4), (232, 8), (464, 4)] {
        x = down(&mut net, x, channels)?;
        for _ in 1..units {
            x = unit(&mut net, x)?;
        }
    }
    let x = net.conv_norm_relu(x, 1024, Kernel::same(1))?;
    let x = net.global_avg_pool(x)?;
    let x = net.dense(x, IMAGENET_CLASSES)?;
    net.finish(x)
}

/// Both halves are computed, at half the resolution.
fn down(net: &mut Net, x: NodeId, channels: usize) -> Result<NodeId> {
    let (inner, half) = (net.channels(x), channels / 2);
    let left = net.conv_norm(x, inner, Kernel::same(3).stride(2).groups(inner))?;
    let left = net.conv_norm_relu(left, half, Kernel::same(1))?;
    let right = branch(net, x, half, 2)?;
    let joined = net.concat(&[left, right])?;
    net.shuffle(joined, 2)
}

/// One half passes, the other is computed.
fn unit(net: &mut Net, x: NodeId) -> Result<NodeId> {
    let channels = net.channels(x);
    let passed = net.slice(x, 0, channels / 2, 1)?;
    let other = net.slice(x, channels / 2, channels, 1)?;
    let computed = branch(net, other, channels / 2, 1)?;
    let joined = net.concat(&[passed, computed])?;
    net.shuffle(joined, 2)
}

fn branch(net: &mut Net, x: NodeId, channels: usize, stride: usize) -> Result<NodeId> {
    let y = net.conv_norm_relu(x, channels, Kernel::same(1))?;
    let y = net.conv_norm(y, channels, Kernel::same(3).stride(stride).groups(channels))?;
    net.conv_norm_relu(y, channels, Kernel::same(1))
}
