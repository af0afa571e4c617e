//! One protocol, one file, both halves side by side.

pub(crate) mod act_cg;
pub(crate) mod act_gc;
pub(crate) mod act_ot;
pub(crate) mod act_product;
pub(crate) mod act_square;
pub(crate) mod groups;
pub(crate) mod linear_he;
pub(crate) mod script;

use phineus_model::fixed::Op;
use phineus_mpc::ot::cot;

use crate::plan::{Directions, LinearPlan, NonLinear, Plan};
use crate::report::{Cost, Report};
use crate::session::resumption::{ANSWER_LEN, OFFER_LEN};
use script::{Script, Way};

/// Enters the bytes and rounds of every layer of an inference into a report, session set-up excluded; `linear`: how the
/// linear layers of several inferences are prepared together; `stock`: transfers in stock before, down and up; `None` if
/// transfers are set up between the linear layers and the others.
pub(crate) fn predict(plan: &Plan, linear: &LinearPlan, stock: Option<[usize; 2]>, report: &mut Report) {
    if let Some(encrypted) = plan.encrypted() {
        return crate::exec::cipher::predict(plan, encrypted, stock.unwrap_or_default(), report);
    }
    let count = linear.count() as u64;
    for (i, layer) in linear.layers().iter().enumerate() {
        let traffic = linear_he::predict(plan, layer);
        report.layers[layer.node].offline = Cost {
            client_to_server_bytes: traffic.sent / count,
            server_to_client_bytes: traffic.received / count,
            rounds: u64::from(i == 0),
            ..Cost::default()
        };
    }
    let mut script = match stock {
        Some(stock) => Script::new(*plan.directions(), stock),
        None => set_up(plan, linear, false).begin_anew(),
    };
    let layers: Vec<_> = plan.server_garbled().collect();
    for (layer, cost) in layers.iter().zip(act_gc::predict_offline(&layers, &mut script)) {
        report.layers[layer.node].offline += cost;
    }
    let layers: Vec<_> = plan.by_transfers().collect();
    for (layer, cost) in layers.iter().zip(act_ot::predict_offline(&layers, &mut script)) {
        report.layers[layer.node].offline += cost;
    }
    let layers: Vec<_> = plan.products().collect();
    for (layer, cost) in layers.iter().zip(act_product::predict_offline(&layers, &mut script)) {
        report.layers[layer.node].offline += cost;
    }
    let layers: Vec<_> = plan.client_garbled().collect();
    for (layer, cost) in layers.iter().zip(act_cg::predict_offline(&layers, &mut script)) {
        report.layers[layer.node].offline += cost;
    }
    predict_online(plan, report);
    report.total();
}

fn predict_online(plan: &Plan, report: &mut Report) {
    let graph = &plan.public().graph;
    let mut script = Script::new(*plan.directions(), [0; 2]);
    let mut layers = plan.nonlinear().peekable();
    for (node, this) in graph.nodes.iter().enumerate() {
        if matches!(this.op, Op::Input) {
            crate::exec::predict_input(plan, node, &mut script);
        } else if let Some(layer) = layers.next_if(|layer| layer.node() == node) {
            predict_nonlinear(layer, &mut script);
        } else {
            continue;
        }
        report.layers[node].online = script.lap();
    }
    match layers.next() {
        Some(argmax) => predict_nonlinear(argmax, &mut script),
        None => crate::exec::predict_output(plan, &mut script),
    }
    if let Some(output) = report.layers.last_mut() {
        output.online = script.lap();
    }
}

/// Bytes, rounds and one-way delays of a layer alone, offline and online.
pub(crate) fn price(layer: &NonLinear, directions: &Directions) -> [(Cost, u64); 2] {
    // Stocks that never run out: what fills them serves all layers.
    let script = || Script::new(*directions, [usize::MAX / 2; 2]);
    let mut offline = script();
    match layer {
        NonLinear::ServerGarbles(layer) => act_gc::predict_offline(&[layer], &mut offline),
        NonLinear::Ot(layer) => act_ot::predict_offline(&[&**layer], &mut offline),
        NonLinear::ClientGarbles(layer) => act_cg::predict_offline(&[layer], &mut offline),
        NonLinear::Product(layer) => act_product::predict_offline(&[layer], &mut offline),
    };
    let mut online = script().behind_a_message();
    predict_nonlinear(layer, &mut online);
    [offline, online].map(|script| (script.total(), script.delays()))
}

fn predict_nonlinear(layer: &NonLinear, script: &mut Script) {
    match layer {
        NonLinear::ServerGarbles(layer) => act_gc::predict_online(layer, script),
        NonLinear::Ot(layer) => act_ot::predict_online(layer, script),
        NonLinear::ClientGarbles(layer) => act_cg::predict_online(layer, script),
        NonLinear::Product(layer) => act_product::predict_online(layer, script),
    }
}

/// The keys that `linear` uses, and the transfers: taken up again, or set up.
pub(crate) fn set_up(plan: &Plan, linear: &LinearPlan, resumed: bool) -> Script {
    let directions = *plan.directions();
    let mut script = Script::new(directions, [0; 2]);
    match plan.encrypted() {
        Some(encrypted) => crate::session::predict_keys(encrypted, &mut script),
        None if resumed => {}
        None => script.up_frames(plan.key_bytes(linear)),
    }
    if directions.any() && plan.encrypted().is_none() {
        script.up(OFFER_LEN);
        // With the answer of the linear layers, whose round it is.
        script = script.behind_an_answer();
        script.down(ANSWER_LEN);
    }
    if resumed {
        return script;
    }
    let [points, reply] = cot::setup_messages();
    if directions.down.is_some() {
        script.down(points);
        script.up(reply);
    }
    if directions.up.is_some() {
        script.up(points);
        script.down(reply);
    }
    script.engine_setup(Way::Down);
    script.engine_setup(Way::Up);
    script
}
