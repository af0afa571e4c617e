//! The transforms of F(2, 3) and F(4, 3) in one dimension, on vectors of ring words.
//!
//! Lavin and Gray's matrices with the rows of G made whole and the columns of A^T scaled instead:
//!
//! ```text
//! F(2,3)  B^T = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1]        G = [1 0 0; 1 1 1; 1 -1 1; 0 0 1]
//!         A^T = [2 1 1 0; 0 1 -1 -2]                            A^T (G g * B^T d) = 2 y
//! F(4,3)  B^T = [4 0 -5 0 1 0; 0 -4 -4 1 1 0; 0 4 -4 -1 1 0; 0 -2 -1 2 1 0; 0 2 -1 -2 1 0; 0 4 0 -5 0 1]
//!         G   = [1 0 0; 1 1 1; 1 -1 1; 1 2 4; 1 -2 4; 0 0 1]
//!         A^T = [6 -4 -4 1 1 0; 0 -4 4 2 -2 0; 0 -4 -4 4 4 0; 0 -4 4 8 -8 24]      = 24 y
//! ```

/// Words of a vector: one of AVX-512, two of AVX2.
pub(super) const LANES: usize = 16;

/// Words modulo 2^32 side by side.
#[derive(Clone, Copy)]
pub(super) struct V(pub(super) [u32; LANES]);

impl V {
    pub(super) const ZERO: Self = Self([0; LANES]);

    /// The first words of a slice.
    #[inline(always)]
    pub(super) fn load(words: &[u32]) -> Self {
        let mut lanes = [0; LANES];
        lanes.copy_from_slice(&words[..LANES]);
        Self(lanes)
    }

    #[inline(always)]
    pub(super) fn store(self, words: &mut [u32]) {
        words[..LANES].copy_from_slice(&self.0);
    }

    #[inline(always)]
    fn plus(mut self, other: Self) -> Self {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a = a.wrapping_add(b);
        }
        self
    }

    #[inline(always)]
    fn minus(mut self, other: Self) -> Self {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a = a.wrapping_sub(b);
        }
        self
    }

    #[inline(always)]
    pub(super) fn times(mut self, factor: u32) -> Self {
        for a in &mut self.0 {
            *a = a.wrapping_mul(factor);
        }
        self
    }

    #[inline(always)]
    pub(super) fn shifted(mut self, bits: u32) -> Self {
        for a in &mut self.0 {
            *a >>= bits;
        }
        self
    }
}

/// F(M, 3) on A = M + 2 points; all three transforms are linear over the integers.
pub(super) trait Form<const M: usize, const A: usize>: 'static {
    /// Logarithm of the even part of s^2.
    const SHIFT: u32;
    /// Inverse of the odd part of s^2 modulo 2^32.
    const INVERSE: u32;
    /// `B^T d`.
    fn input(d: [V; A]) -> [V; A];
    /// `G g`.
    fn weights(g: [i32; 3]) -> [i32; A];
    /// `A^T m`.
    fn output(m: [V; A]) -> [V; M];
}

pub(super) enum F2 {}

impl F2 {
    pub(super) const SHIFT: u32 = 2;
}

impl Form<2, 4> for F2 {
    const SHIFT: u32 = Self::SHIFT;
    const INVERSE: u32 = 1;

    #[inline(always)]
    fn input([a, b, c, d]: [V; 4]) -> [V; 4] {
        [a.minus(c), b.plus(c), c.minus(b), b.minus(d)]
    }

    fn weights([a, b, c]: [i32; 3]) -> [i32; 4] {
        [a, a + b + c, a - b + c, c]
    }

    #[inline(always)]
    fn output([a, b, c, d]: [V; 4]) -> [V; 2] {
        [a.times(2).plus(b).plus(c), b.minus(c).minus(d.times(2))]
    }
}

pub(super) enum F4 {}

impl F4 {
    pub(super) const SHIFT: u32 = 6;
}

impl Form<4, 6> for F4 {
    const SHIFT: u32 = Self::SHIFT;
    const INVERSE: u32 = 0x38e3_8e39;

    #[inline(always)]
    fn input([a, b, c, d, e, f]: [V; 6]) -> [V; 6] {
        // Points 1 and -1 share their even and their odd parts, and so do 2 and -2.
        let (even, odd) = (e.minus(c.times(4)), d.minus(b.times(4)));
        let (even_2, odd_2) = (e.minus(c), d.minus(b).times(2));
        [
            a.times(4).plus(e).minus(c.times(5)),
            even.plus(odd),
            even.minus(odd),
            even_2.plus(odd_2),
            even_2.minus(odd_2),
            b.times(4).plus(f).minus(d.times(5)),
        ]
    }

    fn weights([a, b, c]: [i32; 3]) -> [i32; 6] {
        [a, a + b + c, a - b + c, a + 2 * b + 4 * c, a - 2 * b + 4 * c, c]
    }

    #[inline(always)]
    fn output([a, b, c, d, e, f]: [V; 6]) -> [V; 4] {
        let (sum, difference) = (b.plus(c).times(4), c.minus(b).times(4));
        let (sum_2, difference_2) = (d.plus(e), d.minus(e));
        [
            a.times(6).minus(sum).plus(sum_2),
            difference.plus(difference_2.times(2)),
            sum_2.times(4).minus(sum),
            difference.plus(difference_2.times(8)).plus(f.times(24)),
        ]
    }
}
