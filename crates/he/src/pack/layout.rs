//! Which response goes into which ciphertext, and where: public arithmetic on positions, the same for both parties.

use std::ops::Range;

use crate::HeError;
use crate::respond::check_distinct;

/// A distribution of responses over packed ciphertexts of 2^k places per stretch of 2^k coefficients.
///
/// The wanted positions of a response fall into residues modulo 2^k; each residue takes one of the 2^k places of a
/// ciphertext and its positions p become `p - residue + place`. Consecutive responses share a ciphertext as long as
/// their residues fit. The best case is one residue per response: 2^k responses per ciphertext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    degree: usize,
    groups: Vec<Group>,
}

/// One packed ciphertext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// Indices of the responses.
    responses: Range<usize>,
    /// log2 of the number of places, of which `leaves` are taken.
    levels: u32,
    leaves: usize,
    /// Per response its residues, ascending.
    residues: Vec<Vec<u32>>,
    /// Per response the end of its part of `positions`.
    ends: Vec<usize>,
    /// Response by response, in the order of its wanted positions.
    positions: Vec<u32>,
}

impl Layout {
    /// Packs responses with these wanted `positions` in at most 2^`levels` places, in polynomials of `degree`
    /// coefficients. Responses that want nothing take no place.
    ///
    /// # Errors
    /// [`HeError::Position`] on positions repeated or beyond the degree; [`HeError::Levels`] if there are more levels
    /// than log2 of the degree, a power of two.
    pub fn new<P: AsRef<[u32]>>(degree: usize, positions: &[P], levels: u32) -> Result<Self, HeError> {
        let most = degree.checked_ilog2().unwrap_or(0);
        if levels > most {
            return Err(HeError::Levels { needed: levels, most });
        }
        let mut groups = Vec::new();
        let mut open = Group::new(0);
        for (index, positions) in positions.iter().enumerate() {
            let positions = positions.as_ref();
            check_distinct(degree, positions)?;
            let residues = residues(positions, levels);
            if open.leaves + residues.len() > 1 << levels {
                groups.push(std::mem::replace(&mut open, Group::new(index)));
            }
            open.add(residues, positions);
        }
        if open.leaves > 0 {
            groups.push(open);
        }
        groups.iter_mut().for_each(|group| group.place((1 << levels) - 1));
        Ok(Self { degree, groups })
    }

    /// n.
    #[must_use]
    pub fn degree(&self) -> usize {
        self.degree
    }

    /// Number of packed ciphertexts.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The responses of ciphertext `group`, consecutive and in order.
    ///
    /// # Panics
    /// If there is no such group.
    #[must_use]
    pub fn responses(&self, group: usize) -> Range<usize> {
        self.groups[group].responses.clone()
    }

    /// Where ciphertext `group` holds what its responses want: response by response, each in the order of its own
    /// positions.
    ///
    /// # Panics
    /// If there is no such group.
    #[must_use]
    pub fn positions(&self, group: usize) -> &[u32] {
        &self.groups[group].positions
    }

    /// Levels of Galois keys that are needed, at most those asked for.
    #[must_use]
    pub fn levels(&self) -> u32 {
        self.groups.iter().map(|group| group.levels).max().unwrap_or(0)
    }

    /// Number of key switches: the price of the packing.
    #[must_use]
    pub fn switches(&self) -> usize {
        self.groups.iter().map(Group::switches).sum()
    }

    pub(super) fn group(&self, group: usize) -> &Group {
        &self.groups[group]
    }
}

impl Group {
    fn new(first: usize) -> Self {
        Self {
            responses: first..first,
            levels: 0,
            leaves: 0,
            residues: Vec::new(),
            ends: Vec::new(),
            positions: Vec::new(),
        }
    }

    fn add(&mut self, residues: Vec<u32>, positions: &[u32]) {
        self.responses.end += 1;
        self.leaves += residues.len();
        self.residues.push(residues);
        self.positions.extend_from_slice(positions);
        self.ends.push(self.positions.len());
    }

    /// Moves the positions to their places, by their residues under `mask`. Leaf number i takes place number i with
    /// its bits reversed: neighbours differ in the top bit and are merged first.
    fn place(&mut self, mask: u32) {
        self.levels = self.leaves.next_power_of_two().ilog2();
        let (mut first, mut start) = (0, 0);
        for (residues, &end) in self.residues.iter().zip(&self.ends) {
            for position in &mut self.positions[start..end] {
                let residue = *position & mask;
                let leaf = first + residues.partition_point(|&r| r < residue) as u32;
                *position = *position - residue + reversed(leaf, self.levels);
            }
            first += residues.len() as u32;
            start = end;
        }
    }

    fn switches(&self) -> usize {
        (1..=self.levels).map(|level| self.leaves.div_ceil(1 << level)).sum()
    }

    pub(super) fn responses(&self) -> Range<usize> {
        self.responses.clone()
    }

    pub(super) fn levels(&self) -> u32 {
        self.levels
    }

    pub(super) fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Residues of response number `index` of the group.
    pub(super) fn residues(&self, index: usize) -> Option<&[u32]> {
        self.residues.get(index).map(Vec::as_slice)
    }

    /// The places of its wanted coefficients.
    pub(super) fn targets(&self, index: usize) -> &[u32] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.positions[start..self.ends[index]]
    }
}

/// The residues of positions modulo 2^levels, ascending, each once.
fn residues(positions: &[u32], levels: u32) -> Vec<u32> {
    let mut residues: Vec<u32> = positions.iter().map(|p| p & ((1 << levels) - 1)).collect();
    residues.sort_unstable();
    residues.dedup();
    residues
}

/// The `bits` bits of an index in reverse.
fn reversed(index: u32, bits: u32) -> u32 {
    // Reversal and shift separately: a shift by all bits of a word is no shift.
    if bits == 0 { 0 } else { index.reverse_bits() >> (u32::BITS - bits) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_residue_per_response() {
        let positions: Vec<Vec<u32>> = (0..21).map(|_| (0..100).map(|i| 8 * i + 5).collect()).collect();
        let layout = Layout::new(1024, &positions, 3).unwrap();
        assert_eq!((layout.groups(), layout.levels()), (3, 3));
        assert_eq!((layout.responses(0), layout.responses(2)), (0..8, 16..21));
        assert_eq!(layout.positions(0)[..3], [0, 8, 16]);
        assert_eq!(layout.positions(0)[100..102], [4, 12]);
        // 7 switches twice; 3 + 2 + 1 for the five of the last.
        assert_eq!(layout.switches(), 20);
    }

    #[test]
    fn few_responses_take_few_levels() {
        let layout = Layout::new(4096, &[[64, 0], [128, 192], [4032, 64]], 6).unwrap();
        assert_eq!((layout.groups(), layout.levels(), layout.switches()), (1, 2, 3));
        assert_eq!(layout.positions(0), [64, 0, 130, 194, 4033, 65]);
        let alone = Layout::new(4096, &[[7, 71]], 6).unwrap();
        assert_eq!((alone.levels(), alone.switches(), alone.positions(0)), (0, 0, &[0, 64][..]));
    }

    #[test]
    fn refusals_and_empty_responses() {
        assert_eq!(Layout::new(1024, &[[0, 1024]], 2), Err(HeError::Position { position: 1024, n: 1024 }));
        assert_eq!(Layout::new(1024, &[[5, 5]], 2), Err(HeError::Position { position: 5, n: 1024 }));
        assert_eq!(Layout::new(1024, &[[5, 6]], 11), Err(HeError::Levels { needed: 11, most: 10 }));
        let none: [[u32; 0]; 3] = [[]; 3];
        assert_eq!(Layout::new(1024, &none, 2).unwrap().groups(), 0);
        let some = Layout::new(1024, &[vec![], vec![4], vec![], vec![9]], 2).unwrap();
        assert_eq!((some.groups(), some.responses(0)), (1, 0..4));
        assert_eq!(some.positions(0), [4, 9]);
    }

    proptest! {
        #[test]
        fn places_are_distinct(
            levels in 0..=10_u32,
            responses in prop::collection::vec(prop::collection::btree_set(0..1024_u32, 0..40), 0..30)
        ) {
            let positions: Vec<Vec<u32>> = responses.into_iter().map(|r| r.into_iter().collect()).collect();
            let layout = Layout::new(1024, &positions, levels).unwrap();
            let mut next = 0;
            for group in 0..layout.groups() {
                let responses = layout.responses(group);
                prop_assert_eq!(responses.start, next);
                next = responses.end;
                prop_assert!(check_distinct(1024, layout.positions(group)).is_ok());
                let wanted: usize = positions[responses].iter().map(Vec::len).sum();
                prop_assert_eq!(layout.positions(group).len(), wanted);
                prop_assert!(layout.group(group).leaves <= 1 << levels);
            }
            prop_assert!(next == positions.len() || positions[next..].iter().all(Vec::is_empty));
        }
    }
}
