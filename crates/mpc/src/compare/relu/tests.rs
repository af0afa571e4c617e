//! Against the ideal functionality, over widths, roundings and extreme inputs.

use cpu_time::ThreadTime;
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::PeerMisbehaved;
use phineus_net::{ChannelError, Client, FRAME_HEADER, Server};
use rand::Rng as _;

use super::*;
use crate::compare::{ReluSpec, Rounding};
use crate::ot::cot;
use crate::ot::engine::Engine;
use crate::ot::silent::Set;
use crate::rot::tests::{Party, parties, parties_on};

/// `clamp((acc + 2^(f-1)) >> f, lo, hi)`.
fn ideal(spec: &ReluSpec, acc: i64) -> i64 {
    let half = (1_i64 << spec.shift) >> 1;
    ((acc + half) >> spec.shift).clamp(spec.lo.into(), spec.hi.into())
}

async fn prepare(
    client: &mut Party<Client>,
    server: &mut Party<Server>,
    relu: &Relu,
    c: &[u32],
) -> (ServerMaterial, ClientMaterial) {
    let (rng_s, rng_c) = (&mut Prg::new([9; 16]), &mut Prg::new([8; 16]));
    let (send, receive) = (&mut server.send, &mut server.receive);
    let s = prepare_server(&mut server.channel, relu, c.len(), send, receive, rng_s);
    let (send, receive) = (&mut client.send, &mut client.receive);
    let (s, c) = tokio::join!(s, prepare_client(&mut client.channel, relu, c, send, receive, rng_c));
    (s.unwrap(), c.unwrap())
}

struct Case {
    relu: Relu,
    acc: Vec<i64>,
    y: Vec<u32>,
    c: Vec<u32>,
    r: Vec<u32>,
}

impl Case {
    /// Accumulators around every threshold, the rest random, of random magnitude.
    fn new(spec: ReluSpec, n: usize, seed: u8) -> Self {
        let relu = Relu::new(spec).unwrap();
        let rng = &mut Prg::new([seed; 16]);
        let (smallest, largest) = (-(1_i64 << (spec.in_bits - 1)), relu.largest());
        let unit = 1_i64 << spec.shift;
        let mut acc = Vec::new();
        for edge in [smallest, largest, 0, i64::from(spec.lo) * unit, (i64::from(spec.hi) + 1) * unit] {
            acc.extend((-2..=2).flat_map(|d| [edge + d, edge + d * unit, edge + d * unit / 2]));
        }
        acc.truncate(n);
        while acc.len() < n {
            let wide = (i64::from(rng.next_u32()) << 32 >> 32) - (1 << 31);
            acc.push(wide >> (rng.next_u32() % 32));
        }
        acc.iter_mut().for_each(|v| *v = (*v).clamp(smallest, largest));
        let (mut c, mut r) = (vec![0; n], vec![0; n]);
        rng.fill_u32(spec.in_bits, &mut c);
        rng.fill_u32(spec.out_bits, &mut r);
        // Extreme shares too.
        c.iter_mut().step_by(7).for_each(|c| *c = 0);
        c.iter_mut().skip(3).step_by(7).for_each(|c| *c = u32::MAX >> (32 - spec.in_bits));
        let mask = u32::MAX >> (32 - spec.in_bits);
        let y = acc.iter().zip(&c).map(|(v, c)| (*v as u32).wrapping_sub(*c) & mask).collect();
        Self { relu, acc, y, c, r }
    }

    /// Both phases; checks the bytes and rounds of each, and that materials survive storage.
    async fn run(&self, client: &mut Party<Client>, server: &mut Party<Server>) -> Vec<u32> {
        let (relu, n) = (&self.relu, self.acc.len());
        let cost = cost(relu, n);
        let start = (client.channel.traffic(), server.channel.traffic());
        let (s, c) = prepare(client, server, relu, &self.c).await;
        let middle = (client.channel.traffic(), server.channel.traffic());
        let offline = (middle.0 - start.0, middle.1 - start.1);
        assert_eq!(offline.0.sent, cost.offline.client_to_server);
        assert_eq!(offline.1.sent, cost.offline.server_to_client);
        assert_eq!(offline.0.received, offline.1.sent);
        assert_eq!(offline.1.received, offline.0.sent);
        // The server sent the last message before, too.
        assert!(offline.0.rounds <= 1 && offline.1.rounds <= 2, "{offline:?}");

        let (s_bytes, c_bytes) = (s.to_bytes(relu), c.to_bytes(relu));
        assert_eq!((s.len(), c.len()), (n, n));
        let s = ServerMaterial::from_bytes(relu, n, &s_bytes).unwrap();
        let c = ClientMaterial::from_bytes(relu, n, &c_bytes).unwrap();
        let (out, done) = tokio::join!(
            online_server(&mut server.channel, relu, s, &self.y),
            online_client(&mut client.channel, relu, c, &self.c, &self.r),
        );
        done.unwrap();
        let online = (client.channel.traffic() - middle.0, server.channel.traffic() - middle.1);
        assert_eq!(online.0.sent, cost.online.client_to_server);
        assert_eq!(online.1.sent, cost.online.server_to_client);
        // The server waits for every exchange; the client's share follows the last.
        assert_eq!(online.1.rounds, cost.online.hops - 2);
        out.unwrap()
    }

    /// The results, both shares added.
    fn open(&self, share: &[u32]) -> Vec<u32> {
        let mask = u32::MAX >> (32 - self.relu.spec().out_bits);
        share.iter().zip(&self.r).map(|(s, r)| s.wrapping_add(*r) & mask).collect()
    }

    fn check(&self, share: &[u32]) {
        let spec = self.relu.spec();
        let mask = u32::MAX >> (32 - spec.out_bits);
        for (i, got) in self.open(share).into_iter().enumerate() {
            let exact = ideal(spec, self.acc[i]);
            let near = |d: i64| {
                let v = exact + d;
                got == v as u32 & mask && (i64::from(spec.lo)..=spec.hi.into()).contains(&v)
            };
            let ok = match spec.rounding {
                Rounding::Exact => near(0),
                Rounding::Stochastic => [-1, 0, 1].into_iter().any(near),
            };
            assert!(ok, "{spec:?}, element {i}: acc {} gave {got}, ideal {exact}", self.acc[i]);
        }
    }
}

const fn spec(in_bits: u32, shift: u32, lo: i32, hi: i32, out_bits: u32, rounding: Rounding) -> ReluSpec {
    ReluSpec { in_bits, shift, lo, hi, out_bits, rounding }
}

#[tokio::test]
async fn every_width_and_rounding_is_the_ideal_functionality() {
    let (mut client, mut server) = parties().await;
    for in_bits in 2..=32_u32 {
        for rounding in [Rounding::Exact, Rounding::Stochastic] {
            // Value bits and shift take all shapes: no low part, no saturation, one bit on top.
            let m = 1 + in_bits * 7 % (in_bits - 1).min(9);
            let shift = (in_bits * 5 % 13).min(in_bits - 1 - m);
            let (hi, out_bits) = ((1 << m) - 1, 1 + in_bits * 11 % 32);
            for (lo, hi) in [(0, hi), (-1 << (m - 1), hi >> 1)] {
                let case = Case::new(spec(in_bits, shift, lo, hi, out_bits, rounding), 130, in_bits as u8);
                let share = case.run(&mut client, &mut server).await;
                case.check(&share);
            }
        }
    }
}

#[tokio::test]
async fn plain_rectifiers_of_every_width() {
    let (mut client, mut server) = parties().await;
    for in_bits in 2..=32 {
        let hi = ((1_u64 << (in_bits - 1)) - 1) as i32;
        let spec = spec(in_bits, 0, 0, hi, in_bits, Rounding::Exact);
        let case = Case::new(spec, 130, in_bits as u8);
        assert!(case.relu.words.is_empty());
        let share = case.run(&mut client, &mut server).await;
        case.check(&share);
    }
}

#[tokio::test]
async fn every_value_of_a_small_ring() {
    let (mut client, mut server) = parties().await;
    let spec = spec(9, 3, 0, 15, 12, Rounding::Exact);
    let mut case = Case::new(spec, 1 << 16, 3);
    let half: i64 = 1 << 8;
    for i in 0..case.acc.len() {
        // All 128 x 512 pairs with an accumulator in range, thinned by a step of four.
        let acc = ((i as i64 % 128) * 4 - half + (i as i64 / 128) % 4).min(case.relu.largest());
        case.acc[i] = acc;
        case.c[i] = i as u32 / 128;
        case.y[i] = (acc as u32).wrapping_sub(case.c[i]) & 511;
    }
    let share = case.run(&mut client, &mut server).await;
    case.check(&share);
    // The server's share is uniform: masked by r.
    let ones: u32 = share.iter().map(|s| s.count_ones()).sum();
    let mean = 6.0 * share.len() as f64;
    assert!((f64::from(ones) - mean).abs() < 6.0 * (3.0 * share.len() as f64).sqrt());
}

#[tokio::test]
async fn on_silent_transfers() {
    let engine = Engine::Silent(Set::B10);
    let (mut client, mut server) = parties_on(engine).await;
    let case = Case::new(spec(24, 8, 0, 255, 24, Rounding::Exact), 700, 7);
    let start = client.channel.traffic();
    let stock = [server.send.stock(), client.send.stock()];
    let (s, c) = prepare(&mut client, &mut server, &case.relu, &case.c).await;
    let offline = client.channel.traffic() - start;
    // The promised bytes with the cost of the engine in place of SoftSpoken's.
    let promised = cost(&case.relu, 700).offline;
    let (mut up, mut down) = (promised.client_to_server, promised.server_to_client);
    for (direction, (sizes, mut stock)) in extensions(&case.relu, 700).into_iter().zip(stock).enumerate() {
        for n in sizes {
            let (old, new) = (cot::extend_cost(n), engine.extend_cost(stock, n));
            let (forth, back) = if direction == 0 { (&mut down, &mut up) } else { (&mut up, &mut down) };
            *forth += new.sender_to_receiver;
            *back += new.receiver_to_sender;
            *back -= old.receiver_to_sender;
            stock = (stock + n.saturating_sub(stock).div_ceil(Set::B10.round()) * Set::B10.round()) - n;
        }
    }
    assert_eq!((offline.sent, offline.received), (up, down));
    let (out, done) = tokio::join!(
        online_server(&mut server.channel, &case.relu, s, &case.y),
        online_client(&mut client.channel, &case.relu, c, &case.c, &case.r),
    );
    done.unwrap();
    case.check(&out.unwrap());
}

#[tokio::test]
async fn stochastic_rounding_is_unbiased() {
    let (mut client, mut server) = parties().await;
    let mut case = Case::new(spec(20, 6, 0, 255, 20, Rounding::Stochastic), 20_000, 4);
    for i in 0..case.acc.len() {
        case.c[i] = (i as u32).wrapping_mul(0x9e37_79b9) >> 12;
        case.acc[i] = 64 * 100 + 20;
        case.y[i] = (case.acc[i] as u32).wrapping_sub(case.c[i]) & 0xf_ffff;
    }
    let share = case.run(&mut client, &mut server).await;
    let mean = case.open(&share).iter().map(|z| f64::from(*z)).sum::<f64>() / 20_000.0;
    // 100 + 21/64, standard deviation of the mean 0.0033.
    assert!((mean - 100.0 - 21.0 / 64.0).abs() < 0.02, "{mean}");
}

#[tokio::test]
async fn sizes_around_lanes_and_the_promised_bytes() {
    let (mut client, mut server) = parties().await;
    for n in [0, 1, 63, 64, 65, 5000] {
        let case = Case::new(spec(24, 8, 0, 255, 24, Rounding::Exact), n, 5);
        let share = case.run(&mut client, &mut server).await;
        case.check(&share);
    }
    let bits = |rounding| {
        let relu = Relu::new(spec(24, 8, 0, 255, 24, rounding)).unwrap();
        let n = 1 << 16;
        let online = cost(&relu, n).online;
        let frames = (2 * (online.hops - 2) + 2) * FRAME_HEADER as u64;
        let bits = (online.server_to_client + online.client_to_server - frames) * 8 / n as u64;
        (bits, cost(&relu, n).server_ots, cost(&relu, n).client_ots, online.hops)
    };
    assert_eq!(bits(Rounding::Exact), (273, 35, 8, 7));
    assert_eq!(bits(Rounding::Stochastic), (214, 24, 6, 6));
}

#[tokio::test]
async fn a_peer_that_sends_other_lengths_is_refused() {
    let relu = Relu::new(spec(24, 8, 0, 255, 24, Rounding::Exact)).unwrap();
    let other = Relu::new(spec(25, 8, 0, 255, 24, Rounding::Exact)).unwrap();
    let (mut client, mut server) = parties().await;
    let prepared = |relu: Relu| async move {
        let (mut client, mut server) = parties().await;
        prepare(&mut client, &mut server, &relu, &[5; 50]).await
    };
    let (material, _) = prepared(other.clone()).await;
    let (_, own) = prepared(relu.clone()).await;
    let result = {
        let wrong = online_server(&mut server.channel, &other, material, &[1; 50]);
        let right = online_client(&mut client.channel, &relu, own, &[5; 50], &[0; 50]);
        tokio::select! {
            result = right => result,
            _ = wrong => unreachable!("waits for the client"),
        }
    };
    let error = result.unwrap_err();
    let length = |e: &PeerMisbehaved| matches!(e, PeerMisbehaved::Length { what: "relu.tables", .. });
    assert!(matches!(&error, CompareError::Channel(ChannelError::Peer(e)) if length(e)), "{error}");

    let (material, own) = prepared(relu.clone()).await;
    assert_eq!(format!("{material:?}, {own:?}"), "ServerMaterial(50 elements), ClientMaterial(50 elements)");
    let bytes = material.to_bytes(&relu);
    assert_eq!(bytes.len(), ServerMaterial::byte_len(&relu, 50));
    assert!(ServerMaterial::from_bytes(&relu, 50, &bytes[1..]).is_err());
    assert!(ServerMaterial::from_bytes(&relu, 51, &bytes).is_err());
    assert!(ClientMaterial::from_bytes(&relu, 50, &bytes).is_err());
    let result = online_server(&mut server.channel, &relu, material, &[1; 49]).await;
    assert!(matches!(result, Err(CompareError::Length { expected: 50, got: 49, .. })));
    let result = online_client(&mut client.channel, &relu, own, &[1; 50], &[0; 51]).await;
    assert!(matches!(result, Err(CompareError::Length { expected: 50, got: 51, .. })));
}

#[test]
fn unsupported_parameters_are_named() {
    for (bad, what) in [
        (spec(1, 0, 0, 1, 8, Rounding::Exact), "in_bits"),
        (spec(33, 0, 0, 1, 8, Rounding::Exact), "in_bits"),
        (spec(20, 4, 0, 255, 0, Rounding::Exact), "out_bits"),
        (spec(20, 20, 0, 255, 20, Rounding::Exact), "shift"),
        (spec(20, 4, 0, 254, 20, Rounding::Exact), "hi - lo + 1"),
        (spec(20, 4, 5, 5, 20, Rounding::Exact), "hi - lo + 1"),
        (spec(12, 4, 0, 255, 20, Rounding::Exact), "hi - lo + 1"),
    ] {
        let error = Relu::new(bad).unwrap_err();
        assert!(matches!(error, CompareError::Unsupported { what: w, .. } if w == what), "{bad:?}: {error}");
    }
}

/// Processor time of both parties together, one thread, in release: `cargo test --release -p phineus-mpc -- --ignored
/// relu_by_ot --nocapture`, with `SILENT=1` in the environment on silent transfers.
#[tokio::test(flavor = "current_thread")]
#[ignore = "measurement"]
async fn relu_by_ot() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global();
    assert!(pool.is_ok(), "the only test of its process");
    let engine =
        if std::env::var_os("SILENT").is_some() { Engine::Silent(Set::B11) } else { Engine::SoftSpoken };
    let (mut client, mut server) = parties_on(engine).await;
    let (n, rounds) = (1 << 16, 8);
    eprintln!("{engine:?}; bytes offline with SoftSpoken");
    eprintln!("  l rounding    offline us  online us  offline B  online B  hops  stored B server/client");
    for in_bits in [20, 24, 28] {
        for rounding in [Rounding::Exact, Rounding::Stochastic] {
            let case = Case::new(spec(in_bits, 8, 0, 255, 24, rounding), n, 6);
            let relu = &case.relu;
            // Means: a silent engine makes many transfers at once and then lives on its stock.
            let (mut offline, mut online) = (0.0, 0.0);
            for _ in 0..rounds {
                let start = ThreadTime::now();
                let (s, c) = prepare(&mut client, &mut server, relu, &case.c).await;
                offline += start.elapsed().as_secs_f64();
                let start = ThreadTime::now();
                let (out, done) = tokio::join!(
                    online_server(&mut server.channel, relu, s, &case.y),
                    online_client(&mut client.channel, relu, c, &case.c, &case.r),
                );
                done.unwrap();
                online += start.elapsed().as_secs_f64();
                case.check(&out.unwrap());
            }
            let cost = cost(relu, n);
            let per = |bytes: u64| bytes as f64 / n as f64;
            let stored =
                [ServerMaterial::byte_len(relu, n), ClientMaterial::byte_len(relu, n)].map(|b| per(b as u64));
            eprintln!(
                " {in_bits} {rounding:<12?} {:9.3} {:10.3} {:10.1} {:9.2} {:5} {:8.1} / {:.1}",
                offline * 1e6 / (rounds * n) as f64,
                online * 1e6 / (rounds * n) as f64,
                per(cost.offline.client_to_server + cost.offline.server_to_client),
                per(cost.online.client_to_server + cost.online.server_to_client),
                cost.online.hops,
                stored[0],
                stored[1],
            );
        }
    }
}
