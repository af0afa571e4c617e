//! Garbled circuits: circuits, their construction, and half-gates garbling of many instances at once.
//!
//! Order of everything: *instance*, then *bit*. Chunks of instances ([`Span`]) can be garbled and evaluated
//! independently; the tables of consecutive chunks concatenated are the tables of the whole.

mod arith;
pub mod builder;
pub mod circuit;
mod error;
mod evaluate;
pub mod gadgets;
mod garble;
mod input;
#[cfg(test)]
mod tests;
pub mod word;

pub use circuit::Circuit;
pub use error::GcError;
pub use evaluate::evaluate;
pub use garble::{Garbled, garble, garble_into};
pub use input::{GarblerInputs, GarblerLabels, InputSeed};

use phineus_kernel::block::Block;

/// Instances that share a hash key per gate. A power of two; the price is `log2 LANES` bits of the security bound
/// (see [`phineus_kernel::hash`]).
pub use phineus_kernel::halfgates::LANES;

/// A run of instances of one circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First tweak of instance 0. Tweaks are AES keys: two layers, directions or sessions must never overlap.
    /// Take a random 128-bit start per session and advance it by [`Circuit::tweaks`] of each *whole* layer.
    pub tweak: u128,
    /// Number of the first instance, a multiple of [`LANES`].
    pub first: u64,
    /// How many instances.
    pub count: usize,
}

impl Span {
    /// All of `count` instances.
    #[must_use]
    pub fn whole(tweak: u128, count: usize) -> Self {
        Self { tweak, first: 0, count }
    }

    /// The same instances in chunks of at most `size`, which is rounded up to a multiple of [`LANES`].
    pub fn chunks(self, size: usize) -> impl Iterator<Item = Self> {
        let size = size.next_multiple_of(LANES).max(LANES);
        (0..self.count).step_by(size).map(move |start| Self {
            tweak: self.tweak,
            first: self.first + start as u64,
            count: size.min(self.count - start),
        })
    }

    fn check(&self) -> Result<(), GcError> {
        if self.first.is_multiple_of(LANES as u64) {
            Ok(())
        } else {
            Err(GcError::Unaligned { first: self.first })
        }
    }

    /// First tweak of the batch that starts `batch` batches into the span.
    fn batch_tweak(&self, circuit: &Circuit, batch: usize) -> u128 {
        let number = u128::from(self.first / LANES as u64) + batch as u128;
        self.tweak.wrapping_add(number * circuit.batch_tweaks())
    }
}

/// One value per instance of a batch.
type Lanes = [Block; LANES];
