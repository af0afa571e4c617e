//! Plans for slow links: responses are merged, the keys for it cross once, and nothing else changes.

use std::time::Duration;

use phineus_infer::packing::{CostModel, Packing};
use phineus_infer::plan::{Link, Options};
use phineus_model::fixed::Model;
use phineus_model::graph::Conv;
use phineus_model::reference;
use proptest::prelude::*;

use crate::cost::assert_exact;
use crate::nets;
use crate::party::{Host, input};

/// Keys cost nothing, responses everything: merges wherever there are two responses.
const NARROW: Link = Link {
    up_bits_per_second: 1_000_000_000,
    down_bits_per_second: 1_000,
    round_trip: Duration::from_millis(1),
};

/// Serves plans for one link only.
fn host(model: &Model, link: Link) -> Host {
    Host::of_options(&Options { link, ..Options::default() }, [model.clone()])
}

/// Whether some layer of the plan merges responses.
fn merges(host: &Host) -> bool {
    host.plan().linear().layers().iter().any(|layer| layer.packing.merge_levels() > 0)
}

async fn exact(host: &Host, model: &Model, inputs: u64) {
    let (mut session, server) = host.connect().await;
    assert_exact(&mut session, model, 0..inputs).await;
    session.close().await.unwrap();
    server.await.unwrap().unwrap();
}

fn conv(channels: [usize; 2], side: usize, kernel: usize) -> Conv {
    Conv {
        input: [side; 2],
        kernel: [kernel; 2],
        pads: [kernel / 2; 4],
        ..Conv::dense(channels[0], channels[1])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_responses_are_exact_and_move_the_bytes_foretold() {
    // Many responses of few coefficients, whole and part ciphertexts.
    let wide = [conv([40, 70], 5, 3), conv([20, 33], 12, 1), Conv::dense(300, 200)];
    let wide: Vec<Model> = wide.into_iter().map(nets::one_conv).collect();
    for model in &wide {
        let host = host(model, NARROW);
        assert!(merges(&host), "{}", model.name);
        exact(&host, model, 2).await;
    }
    for model in nets::patterns() {
        exact(&host(&model, NARROW), &model, 2).await;
    }
}

#[test]
fn random_convolutions_with_merged_responses_are_exact() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() };
    let side = || (4_usize..12, 1_usize..4, 1_usize..4, 0_usize..3, 0_usize..3, 1_usize..3);
    let channels = (1_usize..3, 1_usize..12, 1_usize..30);
    proptest!(config, |(rows in side(), columns in side(), channels in channels)| {
        let (groups, inputs, outputs) = channels;
        let conv = Conv {
            in_channels: groups * inputs,
            input: [rows.0, columns.0],
            out_channels: groups * outputs,
            kernel: [rows.1, columns.1],
            stride: [rows.2, columns.2],
            pads: [rows.3, columns.3, rows.4, columns.4],
            dilation: [rows.5, columns.5],
            groups,
        };
        prop_assume!(!conv.output().contains(&0));
        prop_assume!(Packing::plan(&conv, 4096, &CostModel::default()).is_ok());
        let model = nets::one_conv(conv);
        runtime.block_on(exact(&host(&model, NARROW), &model, 1));
    });
}

/// A stack may need more levels of keys than the session has: they are sent then.
#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_behind_a_single_inference_brings_its_own_keys() {
    for conv in [conv([3, 5], 9, 3), conv([9, 40], 4, 1)] {
        let model = nets::one_conv(conv);
        let host = host(&model, NARROW);
        let (mut session, server) = host.connect().await;
        let mut prepared = vec![session.prepare().await.unwrap()];
        let keep = |one| {
            prepared.push(one);
            Ok(())
        };
        session.prepare_many(6, keep).await.unwrap();
        prepared.push(session.prepare().await.unwrap());
        for (seed, prepared) in prepared.into_iter().enumerate() {
            let input = input(&model, seed as u64);
            let values = session.infer(prepared, &input).await.unwrap().values;
            assert_eq!(values, reference::run(&model, &input).unwrap(), "{seed}");
        }
        session.close().await.unwrap();
        server.await.unwrap().unwrap();
    }
}

/// Slower links never mean more bytes, keys counted for the sessions that plans reckon with.
#[test]
fn slow_links_save_bytes() {
    let model = nets::one_conv(conv([64, 128], 8, 3));
    let bytes = |link: Link| {
        let host = host(&model, link);
        let offline = host.plan().predicted().offline;
        (offline.client_to_server_bytes + offline.server_to_client_bytes, merges(&host))
    };
    let fast = bytes(Link::symmetric(1_000_000_000_000, Duration::ZERO));
    let slow = bytes(Link::symmetric(1_000_000, Duration::from_millis(100)));
    assert!(slow.0 < fast.0 && slow.1 && !fast.1, "{fast:?} {slow:?}");
}
