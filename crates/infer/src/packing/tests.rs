use std::collections::BTreeSet;

use phineus_reference as reference;
use proptest::prelude::*;

use super::*;

/// A fixed sequence of well-mixed words.
pub(super) fn words(seed: u64, len: usize) -> Vec<u32> {
    let mix = |i: u64| {
        let x = (i ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((x ^ x >> 29).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) as u32
    };
    (1..=len as u64).map(mix).collect()
}

/// `sum += a b` modulo X^n + 1 and 2^32, skipping zero weights.
pub(super) fn sparse_product(a: &[u32], b: &[i32], sum: &mut [u32]) {
    let n = a.len();
    for (j, &w) in b.iter().enumerate().filter(|(_, w)| **w != 0) {
        for (i, &x) in a.iter().enumerate() {
            let term = x.wrapping_mul(w as u32);
            let at = &mut sum[(i + j) % n];
            *at = if i + j < n { at.wrapping_add(term) } else { at.wrapping_sub(term) };
        }
    }
}

fn schoolbook(a: &[u32], b: &[i32], sum: &mut [u32]) {
    let a: Vec<_> = a.iter().map(|&x| i64::from(x)).collect();
    let b: Vec<_> = b.iter().map(|&w| i64::from(w)).collect();
    for (sum, x) in sum.iter_mut().zip(reference::negacyclic(&a, &b, a.len(), 1 << 32)) {
        *sum = sum.wrapping_add(x as u32);
    }
}

/// The convolution through the packing; checks what the packing promises about itself on the way.
fn through(
    packing: &Packing,
    x: &[u32],
    weights: &[i32],
    product: fn(&[u32], &[i32], &mut [u32]),
) -> Vec<u32> {
    let n = packing.degree();
    let mut result = vec![None; packing.conv().output_len()];
    let inputs: Vec<_> = (0..packing.inputs())
        .map(|i| {
            let mut poly = vec![u32::MAX; n];
            packing.pack_input(i, x, &mut poly);
            poly
        })
        .collect();
    let weight_polys: Vec<_> = (0..packing.weight_polys())
        .map(|w| {
            let mut poly = vec![i32::MAX; n];
            packing.pack_weights(w, weights, &mut poly);
            poly
        })
        .collect();
    if packing.octets() {
        // Every polynomial is one in X^8, and eight of them in one are themselves beside each other.
        for first in 0..packing.weight_polys() {
            let count = 8.min(packing.weight_polys() - first);
            let mut octet = vec![i32::MAX; n];
            packing.pack_octet(first, count, weights, &mut octet);
            for (j, &coefficient) in octet.iter().enumerate() {
                let alone = weight_polys.get(first + j % 8).filter(|_| j % 8 < count);
                assert_eq!(coefficient, alone.map_or(0, |poly| poly[j - j % 8]), "octet from {first}");
            }
        }
        assert!(weight_polys.iter().all(|poly| (0..n).all(|j| j % 8 == 0 || poly[j] == 0)));
    }
    let (mut used, mut products) = (BTreeSet::new(), 0);
    for o in 0..packing.outputs() {
        let (mut sum, mut noise) = (vec![0; n], 0);
        for (i, w) in packing.terms(o) {
            product(&inputs[i], &weight_polys[w], &mut sum);
            noise += weight_polys[w].iter().filter(|w| **w != 0).count();
            used.extend([(0, i), (1, w)]);
            products += 1;
        }
        assert!(noise <= packing.noise_weights(), "{noise} weights");
        let positions = packing.positions(o);
        assert!(positions.is_sorted_by(|a, b| a.0 < b.0));
        for (coefficient, element) in positions {
            let previous = result[element as usize].replace(sum[coefficient as usize]);
            assert_eq!(previous, None, "element {element} twice");
        }
    }
    assert_eq!(products, packing.products());
    assert_eq!(used.len(), packing.inputs() + packing.weight_polys(), "a polynomial is in no term");
    result.into_iter().map(|x| x.expect("every element appears")).collect()
}

pub(super) fn expected(conv: &Conv, x: &[u32], weights: &[i32]) -> Vec<u32> {
    let [top, left, bottom, right] = conv.pads;
    let geometry = reference::Convolution {
        channels: [conv.in_channels, conv.out_channels],
        size: conv.input,
        kernel: conv.kernel,
        stride: conv.stride,
        dilation: conv.dilation,
        pad_before: [top, left],
        pad_after: [bottom, right],
        groups: conv.groups,
    };
    reference::convolve(&geometry, x, weights)
}

fn check(packing: &Packing, product: fn(&[u32], &[i32], &mut [u32])) {
    let conv = packing.conv();
    let x = words(1, conv.input_len());
    // No weight is zero, so that every coefficient counts as noise.
    let weights: Vec<_> = words(2, conv.weight_len()).into_iter().map(|w| (w as i32 >> 24) | 1).collect();
    assert!(through(packing, &x, &weights, product) == expected(conv, &x, &weights), "{packing:?}");
}

fn plan(conv: &Conv, n: usize) -> Packing {
    Packing::plan(conv, n, &CostModel::default()).expect("packable")
}

pub(super) fn square(channels: [usize; 2], side: usize, kernel: usize, stride: usize) -> Conv {
    Conv {
        in_channels: channels[0],
        input: [side; 2],
        out_channels: channels[1],
        kernel: [kernel; 2],
        stride: [stride; 2],
        pads: [kernel / 2; 4],
        dilation: [1; 2],
        groups: 1,
    }
}

prop_compose! {
    pub(super) fn any_conv()(
        groups in prop_oneof![3 => Just(1usize), 1 => Just(2usize), 1 => 3usize..=8],
        channels in (1usize..=6, 1usize..=6),
        input in [1usize..=20, 1usize..=20],
        kernel in [1usize..=5, 1usize..=5],
        stride in [1usize..=3, 1usize..=3],
        dilation in [1usize..=3, 1usize..=3],
        pads in [0usize..=4, 0usize..=4, 0usize..=4, 0usize..=4],
    ) -> Conv {
        let scale = if groups > 2 { 1 } else { 2 };
        Conv {
            in_channels: groups * channels.0.div_ceil(3 - scale),
            input,
            out_channels: groups * channels.1.div_ceil(3 - scale),
            kernel,
            stride,
            pads,
            dilation,
            groups,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn packing_any_convolution_is_exact(conv in any_conv(), log_n in 6u32..=9) {
        match Packing::plan(&conv, 1 << log_n, &CostModel::default()) {
            Ok(packing) => check(&packing, sparse_product),
            Err(PackingError::Empty) => {}
            Err(PackingError::Kernel { footprint, n }) => prop_assert!(footprint > n),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    /// Every block that is accepted is exact, not only the cheap ones.
    #[test]
    fn packing_any_block_is_exact(
        conv in any_conv(),
        tile in [1usize..=20, 1usize..=20],
        groups in 1usize..=4,
        planes in 1usize..=8,
        outputs in 1usize..=8,
        n in 64usize..400,
    ) {
        if let Ok(best) = Packing::plan(&conv, n, &CostModel::default()) {
            let whole = best.geometry.planes_per_group();
            let groups = groups.min(conv.groups);
            let planes = if groups > 1 { groups * whole } else { planes.min(whole) };
            let [height, width] = best.geometry.grid();
            let block = Block {
                tile: [tile[0].min(height), tile[1].min(width)],
                groups,
                planes,
                outputs: outputs.min(groups * conv.out_channels / conv.groups),
            };
            if let Ok(packing) = Packing::new(&conv, n, block) {
                check(&packing, sparse_product);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn packing_by_the_slow_product(conv in any_conv()) {
        if let Ok(packing) = Packing::plan(&conv, 64, &CostModel::default())
            && packing.products() < 200
        {
            check(&packing, schoolbook);
        }
    }
}

#[test]
fn packing_of_real_layers_is_exact() {
    let depthwise = |conv: Conv| Conv { groups: conv.in_channels, ..conv };
    let layers = [
        square([3, 16], 32, 3, 1),
        square([16, 8], 16, 3, 2),
        square([3, 4], 64, 7, 2),
        square([16, 32], 14, 1, 1),
        square([8, 16], 28, 1, 2),
        depthwise(square([24, 24], 14, 3, 1)),
        depthwise(square([6, 6], 28, 3, 2)),
        Conv { groups: 4, ..square([32, 32], 7, 3, 1) },
        Conv { dilation: [2, 2], pads: [2; 4], ..square([8, 8], 28, 3, 1) },
        Conv { dilation: [2, 3], stride: [2, 3], ..square([4, 4], 30, 3, 1) },
        Conv { kernel: [1, 7], pads: [0, 3, 0, 3], ..square([8, 8], 17, 1, 1) },
        Conv { pads: [0; 4], kernel: [7, 7], ..square([32, 20], 7, 7, 1) },
        Conv::dense(512, 100),
    ];
    for conv in layers {
        check(&plan(&conv, 4_096), sparse_product);
    }
    check(&plan(&square([8, 8], 56, 3, 1), 8_192), sparse_product);
}

#[test]
fn neighbouring_maps_share_their_padding() {
    // 7 x 7 with a border of one: 8 x 8 per plane, not 9 x 9.
    let conv = square([64, 1], 7, 3, 1);
    let block = Block { tile: [7, 7], groups: 1, planes: 64, outputs: 1 };
    check(&Packing::new(&conv, 4_096, block).expect("64 planes of 64 coefficients"), sparse_product);
    assert!(Packing::new(&conv, 4_095, block).is_err());
}

#[test]
fn a_matrix_fills_its_polynomials() {
    let packing = plan(&Conv::dense(2_048, 1_024), 4_096);
    assert_eq!(packing.products(), 2_048 * 1_024 / 4_096);
    assert_eq!(packing.weight_polys(), packing.products());
}

#[test]
fn phases_without_taps_are_not_sent() {
    let packing = plan(&square([64, 64], 8, 1, 2), 1_024);
    assert_eq!(packing.geometry.planes_per_group(), 64);
    let all = plan(&square([64, 64], 8, 3, 2), 1_024);
    assert_eq!(all.geometry.planes_per_group(), 4 * 64);
    // One tap of three meets nothing but padding: the images are single pixels.
    let pixel = plan(&square([64, 64], 1, 3, 1), 1_024);
    assert_eq!(pixel.products(), plan(&Conv::dense(64, 64), 1_024).products());
}

#[test]
fn unusable_shapes_are_refused() {
    let conv = square([4, 4], 8, 3, 1);
    let of = |conv: Conv| Packing::plan(&conv, 256, &CostModel::default());
    for bad in [
        Conv { stride: [0, 1], ..conv },
        Conv { groups: 3, ..conv },
        Conv { groups: 0, ..conv },
        Conv { in_channels: 0, ..conv },
        Conv { input: [usize::MAX, 1], ..conv },
        Conv { input: [1 << 16, 1 << 16], ..conv },
        Conv { pads: [usize::MAX, 0, 0, 0], ..conv },
    ] {
        assert_eq!(of(bad), Err(PackingError::Geometry));
    }
    let outside = Conv { kernel: [12, 1], pads: [0; 4], ..conv };
    assert_eq!(of(outside), Err(PackingError::Empty));
    let padding_only = Conv { stride: [100, 1], kernel: [1, 1], pads: [50, 0, 200, 0], ..conv };
    assert_eq!(of(padding_only), Err(PackingError::Empty));
    let wide = Conv { input: [20, 20], kernel: [20, 20], pads: [0; 4], ..conv };
    assert_eq!(of(wide), Err(PackingError::Kernel { footprint: 400, n: 256 }));
}

#[test]
fn blocks_that_do_not_fit_are_refused() {
    let conv = square([4, 4], 8, 1, 1);
    let good = Block { tile: [1, 64], groups: 1, planes: 2, outputs: 2 };
    assert!(Packing::new(&conv, 256, good).is_ok());
    for bad in [
        Block { tile: [2, 32], ..good },
        Block { tile: [1, 0], ..good },
        Block { tile: [1, 65], ..good },
        Block { planes: 3, ..good },
        Block { planes: 0, ..good },
        Block { outputs: 5, planes: 1, ..good },
        Block { groups: 2, ..good },
        Block { groups: usize::MAX, planes: usize::MAX, ..good },
    ] {
        assert!(matches!(Packing::new(&conv, 256, bad), Err(PackingError::Block { .. })), "{bad:?}");
    }
}

/// `cargo test --release -p phineus-infer packing_table -- --ignored --nocapture`
#[test]
#[ignore = "prints a table"]
fn packing_table() {
    let depthwise = |conv: Conv| Conv { groups: conv.in_channels, ..conv };
    let layers = [
        ("64x64 64->64 3x3", square([64, 64], 64, 3, 1)),
        ("32x32 128->128 3x3", square([128, 128], 32, 3, 1)),
        ("16x16 256->256 3x3", square([256, 256], 16, 3, 1)),
        ("8x8 512->512 3x3", square([512, 512], 8, 3, 1)),
        ("14x14 256->1024 1x1", square([256, 1024], 14, 1, 1)),
        ("56x56 64->64 3x3", square([64, 64], 56, 3, 1)),
        ("dense 2048->1001", Conv::dense(2_048, 1_001)),
        ("224x224 3->64 7x7 s2", square([3, 64], 224, 7, 2)),
        ("56x56 256->512 1x1 s2", square([256, 512], 56, 1, 2)),
        ("56x56 144 depthwise", depthwise(square([144, 144], 56, 3, 1))),
        ("14x14 576 depthwise", depthwise(square([576, 576], 14, 3, 1))),
        ("7x7 960 depthwise", depthwise(square([960, 960], 7, 3, 1))),
    ];
    let cost = CostModel::default();
    println!(
        "{:24} {:>6} {:>7} {:>7} {:>8} {:>8} {:>7} {:>8} {:>9}",
        "layer", "n", "inputs", "outputs", "weights", "products", "noise", "ms", "plan us"
    );
    for (name, conv) in layers {
        for n in [4_096, 8_192] {
            let start = std::time::Instant::now();
            let p = plan(&conv, n);
            let took = start.elapsed().as_micros();
            let ms = cost.price(n, &p.counts.amounts(p.octets())) / 1e6;
            println!(
                "{name:24} {n:6} {:7} {:7} {:8} {:8} {:7} {ms:8.1} {took:9} {:?}",
                p.inputs(),
                p.outputs(),
                p.weight_polys(),
                p.products(),
                p.noise_weights(),
                p.block()
            );
        }
    }
}

/// The convolutions of a residual network: (layer, how often).
fn resnet(blocks: [usize; 4], side: usize, bottleneck: bool, classes: usize) -> Vec<(Conv, usize)> {
    let mut layers = if side == 224 {
        vec![(square([3, 64], 224, 7, 2), 1)]
    } else {
        vec![(square([3, 64], side, 3, 1), 1)]
    };
    let (mut side, mut channels) = (if side == 224 { 56 } else { side }, 64);
    for (stage, count) in blocks.into_iter().enumerate() {
        let (width, stride) = (64 << stage, if stage == 0 { 1 } else { 2 });
        let out = if bottleneck { 4 * width } else { width };
        if bottleneck {
            layers.push((square([channels, width], side, 1, 1), 1));
            layers.push((square([width, width], side, 3, stride), 1));
        } else {
            layers.push((square([channels, width], side, 3, stride), 1));
        }
        if channels != out {
            layers.push((square([channels, out], side, 1, stride), 1));
        }
        side /= stride;
        if bottleneck {
            layers.push((square([width, out], side, 1, 1), count));
            layers.push((square([out, width], side, 1, 1), count - 1));
            layers.push((square([width, width], side, 3, 1), count - 1));
        } else {
            layers.push((square([width, width], side, 3, 1), 2 * count - 1));
        }
        channels = out;
    }
    layers.push((Conv::dense(channels, classes), 1));
    layers
}

/// `cargo test --release -p phineus-infer packing_networks -- --ignored --nocapture`
#[test]
#[ignore = "prints a table"]
fn packing_networks() {
    for (name, layers) in [
        ("ResNet-18 32x32", resnet([2, 2, 2, 2], 32, false, 10)),
        ("ResNet-18 64x64", resnet([2, 2, 2, 2], 64, false, 200)),
        ("ResNet-50 224x224", resnet([3, 4, 6, 3], 224, true, 1_000)),
    ] {
        for bandwidth in [3.0, 0.5, 0.1] {
            let cost = CostModel { up: bandwidth, down: bandwidth, ..CostModel::default() };
            let (mut inputs, mut outputs, mut weights, mut products, mut bits) = (0, 0, 0, 0, 0.0);
            for (conv, times) in &layers {
                let p = Packing::plan(conv, 4_096, &cost).expect("packable");
                inputs += times * p.inputs();
                outputs += times * p.outputs();
                weights += times * p.weight_polys();
                products += times * p.products();
                bits += (times * conv.output_len()) as f64 * cost.response_bits;
            }
            let coefficients = |polys: usize| 4_096.0 * polys as f64;
            bits += coefficients(inputs) * cost.request_bits + coefficients(outputs) * cost.response_bits;
            let server = coefficients(products) * 1e-9 + (weights + 3 * outputs) as f64 * 12e-6;
            println!(
                "{name:18} {bandwidth:3} Gbit/s: {inputs:6} requests {outputs:6} responses {weights:7} weights \
                 {products:7} products {:6.1} MB, server {server:5.2} s",
                bits / 8e6
            );
        }
    }
}
