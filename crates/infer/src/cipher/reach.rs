//! Ways to compute a linear map on slots: the candidates among which the planner chooses.
//!
//! | way | target t(o) | folds F | diagonals D |
//! |---|---|---|---|
//! | rows | a dense block of R >= m slots | R, 2R, .. below the window W | 0..R |
//! | rows with C copies | the same | and (P + R/C) 2^k: copy c takes the diagonals from c R/C on | 0..R/C |
//! | spread | every tau-th slot | 1, 2, .. below tau | multiples of tau below the period P |
//! | blocks | block c holds channel c | whole groups of blocks | multiples of the block |
//! | phases | block c holds channel c on the grid of the input | - | differences of phases, rows and columns |
//!
//! Rows are the folded diagonals of Halevi and Shoup; a window shifted by R/C per copy of the input makes one
//! plaintext hold C diagonals. All positions are multiples of the spacing of the input. Blocks need the client's
//! columns of the convolution, phases its image split by the stride.

use phineus_model::graph::Conv;

use super::cost::{CostModel, Steps};
use super::diagonal::Reach;
use super::layout::{Content, Layout};
use super::map::Shape;

/// A way without its split into baby and giant steps.
struct Way {
    target: Layout,
    folds: Vec<usize>,
    diagonals: Vec<usize>,
    /// Splits are these times a power of two.
    units: Vec<usize>,
}

/// All ways that take any input layout to one ciphertext.
pub(super) fn general(shape: &Shape, input: &Layout, level: usize, costs: &CostModel) -> Vec<(f64, Reach)> {
    let (period, spacing) = (input.period(), input.spacing());
    let (low, span) = input.window();
    let slots = input.slots();
    let rows = shape.outputs().next_power_of_two() * spacing;
    let mut ways = Vec::new();
    if rows <= slots {
        let compact = window(span + rows - spacing, rows, slots);
        for copies in (0..).map(|k| 1 << k).take_while(|c| c * period <= slots && c * spacing <= rows) {
            ways.push(copied(shape, low, slots, period, [rows, compact, copies, spacing]));
        }
        let mut cycles = vec![period, slots];
        cycles.dedup();
        for cycle in cycles.into_iter().filter(|&cycle| rows <= cycle) {
            for window in [compact.min(cycle), cycle] {
                ways.push(copied(shape, low, cycle, cycle, [rows, window, 1, spacing]));
            }
            ways.push(spread(shape, low, cycle, period, spacing));
        }
    }
    ways.into_iter().map(|way| way.split(slots, input.ciphers(), level, costs)).collect()
}

/// The client's layouts of an image for a convolution, each with the ways from it.
pub(super) fn convolution(
    conv: &Conv,
    slots: usize,
    form: InputForm,
    level: usize,
    costs: &CostModel,
) -> Vec<(Layout, Vec<(f64, Reach)>)> {
    let positions: usize = conv.output().iter().product();
    let mut inputs = Vec::new();
    let split = |way: Way, input: &Layout| way.split(slots, input.ciphers(), level, costs);
    if form != InputForm::Message && conv.groups == 1 {
        let mut blocks = vec![positions.next_power_of_two(), positions];
        blocks.dedup();
        for block in blocks.into_iter().filter(|&block| block <= slots) {
            let order: Vec<usize> = (0..positions).collect();
            let input = Layout::convolution(slots, conv, block, &order);
            let way = split(blocked(conv, slots, block), &input);
            inputs.push((input, vec![way]));
        }
    }
    if form != InputForm::Convolution {
        let [h, w] = [0, 1].map(|axis| conv.input[axis].div_ceil(conv.stride[axis]));
        let [oh, ow] = conv.output();
        let (tall, wide) = (h.max(oh), w.max(ow));
        let phases = conv.in_channels * conv.stride[0] * conv.stride[1];
        for (row, block) in [
            (wide, (wide * tall).next_power_of_two()),
            (wide.next_power_of_two(), (wide.next_power_of_two() * tall).next_power_of_two()),
        ] {
            let period = (phases * block).next_power_of_two().min(slots);
            if block > slots {
                continue;
            }
            let input = Layout::phases(slots, conv, row, block, period);
            let way = split(phased(conv, slots, row, block, period), &input);
            inputs.push((input, vec![way]));
        }
        inputs.dedup_by(|a, b| a.0 == b.0);
    }
    inputs
}

/// What the client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum InputForm {
    /// Whatever is cheapest.
    #[default]
    Any,
    /// The columns of the first convolution (LoLa's convolution representation).
    Convolution,
    /// The elements themselves, each once per period (LoLa's dense representation).
    Message,
}

impl Way {
    /// The cheapest split, with its price.
    fn split(self, slots: usize, inputs: usize, level: usize, costs: &CostModel) -> (f64, Reach) {
        let Self { target, folds, diagonals, units } = self;
        let cycle = target.slots();
        let most = diagonals.iter().copied().max().unwrap_or(0);
        let price = |split: usize| {
            let turns = |part: &dyn Fn(usize) -> usize| {
                let mut steps: Vec<usize> =
                    diagonals.iter().map(|&d| part(d) % cycle).filter(|&s| s != 0).collect();
                steps.sort_unstable();
                steps.dedup();
                steps.len()
            };
            let steps = Steps {
                inputs,
                outputs: target.ciphers(),
                babies: turns(&|d| d % split),
                giants: turns(&|d| d - d % split),
                folds: folds.len(),
                products: diagonals.len() * inputs * target.ciphers(),
            };
            costs.linear(slots, level, steps)
        };
        let splits = units
            .iter()
            .flat_map(|&unit| (0..).map(move |k| unit << k).take_while(move |&s| s <= 2 * most.max(unit)));
        let (price, split) = splits
            .map(|split| (price(split), split))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .unwrap_or((f64::INFINITY, 1));
        (price, Reach { target, folds, diagonals, split })
    }
}

/// The smallest `unit` 2^k that holds `length` slots; all slots if there is none.
fn window(length: usize, unit: usize, slots: usize) -> usize {
    (0..).map(|k| unit << k).take_while(|&w| w < slots).find(|&w| w >= length).unwrap_or(slots)
}

/// Steps `from`, 2 `from`, .. below `to`.
fn doubling(from: usize, to: usize) -> impl Iterator<Item = usize> {
    (0..).map(move |k| from << k).take_while(move |&step| step < to)
}

/// Rows, modulo `cycle`, with a window per copy of the input.
fn copied(
    shape: &Shape,
    low: usize,
    cycle: usize,
    period: usize,
    [rows, window, copies, spacing]: [usize; 4],
) -> Way {
    let base = (low + cycle + spacing - rows % cycle) % cycle;
    let share = rows / copies;
    let mut folds: Vec<usize> = doubling(1, copies).map(|k| (period + share) * k % cycle).collect();
    folds.extend(doubling(rows, window.min(period)).collect::<Vec<_>>().into_iter().rev());
    let outputs = shape.outputs();
    let target = Layout::from_fn(cycle, 1, outputs, |k| {
        let place = (k + cycle - base) % cycle;
        let element = place / spacing;
        if place.is_multiple_of(spacing) && element < outputs {
            Content::Element(element)
        } else {
            Content::Zero
        }
    });
    Way { target, folds, diagonals: (0..share.min(period)).step_by(spacing).collect(), units: vec![spacing] }
}

/// One output in every tau-th slot.
fn spread(shape: &Shape, low: usize, cycle: usize, period: usize, spacing: usize) -> Way {
    let outputs = shape.outputs();
    let tau = cycle / outputs.next_power_of_two();
    let base = low % spacing;
    let target = Layout::from_fn(cycle, 1, outputs, |k| {
        let place = (k + cycle - base) % cycle;
        if place.is_multiple_of(tau) && place / tau < outputs {
            Content::Element(place / tau)
        } else {
            Content::Zero
        }
    });
    let folds = doubling(spacing, tau.min(period)).collect();
    Way { target, folds, diagonals: (0..period).step_by(tau).collect(), units: vec![tau] }
}

/// Channel c in block c, from the columns of the convolution.
fn blocked(conv: &Conv, slots: usize, block: usize) -> Way {
    let (outputs, positions) = (conv.output_len(), conv.output().iter().product::<usize>());
    let taps = (conv.weights_per_output()).min(slots / block);
    let group = conv.out_channels.next_power_of_two() * block;
    let cyclic = block.is_power_of_two() && group <= slots;
    let per_cipher = slots / block;
    let first = if cyclic { 0 } else { conv.out_channels.min(per_cipher) - 1 };
    let target = Layout::from_fn(slots, conv.out_channels.div_ceil(per_cipher), outputs, |k| {
        let (cipher, slot) = (k / slots, (k % slots + first * block) % slots);
        let (channel, at) = (cipher * per_cipher + slot / block, slot % block);
        if slot / block < per_cipher && channel < conv.out_channels && at < positions {
            Content::Element(channel * positions + at)
        } else {
            Content::Zero
        }
    });
    let (count, folds) = if cyclic {
        (conv.out_channels.next_power_of_two(), doubling(group, slots).collect::<Vec<_>>())
    } else {
        (taps + first, Vec::new())
    };
    let folds = folds.into_iter().rev().collect();
    let mut diagonals: Vec<usize> = (0..count).map(|k| k * block).collect();
    if block.is_power_of_two() {
        diagonals.retain(|&d| d < slots);
    }
    Way { target, folds, diagonals, units: vec![block] }
}

/// Channel c in block c, on the grid of the phases of the input.
fn phased(conv: &Conv, slots: usize, row: usize, block: usize, period: usize) -> Way {
    let ([_, columns], [kh, kw], [sy, sx]) = (conv.output(), conv.kernel, conv.stride);
    let positions: usize = conv.output().iter().product();
    let cycle = (conv.out_channels * block).next_power_of_two().clamp(period, slots);
    let per_cipher = cycle / block;
    let margin = conv.pads[0].div_ceil(sy) * row + conv.pads[1].div_ceil(sx);
    let target = Layout::from_fn(cycle, conv.out_channels.div_ceil(per_cipher), conv.output_len(), |k| {
        let (cipher, slot) = (k / cycle, (k % cycle + margin) % cycle);
        let (channel, at) = (cipher * per_cipher + slot / block, slot % block);
        let (y, x) = (at / row, at % row);
        if channel < conv.out_channels && x < columns && y * columns + x < positions {
            Content::Element(channel * positions + y * columns + x)
        } else {
            Content::Zero
        }
    });
    let mut diagonals = Vec::new();
    for tap in 0..conv.in_channels * kh * kw {
        let (c, ky, kx) = (tap / (kh * kw), tap / kw % kh, tap % kw);
        let side = |axis: usize, k: usize| (k * conv.dilation[axis]) as isize - conv.pads[axis] as isize;
        let (y, x) = (side(0, ky), side(1, kx));
        let phase = y.rem_euclid(sy as isize) as usize * sx + x.rem_euclid(sx as isize) as usize;
        let place = (c * sy * sx + phase) * block;
        let shift = y.div_euclid(sy as isize) * row as isize + x.div_euclid(sx as isize) + margin as isize;
        for channel in 0..conv.out_channels.min(per_cipher) {
            let blocks = (place % slots + cycle - channel * block % cycle) % period;
            diagonals.push((blocks + shift.unsigned_abs()) % period);
        }
    }
    diagonals.sort_unstable();
    diagonals.dedup();
    Way { target, folds: Vec::new(), diagonals, units: vec![1, row, block] }
}
