//! A batch over a channel.
//!
//! | step | client | server |
//! |---|---|---|
//! | 1, per part | encrypts the next elements of all inputs and sends them | evaluates the part before while it receives |
//! | 2 | decrypts | sends one reply per element of the output |
//!
//! The client encrypts ahead of what it sends, the server computes behind what it receives; neither holds more than a few
//! parts. Lengths follow from the scheme. The unused slots of a batch that is not full hold zeros.
//!
//! Security: as for single inputs. The server learns no more than that there is a batch.

use std::collections::VecDeque;
use std::sync::Arc;

use phineus_he::slots::{Reply, Requests, SecretKey, SlotsError};
use phineus_kernel::prg::Prg;
use phineus_net::{Channel, ChannelError, Client, Server, Step};
use rand::CryptoRng;
use tokio::task::{JoinHandle, spawn_blocking};
use zeroize::Zeroizing;

use super::scheme::Scheme;
use crate::cipher::keyring::ClientKeys;
use crate::cipher::network::Network;
use crate::compute::compute;

/// The inputs of a batch. Zeroed when the last holder drops them.
pub type Inputs = Arc<Vec<Zeroizing<Vec<f64>>>>;

/// Why a batch came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The channel failed or the peer misbehaved.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The scheme refused.
    #[error("encryption: {0}")]
    Slots(#[from] SlotsError),
    /// Inputs that the network does not take; nothing was sent.
    #[error("a batch takes 1 to {most} inputs of {length} numbers up to {bound} in size")]
    Inputs {
        /// Inputs of a full batch.
        most: usize,
        /// Numbers of an input.
        length: usize,
        /// Their largest absolute value.
        bound: f64,
    },
    /// A thread of this program ended without an answer.
    #[error("a computation was given up")]
    Lost,
}

const PART: Step = Step::new("cipher.batch");
const REPLY: Step = Step::new("cipher.batch-reply");
/// Parts that the client encrypts at a time.
const AHEAD: usize = 2;

/// The client's half: the outputs of every input, in order, as the scheme computes them.
///
/// # Errors
/// [`LinkError`]; after anything but refused inputs the channel is of no use.
pub async fn ask(
    channel: &mut Channel<Client>,
    scheme: &Arc<Scheme>,
    secret: &Arc<SecretKey>,
    inputs: &Inputs,
    rng: &mut impl CryptoRng,
) -> Result<Vec<Vec<f64>>, LinkError> {
    check(scheme, inputs)?;
    // 1. Parts in order, those behind on their way through encryption.
    let mut parts = scheme.parts().into_iter();
    let mut ready: VecDeque<JoinHandle<Result<Requests, SlotsError>>> = VecDeque::new();
    loop {
        while ready.len() < AHEAD
            && let Some(part) = parts.next()
        {
            let (scheme, secret, inputs) = (scheme.clone(), secret.clone(), inputs.clone());
            let mut rng = Prg::from_generator(rng);
            ready.push_back(spawn_blocking(move || {
                let element = |&i: &usize| Zeroizing::new(inputs.iter().map(|x| x[i]).collect::<Vec<f64>>());
                let slots: Vec<_> = scheme.batch().order()[part.clone()].iter().map(element).collect();
                let slots: Vec<&[f64]> = slots.iter().map(|x| &x[..]).collect();
                Requests::encrypt(&secret, &slots, scheme.requests(&part)?.level, &mut rng)
            }));
        }
        let Some(next) = ready.pop_front() else { break };
        channel.send(PART, &next.await.map_err(|_| LinkError::Lost)??).await?;
    }
    // 2. One reply per element of the output.
    let mut outputs = vec![Vec::with_capacity(scheme.batch().outputs()); inputs.len()];
    for _ in 0..scheme.batch().outputs() {
        let reply = channel.recv::<Reply>(REPLY, scheme.reply()).await?;
        let element = compute(|| secret.decrypt(&reply, scheme.reply()))?;
        outputs.iter_mut().zip(element.slots()).for_each(|(output, v)| output.push(*v));
    }
    Ok(outputs)
}

/// The server's half.
///
/// # Errors
/// [`LinkError`]; the channel is of no use then.
pub async fn answer(
    channel: &mut Channel<Server>,
    scheme: &Arc<Scheme>,
    network: &Arc<Network>,
    keys: &Arc<ClientKeys>,
    rng: &mut impl CryptoRng,
) -> Result<(), LinkError> {
    // 1. While one part is computed on, the next one arrives.
    let mut stream = scheme.batch().start();
    let mut running: Option<JoinHandle<Result<_, SlotsError>>> = None;
    for part in scheme.parts() {
        let requests = channel.recv::<Requests>(PART, &scheme.requests(&part)?).await?;
        if let Some(before) = running.take() {
            stream = before.await.map_err(|_| LinkError::Lost)??;
        }
        let (scheme, network, keys) = (scheme.clone(), network.clone(), keys.clone());
        let mut taken = std::mem::replace(&mut stream, scheme.batch().start());
        running = Some(spawn_blocking(move || {
            let ciphers = requests.into_ciphertexts(scheme.input())?;
            scheme.batch().feed(&keys.evaluator, network.numbers(), &mut taken, ciphers)?;
            Ok(taken)
        }));
    }
    if let Some(last) = running {
        stream = last.await.map_err(|_| LinkError::Lost)??;
    }
    // 2. Replies.
    for result in scheme.batch().outputs_of(stream) {
        let reply = compute(|| keys.evaluator.scheme().reply(&result, &keys.public, scheme.reply(), rng))?;
        channel.send(REPLY, &reply).await?;
    }
    channel.flush().await?;
    Ok(())
}

/// Whether inputs fit the scheme.
fn check(scheme: &Scheme, inputs: &Inputs) -> Result<(), LinkError> {
    let (most, length, bound) = (scheme.size(), scheme.batch().inputs(), scheme.input());
    // A little more than the bound may be rounding.
    let fits =
        |x: &Zeroizing<Vec<f64>>| x.len() == length && x.iter().all(|v| v.abs() <= bound * (1.0 + 1e-6));
    if (1..=most).contains(&inputs.len()) && inputs.iter().all(fits) {
        return Ok(());
    }
    Err(LinkError::Inputs { most, length, bound })
}
