//! Rounding at random: every value of a private run is one that the activation may give of what it read, and the bytes are
//! those foretold.

use phineus_infer::plan::{self, Options, Rounding, Transfers};
use phineus_kernel::prg::Prg;
use phineus_model::fixed::{Model, Op, Rescale};
use phineus_model::float;
use phineus_model::graph::{Mask, NodeId};
use phineus_model::{op, quantize, reference};
use phineus_mpc::Delta;
use phineus_mpc::compare::{self, Relu, ReluSpec, relu};
use phineus_mpc::ot::cot;
use phineus_mpc::ot::engine::{self, Engine};
use phineus_mpc::rot::{self, Tweaks};
use phineus_net::{Channel, Role, mem};

use crate::cost::assert_results;
use crate::nets::{self, Net, same};
use crate::party::Host;

/// A convolution and what `act` makes of it, all of which is revealed, in numbers of so many bits.
fn revealing(name: &str, bits: u32, act: impl Fn(&mut Net, NodeId) -> NodeId) -> Model {
    let mut net = Net::new(name, &[1, 6, 6]);
    let x = net.conv(0, same(2, 3));
    let x = act(&mut net, x);
    let x = net.reveal(x);
    let options =
        quantize::Options { activation_bits: bits, weight_bits: bits, ..quantize::Options::default() };
    nets::compile(&net.finish(x), &options)
}

/// The values of all nodes of a run in which these were revealed.
fn values(model: &Model, input: &[i32], revealed: &[i64]) -> Vec<Vec<u32>> {
    let graph = &model.graph;
    let word = |node: usize, v: i64| v as u32 & graph.facts[node].mask();
    let mut all = reference::trace(model, input).unwrap();
    let last = graph.output;
    all[last] = revealed.iter().map(|v| word(last, *v)).collect();
    let weight = i64::from(model.weights.last().unwrap().weights[0]);
    assert!(revealed.iter().all(|v| v % weight == 0));
    let mut known =
        vec![(graph.nodes[last].inputs[0], revealed.iter().map(|v| v / weight).collect::<Vec<_>>())];
    while let Some((node, value)) = known.pop() {
        let inputs = &graph.nodes[node].inputs;
        match &graph.nodes[node].op {
            Op::Act(_) => {}
            Op::Reshape => known.push((inputs[0], value.clone())),
            Op::Merge { mask } => {
                known.push((inputs[0], op::select::run(&value, mask)));
                known.push((inputs[1], op::select::run(&value, &mask.complement(value.len()))));
            }
            other => panic!("{other:?}"),
        }
        all[node] = value.into_iter().map(|v| word(node, v)).collect();
    }
    all
}

/// The networks in numbers of so many bits.
fn models(bits: u32) -> [Model; 6] {
    let poly = || float::Op::Poly { coefficients: vec![0.25, 0.5, 0.125] };
    let revealing = |name, act: &dyn Fn(&mut Net, NodeId) -> NodeId| revealing(name, bits, act);
    [
        revealing("rectifier", &|net, x| net.relu(x)),
        revealing("rescale", &|_, x| x),
        revealing("square", &|net, x| net.push(float::Op::Poly { coefficients: vec![0.0, 0.0, 1.0] }, &[x])),
        revealing("parabola", &|net, x| net.push(poly(), &[x])),
        revealing("maximum", &|net, x| {
            let x = net.push(float::Op::MaxPool(nets::window(2, 2, 0)), &[x]);
            net.relu(x)
        }),
        revealing("by element", &|net, x| {
            let (a, b) = (net.relu(x), net.push(poly(), &[x]));
            let mask = Mask::new(&(0..72).map(|i| i % 3 == 1).collect::<Vec<_>>());
            net.push(float::Op::Where { mask }, &[a, b])
        }),
    ]
}

/// Runs some inputs through each network.
async fn assert_possible(transfers: Transfers, models: impl IntoIterator<Item = Model>) {
    let options = Options { rounding: Rounding::Stochastic, transfers, ..Options::of(plan::Engine::Ot) };
    for model in models {
        let host = Host::of_options(&options, [model.clone()]);
        let (mut session, server) = host.connect().await;
        let protocols: Vec<String> =
            session.plan().layers().into_iter().map(|layer| layer.protocol).collect();
        assert!(protocols.iter().all(|protocol| protocol != "act_gc"), "{}: {protocols:?}", model.name);
        let mut differ = 0;
        let possible = |x: &[i32], revealed: &[i64]| {
            let values = values(&model, x, revealed);
            reference::stochastic::check(&model, &values).unwrap_or_else(|e| panic!("{}: {e}", model.name));
            differ += usize::from(revealed != reference::run(&model, x).unwrap());
        };
        assert_results(&mut session, &model, 0..4, possible).await;
        assert!(differ > 0, "{}", model.name);
        session.close().await.unwrap();
        server.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_is_possible_and_the_bytes_are_those_foretold() {
    assert_possible(Transfers::SoftSpoken, models(8)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_is_possible_in_narrow_rings_on_silent_transfers() {
    assert_possible(Transfers::Silent, models(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_is_possible_in_wide_rings() {
    assert_possible(Transfers::SoftSpoken, models(8).map(|model| nets::widened(model, 29))).await;
}

/// A party's random transfers, those that it sends first.
async fn transfers<R: Role>(channel: &mut Channel<R>) -> (rot::Sender<R>, rot::Receiver<R>) {
    let rng = &mut Prg::new([u8::from(R::LEADER); 16]);
    let (down, up) = Tweaks::split(7 << 64);
    let (own, theirs) = if R::LEADER { (down, up) } else { (up, down) };
    let (mut sender, mut receiver) = (None, None);
    for sends in [R::LEADER, !R::LEADER] {
        if sends {
            let base = cot::Sender::setup(channel, &[1; 32], Delta::random(rng), rng).await.unwrap();
            let cot = engine::Sender::setup(Engine::SoftSpoken, channel, &[2; 32], base, rng).await.unwrap();
            sender = Some(cot);
        } else {
            let base = cot::Receiver::setup(channel, &[1; 32], rng).await.unwrap();
            let cot =
                engine::Receiver::setup(Engine::SoftSpoken, channel, &[2; 32], base, rng).await.unwrap();
            receiver = Some(cot);
        }
    }
    (rot::Sender::new(sender.unwrap(), own), rot::Receiver::new(receiver.unwrap(), theirs))
}

/// The reference rounds as the protocol does for the same share of the client, word for word.
#[tokio::test]
async fn the_reference_is_the_protocol_for_every_share() {
    let (mut client, mut server) = mem::pair();
    let ((mut c_send, mut c_receive), (mut s_send, mut s_receive)) =
        tokio::join!(transfers(&mut client), transfers(&mut server));
    let n = 5000;
    for (in_bits, shift, lo, hi) in [(14, 5, 0, 63), (20, 9, -128, 127), (12, 0, 0, 255), (24, 8, 0, 255)] {
        let rounding = compare::Rounding::Stochastic;
        let relu = Relu::new(ReluSpec { in_bits, shift, lo, hi, out_bits: 16, rounding }).unwrap();
        let rescale = Rescale { shift, lo, hi };
        let half = 1_i64 << (in_bits - 1);
        assert_eq!(relu.largest(), half - 1 - rescale.margin());
        let (mut c, mut r, mut v) = (vec![0; n], vec![0; n], vec![0; n]);
        let rng = &mut Prg::new([in_bits as u8; 16]);
        rng.fill_u32(in_bits, &mut c);
        rng.fill_u32(16, &mut r);
        rng.fill_u32(in_bits, &mut v);
        let v: Vec<i64> = v.into_iter().map(|v| (i64::from(v) - half).min(relu.largest())).collect();
        let mask = u32::MAX >> (32 - in_bits);
        let y: Vec<u32> = v.iter().zip(&c).map(|(v, c)| (*v as u32).wrapping_sub(*c) & mask).collect();
        let (rng_s, rng_c) = (&mut Prg::new([8; 16]), &mut Prg::new([9; 16]));
        let (s, m) = tokio::join!(
            relu::prepare_server(&mut server, &relu, n, &mut s_send, &mut s_receive, rng_s),
            relu::prepare_client(&mut client, &relu, &c, &mut c_send, &mut c_receive, rng_c),
        );
        let (share, done) = tokio::join!(
            relu::online_server(&mut server, &relu, s.unwrap(), &y),
            relu::online_client(&mut client, &relu, m.unwrap(), &c, &r),
        );
        done.unwrap();
        for (i, share) in share.unwrap().into_iter().enumerate() {
            let expected = rescale.on_shares(v[i], c[i].into(), in_bits);
            let got = share.wrapping_add(r[i]) & 0xffff;
            assert_eq!(got, expected as u32 & 0xffff, "{rescale:?} of {} with share {}", v[i], c[i]);
        }
    }
}
