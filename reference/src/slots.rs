//! The scheme with real slots over the conjugate-invariant ring, from its definition.
//!
//! An element is `a_0 + sum_(0<i<n) a_i (Y^i + Y^-i)` with Y^2n = -1; its slots are its values at Y = exp(i pi 5^j / 2n).
//! Everything is schoolbook: two loops over coefficients for a product, two loops for an embedding.

use std::f64::consts::PI;

/// The product of two elements with coefficients in `(-modulus, modulus)`; those of the result are in `[0, modulus)`.
///
/// # Panics
/// If the lengths differ, n exceeds 2^13 or the modulus is not in `1..=2^56`: sums are made before they are reduced.
#[must_use]
pub fn product(a: &[i128], b: &[i128], modulus: i128) -> Vec<i128> {
    let n = a.len();
    assert!(b.len() == n && n <= 1 << 13 && (1..=1 << 56).contains(&modulus));
    let mut c = vec![0; n];
    let mut add = |exponent: usize, term: i128| {
        let (place, sign) = fold(exponent, n);
        if let Some(place) = place {
            c[place] += sign * term;
        }
    };
    for (i, &x) in a.iter().enumerate() {
        if x == 0 {
            continue;
        }
        for (j, &y) in b.iter().enumerate() {
            let term = x * y;
            // (Y^i + Y^-i)(Y^j + Y^-j) = (Y^(i+j) + Y^-(i+j)) + (Y^(i-j) + Y^-(i-j)); 1 stands for itself.
            match (i, j) {
                (0, _) | (_, 0) => add(i + j, term),
                _ => {
                    add(i + j, term);
                    add(i.abs_diff(j), if i == j { 2 * term } else { term });
                }
            }
        }
    }
    c.into_iter().map(|c| c.rem_euclid(modulus)).collect()
}

/// The element with Y^g in place of Y.
///
/// # Panics
/// If g is even.
#[must_use]
pub fn substitute(a: &[i128], g: usize, modulus: i128) -> Vec<i128> {
    assert!(g % 2 == 1);
    let n = a.len();
    let mut image = vec![0; n];
    for (i, &x) in a.iter().enumerate() {
        let (place, sign) = fold(i * g % (4 * n), n);
        if let Some(place) = place {
            image[place] = (image[place] + sign * x).rem_euclid(modulus);
        }
    }
    image
}

/// Slots number `places` of the element with these real coefficients.
#[must_use]
pub fn slots(coefficients: &[f64], places: &[usize]) -> Vec<f64> {
    let n = coefficients.len();
    let value = |&slot: &usize| {
        let power = (0..slot).fold(1, |power, _| power * 5 % (4 * n));
        let term =
            |i: usize| 2.0 * coefficients[i] * (PI * ((power * i) % (4 * n)) as f64 / (2 * n) as f64).cos();
        (1..n).map(term).sum::<f64>() + coefficients[0]
    };
    places.iter().map(value).collect()
}

/// Decrypts slots number `places`: `(c_0 + c_1 s + c_2 s^2 + ..) / scale`, coefficients centred modulo q.
#[must_use]
pub fn decrypt(parts: &[Vec<i128>], secret: &[i128], q: i128, scale: f64, places: &[usize]) -> Vec<f64> {
    let phase = parts.iter().rev().fold(vec![0; secret.len()], |sum: Vec<i128>, part| {
        let product = product(secret, &sum, q);
        product.iter().zip(part).map(|(a, b)| (a + b) % q).collect()
    });
    let centred = |v: i128| if v > q / 2 { v - q } else { v };
    let coefficients: Vec<f64> = phase.into_iter().map(|v| centred(v) as f64 / scale).collect();
    slots(&coefficients, places)
}

/// The parts of the product of two ciphertexts of two parts.
#[must_use]
pub fn multiply(x: &[Vec<i128>; 2], y: &[Vec<i128>; 2], q: i128) -> [Vec<i128>; 3] {
    let middle = product(&x[0], &y[1], q).into_iter().zip(product(&x[1], &y[0], q)).map(|(a, b)| (a + b) % q);
    [product(&x[0], &y[0], q), middle.collect(), product(&x[1], &y[1], q)]
}

/// Y^e + Y^-e in terms of the basis: a place and a sign, or nothing for Y^n + Y^-n = 0.
fn fold(exponent: usize, n: usize) -> (Option<usize>, i128) {
    // Y^2n = -1, and e and -e are the same.
    let (exponent, sign) =
        if exponent % (4 * n) >= 2 * n { (exponent % (2 * n), -1) } else { (exponent % (2 * n), 1) };
    match exponent {
        e if e < n => (Some(e), sign),
        e if e == n => (None, 0),
        // Y^e = -Y^-(2n - e).
        e => (Some(2 * n - e), -sign),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_ring() {
        // n = 2: u = Y + Y^-1 with u^2 = 2 + Y^2 + Y^-2 = 2.
        assert_eq!(product(&[0, 1], &[0, 1], 97), [2, 0]);
        assert_eq!(product(&[3, 1], &[5, 2], 97), [19, 11]);
        // Slots: plus and minus the root of two.
        let values = slots(&[0.0, 1.0], &[0, 1]);
        assert!((values[0] - 2_f64.sqrt()).abs() < 1e-15 && (values[1] + 2_f64.sqrt()).abs() < 1e-15);
        assert_eq!(substitute(&[3, 1], 5, 97), [3, 96]);
    }

    #[test]
    fn slots_are_a_homomorphism() {
        let (a, b) = ([1, -2, 3, 0, 5, -1, 2, 4], [2, 0, -1, 1, 3, -3, 0, 1]);
        let modulus = 1 << 40;
        let real = |v: &[i128]| {
            v.iter().map(|&v| (if v > modulus / 2 { v - modulus } else { v }) as f64).collect::<Vec<_>>()
        };
        let places = [0, 1, 5, 7];
        let c = slots(&real(&product(&a, &b, modulus)), &places);
        for ((c, a), b) in c.iter().zip(slots(&real(&a), &places)).zip(slots(&real(&b), &places)) {
            assert!((c - a * b).abs() < 1e-9);
        }
        let moved = slots(&real(&substitute(&a, 5, modulus)), &[0, 4]);
        assert!(moved.iter().zip(slots(&real(&a), &[1, 5])).all(|(x, y)| (x - y).abs() < 1e-9));
    }
}
