//! Parts of layers in groups that share a round.

/// Consecutive parts whose transfers are at most `limit` together; a larger part is a group of its own. Each comes with its
/// number of transfers.
pub(crate) fn groups<P>(limit: usize, parts: impl IntoIterator<Item = (P, usize)>) -> Vec<Vec<P>> {
    let (mut groups, mut held) = (Vec::<Vec<P>>::new(), 0);
    for (part, transfers) in parts {
        match groups.last_mut() {
            Some(group) if held + transfers <= limit => group.push(part),
            _ => {
                groups.push(vec![part]);
                held = 0;
            }
        }
        held += transfers;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_filled_in_order() {
        let sizes = [3, 4, 4, 20, 1, 9, 0, 1];
        let expected = vec![vec![3, 4], vec![4], vec![20], vec![1, 9, 0], vec![1]];
        assert_eq!(groups(10, sizes.map(|size| (size, size))), expected);
        assert!(groups::<usize>(10, []).is_empty());
    }
}
