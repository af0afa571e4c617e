use cpu_time::ThreadTime;

use phineus_kernel::block::Block;
use phineus_kernel::prg::Prg;
use proptest::prelude::*;
use rand::Rng;

use super::builder::{Bit, Builder, Number};
use super::gadgets::{ActSpec, act, act_shared, argmax};
use super::*;
use crate::{Bits, Delta};

/// Everything one test run needs of both parties.
struct Run {
    circuit: Circuit,
    delta: Delta,
    span: Span,
    seed: InputSeed,
    zero_labels: Vec<Block>,
    garbler_bits: Bits,
    evaluator_bits: Bits,
}

impl Run {
    fn new(circuit: Circuit, count: usize, seed: u8) -> Self {
        let rng = &mut Prg::new([seed; 16]);
        let mut bits = |n: usize| {
            let mut words = vec![0; n];
            rng.fill_u32(1, &mut words);
            Bits::from_words(&words, 1)
        };
        let garbler_bits = bits(count * circuit.garbler_inputs());
        let evaluator_bits = bits(count * circuit.evaluator_inputs());
        let zero_labels = (0..evaluator_bits.len()).map(|_| Block::random(rng).with_colour(false)).collect();
        Self {
            span: Span::whole(u128::MAX - 5, count),
            delta: Delta::random(rng),
            seed: InputSeed::random(rng),
            circuit,
            zero_labels,
            garbler_bits,
            evaluator_bits,
        }
    }

    fn garble(&self) -> Garbled {
        garble(&self.circuit, &self.delta, self.span, GarblerInputs::Later(&self.seed), &self.zero_labels)
            .unwrap()
    }

    fn evaluator_labels(&self) -> Vec<Block> {
        let bit = |i| self.delta.times(self.evaluator_bits.get(i));
        self.zero_labels.iter().enumerate().map(|(i, l)| *l ^ bit(i)).collect()
    }

    fn garbler_labels(&self) -> Vec<Block> {
        self.seed.labels(&self.circuit, &self.delta, self.span, &self.garbler_bits).unwrap()
    }

    fn evaluate(&self, span: Span, tables: &[u8]) -> Bits {
        let theirs = self.garbler_labels();
        evaluate(&self.circuit, span, tables, GarblerLabels::Sent(&theirs), &self.evaluator_labels()).unwrap()
    }

    /// The outputs in the clear.
    fn expected(&self) -> Bits {
        let part =
            |bits: &Bits, i: usize, n: usize| (i * n..(i + 1) * n).map(|j| bits.get(j)).collect::<Vec<_>>();
        let (g, e) = (self.circuit.garbler_inputs(), self.circuit.evaluator_inputs());
        (0..self.span.count)
            .flat_map(|i| {
                self.circuit.eval(&part(&self.garbler_bits, i, g), &part(&self.evaluator_bits, i, e))
            })
            .collect()
    }

    fn decoded(&self, span: Span, garbled: &Garbled) -> Bits {
        self.circuit.decode(&garbled.decoding, &self.evaluate(span, &garbled.tables))
    }

    /// The garbler knew its inputs.
    fn garble_now(&self) -> Result<Garbled, GcError> {
        let inputs = GarblerInputs::Now(&self.garbler_bits);
        garble(&self.circuit, &self.delta, self.span, inputs, &self.zero_labels)
    }

    fn evaluate_now(&self, tables: &[u8]) -> Bits {
        evaluate(&self.circuit, self.span, tables, GarblerLabels::Zero, &self.evaluator_labels()).unwrap()
    }

    fn assert_correct(&self) {
        if self.circuit.mixes() {
            let garbled = self.garble_now().unwrap();
            let decoded = self.circuit.decode(&garbled.decoding, &self.evaluate_now(&garbled.tables));
            assert_eq!(decoded.as_bytes(), self.expected().as_bytes());
        } else {
            assert_eq!(self.garble_now().unwrap_err(), GcError::Unmixed);
        }
        let garbled = self.garble();
        assert_eq!(garbled.tables.len(), self.circuit.table_bytes(self.span.count));
        assert_eq!(self.decoded(self.span, &garbled).as_bytes(), self.expected().as_bytes());
    }
}

fn random_circuit(seed: u64, inputs: usize, gates: usize, word: Option<u32>) -> Circuit {
    let mut rng = Prg::with_stream([4; 16], seed);
    let mut b = Builder::new(inputs, inputs);
    let mut bits = [b.garbler(0, inputs), b.evaluator(0, inputs), vec![builder::ZERO, builder::ONE]].concat();
    for _ in 0..gates {
        let mut pick = || {
            let bit = bits[rng.next_u32() as usize % bits.len()];
            if rng.next_u32() & 1 == 1 { !bit } else { bit }
        };
        let (x, y) = (pick(), pick());
        bits.push(if rng.next_u32() & 1 == 1 { b.xor(x, y) } else { b.and(x, y) });
    }
    let outputs: Vec<Bit> = bits.iter().rev().take(13).copied().chain(bits[..2].iter().copied()).collect();
    match word {
        Some(width) => {
            let selector = outputs[2];
            let selected = outputs.iter().enumerate().map(|(i, bit)| (*bit, 7 * i as i64 - 30)).collect();
            b.finish_word(&Number { selector, selected, ..Number::signed(&outputs) }, width)
        }
        None => b.finish(&outputs),
    }
}

fn relu() -> ActSpec {
    ActSpec { in_bits: 24, window: 1, shift: 8, lo: 0, hi: 255, quadratic: None, out_bits: 24 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn random_circuits_garble_to_themselves(seed: u64, inputs in 1_usize..8, gates in 0_usize..120, count in 0_usize..40,
        word in prop::option::of(1_u32..=32)) {
        Run::new(random_circuit(seed, inputs, gates, word), count, 1).assert_correct();
    }
}

#[test]
fn gadgets_garble_to_themselves() {
    for count in [1, 15, 16, 17, 100] {
        Run::new(act(&relu()).unwrap(), count, 2).assert_correct();
    }
    Run::new(act(&ActSpec { window: 4, out_bits: 21, lo: -100, hi: 99, ..relu() }).unwrap(), 33, 3)
        .assert_correct();
    for spec in [relu(), ActSpec { window: 3, out_bits: 21, lo: -100, hi: 99, ..relu() }] {
        for count in [1, 16, 50] {
            Run::new(act_shared(&spec).unwrap(), count, 3).assert_correct();
        }
    }
    Run::new(argmax(20, 10).unwrap(), 3, 4).assert_correct();
    Run::new(argmax(20, 1).unwrap(), 3, 4).assert_correct();
}

#[test]
fn chunks_concatenate_to_the_whole() {
    let run = Run::new(act(&relu()).unwrap(), 100, 5);
    let whole = run.garble();
    let (g, e) = (run.circuit.garbler_inputs(), run.circuit.evaluator_inputs());
    let (mut tables, mut out) = (vec![], vec![]);
    for span in run.span.chunks(40) {
        let first = span.first as usize;
        let part = garble(
            &run.circuit,
            &run.delta,
            span,
            GarblerInputs::Later(&run.seed),
            &run.zero_labels[first * e..][..span.count * e],
        );
        let part = part.unwrap();
        let bits = (first * g..(first + span.count) * g).map(|i| run.garbler_bits.get(i)).collect();
        let garbler_labels = run.seed.labels(&run.circuit, &run.delta, span, &bits).unwrap();
        let evaluator_labels = &run.evaluator_labels()[first * e..][..span.count * e];
        let mut bits = evaluate(
            &run.circuit,
            span,
            &part.tables,
            GarblerLabels::Sent(&garbler_labels),
            evaluator_labels,
        )
        .unwrap();
        bits.xor_assign(&part.decoding);
        out.extend(bits.to_words(24));
        tables.extend(part.tables);
    }
    assert_eq!(tables, whole.tables);
    assert_eq!(out, run.expected().to_words(24));
}

#[test]
fn the_gadgets_mix_and_bare_inputs_are_refused() {
    let specs = [
        relu(),
        ActSpec { shift: 0, hi: i32::MAX, lo: i32::MIN, ..relu() },
        ActSpec { window: 9, shift: 23, lo: -1, hi: 1, ..relu() },
        ActSpec { in_bits: 2, shift: 1, ..relu() },
    ];
    for spec in specs {
        assert!(act_shared(&spec).unwrap().mixes(), "{spec:?}");
    }
    assert!(argmax(20, 10).unwrap().mixes());
    // One input of the garbler against another, and one that is left when all else cancels.
    let circuit = |bare: bool| {
        let mut b = Builder::new(2, 2);
        let (g, e) = (b.garbler(0, 2), b.evaluator(0, 2));
        let sum = b.xor(g[0], e[0]);
        let operand = if bare { b.xor(sum, e[0]) } else { sum };
        let product = b.and(operand, sum);
        b.finish(&[product])
    };
    assert!(circuit(false).mixes() && !circuit(true).mixes());
    let mut b = Builder::new(1, 1);
    let g = b.garbler(0, 1);
    assert!(!b.clone().finish_word(&Number::signed(&g), 5).mixes());
    let e = b.evaluator(0, 1);
    // An operand that is not hashed may be bare.
    let product = b.and(g[0], e[0]);
    assert!(b.finish(&[product]).mixes());
}

/// Equal inputs in all instances of a batch: no table repeats and none differs from another by the offset.
#[test]
fn known_inputs_do_not_show_in_the_tables() {
    let mut run = Run::new(act_shared(&relu()).unwrap(), 256, 11);
    run.garbler_bits = Bits::zeros(run.garbler_bits.len());
    let zeros = run.garble_now().unwrap().tables;
    run.garbler_bits = (0..run.garbler_bits.len()).map(|_| true).collect();
    let ones = run.garble_now().unwrap().tables;
    let blocks: Vec<u128> = zeros
        .as_chunks::<16>()
        .0
        .iter()
        .chain(ones.as_chunks::<16>().0)
        .map(|b| u128::from_le_bytes(*b))
        .collect();
    let set: std::collections::HashSet<_> = blocks[..blocks.len() / 2].iter().collect();
    assert_eq!(set.len(), blocks.len() / 2);
    assert!(blocks[..blocks.len() / 2].iter().all(|b| !set.contains(&(b ^ run.delta.block().0))));
    let ones: u32 = blocks.iter().map(|b| b.count_ones()).sum();
    let n = 128.0 * blocks.len() as f64;
    assert!((f64::from(ones) - n / 2.0).abs() < 6.0 * (n / 4.0).sqrt(), "{ones} of {n}");
}

/// Fraction of output bits that differ from the truth.
fn wrong(run: &Run, span: Span, garbled: &Garbled) -> f64 {
    let (got, expected) = (run.decoded(span, garbled), run.expected());
    (0..got.len()).filter(|i| got.get(*i) != expected.get(*i)).count() as f64 / got.len() as f64
}

#[test]
fn wrong_tweaks_and_tables_give_garbage() {
    let run = Run::new(act(&relu()).unwrap(), 64, 6);
    let mut garbled = run.garble();
    assert_eq!(wrong(&run, run.span, &garbled), 0.0);
    assert!(wrong(&run, Span { tweak: 1, ..run.span }, &garbled) > 0.3);
    garbled.tables.iter_mut().for_each(|t| *t ^= 0x55);
    assert!(wrong(&run, run.span, &garbled) > 0.3);
}

#[test]
fn the_evaluator_sees_uniform_colours() {
    let run = Run::new(act(&relu()).unwrap(), 2000, 7);
    let colours = run.evaluate(run.span, &run.garble().tables);
    let ones = (0..colours.len()).filter(|i| colours.get(*i)).count() as f64;
    let n = colours.len() as f64;
    assert!((ones - n / 2.0).abs() < 5.0 * (n / 4.0).sqrt(), "{ones} of {n}");
}

#[test]
fn no_table_or_tweak_is_shared_between_batches() {
    let run = Run::new(act(&relu()).unwrap(), 200, 8);
    let tables = run.garble().tables;
    let distinct: std::collections::HashSet<_> = tables.as_chunks::<16>().0.iter().collect();
    assert_eq!(distinct.len(), tables.len() / 16);
    assert_eq!(run.circuit.tweaks(200), 13 * (run.circuit.table_bytes(1) / 16) as u128);
}

#[test]
fn wrong_lengths_are_errors() {
    let run = Run::new(act(&relu()).unwrap(), 20, 9);
    let tables = run.garble().tables;
    let (g, e) = (run.garbler_labels(), run.evaluator_labels());
    let call = |span, tables: &[u8], g: &[Block], e: &[Block]| {
        evaluate(&run.circuit, span, tables, GarblerLabels::Sent(g), e).unwrap_err()
    };
    let is_length = |error, name| matches!(error, GcError::Length { what, .. } if what == name);
    assert!(is_length(call(run.span, &tables[1..], &g, &e), "tables"));
    assert!(is_length(call(run.span, &tables, &g[1..], &e), "garbler's labels"));
    assert!(is_length(call(run.span, &tables, &g, &e[1..]), "evaluator's labels"));
    let unaligned = Span { first: 3, ..run.span };
    assert_eq!(call(unaligned, &tables, &g, &e), GcError::Unaligned { first: 3 });
    assert!(
        garble(&run.circuit, &run.delta, run.span, GarblerInputs::Later(&run.seed), &run.zero_labels[1..])
            .is_err()
    );
    assert!(
        garble(&run.circuit, &run.delta, unaligned, GarblerInputs::Later(&run.seed), &run.zero_labels)
            .is_err()
    );
    assert!(run.seed.labels(&run.circuit, &run.delta, run.span, &Bits::zeros(3)).is_err());
    let mut coloured = run.zero_labels.clone();
    coloured[7] = coloured[7].with_lsb();
    let error =
        garble(&run.circuit, &run.delta, run.span, GarblerInputs::Later(&run.seed), &coloured).unwrap_err();
    assert_eq!(error, GcError::Colour { index: 7 });
}

#[test]
#[ignore = "measurement"]
fn speed() {
    // The calling thread does all the work, so that its processor time is the cost.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().unwrap();
    for circuit in [act(&relu()).unwrap(), act_shared(&relu()).unwrap()] {
        let run = Run::new(circuit, 1 << 14, 10);
        let (garbling, evaluation) = pool.install(|| times(&run));
        eprintln!(
            "{} ANDs, {} gates, {} slots, {} bytes: garble {:.3} us, evaluate {:.3} us",
            run.circuit.and_count(),
            run.circuit.gates().len(),
            run.circuit.slots(),
            run.circuit.table_bytes(1),
            garbling * 1e6,
            evaluation * 1e6
        );
    }
}

/// Median seconds per instance to garble and to evaluate.
fn times(run: &Run) -> (f64, f64) {
    let (garbler_labels, evaluator_labels) = (run.garbler_labels(), run.evaluator_labels());
    // A buffer that is used again, as for consecutive messages: its pages are there.
    let tables = &mut vec![0; run.circuit.table_bytes(run.span.count)];
    let (mut garbling, mut evaluation) = (vec![], vec![]);
    for _ in 0..9 {
        let start = ThreadTime::now();
        garble_into(
            &run.circuit,
            &run.delta,
            run.span,
            GarblerInputs::Later(&run.seed),
            &run.zero_labels,
            tables,
        )
        .unwrap();
        garbling.push(start.elapsed().as_secs_f64());
        let start = ThreadTime::now();
        evaluate(&run.circuit, run.span, tables, GarblerLabels::Sent(&garbler_labels), &evaluator_labels)
            .unwrap();
        evaluation.push(start.elapsed().as_secs_f64());
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2] / run.span.count as f64
    };
    (median(garbling), median(evaluation))
}
