//! Random OT of 64-bit strings from correlated OT.
//!
//! Functionality: per transfer the sender gets two random strings `m_0, m_1`, the receiver with choice `c` gets `m_c`.
//!
//! Method: the outputs `K` and `K + c Delta` of [`crate::ot::engine`] are hashed by the re-keyed tweakable hash of
//! [`phineus_kernel::hash`] (Guo, Katz, Wang, Weng, Yu, CRYPTO 2020, section 4), which breaks the correlation: `m_b =
//! H(K + b Delta)`. Nothing is sent beyond the extension.
//!
//! Cost: that of the extension; two hashes per transfer at the sender, one at the receiver.
//!
//! Security: [`GROUP`] transfers share a key of the hash, so a tweak is used for `2 GROUP` queries by the sender.

use phineus_kernel::block::Block;
use phineus_kernel::hash::{LANES, tccr_groups};
use phineus_net::{Channel, ChannelError, Role};
use zeroize::Zeroizing;

use crate::Bits;
use crate::kept::{self, Reader};
use crate::ot::engine::{self, Engine};

pub(crate) mod columns;

/// Transfers that share one key of the hash.
pub const GROUP: usize = LANES;

/// Groups hashed at a time: their blocks stay in the first-level cache.
const SPAN: usize = 32;

/// The hash keys of one session and direction: a counter that both parties advance alike.
///
/// # Security
/// The start must be random per session and unknown before the offsets are fixed, and the two directions must not
/// meet: [`Tweaks::split`] puts them `2^127` apart.
#[derive(Debug)]
pub struct Tweaks(u128);

impl Tweaks {
    /// The two directions of a session that starts at `start`: first the one in which the server sends.
    #[must_use]
    pub fn split(start: u128) -> (Self, Self) {
        (Self(start), Self(start ^ 1 << 127))
    }

    /// In front of the state of a correlated OT.
    fn keep(&self, state: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut out = kept::with_room(Self::KEPT + state.len());
        out.extend(self.0.to_le_bytes());
        out.extend_from_slice(state);
        out
    }

    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut reader = Reader(bytes);
        Some((Self(u128::from_le_bytes(reader.array()?)), reader.0))
    }

    /// Length of what is kept in front of the state of a correlated OT.
    const KEPT: usize = 16;

    /// The first of `count` keys.
    fn take(&mut self, count: usize) -> u128 {
        let tweak = self.0;
        self.0 = self.0.wrapping_add(count as u128);
        tweak
    }
}

/// Lengths of what the two halves of one direction keep from one session to the next: the sender's, the receiver's.
#[must_use]
pub fn kept(engine: Engine) -> [usize; 2] {
    engine.kept().map(|len| Tweaks::KEPT + len)
}

/// One direction of a session as one of its parties holds it.
pub struct End<C> {
    cot: C,
    tweaks: Tweaks,
}

/// As the party with both strings holds it.
pub type Sender<R> = End<engine::Sender<R>>;

/// As the party that chooses holds it.
pub type Receiver<R> = End<engine::Receiver<R>>;

impl<C: engine::End> End<C> {
    /// Random OT on a correlated OT.
    #[must_use]
    pub fn new(cot: C, tweaks: Tweaks) -> Self {
        Self { cot, tweaks }
    }

    /// The correlated OT below.
    pub fn cot(&mut self) -> &mut C {
        &mut self.cot
    }

    /// Transfers in stock, which the cost of the next extension depends on.
    #[must_use]
    pub fn stock(&self) -> usize {
        self.cot.stock()
    }

    /// What the next session begins with, hash keys going on where they stand; `None` after an error.
    #[must_use]
    pub fn suspend(self) -> Option<Zeroizing<Vec<u8>>> {
        Some(self.tweaks.keep(&self.cot.suspend()?))
    }

    /// The reverse of [`End::suspend`], under the name of the next session: fresh and equal on both sides.
    #[must_use]
    pub fn resume(engine: Engine, bytes: &[u8], session: &[u8; 32]) -> Option<Self> {
        let (tweaks, rest) = Tweaks::read(bytes)?;
        Some(Self { cot: C::resume(engine, rest, session)?, tweaks })
    }

    /// Equal marks mean that two halves belong together.
    pub fn mark(&self, hasher: &mut blake3::Hasher) {
        self.cot.mark(hasher);
        hasher.update(&self.tweaks.0.to_le_bytes());
    }
}

impl<R: Role> Sender<R> {
    /// `n` transfers: all `[m_0, m_1]`.
    ///
    /// # Errors
    /// As [`engine::Sender::extend`].
    pub async fn extend(
        &mut self,
        channel: &mut Channel<R>,
        n: usize,
    ) -> Result<Zeroizing<Vec<[u64; 2]>>, ChannelError> {
        let keys = Zeroizing::new(self.cot.extend(channel, n).await?);
        let delta = self.cot.delta().block();
        let mut strings = Zeroizing::new(Vec::with_capacity(n));
        let mut x = Zeroizing::new([[[Block::ZERO; GROUP]; 2]; SPAN]);
        for keys in keys.chunks(SPAN * GROUP) {
            let x = &mut x[..keys.len().div_ceil(GROUP)];
            for (keys, [zero, one]) in keys.chunks(GROUP).zip(x.iter_mut()) {
                for (key, (zero, one)) in keys.iter().zip(zero.iter_mut().zip(one)) {
                    (*zero, *one) = (*key, *key ^ delta);
                }
            }
            tccr_groups(self.tweaks.take(x.len()), x);
            let hashed = x.iter().flat_map(|[zero, one]| zero.iter().zip(one));
            strings.extend(hashed.take(keys.len()).map(|(zero, one)| [zero.0 as u64, one.0 as u64]));
        }
        Ok(strings)
    }
}

impl<R: Role> Receiver<R> {
    /// One transfer per choice: all `m_c`.
    ///
    /// # Errors
    /// As [`engine::Receiver::extend`].
    pub async fn extend(
        &mut self,
        channel: &mut Channel<R>,
        choices: &Bits,
    ) -> Result<Zeroizing<Vec<u64>>, ChannelError> {
        let labels = Zeroizing::new(self.cot.extend(channel, choices).await?);
        let mut strings = Zeroizing::new(Vec::with_capacity(choices.len()));
        let mut x = Zeroizing::new([[[Block::ZERO; GROUP]; 1]; SPAN]);
        for labels in labels.chunks(SPAN * GROUP) {
            let x = &mut x[..labels.len().div_ceil(GROUP)];
            for (labels, [blocks]) in labels.chunks(GROUP).zip(x.iter_mut()) {
                blocks[..labels.len()].copy_from_slice(labels);
            }
            tccr_groups(self.tweaks.take(x.len()), x);
            let hashed = x.iter().flat_map(|[blocks]| blocks);
            strings.extend(hashed.take(labels.len()).map(|block| block.0 as u64));
        }
        Ok(strings)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use phineus_kernel::prg::Prg;
    use phineus_net::{Client, Server, mem};

    use super::*;
    use crate::Delta;
    use crate::ot::cot;
    use crate::ot::engine::Engine;

    /// A party's channel and both directions of random OT.
    pub(crate) struct Party<R: Role> {
        pub(crate) channel: Channel<R>,
        pub(crate) send: Sender<R>,
        pub(crate) receive: Receiver<R>,
    }

    async fn sender<R: Role>(channel: &mut Channel<R>, engine: Engine, rng: &mut Prg) -> engine::Sender<R> {
        let delta = Delta::random(rng);
        let base = cot::Sender::setup(channel, &[7; 32], delta, rng).await.unwrap();
        engine::Sender::setup(engine, channel, &[6; 32], base, rng).await.unwrap()
    }

    async fn receiver<R: Role>(
        channel: &mut Channel<R>,
        engine: Engine,
        rng: &mut Prg,
    ) -> engine::Receiver<R> {
        let base = cot::Receiver::setup(channel, &[7; 32], rng).await.unwrap();
        engine::Receiver::setup(engine, channel, &[6; 32], base, rng).await.unwrap()
    }

    async fn party<R: Role>(mut channel: Channel<R>, engine: Engine, seed: u8) -> Party<R> {
        let rng = &mut Prg::new([seed; 16]);
        let (send, receive) = if R::LEADER {
            let send = sender(&mut channel, engine, rng).await;
            (send, receiver(&mut channel, engine, rng).await)
        } else {
            let receive = receiver(&mut channel, engine, rng).await;
            (sender(&mut channel, engine, rng).await, receive)
        };
        let (down, up) = Tweaks::split(1 << 100);
        let (own, theirs) = if R::LEADER { (down, up) } else { (up, down) };
        Party { channel, send: Sender::new(send, own), receive: Receiver::new(receive, theirs) }
    }

    /// Both parties after setup.
    pub(crate) async fn parties_on(engine: Engine) -> (Party<Client>, Party<Server>) {
        let (client, server) = mem::pair();
        tokio::join!(party(client, engine, 1), party(server, engine, 2))
    }

    /// Both parties after setup, on SoftSpoken.
    pub(crate) async fn parties() -> (Party<Client>, Party<Server>) {
        parties_on(Engine::SoftSpoken).await
    }

    #[tokio::test]
    async fn the_receiver_gets_the_chosen_string_and_not_the_other() {
        let (mut client, mut server) = parties().await;
        for n in [1, 15, 16, 17, 1000] {
            let mut words = vec![0; n];
            Prg::new([n as u8; 16]).fill_u32(1, &mut words);
            let choices = Bits::from_words(&words, 1);
            let (sent, got) = tokio::join!(
                server.send.extend(&mut server.channel, n),
                client.receive.extend(&mut client.channel, &choices)
            );
            let (sent, got) = (sent.unwrap(), got.unwrap());
            assert_eq!((sent.len(), got.len()), (n, n));
            for (i, (pair, got)) in sent.iter().zip(got.iter()).enumerate() {
                assert_eq!(pair[usize::from(choices.get(i))], *got);
                assert_ne!(pair[usize::from(!choices.get(i))], *got);
            }
            let ones: u32 = sent.iter().map(|pair| (pair[0] ^ pair[1]).count_ones()).sum();
            let mean = 32.0 * n as f64;
            assert!((f64::from(ones) - mean).abs() < 6.0 * (16.0 * n as f64).sqrt());
        }
        // The other direction has hash keys of its own.
        let choices = Bits::zeros(40);
        let (sent, got) = tokio::join!(
            client.send.extend(&mut client.channel, 40),
            server.receive.extend(&mut server.channel, &choices)
        );
        assert!(sent.unwrap().iter().zip(got.unwrap().iter()).all(|(pair, got)| pair[0] == *got));
    }
}
