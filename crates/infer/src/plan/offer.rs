//! What a client wishes for, what a server offers, and the options they come to.

use phineus_kernel::wire::{PeerMisbehaved, Wire, check_len};
use thiserror::Error;

use super::options::{Engine, Link, Options, Precision, Rounding, Transfers};
use crate::cipher::InputForm;

/// What a client asks for; the server chooses whatever it leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wishes {
    /// Of the non-linear layers.
    pub engine: Option<Engine>,
    /// Of the rescales.
    pub rounding: Option<Rounding>,
    /// As the client sees it.
    pub link: Option<Link>,
    /// Of what it encrypts, where networks are evaluated under encryption.
    pub form: Option<InputForm>,
}

/// What a server is willing to run: each list holds at least one entry to be of use, and the first is its choice where
/// the client has no wish. Without a wish, rounding is exact.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// Engines that it serves.
    pub engines: Vec<Engine>,
    /// Roundings that it serves.
    pub roundings: Vec<Rounding>,
    /// Links that it has plans for; a client gets the one that is most like its own.
    pub links: Vec<Link>,
    /// How transfers are made, whatever the client wishes.
    pub transfers: Transfers,
    /// What clients may encrypt.
    pub forms: Vec<InputForm>,
    /// Of networks under encryption, whatever the client wishes.
    pub precision: Precision,
}

/// A wish that the server does not fulfil.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} {wanted:?} is not served; served: {served}")]
pub struct NotOffered {
    what: &'static str,
    wanted: String,
    served: String,
}

impl Wishes {
    /// Whether options are among those asked for. The link is a hint: any will do.
    #[must_use]
    pub fn fulfilled_by(&self, options: &Options) -> bool {
        self.engine.is_none_or(|engine| engine == options.engine)
            && (options.engine != Engine::He || self.form.is_none_or(|form| form == options.form))
            && self
                .rounding
                .map_or(options.rounding == Rounding::Exact, |rounding| rounding == options.rounding)
    }
}

impl Default for Offer {
    /// Every engine that there is, the default one first, exactly, for all named links.
    fn default() -> Self {
        Self {
            engines: Engine::ALL.to_vec(),
            roundings: vec![Rounding::Exact],
            links: vec![Link::LAN, Link::METRO, Link::WAN],
            transfers: Transfers::default(),
            forms: InputForm::ALL.to_vec(),
            precision: Precision::default(),
        }
    }
}

impl Offer {
    /// The options that a client gets. Their number is bounded by the lengths of the lists, whatever clients say.
    ///
    /// # Errors
    /// [`NotOffered`].
    pub fn answer(&self, wishes: &Wishes) -> Result<Options, NotOffered> {
        let alike = |wish: &Link| {
            let nearer = |a: &&Link, b: &&Link| a.distance(wish).total_cmp(&b.distance(wish));
            self.links.iter().min_by(nearer)
        };
        let link = wishes.link.as_ref().map_or(self.links.first(), alike);
        let engine = pick("engine", &self.engines, wishes.engine, Engine::name)?;
        Ok(Options {
            engine,
            rounding: pick(
                "rounding",
                &self.roundings,
                Some(wishes.rounding.unwrap_or_default()),
                Rounding::name,
            )?,
            link: link.copied().unwrap_or_default(),
            transfers: self.transfers,
            // Without encryption plans do not depend on it.
            form: match engine {
                Engine::He => pick("form of the input", &self.forms, wishes.form, InputForm::name)?,
                _ => InputForm::default(),
            },
            precision: self.precision,
        })
    }

    /// The options of a client that accepts whatever comes first.
    ///
    /// # Errors
    /// [`NotOffered`] if a list is empty.
    pub fn first(&self) -> Result<Options, NotOffered> {
        self.answer(&Wishes { rounding: self.roundings.first().copied(), ..Wishes::default() })
    }
}

fn pick<T: Copy + PartialEq>(
    what: &'static str,
    served: &[T],
    wish: Option<T>,
    name: fn(T) -> &'static str,
) -> Result<T, NotOffered> {
    let found = match wish {
        Some(wish) => served.iter().copied().find(|one| *one == wish),
        None => served.first().copied(),
    };
    found.ok_or_else(|| NotOffered {
        what,
        wanted: wish.map_or("", name).to_owned(),
        served: served.iter().map(|one| name(*one)).collect::<Vec<_>>().join(", "),
    })
}

/// The code of no wish.
const OPEN: u8 = u8::MAX;

impl Wire for Wishes {
    type Spec = ();
    const NAME: &'static str = "session.wishes";

    fn wire_len(spec: &()) -> usize {
        4 + Link::wire_len(spec)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.engine.map_or(OPEN, Engine::code));
        out.push(self.rounding.map_or(OPEN, Rounding::code));
        out.push(self.form.map_or(OPEN, InputForm::code));
        out.push(u8::from(self.link.is_some()));
        match &self.link {
            Some(link) => link.encode(out),
            None => out.resize(out.len() + Link::wire_len(&()), 0),
        }
    }

    fn decode(bytes: &[u8], spec: &()) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(spec))?;
        let invalid = |reason| PeerMisbehaved::Invalid { what: Self::NAME, reason };
        let engine = match bytes[0] {
            OPEN => None,
            code => Some(Engine::from_code(code).ok_or(invalid("unknown engine"))?),
        };
        let rounding = match bytes[1] {
            OPEN => None,
            code => Some(Rounding::from_code(code).ok_or(invalid("unknown rounding"))?),
        };
        let form = match bytes[2] {
            OPEN => None,
            code => Some(InputForm::from_code(code).ok_or(invalid("unknown form of the input"))?),
        };
        let link = match (bytes[3], &bytes[4..]) {
            (0, zeros) if zeros.iter().all(|b| *b == 0) => None,
            (1, link) => Some(Link::decode(link, spec)?),
            _ => return Err(invalid("flag of the link")),
        };
        Ok(Self { engine, rounding, link, form })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn wishes_have_one_encoding(
            engine in prop::option::of(prop::sample::select(Engine::ALL)),
            rounding in prop::option::of(prop::sample::select(Rounding::ALL)),
            link in prop::option::of((1_000_u64..1_000_000_000, 0_u64..1_000_000)),
            form in prop::option::of(prop::sample::select(InputForm::ALL)),
            at in 0_usize..28, with: u8,
        ) {
            let link = link.map(|(rate, micros)| Link::symmetric(rate, Duration::from_micros(micros)));
            let wishes = Wishes { engine, rounding, link, form };
            let mut bytes = Vec::new();
            wishes.encode(&mut bytes);
            prop_assert_eq!(Wishes::decode(&bytes, &()), Ok(wishes));
            bytes[at] ^= with;
            if let Ok(other) = Wishes::decode(&bytes, &()) {
                let mut again = Vec::new();
                other.encode(&mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn a_wish_is_granted_or_refused_by_name() {
        let offer = Offer { engines: vec![Engine::Ot, Engine::Delphi], ..Offer::default() };
        let answer = |wishes: Wishes| offer.answer(&wishes);
        assert_eq!(answer(Wishes::default()), Ok(Options::of(Engine::Ot)));
        let delphi = Wishes { engine: Some(Engine::Delphi), ..Wishes::default() };
        assert_eq!(answer(delphi), Ok(Options::default()));
        let garbler = Wishes { engine: Some(Engine::ClientGarbler), ..Wishes::default() };
        let error = answer(garbler).unwrap_err().to_string();
        assert_eq!(error, "engine \"client-garbler\" is not served; served: ot, delphi");
        let stochastic = Wishes { rounding: Some(Rounding::Stochastic), ..Wishes::default() };
        assert!(answer(stochastic).is_err());
        let rough = Offer { roundings: vec![Rounding::Stochastic], ..offer.clone() };
        assert!(rough.answer(&Wishes::default()).is_err());
        assert_eq!(rough.first().unwrap().rounding, Rounding::Stochastic);
        let far = Link::symmetric(20_000_000, Duration::from_millis(90));
        assert_eq!(answer(Wishes { link: Some(far), ..Wishes::default() }).unwrap().link, Link::WAN);
    }
}
