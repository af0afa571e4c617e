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
    /// [`prepare_server`](super::prepare_server) and [`prepare_client`](super::prepare_client).
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
    let extensions = |count: usize| {
        let per = together(64 * lanes(n).max(1));
        let bytes = |columns: usize| cot::extend_cost(columns * 64 * lanes(n)).receiver_to_sender;
        (count / per) as u64 * bytes(per) + bytes(count % per)
    };
    let circuit = &relu.circuit;
    let opened: u64 = (1..=circuit.rounds()).map(|round| planes(circuit.opened(round)) + frame).sum();
    let both = opened + planes(relu.words.len() + 1) + frame;
    Cost {
        offline: Traffic {
            server_to_client: words(relu.words.len()) + frame + extensions(client_ots),
            client_to_server: extensions(server_ots),
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
