//! The client's meter, played in advance: messages are entered in the order in which the client sends and receives
//! them, and bytes and rounds come out as the channel will count them.

use phineus_mpc::ot::engine::{Engine, Message};
use phineus_net::{FRAME_HEADER, Traffic};

use crate::plan::Directions;
use crate::report::Cost;

/// A conversation so far.
pub(crate) struct Script {
    traffic: Traffic,
    /// Of the last [`Script::lap`].
    mark: Traffic,
    sent_since_receive: bool,
    directions: Directions,
    /// Transfers in stock, down and up.
    stock: [usize; 2],
    /// When the client and the server can go on, in one-way delays of the link.
    clocks: [u64; 2],
}

/// A direction of oblivious transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The client chooses.
    Down,
    /// The server chooses.
    Up,
}

impl Script {
    /// A conversation that begins with so many transfers in stock, down and up.
    pub(crate) fn new(directions: Directions, stock: [usize; 2]) -> Self {
        let none = Traffic::default();
        Self { traffic: none, mark: none, sent_since_receive: false, directions, stock, clocks: [0; 2] }
    }

    /// The same behind a message of the client, whose answer it has to wait for.
    pub(crate) fn behind_a_message(mut self) -> Self {
        self.sent_since_receive = true;
        self
    }

    /// The same behind a message of the server, which comes anyway.
    pub(crate) fn behind_an_answer(mut self) -> Self {
        self.sent_since_receive = false;
        self
    }

    /// What follows, counted from here.
    pub(crate) fn begin_anew(mut self) -> Self {
        self.lap();
        self
    }

    /// The client sends a payload of `len` bytes.
    pub(crate) fn up(&mut self, len: usize) {
        self.traffic.sent += (len + FRAME_HEADER) as u64;
        self.sent_since_receive = true;
        self.clocks[1] = self.clocks[1].max(self.clocks[0] + 1);
    }

    /// The client sends messages of so many bytes, frame headers included; none, if the bytes are those of a command before.
    pub(crate) fn up_frames(&mut self, bytes: u64) {
        self.traffic.sent += bytes;
        self.sent_since_receive = true;
        self.clocks[1] = self.clocks[1].max(self.clocks[0] + 1);
    }

    /// The client receives one.
    pub(crate) fn down(&mut self, len: usize) {
        self.traffic.received += (len + FRAME_HEADER) as u64;
        self.traffic.rounds += u64::from(std::mem::take(&mut self.sent_since_receive));
        self.clocks[0] = self.clocks[0].max(self.clocks[1] + 1);
    }

    /// Both send one at once.
    pub(crate) fn both(&mut self, len: usize) {
        self.traffic.sent += (len + FRAME_HEADER) as u64;
        self.traffic.received += (len + FRAME_HEADER) as u64;
        self.traffic.rounds += 1;
        self.sent_since_receive = false;
        let [client, server] = self.clocks;
        self.clocks = [client.max(server + 1), server.max(client + 1)];
    }

    /// An extension by `n` transfers.
    pub(crate) fn extend(&mut self, way: Way, n: usize) {
        let (engine, stock) = match way {
            Way::Down => (self.directions.down, &mut self.stock[0]),
            Way::Up => (self.directions.up, &mut self.stock[1]),
        };
        let messages = engine.map_or_else(Vec::new, |engine| engine.extend_messages(stock, n));
        self.engine(way, &messages);
    }

    /// Turns base transfers into an engine.
    pub(crate) fn engine_setup(&mut self, way: Way) {
        let engine = if way == Way::Down { self.directions.down } else { self.directions.up };
        self.engine(way, &engine.map_or_else(Vec::new, Engine::setup_messages));
    }

    fn engine(&mut self, way: Way, messages: &[Message]) {
        for message in messages {
            match (way, message) {
                (Way::Down, Message::ToSender(len)) | (Way::Up, Message::ToReceiver(len)) => self.up(*len),
                (Way::Down, Message::ToReceiver(len)) | (Way::Up, Message::ToSender(len)) => self.down(*len),
            }
        }
    }

    /// One-way delays of the link that all so far takes, one after the other.
    pub(crate) fn delays(&self) -> u64 {
        self.clocks.into_iter().max().unwrap_or(0)
    }

    /// What has been entered since the last lap.
    pub(crate) fn lap(&mut self) -> Cost {
        let cost = cost(self.traffic - self.mark);
        self.mark = self.traffic;
        cost
    }

    /// What has been entered altogether.
    pub(crate) fn total(&self) -> Cost {
        cost(self.traffic)
    }
}

fn cost(Traffic { sent, received, rounds }: Traffic) -> Cost {
    Cost { client_to_server_bytes: sent, server_to_client_bytes: received, rounds, ..Cost::default() }
}
