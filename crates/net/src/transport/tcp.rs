//! TCP.

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;

use crate::{Channel, Role};

/// Connects to `address` within `deadline`.
///
/// # Errors
/// The operating system's, or `TimedOut`.
pub async fn connect<R: Role>(address: impl ToSocketAddrs, deadline: Duration) -> io::Result<Channel<R>> {
    match timeout(deadline, TcpStream::connect(address)).await {
        Ok(stream) => from_stream(stream?),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out")),
    }
}

/// A channel over an accepted or connected stream.
///
/// # Errors
/// The operating system's.
pub fn from_stream<R: Role>(stream: TcpStream) -> io::Result<Channel<R>> {
    // Messages are flushed where a round ends; Nagle's algorithm would only delay them.
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    Ok(Channel::new(reader, writer))
}
