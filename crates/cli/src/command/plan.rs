//! `phineus plan`: how every non-linear layer can be run over a link, what each way costs, and which one is taken.

use phineus_infer::plan::{Candidate, Engine, Options, Plan};
use phineus_infer::report::Cost;
use phineus_model::phn::Public;

use crate::compile::{self, Quantisation};
use crate::failure::Failure;
use crate::options::PlanFlags;
use crate::table;

/// Options of `phineus plan`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A zoo name, an ONNX file or a .phn file.
    network: String,
    #[command(flatten)]
    plan: PlanFlags,
    #[command(flatten)]
    quantisation: Quantisation,
}

/// Prints every activation with all its protocols, and the whole network under every engine.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let model = compile::load(&arguments.network, &[], &arguments.quantisation)?;
    // What is explained is the planner's choice, beside all engines.
    let options = Options { engine: Engine::Auto, ..arguments.plan.options(None) };
    let plan = compile::plan(&model, &options)?;
    println!("{}", layers(&plan)?);
    println!("{}", engines(&model, &options));
    println!("plan digest {}", plan.digest_hex());
    Ok(())
}

/// One row per activation and protocol; the one in the plan is marked.
fn layers(plan: &Plan) -> Result<comfy_table::Table, Failure> {
    let header = [
        "layer",
        "outputs",
        "protocol",
        "offline",
        "offline s",
        "online",
        "rounds",
        "online s",
        "client keeps",
        "",
    ];
    let mut table = table::new(&header, 3);
    let nodes = &plan.public().graph.nodes;
    for explanation in plan.explain()? {
        let name = nodes.get(explanation.node).map_or("output", |node| &node.name);
        for (i, candidate) in explanation.candidates.iter().enumerate() {
            let Candidate { protocol, offline, online, client_bytes, .. } = candidate;
            table.add_row([
                if i == 0 { name.to_owned() } else { String::new() },
                if i == 0 { explanation.instances.to_string() } else { String::new() },
                (*protocol).to_owned(),
                both(offline),
                table::seconds(offline.seconds),
                both(online),
                online.rounds.to_string(),
                table::seconds(online.seconds),
                table::bytes(*client_bytes),
                if *protocol == explanation.chosen { "<-".to_owned() } else { String::new() },
            ]);
        }
    }
    Ok(table)
}

/// The first inference of a session under every engine, to the byte.
fn engines(model: &phineus_model::fixed::Model, options: &Options) -> comfy_table::Table {
    let mut table = table::new(&["engine", "offline", "rounds", "online", "rounds", "client keeps"], 1);
    for engine in Engine::ALL {
        let options = Options { engine: *engine, ..*options };
        let row = match Plan::new(Public::of(model), &options) {
            Ok(plan) => {
                let report = plan.predicted();
                let kept: u64 = plan.nonlinear().map(|layer| layer.client_bytes()).sum();
                let rounds = |cost: &Cost| cost.rounds.to_string();
                let (offline, online) = (&report.offline, &report.online);
                [both(offline), rounds(offline), both(online), rounds(online), table::bytes(kept)]
            }
            Err(error) => [error.to_string(), String::new(), String::new(), String::new(), String::new()],
        };
        table.add_row([engine.to_string()].into_iter().chain(row));
    }
    table
}

fn both(cost: &Cost) -> String {
    table::bytes(cost.client_to_server_bytes + cost.server_to_client_bytes)
}
