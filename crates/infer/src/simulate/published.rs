//! The paper's six networks, and the figures that its simulator gave for them.
//!
//! Source: Garimella et al., ASPLOS 2023 (arXiv 2207.07177) and arXiv 2111.02583: per inference, links of 1 Gbit/s in
//! total, an EPYC 7502 as the server, an Atom as the client. Seconds contain the transfers.

use super::{Phase, Profile};

/// Whose circuits the two published systems use, and what else they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum System {
    /// Delphi's: the server garbles, layers one after the other, the link split evenly.
    ServerGarbler,
    /// The paper's: the client garbles, all layers' encryption in parallel, the link split by volume.
    ClientGarbler,
}

/// A network as published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Network {
    /// Data set and network.
    pub name: &'static str,
    /// Rectifiers.
    pub relus: u64,
    /// Bytes a client stores per pre-compute, server-garbler and client-garbler.
    pub client_bytes: [u64; 2],
    /// Seconds of a whole inference.
    pub total_seconds: [f64; 2],
    /// Seconds of its online part.
    pub online_seconds: [f64; 2],
}

/// All six.
pub const NETWORKS: [Network; 6] = [
    network("CIFAR ResNet-32", 303_104, [174.5, 127.8], [33.5, 15.8]),
    network("CIFAR VGG-16", 284_672, [313.0, 139.0], [31.4, 14.8]),
    network("CIFAR ResNet-18", 557_056, [539.5, 265.1], [61.2, 28.7]),
    network("Tiny ResNet-32", 1_212_416, [647.1, 503.8], [132.7, 61.9]),
    network("Tiny VGG-16", 1_114_112, [986.1, 524.7], [122.0, 57.0]),
    network("Tiny ResNet-18", 2_228_224, [2051.0, 1052.6], [243.1, 112.9]),
];

/// Bytes that a client stores per rectifier, server-garbler and client-garbler. With the latter, 16 GB hold one
/// pre-compute of the largest network but not quite two: that explains the published latency.
const STORED_PER_RELU: [u64; 2] = [18_248, 3_591];

const fn network(
    name: &'static str,
    relus: u64,
    total_seconds: [f64; 2],
    online_seconds: [f64; 2],
) -> Network {
    let client_bytes = [relus * STORED_PER_RELU[0], relus * STORED_PER_RELU[1]];
    Network { name, relus, client_bytes, total_seconds, online_seconds }
}

impl Network {
    /// Its cost under a system. The server's storage, which the paper does not limit, is left out.
    #[must_use]
    pub fn profile(&self, system: System) -> Profile {
        let i = system as usize;
        let phase = |seconds| Phase { seconds, ..Phase::default() };
        Profile {
            name: self.name.to_owned(),
            offline: phase(self.total_seconds[i] - self.online_seconds[i]),
            online: phase(self.online_seconds[i]),
            client_bytes: self.client_bytes[i],
            server_bytes: 0,
        }
    }
}

/// A mean latency that the paper's simulator gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    /// Index into [`NETWORKS`].
    pub network: usize,
    /// The system.
    pub system: System,
    /// Bytes for pre-computes at the client.
    pub storage: u64,
    /// Requests per second.
    pub rate: f64,
    /// Mean minutes from arrival to answer: the least and the most that was read.
    pub minutes: [f64; 2],
}

/// The published latencies.
pub const LATENCIES: [Latency; 6] = [
    latency(0, System::ServerGarbler, 16, 0.001, [0.57, 0.57]),
    latency(0, System::ClientGarbler, 16, 0.001, [0.27, 0.27]),
    latency(5, System::ServerGarbler, 16, 0.0001, [37.0, 40.0]),
    latency(5, System::ServerGarbler, 32, 0.0001, [37.0, 40.0]),
    latency(5, System::ServerGarbler, 128, 0.0001, [5.0, 5.0]),
    latency(5, System::ClientGarbler, 16, 0.0001, [2.7, 2.7]),
];

const fn latency(network: usize, system: System, gigabytes: u64, rate: f64, minutes: [f64; 2]) -> Latency {
    Latency { network, system, storage: gigabytes * 1_000_000_000, rate, minutes }
}

/// A highest rate that the paper's simulator sustained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sustained {
    /// Index into [`NETWORKS`].
    pub network: usize,
    /// The system.
    pub system: System,
    /// Bytes for pre-computes at the client.
    pub storage: u64,
    /// Requests per second.
    pub rate: f64,
}

/// The published sustained rates.
pub const SUSTAINED: [Sustained; 4] = [
    Sustained { network: 0, system: System::ServerGarbler, storage: 16_000_000_000, rate: 0.006 },
    Sustained { network: 0, system: System::ClientGarbler, storage: 16_000_000_000, rate: 0.008 },
    Sustained { network: 5, system: System::ServerGarbler, storage: 128_000_000_000, rate: 0.0005 },
    Sustained { network: 5, system: System::ClientGarbler, storage: 16_000_000_000, rate: 0.001 },
];

impl Sustained {
    /// Rates around the published one, which has one digit: steps of a tenth of it, up to twice as much.
    pub fn tried(&self) -> impl Iterator<Item = f64> {
        let step = self.rate / 10.0;
        (1..=20).map(move |i| step * f64::from(i))
    }
}
