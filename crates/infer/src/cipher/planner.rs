//! From the public shape of a network to a program: a layout for every value, chosen by cost.
//!
//! A beam search over the maps in order. Every map offers its ways (rows, spread, blocks, phases: see `reach`) from
//! every layout that is still in the beam; ways are proven correct ([`Diagonals::new`]) from the cheapest on until
//! the beam is full again. The last layout must be clean: whatever else the slots of a result hold, the client would see it.

use std::collections::HashSet;

use super::coefficients;
use super::cost::{CostModel, Steps};
use super::diagonal::{Diagonals, Reach};
use super::layout::Layout;
use super::map::{Entries, Shape};
use super::program::Program;
use super::reach::{self, InputForm};

/// Layouts that are followed from map to map.
const BEAM: usize = 6;
/// The same for maps whose proof takes seconds.
const NARROW_BEAM: usize = 2;
/// Entries of such a map.
const LARGE: usize = 1 << 24;

/// What a program is made for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Slots of a ciphertext, a power of two.
    pub slots: usize,
    /// Levels of a fresh ciphertext.
    pub levels: usize,
    /// What the client sends.
    pub form: InputForm,
    /// Whether every slot of a period of the result must hold an output of its own.
    pub whole: bool,
}

/// Why there is no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlannerError {
    /// More products one after the other than the parameters allow.
    #[error(
        "the network needs {needed} levels ({maps} linear layers with a square between any two) and the parameters \
         have {available}: use larger parameters, merge linear layers, or replace squares"
    )]
    Depth {
        /// Levels that it needs.
        needed: usize,
        /// Its linear layers.
        maps: usize,
        /// Levels that there are.
        available: usize,
    },
    /// A layer for which no layout was found.
    #[error("layer {layer} ({inputs} to {outputs}) does not fit {slots} slots: use larger parameters")]
    Layer {
        /// Index of the linear layer.
        layer: usize,
        /// Elements that it takes.
        inputs: usize,
        /// Elements that it makes.
        outputs: usize,
        /// Slots.
        slots: usize,
    },
    /// A network without a linear layer.
    #[error("a network needs a linear layer at least")]
    Empty,
}

/// A layout that can be reached, with the maps on the way.
#[derive(Clone)]
struct State {
    price: f64,
    input: Layout,
    maps: Vec<Diagonals>,
}

impl State {
    fn layout(&self) -> &Layout {
        self.maps.last().map_or(&self.input, Diagonals::regular)
    }
}

/// The cheapest program found for linear maps with a square between any two.
///
/// # Errors
/// Too many maps for the levels, or a map that does not fit the slots.
pub fn plan(shapes: &[Shape], target: Target, costs: &CostModel) -> Result<Program, PlannerError> {
    let Target { slots, levels, form, whole } = target;
    let needed = (2 * shapes.len()).checked_sub(1).ok_or(PlannerError::Empty)?;
    if needed > levels {
        return Err(PlannerError::Depth { needed, maps: shapes.len(), available: levels });
    }
    let mut beam: Vec<State> = Vec::new();
    for (layer, shape) in shapes.iter().enumerate() {
        let level = needed - 2 * layer;
        let ways = if layer == 0 {
            first(shape, slots, form, level, costs)
        } else {
            next(&beam, shape, level, costs)
        };
        let last = layer + 1 == shapes.len();
        let large = shape.inputs() * shape.outputs() > LARGE;
        let keep = if last {
            1
        } else if large {
            NARROW_BEAM
        } else {
            BEAM
        };
        let fits = |output: &Layout| !last || (output.is_clean() && (!whole || coefficients::fills(output)));
        beam = proven(ways, &Entries::new(*shape), level, keep, fits, costs);
        if beam.is_empty() {
            let (inputs, outputs) = (shape.inputs(), shape.outputs());
            return Err(PlannerError::Layer { layer, inputs, outputs, slots });
        }
    }
    let best = beam.into_iter().min_by(|a, b| a.price.total_cmp(&b.price)).ok_or(PlannerError::Empty)?;
    Ok(Program::new(best.input, best.maps))
}

/// The ways of the first map from all layouts that the client can make.
fn first(
    shape: &Shape,
    slots: usize,
    form: InputForm,
    level: usize,
    costs: &CostModel,
) -> Vec<(State, Reach)> {
    let mut inputs = Vec::new();
    if let Shape::Conv(conv) = shape {
        inputs.extend(reach::convolution(conv, slots, form, level, costs));
    }
    if form != InputForm::Convolution || inputs.is_empty() {
        let (elements, period) = (shape.inputs(), shape.inputs().next_power_of_two());
        let mut layouts = vec![Layout::dense(slots, elements, 0)];
        if period < slots {
            layouts.push(Layout::stacked(slots, elements, period));
        }
        for layout in layouts {
            let ways = reach::general(shape, &layout, level, costs);
            inputs.push((layout, ways));
        }
    }
    let state = |input: &Layout| State {
        price: costs.upload(slots, level, input.ciphers()),
        input: input.clone(),
        maps: Vec::new(),
    };
    let flat = |(input, ways): (Layout, Vec<(f64, Reach)>)| {
        let state = state(&input);
        ways.into_iter().map(move |(price, way)| (State { price: state.price + price, ..state.clone() }, way))
    };
    inputs.into_iter().flat_map(flat).collect()
}

/// The ways of a later map.
fn next(beam: &[State], shape: &Shape, level: usize, costs: &CostModel) -> Vec<(State, Reach)> {
    let ways = |state: &State| {
        let squares = state.layout().ciphers() as f64 * costs.switch(state.input.slots(), level);
        let state = State { price: state.price + squares, ..state.clone() };
        let ways = reach::general(shape, state.layout(), level, costs);
        ways.into_iter().map(move |(price, way)| (State { price: state.price + price, ..state.clone() }, way))
    };
    beam.iter().flat_map(ways).collect()
}

/// The cheapest ways that are correct, at most `keep` and each to another layout.
fn proven(
    mut ways: Vec<(State, Reach)>,
    entries: &Entries,
    level: usize,
    keep: usize,
    fits: impl Fn(&Layout) -> bool,
    costs: &CostModel,
) -> Vec<State> {
    ways.sort_by(|a, b| a.0.price.total_cmp(&b.0.price));
    let mut kept = Vec::new();
    let mut layouts = HashSet::new();
    for (mut state, way) in ways {
        if kept.len() == keep {
            break;
        }
        let Some(map) = Diagonals::new(entries, state.layout(), &way) else { continue };
        if !fits(map.output()) || !layouts.insert(map.regular().clone()) {
            continue;
        }
        // What was estimated counted diagonals that turn out to be empty.
        let slots = state.input.slots();
        let estimate = Steps {
            inputs: map.inputs(),
            outputs: map.output().ciphers(),
            products: way.diagonals.len() * map.inputs() * map.output().ciphers(),
            ..Steps::of(&map)
        };
        state.price += costs.linear(slots, level, Steps::of(&map)) - costs.linear(slots, level, estimate);
        state.maps.push(map);
        kept.push(state);
    }
    kept
}
