use phineus_he::noise::{LayerInput, prove_packed};
use phineus_he::{
    Accumulator, GaloisKeys, Layout, Masked, Params, ParamsLiteral, Poly, Requests, SecretKey, pack,
};
use phineus_kernel::prg::Prg;
use phineus_kernel::z2k::Pow2;
use proptest::prelude::*;

use super::super::tests::{any_conv, expected, sparse_product, square, words};
use super::*;

/// The convolution through the packing.
fn through(packing: &Interleaved, x: &[u32], weights: &[i32]) -> Vec<u32> {
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
    let mut products = 0;
    for o in 0..packing.outputs() {
        let (mut sum, mut noise) = (vec![0; n], 0);
        for (i, w) in packing.terms(o) {
            sparse_product(&inputs[i], &weight_polys[w], &mut sum);
            noise += weight_polys[w].iter().filter(|w| **w != 0).count();
            products += 1;
        }
        assert!(noise <= packing.noise_weights(), "{noise} weights");
        for (coefficient, element) in packing.positions(o) {
            assert_eq!(coefficient % (1 << packing.levels()), 0, "multiples of the stride");
            let previous = result[element as usize].replace(sum[coefficient as usize]);
            assert_eq!(previous, None, "element {element} twice");
        }
    }
    assert_eq!(products, packing.products());
    result.into_iter().map(|x| x.expect("every element appears")).collect()
}

fn check(packing: &Interleaved) {
    let conv = packing.conv();
    let x = words(1, conv.input_len());
    let weights: Vec<_> = words(2, conv.weight_len()).into_iter().map(|w| (w as i32 >> 24) | 1).collect();
    assert!(through(packing, &x, &weights) == expected(conv, &x, &weights), "{packing:?}");
}

/// Positions of all responses, as the layout of the merged ciphertexts takes them.
fn layout(packing: &Interleaved) -> Layout {
    let positions: Vec<Vec<u32>> =
        (0..packing.outputs()).map(|o| packing.positions(o).into_iter().map(|(c, _)| c).collect()).collect();
    Layout::new(packing.degree(), &positions, packing.levels()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_convolution_is_exact(conv in any_conv(), log_n in 6_u32..=9, levels in 0_u32..=4) {
        match Interleaved::plan(&conv, 1 << log_n, levels, &CostModel::default()) {
            Ok(packing) => {
                check(&packing);
                let merged = packing.outputs().div_ceil(1 << packing.levels());
                prop_assert_eq!(layout(&packing).groups(), merged);
            }
            Err(PackingError::Empty | PackingError::Kernel { .. }) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    /// Every block that is accepted is exact, whole groups in one polynomial too.
    #[test]
    fn any_block_is_exact(
        conv in any_conv(),
        tile in [1_usize..=20, 1_usize..=20],
        groups in 1_usize..=3,
        planes in 1_usize..=4,
        outputs in 1_usize..=4,
        levels in 0_u32..=5,
    ) {
        if let Ok(geometry) = Geometry::new(&conv) {
            let [height, width] = geometry.grid();
            let groups = groups.min(conv.groups);
            let whole = geometry.planes_per_group();
            let block = Block {
                tile: [tile[0].min(height), tile[1].min(width)],
                groups,
                planes: if groups > 1 { groups * whole } else { planes.min(whole) },
                outputs: outputs.min(groups * conv.out_channels / conv.groups),
            };
            if let Ok(packing) = Interleaved::new(&conv, 1024, block, levels) {
                check(&packing);
            }
        }
    }
}

#[test]
fn a_layer_of_one_block() {
    // 64 planes of 8 x 8 fill 4,096 coefficients; the 64 responses become one.
    let conv = square([64, 64], 7, 3, 1);
    let block = Block { tile: [7, 7], groups: 1, planes: 1, outputs: 1 };
    let packing = Interleaved::new(&conv, 4_096, block, 6).unwrap();
    assert_eq!((packing.inputs(), packing.outputs(), packing.products()), (1, 64, 64));
    let layout = layout(&packing);
    assert_eq!((layout.groups(), layout.levels(), layout.switches()), (1, 6, 63));
    check(&packing);
}

/// A whole layer under encryption: both parties' steps, and the merged responses against the convolution.
#[test]
fn a_layer_under_encryption_is_exact() {
    let ring = Pow2::new(22).unwrap();
    let params = Params::new(&ParamsLiteral::n4096()).unwrap();
    let n = params.degree();
    // Blocks with one and with two planes in Y, full and part ciphertexts, strides, groups.
    for (conv, block, levels) in [
        (square([24, 5], 8, 3, 1), Block { tile: [8, 8], groups: 1, planes: 1, outputs: 1 }, 4),
        (square([12, 9], 9, 3, 2), Block { tile: [5, 5], groups: 1, planes: 2, outputs: 2 }, 3),
        (
            Conv { groups: 2, ..square([8, 6], 6, 1, 1) },
            Block { tile: [1, 36], groups: 1, planes: 1, outputs: 1 },
            2,
        ),
        (Conv::dense(64, 20), Block { tile: [1, 1], groups: 1, planes: 1, outputs: 10 }, 6),
    ] {
        let packing = Interleaved::new(&conv, n, block, levels).unwrap();
        let layout = layout(&packing);
        let mut rng = Prg::from_seed32(&[levels as u8; 32]);
        let secret = SecretKey::generate(&params, &mut rng);
        let public = secret.public_key(&mut rng);
        let keys = GaloisKeys::generate(&secret, layout.levels(), &mut rng).unwrap();
        let w1 = 128.0 * packing.noise_weights() as f64;
        let input = LayerInput { coefficients: conv.output_len(), w2: (128.0 * w1).sqrt(), w1, ring };
        let spec = prove_packed(&[(&params, input, layout.levels())]).unwrap().layers[0].spec;

        // Client: requests.
        let x: Vec<u32> = words(3, conv.input_len()).into_iter().map(|x| ring.reduce(x)).collect();
        let plains: Vec<Vec<u32>> = (0..packing.inputs())
            .map(|i| {
                let mut plain = vec![0; n];
                packing.pack_input(i, &x, &mut plain);
                plain
            })
            .collect();
        let requests = Requests::encrypt(&secret, &plains, ring, &mut rng).into_ciphertexts();

        // Server: sums, masks, merged responses.
        let weights: Vec<i32> = words(4, conv.weight_len()).into_iter().map(|w| w as i32 >> 24).collect();
        let mask: Vec<u32> = words(5, conv.output_len()).into_iter().map(|s| ring.reduce(s)).collect();
        let respond = |o: usize, rng: &mut Prg| {
            let mut sum = Accumulator::new(&params);
            for (i, w) in packing.terms(o) {
                let mut plain = vec![0; n];
                packing.pack_weights(w, &weights, &mut plain);
                sum.mul_acc(&requests[i], &Poly::from_signed(&params, &plain).into_eval());
            }
            let (positions, mask): (Vec<u32>, Vec<u32>) =
                packing.positions(o).into_iter().map(|(c, element)| (c, mask[element as usize])).unzip();
            Masked::new(sum, &public, &positions, &mask, &spec, rng).unwrap()
        };

        // Client: its share of every element, once.
        let mut share = vec![None; conv.output_len()];
        for group in 0..layout.groups() {
            let responses = layout.responses(group).map(|o| respond(o, &mut rng));
            let packed = pack(&keys, &layout, group, &spec, responses).unwrap();
            let values = secret.decrypt(&packed, layout.positions(group), &spec).unwrap();
            let elements = layout.responses(group).flat_map(|o| packing.positions(o));
            for ((_, element), value) in elements.zip(values) {
                assert_eq!(share[element as usize].replace(value), None);
            }
        }
        let expected = expected(&conv, &x, &weights).into_iter().zip(&mask);
        let expected: Vec<_> = expected.map(|(y, &s)| Some(ring.sub(ring.reduce(y), s))).collect();
        assert!(share == expected, "{conv:?}");
    }
}

#[test]
fn no_merges_where_they_do_not_pay() {
    let cost = CostModel::default();
    let depthwise = Conv { groups: 48, ..square([48, 48], 14, 3, 1) };
    for (conv, most) in [(depthwise, 6), (square([16, 16], 14, 1, 1), 0)] {
        let packing = Interleaved::plan(&conv, 4_096, most, &cost).unwrap();
        assert_eq!((packing.levels(), packing.inner), (0, Packing::plan(&conv, 4_096, &cost).unwrap()));
    }
    // Many levels are no more than those of the degree.
    check(&Interleaved::plan(&square([4, 4], 4, 1, 1), 64, 40, &cost).unwrap());
}

#[test]
fn misfits_are_refused() {
    let conv = square([4, 4], 8, 1, 1);
    let block = Block { tile: [1, 64], groups: 1, planes: 1, outputs: 1 };
    assert!(Interleaved::new(&conv, 256, block, 2).is_ok());
    for (n, levels) in [(256, 3), (255, 1), (256, 64), (256, 9)] {
        assert!(matches!(Interleaved::new(&conv, n, block, levels), Err(PackingError::Block { .. })));
    }
    let bad = Conv { groups: 3, ..conv };
    assert_eq!(Interleaved::plan(&bad, 256, 2, &CostModel::default()), Err(PackingError::Geometry));
}

/// `cargo test --release -p phineus-infer interleaved_table -- --ignored --nocapture`
#[test]
#[ignore = "prints a table"]
fn interleaved_table() {
    let layers = [
        ("64x64 64->64 3x3", square([64, 64], 64, 3, 1)),
        ("32x32 128->128 3x3", square([128, 128], 32, 3, 1)),
        ("16x16 256->256 3x3", square([256, 256], 16, 3, 1)),
        ("8x8 512->512 3x3", square([512, 512], 8, 3, 1)),
        ("56x56 64->64 3x3", square([64, 64], 56, 3, 1)),
        ("14x14 256->256 1x1", square([256, 256], 14, 1, 1)),
        ("14x14 256->1024 1x1", square([256, 1024], 14, 1, 1)),
        ("7x7 512->2048 1x1", square([512, 2048], 7, 1, 1)),
        ("dense 2048->1001", Conv::dense(2_048, 1_001)),
        ("32x32 16->16 3x3", square([16, 16], 32, 3, 1)),
        ("8x8 64->64 3x3", square([64, 64], 8, 3, 1)),
    ];
    let n = 4_096;
    println!(
        "{:20} {:>5} {:>2} {:>6} {:>7} {:>8} {:>8} {:>7} {:>8}",
        "layer", "Gb/s", "k", "inputs", "outputs", "products", "switches", "MB", "ms"
    );
    for (name, conv) in layers {
        for bandwidth in [3.0, 0.5, 0.1] {
            let cost = CostModel { up: bandwidth, down: bandwidth, ..CostModel::default() };
            for levels in [0, 6] {
                let packing = Interleaved::plan(&conv, n, levels, &cost).unwrap();
                let layout = layout(&packing);
                let bits = packing.inputs() as f64 * n as f64 * cost.request_bits
                    + (layout.groups() * n + conv.output_len()) as f64 * cost.response_bits;
                println!(
                    "{name:20} {bandwidth:5} {:2} {:6} {:7} {:8} {:8} {:7.2} {:8.1}  {:?}",
                    packing.levels(),
                    packing.inputs(),
                    packing.outputs(),
                    packing.products(),
                    layout.switches(),
                    bits / 8e6,
                    cost.price(n, &packing.amounts()) / 1e6,
                    packing.block()
                );
            }
        }
    }
}
