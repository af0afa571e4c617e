//! Every layer moves exactly the bytes that the plan foretells, and nothing crosses the connection that no row accounts for.

use phineus_infer::plan::{NonLinear, Plan};
use phineus_infer::report::{Cost, Report};
use phineus_infer::session::client::Session;
use phineus_model::fixed::Model;
use phineus_model::reference;
use phineus_net::FRAME_HEADER;

use crate::party::input;

pub(crate) const FRAME: u64 = FRAME_HEADER as u64;
/// A command, its frame included.
pub(crate) const COMMAND: u64 = FRAME + 37;

/// Bytes and rounds only.
pub(crate) fn traffic(cost: &Cost) -> [u64; 3] {
    [cost.client_to_server_bytes, cost.server_to_client_bytes, cost.rounds]
}

pub(crate) fn plus(a: [u64; 3], b: [u64; 3]) -> [u64; 3] {
    std::array::from_fn(|i| a[i] + b[i])
}

/// What a session adds to the offline phase of its first pre-compute: the command, the keys of the parameter sets in use,
/// the base transfers, the id at the end.
pub(crate) fn first_offline(plan: &Plan) -> [u64; 3] {
    plus(traffic(&plan.set_up_cost(plan.linear())), later_offline(plan))
}

/// The same for a later one. A client that has the last word before the id waits for it.
fn later_offline(plan: &Plan) -> [u64; 3] {
    // In the order in which they are prepared, and whether the client sends the last message.
    let protocol = |layer: &NonLinear| match layer {
        NonLinear::ServerGarbles(_) => (0, false),
        NonLinear::Ot(_) => (1, true),
        NonLinear::Product(_) => (2, false),
        NonLinear::ClientGarbles(_) => (3, true),
    };
    let waits = plan.nonlinear().map(protocol).max().is_some_and(|(_, client)| client);
    [COMMAND, FRAME + 16, u64::from(waits)]
}

/// What it adds before the input: the id of the pre-compute, and the word to go. Under encryption there is nothing to wait
/// for.
fn start(plan: &Plan) -> [u64; 3] {
    if plan.encrypted().is_some() { [COMMAND, 0, 0] } else { [COMMAND, FRAME, 1] }
}

/// What it adds after the output: sizes and the server's times, two per row.
fn end(plan: &Plan) -> [u64; 3] {
    [0, FRAME + 16 + 16 * plan.rows() as u64, 0]
}

pub(crate) fn assert_as_foretold(
    plan: &Plan,
    predicted: &Report,
    report: &Report,
    session_offline: [u64; 3],
) {
    let rows = report.layers.len();
    assert_eq!(rows, plan.rows());
    assert_eq!(rows, predicted.layers.len());
    for (i, (real, foretold)) in report.layers.iter().zip(&predicted.layers).enumerate() {
        assert_eq!(
            (&real.name, &real.op, &real.protocol),
            (&foretold.name, &foretold.op, &foretold.protocol)
        );
        let (mut offline, mut online) = (traffic(&foretold.offline), traffic(&foretold.online));
        if i == 0 {
            online = plus(online, start(plan));
        }
        if i + 1 == rows {
            offline = plus(offline, session_offline);
            online = plus(online, end(plan));
        }
        let at = format!("{}: row {i} ({} {})", report.model, real.name, real.op);
        assert_eq!(traffic(&real.offline), offline, "offline of {at}");
        assert_eq!(traffic(&real.online), online, "online of {at}");
    }
    let sum = |phase: fn(&phineus_infer::report::Layer) -> &Cost| {
        report.layers.iter().map(|l| traffic(phase(l))).fold([0; 3], plus)
    };
    assert_eq!(traffic(&report.offline), sum(|l| &l.offline));
    assert_eq!(traffic(&report.online), sum(|l| &l.online));
}

/// Runs `inputs` inferences in a session and compares everything.
pub(crate) async fn assert_exact(session: &mut Session, model: &Model, seeds: impl Iterator<Item = u64>) {
    let name = &model.name;
    let exact =
        |x: &[i32], values: &[i64]| assert_eq!(values, reference::run(model, x).unwrap(), "{name}, {x:?}");
    assert_results(session, model, seeds, exact).await;
}

/// Runs inferences in a session, and compares everything but the results, which `check` gets with their input.
pub(crate) async fn assert_results(
    session: &mut Session,
    model: &Model,
    seeds: impl Iterator<Item = u64>,
    mut check: impl FnMut(&[i32], &[i64]),
) {
    let plan = session.plan().clone();
    let mut total = session.traffic();
    for (i, seed) in seeds.enumerate() {
        let x = input(model, seed);
        let stock = session.stock();
        let prepared = session.prepare().await.unwrap();
        let stored = prepared.to_bytes().len() as u64;
        let inference = session.infer(prepared, &x).await.unwrap();
        check(&x, &inference.values);
        let report = inference.report;
        let (predicted, extra) = match i {
            0 => (plan.predicted(), first_offline(&plan)),
            _ => (plan.predicted_with(stock), later_offline(&plan)),
        };
        assert_as_foretold(&plan, &predicted, &report, extra);
        assert_eq!(report.client.stored_bytes, stored);
        assert!(report.server.stored_bytes > 0);
        // Nothing crosses the connection that no row accounts for.
        let crossed = session.traffic() - total;
        total = session.traffic();
        let both = plus(traffic(&report.offline), traffic(&report.online));
        assert_eq!([crossed.sent, crossed.received, crossed.rounds], both);
    }
}
