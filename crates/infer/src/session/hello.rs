//! The handshake: protocol version, model, and the digest of the plan that binds everything else.
//!
//! The client says which model it wants, what it wishes for and, if it has one, which plan digest it insists on. The
//! server answers with the options it serves and the public half of the model. Both derive the plan from it, and the client sends the digest *it* arrived
//! at before any key or share; the server compares. Whatever differs (version, graph, widths, parameters,
//! packings) ends the session here.

use phineus_kernel::wire::{PeerMisbehaved, Wire, check_len};
use phineus_net::Step;

use crate::plan::{Options, Wishes};
use crate::schedule::Priority;
use crate::store::PoolId;

/// Version of the wire protocol. Any change of any message raises it.
pub(crate) const VERSION: u16 = 5;

pub(crate) const HELLO: Step = Step::new("session.hello");
pub(crate) const WELCOME: Step = Step::new("session.welcome");
pub(crate) const AGREE: Step = Step::new("session.agree");
pub(crate) const AGREED: Step = Step::new("session.agreed");
pub(crate) const COMMAND: Step = Step::new("session.command");
pub(crate) const READY: Step = Step::new("session.ready");
pub(crate) const GO: Step = Step::new("session.go");
pub(crate) const STATS: Step = Step::new("session.stats");

const MAGIC: [u8; 8] = *b"PHINEUS\0";
/// Longest name of a model.
pub(crate) const NAME_LEN: usize = 64;

/// Bytes of the welcome before the public half of the model: version, nonce, the store's name and count, options.
pub(crate) const WELCOME_HEAD: usize = 2 + 32 + 16 + 8 + Options::WIRE_LEN;

/// Bytes of the client's agreement: nonce, digest, the store's count, whether it still has what the two prepared, and the
/// name of the keys that it has sent earlier.
pub(crate) const AGREE_LEN: usize = 32 + 32 + 8 + 1 + 32;

/// Bytes of the server's: whether it still has what the two prepared, and whether it has those keys.
pub(crate) const AGREED_LEN: usize = 2;

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
    pub(crate) wishes: Wishes,
    /// Of the client's store.
    pub(crate) pool: PoolId,
}

impl Wire for Hello {
    type Spec = ();
    const NAME: &'static str = "session.hello";

    fn wire_len(spec: &()) -> usize {
        MAGIC.len() + 2 + 1 + 32 + 1 + NAME_LEN + Wishes::wire_len(spec) + 16
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
        self.wishes.encode(out);
        out.extend(self.pool.bytes());
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
        let wishes = Wishes::decode(take(Wishes::wire_len(spec)), spec)?;
        let mut pool = [0; 16];
        pool.copy_from_slice(take(16));
        Ok(Self { version, model, pinned, wishes, pool: PoolId::from_bytes(pool) })
    }
}

/// What the client may ask for once the plan is agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Make so many pre-computes, their linear layers together under the plan of this digest; somebody waits for
    /// them, or they are for later.
    Prepare(u32, [u8; 32], Priority),
    /// Run an inference on the pre-compute of this id.
    Infer([u8; 16]),
    /// Evaluate the network on so many inputs under encryption.
    Evaluate(u32),
    /// Nothing more.
    Bye,
    /// Nothing more, and both keep their ends of the oblivious transfers for the next session.
    Keep,
}

impl Wire for Command {
    type Spec = ();
    const NAME: &'static str = "session.command";

    fn wire_len((): &()) -> usize {
        37
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let end = out.len() + Self::wire_len(&());
        match self {
            Self::Prepare(count, digest, priority) => {
                out.push(if *priority == Priority::Background { 4 } else { 1 });
                out.extend(count.to_le_bytes());
                out.extend(digest);
            }
            Self::Infer(id) => {
                out.push(2);
                out.extend(id);
            }
            Self::Bye => out.push(3),
            Self::Evaluate(count) => {
                out.push(5);
                out.extend(count.to_le_bytes());
            }
            Self::Keep => out.push(6),
        }
        out.resize(end, 0);
    }

    fn decode(bytes: &[u8], spec: &()) -> Result<Self, PeerMisbehaved> {
        check_len(Self::NAME, bytes, Self::wire_len(spec))?;
        let (count, rest) = bytes[1..].split_at(4);
        let count = count.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        let mut digest = [0; 32];
        digest.copy_from_slice(rest);
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[1..17]);
        match bytes[0] {
            1 => Ok(Self::Prepare(count, digest, Priority::Foreground)),
            2 if bytes[17..] == [0; 20] => Ok(Self::Infer(id)),
            3 if bytes[1..] == [0; 36] => Ok(Self::Bye),
            5 if bytes[5..] == [0; 32] => Ok(Self::Evaluate(count)),
            4 => Ok(Self::Prepare(count, digest, Priority::Background)),
            6 if bytes[1..] == [0; 36] => Ok(Self::Keep),
            _ => Err(PeerMisbehaved::Invalid { what: Self::NAME, reason: "unknown command" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::Engine;

    proptest! {
        #[test]
        fn hello_round_trips_and_survives_any_bytes(
            version: u16, model in "[a-z0-9-]{0,64}", pinned: Option<[u8; 32]>,
            pool: [u8; 16], engine in proptest::option::of(proptest::sample::select(Engine::ALL)),
            flips in proptest::collection::vec((0usize..152, any::<u8>()), 0..4),
        ) {
            let wishes = Wishes { engine, ..Wishes::default() };
            let hello = Hello { version, model, pinned, wishes, pool: PoolId::from_bytes(pool) };
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
        let commands = [
            Command::Prepare(70_000, [5; 32], Priority::Foreground),
            Command::Prepare(3, [6; 32], Priority::Background),
            Command::Infer([9; 16]),
            Command::Bye,
            Command::Keep,
        ];
        for command in commands {
            let mut bytes = Vec::new();
            command.encode(&mut bytes);
            assert_eq!(Command::decode(&bytes, &()).unwrap(), command);
        }
        for (fill, len) in [(0, 37), (5, 37), (2, 37), (3, 37), (6, 37), (1, 36), (1, 38)] {
            assert!(Command::decode(&vec![fill; len], &()).is_err(), "{fill} {len}");
        }
    }
}
