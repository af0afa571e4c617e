//! What must be refused, and with which words.

use super::*;

#[test]
fn levels_scales_and_parts() {
    let mut pair = Pair::new(&literal(12, 1), &[3]);
    let x = random(4096, 0.5, 1);
    let (high, low) = (pair.encrypt(&x, 1), pair.encrypt(&x, 0));
    let evaluator = &pair.evaluator;
    let mut sum = high.clone();
    assert_eq!(evaluator.add(&mut sum, &low), Err(SlotsError::LevelMismatch { left: 1, right: 0 }));
    let pending = evaluator.mul_plain(&high, &pair.params.factor(&x, 1).unwrap()).unwrap();
    assert!(matches!(evaluator.add(&mut sum, &pending), Err(SlotsError::ScaleMismatch { .. })));
    assert!(matches!(evaluator.drop_to(&pending, 0), Err(SlotsError::ScaleMismatch { .. })));
    assert!(matches!(evaluator.drop_to(&low, 1), Err(SlotsError::LevelMismatch { .. })));
    assert_eq!(evaluator.rescale(&low).err(), Some(SlotsError::Exhausted { top: 1 }));
    let message = evaluator.square(&low).unwrap_err();
    assert!(matches!(message, SlotsError::Exhausted { top: 1 } | SlotsError::Overflow { .. }), "{message}");
    let product = evaluator.mul(&high, &high).unwrap();
    assert_eq!(evaluator.rotate(&product, 3).err(), Some(SlotsError::NotLinear));
    assert_eq!(evaluator.mul(&product, &high).err(), Some(SlotsError::NotLinear));
    let factor = pair.params.factor(&x, 0).unwrap();
    assert!(matches!(evaluator.mul_plain(&high, &factor), Err(SlotsError::LevelMismatch { .. })));
    let none = evaluator.linear(&[&high], &[], None);
    assert!(matches!(none, Err(SlotsError::Count { .. })));
    let factor = pair.params.factor(&x, 1).unwrap();
    let term = Term { input: 1, rotation: 0, factor: &factor };
    let beyond = evaluator.linear(&[&high], &[Giant { rotation: 0, terms: vec![term] }], None);
    assert!(matches!(beyond, Err(SlotsError::Count { expected: 2, got: 1, .. })));
}

#[test]
fn keys() {
    let params = Params::new(&literal(12, 1)).unwrap();
    let mut rng = Prg::from_seed32(&[5; 32]);
    let secret = SecretKey::generate(&params, &mut rng);
    let shape = KeyShape::new(&params, None, BTreeMap::from([(9, 0)])).unwrap();
    let upload = KeyUpload::generate(&secret, &shape, &mut rng).unwrap();
    let evaluator = Evaluator::new(upload.expand());
    let requests = Requests::encrypt(&secret, &[[0.5]], 1, &mut rng).unwrap();
    let x = requests.into_ciphertexts(0.5).unwrap().pop().unwrap();
    assert_eq!(evaluator.rotate(&x, 8).err(), Some(SlotsError::MissingKey { rotation: 8 }));
    assert!(matches!(evaluator.rotate(&x, 9), Err(SlotsError::KeyLevel { key: 0, level: 1, .. })));
    assert_eq!(evaluator.rotate(&x, 4096).err(), Some(SlotsError::Rotation { rotation: 4096, slots: 4096 }));
    assert_eq!(evaluator.square(&x).err(), Some(SlotsError::MissingRelin));
    let bad = |relin, rotations: &[(u32, usize)]| {
        KeyShape::new(&params, relin, rotations.iter().copied().collect()).err()
    };
    assert_eq!(bad(Some(2), &[]), Some(SlotsError::Level { level: 2, top: 1 }));
    assert_eq!(bad(None, &[(1, 2)]), Some(SlotsError::Level { level: 2, top: 1 }));
    assert_eq!(bad(None, &[(0, 1)]), Some(SlotsError::Rotation { rotation: 0, slots: 4096 }));
    assert_eq!(bad(None, &[(4096, 1)]), Some(SlotsError::Rotation { rotation: 4096, slots: 4096 }));

    let other = Params::new(&literal(12, 0)).unwrap();
    let stranger = SecretKey::generate(&other, &mut rng);
    assert!(matches!(KeyUpload::generate(&stranger, &shape, &mut rng), Err(SlotsError::Params)));
    let requests = Requests::encrypt(&stranger, &[[0.5]], 0, &mut rng).unwrap();
    let y = requests.into_ciphertexts(0.5).unwrap().pop().unwrap();
    assert_eq!(evaluator.rotate(&y, 9).err(), Some(SlotsError::Params));
    assert_eq!(evaluator.add(&mut x.clone(), &y), Err(SlotsError::Params));
}

#[test]
fn values() {
    let params = Params::new(&literal(12, 1)).unwrap();
    assert!(matches!(
        params.factor(&[0.0; 4097], 1),
        Err(SlotsError::TooManyValues { values: 4097, slots: 4096 })
    ));
    for value in [f64::NAN, f64::INFINITY, 1e30] {
        assert!(matches!(params.summand(&[0.1, value, 0.2], 1), Err(SlotsError::Value { .. })), "{value}");
    }
    assert!(params.factor(&[1.0], 2).is_err());
    let mut rng = Prg::from_seed32(&[6; 32]);
    let secret = SecretKey::generate(&params, &mut rng);
    // 2^28 / 2^26 / 2 = 2.
    let at = |magnitude| {
        Requests::encrypt(&secret, &[[0.5]], 0, &mut Prg::from_seed32(&[1; 32]))
            .unwrap()
            .into_ciphertexts(magnitude)
    };
    assert!(at(1.9).is_ok());
    assert!((params.capacity(0).unwrap() - 2.0).abs() < 0.1);
    assert!(matches!(at(2.1), Err(SlotsError::Overflow { level: 0, .. })));
    assert!(matches!(at(f64::NAN), Err(SlotsError::Overflow { .. })));
}

#[test]
fn replies() {
    let mut pair = Pair::new(&literal(12, 1), &[]);
    for (period, width, flood) in
        [(0, 20, 0), (3, 20, 0), (8192, 20, 0), (16, 7, 0), (16, 29, 0), (16, 57, 0), (16, 20, 27)]
    {
        let spec = ReplySpec::new(&pair.params, period, width, flood);
        assert!(matches!(spec, Err(SlotsError::Reply { .. })), "{period} {width} {flood}");
    }
    let (high, low) = (pair.encrypt(&[0.5], 1), pair.encrypt(&[0.5], 0));
    let spec = ReplySpec::new(&pair.params, 16, 20, 10).unwrap();
    let mut reply =
        |x: &Ciphertext, spec: &ReplySpec| pair.evaluator.reply(x, &pair.public, spec, &mut pair.rng);
    assert_eq!(reply(&high, &spec).err(), Some(SlotsError::LevelMismatch { left: 1, right: 0 }));
    let wide = ReplySpec::new(&pair.params, 4096, 20, 20).unwrap();
    assert!(matches!(reply(&low, &wide), Err(SlotsError::Overflow { .. })));
    let good = reply(&low, &spec).unwrap();
    let other = ReplySpec::new(&pair.params, 32, 20, 10).unwrap();
    assert!(matches!(pair.secret.decrypt(&good, &other), Err(SlotsError::Count { .. })));
}

/// Decodes after a change; the change is undone.
fn corrupt<T: Wire>(bytes: &[u8], spec: &T::Spec, change: impl Fn(&mut Vec<u8>)) -> Option<PeerMisbehaved> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes);
    T::decode(&bytes, spec).err()
}

/// The first residue becomes 2^26 - 1 or 2^28 - 1, which no prime of these lengths exceeds.
fn saturate(bytes: &mut [u8]) {
    bytes[32..36].fill(0xff);
}

#[test]
fn messages() {
    let params = Params::new(&literal(12, 1)).unwrap();
    let mut rng = Prg::from_seed32(&[8; 32]);
    let secret = SecretKey::generate(&params, &mut rng);
    let encoded = |message: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        message(&mut bytes);
        bytes
    };

    let public = secret.public_key(&mut rng);
    let bytes = encoded(&|out| public.encode(out));
    assert_eq!(bytes.len(), PublicKey::wire_len(&params));
    assert_eq!(bytes.len(), 32 + 4096 * 28 / 8);
    let again = PublicKey::decode(&bytes, &params).unwrap();
    assert!(encoded(&|out| again.encode(out)) == bytes);
    assert!(again.uniform.limb(0) == public.uniform.limb(0));
    assert!(matches!(
        corrupt::<PublicKey>(&bytes, &params, |b| b.truncate(100)),
        Some(PeerMisbehaved::Length { .. })
    ));
    assert!(matches!(
        corrupt::<PublicKey>(&bytes, &params, |b| saturate(b)),
        Some(PeerMisbehaved::Invalid { .. })
    ));

    let requests = Requests::encrypt(&secret, &[[0.5], [0.25]], 1, &mut rng).unwrap();
    let bytes = encoded(&|out| requests.encode(out));
    let shape = RequestShape { params: params.clone(), count: 2, level: 1 };
    assert_eq!(bytes.len(), Requests::wire_len(&shape));
    assert_eq!(Requests::decode(&bytes, &shape).unwrap().into_ciphertexts(0.5).unwrap().len(), 2);
    for wrong in [RequestShape { count: 1, ..shape.clone() }, RequestShape { level: 0, ..shape.clone() }] {
        assert!(matches!(Requests::decode(&bytes, &wrong), Err(PeerMisbehaved::Length { .. })));
    }
    let nowhere = RequestShape { level: 9, ..shape.clone() };
    assert!(Requests::decode(&bytes, &nowhere).is_err());
    assert!(matches!(
        corrupt::<Requests>(&bytes, &shape, |b| saturate(b)),
        Some(PeerMisbehaved::Invalid { .. })
    ));
    assert!(matches!(
        corrupt::<Requests>(&bytes, &shape, |b| b.push(0)),
        Some(PeerMisbehaved::Length { .. })
    ));
    assert!(matches!(corrupt::<Requests>(&[], &shape, |_| ()), Some(PeerMisbehaved::Length { .. })));

    let shape = KeyShape::new(&params, Some(1), BTreeMap::from([(1, 1), (2, 0)])).unwrap();
    let upload = KeyUpload::generate(&secret, &shape, &mut rng).unwrap();
    let bytes = encoded(&|out| upload.encode(out));
    assert_eq!(bytes.len(), KeyUpload::wire_len(&shape));
    // Two digits of three limbs twice, one digit of two limbs once; a key for level 0 has no limb of level 1.
    let bits = |limbs: &[u32]| limbs.iter().sum::<u32>() as usize;
    let [q0, q1, p] = [0, 1, 2].map(|i| params.plans()[i].modulus().bits());
    assert_eq!(bytes.len(), 32 + 512 * (4 * bits(&[q0, q1, p]) + bits(&[q0, p])));
    assert!(encoded(&|out| KeyUpload::decode(&bytes, &shape).unwrap().encode(out)) == bytes);
    assert!(matches!(
        corrupt::<KeyUpload>(&bytes, &shape, |b| saturate(b)),
        Some(PeerMisbehaved::Invalid { .. })
    ));
    let fewer = KeyShape::new(&params, Some(1), BTreeMap::from([(1, 1)])).unwrap();
    assert!(matches!(KeyUpload::decode(&bytes, &fewer), Err(PeerMisbehaved::Length { .. })));
}

#[test]
fn secrets_are_not_shown() {
    let mut pair = Pair::new(&literal(12, 0), &[]);
    assert_eq!(format!("{:?}", pair.secret), "SecretKey(..)");
    let x = pair.encrypt(&[0.125], 0);
    assert!(!format!("{x:?}").contains("125"));
    let spec = ReplySpec::new(&pair.params, 1, 20, 0).unwrap();
    let reply = pair.evaluator.reply(&x, &pair.public, &spec, &mut pair.rng).unwrap();
    assert_eq!(format!("{:?}", pair.secret.decrypt(&reply, &spec).unwrap()), "Decrypted(1 slots)");
}
