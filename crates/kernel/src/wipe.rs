//! Memory that is overwritten when it is given back.
//!
//! What [`Zeroize`](zeroize::Zeroize) does for a vector, at the speed of `memset`: that trait stores word by word.

use std::ops::{Deref, DerefMut};

use zeroize::{ZeroizeOnDrop, optimization_barrier};

/// A vector of secrets, wiped when dropped. Its length never changes, so that no copy stays behind.
#[derive(Default)]
pub struct Wiped<T: Copy + Default>(Vec<T>);

impl<T: Copy + Default> Wiped<T> {
    /// `len` default values.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self(vec![T::default(); len])
    }
}

/// Overwrites words with their default value; the compiler does not leave it out.
pub fn wipe<T: Copy + Default>(words: &mut [T]) {
    words.fill(T::default());
    optimization_barrier(words);
}

impl<T: Copy + Default> From<Vec<T>> for Wiped<T> {
    fn from(words: Vec<T>) -> Self {
        Self(words)
    }
}

impl<T: Copy + Default> Deref for Wiped<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Copy + Default> DerefMut for Wiped<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T: Copy + Default> Drop for Wiped<T> {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl<T: Copy + Default> ZeroizeOnDrop for Wiped<T> {}

impl<T: Copy + Default> std::fmt::Debug for Wiped<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wiped({} words)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_overwritten() {
        let mut words: Wiped<u64> = vec![7; 5].into();
        words[2] = 8;
        assert_eq!(words.iter().sum::<u64>(), 36);
        assert_eq!(format!("{words:?}"), "Wiped(5 words)");
        wipe(&mut words);
        assert!(words.iter().all(|&word| word == 0));
    }
}
