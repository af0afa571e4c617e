use proptest::prelude::*;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::*;
use crate::Step;

const A: Step = Step::new("a");
const MS: Duration = Duration::from_millis(1);

/// Sends `bytes` as fast as the pipe takes them, in simulated time, and returns when the last arrives.
fn transfer(pipe: &mut Pipe, start: Instant, bytes: usize) -> Instant {
    let (mut now, mut left) = (start, bytes);
    let piece = vec![0; 1 << 20];
    loop {
        left -= pipe.accept(now, &piece[..left.min(piece.len())]);
        let Some(parcel) = pipe.parcels.pop_front() else { return now };
        pipe.arrived(&parcel);
        assert!(parcel.arrival >= now);
        now = parcel.arrival;
    }
}

#[test]
fn a_transfer_takes_bytes_over_rate_plus_half_a_round_trip() {
    let start = Instant::now();
    for link in [LinkProfile::LAN, LinkProfile::METRO, LinkProfile::WAN] {
        for bytes in [1, 1_000_000, 100_000_000] {
            let took = transfer(&mut Pipe::new(link, start), start, bytes) - start;
            let stated = link.transmission(bytes) + link.rtt() / 2;
            // Each parcel's time is rounded down to a nanosecond.
            assert!(
                took <= stated && stated - took < MS / 10,
                "{link}, {bytes} bytes: {took:?}, not {stated:?}"
            );
        }
    }
}

#[test]
fn messages_and_answers_take_round_trips_and_idle_time_saves_up_nothing() {
    for link in [LinkProfile::LAN, LinkProfile::METRO, LinkProfile::WAN] {
        let start = Instant::now();
        let (mut there, mut back) = (Pipe::new(link, start), Pipe::new(link, start));
        let mut now = start;
        for _ in 0..10 {
            now = transfer(&mut there, now, 1_000);
            now = transfer(&mut back, now, 1_000);
        }
        let stated = (link.rtt() + 2 * link.transmission(1_000)) * 10;
        assert!(stated.abs_diff(now - start) < MS / 100, "{link}: {:?}, not {stated:?}", now - start);
    }
}

proptest! {
    /// Whatever is written when: nothing arrives out of order, early, or at more than the rate.
    #[test]
    fn no_schedule_beats_the_link(writes in proptest::collection::vec((0u64..50_000_000, 1usize..200_000), 1..20)) {
        let link = LinkProfile::WAN;
        let start = Instant::now();
        let mut pipe = Pipe::new(link, start);
        let (mut now, mut last) = (start, start);
        for (pause, len) in writes {
            now += Duration::from_nanos(pause);
            prop_assert_eq!(pipe.accept(now, &vec![0; len]), len);
            for parcel in std::mem::take(&mut pipe.parcels) {
                let carried = link.transmission(parcel.bytes.len());
                prop_assert!(parcel.arrival >= now + carried + link.rtt() / 2);
                prop_assert!(parcel.arrival >= last + carried);
                last = parcel.arrival;
                pipe.arrived(&parcel);
            }
        }
        prop_assert_eq!(pipe.bytes, 0);
    }
}

#[test]
fn the_buffer_is_bounded() {
    let now = Instant::now();
    let mut pipe = Pipe::new(LinkProfile::WAN, now);
    let room = SEND_BUFFER + 250_000;
    assert_eq!(pipe.accept(now, &vec![0; room + 1]), room);
    assert_eq!(pipe.accept(now, &[0]), 0);
    let first = pipe.parcels.pop_front().unwrap();
    pipe.arrived(&first);
    assert_eq!(pipe.accept(now, &vec![0; room]), first.bytes.len());
}

/// In real time. A link is never faster than it says, on any machine; that it is hardly slower shows in the best of
/// several attempts, of which a busy machine spoils some.
async fn takes<F: Future<Output = ()>>(stated: Duration, attempt: impl Fn() -> F) {
    let mut best = Duration::MAX;
    for _ in 0..10 {
        let start = Instant::now();
        attempt().await;
        let took = start.elapsed();
        assert!(took >= stated, "{took:?} instead of {stated:?}");
        best = best.min(took);
        if best < stated + stated / 10 {
            return;
        }
    }
    panic!("{best:?} at best instead of {stated:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_take_real_time() {
    let link: LinkProfile = "1Gbps,30ms".parse().unwrap();
    takes(2 * link.rtt(), || async move {
        let (mut client, mut server) = pair(link).unwrap();
        let echo = tokio::spawn(async move {
            for _ in 0..2 {
                let got = server.recv_bytes(A, 10).await.unwrap();
                server.send_bytes(A, &got).await.unwrap();
                server.flush().await.unwrap();
            }
            server
        });
        for _ in 0..2 {
            client.send_bytes(A, &[7; 10]).await.unwrap();
            assert_eq!(client.recv_bytes(A, 10).await.unwrap(), [7; 10]);
        }
        drop(echo.await.unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_take_real_time_both_ways_at_once() {
    let link: LinkProfile = "80Mbps,20ms".parse().unwrap();
    let bytes = 400_000;
    takes(link.transmission(bytes) + link.rtt() / 2, || async move {
        let (mut client, mut server) = pair(link).unwrap();
        let there = async {
            client.send_bytes(A, &vec![1; bytes]).await.unwrap();
            client.flush().await.unwrap();
            client.recv_bytes(A, bytes).await.unwrap()
        };
        let back = async {
            server.send_bytes(A, &vec![2; bytes]).await.unwrap();
            server.flush().await.unwrap();
            server.recv_bytes(A, bytes).await.unwrap()
        };
        let (at_client, at_server) = tokio::join!(there, back);
        assert!(at_client == vec![2; bytes] && at_server == vec![1; bytes]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_arrives_though_the_writer_is_gone() {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let mut writer = Writer::new(near, "10Mbps,40ms".parse().unwrap()).unwrap();
    writer.write_all(&[9; 30_000]).await.unwrap();
    drop(writer);
    let mut got = Vec::new();
    far.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, [9; 30_000]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutting_down_waits_for_the_last_byte_and_nothing_is_written_after() {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let mut writer = Writer::new(near, "10Mbps,40ms".parse().unwrap()).unwrap();
    let start = Instant::now();
    writer.write_all(&[9; 10]).await.unwrap();
    writer.shutdown().await.unwrap();
    assert!(start.elapsed() >= 20 * MS);
    assert_eq!(writer.write(&[1]).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    let mut got = Vec::new();
    far.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, [9; 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_reads_nothing_blocks_and_one_that_is_gone_fails() {
    let (near, far) = tokio::io::duplex(1 << 10);
    let link: LinkProfile = "1000Gbps,0ms".parse().unwrap();
    let mut writer = Writer::new(near, link).unwrap();
    let too_much = vec![0; SEND_BUFFER + (2 << 10)];
    assert!(timeout(100 * MS, writer.write_all(&too_much)).await.is_err());
    drop(far);
    let failure = timeout(Duration::from_secs(5), writer.write_all(&too_much)).await.unwrap().unwrap_err();
    assert_eq!(failure.kind(), io::ErrorKind::BrokenPipe);
}
