//! Rounding at random: every value of a private run is one that the activation may give of what it read, and the bytes are
//! those foretold.

use phineus_infer::plan::{Engine, Options, Rounding};
use phineus_model::fixed::{Model, Op};
use phineus_model::float;
use phineus_model::graph::{Mask, NodeId};
use phineus_model::{op, quantize, reference};

use crate::end_to_end::assert_results;
use crate::nets::{self, Net, same};
use crate::party::Host;

const OPTIONS: fn() -> Options = || Options { rounding: Rounding::Stochastic, ..Options::of(Engine::Ot) };

/// A convolution and what `act` makes of it, all of which is revealed.
fn revealing(name: &str, act: impl Fn(&mut Net, NodeId) -> NodeId) -> Model {
    let mut net = Net::new(name, &[1, 6, 6]);
    let x = net.conv(0, same(2, 3));
    let x = act(&mut net, x);
    let x = net.reveal(x);
    nets::compile(&net.finish(x), &quantize::Options::default())
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

#[tokio::test(flavor = "multi_thread")]
async fn every_value_is_possible_and_the_bytes_are_those_foretold() {
    let poly = || float::Op::Poly { coefficients: vec![0.25, 0.5, 0.125] };
    let models = [
        revealing("rectifier", |net, x| net.relu(x)),
        revealing("rescale", |_, x| x),
        revealing("square", |net, x| net.push(float::Op::Poly { coefficients: vec![0.0, 0.0, 1.0] }, &[x])),
        revealing("parabola", |net, x| net.push(poly(), &[x])),
        revealing("maximum", |net, x| {
            let x = net.push(float::Op::MaxPool(nets::window(2, 2, 0)), &[x]);
            net.relu(x)
        }),
        revealing("by element", |net, x| {
            let (a, b) = (net.relu(x), net.push(poly(), &[x]));
            let mask = Mask::new(&(0..72).map(|i| i % 3 == 1).collect::<Vec<_>>());
            net.push(float::Op::Where { mask }, &[a, b])
        }),
    ];
    for model in models {
        let host = Host::of_options(&OPTIONS(), [model.clone()]);
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
