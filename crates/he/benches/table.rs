//! Times of the kernels and of the steps of one linear layer, one core: `cargo bench -p phineus-he`.
#![expect(clippy::unwrap_used, reason = "a program, not a library")]

use std::time::Instant;

use phineus_he::noise::{LayerInput, prove};
use phineus_he::{
    Accumulator, Encryptor, Expander, Operands, Params, ParamsLiteral, Poly, Response, ResponseShape, Room,
    Weight, WeightForm,
};
use phineus_he::{SecretKey, respond};
use phineus_kernel::cpu::Backend;
use phineus_kernel::ntt::{Plan, pointwise};
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::Wire;
use phineus_kernel::z2k::Pow2;
use phineus_kernel::zq::ntt_primes;

/// Runs of a measurement.
const RUNS: usize = 25;

fn main() {
    println!("backend {:?}\n{:<44} {:>10} {:>10}", Backend::detected(), "step", "best us", "median us");
    kernels();
    for literal in [ParamsLiteral::n4096(), ParamsLiteral::n8192(), ParamsLiteral::n8192_wide()] {
        layer(&literal);
    }
}

fn kernels() {
    for log_n in [12, 13] {
        let n = 1 << log_n;
        let p = ntt_primes(50, n, 1)[0];
        let plan = Plan::new(p, n).unwrap();
        let mut values: Vec<_> = (0..n as u64).map(|i| i * 0x9e37_79b9 % p).collect();
        for backend in [Backend::Portable, Backend::detected()] {
            row(&format!("ntt forward {n} {backend:?}"), 50, || plan.forward_on(backend, &mut values));
            row(&format!("ntt inverse {n} {backend:?}"), 50, || plan.inverse_on(backend, &mut values));
        }
        let other = values.clone();
        let (mut lo, mut hi) = (vec![0; n], vec![0; n]);
        row(&format!("mul_acc {n} (1 limb, in cache)"), 50, || {
            pointwise::mul_acc(&mut lo, &mut hi, &values, &other)
        });
        row(&format!("reduce_acc {n}"), 50, || pointwise::reduce_acc(plan.modulus(), &lo, &hi, &mut values));
    }
}

fn layer(literal: &ParamsLiteral) {
    let params = Params::new(literal).unwrap();
    let mut rng = Prg::from_seed32(&[7; 32]);
    let secret = SecretKey::generate(&params, &mut rng);
    let public = secret.public_key(&mut rng);
    let ring = Pow2::new(24).unwrap();
    let n = params.degree();
    let name = |step: &str| format!("{step} ({n}, {} limbs)", params.limbs());
    let plain: Vec<_> = (0..n as u32).map(|i| ring.mul(i, 2_654_435_761)).collect();
    let weights: Vec<_> = (0..n as i32).map(|i| i % 255 - 127).collect();
    let input = LayerInput { coefficients: n, w2: 4000.0, w1: 2e5, ring };
    let spec = prove(&[(&params, input)]).unwrap().layers[0].spec;

    let mut stream = Encryptor::new(&secret, &mut rng);
    row(&name("encrypt"), 10, || drop(stream.encrypt(&plain, ring, &mut rng)));
    let body = stream.encrypt(&plain, ring, &mut rng);
    row(&name("expand a request"), 10, || drop(Expander::new([0; 32]).next(body.clone())));
    let ciphertext = Expander::new(stream.seed()).next(body);
    row(&name("weights to values"), 10, || drop(Poly::from_signed(&params, &weights).into_eval()));
    let weight = Poly::from_signed(&params, &weights).into_eval();
    let mut sum = Accumulator::new(&params);
    row(&name("mul_acc, 1 term"), 20, || sum.mul_acc(&ciphertext, &weight));
    let operands = Operands::new(&[&ciphertext; 16]);
    let row_of = [Weight::Values(&weight); 16];
    row(&name("mul_acc, 16 terms"), 2, || {
        let tiles = &mut [(std::slice::from_mut(&mut sum), &operands)];
        Accumulator::mul_acc_all(tiles, 0..16, &[&row_of], WeightForm::Single, &mut Room::default());
    });
    for wanted in [n, 512] {
        let positions: Vec<_> = (0..wanted as u32).collect();
        let mut answer = || {
            respond(Accumulator::new(&params), &public, &positions, &plain[..wanted], &spec, &mut rng)
                .unwrap()
        };
        row(&name(&format!("respond, {wanted} wanted")), 5, || drop(answer()));
        let response = answer();
        row(&name(&format!("decrypt, {wanted} wanted")), 5, || {
            drop(secret.decrypt(&response, &positions, &spec).unwrap());
        });
        let shape = ResponseShape { params: params.clone(), spec, coefficients: wanted };
        println!("{:<44} {:>10}", name(&format!("bytes, {wanted} wanted")), Response::wire_len(&shape));
    }
    println!("{:<44} {:>10}", name("bytes of a request"), Poly::wire_len(&params));
}

fn row(name: &str, repeats: u32, mut step: impl FnMut()) {
    let mut times: Vec<_> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            (0..repeats).for_each(|_| step());
            start.elapsed().as_secs_f64() * 1e6 / f64::from(repeats)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<44} {:>10.2} {:>10.2}", times[0], times[RUNS / 2]);
}
