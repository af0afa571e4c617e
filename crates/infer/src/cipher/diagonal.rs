//! A linear map on encrypted slots: generalised diagonals, baby steps, giant steps and folds.
//!
//! Output o shall be in slot t(o). A *diagonal* d multiplies, in every slot u, the element that the input has in slot
//! u + d by the weight that takes it to the output to which slot u belongs; slot u belongs to o if u = t(o) + f for a
//! sum f of some of the fold steps F. Adding up the diagonals D and folding,
//!
//! ```text
//! y_{t(o)} = sum_f z_{t(o) + f},   z_u = sum_{d in D} w(o(u), x(u + d)) x_{u + d},
//! ```
//!
//! computes the map if every pair (o, i) with an entry is met exactly once. Nothing else is asked of the layouts, so
//! that one algorithm covers the diagonals of Halevi and Shoup ("Algorithms in HElib", CRYPTO 2014, section 4.3),
//! their folded form for wide matrices, several diagonals in one plaintext where the input has copies (folds that
//! are not multiples of the period), rows packed by LoLa, and convolutions as block diagonals.
//!
//! Diagonals are split as d = b + g: rotations by all b are made once (hoisted), and
//! `z = sum_g rot_g(sum_b p_{g, b} rot_b(x))`, with p turned back by g. Everything happens before the one rescaling.
//!
//! Cost: |B \ 0| hoisted and |G \ 0| + |F| full rotations, and at most |D| products, per ciphertext of the input
//! (B), of the output (G, F), and pair of them (D).

use super::layout::{Content, Layout};
use super::map::Entries;

/// Where a map shall put its outputs and how it reaches them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reach {
    /// t(o), one slot per output. The target may have fewer slots than the input where the input repeats after that
    /// many: everything happens modulo the slots of the target, and the output repeats, too.
    pub target: Layout,
    /// Steps that are folded, in this order: z := z + rot_f(z).
    pub folds: Vec<usize>,
    /// D, a superset of what is needed; modulo the number of slots, no two are equal.
    pub diagonals: Vec<usize>,
    /// The baby step of d is d modulo this.
    pub split: usize,
}

/// A linear map between two layouts. The plaintexts follow from it and the weights.
#[derive(Debug, Clone)]
pub struct Diagonals {
    entries: Entries,
    input: Layout,
    output: Layout,
    regular: Layout,
    /// Per slot of the output before folding, the output that it belongs to.
    owners: Layout,
    /// Rotations of every ciphertext of the input.
    pub babies: Vec<usize>,
    /// Rotations of the sums of products.
    pub giants: Vec<usize>,
    /// Rotations of the outcome.
    pub folds: Vec<usize>,
    /// The plaintexts, ordered by output, giant, input, baby.
    pub products: Vec<Product>,
}

/// One plaintext: which rotation of which ciphertext it multiplies, and for which sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Product {
    /// Ciphertext of the output.
    pub output: u32,
    /// Index into the giant steps.
    pub giant: u32,
    /// Ciphertext of the input.
    pub input: u32,
    /// Index into the baby steps.
    pub baby: u32,
}

impl Diagonals {
    /// The map of these entries from `input`, reached in this way; nothing if an entry is missed or met twice, or a
    /// slot would go to two outputs.
    #[must_use]
    pub fn new(entries: &Entries, input: &Layout, reach: &Reach) -> Option<Self> {
        let shape = entries.shape();
        let (all, slots) = (input.slots(), reach.target.slots());
        let input = input.modulo(slots)?;
        let fits = input.elements() == shape.inputs()
            && reach.target.elements() == shape.outputs()
            && reach.target.is_complete();
        if !fits {
            return None;
        }
        let owners = owners(&reach.target, &reach.folds);
        let terms = entries.terms();
        let (inputs, outputs) = (shape.inputs(), shape.outputs());
        let mut met = Bits::new(inputs * outputs);
        let mut hits = vec![0_u32; owners.ciphers() * slots];
        let mut products = Vec::new();
        for output in 0..owners.ciphers() {
            for input_cipher in 0..input.ciphers() {
                for &d in &reach.diagonals {
                    let mut used = false;
                    for u in 0..slots {
                        let Some(o) = owners.element(output, u) else { continue };
                        let Some(i) = input.element(input_cipher, (u + d) % slots) else { continue };
                        if entries.weight(o, i).is_some() {
                            if met.set(o * inputs + i) {
                                return None;
                            }
                            used = true;
                            hits[output * slots + u] += 1;
                        }
                    }
                    if used {
                        products.push((output, input_cipher, d));
                    }
                }
            }
        }
        if met.ones() != terms.iter().sum::<usize>() {
            return None;
        }
        let output = folded(&owners, hits, &reach.folds, &terms).repeated(all);
        let regular = output.regular(&reach.target);
        let split = |d: usize| (d % reach.split.max(1), (d - d % reach.split.max(1)) % slots);
        let sorted = |part: &dyn Fn(usize) -> usize| {
            let mut steps: Vec<usize> = products.iter().map(|&(.., d)| part(d)).collect();
            steps.sort_unstable();
            steps.dedup();
            steps
        };
        let (babies, giants) = (sorted(&|d| split(d).0), sorted(&|d| split(d).1));
        let index = |steps: &[usize], step: usize| steps.partition_point(|&s| s < step) as u32;
        let mut products: Vec<Product> = products
            .iter()
            .map(|&(output, input, d)| Product {
                output: output as u32,
                giant: index(&giants, split(d).1),
                input: input as u32,
                baby: index(&babies, split(d).0),
            })
            .collect();
        products.sort_unstable();
        let (entries, folds) = (entries.clone(), reach.folds.clone());
        output.is_complete().then_some(Self {
            entries,
            input,
            output,
            regular,
            owners,
            babies,
            giants,
            folds,
            products,
        })
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Ciphertexts of the input.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.input.ciphers()
    }

    /// Layout of the output.
    #[must_use]
    pub fn output(&self) -> &Layout {
        &self.output
    }

    /// What the next map uses of it: the target and its regular copies, without slots in which an output happens to
    /// be complete as well.
    #[must_use]
    pub fn regular(&self) -> &Layout {
        &self.regular
    }

    /// How many products meet in a slot of the output, and how often at most one slot of the input is among them.
    #[must_use]
    pub fn terms(&self) -> [usize; 2] {
        let slots = self.output.slots();
        let mut most = [0; 2];
        for products in self.products.chunk_by(|a, b| a.output == b.output) {
            let mut sums = [0; 2];
            for input in 0..self.input.ciphers() {
                let mut met = vec![0; slots];
                for product in products.iter().filter(|product| product.input as usize == input) {
                    let step = self.giants[product.giant as usize] + self.babies[product.baby as usize];
                    met[step % slots] += 1;
                }
                for &fold in &self.folds {
                    let turned = met.iter().cycle().skip(slots - fold % slots).take(slots);
                    let turned: Vec<usize> = turned.copied().collect();
                    met.iter_mut().zip(turned).for_each(|(met, turned)| *met += turned);
                }
                sums = [sums[0] + met.iter().sum::<usize>(), sums[1].max(met.into_iter().max().unwrap_or(0))];
            }
            most = [most[0].max(sums[0]), most[1].max(sums[1])];
        }
        most
    }

    /// The slots of one plaintext: weights of this map, multiplied by `scale`.
    #[must_use]
    pub fn plaintext(&self, product: Product, weights: &[f32], scale: f64) -> Vec<f64> {
        let slots = self.input.slots();
        let Product { output, giant, input, baby } = product;
        let (giant, baby) = (self.giants[giant as usize], self.babies[baby as usize]);
        let slot = |s: usize| {
            let o = self.owners.element(output as usize, (s + slots - giant) % slots)?;
            let i = self.input.element(input as usize, (s + baby) % slots)?;
            weights.get(self.entries.weight(o, i)?).map(|&w| f64::from(w) * scale)
        };
        let period: Vec<f64> = (0..slots).map(|s| slot(s).unwrap_or(0.0)).collect();
        period.repeat(self.output.slots() / slots)
    }
}

/// Every slot's output: the one whose target it reaches by a sum of folds, if it is only one.
fn owners(target: &Layout, folds: &[usize]) -> Layout {
    let slots = target.slots();
    let (free, torn) = (u32::MAX, u32::MAX - 1);
    let mut owner: Vec<u32> = (0..target.ciphers() * slots)
        .map(|k| target.element(k / slots, k % slots).map_or(free, |o| o as u32))
        .collect();
    for fold in folds {
        let before = owner.clone();
        for (k, owner) in owner.iter_mut().enumerate() {
            let (base, slot) = (k - k % slots, k % slots);
            let other = before[base + (slot + slots - fold % slots) % slots];
            if other != free && *owner != other {
                *owner = if *owner == free { other } else { torn };
            }
        }
    }
    Layout::from_fn(slots, target.ciphers(), target.elements(), |k| match owner[k] {
        o if o < torn => Content::Element(o as usize),
        _ => Content::Zero,
    })
}

/// What the slots hold after folding: an output where all of its terms, and no others, have come together.
fn folded(owners: &Layout, mut hits: Vec<u32>, folds: &[usize], terms: &[usize]) -> Layout {
    let slots = owners.slots();
    let (none, mixed) = (u32::MAX, u32::MAX - 1);
    let mut owner: Vec<u32> = (0..hits.len())
        .map(|k| match owners.element(k / slots, k % slots) {
            Some(o) if hits[k] > 0 => o as u32,
            _ => none,
        })
        .collect();
    for fold in folds {
        let (before, counts) = (owner.clone(), hits.clone());
        for k in 0..owner.len() {
            let from = k - k % slots + (k % slots + fold) % slots;
            owner[k] = match (before[k], before[from]) {
                (a, b) if b == none || a == b => a,
                (a, b) if a == none => b,
                _ => mixed,
            };
            hits[k] = counts[k] + counts[from];
        }
    }
    Layout::from_fn(slots, owners.ciphers(), owners.elements(), |k| match owner[k] {
        o if o == none => Content::Zero,
        o if o == mixed || terms[o as usize] != hits[k] as usize => Content::Garbage,
        o => Content::Element(o as usize),
    })
}

/// A set of small numbers.
struct Bits {
    words: Vec<u64>,
}

impl Bits {
    fn new(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)] }
    }

    /// Adds a number; whether it was there.
    fn set(&mut self, k: usize) -> bool {
        let (word, bit) = (&mut self.words[k / 64], 1_u64 << (k % 64));
        let was = *word & bit != 0;
        *word |= bit;
        was
    }

    fn ones(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }
}
