//! A value split by element into two parts, and put together again.

use crate::graph::Mask;

/// Number of elements that [`run`] keeps of `len`; `None` for a set that is not of such a value, or that is empty.
#[must_use]
pub fn kept(mask: &Mask, len: usize) -> Option<usize> {
    Some(mask.count()).filter(|&count| count > 0 && mask.is_of(len))
}

/// The elements of the set, in order.
#[must_use]
pub fn run<T: Copy>(x: &[T], mask: &Mask) -> Vec<T> {
    x.iter().enumerate().filter(|(i, _)| mask.contains(*i)).map(|(_, v)| *v).collect()
}

/// Whether [`merge`] makes `len` elements of parts with so many.
#[must_use]
pub fn merges(mask: &Mask, parts: [usize; 2], len: usize) -> bool {
    kept(mask, len) == Some(parts[0]) && parts[0].checked_add(parts[1]) == Some(len) && parts[1] > 0
}

/// The elements of the set from the first part, the others from the second, each in order.
#[must_use]
pub fn merge<T: Copy + Default>(parts: [&[T]; 2], mask: &Mask) -> Vec<T> {
    let [mut first, mut second] = parts.map(<[T]>::iter);
    let len = parts[0].len() + parts[1].len();
    let one = |i| if mask.contains(i) { first.next() } else { second.next() };
    (0..len).map(one).map(|v| v.copied().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_merge_into_what_was_split() {
        for len in 2..30_usize {
            let x: Vec<u32> = (0..len as u32).map(|i| i * 7 + 1).collect();
            let bits: Vec<bool> = (0..len).map(|i| i == 0 || (i != 1 && i * i % 3 == 1)).collect();
            let mask = Mask::new(&bits);
            let (a, b) = (run(&x, &mask), run(&x, &mask.complement(len)));
            assert!(a.iter().zip(&a[1..]).all(|(a, b)| a < b));
            assert_eq!(kept(&mask, len), Some(a.len()));
            assert!(merges(&mask, [a.len(), b.len()], len));
            assert!(!merges(&mask, [a.len() + 1, b.len() - 1], len));
            assert_eq!(merge([&a, &b], &mask), x);
        }
        let none = Mask::new(&[false; 5]);
        assert_eq!(kept(&none, 5), None);
        assert_eq!(kept(&none.complement(5), 4), None);
        assert!(!merges(&none.complement(5), [5, 0], 5));
    }
}
