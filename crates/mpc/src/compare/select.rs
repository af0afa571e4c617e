//! Products of a shared bit with a word of each party and with other shared bits, by random OT.
//!
//! Functionality: the parties share a bit `b` modulo 2; the server has a word `f` that it learns online, the client a word
//! `g` that it knows offline. They get shares of `b f + b g` modulo a power of two, and with further shared bits `y_j`
//! shares modulo 2 of `b y_j`.
//!
//! Method: a random shared bit `a` with the products `a f` and `a g`; once `v = a + b` modulo 2 is opened, `b = v + (1 - 2 v)
//! a`, so that the shares of the products follow without a message. One random OT in each direction whose choices are the
//! shares `s` and `c` of `a` by server and client makes all of it: its strings have bits for a [`Triple`] and words.
//!
//! * `a f = s f + c (1 - 2 s) f`. The server's message online, `d = (1 - 2 s) f + m_0 - m_1`, gives the client
//!   `m_0 + c (1 - 2 s) f`; the server's share is `s f - m_0`. It does not depend on `b`, so that it goes with the first
//!   message.
//! * `a g` in the same way, the roles exchanged, but offline.
//!
//! Security: `d` is masked by the string that the receiver does not know; `v` by `a`.

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::planes::get;
use crate::triple::{Received, Sent, Triple};

/// The server's half: `a g` and `a f` less what depends on `f`, and the difference of the strings. Consumed by one use.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct ServerSelect {
    /// Its share of `a`.
    pub(super) bit: Vec<u64>,
    pub(super) pad: Vec<u32>,
    pub(super) difference: Vec<u32>,
}

/// The client's half: its share of `a g`, plus its string. Consumed by one use.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct ClientSelect {
    /// Its share of `a`.
    pub(super) bit: Vec<u64>,
    pub(super) pad: Vec<u32>,
}

/// The server's half without the choices of its own.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct ServerBegun {
    half: Sent,
    pad: Vec<u32>,
    difference: Vec<u32>,
}

/// The client's half without the server's choices.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct ClientBegun {
    half: Received,
    bit: Vec<u64>,
    pad: Vec<u32>,
}

/// The words of strings whose lowest bits are a triple's.
fn word(string: u64) -> u32 {
    (string >> 32) as u32
}

/// `(1 - 2 b) v` for a mask `b` of ones or zeros.
fn signed(b: u32, v: u32) -> u32 {
    (v ^ b).wrapping_sub(b)
}

impl ServerBegun {
    /// From the OT in which the client chose, for `width` bits `y_j`.
    pub(super) fn new(width: usize, strings: &[[u64; 2]]) -> Self {
        let difference = strings.iter().map(|m| word(m[0]).wrapping_sub(word(m[1]))).collect();
        let pad = strings.iter().map(|m| word(m[0]).wrapping_neg()).collect();
        Self { half: Sent::new(width, strings), pad, difference }
    }

    /// With the OT in which the server chose `bit`; [`ServerSelect::settle`] is still to come.
    pub(super) fn join(mut self, width: usize, bit: Vec<u64>, strings: &[u64]) -> (Triple, ServerSelect) {
        let half = std::mem::replace(&mut self.half, Sent::new(0, &[]));
        let (mut pad, difference) = (std::mem::take(&mut self.pad), std::mem::take(&mut self.difference));
        pad.iter_mut().zip(strings).for_each(|(pad, m)| *pad = pad.wrapping_add(word(*m)));
        let triple = Triple::join(half, Received::new(width, bit.clone(), strings));
        (triple, ServerSelect { bit, pad, difference })
    }
}

impl ClientBegun {
    /// From the OT in which the client chose `bit`, for `width` bits `y_j`.
    pub(super) fn new(width: usize, bit: Vec<u64>, strings: &[u64]) -> Self {
        let pad = strings.iter().map(|m| word(*m)).collect();
        Self { half: Received::new(width, bit.clone(), strings), bit, pad }
    }

    /// With the OT in which the server chose: its half and the message for [`ServerSelect::settle`], from its words `g`.
    pub(super) fn join(
        mut self,
        width: usize,
        strings: &[[u64; 2]],
        g: &[u32],
    ) -> (Triple, ClientSelect, Zeroizing<Vec<u32>>) {
        let half = std::mem::replace(&mut self.half, Received::new(0, Vec::new(), &[]));
        let (bit, mut pad) = (std::mem::take(&mut self.bit), std::mem::take(&mut self.pad));
        let one = |(i, ((pad, n), g)): (usize, ((&mut u32, &[u64; 2]), &u32))| {
            let (c, [n0, n1]) = (get(&bit, i).wrapping_neg(), n.map(word));
            *pad = pad.wrapping_add(c & g).wrapping_sub(n0);
            signed(c, *g).wrapping_add(n0).wrapping_sub(n1)
        };
        let message = pad.iter_mut().zip(strings).zip(g).enumerate().map(one).collect();
        (Triple::join(Sent::new(width, strings), half), ClientSelect { bit, pad }, Zeroizing::new(message))
    }
}

impl ServerSelect {
    /// Offline, the client's message.
    pub(super) fn settle(&mut self, message: &[u32]) {
        for (i, (pad, d)) in self.pad.iter_mut().zip(message).enumerate() {
            *pad = pad.wrapping_add(get(&self.bit, i).wrapping_neg() & d);
        }
    }

    /// Online, the message for [`ClientSelect::finish`], from its words `f`.
    pub(super) fn message(&self, f: &[u32]) -> Vec<u32> {
        let one = |(i, (d, f)): (usize, (&u32, &u32))| {
            signed(get(&self.bit, i).wrapping_neg(), *f).wrapping_add(*d)
        };
        self.difference.iter().zip(f).enumerate().map(one).collect()
    }

    /// Its share of `b f + b g`, from `f` and the opened `v`.
    pub(super) fn finish(&self, opened: &[u64], f: &[u32]) -> Vec<u32> {
        let one = |(i, (pad, f)): (usize, (&u32, &u32))| {
            let (s, v) = (get(&self.bit, i).wrapping_neg(), get(opened, i).wrapping_neg());
            (v & f).wrapping_add(signed(v, pad.wrapping_add(s & f)))
        };
        self.pad.iter().zip(f).enumerate().map(one).collect()
    }
}

impl ClientSelect {
    /// Its share of `b f + b g`, from `g`, the server's message and the opened `v`.
    pub(super) fn finish(&self, opened: &[u64], g: &[u32], message: &[u32]) -> Vec<u32> {
        let one = |(i, ((pad, g), d)): (usize, ((&u32, &u32), &u32))| {
            let (c, v) = (get(&self.bit, i).wrapping_neg(), get(opened, i).wrapping_neg());
            (v & g).wrapping_add(signed(v, pad.wrapping_add(c & d)))
        };
        self.pad.iter().zip(g).zip(message).enumerate().map(one).collect()
    }
}
