//! A framed, metered, full-duplex channel.
//!
//! Frame: length of the payload (u32), tag of the step (u16), sequence number in this direction (u16, wrapping),
//! payload; all little-endian.

use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use phineus_kernel::wire::{PeerMisbehaved, Wire};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::time::timeout;

use crate::{ChannelError, Role, Step, Traffic};

/// Bytes of a frame besides its payload.
pub const FRAME_HEADER: usize = 8;

/// Largest payload of one message.
const MAX_PAYLOAD: usize = 1 << 30;
/// Largest reason in an abort notice.
const MAX_REASON: usize = 256;
/// Bytes read or written before the deadline starts anew.
const PROGRESS: usize = 1 << 20;
const BUFFER: usize = 1 << 16;
const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);

/// A channel as seen by party `R`.
pub struct Channel<R: Role> {
    tx: Sender,
    rx: Receiver,
    rounds: u64,
    sent_since_receive: bool,
    binding: Option<[u8; 32]>,
    role: PhantomData<R>,
}

/// The sending half.
pub struct Sender {
    stream: BufWriter<Pin<Box<dyn AsyncWrite + Send>>>,
    deadline: Duration,
    sequence: u16,
    bytes: u64,
}

/// The receiving half.
pub struct Receiver {
    stream: BufReader<Pin<Box<dyn AsyncRead + Send>>>,
    deadline: Duration,
    sequence: u16,
    bytes: u64,
}

impl<R: Role> Channel<R> {
    /// A channel over any byte stream.
    #[must_use]
    pub fn new(reader: impl AsyncRead + Send + 'static, writer: impl AsyncWrite + Send + 'static) -> Self {
        let deadline = DEFAULT_DEADLINE;
        Self {
            tx: Sender {
                stream: BufWriter::with_capacity(BUFFER, Box::pin(writer)),
                deadline,
                sequence: 0,
                bytes: 0,
            },
            rx: Receiver {
                stream: BufReader::with_capacity(BUFFER, Box::pin(reader)),
                deadline,
                sequence: 0,
                bytes: 0,
            },
            rounds: 0,
            sent_since_receive: false,
            binding: None,
            role: PhantomData,
        }
    }

    /// The channel over a stream that is bound to this value.
    pub(crate) fn bound_to(mut self, binding: [u8; 32]) -> Self {
        self.binding = Some(binding);
        self
    }

    /// What identifies the secure connection below, equal at both ends and different for every connection: the
    /// `tls-exporter` value of RFC 9266. `None` without TLS. Not a secret.
    #[must_use]
    pub fn binding(&self) -> Option<[u8; 32]> {
        self.binding
    }

    /// Sets how long a send or receive may make no progress: each MiB of a message, or its rest, and each flush
    /// must be over within `deadline`, however the peer spreads its bytes. 60 s at first.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.tx.deadline = deadline;
        self.rx.deadline = deadline;
    }

    /// How long a send or receive may make no progress.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.rx.deadline
    }

    /// Sends one message. It may stay in the buffer until [`Channel::flush`] or the next receive.
    ///
    /// # Errors
    /// [`ChannelError`] if the transport fails or stalls.
    pub async fn send_bytes(&mut self, step: Step, payload: &[u8]) -> Result<(), ChannelError> {
        self.sent_since_receive = true;
        self.tx.send_bytes(step, payload).await
    }

    /// Receives the message of `step`, which has exactly `len` bytes.
    ///
    /// # Errors
    /// [`ChannelError`] if the transport fails or stalls or the peer sends another step or length.
    pub async fn recv_bytes(&mut self, step: Step, len: usize) -> Result<Vec<u8>, ChannelError> {
        self.before_receive(step).await?;
        self.rx.recv_bytes(step, len).await
    }

    /// Receives a message whose length only the peer knows, of at most `limit` bytes. Only the handshake has
    /// such messages.
    ///
    /// # Errors
    /// As [`Channel::recv_bytes`].
    pub async fn recv_bounded(&mut self, step: Step, limit: usize) -> Result<Vec<u8>, ChannelError> {
        self.before_receive(step).await?;
        self.rx.recv_frame(step, Expected::AtMost(limit)).await
    }

    /// Sends a typed message.
    ///
    /// # Errors
    /// As [`Channel::send_bytes`].
    pub async fn send<M: Wire>(&mut self, step: Step, message: &M) -> Result<(), ChannelError> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.send_bytes(step, &bytes).await
    }

    /// Receives a typed message of the shape that `spec` states.
    ///
    /// # Errors
    /// As [`Channel::recv_bytes`], and the message's own decoding errors.
    pub async fn recv<M: Wire>(&mut self, step: Step, spec: &M::Spec) -> Result<M, ChannelError> {
        let bytes = self.recv_bytes(step, M::wire_len(spec)).await?;
        Ok(M::decode(&bytes, spec)?)
    }

    /// Pushes everything sent so far onto the transport.
    ///
    /// # Errors
    /// [`ChannelError`] if the transport fails or stalls.
    pub async fn flush(&mut self) -> Result<(), ChannelError> {
        self.tx.flush(FLUSH).await
    }

    /// Both halves, for a section in which the party sends and receives at once. Counts one round.
    pub fn halves(&mut self) -> (&mut Sender, &mut Receiver) {
        self.rounds += 1;
        self.sent_since_receive = false;
        (&mut self.tx, &mut self.rx)
    }

    /// Tells the peer why this side stops, within a second. Failures are ignored: the connection is given up anyway.
    pub async fn abort(&mut self, reason: &str) {
        let end =
            reason.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|e| *e <= MAX_REASON).last();
        let payload = reason.as_bytes().get(..end.unwrap_or(0)).unwrap_or_default();
        let notice = async {
            self.tx.write_frame(ABORT, Step::ABORT_TAG, payload).await?;
            self.tx.flush(ABORT).await
        };
        let _ = timeout(Duration::from_secs(1), notice).await;
    }

    /// Everything that has crossed the channel so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic { sent: self.tx.bytes, received: self.rx.bytes, rounds: self.rounds }
    }

    async fn before_receive(&mut self, step: Step) -> Result<(), ChannelError> {
        if self.sent_since_receive {
            self.sent_since_receive = false;
            self.rounds += 1;
            self.tx.flush(step).await?;
        }
        Ok(())
    }
}

const FLUSH: Step = Step::new("flush");
const ABORT: Step = Step::new("abort");

impl Sender {
    /// As [`Channel::send_bytes`].
    ///
    /// # Errors
    /// As [`Channel::send_bytes`].
    pub async fn send_bytes(&mut self, step: Step, payload: &[u8]) -> Result<(), ChannelError> {
        self.write_frame(step, step.tag(), payload).await
    }

    /// As [`Channel::flush`]; `step` is named in errors.
    ///
    /// # Errors
    /// As [`Channel::flush`].
    pub async fn flush(&mut self, step: Step) -> Result<(), ChannelError> {
        within(self.deadline, step, self.stream.flush()).await
    }

    /// Bytes sent so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    async fn write_frame(&mut self, step: Step, tag: u16, payload: &[u8]) -> Result<(), ChannelError> {
        let Some(len) = u32::try_from(payload.len()).ok().filter(|l| *l as usize <= MAX_PAYLOAD) else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "message above 1 GiB");
            return Err(ChannelError::Io { step: step.name(), source });
        };
        let mut header = [0u8; FRAME_HEADER];
        header[..4].copy_from_slice(&len.to_le_bytes());
        header[4..6].copy_from_slice(&tag.to_le_bytes());
        header[6..].copy_from_slice(&self.sequence.to_le_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        within(self.deadline, step, self.stream.write_all(&header)).await?;
        for part in payload.chunks(PROGRESS) {
            within(self.deadline, step, self.stream.write_all(part)).await?;
        }
        self.bytes += (FRAME_HEADER + payload.len()) as u64;
        Ok(())
    }
}

enum Expected {
    Exactly(usize),
    AtMost(usize),
}

impl Receiver {
    /// As [`Channel::recv_bytes`].
    ///
    /// # Errors
    /// As [`Channel::recv_bytes`].
    pub async fn recv_bytes(&mut self, step: Step, len: usize) -> Result<Vec<u8>, ChannelError> {
        self.recv_frame(step, Expected::Exactly(len)).await
    }

    /// Receives a typed message.
    ///
    /// # Errors
    /// As [`Channel::recv`].
    pub async fn recv<M: Wire>(&mut self, step: Step, spec: &M::Spec) -> Result<M, ChannelError> {
        let bytes = self.recv_bytes(step, M::wire_len(spec)).await?;
        Ok(M::decode(&bytes, spec)?)
    }

    /// Bytes received so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    async fn recv_frame(&mut self, step: Step, expected: Expected) -> Result<Vec<u8>, ChannelError> {
        let mut header = [0u8; FRAME_HEADER];
        self.read_exact(step, &mut header).await?;
        let [l0, l1, l2, l3, t0, t1, s0, s1] = header;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let tag = u16::from_le_bytes([t0, t1]);
        let sequence = u16::from_le_bytes([s0, s1]);
        if tag == Step::ABORT_TAG && len <= MAX_REASON {
            let mut reason = vec![0; len];
            self.read_exact(step, &mut reason).await?;
            return Err(ChannelError::Aborted { step: step.name(), reason: printable(&reason) });
        }
        if tag != step.tag() || sequence != self.sequence {
            return Err(PeerMisbehaved::OutOfOrder {
                expected: format!("{step} (tag {:04x}, number {})", step.tag(), self.sequence),
                got: format!("tag {tag:04x}, number {sequence}"),
            }
            .into());
        }
        let (fits, bound) = match expected {
            Expected::Exactly(bytes) => (len == bytes, bytes),
            Expected::AtMost(bytes) => (len <= bytes, bytes),
        };
        if !fits {
            return Err(PeerMisbehaved::Length {
                what: step.name(),
                expected: bound as u64,
                got: len as u64,
            }
            .into());
        }
        self.sequence = self.sequence.wrapping_add(1);
        let mut payload = vec![0; len];
        for part in payload.chunks_mut(PROGRESS) {
            self.read_exact(step, part).await?;
        }
        self.bytes += (FRAME_HEADER + len) as u64;
        Ok(payload)
    }

    async fn read_exact(&mut self, step: Step, buffer: &mut [u8]) -> Result<(), ChannelError> {
        within(self.deadline, step, self.stream.read_exact(buffer)).await.map(|_| ())
    }
}

/// Awaits `io` for at most `deadline` and names `step` in what goes wrong.
pub(crate) async fn within<T>(
    deadline: Duration,
    step: Step,
    io: impl Future<Output = io::Result<T>>,
) -> Result<T, ChannelError> {
    match timeout(deadline, io).await {
        Err(_) => Err(ChannelError::Timeout { step: step.name(), waited: deadline }),
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(classified(step, source)),
    }
}

fn classified(step: Step, source: io::Error) -> ChannelError {
    let step = step.name();
    if let Some(tls) = source.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        return ChannelError::Tls { step, source: tls.clone() };
    }
    match source.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted => ChannelError::Closed { step },
        _ => ChannelError::Io { step, source },
    }
}

fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, Server, mem};

    const A: Step = Step::new("a");
    const B: Step = Step::new("b");

    #[tokio::test]
    async fn bytes_and_rounds_are_counted_on_both_sides() {
        let (mut client, mut server): (Channel<Client>, Channel<Server>) = mem::pair();
        let peer = tokio::spawn(async move {
            let got = server.recv_bytes(A, 5).await.unwrap();
            server.send_bytes(B, &got[..2]).await.unwrap();
            server.flush().await.unwrap();
            server.traffic()
        });
        client.send_bytes(A, b"hello").await.unwrap();
        assert_eq!(client.recv_bytes(B, 2).await.unwrap(), b"he");
        let header = FRAME_HEADER as u64;
        assert_eq!(client.traffic(), Traffic { sent: 5 + header, received: 2 + header, rounds: 1 });
        let theirs = peer.await.unwrap();
        assert_eq!((theirs.sent, theirs.received), (2 + header, 5 + header));
    }

    #[tokio::test]
    async fn wrong_length_step_order_and_silence_are_typed_errors() {
        let (mut client, mut server) = mem::pair();
        client.send_bytes(A, b"hello").await.unwrap();
        client.flush().await.unwrap();
        let error = server.recv_bytes(A, 4).await.unwrap_err();
        assert!(matches!(
            error,
            ChannelError::Peer(PeerMisbehaved::Length { what: "a", expected: 4, got: 5 })
        ));

        let (mut client, mut server) = mem::pair();
        client.send_bytes(A, b"hello").await.unwrap();
        client.flush().await.unwrap();
        let error = server.recv_bytes(B, 5).await.unwrap_err();
        assert!(matches!(error, ChannelError::Peer(PeerMisbehaved::OutOfOrder { .. })));

        let (_client, mut server) = mem::pair();
        server.set_deadline(Duration::from_millis(20));
        let error = server.recv_bytes(A, 1).await.unwrap_err();
        assert!(matches!(error, ChannelError::Timeout { step: "a", .. }));

        let (client, mut server) = mem::pair();
        drop(client);
        assert!(matches!(server.recv_bytes(A, 1).await.unwrap_err(), ChannelError::Closed { step: "a" }));
    }

    #[tokio::test]
    async fn a_replayed_frame_is_refused() {
        use tokio::io::AsyncWriteExt as _;
        let (near, far) = tokio::io::duplex(1024);
        let (reader, writer) = tokio::io::split(near);
        let mut server: Channel<Server> = Channel::new(reader, writer);
        let mut raw = far;
        let mut frame = vec![1, 0, 0, 0];
        frame.extend(A.tag().to_le_bytes());
        frame.extend([0, 0, 7]);
        raw.write_all(&frame).await.unwrap();
        raw.write_all(&frame).await.unwrap();
        assert_eq!(server.recv_bytes(A, 1).await.unwrap(), [7]);
        let error = server.recv_bytes(A, 1).await.unwrap_err();
        assert!(matches!(error, ChannelError::Peer(PeerMisbehaved::OutOfOrder { .. })));
    }

    #[tokio::test]
    async fn an_abort_reaches_the_peer_with_its_reason() {
        let (mut client, mut server) = mem::pair();
        client.abort(&format!("no\nroom {}", "é".repeat(300))).await;
        let Err(ChannelError::Aborted { step: "a", reason }) = server.recv_bytes(A, 1).await else {
            panic!("no abort");
        };
        assert!(reason.starts_with("no room é") && reason.len() <= MAX_REASON);
    }
}
