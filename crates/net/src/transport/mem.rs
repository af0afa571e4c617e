//! Both parties in one process, for tests.

use crate::{Channel, Client, Server};

/// Two ends of one in-memory channel.
#[must_use]
pub fn pair() -> (Channel<Client>, Channel<Server>) {
    let (a, b) = tokio::io::duplex(1 << 20);
    let (a_read, a_write) = tokio::io::split(a);
    let (b_read, b_write) = tokio::io::split(b);
    (Channel::new(a_read, a_write), Channel::new(b_read, b_write))
}
