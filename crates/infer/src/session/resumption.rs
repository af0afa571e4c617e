//! How a session goes on with the oblivious transfers of the one before.
//!
//! A session that ends with a goodbye leaves each party its ends of the transfers, under a token that only the two know.
//! The next session between the same two stores takes them up, if both still have them; otherwise it sets up anew, and
//! nobody has made a mistake.
//!
//! | step | direction | content |
//! |---|---|---|
//! | offer | C -> S | whether there is a state; its name; a proof; 32 random bytes |
//! | answer | S -> C | whether it is taken up; a proof, or 32 random bytes |
//!
//! The offer goes with the keys, the answer with the answers of the linear layers, so that neither costs a round.
//!
//! **Used once.** A state leaves its store, durably, before the session begins with it, and a new one is stored after the
//! goodbye. A session that fails in any way, a failed consistency check above all, leaves none. Who restores a backup or
//! copies a directory is found out by the stores ([`crate::store`]), and by names: a name holds for one epoch. Even two
//! parties that both went back to the same moment draw nothing twice, since both nonces of the session enter all streams.
//!
//! **Proofs.** Per state `name = H(token, epoch)`; a proof is `MAC(token; side, session, mark)`, `mark` a hash of what the
//! two ends must have in common: kinds, transcripts of the set-ups, counters. Whoever does not know the token finds no state
//! and burns none. Who knows the token and not the state fails the check of the first extension. The token is the hash of
//! random bytes of both parties and of the transcripts, sent over the protected channel like the stores' names.
//!
//! **Malicious parties.** Every extension is checked as in a first session. A deviation that goes unnoticed is a guess of
//! bits of a secret that lives as long as the state; a wrong guess ends the session and with it the state, so that the
//! chance of `t` right guesses is `2^-t` over all sessions together.
//!
//! **Keys.** With its state a client keeps the seeds of its keys for encryption; the server keeps what it has received in
//! memory. They are no material of one use: the handshake says by name whether the server still has them.
//!
//! Cost: [`OFFER_LEN`] and [`ANSWER_LEN`] bytes.

use std::sync::Arc;

use phineus_he::Params;
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::PeerMisbehaved;
use phineus_net::{Channel, ChannelError, Client, Role, Server, Step};
use rand::Rng as _;
use zeroize::Zeroizing;

use crate::ProtocolError;
use crate::exec::transfers::Transfers;
use crate::plan::{Directions, Plan};
use crate::protocol::linear_he::ClientKeys;
use crate::store::{Lot, PoolId, PrepId, Store};

const OFFER: Step = Step::new("transfers.offer");
const ANSWER: Step = Step::new("transfers.answer");

/// Whether there is a state, its name, a proof, random bytes.
pub(crate) const OFFER_LEN: usize = 1 + 16 + 32 + 32;
/// Whether the state is taken up, a proof or random bytes.
pub(crate) const ANSWER_LEN: usize = 1 + 32;

/// Where a party keeps the states that fit a plan.
pub(super) fn lot(plan: &Plan, peer: PoolId) -> Lot {
    Lot { plan: plan.directions().digest(), peer }
}

/// What a state is known by, besides itself.
struct Chain {
    token: Zeroizing<[u8; 32]>,
    epoch: u64,
}

/// One party's state between two sessions.
pub(super) struct Kept {
    chain: Chain,
    state: Zeroizing<Vec<u8>>,
}

/// One party's ends of the transfers within a session.
pub(super) struct Live<R: Role> {
    pub(super) transfers: Transfers<R>,
    chain: Chain,
}

impl Chain {
    /// The first of a chain.
    fn begin<R: Role>(transfers: &Transfers<R>, session: &[u8; 32], client: &[u8], server: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("phineus resumption, token");
        hasher.update(session).update(&transfers.mark()).update(client).update(server);
        Self { token: Zeroizing::new(*hasher.finalize().as_bytes()), epoch: 0 }
    }

    fn name(&self) -> PrepId {
        let mac = self.mac("name", &[]);
        let mut name = [0; 16];
        name.copy_from_slice(&mac.as_bytes()[..16]);
        PrepId::from_bytes(name)
    }

    /// `R`'s proof that it has the state in this session.
    fn proof<R: Role>(&self, session: &[u8; 32], mark: &[u8; 32]) -> blake3::Hash {
        self.mac(R::NAME, &[&session[..], mark].concat())
    }

    fn mac(&self, what: &str, content: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.token);
        hasher.update(&self.epoch.to_le_bytes()).update(&(what.len() as u64).to_le_bytes());
        hasher.update(what.as_bytes()).update(content).finalize()
    }
}

impl Kept {
    const FORMAT: u8 = 1;

    fn to_bytes(&self, keys: &ClientKeys) -> Zeroizing<Vec<u8>> {
        let mut seeds = Zeroizing::new(Vec::with_capacity(ClientKeys::MOST));
        keys.append_to(&mut seeds);
        let mut out = Zeroizing::new(Vec::with_capacity(1 + 8 + 32 + seeds.len() + self.state.len()));
        out.push(Self::FORMAT);
        out.extend(self.chain.epoch.to_le_bytes());
        out.extend_from_slice(&*self.chain.token);
        out.extend_from_slice(&seeds);
        out.extend_from_slice(&self.state);
        out
    }

    fn from_bytes(bytes: &[u8], rings: &[Arc<Params>]) -> Option<(Self, ClientKeys)> {
        let (format, rest) = bytes.split_first()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (token, rest) = rest.split_first_chunk::<32>()?;
        let (keys, state) = ClientKeys::read(rest, rings)?;
        let chain = Chain { token: Zeroizing::new(*token), epoch: u64::from_le_bytes(*epoch) };
        let kept = Self { chain, state: Zeroizing::new(state.to_vec()) };
        (*format == Self::FORMAT).then_some((kept, keys))
    }

    /// The latest state in a client's store, which no longer holds it then, and the keys that came with it.
    pub(super) fn take(
        store: &dyn Store,
        lot: &Lot,
        plan: &Plan,
    ) -> Result<(Option<Self>, ClientKeys), ProtocolError> {
        let found = store.resume(lot, None)?.and_then(|(_, bytes)| Self::from_bytes(&bytes, plan.rings()));
        Ok(found.map_or_else(Default::default, |(kept, keys)| (Some(kept), keys)))
    }

    /// Puts it into a client's store, with the keys that the server has.
    pub(super) fn keep_with(
        &self,
        keys: &ClientKeys,
        store: &dyn Store,
        lot: &Lot,
    ) -> Result<(), ProtocolError> {
        Ok(store.keep(lot, self.chain.name(), &self.to_bytes(keys))?)
    }

    /// Puts it into a server's store.
    pub(super) fn keep(&self, store: &dyn Store, lot: &Lot) -> Result<(), ProtocolError> {
        self.keep_with(&ClientKeys::default(), store, lot)
    }

    fn resume<R: Role>(&self, directions: &Directions, session: &[u8; 32]) -> Option<Transfers<R>> {
        Transfers::resume(directions, &self.state, session)
    }
}

impl<R: Role> Live<R> {
    /// After the goodbye; `None` if an extension failed.
    pub(super) fn suspend(self) -> Option<Kept> {
        let Self { transfers, chain: Chain { token, epoch } } = self;
        let chain = Chain { token, epoch: epoch.checked_add(1)? };
        Some(Kept { chain, state: transfers.suspend()? })
    }
}

/// What a client has offered.
pub(super) struct Offered {
    live: Option<Live<Client>>,
    fresh: [u8; 32],
}

/// Client: offers a state, which is used up by it.
pub(super) async fn offer(
    channel: &mut Channel<Client>,
    kept: Option<Kept>,
    session: &[u8; 32],
    directions: &Directions,
    rng: &mut Prg,
) -> Result<Offered, ProtocolError> {
    let live = kept.and_then(|kept| {
        let transfers = kept.resume(directions, session)?;
        Some(Live { transfers, chain: kept.chain })
    });
    let mut fresh = [0; 32];
    rng.fill_bytes(&mut fresh);
    let mut message = vec![u8::from(live.is_some())];
    match &live {
        Some(Live { transfers, chain }) => {
            message.extend(chain.name().bytes());
            message.extend(chain.proof::<Client>(session, &transfers.mark()).as_bytes());
        }
        None => message.extend([0; 16 + 32]),
    }
    message.extend(fresh);
    channel.send_bytes(OFFER, &message).await?;
    Ok(Offered { live, fresh })
}

/// Client: goes on with the state if the server has it too, and sets up transfers anew if not.
pub(super) async fn settle(
    channel: &mut Channel<Client>,
    offered: Offered,
    session: &[u8; 32],
    directions: &Directions,
    rng: &mut Prg,
) -> Result<Live<Client>, ProtocolError> {
    let answer = channel.recv_bytes(ANSWER, ANSWER_LEN).await?;
    let (taken, word) = answer.split_at(1);
    match (taken, offered.live) {
        ([1], Some(live)) => {
            let expected = live.chain.proof::<Server>(session, &live.transfers.mark());
            // `blake3::Hash` compares in constant time.
            if expected != *<&[u8; 32]>::try_from(word).unwrap_or(&[0; 32]) {
                return Err(ChannelError::Peer(PeerMisbehaved::CheckFailed { what: ANSWER.name() }).into());
            }
            Ok(live)
        }
        ([0], _) => {
            let transfers = Transfers::<Client>::set_up(channel, session, directions, rng).await?;
            let chain = Chain::begin(&transfers, session, &offered.fresh, word);
            Ok(Live { transfers, chain })
        }
        _ => {
            let reason = "no answer to what was offered";
            Err(ChannelError::Peer(PeerMisbehaved::Invalid { what: ANSWER.name(), reason }).into())
        }
    }
}

/// What a server has been offered.
pub(super) struct Offer {
    name: Option<PrepId>,
    proof: [u8; 32],
    fresh: [u8; 32],
}

/// Server: the client's offer.
pub(super) async fn receive(channel: &mut Channel<Server>) -> Result<Offer, ProtocolError> {
    let message = channel.recv_bytes(OFFER, OFFER_LEN).await?;
    let part = |from: usize| <[u8; 32]>::try_from(&message[from..from + 32]).unwrap_or_default();
    let name = <[u8; 16]>::try_from(&message[1..17]).unwrap_or_default();
    let (proof, fresh) = (part(17), part(49));
    let name = match message[0] {
        0 if message[1..49] == [0; 48] => None,
        1 => Some(PrepId::from_bytes(name)),
        _ => {
            let reason = "neither a state nor none";
            return Err(ChannelError::Peer(PeerMisbehaved::Invalid { what: OFFER.name(), reason }).into());
        }
    };
    Ok(Offer { name, proof, fresh })
}

impl Offer {
    /// The state that is offered, if this side has it and the client knows the token. A state stays where it is if the client
    /// does not.
    fn find(
        &self,
        store: &dyn Store,
        lot: &Lot,
        session: &[u8; 32],
        directions: &Directions,
    ) -> Result<Option<Live<Server>>, ProtocolError> {
        let Some(name) = self.name else { return Ok(None) };
        let Some((_, bytes)) = store.resume(lot, Some(name))? else { return Ok(None) };
        let Some((kept, _)) = Kept::from_bytes(&bytes, &[]) else { return Ok(None) };
        let Some(transfers) = kept.resume(directions, session) else { return Ok(None) };
        if kept.chain.proof::<Client>(session, &transfers.mark()) != self.proof {
            kept.keep(store, lot)?;
            return Ok(None);
        }
        Ok(Some(Live { transfers, chain: kept.chain }))
    }

    /// Server: goes on with the state, or sets up transfers anew.
    pub(super) async fn answer(
        self,
        channel: &mut Channel<Server>,
        (store, lot): (&dyn Store, &Lot),
        session: &[u8; 32],
        directions: &Directions,
        rng: &mut Prg,
    ) -> Result<Live<Server>, ProtocolError> {
        if let Some(live) = self.find(store, lot, session, directions)? {
            let proof = live.chain.proof::<Server>(session, &live.transfers.mark());
            channel.send_bytes(ANSWER, &[&[1], &proof.as_bytes()[..]].concat()).await?;
            channel.flush().await?;
            return Ok(live);
        }
        let mut fresh = [0; 32];
        rng.fill_bytes(&mut fresh);
        channel.send_bytes(ANSWER, &[&[0], &fresh[..]].concat()).await?;
        let transfers = Transfers::<Server>::set_up(channel, session, directions, rng).await?;
        let chain = Chain::begin(&transfers, session, &self.fresh, &fresh);
        Ok(Live { transfers, chain })
    }
}

#[cfg(test)]
mod tests {
    use phineus_mpc::ot::engine::Engine;
    use phineus_net::mem;

    use super::*;

    const DOWN: Directions = Directions { down: Some(Engine::SoftSpoken), up: None };
    const SESSION: [u8; 32] = [4; 32];

    async fn offered(message: &[u8]) -> Result<Offer, ProtocolError> {
        let (mut client, mut server) = mem::pair();
        client.send_bytes(OFFER, message).await.unwrap();
        client.flush().await.unwrap();
        receive(&mut server).await
    }

    #[tokio::test]
    async fn offers_have_one_encoding() {
        let mut none = [0; OFFER_LEN];
        none[49..].fill(7);
        assert!(offered(&none).await.unwrap().name.is_none());
        let mut some = none;
        some[..49].fill(1);
        assert_eq!(offered(&some).await.unwrap().name, Some(PrepId::from_bytes([1; 16])));
        for (place, value) in [(0, 2), (0, 255), (1, 1), (48, 1)] {
            let mut bad = none;
            bad[place] = value;
            assert!(offered(&bad).await.is_err(), "{place}");
        }
        assert!(offered(&none[1..]).await.is_err());
        assert!(offered(&[&none[..], &[0]].concat()).await.is_err());
    }

    /// Both ends of fresh transfers.
    async fn ends() -> (Live<Client>, Live<Server>) {
        let (mut near, mut far) = mem::pair();
        let (near_rng, far_rng) = (&mut Prg::new([1; 16]), &mut Prg::new([2; 16]));
        let offered = offer(&mut near, None, &SESSION, &DOWN, near_rng).await.unwrap();
        near.flush().await.unwrap();
        let received = receive(&mut far).await.unwrap();
        let store = crate::store::MemoryStore::new(Default::default(), &mut Prg::new([3; 16]));
        let lot = Lot { plan: DOWN.digest(), peer: PoolId::from_bytes([5; 16]) };
        let (client, server) = tokio::join!(
            settle(&mut near, offered, &SESSION, &DOWN, near_rng),
            received.answer(&mut far, (&store, &lot), &SESSION, &DOWN, far_rng)
        );
        (client.unwrap(), server.unwrap())
    }

    #[tokio::test]
    async fn answers_that_are_no_answers_end_the_session() {
        let later = [6; 32];
        for offers in [false, true] {
            let (client, server) = ends().await;
            let (client, server) = (client.suspend().unwrap(), server.suspend().unwrap());
            let transfers = server.resume::<Server>(&DOWN, &later).unwrap();
            let right = *server.chain.proof::<Server>(&later, &transfers.mark()).as_bytes();
            let mirrored = *server.chain.proof::<Client>(&later, &transfers.mark()).as_bytes();
            let mut answers = vec![
                [&[2][..], &right].concat(),
                [&[1][..], &mirrored].concat(),
                [&[1][..], &[0; 32]].concat(),
                vec![1; 3],
            ];
            if !offers {
                answers.push([&[1][..], &right].concat());
            }
            let bytes = client.to_bytes(&ClientKeys::default());
            for answer in answers {
                let (mut near, mut far) = mem::pair();
                let kept = Kept::from_bytes(&bytes, &[]).unwrap().0;
                let rng = &mut Prg::new([1; 16]);
                let kept = Some(kept).filter(|_| offers);
                let offered = offer(&mut near, kept, &later, &DOWN, rng).await.unwrap();
                far.send_bytes(ANSWER, &answer).await.unwrap();
                far.flush().await.unwrap();
                let settled = settle(&mut near, offered, &later, &DOWN, rng).await;
                assert!(settled.is_err(), "{answer:?}");
            }
            // In another session, with another epoch, the right answer is another one.
            let other = server.resume::<Server>(&DOWN, &SESSION).unwrap();
            assert_ne!(right, *server.chain.proof::<Server>(&SESSION, &other.mark()).as_bytes());
        }
    }

    #[tokio::test]
    async fn what_is_kept_comes_back_and_nothing_else_does() {
        let (client, server) = ends().await;
        for kept in [client.suspend().unwrap(), server.suspend().unwrap()] {
            let bytes = kept.to_bytes(&ClientKeys::default());
            let again = Kept::from_bytes(&bytes, &[]).unwrap().0;
            assert_eq!(again.to_bytes(&ClientKeys::default()), bytes);
            assert_eq!((again.chain.epoch, again.chain.name()), (1, kept.chain.name()));
            for len in [0, 1, 9, 40, 41, 73] {
                assert!(Kept::from_bytes(&bytes[..len], &[]).is_none(), "{len}");
            }
            let short = Kept::from_bytes(&bytes[..bytes.len() - 1], &[]).unwrap().0;
            assert!(short.resume::<Client>(&DOWN, &SESSION).is_none());
            assert!(short.resume::<Server>(&DOWN, &SESSION).is_none());
        }
    }
}
