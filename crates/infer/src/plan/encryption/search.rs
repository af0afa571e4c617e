//! The search for parameters and packings of all layers together.
//!
//! A layer starts at the smallest parameters at which some packing of it is proven by itself; for every number of levels
//! of merges there is the packing that is cheapest then. The keys of merges are shared by all layers with the same
//! parameters: for each parameter set the number of levels that its keys have is chosen so that all its layers, each with
//! the best packing that those keys serve, and the keys themselves cost least. Then all layers are proven together, and
//! the one that stands in the way moves to the next parameters, until the proof holds.

use std::collections::HashMap;
use std::sync::Arc;

use phineus_he::noise::{self, Proof};
use phineus_he::{HeError, MOST_DROPPED, Params};
use phineus_model::graph::Conv;

use super::MOST_LEVELS;
use super::demand::Demand;
use crate::packing::{Candidate, CostModel, Interleaved};
use crate::plan::{Link, PlanError};

/// Networks of fewer layers move them to larger parameters one by one.
const ONE_BY_ONE: usize = 128;

/// The search, with what it has found out about single layers.
pub(super) struct Search<'s> {
    demands: &'s [Demand],
    ladder: &'s [Arc<Params>],
    link: &'s Link,
    keep_weights: bool,
    /// By shape, width and parameters: layers repeat.
    known: HashMap<(Conv, u32, usize), Arc<[Candidate]>>,
}

/// What it comes to.
pub(super) struct Found {
    pub(super) rungs: Vec<usize>,
    pub(super) packings: Vec<Interleaved>,
    pub(super) proof: Proof,
}

/// Where a layer stands: its parameters, and for keys of 0, 1, .. levels the cheapest packing that they serve and that is
/// proven by itself, if there is one.
struct Standing {
    rung: usize,
    candidates: Arc<[Candidate]>,
    best: [Option<usize>; MOST_LEVELS as usize + 1],
    /// Of these; infinite where there is none.
    prices: Prices,
}

/// By levels of the keys.
type Prices = [f64; MOST_LEVELS as usize + 1];

impl<'s> Search<'s> {
    pub(super) fn new(
        demands: &'s [Demand],
        ladder: &'s [Arc<Params>],
        link: &'s Link,
        keep_weights: bool,
    ) -> Self {
        Self { demands, ladder, link, keep_weights, known: HashMap::new() }
    }

    /// `name` names layers in errors.
    pub(super) fn run(mut self, name: &impl Fn(usize) -> String) -> Result<Found, PlanError> {
        let layers = 0..self.demands.len();
        let mut standings =
            layers.map(|layer| self.stand(layer, 0, name)).collect::<Result<Vec<Standing>, _>>()?;
        loop {
            let packings = self.cheapest(&standings);
            let layers = self.demands.iter().zip(&packings).zip(&standings);
            let inputs: Vec<_> = layers
                .map(|((demand, packing), standing)| {
                    (self.ladder[standing.rung].as_ref(), demand.noise(packing), packing.merge_levels())
                })
                .collect();
            match noise::prove_packed(&inputs) {
                Ok(proof) => {
                    // What the proof has left is spent on shorter requests: the fewer bits, the louder.
                    let cut = (1..=MOST_DROPPED).rev().find_map(|bits| noise::prove_cut(&inputs, bits).ok());
                    let proof = cut.unwrap_or(proof);
                    let rungs = standings.iter().map(|standing| standing.rung).collect();
                    let packings = packings.into_iter().cloned().collect();
                    return Ok(Found { rungs, packings, proof });
                }
                Err(source) => {
                    let layer = source.layer().unwrap_or(0);
                    let rung = standings.get(layer).map_or(self.ladder.len(), |standing| standing.rung + 1);
                    if rung >= self.ladder.len() {
                        return Err(PlanError::Parameters { node: name(layer), source });
                    }
                    for layer in self.like(layer, &standings) {
                        standings[layer] = self.stand(layer, rung, name)?;
                    }
                }
            }
        }
    }

    /// A layer, and in a network of very many layers as many more of its kind that a proof for
    /// each would take too long.
    fn like(&self, layer: usize, standings: &[Standing]) -> Vec<usize> {
        let kind = |layer: usize| {
            let Demand { stack, ring, .. } = &self.demands[layer];
            (*stack, ring.bits(), standings[layer].rung)
        };
        let most = self.demands.len() / ONE_BY_ONE;
        let others = (0..self.demands.len()).filter(|&other| other != layer && kind(other) == kind(layer));
        std::iter::once(layer).chain(others.take(most)).collect()
    }

    /// The first parameters from `rung` on at which the layer can be proven by itself.
    fn stand(
        &mut self,
        layer: usize,
        mut rung: usize,
        name: &impl Fn(usize) -> String,
    ) -> Result<Standing, PlanError> {
        let demand = &self.demands[layer];
        loop {
            let all = self
                .candidates(demand, rung)
                .map_err(|reason| PlanError::Unsupported { node: name(layer), reason })?;
            let prove = |candidate: &Candidate| {
                let packing = &candidate.packing;
                noise::prove_packed(&[(&self.ladder[rung], demand.noise(packing), packing.merge_levels())])
            };
            let mut best = [None; MOST_LEVELS as usize + 1];
            let mut refusal = None;
            for (index, candidate) in all.iter().enumerate() {
                match prove(candidate) {
                    Ok(_) => {
                        for best in &mut best[candidate.packing.merge_levels() as usize..] {
                            if best.is_none_or(|other: usize| candidate.price < all[other].price) {
                                *best = Some(index);
                            }
                        }
                    }
                    Err(source) => refusal = Some(source),
                }
            }
            match refusal {
                Some(source) if best.iter().all(Option::is_none) => {
                    rung += 1;
                    if rung == self.ladder.len() {
                        return Err(PlanError::Parameters { node: name(layer), source });
                    }
                }
                _ => {
                    let price = |index: Option<usize>| index.map_or(f64::INFINITY, |index| all[index].price);
                    let prices = best.map(price);
                    return Ok(Standing { rung, candidates: all, best, prices });
                }
            }
        }
    }

    fn candidates(&mut self, demand: &Demand, rung: usize) -> Result<Arc<[Candidate]>, String> {
        let conv = demand.stack.tall();
        let key = (conv, demand.ring.bits(), rung);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let params = &self.ladder[rung];
        let cost = self.cost(rung, demand);
        let found = Interleaved::candidates(&conv, params.degree(), MOST_LEVELS, &cost);
        let found: Arc<[Candidate]> = found.map_err(|error| error.to_string())?.into();
        self.known.insert(key, found.clone());
        Ok(found)
    }

    fn cost(&self, rung: usize, demand: &Demand) -> CostModel {
        let cost = CostModel::new(&self.ladder[rung], demand.ring.bits(), self.link);
        let cost = cost.shared_by(demand.stack.count());
        if self.keep_weights { cost.keeping_weights() } else { cost }
    }

    /// Of every layer the packing that makes all layers and keys together cheapest.
    fn cheapest<'c>(&self, standings: &'c [Standing]) -> Vec<&'c Interleaved> {
        // By parameters and by levels of the keys; the keys' own price is that of their first layer.
        let mut totals: Vec<Option<Prices>> = vec![None; self.ladder.len()];
        for (standing, demand) in standings.iter().zip(self.demands) {
            let keys = || {
                let (cost, n) = (self.cost(standing.rung, demand), self.ladder[standing.rung].degree());
                std::array::from_fn(|levels| cost.keys(n, levels as u32))
            };
            let total = totals[standing.rung].get_or_insert_with(keys);
            total.iter_mut().zip(&standing.prices).for_each(|(total, price)| *total += price);
        }
        let levels: Vec<usize> = totals.iter().map(|total| total.as_ref().map_or(0, cheapest)).collect();
        let packing = |standing: &'c Standing| {
            // A layer without a packing for few levels has made these levels infinitely dear.
            let best = standing.best[levels[standing.rung]].or(standing.best[MOST_LEVELS as usize]);
            best.map(|index| &standing.candidates[index].packing)
        };
        standings.iter().filter_map(packing).collect()
    }
}

/// The first of the lowest prices.
fn cheapest(prices: &Prices) -> usize {
    (1..prices.len()).fold(0, |best, other| if prices[other] < prices[best] { other } else { best })
}

impl Found {
    /// Bytes of all transformed weights that are worth keeping: eight polynomials in X^8 share a transform.
    pub(super) fn weight_bytes(&self, ladder: &[Arc<Params>]) -> usize {
        let bytes = |(packing, rung): (&Interleaved, &usize)| {
            packing.weight_polys() * ladder[*rung].degree() * ladder[*rung].limbs() * size_of::<u64>()
        };
        let packings = self.packings.iter().zip(&self.rungs);
        packings.filter(|(packing, _)| !packing.octets()).map(bytes).sum()
    }
}

/// The layer that a failed proof names.
trait Blame {
    fn layer(&self) -> Option<usize>;
}

impl Blame for HeError {
    fn layer(&self) -> Option<usize> {
        match self {
            Self::GuardBits { layer, .. } | Self::TooNoisy { layer } | Self::Distance { layer, .. } => {
                Some(*layer)
            }
            _ => None,
        }
    }
}
