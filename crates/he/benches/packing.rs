//! What packing responses costs and saves, one core: `cargo bench -p phineus-he --bench packing`.
//!
//! Per parameters and number of levels k, for 2^k responses of n / 2^k wanted coefficients each: key bytes, time of
//! key generation, of a masked response and of the packed ciphertext, bytes with and without packing, and the link
//! below whose speed packing is faster.
#![expect(clippy::unwrap_used, reason = "a program, not a library")]

use cpu_time::ThreadTime;
use phineus_he::noise::{LayerInput, prove_packed};
use phineus_he::{Accumulator, GaloisKeys, GaloisShape, Layout, Masked, Params, ParamsLiteral, Response};
use phineus_he::{ResponseShape, SecretKey, pack, respond};
use phineus_kernel::cpu::Backend;
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::Wire;
use phineus_kernel::z2k::Pow2;

/// The program's own: returning freed pages to the system and fetching them again would dominate the merges.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs of a measurement.
const RUNS: usize = 15;

fn main() {
    println!("backend {:?}, processor time, best of {RUNS} runs, 24-bit rings", Backend::detected());
    println!(
        "{:>5} {:>5} {:>2} {:>6} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8}",
        "n",
        "limbs",
        "k",
        "log2 F",
        "key kB",
        "keys ms",
        "mask us",
        "switch us",
        "pack ms",
        "plain kB",
        "packed kB",
        "saved kB",
        "Gbit/s"
    );
    let literals = [
        ParamsLiteral::n4096(),
        ParamsLiteral::n4096_full(),
        ParamsLiteral::n8192(),
        ParamsLiteral::n8192_wide(),
    ];
    for literal in literals {
        let params = Params::new(&literal).unwrap();
        let mut rng = Prg::from_seed32(&[7; 32]);
        let secret = SecretKey::generate(&params, &mut rng);
        let public = secret.public_key(&mut rng);
        let n = params.degree();
        let ring = Pow2::new(24).unwrap();
        for levels in [1, 2, 3, 4, 5, 6] {
            let input = LayerInput { coefficients: n, w2: 4000.0, w1: 2e5, ring };
            let spec = prove_packed(&[(&params, input, levels)]).unwrap().layers[0].spec;
            let count = 1 << levels;
            let positions: Vec<Vec<u32>> = vec![(0..n as u32).step_by(count).collect(); count];
            let layout = Layout::new(n, &positions, levels).unwrap();
            let shape = GaloisShape { params: params.clone(), levels };

            let keys_ms = best(|| drop(GaloisKeys::generate(&secret, levels, &mut rng))) * 1e3;
            let keys = GaloisKeys::generate(&secret, levels, &mut rng).unwrap();
            let mask = vec![1; n / count];
            let sum = || Accumulator::new(&params);
            let mask_us =
                best(|| drop(Masked::new(sum(), &public, &positions[0], &mask, &spec, &mut rng).unwrap()))
                    * 1e6;
            let plain_us =
                best(|| drop(respond(sum(), &public, &positions[0], &mask, &spec, &mut rng).unwrap())) * 1e6;
            let pack_s = best_of(
                || {
                    let masked =
                        |p: &Vec<u32>| Masked::new(sum(), &public, p, &mask, &spec, &mut rng).unwrap();
                    positions.iter().map(masked).collect::<Vec<_>>()
                },
                |masked| drop(pack(&keys, &layout, 0, &spec, masked).unwrap()),
            );
            let bytes = |coefficients| {
                Response::wire_len(&ResponseShape { params: params.clone(), spec, coefficients })
            };
            let (plain, packed) = (count * bytes(n / count), bytes(n));
            // The unpacked way switches every response by itself.
            let extra = pack_s + count as f64 * (mask_us - plain_us) * 1e-6;
            println!(
                "{n:>5} {:>5} {levels:>2} {:>6} {:>8.1} {keys_ms:>8.2} {mask_us:>9.1} {:>9.1} {:>9.3} {:>9.1} {:>9.1} {:>9.1} {:>8.2}",
                params.limbs(),
                spec.log_flood(),
                GaloisKeys::wire_len(&shape) as f64 * 1e-3,
                pack_s * 1e6 / layout.switches() as f64,
                pack_s * 1e3,
                plain as f64 * 1e-3,
                packed as f64 * 1e-3,
                (plain - packed) as f64 * 1e-3,
                (plain - packed) as f64 * 8e-9 / extra.max(1e-9)
            );
        }
    }
}

/// Seconds of one call.
fn best(mut step: impl FnMut()) -> f64 {
    best_of(|| (), |()| step())
}

/// Seconds of one call of `step`, without those of `prepare`.
fn best_of<T>(mut prepare: impl FnMut() -> T, mut step: impl FnMut(T)) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let input = prepare();
            let start = ThreadTime::now();
            step(input);
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[0]
}
