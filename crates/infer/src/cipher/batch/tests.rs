//! Batches of real digits over a channel.

use std::sync::Arc;

use phineus_he::slots::{KeyUpload, SecretKey};
use phineus_kernel::prg::Prg;
use phineus_net::mem;
use zeroize::Zeroizing;

use super::link::{self, Inputs, LinkError};
use super::scheme::Scheme;
use crate::cipher::keyring::ClientKeys;
use crate::cipher::scheme::{Choices, PEAKS};
use crate::cipher::tests::{asset_path, digits, largest_at};
use crate::cipher::{Encrypted, Network, Precision};

fn small(inputs: &[Vec<f64>]) -> Network {
    let bytes = std::fs::read(asset_path("lola-small.onnx")).unwrap();
    let graph = phineus_model::pass::canonical(phineus_model::onnx::import(&bytes).unwrap()).unwrap();
    let network = Network::new(&graph).unwrap();
    let largest = network.largest(inputs);
    network.scaled(&largest, PEAKS)
}

fn shared(inputs: &[Vec<f64>]) -> Inputs {
    Arc::new(inputs.iter().cloned().map(Zeroizing::new).collect())
}

#[tokio::test]
async fn a_batch_of_digits_over_a_channel() {
    let Some(digits) = digits(200) else { return };
    let inputs: Vec<Vec<f64>> =
        digits.iter().map(|(x, _)| x.iter().map(|&v| f64::from(v)).collect()).collect();
    let network = Arc::new(small(&inputs));
    let choices = Choices { precision: 19, ..Choices::default() };
    let scheme = Arc::new(Scheme::new(network.shapes(), &choices).unwrap());
    assert_eq!(scheme.size(), 4096);
    let precision = Precision::of_batch(&scheme).unwrap();
    let mut rng = Prg::from_seed32(&[5; 32]);
    let secret = Arc::new(SecretKey::generate(scheme.params(), &mut rng));
    let public = secret.public_key(&mut rng);
    let upload = KeyUpload::generate(&secret, scheme.keys(), &mut rng).unwrap();
    let evaluator = Encrypted::new(upload.expand(), scheme.bounds());
    let keys = Arc::new(ClientKeys { evaluator, public, digest: [0; 32], voucher: [0; 32] });
    let (mut client, mut server) = mem::pair();

    let wrong = [shared(&[]), shared(&[vec![0.0; 783]]), shared(&[vec![1.1; 784]])];
    for wrong in wrong {
        let refused = link::ask(&mut client, &scheme, &secret, &wrong, &mut rng).await;
        assert!(matches!(refused, Err(LinkError::Inputs { most: 4096, length: 784, .. })));
    }
    // Two batches, neither of them full.
    for batch in [&inputs[..3], &inputs[..]] {
        let (mut near, mut far) = (Prg::from_seed32(&[6; 32]), Prg::from_seed32(&[7; 32]));
        let sent = shared(batch);
        let (asked, answered) = tokio::join!(
            link::ask(&mut client, &scheme, &secret, &sent, &mut near),
            link::answer(&mut server, &scheme, &network, &keys, &mut far)
        );
        answered.unwrap();
        let outputs = asked.unwrap();
        assert_eq!(outputs.len(), batch.len());
        let mut same = 0;
        for (input, found) in batch.iter().zip(&outputs) {
            let expected = network.evaluate(input);
            let worst = found.iter().zip(&expected).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
            let bound = precision.bound(&network, input);
            assert!(worst <= bound && bound < 1000.0 * worst, "{worst} {bound}");
            same += usize::from(largest_at(found.iter().copied()) == largest_at(expected));
        }
        // With scales of 20 bits near ties may fall either way, but there are few.
        assert!(100 * same >= 97 * batch.len(), "{same} of {}", batch.len());
    }
}

#[tokio::test]
async fn a_server_that_leaves_is_an_error() {
    let shapes = [crate::cipher::map::Shape::Dense { inputs: 3, outputs: 2 }];
    let scheme = Arc::new(Scheme::new(&shapes, &Choices::default()).unwrap());
    let mut rng = Prg::from_seed32(&[5; 32]);
    let secret = Arc::new(SecretKey::generate(scheme.params(), &mut rng));
    let (mut client, server) = mem::pair();
    drop(server);
    let inputs = shared(&[vec![0.5; 3]]);
    let lost = link::ask(&mut client, &scheme, &secret, &inputs, &mut rng).await;
    assert!(matches!(lost, Err(LinkError::Channel(_))));
}

#[test]
fn orders_and_parts() {
    let conv = phineus_model::graph::Conv {
        input: [5, 5],
        kernel: [2, 2],
        stride: [3, 3],
        ..phineus_model::graph::Conv::dense(1, 2)
    };
    let shapes =
        [crate::cipher::map::Shape::Conv(conv), crate::cipher::map::Shape::Dense { inputs: 8, outputs: 3 }];
    let scheme = Scheme::new(&shapes, &Choices { precision: 19, ..Choices::default() }).unwrap();
    // The third row and column are read by nobody.
    assert_eq!(scheme.batch().order(), [0, 1, 5, 6, 3, 4, 8, 9, 15, 16, 20, 21, 18, 19, 23, 24]);
    assert_eq!((scheme.batch().inputs(), scheme.batch().outputs(), scheme.parts().len()), (25, 3, 1));
    assert_eq!((scheme.batch().squares(), scheme.batch().products()), (8, 2 * 16 + 24));
    let deep = [crate::cipher::map::Shape::Dense { inputs: 1, outputs: 1 }; 20];
    let error = Scheme::new(&deep, &Choices::default()).unwrap_err().to_string();
    assert!(error.contains("needs 39 levels"), "{error}");
}
