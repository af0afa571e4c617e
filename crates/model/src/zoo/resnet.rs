//! He et al., "Deep residual learning for image recognition" (CVPR 2016): section 4.2 for CIFAR (identity shortcuts,
//! option A), table 1 for ImageNet (projections, option B; the stride of a bottleneck in its 3x3 convolution).

use super::IMAGENET_CLASSES;
use super::net::{Kernel, Net, Result};
use crate::float::Graph;
use crate::graph::NodeId;

/// `6 blocks + 2` layers of 16, 32 and 64 maps.
pub(super) fn cifar(mut net: Net, blocks: usize, classes: usize) -> Result<Graph> {
    let mut x = net.conv_norm_relu(0, 16, Kernel::same(3))?;
    for maps in [16, 32, 64] {
        for block in 0..blocks {
            let stride = if maps > 16 && block == 0 { 2 } else { 1 };
            let y = net.conv_norm_relu(x, maps, Kernel::same(3).stride(stride))?;
            let y = net.conv_norm_residual(y, maps, Kernel::same(3))?;
            if stride > 1 {
                // Option A: every second place, the new maps are zeros.
                let channels = net.channels(x);
                x = net.slice(x, 0, channels, stride)?;
                x = net.pad_channels(x, (maps - channels) / 2, (maps - channels) / 2)?;
            }
            x = net.add(y, x)?;
            x = net.relu(x)?;
        }
    }
    classify(net, x, classes)
}

/// ResNet-18 for small images: a 3x3 stem without stride, no pool.
pub(super) fn resnet18_small_stem(mut net: Net, classes: usize) -> Result<Graph> {
    let x = net.conv_norm_relu(0, 64, Kernel::same(3))?;
    let x = stages(&mut net, x, [2, 2, 2, 2], basic)?;
    classify(net, x, classes)
}

/// ResNet-18 at 224x224.
pub(super) fn resnet18(mut net: Net) -> Result<Graph> {
    let x = stem(&mut net)?;
    let x = stages(&mut net, x, [2, 2, 2, 2], basic)?;
    classify(net, x, IMAGENET_CLASSES)
}

/// ResNet-50 at 224x224.
pub(super) fn resnet50(mut net: Net) -> Result<Graph> {
    let x = stem(&mut net)?;
    let x = stages(&mut net, x, [3, 4, 6, 3], bottleneck)?;
    classify(net, x, IMAGENET_CLASSES)
}

/// The residual branch of a block: network, input, width, stride.
type Branch = fn(&mut Net, NodeId, usize, usize) -> Result<NodeId>;

fn stem(net: &mut Net) -> Result<NodeId> {
    let x = net.conv_norm_relu(0, 64, Kernel::same(7).stride(2))?;
    net.max_pool(x, Kernel::same(3).stride(2), false)
}

fn stages(net: &mut Net, mut x: NodeId, blocks: [usize; 4], branch: Branch) -> Result<NodeId> {
    for ((stage, blocks), width) in blocks.into_iter().enumerate().zip([64, 128, 256, 512]) {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let y = branch(net, x, width, stride)?;
            let channels = net.channels(y);
            if stride > 1 || net.channels(x) != channels {
                x = net.conv_norm(x, channels, Kernel::same(1).stride(stride))?;
            }
            x = net.add(y, x)?;
            x = net.relu(x)?;
        }
    }
    Ok(x)
}

fn basic(net: &mut Net, x: NodeId, width: usize, stride: usize) -> Result<NodeId> {
    let y = net.conv_norm_relu(x, width, Kernel::same(3).stride(stride))?;
    net.conv_norm_residual(y, width, Kernel::same(3))
}

fn bottleneck(net: &mut Net, x: NodeId, width: usize, stride: usize) -> Result<NodeId> {
    let y = net.conv_norm_relu(x, width, Kernel::same(1))?;
    let y = net.conv_norm_relu(y, width, Kernel::same(3).stride(stride))?;
    net.conv_norm_residual(y, 4 * width, Kernel::same(1))
}

fn classify(mut net: Net, x: NodeId, classes: usize) -> Result<Graph> {
    let x = net.global_avg_pool(x)?;
    let x = net.dense(x, classes)?;
    net.finish(x)
}
