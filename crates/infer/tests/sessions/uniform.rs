//! What crosses the connection tells nothing: over many inferences on one input, with randomness of their own, every bit of
//! every message is as often 1 as 0, and so are all bits of a step together and its bytes.
//!
//! Left out is what is no string of uniform bits by its nature ([`OTHERWISE`]). Bits that are never 1 fill a string up to
//! a whole byte, and no others: they are the highest of their byte, and in garbled tables, whose entries are words of the
//! layer's ring, exactly as many as that ring leaves.

use std::collections::BTreeMap;

use phineus_infer::plan::{Choice, Engine, NonLinear, Options, Plan, Rounding, Transfers};
use phineus_infer::session::client::{Request, Session};
use phineus_infer::session::server;
use phineus_infer::store::{Limits, MemoryStore};
use phineus_kernel::prg::Prg;
use phineus_model::fixed::Model;
use phineus_model::quantize;
use phineus_net::Step;

use crate::nets;
use crate::party::{Host, input};
use crate::tap::{Frame, Way, tapped};

/// Inferences; they are prepared in bulks of half of them.
const RUNS: usize = 128;

/// Handshakes, commands and names; points of a curve and residues modulo primes, which other tests are about; a count of
/// what is in stock.
const OTHERWISE: [&str; 20] = [
    "session.hello",
    "session.welcome",
    "session.agree",
    "session.agreed",
    "session.command",
    "session.ready",
    "session.go",
    "session.stats",
    "transfers.offer",
    "transfers.answer",
    "cot.points",
    "cot.setup",
    "linear.seed",
    "linear.public_key",
    "linear.galois_keys",
    "linear.requests",
    "linear.responses",
    "silent.digest",
    "silent.sums",
    "silent.masked",
];

/// By direction and step.
type Heard = BTreeMap<(bool, u16), Vec<Frame>>;

/// What crosses the connection.
async fn conversation(host: &Host, model: &Model) -> Heard {
    let (client, server, tap) = tapped();
    let served = async {
        let rng = &mut Prg::new([17; 16]);
        let store = MemoryStore::new(Limits::default(), rng);
        server::serve(server, &host.catalogue, &store, || 0, rng).await.unwrap();
    };
    let asked = async {
        let rng = &mut Prg::new([18; 16]);
        let store = MemoryStore::new(Limits::default(), rng);
        let request = Request { wishes: host.wishes(), ..Request::default() };
        let mut session = Session::connect(client, &request, &store, rng).await.unwrap();
        for _ in 0..2 {
            let mut all = Vec::new();
            let keep = |prepared| {
                all.push(prepared);
                Ok(())
            };
            session.prepare_many(RUNS / 2, keep).await.unwrap();
            for prepared in all {
                session.infer(prepared, &input(model, 1)).await.unwrap();
            }
        }
        session.close().await.unwrap();
    };
    let (frames, (), ()) = tokio::join!(tap.listen(None), served, asked);
    let mut heard = Heard::new();
    for (way, frames) in [Way::Up, Way::Down].into_iter().zip(frames) {
        for frame in frames {
            if !OTHERWISE.iter().any(|step| frame.is(step)) {
                heard.entry((way == Way::Up, frame.tag())).or_default().push(frame);
            }
        }
    }
    heard
}

/// How often each bit of one message is 1 in its `RUNS` versions, which are of one length.
fn ones(versions: &[&Frame], at: &str) -> Vec<u32> {
    let len = versions[0].payload().len();
    let mut ones = vec![0; 8 * len];
    for version in versions {
        assert_eq!(version.payload().len(), len, "{at}");
        for (i, count) in ones.iter_mut().enumerate() {
            *count += u32::from(version.payload()[i / 8] >> (i % 8) & 1);
        }
    }
    ones
}

/// Whether a number of fair coins may show so many heads: within six standard deviations.
fn is_fair(heads: u64, coins: u64) -> bool {
    let away = 2.0 * heads as f64 - coins as f64;
    away.abs() <= 6.0 * (coins as f64).sqrt()
}

/// The filling bits of a message, where there are any: byte and number of its highest bits. Every other bit is fair.
fn fillings(ones: &[u32], at: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (byte, ones) in ones.as_chunks::<8>().0.iter().enumerate() {
        let filling = ones.iter().rev().take_while(|count| **count == 0).count();
        for (bit, count) in ones[..8 - filling].iter().enumerate() {
            assert!(
                is_fair((*count).into(), RUNS as u64),
                "{at}: bit {bit} of byte {byte}: {count} of {RUNS}"
            );
        }
        if filling > 0 {
            found.push((byte, filling));
        }
    }
    found
}

/// Of whole bytes against the uniform distribution: 255 degrees of freedom.
fn chi_square(bytes: &[u8]) -> f64 {
    let mut counts = [0_f64; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1.0);
    let mean = bytes.len() as f64 / 256.0;
    counts.iter().map(|count| (count - mean).powi(2) / mean).sum()
}

/// Widths of the words in the garbled tables, layer by layer; none in the arg-max, which has none.
fn table_words(plan: &Plan) -> Vec<Option<u32>> {
    let facts = &plan.public().graph.facts;
    let garbled =
        |layer: &NonLinear| matches!(layer, NonLinear::ServerGarbles(_) | NonLinear::ClientGarbles(_));
    let layers = plan.choices().iter().zip(facts).filter_map(|(choice, fact)| match choice {
        Choice::NonLinear(layer) if garbled(layer) => Some(Some(fact.bits)),
        _ => None,
    });
    layers.chain(plan.argmax().filter(|layer| garbled(layer)).map(|_| None)).collect()
}

async fn assert_uniform(options: &Options, expected: &[&'static str]) {
    let model = nets::mixed(&quantize::Options::default());
    let host = Host::of_options(options, [model.clone()]);
    let heard = conversation(&host, &model).await;
    let words = table_words(&host.plan());
    for step in expected {
        let is_heard = [true, false].iter().any(|up| heard.contains_key(&(*up, Step::new(step).tag())));
        assert!(is_heard, "{options:?}: no {step}");
    }
    for ((up, tag), frames) in &heard {
        let name = expected.iter().find(|step| Step::new(step).tag() == *tag);
        let is_table = name.is_some_and(|name| name.ends_with(".tables") && !name.starts_with("relu"));
        let at = format!(
            "{}, {}, {}: {tag:04x}, {name:?}, up: {up}",
            options.engine, options.rounding, options.transfers
        );
        // What belongs to the session and to no inference comes in no such number, and has one version.
        let per_run = if frames.len().is_multiple_of(RUNS) { frames.len() / RUNS } else { 0 };
        assert!(!is_table || per_run == words.len(), "{at}: {per_run} messages");
        assert!(name.is_none() || per_run > 0, "{at}: {} frames", frames.len());
        let (mut heads, mut coins, mut bytes) = (0, 0, Vec::new());
        for frame in frames.iter().filter(|_| per_run == 0) {
            heads += frame.payload().iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
            coins += 8 * frame.payload().len() as u64;
            bytes.extend(frame.payload());
        }
        for j in 0..per_run {
            let versions: Vec<&Frame> = frames.iter().skip(j).step_by(per_run).collect();
            let ones = ones(&versions, &at);
            let fillings = fillings(&ones, &at);
            heads += ones.iter().map(|count| u64::from(*count)).sum::<u64>();
            coins += RUNS as u64 * (ones.len() - fillings.iter().map(|(_, bits)| bits).sum::<usize>()) as u64;
            match words.get(j).filter(|_| is_table) {
                Some(width) => {
                    let filling = width.map_or(0, |width| width.next_multiple_of(8) - width) as usize;
                    assert!(fillings.iter().all(|(_, bits)| *bits == filling), "{at}: {j}: {fillings:?}");
                    assert_eq!(fillings.is_empty(), filling == 0, "{at}: {j}");
                }
                // All layers have a multiple of eight elements, but for the three levels of the arg-max, which comes last.
                None => assert!(fillings.is_empty() || j + 3 >= per_run, "{at}: {j}: {fillings:?}"),
            }
            for version in versions {
                let whole = version.payload().iter().enumerate();
                bytes.extend(
                    whole.filter(|(i, _)| fillings.iter().all(|(at, _)| at != i)).map(|(_, byte)| *byte),
                );
            }
        }
        assert!(is_fair(heads, coins), "{at}: {heads} of {coins}");
        // Fewer are too few for this test.
        if bytes.len() >= 5 * 256 {
            let statistic = chi_square(&bytes);
            assert!(statistic < 255.0 + 6.0 * 510_f64.sqrt(), "{at}: {statistic}");
        }
    }
}

macro_rules! uniform {
    ($($test:ident: $engine:ident, $rounding:ident, $transfers:ident, [$($step:literal),*];)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            let (engine, rounding, transfers) = (Engine::$engine, Rounding::$rounding, Transfers::$transfers);
            let options = Options { engine, rounding, transfers, ..Options::default() };
            let products = ["product.corrections", "product.differences", "product.result"];
            assert_uniform(&options, &[&["infer.input", $($step),*], &products[..]].concat()).await;
        }
    )*};
}

uniform! {
    delphi_is_uniform: Delphi, Exact, SoftSpoken,
        ["cot.correction", "act.tweak", "act.tables", "act.decoding", "act.labels", "act.output"];
    client_garbler_is_uniform: ClientGarbler, Exact, SoftSpoken,
        ["cot.correction", "cg.tweak", "cg.tables", "cg.flips", "cg.labels", "cg.output"];
    ot_is_uniform: Ot, Exact, SoftSpoken,
        ["cot.correction", "square.corrections", "square.difference", "square.result", "argmax.index"];
    ot_on_silent_transfers_is_uniform: Ot, Exact, Silent, ["silent.flips", "square.result", "argmax.index"];
    ot_stochastic_is_uniform: Ot, Stochastic, SoftSpoken, ["cot.correction", "square.result", "argmax.index"];
}
