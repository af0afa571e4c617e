//! No wait for the transport outlives the channel's deadline. On the runtime's paused clock.

use std::time::Duration;

use phineus_net::{Channel, ChannelError, FRAME_HEADER, Server, Step, mem};
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex, split};
use tokio::time::{Instant, sleep};

const A: Step = Step::new("a");
const DEADLINE: Duration = Duration::from_secs(10);
const MIB: usize = 1 << 20;

/// A server's channel and the bare other end of its stream.
fn bare() -> (Channel<Server>, DuplexStream) {
    let (near, far) = duplex(2 * MIB);
    let (reader, writer) = split(near);
    let mut server = Channel::new(reader, writer);
    server.set_deadline(DEADLINE);
    (server, far)
}

fn header(len: usize) -> [u8; FRAME_HEADER] {
    let mut header = [0; FRAME_HEADER];
    header[..4].copy_from_slice(&(len as u32).to_le_bytes());
    header[4..6].copy_from_slice(&A.tag().to_le_bytes());
    header
}

/// Awaits the end of `io`, which must be a timeout of A after `waited`.
async fn times_out<T>(waited: Duration, io: impl Future<Output = Result<T, ChannelError>>) {
    let start = Instant::now();
    let error = io.await.err();
    assert!(
        matches!(error, Some(ChannelError::Timeout { step: "a" | "flush", waited: DEADLINE })),
        "{error:?}"
    );
    assert_eq!(start.elapsed(), waited);
}

#[tokio::test(start_paused = true)]
async fn a_trickle_does_not_extend_a_receive() {
    // In the header, and in the payload after half a deadline.
    for (prefix, waited) in [(0, DEADLINE), (FRAME_HEADER, DEADLINE * 3 / 2)] {
        let (mut server, mut far) = bare();
        let frame = [&header(100)[..], &[0; 100]].concat();
        let trickle = async {
            sleep(waited - DEADLINE).await;
            far.write_all(&frame[..prefix]).await.unwrap();
            for byte in &frame[prefix..prefix + 4] {
                sleep(DEADLINE / 3).await;
                far.write_all(&[*byte]).await.unwrap();
            }
        };
        tokio::join!(times_out(waited, server.recv_bytes(A, 100)), trickle);
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_message_may_take_a_deadline_per_mebibyte_and_no_longer() {
    let (mut server, far) = bare();
    let slowly = async |mut far: DuplexStream, pauses: &[Duration]| {
        far.write_all(&header(pauses.len() * MIB)).await.unwrap();
        for pause in pauses {
            sleep(*pause).await;
            far.write_all(&vec![7; MIB]).await.unwrap();
        }
        far
    };
    let in_time = [DEADLINE * 9 / 10; 4];
    let (got, mut far) = tokio::join!(server.recv_bytes(A, 4 * MIB), slowly(far, &in_time));
    assert_eq!(got.unwrap(), vec![7; 4 * MIB]);

    let mut second = header(2 * MIB);
    second[6] = 1;
    let too_late = async {
        far.write_all(&second).await.unwrap();
        far.write_all(&vec![7; MIB + MIB / 2]).await.unwrap();
        sleep(3 * DEADLINE).await;
    };
    tokio::join!(times_out(DEADLINE, server.recv_bytes(A, 2 * MIB)), too_late);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_stops_a_send_a_flush_and_an_abort() {
    let (mut client, _server) = mem::pair();
    client.set_deadline(DEADLINE);
    times_out(DEADLINE, client.send_bytes(A, &vec![0; 8 * MIB])).await;

    let (near, _far) = duplex(16);
    let (reader, writer) = split(near);
    let mut server: Channel<Server> = Channel::new(reader, writer);
    server.set_deadline(DEADLINE);
    server.send_bytes(A, &[0; 100]).await.unwrap();
    times_out(DEADLINE, server.flush()).await;
    // A receive flushes first.
    server.send_bytes(A, &[0; 100]).await.unwrap();
    times_out(DEADLINE, server.recv_bytes(A, 1)).await;
    let start = Instant::now();
    server.abort("enough").await;
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}
