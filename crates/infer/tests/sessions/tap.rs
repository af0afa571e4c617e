//! A connection that somebody sits on: what crosses it, and harm to one of its frames.

use phineus_net::{Channel, Client, FRAME_HEADER, Server, Step};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};

use crate::harm::{Harm, harmed};

/// One frame, header and all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame(pub(crate) Vec<u8>);

/// From the client to the server, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

/// The middle of a connection.
pub(crate) struct Tap {
    client: DuplexStream,
    server: DuplexStream,
}

impl Frame {
    pub(crate) fn tag(&self) -> u16 {
        u16::from_le_bytes([self.0[4], self.0[5]])
    }

    pub(crate) fn is(&self, step: &'static str) -> bool {
        self.tag() == Step::new(step).tag()
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.0[FRAME_HEADER..]
    }

    /// `None` at the end.
    async fn read(from: &mut ReadHalf<DuplexStream>) -> Option<Self> {
        let mut frame = vec![0; FRAME_HEADER];
        from.read_exact(&mut frame).await.ok()?;
        let len = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        frame.resize(FRAME_HEADER + len, 0);
        from.read_exact(&mut frame[FRAME_HEADER..]).await.ok()?;
        Some(Self(frame))
    }
}

/// Both ends, and the middle.
pub(crate) fn tapped() -> (Channel<Client>, Channel<Server>, Tap) {
    let (client_end, client) = tokio::io::duplex(1 << 20);
    let (server, server_end) = tokio::io::duplex(1 << 20);
    let (reader, writer) = tokio::io::split(client_end);
    let (from, to) = tokio::io::split(server_end);
    (Channel::new(reader, writer), Channel::new(from, to), Tap { client, server })
}

impl Tap {
    /// Passes frames on until an end closes, which ends the connection; those that went up and down. The frame of this way
    /// and number comes to harm.
    pub(crate) async fn listen(self, case: Option<(Way, usize, Harm)>) -> [Vec<Frame>; 2] {
        let ((from_client, to_client), (from_server, to_server)) =
            (tokio::io::split(self.client), tokio::io::split(self.server));
        let of = |wanted| case.filter(|(way, ..)| *way == wanted).map(|(_, number, harm)| (number, harm));
        let (mut up, mut down) = (Vec::new(), Vec::new());
        tokio::select! {
            () = relay(from_client, to_server, of(Way::Up), &mut up) => {}
            () = relay(from_server, to_client, of(Way::Down), &mut down) => {}
        }
        [up, down]
    }
}

/// Passes frames on until an end closes, harming one.
async fn relay(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    case: Option<(usize, Harm)>,
    seen: &mut Vec<Frame>,
) {
    let mut held = None;
    while let Some(frame) = Frame::read(&mut from).await {
        let number = seen.len();
        seen.push(frame.clone());
        let bytes = match case {
            Some((k, Harm::Swap)) if k == number => {
                held = Some(frame.0);
                continue;
            }
            Some((k, Harm::Close)) if k == number => return,
            Some((k, Harm::Stall)) if k == number => std::future::pending().await,
            Some((k, harm)) if k == number => harmed(frame.0, harm, k as u64),
            _ => [frame.0, held.take().unwrap_or_default()].concat(),
        };
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
