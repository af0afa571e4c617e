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
            let strides = geometry.strides(tile);
            let planes = n / strides.plane;
            if planes == 0 {
                continue;
            }
            for (groups, planes) in groups_and_planes(&geometry, planes) {
                let outputs = groups * geometry.outputs_per_group();
                let fitting = (n / (planes * strides.plane)).min(outputs);
                // Blocks of equal size: the least noise for the same number of blocks.
                let outputs = outputs.div_ceil(outputs.div_ceil(fitting));
                let block = Block { tile, groups, planes, outputs };
                let price = cost.price(n, &Counts::new(&geometry, &block).amounts());
                if best.is_none_or(|(least, ..)| price < least) {
                    best = Some((price, block, strides));
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
    pub(super) fn amounts(&self) -> Amounts {
        let outputs = self.all_outputs * self.tiles();
        Amounts {
            inputs: self.inputs(),
            outputs,
            ciphertexts: outputs,
            weight_polys: self.all_outputs * self.planes,
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
