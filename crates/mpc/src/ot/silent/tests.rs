use cpu_time::ThreadTime;

use phineus_net::{Client, Server, mem};

use super::*;

type Pair = (Channel<Client>, Channel<Server>, Sender<Server>, Receiver<Client>);

async fn pair(set: Set) -> Pair {
    let (mut client, mut server) = mem::pair();
    let (sender, receiver) = tokio::join!(
        async {
            let rng = &mut Prg::new([1; 16]);
            let delta = Delta::random(rng);
            let mut base = cot::Sender::setup(&mut server, &[7; 32], delta, rng).await.unwrap();
            Sender::setup(&mut server, &[8; 32], &mut base, set, rng).await.unwrap()
        },
        async {
            let rng = &mut Prg::new([2; 16]);
            let mut base = cot::Receiver::setup(&mut client, &[7; 32], rng).await.unwrap();
            Receiver::setup(&mut client, &[8; 32], &mut base, set, rng).await.unwrap()
        },
    );
    (client, server, sender, receiver)
}

fn assert_correlated(delta: &Delta, keys: &[Block], labels: &[Block], bits: &Bits) {
    assert_eq!((keys.len(), labels.len()), (bits.len(), bits.len()));
    for (i, (k, l)) in keys.iter().zip(labels).enumerate() {
        assert!(!k.lsb() && l.lsb() == bits.get(i), "transfer {i}");
        assert_eq!(l.0, k.0 ^ delta.times(bits.get(i)).0, "transfer {i}");
    }
}

#[tokio::test]
async fn rounds_are_correlated_fresh_and_cost_what_is_promised() {
    let set = Set::B10;
    let (mut client, mut server, mut sender, mut receiver) = pair(set).await;
    let mut seen = std::collections::HashSet::new();
    let (mut ones, mut total) = (0, 0);
    for n in [0, 1, 1000, set.round(), 77] {
        let stock = sender.stock();
        assert_eq!(receiver.stock(), stock);
        let before = (client.traffic(), server.traffic());
        let (keys, got) = tokio::join!(sender.extend(&mut server, n), receiver.extend(&mut client, n));
        let (keys, (labels, bits)) = (keys.unwrap(), got.unwrap());
        assert_correlated(&sender.delta, &keys, &labels, &bits);
        assert!(keys.iter().all(|k| seen.insert(k.0)), "a key came twice");
        ones += (0..bits.len()).filter(|i| bits.get(*i)).count();
        total += n;
        let cost = extend_cost(set, stock, n);
        assert_eq!((client.traffic() - before.0).sent, cost.receiver_to_sender);
        assert_eq!((server.traffic() - before.1).sent, cost.sender_to_receiver);
    }
    let n = total as f64;
    assert!((ones as f64 - n / 2.0).abs() < 5.0 * (n / 4.0).sqrt(), "{ones} of {n}");
    for bit in 1..128 {
        let ones = seen.iter().filter(|k| *k >> bit & 1 == 1).count() as f64;
        assert!((ones - n / 2.0).abs() < 6.0 * (n / 4.0).sqrt(), "bit {bit}: {ones} of {n}");
    }
}

#[tokio::test]
async fn bits_can_be_chosen() {
    let set = Set::B10;
    let (mut client, mut server, mut sender, mut receiver) = pair(set).await;
    for n in [0, 1, 130, 5001] {
        let choices: Bits = (0..n).map(|i| i % 3 == 1).collect();
        let stock = sender.stock();
        let before = (client.traffic(), server.traffic());
        let (keys, labels) =
            tokio::join!(sender.extend_chosen(&mut server, n), receiver.extend_chosen(&mut client, &choices));
        assert_correlated(&sender.delta, &keys.unwrap(), &labels.unwrap(), &choices);
        let cost = extend_chosen_cost(set, stock, n);
        assert_eq!((client.traffic() - before.0).sent, cost.receiver_to_sender);
        assert_eq!((server.traffic() - before.1).sent, cost.sender_to_receiver);
    }
}

/// One round by hand, with the sender's messages changed on the way.
async fn tampered(change: impl Fn(&mut Vec<u8>, &mut Vec<u8>)) -> Result<(), ChannelError> {
    let (mut client, mut server, mut sender, mut receiver) = pair(Set::B10).await;
    let deceiver = async {
        let (sums, leaves) = sender.grow();
        let (mut sent, mut digest) = (sums, vec![]);
        change(&mut sent, &mut digest);
        server.send_bytes(SUMS, &sent).await.unwrap();
        server.flush().await.unwrap();
        if let Ok(masked) = server.recv_bytes(MASKED, 16).await {
            digest = sender.prove(&sent, &leaves, &masked).unwrap().to_vec();
            change(&mut sent, &mut digest);
            server.send_bytes(DIGEST, &digest).await.unwrap();
            server.flush().await.unwrap();
        }
        server
    };
    let victim = async {
        let result = receiver.extend(&mut client, 10).await.map(|_| ());
        if result.is_err() {
            assert!(receiver.extend(&mut client, 0).await.is_err(), "usable after an error");
            client.abort("refused").await;
        }
        result
    };
    tokio::join!(deceiver, victim).1
}

#[tokio::test]
async fn tampering_is_caught_and_ends_the_session() {
    assert!(tampered(|_, _| ()).await.is_ok());
    let failed = |r| matches!(r, Err(ChannelError::Peer(PeerMisbehaved::CheckFailed { .. })));
    // The root's sum of every tree of the last batch, which half of the paths use.
    let all = |sums: &mut Vec<u8>, digest: &mut Vec<u8>| {
        if digest.is_empty() {
            let at = sums.len() - Set::B10.depth() * 256;
            sums[at..at + 256].iter_mut().step_by(16).for_each(|b| *b ^= 2);
        }
    };
    assert!(failed(tampered(all).await));
    let digest = |_: &mut Vec<u8>, digest: &mut Vec<u8>| {
        if let Some(byte) = digest.last_mut() {
            *byte ^= 1;
        }
    };
    assert!(failed(tampered(digest).await));
    let truncated = |sums: &mut Vec<u8>, _: &mut Vec<u8>| sums.truncate(sums.len() - 1);
    assert!(matches!(tampered(truncated).await, Err(ChannelError::Peer(PeerMisbehaved::Length { .. }))));
}

/// What the check must catch, and what it leaves: a sender that changes the last sum of one tree changes two leaves of
/// the receiver, the unknown one and its sibling. It passes if it adds the change to the right two of its own.
#[tokio::test]
async fn a_wrong_sum_passes_only_by_guessing_the_position() {
    let set = Set::B10;
    let (_, _, mut sender, receiver) = pair(set).await;
    let (tweak, (sums, leaves)) = (sender.state.tweak(), sender.grow());
    let accepted = |sums: &[u8], leaves: &[Block]| {
        let mut theirs = vec![Block::ZERO; set.n()];
        trees::reconstruct(set, &receiver.state.reserve, sums, tweak, &mut theirs).unwrap();
        let (masked, expected) = receiver.expect(sums, &theirs);
        sender.prove(sums, leaves, &masked).unwrap() == expected
    };
    assert!(accepted(&sums, &leaves));
    // Tree 5 of batch 2.
    let (first, error) = (2 * set.depth() * 16 + 5, 2);
    for level in 0..set.depth() {
        let mut wrong = sums.clone();
        wrong[(first + 16 * level) * 16] ^= error;
        assert!(!accepted(&wrong, &leaves), "level {level}");
    }
    let bit = |level: usize| usize::from(!receiver.state.reserve[set.paths()][first + 16 * level].lsb());
    let alpha = (0..set.depth()).fold(0, |alpha, level| 2 * alpha + bit(level));
    let mut wrong = sums;
    wrong[(first + 16 * (set.depth() - 1)) * 16] ^= error;
    for change in [0, 1, 2, 3, 1 << 9, 511] {
        let guess = alpha ^ change;
        let mut adjusted = leaves.clone();
        for j in [guess, guess ^ 1] {
            adjusted[((2 << set.depth()) + j) * 16 + 5] ^= Block(error.into());
        }
        assert_eq!(accepted(&wrong, &adjusted), change < 2, "change {change}");
    }
}

#[test]
fn sets_are_consistent() {
    for set in Set::ALL {
        assert!(set.trees().is_multiple_of(16) && set.k() <= 1 << 21);
        assert!(set.reserve() < set.n() / 8, "{}", set.name());
        let bytes = set.round_cost().sender_to_receiver as f64 / set.round() as f64;
        assert!(bytes < 0.2, "{}: {bytes}", set.name());
    }
}

#[tokio::test]
#[ignore = "measurement"]
async fn speed() {
    // The calling thread does all the work, so that its processor time is the cost.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().unwrap();
    for set in Set::ALL {
        let (_, _, mut sender, mut receiver) = pair(set).await;
        let mut times = vec![];
        for _ in 0..5 {
            pool.install(|| {
                let mut at = vec![ThreadTime::now()];
                let (sums, leaves) = sender.grow();
                at.push(ThreadTime::now());
                let digest = sender.prove(&sums, &leaves, &[0; 16]).unwrap();
                at.push(ThreadTime::now());
                sender.state.encode(leaves);
                at.push(ThreadTime::now());
                let leaves = receiver.reconstruct(&sums).unwrap();
                at.push(ThreadTime::now());
                let (_, expected) = receiver.expect(&sums, &leaves);
                at.push(ThreadTime::now());
                receiver.state.encode(leaves);
                at.push(ThreadTime::now());
                assert!(digest != expected);
                sender.state.stock.clear();
                receiver.state.stock.clear();
                times
                    .push(at.windows(2).map(|w| w[1].duration_since(w[0]).as_secs_f64()).collect::<Vec<_>>());
            });
        }
        let part = |i: usize| {
            let mut t: Vec<f64> = times.iter().map(|t| t[i]).collect();
            t.sort_by(f64::total_cmp);
            t[t.len() / 2] / set.round() as f64 * 1e9
        };
        let parts: Vec<f64> = (0..6).map(part).collect();
        eprintln!(
            "{}: sender {:.1} M/s, receiver {:.1} M/s; ns per transfer (trees, check, code) {parts:.1?}; {:.3} bytes",
            set.name(),
            1e3 / parts[..3].iter().sum::<f64>(),
            1e3 / parts[3..].iter().sum::<f64>(),
            set.round_cost().sender_to_receiver as f64 / set.round() as f64
        );
    }
}
