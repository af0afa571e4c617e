//! Shares of the product of a party's random word with a word of the other.
//!
//! Functionality: `s_0 + s_1 = a c` modulo `2^m` for a random `a` of the sender and a `c` of the receiver.
//!
//! Method: Gilboa, *Two party RSA key generation*, CRYPTO 1999, section 4.1, on random OTs with the bits of `c` as choices,
//! lowest first; the strings of bit `i` are cut to the `m - i` bits that count. The difference of the first strings is
//! `a`, and for every further bit a correction makes `a` the difference of its strings.
//!
//! Cost per element: `m` OTs and `m (m - 1) / 2` bits.

use phineus_kernel::pack::{pack, packed_len, unpack};
use phineus_kernel::wire::PeerMisbehaved;
use phineus_net::{ChannelError, Role};
use zeroize::Zeroizing;

use crate::compare::planes::column;
use crate::rot::columns::{Down, Up};

/// Products modulo `2^m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cross {
    /// `m`, 0..=32.
    pub(crate) bits: u32,
}

/// What the sender has: its words `a` and its shares of `a c`, modulo `2^m`.
pub(crate) struct Sent {
    pub(crate) factor: Zeroizing<Vec<u32>>,
    pub(crate) share: Zeroizing<Vec<u32>>,
}

impl Cross {
    /// `2^m - 1`.
    pub(crate) fn mask(self) -> u32 {
        ((1_u64 << self.bits) - 1) as u32
    }

    /// Bytes of the corrections for `n` elements.
    pub(crate) fn correction_bytes(self, n: usize) -> usize {
        self.corrections().map(|(_, bits)| packed_len(n, bits)).sum()
    }

    /// The columns of choices: one per bit.
    pub(crate) fn choices(self, c: &[u32]) -> impl Iterator<Item = Vec<u64>> {
        (0..self.bits).map(|bit| column(c, bit))
    }

    /// The sender's words and shares for `n` elements from the next `m` columns; corrections go to the end of
    /// `corrections`.
    pub(crate) async fn send<R: Role>(
        self,
        columns: &mut Down<'_, R>,
        n: usize,
        corrections: &mut Vec<u8>,
    ) -> Result<Sent, ChannelError> {
        let mut factor = Zeroizing::new(vec![0; n]);
        let mut share = Zeroizing::new(vec![0_u32; n]);
        if self.bits > 0 {
            for ((a, s), m) in factor.iter_mut().zip(share.iter_mut()).zip(columns.next().await?) {
                let [m0, m1] = m.map(|m| m as u32);
                *a = m1.wrapping_sub(m0) & self.mask();
                *s = m0.wrapping_neg();
            }
        }
        for (i, bits) in self.corrections() {
            let strings = columns.next().await?;
            let mut column = Vec::with_capacity(n);
            for ((a, s), m) in factor.iter().zip(share.iter_mut()).zip(strings) {
                let [m0, m1] = m.map(|m| m as u32);
                column.push(m0.wrapping_add(*a).wrapping_sub(m1) & (u32::MAX >> (32 - bits)));
                *s = s.wrapping_sub(m0 << i);
            }
            pack(&column, bits, corrections);
        }
        share.iter_mut().for_each(|s| *s &= self.mask());
        Ok(Sent { factor, share })
    }

    /// Adds the strings of the next `m` columns to the receiver's shares.
    pub(crate) async fn receive<R: Role>(
        self,
        columns: &mut Up<'_, R>,
        share: &mut [u32],
    ) -> Result<(), ChannelError> {
        for i in 0..self.bits {
            let strings = columns.next().await?;
            share.iter_mut().zip(strings).for_each(|(s, m)| *s = s.wrapping_add((*m as u32) << i));
        }
        Ok(())
    }

    /// Adds the corrections, [`Cross::correction_bytes`] bytes, to the receiver's shares for the words `c`.
    pub(crate) fn correct(
        self,
        name: &'static str,
        c: &[u32],
        share: &mut [u32],
        bytes: &[u8],
    ) -> Result<(), PeerMisbehaved> {
        let mut rest = bytes;
        for (i, bits) in self.corrections() {
            let (head, tail) = rest.split_at(packed_len(c.len(), bits).min(rest.len()));
            rest = tail;
            let corrections: Vec<u32> = unpack(name, head, c.len(), bits)?;
            for ((s, c), correction) in share.iter_mut().zip(c).zip(corrections) {
                let chosen = (c >> i & 1).wrapping_neg() & correction;
                *s = s.wrapping_add(chosen << i);
            }
        }
        share.iter_mut().for_each(|s| *s &= self.mask());
        Ok(())
    }

    /// Bit and width of the corrections, for every bit but the lowest.
    fn corrections(self) -> impl Iterator<Item = (u32, u32)> {
        (1..self.bits).map(move |i| (i, self.bits - i))
    }
}
