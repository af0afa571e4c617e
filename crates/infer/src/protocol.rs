//! One protocol, one file, both halves side by side.

pub(crate) mod act_gc;
pub(crate) mod linear_he;

use crate::plan::Plan;
use crate::report::{Cost, Report};

/// Enters the bytes and rounds of every layer of an inference into a report, session set-up excluded.
pub(crate) fn predict(plan: &Plan, report: &mut Report) {
    let cost = |traffic: phineus_net::Traffic| Cost {
        client_to_server_bytes: traffic.sent,
        server_to_client_bytes: traffic.received,
        rounds: traffic.rounds,
        ..Cost::default()
    };
    for (i, layer) in plan.linear().layers().iter().enumerate() {
        let mut traffic = linear_he::predict(plan, layer);
        traffic.rounds = u64::from(i == 0);
        report.layers[layer.node].offline = cost(traffic);
    }
    let layers: Vec<_> = plan.server_garbled().collect();
    let (offline, online) = act_gc::predict(&layers);
    let first_of_group = act_gc::groups(&layers);
    for (i, ((layer, mut offline), online)) in layers.iter().zip(offline).zip(online).enumerate() {
        offline.rounds = u64::from(first_of_group.iter().any(|group| group.start == i));
        report.layers[layer.node].offline = cost(offline);
        report.layers[layer.node].online = cost(online);
    }
    crate::exec::predict(plan, report);
    report.total();
}
