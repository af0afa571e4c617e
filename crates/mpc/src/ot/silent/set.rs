//! Parameters of the code and its noise.

use std::ops::Range;

use phineus_kernel::block::Block;
use phineus_kernel::ggm::LANES;
use phineus_net::FRAME_HEADER;

use crate::ot::cot::Cost;
use crate::ot::engine::Message;

/// A parameter set: `t` blocks of `2^d` samples with one error each, secrets of `k` bits, 10 terms per sample.
///
/// The sets b10 to b13 of emp-ot 1.0 (`emp-ot/tuning.h`), chosen there for 128 bits against the published attacks on
/// regular noise (Gauss, SD and ISD, BJMM, hybrid, Esser-Santini, AGB); the sets of the paper of 2020 fall short of
/// that by today's estimates. Here `t` is rounded down to whole batches of sixteen trees: that is the same problem
/// with some blocks of samples withheld, hence at least as hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Set {
    /// `t = 848, k = 2^16, d = 10`: 0.80 M transfers per round from a table of 1 MiB.
    #[default]
    B10,
    /// `t = 1168, k = 2^17, d = 11`: 2.2 M transfers per round.
    B11,
    /// `t = 1520, k = 2^18, d = 12`: 5.9 M transfers per round.
    B12,
    /// `t = 1888, k = 2^19, d = 13`: 14.9 M transfers per round.
    B13,
}

/// Transfers of the check.
pub(super) const CHECK: usize = 128;

impl Set {
    /// All sets.
    pub const ALL: [Self; 4] = [Self::B10, Self::B11, Self::B12, Self::B13];

    /// The name in the literature.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::B10 => "b10",
            Self::B11 => "b11",
            Self::B12 => "b12",
            Self::B13 => "b13",
        }
    }

    /// Trees, which is the weight of the noise.
    #[must_use]
    pub const fn trees(self) -> usize {
        let t = match self {
            Self::B10 => 850,
            Self::B11 => 1170,
            Self::B12 => 1520,
            Self::B13 => 1900,
        };
        t - t % LANES
    }

    /// Levels of a tree below its root.
    #[must_use]
    pub const fn depth(self) -> usize {
        match self {
            Self::B10 => 10,
            Self::B11 => 11,
            Self::B12 => 12,
            Self::B13 => 13,
        }
    }

    /// Bits of the secret.
    #[must_use]
    pub const fn k(self) -> usize {
        1 << (self.depth() + 6)
    }

    /// Samples.
    #[must_use]
    pub const fn n(self) -> usize {
        self.trees() << self.depth()
    }

    /// Transfers that a round uses up.
    #[must_use]
    pub const fn reserve(self) -> usize {
        self.k() + self.trees() * self.depth() + CHECK
    }

    /// Transfers that a round yields on top of the next one's reserve.
    #[must_use]
    pub const fn round(self) -> usize {
        self.n() - self.reserve()
    }

    /// Bytes of a round, frame headers included.
    #[must_use]
    pub const fn round_cost(self) -> Cost {
        Cost {
            sender_to_receiver: (FRAME_HEADER + self.sums_len() + FRAME_HEADER + 32) as u64,
            receiver_to_sender: (FRAME_HEADER + Block::BYTES) as u64,
        }
    }

    /// Payloads of the messages of a round.
    #[must_use]
    pub const fn round_messages(self) -> [Message; 3] {
        [Message::ToReceiver(self.sums_len()), Message::ToSender(Block::BYTES), Message::ToReceiver(32)]
    }

    /// Bytes of the masked sums.
    pub(super) const fn sums_len(self) -> usize {
        self.trees() * self.depth() * Block::BYTES
    }

    /// The part of the reserve that belongs to the trees: batch, then level, then tree.
    pub(super) const fn paths(self) -> Range<usize> {
        self.k()..self.reserve() - CHECK
    }

    /// The part of the reserve that belongs to the check.
    pub(super) const fn check(self) -> Range<usize> {
        self.reserve() - CHECK..self.reserve()
    }
}
