//! Interval arithmetic: the smallest and largest integer a value can be.
//!
//! Per output of a linear layer, with `x` in `[lo, hi]`: `bias + sum_{w>0} w hi + sum_{w<0} w lo` bounds it from
//! above, and the same with `lo` and `hi` swapped from below.

use super::{Act, Graph, Op, Weights};
use crate::graph::{Conv, Window};

/// `[lo, hi]`; ends beyond `2^61` are cut there, far outside of any ring.
pub type Interval = (i64, i64);

/// Bits of the smallest ring whose signed representatives contain `[lo, hi]`, at least 2.
#[must_use]
pub fn bits_for((lo, hi): Interval) -> u32 {
    // v fits in b bits iff -2^(b-1) <= v < 2^(b-1); `!v` maps the negative case to the positive one.
    let magnitude = (if lo < 0 { !lo } else { lo }).max(if hi < 0 { !hi } else { hi });
    (65 - magnitude.leading_zeros()).max(2)
}

impl Graph {
    /// The proven interval of every node, given the input's fact and the weights. Weights must fit the graph.
    #[must_use]
    pub fn intervals(&self, weights: &[Weights]) -> Vec<Interval> {
        let mut all: Vec<Interval> = Vec::with_capacity(self.nodes.len());
        for (node, fact) in self.nodes.iter().zip(&self.facts) {
            let inputs: Vec<Interval> = node.inputs.iter().filter_map(|&id| all.get(id).copied()).collect();
            let interval = match &node.op {
                Op::Input => (fact.lo, fact.hi),
                Op::Linear { conv, weights: index, .. } => match (weights.get(*index), inputs.first()) {
                    (Some(weights), Some(&x)) => linear(conv, weights, x),
                    _ => (-FAR, FAR),
                },
                Op::Bias { weights: index, .. } => match weights.get(*index) {
                    Some(weights) => biased(&weights.bias, additive(&node.op, &inputs)),
                    None => (-FAR, FAR),
                },
                op => additive(op, &inputs),
            };
            all.push(interval);
        }
        all
    }

    /// For every node, whether its interval depends on weights: linear layers, biases and everything after them up to the
    /// next [`Act`].
    #[must_use]
    pub fn depends_on_weights(&self) -> Vec<bool> {
        let mut all: Vec<bool> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let depends = match node.op {
                Op::Linear { .. } | Op::Bias { .. } => true,
                Op::Act(_) | Op::Input => false,
                _ => node.inputs.iter().any(|&id| all.get(id).copied().unwrap_or_default()),
            };
            all.push(depends);
        }
        all
    }

    /// For every node, what the activations that read it add to it at most: their rounding terms, and their
    /// [`Rescale::margin`](super::Rescale::margin)s.
    #[must_use]
    pub fn margins(&self) -> Vec<Margin> {
        let mut all = vec![Margin::default(); self.nodes.len()];
        for node in &self.nodes {
            if let Op::Act(act) = &node.op {
                for &id in &node.inputs {
                    if let Some(margin) = all.get_mut(id) {
                        margin.rounding = act.rescale.half().max(margin.rounding);
                        margin.engines = act.rescale.margin().max(margin.engines);
                    }
                }
            }
        }
        all
    }
}

/// Room that the readers of a value need above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Margin {
    /// For exact rounding: the model means nothing without it.
    pub rounding: i64,
    /// For every engine: without it some cannot run the layer.
    pub engines: i64,
}

/// The interval of an operation without secrets, from those of its inputs; of a bias without its constants.
pub(crate) fn additive(op: &Op, inputs: &[Interval]) -> Interval {
    let hull = inputs.iter().copied().reduce(|(a, b), (c, d)| (a.min(c), b.max(d))).unwrap_or_default();
    match op {
        Op::Act(act) => activation(act),
        Op::Add { shifts } => {
            let sum = |end: fn(&Interval) -> i64| {
                inputs.iter().zip(shifts).map(|(x, &shift)| i128::from(end(x)) << shift).sum()
            };
            (near(sum(|x| x.0)), near(sum(|x| x.1)))
        }
        Op::Bias { shift, .. } => (near(i128::from(hull.0) << shift), near(i128::from(hull.1) << shift)),
        Op::SumPool(window) => sum_pool(window, hull),
        Op::Pad { .. } => (hull.0.min(0), hull.1.max(0)),
        Op::Product => product(inputs),
        _ => hull,
    }
}

/// The values of `c2 v^2 + c1 v + c0` for the rescaled `v`, before the second rescale.
pub(crate) fn quadratic(act: &Act) -> Interval {
    let Some(q) = act.quadratic else { return (0, 0) };
    let at = |v: i128| (i128::from(q.c2) * v + i128::from(q.c1)) * v + i128::from(q.c0);
    let (lo, hi) = (i128::from(act.rescale.lo), i128::from(act.rescale.hi));
    let mut candidates = vec![lo, hi];
    if q.c2 != 0 {
        // The vertex -c1 / (2 c2) lies between two neighbouring integers.
        let vertex = (-i128::from(q.c1)).div_euclid(2 * i128::from(q.c2));
        candidates.extend((vertex - 1..=vertex + 1).filter(|v| (lo..=hi).contains(v)));
    }
    let values = candidates.into_iter().map(at);
    (near(values.clone().min().unwrap_or_default()), near(values.max().unwrap_or_default()))
}

fn activation(act: &Act) -> Interval {
    let first = (act.rescale.lo.into(), act.rescale.hi.into());
    act.quadratic.map_or(first, |q| {
        let (lo, hi) = quadratic(act);
        (q.rescale.apply(lo), q.rescale.apply(hi))
    })
}

fn linear(conv: &Conv, layer: &Weights, x: Interval) -> Interval {
    let padded = conv.pads.iter().any(|&pad| pad > 0);
    let (lo, hi) = if padded { (x.0.min(0), x.1.max(0)) } else { x };
    let (lo, hi) = (i128::from(lo), i128::from(hi));
    let mut bound: Option<(i128, i128)> = None;
    for (row, &bias) in layer.weights.chunks(conv.weights_per_output().max(1)).zip(&layer.bias) {
        let positive: i128 = row.iter().map(|&w| i128::from(w.max(0))).sum();
        let negative: i128 = row.iter().map(|&w| i128::from(w.min(0))).sum();
        let least = positive * lo + negative * hi + i128::from(bias);
        let most = positive * hi + negative * lo + i128::from(bias);
        bound = Some(bound.map_or((least, most), |(a, b)| (a.min(least), b.max(most))));
    }
    bound.map_or((0, 0), |(a, b)| (near(a), near(b)))
}

fn biased(bias: &[i32], (lo, hi): Interval) -> Interval {
    let end =
        |by: Option<&i32>, end: i64| near(i128::from(end) + i128::from(by.copied().unwrap_or_default()));
    (end(bias.iter().min(), lo), end(bias.iter().max(), hi))
}

fn product(inputs: &[Interval]) -> Interval {
    let &[x, y] = inputs else { return (-FAR, FAR) };
    let corner = |a: i64, b: i64| near(i128::from(a) * i128::from(b));
    let corners = [corner(x.0, y.0), corner(x.0, y.1), corner(x.1, y.0), corner(x.1, y.1)];
    corners.into_iter().fold((FAR, -FAR), |(lo, hi), v| (lo.min(v), hi.max(v)))
}

fn sum_pool(window: &Window, (lo, hi): Interval) -> Interval {
    let places = (window.kernel[0] as i128) * (window.kernel[1] as i128);
    // Windows may hang over the edge, so every count from 1 (or 0) to `places` occurs.
    let (lo, hi) = (i128::from(lo), i128::from(hi));
    (near((lo * places).min(lo.max(0))), near((hi * places).max(hi.min(0))))
}

fn near(v: i128) -> i64 {
    v.clamp(-i128::from(FAR), i128::from(FAR)) as i64
}

const FAR: i64 = 1 << 61;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::{Quadratic, Rescale};

    #[test]
    fn bits_at_powers_of_two() {
        for bits in 2..=32u32 {
            let half = 1i64 << (bits - 1);
            assert_eq!(bits_for((-half, half - 1)), bits);
            assert_eq!(bits_for((-half - 1, 0)), bits + 1);
            assert_eq!(bits_for((0, half)), bits + 1);
        }
        assert_eq!(bits_for((0, 0)), 2);
        assert_eq!(bits_for((-2, 1)), 2);
        assert_eq!(bits_for((5, 7)), 4);
    }

    #[test]
    fn linear_bounds_are_attained() {
        let conv = Conv::dense(2, 2);
        let layer = Weights { weights: vec![3, -2, 1, 1], bias: vec![10, -100] };
        // Row 0: 10 + 3*[0,5] - 2*[0,5]; row 1: -100 + [0,10].
        assert_eq!(linear(&conv, &layer, (0, 5)), (-100, 25));
    }

    #[test]
    fn quadratic_finds_its_vertex() {
        let rescale = Rescale { shift: 0, lo: -8, hi: 7 };
        for (c2, c1, c0) in [(1, 0, 0), (-3, 5, 1), (2, 7, -9), (0, -4, 2), (1, 200, 0), (5, -1, 0)] {
            let act = Act { max_pool: None, rescale, quadratic: Some(Quadratic { c2, c1, c0, rescale }) };
            let q = act.quadratic.unwrap();
            let values: Vec<i64> = (-8..=7).map(|v| q.evaluate(v)).collect();
            let exact = (*values.iter().min().unwrap(), *values.iter().max().unwrap());
            assert_eq!(quadratic(&act), exact, "{q:?}");
        }
    }
}
