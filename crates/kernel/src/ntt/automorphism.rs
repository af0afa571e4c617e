//! X -> X^g on evaluations: a permutation.
//!
//! For odd g the substitution is an automorphism of Z_p\[X\]/(X^n + 1). The value of a(X^g) at psi^e is the value of
//! a at psi^(g e), hence value i of the image is value j of the argument with `exponent(j) = g exponent(i)` modulo
//! 2n. The permutation depends on n and g only, not on the prime. n copied words; the permutation is public.

use super::Plan;

/// The substitution of X^g for X in the evaluation domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Automorphism {
    /// Where each value comes from.
    from: Vec<u32>,
}

impl Plan {
    /// X -> X^g, for transforms of this size modulo any prime.
    ///
    /// # Panics
    /// If g is even.
    #[must_use]
    pub fn automorphism(&self, g: usize) -> Automorphism {
        assert!(g % 2 == 1, "exponents of automorphisms are odd");
        let order = 2 * self.n;
        let mut index = vec![0; self.n];
        (0..self.n).for_each(|i| index[self.exponent(i) / 2] = i as u32);
        Automorphism { from: (0..self.n).map(|i| index[g % order * self.exponent(i) % order / 2]).collect() }
    }
}

impl Automorphism {
    /// Writes the values of a(X^g) to `image`, from those of a.
    ///
    /// # Panics
    /// If a slice does not have n elements.
    pub fn apply(&self, values: &[u64], image: &mut [u64]) {
        assert_eq!(values.len(), self.from.len(), "one value per coefficient");
        assert_eq!(image.len(), self.from.len(), "one value per coefficient");
        image.iter_mut().zip(&self.from).for_each(|(image, &from)| *image = values[from as usize]);
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::cpu::Backend;
    use crate::zq::ntt_primes;

    /// a(X^g) by coefficients.
    fn substitute(plan: &Plan, a: &[u64], g: usize) -> Vec<u64> {
        let (n, m) = (plan.size(), plan.modulus());
        let mut image = vec![0; n];
        for (i, &c) in a.iter().enumerate() {
            let e = i * g % (2 * n);
            image[e % n] = if e < n { c } else { m.neg(c) };
        }
        image
    }

    #[test]
    fn permutes_values_as_it_substitutes_coefficients() {
        for log_n in [10, 12] {
            let n = 1 << log_n;
            for p in ntt_primes(50, n, 2) {
                let plan = Plan::new(p, n).unwrap();
                let mut rng = StdRng::seed_from_u64(log_n);
                let a: Vec<_> = (0..n).map(|_| rng.random_range(0..p)).collect();
                for g in [1, 3, 5, n + 1, n / 2 + 1, n / 64 + 1, 2 * n - 1, 4 * n + 7] {
                    for backend in Backend::available() {
                        let mut values = a.clone();
                        plan.forward_on(backend, &mut values);
                        let mut image = vec![0; n];
                        plan.automorphism(g).apply(&values, &mut image);
                        plan.inverse_on(backend, &mut image);
                        assert!(
                            image == substitute(&plan, &a, g % (2 * n)),
                            "X^{g} at degree {n}, {backend:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn inverse_exponents_undo_each_other() {
        let n = 2048;
        let plan = Plan::new(ntt_primes(40, n, 1)[0], n).unwrap();
        let values: Vec<_> = (0..n as u64).collect();
        for log in 0..=10 {
            let g = n / (1 << log) + 1;
            let inverse = (1..2 * n).step_by(2).find(|h| h * g % (2 * n) == 1).unwrap();
            let (mut once, mut twice) = (vec![0; n], vec![0; n]);
            plan.automorphism(g).apply(&values, &mut once);
            plan.automorphism(inverse).apply(&once, &mut twice);
            assert!(twice == values && once != values);
        }
    }

    #[test]
    #[should_panic(expected = "odd")]
    fn even_exponents_are_no_automorphisms() {
        let plan = Plan::new(ntt_primes(40, 1024, 1)[0], 1024).unwrap();
        let _ = plan.automorphism(2);
    }
}
