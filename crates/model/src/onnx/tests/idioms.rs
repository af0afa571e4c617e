//! What torchvision's networks turn into when PyTorch exports them, by operator set and exporter, in small.

use super::*;
use crate::pass::canonical;

impl File {
    fn float(self, name: &str, value: f32) -> Self {
        self.attribute(AttributeProto { name: Some(name.into()), f: Some(value), ..Default::default() })
    }

    /// The operations after the input once all passes have run.
    fn canonical(self) -> Vec<Op> {
        canonical(self.import().unwrap()).unwrap().nodes.into_iter().skip(1).map(|node| node.op).collect()
    }
}

fn clip(lo: f32, hi: f32) -> Op {
    Op::Clip { lo, hi }
}

#[test]
fn hard_swish_by_every_exporter() {
    let file = || File::new(&[1, 2, 3, 3]);
    // Operator set 14 and later.
    assert_eq!(file().node("HardSwish", &["x"], "y").ops(), [Op::HardSwish]);
    // Operator set 13.
    let sigmoid = file().node("HardSigmoid", &["x"], "g").float("alpha", 0.166_666_67).float("beta", 0.5);
    assert_eq!(sigmoid.node("Mul", &["x", "g"], "y").canonical(), [Op::HardSwish]);
    // x * relu6(x + 3) / 6, divided before or after the product.
    let relu6 = || {
        file()
            .reals("3", &[], &[3.0])
            .reals("0", &[], &[0.0])
            .reals("6", &[], &[6.0])
            .node("Add", &["x", "3"], "a")
            .node("Clip", &["a", "0", "6"], "c")
    };
    let before = relu6().node("Div", &["c", "6"], "g").node("Mul", &["x", "g"], "y");
    assert_eq!(before.canonical(), [Op::HardSwish]);
    let after = relu6().node("Mul", &["c", "x"], "m").node("Div", &["m", "6"], "y");
    assert_eq!(after.canonical(), [Op::HardSwish]);
    // Another gate is another function.
    let other = file().node("HardSigmoid", &["x"], "g").node("Mul", &["x", "g"], "y");
    assert_eq!(other.canonical().last(), Some(&Op::Mul));
}

#[test]
fn squeeze_and_excitation() {
    let file = || {
        File::new(&[1, 2, 4, 4])
            .reals("w1", &[1, 2, 1, 1], &[0.5, -0.5])
            .reals("w2", &[2, 1, 1, 1], &[1.0, 2.0])
            .reals("b2", &[2], &[0.0, 0.25])
    };
    let excite = |file: File, sigmoid: fn(File) -> File| {
        let file = file.node("Conv", &["m", "w1"], "h").node("Relu", &["h"], "r");
        sigmoid(file.node("Conv", &["r", "w2", "b2"], "e")).node("Mul", &["g", "x"], "y")
    };
    let hard_sigmoid: fn(File) -> File =
        |file| file.node("HardSigmoid", &["e"], "g").float("alpha", 1.0 / 6.0).float("beta", 0.5);
    let decomposed: fn(File) -> File = |file| {
        let file = file.reals("3", &[], &[3.0]).reals("0", &[], &[0.0]).reals("6", &[], &[6.0]);
        let file = file.node("Add", &["e", "3"], "a").node("Clip", &["a", "0", "6"], "c");
        file.node("Div", &["c", "6"], "g")
    };
    let pooled = |file: File| file.node("GlobalAveragePool", &["x"], "m");
    let reduced = |file: File| file.whole("axes", &[-1, -2]).node("ReduceMean", &["x", "axes"], "m");
    for (mean, sigmoid) in
        [(pooled(file()), hard_sigmoid), (reduced(file()), hard_sigmoid), (pooled(file()), decomposed)]
    {
        let ops = excite(mean, sigmoid).canonical();
        let [Op::AvgPool { .. }, Op::Linear { .. }, relu, Op::Linear { weights, bias, .. }, gate, Op::Mul] =
            &ops[..]
        else {
            panic!("{ops:?}");
        };
        assert_eq!((relu, gate), (&clip(0.0, f32::INFINITY), &clip(0.0, 1.0)));
        // The line is part of the layer.
        let wanted = [1.0 / 6.0, 2.0 / 6.0, 0.5, 0.25 / 6.0 + 0.5];
        assert!(
            weights.iter().chain(bias).zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6),
            "{weights:?} {bias:?}"
        );
    }
}

#[test]
fn channel_shuffle_with_computed_halves() {
    // x.chunk(2, dim=1)[1] of operator set 13: the side, halved and rounded up, times the number of the part.
    let file = File::new(&[1, 4, 2, 2])
        .whole("axis", &[1])
        .whole("one", &[1])
        .whole("two", &[2])
        .node("Shape", &["x"], "s")
        .node("Gather", &["s", "axis"], "side")
        .int("axis", 0)
        .node("Add", &["side", "one"], "up")
        .node("Div", &["up", "two"], "half")
        .node("Mul", &["half", "one"], "start")
        .node("Mul", &["half", "two"], "end")
        .node("Slice", &["x", "start", "end", "axis"], "y");
    assert_eq!(file.ops(), [Op::Slice { ranges: vec![(2, 4, 1), (0, 2, 1), (0, 2, 1)] }]);
    // x.view(n, groups, c / groups, h, w).transpose(1, 2).reshape(n, -1, h, w) with sides from the shape.
    let file = File::new(&[1, 6, 2, 2])
        .whole("zero", &[0])
        .whole("groups", &[2])
        .whole("minus", &[-1])
        .whole("height", &[2])
        .whole("width", &[3])
        .node("Shape", &["x"], "s")
        .node("Gather", &["s", "zero"], "n")
        .node("Gather", &["s", "height"], "h")
        .node("Gather", &["s", "width"], "w")
        .node("Concat", &["n", "groups", "minus", "h", "w"], "split")
        .int("axis", 0)
        .node("Concat", &["n", "minus", "h", "w"], "join")
        .int("axis", 0)
        .node("Reshape", &["x", "split"], "a")
        .node("Transpose", &["a"], "b")
        .ints("perm", &[0, 2, 1, 3, 4])
        .node("Reshape", &["b", "join"], "y");
    let shuffle = file.import().unwrap();
    let shapes: Vec<_> = shuffle.nodes.iter().skip(1).map(|node| node.shape.clone()).collect();
    assert_eq!(shapes, [vec![2, 3, 2, 2], vec![3, 2, 2, 2], vec![6, 2, 2]]);
}

#[test]
fn ends_of_networks() {
    // Operator set 18: the mean keeps its sides, and a reshape drops them.
    let mean = File::new(&[1, 3, 7, 7])
        .whole("axes", &[2, 3])
        .whole("flat", &[1, 3])
        .reals("w", &[2, 3], &[1.0; 6])
        .node("ReduceMean", &["x", "axes"], "m")
        .int("keepdims", 1)
        .node("Reshape", &["m", "flat"], "f")
        .node("Dropout", &["f"], "d")
        .node("Gemm", &["d", "w"], "e")
        .int("transB", 1);
    // A probability for every output.
    let graph = mean.node("Identity", &["e"], "i").node("Sigmoid", &["i"], "y").import().unwrap();
    assert_eq!((graph.nodes.len(), graph.output, graph.head), (4, 3, Head::Sigmoid));
    let again = import(&export(&graph)).unwrap();
    assert_eq!(again, graph);
    // A swish is none of these.
    let swish = File::new(&[1, 4]).node("Sigmoid", &["x"], "s").node("Mul", &["x", "s"], "y");
    assert!(swish.reason().contains("HardSwish"));
}
