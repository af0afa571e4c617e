//! Bytes and rounds of a layer, exactly.

use std::ops::AddAssign;

use phineus_kernel::pack::packed_len;
use phineus_net::FRAME_HEADER;

use crate::compare::Relu;
use crate::compare::planes::lanes;
use crate::rot;

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

/// A message online, as its payload: what the parties exchange one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// From the party with the online share.
    ToClient(usize),
    /// The other way.
    ToServer(usize),
    /// Both at once, each so much.
    Both(usize),
}

/// The messages of the online phase of `n` elements, in their order.
#[must_use]
pub fn hops(relu: &Relu, n: usize) -> Vec<Hop> {
    let planes = |count: usize| Hop::Both(8 * lanes(n) * count);
    let circuit = &relu.circuit;
    let mut hops = vec![Hop::ToClient(table_bytes(relu, n))];
    hops.extend((1..=circuit.rounds()).map(|round| planes(circuit.opened(round))));
    hops.push(planes(1 + relu.gated().count()));
    hops.extend((!relu.words.is_empty()).then(|| planes(relu.words.len())));
    hops.push(Hop::ToServer(packed_len(n, relu.spec().out_bits)));
    hops
}

/// Payload of the server's message offline, of the shared bits; none in a plain rectifier.
#[must_use]
pub fn shared_bytes(relu: &Relu, n: usize) -> Option<usize> {
    (!relu.words.is_empty()).then(|| relu.words.iter().map(|word| packed_len(n, word.bits)).sum())
}

/// Payload of the client's message offline, of its factor.
#[must_use]
pub fn factor_bytes(relu: &Relu, n: usize) -> usize {
    packed_len(n, relu.spec().out_bits)
}

/// Cost of a layer of `n` elements.
#[must_use]
pub fn cost(relu: &Relu, n: usize) -> Cost {
    let (server_ots, client_ots) = columns(relu);
    let frame = FRAME_HEADER as u64;
    let [by_server, by_client] = extensions(relu, n).map(rot::columns::bytes);
    let hops = hops(relu, n);
    let mut online = Traffic { hops: hops.len() as u64, ..Traffic::default() };
    for hop in hops {
        let (down, up) = match hop {
            Hop::ToClient(len) => (len as u64 + frame, 0),
            Hop::ToServer(len) => (0, len as u64 + frame),
            Hop::Both(len) => (len as u64 + frame, len as u64 + frame),
        };
        online.server_to_client += down;
        online.client_to_server += up;
    }
    Cost {
        offline: Traffic {
            server_to_client: shared_bytes(relu, n).map_or(0, |len| len as u64 + frame) + by_client,
            client_to_server: by_server + factor_bytes(relu, n) as u64 + frame,
            hops: 3,
        },
        online,
        server_ots,
        client_ots,
    }
}

/// Sizes of the extensions in their order, of random OTs that the server sends and that the client sends.
#[must_use]
pub fn extensions(relu: &Relu, n: usize) -> [Vec<usize>; 2] {
    let (server, client) = columns(relu);
    [server, client].map(|count| rot::columns::extensions(count, n))
}

/// Bytes of the truth tables and the product with the server's word.
pub(super) fn table_bytes(relu: &Relu, n: usize) -> usize {
    let tables: usize = relu.digits.iter().map(|digit| packed_len(n, digit.sent_width())).sum();
    tables + packed_len(n, relu.spec().out_bits)
}

/// Random OTs per element sent by the server and by the client.
pub(super) fn columns(relu: &Relu) -> (usize, usize) {
    let products = relu.products().count();
    (relu.choice_bits() + products + relu.words.len(), products)
}
