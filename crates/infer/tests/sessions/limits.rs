//! What a server can make a client spend before the first message of the offline phase: next to nothing. The public
//! halves here are all well-formed, small on the wire, and absurd.

use std::time::{Duration, Instant};

use phineus_infer::PlanError;
use phineus_infer::plan::{Options, Plan};
use phineus_model::fixed::{Act, Fact, Graph, Op, Preprocess, Quadratic, Rescale, Reveal};
use phineus_model::graph::{Conv, Node, NodeId, Window};
use phineus_model::phn::{self, Public};

/// Far above what a refusal takes, far below what an acceptance would.
const PATIENCE: Duration = Duration::from_secs(5);

struct Hostile {
    graph: Graph,
}

impl Hostile {
    fn new(shape: &[usize], reveal: Reveal) -> Self {
        let input = Node { name: "x".into(), op: Op::Input, inputs: Vec::new(), shape: shape.to_vec() };
        let fact = Fact { step: 1.0, lo: 0, hi: 255, bits: 26 };
        Self { graph: Graph { nodes: vec![input], facts: vec![fact], output: 0, reveal } }
    }

    /// Appends a node; the bounds of an activation are those that it states itself.
    fn push(&mut self, op: Op, input: NodeId, shape: &[usize], mut fact: Fact) -> NodeId {
        let name = String::new();
        if let Op::Act(act) = &op {
            let last = act.quadratic.map_or(act.rescale, |q| q.rescale);
            (fact.lo, fact.hi) = (last.lo.into(), last.hi.into());
        }
        self.graph.nodes.push(Node { name, op, inputs: vec![input], shape: shape.to_vec() });
        self.graph.facts.push(fact);
        self.graph.nodes.len() - 1
    }

    /// What the client would receive, and what it makes of it.
    fn plan(mut self) -> Result<Plan, PlanError> {
        self.graph.output = self.graph.nodes.len() - 1;
        self.graph.facts[self.graph.output].step = 1.0;
        let channels = self.graph.nodes[0].shape[0];
        // One mean per channel must be read: more channels make a larger message, not a larger plan.
        let preprocess = Preprocess { mean: vec![0.0; channels], std: vec![1.0; channels], bgr: false };
        let name = "hostile".into();
        let public = Public { name, graph: self.graph.public_view(), preprocess, labels: Vec::new() };
        let bytes = public.to_bytes();
        assert!(bytes.len() < phn::PUBLIC_LIMIT, "{} bytes would not be read", bytes.len());
        Plan::new(phn::read_public(&bytes).expect("well-formed"), &Options::default())
    }

    fn assert_too_large(self) {
        let start = Instant::now();
        let error = self.plan().map(|_| ()).expect_err("a plan for the absurd");
        assert!(matches!(error, PlanError::TooLarge { .. }), "{error}");
        assert!(start.elapsed() < PATIENCE, "refused only after {:?}: {error}", start.elapsed());
        assert_modest();
    }
}

/// The largest resident set of this process stays within what its honest tests need.
fn assert_modest() {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return };
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 1 << 20, "{kilobytes} kB resident");
}

fn act(max_pool: Option<Window>, lo: i32) -> Op {
    Op::Act(Act { max_pool, rescale: Rescale { shift: 0, lo, hi: 255 }, quadratic: None })
}

const NARROW: Fact = Fact { step: 0.0, lo: -255, hi: 255, bits: 10 };

fn ring(bits: u32) -> Fact {
    let half = 1_i64 << (bits - 1);
    Fact { step: 0.0, lo: -half, hi: half - 1, bits }
}

#[test]
fn too_many_activations() {
    let mut hostile = Hostile::new(&[1, 1 << 13, 1 << 13], Reveal::Logits);
    let x = hostile.push(act(None, 0), 0, &[1, 1 << 13, 1 << 13], NARROW);
    hostile.push(act(None, 0), x, &[1, 1 << 13, 1 << 13], NARROW);
    hostile.assert_too_large();
}

#[test]
fn too_many_places_under_windows() {
    let window = Window { kernel: [32; 2], stride: [1; 2], pads: [0; 4], ceil: false };
    let mut hostile = Hostile::new(&[1, 542, 542], Reveal::Logits);
    hostile.push(act(Some(window), 0), 0, &[1, 511, 511], NARROW);
    hostile.assert_too_large();
}

#[test]
fn too_many_large_circuits() {
    let window = Window { kernel: [32; 2], stride: [1; 2], pads: [0; 4], ceil: false };
    let mut hostile = Hostile::new(&[1, 32, 32], Reveal::Logits);
    for i in 0..10_000 {
        hostile.push(act(Some(window), -i), 0, &[1, 1, 1], Fact { bits: 15, ..NARROW });
    }
    hostile.assert_too_large();
}

#[test]
fn too_many_polynomials() {
    let mut hostile = Hostile::new(&[1, 1, 1], Reveal::Logits);
    for c0 in 0..10_000 {
        // Both bounds are reached.
        let rescale = Rescale { shift: 0, lo: 0, hi: 255 };
        let quadratic = Some(Quadratic { c2: 3, c1: 5, c0: -c0, rescale });
        hostile.push(Op::Act(Act { max_pool: None, rescale, quadratic }), 0, &[1, 1, 1], NARROW);
    }
    hostile.assert_too_large();
}

#[test]
fn an_index_of_too_many_outputs() {
    Hostile::new(&[1, 1 << 10, 1 << 10], Reveal::ArgMax).assert_too_large();
}

/// Every layer needs larger parameters than are tried first.
#[test]
fn thousands_of_demanding_layers() {
    let mut hostile = Hostile::new(&[256, 1, 1], Reveal::Logits);
    hostile.graph.facts[0].bits = 32;
    let mut x = 0;
    for weights in 0..2_000 {
        let conv = Conv::dense(256, 256);
        x = hostile.push(Op::Linear { conv, weights, weight_bits: 16 }, x, &[256, 1, 1], ring(32));
        x = hostile.push(act(None, 0), x, &[256, 1, 1], Fact { bits: 32, ..NARROW });
    }
    let start = Instant::now();
    let plan = hostile.plan().expect("a plan");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert!(plan.linear().layers().iter().all(|layer| layer.ring > 0));
    assert_modest();
}

/// Layers on the limits of the geometry, which are legal.
#[test]
fn extreme_layers_are_planned_or_refused_in_time() {
    let long = 1 << 20;
    let convs = [
        Conv { input: [long, 1], kernel: [long, 1], ..Conv::dense(1, 1) },
        Conv { input: [long, 4], kernel: [1, 1], stride: [3, 2], ..Conv::dense(1, 2) },
        Conv { input: [1, 1], pads: [long, 0, long, 0], kernel: [3, 1], ..Conv::dense(1, 1) },
        Conv { input: [2048, 2048], kernel: [2, 2], dilation: [1000, 1000], ..Conv::dense(1, 1) },
        Conv { groups: 1 << 18, ..Conv::dense(1 << 18, 1 << 18) },
        Conv { input: [1 << 12, 1 << 12], kernel: [3, 3], pads: [1; 4], ..Conv::dense(1, 1) },
        Conv::dense(1 << 13, 1 << 13),
    ];
    for conv in convs {
        let start = Instant::now();
        let [h, w] = conv.output();
        let mut hostile = Hostile::new(&[conv.in_channels, conv.input[0], conv.input[1]], Reveal::Logits);
        let op = Op::Linear { conv, weights: 0, weight_bits: 8 };
        hostile.push(op, 0, &[conv.out_channels, h, w], ring(26));
        let outcome = hostile.plan().map(|_| ()).map_err(|e| e.to_string());
        assert!(start.elapsed() < PATIENCE, "{conv:?}: {outcome:?} after {:?}", start.elapsed());
        assert_modest();
    }
}
