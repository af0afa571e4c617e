//! Tensors joined along the first axis: in row-major order, one after the other.

/// Shape of the joined tensor: all axes but the first agree.
#[must_use]
pub fn shape(parts: &[&[usize]]) -> Option<Vec<usize>> {
    let (first, rest) = parts.split_first()?;
    let (&channels, tail) = first.split_first()?;
    let mut channels = channels;
    for part in rest {
        let (&more, other) = part.split_first()?;
        if other != tail {
            return None;
        }
        channels = channels.checked_add(more)?;
    }
    Some([&[channels], tail].concat())
}

/// The elements of all parts in order.
#[must_use]
pub fn run<T: Copy>(parts: &[&[T]]) -> Vec<T> {
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_the_first_axis_only() {
        assert_eq!(shape(&[&[2, 3, 4], &[5, 3, 4]]), Some(vec![7, 3, 4]));
        assert_eq!(shape(&[&[2], &[5]]), Some(vec![7]));
        assert_eq!(shape(&[&[2, 3, 4], &[5, 4, 4]]), None);
        assert_eq!(shape(&[&[usize::MAX], &[1]]), None);
        assert_eq!(shape(&[]), None);
        assert_eq!(run(&[&[1, 2][..], &[3]]), [1, 2, 3]);
    }
}
