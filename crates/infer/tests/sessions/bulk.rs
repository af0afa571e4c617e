//! Pre-computes whose linear layers were made together: the same results, fewer bytes.

use phineus_infer::plan::{MAX_BULK, PlanError};
use phineus_infer::{ProtocolError, report::Report};
use phineus_model::graph::Conv;
use phineus_model::reference;

use crate::nets;
use crate::party::{Host, input};

const COUNT: usize = 5;

fn linear_bytes(report: &Report) -> u64 {
    let linear = report.layers.iter().filter(|layer| layer.protocol == "linear_he");
    linear.map(|l| l.offline.client_to_server_bytes + l.offline.server_to_client_bytes).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_inference_of_a_bulk_is_exact_and_cheaper() {
    for model in nets::patterns() {
        let host = Host::of([model.clone()]);
        let (mut session, server) = host.connect().await;
        let mut prepared = Vec::new();
        session
            .prepare_many(COUNT, |one| {
                prepared.push(one);
                Ok(())
            })
            .await
            .unwrap();
        // One more by itself, to compare with; the keys of both are kept.
        prepared.push(session.prepare().await.unwrap());
        let mut reports = Vec::new();
        for (seed, prepared) in prepared.into_iter().enumerate() {
            let input = input(&model, seed as u64);
            let inference = session.infer(prepared, &input).await.unwrap();
            assert_eq!(inference.values, reference::run(&model, &input).unwrap(), "{} {seed}", model.name);
            reports.push(inference.report);
        }
        session.close().await.unwrap();
        assert_eq!(server.await.unwrap().unwrap().prepared, COUNT + 1);
        let alone = linear_bytes(&reports[COUNT]);
        let together: u64 = reports[..COUNT].iter().map(linear_bytes).sum();
        assert!(together < COUNT as u64 * alone, "{}: {together} for {COUNT}, {alone} for one", model.name);
    }
}

#[tokio::test]
async fn the_size_of_a_bulk_is_bounded() {
    for count in [0, MAX_BULK + 1] {
        let host = Host::of([nets::tiny("tiny")]);
        let (mut session, server) = host.connect().await;
        let error = session.prepare_many(count, |_| Ok(())).await.unwrap_err();
        assert!(matches!(error, ProtocolError::Plan(PlanError::TooLarge { .. })), "{error}");
        drop(session);
        assert!(server.await.unwrap().is_err());
    }
}

/// Large images are stacked only as far as the requests of a stack stay within bounds.
#[test]
fn stacks_of_large_images_are_smaller() {
    let conv = Conv { input: [128, 128], ..Conv::dense(64, 1) };
    let plan = Host::of([nets::one_conv(conv)]).plan();
    let most = plan.together();
    assert!((2..MAX_BULK).contains(&most), "{most}");
    assert_eq!(plan.bulk(most).unwrap().count(), most);
    assert!(matches!(plan.bulk(most + 1), Err(PlanError::TooLarge { .. })));
    assert_eq!(Host::of([nets::tiny("tiny")]).plan().together(), MAX_BULK);
}

/// Requests and preparations that are waited for, while another session of the same client prepares for later: everything
/// ends, and everything is exact.
#[tokio::test(flavor = "multi_thread")]
async fn a_preparation_for_later_gives_way_and_comes_to_its_end() {
    let model = nets::tiny("tiny");
    let host = Host::of([model.clone()]);
    let (mut later, _serving) = host.connect().await;
    later.set_background();
    let preparing = tokio::spawn(async move {
        let mut prepared = Vec::new();
        later
            .prepare_many(2 * COUNT, |one| {
                prepared.push(one);
                Ok(())
            })
            .await
            .unwrap();
        (later, prepared)
    });
    for seed in 0..3 {
        let x = input(&model, seed);
        assert_eq!(host.infer(&x).await, reference::run(&model, &x).unwrap());
    }
    let (mut later, prepared) = preparing.await.unwrap();
    assert_eq!(prepared.len(), 2 * COUNT);
    for (seed, prepared) in (10..).zip(prepared) {
        let x = input(&model, seed);
        assert_eq!(later.infer(prepared, &x).await.unwrap().values, reference::run(&model, &x).unwrap());
    }
    later.close().await.unwrap();
}
