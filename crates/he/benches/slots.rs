//! CPU times of the scheme with slots, one core: `cargo bench -p phineus-he --bench slots`.
#![expect(clippy::unwrap_used, reason = "a program, not a library")]

use std::collections::BTreeMap;

use cpu_time::ThreadTime;
use phineus_he::slots::{
    Evaluator, Giant, KeyShape, KeyUpload, Params, ParamsLiteral, ReplySpec, RequestShape, Requests,
    SecretKey, Term,
};
use phineus_kernel::cpu::Backend;
use phineus_kernel::ntt32::{Automorphism, Plan, pointwise};
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::Wire;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs of a measurement.
const RUNS: usize = 25;

fn main() {
    println!("backend {:?}\n{:<56} {:>10} {:>10}", Backend::detected(), "step", "best us", "median us");
    kernels();
    lola();
    batch();
    for (log_n, scale, depth, per_step, base, special) in [
        (12, 21.0, 2, 1, &[24][..], &[24][..]),
        (13, 26.0, 5, 1, &[28], &[28]),
        (13, 24.0, 5, 1, &[26], &[28, 28]),
        (14, 52.0, 5, 2, &[28, 28, 27], &[28, 28]),
    ] {
        scheme(&ParamsLiteral::near(log_n, scale, depth, per_step, base, special).unwrap());
    }
}

/// Weighted sums of ciphertexts, as in a batch of n images.
fn batch() {
    let params = Params::new(&ParamsLiteral::near(13, 25.0, 3, 1, &[28], &[28, 28]).unwrap()).unwrap();
    let mut rng = Prg::from_seed32(&[9; 32]);
    let secret = SecretKey::generate(&params, &mut rng);
    let evaluator = Evaluator::new(
        KeyUpload::generate(&secret, &KeyShape::new(&params, None, BTreeMap::new()).unwrap(), &mut rng)
            .unwrap()
            .expand(),
    );
    let inputs = vec![vec![0.25]; 128];
    let inputs = Requests::encrypt(&secret, &inputs, 3, &mut rng).unwrap().into_ciphertexts(0.25).unwrap();
    let inputs: Vec<_> = inputs.iter().collect();
    let weights: Vec<f64> = (0..128 * 16).map(|i| (i % 100) as f64 / 1e4).collect();
    row("weighted sums, 128 -> 16 ciphertexts, 4 limbs", 1, || {
        drop(evaluator.combine(&inputs, &weights).unwrap())
    });
}

/// A linear map: level of the input, baby steps, giant steps, folds.
type Layer = (usize, Vec<u32>, Vec<u32>, Vec<u32>);

/// The operations of LoLa's network, one image: convolution, square, 845 -> 100, square, 100 -> 10, all in one ciphertext.
fn lola() {
    let params = Params::new(&ParamsLiteral::near(13, 25.0, 5, 1, &[28], &[28, 28]).unwrap()).unwrap();
    let n = params.slots();
    let mut rng = Prg::from_seed32(&[7; 32]);
    let secret = SecretKey::generate(&params, &mut rng);
    let public = secret.public_key(&mut rng);
    let layers: [Layer; 3] = [
        (5, (0..4).map(|b| 256 * b).collect(), vec![0, 1024], vec![2048, 4096]),
        (3, (0..8).collect(), vec![0, 8, 16, 24], vec![2080, 4160, 1024, 512, 256, 128]),
        (1, (0..4).collect(), vec![0, 4, 8, 12], vec![16, 32, 64]),
    ];
    let mut rotations: BTreeMap<u32, usize> = BTreeMap::new();
    for (level, babies, giants, folds) in &layers {
        for &rotation in babies.iter().chain(giants).chain(folds).filter(|&&rotation| rotation != 0) {
            let at = rotations.entry(rotation).or_default();
            *at = (*at).max(*level);
        }
    }
    let shape = KeyShape::new(&params, Some(4), rotations).unwrap();
    println!("-- lola: n {n}, {:.1} bits, keys of {} bytes", params.log2_qp(), KeyUpload::wire_len(&shape));
    let evaluator = Evaluator::new(KeyUpload::generate(&secret, &shape, &mut rng).unwrap().expand());
    let slots: Vec<f64> = (0..n).map(|i| (i % 17) as f64 / 17.0).collect();
    let weights: Vec<Vec<f64>> =
        (0..7).map(|k| (0..n).map(|i| ((i * (k + 3)) % 23) as f64 / 1e4).collect()).collect();
    let factors: Vec<Vec<Vec<_>>> = layers
        .iter()
        .map(|(level, babies, giants, _)| {
            let factor = |k: usize| params.factor(&weights[k % 7], *level).unwrap();
            giants.iter().map(|_| (0..babies.len()).map(factor).collect()).collect()
        })
        .collect();
    let x =
        Requests::encrypt(&secret, &[&slots], 5, &mut rng).unwrap().into_ciphertexts(1.0).unwrap().remove(0);
    let linear = |layer: usize, x: &phineus_he::slots::Ciphertext| {
        let (_, babies, giants, folds) = &layers[layer];
        let giants: Vec<_> = giants
            .iter()
            .zip(&factors[layer])
            .map(|(&rotation, factors)| {
                let terms = babies.iter().zip(factors);
                let terms = terms.map(|(&rotation, factor)| Term { input: 0, rotation, factor });
                Giant { rotation, terms: terms.collect() }
            })
            .collect();
        evaluator
            .linear_folded(&[x], &giants, folds, Some(1e-3), None)
            .unwrap()
            .with_magnitude(0.1)
            .with_error(1e-3)
    };
    let spec = ReplySpec::new(&params, 1024, 20, 0).unwrap();
    let a = linear(0, &x);
    let b = evaluator.square(&a).unwrap();
    let c = linear(1, &b);
    let d = evaluator.square(&c).unwrap();
    let e = linear(2, &d);
    row("convolution: 3 hoisted, 1 giant, 2 folds, 6 limbs", 1, || drop(linear(0, &x)));
    row("square, 5 limbs", 1, || drop(evaluator.square(&a).unwrap()));
    row("845 -> 100: 7 hoisted, 3 giants, 6 folds, 4 limbs", 1, || drop(linear(1, &b)));
    row("square, 3 limbs", 1, || drop(evaluator.square(&c).unwrap()));
    row("100 -> 10: 3 hoisted, 3 giants, 3 folds, 2 limbs", 1, || drop(linear(2, &d)));
    row("reply", 1, || drop(evaluator.reply(&e, &public, &spec, &mut rng).unwrap()));
    row("whole server", 1, || {
        let x = linear(1, &evaluator.square(&linear(0, &x)).unwrap());
        let x = linear(2, &evaluator.square(&x).unwrap());
        drop(evaluator.reply(&x, &public, &spec, &mut rng).unwrap());
    });
}

fn kernels() {
    for log_n in [12, 13, 14] {
        let n = 1 << log_n;
        let params = ParamsLiteral::near(log_n, 26.0, 0, 1, &[28], &[28]).unwrap();
        let plan = Plan::new(params.base[0], n).unwrap();
        let input: Vec<i32> = (0..n as i32).map(|i| i * 0x9e37 % (1 << 26)).collect();
        let (mut values, mut back) = (vec![0; n], vec![0; n]);
        for backend in Backend::available() {
            row(&format!("ntt32 forward {n} {backend:?}"), 50, || {
                plan.forward_on(backend, &input, &mut values)
            });
            row(&format!("ntt32 inverse {n} {backend:?}"), 50, || {
                plan.inverse_on(backend, &mut values, &mut back)
            });
        }
        let map = Automorphism::new(n, 25);
        row(&format!("automorphism {n}"), 50, || map.apply(&back, &mut values));
        let (mut s0, mut s1) = (vec![0; n], vec![0; n]);
        row(&format!("inner product of 3, {n}"), 50, || {
            let pair = [&back[..], &values[..]];
            pointwise::inner(plan.modulus(), [&mut s0, &mut s1], &[&back, &values, &back], &[pair; 3]);
        });
        row(&format!("extension of two digits, {n}"), 50, || {
            let mut out = vec![0; n];
            pointwise::extend(plan.modulus(), &[&input, &input], &[77, 78], &mut out);
        });
    }
}

fn scheme(literal: &ParamsLiteral) {
    let params = Params::new(literal).unwrap();
    let (n, top) = (params.slots(), params.top());
    let name = format!("n {n}, {} + {} limbs", params.limbs(top).unwrap(), params.special());
    println!("-- {name}: {:.1} bits, {top} levels of 2^{:.1}", params.log2_qp(), literal.log_scale);
    let mut rng = Prg::from_seed32(&[7; 32]);
    let secret = SecretKey::generate(&params, &mut rng);
    let public = secret.public_key(&mut rng);
    let rotations: Vec<u32> = (1..8).chain([8, 16, 24]).collect();
    let shape =
        KeyShape::new(&params, Some(top), rotations.iter().map(|&k| (k, top)).collect::<BTreeMap<_, _>>());
    let upload = KeyUpload::generate(&secret, &shape.unwrap(), &mut rng).unwrap();
    let evaluator = Evaluator::new(upload.expand());
    let slots: Vec<f64> = (0..n).map(|i| (i % 17) as f64 / 64.0).collect();

    row("client: encode and encrypt", 1, || {
        drop(Requests::encrypt(&secret, &[&slots], top, &mut rng).unwrap())
    });
    let requests = Requests::encrypt(&secret, &[&slots], top, &mut rng).unwrap();
    let mut bytes = Vec::new();
    requests.encode(&mut bytes);
    let request = RequestShape { params: params.clone(), count: 1, level: top };
    row(&format!("server: decode and expand ({} bytes)", bytes.len()), 1, || {
        drop(Requests::decode(&bytes, &request).unwrap().into_ciphertexts(0.5).unwrap());
    });
    let fresh = requests.into_ciphertexts(0.5).unwrap().pop().unwrap();
    for level in (0..=top).rev() {
        let x = evaluator.drop_to(&fresh, level).unwrap();
        let limbs = params.limbs(level).unwrap();
        let name = |what: &str| format!("{what}, {limbs} + {} limbs", params.special());
        row(&name("rotate"), 1, || drop(evaluator.rotate(&x, 1).unwrap()));
        row(&name("7 hoisted rotations"), 1, || drop(evaluator.rotate_all(&x, &rotations[..7]).unwrap()));
        let factor = params.factor(&slots, level).unwrap();
        if level == 0 {
            continue;
        }
        row(&name("ct x pt"), 1, || drop(evaluator.mul_plain(&x, &factor).unwrap()));
        row(&name("ct x ct"), 1, || drop(evaluator.mul(&x, &x).unwrap()));
        row(&name("square, relinearise, rescale"), 1, || drop(evaluator.square(&x).unwrap()));
        let term = |rotation| Term { input: 0, rotation, factor: &factor };
        let giant = |rotation| Giant { rotation, terms: (0..8).map(term).collect() };
        let giants = [0, 8, 16, 24].map(giant);
        row(&name("linear map of 4 x 8 diagonals"), 1, || {
            drop(evaluator.linear(&[&x], &giants, Some(1.0)).unwrap());
        });
    }
    let last = evaluator.drop_to(&fresh, 0).unwrap();
    let spec = ReplySpec::new(&params, 1024, 20, 0).unwrap();
    row("server: reply", 1, || drop(evaluator.reply(&last, &public, &spec, &mut rng).unwrap()));
    let reply = evaluator.reply(&last, &public, &spec, &mut rng).unwrap();
    row("client: decrypt and decode", 1, || drop(secret.decrypt(&reply, &spec).unwrap()));
}

/// Prints the best and the median CPU time of one call.
fn row(name: &str, calls: u32, mut call: impl FnMut()) {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = ThreadTime::now();
            (0..calls).for_each(|_| call());
            start.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<56} {:>10.1} {:>10.1}", times[0], times[RUNS / 2]);
}
