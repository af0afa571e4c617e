//! Networks under encryption: the evaluation keys that a server keeps, and the identity whose keys a client uses.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use phineus_infer::cipher::{Identity, Keyring};

use crate::failure::Failure;
use crate::size::Size;

/// Options of a server.
#[derive(clap::Args)]
pub(crate) struct KeyringFlags {
    /// Most bytes of evaluation keys that are kept for clients of networks under encryption, as in 4GB; 1 GB by default.
    #[arg(long)]
    max_keys: Option<Size>,
    /// Hours after which unused evaluation keys are forgotten.
    #[arg(long, default_value_t = 24)]
    key_hours: u64,
}

impl KeyringFlags {
    /// An empty keyring.
    pub(crate) fn keyring(&self) -> Keyring {
        let limit =
            self.max_keys.as_ref().map_or(1 << 30, |size| usize::try_from(size.0).unwrap_or(usize::MAX));
        Keyring::new(limit, Duration::from_secs(self.key_hours.saturating_mul(3600)))
    }
}

/// Options of a client.
#[derive(clap::Args)]
pub(crate) struct IdentityFlags {
    /// With `--engine he`: file with the seed of this client's keys, made if there is none, so that a server that knows
    /// the keys need not be sent them again.
    #[arg(long)]
    identity: Option<PathBuf>,
}

impl IdentityFlags {
    /// The identity in the file, if one is named.
    pub(crate) fn open(&self) -> Result<Option<Arc<Identity>>, Failure> {
        let open = |path: &PathBuf| {
            let identity = Identity::in_file(path, &mut rand::rng()).map_err(|e| Failure::at(path, e))?;
            Ok(Arc::new(identity))
        };
        self.identity.as_ref().map(open).transpose()
    }
}
