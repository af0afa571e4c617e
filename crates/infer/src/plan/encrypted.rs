//! A network under encryption, as a plan: parameters, program, and how its result is revealed.
//!
//! All values between the client's encryption and the server's reply are ciphertexts, each in the layout that its linear
//! map leaves; a node is part of the map that its value comes out of.
//!
//! **What the client learns.** *Logits*: all slots of the result, blurred by a flood. The distance of two servers whose
//! networks give the same result is [`Encrypted::log2_distance`]; scales of one prime leave no room for a flood that hides
//! the error of an approximate scheme, so this number is above 0 and nothing is proven: the error depends on the weights,
//! and a client that computes can learn something about them from many queries beside what the logits tell it anyway.
//! *Arg-max*: nothing but the index. The result is left in coefficients and masked by uniform words modulo q, which is
//! perfect, whatever the size of the modulus ([`slots::Evaluator::share`](phineus_he::slots::Evaluator::share)); one garbled
//! circuit on the two shares gives the index.

use std::fmt;
use std::sync::Arc;

use phineus_he::slots::{KeyUpload, PublicKey, Reply, Requests};
use phineus_kernel::wire::Wire as _;
use phineus_model::fixed::{Act, Graph, Op, Reveal};
use phineus_model::graph::NodeId;
use phineus_model::phn::Public;

use super::circuits::Circuits;
use super::nonlinear::NonLinear;
use super::options::{Engine, Options};
use super::{Candidate, Choice, LinearPlan, Plan, PlanError};
use crate::cipher::cost::CostModel;
use crate::cipher::service::scheme_of;
use crate::cipher::{Layout, Scheme};

/// What both parties know of a network under encryption.
#[derive(Debug)]
pub struct Encrypted {
    scheme: Arc<Scheme>,
    reveal: Reveal,
}

/// How the parties hold the value of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State<'p> {
    /// In additive shares.
    Shared,
    /// The server holds ciphertexts with slots in this layout.
    Cipher(&'p Layout),
}

/// Most bytes of encoded weights that a server keeps for a network.
const MAX_WEIGHTS: u64 = 16 << 30;

impl Plan {
    /// The plan of a network under encryption.
    pub(super) fn under_encryption(public: Public, options: &Options) -> Result<Self, PlanError> {
        let graph = &public.graph;
        let scheme = scheme_of(graph, options.form, options.precision.bits())?;
        let encrypted = Encrypted { scheme, reveal: graph.reveal };
        let got = encrypted.weight_bytes();
        if got > MAX_WEIGHTS {
            return Err(PlanError::TooLarge { what: "bytes of encoded weights", got, limit: MAX_WEIGHTS });
        }
        let argmax = match graph.reveal {
            Reveal::Logits | Reveal::Scores => None,
            Reveal::ArgMax => {
                let bits = encrypted.scheme.reply().width();
                Some(NonLinear::ServerGarbles(Circuits::default().largest(&public, bits)?))
            }
        };
        let choices = choices(graph);
        Self {
            argmax,
            encrypted: Some(encrypted),
            ..Self::bare(public, options, choices, LinearPlan::none())
        }
        .finished()
    }

    /// Parameters and program, where the network is evaluated under encryption.
    #[must_use]
    pub fn encrypted(&self) -> Option<&Encrypted> {
        self.encrypted.as_ref()
    }

    /// How the parties hold the value of a node; `None` for a node that there is not.
    #[must_use]
    pub fn state(&self, node: NodeId) -> Option<State<'_>> {
        let choice = self.choices.get(node)?;
        Some(match (choice, &self.encrypted) {
            (Choice::Cipher(map), Some(encrypted)) => {
                let program = encrypted.scheme.program();
                State::Cipher(map.and_then(|m| program.maps().get(m)).map_or(program.input(), |m| m.output()))
            }
            _ => State::Shared,
        })
    }

    /// The whole network under encryption, as an alternative to this plan: the keys of a new client count as offline,
    /// what crosses the connection per inference as online, with seconds over the link of the options.
    ///
    /// # Errors
    /// [`PlanError`] saying what stands in the way.
    pub fn encrypted_instead(&self) -> Result<Candidate, PlanError> {
        let options = Options { engine: Engine::He, ..self.options };
        let plan = Self::new(self.public.clone(), &options)?;
        let link = &options.link;
        let seconds = |cost: &crate::report::Cost| {
            link.seconds(cost.client_to_server_bytes, cost.server_to_client_bytes, cost.rounds)
        };
        let mut offline = plan.set_up_cost(plan.linear());
        let mut online = plan.predicted().online;
        let price = plan.encrypted.as_ref().map_or(0.0, Encrypted::seconds);
        (offline.seconds, online.seconds) = (seconds(&offline), seconds(&online) + price);
        let score = online.seconds + offline.seconds / 8.0;
        Ok(Candidate { protocol: Engine::He.name(), offline, online, client_bytes: 0, score })
    }
}

impl Encrypted {
    /// Parameters, program and messages.
    #[must_use]
    pub fn scheme(&self) -> &Arc<Scheme> {
        &self.scheme
    }

    /// What the client learns.
    #[must_use]
    pub fn reveal(&self) -> Reveal {
        self.reveal
    }

    /// log2 of the bound on the statistical distance of the client's views of two networks with the same result, per
    /// inference, beside encryption itself; nothing is proven above 0.
    #[must_use]
    pub fn log2_distance(&self) -> f64 {
        let bounds = self.scheme.bounds();
        let error = bounds.errors.first().copied().unwrap_or(f64::INFINITY);
        match self.reveal {
            Reveal::Logits | Reveal::Scores => self.scheme.reply().log2_distance(error),
            Reveal::ArgMax => f64::NEG_INFINITY,
        }
    }

    /// Bytes of a request.
    #[must_use]
    pub fn request_bytes(&self) -> usize {
        Requests::wire_len(self.scheme.requests())
    }

    /// Bytes of a reply.
    #[must_use]
    pub fn reply_bytes(&self) -> usize {
        Reply::wire_len(self.scheme.reply()) * self.scheme.program().output().ciphers()
    }

    /// Bytes of the keys that a client sends once.
    #[must_use]
    pub fn key_bytes(&self) -> usize {
        PublicKey::wire_len(self.scheme.params()) + KeyUpload::wire_len(self.scheme.keys())
    }

    /// Bytes of the encoded weights.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        let (program, params) = (self.scheme.program(), self.scheme.params());
        let map = |(index, map): (usize, &crate::cipher::diagonal::Diagonals)| {
            let level = program.depth().saturating_sub(2 * index + 1);
            let limbs = params.limbs(level).unwrap_or(0) + params.special();
            (map.products.len() * limbs * params.slots() * size_of::<u32>()) as u64
        };
        program.maps().iter().enumerate().map(map).sum()
    }

    /// Predicted seconds of an evaluation.
    fn seconds(&self) -> f64 {
        self.scheme.program().price(&CostModel::default()) * 1e-6
    }
}

impl fmt::Display for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (params, program) = (self.scheme.params(), self.scheme.program());
        let (switches, products) = (program.switches(), program.products());
        writeln!(
            f,
            "{} slots, modulus of {:.1} bits, {} levels; {switches} key switches, {products} products",
            params.slots(),
            params.log2_qp(),
            program.depth(),
        )?;
        let (request, reply, keys) = (self.request_bytes(), self.reply_bytes(), self.key_bytes());
        writeln!(f, "request {request} bytes, reply {reply} bytes, keys {keys} bytes once per client")?;
        match (self.reveal, self.log2_distance()) {
            (Reveal::ArgMax, _) => {
                write!(
                    f,
                    "the client learns the arg-max; distance of its views of the model 0, beside encryption"
                )
            }
            (_, log2) if log2 > 0.0 => write!(
                f,
                "the client learns the logits; distance of its views of the model: the bound is 2^{log2:.1}, which proves \
                 nothing: replies are blurred and not hidden, compile with --reveal argmax where that matters"
            ),
            (_, log2) => {
                write!(
                    f,
                    "the client learns the logits; distance of its views of the model at most 2^{log2:.1}"
                )
            }
        }
    }
}

/// The linear map that the value of every node comes out of; none for what the client encrypts.
fn choices(graph: &Graph) -> Vec<Choice> {
    let (mut map, mut squared) = (None, false);
    let choice = |op: &Op| {
        match op {
            Op::Linear { .. } | Op::SumPool(_) if squared || map.is_none() => {
                (map, squared) = (Some(map.map_or(0, |m| m + 1)), false);
            }
            Op::Act(Act { quadratic: Some(_), .. }) => {
                // A square at the beginning, or behind another one, is preceded by the map that changes nothing.
                let next = if squared { map.map(|m| m + 1) } else { map };
                (map, squared) = (Some(next.unwrap_or(0)), true);
            }
            _ => {}
        }
        Choice::Cipher(map)
    };
    graph.nodes.iter().map(|node| &node.op).map(choice).collect()
}
