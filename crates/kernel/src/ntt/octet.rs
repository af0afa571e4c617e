//! Eight polynomials in X^8 by one transform.
//!
//! `w(X^8)` has the same value at psi^e and at psi^(e + 2n/8): n/8 different values. The layers of distance 8 and more
//! never mix coefficients of different indices modulo 8, and the layers below would only copy. Hence eight such
//! polynomials w_0 .. w_7 go through the upper layers as one, `sum_k X^k w_k(X^8)`, and come out side by side, at an
//! eighth of the work and of the memory each.
//!
//! This is what the weights of a convolution with kernels of one pixel look like, if its planes stand a multiple of
//! eight coefficients apart.

use super::Plan;
use crate::cpu::Backend;

impl Plan {
    /// Coefficients of `sum_k X^k w_k(X^8)` to the values of all eight `w_k(X^8)`, n residues in [0, p): value
    /// `64 b + 8 k + i` is the value of w_k at all places `64 b + 8 j + i`, j = 0..8, of [`Plan::forward`].
    ///
    /// # Panics
    /// If the slice does not have n elements.
    pub fn forward_octet(&self, values: &mut [u64]) {
        self.forward_octet_on(Backend::detected(), values);
    }

    /// [`Plan::forward_octet`] on one backend; for tests. AVX2 without FMA runs the portable code.
    ///
    /// # Panics
    /// If the slice does not have n elements or the machine lacks the backend.
    pub fn forward_octet_on(&self, backend: Backend, values: &mut [u64]) {
        assert_eq!(values.len(), self.n, "one value per coefficient");
        match backend {
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => {
                assert!(super::runs(backend), "backend of this machine");
                // SAFETY: the machine has the instructions of this backend.
                unsafe { super::avx512::forward_octet(self, values) }
            }
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 if is_x86_feature_detected!("fma") => {
                assert!(super::runs(backend), "backend of this machine");
                // SAFETY: the machine has the instructions of this backend, and FMA.
                unsafe { super::avx2::forward_octet(self, values) }
            }
            _ => super::portable::forward_octet(self, values),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::zq::ntt_primes;

    #[test]
    fn holds_the_values_of_all_eight() {
        let mut rng = StdRng::seed_from_u64(1);
        for log_n in 10..=15 {
            let n = 1_usize << log_n;
            for bits in [50, 36] {
                let p = ntt_primes(bits, n, 1)[0];
                let plan = Plan::new(p, n).unwrap();
                let together: Vec<u64> = (0..n).map(|_| rng.random_range(0..p)).collect();
                let alone: Vec<Vec<u64>> = (0..8)
                    .map(|k| {
                        let mut values = vec![0; n];
                        (0..n / 8).for_each(|j| values[8 * j] = together[8 * j + k]);
                        plan.forward(&mut values);
                        values
                    })
                    .collect();
                for backend in Backend::available() {
                    let mut octet = together.clone();
                    plan.forward_octet_on(backend, &mut octet);
                    for (k, alone) in alone.iter().enumerate() {
                        for (index, &value) in alone.iter().enumerate() {
                            let place = index / 64 * 64 + 8 * k + index % 8;
                            assert_eq!(octet[place], value, "w_{k} at {index} of {n}, {backend:?}");
                        }
                    }
                }
            }
        }
    }
}
