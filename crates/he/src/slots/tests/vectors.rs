//! The known answers of `vectors/slots.txt`, which `vectors/slots.py` computes from the definition of the scheme.

use phineus_kernel::ntt32::{Automorphism, pointwise, rotation};

use super::*;

const ANSWERS: &str = include_str!("../../../../../vectors/slots.txt");
const N: usize = 4096;
const PLACES: [usize; 5] = [0, 1, 2, 77, 4095];

/// The words of the lines that begin with `name`, without it.
fn answers(name: &str) -> Vec<Vec<&'static str>> {
    let lines = ANSWERS.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|words| words.first() == Some(&name)).map(|words| words[1..].to_vec()).collect()
}

/// Asserts that a polynomial by values has the coefficients of the answer.
fn check(pair: &Pair, name: &str, poly: &poly::Poly) {
    let lines = answers(name);
    assert_eq!(lines.len(), 2, "{name}");
    for (limb, line) in lines.iter().enumerate() {
        let line: Vec<u64> = line.iter().map(|word| word.parse().unwrap()).collect();
        let plan = &pair.params.plans()[limb];
        let p = u64::from(plan.modulus().value());
        let mut c = vec![0; N];
        plan.inverse(&mut poly.limb(limb).to_vec(), &mut c);
        let sum = (1..).zip(&c).fold(0, |sum, (i, &v)| (sum + i * u64::from(v)) % p);
        let head = c[..4].iter().map(|&v| u64::from(v));
        assert_eq!(std::iter::once(p).chain(head).chain([sum]).collect::<Vec<_>>(), line, "{name}");
    }
}

fn check_slots(name: &str, slots: &[f64]) {
    let expected: Vec<f64> = answers(name)[0].iter().map(|word| word.parse().unwrap()).collect();
    for (place, expected) in PLACES.into_iter().zip(expected) {
        assert!((slots[place] - expected).abs() < 1e-9, "{name}: slot {place}");
    }
}

/// The encryption with errors and uniform coefficients by formula.
fn encrypt(pair: &Pair, slots: &[f64], k: u64) -> Ciphertext {
    let params = &pair.params;
    let scale = params.scale(1).unwrap();
    let mut message = params.coefficients(slots, scale).unwrap();
    message.iter_mut().zip(0..).for_each(|(m, i)| *m += i * 5 % 13 - 6);
    let mut parts = vec![poly::Poly::zero(N, 2), poly::Poly::zero(N, 2)];
    for limb in 0..2 {
        let plan = &params.plans()[limb];
        let p = u64::from(plan.modulus().value());
        let cube = |i: u64| (i + k).pow(3) % p * 48_271 % p;
        let uniform: Vec<i32> = (0..N as u64).map(|i| cube(i) as i32).collect();
        plan.forward(&uniform, parts[1].limb_mut(limb));
        let mut product = parts[1].limb(limb).to_vec();
        pointwise::mul_assign(plan.modulus(), &mut product, pair.secret.limb(limb));
        let mut small = vec![0; N];
        pointwise::reduce_i64(plan.modulus(), &message, &mut small);
        plan.forward(&small, parts[0].limb_mut(limb));
        pointwise::sub_assign(plan.modulus(), parts[0].limb_mut(limb), &product);
    }
    Ciphertext { params: params.clone(), parts, level: 1, scale, magnitude: 1.0, error: 1e-3 }
}

#[test]
fn known_answers() {
    let special = literal(12, 1).base;
    let base = vec![268_369_921];
    let literal = ParamsLiteral {
        log_n: 12,
        base,
        steps: vec![vec![67_043_329]],
        special,
        log_scale: 26.0,
        log_factors: vec![],
    };
    let mut pair = Pair::new(&literal, &[]);
    let ternary: Vec<i8> = (0..N as i64).map(|i| ((i * i + 3 * i) * 7 % 11 % 3 - 1) as i8).collect();
    pair.secret = SecretKey::from_ternary(&pair.params, &ternary);
    let slots = |f: &dyn Fn(f64) -> f64| (0..N).map(|j| f(j as f64)).collect::<Vec<_>>();
    let a = encrypt(&pair, &slots(&|j| (0.1 * j).cos()), 1);
    let b = encrypt(&pair, &slots(&|j| 0.5 * (0.2 * j).sin()), 2);
    check(&pair, "body", &a.parts[0]);
    check_slots("decrypted", &pair.open(&a));
    let map = Automorphism::new(N, rotation(N, 77));
    let mut moved = poly::Poly::zero(N, 2);
    (0..2).for_each(|limb| map.apply(a.parts[0].limb(limb), moved.limb_mut(limb)));
    check(&pair, "rotated-77", &moved);
    let product = pair.evaluator.mul(&a, &b).unwrap();
    for (name, part) in ["product-0", "product-1", "product-2"].into_iter().zip(&product.parts) {
        check(&pair, name, part);
    }
    check_slots("decrypted-product", &pair.open(&product));
}
