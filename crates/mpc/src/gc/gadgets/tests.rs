use proptest::prelude::*;

use super::*;

/// The layer's definition on plain integers.
fn oracle(spec: &ActSpec, values: &[i64]) -> i64 {
    let rescale = |v: i128, shift: u32, lo: i32, hi: i32| {
        let half = if shift == 0 { 0 } else { 1_i128 << (shift - 1) };
        ((v + half) >> shift).clamp(lo.into(), hi.into())
    };
    let max = values.iter().copied().max().unwrap();
    let mut z = rescale(max.into(), spec.shift, spec.lo, spec.hi);
    if let Some(q) = spec.quadratic {
        z = rescale(i128::from(q.c2) * z * z + i128::from(q.c1) * z + i128::from(q.c0), q.shift, q.lo, q.hi);
    }
    z as i64
}

fn bits_of(v: i64, width: u32) -> impl Iterator<Item = bool> {
    (0..width).map(move |i| v >> i & 1 == 1)
}

fn run(spec: &ActSpec, values: &[i64], shares: &[i64], mask: i64) -> i64 {
    let circuit = act(spec).unwrap();
    let rounding = if spec.shift == 0 { 0 } else { 1 << (spec.shift - 1) };
    let y = values.iter().zip(shares).flat_map(|(v, c)| bits_of(v - c + rounding, spec.in_bits));
    let c = shares.iter().flat_map(|c| bits_of(*c, spec.in_bits)).chain(bits_of(mask, spec.out_bits));
    let out = circuit.eval(&y.collect::<Vec<_>>(), &c.collect::<Vec<_>>());
    out.iter().enumerate().fold(0, |v, (i, b)| v | i64::from(*b) << i)
}

fn run_shared(spec: &ActSpec, values: &[i64], shares: &[i64]) -> i64 {
    let circuit = act_shared(spec).unwrap();
    let rounding = if spec.shift == 0 { 0 } else { 1 << (spec.shift - 1) };
    let y = values.iter().zip(shares).flat_map(|(v, c)| bits_of(v - c + rounding, spec.in_bits));
    let c = shares.iter().flat_map(|c| bits_of(*c, spec.in_bits));
    let out = circuit.eval(&y.collect::<Vec<_>>(), &c.collect::<Vec<_>>());
    out.iter().enumerate().fold(0, |v, (i, b)| v | i64::from(*b) << i)
}

fn bounds() -> impl Strategy<Value = (i32, i32)> {
    prop_oneof![
        Just((0, 255)),
        Just((-128, 127)),
        Just((0, 127)),
        Just((i32::MIN, i32::MAX)),
        (-300..300_i32, 0..300_i32).prop_map(|(lo, n)| (lo, lo + n)),
        (0..1000_i32).prop_map(|hi| (0, hi)),
    ]
}

fn quadratics() -> impl Strategy<Value = Option<QuadraticSpec>> {
    let one = (-40..40_i32, -900..900_i32, any::<i16>(), 0..12_u32, bounds())
        .prop_map(|(c2, c1, c0, shift, (lo, hi))| QuadraticSpec { c2, c1, c0: c0.into(), shift, lo, hi });
    prop_oneof![Just(None), one.prop_map(Some)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn act_equals_its_definition(
        in_bits in 4_u32..=32,
        shift in 0_u32..20,
        (lo, hi) in bounds(),
        window in 1_usize..6,
        quadratic in quadratics(),
        out_bits in 1_u32..=32,
        raw in prop::collection::vec(any::<i32>(), 5),
        shares in prop::collection::vec(any::<u32>(), 5),
        mask: u32,
    ) {
        // A quadratic sees activations, never whole accumulators.
        let (lo, hi) = if quadratic.is_some() { (lo.max(-300), hi.min(300)) } else { (lo, hi) };
        let spec = ActSpec { in_bits, window, shift: shift % in_bits, lo, hi, quadratic, out_bits };
        // The plan proves that the rounded value fits the ring.
        let (min, max) = (-(1_i64 << (in_bits - 1)), (1 << (in_bits - 1)) - 1 - (1 << spec.shift >> 1));
        let values: Vec<i64> = raw.iter().take(window).map(|v| i64::from(*v) % (max - min + 1)).map(|v| {
            if v > max { v - (max - min + 1) } else if v < min { v + (max - min + 1) } else { v }
        }).collect();
        let shares: Vec<i64> = shares.iter().take(window).map(|c| i64::from(*c) & ((1 << in_bits) - 1)).collect();
        let mask = i64::from(mask) & ((1 << out_bits) - 1);
        let expected = (oracle(&spec, &values) - mask) & ((1 << out_bits) - 1);
        prop_assert_eq!(run(&spec, &values, &shares, mask), expected);
        let z = oracle(&spec, &values) & ((1 << out_bits) - 1);
        prop_assert_eq!(run_shared(&spec, &values, &shares), z);
    }

    #[test]
    fn argmax_finds_the_first_largest(
        bits in 2_u32..=24,
        values in prop::collection::vec(-3_i64..4, 1..20),
        shares in prop::collection::vec(any::<u32>(), 20),
        wide: bool,
    ) {
        let n = values.len();
        let fits = |v: i64| v.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1);
        let values: Vec<i64> = values.iter().map(|v| fits(if wide { v << (bits - 2) } else { *v })).collect();
        let circuit = argmax(bits, n).unwrap();
        let y: Vec<bool> = values.iter().zip(&shares).flat_map(|(v, c)| bits_of(v - i64::from(*c), bits)).collect();
        let c: Vec<bool> = shares[..n].iter().flat_map(|c| bits_of((*c).into(), bits)).collect();
        let index = circuit.eval(&y, &c).iter().enumerate().fold(0, |v, (i, b)| v | usize::from(*b) << i);
        let best = values.iter().max().unwrap();
        prop_assert_eq!(index, values.iter().position(|v| v == best).unwrap());
    }
}

#[test]
fn gate_counts() {
    let relu = ActSpec { in_bits: 24, window: 1, shift: 8, lo: 0, hi: 255, quadratic: None, out_bits: 24 };
    let count = |spec: ActSpec| act(&spec).unwrap().and_count();
    // Addition 23, sign and saturation 15, re-masking 23.
    assert_eq!(count(relu), 23 + 15 + 23);
    assert_eq!(count(ActSpec { hi: i32::MAX, ..relu }), 23 + 15 + 23);
    assert_eq!(count(ActSpec { shift: 0, hi: i32::MAX, ..relu }), 3 * 23);
    assert_eq!(count(ActSpec { lo: -128, hi: 127, ..relu }), 23 + 14 + 23);
    // Four additions and three maxima of 24 + 24 each; the last one's selection of the dropped bits is not needed.
    assert_eq!(count(ActSpec { window: 4, ..relu }), 4 * 23 + 3 * 48 - 8 + 15 + 23);
    assert!(act(&relu).unwrap().slots() <= 24 * 3 + 6);
    // Additions, comparisons, selections of values but at the root, of indices but their highest fresh bit.
    assert_eq!(argmax(20, 8).unwrap().and_count(), 8 * 19 + 7 * 20 + 6 * 20 + 2 + 2);
    assert_eq!(argmax(20, 1).unwrap().outputs(), 0);
}

#[test]
fn table_bytes() {
    let relu = ActSpec { in_bits: 24, window: 1, shift: 8, lo: 0, hi: 255, quadratic: None, out_bits: 24 };
    // Half price: the lowest carry of the addition and of the subtraction, the carries above the 8 bits of z.
    let masked = act(&relu).unwrap();
    assert_eq!(masked.table_bytes(1), 16 * (1 + 2 * 22 + 2 * 15 + 1 + 2 * 7 + 15));
    let shared = act_shared(&relu).unwrap();
    // Addition, a test of the bits above; a word for the sign, one for the test, two per bit of z.
    assert_eq!(shared.and_count(), 23 + 7);
    assert_eq!(shared.table_bytes(1), 16 * (1 + 2 * 22 + 2 * 7) + 18 * 3);
    assert_eq!(shared.table_bytes(100), 100 * shared.table_bytes(1));
    assert_eq!((shared.evaluator_inputs(), shared.outputs()), (24, 24));
    // Of a signed result the sign is selected like the bits; a narrow ring has shorter words.
    let signed = act_shared(&ActSpec { lo: -128, hi: 127, out_bits: 16, ..relu }).unwrap();
    assert_eq!(signed.table_bytes(1), 16 * (1 + 2 * 22 + 2 * 7) + 18 * 2);
    // A sum of known bits is known; a product with an unknown bit is not.
    let mut b = Builder::new(1, 2);
    let (x, k) = (b.garbler(0, 1)[0], b.evaluator(0, 2));
    let known = b.xor(k[0], !k[1]);
    let product = b.and(known, x);
    let again = b.and(product, x);
    assert_eq!(b.finish(&[product, again]).table_bytes(1), 16 + 32);
}

#[test]
fn parameters_out_of_range_are_errors() {
    let relu = ActSpec { in_bits: 24, window: 1, shift: 8, lo: 0, hi: 255, quadratic: None, out_bits: 24 };
    let q = QuadraticSpec { c2: 1, c1: 1, c0: 0, shift: 32, lo: 0, hi: 255 };
    for bad in [
        ActSpec { in_bits: 33, ..relu },
        ActSpec { in_bits: 1, shift: 0, ..relu },
        ActSpec { out_bits: 0, ..relu },
        ActSpec { window: 0, ..relu },
        ActSpec { shift: 24, ..relu },
        ActSpec { lo: 1, hi: 0, ..relu },
        ActSpec { quadratic: Some(q), ..relu },
        ActSpec { quadratic: Some(QuadraticSpec { shift: 1, lo: 2, hi: 1, ..q }), ..relu },
    ] {
        assert!(matches!(act(&bad), Err(GcError::Spec { .. })), "{bad:?}");
    }
    assert!(argmax(33, 4).is_err() && argmax(8, 0).is_err());
}
