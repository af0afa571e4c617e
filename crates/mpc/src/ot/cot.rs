//! Correlated OT: Roy, *SoftSpokenOT: quieter OT extension from small-field silent VOLE in the Minicrypt model*,
//! CRYPTO 2022 (small-field VOLE of figure 7, repetition code, consistency check), secure against malicious parties.
//!
//! Functionality: the sender holds `Delta` with bit 0 set, the receiver chooses bits `c_j`; the sender gets random
//! `K_j` with bit 0 clear, the receiver `K_j + c_j Delta`, whose bit 0 is `c_j`. (Both parties clear or set that bit
//! themselves: the receiver knows bit 0 of `K_j` anyway.)
//!
//! Method. Per punctured function (module `pprf`) with leaves `r_x` (bit vectors) the receiver has `u = sum_x r_x`
//! and the columns `v_b = sum_(x: x_b = 1) r_x`; the sender, who misses leaf `delta`, has `w_b = v_b + delta_b u`.
//! The receiver sends `d = u + c`; the sender adds `delta_b d` and has `v_b + delta_b c`: all trees now share the
//! same `c`, and the transposed columns are the outputs.
//!
//! Check. 128 random choices more are appended and sacrificed. A challenge `chi` in GF(2^128), the hash of the message
//! (Fiat-Shamir), defines the linear hash `h(a) = a_last + sum_m chi^m a_m` of a column in blocks of 128 bits. The
//! receiver sends `h(c)` and a digest of all `h(v_b)`; the sender compares with `h(w_b) + delta_b h(c)`. The last
//! block of `c` is uniform, so `h(c)` reveals nothing. A receiver that sends inconsistent `d` must guess the bits of
//! `Delta` they touch, aborting when wrong, or find a message with `h(e) = 0`: at most `2^(16 - 7 - 128)` per try.
//!
//! Cost: a setup of one message each way, then one message from the receiver per [`CHUNK`] transfers: 32 bits per
//! transfer and 560 bytes. See [`setup_cost`] and [`extend_cost`].

use std::marker::PhantomData;

use phineus_kernel::block::Block;
use phineus_kernel::prg::Prg;
use phineus_kernel::transpose::transpose;
use phineus_kernel::wire::{PeerMisbehaved, check_len};
use phineus_net::{Channel, ChannelError, FRAME_HEADER, Role, Step};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;
use rand::{CryptoRng, Rng};
use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use super::base::{self, POINT};
use super::pprf::{self, BASE, K, LEAVES, TREES};
use crate::kept::{self, Reader};
use crate::{Bits, Delta};

/// Transfers per message; bounds the memory of an extension to about 3 MB beside its result.
pub const CHUNK: usize = 1 << 16;

/// The base OT receiver's points.
pub const SETUP_POINTS: Step = Step::new("cot.points");
/// The base OT sender's point, the sums of the punctured functions and their check.
pub const SETUP_REPLY: Step = Step::new("cot.setup");
/// Corrections and check of one chunk.
pub const CORRECTION: Step = Step::new("cot.correction");

/// Bytes of a protocol part in each direction, frame headers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// From the sender of the transfers to their receiver.
    pub sender_to_receiver: u64,
    /// The other way.
    pub receiver_to_sender: u64,
}

/// Bytes of the setup.
#[must_use]
pub fn setup_cost() -> Cost {
    Cost {
        sender_to_receiver: (FRAME_HEADER + 2 * POINT * BASE) as u64,
        receiver_to_sender: (FRAME_HEADER + POINT + pprf::MESSAGE) as u64,
    }
}

/// Payloads of the two messages of the setup: the sender's, then the receiver's.
#[must_use]
pub const fn setup_messages() -> [usize; 2] {
    [2 * POINT * BASE, POINT + pprf::MESSAGE]
}

/// Bytes of one `extend` by `n` transfers.
#[must_use]
pub fn extend_cost(n: usize) -> Cost {
    let message = |m| (FRAME_HEADER + message_len(m)) as u64;
    let rest = n % CHUNK;
    let last = if rest == 0 { 0 } else { message(rest) };
    Cost { sender_to_receiver: 0, receiver_to_sender: (n / CHUNK) as u64 * message(CHUNK) + last }
}

/// Payloads of the messages of one `extend` by `n` transfers, all of them to the sender.
pub fn messages(n: usize) -> impl Iterator<Item = usize> {
    (0..n).step_by(CHUNK).map(move |start| message_len(CHUNK.min(n - start)))
}

/// The party with the offset.
pub struct Sender<R: Role> {
    delta: Delta,
    streams: Vec<Prg>,
    state: State,
    role: PhantomData<R>,
}

/// The party with the choices.
pub struct Receiver<R: Role> {
    streams: Vec<Prg>,
    masks: Prg,
    state: State,
    role: PhantomData<R>,
}

impl<R: Role> Sender<R> {
    /// Base OTs and punctured functions. `session` binds both parties to one run; it must be fresh and equal on
    /// both sides.
    ///
    /// # Errors
    /// [`ChannelError`] if the channel fails or the peer's messages are malformed or inconsistent.
    pub async fn setup(
        channel: &mut Channel<R>,
        session: &[u8; 32],
        delta: Delta,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ChannelError> {
        let session = &direction::<R>(session);
        let base = base::Receiver::new(session, pprf::choices(&delta), rng);
        let points = base.message().to_vec();
        channel.send_bytes(SETUP_POINTS, &points).await?;
        let reply = channel.recv_bytes(SETUP_REPLY, POINT + pprf::MESSAGE).await?;
        let (point, message) = reply.split_at(POINT);
        let seeds = pprf::hold(session, &delta, &base.finish(point)?, message)?;
        Ok(Self {
            delta,
            streams: streams(seeds),
            state: State::new(session, &points, &reply),
            role: PhantomData,
        })
    }

    /// The offset.
    #[must_use]
    pub fn delta(&self) -> &Delta {
        &self.delta
    }

    /// A hash of both parties' messages of the setup: random, and unknown to either before the offset was fixed.
    #[must_use]
    pub fn transcript(&self) -> &[u8; 32] {
        &self.state.id
    }

    /// `n` further transfers: all `K_j`.
    ///
    /// # Errors
    /// [`ChannelError`]; [`PeerMisbehaved::CheckFailed`] if the receiver cheated. After any error every further
    /// call fails.
    pub async fn extend(&mut self, channel: &mut Channel<R>, n: usize) -> Result<Vec<Block>, ChannelError> {
        self.state.enter()?;
        let mut out = Vec::with_capacity(n);
        for start in (0..n).step_by(CHUNK) {
            let count = CHUNK.min(n - start);
            let message = channel.recv_bytes(CORRECTION, message_len(count)).await?;
            out.extend(self.chunk(count, &message)?);
        }
        self.state.leave();
        Ok(out)
    }

    /// What the next session begins with; `None` after an error.
    #[must_use]
    pub fn suspend(mut self) -> Option<Zeroizing<Vec<u8>>> {
        let mut out = kept::with_room(Self::KEPT);
        out.extend(self.delta.block().to_bytes());
        self.state.put(&mut out)?;
        kept::put_streams(&mut self.streams, &mut out);
        Some(out)
    }

    /// The reverse of [`Sender::suspend`], under the name of the next session: fresh and equal on both sides.
    #[must_use]
    pub fn resume(bytes: &[u8], session: &[u8; 32]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let delta = Delta::from_bytes(reader.array()?)?;
        let (state, start) = State::read(&mut reader, session)?;
        let streams = reader.streams(TREES * (LEAVES - 1), &start)?;
        reader.end()?;
        Some(Self { delta, streams, state, role: PhantomData })
    }

    /// Length of what is kept.
    pub const KEPT: usize = Block::BYTES * (1 + TREES * (LEAVES - 1)) + State::KEPT;

    /// Equal marks mean that two halves belong together.
    pub fn mark(&self, hasher: &mut blake3::Hasher) {
        self.state.mark(hasher);
    }

    /// One chunk from the receiver's message.
    fn chunk(&mut self, count: usize, message: &[u8]) -> Result<Vec<Block>, PeerMisbehaved> {
        check_len(CORRECTION.name(), message, message_len(count))?;
        let stride = stride(count);
        let (corrections, check) = message.split_at(TREES * stride);
        let (hash_c, digest) = check.split_at(16);
        let hash_c: [u8; 16] = std::array::from_fn(|i| hash_c[i]);
        let delta = &self.delta;
        let mut columns = vec![0; 128 * stride];
        columns
            .par_chunks_mut(K * stride)
            .zip(corrections.par_chunks(stride))
            .zip(self.streams.par_chunks_mut(LEAVES - 1))
            .enumerate()
            .for_each(|(tree, ((columns, d), streams))| {
                expand(streams, columns, stride, None);
                for (b, column) in columns.chunks_mut(stride).enumerate() {
                    let mask = u8::from(delta.bit(tree * K + b)).wrapping_neg();
                    column.iter_mut().zip(d).for_each(|(w, d)| *w ^= d & mask);
                }
            });
        let universal = self.state.challenge(count, corrections);
        let tags: Vec<Block> = columns
            .par_chunks(stride)
            .enumerate()
            .map(|(i, column)| hash(&universal, column) ^ Block::from(hash_c) & Block::mask(delta.bit(i)))
            .collect();
        let expected: [u8; 32] = std::array::from_fn(|i| digest[i]);
        // `blake3::Hash` compares in constant time.
        if self.state.digest(&tags) != blake3::Hash::from_bytes(expected) {
            return Err(PeerMisbehaved::CheckFailed { what: CORRECTION.name() });
        }
        let mut keys = rows(columns, count);
        keys.iter_mut().for_each(|key| *key = key.with_colour(false));
        Ok(keys)
    }
}

impl<R: Role> Receiver<R> {
    /// As [`Sender::setup`].
    ///
    /// # Errors
    /// As [`Sender::setup`].
    pub async fn setup(
        channel: &mut Channel<R>,
        session: &[u8; 32],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ChannelError> {
        let session = &direction::<R::Peer>(session);
        let points = channel.recv_bytes(SETUP_POINTS, 2 * POINT * BASE).await?;
        let (point, keys) = base::send(session, BASE, &points, rng)?;
        let (seeds, message) = pprf::own(session, &keys);
        let reply = [&point[..], &message].concat();
        channel.send_bytes(SETUP_REPLY, &reply).await?;
        channel.flush().await?;
        let state = State::new(session, &points, &reply);
        Ok(Self { streams: streams(seeds), masks: Prg::from_generator(rng), state, role: PhantomData })
    }

    /// As [`Sender::transcript`].
    #[must_use]
    pub fn transcript(&self) -> &[u8; 32] {
        &self.state.id
    }

    /// One transfer per choice: all `K_j + c_j Delta`.
    ///
    /// # Errors
    /// [`ChannelError`] if the channel fails; after that every further call fails.
    pub async fn extend(
        &mut self,
        channel: &mut Channel<R>,
        choices: &Bits,
    ) -> Result<Vec<Block>, ChannelError> {
        self.state.enter()?;
        let mut out = Vec::with_capacity(choices.len());
        for start in (0..choices.len()).step_by(CHUNK) {
            let count = CHUNK.min(choices.len() - start);
            // CHUNK is a multiple of 8.
            let packed = &choices.as_bytes()[start / 8..(start + count).div_ceil(8)];
            let (message, labels) = self.chunk(count, packed);
            channel.send_bytes(CORRECTION, &message).await?;
            out.extend(labels);
        }
        channel.flush().await?;
        self.state.leave();
        Ok(out)
    }

    /// As [`Sender::suspend`].
    #[must_use]
    pub fn suspend(mut self) -> Option<Zeroizing<Vec<u8>>> {
        let mut out = kept::with_room(Self::KEPT);
        self.state.put(&mut out)?;
        kept::put_generator(&mut self.masks, &mut out);
        kept::put_streams(&mut self.streams, &mut out);
        Some(out)
    }

    /// As [`Sender::resume`].
    #[must_use]
    pub fn resume(bytes: &[u8], session: &[u8; 32]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let (state, start) = State::read(&mut reader, session)?;
        let masks = reader.generator()?;
        let streams = reader.streams(TREES * LEAVES, &start)?;
        reader.end()?;
        Some(Self { streams, masks, state, role: PhantomData })
    }

    /// Length of what is kept.
    pub const KEPT: usize = 32 + Block::BYTES * TREES * LEAVES + State::KEPT;

    /// As [`Sender::mark`].
    pub fn mark(&self, hasher: &mut blake3::Hasher) {
        self.state.mark(hasher);
    }

    /// One chunk: the message to the sender and the outputs.
    fn chunk(&mut self, count: usize, choices: &[u8]) -> (Vec<u8>, Vec<Block>) {
        let Correction { mut c, columns, mut message } = self.correct(count, choices);
        self.prove(count, &c, &columns, &mut message);
        let mut labels = rows(columns, count);
        for (i, label) in labels.iter_mut().enumerate() {
            *label = label.with_colour(c[i / 8] >> (i % 8) & 1 == 1);
        }
        c.zeroize();
        (message, labels)
    }

    fn correct(&mut self, count: usize, choices: &[u8]) -> Correction {
        let stride = stride(count);
        let mut c = vec![0; stride];
        let (chosen, sacrificed) = c.split_at_mut(stride - 16);
        chosen[..choices.len()].copy_from_slice(choices);
        self.masks.fill_bytes(sacrificed);
        let mut columns = vec![0; 128 * stride];
        let mut message = vec![0; message_len(count)];
        message.truncate(TREES * stride);
        columns
            .par_chunks_mut(K * stride)
            .zip(message.par_chunks_mut(stride))
            .zip(self.streams.par_chunks_mut(LEAVES))
            .for_each(|((columns, d), streams)| {
                d.copy_from_slice(&c);
                expand(streams, columns, stride, Some(d));
            });
        Correction { c, columns, message }
    }

    /// Appends the check to the corrections.
    fn prove(&mut self, count: usize, c: &[u8], columns: &[u8], message: &mut Vec<u8>) {
        let universal = self.state.challenge(count, message);
        let tags: Vec<Block> =
            columns.par_chunks(stride(count)).map(|column| hash(&universal, column)).collect();
        message.extend(hash(&universal, c).to_bytes());
        message.extend(self.state.digest(&tags).as_bytes());
    }
}

/// The receiver's half of a chunk before the check.
struct Correction {
    /// All choices, the sacrificed ones last.
    c: Vec<u8>,
    /// The columns `v`.
    columns: Vec<u8>,
    /// The corrections `d`.
    message: Vec<u8>,
}

/// What both parties track to keep their streams and challenges apart.
struct State {
    id: [u8; 32],
    counter: u64,
    broken: bool,
}

impl State {
    fn new(session: &[u8; 32], points: &[u8], reply: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("phineus SoftSpoken, setup");
        hasher.update(session).update(points).update(reply);
        Self { id: *hasher.finalize().as_bytes(), counter: 0, broken: false }
    }

    const KEPT: usize = 32 + 8;

    /// `None` if it is broken: then nothing may be kept.
    fn put(&self, out: &mut Vec<u8>) -> Option<()> {
        out.extend(self.id);
        out.extend(self.counter.to_le_bytes());
        (!self.broken).then_some(())
    }

    /// The state in another session, and where its streams start.
    fn read(reader: &mut Reader<'_>, session: &[u8; 32]) -> Option<(Self, [u8; 16])> {
        let (id, counter) = (reader.array::<32>()?, reader.u64()?);
        let mut hasher = blake3::Hasher::new_derive_key("phineus SoftSpoken, next session");
        hasher.update(&id).update(session);
        let (mut start, mut output) = ([0; 16], hasher.finalize_xof());
        let mut id = [0; 32];
        output.fill(&mut id);
        output.fill(&mut start);
        Some((Self { id, counter, broken: false }, start))
    }

    fn mark(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&self.id).update(&self.counter.to_le_bytes());
    }

    /// Streams are out of step once an extension was left half-way.
    fn enter(&mut self) -> Result<(), PeerMisbehaved> {
        if std::mem::replace(&mut self.broken, true) {
            return Err(PeerMisbehaved::CheckFailed { what: "cot, broken by an earlier error" });
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.broken = false;
    }

    fn challenge(&mut self, count: usize, corrections: &[u8]) -> Polyval {
        self.counter += 1;
        let mut key = [0; 16];
        blake3::Hasher::new_derive_key("phineus SoftSpoken, challenge")
            .update(&self.id)
            .update(&self.counter.to_le_bytes())
            .update(&(count as u64).to_le_bytes())
            .update(corrections)
            .finalize_xof()
            .fill(&mut key);
        Polyval::new(&key.into())
    }

    fn digest(&self, tags: &[Block]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_derive_key("phineus SoftSpoken, column hashes");
        hasher.update(&self.id).update(&self.counter.to_le_bytes()).update(Block::as_bytes(tags));
        hasher.finalize()
    }
}

/// The session of transfers sent by role `S`: the two directions of one session never share a hash.
pub(super) fn direction<S: Role>(session: &[u8; 32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("phineus SoftSpoken, direction");
    hasher.update(session).update(S::NAME.as_bytes());
    *hasher.finalize().as_bytes()
}

fn streams(seeds: Vec<Block>) -> Vec<Prg> {
    seeds.into_iter().map(Prg::new).collect()
}

/// Bytes of a column of `count` transfers: whole blocks, and the sacrificed one.
const fn stride(count: usize) -> usize {
    16 * (count.div_ceil(128) + 1)
}

const fn message_len(count: usize) -> usize {
    TREES * stride(count) + 16 + 32
}

/// Writes the columns `v_b = sum_(y: y_b = 1) r_y` and adds `sum_y r_y` to `sum`. The streams are those of the last
/// leaves; leaves before them count as zero.
fn expand(streams: &mut [Prg], columns: &mut [u8], stride: usize, mut sum: Option<&mut [u8]>) {
    let mut leaves = [[0; SPAN]; LEAVES];
    for start in (0..stride).step_by(SPAN) {
        let span = SPAN.min(stride - start);
        leaves[0] = [0; SPAN];
        let unknown = LEAVES - streams.len();
        for (leaf, stream) in leaves[unknown..].iter_mut().zip(streams.iter_mut()) {
            stream.fill_bytes(&mut leaf[..span]);
        }
        for b in (0..K).rev() {
            let column = &mut columns[b * stride + start..][..span];
            let (low, high) = leaves[..2 << b].split_at_mut(1 << b);
            for (low, high) in low.iter_mut().zip(high) {
                xor(column, high);
                xor(low, high);
            }
        }
        if let Some(sum) = &mut sum {
            xor(&mut sum[start..start + span], &leaves[0]);
        }
    }
    leaves.as_flattened_mut().zeroize();
}

/// Bytes of each leaf expanded at a time: all leaves stay in the first-level cache.
const SPAN: usize = 1024;

fn xor(a: &mut [u8], b: &[u8]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a ^= b);
}

const ZERO: polyval::Block = polyval::universal_hash::common::array::Array([0; 16]);

/// `h(a) = a_last + sum_m chi^m a_m`, the exponents counted from the end.
fn hash(universal: &Polyval, column: &[u8]) -> Block {
    let (blocks, _) = polyval::Block::slice_as_chunks(column);
    let (last, blocks) = blocks.split_last().unwrap_or((&ZERO, &[]));
    let mut polyval = universal.clone();
    polyval.update(blocks);
    Block::from(polyval.finalize().0) ^ Block::from(last.0)
}

/// The outputs: the matrix transposed, without the padding and the sacrificed rows.
fn rows(mut columns: Vec<u8>, count: usize) -> Vec<Block> {
    let mut rows = vec![Block::ZERO; columns.len() / 16];
    transpose(&columns, &mut rows);
    columns.zeroize();
    rows[count..].zeroize();
    rows.truncate(count);
    rows
}

#[cfg(test)]
mod tests;
