//! What a store knows of its sessions with a peer.

/// Counts of the two stores' sessions with each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Peer {
    /// Own sessions with it.
    own: u64,
    /// The highest count it gave; 0: none yet.
    highest: u64,
    /// Bit `i`: whether it gave `highest - i`.
    heard: u64,
}

impl Peer {
    pub(super) const BYTES: usize = 24;

    pub(super) fn advance(&mut self) -> u64 {
        self.own = self.own.saturating_add(1);
        self.own
    }

    /// Notes a count; `false` if it was given before or may have been. Then counting begins behind it.
    pub(super) fn witness(&mut self, epoch: u64) -> bool {
        let fresh = if epoch > self.highest {
            let ahead = epoch - self.highest;
            self.heard = self.heard.checked_shl(u32::try_from(ahead).unwrap_or(u32::MAX)).unwrap_or(0) | 1;
            self.highest = epoch;
            true
        } else {
            let bit = u32::try_from(self.highest - epoch).ok().and_then(|back| 1_u64.checked_shl(back));
            let fresh = bit.is_some_and(|bit| self.heard & bit == 0);
            self.heard |= bit.unwrap_or(0);
            fresh
        };
        if !fresh {
            (self.highest, self.heard) = (epoch, u64::MAX);
        }
        fresh
    }

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (part, n) in bytes.chunks_exact_mut(8).zip([self.own, self.highest, self.heard]) {
            part.copy_from_slice(&n.to_le_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let number = |i: usize| bytes[8 * i..8 * i + 8].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
        Self { own: number(0), highest: number(1), heard: number(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_may_overtake_each_other_but_not_return() {
        let mut peer = Peer::default();
        assert!([1, 3, 2, 5, 70, 69].into_iter().all(|n| peer.witness(n)));
        for old in [70, 69, 5] {
            let mut copy = peer;
            assert!(!copy.witness(old), "{old}");
            // Counting goes on from there.
            assert!(copy.witness(old + 1) && !copy.witness(old + 1));
        }
        assert!(peer.witness(68) && peer.witness(u64::MAX));
        assert_eq!(Peer::from_bytes(&peer.to_bytes()), peer);
        assert_eq!((peer.advance(), peer.advance()), (1, 2));
    }
}
