//! Scales of normalisations to behind the rectifiers that follow them, as networks have it that normalise before they
//! activate (DenseNet).
//!
//! With a scale `s > 0`, `relu(s x + t) = s relu(x + t / s)`, and averages and maxima of windows commute with `s`, so that the
//! next layer takes it into its weights. What is left of the normalisation is a shift per channel, which costs a private
//! evaluation nothing, where a scale is a linear layer of its own.
//!
//! A small `s` makes `t / s` large, and with it the range of all channels. For `|x| <= R` a shift beyond `R` is as good as
//! `R`: below it the rectifier gives nothing, above it what is missing, `t - s R`, is a constant that the next layer takes
//! into its bias. The same holds for `s = 0`. A channel with `s < 0` leaves the normalisation as it is.

use crate::float::{Graph, Op};
use crate::graph::{Conv, NodeId};
use crate::pass::fold_affine;

/// Whether anything was rewritten; `bounds` has the `R` of every value of the graph. Nodes keep their numbers.
pub fn run(graph: &mut Graph, bounds: &[f64]) -> bool {
    let mut readers: Vec<Vec<NodeId>> = vec![Vec::new(); graph.nodes.len()];
    for (id, node) in graph.nodes.iter().enumerate() {
        for &x in &node.inputs {
            if let Some(readers) = readers.get_mut(x) {
                readers.push(id);
            }
        }
    }
    // The end of the network is a reader.
    if let Some(readers) = readers.get_mut(graph.output) {
        readers.push(graph.nodes.len());
    }
    let mut changed = false;
    for id in 0..graph.nodes.len() {
        let bound = graph.nodes[id].inputs.first().and_then(|&x| bounds.get(x)).copied().unwrap_or_default();
        if let Some(layer) = next_layer(graph, &readers, id) {
            changed |= defer(graph, id, layer, bound);
        }
    }
    changed
}

/// The layer behind a normalisation and its rectifier, if nothing else reads what is in between.
fn next_layer(graph: &Graph, readers: &[Vec<NodeId>], normalisation: NodeId) -> Option<NodeId> {
    let only_reader = |id: NodeId| match readers.get(id).map(Vec::as_slice) {
        Some(&[reader]) => graph.nodes.get(reader).map(|node| (reader, &node.op)),
        _ => None,
    };
    is_per_channel(&graph.nodes.get(normalisation)?.op).then_some(())?;
    let (mut at, op) = only_reader(normalisation)?;
    matches!(op, Op::Clip { lo: 0.0, hi: f32::INFINITY }).then_some(())?;
    loop {
        let (next, op) = only_reader(at)?;
        match op {
            Op::Linear { .. } => return Some(next),
            Op::AvgPool { window, .. } if window.pads == [0; 4] => at = next,
            Op::MaxPool(_) | Op::Reshape => at = next,
            _ => return None,
        }
    }
}

fn is_per_channel(op: &Op) -> bool {
    matches!(op, Op::Linear { conv, .. } if *conv == Conv {
        input: conv.input, groups: conv.in_channels, ..Conv::dense(conv.in_channels, conv.in_channels)
    })
}

fn defer(graph: &mut Graph, id: NodeId, layer: NodeId, bound: f64) -> bool {
    let Op::Linear { weights: scale, bias: shift, .. } = graph.nodes[id].op.clone() else { return false };
    let Op::Linear { conv, weights, bias } = &mut graph.nodes[layer].op else { return false };
    // Channels stay together when an image becomes flat.
    let per_channel = conv.in_channels / scale.len().max(1);
    if scale.iter().any(|&s| s < 0.0) || per_channel * scale.len() != conv.in_channels {
        return false;
    }
    let (mut before, mut after) = (Vec::with_capacity(scale.len()), Vec::with_capacity(conv.in_channels));
    for (&s, &t) in scale.iter().zip(&shift) {
        let (s, t) = (f64::from(s), f64::from(t));
        let wanted = if s > 0.0 { (t / s).clamp(-bound, bound) } else { -bound };
        let missing = if t > s * bound { t - s * bound } else { 0.0 };
        let missing = if s > 0.0 { missing } else { t.max(0.0) };
        before.push(wanted as f32);
        after.extend(std::iter::repeat_n((s as f32, missing as f32), per_channel));
    }
    if conv.pads != [0; 4] && after.iter().any(|&(_, missing)| missing != 0.0) {
        return false;
    }
    let (scales, constants): (Vec<f32>, Vec<f32>) = after.into_iter().unzip();
    fold_affine::prepend(conv, weights, bias, &scales, &constants);
    graph.nodes[id].op = Op::Affine { scale: vec![1.0; before.len()], shift: before };
    true
}

#[cfg(test)]
mod tests {
    use super::super::canonical;
    use super::super::tests::{affine, assert_same, count, layer};
    use super::*;
    use crate::float::{Builder, Head};
    use crate::graph::Window;

    /// A block that normalises first, then a transition, then an average and a dense layer.
    fn network(scales: impl Fn(usize) -> Option<Vec<f32>>) -> Graph {
        let mut b = Builder::new("g", "x", &[3, 8, 8]).unwrap();
        let conv = Conv { input: [8, 8], kernel: [3, 3], pads: [1; 4], ..Conv::dense(3, 6) };
        let first = b.push("c", layer(conv, 2), &[0]).unwrap();
        let mut x = b.push("cr", Op::Clip { lo: -1.0, hi: 1.0 }, &[first]).unwrap();
        let mut side = 8;
        for i in 0..2 {
            let mut op = affine(6, 3 + i);
            if let (Op::Affine { scale, .. }, Some(given)) = (&mut op, scales(i)) {
                *scale = given;
            }
            let n = b.push(&format!("n{i}"), op, &[x]).unwrap();
            let r = b.push(&format!("r{i}"), Op::Clip { lo: 0.0, hi: f32::INFINITY }, &[n]).unwrap();
            if i == 0 {
                let conv = Conv { input: [8, 8], ..Conv::dense(6, 6) };
                let c = b.push("t", layer(conv, 5), &[r]).unwrap();
                let window = Window { kernel: [2; 2], stride: [2; 2], pads: [0; 4], ceil: false };
                let p = b.push("p", Op::AvgPool { window, count_pad: false }, &[c]).unwrap();
                x = b.push("pr", Op::Clip { lo: -1.0, hi: 1.0 }, &[p]).unwrap();
                side = 4;
            } else {
                let window = Window { kernel: [2; 2], stride: [2; 2], pads: [0; 4], ceil: false };
                let p = b.push("gap", Op::AvgPool { window, count_pad: false }, &[r]).unwrap();
                let f = b.reshape("f", p, &[6 * side * side / 4]).unwrap();
                x = b.push("d", layer(Conv::dense(24, 5), 4), &[f]).unwrap();
            }
        }
        canonical(b.finish(x, Head::Logits).unwrap()).unwrap()
    }

    fn normalisations(graph: &Graph) -> usize {
        count(graph, |op| matches!(op, Op::Linear { conv, .. } if conv.groups > 1))
    }

    #[test]
    fn shifts_are_left() {
        let graph = network(|_| None);
        assert_eq!(normalisations(&graph), 2);
        let mut after = graph.clone();
        assert!(run(&mut after, &vec![1.0; graph.nodes.len()]));
        assert_eq!(normalisations(&after), 0);
        assert_eq!(count(&after, |op| matches!(op, Op::Affine { scale, .. } if scale == &[1.0; 6])), 2);
        assert_same(&graph, &after);
        assert!(!run(&mut after.clone(), &vec![1.0; graph.nodes.len()]));
    }

    #[test]
    fn small_scales_do_not_widen_the_range() {
        let graph = network(|_| Some(vec![1e-6, 0.0, 1.0, 0.3, 1e-3, 2.0]));
        let mut after = graph.clone();
        assert!(run(&mut after, &vec![1.0; graph.nodes.len()]));
        assert_same(&graph, &after);
        let bounded =
            |op: &Op| matches!(op, Op::Affine { shift, .. } if shift.iter().all(|t| t.abs() <= 1.0));
        assert_eq!(count(&after, bounded), 2);
    }

    #[test]
    fn a_negative_scale_stays() {
        let graph = network(|i| (i == 0).then(|| vec![1.0, -0.5, 1.0, 1.0, 1.0, 1.0]));
        let mut after = graph.clone();
        assert!(run(&mut after, &vec![1.0; graph.nodes.len()]));
        assert_eq!(normalisations(&after), 1);
        assert_same(&graph, &after);
    }
}
