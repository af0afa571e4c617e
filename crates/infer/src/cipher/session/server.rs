//! The server's end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use phineus_he::slots::{KeyUpload, PublicKey, Requests};
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::Wire as _;
use phineus_net::{Channel, Server, Traffic};
use rand::CryptoRng;

use super::{
    AGREE, COMMAND, Command, HELLO, Hello, KEYS, KNOWN, PUBLIC_KEY, REPLY, REQUEST, SessionError, Terms,
    VERSION, WELCOME,
};
use crate::cipher::{ClientKeys, Encrypted, Keyring, Service};
use crate::compute::compute;

/// How long a client may take to open its mouth.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);

/// What a session did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Inferences served.
    pub served: usize,
    /// Time of every evaluation, the reply included.
    pub evaluations: Vec<Duration>,
    /// Bytes and rounds.
    pub traffic: Traffic,
}

/// Serves one client until it says goodbye.
///
/// # Errors
/// [`SessionError`]; the client has been told.
pub async fn serve(
    mut channel: Channel<Server>,
    services: &[Arc<Service>],
    keyring: &Keyring,
    rng: &mut impl CryptoRng,
) -> Result<Summary, SessionError> {
    let mut rng = Prg::from_generator(rng);
    let mut summary = Summary::default();
    let result = converse(&mut channel, services, keyring, &mut rng, &mut summary).await;
    summary.traffic = channel.traffic();
    match result {
        Ok(()) => Ok(summary),
        Err(error) => {
            channel.abort(&error.to_string()).await;
            Err(error)
        }
    }
}

async fn converse(
    channel: &mut Channel<Server>,
    services: &[Arc<Service>],
    keyring: &Keyring,
    rng: &mut Prg,
    summary: &mut Summary,
) -> Result<(), SessionError> {
    // Whoever connects and stays silent must not keep others waiting for long.
    let patience = channel.deadline();
    channel.set_deadline(patience.min(HELLO_DEADLINE));
    let hello = channel.recv::<Hello>(HELLO, &()).await?;
    channel.set_deadline(patience);
    if hello.version != VERSION {
        return Err(SessionError::Version { ours: VERSION, theirs: hello.version });
    }
    let service = find(services, &hello.model).ok_or(SessionError::Unknown(hello.model))?;
    let scheme = service.scheme();
    let choices = service.choices();
    let terms = Terms {
        version: VERSION,
        form: choices.form,
        precision: choices.precision.try_into().unwrap_or(u8::MAX),
        gain: service.network().gain().try_into().unwrap_or(i16::MAX),
    };
    let mut welcome = Vec::new();
    terms.encode(&mut welcome);
    welcome.extend(service.public().to_bytes());
    channel.send_bytes(WELCOME, &welcome).await?;
    channel.flush().await?;
    if channel.recv_bytes(AGREE, 32).await? != scheme.digest() {
        return Err(SessionError::SchemeDiffers);
    }
    let name = Keyring::name(&hello.token, scheme.digest());
    let known = keyring.get(&name);
    channel.send_bytes(KNOWN, &[u8::from(known.is_some())]).await?;
    channel.flush().await?;
    let keys = match known {
        Some(keys) => keys,
        None => {
            let public = channel.recv::<PublicKey>(PUBLIC_KEY, scheme.params()).await?;
            let upload = channel.recv::<KeyUpload>(KEYS, scheme.keys()).await?;
            let evaluator = compute(|| Encrypted::new(upload.expand(), scheme.bounds()));
            let keys = Arc::new(ClientKeys { evaluator, public });
            // Two halves of every key, in words of 32 bits where the message has 28.
            keyring.put(name, keys.clone(), KeyUpload::wire_len(scheme.keys()) * 16 / 7);
            keys
        }
    };
    loop {
        match channel.recv::<Command>(COMMAND, &()).await? {
            Command::Bye => return Ok(()),
            Command::Infer => {
                let requests = channel.recv::<Requests>(REQUEST, scheme.requests()).await?;
                let start = Instant::now();
                let replies = compute(|| service.answer(&keys, requests, rng))?;
                summary.evaluations.push(start.elapsed());
                for reply in &replies {
                    channel.send(REPLY, reply).await?;
                }
                channel.flush().await?;
                summary.served += 1;
            }
        }
    }
}

fn find<'s>(services: &'s [Arc<Service>], name: &str) -> Option<&'s Arc<Service>> {
    match services {
        [only] if name.is_empty() => Some(only),
        _ => services.iter().find(|service| service.public().name == name),
    }
}
