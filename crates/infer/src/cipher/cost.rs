//! What the operations of an [`Evaluator`](super::Evaluator) cost, so that the planner can choose.
//!
//! Times are those of residue arithmetic with small primes at N slots and l + 1 limbs at level l: a key switch
//! consists of one decomposition (quadratic in the limbs), an inner product with the key and a division by the
//! special primes (both linear); a hoisted rotation saves the decomposition. Only ratios matter.

use super::diagonal::Diagonals;

/// Prices in microseconds at 8,192 slots; all are proportional to the number of slots.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostModel {
    /// Of a key switch: constant, per limb, per limb squared.
    pub switch: [f64; 3],
    /// Of a hoisted rotation, per limb.
    pub hoisted: f64,
    /// Of a product with a plaintext: constant, per limb.
    pub product: [f64; 2],
    /// Of a megabyte of keys.
    pub key: f64,
    /// Of a further ciphertext that the client sends, per limb.
    pub upload: f64,
}

impl Default for CostModel {
    fn default() -> Self {
        Self { switch: [60.0, 40.0, 6.0], hoisted: 40.0, product: [8.0, 4.0], key: 100.0, upload: 150.0 }
    }
}

impl CostModel {
    /// One rotation or relinearisation at a level.
    #[must_use]
    pub fn switch(&self, slots: usize, level: usize) -> f64 {
        let limbs = level as f64 + 1.0;
        let [constant, linear, quadratic] = self.switch;
        self.per_slot(slots) * (constant + limbs * (linear + limbs * quadratic))
    }

    /// One more rotation of a ciphertext that is rotated anyway.
    #[must_use]
    pub fn hoisted(&self, slots: usize, level: usize) -> f64 {
        self.per_slot(slots) * self.hoisted * (level as f64 + 1.0)
    }

    /// One product with a plaintext.
    #[must_use]
    pub fn product(&self, slots: usize, level: usize) -> f64 {
        let [constant, linear] = self.product;
        self.per_slot(slots) * (constant + linear * (level as f64 + 1.0))
    }

    /// Ciphertexts that the client sends.
    #[must_use]
    pub fn upload(&self, slots: usize, level: usize, ciphers: usize) -> f64 {
        self.per_slot(slots) * self.upload * (level as f64 + 1.0) * ciphers as f64
    }

    /// Megabytes of one seeded key for a level, as two limbs of 29 bits make a digit.
    #[must_use]
    pub fn key_megabytes(&self, slots: usize, level: usize) -> f64 {
        let limbs = level as f64 + 1.0;
        (limbs / 2.0).ceil() * (limbs + 2.0) * slots as f64 * 29.0 / 8e6
    }

    /// A linear map at a level with so many baby, giant and fold steps other than zero, and products; babies per
    /// ciphertext of the input, giants and folds per ciphertext of the output.
    #[must_use]
    pub fn linear(&self, slots: usize, level: usize, steps: Steps) -> f64 {
        let Steps { inputs, outputs, babies, giants, folds, products } = steps;
        let one = |count: usize| count as f64;
        let decomposed =
            if babies > 0 { self.switch(slots, level) - self.hoisted(slots, level) } else { 0.0 };
        let keys = one(babies + giants + folds) * self.key_megabytes(slots, level);
        one(inputs * outputs) * (decomposed + one(babies) * self.hoisted(slots, level))
            + one(outputs * (giants + folds)) * self.switch(slots, level)
            + one(products) * self.product(slots, level)
            + keys * self.key
    }

    fn per_slot(&self, slots: usize) -> f64 {
        slots as f64 / 8192.0
    }
}

/// How many of each a linear map takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Ciphertexts of the input.
    pub inputs: usize,
    /// Ciphertexts of the output.
    pub outputs: usize,
    /// Baby steps other than 0.
    pub babies: usize,
    /// Giant steps other than 0.
    pub giants: usize,
    /// Folds.
    pub folds: usize,
    /// Products.
    pub products: usize,
}

impl Steps {
    /// Of a map.
    #[must_use]
    pub fn of(map: &Diagonals) -> Self {
        let turns = |steps: &[usize]| steps.iter().filter(|&&step| step != 0).count();
        Self {
            inputs: map.inputs(),
            outputs: map.output().ciphers(),
            babies: turns(&map.babies),
            giants: turns(&map.giants),
            folds: map.folds.len(),
            products: map.products.len(),
        }
    }

    /// Key switches.
    #[must_use]
    pub fn switches(&self) -> usize {
        self.inputs * self.outputs * self.babies + self.outputs * (self.giants + self.folds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_rise_with_level_and_steps() {
        let model = CostModel::default();
        let steps = Steps { inputs: 1, outputs: 1, babies: 7, giants: 3, folds: 6, products: 32 };
        let price = |level, steps| model.linear(8192, level, steps);
        assert!(price(3, steps) > price(2, steps));
        assert!(price(3, Steps { babies: 8, ..steps }) > price(3, steps));
        assert!(model.hoisted(8192, 3) < model.switch(8192, 3));
        assert!((model.linear(16384, 3, steps) / price(3, steps) - 2.0).abs() < 1e-9);
        assert_eq!(steps.switches(), 16);
    }
}
