//! Powers of a root of unity in the order in which the transforms use them.

use super::{BLOCK, Modulus, exchanged, factor, reverse};

/// The roots of one direction, centred and in Montgomery form. The layer of m groups has in group i the root of exponent
/// `(n / 2m) (1 + 4 reverse(i))`.
#[derive(Debug, Clone)]
pub(super) struct Roots {
    /// Index m + i holds the root of group i in the layer of m groups, m <= n / 32.
    pub(super) head: Vec<i32>,
    /// Per block 16 lanes for each of the layers of n/16, n/8, n/4 and n/2 groups.
    pub(super) tail: Vec<i32>,
}

/// Lanes of the tail per block.
pub(super) const TAIL: usize = 64;

impl Roots {
    pub(super) fn new(modulus: &Modulus, n: usize, psi: u32) -> Self {
        let order = 4 * n;
        let mut powers = Vec::with_capacity(order);
        let mut power = 1;
        for _ in 0..order {
            powers.push(power);
            power = modulus.mul(power, psi);
        }
        let root = |groups: usize, group: usize| {
            let exponent = n / (2 * groups) * (1 + 4 * reverse_below(group, groups));
            factor(modulus, powers[exponent])
        };
        let mut head = vec![0];
        let mut groups = 1;
        while groups <= n / BLOCK {
            (0..groups).for_each(|group| head.push(root(groups, group)));
            groups *= 2;
        }
        let mut tail = Vec::with_capacity(2 * n);
        for block in 0..n / BLOCK {
            let mut places: [usize; BLOCK] = std::array::from_fn(|i| BLOCK * block + i);
            for (step, size) in [16, 8, 4, 2].into_iter().enumerate() {
                places = exchanged(step, &places);
                places[..16].iter().for_each(|place| tail.push(root(n / size, place / size)));
            }
        }
        Self { head, tail }
    }
}

/// The bits of an index below m, a power of two that may be one, in reverse.
fn reverse_below(index: usize, m: usize) -> usize {
    if m == 1 { 0 } else { reverse(index, m) }
}
