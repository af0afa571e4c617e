use phineus_net::{Client, Server};
use rand::Rng;

use super::*;
use crate::rot::tests::{Party, parties};

async fn run(client: &mut Party<Client>, server: &mut Party<Server>, bits: u32, window: usize, n: usize) {
    let max = Max::new(bits, window).unwrap();
    let rng = &mut Prg::new([window as u8; 16]);
    let bound = 1_i64 << (bits - 2);
    let mut values: Vec<i64> =
        (0..n * window).map(|_| i64::from(rng.next_u32()) % (2 * bound) - bound).collect();
    // Extremes and ties.
    values.iter_mut().step_by(3).for_each(|v| *v = -bound);
    values.iter_mut().skip(1).step_by(5).for_each(|v| *v = bound - 1);
    let (mut c, mut r) = (vec![0; n * window], vec![0; n]);
    rng.fill_u32(bits, &mut c);
    rng.fill_u32(bits, &mut r);
    let mask = u32::MAX >> (32 - bits);
    let y: Vec<u32> = values.iter().zip(&c).map(|(v, c)| (*v as u32).wrapping_sub(*c) & mask).collect();

    let before = (client.channel.traffic(), server.channel.traffic());
    let (rng_s, rng_c) = (&mut Prg::new([9; 16]), &mut Prg::new([8; 16]));
    let (send, receive) = (&mut server.send, &mut server.receive);
    let s = prepare_server(&mut server.channel, &max, n, send, receive, rng_s);
    let (send, receive) = (&mut client.send, &mut client.receive);
    let (s, m) = tokio::join!(s, prepare_client(&mut client.channel, &max, &c, send, receive, rng_c));
    let s = ServerMaterial::from_bytes(&max, n, &s.unwrap().to_bytes(&max)).unwrap();
    let m = ClientMaterial::from_bytes(&max, n, &m.unwrap().to_bytes(&max)).unwrap();
    let middle = (client.channel.traffic(), server.channel.traffic());
    let cost = max.cost(n);
    assert_eq!((middle.0 - before.0).sent, cost.offline.client_to_server);
    assert_eq!((middle.1 - before.1).sent, cost.offline.server_to_client);

    let (share, done) = tokio::join!(
        online_server(&mut server.channel, &max, s, &y),
        online_client(&mut client.channel, &max, m, &c, &r),
    );
    done.unwrap();
    assert_eq!((client.channel.traffic() - middle.0).sent, cost.online.client_to_server);
    assert_eq!((server.channel.traffic() - middle.1).sent, cost.online.server_to_client);
    for (i, (share, r)) in share.unwrap().iter().zip(&r).enumerate() {
        let ideal = values[i * window..(i + 1) * window].iter().max().unwrap();
        assert_eq!(
            share.wrapping_add(*r) & mask,
            *ideal as u32 & mask,
            "{bits} bits, window {window} at {i}"
        );
    }
}

#[tokio::test]
async fn the_maximum_of_every_window() {
    let (mut client, mut server) = parties().await;
    for (bits, window) in [(2, 2), (9, 3), (24, 4), (20, 5), (25, 9), (32, 7)] {
        run(&mut client, &mut server, bits, window, 70).await;
    }
}

#[test]
fn cost_of_a_pool_and_parameters() {
    // Three levels and a last one: 4, 2, 1 and 1 of the 8 rectifiers.
    let max = Max::new(24, 9).unwrap();
    let n = 1 << 12;
    assert_eq!(max.levels(n).collect::<Vec<_>>(), [4 * n, 2 * n, n, n]);
    let cost = max.cost(n).online;
    assert_eq!((cost.server_to_client + cost.client_to_server) / n as u64, 231);
    assert_eq!(cost.hops, 24);
    assert!(Max::new(1, 4).is_err() && Max::new(33, 4).is_err());
    assert!(Max::new(24, 0).is_err() && Max::new(24, 1025).is_err());
    assert!(Max::new(24, 1).unwrap().levels(5).next().is_none());
}
