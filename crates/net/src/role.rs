//! The two parties as types, so that a value of one side cannot be handed to the other side's half.

/// One of the two parties.
pub trait Role: sealed::Sealed + Copy + Send + Sync + 'static {
    /// The other party.
    type Peer: Role<Peer = Self>;
    /// True for exactly one of the two: who adds a public constant to a shared value.
    const LEADER: bool;
    /// Name in messages to people.
    const NAME: &'static str;
}

/// The party that has the input and learns the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client;

/// The party that has the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server;

impl Role for Client {
    type Peer = Server;
    const LEADER: bool = false;
    const NAME: &'static str = "client";
}

impl Role for Server {
    type Peer = Client;
    const LEADER: bool = true;
    const NAME: &'static str = "server";
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Client {}
    impl Sealed for super::Server {}
}
