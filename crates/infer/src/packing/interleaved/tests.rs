use phineus_he::Layout;
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
            let cost = CostModel { bandwidth, ..CostModel::default() };
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
                    packing.price(&cost) / 1e6,
                    packing.inner.block()
                );
            }
        }
    }
}
