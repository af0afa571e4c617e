//! Random OTs by columns: all elements' transfers of one kind after those of another.

use phineus_net::{Channel, Role};
use zeroize::Zeroizing;

use super::cost;
use crate::compare::{CompareError, planes};
use crate::{Bits, rot};

/// The random OTs of which this party is the sender, one column of all elements after the other; several columns
/// make one extension.
pub(super) struct Down<'a, R: Role> {
    channel: &'a mut Channel<R>,
    ot: &'a mut rot::Sender<R>,
    left: usize,
    n: usize,
    held: Zeroizing<Vec<[u64; 2]>>,
    at: usize,
}

impl<'a, R: Role> Down<'a, R> {
    pub(super) fn new(
        channel: &'a mut Channel<R>,
        ot: &'a mut rot::Sender<R>,
        left: usize,
        lanes: usize,
    ) -> Self {
        Self { channel, ot, left, n: 64 * lanes, held: Zeroizing::new(Vec::new()), at: 0 }
    }

    /// The next column.
    pub(super) async fn next(&mut self) -> Result<&[[u64; 2]], CompareError> {
        if self.at == self.held.len() && self.n > 0 {
            let columns = cost::together(self.n).min(self.left);
            self.left -= columns;
            self.held = self.ot.extend(self.channel, columns * self.n).await?;
            self.at = 0;
        }
        let column = &self.held[self.at..self.at + self.n];
        self.at += self.n;
        Ok(column)
    }
}

/// The random OTs of which this party is the receiver, with one plane of choices per column.
pub(super) struct Up<'a, R: Role> {
    channel: &'a mut Channel<R>,
    ot: &'a mut rot::Receiver<R>,
    choices: &'a [Vec<u64>],
    n: usize,
    held: Zeroizing<Vec<u64>>,
    at: usize,
}

impl<'a, R: Role> Up<'a, R> {
    pub(super) fn new(
        channel: &'a mut Channel<R>,
        ot: &'a mut rot::Receiver<R>,
        choices: &'a [Vec<u64>],
        lanes: usize,
    ) -> Self {
        Self { channel, ot, choices, n: 64 * lanes, held: Zeroizing::new(Vec::new()), at: 0 }
    }

    /// The next column.
    pub(super) async fn next(&mut self) -> Result<&[u64], CompareError> {
        if self.at == self.held.len() && self.n > 0 {
            let (now, later) = self.choices.split_at(cost::together(self.n).min(self.choices.len()));
            self.choices = later;
            let mut bytes = Vec::new();
            now.iter().for_each(|plane| planes::to_bytes(plane, &mut bytes));
            let choices = Bits::from_packed(bytes, now.len() * self.n);
            self.held = self.ot.extend(self.channel, &choices).await?;
            self.at = 0;
        }
        let column = &self.held[self.at..self.at + self.n];
        self.at += self.n;
        Ok(column)
    }
}
