//! Certificates, keys and names: what each party shows and what it trusts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{RootCertStore, SupportedProtocolVersion};
use thiserror::Error;

/// The files that prove who a party is.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'p> {
    /// The certificate in PEM, followed by intermediate ones if there are any.
    pub certificates: &'p Path,
    /// Its private key in PEM (PKCS #8, SEC 1 or PKCS #1), not encrypted.
    pub key: &'p Path,
}

/// How a server proves itself, and which clients it takes.
#[derive(Debug, Clone)]
pub struct ServerConfig(pub(super) Arc<rustls::ServerConfig>);

impl ServerConfig {
    /// A server that shows `identity`. With `client_ca`, a PEM file of authorities, it takes only clients that show
    /// a certificate of one of them (mutual TLS).
    ///
    /// # Errors
    /// [`ConfigError`] names the file.
    pub fn from_pem_files(identity: Identity<'_>, client_ca: Option<&Path>) -> Result<Self, ConfigError> {
        let provider = provider();
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(VERSIONS)
            .map_err(|source| refused(identity.certificates, source))?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(authorities(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|e| unusable(path, e))?)
            }
        };
        let (certificates, key) = identity.read()?;
        let mut config = builder
            .with_single_cert(certificates, key)
            .map_err(|source| refused(identity.certificates, source))?;
        // Every connection proves both identities anew: no tickets, no stored sessions, hence no early data either.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

/// Which server a client trusts, and how it proves itself.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl ClientConfig {
    /// A client that trusts the authorities in the PEM file `ca`, and no others, to say who is `name`: the DNS name
    /// or IP address in the server's certificate. It shows `identity` to a server that asks.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, or the name if it is neither a DNS name nor an address.
    pub fn from_pem_files(
        ca: &Path,
        identity: Option<Identity<'_>>,
        name: &str,
    ) -> Result<Self, ConfigError> {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| ConfigError::Name(name.to_owned()))?;
        let builder = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(|source| refused(ca, source))?
            .with_root_certificates(authorities(ca)?);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (certificates, key) = identity.read()?;
                builder
                    .with_client_auth_cert(certificates, key)
                    .map_err(|source| refused(identity.certificates, source))?
            }
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self { tls: Arc::new(config), name })
    }
}

/// Files or names from which no TLS party can be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read or is not PEM of the kind that is needed.
    #[error("{}: no {wanted} in PEM: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// Why it does not.
        source: pem::Error,
    },
    /// The contents do not serve: a malformed certificate, or a key of another one.
    #[error("{}: {source}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// No trust can be based on the file's authorities.
    #[error("{}: {source}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: VerifierBuilderError,
    },
    /// Neither a DNS name nor an IP address.
    #[error("{0:?} is neither a DNS name nor an IP address: name the server as its certificate does")]
    Name(String),
}

impl Identity<'_> {
    fn read(self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ConfigError> {
        let key = PrivateKeyDer::from_pem_file(self.key)
            .map_err(|source| unreadable(self.key, "private key", source))?;
        Ok((certificates(self.certificates)?, key))
    }
}

/// The certificates of a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let unreadable = |source| unreadable(path, "certificate", source);
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    if found.is_empty() { Err(unreadable(pem::Error::NoItemsFound)) } else { Ok(found) }
}

fn authorities(path: &Path) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| refused(path, source))?;
    }
    Ok(roots)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn unreadable(path: &Path, wanted: &'static str, source: pem::Error) -> ConfigError {
    ConfigError::Unreadable { path: path.to_owned(), wanted, source }
}

fn refused(path: &Path, source: rustls::Error) -> ConfigError {
    ConfigError::Refused { path: path.to_owned(), source }
}

fn unusable(path: &Path, source: VerifierBuilderError) -> ConfigError {
    ConfigError::Authorities { path: path.to_owned(), source }
}

const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13];

/// Named in the handshake (ALPN), so that a server of another protocol under the same name cannot be put in place.
const PROTOCOL: &[u8] = b"phineus";
