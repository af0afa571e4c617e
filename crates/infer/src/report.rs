//! What one inference cost: the public schema `phineus.report/1`.
//!
//! Every command that runs an inference prints this with `--json`. Fields are added, never renamed or removed,
//! within version 1. Bytes include frame headers; seconds are wall time as the client sees it; the CPU seconds
//! of a layer are those that its process spent while the layer was in progress.

use phineus_model::fixed::{Graph, Reveal};
use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// Name and version of the schema.
pub const SCHEMA: &str = "phineus.report/1";

/// A phase of an inference, or a layer's part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Wall time.
    pub seconds: f64,
    /// Bytes the client sent.
    pub client_to_server_bytes: u64,
    /// Bytes the server sent.
    pub server_to_client_bytes: u64,
    /// Times the client had to wait for an answer.
    pub rounds: u64,
    /// CPU time of the client's process, all threads.
    pub client_cpu_seconds: f64,
    /// CPU time of the server's process, all threads; 0 where the server does not tell.
    pub server_cpu_seconds: f64,
}

impl Cost {
    /// Part `i` of `n` equal ones; counts that do not divide leave their remainder to part 0, so that the parts add up.
    pub(crate) fn part(self, i: u64, n: u64) -> Self {
        let share = |total: u64| total / n + if i == 0 { total % n } else { 0 };
        let fraction = 1.0 / n as f64;
        Self {
            seconds: self.seconds * fraction,
            client_to_server_bytes: share(self.client_to_server_bytes),
            server_to_client_bytes: share(self.server_to_client_bytes),
            rounds: share(self.rounds),
            client_cpu_seconds: self.client_cpu_seconds * fraction,
            server_cpu_seconds: self.server_cpu_seconds * fraction,
        }
    }
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.client_to_server_bytes =
            self.client_to_server_bytes.saturating_add(other.client_to_server_bytes);
        self.server_to_client_bytes =
            self.server_to_client_bytes.saturating_add(other.server_to_client_bytes);
        self.rounds = self.rounds.saturating_add(other.rounds);
        self.client_cpu_seconds += other.client_cpu_seconds;
        self.server_cpu_seconds += other.server_cpu_seconds;
    }
}

/// What a party's machine had to hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Footprint {
    /// Largest resident set of the process so far; 0 where unknown.
    pub peak_rss_bytes: u64,
    /// Size of this inference's pre-compute at rest.
    pub stored_bytes: u64,
}

/// One layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// The node's name in the ONNX file.
    pub name: String,
    /// Its operation.
    pub op: String,
    /// The protocol that the plan chose for it.
    pub protocol: String,
    /// Before the input was known.
    pub offline: Cost,
    /// After.
    pub online: Cost,
}

/// The result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Index of the largest logit.
    pub argmax: usize,
    /// Exact integer logits times their step; empty if the provider reveals only the arg-max.
    pub logits: Vec<f32>,
    /// Where every output is the logit of a probability of its own, these: the client's sigmoid of the logits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<f32>,
}

/// A whole inference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Name of the model.
    pub model: String,
    /// Digest of the plan, in hexadecimal.
    pub plan_digest: String,
    /// The link: `loopback`, `tcp`, or a shaped profile.
    pub link: String,
    /// All layers, and the set-up of the session.
    pub offline: Cost,
    /// All layers.
    pub online: Cost,
    /// The client's process.
    pub client: Footprint,
    /// The server's process.
    pub server: Footprint,
    /// In execution order.
    pub layers: Vec<Layer>,
    /// The prediction.
    pub output: Output,
    /// Whether the private result equals the clear-text reference bit for bit; absent where nobody who knows
    /// the weights was asked.
    pub equals_reference: Option<bool>,
}

impl Output {
    /// What revealed integers mean.
    #[must_use]
    pub fn of(graph: &Graph, values: &[i64]) -> Self {
        match graph.reveal {
            Reveal::Logits | Reveal::Scores => {
                let argmax = largest(values, |a, b| a > b);
                Self::shown(graph, argmax, graph.decode_output(values))
            }
            Reveal::ArgMax => {
                let argmax = values.first().and_then(|i| usize::try_from(*i).ok()).unwrap_or(0);
                Self { argmax, ..Self::default() }
            }
        }
    }
}

impl Output {
    /// What real logits mean.
    #[must_use]
    pub fn of_real(graph: &Graph, logits: &[f64]) -> Self {
        Self::shown(graph, largest(logits, |a, b| a > b), logits.iter().map(|&x| x as f32).collect())
    }

    fn shown(graph: &Graph, argmax: usize, logits: Vec<f32>) -> Self {
        let scores = match graph.reveal {
            Reveal::Scores => logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect(),
            _ => Vec::new(),
        };
        Self { argmax, logits, scores }
    }
}

/// Index of the first value that no other exceeds.
fn largest<T>(values: &[T], exceeds: impl Fn(&T, &T) -> bool) -> usize {
    let larger = |best: usize, i: usize| if exceeds(&values[i], &values[best]) { i } else { best };
    (0..values.len()).reduce(larger).unwrap_or(0)
}

impl Report {
    /// The rows of a plan with nothing measured.
    #[must_use]
    pub fn empty(plan: &Plan, link: &str) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            model: plan.public().name.clone(),
            plan_digest: plan.digest_hex(),
            link: link.to_owned(),
            offline: Cost::default(),
            online: Cost::default(),
            client: Footprint::default(),
            server: Footprint::default(),
            layers: plan.layers(),
            output: Output::default(),
            equals_reference: None,
        }
    }

    /// Sets the totals to the sums over the layers.
    pub(crate) fn total(&mut self) {
        (self.offline, self.online) = (Cost::default(), Cost::default());
        for layer in &self.layers {
            self.offline += layer.offline;
            self.online += layer.online;
        }
    }
}
