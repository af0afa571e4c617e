use proptest::prelude::*;

use super::*;

/// The definition.
fn oracle(m: usize, n: usize, k: usize, a: &[i32], b: &[u32], c: &mut [u32]) {
    for i in 0..m {
        for j in 0..n {
            for l in 0..k {
                let product = (a[i * k + l] as u32).wrapping_mul(b[l * n + j]);
                c[i * n + j] = c[i * n + j].wrapping_add(product);
            }
        }
    }
}

/// A fixed sequence of well-mixed words.
fn words(seed: u64, len: usize) -> Vec<u32> {
    let mix = |i: u64| {
        let x = (i ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((x ^ x >> 29).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) as u32
    };
    (1..=len as u64).map(mix).collect()
}

fn weights(seed: u64, len: usize, bits: u32) -> Vec<i32> {
    words(seed, len).into_iter().map(|w| (w as i32) >> (32 - bits)).collect()
}

fn check(m: usize, n: usize, k: usize, a: &[i32], b: &[u32]) {
    let start = words(7, m * n);
    let mut expected = start.clone();
    oracle(m, n, k, a, b, &mut expected);
    let packed = Weights::pack(m, k, a);
    for backend in Backend::available() {
        let mut c = start.clone();
        packed.multiply_on(backend, n, b, &mut c);
        assert!(c == expected, "{backend:?} {m} x {n} x {k}");
    }
    let mut c = start.clone();
    packed.multiply_parallel(n, b, &mut c);
    assert!(c == expected, "parallel {m} x {n} x {k}");
    let mut c = start;
    gemm(m, n, k, a, b, &mut c);
    assert!(c == expected, "unpacked {m} x {n} x {k}");
}

#[test]
fn every_backend_equals_the_definition_around_every_edge() {
    for m in [1, 2, 7, 8, 9, 17, 33] {
        for n in [1, 2, 3, 15, 16, 17, 31, 129] {
            for k in [1, 2, 3, 4, 5, 9, 27] {
                check(m, n, k, &weights(1, m * k, 8), &words(2, k * n));
            }
        }
    }
}

#[test]
fn blocks_join() {
    for (m, n, k) in [(9, 130, 2 * BLOCK_PAIRS + 3), (3, 257, 1025), (5, 1, 5000), (9, 5, 2048)] {
        check(m, n, k, &weights(3, m * k, 16), &words(4, k * n));
    }
}

#[test]
fn extreme_values_wrap() {
    for a in [i32::MIN, i32::MAX, -1 << 15, (1 << 15) - 1, 1 << 15, -(1 << 15) - 1, -1] {
        for b in [0x8000_8000, 0x7fff_8000, 0x8000_7fff, u32::MAX, 0x8000, 0x7fff_ffff, 1 << 31] {
            check(3, 5, 7, &[a; 21], &[b; 35]);
            check(9, 1, 9, &[a; 81], &[b; 9]);
        }
    }
}

#[test]
fn empty_matrices_leave_the_result() {
    check(0, 3, 4, &[], &words(1, 12));
    check(3, 0, 4, &weights(1, 12, 8), &[]);
    check(3, 4, 0, &[], &[]);
}

#[test]
#[should_panic(expected = "right matrix")]
fn a_wrong_length_is_refused() {
    Weights::pack(1, 2, &[1, 2]).multiply(2, &[1, 2, 3], &mut [0, 0]);
}

#[test]
fn debug_shows_no_weight() {
    assert_eq!(format!("{:?}", Weights::pack(1, 2, &[12345, 6789])), "Weights(1 x 2)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_shapes(m in 1usize..40, n in 1usize..70, k in 1usize..90, bits in 1u32..=32, seed: u64) {
        check(m, n, k, &weights(seed, m * k, bits), &words(!seed, k * n));
    }
}

/// `cargo test --release -p phineus-kernel gemm_rate -- --ignored --nocapture`
#[test]
#[ignore = "prints rates"]
fn gemm_rate() {
    use std::time::Instant;
    for backend in Backend::available() {
        for (m, n, k) in [
            (8, 128, 1024),
            (64, 1024, 576),
            (512, 16, 4608),
            (256, 196, 2304),
            (2048, 49, 512),
            (64, 3136, 64),
            (64, 12544, 147),
            (1, 3136, 9),
            (512, 2, 4608),
            (512, 3, 4608),
            (512, 4, 4608),
            (1001, 1, 2048),
            (4096, 1, 9216),
        ] {
            let packed = Weights::pack(m, k, &weights(1, m * k, 8));
            let (b, mut c) = (words(2, k * n), vec![0; m * n]);
            let reps = (2_000_000_000 / (m * n * k)).clamp(3, 3000)
                / if backend == Backend::Portable { 10 } else { 1 };
            let best = (0..=reps)
                .map(|_| {
                    let start = Instant::now();
                    packed.multiply_on(backend, n, &b, &mut c);
                    start.elapsed().as_secs_f64()
                })
                .fold(f64::MAX, f64::min);
            let rate = (m * n * k) as f64 / best / 1e9;
            println!("{backend:?} m={m} n={n} k={k}: {rate:.1} GMAC/s, {:.1} us", best * 1e6);
        }
    }
}
