use std::collections::BTreeMap;
use std::sync::Mutex;

use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConnection, Connection, RootCertStore, ServerConnection};
use rustls_pki_types::ServerName;
use time::{Duration, OffsetDateTime};

use super::*;
use crate::bundle::TrustBundles;
use crate::identity::TrustDomain;
use crate::testing::{Forge, Forged, domain};
use crate::verify::Peers;

const AWS: &str = "aws.acme.example";
const AZURE: &str = "azure.acme.example";

/// Two sites with real time, since the TLS library reads the clock itself.
struct Sites {
    aws: Forge,
    azure: Forge,
    files: tempfile::TempDir,
}

impl Sites {
    fn new() -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            aws: Forge::at(AWS, now),
            azure: Forge::at(AZURE, now),
            files: tempfile::tempdir().unwrap(),
        }
    }

    fn trust(&self, peers: &[(&str, &str)]) -> Trust {
        let bundles: TrustBundles = [self.aws.bundle(), self.azure.bundle()].into_iter().collect();
        let peers: BTreeMap<String, TrustDomain> = peers.iter().map(|(s, d)| ((*s).to_owned(), domain(d))).collect();
        Trust::new(bundles, Peers::Sites(peers))
    }

    fn credentials(&self, forged: &Forged) -> Credentials {
        let (certificate, key) = (self.files.path().join("c"), self.files.path().join("k"));
        std::fs::write(&certificate, forged.chain_pem()).unwrap();
        std::fs::write(&key, forged.key.serialize_pem()).unwrap();
        Credentials::load(&certificate, &key, &provider()).unwrap()
    }

    /// The gateway of aws, which talks to azure, and that of azure, which talks to aws.
    fn pair(&self) -> (TunnelTls, TunnelTls) {
        let aws = self.credentials(&self.aws.leaf("aws", |_| {}));
        let azure = self.credentials(&self.azure.leaf("azure", |_| {}));
        (
            TunnelTls::new(provider(), self.trust(&[("azure", AZURE)]), aws),
            TunnelTls::new(provider(), self.trust(&[("aws", AWS)]), azure),
        )
    }
}

/// Remembers the labels of refused peers.
fn recorder() -> (OnRefusal, Arc<Mutex<Vec<&'static str>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    (
        Arc::new(move |error: &VerifyError| log.lock().unwrap().push(error.reason())),
        seen,
    )
}

type Side = Result<(), rustls::Error>;

/// Carries bytes between the two until neither has more to say, and gives back what each side thinks of it.
fn shake(client: &mut Connection, server: &mut Connection) -> (Side, Side) {
    let (mut from_client, mut from_server) = (Ok(()), Ok(()));
    loop {
        let up = carry(client, server, &mut from_server);
        let down = carry(server, client, &mut from_client);
        if up + down == 0 {
            return (from_client, from_server);
        }
    }
}

fn carry(from: &mut Connection, to: &mut Connection, verdict: &mut Side) -> usize {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let carried = wire.len();
    let mut wire = wire.as_slice();
    while !wire.is_empty() && verdict.is_ok() {
        to.read_tls(&mut wire).unwrap();
        if let Err(error) = to.process_new_packets() {
            *verdict = Err(error);
        }
    }
    carried
}

fn dial(config: ClientConfig) -> Connection {
    let name = ServerName::try_from("gateway.invalid").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap().into()
}

fn accept(config: ServerConfig) -> Connection {
    ServerConnection::new(Arc::new(config)).unwrap().into()
}

fn now() -> UnixTime {
    UnixTime::now()
}

#[test]
fn two_sites_shake_hands_either_way_and_know_each_other() {
    let (aws, azure) = Sites::new().pair();
    for (dialler, acceptor, dialled, client_site) in [(&aws, &azure, "azure", "aws"), (&azure, &aws, "aws", "azure")] {
        let mut client = dial(dialler.client_config(dialled).unwrap());
        let mut server = accept(acceptor.server_config().unwrap());
        let (client_says, server_says) = shake(&mut client, &mut server);
        client_says.unwrap();
        server_says.unwrap();
        let seen_by_client = Peer::of(&client, Role::Server).unwrap();
        let seen_by_server = Peer::of(&server, Role::Client).unwrap();
        assert_eq!(seen_by_client.identity().site(), Some(dialled));
        assert_eq!(seen_by_server.identity().site(), Some(client_site));
        assert_eq!(seen_by_server.chain().len(), 2);
        seen_by_server.verify_again(&acceptor.trust(), now(), None).unwrap();
        seen_by_client
            .verify_again(&dialler.trust(), now(), Some(dialled))
            .unwrap();
    }
}

#[test]
fn i2_a_server_refuses_every_bad_client_and_says_why() {
    let sites = Sites::new();
    let now = OffsetDateTime::now_utc();
    type Edit = Box<dyn FnOnce(&mut rcgen::CertificateParams)>;
    let other = |uri: &str| -> rcgen::SanType { rcgen::SanType::URI(uri.try_into().unwrap()) };
    #[rustfmt::skip]
    let table: Vec<(&str, Edit)> = vec![
        ("expired",            Box::new(move |p| (p.not_before, p.not_after) = (now - Duration::days(2), now - Duration::days(1)))),
        ("not_yet_valid",      Box::new(move |p| p.not_before = now + Duration::hours(1))),
        ("no_san",             Box::new(|p| p.subject_alt_names.clear())),
        ("two_sans",           Box::new(move |p| p.subject_alt_names.push(other("spiffe://aws.acme.example/x")))),
        ("bad_eku",            Box::new(|p| p.extended_key_usages.truncate(1))),
        ("bad_key_usage",      Box::new(|p| p.key_usages.clear())),
        ("wrong_trust_domain", Box::new(move |p| p.subject_alt_names = vec![other("spiffe://azure.acme.example/site/aws/gateway/gw-1")])),
        ("unknown_site",       Box::new(move |p| p.subject_alt_names = vec![other("spiffe://aws.acme.example/site/gcp/gateway/gw-1")])),
    ];
    for (reason, edit) in table {
        let (on_refusal, seen) = recorder();
        let (aws, azure) = sites.pair();
        let azure = azure.on_refusal(on_refusal);
        let mut config = aws.client_config("azure").unwrap();
        // Presented as it is: our own credentials would refuse to load some of these.
        config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(
            sites.aws.leaf("aws", edit).certified_key(),
        ));
        let (mut client, mut server) = (dial(config), accept(azure.server_config().unwrap()));
        let (_, server_says) = shake(&mut client, &mut server);
        let error = server_says.expect_err(reason);
        assert_eq!(refusal(&error).map(|error| error.reason()), Some(reason));
        assert_eq!(*seen.lock().unwrap(), [reason]);
        let wrapped = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
        assert_eq!(
            refusal(&wrapped).map(|error| error.reason()),
            Some(reason),
            "through an I/O error"
        );
        assert!(Peer::of(&server, Role::Client).is_err());
    }
}

#[test]
fn i2_a_client_refuses_a_bad_server_and_one_that_is_another_site() {
    let sites = Sites::new();
    let (aws, azure) = sites.pair();
    let now = OffsetDateTime::now_utc();
    let expired = sites.azure.leaf("azure", |params| {
        (params.not_before, params.not_after) = (now - Duration::days(2), now - Duration::days(1));
    });
    azure.publish_credentials(sites.credentials(&expired));
    for (site, reason) in [("azure", "expired"), ("aws", "expired")] {
        let (on_refusal, seen) = recorder();
        let config = aws.clone().on_refusal(on_refusal).client_config(site).unwrap();
        let (mut client, mut server) = (dial(config), accept(azure.server_config().unwrap()));
        let (client_says, _) = shake(&mut client, &mut server);
        assert_eq!(
            refusal(&client_says.unwrap_err()).map(|error| error.reason()),
            Some(reason)
        );
        assert_eq!(*seen.lock().unwrap(), [reason]);
    }
    let (aws, azure) = sites.pair();
    aws.publish_trust(sites.trust(&[("azure", AZURE), ("gcp", AZURE)]));
    let (mut client, mut server) = (
        dial(aws.client_config("gcp").unwrap()),
        accept(azure.server_config().unwrap()),
    );
    let (client_says, _) = shake(&mut client, &mut server);
    assert_eq!(
        refusal(&client_says.unwrap_err()).map(|error| error.reason()),
        Some("wrong_site")
    );
}

#[test]
fn new_trust_and_new_credentials_need_no_new_configuration() {
    let sites = Sites::new();
    let (aws, azure) = sites.pair();
    let client_config = Arc::new(aws.client_config("azure").unwrap());
    let server_config = Arc::new(azure.server_config().unwrap());
    let connect = || {
        let name = ServerName::try_from("gateway.invalid").unwrap();
        let mut client: Connection = ClientConnection::new(Arc::clone(&client_config), name).unwrap().into();
        let mut server: Connection = ServerConnection::new(Arc::clone(&server_config)).unwrap().into();
        let answers = shake(&mut client, &mut server);
        (answers, client, server)
    };
    let ((client_says, server_says), client, server) = connect();
    client_says.and(server_says).unwrap();
    let before = Peer::of(&client, Role::Server).unwrap();
    let peer = Peer::of(&server, Role::Client).unwrap();

    // A renewal is seen by the next handshake.
    azure.publish_credentials(sites.credentials(&sites.azure.leaf("azure", |_| {})));
    let ((client_says, server_says), client, _server) = connect();
    client_says.and(server_says).unwrap();
    assert_ne!(Peer::of(&client, Role::Server).unwrap().chain()[0], before.chain()[0]);

    // A revocation too, and the tunnel that is open learns of it when it is asked again.
    let trust = azure.trust().without([peer.identity().clone()]);
    azure.publish_trust(trust.clone());
    let ((_, server_says), _, _) = connect();
    assert_eq!(
        refusal(&server_says.unwrap_err()).map(|error| error.reason()),
        Some("revoked")
    );
    assert_eq!(peer.verify_again(&trust, now(), None).unwrap_err().reason(), "revoked");

    // And so does one whose certificate has run out since.
    let later = certificate_end(&peer) + 61;
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(later));
    assert_eq!(
        peer.verify_again(&sites.trust(&[("aws", AWS)]), at, None)
            .unwrap_err()
            .reason(),
        "expired"
    );
}

fn certificate_end(peer: &Peer) -> u64 {
    let parsed = crate::certificate::parse(&peer.chain()[0]).unwrap();
    parsed.validity().not_after.timestamp() as u64
}

#[test]
fn a_peer_within_the_leeway_is_let_in_and_told_of() {
    let sites = Sites::new();
    let (aws, azure) = sites.pair();
    let now = OffsetDateTime::now_utc();
    let soon = sites
        .aws
        .leaf("aws", |params| params.not_before = now + Duration::seconds(30));
    aws.publish_credentials(sites.credentials(&soon));
    let seen = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&seen);
    let azure = azure.on_skew(Arc::new(move |verified| {
        assert!(verified.skew.is_some());
        *counter.lock().unwrap() += 1;
    }));
    let (mut client, mut server) = (
        dial(aws.client_config("azure").unwrap()),
        accept(azure.server_config().unwrap()),
    );
    let (client_says, server_says) = shake(&mut client, &mut server);
    client_says.and(server_says).unwrap();
    assert_eq!(*seen.lock().unwrap(), 1);
}

#[test]
fn i1_tunnels_speak_tls_1_3_and_nothing_older() {
    let sites = Sites::new();
    let (aws, azure) = sites.pair();
    let old = |version: &'static rustls::SupportedProtocolVersion| {
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(aws.verifier(Some("azure".into()))))
            .with_client_cert_resolver(Arc::new(Resolver(Arc::clone(&aws.material))))
    };
    let (mut client, mut server) = (
        dial(old(&rustls::version::TLS12)),
        accept(azure.server_config().unwrap()),
    );
    let (_, server_says) = shake(&mut client, &mut server);
    assert!(
        matches!(server_says, Err(rustls::Error::PeerIncompatible(_))),
        "{server_says:?}"
    );

    // Without ALPN the TLS library lets a client in; it is no tunnel all the same.
    let (mut client, mut server) = (
        dial(old(&rustls::version::TLS13)),
        accept(azure.server_config().unwrap()),
    );
    let (client_says, server_says) = shake(&mut client, &mut server);
    client_says.and(server_says).unwrap();
    assert!(matches!(Peer::of(&server, Role::Client), Err(TlsError::Alpn)));
}

#[test]
fn a_client_without_certificate_is_refused() {
    let sites = Sites::new();
    let (aws, azure) = sites.pair();
    let mut config = aws.client_config("azure").unwrap();
    config.client_auth_cert_resolver = Arc::new(Nothing);
    let (mut client, mut server) = (dial(config), accept(azure.server_config().unwrap()));
    let (_, server_says) = shake(&mut client, &mut server);
    assert!(
        matches!(server_says, Err(rustls::Error::NoCertificatesPresented)),
        "{server_says:?}"
    );
}

#[derive(Debug)]
struct Nothing;

impl ResolvesClientCert for Nothing {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// A client that would resume if it could: it keeps every ticket.
#[test]
fn i6_no_session_is_ever_resumed() {
    let sites = Sites::new();
    let (aws, azure) = sites.pair();
    let mut config = aws.client_config("azure").unwrap();
    config.resumption = Resumption::in_memory_sessions(16);
    let (client_config, server_config) = (Arc::new(config), Arc::new(azure.server_config().unwrap()));
    for _ in 0..3 {
        let name = ServerName::try_from("gateway.invalid").unwrap();
        let client = ClientConnection::new(Arc::clone(&client_config), name).unwrap();
        let mut client: Connection = client.into();
        let mut server: Connection = ServerConnection::new(Arc::clone(&server_config)).unwrap().into();
        let (client_says, server_says) = shake(&mut client, &mut server);
        client_says.and(server_says).unwrap();
        for side in [&client, &server] {
            // With post-quantum groups the first flight may be asked for again; that is a full handshake too.
            assert_ne!(side.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
        }
        let Connection::Client(client) = client else {
            unreachable!()
        };
        assert_eq!(client.tls13_tickets_received(), 0);
    }
}

#[test]
fn the_server_does_not_tell_whom_it_trusts() {
    let (_, azure) = Sites::new().pair();
    let verifier = azure.verifier(None);
    assert!(rustls::server::danger::ClientCertVerifier::root_hint_subjects(&verifier).is_empty());
    assert!(rustls::client::danger::ServerCertVerifier::root_hint_subjects(&verifier).is_none());
}

#[test]
fn credentials_of_ours_that_peers_would_refuse_are_found_before_the_first_handshake() {
    let sites = Sites::new();
    let trust = sites.trust(&[]);
    assert!(
        sites
            .credentials(&sites.aws.leaf("aws", |_| {}))
            .check(&trust, now())
            .is_ok()
    );
    let stranger = Forge::at(AWS, OffsetDateTime::now_utc());
    let error = sites
        .credentials(&stranger.leaf("aws", |_| {}))
        .check(&trust, now())
        .unwrap_err();
    assert_eq!(error.reason(), "wrong_trust_domain");
}

/// The certificates are ordinary ones: the verifier of the TLS library takes them too.
#[test]
fn a_stranger_to_causeway_can_verify_our_certificates() {
    let sites = Sites::new();
    let mut roots = RootCertStore::empty();
    roots.add(sites.aws.root.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .unwrap();
    let forged = sites.aws.leaf("aws", |_| {});
    verifier
        .verify_client_cert(&forged.chain[0], &forged.chain[1..], now())
        .unwrap();
}
