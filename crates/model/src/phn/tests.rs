use super::*;
use crate::fixed::{Op, Reveal};
use crate::quantize::tests::every_operation;

#[test]
fn round_trip() {
    let model = every_operation();
    let bytes = write(&model);
    assert_eq!(read(&bytes).unwrap(), model);
    assert_eq!(write(&read(&bytes).unwrap()), bytes);
    let public = read_public(&public_bytes(&model)).unwrap();
    assert_eq!(public, Public::of(&model));
    assert_eq!(public.graph, model.graph.public_view());
    assert_eq!(public.digest(), digest(&model));
}

#[test]
fn the_public_half_is_independent_of_the_weights() {
    let mut model = every_operation();
    let before = public_bytes(&model);
    let inner = model.graph.nodes.iter().position(|node| matches!(node.op, Op::Add { .. })).unwrap();
    model.graph.facts[inner].step *= 3.0;
    for layer in &mut model.weights {
        layer.weights.iter_mut().for_each(|w| *w = -*w);
    }
    assert_eq!(public_bytes(&model), before);
    assert_ne!(write(&model), write(&every_operation()));
}

#[test]
fn the_digest_covers_everything_public() {
    let model = every_operation();
    let changed = |change: fn(&mut Model)| {
        let mut other = model.clone();
        change(&mut other);
        digest(&other)
    };
    assert_eq!(changed(|_| ()), digest(&model));
    assert_ne!(changed(|m| m.name.push('!')), digest(&model));
    assert_ne!(changed(|m| m.graph.reveal = Reveal::ArgMax), digest(&model));
    assert_ne!(changed(|m| m.graph.facts[0].step *= 2.0), digest(&model));
    assert_ne!(changed(|m| m.graph.facts[1].bits += 1), digest(&model));
    assert_ne!(changed(|m| m.preprocess.std[1] = 2.0), digest(&model));
    assert_ne!(changed(|m| m.labels[2].clear()), digest(&model));
}

#[test]
fn damage_is_found() {
    let bytes = write(&every_operation());
    assert!(matches!(read(b""), Err(PhnError::Magic)));
    assert!(matches!(read(b"ONNX and more"), Err(PhnError::Magic)));
    let with = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        read(&bytes)
    };
    assert!(matches!(with(8, 2), Err(PhnError::Version { found: 2 })));
    assert!(matches!(with(19, 0xff), Err(PhnError::Length { what: "public half", .. })));
    assert!(matches!(with(60, bytes[60] ^ 1), Err(PhnError::Hash { what: "public half" })));
    let last = bytes.len() - 40;
    assert!(matches!(with(last, bytes[last] ^ 1), Err(PhnError::Hash { what: "private half" })));
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(read(&longer), Err(PhnError::Length { what: "end", .. })));
    for cut in (0..bytes.len()).step_by(7) {
        assert!(read(&bytes[..cut]).is_err(), "{cut}");
    }
}

/// Bytes with correct hashes but other content: the checks behind the hashes.
fn forged(change: impl FnOnce(&mut Public, &mut Private)) -> Result<Model, PhnError> {
    let model = every_operation();
    let mut public = Public::of(&model);
    let steps = model.graph.facts.iter().map(|fact| fact.step).collect();
    let mut private = Private { steps, weights: model.weights };
    change(&mut public, &mut private);
    read(&assemble(&public.to_bytes(), &encode(&private)))
}

#[test]
fn forgeries_are_found() {
    forged(|_, _| ()).unwrap();
    assert!(matches!(forged(|_, p| p.steps.truncate(1)), Err(PhnError::Steps { given: 1, .. })));
    assert!(matches!(forged(|_, p| p.steps[3] = f64::NAN), Err(PhnError::Graph(_))));
    assert!(matches!(forged(|_, p| p.weights.truncate(1)), Err(PhnError::Graph(GraphError::Weights { .. }))));
    assert!(matches!(forged(|p, _| p.graph.output = 999), Err(PhnError::Graph(GraphError::Output(999)))));
    // An inner step in the public half would tell the scale of the weights.
    assert!(matches!(forged(|p, _| p.graph.facts[2].step = 1.0), Err(PhnError::Encoding { .. })));
}

#[test]
fn bytes_after_the_public_half_are_refused() {
    let mut bytes = public_bytes(&every_operation());
    bytes.push(0);
    assert!(matches!(read_public(&bytes), Err(PhnError::Encoding { .. })));
    let large = vec![0; PUBLIC_LIMIT + 1];
    assert!(matches!(read_public(&large), Err(PhnError::TooLarge(_))));
    assert!(matches!(read_public(&[]), Err(PhnError::Encoding { .. })));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]

    /// Any one change of the encoding either fails or is another valid public half with its own digest.
    #[test]
    fn flipped_bytes_never_panic(at in 0usize..100_000, value in proptest::prelude::any::<u8>()) {
        static BYTES: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| public_bytes(&every_operation()));
        let mut bytes = BYTES.clone();
        let at = at % bytes.len();
        proptest::prop_assume!(bytes[at] != value);
        bytes[at] = value;
        if let Ok(public) = read_public(&bytes) {
            proptest::prop_assert_eq!(public.to_bytes(), bytes);
        }
    }
}
