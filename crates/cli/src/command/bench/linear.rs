//! `phineus bench linear` and `phineus bench NET --layers linear`: what linear layers cost, beside targets and floors.
//!
//! A floor is what the arithmetic of a layer takes at the raw rates of this machine, measured in the same run:
//! two multiply-adds per coefficient, prime and half of a ciphertext for every product, three per butterfly of the
//! transforms that the server cannot avoid (fresh zero and way back of every response, the key switch of every merged
//! one), nothing for randomness, rounding and memory.
//!
//! Every row is measured twice: with the packings of a fast link (lan), and with those of a slow one (wan), where
//! responses are merged. The link itself is not imitated: times are those of the processors.

use std::path::Path;

use phineus_infer::plan::{LinearLayer, LinearPlan, Plan};
use phineus_infer::rehearsal::{LayerRun, Run};
use phineus_model::fixed::Model;
use phineus_model::float::{Builder, Graph, Head, Op};
use phineus_model::graph::Conv;
use phineus_net::shaped::LinkProfile;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;

use super::kernels::{self, Kernel, Rates};
use super::party::{self, Conditions, Measured};
use crate::command::zoo::random_samples;
use crate::compile::{self, Quantisation};
use crate::failure::Failure;
use crate::table::{self, bytes, seconds};

/// What a row has to reach; `None` where nothing is set.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Target {
    server_cpu_seconds: Option<f64>,
    client_cpu_seconds: Option<f64>,
    client_rss_bytes: Option<u64>,
    server_rss_bytes: Option<u64>,
    bytes: Option<u64>,
}

/// One row: linear layers between two processes, per inference.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: String,
    /// That packings were chosen for; none is imitated.
    link: String,
    bulk: usize,
    macs: u64,
    server_cpu_seconds: f64,
    client_cpu_seconds: f64,
    wall_seconds: f64,
    server_rss_bytes: u64,
    client_rss_bytes: u64,
    bytes_up: u64,
    bytes_down: u64,
    /// Of the server, at the raw rate of the multiplier.
    floor_cpu_seconds: Option<f64>,
    /// Clear-text half, one inference.
    online_seconds: f64,
    equal: bool,
    target: Target,
    layers: Vec<Layer>,
}

/// One layer of a row, for all inferences of a stack together.
#[derive(Debug, Serialize)]
pub(crate) struct Layer {
    name: String,
    /// Channels, rows and columns of the input, channels of the output, side of the kernel, stride.
    shape: String,
    /// Coefficients of a polynomial and primes.
    degree: usize,
    limbs: usize,
    requests: usize,
    responses: usize,
    /// Levels of merges: up to 2^levels responses share a ciphertext.
    levels: u32,
    weight_polynomials: usize,
    products: usize,
    bytes: u64,
    server_cpu_seconds: f64,
    online_seconds: f64,
}

/// Everything that a run of the table prints.
#[derive(Serialize)]
struct Results {
    provenance: super::provenance::Provenance,
    rates: Rates,
    kernels: Vec<Kernel>,
    layers: Vec<Row>,
}

/// The table of single layers, whole networks and kernels.
pub(crate) async fn table(
    conditions: &Conditions,
    only: Option<&str>,
    json: bool,
    output: Option<&Path>,
) -> Result<(), Failure> {
    let rates = Rates::measure();
    let kernels = kernels::measure(&rates)?;
    let mut layers = Vec::new();
    for case in CASES.iter().filter(|case| only.is_none_or(|part| case.name.contains(part))) {
        let model = case.model()?;
        for (link, target) in [(LinkProfile::LAN, case.target), (LinkProfile::WAN, case.packed())] {
            if conditions.plan_link.is_some_and(|wanted| wanted != link) {
                continue;
            }
            let conditions = Conditions { bulk: case.bulk, plan_link: Some(link), ..conditions.clone() };
            let row = row(case.name, &model, &conditions, &rates, target).await?;
            if !json {
                let Row { name, link, server_cpu_seconds, client_cpu_seconds, .. } = &row;
                eprintln!("{name}, {link}: {server_cpu_seconds} s server, {client_cpu_seconds} s client");
            }
            layers.push(row);
        }
    }
    let results = Results { provenance: super::provenance::Provenance::collect(), rates, kernels, layers };
    finish(&results, json, output)
}

/// The linear layers of one network.
pub(crate) async fn network(
    model: &Model,
    conditions: &Conditions,
    json: bool,
    output: Option<&Path>,
) -> Result<(), Failure> {
    let rates = Rates::measure();
    let layers = vec![row(&model.name, model, conditions, &rates, Target::default()).await?];
    let provenance = super::provenance::Provenance::collect();
    finish(&Results { provenance, rates, kernels: Vec::new(), layers }, json, output)
}

fn finish(results: &Results, json: bool, output: Option<&Path>) -> Result<(), Failure> {
    if let Some(path) = output {
        std::fs::write(path, serde_json::to_string_pretty(results)? + "\n")
            .map_err(|e| Failure::at(path, e))?;
    }
    if json {
        println!("{}", serde_json::to_string(results)?);
    } else {
        println!("{}", results.rates);
        if !results.kernels.is_empty() {
            println!("{}", kernels::table(&results.kernels));
        }
        if let [row] = results.layers.as_slice() {
            println!("{}", detail_table(&row.layers));
        }
        println!("{}", layer_table(&results.layers));
    }
    if results.layers.iter().all(|row| row.equal) {
        Ok(())
    } else {
        Err(Failure::new("shares of a linear layer do not belong to each other"))
    }
}

async fn row(
    name: &str,
    model: &Model,
    conditions: &Conditions,
    rates: &Rates,
    target: Target,
) -> Result<Row, Failure> {
    let Measured { runs, linear, plan } = party::measure(model, conditions).await?;
    let count = linear.count() as u64;
    let each = |value: fn(&(Run, Run)) -> f64| median(runs.iter().map(value).collect()) / count as f64;
    let most = |value: fn(&(Run, Run)) -> u64| runs.iter().map(value).max().unwrap_or(0);
    Ok(Row {
        name: name.to_owned(),
        link: conditions.link().to_string(),
        bulk: linear.count(),
        macs: linear.layers().iter().map(|layer| layer.conv.macs()).sum(),
        server_cpu_seconds: each(|(_, server)| server.cpu_seconds),
        client_cpu_seconds: each(|(client, _)| client.cpu_seconds),
        wall_seconds: each(|(client, _)| client.seconds),
        server_rss_bytes: most(|(_, server)| server.peak_rss_bytes),
        client_rss_bytes: most(|(client, _)| client.peak_rss_bytes),
        bytes_up: most(|(client, _)| client.sent_bytes) / count,
        bytes_down: most(|(_, server)| server.sent_bytes) / count,
        floor_cpu_seconds: rates.madd52_lanes_per_ns.map(|rate| floor(&plan, &linear) / rate * 1e-9),
        online_seconds: median(
            runs.iter().map(|(_, server)| server.layers.iter().map(|l| l.online_seconds).sum()).collect(),
        ),
        equal: runs.iter().all(|(_, server)| server.layers.iter().all(|layer| layer.equal)),
        target,
        layers: layers(&plan, &linear, &runs),
    })
}

/// What each layer cost, medians over the runs.
fn layers(plan: &Plan, linear: &LinearPlan, runs: &[(Run, Run)]) -> Vec<Layer> {
    let layer = |(i, layer): (usize, &LinearLayer)| {
        let (conv, params) = (&layer.conv, &plan.rings()[layer.ring]);
        let server = |value: fn(&LayerRun) -> f64| {
            median(runs.iter().map(|(_, server)| value(&server.layers[i])).collect())
        };
        Layer {
            name: plan.public().graph.nodes[layer.node].name.clone(),
            shape: format!(
                "{}x{}x{} {} k{} s{}",
                conv.in_channels,
                conv.input[0],
                conv.input[1],
                conv.out_channels,
                conv.kernel[0],
                conv.stride[0]
            ),
            degree: params.degree(),
            limbs: params.limbs(),
            requests: layer.packing.inputs(),
            responses: layer.packing.outputs(),
            levels: layer.packing.merge_levels(),
            weight_polynomials: layer.packing.weight_polys(),
            products: layer.packing.products(),
            bytes: runs.first().map_or(0, |(client, _)| client.layers[i].bytes),
            server_cpu_seconds: server(|layer| layer.cpu_seconds),
            online_seconds: server(|layer| layer.online_seconds),
        }
    };
    linear.layers().iter().enumerate().map(layer).collect()
}

fn detail_table(layers: &[Layer]) -> comfy_table::Table {
    let header = [
        "layer",
        "shape",
        "n",
        "primes",
        "requests",
        "responses",
        "levels",
        "weights",
        "products",
        "bytes",
        "server s",
        "online s",
    ];
    let mut table = table::new(&header, 2);
    for layer in layers {
        table.add_row([
            layer.name.clone(),
            layer.shape.clone(),
            layer.degree.to_string(),
            layer.limbs.to_string(),
            layer.requests.to_string(),
            layer.responses.to_string(),
            layer.levels.to_string(),
            layer.weight_polynomials.to_string(),
            layer.products.to_string(),
            bytes(layer.bytes),
            seconds(layer.server_cpu_seconds),
            seconds(layer.online_seconds),
        ]);
    }
    table
}

/// Lanes of multiply-adds that the server needs for one inference.
fn floor(plan: &Plan, linear: &LinearPlan) -> f64 {
    let lanes = |layer: &LinearLayer| {
        let params = &plan.rings()[layer.ring];
        let coefficients = (params.limbs() * params.degree()) as f64;
        let transform = 1.5 * coefficients * (params.degree() as f64).log2();
        let products = layer.packing.products() as f64 * 4.0 * coefficients;
        // Stacked inferences have weight polynomials of their own.
        let weights = if linear.count() > 1 { layer.packing.weight_polys() as f64 } else { 0.0 };
        // Of a merged response: the leaf, and a switch of limbs^2 transforms with limbs products.
        let merges = if layer.packing.merge_levels() > 0 { layer.packing.outputs() as f64 } else { 0.0 };
        let limbs = params.limbs() as f64;
        let merges = merges * ((1.0 + limbs) * transform + limbs * 4.0 * coefficients);
        products + merges + (3.0 * layer.packing.outputs() as f64 + weights) * transform
    };
    linear.layers().iter().map(lanes).sum::<f64>() / linear.count() as f64
}

fn layer_table(rows: &[Row]) -> comfy_table::Table {
    let header = [
        "linear layers",
        "planned for",
        "K",
        "server s",
        "target",
        "floor",
        "client s",
        "target",
        "bytes",
        "target",
        "client RSS",
        "server RSS",
        "online s",
    ];
    let mut table = table::new(&header, 2);
    let optional = |value: Option<f64>| value.map_or_else(String::new, seconds);
    for row in rows {
        table.add_row([
            if row.equal { row.name.clone() } else { format!("{} (WRONG)", row.name) },
            row.link.clone(),
            row.bulk.to_string(),
            seconds(row.server_cpu_seconds),
            optional(row.target.server_cpu_seconds),
            optional(row.floor_cpu_seconds),
            seconds(row.client_cpu_seconds),
            optional(row.target.client_cpu_seconds),
            bytes(row.bytes_up + row.bytes_down),
            row.target.bytes.map_or_else(String::new, bytes),
            bytes(row.client_rss_bytes),
            bytes(row.server_rss_bytes),
            seconds(row.online_seconds),
        ]);
    }
    table
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// A row to be measured.
struct Case {
    name: &'static str,
    layers: Layers,
    bulk: usize,
    target: Target,
    /// Whether merged responses shall halve the bytes.
    halved: bool,
}

#[derive(Clone, Copy)]
enum Layers {
    /// Side of the image, channels in and out, side of the kernel.
    Conv(usize, usize, usize, usize),
    /// Of the zoo.
    Network(&'static str),
}

impl Case {
    /// What the row has to reach with merged responses: half the bytes where they are what is compared.
    fn packed(&self) -> Target {
        let bytes = self.target.bytes.filter(|_| self.halved).map(|bytes| bytes / 2);
        Target { bytes: bytes.or(self.target.bytes), ..Target::default() }
    }

    fn model(&self) -> Result<Model, Failure> {
        let graph = match self.layers {
            Layers::Conv(side, inputs, outputs, kernel) => single(self.name, side, inputs, outputs, kernel)?,
            Layers::Network(name) => compile::import(name)?,
        };
        // Quick to compile: calibration does not change what layers cost.
        let samples = random_samples(&graph, 1);
        compile::quantise(&graph, &samples, &Quantisation::plain(self.name))
    }
}

/// One convolution that keeps the image, with uniform weights; one pixel is a dense layer.
fn single(name: &str, side: usize, inputs: usize, outputs: usize, kernel: usize) -> Result<Graph, Failure> {
    let conv = Conv {
        in_channels: inputs,
        input: [side, side],
        out_channels: outputs,
        kernel: [kernel, kernel],
        pads: [kernel / 2; 4],
        ..Conv::dense(inputs, outputs)
    };
    let mut rng = StdRng::seed_from_u64(1);
    let weights = (0..conv.weight_len()).map(|_| rng.random_range(-1.0..1.0)).collect();
    let shape = if side == 1 { vec![inputs] } else { vec![inputs, side, side] };
    let grow = || {
        let mut builder = Builder::new(name, "input", &shape)?;
        let node = builder.push("layer", Op::Linear { conv, weights, bias: vec![0.0; outputs] }, &[0])?;
        builder.finish(node, Head::Logits)
    };
    grow().map_err(|error| Failure::new(error.to_string()))
}

const MB: u64 = 1_000_000;

const fn single_target(server: f64, client: f64, bytes: u64) -> Target {
    Target {
        server_cpu_seconds: Some(server),
        client_cpu_seconds: Some(client),
        client_rss_bytes: Some(100 * MB),
        server_rss_bytes: None,
        bytes: Some(bytes),
    }
}

const fn server_target(server: f64, bytes: u64) -> Target {
    Target {
        server_cpu_seconds: Some(server),
        client_cpu_seconds: None,
        client_rss_bytes: None,
        server_rss_bytes: None,
        bytes: Some(bytes),
    }
}

const fn case(name: &'static str, layers: Layers, bulk: usize, target: Target) -> Case {
    Case { name, layers, bulk, target, halved: false }
}

/// A layer that peers with merged responses have figures for.
const fn halved(name: &'static str, layers: Layers, target: Target) -> Case {
    Case { name, layers, bulk: 1, target, halved: true }
}

const CASES: &[Case] = &[
    case("64x64 64-64 k3", Layers::Conv(64, 64, 64, 3), 1, single_target(0.25, 0.05, 8 * MB)),
    case("32x32 128-128 k3", Layers::Conv(32, 128, 128, 3), 1, single_target(0.25, 0.05, 8 * MB)),
    case("16x16 256-256 k3", Layers::Conv(16, 256, 256, 3), 1, single_target(0.25, 0.05, 8 * MB)),
    case("8x8 512-512 k3", Layers::Conv(8, 512, 512, 3), 1, single_target(0.25, 0.05, 8 * MB)),
    halved("56x56 64-64 k3", Layers::Conv(56, 64, 64, 3), server_target(0.1, 4 * MB)),
    halved("14x14 256-256 k1", Layers::Conv(14, 256, 256, 1), server_target(0.1, 4 * MB)),
    halved("14x14 256-1024 k1", Layers::Conv(14, 256, 1024, 1), server_target(0.3, 8 * MB)),
    halved("dense 2048-1001", Layers::Conv(1, 2048, 1001, 1), server_target(0.02, 600_000)),
    case("minionn-cifar10", Layers::Network("minionn-cifar10"), 1, server_target(0.25, 8 * MB)),
    case("resnet32-cifar100", Layers::Network("resnet32-cifar100"), 1, server_target(0.4, 20 * MB)),
    case("resnet32-cifar100 bulk", Layers::Network("resnet32-cifar100"), 64, server_target(0.2, 10 * MB)),
    case("resnet18-tiny", Layers::Network("resnet18-tiny"), 1, server_target(4.0, 140 * MB)),
    case("resnet18-tiny bulk", Layers::Network("resnet18-tiny"), 16, server_target(2.0, 100 * MB)),
    case(
        "resnet50",
        Layers::Network("resnet50"),
        1,
        Target { server_rss_bytes: Some(6_000 * MB), ..server_target(8.0, 450 * MB) },
    ),
];
