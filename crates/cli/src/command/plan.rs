//! `phineus plan`: how every non-linear layer can be run over a link, what each way costs, and which one is taken; then the
//! engines as presets under the limits of a site.

mod presets;
mod what_if;

use phineus_infer::plan::{Candidate, Engine, Options, Plan};
use phineus_infer::report::Cost;
use phineus_model::phn::Public;

use crate::compile::{self, Quantisation};
use crate::failure::Failure;
use crate::options::PlanFlags;
use crate::table;
use presets::SiteFlags;

/// Options of `phineus plan`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A zoo name, an ONNX file or a .phn file.
    network: String,
    /// Say instead what every standard convolution would cost as another operator: depthwise, grouped, xop-a, xop-b,
    /// bottleneck; or by minimal filtering: winograd.
    #[arg(long, value_name = "OPERATOR")]
    what_if: Option<what_if::WhatIf>,
    /// Print the presets as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteFlags,
    #[command(flatten)]
    plan: PlanFlags,
    #[command(flatten)]
    quantisation: Quantisation,
}

/// Prints every activation with all its protocols, and the whole network under every preset.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(what) = arguments.what_if {
        return what_if::run(
            what,
            &arguments.network,
            &arguments.plan.options(None),
            &arguments.quantisation,
        );
    }
    let model = compile::load(&arguments.network, &[], &arguments.quantisation)?;
    let comparison = presets::compare(&Public::of(&model), &arguments.plan, &arguments.site);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&comparison.json())?);
        return Ok(());
    }
    // What is explained is the planner's choice, beside all engines.
    let options = Options { engine: Engine::Auto, ..arguments.plan.options(None) };
    let link = arguments.site.site(&options).link;
    let plan = compile::plan(&model, &Options { link, ..options })?;
    println!("{}", layers(&plan)?);
    if let Some(operators) = compile::operator_table(&model) {
        println!("{operators}");
    }
    comparison.print();
    println!("{}", under_encryption(&plan));
    println!("plan digest {}", plan.digest_hex());
    Ok(())
}

/// The whole network under encryption, which no preset chooses: its results are not the reference's, bit for bit.
fn under_encryption(plan: &Plan) -> String {
    let options = Options { engine: Engine::He, ..*plan.options() };
    let whole = match Plan::new(plan.public().clone(), &options) {
        Ok(whole) => whole,
        Err(error) => return format!("--engine he: {error}"),
    };
    let (Some(encrypted), Ok(Candidate { offline, online, .. })) =
        (whole.encrypted(), whole.encrypted_instead())
    else {
        return String::new();
    };
    format!(
        "--engine he: keys {} once per client, {:.3} s; {} in {} rounds per inference, {:.3} s\n{encrypted}",
        both(&offline),
        offline.seconds,
        both(&online),
        online.rounds,
        online.seconds,
    )
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

fn both(cost: &Cost) -> String {
    table::bytes(cost.client_to_server_bytes + cost.server_to_client_bytes)
}
