//! TLS 1.3 over any byte stream.
//!
//! TLS 1.3 (RFC 8446) and nothing older, by rustls with the primitives of ring. The client trusts the authorities it
//! was given and no others; the server may ask for a certificate in turn. No session is resumed and no early data
//! sent: every connection is a full handshake, one round trip.
//!
//! Cost: 22 bytes per record of 16 KiB and one pass of AES-128-GCM or ChaCha20-Poly1305. [`crate::Traffic`] counts
//! what is inside.
//!
//! Security: a third party sees lengths and times, and can do no more than cut the connection, which is
//! [`ChannelError::Closed`]. Each side knows that the other is who its certificate says, or (without a client CA)
//! that the client is the one it began with. [`Channel::binding`] is the same on both sides, and no party in the
//! middle can make it so (RFC 9266).

mod config;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::{Instant, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use self::config::{ClientConfig, ConfigError, Identity, ServerConfig};
use super::tcp;
use crate::channel::within;
use crate::{Channel, ChannelError, Client, Server, Step};

/// The server's handshake on an accepted stream. It takes at most `deadline`, then a second more to tell a client
/// why it was refused.
///
/// # Errors
/// [`ChannelError::Tls`] if the client cannot be taken, else as the channel's.
pub async fn accept<S>(
    stream: S,
    config: &ServerConfig,
    deadline: Duration,
) -> Result<Channel<Server>, ChannelError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut refused = None;
    let handshake = async {
        TlsAcceptor::from(config.0.clone()).accept(stream).into_fallible().await.map_err(|(error, stream)| {
            refused = Some(stream);
            error
        })
    };
    let outcome = within(deadline, HANDSHAKE, handshake).await;
    if let Some(stream) = refused {
        let _ = timeout(FAREWELL, hear_out(stream)).await;
    }
    let stream = outcome?;
    let binding = exporter(|secret| stream.get_ref().1.export_keying_material(secret, EXPORTER, None))?;
    let (reader, writer) = tokio::io::split(stream);
    Ok(Channel::new(reader, writer).bound_to(binding))
}

/// Connects to `address` and runs the client's handshake, both together within `deadline`.
///
/// # Errors
/// As [`handshake`], and the operating system's as [`ChannelError::Io`].
pub async fn connect(
    address: impl ToSocketAddrs,
    config: &ClientConfig,
    deadline: Duration,
) -> Result<Channel<Client>, ChannelError> {
    let end = Instant::now() + deadline;
    let stream = within(deadline, CONNECT, TcpStream::connect(address)).await?;
    tcp::prepare(&stream).map_err(|source| ChannelError::Io { step: CONNECT.name(), source })?;
    handshake(stream, config, end.saturating_duration_since(Instant::now())).await
}

/// The client's handshake on a connected stream, within `deadline`.
///
/// A server that asks for a certificate judges it after the client's handshake is over: its refusal is the error of
/// the first receive.
///
/// # Errors
/// [`ChannelError::Tls`] if the server cannot be trusted or does not speak TLS 1.3, else as the channel's.
pub async fn handshake<S>(
    stream: S,
    config: &ClientConfig,
    deadline: Duration,
) -> Result<Channel<Client>, ChannelError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connector = TlsConnector::from(config.tls.clone());
    let stream = within(deadline, HANDSHAKE, connector.connect(config.name.clone(), stream)).await?;
    let binding = exporter(|secret| stream.get_ref().1.export_keying_material(secret, EXPORTER, None))?;
    let (reader, writer) = tokio::io::split(stream);
    Ok(Channel::new(reader, writer).bound_to(binding))
}

/// The `tls-exporter` value of RFC 9266, section 4.2.
fn exporter(
    export: impl FnOnce([u8; 32]) -> Result<[u8; 32], rustls::Error>,
) -> Result<[u8; 32], ChannelError> {
    export([0; 32]).map_err(|source| ChannelError::Tls { step: HANDSHAKE.name(), source })
}

/// Reads what a refused client still sends: closing with unread bytes would reset the connection and take the alert
/// with it that says why.
async fn hear_out(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.shutdown().await?;
    let mut bytes = [0; 4_096];
    while stream.read(&mut bytes).await? > 0 {}
    Ok(())
}

const CONNECT: Step = Step::new("tls.connect");
const HANDSHAKE: Step = Step::new("tls.handshake");
const EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";
const FAREWELL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
