//! The handshake: protocol version, model, and the digest of the plan that binds everything else.
//!
//! The client says which model it wants and, if it has one, which plan digest it insists on. The server answers
//! with the public half of the model. Both derive the plan from it, and the client sends the digest *it* arrived
//! at before any key or share; the server compares. Whatever differs (version, graph, widths, parameters,
//! packings) ends the session here.

use phineus_kernel::wire::{PeerMisbehaved, Wire, check_len};
use phineus_net::Step;

/// Version of the wire protocol. Any change of any message raises it.
pub(crate) const VERSION: u16 = 1;

pub(crate) const HELLO: Step = Step::new("session.hello");
pub(crate) const WELCOME: Step = Step::new("session.welcome");
pub(crate) const AGREE: Step = Step::new("session.agree");
pub(crate) const COMMAND: Step = Step::new("session.command");
pub(crate) const KEYS: Step = Step::new("session.keys");
pub(crate) const READY: Step = Step::new("session.ready");
pub(crate) const GO: Step = Step::new("session.go");
pub(crate) const STATS: Step = Step::new("session.stats");

const MAGIC: [u8; 8] = *b"PHINEUS\0";
const NAME_LEN: usize = 64;

/// Largest public half of a model that a client accepts.
pub(crate) const MAX_PUBLIC: usize = 16 << 20;

/// What the client opens with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) version: u16,
    /// Empty: the server's only model.
    pub(crate) model: String,
    /// The plan that the client insists on.
    pub(crate) pinned: Option<[u8; 32]>,
}

impl Wire for Hello {
    type Spec = ();
    const NAME: &'static str = "session.hello";

    fn wire_len((): &()) -> usize {
        MAGIC.len() + 2 + 1 + 32 + 1 + NAME_LEN
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(MAGIC);
        out.extend(self.version.to_le_bytes());
        out.push(u8::from(self.pinned.is_some()));
        out.extend(self.pinned.unwrap_or_default());
        let name = self.model.as_bytes();
        let name = &name[..name.len().min(NAME_LEN)];
        out.push(name.len() as u8);
        out.extend(name);
        out.resize(out.len() + NAME_LEN - name.len(), 0);
    }

    fn decode(bytes: &[u8], spec: &()) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(spec))?;
        let invalid = |reason| PeerMisbehaved::Invalid { what: Self::NAME, reason };
        let mut rest = bytes;
        let mut take = |n: usize| {
            let (head, tail) = rest.split_at(n);
            rest = tail;
            head
        };
        if take(MAGIC.len()) != MAGIC {
            return Err(invalid("not a Phineus client"));
        }
        let version = take(2).iter().rev().fold(0, |v, b| v << 8 | u16::from(*b));
        let flag = take(1)[0];
        let mut digest = [0; 32];
        digest.copy_from_slice(take(32));
        let pinned = match flag {
            0 if digest == [0; 32] => None,
            1 => Some(digest),
            _ => return Err(invalid("digest flag")),
        };
        let len = usize::from(take(1)[0]);
        let (name, padding) = take(NAME_LEN).split_at_checked(len).ok_or(invalid("length of the name"))?;
        if padding.iter().any(|b| *b != 0) {
            return Err(invalid("padding of the name"));
        }
        let model = std::str::from_utf8(name).map_err(|_| invalid("name is not UTF-8"))?.to_owned();
        Ok(Self { version, model, pinned })
    }
}

/// What the client may ask for once the plan is agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Make so many pre-computes, their linear layers together.
    Prepare(u32),
    /// Run an inference on the pre-compute of this id.
    Infer([u8; 16]),
    /// Nothing more.
    Bye,
}

impl Wire for Command {
    type Spec = ();
    const NAME: &'static str = "session.command";

    fn wire_len((): &()) -> usize {
        17
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let (code, id) = match self {
            Self::Prepare(count) => {
                let mut argument = [0; 16];
                argument[..4].copy_from_slice(&count.to_le_bytes());
                (1, argument)
            }
            Self::Infer(id) => (2, *id),
            Self::Bye => (3, [0; 16]),
        };
        out.push(code);
        out.extend(id);
    }

    fn decode(bytes: &[u8], spec: &()) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(spec))?;
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[1..]);
        match (bytes[0], id) {
            (1, [a, b, c, d, rest @ ..]) if rest == [0; 12] => {
                Ok(Self::Prepare(u32::from_le_bytes([a, b, c, d])))
            }
            (2, id) => Ok(Self::Infer(id)),
            (3, [0, ..]) if id == [0; 16] => Ok(Self::Bye),
            _ => Err(PeerMisbehaved::Invalid { what: Self::NAME, reason: "unknown command" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn hello_round_trips_and_survives_any_bytes(
            version: u16, model in "[a-z0-9-]{0,64}", pinned: Option<[u8; 32]>,
            flips in proptest::collection::vec((0usize..108, any::<u8>()), 0..4),
        ) {
            let hello = Hello { version, model, pinned };
            let mut bytes = Vec::new();
            hello.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), Hello::wire_len(&()));
            prop_assert_eq!(&Hello::decode(&bytes, &()).unwrap(), &hello);
            for (at, with) in flips {
                bytes[at] ^= with;
            }
            if let Ok(other) = Hello::decode(&bytes, &()) {
                let mut again = Vec::new();
                other.encode(&mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn commands_have_one_encoding() {
        for command in [Command::Prepare(1), Command::Prepare(70_000), Command::Infer([9; 16]), Command::Bye]
        {
            let mut bytes = Vec::new();
            command.encode(&mut bytes);
            assert_eq!(Command::decode(&bytes, &()).unwrap(), command);
        }
        assert!(Command::decode(&[0; 17], &()).is_err());
        assert!(Command::decode(&[4; 17], &()).is_err());
        assert!(Command::decode(&[1; 17], &()).is_err());
        assert!(Command::decode(&[2; 16], &()).is_err());
    }
}
