//! Random OTs by columns: all elements' transfers of one kind after those of another.
//!
//! A column has one transfer per element, rounded up to whole words of 64; several columns make one extension. Between
//! extensions a half yields, so that whoever drives it can put what is more urgent first.

use phineus_net::{Channel, ChannelError, Role};
use tokio::task::yield_now;
use zeroize::Zeroizing;

use super::{Receiver, Sender};
use crate::Bits;
use crate::compare::planes::{self, lanes};
use crate::ot::cot;

/// Sizes of the extensions for `count` columns of `elements`, in their order.
pub(crate) fn extensions(count: usize, elements: usize) -> Vec<usize> {
    let n = 64 * lanes(elements);
    let per = together(n);
    (0..count).step_by(per).filter(|_| n > 0).map(|first| per.min(count - first) * n).collect()
}

/// Bytes of these extensions from the receiver to the sender, on SoftSpoken.
pub(crate) fn bytes(extensions: Vec<usize>) -> u64 {
    extensions.into_iter().map(|n| cot::extend_cost(n).receiver_to_sender).sum()
}

/// Columns of `n` transfers that make one extension.
fn together(n: usize) -> usize {
    (cot::CHUNK / n.max(1)).max(1)
}

/// The random OTs of which this party is the sender, one column of all elements after the other.
pub(crate) struct Down<'a, R: Role> {
    channel: &'a mut Channel<R>,
    ot: &'a mut Sender<R>,
    left: usize,
    n: usize,
    held: Zeroizing<Vec<[u64; 2]>>,
    at: usize,
}

impl<'a, R: Role> Down<'a, R> {
    pub(crate) fn new(channel: &'a mut Channel<R>, ot: &'a mut Sender<R>, left: usize, lanes: usize) -> Self {
        Self { channel, ot, left, n: 64 * lanes, held: Zeroizing::new(Vec::new()), at: 0 }
    }

    /// The next column.
    pub(crate) async fn next(&mut self) -> Result<&[[u64; 2]], ChannelError> {
        if self.at == self.held.len() && self.n > 0 {
            let columns = together(self.n).min(self.left);
            self.left -= columns;
            yield_now().await;
            self.held = self.ot.extend(self.channel, columns * self.n).await?;
            self.at = 0;
        }
        let column = &self.held[self.at..self.at + self.n];
        self.at += self.n;
        Ok(column)
    }
}

/// The random OTs of which this party is the receiver, with one plane of choices per column.
pub(crate) struct Up<'a, R: Role> {
    channel: &'a mut Channel<R>,
    ot: &'a mut Receiver<R>,
    choices: &'a [Vec<u64>],
    n: usize,
    held: Zeroizing<Vec<u64>>,
    at: usize,
}

impl<'a, R: Role> Up<'a, R> {
    pub(crate) fn new(
        channel: &'a mut Channel<R>,
        ot: &'a mut Receiver<R>,
        choices: &'a [Vec<u64>],
        lanes: usize,
    ) -> Self {
        Self { channel, ot, choices, n: 64 * lanes, held: Zeroizing::new(Vec::new()), at: 0 }
    }

    /// The next column.
    pub(crate) async fn next(&mut self) -> Result<&[u64], ChannelError> {
        if self.at == self.held.len() && self.n > 0 {
            let (now, later) = self.choices.split_at(together(self.n).min(self.choices.len()));
            self.choices = later;
            yield_now().await;
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
