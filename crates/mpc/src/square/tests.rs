//! Against the ideal functionality, over coefficients, widths and extreme inputs.

use phineus_kernel::prg::Prg;
use phineus_kernel::wire::PeerMisbehaved;
use phineus_net::{ChannelError, Client, Server};
use proptest::prelude::*;

use super::*;
use crate::ot::engine::Engine;
use crate::ot::silent::Set;
use crate::rot::tests::{Party, parties, parties_on};

const fn spec(c2: i32, c1: i32, c0: i32, out_bits: u32) -> SquareSpec {
    SquareSpec { c2, c1, c0, out_bits }
}

struct Case {
    square: Square,
    v: Vec<u32>,
    y: Vec<u32>,
    c: Vec<u32>,
    r: Vec<u32>,
}

impl Case {
    /// Random values, shares and masks; extreme ones among them.
    fn new(spec: SquareSpec, n: usize, seed: u8) -> Self {
        let square = Square::new(spec).unwrap();
        let rng = &mut Prg::new([seed; 16]);
        let mut random = |bits| {
            let mut words = vec![0; n];
            rng.fill_u32(bits, &mut words);
            words.iter_mut().step_by(7).for_each(|word| *word = 0);
            words.iter_mut().skip(seed.into()).step_by(7).for_each(|word| *word = u32::MAX >> (32 - bits));
            words
        };
        let bits = square.in_bits();
        let (v, c, r) = (random(bits), random(bits), random(spec.out_bits));
        let y = v.iter().zip(&c).map(|(v, c)| v.wrapping_sub(*c) & (u32::MAX >> (32 - bits))).collect();
        Self { square, v, y, c, r }
    }

    async fn prepare(
        &self,
        client: &mut Party<Client>,
        server: &mut Party<Server>,
    ) -> (ServerMaterial, ClientMaterial) {
        let (square, n) = (&self.square, self.c.len());
        let s = async {
            let pending = begin_server(&mut server.channel, square, n, &mut server.send).await.unwrap();
            finish_server(&mut server.channel, square, pending).await.unwrap()
        };
        let c = async {
            let pending =
                begin_client(&mut client.channel, square, &self.c, &mut client.receive).await.unwrap();
            finish_client(&mut client.channel, square, pending).await.unwrap()
        };
        tokio::join!(s, c)
    }

    /// Both phases; checks the bytes and rounds of each, that materials survive storage, and the result. Returned is the
    /// server's share.
    async fn run(&self, client: &mut Party<Client>, server: &mut Party<Server>) -> Vec<u32> {
        let (square, n) = (&self.square, self.c.len());
        let cost = cost(square, n);
        let start = (client.channel.traffic(), server.channel.traffic());
        let (s, c) = self.prepare(client, server).await;
        let middle = (client.channel.traffic(), server.channel.traffic());
        let offline = (middle.0 - start.0, middle.1 - start.1);
        assert_eq!(offline.0.sent, cost.offline.client_to_server);
        assert_eq!(offline.1.sent, cost.offline.server_to_client);
        assert_eq!((s.len(), c.len(), s.is_empty()), (n, n, c.is_empty()));

        let (s_bytes, c_bytes) = (s.to_bytes(square), c.to_bytes(square));
        assert_eq!(s_bytes.len(), ServerMaterial::byte_len(square, n));
        let s = ServerMaterial::from_bytes(square, n, &s_bytes).unwrap();
        let c = ClientMaterial::from_bytes(square, n, &c_bytes).unwrap();
        let (share, done) = tokio::join!(
            online_server(&mut server.channel, square, s, &self.y),
            online_client(&mut client.channel, square, c, &self.c, &self.r),
        );
        done.unwrap();
        let online = (client.channel.traffic() - middle.0, server.channel.traffic() - middle.1);
        assert_eq!(online.0.sent, cost.online.client_to_server);
        assert_eq!(online.1.sent, cost.online.server_to_client);
        let share = share.unwrap();
        self.check(&share);
        share
    }

    fn check(&self, share: &[u32]) {
        let SquareSpec { c2, c1, c0, out_bits } = *self.square.spec();
        assert_eq!(share.len(), self.v.len());
        for (i, (share, v)) in share.iter().zip(&self.v).enumerate() {
            let ideal = (i128::from(c2) * i128::from(*v) + i128::from(c1)) * i128::from(*v) + i128::from(c0);
            let got = u64::from(*share) + u64::from(self.r[i]);
            let modulus = 1_i128 << out_bits;
            assert_eq!(
                i128::from(got).rem_euclid(modulus),
                ideal.rem_euclid(modulus),
                "{:?}, {v}",
                self.square
            );
        }
    }
}

#[tokio::test]
async fn every_width_is_the_ideal_functionality() {
    let (mut client, mut server) = parties().await;
    for out_bits in 1..=32_u32 {
        for (c2, c1, c0) in
            [(1, 0, 0), (0, 5, 3), (8, 3, -7), (-5, 1 << 20, i32::MIN), (i32::MIN, -1, 1), (0, 0, 9)]
        {
            let case = Case::new(spec(c2, c1, c0, out_bits), 70, (out_bits % 7) as u8);
            case.run(&mut client, &mut server).await;
        }
    }
}

#[tokio::test]
async fn every_pair_of_shares_of_a_small_ring() {
    let (mut client, mut server) = parties().await;
    let mut case = Case::new(spec(3, -2, 1, 8), 1 << 16, 1);
    assert_eq!(case.square.in_bits(), 7);
    for i in 0..case.v.len() {
        (case.y[i], case.c[i]) = (i as u32 & 127, i as u32 >> 7 & 127);
        case.v[i] = (case.y[i] + case.c[i]) & 127;
    }
    case.run(&mut client, &mut server).await;
}

#[tokio::test]
async fn sizes_around_lanes_and_on_silent_transfers() {
    let (mut client, mut server) = parties().await;
    for n in [0, 1, 63, 64, 65, 5000] {
        Case::new(spec(1, 0, 0, 17), n, 2).run(&mut client, &mut server).await;
    }
    let (mut client, mut server) = parties_on(Engine::Silent(Set::B10)).await;
    let case = Case::new(spec(2, 3, 4, 19), 300, 3);
    let (s, c) = case.prepare(&mut client, &mut server).await;
    let (share, done) = tokio::join!(
        online_server(&mut server.channel, &case.square, s, &case.y),
        online_client(&mut client.channel, &case.square, c, &case.c, &case.r),
    );
    done.unwrap();
    case.check(&share.unwrap());
}

#[test]
fn bits_that_count() {
    let bits = |c2, c1, out_bits| {
        let square = Square::new(spec(c2, c1, 5, out_bits)).unwrap();
        (cost(&square, 1).server_ots, square.in_bits())
    };
    assert_eq!(bits(1, 0, 17), (16, 16));
    assert_eq!(bits(1, 1, 17), (16, 17));
    assert_eq!(bits(-12, 6, 17), (14, 16));
    assert_eq!(bits(0, 3, 17), (0, 17));
    assert_eq!(bits(1 << 16, 0, 17), (0, 1));
    // Bits per element of a square of eight bits that is rescaled to eight: offline beside the OTs, and online.
    let n = 1 << 16;
    let cost = cost(&Square::new(spec(1, 0, 0, 17)).unwrap(), n);
    let per = |bytes: u64, frames: usize| (bytes - (frames * FRAME_HEADER) as u64) * 8 / n as u64;
    assert_eq!(per(cost.offline.server_to_client, 1), 120);
    assert_eq!(per(cost.online.server_to_client + cost.online.client_to_server, 2), 33);
    assert_eq!((cost.offline.hops, cost.online.hops), (2, 2));
    let square = Square::new(spec(1, 0, 0, 17)).unwrap();
    assert_eq!(hops(&square, 80), [Hop::ToClient(160), Hop::ToServer(170)]);
    assert_eq!(offline_bytes(&square, 80), Some(1200));
    let line = Square::new(spec(0, 3, 0, 17)).unwrap();
    assert_eq!((hops(&line, 80), offline_bytes(&line, 80)), (vec![Hop::ToServer(170)], None));
    for out_bits in [0, 33] {
        let error = Square::new(spec(1, 0, 0, out_bits)).unwrap_err();
        assert!(matches!(error, CompareError::Unsupported { what: "out_bits", .. }), "{error}");
    }
}

/// What either party sees is uniform for constant inputs and a uniform mask of the client: differences and the server's
/// word bit by bit.
#[tokio::test]
async fn views_are_uniform() {
    let (mut client, mut server) = parties().await;
    let n = 20_000;
    let mut case = Case::new(spec(1, 6, 0, 16), n, 4);
    (case.v, case.c, case.y) = (vec![9; n], vec![4; n], vec![5; n]);
    Prg::new([5; 16]).fill_u32(16, &mut case.r);
    let (s, c) = case.prepare(&mut client, &mut server).await;
    let differences: Vec<u32> = s.factors[0].iter().map(|a| 5_u32.wrapping_sub(*a) & 0x7fff).collect();
    let (share, done) = tokio::join!(
        online_server(&mut server.channel, &case.square, s, &case.y),
        online_client(&mut client.channel, &case.square, c, &case.c, &case.r),
    );
    done.unwrap();
    let share = share.unwrap();
    case.check(&share);
    for (words, bits) in [(&differences, 15), (&share, 16)] {
        for bit in 0..bits {
            let ones = words.iter().filter(|word| *word >> bit & 1 == 1).count() as f64;
            assert!((ones - n as f64 / 2.0).abs() < 5.0 * (n as f64 / 4.0).sqrt(), "bit {bit}: {ones}");
        }
    }
}

#[tokio::test]
async fn a_peer_that_sends_other_lengths_is_refused() {
    let (mut client, mut server) = parties().await;
    let case = Case::new(spec(1, 0, 0, 17), 50, 1);
    let other = Square::new(spec(1, 0, 0, 18)).unwrap();
    let length = |error: CompareError, step: &str| {
        let CompareError::Channel(ChannelError::Peer(PeerMisbehaved::Length { what, .. })) = error else {
            panic!("{error}");
        };
        assert_eq!(what, step);
    };
    // Offline: choices for another ring, then corrections for it.
    let right = begin_client(&mut client.channel, &case.square, &case.c, &mut client.receive);
    let wrong = begin_server(&mut server.channel, &other, 50, &mut server.send);
    let (pending, refused) = tokio::join!(right, wrong);
    length(refused.err().unwrap(), "cot.correction");
    let message = vec![0; case.square.cross.correction_bytes(51)];
    server.channel.send_bytes(CORRECTIONS, &message).await.unwrap();
    server.channel.flush().await.unwrap();
    let result = finish_client(&mut client.channel, &case.square, pending.unwrap()).await;
    length(result.err().unwrap(), "square.corrections");
    // Online: a difference for another ring.
    let (mut client, mut server) = parties().await;
    let (s, c) = case.prepare(&mut client, &mut server).await;
    let s = ServerMaterial { factors: s.factors, share: s.share };
    let right = online_client(&mut client.channel, &case.square, c, &case.c, &case.r);
    let result = tokio::select! {
        result = right => result,
        _ = online_server(&mut server.channel, &other, s, &case.y) => unreachable!("waits for the client"),
    };
    length(result.unwrap_err(), "square.difference");
    // Online: a word with bits beyond the last element.
    let (mut client, mut server) = parties().await;
    let (s, _) = case.prepare(&mut client, &mut server).await;
    let message = vec![0xff; packed_len(50, 17)];
    let wrong = async {
        client.channel.recv_bytes(DIFFERENCE, packed_len(50, 16)).await.unwrap();
        client.channel.send_bytes(RESULT, &message).await.unwrap();
        client.channel.flush().await.unwrap();
    };
    let (result, ()) = tokio::join!(online_server(&mut server.channel, &case.square, s, &case.y), wrong);
    assert!(matches!(result, Err(CompareError::Channel(ChannelError::Peer(_)))));
}

#[tokio::test]
async fn misuse_is_named() {
    let (mut client, mut server) = parties().await;
    let case = Case::new(spec(1, 2, 3, 12), 50, 1);
    let (s, c) = case.prepare(&mut client, &mut server).await;
    assert_eq!(format!("{s:?}, {c:?}"), "ServerMaterial(50 elements), ClientMaterial(50 elements)");
    let bytes = s.to_bytes(&case.square);
    assert!(ServerMaterial::from_bytes(&case.square, 50, &bytes[1..]).is_err());
    assert!(ServerMaterial::from_bytes(&case.square, 51, &bytes).is_err());
    assert!(ClientMaterial::from_bytes(&case.square, 50, &bytes).is_err());
    let result = online_server(&mut server.channel, &case.square, s, &[1; 49]).await;
    assert!(matches!(result, Err(CompareError::Length { expected: 50, got: 49, .. })));
    let result = online_client(&mut client.channel, &case.square, c, &case.c, &[1; 51]).await;
    assert!(matches!(result, Err(CompareError::Length { expected: 50, got: 51, .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_polynomial(c2: i32, c1: i32, c0: i32, out_bits in 1_u32..=32, zeros in 0_u32..32, n in 1_usize..80, seed in 0_u8..7) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (mut client, mut server) = parties().await;
            Case::new(spec(c2 << zeros, c1, c0, out_bits), n, seed).run(&mut client, &mut server).await;
        });
    }
}
