//! `phineus plan NET --what-if OPERATOR`: what every standard convolution would cost as another operator, before anybody
//! trains the network. Both networks are compiled and planned, to the byte; weights of the replacements are made up.
//!
//! `--what-if winograd` leaves the network as it is and says where minimal filtering pays: on shares in the clear, and under
//! encryption.

use std::str::FromStr;

use comfy_table::Table;
use phineus_infer::clear::Way;
use phineus_infer::packing::{CostModel, minimal};
use phineus_infer::plan::{Options, Plan};
use phineus_infer::report::{Cost, Report};
use phineus_model::float::{self, Graph};
use phineus_model::graph::Conv;
use phineus_model::phn::Public;
use phineus_model::zoo::rewrite::{self, Operator};
use phineus_model::{pass, zoo};

use super::both;
use crate::command::zoo::random_samples;
use crate::compile::{self, Quantisation};
use crate::failure::Failure;
use crate::table;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhatIf {
    /// Another operator in the place of standard convolutions.
    Operator(Operator),
    /// The same convolutions by minimal filtering.
    Winograd,
}

impl FromStr for WhatIf {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "winograd" => Ok(Self::Winograd),
            _ => name
                .parse()
                .map(Self::Operator)
                .map_err(|e: rewrite::UnknownOperator| format!("{e}, winograd")),
        }
    }
}

/// Prints the comparison.
pub(super) fn run(
    what: WhatIf,
    network: &str,
    options: &Options,
    quantisation: &Quantisation,
) -> Result<(), Failure> {
    match what {
        WhatIf::Operator(operator) => {
            let graph =
                pass::canonical(compile::import(network)?).map_err(|e| Failure::new(e.to_string()))?;
            replaced(&graph, operator, options, quantisation)
        }
        WhatIf::Winograd => {
            let model = compile::load(network, &[], quantisation)?;
            println!("{}", filtered(&Plan::new(Public::of(&model), options)?)?);
            println!(
                "on shares: seconds at the rates of `phineus bench NET --layers online`; under encryption: the least it could \
                 cost over what is planned, with all blocks free to choose (infer::packing::minimal); linear layers by \
                 oblivious transfer, where it would save 2.25 times, there are none"
            );
            Ok(())
        }
    }
}

/// A network with its plan's costs.
struct Priced {
    report: Report,
    /// Bits of the ring of every row; of the output none.
    bits: Vec<u32>,
    macs: u64,
}

impl Priced {
    fn new(graph: &Graph, options: &Options, quantisation: &Quantisation) -> Result<Self, Failure> {
        // Ranges are random anyway: one sample will do.
        let model = compile::quantise(graph, &random_samples(graph, 1), quantisation)?;
        let bits = model.graph.facts.iter().map(|fact| fact.bits).collect();
        let report = Plan::new(Public::of(&model), options)?.forecast();
        Ok(Self { report, bits, macs: zoo::stats(graph).macs })
    }

    /// The costs of a layer and its parts, and the widest ring among its linear ones.
    fn of(&self, name: &str) -> ([Cost; 2], u32) {
        let part = |other: &str| {
            other.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let (mut offline, mut online, mut widest) = (Cost::default(), Cost::default(), 0);
        for (layer, bits) in self.report.layers.iter().zip(self.bits.iter().chain(&[0])) {
            if part(&layer.name) {
                offline += layer.offline;
                online += layer.online;
                widest = widest.max(if layer.protocol == "linear_he" { *bits } else { 0 });
            }
        }
        ([offline, online], widest)
    }
}

fn replaced(
    graph: &Graph,
    operator: Operator,
    options: &Options,
    quantisation: &Quantisation,
) -> Result<(), Failure> {
    let layers: Vec<(&str, &Conv)> = graph
        .nodes
        .iter()
        .filter_map(|node| match &node.op {
            float::Op::Linear { conv, .. } if operator.applies(conv) => Some((node.name.as_str(), conv)),
            _ => None,
        })
        .collect();
    if layers.is_empty() {
        return Err(Failure::new(format!(
            "{operator} fits no layer: standard convolutions that keep the image are replaced"
        )));
    }
    let with = |wanted: &dyn Fn(&str) -> bool| -> Result<Priced, Failure> {
        let graph =
            rewrite::replace(graph.clone(), operator, wanted).map_err(|e| Failure::new(e.to_string()))?;
        Priced::new(&graph, options, quantisation)
    };
    let before = Priced::new(graph, options, quantisation)?;
    let after = with(&|_| true)?;
    let header = [
        "layer",
        "shape",
        "ring",
        "offline",
        "online",
        "rounds",
        "offline s",
        "online s",
        "total s",
        operator.name(),
    ];
    let mut rows = table::new(&header, 2);
    let mut paying = Vec::new();
    for (name, conv) in &layers {
        let ([offline, online], bits) = before.of(name);
        let ([new_offline, new_online], new_bits) = after.of(name);
        let pays = new_offline.seconds + new_online.seconds < offline.seconds + online.seconds;
        if pays {
            paying.push(*name);
        }
        let verdict = if pays { "pays" } else { "does not pay" };
        let ring = format!("{bits} -> {new_bits}");
        rows.add_row(row(name, &shape(conv), ring, [[offline, online], [new_offline, new_online]], verdict));
    }
    let total = |priced: &Priced| [priced.report.offline, priced.report.online];
    let macs =
        |priced: &Priced| format!("{:.2} -> {:.2} GMAC", before.macs as f64 / 1e9, priced.macs as f64 / 1e9);
    let mut sum = |name: &str, priced: &Priced| {
        let [old, new] = [&before, priced].map(total);
        let seconds = |[offline, online]: [Cost; 2]| offline.seconds + online.seconds;
        let change = format!("{:+.0} %", 100.0 * (seconds(new) / seconds(old) - 1.0));
        rows.add_row(row(name, &macs(priced), String::new(), [old, new], &change));
    };
    sum("all replaced", &after);
    if !paying.is_empty() && paying.len() < layers.len() {
        let some = with(&|name| paying.contains(&name))?;
        sum("where it pays", &some);
    }
    println!("{rows}");
    let Options { engine, link, .. } = options;
    println!(
        "{}: {} of {} layers pay ({engine}, {:.0} Mbit/s, {:.1} ms); planned bytes and rounds, seconds of link and processors one after \
         the other; weights of the replacements are made up, accuracy has to be trained",
        graph.name,
        paying.len(),
        layers.len(),
        link.down_bits_per_second as f64 / 1e6,
        link.round_trip.as_secs_f64() * 1e3,
    );
    Ok(())
}

/// A row of costs before and after.
fn row(name: &str, shape: &str, ring: String, [old, new]: [[Cost; 2]; 2], verdict: &str) -> Vec<String> {
    let seconds = |costs: [Cost; 2]| costs.map(|cost| cost.seconds).iter().sum::<f64>();
    let pair = |old: f64, new: f64| format!("{old:.3} -> {new:.3}");
    vec![
        name.to_owned(),
        shape.to_owned(),
        ring,
        format!("{} -> {}", both(&old[0]), both(&new[0])),
        format!("{} -> {}", both(&old[1]), both(&new[1])),
        format!("{} -> {}", old[1].rounds, new[1].rounds),
        pair(old[0].seconds, new[0].seconds),
        pair(old[1].seconds, new[1].seconds),
        pair(seconds(old), seconds(new)),
        verdict.to_owned(),
    ]
}

/// Every layer with a 3x3 kernel, in all ways.
fn filtered(plan: &Plan) -> Result<Table, Failure> {
    let header = [
        "layer",
        "shape",
        "ring",
        "direct ms",
        "F(2x2,3x3)",
        "F(4x4,3x3)",
        "on shares",
        "encrypted",
        "encrypted",
    ];
    let mut table = table::new(&header, 2);
    let mut totals = [0.0; 2];
    for layer in plan.linear().layers() {
        let (conv, bits) = (&layer.conv, layer.bits);
        let (ways, best) = (Way::all(conv, bits), Way::best(conv, bits));
        let time = |way: &Way| way.nanoseconds(conv) * 1e-6;
        totals[0] += ways.first().map_or(0.0, time);
        totals[1] += time(&best);
        let params = &plan.rings()[layer.ring];
        let cost = CostModel::new(params, bits, &plan.options().link);
        let ratio =
            minimal::ratio(conv, params.degree(), 8, &cost).map_err(|e| Failure::new(e.to_string()))?;
        if conv.kernel != [3, 3] {
            continue;
        }
        let milliseconds =
            |at: usize| ways.get(at).map_or_else(String::new, |way| format!("{:.3}", time(way)));
        table.add_row([
            plan.public().graph.nodes[layer.node].name.clone(),
            shape(conv),
            format!("{bits} bits"),
            milliseconds(0),
            milliseconds(1),
            milliseconds(2),
            best.to_string(),
            ratio.map_or_else(|| "does not apply".to_owned(), |ratio| format!("{ratio:.2} times")),
            ratio.map_or_else(String::new, |ratio| {
                if ratio < 1.0 { "pays" } else { "does not pay" }.to_owned()
            }),
        ]);
    }
    let total = |ms: f64| format!("{ms:.1}");
    let saved = format!("-{:.0} %", 100.0 * (1.0 - totals[1] / totals[0].max(1e-9)));
    let empty = String::new;
    table.add_row([
        "all linear layers".into(),
        empty(),
        empty(),
        total(totals[0]),
        empty(),
        empty(),
        total(totals[1]),
        saved,
        empty(),
    ]);
    Ok(table)
}

fn shape(conv: &Conv) -> String {
    let Conv {
        in_channels, input: [h, w], out_channels, kernel: [kh, kw], stride: [stride, _], groups, ..
    } = conv;
    let groups = if *groups > 1 { format!(" g{groups}") } else { String::new() };
    format!("{in_channels}x{h}x{w} -> {out_channels}, {kh}x{kw}/{stride}{groups}")
}
