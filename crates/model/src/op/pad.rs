//! Zeros around an image, also before and after its channels.

/// Shape of the padded image; `None` unless the input is `[c, h, w]`.
#[must_use]
pub fn shape(shape: &[usize], pads: &[[usize; 2]; 3]) -> Option<Vec<usize>> {
    if shape.len() != 3 {
        return None;
    }
    shape
        .iter()
        .zip(pads)
        .map(|(&side, &[before, after])| side.checked_add(before)?.checked_add(after))
        .collect()
}

/// Copies `x` of `[c, h, w]` into zeros.
#[must_use]
pub fn run<T: Copy + Default>(x: &[T], shape: &[usize], pads: &[[usize; 2]; 3]) -> Vec<T> {
    let &[_, h, w] = shape else { return Vec::new() };
    let Some(out) = self::shape(shape, pads) else { return Vec::new() };
    let mut y = vec![T::default(); out.iter().product()];
    let [[front, _], [top, _], [left, _]] = *pads;
    for (row, line) in x.chunks_exact(w.max(1)).enumerate() {
        let start = ((row / h + front) * out[1] + row % h + top) * out[2] + left;
        y[start..start + w].copy_from_slice(line);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surrounds_every_channel() {
        let pads = [[0, 1], [1, 0], [0, 2]];
        assert_eq!(shape(&[2, 1, 2], &pads), Some(vec![3, 2, 4]));
        assert_eq!(
            run(&[1, 2, 3, 4], &[2, 1, 2], &pads),
            [0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(shape(&[2], &pads), None);
        assert_eq!(shape(&[1, 1, usize::MAX], &pads), None);
    }
}
