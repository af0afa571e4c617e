//! Element-wise products, and products of an image with one number per channel.

use super::Number;

/// Shape of the product: that of both, or that of an image `[c, h, w]` whose second factor is `[c, 1, 1]`.
#[must_use]
pub fn shape(x: &[usize], factor: &[usize]) -> Option<Vec<usize>> {
    match (x, factor) {
        _ if x == factor => Some(x.to_vec()),
        (&[c, _, _], &[d, 1, 1]) if c == d => Some(x.to_vec()),
        _ => None,
    }
}

/// The factor of every element.
#[must_use]
pub fn spread<T: Copy>(factor: &[T], len: usize) -> Vec<T> {
    let places = len / factor.len().max(1);
    factor.iter().flat_map(|v| std::iter::repeat_n(*v, places)).collect()
}

/// `x` times its factors, in the order of `x`.
#[must_use]
pub fn run<T: Number>(x: &[T], factor: &[T]) -> Vec<T> {
    let places = (x.len() / factor.len().max(1)).max(1);
    x.chunks(places).zip(factor).flat_map(|(channel, f)| channel.iter().map(|v| v.times(*f))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_factor_per_element_or_per_channel() {
        assert_eq!(shape(&[2, 3], &[2, 3]), Some(vec![2, 3]));
        assert_eq!(shape(&[2, 3, 4], &[2, 1, 1]), Some(vec![2, 3, 4]));
        for factor in [&[3, 1, 1][..], &[2, 3, 1], &[2], &[1, 1, 1]] {
            assert_eq!(shape(&[2, 3, 4], factor), None, "{factor:?}");
        }
        assert_eq!(run(&[1, 2, 3, 4], &[5, -1]), [5, 10, -3, -4]);
        assert_eq!(run(&[1, 2], &[3, 4]), [3, 8]);
        assert_eq!(spread(&[5, -1], 4), [5, 5, -1, -1]);
    }
}
