//! What a compiled network means where rescales round at random, as oblivious transfer computes them fastest.
//!
//! A value `v` is shared, `v = y + c` modulo `2^l`, with a uniform `c`. To drop `f` bits each party drops those of its
//! own share, and one is added:
//!
//! `(y >> f) + (c >> f) + 1  =  floor(v / 2^f) + [c mod 2^f <= v mod 2^f]`   modulo `2^(l-f)`,
//!
//! then the result saturates. It is the floor, or one more with probability `(v mod 2^f + 1) / 2^f`: within one unit of
//! the exact rescale, and in the mean `2^-f` above the quotient. A rescale that drops no bit is exact.
//!
//! [`run`] draws what the protocol draws, so that its results have the protocol's distribution; [`check`] says whether
//! the values of a private run are among the possible ones, layer by layer.

use rand::Rng;

use super::{ReferenceError, evaluate, node_value, pooled, revealed};
use crate::fixed::{Act, Model, Op, Rescale};

/// As [`super::run`], with rescales that round at random.
///
/// # Errors
/// As [`super::run`].
pub fn run(model: &Model, input: &[i32], rng: &mut impl Rng) -> Result<Vec<i64>, ReferenceError> {
    Ok(revealed(model, &values(model, input, false, rng)?))
}

/// As [`super::trace`], with rescales that round at random.
///
/// # Errors
/// As [`super::run`].
pub fn trace(model: &Model, input: &[i32], rng: &mut impl Rng) -> Result<Vec<Vec<u32>>, ReferenceError> {
    values(model, input, true, rng)
}

/// A value that no rounding explains.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node {node}, element {element}: {got} is not possible from what the node read")]
pub struct Departure {
    /// The node.
    pub node: usize,
    /// Position in its value.
    pub element: usize,
    /// The value.
    pub got: i32,
}

/// Whether `values`, one per node as in [`trace`], can come from a run with stochastic rounding: every activation is
/// within its two neighbours of the values it read, everything else is exact.
///
/// # Errors
/// The first [`Departure`]; a value of a wrong length departs at its end. The model must be valid.
pub fn check(model: &Model, values: &[Vec<u32>]) -> Result<(), Departure> {
    let graph = &model.graph;
    let shortest = |node: usize| graph.nodes[node].len().min(values.get(node).map_or(0, Vec::len));
    for (id, (node, fact)) in graph.nodes.iter().zip(&graph.facts).enumerate() {
        let departure = |element: usize| {
            let word = values.get(id).and_then(|value| value.get(element)).copied().unwrap_or_default();
            Departure { node: id, element, got: fact.to_signed(word) }
        };
        if values.get(id).is_none_or(|value| value.len() != node.len()) {
            return Err(departure(shortest(id)));
        }
        let got = values[id].iter().map(|word| i64::from(fact.to_signed(*word)));
        let bad = match &node.op {
            Op::Input => None,
            Op::Act(act) => {
                let read = node.inputs[0];
                let pooled = pooled(act, &graph.nodes[read].shape, &values[read], &graph.facts[read]);
                let possible = |(v, got): (i32, i64)| neighbours(act, v.into()).contains(&got);
                pooled.into_iter().zip(got).position(|pair| !possible(pair))
            }
            _ => {
                let expected = node_value(model, id, values, &mut super::activation);
                values[id].iter().zip(&expected).position(|(got, expected)| got != expected)
            }
        };
        if let Some(element) = bad {
            return Err(departure(element));
        }
    }
    Ok(())
}

impl Rescale {
    /// The rescale of `v` when one party's share of it modulo `2^bits` is `c`: what the parties compute, word for
    /// word. `bits` is above the shift and at most 62. Within one unit of [`Rescale::apply`] as long as `v` plus the
    /// [`Rescale::margin`] stays in the ring.
    #[must_use]
    pub fn on_shares(&self, v: i64, c: u64, bits: u32) -> i64 {
        let mask = (1_u64 << bits) - 1;
        let y = (v.wrapping_add(self.lift()) as u64).wrapping_sub(c) & mask;
        let sum = (y >> self.shift) + ((c & mask) >> self.shift);
        let unused = 64 - (bits - self.shift);
        let signed = ((sum << unused) as i64) >> unused;
        signed.clamp(0, i64::from(self.hi) - i64::from(self.lo)) + i64::from(self.lo)
    }

    /// What is added before both parties drop bits: one unit where there are bits to drop, and what moves `lo` to 0.
    fn lift(&self) -> i64 {
        let unit = 1_i64 << self.shift;
        if self.shift == 0 { -i64::from(self.lo) } else { unit * (1 - i64::from(self.lo)) }
    }

    /// The results that `v` may have: the floor and one more.
    fn possible(&self, v: i64) -> impl Iterator<Item = i64> + use<> {
        let (floor, most) = (v >> self.shift, i64::from(self.shift > 0));
        let (lo, hi) = (self.lo.into(), self.hi.into());
        (0..=most).map(move |more| (floor + more).clamp(lo, hi))
    }
}

/// The results that an activation of `v` may have.
fn neighbours(act: &Act, v: i64) -> Vec<i64> {
    let first = act.rescale.possible(v);
    match act.quadratic {
        None => first.collect(),
        Some(q) => first.flat_map(|v| q.rescale.possible(q.evaluate(v))).collect(),
    }
}

fn values(
    model: &Model,
    input: &[i32],
    keep: bool,
    rng: &mut impl Rng,
) -> Result<Vec<Vec<u32>>, ReferenceError> {
    evaluate(model, input, keep, &mut |act, shape, x, from, to| {
        let inner = act.quadratic.map(|q| (q, act.polynomial_bits()));
        let one = |v: i32| {
            let v = act.rescale.on_shares(v.into(), rng.next_u64(), from.bits);
            let z = inner.map_or(v, |(q, bits)| q.rescale.on_shares(q.evaluate(v), rng.next_u64(), bits));
            z as u32 & to.mask()
        };
        pooled(act, shape, x, from).into_iter().map(one).collect()
    })
}

#[cfg(test)]
mod tests;
