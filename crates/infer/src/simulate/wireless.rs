//! Wireless slot allocation: how to split the time of a link that one party at a time may use (Garimella et al.,
//! ASPLOS 2023, section 4.3).
//!
//! `U` bytes go up and `D` bytes down, one after the other, over a link of `B` bytes per second of which a share `f`
//! is for the way up: the transfer takes `U / (f B) + D / ((1 - f) B)` seconds. The least is
//! `(sqrt U + sqrt D)^2 / B`, at `f = sqrt U / (sqrt U + sqrt D)`.

use super::Phase;

/// The best split of a shared link for one phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Split {
    /// Share of the link for the way up, in 0 ..= 1; one half where nothing moves.
    pub up: f64,
    /// Seconds that the transfers take then.
    pub seconds: f64,
    /// Seconds with half of the link for each way.
    pub even_seconds: f64,
}

/// Splits a link of `bits_per_second` in total for the volumes of `phase`.
#[must_use]
pub fn split(phase: &Phase, bits_per_second: u64) -> Split {
    let (up, down) = (phase.up_bytes as f64, phase.down_bytes as f64);
    let roots = up.sqrt() + down.sqrt();
    let rate = bits_per_second as f64 / 8.0;
    Split {
        up: if roots > 0.0 { up.sqrt() / roots } else { 0.5 },
        seconds: roots * roots / rate,
        even_seconds: 2.0 * (up + down) / rate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_split_is_faster() {
        let phase = Phase { up_bytes: 198_000_000, down_bytes: 5_200_000_000, ..Phase::default() };
        let best = split(&phase, 1_000_000_000);
        let seconds = |f: f64| 198e6 / (f * 125e6) + 5200e6 / ((1.0 - f) * 125e6);
        assert!((seconds(best.up) - best.seconds).abs() < 1e-9);
        assert!((1..1000).all(|i| seconds(f64::from(i) / 1000.0) >= best.seconds - 1e-9));
        assert!((seconds(0.5) - best.even_seconds).abs() < 1e-9);
    }

    #[test]
    fn one_way_gets_the_whole_link() {
        let up = split(&Phase { up_bytes: 1, ..Phase::default() }, 8);
        assert_eq!((up.up, up.seconds), (1.0, 1.0));
        assert_eq!(split(&Phase::default(), 8).up, 0.5);
    }
}
