//! The operations on encrypted slots of which every program consists.
//!
//! A ciphertext holds a cyclic vector of real numbers, its *slots*. It has a *level*: the number of products it can
//! still take part in. All ciphertexts of a level have one scale, products come back rescaled, and so no scale
//! appears in a program (Kim, Papadimitriou, Polyakov, "Approximate homomorphic encryption with reduced
//! approximation error", CT-RSA 2022, section 3).
//!
//! | operation | slots | level | price |
//! |---|---|---|---|
//! | [`linear`](Evaluator::linear) | sums of rotated x p | less one | see [`diagonal`](super::diagonal) |
//! | [`square`](Evaluator::square) | x^2 | less one | one product, one key switch |
//! | [`accumulate`](Evaluator::accumulate) | sums of w x, w numbers | less one when finished | one multiplication per coefficient |
//! | [`add_summand`](Evaluator::add_summand) | x + y | same | negligible |

/// Turns vectors of numbers into what ciphertexts are multiplied with and added to. Needs no keys.
pub trait Encoder {
    /// An encoded vector of weights.
    type Factor;
    /// An encoded vector of summands.
    type Summand;
    /// What can go wrong: a missing key, a wrong level.
    type Error: std::error::Error;

    /// Number of slots, a power of two.
    fn slots(&self) -> usize;

    /// Factors for ciphertexts of `level`, one per slot.
    ///
    /// # Errors
    /// Factors that do not fit, level 0.
    fn factor(&self, values: &[f64], level: usize) -> Result<Self::Factor, Self::Error>;

    /// Summands for ciphertexts of `level`, one per slot.
    ///
    /// # Errors
    /// Summands that do not fit.
    fn summand(&self, values: &[f64], level: usize) -> Result<Self::Summand, Self::Error>;
}

/// What runs a [`Program`](super::Program): a scheme with its evaluation keys, or numbers in the clear
/// ([`Clear`](super::Clear)).
pub trait Evaluator: Encoder {
    /// An encrypted vector of slots.
    type Cipher;
    /// Weighted sums of ciphertexts of one level met so far.
    type Sums;

    /// Products that the ciphertext can still take part in, one after the other.
    fn level(&self, x: &Self::Cipher) -> usize;

    /// x += y.
    ///
    /// # Errors
    /// A summand of another level.
    fn add_summand(&self, x: &mut Self::Cipher, y: &Self::Summand) -> Result<(), Self::Error>;

    /// x += a number in all slots.
    ///
    /// # Errors
    /// A number that does not fit.
    fn add_number(&self, x: &mut Self::Cipher, number: f64) -> Result<(), Self::Error>;

    /// A linear map: `y = sum over giants of rot_giant(sum of rot_baby(xs\[input\]) plain)`, then `y += rot_fold(y)` for
    /// every fold in order, rescaled; one level lower. Rotations of one ciphertext share their decomposition.
    ///
    /// # Errors
    /// No key for a step at this level, no term, different levels, level 0.
    fn linear(
        &self,
        xs: &[Self::Cipher],
        giants: &[Giant<'_, Self::Factor>],
        folds: &[usize],
    ) -> Result<Self::Cipher, Self::Error>;

    /// The squares of the slots, one level lower.
    ///
    /// # Errors
    /// No key at this level, level 0.
    fn square(&self, x: &Self::Cipher) -> Result<Self::Cipher, Self::Error>;

    /// So many sums of ciphertexts of a level, without any yet.
    ///
    /// # Errors
    /// Level 0.
    fn sums(&self, count: usize, level: usize) -> Result<Self::Sums, Self::Error>;

    /// Adds `weights` `[sums][xs]` times the ciphertexts, slot by slot.
    ///
    /// # Errors
    /// Not one weight per sum and ciphertext, ciphertexts of another level.
    fn accumulate(
        &self,
        sums: &mut Self::Sums,
        xs: &[&Self::Cipher],
        weights: &[f64],
    ) -> Result<(), Self::Error>;

    /// The sums, rescaled; one level lower.
    ///
    /// # Errors
    /// Sums that exceed what the level below holds.
    fn finish(&self, sums: Self::Sums) -> Result<Vec<Self::Cipher>, Self::Error>;
}

/// One giant step of a linear map.
#[derive(Debug, Clone)]
pub struct Giant<'a, P> {
    /// Rotation of the sum, 0 for none.
    pub step: usize,
    /// What is summed.
    pub terms: Vec<Term<'a, P>>,
}

/// A rotated ciphertext times a plaintext.
#[derive(Debug, Clone)]
pub struct Term<'a, P> {
    /// Index of the ciphertext.
    pub input: usize,
    /// Its rotation, 0 for none.
    pub step: usize,
    /// The plaintext.
    pub plain: &'a P,
}
