//! What a link is like: its rate and its round trip.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// Rate and round-trip time of a link, the same in both directions.
///
/// Written `lan`, `metro`, `wan`, or `RATE,RTT` as in `250Mbps,12.5ms`; rates in `bps`, `kbps`, `Mbps`, `Gbps`, times
/// in `us`, `ms`, `s`. What [`Display`](fmt::Display) writes parses to the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkProfile {
    bits_per_second: u64,
    rtt: Duration,
}

impl LinkProfile {
    /// Two machines in one room: 3 Gbps, 0.3 ms.
    pub const LAN: Self = Self { bits_per_second: 3_000_000_000, rtt: Duration::from_micros(300) };
    /// Two data centres of one region: 1 Gbps, 2 ms.
    pub const METRO: Self = Self { bits_per_second: 1_000_000_000, rtt: Duration::from_millis(2) };
    /// Across a continent: 100 Mbps, 40 ms.
    pub const WAN: Self = Self { bits_per_second: 100_000_000, rtt: Duration::from_millis(40) };

    /// A link that carries `bits_per_second` of payload (1 kbps to 1 Tbps) and takes `rtt` (at most 10 s) for an
    /// empty message and its answer.
    ///
    /// # Errors
    /// [`LinkError::Range`].
    pub fn new(bits_per_second: u64, rtt: Duration) -> Result<Self, LinkError> {
        let link = Self { bits_per_second, rtt };
        let possible =
            (1_000..=1_000_000_000_000).contains(&bits_per_second) && rtt <= Duration::from_secs(10);
        if possible { Ok(link) } else { Err(LinkError::Range(link.numbers())) }
    }

    /// Payload bits per second in each direction.
    #[must_use]
    pub fn bits_per_second(self) -> u64 {
        self.bits_per_second
    }

    /// Time for an empty message and its answer.
    #[must_use]
    pub fn rtt(self) -> Duration {
        self.rtt
    }

    /// How long the link is busy with so many bytes.
    #[must_use]
    pub fn transmission(self, bytes: usize) -> Duration {
        let nanos = bytes as u128 * 8 * 1_000_000_000 / u128::from(self.bits_per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Bytes that cross in `time`.
    pub(super) fn capacity(self, time: Duration) -> usize {
        let bytes = time.as_nanos() * u128::from(self.bits_per_second) / 8 / 1_000_000_000;
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    fn numbers(self) -> String {
        let rate = in_largest_unit(self.bits_per_second as f64, &RATES);
        let rtt = in_largest_unit(self.rtt.as_nanos() as f64, &TIMES);
        format!("{rate},{rtt}")
    }
}

/// Text that describes no link.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LinkError {
    /// Neither a name nor a rate and a time.
    #[error("{0:?} is no link: lan, metro, wan, or a rate and a round trip such as 100Mbps,40ms")]
    Unreadable(String),
    /// Outside 1 kbps to 1 Tbps or 0 to 10 s.
    #[error("{0} is out of range: 1 kbps to 1 Tbps, round trip at most 10 s")]
    Range(String),
}

impl FromStr for LinkProfile {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        if let Some((_, link)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(*link);
        }
        let parts = text
            .split_once(',')
            .and_then(|(rate, rtt)| Some((measure(rate, &RATES)?, measure(rtt, &TIMES)?)));
        let (rate, rtt) = parts.ok_or_else(|| LinkError::Unreadable(text.into()))?;
        // Floating point saturates, and both ends of the range of u64 are refused.
        Self::new(rate.round() as u64, Duration::from_nanos(rtt.round() as u64))
    }
}

impl fmt::Display for LinkProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMED.iter().find(|(_, link)| link == self) {
            Some((name, _)) => f.write_str(name),
            None => f.write_str(&self.numbers()),
        }
    }
}

/// A number and one of the units, in the smallest unit.
fn measure(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[number.len()..];
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    let number: f64 = number.trim().parse().ok()?;
    (number >= 0.0).then_some(number * factor)
}

/// The inverse of [`measure`].
fn in_largest_unit(value: f64, units: &[(&str, f64)]) -> String {
    let fits = units.iter().rev().find(|(_, factor)| value >= *factor).or(units.first());
    fits.map_or_else(String::new, |(name, factor)| format!("{}{name}", value / factor))
}

const NAMED: [(&str, LinkProfile); 3] =
    [("lan", LinkProfile::LAN), ("metro", LinkProfile::METRO), ("wan", LinkProfile::WAN)];
const RATES: [(&str, f64); 4] = [("bps", 1.0), ("kbps", 1e3), ("Mbps", 1e6), ("Gbps", 1e9)];
const TIMES: [(&str, f64); 4] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_numbers_are_read() {
        let read = |text: &str| text.parse::<LinkProfile>();
        assert_eq!(read("lan"), Ok(LinkProfile::LAN));
        assert_eq!(read("1Gbps,2ms"), Ok(LinkProfile::METRO));
        assert_eq!(read("0.1gbps, 0.04 s"), Ok(LinkProfile::WAN));
        assert_eq!(LinkProfile::WAN.to_string(), "wan");
        assert_eq!(read("12.5kbps,700us").unwrap().to_string(), "12.5kbps,700us");
        assert_eq!(read("1Mbps,0ms").unwrap().rtt(), Duration::ZERO);
        for text in [
            "",
            "lan ",
            "dsl",
            "1Gbps",
            "1,2",
            "1Gbps,2",
            "-1Gbps,1ms",
            "NaNMbps,1ms",
            "1Gbps,1ms,1ms",
            "1Gb,1ms",
        ] {
            assert!(matches!(read(text), Err(LinkError::Unreadable(_))), "{text}");
        }
        for text in ["999bps,1ms", "1001Gbps,1ms", "1Gbps,10.1s", "1e300Gbps,1ms", "1Gbps,1e300s"] {
            assert!(matches!(read(text), Err(LinkError::Range(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_displayed_parses_to_the_same_link(bits in 1_000u64..=1_000_000_000_000, nanos in 0u64..=10_000_000_000) {
            let link = LinkProfile::new(bits, Duration::from_nanos(nanos)).unwrap();
            prop_assert_eq!(link.to_string().parse(), Ok(link));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,24}") {
            let _ = text.parse::<LinkProfile>();
        }
    }

    #[test]
    fn transmission_and_capacity_are_inverse() {
        assert_eq!(LinkProfile::WAN.transmission(12_500_000), Duration::from_secs(1));
        assert_eq!(LinkProfile::WAN.capacity(Duration::from_millis(20)), 250_000);
    }
}
