//! Programs against the float network.

use std::io::Read;
use std::path::{Path, PathBuf};

use phineus_he::slots::{KeyUpload, Reply, Requests, SecretKey};
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::Wire as _;
use phineus_model::graph::Conv;

use super::batch::Batch;
use super::cost::CostModel;
use super::map::{Entries, Shape};
use super::network::Peaks;
use super::planner::{self, Target};
use super::scheme::{Choices, PEAKS, Scheme};
use super::{Affine, Clear, Encrypted, InputForm, Network, Precision, Program};

fn lola() -> Vec<Shape> {
    let conv =
        Conv { input: [28, 28], kernel: [5, 5], stride: [2, 2], pads: [0, 0, 1, 1], ..Conv::dense(1, 5) };
    vec![
        Shape::Conv(conv),
        Shape::Dense { inputs: 845, outputs: 100 },
        Shape::Dense { inputs: 100, outputs: 10 },
    ]
}

/// Weights and an input that are anything but smooth, around one in size after every map.
fn numbers(shapes: &[Shape]) -> (Vec<Affine>, Vec<f64>) {
    let noise = |k: usize| ((k * 2_654_435_761) % 10_007) as f64 / 5_003.5 - 1.0;
    let affine = |(l, shape): (usize, &Shape)| {
        let fan = shape.weights() as f64 / shape.outputs().min(shape.weights()) as f64;
        Affine {
            weights: (0..shape.weights()).map(|k| noise(k + 31 * l) as f32).collect(),
            scale: 1.0 / fan.sqrt(),
            bias: (0..shape.outputs()).map(|k| noise(k + 7 * l) / 4.0).collect(),
        }
    };
    let input = (0..shapes[0].inputs()).map(noise).collect();
    (shapes.iter().enumerate().map(affine).collect(), input)
}

fn expected(shapes: &[Shape], numbers: &[Affine], input: &[f64]) -> Vec<f64> {
    let mut x = input.to_vec();
    for (layer, (shape, affine)) in shapes.iter().zip(numbers).enumerate() {
        if layer > 0 {
            x.iter_mut().for_each(|v| *v *= *v);
        }
        let entries = Entries::new(*shape);
        let row = |o: usize| {
            let term =
                |i: usize| Some(f64::from(affine.weights[entries.weight(o, i)?]) * affine.scale * x[i]);
            (0..x.len()).filter_map(term).sum::<f64>() + affine.bias[o]
        };
        x = (0..shape.outputs()).map(row).collect();
    }
    x
}

/// Runs a program in the clear and holds it to the network, and the counts to what it foretells.
fn check(shapes: &[Shape], target: Target) -> (Program, Clear) {
    let program = planner::plan(shapes, target, &CostModel::default()).unwrap();
    let (numbers, input) = numbers(shapes);
    let clear = Clear::new(target.slots);
    let weights = program.encode(&clear, &numbers).unwrap();
    let inputs = program.input().place(&input);
    let inputs = inputs.iter().map(|x| clear.encrypt(x, program.depth()).unwrap()).collect();
    let outputs = program.run(&clear, &weights, inputs).unwrap();
    let slots: Vec<Vec<f64>> = outputs.iter().map(|x| clear.decrypt(x)).collect();
    let found = program.output().read(&slots);
    let expected = expected(shapes, &numbers, &input);
    let size = expected.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() < 1e-9 * size, "{a} {b}");
    }
    // Nothing but outputs and zeros leaves the server.
    for (cipher, slots) in slots.iter().enumerate() {
        for (k, slot) in slots.iter().enumerate() {
            let due = program.output().element(cipher, k).map_or(0.0, |o| expected[o]);
            assert!((slot - due).abs() < 1e-9 * size, "slot {k}");
        }
    }
    let counts = clear.counts();
    assert_eq!(counts.key_switches(), program.switches());
    assert_eq!(counts.plain_products(), program.products());
    let keys = program.rotations();
    assert!(counts.keys.iter().all(|(step, level)| keys.get(step).is_some_and(|highest| level <= highest)));
    (program, clear)
}

#[test]
fn lola_in_33_key_switches() {
    let (program, _) =
        check(&lola(), Target { slots: 8192, levels: 5, form: InputForm::Convolution, whole: false });
    assert!(program.switches() <= 33 && program.products() <= 56);
    assert_eq!((program.input().ciphers(), program.output().ciphers()), (1, 1));
}

#[test]
fn lola_from_a_dense_message() {
    let (program, _) =
        check(&lola(), Target { slots: 8192, levels: 5, form: InputForm::Message, whole: false });
    assert_eq!(program.input().ciphers(), 1);
    assert!(program.switches() <= 38 && program.products() <= 84);
}

#[test]
fn lola_small_in_4096_slots() {
    let shapes = [lola()[0], Shape::Dense { inputs: 845, outputs: 10 }];
    for form in [InputForm::Any, InputForm::Message] {
        let (program, _) = check(&shapes, Target { slots: 4096, levels: 3, form, whole: false });
        assert!(program.switches() <= 25, "{}", program.switches());
    }
}

#[test]
fn a_linear_layer() {
    let shapes = [Shape::Dense { inputs: 4096, outputs: 102 }];
    let (program, _) = check(&shapes, Target { slots: 4096, levels: 1, form: InputForm::Any, whole: false });
    assert!(program.switches() <= 27);
}

#[test]
fn odd_shapes() {
    let conv = |input, kernel, stride, pads, channels, maps| Conv {
        input,
        kernel,
        stride,
        pads,
        ..Conv::dense(channels, maps)
    };
    let padded = conv([9, 8], [3, 3], [2, 1], [1; 4], 2, 3);
    let wide = conv([6, 7], [3, 2], [1, 2], [1, 0, 1, 1], 3, 4);
    let second = conv([5, 8], [3, 3], [1, 1], [0; 4], 3, 2);
    let grouped = Conv { groups: 2, ..conv([6, 6], [3, 3], [1, 1], [1; 4], 4, 4) };
    for (shapes, slots) in [
        (vec![Shape::Conv(padded), Shape::Conv(second), Shape::Dense { inputs: 36, outputs: 3 }], 1024),
        (vec![Shape::Conv(wide), Shape::Dense { inputs: 96, outputs: 7 }], 512),
        (vec![Shape::Conv(grouped), Shape::Dense { inputs: 144, outputs: 1 }], 256),
        (vec![Shape::Dense { inputs: 300, outputs: 5 }, Shape::Dense { inputs: 5, outputs: 64 }], 128),
        (vec![Shape::Dense { inputs: 1, outputs: 1 }], 4),
    ] {
        for form in [InputForm::Any, InputForm::Convolution, InputForm::Message] {
            check(&shapes, Target { slots, levels: 5, form, whole: false });
        }
    }
}

#[test]
fn a_batch_is_its_inputs_one_by_one() {
    let conv =
        Conv { input: [6, 6], kernel: [3, 3], stride: [2, 2], pads: [1, 0, 0, 1], ..Conv::dense(2, 3) };
    let shapes = [Shape::Conv(conv), Shape::Dense { inputs: 27, outputs: 4 }];
    let (numbers, input) = numbers(&shapes);
    let images: Vec<Vec<f64>> = (1..=4).map(|k| input.iter().map(|v| v / f64::from(k)).collect()).collect();
    let clear = Clear::new(4);
    let batch = Batch::new(&shapes);
    let pixels = (0..input.len()).map(|i| {
        let slots: Vec<f64> = images.iter().map(|image| image[i]).collect();
        clear.encrypt(&slots, batch.depth()).unwrap()
    });
    let mut pixels: Vec<_> = pixels.map(Some).collect();
    let mut stream = batch.start();
    for places in batch.order().chunks(7) {
        let ciphers = places.iter().map(|&i| pixels[i].take().unwrap()).collect();
        batch.feed(&clear, &numbers, &mut stream, ciphers).unwrap();
    }
    let outputs = batch.outputs_of(stream);
    for (k, image) in images.iter().enumerate() {
        for (o, expected) in expected(&shapes, &numbers, image).iter().enumerate() {
            assert!((clear.decrypt(&outputs[o])[k] - expected).abs() < 1e-12);
        }
    }
    assert_eq!(clear.counts().key_switches(), batch.squares());
}

#[test]
fn depth_is_an_error_with_advice() {
    let error = planner::plan(
        &lola(),
        Target { slots: 8192, levels: 4, form: InputForm::Any, whole: false },
        &CostModel::default(),
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("needs 5 levels") && error.contains("have 4") && error.contains("larger parameters")
    );
    let wide = [Shape::Dense { inputs: 10, outputs: 300 }];
    let error = planner::plan(
        &wide,
        Target { slots: 256, levels: 5, form: InputForm::Any, whole: false },
        &CostModel::default(),
    );
    assert!(matches!(error, Err(planner::PlannerError::Layer { layer: 0, .. })));
}

pub(super) fn shared_path(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")).join(path)
}

pub(super) fn asset_path(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets")).join(path)
}

fn shared(path: &str) -> Option<Vec<u8>> {
    let path = shared_path(path);
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        eprintln!("skipped: {} is not here", path.display());
    }
    bytes
}

/// Pixels of the first test digits, between 0 and 1, with their labels.
pub(super) fn digits(count: usize) -> Option<Vec<(Vec<f32>, usize)>> {
    let unpack = |name: &str| {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&shared(name)?[..]).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    };
    let images = unpack("data/mnist/t10k-images-idx3-ubyte.gz")?;
    let labels = unpack("data/mnist/t10k-labels-idx1-ubyte.gz")?;
    let image = |pixels: &[u8]| pixels.iter().map(|&p| f32::from(p) / 255.0).collect();
    let digits = images[16..].chunks_exact(784).zip(&labels[8..]);
    Some(digits.take(count).map(|(pixels, &label)| (image(pixels), usize::from(label))).collect())
}

pub(super) fn largest_at(values: impl IntoIterator<Item = f64>) -> usize {
    let at = values.into_iter().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    at.map_or(usize::MAX, |(k, _)| k)
}

#[test]
fn trained_networks_on_real_digits() {
    let Some(digits) = digits(200) else { return };
    for (name, form, count, switches, products) in [
        ("lola_paper_mnist", InputForm::Convolution, 200, 33, 56),
        ("lola_paper_mnist", InputForm::Message, 20, 38, 84),
        ("mnist_a_sq5_s1", InputForm::Convolution, 200, 33, 56),
        ("mnist_c_sq24_s1", InputForm::Any, 20, 49, 176),
        ("mnist_c_conv2_s1", InputForm::Any, 20, 86, 1056),
    ] {
        let Some(bytes) = shared(&format!("models/{name}.onnx")) else { return };
        let graph = phineus_model::pass::canonical(phineus_model::onnx::import(&bytes).unwrap()).unwrap();
        let network = Network::new(&graph).unwrap();
        let inputs: Vec<Vec<f64>> =
            digits[..count].iter().map(|(x, _)| x.iter().map(|&v| f64::from(v)).collect()).collect();
        let largest = network.largest(&inputs[..20]);
        let network = network.scaled(&largest, Peaks { square: 2.0, output: 1.0 });
        let slots = 8192;
        let target = Target { slots, levels: 5, form, whole: false };
        let program = planner::plan(network.shapes(), target, &CostModel::default()).unwrap();
        assert!(program.switches() <= switches, "{name}: {}", program.switches());
        assert!(program.products() <= products, "{name}: {}", program.products());
        let clear = Clear::new(slots);
        let weights = program.encode(&clear, network.numbers()).unwrap();
        let mut right = 0;
        for (k, ((pixels, label), input)) in digits.iter().zip(&inputs).enumerate() {
            let expected = network.evaluate(input);
            let class = largest_at(expected.iter().copied());
            assert_eq!(class, largest_at(graph.run(pixels).unwrap().into_iter().map(f64::from)));
            right += usize::from(class == *label);
            if k >= 4 {
                continue;
            }
            let inputs = program.input().place(input);
            let inputs = inputs.iter().map(|x| clear.encrypt(x, program.depth()).unwrap()).collect();
            let outputs = program.run(&clear, &weights, inputs).unwrap();
            let slots: Vec<Vec<f64>> = outputs.iter().map(|x| clear.decrypt(x)).collect();
            for (a, b) in program.output().read(&slots).iter().zip(&expected) {
                assert!((a - b).abs() < 1e-9, "{name}: {a} {b}");
            }
        }
        assert!(right * 100 >= 95 * count, "{name}: {right} of {count}");
        let largest = clear.counts().largest;
        assert!(largest[&0] < 4.0, "{name}: {largest:?}");
    }
}

#[test]
fn lola_under_encryption() {
    under_encryption(&shared_path("models/lola_paper_mnist.onnx"), InputForm::Convolution, 24);
}

#[test]
fn lola_small_under_encryption_in_the_smallest_ring() {
    under_encryption(&asset_path("lola-small.onnx"), InputForm::Message, 19);
}

fn under_encryption(model: &Path, form: InputForm, precision: u32) {
    let Ok(bytes) = std::fs::read(model) else {
        eprintln!("skipped: {} is not here", model.display());
        return;
    };
    let Some(digits) = digits(3) else { return };
    let graph = phineus_model::pass::canonical(phineus_model::onnx::import(&bytes).unwrap()).unwrap();
    let network = Network::new(&graph).unwrap();
    let inputs: Vec<Vec<f64>> =
        digits.iter().map(|(x, _)| x.iter().map(|&v| f64::from(v)).collect()).collect();
    let network = network.clone().scaled(&network.largest(&inputs), PEAKS);
    let choices = Choices { form, precision, ..Choices::default() };
    let scheme = Scheme::new(network.shapes(), &choices, &CostModel::default()).unwrap();
    let precision = Precision::new(&scheme).unwrap();
    let mut rng = Prg::from_seed32(&[7; 32]);
    let secret = SecretKey::generate(scheme.params(), &mut rng);
    let public = secret.public_key(&mut rng);
    let upload = KeyUpload::generate(&secret, scheme.keys(), &mut rng).unwrap();
    let evaluator = Encrypted::new(upload.expand(), scheme.bounds());
    let weights = scheme.program().encode(scheme.params(), network.numbers()).unwrap();
    for (input, (_, label)) in inputs.iter().zip(&digits) {
        let slots = scheme.program().input().place(input);
        let requests = Requests::encrypt(&secret, &slots, scheme.requests().level, &mut rng).unwrap();
        let ciphers = requests.into_ciphertexts(scheme.input()).unwrap();
        let outputs = scheme.program().run(&evaluator, &weights, ciphers).unwrap();
        let reply = |x| evaluator.scheme().reply(x, &public, scheme.reply(), &mut rng).unwrap();
        let replies: Vec<Reply> = outputs.iter().map(reply).collect();
        let slots: Vec<Vec<f64>> = replies
            .iter()
            .map(|r| {
                secret
                    .decrypt(r, scheme.reply())
                    .unwrap()
                    .slots()
                    .repeat(scheme.params().slots() / scheme.reply().period())
            })
            .collect();
        let found = scheme.program().output().read(&slots);
        let expected = network.evaluate(input);
        let error = found.iter().zip(&expected).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
        assert_eq!(largest_at(found), *label);
        let (bound, all) = (precision.bound(&network, input), precision.bounds(&network));
        println!("{}: error {error:.2e}, bound {bound:.2e}, for all {:.2e}", model.display(), all.errors[0]);
        assert!(error <= bound && bound < 1000.0 * error, "{error} {bound}");
        assert!(bound <= all.errors[0]);
    }
    assert!(KeyUpload::wire_len(scheme.keys()) < 15_000_000);
    assert!(Requests::wire_len(scheme.requests()) < 200_000);
    assert!(Reply::wire_len(scheme.reply()) < 60_000);
}
