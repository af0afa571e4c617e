//! Bytes and rounds of a layer, exactly.

use std::ops::AddAssign;

use phineus_kernel::pack::packed_len;
use phineus_net::FRAME_HEADER;

use crate::compare::Relu;
use crate::compare::planes::lanes;
use crate::ot::cot;

/// Bytes of one phase in each direction, frame headers included, and its rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// From the party with the online share.
    pub server_to_client: u64,
    /// The other way.
    pub client_to_server: u64,
    /// Messages one after the other; those sent at once by both count as one.
    pub hops: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.server_to_client += other.server_to_client;
        self.client_to_server += other.client_to_server;
        self.hops += other.hops;
    }
}

/// Cost of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// [`prepare_server`](super::prepare_server) and [`prepare_client`](super::prepare_client) with SoftSpoken OT; with
    /// another engine its cost of [`extensions`] takes the place of SoftSpoken's.
    pub offline: Traffic,
    /// [`online_server`](super::online_server) and [`online_client`](super::online_client).
    pub online: Traffic,
    /// Random OTs sent by the server, per element.
    pub server_ots: usize,
    /// Random OTs sent by the client, per element.
    pub client_ots: usize,
}

/// Cost of a layer of `n` elements.
#[must_use]
pub fn cost(relu: &Relu, n: usize) -> Cost {
    let (server_ots, client_ots) = columns(relu);
    let frame = FRAME_HEADER as u64;
    let words = |count: usize| (count * packed_len(n, relu.spec().out_bits)) as u64;
    let planes = |count: usize| (8 * lanes(n) * count) as u64;
    let [by_server, by_client] = extensions(relu, n)
        .map(|sizes| sizes.into_iter().map(|n| cot::extend_cost(n).receiver_to_sender).sum::<u64>());
    let circuit = &relu.circuit;
    let opened: u64 = (1..=circuit.rounds()).map(|round| planes(circuit.opened(round)) + frame).sum();
    let both = opened + planes(relu.words.len() + 1) + frame;
    Cost {
        offline: Traffic {
            server_to_client: words(relu.words.len()) + frame + by_client,
            client_to_server: by_server,
            hops: 2,
        },
        online: Traffic {
            server_to_client: table_bytes(relu, n) as u64 + frame + both + words(1) + frame,
            client_to_server: both + words(2) + frame,
            hops: circuit.rounds() as u64 + 4,
        },
        server_ots,
        client_ots,
    }
}

/// Sizes of the extensions in their order, of random OTs that the server sends and that the client sends.
#[must_use]
pub fn extensions(relu: &Relu, n: usize) -> [Vec<usize>; 2] {
    let (server, client) = columns(relu);
    let (n, per) = (64 * lanes(n), together(64 * lanes(n)));
    [server, client].map(|count| {
        let firsts = (0..count).step_by(per).filter(|_| n > 0);
        firsts.map(|first| per.min(count - first) * n).collect()
    })
}

/// Bytes of the truth tables.
pub(super) fn table_bytes(relu: &Relu, n: usize) -> usize {
    relu.digits.iter().map(|digit| packed_len(n, digit.width())).sum()
}

/// Random OTs per element sent by the server and by the client.
pub(super) fn columns(relu: &Relu) -> (usize, usize) {
    let ands = relu.circuit.widths().count();
    (relu.choice_bits() + ands + relu.words.len() + 1, ands + 1)
}

/// Columns of `n` elements that make one extension.
pub(super) fn together(n: usize) -> usize {
    (cot::CHUNK / n.max(1)).max(1)
}
