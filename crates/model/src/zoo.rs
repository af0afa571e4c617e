//! Architectures of the literature with seeded random weights: what benchmarks and tests run on when the cost counts
//! and the answer does not.
//!
//! Weights are uniform with the variance of He et al., "Delving deep into rectifiers" (section 2.2), so that
//! activations neither vanish nor explode. Batch normalisations are present as [`Op::Affine`](crate::float::Op) with
//! random statistics, to be folded like those of a trained network. One seed always gives one network.

mod densenet;
mod lola;
mod minionn;
mod mobilenet;
mod net;
mod resnet;
pub mod rewrite;
mod shufflenet;
mod squeezenet;
mod stats;
mod vgg;

pub use stats::{Stats, stats};

use crate::float::{Graph, GraphError};
use net::{Kernel, Net};

/// Everything that [`build`] knows.
pub const NAMES: &[&str] = &[
    "lola-mnist",
    "lola-mnist-relu",
    "lola-small",
    "lola-cifar",
    "lola-cifar-112",
    "linear-4096-102",
    "minionn-cifar10",
    "resnet20-cifar10",
    "resnet32-cifar100",
    "resnet32-tiny",
    "vgg16-cifar100",
    "vgg16-tiny",
    "resnet18-cifar100",
    "resnet18-tiny",
    "squeezenet",
    "resnet18",
    "resnet50",
    "densenet121",
    "densenet121-xray",
    "mobilenetv2",
    "mobilenetv3-small",
    "mobilenetv3-large",
    "efficientnet-lite0",
    "shufflenetv2",
];

/// Why there is no such network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ZooError {
    /// The name is none of [`NAMES`].
    #[error("no architecture `{name}`; known are {}", NAMES.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The architecture does not fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// The architecture of this name with weights from this seed.
///
/// # Errors
/// A name that is none of [`NAMES`].
pub fn build(name: &str, seed: u64) -> Result<Graph, ZooError> {
    let net = |input: [usize; 3]| Net::new(name, seed, &input);
    let graph = match name {
        "lola-mnist" => lola::mnist(net([1, 28, 28])?, Net::square),
        "lola-mnist-relu" => lola::mnist(net([1, 28, 28])?, Net::relu),
        "lola-small" => lola::small(net([1, 28, 28])?),
        "lola-cifar" => lola::cifar(net([3, 32, 32])?, 163, Kernel::same(6).stride(2).pad(0)),
        "lola-cifar-112" => lola::cifar(net([3, 32, 32])?, 112, Kernel::same(10).stride(2).pad(4)),
        "linear-4096-102" => lola::linear(Net::new(name, seed, &[4096])?, 102),
        "minionn-cifar10" => minionn::cifar(net([3, 32, 32])?),
        "resnet20-cifar10" => resnet::cifar(net([3, 32, 32])?, 3, 10),
        "resnet32-cifar100" => resnet::cifar(net([3, 32, 32])?, 5, 100),
        "resnet32-tiny" => resnet::cifar(net([3, 64, 64])?, 5, 200),
        "vgg16-cifar100" => vgg::vgg16(net([3, 32, 32])?, 100),
        "vgg16-tiny" => vgg::vgg16(net([3, 64, 64])?, 200),
        "resnet18-cifar100" => resnet::resnet18_small_stem(net([3, 32, 32])?, 100),
        "resnet18-tiny" => resnet::resnet18_small_stem(net([3, 64, 64])?, 200),
        "squeezenet" => squeezenet::v1_1(net(IMAGENET)?),
        "resnet18" => resnet::resnet18(net(IMAGENET)?),
        "resnet50" => resnet::resnet50(net(IMAGENET)?),
        "densenet121" => densenet::densenet121(net(IMAGENET)?),
        "densenet121-xray" => densenet::densenet121_xray(net([1, 224, 224])?),
        "mobilenetv2" => mobilenet::v2(net(IMAGENET)?),
        "mobilenetv3-small" => mobilenet::v3_small(net(IMAGENET)?),
        "mobilenetv3-large" => mobilenet::v3_large(net(IMAGENET)?),
        "efficientnet-lite0" => mobilenet::efficientnet_lite0(net(IMAGENET)?),
        "shufflenetv2" => shufflenet::v2(net(IMAGENET)?),
        _ => return Err(ZooError::Unknown { name: name.to_owned() }),
    }?;
    Ok(graph)
}

const IMAGENET: [usize; 3] = [3, 224, 224];
const IMAGENET_CLASSES: usize = 1000;

#[cfg(test)]
mod tests;
