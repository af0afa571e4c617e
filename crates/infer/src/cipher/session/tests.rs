use std::sync::Arc;
use std::time::Duration;

use phineus_kernel::prg::Prg;
use phineus_kernel::wire::Wire;
use phineus_model::fixed::{Preprocess, Reveal};
use phineus_model::quantize::{self, Calibration};
use phineus_model::zoo;
use phineus_net::{Channel, Client, Server};

use super::client::Session;
use super::server::{self, Summary};
use super::{Command, Hello, SessionError, Terms};
use crate::cipher::{Identity, InputForm, Keyring, Service};

fn samples() -> Vec<Vec<f32>> {
    (0..4).map(|k| (0..784).map(|i| ((i * 7919 + k * 131) % 256) as f32 / 255.0).collect()).collect()
}

fn service() -> Service {
    let graph = zoo::build("lola-small", 3).unwrap();
    let preprocess = Preprocess { mean: vec![0.0], std: vec![1.0], bgr: false };
    let options = quantize::Options {
        activation_bits: 8,
        weight_bits: 8,
        calibration: Calibration::Max,
        reveal: Reveal::Logits,
        labels: Vec::new(),
        name: "small".into(),
    };
    let model = quantize::quantize(&graph, &samples(), preprocess, &options).unwrap();
    Service::new(&model, &[], InputForm::Any, 24).unwrap()
}

async fn both(
    service: &Arc<Service>,
    keyring: &Keyring,
    model: &str,
    use_session: impl AsyncFnOnce(Session) -> Result<(), SessionError>,
) -> (Result<(), SessionError>, Result<Summary, SessionError>) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (reader, writer) = tokio::io::split(near);
    let client = Channel::<Client>::new(reader, writer);
    let (reader, writer) = tokio::io::split(far);
    let server = Channel::<Server>::new(reader, writer);
    let identity = Identity::from_seed(zeroize::Zeroizing::new([9; 32]));
    let services = [service.clone()];
    let mut rng = Prg::from_seed32(&[1; 32]);
    let ask = async {
        let session = Session::connect(client, &identity, model, &mut Prg::from_seed32(&[2; 32])).await?;
        use_session(session).await
    };
    tokio::join!(ask, server::serve(server, &services, keyring, &mut rng))
}

#[tokio::test]
async fn inferences_over_a_channel_and_keys_sent_once() {
    let service = Arc::new(service());
    let keyring = Keyring::new(1 << 28, Duration::from_secs(600));
    for visit in 0..2 {
        let (asked, served) = both(&service, &keyring, "small", async |mut session| {
            assert_eq!(session.uploaded() == 0, visit == 1);
            let refused = session.infer(&[0.0; 3]).await.unwrap_err();
            assert!(matches!(refused, SessionError::Input { expected: 784, got: 3, .. }));
            for sample in &samples()[..2] {
                let input: Vec<f64> = sample.iter().map(|&v| v.into()).collect();
                let network = service.network();
                let gain = f64::from(network.gain()).exp2();
                let found = session.infer(&input).await?;
                for (a, b) in found.logits.iter().zip(network.evaluate(&input)) {
                    assert!((a * gain - b).abs() < 1e-2, "{} {b}", a * gain);
                }
                assert_eq!(found.traffic.rounds, 1);
            }
            session.close().await
        })
        .await;
        asked.unwrap();
        assert_eq!(served.unwrap().served, 2);
    }
}

#[tokio::test]
async fn an_unknown_model_is_an_error_on_both_sides() {
    let service = Arc::new(service());
    let keyring = Keyring::new(0, Duration::from_secs(1));
    let (asked, served) = both(&service, &keyring, "large", async |session| session.close().await).await;
    assert!(matches!(served, Err(SessionError::Unknown(name)) if name == "large"));
    assert!(asked.is_err());
}

#[test]
fn messages_have_one_encoding() {
    let hello = Hello { version: 1, model: "lola".into(), token: [5; 32] };
    let mut bytes = Vec::new();
    hello.encode(&mut bytes);
    assert_eq!(Hello::decode(&bytes, &()), Ok(hello));
    let last = bytes.len() - 1;
    for at in [0, 42, last] {
        let mut bad = bytes.clone();
        bad[at] ^= 0x80;
        assert!(Hello::decode(&bad, &()).is_err(), "{at}");
    }
    assert!(Hello::decode(&bytes[1..], &()).is_err());
    let terms = Terms { version: 1, form: InputForm::Message, precision: 24, gain: -7 };
    let mut bytes = Vec::new();
    terms.encode(&mut bytes);
    assert_eq!(Terms::decode(&bytes, &()), Ok(terms));
    for (at, byte) in [(2, 3), (3, 15), (3, 28)] {
        let mut bad = bytes.clone();
        bad[at] = byte;
        assert!(Terms::decode(&bad, &()).is_err());
    }
    assert_eq!(Command::decode(&[1], &()), Ok(Command::Infer));
    assert!(Command::decode(&[2], &()).is_err());
}
