//! Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks" (CVPR 2018), table 2; Howard et al.,
//! "Searching for MobileNetV3" (ICCV 2019), tables 1 and 2; EfficientNet-Lite0: Tan and Le, "EfficientNet" (ICML 2019),
//! table 1, without squeeze-and-excitation, with ReLU6, stem and head of fixed width.

use super::IMAGENET_CLASSES;
use super::net::{Kernel, Net, Result};
use crate::float::Graph;
use crate::graph::NodeId;

/// Expansion, channels, blocks and stride of the first block.
const V2: [(usize, usize, usize, usize); 7] = [
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
    for (expansion, channels, blocks, stride) in V2 {
        for block in 0..blocks {
            let depthwise = Kernel::same(3).stride(if block == 0 { stride } else { 1 });
            x = inverted_residual(&mut net, x, expansion, channels, depthwise)?;
        }
    }
    let x = conv_relu6(&mut net, x, 1280, Kernel::same(1))?;
    let x = net.global_avg_pool(x)?;
    let x = net.dense(x, IMAGENET_CLASSES)?;
    net.finish(x)
}

/// Kernel, expansion, channels, blocks and stride of the first block.
const LITE0: [(usize, usize, usize, usize, usize); 7] = [
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
];

/// EfficientNet-Lite0.
pub(super) fn efficientnet_lite0(mut net: Net) -> Result<Graph> {
    let mut x = conv_relu6(&mut net, 0, 32, Kernel::same(3).stride(2))?;
    for (kernel, expansion, channels, blocks, stride) in LITE0 {
        for block in 0..blocks {
            let depthwise = Kernel::same(kernel).stride(if block == 0 { stride } else { 1 });
            x = inverted_residual(&mut net, x, expansion, channels, depthwise)?;
        }
    }
    let x = conv_relu6(&mut net, x, 1280, Kernel::same(1))?;
    let x = net.global_avg_pool(x)?;
    let x = net.dense(x, IMAGENET_CLASSES)?;
    net.finish(x)
}

/// A block of MobileNetV3.
struct Block {
    kernel: usize,
    inner: usize,
    out: usize,
    /// Whether channels are weighted.
    excites: bool,
    /// Whether activations are hard swishes, else ReLUs.
    swishes: bool,
    stride: usize,
}

const fn block(
    kernel: usize,
    inner: usize,
    out: usize,
    excites: bool,
    swishes: bool,
    stride: usize,
) -> Block {
    Block { kernel, inner, out, excites, swishes, stride }
}

const V3_LARGE: &[Block] = &[
    block(3, 16, 16, false, false, 1),
    block(3, 64, 24, false, false, 2),
    block(3, 72, 24, false, false, 1),
    block(5, 72, 40, true, false, 2),
    block(5, 120, 40, true, false, 1),
    block(5, 120, 40, true, false, 1),
    block(3, 240, 80, false, true, 2),
    block(3, 200, 80, false, true, 1),
    block(3, 184, 80, false, true, 1),
    block(3, 184, 80, false, true, 1),
    block(3, 480, 112, true, true, 1),
    block(3, 672, 112, true, true, 1),
    block(5, 672, 160, true, true, 2),
    block(5, 960, 160, true, true, 1),
    block(5, 960, 160, true, true, 1),
];

const V3_SMALL: &[Block] = &[
    block(3, 16, 16, true, false, 2),
    block(3, 72, 24, false, false, 2),
    block(3, 88, 24, false, false, 1),
    block(5, 96, 40, true, true, 2),
    block(5, 240, 40, true, true, 1),
    block(5, 240, 40, true, true, 1),
    block(5, 120, 48, true, true, 1),
    block(5, 144, 48, true, true, 1),
    block(5, 288, 96, true, true, 2),
    block(5, 576, 96, true, true, 1),
    block(5, 576, 96, true, true, 1),
];

/// Width 1.0.
pub(super) fn v3_large(net: Net) -> Result<Graph> {
    v3(net, V3_LARGE, 1280)
}

/// Width 1.0.
pub(super) fn v3_small(net: Net) -> Result<Graph> {
    v3(net, V3_SMALL, 1024)
}

fn v3(mut net: Net, blocks: &[Block], features: usize) -> Result<Graph> {
    let x = net.conv_norm(0, 16, Kernel::same(3).stride(2))?;
    let mut x = net.hard_swish(x)?;
    for block in blocks {
        x = v3_block(&mut net, x, block)?;
    }
    let maps = 6 * net.channels(x);
    let x = net.conv_norm(x, maps, Kernel::same(1))?;
    let x = net.hard_swish(x)?;
    let x = net.global_avg_pool(x)?;
    let x = net.dense(x, features)?;
    let x = net.hard_swish(x)?;
    let x = net.dense(x, IMAGENET_CLASSES)?;
    net.finish(x)
}

fn v3_block(net: &mut Net, x: NodeId, block: &Block) -> Result<NodeId> {
    let &Block { kernel, inner, out, excites, swishes, stride } = block;
    let activation = if swishes { Net::hard_swish } else { Net::relu };
    let mut y = x;
    if inner != net.channels(x) {
        y = net.conv_norm(y, inner, Kernel::same(1))?;
        y = activation(net, y)?;
    }
    y = net.conv_norm(y, inner, Kernel::same(kernel).stride(stride).groups(inner))?;
    y = activation(net, y)?;
    if excites {
        y = net.squeeze_and_excite(y, divisible_by_8(inner / 4))?;
    }
    project(net, x, y, out, stride)
}

/// The nearest multiple of 8 that is not more than a tenth smaller.
fn divisible_by_8(channels: usize) -> usize {
    let near = ((channels + 4) / 8 * 8).max(8);
    if 10 * near < 9 * channels { near + 8 } else { near }
}

fn inverted_residual(
    net: &mut Net,
    x: NodeId,
    expansion: usize,
    out: usize,
    depthwise: Kernel,
) -> Result<NodeId> {
    let inner = expansion * net.channels(x);
    let mut y = x;
    if expansion > 1 {
        y = conv_relu6(net, y, inner, Kernel::same(1))?;
    }
    y = conv_relu6(net, y, inner, depthwise.groups(inner))?;
    project(net, x, y, out, depthwise.stride)
}

/// The linear end of a block, on top of its input where the shapes are the same.
fn project(net: &mut Net, x: NodeId, y: NodeId, out: usize, stride: usize) -> Result<NodeId> {
    if stride > 1 || net.channels(x) != out {
        return net.conv_norm(y, out, Kernel::same(1));
    }
    let y = net.conv_norm_residual(y, out, Kernel::same(1))?;
    net.add(x, y)
}

fn conv_relu6(net: &mut Net, x: NodeId, out: usize, kernel: Kernel) -> Result<NodeId> {
    let y = net.conv_norm(x, out, kernel)?;
    net.relu6(y)
}
