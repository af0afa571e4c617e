//! The client garbles: what it keeps does not grow with the network, what it sends online does not exceed the labels.

use phineus_infer::ProtocolError;
use phineus_infer::plan::{Choice, Engine, NonLinear, Options};
use phineus_infer::session::client::Prepared;
use phineus_infer::store::PrepId;
use phineus_model::fixed::{Model, Reveal};
use phineus_model::{reference, zoo};

use crate::nets;
use crate::party::{Host, input};

/// A server of clients that garble.
fn garbled(model: Model) -> Host {
    Host::of_options(&Options::of(Engine::ClientGarbler), [model])
}

/// Prepares in one session and infers from the stored bytes in another; the bytes and the report.
async fn infer_later(model: &Model) -> (Vec<u8>, phineus_infer::report::Report) {
    let garbled = garbled(model.clone());
    let (mut session, served) = garbled.connect().await;
    assert_eq!(session.plan().options().engine, Engine::ClientGarbler);
    let prepared = session.prepare().await.unwrap();
    let (id, bytes) = (prepared.id(), prepared.to_bytes().to_vec());
    session.close().await.unwrap();
    served.await.unwrap().unwrap();
    let (mut session, served) = garbled.connect().await;
    let again = Prepared::from_bytes(id, &bytes, session.plan()).unwrap();
    assert_eq!(again.to_bytes().to_vec(), bytes);
    let x = input(model, 5);
    let inference = session.infer(again, &x).await.unwrap();
    assert_eq!(inference.values, reference::run(model, &x).unwrap(), "{}", model.name);
    // Once.
    let again = Prepared::from_bytes(id, &bytes, session.plan()).unwrap();
    assert!(session.infer(again, &x).await.is_err());
    assert!(served.await.unwrap().is_err());
    (bytes, inference.report)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_keeps_a_seed_and_its_share_of_the_output() {
    let (mut kept, mut stored) = (vec![], vec![]);
    for reveal in [Reveal::Logits, Reveal::ArgMax] {
        let (bytes, report) = infer_later(&nets::dense_only(10, reveal)).await;
        assert_eq!(report.client.stored_bytes, bytes.len() as u64);
        kept.push(bytes.len());
        stored.push(report.server.stored_bytes);
    }
    // The decoding of an index of four bits, and the offset; tables are the server's.
    assert_eq!(kept[1], kept[0] + 1 + 16);
    assert!(stored[1] > stored[0] + 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_of_the_literature_within_the_bytes_promised() {
    let graph = zoo::build("lola-mnist-relu", 5).unwrap();
    let model = nets::compile(&graph, &phineus_model::quantize::Options::default());
    let (bytes, report) = infer_later(&model).await;
    // Per row of the report 40 bytes of costs, per output a word.
    assert_eq!(bytes.len(), 32 + 32 + 16 + 16 + 4 * 10 + 40 * report.layers.len());
    let plan = garbled(model).plan();
    for (choice, row) in plan.choices().iter().zip(&report.layers) {
        let Choice::NonLinear(layer) = choice else { continue };
        assert!(matches!(layer, NonLinear::ClientGarbles(_)));
        assert_eq!(row.protocol, "act_cg");
        let (online, n) = (&row.online, layer.instances() as u64);
        assert_eq!(online.rounds, 1);
        assert!(online.client_to_server_bytes + online.server_to_client_bytes <= 420 * n, "{}", row.name);
        assert!(row.offline.client_to_server_bytes <= 1100 * n, "{}", row.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_no_material() {
    let garbled = garbled(nets::tiny("tiny"));
    let (mut session, _served) = garbled.connect().await;
    let prepared = session.prepare().await.unwrap();
    let (plan, id) = (session.plan().clone(), prepared.id());
    let bytes = prepared.to_bytes().to_vec();
    for len in [0, 31, 79, 80, bytes.len() - 1] {
        let cut = Prepared::from_bytes(id, &bytes[..len], &plan);
        assert!(matches!(cut, Err(ProtocolError::Material)), "{len} bytes");
    }
    // The offset without its lowest bit.
    let mut even = bytes.clone();
    even[80] &= 0xfe;
    assert!(matches!(Prepared::from_bytes(id, &even, &plan), Err(ProtocolError::Material)));
    // The server's half, one byte short.
    let record = garbled.store.take(&garbled.lot(), id).unwrap();
    let short = PrepId::from_bytes([7; 16]);
    garbled.store.put(&garbled.lot(), short, &record[..record.len() - 1]).unwrap();
    let copy = Prepared::from_bytes(short, &bytes, &plan).unwrap();
    let error = session.infer(copy, &input_of(&plan)).await.unwrap_err();
    assert!(error.to_string().contains("pre-compute"), "{error}");
}

fn input_of(plan: &phineus_infer::plan::Plan) -> Vec<i32> {
    vec![0; plan.public().graph.nodes[0].len()]
}
