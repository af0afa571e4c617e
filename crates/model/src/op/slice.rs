//! Every `step`-th index of `[start, end)` along each axis.

/// Shape of the slice; `None` unless there is one range with `start <= end <= side` and `step > 0` per axis.
#[must_use]
pub fn shape(shape: &[usize], ranges: &[(usize, usize, usize)]) -> Option<Vec<usize>> {
    if shape.len() != ranges.len() {
        return None;
    }
    shape
        .iter()
        .zip(ranges)
        .map(|(&side, &(start, end, step))| {
            (start <= end && end <= side && step > 0).then(|| (end - start).div_ceil(step))
        })
        .collect()
}

/// The selected elements in row-major order.
#[must_use]
pub fn run<T: Copy>(x: &[T], shape: &[usize], ranges: &[(usize, usize, usize)]) -> Vec<T> {
    let mut y = x.to_vec();
    let mut outer = 1;
    // One axis after the other: `outer` is the product of the sides already cut.
    for (axis, &(start, end, step)) in ranges.iter().enumerate() {
        let inner: usize = shape[axis + 1..].iter().product();
        let side = shape[axis];
        let mut cut = Vec::new();
        for o in 0..outer {
            for i in (start..end).step_by(step) {
                let at = (o * side + i) * inner;
                cut.extend_from_slice(&y[at..at + inner]);
            }
        }
        outer *= (end - start).div_ceil(step);
        y = cut;
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_every_second_row_and_column() {
        let x: Vec<u32> = (0..18).collect();
        let ranges = [(0, 2, 1), (0, 3, 2), (1, 3, 1)];
        assert_eq!(shape(&[2, 3, 3], &ranges), Some(vec![2, 2, 2]));
        assert_eq!(run(&x, &[2, 3, 3], &ranges), [1, 2, 7, 8, 10, 11, 16, 17]);
    }

    #[test]
    fn refuses_bad_ranges() {
        assert_eq!(shape(&[3], &[(0, 4, 1)]), None);
        assert_eq!(shape(&[3], &[(2, 1, 1)]), None);
        assert_eq!(shape(&[3], &[(0, 3, 0)]), None);
        assert_eq!(shape(&[3], &[]), None);
        assert_eq!(shape(&[3], &[(3, 3, 1)]), Some(vec![0]));
    }
}
