//! The largest value of a window on shares, by oblivious transfer.
//!
//! Functionality: server and client share `v_j = y_j + c_j` modulo `2^l` for the values of a window; the client also has
//! a mask `r`. The server gets `max_j v_j - r` modulo `2^l`, the client nothing; `c` and `r` are known offline.
//!
//! Method: a tree of `max(a, b) = relu(a - b) + b` on plain rectifiers ([`super::relu`]). Each hands its result over
//! as it got its operands, masked by what the client knew offline, so that every level is prepared offline.
//!
//! Values must lie in `[-2^(l-2), 2^(l-2))`: their differences must not leave the ring.
//!
//! Cost: `window - 1` rectifiers, `ceil(log2 window)` of them one after the other. Exactly: [`Max::cost`].
//!
//! Security: that of the rectifiers.

use phineus_kernel::block::Block;
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::{PeerMisbehaved, check_len};
use phineus_net::{Channel, Role};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::relu::{self, Cost};
use super::{CompareError, Relu, ReluSpec, Rounding};
use crate::rot;

/// Public parameters: the width of the ring and the number of values per window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Max {
    relu: Relu,
    window: usize,
}

/// The server's correlations for one layer; consumed by the online phase.
#[derive(Debug)]
#[must_use]
pub struct ServerMaterial(Vec<relu::ServerMaterial>);

/// The client's correlations for one layer; consumed by the online phase.
#[derive(Debug)]
#[must_use]
pub struct ClientMaterial {
    seed: Zeroizing<Block>,
    levels: Vec<relu::ClientMaterial>,
}

impl Max {
    /// Windows of `window` values of `bits` bits.
    ///
    /// # Errors
    /// [`CompareError::Unsupported`] unless `2 <= bits <= 32` and `1 <= window <= 1024`.
    pub fn new(bits: u32, window: usize) -> Result<Self, CompareError> {
        if !(1..=1024).contains(&window) {
            return Err(CompareError::Unsupported { what: "window", got: window as i64 });
        }
        let hi = (1_i64 << bits.clamp(2, 32) >> 1) - 1;
        let spec = ReluSpec {
            in_bits: bits,
            shift: 0,
            lo: 0,
            hi: hi as i32,
            out_bits: bits,
            rounding: Rounding::Exact,
        };
        Ok(Self { relu: Relu::new(spec)?, window })
    }

    /// The plain rectifier of the tree.
    #[must_use]
    pub fn relu(&self) -> &Relu {
        &self.relu
    }

    /// Values per window.
    #[must_use]
    pub fn window(&self) -> usize {
        self.window
    }

    /// Rectifiers of each level for `n` windows, in the order of the levels.
    pub fn levels(&self, n: usize) -> impl Iterator<Item = usize> + use<> {
        let widths = std::iter::successors(Some(self.window), |w| (*w > 1).then(|| w.div_ceil(2)));
        widths.take_while(|w| *w > 1).map(move |w| w / 2 * n)
    }

    /// Cost of `n` windows; the OTs are those of one rectifier.
    #[must_use]
    pub fn cost(&self, n: usize) -> Cost {
        let (server_ots, client_ots) =
            (relu::cost(&self.relu, 0).server_ots, relu::cost(&self.relu, 0).client_ots);
        self.levels(n).fold(Cost { server_ots, client_ots, ..Cost::default() }, |mut sum, pairs| {
            let cost = relu::cost(&self.relu, pairs);
            sum.offline += cost.offline;
            sum.online += cost.online;
            sum
        })
    }

    fn mask(&self) -> u32 {
        u32::MAX >> (32 - self.relu.spec().in_bits)
    }

    /// The values of all windows, position by position.
    fn positions(&self, values: &[u32]) -> Zeroizing<Vec<Vec<u32>>> {
        let position = |j| values.iter().skip(j).step_by(self.window).copied().collect();
        Zeroizing::new((0..self.window).map(position).collect())
    }

    /// `a - b` of all pairs of a level.
    fn differences(&self, values: &[Vec<u32>]) -> Zeroizing<Vec<u32>> {
        let pairs = values.chunks_exact(2);
        let minus = |pair: &[Vec<u32>]| {
            let words = pair[0].iter().zip(&pair[1]).map(|(a, b)| a.wrapping_sub(*b) & self.mask());
            words.collect::<Vec<_>>()
        };
        Zeroizing::new(pairs.flat_map(minus).collect())
    }

    /// The values of the next level: `relu(a - b) + b` of the pairs, and the odd one out.
    fn join(&self, values: &[Vec<u32>], rectified: &[u32]) -> Zeroizing<Vec<Vec<u32>>> {
        let pairs = values.chunks(2);
        let n = values.first().map_or(1, Vec::len).max(1);
        let mut rectified = rectified.chunks(n);
        let next = pairs.map(|pair| match (pair, pair.get(1).and_then(|_| rectified.next())) {
            ([_, b], Some(r)) => b.iter().zip(r).map(|(b, r)| b.wrapping_add(*r) & self.mask()).collect(),
            _ => pair[0].clone(),
        });
        Zeroizing::new(next.collect())
    }
}

impl ServerMaterial {
    /// Length of the encoding for `n` windows.
    #[must_use]
    pub fn byte_len(max: &Max, n: usize) -> usize {
        max.levels(n).map(|pairs| relu::ServerMaterial::byte_len(&max.relu, pairs)).sum()
    }

    /// The secret contents, for storage by their owner.
    #[must_use]
    pub fn to_bytes(&self, max: &Max) -> Vec<u8> {
        self.0.iter().flat_map(|level| level.to_bytes(&max.relu)).collect()
    }

    /// The reverse of [`ServerMaterial::to_bytes`].
    ///
    /// # Errors
    /// As [`relu::ServerMaterial::from_bytes`].
    pub fn from_bytes(max: &Max, n: usize, bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        check_len(WHAT, bytes, Self::byte_len(max, n))?;
        let mut rest = bytes;
        let level = |pairs| {
            let (head, tail) = rest.split_at(relu::ServerMaterial::byte_len(&max.relu, pairs));
            rest = tail;
            relu::ServerMaterial::from_bytes(&max.relu, pairs, head)
        };
        Ok(Self(max.levels(n).map(level).collect::<Result<_, _>>()?))
    }
}

impl ClientMaterial {
    /// Length of the encoding for `n` windows.
    #[must_use]
    pub fn byte_len(max: &Max, n: usize) -> usize {
        Block::BYTES
            + max.levels(n).map(|pairs| relu::ClientMaterial::byte_len(&max.relu, pairs)).sum::<usize>()
    }

    /// The secret contents, for storage by their owner.
    #[must_use]
    pub fn to_bytes(&self, max: &Max) -> Vec<u8> {
        let mut out = self.seed.to_bytes().to_vec();
        self.levels.iter().for_each(|level| out.extend(level.to_bytes(&max.relu)));
        out
    }

    /// The reverse of [`ClientMaterial::to_bytes`].
    ///
    /// # Errors
    /// As [`relu::ClientMaterial::from_bytes`].
    pub fn from_bytes(max: &Max, n: usize, bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        check_len(WHAT, bytes, Self::byte_len(max, n))?;
        let (seed, mut rest) = bytes.split_at(Block::BYTES);
        let mut block = [0; Block::BYTES];
        block.copy_from_slice(seed);
        let level = |pairs| {
            let (head, tail) = rest.split_at(relu::ClientMaterial::byte_len(&max.relu, pairs));
            rest = tail;
            relu::ClientMaterial::from_bytes(&max.relu, pairs, head)
        };
        let levels = max.levels(n).map(level).collect::<Result<_, _>>()?;
        Ok(Self { seed: Zeroizing::new(Block::from_bytes(block)), levels })
    }

    /// The mask of the rectifiers of a level; the last level ends with the caller's mask instead.
    fn mask(max: &Max, seed: Block, level: usize, pairs: usize) -> Zeroizing<Vec<u32>> {
        let mut mask = Zeroizing::new(vec![0; pairs]);
        Prg::with_stream(seed, level as u64).fill_u32(max.relu.spec().in_bits, &mut mask);
        mask
    }
}

const WHAT: &str = "stored correlations of a maximum";

/// Offline, server: the correlations of `n` windows.
///
/// # Errors
/// As [`relu::prepare_server`].
pub async fn prepare_server<R: Role>(
    channel: &mut Channel<R>,
    max: &Max,
    n: usize,
    send: &mut rot::Sender<R>,
    receive: &mut rot::Receiver<R>,
    rng: &mut impl CryptoRng,
) -> Result<ServerMaterial, CompareError> {
    let pending = begin_server(channel, max, n, send, rng).await?;
    let answered = answer_server(channel, max, pending, receive).await?;
    channel.flush().await?;
    finish_server(channel, max, answered).await
}

/// Offline, client: the correlations, from its shares `c`, window after window.
///
/// # Errors
/// [`CompareError::Length`] if `c` is not whole windows; as [`relu::prepare_client`].
pub async fn prepare_client<R: Role>(
    channel: &mut Channel<R>,
    max: &Max,
    c: &[u32],
    send: &mut rot::Sender<R>,
    receive: &mut rot::Receiver<R>,
    rng: &mut impl CryptoRng,
) -> Result<ClientMaterial, CompareError> {
    let pending = begin_client(channel, max, c, receive, rng).await?;
    channel.flush().await?;
    let answered = answer_client(channel, max, pending, send).await?;
    let material = finish_client(channel, max, answered).await?;
    channel.flush().await?;
    Ok(material)
}

/// The server's half after the first offline step of all levels.
#[must_use]
pub struct ServerPending(Vec<relu::ServerPending>);

/// The client's half after the first offline step of all levels.
#[must_use]
pub struct ClientPending {
    seed: Zeroizing<Block>,
    levels: Vec<relu::ClientPending>,
}

/// The server's half after the second.
#[must_use]
pub struct ServerAnswered(Vec<relu::ServerAnswered>);

/// The client's half after the second.
#[must_use]
pub struct ClientAnswered {
    seed: Zeroizing<Block>,
    levels: Vec<relu::ClientAnswered>,
}

/// First offline step, server: see [`relu::begin_server`].
///
/// # Errors
/// As [`prepare_server`].
pub async fn begin_server<R: Role>(
    channel: &mut Channel<R>,
    max: &Max,
    n: usize,
    send: &mut rot::Sender<R>,
    rng: &mut impl CryptoRng,
) -> Result<ServerPending, CompareError> {
    let mut levels = Vec::new();
    for pairs in max.levels(n) {
        levels.push(relu::begin_server(channel, &max.relu, pairs, send, rng).await?);
    }
    Ok(ServerPending(levels))
}

/// Second offline step, server.
///
/// # Errors
/// As [`prepare_server`].
pub async fn answer_server<R: Role>(
    channel: &mut Channel<R>,
    max: &Max,
    pending: ServerPending,
    receive: &mut rot::Receiver<R>,
) -> Result<ServerAnswered, CompareError> {
    let mut levels = Vec::new();
    for level in pending.0 {
        levels.push(relu::answer_server(channel, &max.relu, level, receive).await?);
    }
    Ok(ServerAnswered(levels))
}

/// Third offline step, server.
///
/// # Errors
/// As [`prepare_server`].
pub async fn finish_server<R: Role>(
    channel: &mut Channel<R>,
    max: &Max,
    answered: ServerAnswered,
) -> Result<ServerMaterial, CompareError> {
    let mut levels = Vec::new();
    for level in answered.0 {
        levels.push(relu::finish_server(channel, &max.relu, level).await?);
    }
    Ok(ServerMaterial(levels))
}

/// First offline step, client: see [`relu::begin_client`].
///
/// # Errors
/// As [`prepare_client`].
pub async fn begin_client<R: Role>(
    channel: &mut Channel<R>,
    max: &Max,
    c: &[u32],
    receive: &mut rot::Receiver<R>,
    rng: &mut impl CryptoRng,
) -> Result<ClientPending, CompareError> {
    let n = c.len() / max.window;
    CompareError::check_len("client's share", n * max.window, c.len())?;
    let seed = Zeroizing::new(Block::random(rng));
    let (mut values, mut levels) = (max.positions(c), Vec::new());
    for (level, pairs) in max.levels(n).enumerate() {
        let d = max.differences(&values);
        levels.push(relu::begin_client(channel, &max.relu, &d, receive, rng).await?);
        values = max.join(&values, &ClientMaterial::mask(max, *seed, level, pairs));
    }
    Ok(ClientPending { seed, levels })
}

/// Second offline step, client.
///
/// # Errors
/// As [`prepare_client`].
pub async fn answer_client<R: Role>(
    channel: &mut Channel<R>,
    max: &Max,
    pending: ClientPending,
    send: &mut rot::Sender<R>,
) -> Result<ClientAnswered, CompareError> {
    let mut levels = Vec::new();
    for level in pending.levels {
        levels.push(relu::answer_client(channel, &max.relu, level, send).await?);
    }
    Ok(ClientAnswered { seed: pending.seed, levels })
}

/// Third offline step, client.
///
/// # Errors
/// As [`prepare_client`].
pub async fn finish_client<R: Role>(
    channel: &mut Channel<R>,
    max: &Max,
    answered: ClientAnswered,
) -> Result<ClientMaterial, CompareError> {
    let mut levels = Vec::new();
    for level in answered.levels {
        levels.push(relu::finish_client(channel, &max.relu, level).await?);
    }
    Ok(ClientMaterial { seed: answered.seed, levels })
}

/// Online, server: its share `max - r` from its shares `y`, window after window.
///
/// # Errors
/// [`CompareError::Length`] if `y` has not the windows of the material; [`CompareError::Channel`].
pub async fn online_server<R: Role>(
    channel: &mut Channel<R>,
    max: &Max,
    material: ServerMaterial,
    y: &[u32],
) -> Result<Vec<u32>, CompareError> {
    let mut values = max.positions(y);
    for level in material.0 {
        let d = max.differences(&values);
        let rectified = relu::online_server(channel, &max.relu, level, &d).await?;
        values = max.join(&values, &rectified);
    }
    Ok(values.pop().unwrap_or_default())
}

/// Online, client: helps the server to `max - r`.
///
/// A window of one value has no level: the server keeps its share, and `r` must be the client's.
///
/// # Errors
/// [`CompareError::Length`] if `c` or `r` has not the windows of the material; [`CompareError::Channel`].
pub async fn online_client<R: Role>(
    channel: &mut Channel<R>,
    max: &Max,
    material: ClientMaterial,
    c: &[u32],
    r: &[u32],
) -> Result<(), CompareError> {
    CompareError::check_len("client's mask", c.len() / max.window, r.len())?;
    let ClientMaterial { seed, levels } = material;
    let (mut values, last) = (max.positions(c), levels.len().wrapping_sub(1));
    for (i, level) in levels.into_iter().enumerate() {
        let d = max.differences(&values);
        let mask = if i == last {
            // relu(a - b) under r - b makes the maximum under r.
            let b = values.get(1).map_or(&[][..], Vec::as_slice);
            Zeroizing::new(r.iter().zip(b).map(|(r, b)| r.wrapping_sub(*b)).collect())
        } else {
            ClientMaterial::mask(max, *seed, i, level.len())
        };
        relu::online_client(channel, &max.relu, level, &d, &mask).await?;
        values = max.join(&values, &mask);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
