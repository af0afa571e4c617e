//! One suite for every engine, rounding, kind of transfers and width of rings ([`TABLE`]), on a network with every kind of
//! non-linear layer:
//!
//! * the result is the ideal one, every layer moves exactly the bytes and rounds that the plan foretells, and with fixed
//!   generators every byte is the one that it always was (`known.txt`);
//! * whatever harm comes to any frame, the party that receives it ends at once with an error that blames the other one,
//!   uses nothing twice, and serves the next client.
//!
//! A run harms every frame of every cell in one way, another one in every cell; `PHINEUS_HARMS=all` harms every
//! frame of every cell in every way, which takes minutes. `PHINEUS_KNOWN=write` rewrites the known answers, which is a
//! change of the wire and raises the version of the protocol.

use std::fmt;

use phineus_infer::ProtocolError;
use phineus_infer::plan::{Engine, Options, Rounding, Transfers};
use phineus_infer::report::Output;
use phineus_infer::session::client::Inference;
use phineus_infer::store::MemoryStore;
use phineus_model::fixed::{Model, Reveal};
use phineus_model::{quantize, reference};

use self::honest::{Errand, Honest, Outcome};
use crate::cost::{COMMAND, assert_as_foretold, first_offline, plus, traffic};
use crate::harm::{Harm, stream, verdict};
use crate::nets;
use crate::tap::Way;

mod both;
mod honest;

/// Of the rings of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    /// As narrow as the numbers permit.
    Narrow,
    /// Of numbers of eight bits.
    Typical,
    /// Nearly as wide as words.
    Wide,
}

/// What a session runs under.
#[derive(Debug, Clone, Copy)]
struct Cell {
    /// In the table.
    number: usize,
    engine: Engine,
    rounding: Rounding,
    transfers: Transfers,
    width: Width,
}

/// Engines with the roundings that they have.
const WAYS: [(Engine, Rounding); 6] = [
    (Engine::Delphi, Rounding::Exact),
    (Engine::ClientGarbler, Rounding::Exact),
    (Engine::Ot, Rounding::Exact),
    (Engine::Ot, Rounding::Stochastic),
    (Engine::Auto, Rounding::Exact),
    (Engine::Auto, Rounding::Stochastic),
];

/// Every cell.
fn table() -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut add = |(engine, rounding), transfers, width| {
        cells.push(Cell { number: cells.len(), engine, rounding, transfers, width });
    };
    for way in WAYS {
        for transfers in [Transfers::SoftSpoken, Transfers::Silent] {
            for width in [Width::Narrow, Width::Typical, Width::Wide] {
                add(way, transfers, width);
            }
        }
    }
    // What takes less time; under encryption there are none, and widths are those of its own numbers.
    add((Engine::Auto, Rounding::Exact), Transfers::Auto, Width::Typical);
    add((Engine::He, Rounding::Exact), Transfers::Auto, Width::Typical);
    cells
}

impl Width {
    fn model(self) -> Model {
        let bits = |bits| quantize::Options {
            activation_bits: bits,
            weight_bits: bits,
            ..quantize::Options::default()
        };
        match self {
            Self::Narrow => nets::mixed(&bits(3)),
            Self::Typical => nets::mixed(&bits(8)),
            Self::Wide => nets::widened(nets::mixed(&bits(8)), 31),
        }
    }
}

impl Cell {
    fn model(&self) -> Model {
        match self.engine {
            Engine::He => nets::squares("squares", Reveal::Logits),
            _ => self.width.model(),
        }
    }

    fn options(&self) -> Options {
        let Self { engine, rounding, transfers, .. } = *self;
        Options { engine, rounding, transfers, ..Options::default() }
    }

    async fn run(&self, seed: u64) -> Honest {
        Honest::run(&self.options(), self.model(), seed).await
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { engine, rounding, transfers, width, .. } = self;
        write!(f, "{engine} {rounding} {transfers} {}", format!("{width:?}").to_lowercase())
    }
}

/// Engine, rounding, transfers, width; the first bytes of the digests of what went up and down.
const KNOWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sessions/conformance/known.txt");

#[tokio::test]
async fn every_cell_is_ideal_costs_what_is_foretold_and_sends_what_it_always_sent() {
    let mut sent = String::new();
    for cell in table() {
        for seed in [5, 6] {
            let honest = cell.run(seed).await;
            assert_ideal(&cell, &honest, &honest.inference);
            assert_cost(&honest);
            if seed == 5 {
                let [up, down] = honest.digests().map(|digest| digest.to_hex()[..16].to_owned());
                sent += &format!("{cell} {up} {down}\n");
            }
        }
    }
    if std::env::var("PHINEUS_KNOWN").is_ok_and(|what| what == "write") {
        std::fs::write(KNOWN, &sent).unwrap();
    }
    let known = std::fs::read_to_string(KNOWN).unwrap();
    let differ: Vec<_> = sent.lines().zip(known.lines()).filter(|(new, known)| new != known).collect();
    assert!(differ.is_empty() && sent.len() == known.len(), "{differ:#?}");
}

fn assert_ideal(cell: &Cell, honest: &Honest, found: &Inference) {
    let (model, input) = (cell.model(), honest.input());
    if cell.engine == Engine::He {
        // Logits are those of the same numbers without rounding, up to a small part of the largest.
        let step = model.graph.facts[0].step;
        let real: Vec<f64> = input.iter().map(|x| f64::from(*x) * step).collect();
        let expected = Output::of_real(&model.graph, &honest.clear(&real)).logits;
        let size = expected.iter().fold(0.0, |max: f32, v| max.max(v.abs()));
        let logits = &found.report.output.logits;
        assert_eq!(logits.len(), expected.len());
        let near = logits.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 0.01 * size);
        return assert!(near, "{logits:?} {expected:?}");
    }
    if (cell.rounding, cell.width) == (Rounding::Stochastic, Width::Narrow) {
        // Of numbers of three bits one unit per rescale is much. Value by value: `stochastic`.
        return assert!(
            found.values.len() == 1 && (0..5).contains(&found.values[0]),
            "{cell}: {:?}",
            found.values
        );
    }
    assert_eq!(found.values, reference::run(&model, input).unwrap(), "{cell}");
}

fn assert_cost(honest: &Honest) {
    let (plan, report) = (honest.plan(), &honest.inference.report);
    let session = if plan.encrypted().is_some() { [0; 3] } else { first_offline(&plan) };
    assert_as_foretold(&plan, &plan.predicted(), report, session);
    // Nothing crosses that no row accounts for, but handshakes and goodbyes.
    if plan.encrypted().is_none() {
        let bytes = |way: Way| -> u64 {
            let of = |stage: &honest::Stage| {
                stage.frames(way)[stage.begin(way)..].iter().map(|frame| frame.0.len() as u64).sum::<u64>()
            };
            honest.stages.iter().map(of).sum()
        };
        let goodbyes = honest.stages.len() as u64 * COMMAND;
        let [both_up, both_down, _] = plus(traffic(&report.offline), traffic(&report.online));
        assert_eq!([bytes(Way::Up), bytes(Way::Down)], [both_up + goodbyes, both_down]);
    }
}

/// The harms that come to a frame in a run.
fn harms(cell: &Cell, frame: usize) -> Vec<Harm> {
    if std::env::var("PHINEUS_HARMS").is_ok_and(|which| which == "all") {
        return Harm::ALL.to_vec();
    }
    // Neighbours in the table differ, and so do the frames of a cell; five has no factor in common with thirteen.
    vec![Harm::ALL[(cell.number * 5 + frame) % Harm::ALL.len()]]
}

async fn harm(cells: impl Iterator<Item = Cell>) {
    for cell in cells {
        let honest = cell.run(7).await;
        let mut left = None;
        for (number, stage) in honest.stages.iter().enumerate() {
            for way in [Way::Up, Way::Down] {
                let frames = stage.frames(way);
                // All handshakes are alike.
                let first = if number > 0 { stage.begin(way) } else { 0 };
                for k in first..frames.len() {
                    for harm in harms(&cell, k) {
                        let at = format!(
                            "{cell}: {harm:?} of frame {k} of {}, {way:?}, {:?}",
                            frames.len(),
                            stage.errand
                        );
                        let outcome = honest.alone(number, way, stream(frames, k, harm)).await;
                        left = assert_fair(&honest, (number, way, k), harm, outcome, &at).or(left);
                    }
                }
            }
        }
        assert_ideal(&cell, &honest, &honest.next(left).await);
    }
}

/// What a party did that was harmed blames the other one and uses nothing twice; its store.
fn assert_fair(
    honest: &Honest,
    (number, way, k): (usize, Way, usize),
    harm: Harm,
    outcome: Outcome,
    at: &str,
) -> Option<MemoryStore> {
    let stage = &honest.stages[number];
    let frames = stage.frames(way);
    let last = k + 1 == frames.len();
    let blames = |error: &ProtocolError| {
        let loose = frames[k].is("session.welcome");
        let expected = harm.verdicts(&frames[k], last, loose);
        let found = verdict(error);
        assert!(found.is_some_and(|found| expected.contains(&found)), "{at}: {found:?}, {error}");
    };
    let unnoticed = harm == Harm::Flip || (last && harm.is_behind());
    match outcome {
        Outcome::Client(Ok(values)) => {
            assert!(unnoticed, "{at}: nothing noticed");
            let expected = (stage.errand != Errand::Prepare).then_some(honest.inference.values.len());
            assert_eq!(values.map(|values| values.len()), expected, "{at}");
            None
        }
        Outcome::Client(Err(error)) => {
            blames(&error);
            None
        }
        Outcome::Server(result, store) => {
            match &result {
                Ok(_) => assert!(unnoticed, "{at}: nothing noticed"),
                Err(error) => blames(error),
            }
            let is_there = honest.is_there(&store);
            if stage.errand == Errand::Infer {
                // The command itself is the first frame.
                let used = k > stage.begin(way) || harm.is_behind();
                assert!(!(used && is_there), "{at}: not burned");
                assert!(used || is_there || harm == Harm::Flip, "{at}: burned before it was asked for");
            }
            Some(*store)
        }
    }
}

macro_rules! harms {
    ($($test:ident: $engine:ident, $rounding:ident, $transfers:ident;)*) => {$(
        #[tokio::test]
        async fn $test() {
            harm(table().into_iter().filter(|cell| {
                (cell.engine, cell.rounding, cell.transfers)
                    == (Engine::$engine, Rounding::$rounding, Transfers::$transfers)
            }))
            .await;
        }
    )*};
}

harms! {
    harm_to_delphi: Delphi, Exact, SoftSpoken;
    harm_to_delphi_on_silent_transfers: Delphi, Exact, Silent;
    harm_to_client_garbler: ClientGarbler, Exact, SoftSpoken;
    harm_to_client_garbler_on_silent_transfers: ClientGarbler, Exact, Silent;
    harm_to_ot: Ot, Exact, SoftSpoken;
    harm_to_ot_on_silent_transfers: Ot, Exact, Silent;
    harm_to_ot_stochastic: Ot, Stochastic, SoftSpoken;
    harm_to_ot_stochastic_on_silent_transfers: Ot, Stochastic, Silent;
    harm_to_auto: Auto, Exact, SoftSpoken;
    harm_to_auto_on_silent_transfers: Auto, Exact, Silent;
    harm_to_auto_on_its_choice_of_transfers: Auto, Exact, Auto;
    harm_to_auto_stochastic: Auto, Stochastic, SoftSpoken;
    harm_to_auto_stochastic_on_silent_transfers: Auto, Stochastic, Silent;
    harm_to_he: He, Exact, Auto;
}

/// Harm to one end is felt at the other: an error in time, and nothing else that differs.
#[tokio::test(flavor = "multi_thread")]
async fn both_ends_learn_of_harm() {
    let is_one = |cell: &Cell| {
        let Cell { engine, rounding, transfers, width, .. } = *cell;
        (rounding, transfers, width) == (Rounding::Exact, Transfers::SoftSpoken, Width::Narrow)
            && matches!(engine, Engine::Delphi | Engine::Ot)
    };
    for (turn, cell) in table().into_iter().filter(is_one).enumerate() {
        both::learn(cell.options(), cell.model(), turn).await;
    }
}
