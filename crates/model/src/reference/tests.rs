use super::*;
use crate::fixed::{EncodeError, Graph};
use crate::quantize::tests::every_operation;

/// Element `at` of node `id` by the definition, in unbounded integers and without ring reductions: right as long as
/// the proven intervals are.
fn element(model: &Model, id: usize, at: usize, values: &[Vec<i128>]) -> i128 {
    let graph = &model.graph;
    let node = &graph.nodes[id];
    let x = |i: usize| &values[node.inputs[i]];
    let shape = |i: usize| &graph.nodes[node.inputs[i]].shape;
    let [oh, ow] = if let [_, h, w] = node.shape[..] { [h, w] } else { [1, 1] };
    let (c, oy, ox) = (at / (oh * ow), at / ow % oh, at % ow);
    let image = |c: usize, y: i64, xx: i64| {
        let [h, w] = if let [_, h, w] = shape(0)[..] { [h, w] } else { [1, 1] };
        let inside = (0..h as i64).contains(&y) && (0..w as i64).contains(&xx);
        inside.then(|| x(0)[(c * h + y as usize) * w + xx as usize])
    };
    let under = |window: &crate::graph::Window| -> Vec<i128> {
        let places = (0..window.kernel[0]).flat_map(|ky| (0..window.kernel[1]).map(move |kx| (ky, kx)));
        places
            .filter_map(|(ky, kx)| {
                let y = (oy * window.stride[0] + ky) as i64 - window.pads[0] as i64;
                image(c, y, (ox * window.stride[1] + kx) as i64 - window.pads[1] as i64)
            })
            .collect()
    };
    let rescale = |r: &crate::fixed::Rescale, v: i128| {
        // Round half up by exact division, then saturate.
        let rounded = if r.shift == 0 { v } else { (2 * v + (1 << r.shift)).div_euclid(2 << r.shift) };
        rounded.max(r.lo.into()).min(r.hi.into())
    };
    match &node.op {
        Op::Input => unreachable!(),
        Op::Linear { conv, weights, .. } => {
            let layer = &model.weights[*weights];
            let per_group = conv.in_channels / conv.groups;
            let group = c / (conv.out_channels / conv.groups);
            let mut sum = i128::from(layer.bias[c]);
            for i in 0..per_group {
                for ky in 0..conv.kernel[0] {
                    for kx in 0..conv.kernel[1] {
                        let w =
                            layer.weights[((c * per_group + i) * conv.kernel[0] + ky) * conv.kernel[1] + kx];
                        let y = (oy * conv.stride[0] + ky * conv.dilation[0]) as i64 - conv.pads[0] as i64;
                        let xx = (ox * conv.stride[1] + kx * conv.dilation[1]) as i64 - conv.pads[1] as i64;
                        sum += i128::from(w) * image(group * per_group + i, y, xx).unwrap_or(0);
                    }
                }
            }
            sum
        }
        Op::Act(act) => {
            let v = act.max_pool.map_or_else(|| x(0)[at], |window| under(&window).into_iter().max().unwrap());
            let v = rescale(&act.rescale, v);
            act.quadratic.map_or(v, |q| {
                rescale(&q.rescale, i128::from(q.c2) * v * v + i128::from(q.c1) * v + i128::from(q.c0))
            })
        }
        Op::Bias { weights, shift } => {
            let bias = &model.weights[*weights].bias;
            (x(0)[at] << shift) + i128::from(bias[at / (node.len() / bias.len())])
        }
        Op::Add { shifts } => (0..shifts.len()).map(|i| x(i)[at] << shifts[i]).sum(),
        Op::SumPool(window) => under(window).into_iter().sum(),
        Op::Product => x(0)[at] * x(1)[if x(1).len() == x(0).len() { at } else { c }],
        Op::Concat => node.inputs.iter().flat_map(|&i| values[i].clone()).nth(at).unwrap(),
        Op::Pad { pads } => {
            let channel = c as i64 - pads[0][0] as i64;
            let known = (0..shape(0)[0] as i64).contains(&channel);
            let (y, xx) = (oy as i64 - pads[1][0] as i64, ox as i64 - pads[2][0] as i64);
            if known { image(channel as usize, y, xx).unwrap_or(0) } else { 0 }
        }
        Op::Slice { ranges } => {
            let place = |axis: usize, i: usize| ranges[axis].0 + i * ranges[axis].2;
            image(place(0, c), place(1, oy) as i64, place(2, ox) as i64).unwrap()
        }
        Op::Reshape => x(0)[at],
        Op::Select { mask } => {
            let kept: Vec<usize> = (0..x(0).len()).filter(|&i| mask.contains(i)).collect();
            x(0)[kept[at]]
        }
        Op::Merge { mask } => {
            let before = (0..at).filter(|&i| mask.contains(i) == mask.contains(at)).count();
            x(usize::from(!mask.contains(at)))[before]
        }
        Op::Transpose { perm } => {
            let mut index = [0; 3];
            for (axis, i) in perm.iter().zip([c, oy, ox]) {
                index[*axis] = i;
            }
            image(index[0], index[1] as i64, index[2] as i64).unwrap()
        }
    }
}

fn oracle(model: &Model, input: &[i32]) -> Vec<Vec<i128>> {
    let mut values = vec![input.iter().map(|&v| v.into()).collect::<Vec<i128>>()];
    for id in 1..model.graph.nodes.len() {
        let len = model.graph.nodes[id].len();
        values.push((0..len).map(|at| element(model, id, at, &values)).collect());
    }
    values
}

fn input(seed: usize) -> Vec<i32> {
    (0..128).map(|i| ((i * 7919 + seed * 104_729) % 256) as i32).collect()
}

#[test]
fn every_value_equals_the_definition() {
    let model = every_operation();
    for seed in 0..5 {
        let trace = trace(&model, &input(seed)).unwrap();
        for (id, (words, expected)) in trace.iter().zip(oracle(&model, &input(seed))).enumerate() {
            let fact = &model.graph.facts[id];
            let values: Vec<i128> = words.iter().map(|&word| fact.to_signed(word).into()).collect();
            assert_eq!(values, expected, "{:?}", model.graph.nodes[id]);
            assert!(words.iter().all(|&word| word <= fact.mask()));
        }
        let output = run(&model, &input(seed)).unwrap();
        let last = &trace[model.graph.output];
        let fact = &model.graph.facts[model.graph.output];
        assert!(output.iter().zip(last).all(|(&v, &word)| v == i64::from(fact.to_signed(word))));
    }
}

#[test]
fn narrow_rings_wrap() {
    // 3 * 100 + 1 = 301 = 45 modulo 256: not provable, but defined.
    let mut model = Model {
        name: String::new(),
        graph: Graph { nodes: Vec::new(), facts: Vec::new(), output: 1, reveal: Reveal::Logits },
        preprocess: crate::fixed::Preprocess { mean: vec![0.0], std: vec![1.0], bgr: false },
        labels: Vec::new(),
        weights: vec![Weights { weights: vec![3], bias: vec![1] }],
    };
    let node =
        |op: Op, inputs: &[usize]| Node { name: "n".into(), op, inputs: inputs.to_vec(), shape: vec![1] };
    let conv = Conv::dense(1, 1);
    model.graph.nodes =
        vec![node(Op::Input, &[]), node(Op::Linear { conv, weights: 0, weight_bits: 3 }, &[0])];
    let fact = Fact { step: 1.0, lo: -128, hi: 127, bits: 8 };
    model.graph.facts = vec![fact, fact];
    assert_eq!(run(&model, &[100]).unwrap(), [45]);
    assert_eq!(run(&model, &[-100]).unwrap(), [-43]);
    assert_eq!(trace(&model, &[-100]).unwrap(), [[156], [213]]);
    assert!(model.validate().is_err());
}

#[test]
fn the_lowest_of_equal_indices() {
    assert_eq!(reveal(Reveal::ArgMax, vec![-5, 3, 3, 1]), [1]);
    assert_eq!(reveal(Reveal::ArgMax, vec![-5, -5]), [0]);
    assert_eq!(reveal(Reveal::Logits, vec![-5, 3]), [-5, 3]);
    let mut model = every_operation();
    let logits = run(&model, &input(1)).unwrap();
    model.graph.reveal = Reveal::ArgMax;
    let best = run(&model, &input(1)).unwrap();
    assert_eq!(logits[best[0] as usize], *logits.iter().max().unwrap());
}

#[test]
fn bad_inputs_are_named() {
    let mut model = every_operation();
    assert_eq!(run(&model, &[0; 3]), Err(ReferenceError::Length { expected: 128, got: 3 }));
    let mut x = input(0);
    x[7] = 256;
    assert_eq!(run(&model, &x), Err(ReferenceError::Range { index: 7, value: 256, lo: 0, hi: 255 }));
    model.weights.pop();
    assert!(matches!(run(&model, &input(0)), Err(ReferenceError::Graph(_))));
}

#[test]
fn encoding_rounds_and_saturates() {
    let model = every_operation();
    let step = model.graph.facts[0].step as f32;
    let mut x = vec![0.0; 128];
    (x[0], x[1], x[2], x[3]) = (2.4 * step, 2.6 * step, -1.0, 1e9);
    assert_eq!(model.encode_input(&x).unwrap()[..4], [2, 3, 0, 255]);
    x[5] = f32::NAN;
    assert_eq!(model.encode_input(&x), Err(EncodeError::NotANumber { index: 5 }));
    assert_eq!(model.encode_input(&[]), Err(EncodeError::Length { expected: 128, got: 0 }));
    assert_eq!(model.encode_pixels(&[0]), Err(EncodeError::Length { expected: 128, got: 1 }));
    let pixels: Vec<u8> = (0..128).map(|i| i * 2).collect();
    let encoded = model.encode_pixels(&pixels).unwrap();
    assert!(encoded.iter().zip(&pixels).all(|(&v, &pixel)| v == i32::from(pixel)), "[0, 1] in 255 steps");
    let output = model.decode_output(&[2, -3]);
    let step = model.graph.facts[model.graph.output].step as f32;
    assert_eq!(output, [2.0 * step, -3.0 * step]);
}

#[test]
fn blue_first_swaps_channels() {
    let preprocess =
        crate::fixed::Preprocess { mean: vec![0.0, 0.5, 1.0], std: vec![1.0, 0.5, 2.0], bgr: true };
    assert_eq!(preprocess.apply(&[255, 0, 51]).unwrap(), [0.2, -1.0, 0.0]);
    assert_eq!(preprocess.range(), (-1.0, 1.0));
    assert_eq!(preprocess.apply(&[0; 4]), Err(EncodeError::Channels { channels: 3, expected: 4 }));
}
