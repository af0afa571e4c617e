//! Ciphertexts and their inner products with weight polynomials.
//!
//! Sums of products are kept as two words per residue and reduced once ([`matrix`]): two multiply-adds per residue and
//! half. A matrix of weights meets a vector of ciphertexts ([`Operands`]) prime by prime: weights are transformed
//! where they are used, for one prime at a time, so that those of a few sums and terms stay in the second-level cache
//! between their transform and their products.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use phineus_kernel::ntt::matrix::{self, Row, Sums};
use phineus_kernel::ntt::pointwise::{self, MAX_PRODUCTS};
use phineus_kernel::wipe::wipe;

use crate::{Eval, Params, Poly};

pub use matrix::WeightForm;

/// (c_0, c_1) with c_0 + c_1 s = round(q m / 2^l) + noise, in the evaluation domain.
#[derive(Debug, Clone)]
pub struct Ciphertext {
    /// c_0.
    pub body: Poly<Eval>,
    /// c_1.
    pub uniform: Poly<Eval>,
}

/// Ciphertexts in the order in which products read them.
#[derive(Debug, Clone)]
pub struct Operands {
    params: Arc<Params>,
    inner: matrix::Operands,
}

/// One weight polynomial, or eight in X^8 as `sum_k X^k w_k(X^8)`, see [`WeightForm`].
#[derive(Clone, Copy)]
pub enum Weight<'a> {
    /// n coefficients.
    Coefficients(&'a [i32]),
    /// As [`Weight::transform`] returned them.
    Values(&'a Poly<Eval>),
}

/// A sum of products of ciphertexts and weight polynomials, of any number of terms.
pub struct Accumulator {
    params: Arc<Params>,
    sums: Sums,
    /// Products since the last reduction.
    products: usize,
}

/// Room for transformed weights, to be used again and again.
#[derive(Default)]
pub struct Room(Vec<u64>);

impl Operands {
    /// Lays out ciphertexts.
    ///
    /// # Panics
    /// If there are none, or parameters differ.
    #[must_use]
    pub fn new(ciphertexts: &[&Ciphertext]) -> Self {
        let params = ciphertexts[0].body.params().clone();
        let halves = ciphertexts.iter().flat_map(|c| [&c.body, &c.uniform]);
        assert!(halves.map(Poly::params).all(|other| same(other, &params)), "one set of parameters");
        let pairs: Vec<_> = ciphertexts.iter().map(|c| [c.body.values(), c.uniform.values()]).collect();
        Self { params, inner: matrix::Operands::new(&pairs) }
    }

    /// Number of ciphertexts.
    #[must_use]
    pub fn terms(&self) -> usize {
        self.inner.terms()
    }
}

impl Weight<'_> {
    /// To the domain of products. What eight polynomials become is no polynomial, but has its size.
    ///
    /// # Panics
    /// If there are more than n coefficients.
    #[must_use]
    pub fn transform(params: &Arc<Params>, coefficients: &[i32], form: WeightForm) -> Poly<Eval> {
        match form {
            WeightForm::Single => Poly::from_signed(params, coefficients).into_eval(),
            WeightForm::Octet => Poly::from_signed(params, coefficients).into_octet(),
        }
    }
}

impl Accumulator {
    /// Zero.
    #[must_use]
    pub fn new(params: &Arc<Params>) -> Self {
        Self { params: params.clone(), sums: Sums::new(params.limbs() * params.degree()), products: 0 }
    }

    /// Adds `ciphertext weight`.
    ///
    /// # Panics
    /// If parameters differ.
    pub fn mul_acc(&mut self, ciphertext: &Ciphertext, weight: &Poly<Eval>) {
        self.mul_acc_operand(&Operands::new(&[ciphertext]), weight);
    }

    /// Adds `ciphertext weight` for the only ciphertext of the operands.
    ///
    /// # Panics
    /// If parameters differ, or there is not one ciphertext.
    pub(crate) fn mul_acc_operand(&mut self, operand: &Operands, weight: &Poly<Eval>) {
        let sums: &mut [Self] = std::slice::from_mut(self);
        let weights = [Weight::Values(weight)];
        Self::mul_acc_all(
            &mut [(sums, operand)],
            0..1,
            &[&weights],
            WeightForm::Single,
            &mut Room::default(),
        );
    }

    /// To every sum of a tile adds the inner product of the tile's operands in `terms` with the weights of the sum: a
    /// matrix of weights times the vector of ciphertexts of every tile. Weights are transformed once for all tiles.
    ///
    /// Caches are used best if there are few enough coefficients for their transforms modulo one prime to take a
    /// megabyte.
    ///
    /// # Panics
    /// If parameters differ, or not every sum has one weight per term ([`WeightForm::Octet`]: per eight terms).
    pub fn mul_acc_all(
        tiles: &mut [(&mut [Self], &Operands)],
        terms: Range<usize>,
        weights: &[&[Weight<'_>]],
        form: WeightForm,
        room: &mut Room,
    ) {
        let Some(params) = tiles.first().map(|(_, operands)| operands.params.clone()) else { return };
        let sums = || tiles.iter().flat_map(|(sums, _)| sums.iter());
        let values = weights.iter().copied().flatten().filter_map(Weight::values).map(Poly::params);
        let all = tiles.iter().map(|(_, operands)| &operands.params).chain(sums().map(|sum| &sum.params));
        assert!(values.chain(all).all(|other| same(other, &params)), "one set of parameters");
        assert!(tiles.iter().all(|(sums, _)| sums.len() == weights.len()), "weights for every sum");
        // As many terms at a time as fit the words of the sums, one product left for what is there.
        let step = (MAX_PRODUCTS - 1) / form.terms() * form.terms();
        for first in terms.clone().step_by(step) {
            let terms = first..terms.end.min(first + step);
            let skipped = (first - terms.start) / form.terms();
            let weights = weights.iter().map(|row| &row[skipped..][..terms.len().div_ceil(form.terms())]);
            let weights: Vec<&[Weight<'_>]> = weights.collect();
            for (sums, _) in &mut *tiles {
                sums.iter_mut().for_each(|sum| sum.make_room(terms.len()));
            }
            add_products(&params, tiles, &terms, &weights, form, room);
        }
    }

    /// The sum.
    #[must_use]
    pub fn finish(self) -> Ciphertext {
        let n = self.params.degree();
        let mut halves = [(); 2].map(|()| vec![0; self.params.limbs() * n]);
        for (limb, plan) in self.params.plans().iter().enumerate() {
            let values = limb * n..(limb + 1) * n;
            let out = halves.each_mut().map(|half| &mut half[values.clone()]);
            self.sums.reduce(plan.modulus(), values, out);
        }
        let [body, uniform] = halves.map(|half| Poly::from_values(&self.params, half));
        Ciphertext { body, uniform }
    }

    /// Reduces the sums where so many more products would not fit.
    fn make_room(&mut self, products: usize) {
        if self.products + products > MAX_PRODUCTS {
            let n = self.params.degree();
            for (limb, plan) in self.params.plans().iter().enumerate() {
                self.sums.fold(plan.modulus(), limb * n..(limb + 1) * n);
            }
            self.products = 1;
        }
        self.products += products;
    }
}

impl<'a> Weight<'a> {
    fn values(&self) -> Option<&'a Poly<Eval>> {
        match self {
            Self::Coefficients(_) => None,
            Self::Values(values) => Some(values),
        }
    }
}

/// [`Accumulator::mul_acc_all`] for sums that have room.
fn add_products(
    params: &Params,
    tiles: &mut [(&mut [Accumulator], &Operands)],
    terms: &Range<usize>,
    weights: &[&[Weight<'_>]],
    form: WeightForm,
    room: &mut Room,
) {
    let n = params.degree();
    // Slices a power of two apart would compete for the same lines of the cache.
    let stride = n + SKEW;
    let count = weights.iter().flat_map(|row| row.iter()).filter(|weight| weight.values().is_none()).count();
    if room.0.len() < count * stride {
        room.0.resize(count * stride, 0);
    }
    for (limb, plan) in params.plans().iter().enumerate() {
        let coefficients = weights.iter().flat_map(|row| row.iter()).filter_map(|weight| match weight {
            Weight::Coefficients(coefficients) => Some(coefficients),
            Weight::Values(_) => None,
        });
        for (coefficients, slot) in coefficients.zip(room.0.chunks_exact_mut(stride)) {
            pointwise::lift(plan.modulus(), coefficients, &mut slot[..n]);
            match form {
                WeightForm::Single => plan.forward(&mut slot[..n]),
                WeightForm::Octet => plan.forward_octet(&mut slot[..n]),
            }
        }
        let mut transformed = room.0.chunks_exact(stride).map(|slot| &slot[..n]);
        let mut slices = Vec::with_capacity(weights.len());
        for row in weights {
            let mut of_row = Vec::with_capacity(row.len());
            for weight in *row {
                of_row.push(match *weight {
                    Weight::Coefficients(_) => transformed.next().unwrap_or_default(),
                    Weight::Values(values) => values.limb(limb),
                });
            }
            slices.push(of_row);
        }
        for (sums, operands) in &mut *tiles {
            let mut rows: Vec<Row<'_, '_>> = sums
                .iter_mut()
                .zip(&slices)
                .map(|(sum, weights)| Row { sums: &mut sum.sums, weights })
                .collect();
            let values = limb * n..(limb + 1) * n;
            matrix::mul_acc(&mut rows, &operands.inner, values, terms.clone(), form);
        }
    }
}

/// Words between the transforms of two weights: an odd number of lines of the cache.
const SKEW: usize = 8;

fn same(a: &Arc<Params>, b: &Arc<Params>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

impl Drop for Room {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room({} words)", self.0.len())
    }
}

impl fmt::Debug for Weight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Weight(..)")
    }
}

impl fmt::Debug for Accumulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accumulator({} products)", self.products)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::{Coeff, ParamsLiteral};

    #[test]
    fn more_products_than_fit_a_word() {
        let params = Params::new(&ParamsLiteral::largest(11, 1)).unwrap();
        let modulus = params.modulus(0);
        let p = modulus.value();
        let mut rng = StdRng::seed_from_u64(1);
        let mut draw = |top: bool| {
            let values = (0..params.degree()).map(|_| if top { p - 1 } else { rng.random_range(0..p) });
            Poly::<Eval>::from_values(&params, values.collect())
        };
        let ciphertext = Ciphertext { body: draw(true), uniform: draw(false) };
        let weight = draw(true);
        let several = 700;
        let operands = Operands::new(&vec![&ciphertext; several]);
        let mut sum = Accumulator::new(&params);
        sum.mul_acc(&ciphertext, &weight);
        let weights = vec![Weight::Values(&weight); several];
        let rounds = 2 * MAX_PRODUCTS / several + 1;
        for _ in 0..rounds {
            let sums = std::slice::from_mut(&mut sum);
            let tiles = &mut [(sums, &operands)];
            let room = &mut Room::default();
            Accumulator::mul_acc_all(tiles, 0..several, &[&weights], WeightForm::Single, room);
        }
        let count = (rounds * several + 1) as u64;
        let sum = sum.finish();
        for i in 0..params.degree() {
            for (half, sum) in [(&ciphertext.body, &sum.body), (&ciphertext.uniform, &sum.uniform)] {
                let product = modulus.mul(half.limb(0)[i], weight.limb(0)[i]);
                assert_eq!(sum.limb(0)[i], modulus.mul(product, count));
            }
        }
    }

    #[test]
    fn weights_by_coefficients_and_octets_give_the_same_sums() {
        let params = Params::new(&ParamsLiteral::n4096()).unwrap();
        let n = params.degree();
        let mut rng = StdRng::seed_from_u64(2);
        let ciphertexts: Vec<Ciphertext> = (0..10)
            .map(|_| {
                let mut draw = || {
                    let limb = |i: usize| params.modulus(i / n).value();
                    Poly::from_values(&params, (0..2 * n).map(|i| rng.random_range(0..limb(i))).collect())
                };
                Ciphertext { body: draw(), uniform: draw() }
            })
            .collect();
        let operands = Operands::new(&ciphertexts.iter().collect::<Vec<_>>());
        // Of two sums: polynomials in X^8, alone and eight together.
        let alone: Vec<Vec<Vec<i32>>> = (0..2)
            .map(|_| {
                let one =
                    |_| (0..n as i32).map(|j| i32::from(j % 8 == 0) * rng.random_range(-128..128)).collect();
                (0..10).map(one).collect()
            })
            .collect();
        let octets: Vec<Vec<Vec<i32>>> = alone
            .iter()
            .map(|row| {
                row.chunks(8)
                    .map(|eight| {
                        let mut octet = vec![0; n];
                        for (k, one) in eight.iter().enumerate() {
                            (0..n / 8).for_each(|j| octet[8 * j + k] = one[8 * j]);
                        }
                        octet
                    })
                    .collect()
            })
            .collect();
        let sums = |weights: &[Vec<Vec<i32>>], terms: Range<usize>, form: WeightForm, transformed: bool| {
            let values: Vec<Vec<Poly<Eval>>> = weights
                .iter()
                .map(|row| row.iter().map(|w| Weight::transform(&params, w, form)).collect())
                .collect();
            let skip = terms.start / form.terms();
            let rows: Vec<Vec<Weight<'_>>> =
                weights
                    .iter()
                    .zip(&values)
                    .map(|(plain, values)| {
                        let both = plain.iter().zip(values).skip(skip);
                        both.map(|(plain, values)| {
                            if transformed { Weight::Values(values) } else { Weight::Coefficients(plain) }
                        })
                        .collect()
                    })
                    .collect();
            let mut sums = [Accumulator::new(&params), Accumulator::new(&params)];
            let tiles = &mut [(&mut sums[..], &operands)];
            let rows: Vec<&[Weight<'_>]> = rows.iter().map(Vec::as_slice).collect();
            Accumulator::mul_acc_all(tiles, terms, &rows, form, &mut Room::default());
            sums.map(Accumulator::finish)
                .map(|sum| [sum.body, sum.uniform].map(|half| half.values().to_vec()))
        };
        for terms in [0..10, 8..10] {
            let mut expected = [(); 2].map(|()| Accumulator::new(&params));
            for (sum, weights) in expected.iter_mut().zip(&alone) {
                for term in terms.clone() {
                    let weight = Poly::<Coeff>::from_signed(&params, &weights[term]).into_eval();
                    sum.mul_acc(&ciphertexts[term], &weight);
                }
            }
            let expected = expected
                .map(Accumulator::finish)
                .map(|sum| [sum.body, sum.uniform].map(|half| half.values().to_vec()));
            for transformed in [false, true] {
                assert!(sums(&alone, terms.clone(), WeightForm::Single, transformed) == expected);
                assert!(sums(&octets, terms.clone(), WeightForm::Octet, transformed) == expected);
            }
        }
    }
}
