//! A link of stated rate and round trip, imitated in user space, so that bytes and rounds take the time they would.
//!
//! A byte written at time t leaves when the link has carried all bytes before it, that is at
//! d = max(t, d') + 8/rate with d' the departure of the byte before, and arrives at d + RTT/2: a token bucket without
//! burst, followed by a delay line. Both stand at the sending end. The receiving end needs nothing: what has
//! arrived waits in its socket even while its party computes, as it would after a real wire. Both ends of a
//! connection must be shaped for both directions to be.
//!
//! The writer accepts [`SEND_BUFFER`] bytes beyond those under way and then pushes back, as a socket does; flushing
//! does not wait. A thread of its own carries the bytes, so that neither party's computing nor the millisecond of
//! the runtime's timers disturbs the clock. What the machine itself takes for a message over loopback comes on top,
//! as it would at the ends of a wire. Rates are of payload: headers of lower layers are not counted, connection
//! set-up is not delayed.

mod profile;

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

pub use self::profile::{LinkError, LinkProfile};
use crate::{Channel, Client, Server};

/// Bytes that a writer accepts beyond those that are on the link: what a socket of Linux buffers at most.
pub const SEND_BUFFER: usize = 4 << 20;

/// Two ends of one channel in memory with the link between them, for tests and benchmarks in one process.
///
/// # Errors
/// The operating system's: no thread could be had.
pub fn pair(link: LinkProfile) -> io::Result<(Channel<Client>, Channel<Server>)> {
    let (a, b) = tokio::io::duplex(1 << 20);
    let (a_read, a_write) = tokio::io::split(a);
    let (b_read, b_write) = tokio::io::split(b);
    Ok((Channel::new(a_read, Writer::new(a_write, link)?), Channel::new(b_read, Writer::new(b_write, link)?)))
}

/// The sending end of a link.
///
/// Dropping it waits up to a second for what is under way, so that a program may end after its last message; after
/// that the bytes are still delivered while the process lives.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
}

impl Writer {
    /// A link that ends in `inner`.
    ///
    /// # Errors
    /// The operating system's: no thread could be had.
    pub fn new(inner: impl AsyncWrite + Send + Unpin + 'static, link: LinkProfile) -> io::Result<Self> {
        let pipe = Pipe::new(link, Instant::now());
        let shared = Arc::new(Shared { state: Mutex::new(State::new(pipe)), changed: Condvar::new() });
        let carrier = Arc::clone(&shared);
        thread::Builder::new().name("phineus-link".into()).spawn(move || carrier.carry(inner))?;
        Ok(Self { shared })
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.shared.lock();
        if let Some(kind) = state.failure {
            return Poll::Ready(Err(kind.into()));
        }
        if state.closing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let accepted = state.pipe.accept(Instant::now(), bytes);
        if accepted == 0 && !bytes.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        self.shared.changed.notify_all();
        Poll::Ready(Ok(accepted))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shared.lock().failure.map_or(Ok(()), |kind| Err(kind.into())))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.lock();
        state.closing = true;
        self.shared.changed.notify_all();
        if state.over {
            return Poll::Ready(state.failure.map_or(Ok(()), |kind| Err(kind.into())));
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closing = true;
        self.shared.changed.notify_all();
        drop(self.shared.changed.wait_timeout_while(state, LINGER, |state| !state.over));
    }
}

/// What the writer and the carrying thread share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    pipe: Pipe,
    /// Waits for room or for the end.
    writer: Option<Waker>,
    /// Nothing more will be written.
    closing: bool,
    /// The thread has ended.
    over: bool,
    failure: Option<io::ErrorKind>,
}

impl State {
    fn new(pipe: Pipe) -> Self {
        Self { pipe, writer: None, closing: false, over: false, failure: None }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The carrying thread: hands every parcel to `inner` when it arrives.
    fn carry(&self, mut inner: impl AsyncWrite + Unpin) {
        while let Some(parcel) = self.next() {
            wait_until(parcel.arrival, parcel.is_last);
            let outcome = self.block_on(inner.write_all(&parcel.bytes));
            let mut state = self.lock();
            state.pipe.arrived(&parcel);
            state.failure = outcome.err().map(|error| error.kind());
            if let Some(writer) = state.writer.take() {
                writer.wake();
            }
            if state.failure.is_some() {
                break;
            }
        }
        let outcome = self.block_on(inner.shutdown());
        drop(inner);
        let mut state = self.lock();
        state.failure = state.failure.or(outcome.err().map(|error| error.kind()));
        state.over = true;
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
        self.changed.notify_all();
    }

    /// The next parcel, or `None` after the last.
    fn next(&self) -> Option<Parcel> {
        let mut state = self
            .changed
            .wait_while(self.lock(), |state| state.pipe.parcels.is_empty() && !state.closing)
            .unwrap_or_else(PoisonError::into_inner);
        let mut parcel = state.pipe.parcels.pop_front()?;
        parcel.is_last = state.pipe.parcels.is_empty();
        Some(parcel)
    }

    /// Waits for `io` on this thread. Once the writer is gone, a peer that takes nothing is given up.
    fn block_on(&self, io: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut io = pin!(io);
        let mut give_up = None;
        loop {
            if let Poll::Ready(outcome) = io.as_mut().poll(&mut Context::from_waker(&waker)) {
                return outcome;
            }
            thread::park_timeout(LINGER);
            if self.lock().closing && Instant::now() >= *give_up.get_or_insert(Instant::now() + PATIENCE) {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

/// Wakes a thread that waits in [`Shared::block_on`].
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The bytes on their way and when they arrive.
#[derive(Debug)]
struct Pipe {
    link: LinkProfile,
    /// When the link has carried everything accepted so far.
    free: Instant,
    parcels: VecDeque<Parcel>,
    /// Bytes accepted and not yet arrived.
    bytes: usize,
}

/// Consecutive bytes that arrive together.
#[derive(Debug)]
struct Parcel {
    arrival: Instant,
    bytes: Vec<u8>,
    is_last: bool,
}

impl Pipe {
    fn new(link: LinkProfile, now: Instant) -> Self {
        Self { link, free: now, parcels: VecDeque::new(), bytes: 0 }
    }

    /// Puts a prefix of `bytes` on the link at time `now` and returns its length: 0 if the buffer is full.
    fn accept(&mut self, now: Instant, bytes: &[u8]) -> usize {
        let delay = self.link.rtt() / 2;
        let room = (SEND_BUFFER + self.link.capacity(delay)).saturating_sub(self.bytes);
        let parcel = self.link.capacity(GRAIN).clamp(MIN_PARCEL, MAX_PARCEL);
        let mut rest = &bytes[..bytes.len().min(room)];
        let accepted = rest.len();
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(parcel));
            self.free = self.free.max(now) + self.link.transmission(head.len());
            let arrival = self.free + delay;
            self.parcels.push_back(Parcel { arrival, bytes: head.to_vec(), is_last: false });
            rest = tail;
        }
        self.bytes += accepted;
        accepted
    }

    fn arrived(&mut self, parcel: &Parcel) {
        self.bytes -= parcel.bytes.len();
    }
}

/// Sleeps until `then`. The operating system oversleeps: a thread that must be `precise` wakes early and spins for
/// the rest; one with more parcels behind makes up for it at the next.
fn wait_until(then: Instant, precise: bool) {
    let left = then.saturating_duration_since(Instant::now());
    let early = if precise { OVERSLEEP } else { Duration::ZERO };
    if left > early {
        thread::sleep(left - early);
    }
    while Instant::now() < then {
        std::hint::spin_loop();
    }
}

/// Timer slack of Linux (50 us) and the time to wake a thread.
const OVERSLEEP: Duration = Duration::from_micros(80);
/// How long the link is busy with one parcel, about.
const GRAIN: Duration = Duration::from_millis(1);
const MIN_PARCEL: usize = 1_024;
const MAX_PARCEL: usize = 1 << 16;
/// How long a dropped writer waits for what is under way.
const LINGER: Duration = Duration::from_secs(1);
/// How long a peer may take nothing once the writer is gone.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
