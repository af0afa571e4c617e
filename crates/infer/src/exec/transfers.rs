//! The oblivious transfers of a session: set up once, drawn from by every pre-compute, and kept for the next session.
//!
//! A direction is set up if the plan uses it: *down* the server holds the offset and the client chooses, *up* the reverse.
//! Where the hash keys of random transfers start follows from the transcripts of all base transfers: both parties
//! contribute, and neither knows it before the offsets are fixed.

use phineus_mpc::Delta;
use phineus_mpc::ot::{cot, engine};
use phineus_mpc::rot::{self, Tweaks};
use phineus_net::{Channel, Client, Role, Server};
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::ProtocolError;
use crate::plan::Directions;

/// One party's ends of both directions; `None` where the plan does not use one.
pub(crate) struct Transfers<R: Role> {
    send: Option<rot::Sender<R>>,
    receive: Option<rot::Receiver<R>>,
}

impl<R: Role> Default for Transfers<R> {
    /// Of a plan that uses none.
    fn default() -> Self {
        Self { send: None, receive: None }
    }
}

impl<R: Role> Transfers<R> {
    /// The end with the offset.
    ///
    /// # Errors
    /// [`ProtocolError::Material`] if the plan does not use it.
    pub(crate) fn send(&mut self) -> Result<&mut rot::Sender<R>, ProtocolError> {
        self.send.as_mut().ok_or(ProtocolError::Material)
    }

    /// The end with the choices.
    ///
    /// # Errors
    /// As [`Transfers::send`].
    pub(crate) fn receive(&mut self) -> Result<&mut rot::Receiver<R>, ProtocolError> {
        self.receive.as_mut().ok_or(ProtocolError::Material)
    }

    /// Both ends.
    ///
    /// # Errors
    /// As [`Transfers::send`].
    pub(crate) fn both(&mut self) -> Result<(&mut rot::Sender<R>, &mut rot::Receiver<R>), ProtocolError> {
        self.send.as_mut().zip(self.receive.as_mut()).ok_or(ProtocolError::Material)
    }

    /// Transfers in stock, of this party as sender and as receiver.
    pub(crate) fn stocks(&self) -> [usize; 2] {
        let send = self.send.as_ref().map_or(0, rot::Sender::stock);
        [send, self.receive.as_ref().map_or(0, rot::Receiver::stock)]
    }

    /// What the next session begins with; `None` if an extension failed.
    pub(crate) fn suspend(self) -> Option<Zeroizing<Vec<u8>>> {
        let mut parts = Vec::new();
        if let Some(send) = self.send {
            parts.push(send.suspend()?);
        }
        if let Some(receive) = self.receive {
            parts.push(receive.suspend()?);
        }
        let mut all = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
        parts.iter().for_each(|part| all.extend_from_slice(part));
        Some(all)
    }

    /// The reverse of [`Transfers::suspend`], in a session whose name is fresh and equal on both sides; `None` if the bytes
    /// are no state of these directions.
    pub(crate) fn resume(directions: &Directions, bytes: &[u8], session: &[u8; 32]) -> Option<Self> {
        let Directions { down, up } = *directions;
        let (own, theirs) = if R::LEADER { (down, up) } else { (up, down) };
        let mut rest = bytes;
        let mut take = |len: usize| {
            let (head, tail) = rest.split_at_checked(len)?;
            rest = tail;
            Some(head)
        };
        let mut transfers = Self::default();
        if let Some(engine) = own {
            let [len, _] = rot::kept(engine);
            transfers.send = Some(rot::Sender::resume(engine, take(len)?, session)?);
        }
        if let Some(engine) = theirs {
            let [_, len] = rot::kept(engine);
            transfers.receive = Some(rot::Receiver::resume(engine, take(len)?, session)?);
        }
        rest.is_empty().then_some(transfers)
    }

    /// The same on both sides if the two ends belong together, and on no others.
    pub(crate) fn mark(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("phineus transfers, two ends of one state");
        for down in [true, false] {
            if down == R::LEADER {
                self.send.iter().for_each(|send| send.mark(&mut hasher));
            } else {
                self.receive.iter().for_each(|receive| receive.mark(&mut hasher));
            }
        }
        *hasher.finalize().as_bytes()
    }

    async fn assemble(
        channel: &mut Channel<R>,
        session: &[u8; 32],
        send: Option<(cot::Sender<R>, engine::Engine)>,
        receive: Option<(cot::Receiver<R>, engine::Engine)>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ProtocolError> {
        let (own, theirs) =
            (send.as_ref().map(|s| s.0.transcript()), receive.as_ref().map(|r| r.0.transcript()));
        let (down, up) = if R::LEADER { (own, theirs) } else { (theirs, own) };
        let mut hasher = blake3::Hasher::new_derive_key("phineus transfers, start of the hash keys");
        for transcript in [down, up] {
            hasher.update(transcript.unwrap_or(&[0; 32]));
        }
        let mut start = [0; 16];
        start.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        let (down, up) = Tweaks::split(u128::from_le_bytes(start));
        let (own, theirs) = if R::LEADER { (down, up) } else { (up, down) };
        let mut done = Self::default();
        let (mut sender, mut receiver) = (send.map(|base| (base, own)), receive.map(|base| (base, theirs)));
        // Down first, on both sides.
        for down in [true, false] {
            if down == R::LEADER {
                if let Some(((base, kind), tweaks)) = sender.take() {
                    let cot = engine::Sender::setup(kind, channel, session, base, rng).await?;
                    done.send = Some(rot::Sender::new(cot, tweaks));
                }
            } else if let Some(((base, kind), tweaks)) = receiver.take() {
                let cot = engine::Receiver::setup(kind, channel, session, base, rng).await?;
                done.receive = Some(rot::Receiver::new(cot, tweaks));
            }
        }
        channel.flush().await?;
        Ok(done)
    }
}

impl Transfers<Client> {
    /// Base transfers and the reserves of silent ones. `session` must be fresh and equal on both sides.
    ///
    /// # Errors
    /// [`ProtocolError::Channel`].
    pub(crate) async fn set_up(
        channel: &mut Channel<Client>,
        session: &[u8; 32],
        directions: &Directions,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ProtocolError> {
        let receive = match directions.down {
            Some(kind) => Some((cot::Receiver::setup(channel, session, rng).await?, kind)),
            None => None,
        };
        let send = match directions.up {
            Some(kind) => Some((cot::Sender::setup(channel, session, Delta::random(rng), rng).await?, kind)),
            None => None,
        };
        Self::assemble(channel, session, send, receive, rng).await
    }
}

impl Transfers<Server> {
    /// As the client's.
    ///
    /// # Errors
    /// [`ProtocolError::Channel`].
    pub(crate) async fn set_up(
        channel: &mut Channel<Server>,
        session: &[u8; 32],
        directions: &Directions,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ProtocolError> {
        let send = match directions.down {
            Some(kind) => Some((cot::Sender::setup(channel, session, Delta::random(rng), rng).await?, kind)),
            None => None,
        };
        let receive = match directions.up {
            Some(kind) => Some((cot::Receiver::setup(channel, session, rng).await?, kind)),
            None => None,
        };
        Self::assemble(channel, session, send, receive, rng).await
    }
}
