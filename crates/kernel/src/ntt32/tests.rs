use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// Primes of the ring of degree n, the largest first.
fn primes(bits: u32, n: usize, count: usize) -> Vec<u32> {
    let order = 4 * n as u32;
    let top = (1_u32 << bits) / order * order + 1;
    let candidates = (0..).map(|i| top - i * order).take_while(|&p| p > 1 << 16);
    candidates.filter(|&p| p < 1 << bits && crate::zq::is_prime(p.into())).take(count).collect()
}

fn random(rng: &mut StdRng, p: u32, n: usize) -> Vec<u32> {
    (0..n).map(|_| rng.random_range(0..p)).collect()
}

fn signed(values: &[u32]) -> Vec<i32> {
    values.iter().map(|&v| v as i32).collect()
}

#[test]
fn refuses_other_sizes_and_primes() {
    let p = primes(28, 1 << 15, 1)[0];
    assert_eq!(Plan::new(p, 512).err(), Some(ModulusError::Size(512)));
    assert_eq!(Plan::new(p, 3000).err(), Some(ModulusError::Size(3000)));
    assert_eq!(Plan::new(p, 1 << 16).err(), Some(ModulusError::Size(1 << 16)));
    assert!(matches!(Plan::new(1_048_583, 1024), Err(ModulusError::NoRoot { order: 4096, .. })));
}

#[test]
fn every_backend_inverts_and_agrees() {
    let mut rng = StdRng::seed_from_u64(1);
    for log_n in 10..=15 {
        let n = 1 << log_n;
        for bits in [28, 22] {
            let p = primes(bits, n, 1)[0];
            let plan = Plan::new(p, n).unwrap();
            let extremes = (0..n).map(|i| if i % 3 == 0 { p - 1 } else { 0 }).collect();
            for input in [random(&mut rng, p, n), vec![p - 1; n], extremes] {
                let mut expected = None;
                for backend in Backend::available() {
                    let mut values = vec![0; n];
                    plan.forward_on(backend, &signed(&input), &mut values);
                    assert!(values.iter().all(|&v| v < p));
                    assert!(&values == expected.get_or_insert(values.clone()), "{backend:?} at {n}");
                    let negative: Vec<_> =
                        input.iter().map(|&v| v as i32 - p as i32 + i32::from(v == 0)).collect();
                    let mut back = vec![0; n];
                    plan.inverse_on(backend, &mut values.clone(), &mut back);
                    assert!(back == input, "{backend:?} at {n}");
                    if input[0] != 0 && !input.contains(&0) {
                        plan.forward_on(backend, &negative, &mut back);
                        assert!(back == values, "{backend:?}: negative representatives at {n}");
                    }
                }
            }
        }
    }
}

#[test]
fn values_are_evaluations() {
    let n = 1 << 10;
    let p = primes(28, n, 1)[0];
    let plan = Plan::new(p, n).unwrap();
    let m = plan.modulus();
    let input = random(&mut StdRng::seed_from_u64(2), p, n);
    let mut values = vec![0; n];
    plan.forward(&signed(&input), &mut values);
    for index in [0, 1, 15, 16, 31, 32, 500, n - 1] {
        let e = plan.exponent(index) as u32;
        let (y, z) = (m.pow(plan.root(), e), m.pow(plan.root(), 4 * n as u32 - e));
        let expected = (1..n as u32)
            .fold(input[0], |sum, i| m.add(sum, m.mul(input[i as usize], m.add(m.pow(y, i), m.pow(z, i)))));
        assert_eq!(values[index], expected, "value {index}");
    }
    let mut exponents: Vec<_> = (0..n).map(|i| plan.exponent(i)).collect();
    exponents.sort_unstable();
    assert!(exponents.iter().enumerate().all(|(i, &e)| e == 4 * i + 1));
}

/// The product of two ring elements by coefficients.
fn schoolbook(m: &Modulus, a: &[u32], b: &[u32]) -> Vec<u32> {
    let n = a.len();
    // Places 0..2n of the negacyclic ring, for exponents -n < i < n.
    let whole = |v: &[u32]| {
        let mut w = vec![0; 2 * n];
        w[..n].copy_from_slice(v);
        (1..n).for_each(|i| w[2 * n - i] = m.neg(v[i]));
        w
    };
    let (a, b) = (whole(a), whole(b));
    let mut c = vec![0; n];
    for (i, &x) in a.iter().enumerate() {
        for (k, c) in c.iter_mut().enumerate() {
            let product = m.mul(x, b[(2 * n + k - i) % (2 * n)]);
            *c = if k >= i { m.add(*c, product) } else { m.sub(*c, product) };
        }
    }
    c
}

#[test]
fn products_are_those_of_the_ring() {
    let n = 1 << 10;
    for p in [primes(28, n, 1)[0], primes(20, n, 1)[0]] {
        let plan = Plan::new(p, n).unwrap();
        let mut rng = StdRng::seed_from_u64(3);
        let (a, b) = (random(&mut rng, p, n), random(&mut rng, p, n));
        let (mut x, mut y) = (vec![0; n], vec![0; n]);
        plan.forward(&signed(&a), &mut x);
        plan.forward(&signed(&b), &mut y);
        pointwise::to_montgomery(plan.modulus(), &mut y);
        pointwise::mul_assign(plan.modulus(), &mut x, &y);
        let mut product = vec![0; n];
        plan.inverse(&mut x, &mut product);
        assert!(product == schoolbook(plan.modulus(), &a, &b), "product modulo {p}");
    }
}

#[test]
fn rotations_move_slots() {
    let n = 1 << 10;
    let p = primes(28, n, 1)[0];
    let plan = Plan::new(p, n).unwrap();
    let values = random(&mut StdRng::seed_from_u64(4), p, n);
    let places = slots(n);
    for k in [0, 1, 2, 100, n - 1] {
        let g = rotation(n, k);
        let mut expected = None;
        for backend in Backend::available() {
            let mut image = vec![0; n];
            Automorphism::new(n, g).apply_on(backend, &values, &mut image);
            for j in 0..n {
                assert_eq!(image[places[j] as usize], values[places[(j + k) % n] as usize]);
            }
            assert!(&image == expected.get_or_insert(image.clone()));
        }
        // Coefficients go with exponents: i to g i, modulo 2n with a sign, folded.
        let (mut a, mut b) = (vec![0; n], vec![0; n]);
        plan.inverse(&mut values.clone(), &mut a);
        plan.inverse(&mut expected.unwrap(), &mut b);
        let m = plan.modulus();
        for (i, &c) in a.iter().enumerate() {
            let e = i * g % (4 * n);
            let (e, negative) = if e < 2 * n { (e, false) } else { (e - 2 * n, true) };
            // Y^e with e > n is -Y^-(2n - e).
            let (e, negative) = if e > n { (2 * n - e, !negative) } else { (e, negative) };
            assert_eq!(b[e], if negative { m.neg(c) } else { c });
        }
    }
}

#[test]
fn inner_products_and_tensors() {
    let p = primes(28, 1 << 13, 1)[0];
    let m = Modulus::new(p).unwrap();
    let mut rng = StdRng::seed_from_u64(5);
    let n = 208;
    let a: Vec<_> = (0..15).map(|i| if i == 0 { vec![p - 1; n] } else { random(&mut rng, p, n) }).collect();
    let b: Vec<_> = (0..15).map(|_| [random(&mut rng, p, n), vec![p - 1; n]]).collect();
    let start = random(&mut rng, p, n);
    for (n, count) in [(n, 15), (n, 1), (33, 15), (16, 0)] {
        let factors: Vec<_> = b[..count].iter().map(|b| [&b[0][..n], &b[1][..n]]).collect();
        let terms: Vec<_> = a[..count].iter().map(|a| &a[..n]).collect();
        for backend in Backend::available() {
            let (mut x, mut y) = (start[..n].to_vec(), vec![0; n]);
            pointwise::inner_on(backend, &m, [&mut x, &mut y], &terms, &factors);
            for i in 0..n {
                let term = |s, (a, b): (&&[u32], &&[u32])| m.add(s, m.mul_montgomery(a[i], b[i]));
                let sum = |h: usize| terms.iter().zip(&factors).fold(0, |s, (a, b)| term(s, (a, &b[h])));
                assert_eq!((x[i], y[i]), (m.add(start[i], sum(0)), sum(1)), "{backend:?}, {count} of {n}");
            }
        }
    }
    let mut out = [vec![0; n], vec![0; n], vec![0; n]];
    let [o0, o1, o2] = &mut out;
    pointwise::tensor(&m, [&a[0], &a[1]], [&b[0][0], &b[0][1]], [o0, o1, o2]);
    for i in 0..n {
        let (a, b) = ([a[0][i], a[1][i]], [b[0][0][i], b[0][1][i]]);
        assert_eq!(out[0][i], m.mul(a[0], b[0]));
        assert_eq!(out[1][i], m.add(m.mul(a[0], b[1]), m.mul(a[1], b[0])));
        assert_eq!(out[2][i], m.mul(a[1], b[1]));
    }
}

#[test]
fn digits_extend_exactly() {
    let n = 100;
    let [p, q, r] = [primes(28, 1 << 13, 1)[0], primes(22, 1 << 13, 1)[0], primes(26, 1 << 13, 1)[0]];
    let (mp, mq, mr) = (Modulus::new(p).unwrap(), Modulus::new(q).unwrap(), Modulus::new(r).unwrap());
    let mut rng = StdRng::seed_from_u64(6);
    let product = i64::from(p) * i64::from(q);
    let mut numbers: Vec<_> = (0..n).map(|_| rng.random_range(-product / 2..=product / 2)).collect();
    numbers[..3].copy_from_slice(&[product / 2, -product / 2, 0]);
    let residues = |m: &Modulus| {
        let mut out = vec![0; n];
        pointwise::reduce_i64(m, &numbers, &mut out);
        out.into_iter().map(|v| v as u32).collect::<Vec<_>>()
    };
    let mut digits = [vec![0; n], vec![0; n]];
    let mut sums = vec![0; n];
    pointwise::centre(&mp, &residues(&mp), &mut digits[0]);
    pointwise::extend(&mq, &[&digits[0]], &[mq.to_montgomery(1)], &mut sums);
    let inverse = mq.to_montgomery(mq.inv(p % q));
    pointwise::digit(&mq, &residues(&mq), &sums, inverse, &mut digits[1]);
    for (i, &x) in numbers.iter().enumerate() {
        assert_eq!(i64::from(digits[0][i]) + i64::from(p) * i64::from(digits[1][i]), x);
    }
    let weights = [1, p % r].map(|w| mr.to_montgomery(w));
    pointwise::extend(&mr, &[&digits[0], &digits[1]], &weights, &mut sums);
    for (sum, expected) in sums.iter().zip(residues(&mr)) {
        assert!(sum.unsigned_abs() < r && mr.reduce_i64((*sum).into()) == expected);
    }
}

#[test]
fn weighted_sums_are_matrix_products() {
    let p = primes(28, 1 << 13, 1)[0];
    let m = Modulus::new(p).unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    for count in [0, 1, 128, 129, 600] {
        let input = |i: usize| {
            if i.is_multiple_of(2) { [p - 1; 32] } else { std::array::from_fn(|j| (j * i * 977) as u32 % p) }
        };
        let inputs: Vec<_> = (0..count).map(input).collect();
        let weights: Vec<_> =
            (0..4).map(|o| if o == 0 { vec![p - 1; count] } else { random(&mut rng, p, count) }).collect();
        let rows = [0, 1, 2, 3].map(|o| &weights[o][..]);
        for backend in Backend::available() {
            let mut out = [[7; 32]; 4];
            pointwise::add_weighted_sums_on(backend, &m, rows, &inputs, &mut out);
            for (o, out) in out.iter().enumerate() {
                for (j, &v) in out.iter().enumerate() {
                    let term = |sum, i: usize| m.add(sum, m.mul_montgomery(inputs[i][j], weights[o][i]));
                    assert_eq!(v, (0..count).fold(7, term), "{backend:?}: output {o}, {j}, {count} terms");
                }
            }
        }
    }
}
