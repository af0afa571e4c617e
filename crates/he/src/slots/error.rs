//! What the scheme with slots refuses.

use phineus_kernel::zq::ModulusError;
use thiserror::Error;

/// A parameter set or an operation that cannot be. What a peer sends wrongly is a
/// [`PeerMisbehaved`](phineus_kernel::wire::PeerMisbehaved) instead.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum SlotsError {
    /// A modulus is no prime of the right form.
    #[error(transparent)]
    Modulus(#[from] ModulusError),
    /// The degree is outside the supported range.
    #[error("degree 2^{0} is outside 2^10..=2^15")]
    Degree(u32),
    /// The chain of primes is malformed.
    #[error("chain of primes: {0}")]
    Chain(&'static str),
    /// There are too few primes of this size for the degree.
    #[error("no {count} primes of {bits} bits for degree {n}")]
    NoPrimes {
        /// Primes asked for.
        count: usize,
        /// Their size.
        bits: u32,
        /// Degree.
        n: usize,
    },
    /// The modulus with its special primes is too large for the degree.
    #[error("{log2_qp:.2} bits of modulus at degree {n}: at most {cap} are secure")]
    Insecure {
        /// Degree.
        n: usize,
        /// log2 of the product of all primes.
        log2_qp: f64,
        /// The most that is allowed.
        cap: u32,
    },
    /// Operands, keys or messages of another parameter set.
    #[error("operands of different parameter sets")]
    Params,
    /// A level that does not exist.
    #[error("level {level} of a chain with top level {top}")]
    Level {
        /// The level asked for.
        level: usize,
        /// The highest there is.
        top: usize,
    },
    /// No level is left for another product.
    #[error(
        "levels exhausted: the program is deeper than the chain of {top} rescalings; take parameters with more"
    )]
    Exhausted {
        /// Rescalings of the parameter set.
        top: usize,
    },
    /// Operands at different levels.
    #[error("operands at levels {left} and {right}; drop the higher one")]
    LevelMismatch {
        /// Level of the first.
        left: usize,
        /// Level of the second.
        right: usize,
    },
    /// Operands of different scales.
    #[error("operands of scales 2^{left:.4} and 2^{right:.4}; rescale first")]
    ScaleMismatch {
        /// log2 of the first scale.
        left: f64,
        /// log2 of the second scale.
        right: f64,
    },
    /// A product that has not been relinearised.
    #[error("the operand has three parts; relinearise first")]
    NotLinear,
    /// A rotation without a key.
    #[error("no key for rotation by {rotation}")]
    MissingKey {
        /// The rotation.
        rotation: u32,
    },
    /// Relinearisation without a key.
    #[error("no key for relinearisation")]
    MissingRelin,
    /// A key that was made for lower levels.
    #[error("the key for {what} reaches level {key}, the operand is at level {level}")]
    KeyLevel {
        /// Which key.
        what: String,
        /// Highest level of the key.
        key: usize,
        /// Level of the operand.
        level: usize,
    },
    /// A rotation outside the slots.
    #[error("rotation by {rotation} of {slots} slots")]
    Rotation {
        /// The rotation.
        rotation: u32,
        /// Number of slots.
        slots: usize,
    },
    /// More values than slots.
    #[error("{values} values for {slots} slots")]
    TooManyValues {
        /// Values given.
        values: usize,
        /// Slots.
        slots: usize,
    },
    /// A value that is not a finite number or too large for the scale.
    #[error("a value is not finite or does not fit the scale 2^{log2_scale:.1}")]
    Value {
        /// log2 of the scale.
        log2_scale: f64,
    },
    /// A message that could wrap around the modulus.
    #[error(
        "values up to {magnitude:.3e} at scale 2^{log2_scale:.1} exceed the modulus 2^{log2_q:.1} of level {level}"
    )]
    Overflow {
        /// Bound on the slots.
        magnitude: f64,
        /// log2 of the scale.
        log2_scale: f64,
        /// log2 of the modulus.
        log2_q: f64,
        /// Level of the result.
        level: usize,
    },
    /// A matrix or program of the wrong shape.
    #[error("{what}: expected {expected}, got {got}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// Due number.
        expected: usize,
        /// Number given.
        got: usize,
    },
    /// A reply whose period is no power of two up to the number of slots, or whose width is out of range.
    #[error("reply with period {period} and {width} bits: {reason}")]
    Reply {
        /// Period of the slots.
        period: usize,
        /// Bits of a word.
        width: u32,
        /// What is wrong.
        reason: &'static str,
    },
}
