use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::quantize::tests::every_operation;
use crate::reference;

fn rng(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

fn input(seed: usize) -> Vec<i32> {
    (0..128).map(|i| ((i * 7919 + seed * 104_729) % 256) as i32).collect()
}

/// Every value with its margin, under every share, of every shape of rescale in a ring of ten bits.
#[test]
fn shares_round_down_or_up_as_often_as_promised() {
    let bits = 10;
    for (shift, lo, hi) in [(0, 0, 7), (1, 0, 255), (4, 0, 15), (3, -8, 7), (5, -4, 3), (0, -8, 7)] {
        let rescale = Rescale { shift, lo, hi };
        for v in -512..512 - rescale.margin() {
            let floor = v >> shift;
            let clamp = |z: i64| z.clamp(lo.into(), hi.into());
            let mut up = 0;
            for c in 0..1 << bits {
                let z = rescale.on_shares(v, c, bits);
                let low = |v: i64| v & ((1 << shift) - 1);
                let more = i64::from(shift > 0 && low(c as i64) <= low(v));
                assert_eq!(z, clamp(floor + more), "{rescale:?} of {v} with share {c}");
                assert!((z - rescale.apply(v)).abs() <= 1);
                up += more;
            }
            let expected = if shift == 0 { 0 } else { ((v & ((1 << shift) - 1)) + 1) << (bits - shift) };
            assert_eq!(up, expected);
        }
    }
}

#[test]
fn known_answers() {
    let rescale = Rescale { shift: 4, lo: 0, hi: 15 };
    // 100 = 6 * 16 + 4: up if the share's low four bits are at most 4.
    let z = |c| rescale.on_shares(100, c, 12);
    assert_eq!([z(0), z(4), z(5), z(15), z(0xff4), z(0xff5)], [7, 7, 6, 6, 7, 6]);
    assert_eq!(rescale.on_shares(-100, 3, 12), 0);
    assert_eq!(rescale.on_shares(2000, 3, 12), 15);
    let signed = Rescale { shift: 2, lo: -8, hi: 7 };
    // -5 = -2 * 4 + 3: up in every case; -8 = -2 * 4: up for shares that end in 0 only.
    assert_eq!([0, 1, 2, 3].map(|c| signed.on_shares(-5, c, 12)), [-1; 4]);
    assert_eq!([0, 1, 2, 3].map(|c| signed.on_shares(-8, c, 12)), [-1, -2, -2, -2]);
}

#[test]
fn runs_pass_the_check_and_differ_from_exact_ones() {
    let model = every_operation();
    let rng = &mut rng(1);
    let mut differ = 0;
    for seed in 0..5 {
        let values = trace(&model, &input(seed), rng).unwrap();
        check(&model, &values).unwrap();
        let exact = reference::trace(&model, &input(seed)).unwrap();
        check(&model, &exact).unwrap();
        differ += usize::from(values != exact);
        let output = run(&model, &input(seed), rng).unwrap();
        assert_eq!(output.len(), model.graph.nodes[model.graph.output].len());
    }
    assert_eq!(differ, 5);
    assert_eq!(run(&model, &[1], rng), Err(ReferenceError::Length { expected: 128, got: 1 }));
}

#[test]
fn the_check_finds_what_no_rounding_explains() {
    let model = every_operation();
    let rng = &mut rng(2);
    let values = trace(&model, &input(3), rng).unwrap();
    for (node, fact) in model.graph.facts.iter().enumerate().skip(1) {
        let element = rng.random_range(0..values[node].len());
        let mut wrong = values.clone();
        // Three units are more than two roundings of a polynomial's argument and result give here.
        let by = if matches!(model.graph.nodes[node].op, Op::Act(_)) { 1 << 6 } else { 1 };
        wrong[node][element] ^= by.min(fact.mask());
        let departure = check(&model, &wrong).unwrap_err();
        assert_eq!((departure.node, departure.element), (node, element), "{:?}", model.graph.nodes[node].op);
        wrong[node].pop();
        assert!(check(&model, &wrong).unwrap_err().node <= node);
    }
    assert_eq!(check(&model, &values[1..]).unwrap_err().node, 0);
    let short = check(&model, &values[..3]).unwrap_err();
    assert_eq!((short.node, short.element), (3, 0));
}

/// The mean over many runs of one dense layer behind a ReLU is what exact rescaling would give without rounding.
#[test]
fn roundings_are_right_in_the_mean() {
    let rescale = Rescale { shift: 6, lo: 0, hi: 255 };
    let rng = &mut rng(3);
    let runs = 200_000;
    let sum: i64 = (0..runs).map(|_| rescale.on_shares(6420, rng.next_u64(), 20)).sum();
    // 100 + 21/64; the deviation of the mean is 0.001.
    assert!((sum as f64 / f64::from(runs) - 100.0 - 21.0 / 64.0).abs() < 0.006);
}
