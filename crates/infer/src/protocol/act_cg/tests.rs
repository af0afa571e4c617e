use std::sync::Arc;

use cpu_time::ThreadTime;
use phineus_kernel::prg::Prg;
use phineus_mpc::gc::gadgets::{ActSpec, QuadraticSpec, act_shared, argmax};
use phineus_mpc::ot::cot;
use phineus_net::{ChannelError, Client, Server, Traffic, mem};

use super::*;
use crate::plan::Directions;

const DELTA: u8 = 7;

fn relu(in_bits: u32, shift: u32) -> ActSpec {
    ActSpec { in_bits, window: 1, shift, lo: 0, hi: 255, quadratic: None, out_bits: 21 }
}

fn layer(spec: &ActSpec, instances: usize) -> GarbledLayer {
    GarbledLayer {
        node: 3,
        input: 2,
        circuit: Arc::new(act_shared(spec).unwrap()),
        instances,
        gather: None,
        window: spec.window,
        in_bits: spec.in_bits,
        mask_bits: spec.out_bits,
        half: if spec.shift == 0 { 0 } else { 1 << (spec.shift - 1) },
    }
}

fn arg_max(values: usize, in_bits: u32) -> GarbledLayer {
    let circuit = Arc::new(argmax(in_bits, values).unwrap());
    let spec = ActSpec { window: values, ..relu(in_bits, 0) };
    GarbledLayer { circuit, mask_bits: 0, ..layer(&spec, 1) }
}

/// What the layer computes from the values of one instance.
fn ideal(spec: &ActSpec, values: &[i64]) -> i64 {
    let rescale = |v: i64, shift: u32, lo: i32, hi: i32| {
        let half = if shift == 0 { 0 } else { 1 << (shift - 1) };
        ((v + half) >> shift).clamp(lo.into(), hi.into())
    };
    let z = rescale(*values.iter().max().unwrap(), spec.shift, spec.lo, spec.hi);
    spec.quadratic.map_or(z, |q| {
        rescale(i64::from(q.c2) * z * z + i64::from(q.c1) * z + i64::from(q.c0), q.shift, q.lo, q.hi)
    })
}

fn words(seed: u8, bits: u32, len: usize) -> Vec<u32> {
    let mut words = vec![0; len];
    Prg::new([seed; 16]).fill_u32(bits, &mut words);
    words
}

fn signed(word: u32, bits: u32) -> i64 {
    i64::from(word) << (64 - bits) >> (64 - bits)
}

/// Values that neither the rounding constant nor the maximum takes out of the ring.
fn values(seed: u8, bits: u32, len: usize) -> Vec<i64> {
    let all = words(seed, bits, len);
    let limit = 1_i64 << (bits - 2);
    all.iter().map(|w| signed(*w, bits).clamp(-limit, limit - 1)).collect()
}

/// The shares of the evaluator and of the garbler.
fn share(values: &[i64], bits: u32, seed: u8) -> (Vec<u32>, Vec<u32>) {
    let c = words(seed, bits, values.len());
    let mask = u32::MAX >> (32 - bits);
    let y = values.iter().zip(&c).map(|(v, c)| (*v as u32).wrapping_sub(*c) & mask).collect();
    (y, c)
}

fn counted(cost: &Cost) -> [u64; 3] {
    [cost.client_to_server_bytes, cost.server_to_client_bytes, cost.rounds]
}

/// Offline and online.
fn foretold(layers: &[&GarbledLayer]) -> (Vec<[u64; 3]>, Vec<[u64; 3]>) {
    let directions = Directions { down: None, up: Some(engine::Engine::SoftSpoken) };
    let mut script = Script::new(directions, [0; 2]);
    let offline = predict_offline(layers, &mut script).iter().map(counted).collect();
    script.up(0);
    script.lap();
    let online = |layer: &&GarbledLayer| {
        predict_online(layer, &mut script);
        counted(&script.lap())
    };
    (offline, layers.iter().map(online).collect())
}

/// The garbler in both phases: what it learns, what crossed, and its seed.
async fn garble_all<R: Role>(
    channel: &mut Channel<R>,
    layers: &[&GarbledLayer],
    c: &[Vec<u32>],
) -> Result<(Vec<Vec<u32>>, Vec<[u64; 3]>, Vec<[u64; 3]>), ProtocolError> {
    let rng = &mut Prg::new([DELTA; 16]);
    let base = cot::Sender::setup(channel, &[1; 32], Delta::random(rng), rng).await?;
    let mut cot = engine::Sender::SoftSpoken(Box::new(base));
    let inputs: Vec<_> = c.iter().map(Vec::as_slice).collect();
    let seed = Seed::from_bytes([9; 32]);
    let done = prepare_garbler(channel, &mut cot, layers, &inputs, &seed, Side::Client, rng).await?;
    let offline = done.iter().map(|(_, cost)| counted(cost)).collect();
    // As the input of a network does in a session.
    channel.send_bytes(Step::new("test.input"), &[]).await?;
    channel.flush().await?;
    let (mut revealed, mut online) = (vec![], vec![]);
    for (layer, (kept, _)) in layers.iter().zip(&done) {
        let before = channel.traffic();
        revealed.push(garbler(channel, layer, cot.delta(), &seed, kept.as_ref()).await?);
        let Traffic { sent, received, rounds } = channel.traffic() - before;
        online.push([sent, received, rounds]);
    }
    Ok((revealed, offline, online))
}

async fn evaluate_all<R: Role>(
    channel: &mut Channel<R>,
    layers: &[&GarbledLayer],
    y: &[Vec<u32>],
) -> Result<Vec<Vec<u32>>, ProtocolError> {
    let rng = &mut Prg::new([8; 16]);
    let base = cot::Receiver::setup(channel, &[1; 32], rng).await?;
    let mut cot = engine::Receiver::SoftSpoken(Box::new(base));
    let mut done = prepare_evaluator(channel, &mut cot, layers, Side::Server, rng).await?;
    channel.recv_bytes(Step::new("test.input"), 0).await?;
    let mut shares = vec![];
    for ((layer, (material, _)), y) in layers.iter().zip(&mut done).zip(y) {
        shares.push(evaluator(channel, layer, material, y).await?);
    }
    Ok(shares)
}

/// Runs layers between a client that garbles and a server, holds the traffic to the prediction, and returns what the
/// garbler learnt and the evaluator's shares.
async fn run(layers: &[&GarbledLayer], shares: &[(Vec<u32>, Vec<u32>)]) -> (Vec<Vec<u32>>, Vec<Vec<u32>>) {
    let (mut client, mut server) = mem::pair();
    let (y, c): (Vec<_>, Vec<_>) = shares.iter().cloned().unzip();
    let (learnt, got) =
        tokio::join!(garble_all(&mut client, layers, &c), evaluate_all(&mut server, layers, &y));
    let (learnt, offline, online) = learnt.unwrap();
    assert_eq!((offline, online), foretold(layers));
    (learnt, got.unwrap())
}

async fn assert_ideal(spec: &ActSpec, instances: usize) {
    let layer = layer(spec, instances);
    let values = values(instances as u8, spec.in_bits, instances * spec.window);
    let shares = [share(&values, spec.in_bits, 5)];
    let (_, got) = run(&[&layer], &shares).await;
    let mask = Seed::from_bytes([9; 32]).mask(layer.node, spec.out_bits, instances);
    let ring = u32::MAX >> (32 - spec.out_bits);
    for (i, (share, values)) in got[0].iter().zip(values.chunks(spec.window)).enumerate() {
        assert!(*share <= ring, "{spec:?}");
        let z = share.wrapping_add(mask[i]) & ring;
        assert_eq!(z, ideal(spec, values) as u32 & ring, "{spec:?}, instance {i}: {values:?}");
    }
}

#[tokio::test]
async fn shares_of_the_layer_whatever_the_width() {
    for in_bits in 8..=32 {
        for (shift, out_bits) in [(0, 32), (in_bits / 3, 21), (in_bits - 2, 9)] {
            assert_ideal(&ActSpec { out_bits, ..relu(in_bits, shift) }, 33).await;
        }
    }
}

#[tokio::test]
async fn shares_of_the_layer_whatever_the_window_clamp_and_number() {
    let base = relu(20, 6);
    for (lo, hi) in [(0, 255), (-128, 127), (-100, 99), (i32::MIN, i32::MAX), (0, i32::MAX), (7, 7)] {
        for window in [1, 4, 9] {
            assert_ideal(&ActSpec { lo, hi, window, ..base }, 18).await;
        }
    }
    for instances in [1, 15, 16, 17, 100] {
        assert_ideal(&base, instances).await;
    }
    let q = QuadraticSpec { c2: 3, c1: -40, c0: 900, shift: 5, lo: 0, hi: 255 };
    assert_ideal(&ActSpec { quadratic: Some(q), hi: 100, lo: -100, ..base }, 40).await;
}

/// Several messages per phase, a gather, and an arg-max at the end.
#[tokio::test]
async fn a_network_of_layers() {
    let spec = ActSpec { window: 2, ..relu(24, 8) };
    let gather = (0..2000_u32).map(|i| i * 7 % 1500).collect();
    let pooled = GarbledLayer { gather: Some(gather), ..layer(&spec, 1000) };
    let wide = GarbledLayer { node: 4, ..layer(&relu(24, 8), 6000) };
    let last = GarbledLayer { node: 5, ..arg_max(10, 22) };
    assert!(wide.table_spans(Span::whole(0, wide.instances)).count() > 2);
    assert!(wide.label_spans(0, 24).count() > 1);
    let all = [values(1, 24, 1500), values(2, 24, 6000), values(3, 22, 10)];
    let shares = [share(&all[0], 24, 1), share(&all[1], 24, 2), share(&all[2], 22, 3)];
    let (learnt, got) = run(&[&pooled, &wide, &last], &shares).await;
    let seed = Seed::from_bytes([9; 32]);
    let check = |spec: &ActSpec, layer: &GarbledLayer, got: &[u32], values: &[i64]| {
        let mask = seed.mask(layer.node, 21, layer.instances);
        for (i, values) in values.chunks(spec.window).enumerate() {
            assert_eq!((got[i] + mask[i]) & 0x1f_ffff, ideal(spec, values) as u32, "instance {i}");
        }
    };
    let gathered: Vec<i64> = (0..2000).map(|i| all[0][i * 7 % 1500]).collect();
    check(&spec, &pooled, &got[0], &gathered);
    check(&relu(24, 8), &wide, &got[1], &all[1]);
    let best = (0..10).rev().max_by_key(|i| all[2][*i]).unwrap();
    assert_eq!(learnt, [vec![], vec![], vec![best as u32]]);
    assert!(got[2].is_empty());
}

#[tokio::test]
async fn the_only_value_is_the_largest() {
    let (learnt, _) = run(&[&arg_max(1, 20)], &[(vec![5], vec![9])]).await;
    assert_eq!(learnt, [[]]);
}

/// What the other party sees has the statistics of coins, also if all values and shares are zero.
#[tokio::test]
async fn messages_are_uniform() {
    let layer = layer(&relu(24, 8), 2000);
    let zeros: Vec<u32> = vec![0; layer.instances];
    let (mut client, mut server) = mem::pair();
    let rng = &mut Prg::new([1; 16]);
    let seed = Seed::random(rng);
    let prepare = async {
        let rng = &mut Prg::new([2; 16]);
        let base = cot::Sender::setup(&mut client, &[1; 32], Delta::random(rng), rng).await.unwrap();
        let mut cot = engine::Sender::SoftSpoken(Box::new(base));
        let inputs = [&zeros[..]];
        prepare_garbler(&mut client, &mut cot, &[&layer], &inputs, &seed, Side::Client, rng).await.unwrap();
        cot.delta().clone()
    };
    let receive = async {
        let base = cot::Receiver::setup(&mut server, &[1; 32], rng).await.unwrap();
        let mut cot = engine::Receiver::SoftSpoken(Box::new(base));
        prepare_evaluator(&mut server, &mut cot, &[&layer], Side::Server, rng).await.unwrap().remove(0).0
    };
    let (delta, mut material) = tokio::join!(prepare, receive);
    let even = |what: &str, bytes: &[u8]| {
        let ones: u32 = bytes.iter().map(|b| b.count_ones()).sum();
        let n = 8.0 * bytes.len() as f64;
        assert!((f64::from(ones) - n / 2.0).abs() < 6.0 * (n / 4.0).sqrt(), "{what}: {ones} of {n}");
    };
    let choices: Vec<u8> =
        material.labels.chunks(8).map(|l| l.iter().fold(0, |b, l| b << 1 | u8::from(l.lsb()))).collect();
    even("choices", &choices);
    even("labels", Block::as_bytes(&material.labels));
    even("corrections", material.corrections.as_bytes());
    // All active labels differ, and none is an offset away from another.
    let mut pads = vec![];
    super::pads(&layer, &seed, Span::whole(0, layer.instances), &mut pads);
    let answers: Vec<Block> =
        pads.iter().zip(&material.labels).map(|(p, m)| *p ^ delta.times(m.lsb())).collect();
    even("answers", Block::as_bytes(&answers));
    let active = material.labels.iter().zip(&answers).map(|(m, a)| (*m ^ *a).0);
    let active: std::collections::HashSet<u128> = active.collect();
    assert_eq!(active.len(), material.labels.len());
    assert!(active.iter().all(|label| label & 1 == 0 && !active.contains(&(label ^ delta.block().0))));
    // d is what crosses.
    let flips = async {
        let bytes = client.recv_bytes(FLIPS, (24 * layer.instances).div_ceil(8)).await.unwrap();
        drop(client);
        bytes
    };
    let (flips, failed) = tokio::join!(flips, evaluator(&mut server, &layer, &mut material, &zeros));
    even("flips", &flips);
    assert!(failed.is_err());
}

/// A peer whose message number `at` from the evaluator is `bytes`.
async fn garbler_hears(step: Step, bytes: &[u8]) -> ProtocolError {
    let layer = layer(&relu(9, 2), 3);
    let (mut client, mut server) = mem::pair();
    let _: &mut Channel<Server> = &mut server;
    let seed = Seed::from_bytes([1; 32]);
    let delta = Delta::random(&mut Prg::new([3; 16]));
    server.send_bytes(step, bytes).await.unwrap();
    server.flush().await.unwrap();
    garbler::<Client>(&mut client, &layer, &delta, &seed, None).await.unwrap_err()
}

fn is_peer(error: &ProtocolError) -> bool {
    matches!(error, ProtocolError::Channel(ChannelError::Peer(_)))
}

#[tokio::test]
async fn wrong_messages_are_errors() {
    // 27 bits.
    assert!(is_peer(&garbler_hears(FLIPS, &[0; 3]).await));
    assert!(is_peer(&garbler_hears(FLIPS, &[0; 5]).await));
    assert!(is_peer(&garbler_hears(FLIPS, &[0, 0, 0, 8]).await));
    assert!(is_peer(&garbler_hears(OUTPUT, &[0; 4]).await));
    // Labels of the wrong length, and corrections with bits beyond the last one.
    let layer = layer(&relu(9, 2), 3);
    let room = EvaluatorLayer::with_room(&layer).unwrap();
    let mut material = EvaluatorLayer {
        tweak: 1,
        labels: vec![Block::ZERO; layer.evaluator_bits()],
        tables: vec![0; layer.table_bytes()],
        corrections: own_bits(vec![0; 8], 63).unwrap(),
    };
    drop(room);
    let (mut client, mut server) = mem::pair();
    let peer = async {
        client.recv_bytes(FLIPS, 4).await.unwrap();
        client.send_bytes(LABELS, &[0; 27 * 16 - 1]).await.unwrap();
        client.flush().await.unwrap();
        client
    };
    let (_client, got) = tokio::join!(peer, evaluator(&mut server, &layer, &mut material, &[0; 3]));
    assert!(is_peer(&got.unwrap_err()));
    assert!(is_peer(&peer_bits(TABLES, vec![0, 0, 0, 0, 0, 0, 0, 128], 63).unwrap_err()));
}

/// Whatever tables, labels or corrections a garbler sends, the evaluator ends with words of its ring.
#[tokio::test]
async fn a_garbler_that_sends_noise_breaks_nothing() {
    let layer = layer(&relu(24, 8), 20);
    let (mut client, mut server) = mem::pair();
    let peer = async {
        let rng = &mut Prg::new([4; 16]);
        let mut base = cot::Sender::setup(&mut client, &[1; 32], Delta::random(rng), rng).await.unwrap();
        base.extend(&mut client, layer.evaluator_bits()).await.unwrap();
        client.send_bytes(TWEAK, &[7; 16]).await.unwrap();
        let mut noise = vec![0x5a; layer.message_bytes(20)];
        *noise.last_mut().unwrap() = 0;
        client.send_bytes(TABLES, &noise).await.unwrap();
        client.send_bytes(Step::new("test.input"), &[]).await.unwrap();
        client.recv_bytes(FLIPS, 60).await.unwrap();
        client.send_bytes(LABELS, &vec![0x77; layer.evaluator_bits() * 16]).await.unwrap();
        client.flush().await.unwrap();
    };
    let (layers, y) = ([&layer], [vec![1; 20]]);
    let ((), got) = tokio::join!(peer, evaluate_all(&mut server, &layers, &y));
    assert!(got.unwrap()[0].iter().all(|word| *word < 1 << 21));
}

#[test]
fn a_round_holds_a_bounded_number_of_labels() {
    let (huge, small) = (layer(&relu(24, 8), 1 << 22), layer(&relu(24, 8), 1000));
    let layers = [&small, &small, &huge, &small, &small];
    let groups = schedule(&layers, 5);
    let ots = |group: &[Part]| group.iter().map(|p| p.span.count * 24).sum::<usize>();
    assert!(groups.iter().all(|group| ots(group) <= (1 << 22) + 24 * 16));
    assert!(groups.len() <= 24 + 3, "{}", groups.len());
    // Everything once, in order.
    let mut next = vec![0; layers.len()];
    let mut tweaks = vec![None; layers.len()];
    for part in groups.iter().flatten() {
        assert_eq!(part.span.first, next[part.layer]);
        next[part.layer] += part.span.count as u64;
        assert_eq!(*tweaks[part.layer].get_or_insert(part.span.tweak), part.span.tweak);
    }
    assert_eq!(next, layers.map(|layer| layer.instances as u64));
    let (offline, _) = foretold(&layers);
    assert_eq!(offline.iter().map(|[_, _, rounds]| rounds).sum::<u64>(), groups.len() as u64 - 1);
}

/// CPU time of both parties and bytes, per rectifier.
#[test]
#[ignore = "measurement"]
fn speed() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().unwrap();
    let layer = layer(&relu(24, 8), 1 << 16);
    let n = layer.instances as f64;
    let values = values(1, 24, layer.instances);
    let (y, c) = share(&values, 24, 2);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    pool.install(|| {
        for _ in 0..3 {
            let start = ThreadTime::now();
            runtime.block_on(run(&[&layer], &[(y.clone(), c.clone())]));
            eprintln!("both parties, transfers included: {:.3} us", start.elapsed().as_secs_f64() / n * 1e6);
        }
    });
    let (offline, online) = foretold(&[&layer]);
    let each = |bytes: u64| bytes as f64 / n;
    let [[up, down, _], [online_up, online_down, _]] = [offline[0], online[0]].map(|c| c.map(each));
    let kept = (layer.evaluator_bits() * Block::BYTES + layer.message_bytes(layer.instances)) as f64 / n;
    eprintln!(
        "offline {up:.1} up {down:.1} down, online {online_up:.1} up {online_down:.1} down; kept {kept:.1}"
    );
}
