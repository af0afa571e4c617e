//! Element movers and sums, generic over the number type: one description of every data-independent operation for
//! the floating-point executor, the integer reference and the shares of both parties.
//!
//! Tensors are flat and row-major (`[c][h][w]` for images). Each operation has a shape rule `shape` (or `output`)
//! that is total, answering `None` (or zeros) for arguments that make no sense, and a `run` that may rely on the
//! shape rule having accepted its arguments.

pub mod add;
pub mod concat;
pub mod im2col;
pub mod pad;
pub mod pool;
pub mod product;
pub mod select;
pub mod slice;
pub mod transpose;

/// A number with sums and products; integers wrap.
pub trait Number: Copy + Default {
    /// `self + other`.
    #[must_use]
    fn plus(self, other: Self) -> Self;

    /// `self * other`.
    #[must_use]
    fn times(self, other: Self) -> Self;
}

impl Number for f32 {
    fn plus(self, other: Self) -> Self {
        self + other
    }

    fn times(self, other: Self) -> Self {
        self * other
    }
}

macro_rules! wrapping {
    ($($t:ty),*) => {$(
        impl Number for $t {
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
        }
    )*};
}

wrapping!(i32, i64, u32);

/// Product of the sides, `None` on overflow.
#[must_use]
pub fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side))
}
