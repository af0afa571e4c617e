use rand::Rng;

use super::*;
use crate::prg::Prg;

const SLOTS: usize = 12;

/// Gates on `SLOTS` slots; only the last four are known to the evaluator, and nothing writes to them.
fn random_gates(count: usize, rng: &mut Prg) -> Vec<Gate> {
    let mut below = |n: u32| rng.next_u32() % n;
    (0..count)
        .map(|_| {
            let (a, b, out) = (below(8), below(8), below(8));
            let (invert_a, invert_b) = (below(2) == 1, below(2) == 1);
            match below(3) {
                0 => Gate::Xor { a, b, out },
                1 => Gate::And { a, b, out, invert_a, invert_b },
                _ => Gate::AndKnown { a, b: 8 + below(4), out, invert_a, invert_b },
            }
        })
        .collect()
}

fn plain(gates: &[Gate], slots: &mut [bool]) {
    for gate in gates {
        match *gate {
            Gate::Xor { a, b, out } => slots[out as usize] = slots[a as usize] ^ slots[b as usize],
            Gate::And { a, b, out, invert_a, invert_b }
            | Gate::AndKnown { a, b, out, invert_a, invert_b } => {
                slots[out as usize] = (slots[a as usize] ^ invert_a) & (slots[b as usize] ^ invert_b);
            }
        }
    }
}

#[test]
fn evaluation_equals_the_plain_circuit_on_every_backend() {
    let rng = &mut Prg::new([1; 16]);
    for count in [0, 1, 9, 100] {
        let gates = random_gates(count, rng);
        let delta = Block::random(rng).with_lsb();
        let mut zero = [[Block::ZERO; LANES]; SLOTS];
        rng.fill_blocks(zero.as_flattened_mut());
        for label in zero[8..].as_flattened_mut() {
            label.0 &= !1;
        }
        let mut bits = [[false; LANES]; SLOTS];
        bits.as_flattened_mut().iter_mut().for_each(|b| *b = rng.next_u32() & 1 == 1);
        let mut active = zero;
        for (label, bit) in active.as_flattened_mut().iter_mut().zip(bits.as_flattened()) {
            *label ^= delta & Block::mask(*bit);
        }
        let mut first: Option<(Vec<u8>, Vec<u128>)> = None;
        for backend in Backend::available() {
            let (mut garbled, mut evaluated) = (zero, active);
            let mut tables = vec![0; table_bytes(&gates)];
            let tweak = u128::MAX - 7;
            garble_on(backend, &gates, delta, tweak, &mut garbled, &mut tables);
            evaluate_on(backend, &gates, tweak, &mut evaluated, &tables);
            for lane in 0..LANES {
                let mut slots: Vec<bool> = bits.iter().map(|b| b[lane]).collect();
                plain(&gates, &mut slots);
                for (i, bit) in slots.into_iter().enumerate() {
                    let expected = garbled[i][lane] ^ delta & Block::mask(bit);
                    assert_eq!(evaluated[i][lane].0, expected.0, "{backend:?}, slot {i}, lane {lane}");
                }
            }
            let result = (tables, garbled.as_flattened().iter().map(|b| b.0).collect());
            assert!(*first.get_or_insert_with(|| result.clone()) == result, "{backend:?} differs");
        }
    }
}
