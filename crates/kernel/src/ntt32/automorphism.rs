//! Y -> Y^g on values: a permutation.
//!
//! The automorphisms of the conjugate-invariant ring are the substitutions of Y^g for Y, g = 1 modulo 4, a cyclic group
//! of order n that 5 generates. The value of a(Y^g) at psi^e is the value of a at psi^(g e). With e = 1 + 4 E, the
//! lower bits of E say in which block of 32 values one stands and the upper five where in the block. Since
//! `g e = 1 + 4 ((g - 1)/4 + g E)`, blocks go to blocks and within a block H goes to `c + g H` modulo 32, where c, a
//! carry, depends on the block only: two shuffles of registers for 32 values. The permutation depends on n and g, not
//! on the prime, and is public.

use super::{BLOCK, ORDER, exponent, reverse, runs};
use crate::cpu::Backend;

/// The substitution of Y^g for Y on values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Automorphism {
    /// For each block of the image the block it comes from, and the pattern.
    blocks: Vec<(u32, u32)>,
    /// For each carry, where in its block each value comes from.
    patterns: Vec<[u32; BLOCK]>,
}

impl Automorphism {
    /// Y -> Y^g for transforms of size n, a power of two of at least 32.
    ///
    /// # Panics
    /// If g is not 1 modulo 4, or n is no such power.
    #[must_use]
    pub fn new(n: usize, g: usize) -> Self {
        assert!(n.is_power_of_two() && n >= 2 * BLOCK, "size of a transform");
        assert!(g % 4 == 1, "exponents of automorphisms are 1 modulo 4");
        let g = g % (4 * n);
        let (count, shift) = (n / BLOCK, g / 4);
        let blocks = (0..count)
            .map(|b| {
                let image = shift + g * reverse(b, count);
                (reverse(image % count, count) as u32, (image / count % BLOCK) as u32)
            })
            .collect();
        let upper: [usize; BLOCK] = std::array::from_fn(|i| reverse(ORDER[i].into(), BLOCK));
        let mut place = [0; BLOCK];
        upper.iter().enumerate().for_each(|(i, &h)| place[h] = i as u32);
        let pattern = |c: usize| upper.map(|h| place[(c + g * h) % BLOCK]);
        Self { blocks, patterns: (0..BLOCK).map(pattern).collect() }
    }

    /// Writes the values of a(Y^g) to `image`, from those of a.
    ///
    /// # Panics
    /// If a slice does not have n elements.
    pub fn apply(&self, values: &[u32], image: &mut [u32]) {
        self.apply_on(Backend::detected(), values, image);
    }

    /// [`Automorphism::apply`] on one backend; for tests. AVX2 runs the portable code.
    ///
    /// # Panics
    /// If a slice does not have n elements or the machine lacks the backend.
    pub fn apply_on(&self, backend: Backend, values: &[u32], image: &mut [u32]) {
        let n = BLOCK * self.blocks.len();
        assert!(values.len() == n && image.len() == n, "one value per coefficient");
        match backend {
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => {
                assert!(runs(backend), "backend of this machine");
                // SAFETY: the machine has the instructions of this backend.
                unsafe { avx512::apply(self, values, image) }
            }
            _ => self.apply_portable(values, image),
        }
    }

    fn apply_portable(&self, values: &[u32], image: &mut [u32]) {
        let (sources, _) = values.as_chunks::<BLOCK>();
        let (images, _) = image.as_chunks_mut::<BLOCK>();
        for (image, &(block, carry)) in images.iter_mut().zip(&self.blocks) {
            let source = &sources[block as usize];
            *image = self.patterns[carry as usize].map(|from| source[from as usize]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{Automorphism, BLOCK};
    use crate::ntt32::avx512::{load_u32, store_u32};

    #[target_feature(enable = "avx512f")]
    pub(super) fn apply(map: &Automorphism, values: &[u32], image: &mut [u32]) {
        let (sources, _) = values.as_chunks::<BLOCK>();
        let (images, _) = image.as_chunks_mut::<BLOCK>();
        for (image, &(block, carry)) in images.iter_mut().zip(&map.blocks) {
            let [x, y] = halves(&sources[block as usize]).map(|half| load_u32(half));
            let (halves_out, _) = image.as_chunks_mut::<16>();
            for (out, index) in halves_out.iter_mut().zip(halves(&map.patterns[carry as usize])) {
                store_u32(out, _mm512_permutex2var_epi32(x, load_u32(index), y));
            }
        }
    }

    #[inline]
    fn halves(block: &[u32; BLOCK]) -> [&[u32; 16]; 2] {
        let (halves, _) = block.as_chunks::<16>();
        [&halves[0], &halves[1]]
    }
}

/// The g with which Y -> Y^g moves the value of slot j + k to slot j, where slot j is the value at psi^(5^j).
#[must_use]
pub fn rotation(n: usize, k: usize) -> usize {
    let order = 4 * n;
    (0..k % n).fold(1, |g, _| 5 * g % order)
}

/// For each of n slots, the place of its value.
#[must_use]
pub fn slots(n: usize) -> Vec<u32> {
    let order = 4 * n;
    let mut places = vec![0; n];
    (0..n).for_each(|i| places[exponent(n, i) / 4] = i as u32);
    let powers = std::iter::successors(Some(1), |g| Some(5 * g % order));
    powers.take(n).map(|g| places[g / 4]).collect()
}
