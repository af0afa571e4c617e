//! `phineus bench NET --layers online`: the linear layers in the clear on shares, layer by layer: directly, and by
//! Winograd's minimal filtering where a layer allows it.

use phineus_infer::clear::Way;
use phineus_infer::plan::Options;
use phineus_infer::rehearsal::{self, WayRun};
use phineus_infer::served::Served;
use phineus_kernel::prg::Prg;
use phineus_model::fixed::Model;

use super::party::Conditions;
use crate::failure::Failure;
use crate::table;

/// Runs and prints; the least of each layer and way.
pub(crate) fn run(model: Model, conditions: &Conditions) -> Result<(), Failure> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(conditions.threads.max(1))
        .build()
        .map_err(|e| Failure::new(e.to_string()))?;
    let served = Served::new(model, &Options::default(), 0)?;
    let mut rng = Prg::from_generator(&mut rand::rng());
    let all = pool.install(|| rehearsal::online(&served, conditions.runs, &mut rng));
    let header = [
        "layer",
        "input",
        "kernel",
        "ring",
        "MACs",
        "direct s",
        "F(2x2,3x3)",
        "F(4x4,3x3)",
        "taken",
        "GMAC/s",
        "saved",
    ];
    let mut table = table::new(&header, 3);
    let nodes = &served.model().graph.nodes;
    let (mut direct_total, mut taken_total, mut macs) = (0.0, 0.0, 0);
    for (layer, runs) in served.plan().linear().layers().iter().zip(&all) {
        let conv = &layer.conv;
        let best = Way::best(conv, layer.bits);
        let direct = runs.first().map_or(0.0, |run| run.seconds);
        let taken = runs.iter().find(|run| run.way == best).map_or(direct, |run| run.seconds);
        (direct_total, taken_total, macs) = (direct_total + direct, taken_total + taken, macs + conv.macs());
        let seconds =
            |at: usize| runs.get(at).map_or_else(String::new, |run: &WayRun| table::seconds(run.seconds));
        table.add_row([
            nodes[layer.node].name.clone(),
            format!("{}x{:?}", conv.in_channels, conv.input),
            format!("{}x{:?}/{} g{}", conv.out_channels, conv.kernel, conv.stride[0], conv.groups),
            layer.bits.to_string(),
            conv.macs().to_string(),
            seconds(0),
            seconds(1),
            seconds(2),
            best.to_string(),
            format!("{:.1}", conv.macs() as f64 / taken / 1e9),
            saved(direct, taken),
        ]);
    }
    let empty = String::new;
    table.add_row([
        "total".into(),
        empty(),
        empty(),
        empty(),
        macs.to_string(),
        table::seconds(direct_total),
        empty(),
        empty(),
        table::seconds(taken_total),
        format!("{:.1}", macs as f64 / taken_total / 1e9),
        saved(direct_total, taken_total),
    ]);
    println!("{table}");
    if all.iter().flatten().all(|run| run.equal) {
        Ok(())
    } else {
        Err(Failure::new("two ways of one layer give different words"))
    }
}

fn saved(direct: f64, taken: f64) -> String {
    if direct == taken { String::new() } else { format!("{:.0} %", 100.0 * (1.0 - taken / direct)) }
}
