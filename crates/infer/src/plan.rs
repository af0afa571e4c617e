//! The plan: for every node of the public graph the protocol that computes it, with all its parameters.
//!
//! Both parties derive the plan from the public half of the model and the options they settled, by the same arithmetic;
//! its digest covers the graph, the options, the encryption parameters and every packing, so that two parties with equal digests agree on the length
//! of every message. Deriving a plan also proves it: parameters are at least 128-bit secure, decryption never
//! fails (up to 2^-40 per inference) and the client's view hides the weights (statistical distance at most 2^-40
//! beside the encryption itself).

use std::sync::Arc;

use phineus_he::{HeError, Params, ReplySpec, noise};
use phineus_kernel::wire::Wire as _;
use phineus_model::fixed::{Act, GraphError, Op, Reveal};
use phineus_model::graph::{Conv, Node, NodeId};
use phineus_model::phn::Public;
use thiserror::Error;

use crate::packing::Interleaved;
use crate::protocol;
use crate::report::{self, Report};

mod choose;
mod circuits;
mod directions;
mod encrypted;
mod encryption;
mod forecast;
mod nonlinear;
mod offer;
mod options;
mod ot;
mod pool;
mod product;
mod stack;
mod work;

use choose::Chooser;
pub use choose::{Candidate, Explanation};
pub use directions::Directions;
pub use encrypted::{Encrypted, State};
pub use encryption::LinearPlan;
pub use nonlinear::{GarbledLayer, NonLinear};
pub use offer::{NotOffered, Offer, Wishes};
pub use options::{Engine, Link, Options, Precision, Rounding, Transfers, UnknownName};
pub use ot::{OtLayer, Polynomial};
pub(crate) use ot::{Piece, Protocol};
pub use pool::Pool;
pub use product::ProductLayer;
pub use stack::Stack;
pub use work::Work;

/// Why a model has no private plan.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The public graph is not a network.
    #[error("malformed network: {0}")]
    Graph(#[from] GraphError),
    /// A layer for which no protocol exists.
    #[error("{node}: {reason}")]
    Unsupported {
        /// Name of the node.
        node: String,
        /// What stands in the way.
        reason: String,
    },
    /// No parameter set is large enough.
    #[error("{node}: no secure parameters leave enough room: {source}")]
    Parameters {
        /// Name of the node.
        node: String,
        /// The last attempt.
        source: HeError,
    },
    /// The network is not one that can be evaluated under encryption.
    #[error("under encryption: {0}")]
    Encrypted(#[from] crate::cipher::service::ServiceError),
    /// The network is too large for one session.
    #[error("{what}: {got} exceeds the limit of {limit}")]
    TooLarge {
        /// Of what there is too much.
        what: &'static str,
        /// How much.
        got: u64,
        /// How much is allowed.
        limit: u64,
    },
}

/// A linear layer by homomorphic encryption, for one inference or for a stack of them.
#[derive(Debug)]
pub struct LinearLayer {
    /// Its number among the linear layers.
    pub index: usize,
    /// The node.
    pub node: NodeId,
    /// Its shape.
    pub conv: Conv,
    /// Width of the accumulator's ring.
    pub bits: u32,
    /// Index of its encryption parameters in [`Plan::rings`].
    pub ring: usize,
    /// How the inputs of several inferences form one tall image.
    pub stack: Stack,
    /// Where the entries of that image sit in polynomials.
    pub packing: Interleaved,
    /// Index of its weights.
    pub weights: usize,
    /// Low bits that requests come without.
    pub dropped: u32,
    /// How responses are flooded and switched.
    pub spec: ReplySpec,
}

/// A result in an output polynomial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Which coefficient holds it.
    pub(crate) coefficient: u32,
    /// Which of the stacked inferences it belongs to.
    pub(crate) inference: usize,
    /// Which element of that inference's output it is.
    pub(crate) element: u32,
}

/// What to do with a node.
#[derive(Debug)]
pub enum Choice {
    /// The client masks its input.
    Input,
    /// Offline by encryption, online in the clear: the linear layer of this number.
    Linear(usize),
    /// By the protocol that the engine provides.
    NonLinear(NonLinear),
    /// Each party on its own share.
    Local,
    /// Under encryption: its value comes out of the linear map of this number; without one, the client encrypts it.
    Cipher(Option<usize>),
}

/// A proven way to run one network.
#[derive(Debug)]
pub struct Plan {
    public: Public,
    options: Options,
    choices: Vec<Choice>,
    argmax: Option<NonLinear>,
    rings: Vec<Arc<Params>>,
    linear: LinearPlan,
    directions: Directions,
    encrypted: Option<Encrypted>,
    digest: [u8; 32],
}

/// Most inferences whose linear layers are prepared together.
pub const MAX_BULK: usize = 64;

/// Most bytes that either party holds at once for inferences that are prepared together.
const BULK_BYTES: usize = 512 << 20;

/// Most bytes of tables and labels that a client keeps for one inference.
const MAX_STORED: u64 = 64 << 30;

/// Most values that all activations of a network read: bounds what a server can make a client allocate.
const MAX_PLACES: u64 = 1 << 26;

impl Plan {
    /// Derives and proves the plan of a network.
    ///
    /// # Errors
    /// [`PlanError`] naming the layer that cannot be run.
    pub fn new(mut public: Public, options: &Options) -> Result<Self, PlanError> {
        public.graph.validate()?;
        if (options.engine, options.rounding) == (Engine::He, Rounding::Exact) {
            return Self::under_encryption(public, options);
        }
        let Options { engine, rounding, .. } = *options;
        match (engine, rounding) {
            (Engine::Delphi | Engine::ClientGarbler, Rounding::Exact) => {}
            (Engine::Ot | Engine::Auto, _) => ot::widen(&mut public.graph, rounding),
            _ => return Err(unsupported("options", &format!("{engine} has no {rounding} rounding"))),
        }
        let graph = &public.graph;
        let places: u64 = graph.nodes.iter().map(places).sum();
        if places > MAX_PLACES {
            return Err(PlanError::TooLarge {
                what: "inputs of activations",
                got: places,
                limit: MAX_PLACES,
            });
        }
        let rings = encryption::ladder()?;
        let linear = LinearPlan::choose(&public, &rings, 1, &options.link)?;
        let mut chooser = Chooser::new(&public, options);
        let mut choices = Vec::with_capacity(graph.nodes.len());
        // Whether a value can be shared before any protocol has run: masks, and what is computed from them alone.
        let mut early = vec![false; graph.nodes.len()];
        let mut layers = 0..;
        for (node, this) in graph.nodes.iter().enumerate() {
            early[node] = match &this.op {
                Op::Linear { .. } => false,
                Op::Input | Op::Act(_) | Op::Product => true,
                _ => this.inputs.iter().all(|i| early[*i]),
            };
            choices.push(match &this.op {
                Op::Input => Choice::Input,
                Op::Linear { .. } if early[this.inputs[0]] => {
                    Choice::Linear(layers.next().unwrap_or_default())
                }
                Op::Linear { .. } => {
                    return Err(unsupported(&this.name, "a linear layer directly behind another one"));
                }
                Op::Act(act) => Choice::NonLinear(chooser.act(node, act)?),
                Op::Product => Choice::NonLinear(NonLinear::Product(ProductLayer::new(graph, node)?)),
                _ => Choice::Local,
            });
        }
        let argmax = match graph.reveal {
            Reveal::Logits | Reveal::Scores => None,
            Reveal::ArgMax => Some(chooser.argmax()?),
        };
        Self { argmax, rings, ..Self::bare(public, options, choices, linear) }.finished()
    }

    /// A plan without arg-max, with nothing derived yet.
    fn bare(public: Public, options: &Options, choices: Vec<Choice>, linear: LinearPlan) -> Self {
        Self {
            choices,
            linear,
            options: *options,
            public,
            argmax: None,
            rings: Vec::new(),
            directions: Directions::default(),
            encrypted: None,
            digest: [0; 32],
        }
    }

    /// Checks what the client has to keep, and derives transfers and digest.
    fn finished(self) -> Result<Self, PlanError> {
        let mut plan = self;
        let stored: u64 = plan.nonlinear().map(NonLinear::client_bytes).sum();
        if stored > MAX_STORED {
            return Err(PlanError::TooLarge {
                what: "bytes per pre-compute",
                got: stored,
                limit: MAX_STORED,
            });
        }
        let transfers = plan.nonlinear().map(NonLinear::transfers);
        plan.directions = Directions::choose(
            transfers.fold([0; 2], |[a, b], [down, up]| [a + down, b + up]),
            &plan.options,
        );
        plan.digest = plan.hash();
        Ok(plan)
    }

    /// The public half of the model.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// What it was derived for.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// One per node.
    #[must_use]
    pub fn choices(&self) -> &[Choice] {
        &self.choices
    }

    /// The arg-max at the end, where the provider reveals nothing else.
    #[must_use]
    pub fn argmax(&self) -> Option<&NonLinear> {
        self.argmax.as_ref()
    }

    /// All linear layers, for one inference at a time.
    #[must_use]
    pub fn linear(&self) -> &LinearPlan {
        &self.linear
    }

    /// Most inferences whose linear layers are prepared at once: [`MAX_BULK`], or fewer where neither party should have
    /// to hold the requests of so many large images in memory.
    #[must_use]
    pub fn together(&self) -> usize {
        (BULK_BYTES / self.linear.bytes_per_inference(&self.rings).max(1)).clamp(1, MAX_BULK)
    }

    /// All linear layers for `count` inferences at once: polynomials are filled with several inferences, and a
    /// transform of the weights serves all of them.
    ///
    /// # Errors
    /// [`PlanError::TooLarge`] for more than [`Plan::together`] inferences or none, and as [`Plan::new`].
    pub fn bulk(&self, count: usize) -> Result<LinearPlan, PlanError> {
        if !(1..=self.together()).contains(&count) {
            let (got, limit) = (count as u64, self.together() as u64);
            return Err(PlanError::TooLarge { what: "pre-computes at once", got, limit });
        }
        LinearPlan::choose(&self.public, &self.rings, count, &self.options.link)
    }

    /// All non-linear layers in order, the arg-max last.
    pub fn nonlinear(&self) -> impl Iterator<Item = &NonLinear> {
        let layers =
            self.choices.iter().filter_map(|c| if let Choice::NonLinear(l) = c { Some(l) } else { None });
        layers.chain(&self.argmax)
    }

    /// Those that the server garbles.
    pub(crate) fn server_garbled(&self) -> impl Iterator<Item = &GarbledLayer> {
        self.nonlinear()
            .filter_map(|layer| if let NonLinear::ServerGarbles(layer) = layer { Some(layer) } else { None })
    }

    /// Those by oblivious transfer.
    pub(crate) fn by_transfers(&self) -> impl Iterator<Item = &OtLayer> {
        self.nonlinear()
            .filter_map(|layer| if let NonLinear::Ot(layer) = layer { Some(&**layer) } else { None })
    }

    /// Products of two values.
    pub(crate) fn products(&self) -> impl Iterator<Item = &ProductLayer> {
        self.nonlinear().filter_map(|l| if let NonLinear::Product(layer) = l { Some(layer) } else { None })
    }

    /// Those that the client garbles.
    pub(crate) fn client_garbled(&self) -> impl Iterator<Item = &GarbledLayer> {
        self.nonlinear()
            .filter_map(|l| if let NonLinear::ClientGarbles(layer) = l { Some(layer) } else { None })
    }

    /// How oblivious transfers are made.
    #[must_use]
    pub fn directions(&self) -> &Directions {
        &self.directions
    }

    /// The encryption parameters that layers may use; see [`LinearPlan::used`].
    #[must_use]
    pub fn rings(&self) -> &[Arc<Params>] {
        &self.rings
    }

    /// Security, flooding and decryption, as a printable proof.
    #[must_use]
    pub fn proof(&self) -> &noise::Proof {
        self.linear.proof()
    }

    /// What both parties compare.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The digest in hexadecimal.
    #[must_use]
    pub fn digest_hex(&self) -> String {
        self.digest.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Rows of a report, one per node that costs anything, with nothing measured yet.
    #[must_use]
    pub fn layers(&self) -> Vec<report::Layer> {
        let nodes = self.public.graph.nodes.iter().zip(&self.choices);
        let mut layers: Vec<_> = nodes
            .map(|(node, choice)| report::Layer {
                name: node.name.clone(),
                op: op_name(&node.op).to_owned(),
                protocol: match choice {
                    Choice::Input => "mask",
                    Choice::Linear(_) => "linear_he",
                    Choice::NonLinear(layer) => layer.protocol(),
                    Choice::Local => "local",
                    Choice::Cipher(None) => "encrypt",
                    Choice::Cipher(Some(_)) => "cipher",
                }
                .to_owned(),
                ..Default::default()
            })
            .collect();
        let (op, protocol) = match (&self.argmax, &self.encrypted) {
            (Some(layer), _) => ("argmax", layer.protocol()),
            (None, Some(_)) => ("reveal", "decrypt"),
            (None, None) => ("reveal", "open"),
        };
        layers.push(report::Layer {
            name: "output".into(),
            op: op.into(),
            protocol: protocol.into(),
            ..Default::default()
        });
        layers
    }

    /// Rows of a report: one per node, and the output.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.choices.len() + 1
    }

    /// A report with the bytes and rounds that the plan foretells for the first inference of a session, to the byte, and no
    /// times.
    #[must_use]
    pub fn predicted(&self) -> Report {
        self.predicted_in(&self.linear, None)
    }

    /// As [`Plan::predicted`], for a session that has set up its oblivious transfers, or goes on with those of an earlier one:
    /// so many are in stock, down and up.
    #[must_use]
    pub fn predicted_with(&self, stock: [usize; 2]) -> Report {
        self.predicted_in(&self.linear, Some(stock))
    }

    /// As [`Plan::predicted_with`], for one of the inferences whose linear layers are prepared together.
    fn predicted_in(&self, linear: &LinearPlan, stock: Option<[usize; 2]>) -> Report {
        let mut report = Report::empty(self, "predicted");
        protocol::predict(self, linear, stock, &mut report);
        report
    }

    /// The mean of what an inference costs in a long session in which the linear layers of several are prepared together:
    /// as [`Plan::predicted`], the beginning of the session excluded and stocks of transfers filled by all inferences alike.
    #[must_use]
    pub fn predicted_mean(&self, linear: &LinearPlan) -> [report::Cost; 2] {
        let Report { mut offline, online, .. } = self.predicted_in(linear, Some([usize::MAX / 4; 2]));
        let transfers = self.nonlinear().map(NonLinear::transfers);
        let sum = transfers.fold([0; 2], |[a, b], [down, up]| [a + down, b + up]);
        let [up, down] = self.directions.filling(sum);
        offline.client_to_server_bytes += up;
        offline.server_to_client_bytes += down;
        [offline, online]
    }

    /// Every activation with all ways to run it, their exact bytes and what the planner makes of them, over the link of the
    /// options.
    ///
    /// # Errors
    /// [`PlanError`] if the network is too large to compare.
    pub fn explain(&self) -> Result<Vec<Explanation>, PlanError> {
        let mut chooser = Chooser::new(&self.public, &Options { engine: Engine::Auto, ..self.options });
        let mut all = Vec::new();
        for (this, choice) in self.public.graph.nodes.iter().zip(&self.choices) {
            if let (Op::Act(act), Choice::NonLinear(layer)) = (&this.op, choice) {
                all.push(chooser.explain(layer, act)?);
            }
        }
        Ok(all)
    }

    /// Seconds of one core that both parties work for one inference whose linear layers are prepared by `linear`, at the
    /// rates of the machine that they were measured on; the beginning of a session is excluded.
    #[must_use]
    pub fn work(&self, linear: &LinearPlan) -> Work {
        Work::of_plan(self, linear)
    }

    /// Bytes that the client and the server keep from offline to online, for one inference.
    #[must_use]
    pub fn stored_bytes(&self) -> [u64; 2] {
        crate::exec::material::stored_bytes(self)
    }

    /// Bytes and rounds of the keys and base transfers with which a session begins that prepares `linear`.
    #[must_use]
    pub fn set_up_cost(&self, linear: &LinearPlan) -> report::Cost {
        protocol::set_up(self, linear, false).total()
    }

    /// The same for a session that goes on with the transfers of an earlier one.
    #[must_use]
    pub fn resumption_cost(&self, linear: &LinearPlan) -> report::Cost {
        protocol::set_up(self, linear, true).total()
    }

    /// What both parties compare before they prepare `linear` together: parameters, packings and response formats of
    /// all layers.
    #[must_use]
    pub fn linear_digest(&self, linear: &LinearPlan) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("phineus linear plan 1");
        for ring in &self.rings {
            hasher.update(&ring.digest());
        }
        hasher.update(&(linear.count() as u64).to_le_bytes());
        for layer in linear.layers() {
            let LinearLayer { ring, spec, packing, dropped, .. } = layer;
            let (block, levels) = (packing.block(), packing.levels());
            hasher.update(format!("{ring} {dropped} {spec:?} {block:?} {levels};").as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    fn hash(&self) -> [u8; 32] {
        let mut options = Vec::new();
        self.options.encode(&mut options);
        let mut hasher = blake3::Hasher::new_derive_key("phineus plan 2");
        hasher.update(&options);
        hasher.update(&self.public.digest());
        hasher.update(&self.linear_digest(&self.linear));
        hasher.update(format!("{:?};", self.directions).as_bytes());
        if let Some(encrypted) = &self.encrypted {
            hasher.update(encrypted.scheme().digest());
        }
        for layer in self.nonlinear() {
            hasher.update(layer.describe().as_bytes());
            hasher.update(b";");
        }
        *hasher.finalize().as_bytes()
    }
}

/// Name of an operation in tables and reports.
#[must_use]
pub fn op_name(op: &Op) -> &'static str {
    match op {
        Op::Input => "input",
        Op::Linear { conv, .. } if conv.input == [1, 1] && conv.kernel == [1, 1] => "dense",
        Op::Linear { .. } => "conv",
        Op::Act(Act { max_pool: Some(_), .. }) => "maxpool+act",
        Op::Act(Act { quadratic: Some(_), .. }) => "quadratic",
        Op::Act(Act { rescale, .. }) if rescale.lo == 0 => "relu",
        Op::Act(_) => "rescale",
        Op::Add { .. } => "add",
        Op::Bias { .. } => "bias",
        Op::SumPool(_) => "sumpool",
        Op::Concat => "concat",
        Op::Pad { .. } => "pad",
        Op::Slice { .. } => "slice",
        Op::Reshape => "reshape",
        Op::Transpose { .. } => "transpose",
        Op::Select { .. } => "select",
        Op::Merge { .. } => "merge",
        Op::Product => "product",
    }
}

/// Values that an activation or a product reads, window by window; 0 for any other node.
fn places(node: &Node<Op>) -> u64 {
    match &node.op {
        Op::Act(act) => (node.len() * act.max_pool.map_or(1, |w| w.kernel[0] * w.kernel[1])) as u64,
        Op::Product => 2 * node.len() as u64,
        _ => 0,
    }
}

fn unsupported(node: &str, reason: &str) -> PlanError {
    PlanError::Unsupported { node: node.to_owned(), reason: reason.to_owned() }
}
