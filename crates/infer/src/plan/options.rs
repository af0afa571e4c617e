//! What the two parties settle before there is a plan: which engine runs the non-linear layers, how values are rounded,
//! over which link, and how oblivious transfers are made.
//!
//! The server answers a client's wishes with the options it serves; they are part of the plan's digest. Their encoding has
//! a fixed length and one form.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use phineus_kernel::wire::{PeerMisbehaved, Wire, check_len};
use phineus_net::shaped::{LinkError, LinkProfile};
use thiserror::Error;

use crate::cipher::InputForm;

/// Who computes the non-linear layers, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Engine {
    /// The server garbles (Delphi).
    #[default]
    Delphi,
    /// The client garbles (Cryptonite).
    ClientGarbler,
    /// Comparison by oblivious transfer.
    Ot,
    /// For every layer what takes least time over the link ([`Plan::explain`](super::Plan::explain)).
    Auto,
    /// None: the whole network is evaluated under encryption ([`crate::cipher`]).
    He,
}

/// How accumulators become activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rounding {
    /// As the clear-text reference, bit for bit.
    #[default]
    Exact,
    /// Off by at most one unit per rescale.
    Stochastic,
}

/// How correlated oblivious transfers are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Transfers {
    /// SoftSpoken: some bytes per transfer, few rounds.
    SoftSpoken,
    /// Ferret: few bytes per transfer, more rounds.
    Silent,
    /// What takes less time over the link.
    #[default]
    Auto,
}

/// The link between the parties: what a planner reckons with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Link {
    /// Payload bits per second from the client to the server.
    pub up_bits_per_second: u64,
    /// The other way.
    pub down_bits_per_second: u64,
    /// Time for an empty message and its answer.
    pub round_trip: Duration,
}

/// Everything that a plan depends on beside the public half of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Options {
    /// Of the non-linear layers.
    pub engine: Engine,
    /// Of the rescales.
    pub rounding: Rounding,
    /// Between the parties.
    pub link: Link,
    /// For all layers that need any.
    pub transfers: Transfers,
    /// What the client encrypts, where networks are evaluated under encryption.
    pub form: InputForm,
    /// Bits of the scales at least, there.
    pub precision: Precision,
}

/// Bits of the scales under encryption, on average and at least: slots are precise to about ten bits less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Precision(u8);

impl Precision {
    /// So many bits.
    ///
    /// # Errors
    /// The name of a number outside 16 to 25.
    pub fn new(bits: u32) -> Result<Self, UnknownName> {
        bits.to_string().parse()
    }

    /// How many.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    fn checked(bits: u8) -> Option<Self> {
        PRECISIONS.contains(&bits).then_some(Self(bits))
    }
}

impl Default for Precision {
    /// 24.
    fn default() -> Self {
        Self(24)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Precision {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        text.parse().ok().and_then(Self::checked).ok_or_else(|| UnknownName {
            given: text.to_owned(),
            what: "precision",
            known: format!("{} to {} bits", PRECISIONS.start(), PRECISIONS.end()),
        })
    }
}

/// Fewer bits say nothing, more do not fit the words of residues.
const PRECISIONS: std::ops::RangeInclusive<u8> = 16..=25;

/// A word that names no choice.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{given:?} is no {what}: {known}")]
pub struct UnknownName {
    given: String,
    what: &'static str,
    known: String,
}

/// Names and codes of a choice: the position in `ALL` is the code on the wire.
macro_rules! names {
    ($type:ident, $what:literal, $($variant:ident = $name:literal),* $(,)?) => {
        impl $type {
            /// All of them, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name that [`FromStr`] reads.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            pub(crate) const fn code(self) -> u8 {
                self as u8
            }

            pub(crate) fn from_code(code: u8) -> Option<Self> {
                Self::ALL.get(usize::from(code)).copied()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                let found = Self::ALL.iter().copied().find(|one| one.name() == text);
                found.ok_or_else(|| UnknownName {
                    given: text.to_owned(),
                    what: $what,
                    known: Self::ALL.iter().map(|one| one.name()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}

names!(
    Engine,
    "engine",
    Delphi = "delphi",
    ClientGarbler = "client-garbler",
    Ot = "ot",
    Auto = "auto",
    He = "he"
);
names!(InputForm, "form of the input", Any = "any", Convolution = "convolution", Message = "message");
names!(Rounding, "rounding", Exact = "exact", Stochastic = "stochastic");
names!(Transfers, "kind of transfers", SoftSpoken = "softspoken", Silent = "silent", Auto = "auto");

impl Engine {
    /// Those whose values are shared between the parties; their results equal the clear-text reference bit for bit.
    pub const ON_SHARES: &[Self] = &[Self::Delphi, Self::ClientGarbler, Self::Ot, Self::Auto];
}

impl Link {
    /// Two machines in one room: 3 Gbps, 0.3 ms.
    pub const LAN: Self = Self::symmetric(3_000_000_000, Duration::from_micros(300));
    /// Two data centres of one region: 1 Gbps, 2 ms.
    pub const METRO: Self = Self::symmetric(1_000_000_000, Duration::from_millis(2));
    /// Across a continent: 100 Mbps, 40 ms.
    pub const WAN: Self = Self::symmetric(100_000_000, Duration::from_millis(40));

    /// The same rate both ways.
    #[must_use]
    pub const fn symmetric(bits_per_second: u64, round_trip: Duration) -> Self {
        Self { up_bits_per_second: bits_per_second, down_bits_per_second: bits_per_second, round_trip }
    }

    /// Seconds that `up` and `down` bytes and `rounds` waits take, the two directions one after the other.
    #[must_use]
    pub fn seconds(&self, up: u64, down: u64, rounds: u64) -> f64 {
        let cross = |bytes: u64, rate: u64| 8.0 * bytes as f64 / rate.max(1) as f64;
        cross(up, self.up_bits_per_second)
            + cross(down, self.down_bits_per_second)
            + rounds as f64 * self.round_trip.as_secs_f64()
    }

    /// How unlike another link it is: the sum of the logarithms of the ratios of rates and round trips.
    #[must_use]
    pub fn distance(&self, other: &Self) -> f64 {
        let ratio = |a: f64, b: f64| (a / b).ln().abs();
        let rate = |f: fn(&Self) -> u64| ratio(f(self).max(1) as f64, f(other).max(1) as f64);
        // Round trips below what a loopback takes do not differ.
        let trip = |link: &Self| link.round_trip.as_secs_f64().max(2e-5);
        rate(|l| l.up_bits_per_second) + rate(|l| l.down_bits_per_second) + ratio(trip(self), trip(other))
    }

    fn is_possible(&self) -> bool {
        let rates = [self.up_bits_per_second, self.down_bits_per_second];
        rates.iter().all(|rate| RATES.contains(rate)) && self.round_trip <= LONGEST
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::LAN
    }
}

impl From<LinkProfile> for Link {
    fn from(profile: LinkProfile) -> Self {
        Self::symmetric(profile.bits_per_second(), profile.rtt())
    }
}

impl FromStr for Link {
    type Err = LinkError;

    /// As [`LinkProfile`] is written: `lan`, `metro`, `wan`, or `100Mbps,40ms`.
    fn from_str(text: &str) -> Result<Self, LinkError> {
        text.parse().map(LinkProfile::into)
    }
}

impl Options {
    /// Bytes of their encoding.
    pub(crate) const WIRE_LEN: usize = 5 + 24;

    /// The default of everything but the engine.
    #[must_use]
    pub fn of(engine: Engine) -> Self {
        Self { engine, ..Self::default() }
    }
}

impl FromStr for Options {
    type Err = UnknownName;

    /// The preset of an engine's name.
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Ok(Self::of(name.parse()?))
    }
}

/// Rates that a link may have: 1 kbps to 1 Tbps.
const RATES: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000;
/// Longest round trip.
const LONGEST: Duration = Duration::from_secs(10);

impl Wire for Link {
    type Spec = ();
    const NAME: &'static str = "plan.link";

    fn wire_len((): &()) -> usize {
        24
    }

    fn encode(&self, out: &mut Vec<u8>) {
        // Links that can be encoded have at most ten seconds of round trip.
        let nanos = self.round_trip.min(LONGEST).as_nanos() as u64;
        for word in [self.up_bits_per_second, self.down_bits_per_second, nanos] {
            out.extend(word.to_le_bytes());
        }
    }

    fn decode(bytes: &[u8], spec: &()) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(spec))?;
        let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut word = || words.next().unwrap_or_default();
        let link = Self {
            up_bits_per_second: word(),
            down_bits_per_second: word(),
            round_trip: Duration::from_nanos(word()),
        };
        link.is_possible().then_some(link).ok_or(invalid(Self::NAME, "no possible link"))
    }
}

impl Wire for Options {
    type Spec = ();
    const NAME: &'static str = "plan.options";

    fn wire_len((): &()) -> usize {
        Self::WIRE_LEN
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.engine.code(), self.rounding.code(), self.transfers.code()]);
        out.extend([self.form.code(), self.precision.0]);
        self.link.encode(out);
    }

    fn decode(bytes: &[u8], spec: &()) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(spec))?;
        Ok(Self {
            engine: Engine::from_code(bytes[0]).ok_or(invalid(Self::NAME, "unknown engine"))?,
            rounding: Rounding::from_code(bytes[1]).ok_or(invalid(Self::NAME, "unknown rounding"))?,
            transfers: Transfers::from_code(bytes[2]).ok_or(invalid(Self::NAME, "unknown transfers"))?,
            form: InputForm::from_code(bytes[3]).ok_or(invalid(Self::NAME, "unknown form of the input"))?,
            precision: Precision::checked(bytes[4]).ok_or(invalid(Self::NAME, "no possible precision"))?,
            link: Link::decode(&bytes[5..], spec)?,
        })
    }
}

fn invalid(what: &'static str, reason: &'static str) -> PeerMisbehaved {
    PeerMisbehaved::Invalid { what, reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_options() -> impl Strategy<Value = Options> {
        let link = (RATES, RATES, 0_u64..=10_000_000_000).prop_map(|(up, down, nanos)| Link {
            up_bits_per_second: up,
            down_bits_per_second: down,
            round_trip: Duration::from_nanos(nanos),
        });
        let pick = |all: &'static [Engine]| prop::sample::select(all);
        (pick(Engine::ALL), prop::sample::select(Rounding::ALL), prop::sample::select(Transfers::ALL), link)
            .prop_flat_map(|(engine, rounding, transfers, link)| {
                let rest = (prop::sample::select(InputForm::ALL), PRECISIONS);
                rest.prop_map(move |(form, precision)| Options {
                    engine,
                    rounding,
                    link,
                    transfers,
                    form,
                    precision: Precision(precision),
                })
            })
    }

    proptest! {
        #[test]
        fn options_have_one_encoding(
            options in any_options(), at in 0_usize..29, with: u8, bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut encoded = Vec::new();
            options.encode(&mut encoded);
            prop_assert_eq!(encoded.len(), Options::wire_len(&()));
            prop_assert_eq!(Options::decode(&encoded, &()), Ok(options));
            encoded[at] ^= with;
            for bytes in [encoded, bytes] {
                if let Ok(other) = Options::decode(&bytes, &()) {
                    let mut again = Vec::new();
                    other.encode(&mut again);
                    prop_assert_eq!(again, bytes);
                }
            }
        }
    }

    #[test]
    fn impossible_options_are_refused() {
        let mut encoded = Vec::new();
        Options::default().encode(&mut encoded);
        for (at, bytes) in [
            (0, &[99][..]),
            (1, &[2]),
            (2, &[3]),
            (3, &[99]),
            (4, &[15]),
            (4, &[26]),
            (5, &[0; 8]),
            (13, &[0xff; 8]),
            (21, &[0xff; 8]),
        ] {
            let mut bad = encoded.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            assert!(matches!(Options::decode(&bad, &()), Err(PeerMisbehaved::Invalid { .. })), "{at}");
        }
        assert!(matches!(Options::decode(&encoded[1..], &()), Err(PeerMisbehaved::Length { .. })));
    }

    #[test]
    fn names_are_read_back() {
        for engine in Engine::ALL {
            assert_eq!(engine.name().parse(), Ok(*engine));
            assert_eq!(engine.name().parse::<Options>().unwrap().engine, *engine);
            assert_eq!(Engine::from_code(engine.code()), Some(*engine));
        }
        let error = "cheetah".parse::<Engine>().unwrap_err().to_string();
        assert!(error.contains("cheetah") && error.contains("delphi"), "{error}");
        assert_eq!("wan".parse(), Ok(Link::WAN));
    }

    #[test]
    fn the_nearest_link_is_the_one_most_alike() {
        let like = |link: Link| {
            let all = [Link::LAN, Link::METRO, Link::WAN];
            all.into_iter().min_by(|a, b| a.distance(&link).total_cmp(&b.distance(&link))).unwrap()
        };
        assert_eq!(like(Link::symmetric(50_000_000, Duration::from_millis(80))), Link::WAN);
        assert_eq!(like(Link::symmetric(10_000_000_000, Duration::from_micros(50))), Link::LAN);
        assert_eq!(like(Link::METRO), Link::METRO);
        assert!((Link::WAN.seconds(12_500_000, 0, 2) - 1.08).abs() < 1e-9);
    }
}
