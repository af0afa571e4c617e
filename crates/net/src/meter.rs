//! What has crossed a channel.

use std::ops::{Add, AddAssign, Sub};

/// Bytes and rounds of one party, frame headers included.
///
/// A round is a wait: it is counted when the party receives after it has sent since its last receive. A
/// full-duplex section ([`crate::Channel::halves`]) counts as one round however the two directions interleave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Changes of direction.
    pub rounds: u64,
}

impl Traffic {
    /// The same traffic as the peer counts its bytes; rounds are kept.
    #[must_use]
    pub fn swapped(self) -> Self {
        Self { sent: self.received, received: self.sent, rounds: self.rounds }
    }
}

impl Add for Traffic {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            received: self.received + other.received,
            rounds: self.rounds + other.rounds,
        }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Traffic {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self {
            sent: self.sent - other.sent,
            received: self.received - other.received,
            rounds: self.rounds - other.rounds,
        }
    }
}
