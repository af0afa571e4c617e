//! Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks" (CVPR 2018), table 2.

use super::IMAGENET_CLASSES;
use super::net::{Kernel, Net, Result};
use crate::float::Graph;
use crate::graph::NodeId;

/// Expansion, channels, blocks and stride of the first block.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// Width 1.0.
pub(super) fn v2(mut net: Net) -> Result<Graph> {
    let mut x = conv_relu6(&mut net, 0, 32, Kernel::same(3).stride(2))?;
    for (expansion, channels, blocks, stride) in STAGES {
        for block in 0..blocks {
            x = inverted_residual(&mut net, x, expansion, channels, if block == 0 { stride } else { 1 })?;
        }
    }
    let x = conv_relu6(&mut net, x, 1280, Kernel::same(1))?;
    let x = net.global_avg_pool(x)?;
    let x = net.dense(x, IMAGENET_CLASSES)?;
    net.finish(x)
}

fn inverted_residual(
    net: &mut Net,
    x: NodeId,
    expansion: usize,
    out: usize,
    stride: usize,
) -> Result<NodeId> {
    let inner = expansion * net.channels(x);
    let mut y = x;
    if expansion > 1 {
        y = conv_relu6(net, y, inner, Kernel::same(1))?;
    }
    y = conv_relu6(net, y, inner, Kernel::same(3).stride(stride).groups(inner))?;
    if stride > 1 || net.channels(x) != out {
        return net.conv_norm(y, out, Kernel::same(1));
    }
    y = net.conv_norm_residual(y, out, Kernel::same(1))?;
    net.add(x, y)
}

fn conv_relu6(net: &mut Net, x: NodeId, out: usize, kernel: Kernel) -> Result<NodeId> {
    let y = net.conv_norm(x, out, kernel)?;
    net.relu6(y)
}
