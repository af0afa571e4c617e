//! `sum_i parts[i] << shifts[i]`, element by element.

/// Wrapping modulo `2^32`; all parts have one length, shifts are below 32.
#[must_use]
pub fn run(parts: &[&[u32]], shifts: &[u32]) -> Vec<u32> {
    let mut sum = vec![0u32; parts.first().map_or(0, |part| part.len())];
    for (part, &shift) in parts.iter().zip(shifts) {
        for (s, &x) in sum.iter_mut().zip(*part) {
            *s = s.wrapping_add(x << shift);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_and_wraps() {
        assert_eq!(run(&[&[1, 2], &[3, u32::MAX]], &[4, 0]), [19, 31]);
        assert_eq!(run(&[], &[]), Vec::<u32>::new());
    }
}
