//! The search for the cheapest block: all tiles, groups and planes per polynomial that split their whole evenly, each
//! with as many outputs as fit.

use super::{
    Block, CostModel, Counts, Packing, PackingError,
    cost::Amounts,
    geometry::{Geometry, Strides},
};

pub(super) fn cheapest(geometry: Geometry, n: usize, cost: &CostModel) -> Result<Packing, PackingError> {
    let mut best: Option<(f64, Block, Strides)> = None;
    let [grid_h, grid_w] = geometry.grid();
    for height in even_parts(grid_h) {
        for width in even_parts(grid_w) {
            let tile = [height, width];
            // Planes as close as possible, and such that eight weight polynomials share a transform.
            let close = geometry.strides(tile);
            let aligned = close.aligned(&geometry);
            for plane in [aligned.plane, close.plane].into_iter().take(if aligned == close { 1 } else { 2 }) {
                for (groups, planes) in groups_and_planes(&geometry, n / plane) {
                    let outputs = groups * geometry.outputs_per_group();
                    let fitting = (n / (planes * plane)).min(outputs);
                    // Blocks of equal size: the least noise for the same number of blocks.
                    let outputs = outputs.div_ceil(outputs.div_ceil(fitting));
                    let block = Block { tile, groups, planes, outputs };
                    let Some(strides) = geometry.strides_in(n, &block) else { continue };
                    let amounts = Counts::new(&geometry, &block).amounts(strides.octets(&geometry, n));
                    let price = cost.price(n, &amounts);
                    if best.is_none_or(|(least, ..)| price < least) {
                        best = Some((price, block, strides));
                    }
                }
            }
        }
    }
    match best {
        Some((_, block, strides)) => Ok(Packing::checked(geometry, n, block, strides)),
        None => Err(PackingError::Kernel { footprint: geometry.strides([1, 1]).plane, n }),
    }
}

/// The choices of groups and planes per polynomial with at most `most` planes: parts of one group, or whole groups.
fn groups_and_planes(geometry: &Geometry, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let per_group = geometry.planes_per_group();
    let parts = even_parts(per_group).map(|planes| (1, planes));
    let wholes = even_parts(geometry.conv().groups)
        .filter(|&groups| groups > 1)
        .map(move |groups| (groups, groups.saturating_mul(per_group)));
    parts.chain(wholes).filter(move |&(_, planes)| planes <= most)
}

/// The sizes `ceil(whole / parts)` for every number of parts, descending, each once.
pub(super) fn even_parts(whole: usize) -> impl Iterator<Item = usize> {
    let next = move |&size: &usize| {
        // The fewest parts of a smaller size.
        (size > 1).then(|| whole.div_ceil(whole.div_ceil(size - 1)))
    };
    std::iter::successors(Some(whole), next)
}

impl Counts {
    /// What is priced; weights count by transforms.
    pub(super) fn amounts(&self, octets: bool) -> Amounts {
        let outputs = self.all_outputs * self.tiles();
        let transforms = if octets { self.planes.div_ceil(8) } else { self.planes };
        Amounts {
            inputs: self.inputs(),
            outputs,
            ciphertexts: outputs,
            weight_polys: self.all_outputs * transforms,
            products: outputs * self.planes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_parts_are_all_sizes_of_even_splits() {
        for whole in 1..200usize {
            let mut expected: Vec<_> = (1..=whole).map(|parts| whole.div_ceil(parts)).collect();
            expected.dedup();
            assert_eq!(even_parts(whole).collect::<Vec<_>>(), expected, "{whole}");
        }
    }
}
