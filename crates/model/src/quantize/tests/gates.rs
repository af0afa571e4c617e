//! Products, hard sigmoids and hard swishes.

use super::*;

/// A mean per channel, two layers, a hard sigmoid, and the product with the value itself.
pub(super) fn squeeze_and_excite(net: &mut Net, x: NodeId) -> NodeId {
    let &[channels, h, w] = &net.builder.nodes()[x].shape[..] else { panic!("no image") };
    let all = Window { kernel: [h, w], stride: [1, 1], pads: [0; 4], ceil: false };
    let y = net.push(Float::AvgPool { window: all, count_pad: false }, &[x]);
    let y = net.conv(y, 3, 1, 1);
    let y = net.relu(y);
    let y = net.conv(y, channels, 1, 1);
    let line = Float::Affine { scale: vec![1.0 / 6.0; channels], shift: vec![0.5; channels] };
    let y = net.push(line, &[y]);
    let y = net.push(Float::Clip { lo: 0.0, hi: 1.0 }, &[y]);
    net.push(Float::Mul, &[y, x])
}

fn product_of(model: &Model) -> usize {
    model.graph.nodes.iter().position(|node| node.op == Op::Product).unwrap()
}

#[test]
fn squeeze_and_excitation() {
    for side in [6, 12] {
        let mut net = Net::new(&[2, side, side]);
        let x = net.conv_relu(0, 5);
        let y = squeeze_and_excite(&mut net, x);
        let y = net.conv(y, 4, 1, 1);
        let model = follows(&net.classes(y, 3), 0.06);
        let product = product_of(&model);
        let (graph, facts) = (&model.graph, &model.graph.facts);
        let &[x, gate] = &graph.nodes[product].inputs[..] else { panic!("two factors") };
        assert_eq!((graph.nodes[x].shape.len(), &graph.nodes[gate].shape[..]), (3, &[5, 1, 1][..]));
        assert_eq!(facts[product].step, facts[x].step * facts[gate].step);
        assert_eq!((facts[product].lo, facts[product].hi), (0, facts[x].hi * facts[gate].hi));
        assert!(facts[product].bits <= 19);
        assert!(facts[product].bits <= facts[x].bits.min(facts[gate].bits));
        // Sums beside other readers are rescaled before a layer reads them, so that these have narrow rings.
        let pool = graph.nodes.iter().position(|node| matches!(node.op, Op::SumPool(_))).unwrap();
        let reader = graph.nodes.iter().find(|node| node.inputs == [pool]).unwrap();
        assert!(matches!(reader.op, Op::Act(_)) && facts[x].bits <= 20, "{:?}", facts[x]);
    }
}

#[test]
fn sums_over_large_windows_are_rescaled() {
    for side in [8, 9] {
        let mut net = Net::new(&[2, side, side]);
        let x = net.conv_relu(0, 5);
        let x = net.push(Float::AvgPool { window: window(side, 1, 0), count_pad: false }, &[x]);
        let model = follows(&net.classes(x, 3), 0.06);
        assert_eq!(acts(&model).len(), if side > 8 { 2 } else { 1 });
    }
}

#[test]
fn products_of_values_of_one_shape() {
    let mut net = Net::new(&[2, 6, 6]);
    let (x, y) = (net.conv_relu(0, 4), net.conv(0, 4, 3, 1));
    let product = net.push(Float::Mul, &[x, y]);
    let chained = net.push(Float::Mul, &[product, x]);
    let y = net.conv(chained, 4, 1, 1);
    let sum = net.push(Float::Add, &[y, x]);
    let model = follows(&net.classes(sum, 3), 0.06);
    assert_eq!(model.graph.nodes.iter().filter(|node| node.op == Op::Product).count(), 2);
}

#[test]
fn hard_swishes() {
    let mut net = Net::new(&[2, 6, 6]);
    let x = net.conv(0, 6, 3, 1);
    // Means of many signed terms are small: three times as large, both knees matter.
    let x = net.push(Float::Affine { scale: vec![6.0; 6], shift: vec![0.0; 6] }, &[x]);
    let x = net.push(Float::HardSwish, &[x]);
    let y = squeeze_and_excite(&mut net, x);
    let y = net.conv(y, 6, 3, 1);
    let y = net.push(Float::Add, &[x, y]);
    let y = net.push(Float::HardSwish, &[y]);
    let model = follows(&net.classes(y, 3), 0.06);
    let acts = acts(&model);
    let curves: Vec<_> = acts.iter().filter_map(|act| Some((act.rescale, act.quadratic?))).collect();
    assert_eq!(curves.len(), 2);
    for (clamp, curve) in curves {
        // Comparisons can saturate, and the square costs no coefficient.
        assert!((clamp.hi - clamp.lo + 1).count_ones() == 1 && clamp.lo == -clamp.hi - 1, "{clamp:?}");
        assert_eq!((curve.c2.count_ones(), (1 - curve.rescale.lo).count_ones(), curve.rescale.hi), (1, 1, 0));
        let lines = acts.iter().filter(|act| act.rescale.lo == clamp.hi);
        assert!(lines.clone().count() > 0 && lines.clone().all(|act| act.quadratic.is_none()));
    }
}

#[test]
fn a_sigmoid_at_the_end_is_left_to_the_client() {
    let mut net = Net::new(&[1, 4, 4]);
    let x = net.conv_relu(0, 2);
    let mut graph = net.classes(x, 3);
    graph.head = Head::Sigmoid;
    assert_eq!(compile(&graph).graph.reveal, Reveal::Scores);
    let index = Options { reveal: Reveal::ArgMax, ..Options::default() };
    assert_eq!(compile_with(&graph, &index).unwrap().graph.reveal, Reveal::ArgMax);
}
