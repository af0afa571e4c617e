use cpu_time::ThreadTime;

use phineus_net::{Client, Server, mem};

use super::*;

type Pair = (Channel<Client>, Channel<Server>, Sender<Server>, Receiver<Client>);

async fn pair() -> Pair {
    let (mut client, mut server) = mem::pair();
    let (sender, receiver) = tokio::join!(
        async {
            let rng = &mut Prg::new([1; 16]);
            let delta = Delta::random(rng);
            Sender::setup(&mut server, &[7; 32], delta, rng).await.unwrap()
        },
        async { Receiver::setup(&mut client, &[7; 32], &mut Prg::new([2; 16])).await.unwrap() },
    );
    (client, server, sender, receiver)
}

fn random_bits(n: usize, seed: u8) -> Bits {
    let mut words = vec![0; n];
    Prg::new([seed; 16]).fill_u32(1, &mut words);
    Bits::from_words(&words, 1)
}

fn assert_correlated(delta: &Delta, keys: &[Block], labels: &[Block], choices: &Bits) {
    assert_eq!((keys.len(), labels.len()), (choices.len(), choices.len()));
    for (i, (k, l)) in keys.iter().zip(labels).enumerate() {
        assert_eq!(l.0, k.0 ^ delta.times(choices.get(i)).0, "transfer {i}");
    }
}

#[tokio::test]
async fn many_extensions_are_correlated_fresh_and_cost_what_is_promised() {
    let (mut client, mut server, mut sender, mut receiver) = pair().await;
    assert!(sender.delta().block().lsb());
    let setup = (server.traffic(), setup_cost());
    assert_eq!((setup.0.sent, setup.0.received), (setup.1.sender_to_receiver, setup.1.receiver_to_sender));
    let mut seen = std::collections::HashSet::new();
    for (round, n) in
        [1, 127, 128, 129, 1000, CHUNK, CHUNK + 1, 2 * CHUNK + 300, 0, 5].into_iter().enumerate()
    {
        let choices = random_bits(n, round as u8);
        let before = (client.traffic(), server.traffic());
        let (keys, labels) =
            tokio::join!(sender.extend(&mut server, n), receiver.extend(&mut client, &choices));
        let keys = keys.unwrap();
        assert_correlated(sender.delta(), &keys, &labels.unwrap(), &choices);
        assert!(keys.iter().all(|k| seen.insert(k.0)), "a label came twice");
        let cost = extend_cost(n);
        assert_eq!((client.traffic() - before.0).sent, cost.receiver_to_sender);
        assert_eq!((server.traffic() - before.1).sent, cost.sender_to_receiver);
    }
    // Labels look uniform: every bit position but the first is balanced.
    assert!(seen.iter().all(|k| k & 1 == 0));
    let n = seen.len() as f64;
    for bit in 1..128 {
        let ones = seen.iter().filter(|k| *k >> bit & 1 == 1).count() as f64;
        assert!((ones - n / 2.0).abs() < 6.0 * (n / 4.0).sqrt(), "bit {bit}: {ones} of {n}");
    }
}

#[tokio::test]
async fn either_role_can_send() {
    let (mut client, mut server) = mem::pair();
    let choices = random_bits(300, 4);
    let (sent, got) = tokio::join!(
        async {
            let rng = &mut Prg::new([1; 16]);
            let delta = Delta::random(rng);
            let mut sender = Sender::setup(&mut client, &[0; 32], delta, rng).await.unwrap();
            let keys = sender.extend(&mut client, 300).await.unwrap();
            (sender, keys)
        },
        async {
            let mut receiver = Receiver::setup(&mut server, &[0; 32], &mut Prg::new([2; 16])).await.unwrap();
            receiver.extend(&mut server, &choices).await.unwrap()
        },
    );
    assert_correlated(sent.0.delta(), &sent.1, &got, &choices);
}

#[tokio::test]
async fn tampering_is_caught_and_ends_the_session() {
    for target in 0..5 {
        let (mut client, mut server, mut sender, mut receiver) = pair().await;
        let (mut message, _) = receiver.chunk(1000, random_bits(1000, 3).as_bytes());
        let len = message.len();
        let stride = stride(1000);
        match target {
            // A single choice of a single tree, at the start, at the end and in a sacrificed row.
            0 => message[0] ^= 1,
            1 => message[31 * stride + 124] ^= 0x80,
            2 => message[17 * stride + stride - 1] ^= 1,
            3 => message[len - 40] ^= 4,
            _ => message[len - 1] ^= 1,
        }
        client.send_bytes(CORRECTION, &message).await.unwrap();
        client.flush().await.unwrap();
        let error = sender.extend(&mut server, 1000).await.unwrap_err();
        assert!(matches!(error, ChannelError::Peer(PeerMisbehaved::CheckFailed { .. })), "{target}: {error}");
        assert!(sender.extend(&mut server, 0).await.is_err());
    }
}

/// What the check must catch: a receiver that uses another choice in one tree and proves as if it had not. Its
/// message is accepted exactly if that tree's bits of the offset are zero.
#[tokio::test]
async fn inconsistent_choices_pass_only_by_guessing_the_offset() {
    let (_, _, mut sender, mut receiver) = pair().await;
    let honest = random_bits(128, 3);
    let mut passed = 0;
    for tree in 0..TREES {
        let Correction { c, columns, mut message } = receiver.correct(128, honest.as_bytes());
        message[tree * stride(128)] ^= 1;
        receiver.prove(128, &c, &columns, &mut message);
        let accepted = sender.chunk(128, &message).is_ok();
        assert_eq!(accepted, (0..K).all(|b| !sender.delta.bit(tree * K + b)), "tree {tree}");
        passed += usize::from(accepted);
    }
    assert!(passed < TREES / 4);
    // The streams are still in step.
    let (message, labels) = receiver.chunk(128, honest.as_bytes());
    assert_correlated(&sender.delta.clone(), &sender.chunk(128, &message).unwrap(), &labels, &honest);
}

#[tokio::test]
#[ignore = "measurement"]
async fn speed() {
    let (_, _, mut sender, mut receiver) = pair().await;
    let choices = random_bits(CHUNK, 3);
    // The calling thread does all the work, so that its processor time is the cost.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().unwrap();
    let (mut send, mut receive) = (0.0, 0.0);
    let rounds = 40;
    for _ in 0..rounds {
        let start = ThreadTime::now();
        let (message, _) = pool.install(|| receiver.chunk(CHUNK, choices.as_bytes()));
        receive += start.elapsed().as_secs_f64();
        let start = ThreadTime::now();
        pool.install(|| sender.chunk(CHUNK, &message)).unwrap();
        send += start.elapsed().as_secs_f64();
    }
    let rate = |s: f64| (rounds * CHUNK) as f64 / s / 1e6;
    eprintln!("sender {:.1} M/s, receiver {:.1} M/s", rate(send), rate(receive));
    eprintln!("{:.3} bytes per transfer", message_len(CHUNK) as f64 / CHUNK as f64);
}
