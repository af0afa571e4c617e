//! TCP.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;

use super::shaped::{self, LinkProfile};
use crate::{Channel, Role};

/// Connects to `address` within `deadline`.
///
/// # Errors
/// The operating system's, or `TimedOut`.
pub async fn connect<R: Role>(address: impl ToSocketAddrs, deadline: Duration) -> io::Result<Channel<R>> {
    from_stream(dial(address, deadline).await?)
}

/// As [`connect`], but the bare stream, for a layer between it and the channel.
///
/// # Errors
/// As [`connect`].
pub async fn dial(address: impl ToSocketAddrs, deadline: Duration) -> io::Result<TcpStream> {
    match timeout(deadline, TcpStream::connect(address)).await {
        Ok(stream) => stream,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out")),
    }
}

/// A channel over an accepted or connected stream.
///
/// # Errors
/// The operating system's.
pub fn from_stream<R: Role>(stream: TcpStream) -> io::Result<Channel<R>> {
    let (reader, writer) = halves(stream, None)?;
    Ok(Channel::new(reader, writer))
}

/// Both directions of an accepted or connected stream, the sending one as slow as `link` if there is one.
///
/// # Errors
/// The operating system's.
pub fn halves(
    stream: TcpStream,
    link: Option<LinkProfile>,
) -> io::Result<(impl AsyncRead + Send + Unpin + 'static, Box<dyn AsyncWrite + Send + Unpin>)> {
    prepare(&stream)?;
    let (reader, writer) = stream.into_split();
    let writer: Box<dyn AsyncWrite + Send + Unpin> = match link {
        None => Box::new(writer),
        Some(link) => Box::new(shaped::Writer::new(writer, link)?),
    };
    Ok((reader, writer))
}

/// Messages are flushed where a round ends; Nagle's algorithm would only delay them.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)
}
