//! Raw rates of one core of this machine: the floors that kernels are held against.
//!
//! Each loop issues one instruction on independent registers as fast as the core takes it, so that a kernel that
//! needs k of them per value cannot take less than k times the inverse of the rate.

use std::hint::black_box;
use std::time::Instant;

use crate::cpu::Backend;

/// Repetitions of a measurement, of which the fastest counts.
const TRIES: usize = 5;

/// 64-bit lanes of multiply-add on 52-bit operands (`vpmadd52luq`) per nanosecond; `None` without AVX-512 IFMA.
#[must_use]
pub fn madd52_lanes_per_ns() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if Backend::detected() == Backend::Avx512 {
        // SAFETY: the machine has the instructions of this backend.
        return Some(best(|| 8 * unsafe { avx512::madd52(ROUNDS) }));
    }
    None
}

/// Products of bytes that are added up (`vpdpbusd`) per nanosecond; `None` without AVX-512 VNNI.
#[must_use]
pub fn byte_macs_per_ns() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if Backend::detected() == Backend::Avx512 {
        // SAFETY: the machine has the instructions of this backend.
        return Some(best(|| 64 * unsafe { avx512::dot_bytes(ROUNDS) }));
    }
    None
}

/// Bytes per nanosecond at which one core reads memory that no cache holds.
#[must_use]
pub fn stream_bytes_per_ns() -> f64 {
    let words = vec![1_u64; STREAM_WORDS];
    best(|| {
        let words = black_box(words.as_slice());
        black_box(words.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word)));
        8 * words.len() as u64
    })
}

/// Events per nanosecond of the fastest of several runs; a run answers its number of events.
fn best(run: impl Fn() -> u64) -> f64 {
    let rate = |_| {
        let start = Instant::now();
        let events = run();
        events as f64 / (start.elapsed().as_nanos().max(1)) as f64
    };
    (0..TRIES).map(rate).fold(0.0, f64::max)
}

/// Rounds of the instruction loops.
#[cfg(target_arch = "x86_64")]
const ROUNDS: u64 = 1 << 20;
/// 256 MiB: beyond the last level of cache.
const STREAM_WORDS: usize = 32 << 20;

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// Registers that are written in turn: more than latency times instructions per cycle.
    const REGISTERS: usize = 16;

    /// Runs the multiply-add on all registers, `rounds` times; the number of instructions.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn madd52(rounds: u64) -> u64 {
        let (x, y) = (_mm512_set1_epi64(black_box(3)), _mm512_set1_epi64(black_box(5)));
        let mut sums = [_mm512_setzero_si512(); REGISTERS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_madd52lo_epu64(*sum, x, y);
            }
        }
        black_box(sums);
        rounds * REGISTERS as u64
    }

    /// Runs the inner product of bytes on all registers, `rounds` times; the number of instructions.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn dot_bytes(rounds: u64) -> u64 {
        let (x, y) = (_mm512_set1_epi64(black_box(3)), _mm512_set1_epi64(black_box(5)));
        let mut sums = [_mm512_setzero_si512(); REGISTERS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, x, y);
            }
        }
        black_box(sums);
        rounds * REGISTERS as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_a_processor() {
        let fast = Backend::detected() == Backend::Avx512;
        let plausible = |rate: f64| (0.01..10_000.0).contains(&rate);
        assert_eq!(madd52_lanes_per_ns().map(plausible), fast.then_some(true));
        assert_eq!(byte_macs_per_ns().map(plausible), fast.then_some(true));
        assert!(plausible(stream_bytes_per_ns()));
    }
}
