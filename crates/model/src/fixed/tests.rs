//! Every way to be malformed, and what survives mutation stays harmless.

use proptest::prelude::*;

use super::*;
use crate::graph::{Conv, Window};
use crate::quantize::tests::every_operation;
use crate::reference;

/// First node of `model` whose operation satisfies `is`.
fn find(model: &Model, is: impl Fn(&Op) -> bool) -> usize {
    model.graph.nodes.iter().position(|node| is(&node.op)).unwrap()
}

fn linear(model: &Model) -> usize {
    find(model, |op| matches!(op, Op::Linear { .. }))
}

fn fault(change: impl FnOnce(&mut Model) -> usize) -> Fault {
    let mut model = every_operation();
    let at = change(&mut model);
    match model.validate() {
        Err(GraphError::Node { node, fault }) => {
            assert_eq!(node, at, "{fault}");
            fault
        }
        other => panic!("{other:?}"),
    }
}

fn fault_of_conv(change: impl FnOnce(&mut Conv)) -> Fault {
    fault(|model| {
        let at = linear(model);
        if let Op::Linear { conv, .. } = &mut model.graph.nodes[at].op {
            change(conv);
        }
        at
    })
}

fn fault_of_act(change: impl FnOnce(&mut Act)) -> Fault {
    fault(|model| {
        let at = find(model, |op| matches!(op, Op::Act(act) if act.quadratic.is_some()));
        if let Op::Act(act) = &mut model.graph.nodes[at].op {
            change(act);
        }
        at
    })
}

fn fault_of_window(change: impl FnOnce(&mut Window)) -> Fault {
    fault(|model| {
        let at = find(model, |op| matches!(op, Op::SumPool(_)));
        if let Op::SumPool(window) = &mut model.graph.nodes[at].op {
            change(window);
        }
        at
    })
}

#[test]
fn a_compiled_model_is_valid() {
    every_operation().validate().unwrap();
}

#[test]
fn counts() {
    let mut model = every_operation();
    model.graph.output = model.graph.nodes.len();
    assert!(matches!(model.validate(), Err(GraphError::Output(_))));
    let mut model = every_operation();
    model.graph.facts.pop();
    assert!(matches!(model.validate(), Err(GraphError::Facts { .. })));
    let mut model = every_operation();
    model.graph.nodes.clear();
    assert!(matches!(model.validate(), Err(GraphError::Nodes(0))));
    let mut model = every_operation();
    model.weights.pop();
    assert!(matches!(model.validate(), Err(GraphError::Weights { .. })));
    let mut model = every_operation();
    model.labels.pop();
    assert!(matches!(model.validate(), Err(GraphError::Labels { .. })));
}

#[test]
fn preprocessing() {
    let bad = |change: fn(&mut Preprocess)| {
        let mut model = every_operation();
        change(&mut model.preprocess);
        matches!(model.validate(), Err(GraphError::Preprocess(_)))
    };
    assert!(bad(|p| p.mean.push(0.0)));
    assert!(bad(|p| (p.mean, p.std) = (vec![], vec![])));
    assert!(bad(|p| (p.mean, p.std) = (vec![0.0], vec![1.0])));
    assert!(bad(|p| p.mean[0] = f64::NAN));
    assert!(bad(|p| p.std[0] = 0.0));
    assert!(bad(|p| p.std[0] = f64::from_bits(1)));
    assert!(bad(|p| p.bgr = true));
}

#[test]
fn inputs_and_shapes() {
    assert_eq!(fault(|m| (m.graph.nodes[2].inputs = vec![2], 2).1), Fault::Inputs);
    assert_eq!(fault(|m| (m.graph.nodes[2].inputs = vec![usize::MAX], 2).1), Fault::Inputs);
    assert_eq!(fault(|m| (m.graph.nodes[2].inputs = vec![], 2).1), Fault::Inputs);
    assert_eq!(fault(|m| (m.graph.nodes[2].inputs = vec![1, 1], 2).1), Fault::Inputs);
    assert_eq!(fault(|m| (m.graph.nodes[2].op = Op::Input, 2).1), Fault::Input);
    assert_eq!(fault(|m| (m.graph.nodes[0].op = Op::Reshape, 0).1), Fault::Input);
    assert_eq!(fault(|m| (m.graph.nodes[0].shape = vec![2, 0, 8], 0).1), Fault::Shape);
    assert_eq!(fault(|m| (m.graph.nodes[0].shape = vec![1; 9], 0).1), Fault::Shape);
    assert_eq!(fault(|m| (m.graph.nodes[0].shape = vec![1 << 12; 3], 0).1), Fault::TooLarge);
    assert_eq!(fault(|m| (m.graph.nodes[1].shape = vec![4, 8, 9], 1).1), Fault::Shape);
    assert_eq!(fault(|m| (m.graph.nodes[2].shape = vec![4, 8, 9], 2).1), Fault::Shape);
    for wrong in ["slice", "pad", "transpose", "concat", "reshape", "add", "sum pool"] {
        let fault = fault(|m| {
            let at = crate::quantize::report(m).iter().position(|row| row.op == wrong).unwrap();
            m.graph.nodes[at].shape[0] += 1;
            at
        });
        assert_eq!(fault, Fault::Shape, "{wrong}");
    }
    let transpose = |perm: &[usize]| {
        fault(|m| {
            let at = find(m, |op| matches!(op, Op::Transpose { .. }));
            m.graph.nodes[at].op = Op::Transpose { perm: perm.to_vec() };
            at
        })
    };
    assert_eq!(transpose(&[0, 1, 1]), Fault::Shape);
    assert_eq!(transpose(&[0, 1, 3]), Fault::Shape);
    let slice = |ranges: &[(usize, usize, usize)]| {
        fault(|m| {
            let at = find(m, |op| matches!(op, Op::Slice { .. }));
            m.graph.nodes[at].op = Op::Slice { ranges: ranges.to_vec() };
            at
        })
    };
    assert_eq!(slice(&[(0, 4, 0), (0, 4, 1), (0, 4, 1)]), Fault::Shape);
    assert_eq!(slice(&[(3, 5, 1), (0, 4, 1), (0, 4, 1)]), Fault::Shape);
    assert_eq!(slice(&[(3, 1, 1), (0, 4, 1), (0, 4, 1)]), Fault::Shape);
}

#[test]
fn products() {
    let change = |change: fn(&mut Model, usize)| {
        fault(|m| {
            let at = find(m, |op| *op == Op::Product);
            change(m, at);
            at
        })
    };
    assert_eq!(change(|m, at| m.graph.nodes[at].inputs.reverse()), Fault::Shape);
    assert_eq!(change(|m, at| m.graph.nodes[at].inputs.truncate(1)), Fault::Inputs);
    assert_eq!(change(|m, at| m.graph.facts[at].hi -= 1), Fault::Interval);
    assert_eq!(change(|m, at| m.graph.facts[at].bits = 32), Fault::Widening);
}

#[test]
fn geometry() {
    assert_eq!(fault_of_conv(|conv| conv.stride[0] = 0), Fault::Geometry);
    assert_eq!(fault_of_conv(|conv| conv.kernel[1] = 0), Fault::Geometry);
    assert_eq!(fault_of_conv(|conv| conv.kernel[1] = 99), Fault::Geometry);
    assert_eq!(fault_of_conv(|conv| conv.dilation[0] = 0), Fault::Geometry);
    assert_eq!(fault_of_conv(|conv| conv.dilation[0] = usize::MAX), Fault::Geometry);
    assert_eq!(fault_of_conv(|conv| conv.pads[2] = usize::MAX), Fault::Geometry);
    assert_eq!(fault_of_conv(|conv| conv.groups = 0), Fault::Geometry);
    assert_eq!(fault_of_conv(|conv| conv.groups = 3), Fault::Geometry);
    assert_eq!(fault_of_conv(|conv| conv.out_channels = 8), Fault::Shape);
    assert_eq!(fault_of_conv(|conv| conv.in_channels = 1 << 24), Fault::TooLarge);
    assert_eq!(fault_of_conv(|conv| conv.pads = [1 << 23; 4]), Fault::TooLarge);
    assert_eq!(fault_of_conv(|conv| conv.stride[0] = 2), Fault::Shape);
    assert_eq!(fault_of_window(|window| window.kernel[0] = 0), Fault::Geometry);
    assert_eq!(fault_of_window(|window| window.stride[0] = 0), Fault::Geometry);
    assert_eq!(fault_of_window(|window| window.pads[0] = window.kernel[0]), Fault::Geometry);
    assert_eq!(fault_of_window(|window| window.kernel[1] = usize::MAX), Fault::Geometry);
    let pad = fault(|m| {
        let at = find(m, |op| matches!(op, Op::Pad { .. }));
        m.graph.nodes[at].op = Op::Pad { pads: [[usize::MAX, 1], [0, 0], [0, 0]] };
        at
    });
    assert_eq!(pad, Fault::Geometry);
}

#[test]
fn numbers() {
    let of_fact = |change: fn(&mut Fact)| fault(|m| (change(&mut m.graph.facts[2]), 2).1);
    assert_eq!(of_fact(|fact| fact.bits = 1), Fault::Ring);
    assert_eq!(of_fact(|fact| fact.bits = 33), Fault::Ring);
    assert_eq!(of_fact(|fact| fact.hi = 1 << 40), Fault::Ring);
    assert_eq!(of_fact(|fact| fact.lo = i64::MIN), Fault::Ring);
    assert_eq!(of_fact(|fact| (fact.lo, fact.hi) = (1, 0)), Fault::Ring);
    assert_eq!(of_fact(|fact| fact.hi = 254), Fault::Interval);
    assert_eq!(of_fact(|fact| fact.step = -1.0), Fault::Step);
    assert_eq!(of_fact(|fact| fact.step = f64::INFINITY), Fault::Step);
    assert_eq!(fault(|m| (m.graph.facts[0].step = 0.0, 0).1), Fault::Step);
    assert_eq!(fault(|m| (m.graph.facts[0].bits = 9, 1).1), Fault::Widening);
    assert_eq!(fault_of_act(|act| act.rescale.shift = 32), Fault::Rescale);
    assert_eq!(fault_of_act(|act| act.rescale.shift = u32::MAX), Fault::Rescale);
    assert_eq!(fault_of_act(|act| act.rescale.lo = 128), Fault::Rescale);
    assert_eq!(fault_of_act(|act| act.quadratic.as_mut().unwrap().c2 = i32::MAX), Fault::Rescale);
    assert_eq!(fault_of_act(|act| act.quadratic.as_mut().unwrap().rescale.shift = 64), Fault::Rescale);
    // An accumulator without room for the rounding of its reader.
    let no_room = fault(|m| {
        let at = linear(m);
        let fact = &mut m.graph.facts[at];
        fact.hi = i64::from(fact.mask() >> 1);
        at + 1
    });
    assert_eq!(no_room, Fault::Rescale);
    let add = fault(|m| {
        let at = find(m, |op| matches!(op, Op::Add { .. }));
        m.graph.nodes[at].op = Op::Add { shifts: vec![32, 0] };
        at
    });
    assert_eq!(add, Fault::Rescale);
}

#[test]
fn parts_of_a_layer() {
    let select = |m: &Model| find(m, |op| matches!(op, Op::Select { .. }));
    let merge = |m: &Model| find(m, |op| matches!(op, Op::Merge { .. }));
    let with = |m: &mut Model, at: usize, bits: &[bool]| {
        if let Op::Select { mask } | Op::Merge { mask } = &mut m.graph.nodes[at].op {
            *mask = Mask::new(bits);
        }
        at
    };
    let len = 64;
    let selected = |bits: &[bool]| fault(|m| with(m, select(m), bits));
    // Of a shorter value, of nothing, of another number of elements.
    for bits in [vec![true; len - 1], vec![false; len], vec![true; len]] {
        assert_eq!(selected(&bits), Fault::Shape);
    }
    let merged = |bits: &[bool]| fault(|m| with(m, merge(m), bits));
    for bits in [vec![true; len + 1], vec![false; len], vec![true; len]] {
        assert_eq!(merged(&bits), Fault::Shape);
    }
    let swapped = fault(|m| {
        let at = merge(m);
        m.graph.nodes[at].inputs.reverse();
        at
    });
    assert_eq!(swapped, Fault::Shape);
    let lonely = fault(|m| {
        let at = merge(m);
        m.graph.nodes[at].inputs.pop();
        at
    });
    assert_eq!(lonely, Fault::Inputs);
}

#[test]
fn weights() {
    let first = |change: fn(&mut Weights)| fault(|m| (change(&mut m.weights[0]), linear(m)).1);
    assert_eq!(first(|layer| layer.weights.push(0)), Fault::WeightLength);
    assert_eq!(first(|layer| layer.bias.clear()), Fault::WeightLength);
    assert_eq!(first(|layer| layer.weights[0] = 128), Fault::WeightRange);
    assert_eq!(first(|layer| layer.weights[0] = i32::MIN), Fault::WeightRange);
    assert_eq!(first(|layer| layer.bias[0] = i32::MAX), Fault::Bound);
    // An interval that the graph alone cannot prove wrong.
    let too_narrow = fault(|m| {
        let at = linear(m);
        m.graph.facts[at].hi = 0;
        at
    });
    assert_eq!(too_narrow, Fault::Bound);
    let index = fault(|m| {
        let at = linear(m);
        if let Op::Linear { weights, .. } = &mut m.graph.nodes[at].op {
            *weights = 1;
        }
        at
    });
    assert_eq!(index, Fault::WeightIndex);
}

/// Numbers at which arithmetic goes wrong.
fn odd() -> impl Strategy<Value = usize> {
    prop_oneof![0usize..12, Just(31), Just(32), Just(33), Just(1 << 24), Just(1 << 40), Just(usize::MAX)]
}

/// Changes one number of one node or fact.
fn mutate(graph: &mut Graph, node: usize, field: usize, value: usize) {
    let id = node % graph.nodes.len();
    let (small, word) = (value as u32, value as i32);
    match field % 5 {
        0 => {
            let fact = &mut graph.facts[id];
            match field / 5 % 4 {
                0 => fact.bits = small,
                1 => fact.lo = word.into(),
                2 => fact.hi = value as i64,
                _ => fact.step = f64::from_bits(value as u64),
            }
            return;
        }
        1 => {
            let inputs = &mut graph.nodes[id].inputs;
            match inputs.get_mut(field / 5 % 3) {
                Some(input) => *input = value,
                None => inputs.push(value),
            }
            return;
        }
        2 => {
            let shape = &mut graph.nodes[id].shape;
            match shape.get_mut(field / 5 % 4) {
                Some(side) => *side = value,
                None => shape.push(value),
            }
            return;
        }
        _ => {}
    }
    let at = field / 5;
    let window = |window: &mut Window| match at % 5 {
        0 => window.kernel[at / 5 % 2] = value,
        1 => window.stride[at / 5 % 2] = value,
        2 | 3 => window.pads[at / 5 % 4] = value,
        _ => window.ceil = !window.ceil,
    };
    match &mut graph.nodes[id].op {
        Op::Input | Op::Reshape | Op::Concat | Op::Product => {}
        Op::Linear { conv, weights, weight_bits } => match at % 10 {
            0 => conv.in_channels = value,
            1 => conv.input[at / 10 % 2] = value,
            2 => conv.out_channels = value,
            3 => conv.kernel[at / 10 % 2] = value,
            4 => conv.stride[at / 10 % 2] = value,
            5 | 6 => conv.pads[at / 10 % 4] = value,
            7 => conv.dilation[at / 10 % 2] = value,
            8 => conv.groups = value,
            _ if (at / 10).is_multiple_of(2) => *weights = value,
            _ => *weight_bits = small,
        },
        Op::Bias { weights, shift } => {
            if at.is_multiple_of(2) {
                *weights = value
            } else {
                *shift = small
            }
        }
        Op::Act(act) => match at % 8 {
            0 => act.rescale.shift = small,
            1 => act.rescale.lo = word,
            2 => act.rescale.hi = word,
            3 => {
                act.max_pool.get_or_insert(Window {
                    kernel: [1; 2],
                    stride: [1; 2],
                    pads: [0; 4],
                    ceil: false,
                });
            }
            4 => act.quadratic = Some(Quadratic { c2: word, c1: word, c0: -word, rescale: act.rescale }),
            _ => act.max_pool.iter_mut().for_each(window),
        },
        Op::Add { shifts } => shifts[at % 2] = small,
        Op::SumPool(pool) => window(pool),
        Op::Pad { pads } => pads[at % 3][at / 3 % 2] = value,
        Op::Slice { ranges } => match at % 3 {
            0 => ranges[at / 3 % 3].0 = value,
            1 => ranges[at / 3 % 3].1 = value,
            _ => ranges[at / 3 % 3].2 = value,
        },
        Op::Transpose { perm } => perm[at % 3] = value,
        Op::Select { mask } | Op::Merge { mask } => {
            *mask = Mask::new(&(0..value.min(200)).map(|i| (i + at).is_multiple_of(2)).collect::<Vec<_>>());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Whatever validates runs: no panic, every length as stated, every word in its ring.
    #[test]
    fn mutants_are_refused_or_harmless(
        changes in prop::collection::vec((0usize..64, 0usize..400, odd()), 1..4),
        extreme in any::<bool>(),
    ) {
        let mut model = every_operation_once();
        for (node, field, value) in changes {
            mutate(&mut model.graph, node, field, value);
        }
        if model.graph.validate().is_ok() {
            let nodes = &model.graph.nodes;
            prop_assume!(nodes.iter().map(Node::len).sum::<usize>() < 1 << 18);
            // The weights have to match the mutated shapes; their values are free within their width.
            model.weights = nodes.iter().filter_map(|node| match &node.op {
                Op::Linear { conv, weight_bits, .. } => {
                    let w = if extreme { (1 << (weight_bits - 1)) - 1 } else { 1 };
                    Some(Weights { weights: vec![w; conv.weight_len()], bias: vec![-w; conv.out_channels] })
                }
                _ => None,
            }).collect();
            let fact = model.graph.facts[0];
            let end = if extreme { fact.hi } else { fact.lo };
            model.preprocess = Preprocess { mean: vec![0.0; 2], std: vec![1.0; 2], bgr: false };
            if model.validate_structure().is_ok() {
                let trace = reference::trace(&model, &vec![end as i32; nodes[0].len()]).unwrap();
                for ((words, node), fact) in trace.iter().zip(nodes).zip(&model.graph.facts) {
                    prop_assert_eq!(words.len(), node.len());
                    prop_assert!(words.iter().all(|&word| word <= fact.mask()));
                }
                for node in nodes {
                    if let Op::Act(Act { max_pool: Some(window), .. }) = &node.op {
                        let input = &nodes[node.inputs[0]].shape;
                        let places = window.kernel[0] * window.kernel[1];
                        let indices = crate::op::pool::indices([input[0], input[1], input[2]], window);
                        prop_assert_eq!(indices.len(), node.len() * places);
                    }
                }
            }
        }
    }
}

/// [`every_operation`], compiled once.
fn every_operation_once() -> Model {
    static MODEL: std::sync::LazyLock<Model> = std::sync::LazyLock::new(every_operation);
    MODEL.clone()
}
