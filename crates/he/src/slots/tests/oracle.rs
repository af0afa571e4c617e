//! Against the definition of the scheme in `phineus_reference`, which shares no code with this crate.

use phineus_kernel::ntt32::pointwise;
use phineus_reference::slots as oracle;

use super::*;

/// The coefficients of a polynomial by values, modulo the product of its first primes, one or two of them.
fn lift(params: &Params, poly: &poly::Poly, limbs: usize) -> (Vec<i128>, i128) {
    let plans = params.plans();
    let residues: Vec<(i128, Vec<u32>)> = (0..limbs)
        .map(|index| {
            let mut out = vec![0; params.slots()];
            plans[index].inverse(&mut poly.limb(index).to_vec(), &mut out);
            (i128::from(plans[index].modulus().value()), out)
        })
        .collect();
    let mut q = 1;
    let mut sum = vec![0_i128; params.slots()];
    for (p, residues) in residues {
        // The inverse of q modulo p (Fermat).
        let mut inverse = 1;
        let (mut base, mut exponent) = (q % p, p - 2);
        while exponent > 0 {
            if exponent % 2 == 1 {
                inverse = inverse * base % p;
            }
            base = base * base % p;
            exponent /= 2;
        }
        for (sum, &r) in sum.iter_mut().zip(&residues) {
            *sum += q * ((i128::from(r) - *sum).rem_euclid(p) * inverse % p);
        }
        q *= p;
    }
    (sum, q)
}

/// The secret key by coefficients in -1, 0, 1.
fn secret(pair: &Pair) -> Vec<i128> {
    let plan = &pair.params.plans()[0];
    let (mut values, mut out) = (pair.secret.limb(0).to_vec(), vec![0; pair.params.slots()]);
    pointwise::scale(plan.modulus(), &mut values, 1);
    plan.inverse(&mut values, &mut out);
    let p = i128::from(plan.modulus().value());
    out.into_iter().map(|v| if v > 1 { i128::from(v) - p } else { v.into() }).collect()
}

const PLACES: [usize; 6] = [0, 1, 2, 77, 2048, 4095];

fn expect(got: &[f64], expected: &[f64], bound: f64) {
    for (place, got) in PLACES.iter().zip(got) {
        assert!((got - expected[*place]).abs() <= bound, "slot {place}: {got} for {}", expected[*place]);
    }
}

#[test]
fn encryption_product_rotation_and_decryption() {
    let mut pair = Pair::new(&literal(12, 1), &[77]);
    let s = secret(&pair);
    assert!(s.iter().all(|t| t.abs() <= 1));
    let n = pair.params.slots();
    let (x, y) = (random(n, 1.0, 31), random(n, 1.0, 32));
    let (a, b) = (pair.encrypt(&x, 1), pair.encrypt(&y, 1));
    let parts = |c: &Ciphertext| c.parts.iter().map(|part| lift(&pair.params, part, 2).0).collect::<Vec<_>>();
    let (_, q) = lift(&pair.params, &a.parts[0], 2);

    let opened = oracle::decrypt(&parts(&a), &s, q, a.scale(), &PLACES);
    expect(&opened, &x, a.error());

    // Products of ciphertexts are exact, so that every residue agrees.
    let product = pair.evaluator.mul(&a, &b).unwrap();
    let [x0, x1, y0, y1] = [&a, &b].map(&parts).concat().try_into().unwrap();
    let expected = oracle::multiply(&[x0, x1], &[y0, y1], q);
    assert!(parts(&product) == expected);
    let xy = zip(&x, &y, |a, b| a * b);
    let small = pair.evaluator.relinearize_and_rescale(&product).unwrap();
    let lifted: Vec<_> = small.parts.iter().map(|part| lift(&pair.params, part, 1).0).collect();
    let q0 = i128::from(pair.params.plans()[0].modulus().value());
    expect(&oracle::decrypt(&lifted, &s, q0, small.scale(), &PLACES), &xy, small.error());

    let turned = pair.evaluator.rotate(&a, 77).unwrap();
    let opened = oracle::decrypt(&parts(&turned), &s, q, turned.scale(), &PLACES);
    expect(&opened, &rotated(&x, 77), turned.error());
    // And what rotation means: Y^(5^77) for Y in ciphertext and key alike.
    let g = (0..77).fold(1, |g, _| g * 5 % (4 * n));
    let moved: Vec<_> = parts(&a).iter().map(|part| oracle::substitute(part, g, q)).collect();
    let moved_secret: Vec<_> = oracle::substitute(&s, g, 1 << 40)
        .into_iter()
        .map(|v| if v > 1 { v - (1 << 40) } else { v })
        .collect();
    let opened = oracle::decrypt(&moved, &moved_secret, q, a.scale(), &PLACES);
    expect(&opened, &rotated(&x, 77), a.error());
}

#[test]
fn encodings() {
    let params = Params::new(&literal(12, 1)).unwrap();
    let x = random(4096, 1.0, 33);
    let coefficients = params.coefficients(&x, 26_f64.exp2()).unwrap();
    let real: Vec<f64> = coefficients.iter().map(|&c| c as f64 / 26_f64.exp2()).collect();
    expect(&oracle::slots(&real, &PLACES), &x, noise::encoding(4096) / 26_f64.exp2());
}
