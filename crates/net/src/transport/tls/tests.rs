use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{AlertDescription, CertificateError, PeerIncompatible};
use tempfile::TempDir;
use tokio::io::{DuplexStream, duplex};
use tokio::net::TcpListener;

use super::*;

const A: Step = Step::new("a");
const SOON: Duration = Duration::from_secs(20);

/// An authority of its own, with the files of what it has signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

struct Files {
    certificates: PathBuf,
    key: PathBuf,
}

impl Files {
    fn identity(&self) -> Identity<'_> {
        Identity { certificates: &self.certificates, key: &self.key }
    }
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn issue(&self, name: &str) -> Files {
        self.issue_until(name, 4_000)
    }

    fn issue_until(&self, name: &str, year: i32) -> Files {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = Files {
            certificates: self.folder.path().join(format!("{name}.pem")),
            key: self.folder.path().join(format!("{name}.key")),
        };
        std::fs::write(&files.certificates, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn server(&self, client_ca: Option<&Authority>) -> ServerConfig {
        let ca = client_ca.map(Authority::file);
        ServerConfig::from_pem_files(self.issue("model.example").identity(), ca.as_deref()).unwrap()
    }

    fn client(&self, name: &str) -> ClientConfig {
        ClientConfig::from_pem_files(&self.file(), None, name).unwrap()
    }
}

type Ends = (Result<Channel<Client>, ChannelError>, Result<Channel<Server>, ChannelError>);

async fn meet(client: &ClientConfig, server: &ServerConfig) -> Ends {
    let (near, far) = duplex(1 << 14);
    tokio::join!(handshake(near, client, SOON), accept(far, server, SOON))
}

fn tls_error<T>(outcome: Result<T, ChannelError>) -> rustls::Error {
    match outcome {
        Err(ChannelError::Tls { source, .. }) => source,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("no error"),
    }
}

#[tokio::test]
async fn messages_pass_over_tcp_in_both_directions_at_once() {
    let authority = Authority::new();
    let server_config = authority.server(None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client_config = authority.client("model.example");
    let (client, server) = tokio::join!(connect(address, &client_config, SOON), async {
        accept(listener.accept().await.unwrap().0, &server_config, SOON).await
    });
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    // More than sockets and TLS buffer: each direction must go on while the other is full.
    let len = 12 << 20;
    let (client_tx, client_rx) = client.halves();
    let (server_tx, server_rx) = server.halves();
    let send = async |tx: &mut crate::Sender, byte: u8| {
        tx.send_bytes(A, &vec![byte; len]).await.unwrap();
        tx.flush(A).await.unwrap();
    };
    let ((), (), at_client, at_server) = tokio::join!(
        send(client_tx, 1),
        send(server_tx, 2),
        client_rx.recv_bytes(A, len),
        server_rx.recv_bytes(A, len)
    );
    assert!(at_client.unwrap() == vec![2; len] && at_server.unwrap() == vec![1; len]);
    drop(client);
    assert!(matches!(server.recv_bytes(A, 1).await, Err(ChannelError::Closed { step: "a" })));
}

#[tokio::test]
async fn the_binding_is_common_to_both_ends_and_new_for_every_connection() {
    let authority = Authority::new();
    let (client_config, server_config) = (authority.client("model.example"), authority.server(None));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (client, server) = meet(&client_config, &server_config).await;
        let binding = client.unwrap().binding().unwrap();
        assert_eq!(server.unwrap().binding(), Some(binding));
        seen.push(binding);
    }
    assert_ne!(seen[0], seen[1]);
    let (plain, _) = crate::mem::pair();
    assert_eq!(plain.binding(), None);
}

#[tokio::test]
async fn a_server_of_another_authority_name_or_time_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server_config = authority.server(None);

    let (client, server) = meet(&other.client("model.example"), &server_config).await;
    // Both authorities bear the same name, so it is the signature that fails.
    let expected = [CertificateError::BadSignature, CertificateError::UnknownIssuer];
    assert!(matches!(tls_error(client), rustls::Error::InvalidCertificate(e) if expected.contains(&e)));
    assert!(matches!(tls_error(server), rustls::Error::AlertReceived(_)));

    let (client, _) = meet(&authority.client("other.example"), &server_config).await;
    let error = tls_error(client);
    assert!(
        matches!(error, rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })),
        "{error}"
    );

    let expired = authority.issue_until("old.example", 2020);
    let expired = ServerConfig::from_pem_files(expired.identity(), None).unwrap();
    let (client, server) = meet(&authority.client("old.example"), &expired).await;
    let error = tls_error(client);
    assert!(
        matches!(error, rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. })),
        "{error}"
    );
    assert_eq!(tls_error(server), rustls::Error::AlertReceived(AlertDescription::CertificateExpired));
}

#[tokio::test]
async fn under_mutual_tls_only_known_clients_are_taken() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server_config = authority.server(Some(&clients));
    let shows = |files: Option<&Files>| {
        let identity = files.map(Files::identity);
        ClientConfig::from_pem_files(&authority.file(), identity, "model.example").unwrap()
    };

    let known = clients.issue("hospital.example");
    let (client, server) = meet(&shows(Some(&known)), &server_config).await;
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    client.send_bytes(A, b"hello").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(server.recv_bytes(A, 5).await.unwrap(), b"hello");

    let (client, server) = meet(&shows(None), &server_config).await;
    assert_eq!(tls_error(server), rustls::Error::NoCertificatesPresented);
    let refusal = client.unwrap().recv_bytes(A, 1).await;
    assert_eq!(tls_error(refusal), rustls::Error::AlertReceived(AlertDescription::CertificateRequired));

    let stranger = authority.issue("stranger.example");
    let (_, server) = meet(&shows(Some(&stranger)), &server_config).await;
    assert!(matches!(tls_error(server), rustls::Error::InvalidCertificate(_)));
}

/// The client has sent its first message before it learns that it is refused: closing must not lose the reason.
#[tokio::test]
async fn a_refused_client_is_told_why_over_tcp() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server_config = authority.server(Some(&clients));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let outcome = accept(listener.accept().await.unwrap().0, &server_config, SOON).await;
        tls_error(outcome)
    });
    let mut client = connect(address, &authority.client("model.example"), SOON).await.unwrap();
    client.send_bytes(A, &[0; 100]).await.unwrap();
    let refusal = client.recv_bytes(A, 1).await;
    assert_eq!(tls_error(refusal), rustls::Error::AlertReceived(AlertDescription::CertificateRequired));
    drop(client);
    assert_eq!(server.await.unwrap(), rustls::Error::NoCertificatesPresented);
}

#[tokio::test]
async fn a_client_of_tls_1_2_is_refused() {
    let server_config = Authority::new().server(None);
    let (mut raw, far) = duplex(1 << 14);
    let client = async {
        raw.write_all(&client_hello_of_tls_1_2()).await.unwrap();
        let mut alert = Vec::new();
        raw.read_to_end(&mut alert).await.unwrap();
        drop(raw);
        alert
    };
    let (alert, server) = tokio::join!(client, accept(far, &server_config, SOON));
    let expected = PeerIncompatible::SupportedVersionsExtensionRequired;
    let error = tls_error(server);
    assert!(matches!(&error, rustls::Error::PeerIncompatible(e) if *e == expected), "{error:?}");
    // Alert record: fatal, protocol_version.
    assert_eq!((alert[0], &alert[5..]), (21, &[2, 70][..]));
}

/// RFC 5246: ECDHE suites with AES-GCM, the extensions those need, and no `supported_versions`.
fn client_hello_of_tls_1_2() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([0x5a; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    let groups = [0, 10, 0, 6, 0, 4, 0, 29, 0, 23];
    let points = [0, 11, 0, 2, 1, 0];
    let signatures = [0, 13, 0, 6, 0, 4, 4, 3, 8, 4];
    let extensions = [&groups[..], &points, &signatures].concat();
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut record = vec![22, 3, 1];
    record.extend((body.len() as u16 + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend((body.len() as u16).to_be_bytes());
    record.extend(body);
    record
}

fn plain<R: crate::Role>(stream: DuplexStream) -> Channel<R> {
    let (reader, writer) = tokio::io::split(stream);
    Channel::new(reader, writer)
}

#[tokio::test]
async fn a_plain_client_and_a_plain_server_are_typed_errors() {
    let authority = Authority::new();
    let server_config = authority.server(None);
    let (near, far) = duplex(1 << 14);
    let client = async {
        let mut client: Channel<Client> = plain(near);
        client.send_bytes(A, &[0; 108]).await.unwrap();
        client.recv_bytes(A, 100).await.unwrap_err()
    };
    let (at_client, server) = tokio::join!(client, accept(far, &server_config, SOON));
    assert!(matches!(tls_error(server), rustls::Error::InvalidMessage(_)));
    assert!(matches!(at_client, ChannelError::Closed { step: "a" }), "{at_client}");

    let (near, far) = duplex(1 << 14);
    let server = async {
        let mut server: Channel<Server> = plain(far);
        let error = server.recv_bytes(A, 108).await.unwrap_err();
        server.abort(&error.to_string()).await;
        error
    };
    let config = authority.client("model.example");
    let (client, at_server) = tokio::join!(handshake(near, &config, SOON), server);
    assert!(matches!(tls_error(client), rustls::Error::InvalidMessage(_)));
    assert!(matches!(at_server, ChannelError::Peer(_)), "{at_server}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stalls_or_trickles_does_not_outlive_the_deadline() {
    let authority = Authority::new();
    let server_config = authority.server(None);
    let (mut raw, far) = duplex(1 << 14);
    let trickle = async move {
        for byte in client_hello_of_tls_1_2() {
            if raw.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    };
    let start = Instant::now();
    let (server, ()) = tokio::join!(
        async {
            let outcome = accept(far, &server_config, SOON).await;
            assert_eq!(start.elapsed(), SOON);
            outcome
        },
        trickle
    );
    assert!(matches!(server, Err(ChannelError::Timeout { step: "tls.handshake", waited: SOON })));

    let (near, _silent) = duplex(1 << 14);
    let start = Instant::now();
    let client = handshake(near, &authority.client("model.example"), SOON).await;
    assert!(matches!(client, Err(ChannelError::Timeout { step: "tls.handshake", .. })));
    assert_eq!(start.elapsed(), SOON);
}

#[test]
fn useless_files_and_names_are_typed_errors() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (ours, theirs) = (authority.issue("model.example"), other.issue("model.example"));
    let client = |ca: &Path, name: &str| ClientConfig::from_pem_files(ca, None, name).map(|_| ());
    let server = |certificates: &Path, key: &Path| {
        ServerConfig::from_pem_files(Identity { certificates, key }, None).map(|_| ())
    };
    let empty = authority.folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let garbled = authority.folder.path().join("garbled");
    std::fs::write(&garbled, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();

    let missing = authority.folder.path().join("none");
    for path in [&empty, &missing, &ours.key] {
        let error = client(path, "model.example").unwrap_err();
        assert!(
            matches!(&error, ConfigError::Unreadable { path: p, wanted: "certificate", .. } if p == path)
        );
        assert!(error.to_string().contains(&*path.to_string_lossy()));
    }
    assert!(matches!(client(&garbled, "model.example"), Err(ConfigError::Refused { .. })));
    assert!(
        matches!(client(&authority.file(), "no name"), Err(ConfigError::Name(name)) if name == "no name")
    );
    assert!(client(&authority.file(), "::1").is_ok());
    assert!(server(&ours.certificates, &ours.key).is_ok());
    assert!(matches!(
        server(&ours.certificates, &ours.certificates),
        Err(ConfigError::Unreadable { wanted: "private key", .. })
    ));
    assert!(matches!(server(&ours.certificates, &theirs.key), Err(ConfigError::Refused { .. })));
}
