//! One step per value.
//!
//! Steps are the unknowns. Rearrangements, joins and window sums tie them by exact ratios; an activation that reads
//! an accumulator, and a narrow operand of a sum, tie them by a power of two that is still to be chosen. Both kinds
//! go into a weighted union-find, which leaves one unknown per group of narrow values and one per *component* of
//! accumulators. A group's step is the largest that one of its members' sampled range asks for. A component's step
//! is then the smallest of the form `group * 2^-f`, `f >= 0`, at which all its weights fit; where even `f = 0` is
//! too small the group grows and all is computed again.
//!
//! Ahead of a polynomial the step of the argument is often free. It is then chosen (at most `sqrt 2` above what its
//! range asks for) such that the square's coefficient is a power of two, which costs nothing to multiply with. That of a
//! hard swish has the form `3 2^-k` for the same reason ([`super::hard_swish`]).
//!
//! A product has the step of its first factor times that of the second. The latter is assumed, all is solved, and
//! again with what came out, until both agree.

use super::calibrate::Range;
use super::lower::{Class, Function, Kind, Skeleton};
use super::{Options, QuantizeError, hard_swish};
use crate::fixed::{Quadratic, Rescale};

/// The solved steps.
#[derive(Debug)]
pub(super) struct Scales {
    /// Of every piece.
    pub(super) step: Vec<f64>,
    /// Of the argument of every quadratic activation (of any other piece its own step).
    pub(super) argument: Vec<f64>,
}

/// `log2` of a ratio of two steps that is a power of two by construction.
pub(super) fn exponent(ratio: f64) -> i32 {
    ratio.log2().round() as i32
}

/// Solves for all steps.
pub(super) fn solve(
    skeleton: &Skeleton<'_>,
    ranges: &[Range],
    options: &Options,
) -> Result<Scales, QuantizeError> {
    let factors: Vec<usize> = skeleton
        .pieces
        .iter()
        .map(|p| if p.node.op == Kind::Product { p.node.inputs[1] } else { 0 })
        .collect();
    let mut assumed: Vec<f64> = factors.iter().map(|&x| magnitude(skeleton, ranges, x, options).1).collect();
    // Steps of factors grow in the order of the network, so that one more of them is final each time.
    let products = factors.iter().filter(|x| **x > 0).count();
    for _ in 0..=products + 1 {
        let scales = solve_with(skeleton, ranges, options, &assumed)?;
        let mut agree = true;
        for (assumed, &factor) in assumed.iter_mut().zip(&factors).filter(|(_, factor)| **factor > 0) {
            agree &= (scales.step[factor] / *assumed - 1.0).abs() < EXACT;
            *assumed = scales.step[factor];
        }
        if agree {
            return Ok(scales);
        }
    }
    let product = factors.iter().position(|factor| *factor > 0).unwrap_or(0);
    Err(scales(skeleton, product))
}

/// The calibrated magnitude of a piece and the step that it asks for; 1 where it is zero in all samples.
fn magnitude(skeleton: &Skeleton<'_>, ranges: &[Range], piece: usize, options: &Options) -> (f64, f64) {
    let piece = &skeleton.pieces[piece];
    let levels = f64::from(1 << (options.activation_bits - u32::from(!piece.natural))) - 1.0;
    match ranges[piece.source].magnitude {
        size if size > 0.0 => (size, size / levels),
        _ => (1.0, 1.0),
    }
}

/// Solves for all steps, the second factor of every product of its assumed step.
fn solve_with(
    skeleton: &Skeleton<'_>,
    ranges: &[Range],
    options: &Options,
    assumed: &[f64],
) -> Result<Scales, QuantizeError> {
    let n = skeleton.pieces.len();
    let mut ties = Ties::new(2 * n);
    // A product's rescale keeps the magnitude of the first factor, less the bits that are zero in all samples.
    let units: Vec<f64> = (0..n)
        .map(|id| match skeleton.pieces[id].node.op {
            Kind::Product => {
                let (of, _) = magnitude(skeleton, ranges, skeleton.pieces[id].node.inputs[0], options);
                let (result, _) = magnitude(skeleton, ranges, id, options);
                (result / of / assumed[id]).log2().ceil().clamp(0.0, MAX_SHIFT.into()).exp2()
            }
            _ => 1.0,
        })
        .collect();
    let links = tie(skeleton, &mut ties, assumed, units)?;
    let components = components(skeleton, links, &mut ties, options)?;

    let mut least = vec![0.0f64; 2 * n];
    for (variable, step) in wanted(skeleton, ranges, options) {
        let (root, ratio) = ties.find(variable);
        least[root] = least[root].max(step / ratio);
    }
    // A group that is zero in all samples may have any step.
    for step in &mut least {
        *step = if *step > 0.0 { *step } else { 1.0 };
    }
    for _ in 0..ROUNDS {
        pin(skeleton, &ties, &mut least);
        let group = with_tuned_arguments(skeleton, &mut ties, &least);
        match grow(&components, &mut ties, &group, &mut least) {
            None => return Ok(assign(skeleton, &components, &mut ties, &group)),
            Some(piece) if !least.iter().all(|step| step.is_finite()) => return Err(scales(skeleton, piece)),
            Some(_) => {}
        }
    }
    let piece = components.first().map_or(0, |component| component.name);
    Err(scales(skeleton, piece))
}

/// The integer polynomial for `c[0] + c[1] x + c[2] x^2` with an argument of `bits` bits and step `v` and a result of
/// step `z`. Its rescale drops as many bits as it takes for the rounding of the coefficients to move no result by more
/// than about half a step (none for a lone square whose coefficient is a power of two), as far as 31 bits allow. The
/// bounds of the rescale are left to the caller; `None` if a result does not fit.
pub(super) fn quadratic([c0, c1, c2]: [f64; 3], v: f64, z: f64, bits: u32) -> Option<Quadratic> {
    let (square, slope, constant) = (c2 * v * v / z, c1 * v / z, c0 / z);
    let largest = f64::from(1 << (bits - 1));
    let power = square.abs().log2();
    let exact_square = c2 == 0.0 || (power - power.round()).abs() < EXACT;
    let precise = match (exact_square, c1 == 0.0 && c0 == 0.0) {
        (true, true) => 0.0,
        (true, false) => f64::from(bits),
        // Half a unit of the square's coefficient counts `largest^2 / 2` times.
        (false, _) => f64::from(2 * (bits - 1)),
    };
    let needed = if exact_square && c2 != 0.0 { precise.max(-power.round()) } else { precise };
    let result = square.abs() * largest * largest + slope.abs() * largest + constant.abs();
    let shift = needed.min((29.0 - result.log2()).floor()).clamp(0.0, 30.0);
    let integer = |c: f64| {
        let c = (c * shift.exp2()).round();
        (c.abs() < f64::from(1 << 30)).then_some(c as i32)
    };
    let rescale = Rescale { shift: shift as u32, lo: 0, hi: 0 };
    Some(Quadratic { c2: integer(square)?, c1: integer(slope)?, c0: integer(constant)?, rescale })
}

/// Largest rescale that is used: what lies further below an activation's step is noise.
const MAX_SHIFT: i32 = 20;
const ROUNDS: usize = 100;
/// Slack for ratios that are exact but for rounding.
const EXACT: f64 = 1e-9;

/// A component of accumulators: one unknown step.
struct Component {
    /// Its root in the union-find.
    root: usize,
    /// A piece of it, for errors.
    name: usize,
    /// Linear layers: ratio of the accumulator to the component, variable of the input, weight that fits at input
    /// step 1.
    leaves: Vec<Leaf>,
    /// Narrow values tied by a power of two: variable, and ratio of the accumulator they touch.
    links: Vec<(usize, f64)>,
}

struct Leaf {
    ratio: f64,
    input: usize,
    /// `max|w|` over the largest integer weight.
    weight: f64,
    bias: f64,
}

impl Component {
    /// The smallest step at which all weights fit.
    fn least(&self, step: impl Fn(usize) -> f64) -> f64 {
        self.leaves.iter().map(|leaf| step(leaf.input) * leaf.weight / leaf.ratio).fold(0.0, f64::max)
    }

    /// With the step `2^-e * step(first link) / ratio`, the shift of link `i` is `e + offsets[i]`: the smallest and
    /// the largest offset.
    fn offsets(&self, step: impl Fn(usize) -> f64) -> Option<(f64, i32, i32)> {
        let &(first, ratio) = self.links.first()?;
        let unit = step(first) / ratio;
        let offsets = self.links.iter().map(|&(link, ratio)| exponent(step(link) / ratio / unit));
        Some((unit, offsets.clone().min()?, offsets.max()?))
    }
}

/// Enters all exact ratios and returns the links `(narrow variable, accumulator)`. `factors`: steps of the second factors;
/// `places`: of every product what its rescale drops, 1 elsewhere.
fn tie(
    skeleton: &Skeleton<'_>,
    ties: &mut Ties,
    factors: &[f64],
    mut places: Vec<f64>,
) -> Result<Vec<(usize, usize)>, QuantizeError> {
    let n = skeleton.pieces.len();
    let mut links = Vec::new();
    // From here on also the number of narrow values in a window sum.
    for (id, piece) in skeleton.pieces.iter().enumerate() {
        let inputs = &piece.node.inputs;
        let class = |x: usize| skeleton.pieces[x].class;
        let mut exact = |a: usize, b: usize, ratio: f64| {
            if ties.join(a, b, ratio) { Ok(()) } else { Err(scales(skeleton, id)) }
        };
        match &piece.node.op {
            Kind::Input | Kind::Linear { .. } => {}
            Kind::Act { function, .. } => {
                let variable = argument(id, n, function);
                let x = inputs[0];
                match class(x) {
                    Class::Narrow => exact(variable, x, 1.0)?,
                    Class::Sums | Class::Products => exact(variable, x, places[x].log2().round().exp2())?,
                    Class::Wide => links.push((variable, x)),
                }
            }
            Kind::Add => {
                for &x in inputs {
                    if class(x) == Class::Wide { exact(id, x, 1.0)? } else { links.push((x, id)) }
                }
            }
            Kind::Bias(_) => links.push((inputs[0], id)),
            Kind::Sum => inputs.iter().try_for_each(|&x| exact(id, x, 1.0))?,
            Kind::Product => exact(id, inputs[0], factors[id])?,
            Kind::SumPool(window) => {
                let count = (window.kernel[0] * window.kernel[1]) as f64;
                places[id] = count * places[inputs[0]];
                exact(id, inputs[0], 1.0 / count)?;
            }
            Kind::Concat
            | Kind::Pad(_)
            | Kind::Slice(_)
            | Kind::Reshape
            | Kind::Transpose(_)
            | Kind::Select(_)
            | Kind::Merge(_) => {
                for &x in inputs {
                    places[id] = places[x];
                    exact(id, x, 1.0)?;
                }
            }
        }
    }
    Ok(links)
}

/// Collects the components and ties the narrow values that touch the same one.
fn components(
    skeleton: &Skeleton<'_>,
    links: Vec<(usize, usize)>,
    ties: &mut Ties,
    options: &Options,
) -> Result<Vec<Component>, QuantizeError> {
    let largest = f64::from((1 << (options.weight_bits - 1)) - 1);
    let mut components: Vec<Component> = Vec::new();
    let mut of_root = vec![usize::MAX; 2 * skeleton.pieces.len()];
    for (id, piece) in skeleton.pieces.iter().enumerate() {
        if piece.class != Class::Wide {
            continue;
        }
        let (root, ratio) = ties.find(id);
        if of_root[root] == usize::MAX {
            of_root[root] = components.len();
            components.push(Component { root, name: id, leaves: Vec::new(), links: Vec::new() });
        }
        if let Kind::Linear { weights, bias, .. } = &piece.node.op {
            let magnitude = |values: &[f32]| values.iter().fold(0.0f64, |m, &w| m.max(f64::from(w.abs())));
            components[of_root[root]].leaves.push(Leaf {
                ratio,
                input: piece.node.inputs[0],
                weight: magnitude(weights) / largest,
                bias: magnitude(bias),
            });
        }
    }
    for (variable, accumulator) in links {
        let (root, ratio) = ties.find(accumulator);
        let component = &mut components[of_root[root]];
        if let Some(&(first, first_ratio)) = component.links.first() {
            // Both are the component's step times their ratio times any power of two; the nearest one is taken.
            let relative = ratio / first_ratio;
            let wanted = relative * (-relative.log2().round()).exp2();
            if !ties.join(variable, first, wanted) && !ties.agree_by_power(variable, first, wanted) {
                return Err(scales(skeleton, accumulator));
            }
        }
        component.links.push((variable, ratio));
    }
    Ok(components)
}

/// The step that each sampled range asks for.
fn wanted(skeleton: &Skeleton<'_>, ranges: &[Range], options: &Options) -> Vec<(usize, f64)> {
    let n = skeleton.pieces.len();
    let signed = f64::from((1 << (options.activation_bits - 1)) - 1);
    let unsigned = f64::from((1 << options.activation_bits) - 1);
    let mut wanted = Vec::new();
    for (id, piece) in skeleton.pieces.iter().enumerate() {
        let largest = if piece.natural { unsigned } else { signed };
        match &piece.node.op {
            Kind::Input => wanted.push((id, ranges[0].magnitude / largest)),
            Kind::Act { function, .. } => {
                let size = ranges[piece.source].magnitude;
                match function {
                    Function::Clip { .. } => wanted.push((id, size / largest)),
                    Function::Quadratic(_) => {
                        wanted.push((id, size / largest));
                        wanted.push((argument(id, n, function), ranges[piece.before].magnitude / signed));
                    }
                    Function::Curve => {
                        let sizes = [ranges[piece.before].magnitude, size];
                        let [argument, result] = hard_swish::least_steps(sizes, options.activation_bits);
                        wanted.extend([(n + id, argument), (id, result)]);
                    }
                    // Its curve asks for both.
                    Function::Line { .. } => {}
                }
            }
            _ => {}
        }
    }
    wanted
}

/// Gives the arguments of hard swishes the steps at which comparisons can saturate. One group may hold several, which agree
/// up to a power of two unless averages stand between them; then the last one decides.
fn pin(skeleton: &Skeleton<'_>, ties: &Ties, least: &mut [f64]) {
    let n = skeleton.pieces.len();
    for (id, piece) in skeleton.pieces.iter().enumerate() {
        if let Kind::Act { function: Function::Curve, .. } = piece.node.op {
            let (root, ratio) = ties.find(n + id);
            least[root] = hard_swish::pinned(least[root] * ratio, EXACT) / ratio;
        }
    }
}

/// The steps of all groups (by root), with those arguments of polynomials tuned that nothing else depends on.
fn with_tuned_arguments(skeleton: &Skeleton<'_>, ties: &mut Ties, least: &[f64]) -> Vec<f64> {
    let n = skeleton.pieces.len();
    let mut group = least.to_vec();
    for (id, piece) in skeleton.pieces.iter().enumerate() {
        let Kind::Act { function: Function::Quadratic([_, _, c2]), .. } = piece.node.op else { continue };
        if c2 == 0.0 || !ties.is_alone(n + id) {
            continue;
        }
        let (root, ratio) = ties.find(id);
        let result = group[root] * ratio;
        let power = (least[n + id] * least[n + id] * c2.abs() / result).log2();
        group[n + id] = ((power - EXACT).ceil().exp2() * result / c2.abs()).sqrt();
    }
    group
}

/// Grows the first group whose component has no shift; gives a piece of it, or `None` if all have one.
fn grow(components: &[Component], ties: &mut Ties, group: &[f64], least: &mut [f64]) -> Option<usize> {
    let steps = ties.steps(group);
    for component in components {
        let step = |variable: usize| steps[variable];
        let Some((unit, low, _)) = component.offsets(step) else { continue };
        // All shifts are at least zero with e >= -low, so that the step is at most unit * 2^low.
        let missing = component.least(step) / (unit * f64::from(low).exp2());
        if missing > 1.0 + EXACT {
            let (root, _) = ties.find(component.links[0].0);
            least[root] = group[root] * missing;
            return Some(component.name);
        }
    }
    None
}

fn assign(skeleton: &Skeleton<'_>, components: &[Component], ties: &mut Ties, group: &[f64]) -> Scales {
    let n = skeleton.pieces.len();
    let steps = ties.steps(group);
    let mut group = group.to_vec();
    for component in components {
        let step = |variable: usize| steps[variable];
        let least = component.least(step);
        group[component.root] = match component.offsets(step) {
            Some((unit, low, high)) => {
                let free = if least > 0.0 { ((unit / least).log2() + EXACT).floor() as i32 } else { -low };
                unit * f64::from(-free.min(MAX_SHIFT - high).max(-low)).exp2()
            }
            None if least > 0.0 => least,
            // Without weights only the bias has to be told apart.
            None => {
                let bias = component.leaves.iter().map(|leaf| leaf.bias / leaf.ratio).fold(0.0, f64::max);
                if bias > 0.0 { bias / f64::from(1 << 14) } else { 1.0 }
            }
        };
    }
    let mut step = ties.steps(&group);
    let mut arguments = step.split_off(n);
    for (id, piece) in skeleton.pieces.iter().enumerate() {
        if !matches!(piece.node.op, Kind::Act { function, .. } if function.is_polynomial()) {
            arguments[id] = step[id];
        }
    }
    Scales { step, argument: arguments }
}

/// The variable of what an activation's rescale gives: its own, or that of a polynomial's argument.
fn argument(id: usize, n: usize, function: &Function) -> usize {
    if function.is_polynomial() { n + id } else { id }
}

fn scales(skeleton: &Skeleton<'_>, piece: usize) -> QuantizeError {
    QuantizeError::Scales { node: skeleton.pieces[piece].node.name.clone() }
}

/// Weighted union-find: `value(i) = ratio[i] * value(parent[i])`.
struct Ties {
    parent: Vec<usize>,
    ratio: Vec<f64>,
    size: Vec<usize>,
}

impl Ties {
    fn new(n: usize) -> Self {
        Self { parent: (0..n).collect(), ratio: vec![1.0; n], size: vec![1; n] }
    }

    /// Root of `i` and the ratio of `i` to it.
    fn find(&self, mut i: usize) -> (usize, f64) {
        let mut ratio = 1.0;
        while self.parent[i] != i {
            ratio *= self.ratio[i];
            i = self.parent[i];
        }
        (i, ratio)
    }

    /// States `value(a) = ratio * value(b)`; whether that agrees with what was stated before.
    fn join(&mut self, a: usize, b: usize, ratio: f64) -> bool {
        let ((mut root_a, to_a), (mut root_b, to_b)) = (self.find(a), self.find(b));
        // value(root_a) = across * value(root_b)
        let mut across = ratio * to_b / to_a;
        if root_a == root_b {
            return (across - 1.0).abs() < EXACT;
        }
        if self.size[root_a] > self.size[root_b] {
            (root_a, root_b, across) = (root_b, root_a, 1.0 / across);
        }
        self.parent[root_a] = root_b;
        self.ratio[root_a] = across;
        self.size[root_b] += self.size[root_a];
        true
    }

    /// Whether `value(a) = ratio * value(b)` holds up to a power of two.
    fn agree_by_power(&self, a: usize, b: usize, ratio: f64) -> bool {
        let ((root_a, to_a), (root_b, to_b)) = (self.find(a), self.find(b));
        let power = (ratio * to_b / to_a).log2();
        root_a == root_b && (power - power.round()).abs() < EXACT
    }

    fn is_alone(&self, i: usize) -> bool {
        self.size[self.find(i).0] == 1
    }

    /// All values from those of the roots.
    fn steps(&self, group: &[f64]) -> Vec<f64> {
        (0..self.parent.len())
            .map(|i| {
                let (root, ratio) = self.find(i);
                group[root] * ratio
            })
            .collect()
    }
}
