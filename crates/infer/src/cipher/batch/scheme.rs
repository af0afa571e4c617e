//! Parameters, keys and messages of batches: what both parties derive from the shapes of a network.

use std::ops::Range;
use std::sync::Arc;

use phineus_he::slots::{KeyShape, Params, ReplySpec, RequestShape, SlotsError};

use super::Batch;
use crate::cipher::encrypted::{Bounds, scheme_level};
use crate::cipher::map::Shape;
use crate::cipher::planner::PlannerError;
use crate::cipher::scheme::{self, Choices, SchemeError};

/// The agreement on batches of a network.
#[derive(Debug)]
pub struct Scheme {
    params: Arc<Params>,
    batch: Batch,
    keys: KeyShape,
    reply: ReplySpec,
    input: f64,
    digest: [u8; 32],
}

/// Ciphertexts of one message.
const PART: usize = 32;

impl Scheme {
    /// The smallest ring with the levels of a network; the form of the input does not matter.
    ///
    /// # Errors
    /// A network that is too deep for every ring.
    pub fn new(shapes: &[Shape], choices: &Choices) -> Result<Self, SchemeError> {
        if shapes.is_empty() {
            return Err(PlannerError::Empty.into());
        }
        let batch = Batch::new(shapes);
        let depth = batch.depth();
        let chains =
            scheme::RINGS.into_iter().find_map(|(log_n, cap)| scheme::chain(log_n, cap, depth, choices));
        let params = Params::new(&chains.ok_or_else(|| scheme::too_deep(depth, choices))?)?;
        let relinearisation = (shapes.len() > 1).then(|| scheme_level(depth - 1)).transpose()?;
        let keys = KeyShape::new(&params, relinearisation, [].into())?;
        let reply = scheme::reply(&params, params.slots(), scheme::REPLY[1])?;
        let mut hasher = blake3::Hasher::new_derive_key("phineus cipher batch 1");
        hasher.update(&params.digest()).update(&choices.input.to_le_bytes());
        for number in batch.order.iter().chain([&batch.outputs(), &PART]) {
            hasher.update(&(*number as u64).to_le_bytes());
        }
        let digest = *hasher.finalize().as_bytes();
        Ok(Self { params, batch, keys, reply, input: choices.input, digest })
    }

    /// Encryption parameters.
    #[must_use]
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// What the server evaluates.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The keys that the client makes.
    #[must_use]
    pub fn keys(&self) -> &KeyShape {
        &self.keys
    }

    /// The server's message per element of the output.
    #[must_use]
    pub fn reply(&self) -> &ReplySpec {
        &self.reply
    }

    /// Bound on the values of the input.
    #[must_use]
    pub fn input(&self) -> f64 {
        self.input
    }

    /// Inputs of a full batch.
    #[must_use]
    pub fn size(&self) -> usize {
        self.params.slots()
    }

    /// Bounds on slots and errors of every level.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        scheme::bounds(self.batch.depth(), self.input)
    }

    /// The client's messages: which places of [`Batch::order`] each one holds.
    #[must_use]
    pub fn parts(&self) -> Vec<Range<usize>> {
        let count = self.batch.order.len();
        (0..count).step_by(PART).map(|start| start..(start + PART).min(count)).collect()
    }

    /// The shape of such a message.
    ///
    /// # Errors
    /// None for a scheme of this file.
    pub fn requests(&self, part: &Range<usize>) -> Result<RequestShape, SlotsError> {
        let level = scheme_level(self.batch.depth())?;
        Ok(RequestShape { params: self.params.clone(), count: part.len(), level })
    }

    /// What both parties compare.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}
