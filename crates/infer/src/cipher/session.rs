//! A connection between a client and a server for networks under encryption.
//!
//! | step | direction | content |
//! |---|---|---|
//! | hello | C -> S | version, model name, the client's token |
//! | welcome | S -> C | version, input form, precision, gain, the public half of the model |
//! | agree | C -> S | digest of the scheme that the client derived |
//! | known | S -> C | whether the server has the client's keys for it |
//! | keys | C -> S | public key and evaluation keys, unless it has |
//! | request | C -> S | encrypted inputs; empty: goodbye |
//! | reply | S -> C | encrypted results |
//!
//! One round per inference. All lengths follow from the scheme, which both derive from the public half of the model and
//! compare by digest. Any failure ends the session and is told to the other.
//!
//! Security: semi-honest. The server sees encryptions under keys that never leave the client; the client sees replies with
//! fresh randomness and flooded noise ([`phineus_he::slots`]), and only slots that hold results: programs end with clean
//! layouts. What a client decrypts must not be sent back to the server; nothing here does.

use phineus_he::slots::SlotsError;
use phineus_kernel::wire::{PeerMisbehaved, Wire, check_len};
use phineus_model::phn::PhnError;
use phineus_net::{ChannelError, Step};

use super::reach::InputForm;
use super::service::ServiceError;

pub mod client;
pub mod server;
#[cfg(test)]
mod tests;

/// Version of these messages.
const VERSION: u16 = 1;
const HELLO: Step = Step::new("cipher.hello");
const WELCOME: Step = Step::new("cipher.welcome");
const AGREE: Step = Step::new("cipher.agree");
const KNOWN: Step = Step::new("cipher.known");
const PUBLIC_KEY: Step = Step::new("cipher.public-key");
const KEYS: Step = Step::new("cipher.keys");
const COMMAND: Step = Step::new("cipher.command");
const REQUEST: Step = Step::new("cipher.request");
const REPLY: Step = Step::new("cipher.reply");

const MAGIC: [u8; 8] = *b"PHINEUS\x01";
const NAME_LEN: usize = 64;
/// Largest public half of a model that a client accepts.
const MAX_PUBLIC: usize = 16 << 20;
/// Bits of precision that a client accepts, as few and as many.
const PRECISIONS: std::ops::RangeInclusive<u8> = 16..=27;

/// A failure of a session; it names the place and holds no secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The channel failed or the peer misbehaved.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The scheme refused.
    #[error("encryption: {0}")]
    Slots(#[from] SlotsError),
    /// The model is not one for this engine.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// What the server sent is no public half of a model.
    #[error("the server's model: {0}")]
    Public(#[from] PhnError),
    /// Another version of the protocol.
    #[error("protocol version {ours} here, {theirs} there")]
    Version {
        /// This side's.
        ours: u16,
        /// The peer's.
        theirs: u16,
    },
    /// No such model.
    #[error("no model `{0}` is served under encryption")]
    Unknown(String),
    /// The parties derived different schemes.
    #[error("the two sides derived different schemes from the same model")]
    SchemeDiffers,
    /// An input that the network does not take.
    #[error("the network takes {expected} numbers up to {most} in size; {got} were given")]
    Input {
        /// Numbers that it takes.
        expected: usize,
        /// Their largest absolute value.
        most: f64,
        /// Numbers given.
        got: usize,
    },
}

impl From<PeerMisbehaved> for SessionError {
    fn from(error: PeerMisbehaved) -> Self {
        Self::Channel(error.into())
    }
}

/// What the client opens with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hello {
    version: u16,
    /// Empty: the server's only model.
    model: String,
    token: [u8; 32],
}

/// What the server answers before the public half of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Terms {
    version: u16,
    form: InputForm,
    precision: u8,
    /// Results are 2^gain times the logits.
    gain: i16,
}

/// What the client wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Infer,
    Bye,
}

impl Wire for Hello {
    type Spec = ();
    const NAME: &'static str = "cipher.hello";

    fn wire_len((): &()) -> usize {
        MAGIC.len() + 2 + 1 + NAME_LEN + 32
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let end = out.len() + Self::wire_len(&());
        out.extend(MAGIC);
        out.extend(self.version.to_le_bytes());
        out.extend(self.token);
        let name = self.model.as_bytes();
        let name = &name[..name.len().min(NAME_LEN)];
        out.push(name.len() as u8);
        out.extend(name);
        out.resize(end, 0);
    }

    fn decode(bytes: &[u8], spec: &()) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(spec))?;
        let invalid = |reason| PeerMisbehaved::Invalid { what: Self::NAME, reason };
        let (magic, rest) = bytes.split_at(MAGIC.len());
        let (version, rest) = rest.split_at(2);
        let (token, rest) = rest.split_at(32);
        let (len, rest) = rest.split_at(1);
        if magic != MAGIC {
            return Err(invalid("not a client of this engine"));
        }
        let (name, padding) =
            rest.split_at_checked(usize::from(len[0])).ok_or(invalid("length of the name"))?;
        if padding.iter().any(|b| *b != 0) {
            return Err(invalid("padding of the name"));
        }
        let model = std::str::from_utf8(name).map_err(|_| invalid("name is not UTF-8"))?.to_owned();
        let mut fixed = [0; 32];
        fixed.copy_from_slice(token);
        Ok(Self { version: u16::from_le_bytes([version[0], version[1]]), model, token: fixed })
    }
}

const FORMS: [InputForm; 3] = [InputForm::Any, InputForm::Convolution, InputForm::Message];

impl Wire for Terms {
    type Spec = ();
    const NAME: &'static str = "cipher.terms";

    fn wire_len((): &()) -> usize {
        6
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.version.to_le_bytes());
        out.push(FORMS.iter().position(|form| *form == self.form).unwrap_or(0) as u8);
        out.push(self.precision);
        out.extend(self.gain.to_le_bytes());
    }

    fn decode(bytes: &[u8], spec: &()) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(spec))?;
        let invalid = |reason| PeerMisbehaved::Invalid { what: Self::NAME, reason };
        let form = FORMS.get(usize::from(bytes[2])).copied().ok_or(invalid("unknown form of the input"))?;
        let precision = Some(bytes[3]).filter(|p| PRECISIONS.contains(p)).ok_or(invalid("precision"))?;
        let version = u16::from_le_bytes([bytes[0], bytes[1]]);
        Ok(Self { version, form, precision, gain: i16::from_le_bytes([bytes[4], bytes[5]]) })
    }
}

impl Wire for Command {
    type Spec = ();
    const NAME: &'static str = "cipher.command";

    fn wire_len((): &()) -> usize {
        1
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Bye => 0,
            Self::Infer => 1,
        });
    }

    fn decode(bytes: &[u8], spec: &()) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(spec))?;
        match bytes[0] {
            0 => Ok(Self::Bye),
            1 => Ok(Self::Infer),
            _ => Err(PeerMisbehaved::Invalid { what: Self::NAME, reason: "unknown command" }),
        }
    }
}
