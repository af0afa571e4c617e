use super::*;
use crate::float::Head;
use crate::pass::tests::numbers;
use crate::zoo;

#[test]
fn every_operator_keeps_shapes_and_scales_and_costs_what_its_formula_says() {
    let graph = zoo::build("resnet20-cifar10", 1).unwrap();
    let x: Vec<f32> = numbers(graph.nodes[0].len(), 3).iter().map(|v| v.abs()).collect();
    let size = |graph: &Graph| {
        let out = graph.run(&x).unwrap();
        (out.iter().map(|v| v * v).sum::<f32>() / out.len() as f32).sqrt()
    };
    let before = size(&graph);
    for operator in Operator::ALL {
        let replaced = replace(graph.clone(), operator, |_| true).unwrap();
        replaced.check().unwrap();
        assert_eq!(replaced.nodes[replaced.output].shape, [10]);
        let after = size(&replaced);
        assert!((before / 30.0..before * 30.0).contains(&after), "{operator}: {before} {after}");
        assert!(zoo::stats(&replaced).macs < zoo::stats(&graph).macs, "{operator}");
    }
}

#[test]
fn one_layer_alone() {
    let mut b = Builder::new("g", "x", &[32, 9, 9]).unwrap();
    let conv = Conv { input: [9, 9], kernel: [5, 5], pads: [2; 4], stride: [2, 2], ..Conv::dense(32, 48) };
    let weights = numbers(conv.weight_len(), 1);
    let a = b.push("a", Op::Linear { conv, weights, bias: numbers(48, 2) }, &[0]).unwrap();
    let graph = b.finish(a, Head::Logits).unwrap();
    let untouched = replace(graph.clone(), Operator::XopA, |name| name != "a").unwrap();
    assert_eq!(untouched, graph);
    let macs = |operator| zoo::stats(&replace(graph.clone(), operator, |name| name == "a").unwrap()).macs;
    let (c, out, p, g) = (32, 48, 25, GROUPS as u64);
    assert_eq!(macs(Operator::Depthwise), (25 * c + c * out) * p);
    assert_eq!(macs(Operator::Grouped), (25 * c * out + out * out) * p / g);
    assert_eq!(macs(Operator::XopA), 25 * c * p + (c + out) * out * p / g);
    assert_eq!(macs(Operator::XopB), (2 * 5 * c + c * out) * p);
    assert_eq!(macs(Operator::Bottleneck), c * 12 * 81 + 25 * 12 * 12 * p + 12 * out * p);
}

#[test]
fn layers_that_an_operator_does_not_fit_stay() {
    let standard = Conv { input: [8, 8], kernel: [3, 3], pads: [1; 4], ..Conv::dense(16, 16) };
    assert!(Operator::ALL.iter().all(|operator| operator.applies(&standard)));
    for conv in [
        Conv { in_channels: 3, ..standard },
        Conv { groups: 16, ..standard },
        Conv { kernel: [1, 1], pads: [0; 4], ..standard },
        Conv { pads: [0; 4], ..standard },
        Conv { out_channels: 18, ..standard },
    ] {
        assert!(!Operator::XopB.applies(&conv), "{conv:?}");
    }
}

#[test]
fn names_are_read_back() {
    for operator in Operator::ALL {
        assert_eq!(operator.name().parse(), Ok(operator));
    }
    assert!("sparse".parse::<Operator>().unwrap_err().to_string().contains("xop-b"));
}
