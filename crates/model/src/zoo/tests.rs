use super::*;
use crate::{onnx, pass};

/// Parameters, MACs in millions (rounded), activations. Sources: for ImageNet the torchvision model table (parameters,
/// `GFLOPS` as multiply-accumulates; resnet50 25.6 M, 4.09 G; densenet121 7.98 M, 2.83 G; mobilenet_v2 3.50 M, 0.30 G;
/// mobilenet_v3_small 2.54 M, 0.06 G; mobilenet_v3_large 5.48 M, 0.22 G; shufflenet_v2_x1_0 2.28 M, 0.14 G; squeezenet1_1 1.24 M, 0.35 G; resnet18 11.7 M, 1.81 G); ReLU counts for CIFAR and
/// 64x64 from the tables of Delphi and Cryptonite; ResNet-20 from its paper (0.27 M). Activations at 224x224 are counted
/// by hand from the papers' tables of shapes.
const KNOWN: &[(&str, u64, u64, u64)] = &[
    ("lola-mnist", 5 * 26 + 84_600 + 1_010, 0, 845 + 100),
    ("lola-mnist-relu", 5 * 26 + 84_600 + 1_010, 0, 845 + 100),
    ("lola-small", 5 * 26 + 8_460, 0, 845),
    ("lola-cifar", 83 * 193 + 163 * 2_989 + 40_760, 15, 16_268 + 4_075),
    ("lola-cifar-112", 83 * 193 + 112 * 8_301 + 54_890, 49, 16_268 + 5_488),
    ("linear-4096-102", 4_097 * 102, 0, 0),
    ("minionn-cifar10", 164_954, 61, 173_056),
    ("resnet20-cifar10", 269_722, 41, 188_416),
    ("resnet32-cifar100", 470_004, 69, 303_104),
    ("resnet32-tiny", 476_504, 275, 1_212_416),
    ("vgg16-cifar100", 34_006_948, 332, 284_672),
    ("vgg16-tiny", 40_708_104, 1_279, 1_114_112),
    ("resnet18-cifar100", 11_220_132, 555, 557_056),
    ("resnet18-tiny", 11_271_432, 2_222, 2_228_224),
    ("squeezenet", 1_235_496, 349, 2_589_352),
    ("resnet18", 11_689_512, 1_814, 2_308_096),
    ("resnet50", 25_557_032, 4_089, 9_608_704),
    ("densenet121", 7_978_856, 2_834, 15_667_456),
    ("densenet121-xray", 6_961_934, 2_754, 15_667_456),
    ("mobilenetv2", 3_504_872, 301, 6_105_792),
    ("mobilenetv3-small", 2_542_856, 57, 1_272_424),
    ("mobilenetv3-large", 5_483_032, 217, 3_830_712),
    ("efficientnet-lite0", 4_652_008, 385, 6_157_536),
    ("shufflenetv2", 2_278_604, 145, 1_488_032),
];

#[test]
fn counts_are_the_published_ones() {
    assert_eq!(KNOWN.iter().map(|known| known.0).collect::<Vec<_>>(), NAMES);
    for &(name, parameters, macs, activations) in KNOWN {
        let stats = stats(&build(name, 1).unwrap());
        assert_eq!(stats.parameters, parameters, "{name}");
        assert_eq!((stats.macs + 500_000) / 1_000_000, macs, "{name}");
        assert_eq!(stats.activations, activations, "{name}");
    }
}

#[test]
fn unknown_names_are_answered_with_the_list() {
    let error = build("resnet51", 1).unwrap_err();
    assert!(error.to_string().contains("resnet51") && error.to_string().contains("shufflenetv2"));
}

#[test]
fn one_seed_one_network() {
    assert_eq!(build("lola-mnist", 7), build("lola-mnist", 7));
    assert_ne!(build("lola-mnist", 7), build("lola-mnist", 8));
}

#[test]
fn export_and_import_give_the_same_network() {
    for name in NAMES {
        let graph = build(name, 3).unwrap();
        if stats(&graph).parameters > 9_000_000 {
            continue;
        }
        assert_eq!(onnx::import(&onnx::export(&graph)).as_ref(), Ok(&graph), "{name}");
    }
}

#[test]
fn activations_stay_in_a_sane_range_and_survive_the_passes() {
    for name in NAMES {
        let graph = build(name, 2).unwrap();
        let macs = stats(&graph).macs;
        if macs > 2_000_000_000 {
            continue;
        }
        let x = pass::tests::numbers(graph.nodes[0].len(), 3);
        let trace = graph.trace(&x).unwrap();
        for (node, value) in graph.nodes.iter().zip(&trace) {
            let moment = value.iter().map(|v| f64::from(v * v)).sum::<f64>() / value.len() as f64;
            let range = if name.starts_with("lola") { 1e-6..1e6 } else { 1e-3..30.0 };
            assert!(range.contains(&moment), "{name}: second moment {moment} of {}", node.name);
        }
        let canonical = pass::canonical(graph.clone()).unwrap();
        let left = pass::tests::count(&canonical, |op| matches!(op, crate::float::Op::Affine { .. }));
        assert_eq!(left, 0, "{name}");
        if macs < 200_000_000 {
            pass::tests::assert_same(&graph, &canonical);
        }
    }
}
