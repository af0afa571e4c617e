//! `phineus bench activations`: what non-linear layers cost per element, beside targets and floors.
//!
//! A rectifier has a ring of 24 bits, drops 8 and yields 8 in a ring of 24; a pool takes the largest of nine values of
//! 24 bits, garbled window by window, by oblivious transfer as a plan does it. A floor is the time of the hash calls alone, at the rate measured in the same run. Figures of oblivious
//! transfer are means over several runs, since silent ones are made in bulk and kept; others are medians.

use std::hint::black_box;
use std::path::Path;

use cpu_time::ThreadTime;
use phineus_infer::plan::Pool;
use phineus_kernel::block::Block;
use phineus_kernel::hash::{LANES, tccr_groups};
use phineus_kernel::prg::Prg;
use phineus_model::graph::Window;
use phineus_model::op;
use phineus_mpc::compare::{Relu, ReluSpec, Rounding, max, relu};
use phineus_mpc::gc::gadgets::{self, ActSpec};
use phineus_mpc::gc::{Circuit, GarblerInputs, GarblerLabels, InputSeed, Span, evaluate, garble_into};
use phineus_mpc::ot::engine::Engine;
use phineus_mpc::ot::silent::Set;
use phineus_mpc::{Bits, Delta};
use serde::Serialize;

use self::parties::Lap;
use super::provenance::Provenance;
use crate::failure::Failure;
use crate::table;

mod parties;

/// One figure.
#[derive(Debug, Serialize)]
struct Row {
    work: String,
    quantity: &'static str,
    unit: &'static str,
    measured: f64,
    target: Option<f64>,
    floor: Option<f64>,
}

/// Everything that a run prints.
#[derive(Serialize)]
struct Results {
    provenance: Provenance,
    /// One hash call in a batch, key schedules included.
    hash_nanoseconds: f64,
    rows: Vec<Row>,
}

/// Width of the rings.
const BITS: u32 = 24;
/// Elements per run.
const ELEMENTS: usize = 1 << 16;
/// Of the max-pool: channels, height, width.
const IMAGE: [usize; 3] = [16, 47, 47];
/// Runs of a measurement of garbling, of which the median counts.
const RUNS: usize = 15;
/// Runs of a measurement with transfers, of which the mean counts.
const REPETITIONS: usize = 6;

/// Measures and reports.
pub(crate) fn run(json: bool, output: Option<&Path>) -> Result<(), Failure> {
    let (hash_nanoseconds, mut rows) = parties::on_one_thread(|| {
        let hash = hash_nanoseconds();
        Ok((hash, garbled(hash)?))
    })?;
    for set in [Set::B10, Set::B12] {
        rows.extend(random_transfers(set)?);
    }
    for rounding in [Rounding::Exact, Rounding::Stochastic] {
        rows.extend(rectifier(rounding)?);
    }
    rows.extend(pool_by_transfers()?);
    let results = Results { provenance: Provenance::collect(), hash_nanoseconds, rows };
    if let Some(path) = output {
        std::fs::write(path, serde_json::to_string_pretty(&results)? + "\n")
            .map_err(|e| Failure::at(path, e))?;
    }
    if json {
        println!("{}", serde_json::to_string(&results)?);
    } else {
        println!("one core: {hash_nanoseconds:.2} ns per hash call");
        println!("{}", print(&results.rows));
    }
    Ok(())
}

fn print(rows: &[Row]) -> comfy_table::Table {
    let mut table = table::new(&["work", "quantity", "unit", "measured", "target", "floor"], 3);
    let number = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.2}"));
    for row in rows {
        table.add_row([
            row.work.clone(),
            row.quantity.to_owned(),
            row.unit.to_owned(),
            number(Some(row.measured)),
            number(row.target),
            number(row.floor),
        ]);
    }
    table
}

fn row(
    work: &str,
    quantity: &'static str,
    unit: &'static str,
    measured: f64,
    target: impl Into<Option<f64>>,
) -> Row {
    Row { work: work.to_owned(), quantity, unit, measured, target: target.into(), floor: None }
}

fn hash_nanoseconds() -> f64 {
    let mut labels = vec![[[Block::ZERO; LANES]; 2]; 64];
    let calls = labels.len() * 2 * LANES;
    let mut tweak = 0;
    let seconds = median(|| {
        for _ in 0..200 {
            tweak += 64;
            tccr_groups(tweak, black_box(&mut labels));
        }
    });
    seconds * 1e9 / (200 * calls) as f64
}

/// Garbling and evaluation, either party as garbler.
fn garbled(hash: f64) -> Result<Vec<Row>, Failure> {
    let spec =
        ActSpec { in_bits: BITS, window: 1, shift: 8, lo: 0, hi: 255, quadratic: None, out_bits: BITS };
    let pool = ActSpec { window: 9, ..spec };
    let mut rows = Vec::new();
    for (name, spec, known, micros, bytes) in [
        ("ReLU, server garbles", &spec, false, Some(1.0), Some(2400.0)),
        ("ReLU, client garbles", &spec, true, Some(1.0), Some(2400.0)),
        ("3x3 max-pool and ReLU, server garbles", &pool, false, Some(10.0), None),
    ] {
        let circuit = gadgets::act_shared(spec)?;
        let [garbling, evaluation] = times(&circuit, known)?;
        let floor = |calls: u128| Some(calls as f64 * hash * 1e-3);
        // A tweak is one ciphertext or one hashed output; the garbler hashes both labels.
        let tweaks = circuit.tweaks(1);
        rows.push(Row { floor: floor(2 * tweaks), ..row(name, "garble", "us", garbling * 1e6, micros) });
        rows.push(Row { floor: floor(tweaks), ..row(name, "evaluate", "us", evaluation * 1e6, micros) });
        rows.push(row(name, "tables", "B", circuit.table_bytes(1) as f64, bytes));
        let labels = (circuit.evaluator_inputs() * Block::BYTES) as f64;
        let masked = f64::from(BITS) / 8.0;
        let online = (circuit.garbler_inputs() * Block::BYTES) as f64 + masked;
        let target = (spec.window == 1).then_some(420.0);
        if known {
            let choices = circuit.evaluator_inputs() as f64 / 8.0;
            rows.push(row(name, "online, both ways", "B", labels + choices, target));
            rows.push(row(name, "kept by the client", "B", 0.0, 0.0));
            let kept = labels + masked + circuit.table_bytes(1) as f64;
            rows.push(row(name, "kept by the server", "B", kept, None));
        } else {
            rows.push(row(name, "online, both ways", "B", online, target));
            rows.push(row(name, "kept by the client", "B", labels + circuit.table_bytes(1) as f64, None));
            rows.push(row(name, "kept by the server", "B", masked, None));
        }
    }
    Ok(rows)
}

/// Seconds per instance to garble and to evaluate.
fn times(circuit: &Circuit, known: bool) -> Result<[f64; 2], Failure> {
    let rng = &mut Prg::from_generator(&mut rand::rng());
    let count = ELEMENTS / 4 / circuit.evaluator_inputs().div_ceil(BITS as usize);
    let span = Span::whole(Block::random(rng).0, count);
    let (delta, seed) = (Delta::random(rng), InputSeed::random(rng));
    let mut bits = |n: usize| {
        let mut words = vec![0; n];
        rng.fill_u32(1, &mut words);
        Bits::from_words(&words, 1)
    };
    let own = bits(count * circuit.garbler_inputs());
    let theirs = bits(count * circuit.evaluator_inputs());
    let zero: Vec<Block> = (0..theirs.len()).map(|_| Block::random(rng).with_colour(false)).collect();
    let active: Vec<Block> = zero.iter().enumerate().map(|(i, l)| *l ^ delta.times(theirs.get(i))).collect();
    let sent = seed.labels(circuit, &delta, span, &own)?;
    let (inputs, labels) = match known {
        true => (GarblerInputs::Now(&own), GarblerLabels::Zero),
        false => (GarblerInputs::Later(&seed), GarblerLabels::Sent(&sent)),
    };
    // A buffer that is used again, as for consecutive messages.
    let mut tables = vec![0; circuit.table_bytes(count)];
    let decoding = garble_into(circuit, &delta, span, inputs, &zero, &mut tables)?;
    let garbling = median(|| {
        let bits = garble_into(circuit, &delta, span, inputs, &zero, &mut tables);
        black_box(bits.is_ok());
    });
    let output = evaluate(circuit, span, &tables, labels, &active)?;
    let evaluation = median(|| {
        black_box(evaluate(circuit, span, &tables, labels, &active).is_ok());
    });
    let part =
        |bits: &Bits, i: usize, n: usize| (i * n..(i + 1) * n).map(|j| bits.get(j)).collect::<Vec<_>>();
    let (g, e) = (circuit.garbler_inputs(), circuit.evaluator_inputs());
    let expected: Bits =
        (0..count).flat_map(|i| circuit.eval(&part(&own, i, g), &part(&theirs, i, e))).collect();
    if circuit.decode(&decoding, &output).as_bytes() != expected.as_bytes() {
        return Err(Failure::new("a garbled circuit differs from its circuit"));
    }
    Ok([garbling, evaluation].map(|seconds| seconds / count as f64))
}

/// Random OTs from silent ones, the bits chosen by the receiver.
fn random_transfers(set: Set) -> Result<Vec<Row>, Failure> {
    let n = set.round();
    let choices = Bits::zeros(n);
    let laps = parties::run(
        Engine::Silent(set),
        async |client| {
            for _ in 0..=REPETITIONS {
                black_box(client.receive.extend(&mut client.channel, &choices).await?);
                client.lap();
            }
            Ok(())
        },
        async |server| {
            for _ in 0..=REPETITIONS {
                black_box(server.send.extend(&mut server.channel, n).await?);
                server.lap();
            }
            Ok(())
        },
    )?;
    // The first run meets memory that is new.
    let Mean { client, server, bytes } = Mean::of(laps.iter().skip(1), n);
    let name = format!("random OT, silent {}", set.name());
    Ok(vec![
        row(&name, "sender, one core", "M/s", 1e-6 / server, 25.0),
        row(&name, "receiver, one core", "M/s", 1e-6 / client, 25.0),
        row(&name, "both ways", "B", bytes, 0.2),
    ])
}

/// Means of several runs, per element.
struct Mean {
    client: f64,
    server: f64,
    bytes: f64,
}

impl Mean {
    fn of<'l>(laps: impl Iterator<Item = &'l [Lap; 2]>, elements: usize) -> Self {
        let (mut mean, mut n) = (Self { client: 0.0, server: 0.0, bytes: 0.0 }, 0.0);
        for [client, server] in laps {
            mean.client += client.cpu_seconds;
            mean.server += server.cpu_seconds;
            mean.bytes += (client.sent + server.sent) as f64;
            n += elements as f64;
        }
        Self { client: mean.client / n, server: mean.server / n, bytes: mean.bytes / n }
    }
}

/// Shares of numbers that a layer may meet: the server's and the client's, and the client's mask.
fn shares(values: usize, elements: usize) -> [Vec<u32>; 3] {
    let rng = &mut Prg::from_generator(&mut rand::rng());
    let mut words = |bits: u32, n: usize| {
        let mut words = vec![0; n];
        rng.fill_u32(bits, &mut words);
        words
    };
    let (value, c, mask) = (words(BITS - 2, values), words(BITS, values), words(BITS, elements));
    let ring = u32::MAX >> (32 - BITS);
    let middle = 1_u32 << (BITS - 3);
    let y = value.iter().zip(&c).map(|(v, c)| v.wrapping_sub(middle).wrapping_sub(*c) & ring).collect();
    [y, c, mask]
}

/// The value that two shares have.
fn opened(y: u32, c: u32) -> i32 {
    (y.wrapping_add(c) << (32 - BITS)) as i32 >> (32 - BITS)
}

fn rectifier(rounding: Rounding) -> Result<Vec<Row>, Failure> {
    let spec = ReluSpec { in_bits: BITS, shift: 8, lo: 0, hi: 255, out_bits: BITS, rounding };
    let layer = Relu::new(spec)?;
    let [y, c, mask] = shares(ELEMENTS, ELEMENTS);
    let laps = parties::run(
        Engine::Silent(Set::B11),
        async |client| {
            for _ in 0..REPETITIONS {
                let (send, receive) = (&mut client.send, &mut client.receive);
                let channel = &mut client.channel;
                let material =
                    relu::prepare_client(channel, &layer, &c, send, receive, &mut client.rng).await?;
                client.lap();
                relu::online_client(&mut client.channel, &layer, material, &c, &mask).await?;
                client.lap();
            }
            Ok(())
        },
        async |server| {
            for _ in 0..REPETITIONS {
                let (send, receive) = (&mut server.send, &mut server.receive);
                let channel = &mut server.channel;
                let material =
                    relu::prepare_server(channel, &layer, ELEMENTS, send, receive, &mut server.rng).await?;
                server.lap();
                let share = relu::online_server(&mut server.channel, &layer, material, &y).await?;
                server.lap();
                let wrong = (0..ELEMENTS).any(|i| {
                    let (z, exact) = (opened(share[i], mask[i]), (opened(y[i], c[i]) + 128) >> 8);
                    z.abs_diff(exact.clamp(0, 255)) > u32::from(rounding == Rounding::Stochastic)
                });
                if wrong {
                    return Err(Failure::new("a rectifier by oblivious transfer is wrong"));
                }
            }
            Ok(())
        },
    )?;
    let (offline, online) = (phase(&laps, 0, ELEMENTS), phase(&laps, 1, ELEMENTS));
    let exact = rounding == Rounding::Exact;
    let name = if exact { "ReLU by OT, exact" } else { "ReLU by OT, stochastic" };
    let total = offline.client + offline.server + online.client + online.server;
    let each = |bytes: usize| bytes as f64 / ELEMENTS as f64;
    Ok(vec![
        row(name, "CPU of both, offline", "us", (offline.client + offline.server) * 1e6, None),
        row(name, "CPU of both, online", "us", (online.client + online.server) * 1e6, None),
        row(name, "CPU of both, both phases", "us", total * 1e6, 2.5),
        row(name, "offline, both ways", "B", offline.bytes, None),
        row(name, "online, both ways", "B", online.bytes, if exact { 45.0 } else { 28.0 }),
        row(name, "kept by the client", "B", each(relu::ClientMaterial::byte_len(&layer, ELEMENTS)), 16.0),
        row(name, "kept by the server", "B", each(relu::ServerMaterial::byte_len(&layer, ELEMENTS)), 16.0),
    ])
}

/// Every second stretch from `first` on.
fn phase(laps: &[[Lap; 2]], first: usize, elements: usize) -> Mean {
    Mean::of(laps.iter().skip(first).step_by(2), elements)
}

fn pool_by_transfers() -> Result<Vec<Row>, Failure> {
    let window = Window { kernel: [3; 2], stride: [2; 2], pads: [0; 4], ceil: false };
    let pools = Pool::of(IMAGE, &window, BITS).unwrap_or_default();
    let windows = pools.last().map_or(0, |pool| pool.windows);
    let [y, c, _] = shares(IMAGE.iter().product(), 0);
    // The client's shares of what each pool reads, and its mask of the result.
    let mut known = vec![c];
    known.extend(pools.iter().map(|pool| shares(0, pool.windows)[2].clone()));
    let laps = parties::run(
        Engine::Silent(Set::B11),
        async |client| {
            for _ in 0..REPETITIONS {
                let mut materials = Vec::new();
                for (pool, c) in pools.iter().zip(&known) {
                    let (send, receive) = (&mut client.send, &mut client.receive);
                    let (channel, c) = (&mut client.channel, pool.gather(c, 0..pool.windows));
                    materials.push(
                        max::prepare_client(channel, &pool.max, &c, send, receive, &mut client.rng).await?,
                    );
                }
                client.lap();
                for ((pool, material), known) in pools.iter().zip(materials).zip(known.windows(2)) {
                    let c = pool.gather(&known[0], 0..pool.windows);
                    max::online_client(&mut client.channel, &pool.max, material, &c, &known[1]).await?;
                }
                client.lap();
            }
            Ok(())
        },
        async |server| {
            for _ in 0..REPETITIONS {
                let mut materials = Vec::new();
                for Pool { max, windows, .. } in &pools {
                    let (send, receive) = (&mut server.send, &mut server.receive);
                    let channel = &mut server.channel;
                    materials.push(
                        max::prepare_server(channel, max, *windows, send, receive, &mut server.rng).await?,
                    );
                }
                server.lap();
                let mut values = y.clone();
                for (pool, material) in pools.iter().zip(materials) {
                    let y = pool.gather(&values, 0..pool.windows);
                    values = max::online_server(&mut server.channel, &pool.max, material, &y).await?;
                }
                server.lap();
                let image: Vec<i32> = y.iter().zip(&known[0]).map(|(y, c)| opened(*y, *c)).collect();
                let masks = known.last().map_or(&[][..], Vec::as_slice);
                let got = values.iter().zip(masks).map(|(y, r)| opened(*y, *r));
                if !got.eq(op::pool::max(&image, IMAGE, &window)) {
                    return Err(Failure::new("a maximum by oblivious transfer is wrong"));
                }
            }
            Ok(())
        },
    )?;
    let (offline, online) = (phase(&laps, 0, windows), phase(&laps, 1, windows));
    let name = "3x3 max-pool of stride 2 by OT";
    let total = offline.client + offline.server + online.client + online.server;
    let hops: u64 = pools.iter().map(|pool| pool.max.cost(pool.windows).online.hops).sum();
    Ok(vec![
        row(name, "CPU of both, both phases", "us", total * 1e6, 10.0),
        row(name, "offline, both ways", "B", offline.bytes, None),
        row(name, "online, both ways", "B", online.bytes, 180.0),
        row(name, "messages one after the other", "", hops as f64, 30.0),
    ])
}

/// Median thread time of one call.
fn median(mut call: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = ThreadTime::now();
            call();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}
