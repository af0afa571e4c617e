//! Against the ideal functionality, over widths and extreme inputs.

use phineus_kernel::prg::Prg;
use phineus_kernel::wire::PeerMisbehaved;
use phineus_net::{ChannelError, Client, Server};

use super::*;
use crate::ot::engine::Engine;
use crate::ot::silent::Set;
use crate::rot::tests::{Party, parties, parties_on};

struct Case {
    product: Product,
    v: [Vec<u32>; 2],
    y: [Vec<u32>; 2],
    c: [Vec<u32>; 2],
    r: Vec<u32>,
}

fn both(words: &[Vec<u32>; 2]) -> [&[u32]; 2] {
    [&words[0], &words[1]]
}

impl Case {
    /// Random values, shares and masks; extreme ones among them.
    fn new(bits: u32, n: usize, seed: u8) -> Self {
        let rng = &mut Prg::new([seed; 16]);
        let mask = u32::MAX >> (32 - bits);
        let mut random = || {
            let mut words = vec![0; n];
            rng.fill_u32(bits, &mut words);
            words.iter_mut().step_by(5).for_each(|word| *word = 0);
            words.iter_mut().skip(usize::from(seed) % 5).step_by(5).for_each(|word| *word = mask);
            words
        };
        let (v, c, r) = ([random(), random()], [random(), random()], random());
        let y =
            [0, 1].map(|k: usize| v[k].iter().zip(&c[k]).map(|(v, c)| v.wrapping_sub(*c) & mask).collect());
        Self { product: Product::new(bits).unwrap(), v, y, c, r }
    }

    async fn prepare(
        &self,
        client: &mut Party<Client>,
        server: &mut Party<Server>,
    ) -> (ServerMaterial, ClientMaterial) {
        let product = &self.product;
        let s = async {
            let n = self.r.len();
            let pending = begin_server(&mut server.channel, product, n, &mut server.send).await.unwrap();
            finish_server(&mut server.channel, pending).await.unwrap()
        };
        let c = async {
            let pending =
                begin_client(&mut client.channel, product, both(&self.c), &mut client.receive).await.unwrap();
            finish_client(&mut client.channel, product, pending).await.unwrap()
        };
        tokio::join!(s, c)
    }

    /// Both phases; checks the bytes of each, that materials survive storage, and the result.
    async fn run(&self, client: &mut Party<Client>, server: &mut Party<Server>) {
        let (product, n) = (&self.product, self.r.len());
        let cost = cost(product, n);
        let start = (client.channel.traffic(), server.channel.traffic());
        let (s, c) = self.prepare(client, server).await;
        let middle = (client.channel.traffic(), server.channel.traffic());
        let offline = (middle.0 - start.0, middle.1 - start.1);
        assert_eq!(offline.0.sent, cost.offline.client_to_server);
        assert_eq!(offline.1.sent, cost.offline.server_to_client);
        assert_eq!((s.len(), c.len(), s.is_empty()), (n, n, c.is_empty()));

        let (s_bytes, c_bytes) = (s.to_bytes(product), c.to_bytes(product));
        assert_eq!(s_bytes.len(), ServerMaterial::byte_len(product, n));
        let s = ServerMaterial::from_bytes(product, n, &s_bytes).unwrap();
        let c = ClientMaterial::from_bytes(product, n, &c_bytes).unwrap();
        let (share, done) = tokio::join!(
            online_server(&mut server.channel, product, s, both(&self.y)),
            online_client(&mut client.channel, product, c, both(&self.c), &self.r),
        );
        done.unwrap();
        let online = (client.channel.traffic() - middle.0, server.channel.traffic() - middle.1);
        assert_eq!(online.0.sent, cost.online.client_to_server);
        assert_eq!(online.1.sent, cost.online.server_to_client);
        let mask = u32::MAX >> (32 - product.bits());
        for (i, share) in share.unwrap().into_iter().enumerate() {
            assert!(share <= mask);
            assert_eq!(
                share.wrapping_add(self.r[i]) & mask,
                self.v[0][i].wrapping_mul(self.v[1][i]) & mask,
                "{product:?}, {i}"
            );
        }
    }
}

#[tokio::test]
async fn every_width_is_the_ideal_functionality() {
    let (mut client, mut server) = parties().await;
    for bits in 1..=32_u32 {
        Case::new(bits, 70, bits as u8).run(&mut client, &mut server).await;
    }
    for n in [0, 1, 63, 64, 65, 1000] {
        Case::new(17, n, 3).run(&mut client, &mut server).await;
    }
    assert!(Product::new(0).is_err() && Product::new(33).is_err());
}

#[tokio::test]
async fn silent_transfers_serve_as_well() {
    let (mut client, mut server) = parties_on(Engine::Silent(Set::ALL[0])).await;
    let case = Case::new(18, 100, 4);
    let (s, c) = case.prepare(&mut client, &mut server).await;
    let (share, done) = tokio::join!(
        online_server(&mut server.channel, &case.product, s, both(&case.y)),
        online_client(&mut client.channel, &case.product, c, both(&case.c), &case.r),
    );
    done.unwrap();
    for (i, share) in share.unwrap().into_iter().enumerate() {
        assert_eq!(
            share.wrapping_add(case.r[i]) & 0x3_ffff,
            case.v[0][i].wrapping_mul(case.v[1][i]) & 0x3_ffff
        );
    }
}

#[tokio::test]
async fn what_is_sent_online_is_masked_and_lengths_are_checked() {
    let (mut client, mut server) = parties().await;
    let case = Case::new(9, 640, 5);
    let (s, c) = case.prepare(&mut client, &mut server).await;
    // The server's words are uniform, so that differences hide its shares.
    for a in &s.factors {
        let ones: u32 = a.iter().map(|a| a.count_ones()).sum();
        assert!((f64::from(ones) - 2880.0).abs() < 6.0 * 1440_f64.sqrt(), "{ones}");
    }
    let short = [&case.y[0][..], &case.y[1][1..]];
    let error = online_server(&mut server.channel, &case.product, s, short).await.unwrap_err();
    assert!(matches!(error, CompareError::Length { .. }), "{error}");
    let error =
        online_client(&mut client.channel, &case.product, c, both(&case.c), &case.r[1..]).await.unwrap_err();
    assert!(matches!(error, CompareError::Length { .. }), "{error}");
    assert!(ClientMaterial::from_bytes(&case.product, 3, &[0; 3]).is_err());
    assert!(ServerMaterial::from_bytes(&case.product, 3, &[0; 11]).is_err());
}

#[tokio::test]
async fn a_message_of_another_length_is_the_peers_fault() {
    let (mut client, mut server) = parties().await;
    let case = Case::new(9, 5, 6);
    let (_, c) = case.prepare(&mut client, &mut server).await;
    let send = async {
        server.channel.send_bytes(DIFFERENCES, &[0; 11]).await.unwrap();
        server.channel.flush().await.unwrap();
    };
    let (done, ()) =
        tokio::join!(online_client(&mut client.channel, &case.product, c, both(&case.c), &case.r), send);
    let error = done.unwrap_err();
    assert!(
        matches!(&error, CompareError::Channel(ChannelError::Peer(PeerMisbehaved::Length { .. }))),
        "{error:?}"
    );
}
