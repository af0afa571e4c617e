//! Single kernels of the linear layers on one core, beside the raw rates of the machine.

use std::fmt;
use std::time::Instant;

use comfy_table::Table;
use phineus_kernel::ntt::{Plan, pointwise};
use phineus_kernel::rates;
use phineus_kernel::zq::ntt_primes;
use serde::Serialize;

use crate::failure::Failure;
use crate::table;

/// Runs of a measurement, of which the median counts.
const RUNS: usize = 31;

/// What one core does at best, per nanosecond.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Rates {
    /// Lanes of 52-bit multiply-adds.
    pub(crate) madd52_lanes_per_ns: Option<f64>,
    /// Byte products.
    pub(crate) byte_macs_per_ns: Option<f64>,
    /// Bytes read from memory.
    pub(crate) stream_bytes_per_ns: f64,
}

/// One kernel.
#[derive(Debug, Serialize)]
pub(crate) struct Kernel {
    name: String,
    unit: &'static str,
    measured: f64,
    target: f64,
    floor: Option<f64>,
}

impl Rates {
    pub(crate) fn measure() -> Self {
        Self {
            madd52_lanes_per_ns: rates::madd52_lanes_per_ns(),
            byte_macs_per_ns: rates::byte_macs_per_ns(),
            stream_bytes_per_ns: rates::stream_bytes_per_ns(),
        }
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.1}"));
        write!(
            f,
            "one core: {} lanes of madd52/ns, {} byte products/ns, {:.1} GB/s from memory",
            rate(self.madd52_lanes_per_ns),
            rate(self.byte_macs_per_ns),
            self.stream_bytes_per_ns
        )
    }
}

/// Transforms and products.
pub(crate) fn measure(rates: &Rates) -> Result<Vec<Kernel>, Failure> {
    let mut kernels = Vec::new();
    for (log_n, target) in [(12, 5.0), (13, 11.0)] {
        let n = 1_usize << log_n;
        let prime = ntt_primes(50, n, 1)[0];
        let plan = Plan::new(prime, n).map_err(|e| Failure::new(e.to_string()))?;
        let mut values: Vec<u64> = (0..n as u64).map(|i| i * 0x9e37_79b9 % prime).collect();
        let multiplications = 1.5 * n as f64 * f64::from(log_n);
        kernels.push(Kernel {
            name: format!("transform of {n}"),
            unit: "us",
            measured: 1e-3 * nanoseconds(200, || plan.forward(&mut values)),
            target,
            floor: rates.madd52_lanes_per_ns.map(|rate| 1e-3 * multiplications / rate),
        });
        if log_n == 12 {
            let other = values.clone();
            let (mut lo, mut hi) = (vec![0; n], vec![0; n]);
            let per_run = nanoseconds(200, || pointwise::mul_acc(&mut lo, &mut hi, &values, &other));
            kernels.push(Kernel {
                name: "multiply-accumulate per coefficient and limb, in cache".into(),
                unit: "ns",
                measured: per_run / n as f64,
                target: 0.25,
                floor: rates.madd52_lanes_per_ns.map(|rate| 2.0 / rate),
            });
        }
    }
    Ok(kernels)
}

pub(crate) fn table(kernels: &[Kernel]) -> Table {
    let mut table = table::new(&["kernel", "unit", "measured", "target", "floor"], 2);
    for kernel in kernels {
        table.add_row([
            kernel.name.clone(),
            kernel.unit.to_owned(),
            format!("{:.3}", kernel.measured),
            format!("{:.3}", kernel.target),
            kernel.floor.map_or_else(String::new, |f| format!("{f:.3}")),
        ]);
    }
    table
}

/// Median time of one call.
fn nanoseconds(calls: u32, mut call: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            (0..calls).for_each(|_| call());
            start.elapsed().as_nanos() as f64 / f64::from(calls)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}
