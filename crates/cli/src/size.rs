//! A number of bytes, or of bits per second, on the command line.

use std::str::FromStr;

use phineus_net::shaped::LinkProfile;

/// Bytes, written with a decimal unit: `300MB`, `1.5GB`, `64kB`, `8TB`, or a bare number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_lowercase();
        let unit = |(suffix, factor): (&str, f64)| lower.strip_suffix(suffix).map(|number| (number, factor));
        let (number, factor) = [("tb", 1e12), ("gb", 1e9), ("mb", 1e6), ("kb", 1e3), ("b", 1.0), ("", 1.0)]
            .into_iter()
            .find_map(unit)
            .unwrap_or((&lower, 1.0));
        match number.trim().parse::<f64>() {
            Ok(n) if n.is_finite() && n >= 0.0 && n * factor < 1e18 => Ok(Self((n * factor).round() as u64)),
            _ => Err(format!("{text:?} is no number of bytes: write 300MB or 16GB")),
        }
    }
}

/// Bits per second, written as those of a link: `100Mbps`, `2.5Gbps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) u64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let link: Result<LinkProfile, _> = format!("{text},0ms").parse();
        link.map(|link| Self(link.bits_per_second()))
            .map_err(|_| format!("{text:?} is no rate: write 100Mbps or 2.5Gbps"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_links() {
        assert_eq!("100Mbps".parse(), Ok(Rate(100_000_000)));
        assert_eq!("2.5 gbps".parse(), Ok(Rate(2_500_000_000)));
        for bad in ["", "wan", "100", "-1Mbps", "9999Gbps", "1Mbps,2ms"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_decimal_units() {
        let read = |text: &str| text.parse::<Size>().map(|s| s.0);
        assert_eq!(read("300MB"), Ok(300_000_000));
        assert_eq!(read(" 1.5 gb "), Ok(1_500_000_000));
        assert_eq!(read("17"), Ok(17));
        for bad in ["", "GB", "-1MB", "1XB", "nan", "inf", "1e30"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
