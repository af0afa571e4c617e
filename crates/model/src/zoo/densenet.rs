//! Huang et al., "Densely connected convolutional networks" (CVPR 2017), table 1.

use super::IMAGENET_CLASSES;
use super::net::{Kernel, Net, Result};
use crate::float::Graph;
use crate::graph::NodeId;

/// New maps per layer.
const GROWTH: usize = 32;

/// DenseNet-121.
pub(super) fn densenet121(mut net: Net) -> Result<Graph> {
    let x = features(&mut net)?;
    let x = net.dense(x, IMAGENET_CLASSES)?;
    net.finish(x)
}

/// DenseNet-121 on one channel with a probability for each of the 14 findings of ChestX-ray14 (Wang et al., CVPR 2017), as in
/// Rajpurkar et al., "CheXNet" (2017).
pub(super) fn densenet121_xray(mut net: Net) -> Result<Graph> {
    let x = features(&mut net)?;
    let x = net.dense(x, 14)?;
    net.finish_with_sigmoid(x)
}

/// Bottleneck layers, half of the maps dropped between blocks; the means of all maps.
fn features(net: &mut Net) -> Result<NodeId> {
    let x = net.conv_norm_relu(0, 2 * GROWTH, Kernel::same(7).stride(2))?;
    let mut x = net.max_pool(x, Kernel::same(3).stride(2), false)?;
    for (block, layers) in [6, 12, 24, 16].into_iter().enumerate() {
        if block > 0 {
            let maps = net.channels(x) / 2;
            x = net.norm(x, 1.0)?;
            x = net.relu(x)?;
            x = net.conv(x, maps, Kernel::same(1))?;
            x = net.avg_pool(x, Kernel::same(2).stride(2).pad(0))?;
        }
        for _ in 0..layers {
            let y = net.norm(x, 1.0)?;
            let y = net.relu(y)?;
            let y = net.conv_norm_relu(y, 4 * GROWTH, Kernel::same(1))?;
            let y = net.conv(y, GROWTH, Kernel::same(3))?;
            x = net.concat(&[x, y])?;
        }
    }
    let x = net.norm(x, 1.0)?;
    let x = net.relu(x)?;
    net.global_avg_pool(x)
}
