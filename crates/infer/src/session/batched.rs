//! Batches in a session of a network under encryption: `evaluate` with two inputs or more.
//!
//! | step | direction | content |
//! |---|---|---|
//! | known, choice, keys | | first batch of the session, for the client's keys for batches: see [`keys`] |
//! | parts, replies | | see [`link`] |
//!
//! Batches have parameters of their own, which both derive from the network that they agreed on, and one evaluation key.

use std::sync::Arc;

use phineus_he::slots::SecretKey;
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::PeerMisbehaved;
use phineus_model::fixed::Reveal;
use phineus_net::{Channel, ChannelError, Client, Server};
use zeroize::Zeroizing;

use super::hello::{COMMAND, Command};
use super::keys::{self, Kind};
use crate::ProtocolError;
use crate::cipher::batch::{Scheme, link};
use crate::cipher::service::batch_scheme_of;
use crate::cipher::{ClientKeys, Identity, Keyring, Service};
use crate::compute::compute;
use crate::plan::{Plan, PlanError};

/// A party's end, from the first batch on.
pub(super) struct Batches<K> {
    scheme: Arc<Scheme>,
    keys: Arc<K>,
}

/// What batches of a plan's network take.
pub(super) fn scheme(plan: &Plan) -> Result<Arc<Scheme>, ProtocolError> {
    let public = plan.public();
    if plan.encrypted().is_none() || public.graph.reveal == Reveal::ArgMax {
        return Err(ProtocolError::Engine {
            engine: plan.options().engine,
            what: "evaluate batches of this model",
            instead: "serve it under encryption and compiled to reveal logits, or ask for one input at a time",
        });
    }
    let precision = plan.options().precision.bits();
    Ok(batch_scheme_of(&public.graph, precision).map_err(PlanError::from)?)
}

fn kind(scheme: &Scheme) -> Kind<'_> {
    Kind { params: scheme.params(), shape: scheme.keys(), scheme: scheme.digest() }
}

impl Batches<SecretKey> {
    /// One batch of `inputs`: 2^gain times the logits of each. `begun` is this party's end, if there was a batch before, and
    /// `uploaded` counts bytes of keys.
    pub(super) async fn ask(
        channel: &mut Channel<Client>,
        (plan, identity): (&Plan, &Identity),
        begun: &mut Option<Self>,
        uploaded: &mut usize,
        inputs: &[&[i32]],
        rng: &mut Prg,
    ) -> Result<Vec<Vec<f64>>, ProtocolError> {
        let count = u32::try_from(inputs.len()).unwrap_or(u32::MAX);
        channel.send(COMMAND, &Command::Evaluate(count)).await?;
        if begun.is_none() {
            let scheme = scheme(plan)?;
            let secret = compute(|| identity.secret(scheme.params(), scheme.digest()));
            *uploaded += keys::bring(channel, kind(&scheme), (identity, &secret), rng).await?;
            *begun = Some(Self { scheme, keys: Arc::new(secret) });
        }
        let Self { scheme, keys } = begun.as_ref().ok_or(ProtocolError::Material)?;
        let step = plan.public().graph.facts[0].step;
        let real = |input: &&[i32]| Zeroizing::new(input.iter().map(|&x| f64::from(x) * step).collect());
        let inputs = Arc::new(inputs.iter().map(real).collect());
        Ok(link::ask(channel, scheme, keys, &inputs, rng).await?)
    }
}

impl Batches<ClientKeys> {
    /// Answers a batch of `count` inputs; the client's keys for batches are found under its token.
    pub(super) async fn answer(
        channel: &mut Channel<Server>,
        (plan, service): (&Plan, &Service),
        (keyring, token): (&Keyring, &[u8; 32]),
        begun: &mut Option<Self>,
        count: u32,
        rng: &mut Prg,
    ) -> Result<(), ProtocolError> {
        if begun.is_none() {
            let scheme = scheme(plan)?;
            let keys = keys::take(channel, kind(&scheme), (keyring, token), scheme.bounds()).await?;
            *begun = Some(Self { scheme, keys });
        }
        let Self { scheme, keys } = begun.as_ref().ok_or(ProtocolError::Material)?;
        if !(2..=scheme.size()).contains(&(count as usize)) {
            let (what, reason) = ("session.evaluate", "no possible size of a batch");
            return Err(ChannelError::Peer(PeerMisbehaved::Invalid { what, reason }).into());
        }
        Ok(link::answer(channel, scheme, service.network(), keys, rng).await?)
    }
}
