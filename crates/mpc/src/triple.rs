//! ANDs on shared bits: Goldreich, Micali, Wigderson, *How to play any mental game*, STOC 1987, with one operand common to
//! several products, on triples made beforehand (Beaver, CRYPTO 1991).
//!
//! Functionality: the parties hold `x` and `y_1 .. y_k` as sums modulo 2 of their shares and get shares of all `x y_j`.
//!
//! Offline: one random OT in each direction per common operand, whatever `k`: the receiver's choice is its share of
//! `x`, the difference of the sender's strings its shares of the `y_j`; together the strings share the two cross products.
//!
//! Online: both open `x` and the `y_j` masked by the triple, at once: `k + 1` bits each way in one round.
//!
//! Security: what is opened is masked by one-time random bits.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::compare::planes::{column, xor};

/// Vector triples of a batch of elements, bit-sliced: for every product the planes `x, y_1 .. y_k, x y_1 .. x y_k`, of
/// which this party chose `x`. Consumed by one use.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Triple {
    x: Vec<u64>,
    y: Vec<Vec<u64>>,
    z: Vec<Vec<u64>>,
}

/// What the OT as its sender leaves of a triple: the shares of the `y_j` and of one cross product.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Sent {
    y: Vec<Vec<u64>>,
    z: Vec<Vec<u64>>,
}

/// What the OT as its receiver leaves of a triple: the choices, and the shares of the other cross product.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Received {
    x: Vec<u64>,
    z: Vec<Vec<u64>>,
}

impl Sent {
    /// From the strings of one OT per element.
    pub(crate) fn new(width: usize, strings: &[[u64; 2]]) -> Self {
        let first: Vec<u64> = strings.iter().map(|m| m[0]).collect();
        let difference: Vec<u64> = strings.iter().map(|m| m[0] ^ m[1]).collect();
        Self { y: columns(width, &difference), z: columns(width, &first) }
    }
}

impl Received {
    /// From the choices and the strings of one OT per element.
    pub(crate) fn new(width: usize, x: Vec<u64>, strings: &[u64]) -> Self {
        Self { x, z: columns(width, strings) }
    }
}

fn columns(width: usize, words: &[u64]) -> Vec<Vec<u64>> {
    (0..width as u32).map(|j| column(words, j)).collect()
}

impl Triple {
    /// From the two OTs.
    pub(crate) fn join(mut sent: Sent, mut received: Received) -> Self {
        let x = std::mem::take(&mut received.x);
        let (y, mut z) = (std::mem::take(&mut sent.y), std::mem::take(&mut sent.z));
        for ((z, y), cross) in z.iter_mut().zip(&y).zip(&received.z) {
            xor(z, cross);
            z.iter_mut().zip(y).zip(&x).for_each(|((z, y), x)| *z ^= x & y);
        }
        Self { x, y, z }
    }

    /// Planes of a triple of `width` products, without `x`.
    pub(crate) const fn planes(width: usize) -> usize {
        2 * width
    }

    /// The planes one after the other, without `x`.
    pub(crate) fn append_to(&self, out: &mut Vec<u64>) {
        self.y.iter().chain(&self.z).for_each(|plane| out.extend(plane));
    }

    /// The reverse of [`Triple::append_to`].
    pub(crate) fn from_planes(width: usize, x: Vec<u64>, mut planes: impl Iterator<Item = u64>) -> Self {
        let mut plane = || planes.by_ref().take(x.len()).collect();
        let y = (0..width).map(|_| plane()).collect();
        let z = (0..width).map(|_| plane()).collect();
        Self { x, y, z }
    }

    /// Appends this party's shares of the operands, masked, to its message.
    pub(crate) fn open(&self, x: &[u64], y: &[&[u64]], out: &mut Vec<u64>) {
        let pairs = std::iter::once((x, &self.x)).chain(y.iter().copied().zip(&self.y));
        pairs.for_each(|(share, mask)| out.extend(share.iter().zip(mask).map(|(s, m)| s ^ m)));
    }

    /// The shares of the products, from this party's message and the peer's, `1 + k` planes each.
    pub(crate) fn finish(self, leader: bool, own: &[u64], theirs: &[u64]) -> Vec<Vec<u64>> {
        let mut opened = own.to_vec();
        xor(&mut opened, theirs);
        let lanes = self.x.len();
        let (x, y) = opened.split_at(lanes);
        let leader = u64::from(leader).wrapping_neg();
        self.y
            .iter()
            .zip(&self.z)
            .zip(y.chunks(lanes.max(1)))
            .map(|((y, z), e)| {
                let one = |i: usize| z[i] ^ x[i] & y[i] ^ e[i] & self.x[i] ^ x[i] & e[i] & leader;
                (0..lanes).map(one).collect()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use phineus_kernel::prg::Prg;
    use rand::Rng;

    use super::*;

    #[test]
    fn products_of_shared_planes() {
        let rng = &mut Prg::new([5; 16]);
        let (width, n, lanes) = (3, 128, 2);
        let mut random = |n: usize| -> Vec<u64> { (0..n).map(|_| rng.next_u64()).collect() };
        let strings = |m: &[u64]| -> Vec<[u64; 2]> { m.chunks(2).map(|m| [m[0], m[1]]).collect() };
        let (a, b) = (strings(&random(2 * n)), strings(&random(2 * n)));
        let (xa, xb) = (random(lanes), random(lanes));
        let chosen = |m: &[[u64; 2]], x: &[u64]| -> Vec<u64> {
            m.iter().enumerate().map(|(i, m)| m[(x[i / 64] >> (i % 64) & 1) as usize]).collect()
        };
        let from_b = Received::new(width, xa.clone(), &chosen(&b, &xa));
        let ta = Triple::join(Sent::new(width, &a), from_b);
        let from_a = Received::new(width, xb.clone(), &chosen(&a, &xb));
        let tb = Triple::join(Sent::new(width, &b), from_a);
        // Through their bytes and back.
        let mut planes = Vec::new();
        tb.append_to(&mut planes);
        assert_eq!(planes.len(), lanes * Triple::planes(width));
        let tb = Triple::from_planes(width, xb, planes.into_iter());
        let [x, y] = [1, width].map(|k| [random(k * lanes), random(k * lanes)]);
        let (mut from_a, mut from_b) = (Vec::new(), Vec::new());
        ta.open(&x[0], &y[0].chunks(lanes).collect::<Vec<_>>(), &mut from_a);
        tb.open(&x[1], &y[1].chunks(lanes).collect::<Vec<_>>(), &mut from_b);
        let za = ta.finish(true, &from_a, &from_b).concat();
        let zb = tb.finish(false, &from_b, &from_a).concat();
        for i in 0..width * lanes {
            let x = x[0][i % lanes] ^ x[1][i % lanes];
            assert_eq!(za[i] ^ zb[i], x & (y[0][i] ^ y[1][i]));
        }
    }
}
