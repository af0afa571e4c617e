//! Prints how well the imitated links keep what they state, over loopback sockets:
//! `cargo run --release -p phineus-net --example link [LINK..]`.

use std::time::{Duration, Instant};

use phineus_net::shaped::LinkProfile;
use phineus_net::{Channel, ChannelError, Client, Server, Step, tcp};
use tokio::net::{TcpListener, TcpStream};

const STEP: Step = Step::new("link");
const ROUNDS: usize = 50;
const SIZES: [usize; 3] = [1_000_000, 10_000_000, 100_000_000];

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut links: Vec<LinkProfile> =
        std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>()?;
    if links.is_empty() {
        links = vec![LinkProfile::LAN, LinkProfile::METRO, LinkProfile::WAN];
    }
    let (rounds, transfers) = measure(None).await?;
    println!("bare loopback: round {rounds:?}, transfers {transfers:?}");
    for link in links {
        let (rounds, transfers) = measure(Some(link)).await?;
        println!("{link}: round {rounds:?}, stated {:?}", link.rtt());
        for (bytes, took) in SIZES.into_iter().zip(transfers) {
            let stated = link.transmission(bytes) + link.rtt();
            let percent = 100.0 * (took.as_secs_f64() / stated.as_secs_f64() - 1.0);
            println!("  {bytes} bytes and an answer: {took:?}, stated {stated:?} ({percent:+.1} %)");
        }
    }
    Ok(())
}

/// Median round trip of an empty message, and for each size the time until the answer.
async fn measure(link: Option<LinkProfile>) -> Result<(Duration, Vec<Duration>), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let stream = TcpStream::connect(listener.local_addr()?).await?;
    let (accepted, _) = listener.accept().await?;
    let mut client: Channel<Client> = channel(stream, link)?;
    let mut server: Channel<Server> = channel(accepted, link)?;
    let answering = tokio::spawn(async move {
        for len in [0; ROUNDS].into_iter().chain(SIZES) {
            server.recv_bytes(STEP, len).await?;
            server.send_bytes(STEP, &[]).await?;
            server.flush().await?;
        }
        Ok::<_, ChannelError>(())
    });
    let mut times = Vec::new();
    for len in [0; ROUNDS].into_iter().chain(SIZES) {
        let payload = vec![0; len];
        let start = Instant::now();
        client.send_bytes(STEP, &payload).await?;
        client.recv_bytes(STEP, 0).await?;
        times.push(start.elapsed());
    }
    answering.await??;
    let transfers = times.split_off(ROUNDS);
    times.sort();
    Ok((times[ROUNDS / 2], transfers))
}

fn channel<R: phineus_net::Role>(
    stream: TcpStream,
    link: Option<LinkProfile>,
) -> Result<Channel<R>, Failure> {
    let (reader, writer) = tcp::halves(stream, link)?;
    Ok(Channel::new(reader, writer))
}
