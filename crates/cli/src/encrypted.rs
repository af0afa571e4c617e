//! `--engine he`: whole networks under encryption, for `serve` and `infer`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use phineus_infer::cipher::session::SessionError;
use phineus_infer::cipher::session::client::Session;
use phineus_infer::cipher::session::server::{self, Summary};
use phineus_infer::cipher::{Identity, InputForm, Keyring, Service};
use phineus_kernel::prg::Prg;
use phineus_net::{Channel, Client, Server};

use crate::data::{self, Split};
use crate::failure::Failure;
use crate::size::Size;
use crate::{compile, table};

/// Options of a server for this engine.
#[derive(clap::Args)]
pub(crate) struct ServeFlags {
    /// With `--engine he`: most bytes of evaluation keys that are kept for clients, as in 4GB; 1 GB by default.
    #[arg(long)]
    max_keys: Option<Size>,
    /// With `--engine he`: hours after which unused evaluation keys are forgotten.
    #[arg(long, default_value_t = 24)]
    key_hours: u64,
    /// With `--engine he`: bits of the scale at least; fewer are faster and less precise.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(16..=25))]
    precision: u32,
}

/// Networks served under encryption, and the keys of their clients.
pub(crate) struct Services {
    services: Vec<Arc<Service>>,
    keyring: Keyring,
}

impl Services {
    /// From compiled models.
    pub(crate) fn load(models: &[PathBuf], flags: &ServeFlags) -> Result<Self, Failure> {
        let load = |path: &PathBuf| {
            let bytes = std::fs::read(path).map_err(|e| Failure::at(path, e))?;
            let model = phineus_model::phn::read(&bytes).map_err(|e| Failure::at(path, e))?;
            let service = Service::new(&model, &[], InputForm::Any, flags.precision);
            Ok(Arc::new(service.map_err(|e| Failure::at(path, e))?))
        };
        let services = models.iter().map(load).collect::<Result<_, Failure>>()?;
        let limit =
            flags.max_keys.as_ref().map_or(1 << 30, |size| usize::try_from(size.0).unwrap_or(usize::MAX));
        let lifetime = Duration::from_secs(flags.key_hours.saturating_mul(3600));
        Ok(Self { services, keyring: Keyring::new(limit, lifetime) })
    }

    /// Serves one client.
    pub(crate) async fn serve(&self, channel: Channel<Server>) -> Result<Summary, SessionError> {
        let mut rng = Prg::from_generator(&mut rand::rng());
        server::serve(channel, &self.services, &self.keyring, &mut rng).await
    }
}

/// Predicts each image in a session of this engine.
pub(crate) async fn infer(
    channel: Channel<Client>,
    model: &str,
    identity: Option<&Path>,
    images: &[PathBuf],
    (resize, json): (bool, bool),
) -> Result<(), Failure> {
    let identity = match identity {
        Some(path) => Identity::in_file(path, &mut rand::rng()).map_err(|e| Failure::at(path, e))?,
        None => Identity::random(&mut rand::rng()),
    };
    let mut session = Session::connect(channel, &identity, model, &mut rand::rng()).await?;
    let public = session.public().clone();
    let shape = compile::shape_of(&public.graph.nodes)?;
    let options = data::Options { split: Split::Test, skip: 0, limit: None, resize };
    for path in images {
        for sample in data::open(path, shape, &options)? {
            let input = public.preprocess.apply(&sample.pixels).map_err(|e| Failure::at(path, e))?;
            let found = session.infer(&input).await?;
            let class =
                found.logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(k, _)| k);
            let label = public.labels.get(class).cloned().unwrap_or_else(|| format!("class {class}"));
            let seconds = (found.encrypt + found.wait + found.decrypt).as_secs_f64();
            if json {
                let line = serde_json::json!({
                    "name": sample.name, "argmax": class, "logits": found.logits, "seconds": seconds,
                    "client_to_server_bytes": found.traffic.sent, "server_to_client_bytes": found.traffic.received,
                    "rounds": found.traffic.rounds, "key_bytes": session.uploaded(),
                });
                println!("{line}");
            } else {
                let both = table::bytes(found.traffic.sent + found.traffic.received);
                println!("{}: {label}   {seconds:.3} s, {both}", sample.name);
            }
        }
    }
    session.close().await?;
    Ok(())
}
