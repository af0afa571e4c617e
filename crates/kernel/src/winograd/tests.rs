use proptest::prelude::*;

use super::*;

/// A fixed sequence of well-mixed words.
fn words(seed: u32, len: usize) -> Vec<u32> {
    let mix = |i: u32| {
        let x = (i ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
        (x ^ x >> 13).wrapping_mul(0xc2b2_ae35) ^ x >> 7
    };
    (1..=len as u32).map(mix).collect()
}

/// The definition, modulo 2^32.
fn direct(image: &Image, channels: usize, weights: &[i32], x: &[u32], sum: &mut [u32]) {
    let [oh, ow] = image.output();
    let [top, left, ..] = image.pads;
    for (i, sum) in sum.iter_mut().enumerate() {
        let (output, row, column) = (i / (oh * ow), i / ow % oh, i % ow);
        for (tap, &w) in weights[output * channels * 9..][..channels * 9].iter().enumerate() {
            let (y, z) = (row + tap / 3 % 3, column + tap % 3);
            if (top..top + image.rows).contains(&y) && (left..left + image.columns).contains(&z) {
                let word = x[(tap / 9 * image.rows + y - top) * image.columns + z - left];
                *sum = sum.wrapping_add(word.wrapping_mul(w as u32));
            }
        }
    }
}

fn check(image: &Image, channels: usize, outputs: usize, weights: &[i32], x: &[u32]) {
    let [oh, ow] = image.output();
    let start = words(9, outputs * oh * ow);
    let mut expected = start.clone();
    direct(image, channels, weights, x, &mut expected);
    for tile in [Tile::Two, Tile::Four] {
        let packed = Weights::pack(tile, outputs, channels, weights);
        let mask = u32::MAX >> (32 - tile.most_bits());
        for backend in Backend::available() {
            let mut sum = start.clone();
            packed.multiply_on(backend, image, x, &mut sum);
            let differ = sum.iter().zip(&expected).position(|(a, b)| (a ^ b) & mask != 0);
            assert_eq!(differ, None, "{tile:?} {backend:?} {image:?} {channels} -> {outputs}");
        }
    }
}

#[test]
fn matrices_are_those_of_the_minimal_algorithms() {
    // One tile of ones at a time: y_i = sum_k d_(i+k) g_k, s times.
    fn one<F: Form<M, A>, const M: usize, const A: usize>(scale: u32) {
        for at in 0..A {
            for tap in 0..3 {
                let mut d = [V::ZERO; A];
                d[at] = V([1; LANES]);
                let (d, g) = (F::input(d), F::weights([0, 1, 2].map(|k| i32::from(k == tap))));
                let mut m = d;
                m.iter_mut().zip(g).for_each(|(m, g)| *m = m.times(g as u32));
                for (i, y) in F::output(m).into_iter().enumerate() {
                    assert_eq!(y.0[0], if i + tap == at { scale } else { 0 }, "{at} {tap} {i}");
                }
            }
        }
        assert_eq!((scale * scale) >> F::SHIFT << F::SHIFT, scale * scale);
        assert_eq!(((scale * scale) >> F::SHIFT).wrapping_mul(F::INVERSE), 1);
    }
    one::<F2, 2, 4>(2);
    one::<F4, 4, 6>(24);
    assert_eq!([Tile::Two, Tile::Four].map(|t| (t.most_bits(), t.products())), [(30, 16), (26, 36)]);
}

#[test]
fn equals_the_definition_around_every_edge() {
    for side in [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 33, 63, 66] {
        let image = Image { rows: side.min(9), columns: side, pads: [1; 4] };
        let x = words(1, 3 * image.rows * image.columns);
        let weights: Vec<i32> = words(2, 2 * 3 * 9).into_iter().map(|w| (w >> 24) as i32 - 128).collect();
        check(&image, 3, 2, &weights, &x);
    }
}

#[test]
fn blocks_join() {
    // More rows of tiles than a block holds.
    let image = Image { rows: 66, columns: 34, pads: [1; 4] };
    let weights: Vec<i32> = words(4, 20 * 40 * 9).into_iter().map(|w| (w >> 25) as i32 - 64).collect();
    check(&image, 40, 20, &weights, &words(3, 40 * 66 * 34));
}

#[test]
fn extreme_values_wrap() {
    let image = Image { rows: 5, columns: 6, pads: [1; 4] };
    for w in [-(1 << 24) + 1, (1 << 24) - 1, -128, 127, 32767, -32768] {
        for x in [u32::MAX, 1 << 31, 0x7fff_8000] {
            check(&image, 2, 3, &[w; 54], &[x; 60]);
        }
    }
}

#[test]
fn images_without_outputs_leave_nothing() {
    let image = Image { rows: 1, columns: 2, pads: [0; 4] };
    Weights::pack(Tile::Four, 1, 1, &[1; 9]).multiply(&image, &[1, 2], &mut []);
}

#[test]
#[should_panic(expected = "input")]
fn a_wrong_length_is_refused() {
    let image = Image { rows: 3, columns: 3, pads: [0; 4] };
    Weights::pack(Tile::Two, 1, 1, &[1; 9]).multiply(&image, &[1, 2], &mut [0]);
}

#[test]
fn debug_shows_no_weight() {
    assert_eq!(format!("{:?}", Weights::pack(Tile::Two, 1, 1, &[12345; 9])), "Weights(Two, 1 x 1 x 3 x 3)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_shapes(
        channels in 1usize..9, outputs in 1usize..20, rows in 1usize..20, columns in 1usize..40,
        pads in [0usize..4, 0..4, 0..4, 0..4], bits in 2u32..24, seed: u32,
    ) {
        let image = Image { rows, columns, pads };
        let weights = words(seed, outputs * channels * 9).into_iter().map(|w| (w as i32) >> (32 - bits));
        check(&image, channels, outputs, &weights.collect::<Vec<_>>(), &words(!seed, channels * rows * columns));
    }
}

/// `cargo test --release -p phineus-kernel winograd_rate -- --ignored --nocapture`
#[test]
#[ignore = "prints rates"]
fn winograd_rate() {
    use std::time::Instant;
    for (side, c, o) in [
        (224, 64, 64),
        (112, 128, 128),
        (56, 64, 64),
        (56, 128, 32),
        (28, 128, 128),
        (28, 128, 32),
        (14, 256, 256),
        (14, 128, 32),
        (7, 512, 512),
        (7, 128, 32),
        (32, 16, 16),
        (32, 64, 64),
        (13, 48, 192),
    ] {
        let image = Image { rows: side, columns: side, pads: [1; 4] };
        let weights: Vec<i32> = words(4, o * c * 9).into_iter().map(|w| (w >> 24) as i32 - 128).collect();
        let x = words(3, c * side * side);
        let mut sum = vec![0; o * side * side];
        let mut best = |work: &mut dyn FnMut(&mut [u32])| {
            let time = |work: &mut dyn FnMut(&mut [u32]), sum: &mut [u32]| {
                let start = Instant::now();
                work(sum);
                start.elapsed().as_secs_f64()
            };
            (0..5).map(|_| time(work, &mut sum)).fold(f64::MAX, f64::min)
        };
        let matrix = gemm::Weights::pack(o, c * 9, &weights);
        // The product of matrices alone, without the arrangement of its columns.
        let columns: Vec<u32> = x.iter().copied().cycle().take(9 * x.len()).collect();
        let direct = best(&mut |sum| matrix.multiply_parallel(side * side, &columns, sum));
        let two = Weights::pack(Tile::Two, o, c, &weights);
        let two = best(&mut |sum| two.multiply(&image, &x, sum));
        let four = Weights::pack(Tile::Four, o, c, &weights);
        let four = best(&mut |sum| four.multiply(&image, &x, sum));
        let macs = (9 * c * o * side * side) as f64;
        println!(
            "{side}x{side} {c}-{o}: direct {:.3} ms ({:.0} GMAC/s), two {:.3} ms ({:.2}x), four {:.3} ms ({:.2}x)",
            direct * 1e3,
            macs / direct / 1e9,
            two * 1e3,
            direct / two,
            four * 1e3,
            direct / four
        );
    }
}
