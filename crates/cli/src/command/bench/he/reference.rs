//! What one operation takes in the same run: figures of a loaded or another machine are read against it.

use std::fmt;
use std::time::Instant;

use phineus_he::slots::{
    Evaluator, KeyShape, KeyUpload, Params, ParamsLiteral, Requests, SecretKey, SlotsError,
};
use phineus_kernel::prg::Prg;
use serde::Serialize;

use crate::failure::Failure;

/// A rotation of 8,192 slots with four limbs and a special prime.
#[derive(Debug, Serialize)]
pub(super) struct Reference {
    /// Microseconds, the median of several.
    rotation_us: f64,
}

const RUNS: usize = 25;

impl Reference {
    pub(super) fn measure() -> Result<Self, Failure> {
        Self::try_measure().map_err(|e| Failure::new(e.to_string()))
    }

    fn try_measure() -> Result<Self, SlotsError> {
        let params = Params::new(&ParamsLiteral::near(13, 26.0, 3, 1, &[28], &[28])?)?;
        let mut rng = Prg::from_generator(&mut rand::rng());
        let secret = SecretKey::generate(&params, &mut rng);
        let shape = KeyShape::new(&params, None, [(1, 3)].into())?;
        let evaluator = Evaluator::new(KeyUpload::generate(&secret, &shape, &mut rng)?.expand());
        let inputs = Requests::encrypt(&secret, &[[0.5]], 3, &mut rng)?.into_ciphertexts(1.0)?;
        let mut times = Vec::with_capacity(RUNS);
        for x in inputs.iter().cycle().take(RUNS) {
            let start = Instant::now();
            drop(evaluator.rotate(x, 1)?);
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        Ok(Self { rotation_us: times[RUNS / 2] })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a rotation of 8192 slots with 4 + 1 limbs, in this run: {:.0} us", self.rotation_us)
    }
}
