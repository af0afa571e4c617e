//! The agreement on encryption: which parameters, keys and messages a network takes.
//!
//! Both parties derive it from the shapes of the network, so that equal digests mean equal lengths of all messages. The
//! smallest ring is taken whose modulus leaves room for the depth of the network at the wanted precision and whose
//! slots hold its values; inside the cap on the modulus the scale is as large as it can be.
//!
//! **Scales.** A modulus is spent on scales: m maps take `x + w_1 + a_1 + w_2 + a_2 + .. + w_m` bits, for inputs at scale
//! 2^x, weights at 2^w_i and what map i leaves at 2^a_i, and none for what squares leave, since a square of scale 2^b at
//! most 2^2a is paid back by the map behind it. A bit does not buy the same everywhere. A rescale adds rounding errors times
//! the secret, which are about 2^7 times as large as the rounding of an encoded weight. With s the mean:
//!
//! | scale of | bits |
//! |---|---|
//! | inputs, results of maps that are squared | s + LEAD |
//! | weights | s - LEAD |
//! | squares | s + 2 LEAD |
//!
//! All primes but that of the first map are then near 2^s. An input that is not 1 but X in size takes log2 X bits less and
//! its weights, which are so much smaller, as many more. A single map has nothing to be rescaled: LEAD is 0.

use std::collections::BTreeMap;
use std::sync::Arc;

use phineus_he::slots::{KeyShape, Params, ParamsLiteral, ReplySpec, RequestShape, SlotsError};

use super::coefficients;
use super::cost::CostModel;
use super::encrypted::{Bounds, scheme_level};
use super::map::Shape;
use super::network::Peaks;
use super::planner::{self, PlannerError, Target};
use super::program::Program;
use super::reach::InputForm;

/// What the parties choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choices {
    /// What the client sends.
    pub form: InputForm,
    /// Bits of the scales at least, on average: slots are precise to about ten bits less.
    pub precision: u32,
    /// The largest value of the input.
    pub input: f64,
    /// Whether results are left in coefficients, for additive shares of them.
    pub shares: bool,
}

/// Parameters, program and messages of a network.
#[derive(Debug)]
pub struct Scheme {
    params: Arc<Params>,
    program: Program,
    keys: KeyShape,
    requests: RequestShape,
    reply: ReplySpec,
    input: f64,
    digest: [u8; 32],
}

/// Why a network has no scheme.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemeError {
    /// No program.
    #[error(transparent)]
    Planner(#[from] PlannerError),
    /// Parameters that cannot be.
    #[error(transparent)]
    Slots(#[from] SlotsError),
    /// More levels than the largest ring has.
    #[error(
        "the network needs {needed} levels and the largest ring has {most} of {precision} bits: train it with fewer \
         squares or ask for less precision"
    )]
    Depth {
        /// Levels needed.
        needed: usize,
        /// Levels there are.
        most: usize,
        /// Bits of each.
        precision: u32,
    },
}

/// log2 of the smallest and of the largest ring, and the most bits of its modulus.
pub(super) const RINGS: [(u32, u32); 4] = [(12, 105), (13, 211), (14, 424), (15, 854)];
/// Bits of the longest prime.
const WORD: f64 = 28.0;
/// Most bits by which the size of inputs moves their scale.
const SIZE: f64 = 8.0;
/// Bits of the modulus at level 0 above the scale of results: values there are below 2, and neither errors nor flood may
/// wrap.
const HEADROOM: u32 = 3;
/// By how many bits scales of ciphertexts exceed the mean, and those of weights fall below it.
const LEAD: f64 = 2.0;
/// Bits of a word of a reply below the mean scale, for the noise of rounding it: of few results, whose noise few coefficients
/// make up, and of a slot per input.
pub(super) const REPLY: [u32; 2] = [2, 4];
/// log2 of the flood in slots, below their scale.
const FLOOD: f64 = 15.5;
/// Largest error of a slot that parameters leave room for, relative to the largest slot of its level.
const PRECISION: f64 = 1.0 / 64.0;

/// How large values are in a scaled network: see [`Network::scaled`](super::Network::scaled).
pub const PEAKS: Peaks = Peaks { square: 2.0, output: 0.5 };
/// By how much inputs may exceed those that a network was calibrated with.
const MARGIN: f64 = 1.5;

impl Default for Choices {
    /// Any form, inputs up to one.
    fn default() -> Self {
        Self { form: InputForm::Any, precision: 24, input: 1.0, shares: false }
    }
}

impl Scheme {
    /// The scheme of a network with these linear maps.
    ///
    /// # Errors
    /// A network that is too deep or too wide for every ring.
    pub fn new(shapes: &[Shape], choices: &Choices, costs: &CostModel) -> Result<Self, SchemeError> {
        let depth = (2 * shapes.len()).checked_sub(1).ok_or(PlannerError::Empty)?;
        let padded = choices.shares.then(|| coefficients::padded(shapes));
        let shapes = padded.as_deref().unwrap_or(shapes);
        let mut refused = None;
        for (log_n, cap) in RINGS {
            let Some(literal) = chain(log_n, cap, depth, choices) else { continue };
            let target =
                Target { slots: 1 << log_n, levels: depth, form: choices.form, whole: choices.shares };
            match planner::plan(shapes, target, costs) {
                Ok(program) => return Self::with(Params::new(&literal)?, program, choices),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.map_or_else(|| too_deep(depth, choices), Into::into))
    }

    fn with(params: Arc<Params>, program: Program, choices: &Choices) -> Result<Self, SchemeError> {
        let rotations = program.rotations().into_iter();
        let rotations: BTreeMap<u32, usize> = rotations
            .map(|(step, level)| Ok((step as u32, scheme_level(level)?)))
            .collect::<Result<_, SlotsError>>()?;
        let relinearisation = program.relinearisation().map(scheme_level).transpose()?;
        let keys = KeyShape::new(&params, relinearisation, rotations)?;
        let (count, level) = (program.input().ciphers(), scheme_level(program.depth())?);
        let requests = RequestShape { params: params.clone(), count, level };
        let reply = reply(&params, program.output().period(), REPLY[0])?;
        let mut scheme =
            Self { params, program, keys, requests, reply, input: choices.input, digest: [0; 32] };
        scheme.digest = scheme.hash();
        Ok(scheme)
    }

    /// Encryption parameters.
    #[must_use]
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// What the server evaluates.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The keys that the client makes.
    #[must_use]
    pub fn keys(&self) -> &KeyShape {
        &self.keys
    }

    /// The client's message of one inference.
    #[must_use]
    pub fn requests(&self) -> &RequestShape {
        &self.requests
    }

    /// The server's message of one inference, per ciphertext of the output.
    #[must_use]
    pub fn reply(&self) -> &ReplySpec {
        &self.reply
    }

    /// Bound on the values of the input.
    #[must_use]
    pub fn input(&self) -> f64 {
        self.input
    }

    /// Bounds on slots and errors of every level.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        bounds(self.program.depth(), self.input)
    }

    /// What both parties compare.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("phineus cipher scheme 1");
        hasher.update(&self.params.digest());
        let mut number = |value: usize| {
            hasher.update(&(value as u64).to_le_bytes());
        };
        let program = &self.program;
        for layout in [program.input(), program.output()] {
            number(layout.ciphers());
            (0..layout.ciphers() * layout.slots()).for_each(|k| {
                number(layout.element(k / layout.slots(), k % layout.slots()).map_or(0, |e| e + 1));
            });
        }
        for map in program.maps() {
            number(map.products.len());
            for steps in [&map.babies, &map.giants, &map.folds] {
                number(steps.len());
                steps.iter().for_each(|&step| number(step));
            }
        }
        number(self.reply.period());
        hasher.update(&self.input.to_le_bytes());
        *hasher.finalize().as_bytes()
    }
}

/// The error for a network of this depth.
pub(super) fn too_deep(needed: usize, choices: &Choices) -> SchemeError {
    let fits = |depth: &usize| RINGS.iter().any(|&(log_n, cap)| chain(log_n, cap, *depth, choices).is_some());
    let most = (1..needed).step_by(2).take_while(fits).last().unwrap_or(0);
    SchemeError::Depth { needed, most, precision: choices.precision }
}

/// What [`PEAKS`] promise for slots of every level, and the errors that there is room for.
pub(super) fn bounds(depth: usize, input: f64) -> Bounds {
    let ceiling = |level: usize| match level {
        0 => MARGIN * PEAKS.output,
        level if level == depth => input,
        level if (depth - level).is_multiple_of(2) => (MARGIN * PEAKS.square).powi(2),
        _ => MARGIN * PEAKS.square,
    };
    let slots: Vec<f64> = (0..=depth).map(ceiling).collect();
    Bounds { errors: slots.iter().map(|most| most * PRECISION).collect(), slots }
}

/// Replies with results of this period, in words with so many bits for their rounding. A slot is a sum of as many
/// coefficients, each with its share of the flood, so that fewer of them are flooded more.
pub(super) fn reply(params: &Arc<Params>, period: usize, rounding: u32) -> Result<ReplySpec, SlotsError> {
    let result = params.result_scale().log2();
    let width = (result / 2.0) as u32 + HEADROOM + rounding;
    let flood = result - FLOOD - (period as f64).log2() / 2.0;
    Ok(ReplySpec::new(params, period, width, flood.max(0.0).floor() as u32)?.of_products())
}

/// The chain with the largest mean scale that fits below the cap, if that has the wanted precision and there are enough primes
/// near it: special primes make a digit of two limbs where there is room, and of one otherwise.
pub(super) fn chain(log_n: u32, cap: u32, depth: usize, choices: &Choices) -> Option<ParamsLiteral> {
    let lead = if depth > 1 { LEAD } else { 0.0 };
    // The last map is at level 0, whose two primes hold a result that is not rescaled and some room above it.
    let base = |mean: f64| (2.0 * mean + lead + f64::from(HEADROOM)) / 2.0;
    // A special prime is a little longer than those that it is divided with.
    let special = |mean: f64| (base(mean) + 1.5).min(WORD);
    let bits = |mean: f64, digits: u32| {
        (depth as f64 - 1.0) * mean - lead + 2.0 * base(mean) + f64::from(digits) * special(mean)
    };
    let fits = |digits: u32| {
        let means = (4 * choices.precision..=4 * WORD as u32).rev().map(|quarters| f64::from(quarters) / 4.0);
        means
            .filter(|&mean| base(mean) <= WORD && bits(mean, digits) <= f64::from(cap) - 0.5)
            .map(|mean| (digits, mean))
            .next()
    };
    let (digits, mean) = [2, 1].into_iter().find_map(fits)?;
    let size = (4.0 * choices.input.log2()).round().clamp(-4.0 * SIZE, 4.0 * SIZE) / 4.0;
    let scales = |level: usize| {
        let shift = if level + 1 == depth { size } else { 0.0 };
        match level % 2 {
            1 => (mean + lead, None),
            _ if level + 1 < depth => (mean + 2.0 * lead, Some(mean - lead)),
            _ => (mean + lead - shift, Some(mean - lead + shift)),
        }
    };
    let (goals, factors): (Vec<f64>, Vec<Option<f64>>) = (0..depth).map(scales).unzip();
    let special = vec![special(mean); digits as usize];
    let literal = ParamsLiteral::along(log_n, &goals, &factors, 1, [&[base(mean); 2], &special]).ok()?;
    // Where primes are few, they are not as short as they should be.
    let ParamsLiteral { base, steps, special, .. } = &literal;
    let primes = base.iter().chain(steps.iter().flatten()).chain(special);
    let taken: f64 = primes.map(|&prime| f64::from(prime).log2()).sum();
    (taken <= f64::from(cap)).then_some(literal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_depth_beyond_all_rings_says_what_it_needs_and_what_there_is() {
        for precision in [20, 24] {
            let choices = Choices { precision, ..Choices::default() };
            let shapes = vec![Shape::Dense { inputs: 4, outputs: 4 }; 40];
            let error = Scheme::new(&shapes, &choices, &CostModel::default()).unwrap_err();
            let SchemeError::Depth { needed, most, precision: named } = error else { panic!("{error}") };
            assert_eq!((needed, named), (79, precision));
            let said = error.to_string();
            for part in ["needs 79 levels", &format!("has {most} of"), "fewer squares", "less precision"] {
                assert!(said.contains(part), "{said}");
            }
            let chains = |depth| RINGS.map(|(log_n, cap)| chain(log_n, cap, depth, &choices));
            let deepest = chains(most).into_iter().flatten().next().unwrap();
            assert_eq!(Params::new(&deepest).unwrap().top() + 1, most);
            assert!(chains(most + 2).iter().all(Option::is_none));
        }
    }

    #[test]
    fn ciphertexts_are_longer_than_weights_and_squares_are_longest() {
        for (depth, input) in [(1, 1.0), (1, 64.0), (3, 1.0), (5, 0.25), (9, 8.0)] {
            let choices = Choices { input, ..Choices::default() };
            let (log_n, literal) = RINGS
                .into_iter()
                .find_map(|(log_n, cap)| Some((log_n, chain(log_n, cap, depth, &choices)?)))
                .unwrap();
            let params = Params::new(&literal).unwrap();
            let bits = |level| [params.scale(level), params.factor_scale(level)].map(|s| s.unwrap().log2());
            let [top, weights] = bits(depth - 1);
            // An input of another size is as exact relative to it, and so are the weights that bring it back to one.
            let lead = if depth == 1 { 0.0 } else { 2.0 * LEAD };
            assert!((top - weights - lead + 2.0 * input.log2()).abs() < 0.01, "{depth}: {top} {weights}");
            for level in 0..depth - 1 {
                let [own, factor] = bits(level);
                let gap = if level % 2 == 1 { 0.0 } else { 3.0 * LEAD };
                assert!((own - factor - gap).abs() < 0.2, "{log_n}, {depth}, {level}: {own} {factor}");
            }
            assert!(params.capacity(0).unwrap() > 2.0);
        }
    }
}
