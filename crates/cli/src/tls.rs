//! How the two sides reach each other: TLS wherever bytes leave the machine, and, for measurements, an imitated link.
//!
//! Without TLS both sides keep to loopback addresses. What stands behind one, such as a proxy that terminates TLS, is
//! the operator's choice.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use phineus_net::shaped::LinkProfile;
use phineus_net::tls::{ClientConfig, Identity, ServerConfig};
use phineus_net::{Channel, ChannelError, Client, Server, tcp, tls};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::timeout;

use crate::failure::Failure;

/// How a server is reached.
#[derive(clap::Args)]
pub(crate) struct ServerOptions {
    /// The server's certificate in PEM, intermediate ones after it. Without one, only loopback addresses are served.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve only clients that show a certificate of one of these authorities (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Send as slowly as over this link: lan, metro, wan, or rate and round trip as in 100Mbps,40ms.
    #[arg(long)]
    link: Option<LinkProfile>,
}

/// What [`ServerOptions`] come to.
pub(crate) struct Doorway {
    tls: Option<ServerConfig>,
    link: Option<LinkProfile>,
}

impl ServerOptions {
    /// Reads the files.
    pub(crate) fn doorway(&self) -> Result<Doorway, Failure> {
        let identity = self.tls_cert.as_deref().zip(self.tls_key.as_deref());
        let tls = identity
            .map(|(certificates, key)| {
                ServerConfig::from_pem_files(Identity { certificates, key }, self.tls_client_ca.as_deref())
            })
            .transpose()?;
        Ok(Doorway { tls, link: self.link })
    }
}

impl Doorway {
    /// The link that is imitated.
    pub(crate) fn link(&self) -> Option<LinkProfile> {
        self.link
    }

    /// Listens, on a loopback address unless there is TLS.
    pub(crate) async fn listen(&self, address: &str) -> Result<TcpListener, Failure> {
        let cannot = |error| Failure::new(format!("cannot listen on {address}: {error}"));
        let resolved: Vec<SocketAddr> = lookup_host(address).await.map_err(cannot)?.collect();
        if self.tls.is_none() && !stays_here(&resolved) {
            return Err(Failure::new(format!(
                "{address} can be reached from other machines, and there is no TLS: give --tls-cert and --tls-key, \
                 or listen on a loopback address such as 127.0.0.1:7878 behind a proxy that terminates TLS"
            )));
        }
        TcpListener::bind(&resolved[..]).await.map_err(cannot)
    }

    /// A channel to the client behind an accepted stream, within `deadline`.
    pub(crate) async fn receive(
        &self,
        stream: TcpStream,
        deadline: Duration,
    ) -> Result<Channel<Server>, Failure> {
        let (reader, writer) = tcp::halves(stream, self.link)?;
        match &self.tls {
            None => Ok(Channel::new(reader, writer)),
            Some(config) => Ok(tls::accept(tokio::io::join(reader, writer), config, deadline).await?),
        }
    }
}

/// How a client reaches a server.
#[derive(clap::Args)]
pub(crate) struct ClientOptions {
    /// Authorities that may say who the server is (PEM). Without them, only loopback addresses are connected to.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// This client's certificate in PEM, for a server that asks for one.
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The name in the server's certificate; by default the host of its address.
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    tls_name: Option<String>,
    /// Send as slowly as over this link: lan, metro, wan, or rate and round trip as in 100Mbps,40ms.
    #[arg(long)]
    link: Option<LinkProfile>,
}

impl ClientOptions {
    /// A channel to the server at `address`, within `deadline`.
    pub(crate) async fn connect(
        &self,
        address: &str,
        deadline: Duration,
    ) -> Result<Channel<Client>, Failure> {
        let tls = self.config(address)?;
        let reached = timeout(deadline, self.reach(address, tls, deadline)).await;
        reached.unwrap_or_else(|_| Err(Failure::new(format!("{address} did not answer within {deadline:?}"))))
    }

    fn config(&self, address: &str) -> Result<Option<ClientConfig>, Failure> {
        let Some(ca) = &self.tls_ca else { return Ok(None) };
        let identity = self.tls_cert.as_deref().zip(self.tls_key.as_deref());
        let identity = identity.map(|(certificates, key)| Identity { certificates, key });
        let name = self.tls_name.as_deref().unwrap_or_else(|| host(address));
        Ok(Some(ClientConfig::from_pem_files(ca, identity, name)?))
    }

    async fn reach(
        &self,
        address: &str,
        tls: Option<ClientConfig>,
        deadline: Duration,
    ) -> Result<Channel<Client>, Failure> {
        let cannot = |error: &dyn std::fmt::Display| Failure::new(format!("cannot reach {address}: {error}"));
        let resolved: Vec<SocketAddr> = lookup_host(address).await.map_err(|e| cannot(&e))?.collect();
        if tls.is_none() && !stays_here(&resolved) {
            return Err(Failure::new(format!(
                "{address} is another machine, and there is no TLS: give --tls-ca, or connect to a loopback address \
                 where a proxy speaks TLS to the server"
            )));
        }
        let stream = tcp::dial(&resolved[..], deadline).await.map_err(|e| cannot(&e))?;
        let (reader, writer) = tcp::halves(stream, self.link)?;
        match tls {
            None => Ok(Channel::new(reader, writer)),
            Some(config) => tls::handshake(tokio::io::join(reader, writer), &config, deadline)
                .await
                .map_err(|e: ChannelError| cannot(&e)),
        }
    }
}

/// Whether traffic with every one of these addresses stays on this machine.
fn stays_here(addresses: &[SocketAddr]) -> bool {
    addresses.iter().all(|address| address.ip().to_canonical().is_loopback())
}

/// The host of `host:port` or `[host]:port`.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use phineus_net::Step;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    const OPEN: Doorway = Doorway { tls: None, link: None };
    const PLAIN: ClientOptions =
        ClientOptions { tls_ca: None, tls_cert: None, tls_key: None, tls_name: None, link: None };

    #[test]
    fn only_loopback_addresses_stay_here() {
        let stays = |text: &str| stays_here(&[text.parse().unwrap()]);
        assert!(
            stays("127.0.0.1:1") && stays("127.9.9.9:1") && stays("[::1]:1") && stays("[::ffff:127.0.0.1]:1")
        );
        for text in ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "[::ffff:10.0.0.1]:1", "[fe80::1]:1"] {
            assert!(!stays(text), "{text}");
            assert!(!stays_here(&["127.0.0.1:1".parse().unwrap(), text.parse().unwrap()]), "{text}");
        }
    }

    #[test]
    fn the_host_of_an_address_names_the_server() {
        assert_eq!(host("model.example:7878"), "model.example");
        assert_eq!(host("[::1]:7878"), "::1");
        assert_eq!(host("127.0.0.1:7878"), "127.0.0.1");
    }

    #[tokio::test]
    async fn without_tls_neither_side_leaves_the_machine() {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let refusal = OPEN.listen(address).await.unwrap_err().to_string();
            assert!(refusal.contains(address) && refusal.contains("--tls-cert"), "{refusal}");
        }
        let address = OPEN.listen("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(address.ip().is_loopback());
        let deadline = Duration::from_secs(5);
        // Addresses for documentation (RFC 5737, RFC 3849): refused before anything is sent.
        for address in ["192.0.2.1:7878", "[2001:db8::1]:7878"] {
            let Err(refusal) = PLAIN.connect(address, deadline).await else {
                panic!("connected to {address}")
            };
            assert!(refusal.to_string().contains("--tls-ca"), "{refusal}");
        }
    }

    /// Writes an authority and what it has signed for `127.0.0.1`, and returns the path of one of the files.
    fn files(folder: &Path) -> impl Fn(&str) -> Option<PathBuf> {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        std::fs::write(folder.join("ca"), authority.pem()).unwrap();
        std::fs::write(folder.join("certificate"), certificate.pem()).unwrap();
        std::fs::write(folder.join("key"), key.serialize_pem()).unwrap();
        let folder = folder.to_owned();
        move |name| Some(folder.join(name))
    }

    #[tokio::test]
    async fn both_sides_prove_themselves_over_tls_and_a_link() {
        const STEP: Step = Step::new("test");
        let folder = tempfile::tempdir().unwrap();
        let file = files(folder.path());
        let deadline = Duration::from_secs(20);
        let server = ServerOptions {
            tls_cert: file("certificate"),
            tls_key: file("key"),
            tls_client_ca: file("ca"),
            link: Some(LinkProfile::LAN),
        };
        let doorway = server.doorway().unwrap();
        let listener = doorway.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = tokio::spawn(async move {
            loop {
                let mut channel = match doorway.receive(listener.accept().await.unwrap().0, deadline).await {
                    Ok(channel) => channel,
                    Err(failure) => return failure,
                };
                channel.send_bytes(STEP, &channel.binding().unwrap()).await.unwrap();
                channel.flush().await.unwrap();
            }
        });
        let known = ClientOptions {
            tls_ca: file("ca"),
            tls_cert: file("certificate"),
            tls_key: file("key"),
            link: Some(LinkProfile::LAN),
            ..PLAIN
        };
        let mut channel = known.connect(&address, deadline).await.unwrap();
        assert_eq!(channel.recv_bytes(STEP, 32).await.unwrap(), channel.binding().unwrap());

        let nameless = ClientOptions { tls_ca: file("ca"), ..PLAIN };
        let mut channel = nameless.connect(&address, deadline).await.unwrap();
        assert!(matches!(channel.recv_bytes(STEP, 32).await, Err(ChannelError::Tls { step: "test", .. })));
        assert!(serving.await.unwrap().to_string().contains("tls.handshake"));
    }

    #[tokio::test]
    async fn missing_files_and_silent_servers_are_failures() {
        let folder = tempfile::tempdir().unwrap();
        let file = files(folder.path());
        let listener = OPEN.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let failure = async |options: ClientOptions| {
            options.connect(&address, Duration::from_millis(200)).await.err().map(|f| f.to_string()).unwrap()
        };
        let silence = failure(ClientOptions { tls_ca: file("ca"), ..PLAIN }).await;
        assert!(silence.contains(&address) && silence.contains("200ms"), "{silence}");
        let missing = failure(ClientOptions { tls_ca: file("none"), ..PLAIN }).await;
        assert!(missing.contains("none"), "{missing}");
        let mismatched =
            ServerOptions { tls_cert: file("ca"), tls_key: file("key"), tls_client_ca: None, link: None };
        assert!(mismatched.doorway().is_err());
    }
}
