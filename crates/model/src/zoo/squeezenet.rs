//! Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters" (2016), in the authors' release 1.1
//! (a smaller stem and earlier pools).

use super::IMAGENET_CLASSES;
use super::net::{Kernel, Net, Result};
use crate::float::Graph;
use crate::graph::NodeId;

/// Eight fire modules, a convolution as classifier.
pub(super) fn v1_1(mut net: Net) -> Result<Graph> {
    let mut x = net.conv_bias(0, 64, Kernel::same(3).stride(2).pad(0))?;
    x = net.relu(x)?;
    for stage in
        [&[(16, 64), (16, 64)][..], &[(32, 128), (32, 128)], &[(48, 192), (48, 192), (64, 256), (64, 256)]]
    {
        x = net.max_pool(x, Kernel::same(3).stride(2).pad(0), true)?;
        for &(squeeze, expand) in stage {
            x = fire(&mut net, x, squeeze, expand)?;
        }
    }
    let x = net.conv_bias(x, IMAGENET_CLASSES, Kernel::same(1))?;
    let x = net.relu(x)?;
    let x = net.global_avg_pool(x)?;
    net.finish(x)
}

fn fire(net: &mut Net, x: NodeId, squeeze: usize, expand: usize) -> Result<NodeId> {
    let s = net.conv_bias(x, squeeze, Kernel::same(1))?;
    let s = net.relu(s)?;
    let narrow = net.conv_bias(s, expand, Kernel::same(1))?;
    let narrow = net.relu(narrow)?;
    let wide = net.conv_bias(s, expand, Kernel::same(3))?;
    let wide = net.relu(wide)?;
    net.concat(&[narrow, wide])
}
