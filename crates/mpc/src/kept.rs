//! States of oblivious transfers at rest, between one session and the next.
//!
//! A party that ends a session turns its ends of the transfers into bytes (`suspend`), which consumes them; the next
//! session begins with them (`resume`). Nothing is drawn twice:
//! * Pseudo-random streams do not go on: each yields the seed of its successor, so that what is kept tells nothing about
//!   the past.
//! * Counters of messages and of hash keys go on where they stood.
//! * The next session's name, to which both parties have contributed, enters all that is derived: where the streams start,
//!   challenges, tweaks, the code. Two sessions that begin with one state, because a party went back in time, share none.
//! * Transfers in stock are not kept: they take 16 bytes each, and are made again for a fifth of a byte.
//!
//! Lengths follow from the engine alone. Both parties' halves are marked alike (`mark`): equal marks mean that two halves
//! belong together.

use phineus_kernel::block::Block;
use phineus_kernel::prg::Prg;
use rand::Rng as _;
use zeroize::Zeroizing;

/// Bytes with room for what will be written, so that no copy stays behind.
pub(crate) fn with_room(bytes: usize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(bytes))
}

/// Appends the seeds of the streams' successors.
pub(crate) fn put_streams(streams: &mut [Prg], out: &mut Vec<u8>) {
    streams.iter_mut().for_each(|stream| out.extend(stream.next_block().to_bytes()));
}

/// Appends the seed of a generator's successor.
pub(crate) fn put_generator(generator: &mut Prg, out: &mut Vec<u8>) {
    let mut seed = Zeroizing::new([0; 32]);
    generator.fill_bytes(&mut *seed);
    out.extend_from_slice(&*seed);
}

/// Reads what was written, part by part.
pub(crate) struct Reader<'b>(pub(crate) &'b [u8]);

impl<'b> Reader<'b> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Streams of `count` seeds, from a place that the session determines.
    pub(crate) fn streams(&mut self, count: usize, start: &[u8; 16]) -> Option<Vec<Prg>> {
        let stream = |seed: &[u8; 16]| {
            let mut both = Zeroizing::new([0; 32]);
            both[..16].copy_from_slice(seed);
            both[16..].copy_from_slice(start);
            Prg::from_seed32(&both)
        };
        Some(self.take(count * Block::BYTES)?.as_chunks().0.iter().map(stream).collect())
    }

    pub(crate) fn generator(&mut self) -> Option<Prg> {
        let seed = Zeroizing::new(self.array()?);
        Some(Prg::from_seed32(&seed))
    }

    /// The end, and nothing behind it.
    pub(crate) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use phineus_net::mem;

    use crate::Bits;
    use crate::ot::engine::Engine;
    use crate::ot::silent::Set;
    use crate::rot;
    use crate::rot::tests::{Party, parties_on};

    const ENGINES: [Engine; 2] = [Engine::SoftSpoken, Engine::Silent(Set::B10)];

    type Strings = (Vec<[u64; 2]>, Vec<u64>);

    /// Transfers of all bits of the choices 1, 0, 0, ..
    async fn extend<S: phineus_net::Role, R: phineus_net::Role>(
        (from, send): (&mut phineus_net::Channel<S>, &mut rot::Sender<S>),
        (to, receive): (&mut phineus_net::Channel<R>, &mut rot::Receiver<R>),
        n: usize,
    ) -> Strings {
        let choices: Bits = (0..n).map(|i| i % 3 == 0).collect();
        let (sent, got) = tokio::join!(send.extend(from, n), receive.extend(to, &choices));
        let (sent, got) = (sent.unwrap(), got.unwrap());
        for (i, (pair, got)) in sent.iter().zip(got.iter()).enumerate() {
            assert_eq!(pair[usize::from(choices.get(i))], *got, "{i}");
            assert_ne!(pair[usize::from(!choices.get(i))], *got, "{i}");
        }
        (sent.to_vec(), got.to_vec())
    }

    fn marks(
        sender: &rot::Sender<phineus_net::Server>,
        receiver: &rot::Receiver<phineus_net::Client>,
    ) -> bool {
        let (mut a, mut b) = (blake3::Hasher::new(), blake3::Hasher::new());
        sender.mark(&mut a);
        receiver.mark(&mut b);
        a.finalize() == b.finalize()
    }

    #[tokio::test]
    async fn transfers_go_on_in_later_sessions_and_never_repeat() {
        for engine in ENGINES {
            let (Party { channel: mut client, receive, .. }, Party { channel: mut server, send, .. }) =
                parties_on(engine).await;
            let mut halves = (send, receive);
            let mut seen: std::collections::HashSet<u64> = std::collections::HashSet::new();
            let mut fresh = |(sent, _): Strings| {
                assert!(sent.into_iter().flatten().all(|string| seen.insert(string)), "{engine:?}: again");
            };
            fresh(extend((&mut server, &mut halves.0), (&mut client, &mut halves.1), 300).await);
            for session in 1..4 {
                let kept = (halves.0.suspend().unwrap(), halves.1.suspend().unwrap());
                assert_eq!([kept.0.len(), kept.1.len()], rot::kept(engine));
                // Twice from the same state, as if both parties had gone back in time: still nothing repeats.
                let resume = |name: &[u8; 32]| {
                    let send = rot::Sender::resume(engine, &kept.0, name).unwrap();
                    (send, rot::Receiver::resume(engine, &kept.1, name).unwrap())
                };
                let mut again = resume(&[session + 100; 32]);
                fresh(extend((&mut server, &mut again.0), (&mut client, &mut again.1), 300).await);
                halves = resume(&[session; 32]);
                assert!(marks(&halves.0, &halves.1) && !marks(&halves.0, &again.1));
                fresh(extend((&mut server, &mut halves.0), (&mut client, &mut halves.1), 300).await);
                // One party at another moment.
                let other = rot::Receiver::resume(engine, &kept.1, &[session; 32]).unwrap();
                assert!(!marks(&halves.0, &other));
            }
        }
    }

    #[tokio::test]
    async fn other_lengths_are_no_state_and_errors_leave_none() {
        for engine in ENGINES {
            let (client, server) = parties_on(engine).await;
            let other = ENGINES[usize::from(engine == ENGINES[0])];
            let mut receive = client.receive;
            let bytes = server.send.suspend().unwrap();
            let longer = [&bytes[..], &[0]].concat();
            for bad in [&bytes[..bytes.len() - 1], &longer, &[]] {
                assert!(rot::Sender::<phineus_net::Server>::resume(engine, bad, &[1; 32]).is_none());
            }
            assert!(rot::Sender::<phineus_net::Server>::resume(other, &bytes, &[1; 32]).is_none());
            // The peer vanishes within an extension.
            let (mut near, far) = mem::pair();
            drop(far);
            assert!(receive.extend(&mut near, &Bits::zeros(70)).await.is_err());
            assert!(receive.suspend().is_none());
        }
    }
}
