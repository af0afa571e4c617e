//! The CIFAR-10 network of Liu et al., "Oblivious neural network predictions via MiniONN transformations" (CCS 2017),
//! figure 13, which Delphi and its successors measure on.

use super::net::{Kernel, Net, Result};
use crate::float::Graph;

/// Seven convolutions of at most 64 maps, two average pools.
pub(super) fn cifar(mut net: Net) -> Result<Graph> {
    let mut x = 0;
    for (maps, size, pool) in [
        (64, 3, false),
        (64, 3, true),
        (64, 3, false),
        (64, 3, true),
        (64, 3, false),
        (64, 1, false),
        (16, 1, false),
    ] {
        x = net.conv_bias(x, maps, Kernel::same(size))?;
        x = net.relu(x)?;
        if pool {
            x = net.avg_pool(x, Kernel::same(2).stride(2).pad(0))?;
        }
    }
    let x = net.dense(x, 10)?;
    net.finish(x)
}
