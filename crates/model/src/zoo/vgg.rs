//! Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition" (ICLR 2015), table 1,
//! column D, on images of 32x32 or 64x64.

use super::net::{Kernel, Net, Result};
use crate::float::Graph;

/// Thirteen convolutions in five blocks, two hidden layers of 4,096.
pub(super) fn vgg16(mut net: Net, classes: usize) -> Result<Graph> {
    let mut x = 0;
    for (maps, layers) in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)] {
        for _ in 0..layers {
            x = net.conv_bias(x, maps, Kernel::same(3))?;
            x = net.relu(x)?;
        }
        x = net.max_pool(x, Kernel::same(2).stride(2).pad(0), false)?;
    }
    for _ in 0..2 {
        x = net.dense(x, 4096)?;
        x = net.relu(x)?;
    }
    let x = net.dense(x, classes)?;
    net.finish(x)
}
