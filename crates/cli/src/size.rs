//! A number of bytes on the command line.

use std::str::FromStr;

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

#[cfg(test)]
mod tests {
    use super::*;

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
