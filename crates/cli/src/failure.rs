//! What the program says when it fails.

use std::fmt::{self, Display};
use std::path::Path;

/// A sentence for a person: what failed, where, and what to do.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// An error that belongs to a file.
    pub(crate) fn at(path: &Path, error: impl Display) -> Self {
        Self(format!("{}: {error}", path.display()))
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! from_errors {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self(error.to_string())
            }
        }
    )*};
}

from_errors!(
    crate::data::DataError,
    phineus_infer::PlanError,
    indicatif::style::TemplateError,
    phineus_model::exec::ExecError,
    phineus_model::fixed::EncodeError,
    phineus_model::onnx::ImportError,
    phineus_infer::ProtocolError,
    phineus_net::ChannelError,
    phineus_mpc::compare::CompareError,
    phineus_mpc::gc::GcError,
    phineus_net::tls::ConfigError,
    phineus_infer::store::StoreError,
    phineus_model::reference::ReferenceError,
    phineus_model::quantize::QuantizeError,
    phineus_model::zoo::ZooError,
    serde_json::Error,
    std::io::Error,
);
