//! Primality below 2^64, and the primes that have the roots of unity of a transform.

/// Whether n is prime: Miller-Rabin with the first twelve primes as bases, which is exact below 3.3 * 10^24
/// (Sorenson and Webster, "Strong pseudoprimes to twelve prime bases", 2015). Variable time.
#[must_use]
pub fn is_prime(n: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if n < 2 {
        return false;
    }
    if let Some(base) = BASES.iter().find(|&&b| n.is_multiple_of(b)) {
        return n == *base;
    }
    let twos = (n - 1).trailing_zeros();
    let odd = (n - 1) >> twos;
    BASES.iter().all(|&base| {
        let mut x = pow(base, odd, n);
        if x == 1 || x == n - 1 {
            return true;
        }
        (1..twos).any(|_| {
            x = mul(x, x, n);
            x == n - 1
        })
    })
}

/// The `count` largest primes below 2^bits that are 1 modulo 2n, in descending order; fewer if there are fewer.
///
/// # Panics
/// If `bits` is above 63 or n is 0.
#[must_use]
pub fn ntt_primes(bits: u32, n: usize, count: usize) -> Vec<u64> {
    assert!(bits < 64 && n > 0, "bounds of the search");
    let step = 2 * n as u64;
    let top = ((1 << bits) - 1) / step;
    (1..=top).rev().map(|k| k * step + 1).filter(|&p| p < 1 << bits && is_prime(p)).take(count).collect()
}

fn mul(a: u64, b: u64, n: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(n)) as u64
}

fn pow(mut base: u64, mut exponent: u64, n: u64) -> u64 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = mul(result, base, n);
        }
        base = mul(base, base, n);
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primality_by_sieve() {
        let n = 20_000;
        let mut sieve = vec![true; n];
        (sieve[0], sieve[1]) = (false, false);
        for i in 2..n {
            if sieve[i] {
                (i * i..n).step_by(i).for_each(|j| sieve[j] = false);
            }
        }
        assert!((0..n).all(|i| sieve[i] == is_prime(i as u64)));
    }

    #[test]
    fn pseudoprimes_and_large_primes() {
        // Strong pseudoprimes to the first 2, 4 and 9 prime bases, and a Carmichael number.
        for n in [1_373_653, 3_215_031_751, 3_825_123_056_546_413_051, 561] {
            assert!(!is_prime(n));
        }
        assert!(is_prime((1 << 61) - 1) && is_prime(u64::MAX - 58));
    }

    #[test]
    fn primes_of_a_transform() {
        let primes = ntt_primes(50, 4096, 4);
        assert_eq!(primes.len(), 4);
        assert!(primes.iter().all(|&p| p < 1 << 50 && p % 8192 == 1 && is_prime(p)));
        assert!(primes.is_sorted_by(|a, b| a > b));
        assert!(ntt_primes(12, 2048, 5).is_empty());
    }
}
