//! Silent correlated OT: Yang, Weng, Lan, Zhang, Wang, *Ferret: fast extension for correlated OT with small
//! communication*, CCS 2020 (figures 3, 6, 7; regular noise), with the trees of *Half-tree*, EUROCRYPT 2023
//! (figure 3), secure against malicious parties.
//!
//! Functionality: the sender holds `Delta` (bit 0 set) and gets random `K_j` (bit 0 clear); the receiver gets random
//! bits `b_j` and `K_j + b_j Delta`. With one more bit per transfer the receiver chooses: `extend_chosen`.
//!
//! A round turns `m = k + t d + 128` transfers into `n = t 2^d`, of which `m` start the next round ([`Set`]).
//! 1. Trees. Per tree the sender expands a root to `2^d` leaves `v_j` whose sum is `Delta` and masks, level by level,
//!    the sum of the left nodes with one old `K`. The receiver, whose old bits are the complements of the bits of a
//!    position `alpha`, unmasks the sums of the sides that its path does not take and gets
//!    `w_j = v_j + (j = alpha) Delta`.
//! 2. Check. With `chi` the hash of the sender's message, both parties take the linear hash of all leaves; the
//!    receiver's exceeds the sender's by `x Delta`, `x` the sum of the coefficients at the positions `alpha`. 128 old
//!    transfers make a random multiple of `Delta` of the receiver's choosing, so that it can send `x` masked and
//!    compare a digest (module `check`). A sender that deviates has to guess bits of `alpha`, aborting when wrong:
//!    one bit on average, which the assumption allows for.
//! 3. Code. Both add `sum_(l < 10) s_(i_(j, l))` to leaf `j`: `s` the `k` old transfers, `i` public (module `lpn`).
//!    The bits become `b = A u + e`, with one 1 in each block of `2^d` of `e`: pseudo-random by the assumption of
//!    learning parity with regular noise.
//!
//! Cost: 16 bytes per level of a tree from the sender, 64 bytes of check; see [`Set::round_cost`]. One round trip and
//! a half per round, none for transfers in stock.

use std::marker::PhantomData;

use phineus_kernel::block::Block;
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::{PeerMisbehaved, check_len};
use phineus_net::{Channel, ChannelError, FRAME_HEADER, Role, Step};
use rand::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::cot::{self, Cost, direction};
use crate::kept::{self, Reader};
use crate::{Bits, Delta};

mod check;
mod lpn;
mod set;
mod trees;

pub use set::Set;

/// Masked sums of the trees' levels.
pub const SUMS: Step = Step::new("silent.sums");
/// The receiver's part of the check.
pub const MASKED: Step = Step::new("silent.masked");
/// The sender's part of the check.
pub const DIGEST: Step = Step::new("silent.digest");
/// Corrections from random to chosen bits.
pub const FLIPS: Step = Step::new("silent.flips");

/// The party with the offset.
pub struct Sender<R: Role> {
    delta: Delta,
    roots: Prg,
    state: State,
    role: PhantomData<R>,
}

/// The party with the bits.
pub struct Receiver<R: Role> {
    state: State,
    role: PhantomData<R>,
}

impl<R: Role> Sender<R> {
    /// Takes the transfers of the first round from `base`, whose offset becomes this sender's. `session` must be fresh
    /// and equal on both sides.
    ///
    /// # Errors
    /// As [`cot::Sender::extend`].
    pub async fn setup(
        channel: &mut Channel<R>,
        session: &[u8; 32],
        base: &mut cot::Sender<R>,
        set: Set,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ChannelError> {
        let reserve = base.extend(channel, set.reserve()).await?;
        Ok(Self {
            delta: base.delta().clone(),
            roots: Prg::from_generator(rng),
            state: State::new(&direction::<R>(session), set, reserve),
            role: PhantomData,
        })
    }

    /// The offset.
    #[must_use]
    pub fn delta(&self) -> &Delta {
        &self.delta
    }

    /// Transfers in stock, to be had without traffic.
    #[must_use]
    pub fn stock(&self) -> usize {
        self.state.stock.len()
    }

    /// `n` further transfers: all `K_j`, bit 0 clear.
    ///
    /// # Errors
    /// [`ChannelError`] if the channel fails or the receiver's messages are malformed. After any error every further
    /// call fails.
    pub async fn extend(&mut self, channel: &mut Channel<R>, n: usize) -> Result<Vec<Block>, ChannelError> {
        self.state.enter()?;
        let mut keys = Vec::with_capacity(n);
        while !self.state.fill(&mut keys, n) {
            let (sums, leaves) = self.grow();
            channel.send_bytes(SUMS, &sums).await?;
            channel.flush().await?;
            let masked = channel.recv_bytes(MASKED, Block::BYTES).await?;
            let digest = self.prove(&sums, &leaves, &masked)?;
            channel.send_bytes(DIGEST, &digest).await?;
            channel.flush().await?;
            self.state.encode(leaves);
        }
        self.state.leave();
        Ok(keys)
    }

    /// As [`extend`](Self::extend), with the bits of the receiver's choice.
    ///
    /// # Errors
    /// As [`extend`](Self::extend).
    pub async fn extend_chosen(
        &mut self,
        channel: &mut Channel<R>,
        n: usize,
    ) -> Result<Vec<Block>, ChannelError> {
        let mut keys = self.extend(channel, n).await?;
        self.state.enter()?;
        let flips = Bits::from_bytes(channel.recv_bytes(FLIPS, n.div_ceil(8)).await?, n).map_err(|_| {
            PeerMisbehaved::Invalid { what: FLIPS.name(), reason: "bits beyond the last one" }
        })?;
        for (i, key) in keys.iter_mut().enumerate() {
            *key = (*key ^ self.delta.times(flips.get(i))).with_colour(false);
        }
        self.state.leave();
        Ok(keys)
    }

    /// What the next session begins with; `None` after an error.
    #[must_use]
    pub fn suspend(mut self) -> Option<Zeroizing<Vec<u8>>> {
        let mut out = kept::with_room(Self::kept(self.state.set));
        out.extend(self.delta.block().to_bytes());
        kept::put_generator(&mut self.roots, &mut out);
        self.state.put(&mut out)?;
        Some(out)
    }

    /// The reverse of [`Sender::suspend`], under the name of the next session: fresh and equal on both sides.
    #[must_use]
    pub fn resume(set: Set, bytes: &[u8], session: &[u8; 32]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let delta = Delta::from_bytes(reader.array()?)?;
        let roots = reader.generator()?;
        let state = State::read(&mut reader, set, session)?;
        reader.end()?;
        Some(Self { delta, roots, state, role: PhantomData })
    }

    /// Length of what is kept.
    #[must_use]
    pub const fn kept(set: Set) -> usize {
        Block::BYTES + 32 + State::kept(set)
    }

    /// Equal marks mean that two halves belong together.
    pub fn mark(&self, hasher: &mut blake3::Hasher) {
        self.state.mark(hasher);
    }

    /// The trees of a round: the masked sums, and all leaves.
    fn grow(&mut self) -> (Vec<u8>, Vec<Block>) {
        let mut leaves = self.state.room();
        let State { set, ref reserve, .. } = self.state;
        let tweak = self.state.tweak();
        (trees::grow(set, &self.delta, reserve, &mut self.roots, tweak, &mut leaves), leaves)
    }

    /// The digest that shows the receiver that the trees are right.
    fn prove(&self, sums: &[u8], leaves: &[Block], masked: &[u8]) -> Result<[u8; 32], PeerMisbehaved> {
        check_len(MASKED.name(), masked, Block::BYTES)?;
        let masked = Block::from_bytes(std::array::from_fn(|i| masked[i]));
        let chi = self.state.challenge(sums);
        let sum = chi.hash(leaves)
            ^ check::pack(&self.state.reserve[self.state.set.check()])
            ^ check::times(masked, self.delta.block());
        Ok(self.state.digest(sum))
    }
}

impl<R: Role> Receiver<R> {
    /// As [`Sender::setup`].
    ///
    /// # Errors
    /// As [`cot::Receiver::extend`].
    pub async fn setup(
        channel: &mut Channel<R>,
        session: &[u8; 32],
        base: &mut cot::Receiver<R>,
        set: Set,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ChannelError> {
        let mut bytes = vec![0; set.reserve().div_ceil(8)];
        rng.fill_bytes(&mut bytes);
        if let Some(last) = bytes.last_mut().filter(|_| !set.reserve().is_multiple_of(8)) {
            *last &= (1 << (set.reserve() % 8)) - 1;
        }
        let reserve = base.extend(channel, &Bits::from_packed(bytes, set.reserve())).await?;
        Ok(Self { state: State::new(&direction::<R::Peer>(session), set, reserve), role: PhantomData })
    }

    /// Transfers in stock, to be had without traffic.
    #[must_use]
    pub fn stock(&self) -> usize {
        self.state.stock.len()
    }

    /// `n` further transfers: all `K_j + b_j Delta`, and the random `b_j`, which are also their bits 0.
    ///
    /// # Errors
    /// [`ChannelError`]; [`PeerMisbehaved::CheckFailed`] if the sender cheated. After any error every further call
    /// fails.
    pub async fn extend(
        &mut self,
        channel: &mut Channel<R>,
        n: usize,
    ) -> Result<(Vec<Block>, Bits), ChannelError> {
        self.state.enter()?;
        let mut labels = Vec::with_capacity(n);
        while !self.state.fill(&mut labels, n) {
            let sums = channel.recv_bytes(SUMS, self.state.set.sums_len()).await?;
            let leaves = self.reconstruct(&sums)?;
            let (masked, expected) = self.expect(&sums, &leaves);
            channel.send_bytes(MASKED, &masked).await?;
            channel.flush().await?;
            let digest = channel.recv_bytes(DIGEST, expected.len()).await?;
            self.state.verify(&expected, &digest)?;
            self.state.encode(leaves);
        }
        self.state.leave();
        let byte = |eight: &[Block]| eight.iter().rev().fold(0, |byte, l| byte << 1 | u8::from(l.lsb()));
        let bits = Bits::from_packed(labels.chunks(8).map(byte).collect(), n);
        Ok((labels, bits))
    }

    /// Transfers with chosen bits: all `K_j + c_j Delta`.
    ///
    /// # Errors
    /// As [`extend`](Self::extend).
    pub async fn extend_chosen(
        &mut self,
        channel: &mut Channel<R>,
        choices: &Bits,
    ) -> Result<Vec<Block>, ChannelError> {
        let (mut labels, mut flips) = self.extend(channel, choices.len()).await?;
        self.state.enter()?;
        flips.xor_assign(choices);
        channel.send_bytes(FLIPS, flips.as_bytes()).await?;
        channel.flush().await?;
        for (i, label) in labels.iter_mut().enumerate() {
            *label = label.with_colour(choices.get(i));
        }
        self.state.leave();
        Ok(labels)
    }

    /// As [`Sender::suspend`].
    #[must_use]
    pub fn suspend(self) -> Option<Zeroizing<Vec<u8>>> {
        let mut out = kept::with_room(Self::kept(self.state.set));
        self.state.put(&mut out)?;
        Some(out)
    }

    /// As [`Sender::resume`].
    #[must_use]
    pub fn resume(set: Set, bytes: &[u8], session: &[u8; 32]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let state = State::read(&mut reader, set, session)?;
        reader.end()?;
        Some(Self { state, role: PhantomData })
    }

    /// Length of what is kept.
    #[must_use]
    pub const fn kept(set: Set) -> usize {
        State::kept(set)
    }

    /// As [`Sender::mark`].
    pub fn mark(&self, hasher: &mut blake3::Hasher) {
        self.state.mark(hasher);
    }

    /// The leaves of a round.
    fn reconstruct(&mut self, sums: &[u8]) -> Result<Vec<Block>, PeerMisbehaved> {
        let mut leaves = self.state.room();
        let State { set, ref reserve, .. } = self.state;
        trees::reconstruct(set, reserve, sums, self.state.tweak(), &mut leaves)?;
        Ok(leaves)
    }

    /// The masked sum of coefficients and the digest that an honest sender will show.
    fn expect(&self, sums: &[u8], leaves: &[Block]) -> ([u8; 16], [u8; 32]) {
        let set = self.state.set;
        let chi = self.state.challenge(sums);
        let old = &self.state.reserve[set.check()];
        let mask = old.iter().enumerate().fold(0, |x, (i, label)| x | u128::from(label.lsb()) << i);
        let masked = chi.at_positions(set, &self.state.reserve[set.paths()]) ^ Block(mask);
        (masked.to_bytes(), self.state.digest(chi.hash(leaves) ^ check::pack(old)))
    }
}

/// What both parties hold and step in the same way.
struct State {
    set: Set,
    id: [u8; 32],
    round: u64,
    /// The transfers that the next round uses up.
    reserve: Vec<Block>,
    /// The transfers made and not yet handed out.
    stock: Vec<Block>,
    broken: bool,
}

impl State {
    fn new(session: &[u8; 32], set: Set, reserve: Vec<Block>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("phineus silent OT, session");
        hasher.update(session).update(set.name().as_bytes());
        Self { set, id: *hasher.finalize().as_bytes(), round: 0, reserve, stock: vec![], broken: false }
    }

    const fn kept(set: Set) -> usize {
        32 + 8 + Block::BYTES * set.reserve()
    }

    /// `None` if it is broken: then nothing may be kept.
    fn put(&self, out: &mut Vec<u8>) -> Option<()> {
        out.extend(self.id);
        out.extend(self.round.to_le_bytes());
        out.extend_from_slice(Block::as_bytes(&self.reserve));
        (!self.broken).then_some(())
    }

    /// The state in another session.
    fn read(reader: &mut Reader<'_>, set: Set, session: &[u8; 32]) -> Option<Self> {
        let (id, round) = (reader.array::<32>()?, reader.u64()?);
        let reserve = Block::vec_from_bytes(reader.take(Block::BYTES * set.reserve())?)?;
        let mut hasher = blake3::Hasher::new_derive_key("phineus silent OT, next session");
        hasher.update(&id).update(session);
        let id = *hasher.finalize().as_bytes();
        Some(Self { set, id, round, reserve, stock: vec![], broken: false })
    }

    fn mark(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&self.id).update(&self.round.to_le_bytes());
    }

    fn enter(&mut self) -> Result<(), PeerMisbehaved> {
        if std::mem::replace(&mut self.broken, true) {
            return Err(PeerMisbehaved::CheckFailed { what: "silent OT, broken by an earlier error" });
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.broken = false;
    }

    fn derive(&self, context: &str, input: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.id).update(&self.round.to_le_bytes()).update(input);
        hasher.finalize()
    }

    /// Where the hash tweaks of this round's trees start.
    fn tweak(&self) -> u128 {
        first_half(&self.derive("phineus silent OT, tweaks", &[])).0
    }

    fn challenge(&self, sums: &[u8]) -> check::Chi {
        check::Chi::new(first_half(&self.derive("phineus silent OT, challenge", sums)))
    }

    fn digest(&self, sum: Block) -> [u8; 32] {
        *self.derive("phineus silent OT, check", &sum.to_bytes()).as_bytes()
    }

    fn verify(&self, expected: &[u8; 32], digest: &[u8]) -> Result<(), PeerMisbehaved> {
        let digest = std::array::from_fn(|i| digest.get(i).copied().unwrap_or(0));
        // `blake3::Hash` compares in constant time.
        if blake3::Hash::from_bytes(*expected) == blake3::Hash::from_bytes(digest) {
            Ok(())
        } else {
            Err(PeerMisbehaved::CheckFailed { what: DIGEST.name() })
        }
    }

    /// The code on top of the leaves; the last transfers become the next reserve.
    fn encode(&mut self, mut leaves: Vec<Block>) {
        let code = first_half(&self.derive("phineus silent OT, code", &[]));
        lpn::add(code, &self.reserve[..self.set.k()], &mut leaves);
        self.reserve.zeroize();
        self.reserve = leaves.split_off(leaves.len() - self.set.reserve());
        debug_assert!(self.stock.is_empty());
        self.stock = leaves;
        self.round += 1;
    }

    /// Moves transfers from the stock to `out` until that has `n` or the stock is empty: whether it has.
    fn fill(&mut self, out: &mut Vec<Block>, n: usize) -> bool {
        let kept = self.stock.len() - self.stock.len().min(n - out.len());
        out.extend_from_slice(&self.stock[kept..]);
        self.stock[kept..].zeroize();
        self.stock.truncate(kept);
        out.len() == n
    }

    /// The memory of the empty stock, for the leaves of the next round.
    fn room(&mut self) -> Vec<Block> {
        let mut leaves = std::mem::take(&mut self.stock);
        leaves.clear();
        leaves.resize(self.set.n(), Block::ZERO);
        leaves
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.reserve.zeroize();
        self.stock.zeroize();
    }
}

/// Bytes of one `extend` by `n` transfers with `stock` of them there, frame headers included.
#[must_use]
pub fn extend_cost(set: Set, stock: usize, n: usize) -> Cost {
    let rounds = n.saturating_sub(stock).div_ceil(set.round()) as u64;
    let Cost { sender_to_receiver, receiver_to_sender } = set.round_cost();
    Cost { sender_to_receiver: rounds * sender_to_receiver, receiver_to_sender: rounds * receiver_to_sender }
}

/// As [`extend_cost`] for `extend_chosen`.
#[must_use]
pub fn extend_chosen_cost(set: Set, stock: usize, n: usize) -> Cost {
    let mut cost = extend_cost(set, stock, n);
    cost.receiver_to_sender += (FRAME_HEADER + n.div_ceil(8)) as u64;
    cost
}

fn first_half(hash: &blake3::Hash) -> Block {
    Block::from_bytes(std::array::from_fn(|i| hash.as_bytes()[i]))
}

#[cfg(test)]
mod tests;
