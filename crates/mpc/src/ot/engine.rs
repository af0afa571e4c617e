//! Either engine behind one pair of halves: correlated OT with chosen bits.
//!
//! [`cot`] costs 4 bytes per transfer and half a round trip; [`silent`] about 0.3 bytes and two round trips more per
//! round, from a reserve of [`Set::reserve`] transfers that [`cot`] has to make first. The choice is public and part
//! of a plan.

use phineus_kernel::block::Block;
use phineus_net::{Channel, ChannelError, Role, Server};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::cot::{self, Cost};
use super::silent::{self, Set};
use crate::{Bits, Delta};

/// How correlated OTs are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// SoftSpoken.
    #[default]
    SoftSpoken,
    /// Ferret on a reserve from SoftSpoken.
    Silent(Set),
}

impl Engine {
    /// The engine with the fewest bytes for `n` transfers from nothing but the base OTs.
    #[must_use]
    pub fn fewest_bytes(n: usize) -> Self {
        let all = std::iter::once(Self::SoftSpoken).chain(Set::ALL.map(Self::Silent));
        all.min_by_key(|engine| engine.bytes(n)).unwrap_or_default()
    }

    /// Bytes of turning a fresh SoftSpoken setup into this engine.
    #[must_use]
    pub fn setup_cost(self) -> Cost {
        match self {
            Self::SoftSpoken => Cost { sender_to_receiver: 0, receiver_to_sender: 0 },
            Self::Silent(set) => cot::extend_cost(set.reserve()),
        }
    }

    /// Messages of turning a fresh SoftSpoken setup into this engine, in their order.
    #[must_use]
    pub fn setup_messages(self) -> Vec<Message> {
        match self {
            Self::SoftSpoken => Vec::new(),
            Self::Silent(set) => cot::messages(set.reserve()).map(Message::ToSender).collect(),
        }
    }

    /// Messages of an extension by `n` transfers in their order. `stock` holds what is in stock before, and after.
    #[must_use]
    pub fn extend_messages(self, stock: &mut usize, n: usize) -> Vec<Message> {
        match self {
            Self::SoftSpoken => cot::messages(n).map(Message::ToSender).collect(),
            Self::Silent(set) => {
                let rounds = n.saturating_sub(*stock).div_ceil(set.round());
                *stock = *stock + rounds * set.round() - n;
                let round = set.round_messages();
                let mut all: Vec<_> = std::iter::repeat_n(round, rounds).flatten().collect();
                all.push(Message::ToSender(n.div_ceil(8)));
                all
            }
        }
    }

    /// Bytes of `n` transfers with `stock` of them there ([`End::stock`]).
    #[must_use]
    pub fn extend_cost(self, stock: usize, n: usize) -> Cost {
        match self {
            Self::SoftSpoken => cot::extend_cost(n),
            Self::Silent(set) => silent::extend_chosen_cost(set, stock, n),
        }
    }

    /// Lengths of what the two halves keep from one session to the next: the sender's, the receiver's.
    #[must_use]
    pub const fn kept(self) -> [usize; 2] {
        match self {
            Self::SoftSpoken => [cot::Sender::<Server>::KEPT, cot::Receiver::<Server>::KEPT],
            Self::Silent(set) => [silent::Sender::<Server>::kept(set), silent::Receiver::<Server>::kept(set)],
        }
    }

    fn bytes(self, n: usize) -> u64 {
        let sum = |cost: Cost| cost.sender_to_receiver + cost.receiver_to_sender;
        sum(self.setup_cost()) + sum(self.extend_cost(0, n))
    }
}

/// The payload of a message between the two parties of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// To the party with the offset.
    ToSender(usize),
    /// To the party with the choices.
    ToReceiver(usize),
}

/// The party with the offset.
pub enum Sender<R: Role> {
    /// By [`cot`].
    SoftSpoken(Box<cot::Sender<R>>),
    /// By [`silent`].
    Silent(Box<silent::Sender<R>>),
}

/// The party with the choices.
pub enum Receiver<R: Role> {
    /// By [`cot`].
    SoftSpoken(Box<cot::Receiver<R>>),
    /// By [`silent`].
    Silent(Box<silent::Receiver<R>>),
}

/// What both parties of an engine have.
pub trait End: Sized {
    /// Transfers in stock.
    #[must_use]
    fn stock(&self) -> usize;

    /// What the next session begins with; `None` after an error.
    #[must_use]
    fn suspend(self) -> Option<Zeroizing<Vec<u8>>>;

    /// The reverse of [`End::suspend`], under the name of the next session: fresh and equal on both sides.
    #[must_use]
    fn resume(engine: Engine, bytes: &[u8], session: &[u8; 32]) -> Option<Self>;

    /// Equal marks mean that two halves belong together.
    fn mark(&self, hasher: &mut blake3::Hasher);
}

impl<R: Role> Sender<R> {
    /// Turns a SoftSpoken setup into an engine. `session` must be fresh and equal on both sides.
    ///
    /// # Errors
    /// As [`cot::Sender::extend`].
    pub async fn setup(
        engine: Engine,
        channel: &mut Channel<R>,
        session: &[u8; 32],
        mut base: cot::Sender<R>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ChannelError> {
        Ok(match engine {
            Engine::SoftSpoken => Self::SoftSpoken(Box::new(base)),
            Engine::Silent(set) => {
                Self::Silent(Box::new(silent::Sender::setup(channel, session, &mut base, set, rng).await?))
            }
        })
    }

    /// The offset.
    #[must_use]
    pub fn delta(&self) -> &Delta {
        match self {
            Self::SoftSpoken(sender) => sender.delta(),
            Self::Silent(sender) => sender.delta(),
        }
    }

    /// `n` further transfers: all `K_j`, bit 0 clear.
    ///
    /// # Errors
    /// As [`cot::Sender::extend`].
    pub async fn extend(&mut self, channel: &mut Channel<R>, n: usize) -> Result<Vec<Block>, ChannelError> {
        match self {
            Self::SoftSpoken(sender) => sender.extend(channel, n).await,
            Self::Silent(sender) => sender.extend_chosen(channel, n).await,
        }
    }
}

impl<R: Role> Receiver<R> {
    /// As [`Sender::setup`].
    ///
    /// # Errors
    /// As [`cot::Receiver::extend`].
    pub async fn setup(
        engine: Engine,
        channel: &mut Channel<R>,
        session: &[u8; 32],
        mut base: cot::Receiver<R>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ChannelError> {
        Ok(match engine {
            Engine::SoftSpoken => Self::SoftSpoken(Box::new(base)),
            Engine::Silent(set) => {
                Self::Silent(Box::new(silent::Receiver::setup(channel, session, &mut base, set, rng).await?))
            }
        })
    }

    /// One transfer per choice: all `K_j + c_j Delta`.
    ///
    /// # Errors
    /// As [`silent::Receiver::extend`].
    pub async fn extend(
        &mut self,
        channel: &mut Channel<R>,
        choices: &Bits,
    ) -> Result<Vec<Block>, ChannelError> {
        match self {
            Self::SoftSpoken(receiver) => receiver.extend(channel, choices).await,
            Self::Silent(receiver) => receiver.extend_chosen(channel, choices).await,
        }
    }
}

impl<R: Role> End for Sender<R> {
    fn stock(&self) -> usize {
        match self {
            Self::SoftSpoken(_) => 0,
            Self::Silent(sender) => sender.stock(),
        }
    }

    fn suspend(self) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::SoftSpoken(sender) => sender.suspend(),
            Self::Silent(sender) => sender.suspend(),
        }
    }

    fn resume(engine: Engine, bytes: &[u8], session: &[u8; 32]) -> Option<Self> {
        Some(match engine {
            Engine::SoftSpoken => Self::SoftSpoken(Box::new(cot::Sender::resume(bytes, session)?)),
            Engine::Silent(set) => Self::Silent(Box::new(silent::Sender::resume(set, bytes, session)?)),
        })
    }

    fn mark(&self, hasher: &mut blake3::Hasher) {
        match self {
            Self::SoftSpoken(sender) => sender.mark(hasher),
            Self::Silent(sender) => sender.mark(hasher),
        }
    }
}

impl<R: Role> End for Receiver<R> {
    fn stock(&self) -> usize {
        match self {
            Self::SoftSpoken(_) => 0,
            Self::Silent(receiver) => receiver.stock(),
        }
    }

    fn suspend(self) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::SoftSpoken(receiver) => receiver.suspend(),
            Self::Silent(receiver) => receiver.suspend(),
        }
    }

    fn resume(engine: Engine, bytes: &[u8], session: &[u8; 32]) -> Option<Self> {
        Some(match engine {
            Engine::SoftSpoken => Self::SoftSpoken(Box::new(cot::Receiver::resume(bytes, session)?)),
            Engine::Silent(set) => Self::Silent(Box::new(silent::Receiver::resume(set, bytes, session)?)),
        })
    }

    fn mark(&self, hasher: &mut blake3::Hasher) {
        match self {
            Self::SoftSpoken(receiver) => receiver.mark(hasher),
            Self::Silent(receiver) => receiver.mark(hasher),
        }
    }
}

#[cfg(test)]
mod tests {
    use phineus_kernel::prg::Prg;
    use phineus_net::mem;

    use super::*;

    /// Either engine, either direction: the same functionality at the promised cost.
    #[tokio::test]
    async fn engines_conform() {
        for engine in [Engine::SoftSpoken, Engine::Silent(Set::B10)] {
            let (mut client, mut server) = mem::pair();
            let choices: Bits = (0..3001).map(|i| i % 5 < 2).collect();
            let ((keys, delta, sent), labels) = tokio::join!(
                async {
                    let rng = &mut Prg::new([1; 16]);
                    let delta = Delta::random(rng);
                    let base = cot::Sender::setup(&mut client, &[1; 32], delta, rng).await.unwrap();
                    let before = client.traffic();
                    let mut sender = Sender::setup(engine, &mut client, &[2; 32], base, rng).await.unwrap();
                    assert_eq!((client.traffic() - before).received, engine.setup_cost().receiver_to_sender);
                    let (before, cost) = (client.traffic(), engine.extend_cost(sender.stock(), 3001));
                    let keys = sender.extend(&mut client, 3001).await.unwrap();
                    let sent = client.traffic() - before;
                    assert_eq!(sent.received, cost.receiver_to_sender);
                    (keys, sender.delta().clone(), sent.sent == cost.sender_to_receiver)
                },
                async {
                    let rng = &mut Prg::new([2; 16]);
                    let base = cot::Receiver::setup(&mut server, &[1; 32], rng).await.unwrap();
                    let mut receiver =
                        Receiver::setup(engine, &mut server, &[2; 32], base, rng).await.unwrap();
                    receiver.extend(&mut server, &choices).await.unwrap()
                },
            );
            assert!(sent, "{engine:?}: bytes of the sender");
            for (i, (k, l)) in keys.iter().zip(&labels).enumerate() {
                assert!(!k.lsb());
                assert_eq!(l.0, k.0 ^ delta.times(choices.get(i)).0, "{engine:?}, transfer {i}");
            }
        }
    }

    #[test]
    fn few_transfers_are_softspoken_and_many_are_silent() {
        assert_eq!(Engine::fewest_bytes(1000), Engine::SoftSpoken);
        assert_eq!(Engine::fewest_bytes(500_000), Engine::Silent(Set::B10));
        assert!(Engine::fewest_bytes(1 << 26).bytes(1 << 26) < 1 << 24);
        assert_eq!(Engine::default(), Engine::SoftSpoken);
    }
}
