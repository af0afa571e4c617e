//! `phineus bench NET --layers online`: the linear layers in the clear on shares, layer by layer.

use phineus_infer::plan::Options;
use phineus_infer::rehearsal;
use phineus_infer::served::Served;
use phineus_kernel::prg::Prg;
use phineus_model::fixed::Model;

use super::party::Conditions;
use crate::failure::Failure;
use crate::table;

/// Runs and prints; the median of each layer.
pub(crate) fn run(model: Model, conditions: &Conditions) -> Result<(), Failure> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(conditions.threads.max(1))
        .build()
        .map_err(|e| Failure::new(e.to_string()))?;
    let served = Served::new(model, &Options::default(), 0)?;
    let mut rng = Prg::from_generator(&mut rand::rng());
    let runs: Vec<Vec<f64>> =
        pool.install(|| (0..conditions.runs.max(1)).map(|_| rehearsal::online(&served, &mut rng)).collect());
    let mut table = table::new(&["layer", "input", "kernel", "MACs", "online s", "GMAC/s"], 3);
    let (mut total, mut macs) = (0.0, 0);
    let nodes = &served.model().graph.nodes;
    for layer in served.plan().linear().layers() {
        let mut times: Vec<f64> = runs.iter().map(|run| run[layer.index]).collect();
        times.sort_by(f64::total_cmp);
        let time = times[times.len() / 2];
        let conv = &layer.conv;
        total += time;
        macs += conv.macs();
        table.add_row([
            nodes[layer.node].name.clone(),
            format!("{}x{:?}", conv.in_channels, conv.input),
            format!("{}x{:?}/{} g{}", conv.out_channels, conv.kernel, conv.stride[0], conv.groups),
            conv.macs().to_string(),
            table::seconds(time),
            format!("{:.1}", conv.macs() as f64 / time / 1e9),
        ]);
    }
    let rate = format!("{:.1}", macs as f64 / total / 1e9);
    table.add_row([
        "total".into(),
        String::new(),
        String::new(),
        macs.to_string(),
        table::seconds(total),
        rate,
    ]);
    println!("{table}");
    Ok(())
}
