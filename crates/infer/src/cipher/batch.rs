//! Many inputs at once: one ciphertext per element, one input per slot (CryptoNets: Gilad-Bachrach et al., ICML
//! 2016, section 3.3).
//!
//! A linear map multiplies ciphertexts by numbers, a square is a square, nothing is rotated. What one ciphertext
//! costs is shared by as many inputs as it has slots; latency is that of a whole batch.
//!
//! | file | what |
//! |---|---|
//! | this one | which outputs read which inputs, and the order in which inputs are sent |
//! | [`stream`] | the evaluation while inputs arrive |
//! | [`scheme`] | parameters, keys, messages |
//! | [`link`] | both halves of a batch over a channel |
//!
//! Cost: one multiplication by a number per entry of every map, one relinearisation per square. Memory: an input is held
//! until the last output that reads it is known; a map all of whose outputs read all inputs keeps its sums instead.

use std::collections::BTreeMap;

use super::map::{Entries, Shape};

pub mod link;
pub mod scheme;
pub mod stream;
#[cfg(test)]
mod tests;

pub use link::LinkError;
pub use scheme::Scheme;
pub use stream::Stream;

/// Outputs of a map that read the same inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

/// A linear map by groups.
#[derive(Debug, Clone)]
struct Map {
    entries: Entries,
    groups: Vec<Group>,
    /// Per input the groups that read it.
    readers: Vec<Vec<usize>>,
}

/// A network on batches.
#[derive(Debug, Clone)]
pub struct Batch {
    maps: Vec<Map>,
    order: Vec<usize>,
}

impl Batch {
    /// Linear maps with a square between any two.
    #[must_use]
    pub fn new(shapes: &[Shape]) -> Self {
        let maps: Vec<Map> = shapes.iter().map(|shape| Map::new(*shape)).collect();
        let order = maps.first().map_or_else(Vec::new, Map::order);
        Self { maps, order }
    }

    /// Levels that fresh ciphertexts need.
    #[must_use]
    pub fn depth(&self) -> usize {
        (2 * self.maps.len()).saturating_sub(1)
    }

    /// Elements of an input.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.maps.first().map_or(0, |map| map.entries.shape().inputs())
    }

    /// Elements of an output.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.maps.last().map_or(0, |map| map.entries.shape().outputs())
    }

    /// The elements that are encrypted, in the order in which outputs of the first map read them. What no output reads is
    /// left out.
    #[must_use]
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Squares of a run, each with one relinearisation.
    #[must_use]
    pub fn squares(&self) -> usize {
        self.maps.iter().skip(1).map(|map| map.entries.shape().inputs()).sum()
    }

    /// Per map the most inputs that an output reads.
    #[must_use]
    pub fn terms(&self) -> Vec<usize> {
        let most = |map: &Map| map.groups.iter().map(|group| group.inputs.len()).max().unwrap_or(0);
        self.maps.iter().map(most).collect()
    }

    /// Products of a ciphertext and a number in a run.
    #[must_use]
    pub fn products(&self) -> usize {
        let products = |group: &Group| group.inputs.len() * group.outputs.len();
        self.maps.iter().flat_map(|map| &map.groups).map(products).sum()
    }
}

impl Map {
    fn new(shape: Shape) -> Self {
        let entries = Entries::new(shape);
        let groups = groups(&entries);
        let mut readers = vec![Vec::new(); shape.inputs()];
        for (index, group) in groups.iter().enumerate() {
            group.inputs.iter().for_each(|&i| readers[i].push(index));
        }
        Self { entries, groups, readers }
    }

    /// Whether all outputs read all inputs, so that sums can be kept in place of inputs.
    fn is_dense(&self) -> bool {
        matches!(&self.groups[..], [only] if only.inputs.len() == self.entries.shape().inputs())
    }

    /// Every input that is read, before those that are first read by a later output.
    fn order(&self) -> Vec<usize> {
        let mut by_output: Vec<&Group> = self.groups.iter().collect();
        by_output.sort_by_key(|group| group.outputs.first().copied());
        let mut seen = vec![false; self.readers.len()];
        let first = |&&i: &&usize| !std::mem::replace(&mut seen[i], true);
        by_output.into_iter().flat_map(|group| &group.inputs).filter(first).copied().collect()
    }
}

/// The outputs of a map by the inputs that they read.
fn groups(entries: &Entries) -> Vec<Group> {
    let shape = entries.shape();
    if let Shape::Dense { inputs, outputs } = shape {
        return vec![Group { inputs: (0..*inputs).collect(), outputs: (0..*outputs).collect() }];
    }
    let mut groups: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
    for o in 0..shape.outputs() {
        let mut inputs: Vec<usize> = entries.row(o).map(|(i, _)| i).collect();
        inputs.sort_unstable();
        groups.entry(inputs).or_default().push(o);
    }
    groups.into_iter().map(|(inputs, outputs)| Group { inputs, outputs }).collect()
}
