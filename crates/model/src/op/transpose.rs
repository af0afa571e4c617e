//! Axes in another order: output axis `i` is input axis `perm[i]`.

/// Shape of the result; `None` unless `perm` is a permutation of the axes.
#[must_use]
pub fn shape(shape: &[usize], perm: &[usize]) -> Option<Vec<usize>> {
    let mut seen = vec![false; shape.len()];
    for &axis in perm {
        if std::mem::replace(seen.get_mut(axis)?, true) {
            return None;
        }
    }
    (perm.len() == shape.len()).then(|| perm.iter().map(|&axis| shape[axis]).collect())
}

/// The elements in the order of the result.
#[must_use]
pub fn run<T: Copy>(x: &[T], shape: &[usize], perm: &[usize]) -> Vec<T> {
    let Some(out) = self::shape(shape, perm) else { return Vec::new() };
    let stride_of = |axis: usize| shape[axis + 1..].iter().product::<usize>();
    let strides: Vec<usize> = perm.iter().map(|&axis| stride_of(axis)).collect();
    let mut index = vec![0; out.len()];
    let mut at = 0;
    let mut y = Vec::with_capacity(x.len());
    for _ in 0..x.len() {
        y.push(x[at]);
        // An odometer over the output index, with the input position kept in step.
        for axis in (0..out.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < out[axis] {
                break;
            }
            at -= strides[axis] * out[axis];
            index[axis] = 0;
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_last() {
        assert_eq!(shape(&[2, 1, 3], &[1, 2, 0]), Some(vec![1, 3, 2]));
        assert_eq!(run(&[1, 2, 3, 4, 5, 6], &[2, 1, 3], &[1, 2, 0]), [1, 4, 2, 5, 3, 6]);
    }

    #[test]
    fn the_inverse_permutation_undoes_it() {
        let x: Vec<u32> = (0..24).collect();
        let y = run(&x, &[2, 3, 4], &[2, 0, 1]);
        assert_eq!(run(&y, &[4, 2, 3], &[1, 2, 0]), x);
    }

    #[test]
    fn refuses_what_is_no_permutation() {
        assert_eq!(shape(&[2, 3], &[0, 0]), None);
        assert_eq!(shape(&[2, 3], &[0]), None);
        assert_eq!(shape(&[2, 3], &[0, 2]), None);
    }
}
