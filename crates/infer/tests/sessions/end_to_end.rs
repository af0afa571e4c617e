//! The private result equals the clear-text reference bit for bit, and every layer moves exactly the bytes that the
//! plan foretells.

use phineus_infer::packing::{CostModel, Packing, PackingError};
use phineus_infer::plan::{Engine, Options};
use phineus_infer::session::client::Session;
use phineus_model::fixed::{Model, Op, Reveal};
use phineus_model::graph::Conv;
use phineus_model::{reference, zoo};
use phineus_net::tcp;
use proptest::prelude::*;
use tokio::net::TcpListener;

use crate::cost::{COMMAND, assert_exact};
use crate::nets;
use crate::party::{Host, connect, input};

async fn in_memory(model: Model, inputs: u64) {
    under(&Options::default(), model, inputs).await;
}

async fn under(options: &Options, model: Model, inputs: u64) {
    let host = Host::of_options(options, [model.clone()]);
    let (mut session, server) = host.connect().await;
    assert_exact(&mut session, &model, 0..inputs).await;
    session.close().await.unwrap();
    let summary = server.await.unwrap().unwrap();
    assert_eq!((summary.prepared as u64, summary.served as u64), (inputs, inputs));
    assert!(host.store.list(&host.lot()).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pattern_is_exact_and_moves_the_bytes_foretold() {
    for model in nets::patterns() {
        in_memory(model, 4).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_engine_is_exact_and_moves_the_bytes_foretold() {
    for engine in Engine::ON_SHARES {
        let options = Options::of(*engine);
        for model in nets::patterns() {
            under(&options, model, 2).await;
        }
        for reveal in [Reveal::Logits, Reveal::ArgMax] {
            under(&options, nets::dense_only(3, reveal), 2).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dense_layer_alone_reveals_logits_or_one_index() {
    for outputs in [1, 2, 10] {
        for reveal in [Reveal::Logits, Reveal::ArgMax] {
            in_memory(nets::dense_only(outputs, reveal), 3).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_are_the_sigmoids_of_exact_logits() {
    let model = nets::dense_only(3, Reveal::Scores);
    let host = Host::of([model.clone()]);
    let (mut session, server) = host.connect().await;
    let (prepared, x) = (session.prepare().await.unwrap(), input(&model, 1));
    let inference = session.infer(prepared, &x).await.unwrap();
    assert_eq!(inference.values, reference::run(&model, &x).unwrap());
    let output = inference.report.output;
    assert_eq!(output.scores.len(), 3);
    for (score, logit) in output.scores.iter().zip(&output.logits) {
        assert!((score - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-6);
    }
    session.close().await.unwrap();
    server.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_widest_rings_are_exact() {
    for bits in [30, 31, 32] {
        in_memory(nets::widened(nets::tiny("tiny"), bits), 3).await;
        in_memory(nets::widened(nets::dense_only(4, Reveal::ArgMax), bits), 3).await;
    }
}

#[test]
fn random_convolutions_are_exact() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Cases are small enough to be read; none is kept.
    let config = ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() };
    let side = || (1_usize..9, 1_usize..4, 1_usize..4, 0_usize..3, 0_usize..3, 1_usize..3);
    let channels = (1_usize..4, 1_usize..3, 1_usize..4);
    proptest!(config, |(rows in side(), columns in side(), channels in channels)| {
        let (groups, inputs, outputs) = channels;
        let conv = Conv {
            in_channels: groups * inputs,
            input: [rows.0, columns.0],
            out_channels: groups * outputs,
            kernel: [rows.1, columns.1],
            stride: [rows.2, columns.2],
            pads: [rows.3, columns.3, rows.4, columns.4],
            dilation: [rows.5, columns.5],
            groups,
        };
        prop_assume!(!conv.output().contains(&0));
        // All outputs lie in the padding: nothing to compute.
        let packing = Packing::plan(&conv, 4096, &CostModel::default());
        prop_assume!(packing.err() != Some(PackingError::Empty));
        runtime.block_on(in_memory(nets::one_conv(conv), 2));
    });
}

/// A runtime of one thread, on which heavy work runs in place.
#[tokio::test]
async fn one_thread_suffices() {
    in_memory(nets::tiny("tiny"), 2).await;
}

#[test]
fn patterns_are_what_they_are_called() {
    let models = nets::patterns();
    let find = |name: &str| models.iter().find(|m| m.name == name).unwrap();
    let has = |name: &str, wanted: fn(&Op) -> bool| {
        assert!(find(name).graph.nodes.iter().any(|n| wanted(&n.op)), "{name}");
    };
    has("stride, padding, groups, dilation", |op| matches!(op, Op::Linear { conv, .. } if conv.groups == 2));
    has("residual with projection", |op| matches!(op, Op::Add { .. }));
    has("residual with projection", |op| matches!(op, Op::SumPool(_)));
    has("shortcut of slices and zeros", |op| matches!(op, Op::Slice { .. }));
    has("shortcut of slices and zeros", |op| matches!(op, Op::Pad { .. }));
    has(
        "overlapping maxima",
        |op| matches!(op, Op::Act(a) if a.max_pool.is_some_and(|w| w.stride < w.kernel)),
    );
    has("averages and a join", |op| matches!(op, Op::Concat));
    has("quadratic activations", |op| matches!(op, Op::Act(a) if a.quadratic.is_some()));
    has("squeeze and excitation", |op| matches!(op, Op::Product));
    has("hard swishes", |op| matches!(op, Op::Act(a) if a.rescale.lo > 0));
    has("normalised before the rectifier", |op| matches!(op, Op::Bias { .. }));
    has("signed rescale", |op| matches!(op, Op::Act(a) if a.rescale.lo < 0));
    let widest = find("wide rings").graph.facts.iter().map(|f| f.bits).max().unwrap();
    assert!(widest >= 27, "{widest}");
    let narrowest = find("narrow rings").graph.facts.iter().map(|f| f.bits).min().unwrap();
    assert!(narrowest <= 4, "{narrowest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_of_the_literature_runs_over_tcp() {
    let graph = zoo::build("lola-mnist-relu", 5).unwrap();
    let model = nets::compile(&graph, &phineus_model::quantize::Options::default());
    let host = Host::of([model.clone()]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = tokio::spawn(async move { listener.accept().await.unwrap().0 });
    let client = tcp::connect(address, std::time::Duration::from_secs(10)).await.unwrap();
    let server = host.serve(tcp::from_stream(accepted.await.unwrap()).unwrap());
    let mut session = connect(client, &model.name, None).await.unwrap();
    assert_exact(&mut session, &model, 1..4).await;
    let traffic = session.traffic();
    session.close().await.unwrap();
    let summary = server.await.unwrap().unwrap();
    // The goodbye is the client's last word.
    assert_eq!(summary.traffic.received, traffic.sent + COMMAND);
    assert_eq!(summary.traffic.sent, traffic.received);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_does_not_fit_is_refused_and_the_session_goes_on() {
    let model = nets::tiny("tiny");
    let host = Host::of([model.clone()]);
    let (mut session, server) = host.connect().await;
    for bad in [vec![], vec![0; 5], vec![i32::MAX; 4], vec![-1; 4]] {
        let prepared = session.prepare().await.unwrap();
        let error = session.infer(prepared, &bad).await.unwrap_err();
        assert!(matches!(error, phineus_infer::ProtocolError::Input { expected: 4, .. }), "{error}");
    }
    assert_exact_after(&mut session, &model).await;
    session.close().await.unwrap();
    server.await.unwrap().unwrap();
}

async fn assert_exact_after(session: &mut Session, model: &Model) {
    let prepared = session.prepare().await.unwrap();
    let x = input(model, 9);
    assert_eq!(session.infer(prepared, &x).await.unwrap().values, reference::run(model, &x).unwrap());
}

/// Of equal largest outputs the first, whatever their number, under every engine.
#[tokio::test(flavor = "multi_thread")]
async fn the_index_of_the_first_largest_output_is_all_that_is_revealed() {
    for outputs in [2, 3, 8, 11] {
        let mut model = nets::dense_only(outputs, Reveal::ArgMax);
        // Pairs of equal outputs; the largest stands twice.
        for layer in &mut model.weights {
            let inputs = layer.weights.len() / outputs;
            for i in (1..outputs).step_by(2) {
                layer.weights.copy_within((i - 1) * inputs..i * inputs, i * inputs);
                layer.bias[i] = layer.bias[i - 1];
            }
        }
        for engine in [Engine::Delphi, Engine::ClientGarbler, Engine::Ot, Engine::Auto] {
            let host = Host::of_options(&Options::of(engine), [model.clone()]);
            let protocol = host.plan().argmax().unwrap().protocol();
            match engine {
                Engine::Ot => assert_eq!(protocol, "argmax_ot"),
                Engine::Delphi => assert_eq!(protocol, "argmax_gc"),
                _ => {}
            }
            let (mut session, server) = host.connect().await;
            assert_exact(&mut session, &model, 0..4).await;
            session.close().await.unwrap();
            server.await.unwrap().unwrap();
        }
    }
}
