//! Who is trusted changes while tunnels are up.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use causeway_gateway::reload::{Reloader, Watch};
use causeway_pki::authority::Authority;
use causeway_pki::issue::Leaf;
use causeway_pki::tls::provider;
use causeway_pki::{Credentials, Identity};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use time::OffsetDateTime;

use crate::support::*;

/// From a change of trust to the end of the tunnels.
const CUT: Duration = Duration::from_secs(5);

#[test]
fn i5_a_service_is_there_for_the_sites_it_is_exported_to_and_for_no_other() {
    let pki = Pki::of(&["aws", "azure", "gcp"]);
    // Neither a service that is exported to somebody else nor one that is not there: the answers do not differ.
    let azure = head("azure")
        + &pki.identity("azure", Some(free()))
        + &peer("aws", &[])
        + &peer("gcp", &[])
        + &service("demo", &["aws"])
        + &service("private", &[])
        + "[[services]]\nname = \"named\"\nprotocol = \"http\"\nendpoints = [\"127.0.0.1:9\"]\nexport_to = [{ site = \
           \"gcp\", callers = [\"sub:alice\"] }]\n";
    let azure = start(&azure);
    let federation = azure.bound().federation.unwrap();
    let client_site = |site: &str| {
        let routes: String = ["demo", "private", "named", "none"]
            .iter()
            .map(|name| {
                format!(
                    "[[routes]]\nmatch = {{ path_prefix = \"/{name}\" }}\nstrip_prefix = \"/{name}\"\nto = \"{name}@azure\"\n"
                )
            })
            .collect();
        let link = peer("azure", &[federation]);
        start(&(head(site) + &pki.identity(site, None) + &listener("public", 0) + &link + &routes))
    };
    let (aws, gcp) = (client_site("aws"), client_site("gcp"));
    let get = |app, path: &str| Client::new(public(app)).get(path).unwrap();
    until("the link is up", PATIENCE, || get(&aws, "/demo/bytes/1").0 == 200);
    let mut refusals = Vec::new();
    for (app, name) in [
        (&aws, "private"),
        (&aws, "named"),
        (&aws, "none"),
        (&gcp, "demo"),
        (&gcp, "private"),
        (&gcp, "named"),
        (&gcp, "none"),
    ] {
        let (status, body) = get(app, &format!("/{name}/bytes/1"));
        refusals.push(status);
        assert!(
            (400..=599).contains(&status),
            "{name}: {status} {}",
            String::from_utf8_lossy(&body)
        );
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "the answer tells what is there: {refusals:?}");
}

#[test]
fn i5_an_open_call_ends_when_its_export_is_removed() {
    let pair = Pair::start();
    let mut stream = TcpStream::connect(public(&pair.aws)).unwrap();
    stream.set_read_timeout(Some(CUT)).unwrap();
    write!(stream, "GET /stream?n=1000&ms=50 HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    let mut part = [0; 4096];
    assert!(stream.read(&mut part).unwrap() > 0);
    let none = azure_text(&pair.pki, free(), &[]);
    pair.azure.reload(config(&none)).unwrap();
    // The end without the last chunk: the client sees that it was cut.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).ok();
    assert!(!rest.ends_with(b"0\r\n\r\n"));
    assert!(logged("its export was removed"));
    let (status, _) = Client::new(public(&pair.aws)).get("/bytes/1").unwrap();
    assert_ne!(status, 200);
    assert_eq!(pair.tunnels(), 2, "the tunnels go on");
    pair.azure
        .reload(config(&azure_text(&pair.pki, free(), &["aws"])))
        .unwrap();
    assert!(passes(public(&pair.aws)));
}

#[test]
fn i7_a_peer_that_is_removed_or_loses_its_bundle_is_cut() {
    let pair = Pair::start();
    let none = head("azure") + &pair.pki.identity("azure", Some(free())) + &service("demo", &[]);
    pair.azure.reload(config(&none)).unwrap();
    until("its tunnels are cut", CUT, || pair.tunnels() == 0);
    pair.azure
        .reload(config(&azure_text(&pair.pki, free(), &["aws"])))
        .unwrap();
    pair.wait();

    let bundle = pair.pki.site("azure").join("bundles/aws.acme.example.pem");
    let kept = fs::read(&bundle).unwrap();
    fs::remove_file(&bundle).unwrap();
    pair.azure
        .reload(config(&azure_text(&pair.pki, free(), &["aws"])))
        .unwrap();
    until("its tunnels are cut", CUT, || pair.azure.shared().drain.tunnels() == 0);
    // Garbage in its place changes nothing, and the next good one heals.
    fs::write(&bundle, &kept).unwrap();
    pair.azure
        .reload(config(&azure_text(&pair.pki, free(), &["aws"])))
        .unwrap();
    pair.wait();
    fs::write(&bundle, "garbage").unwrap();
    pair.azure
        .reload(config(&azure_text(&pair.pki, free(), &["aws"])))
        .unwrap();
    assert!(logged("the last good one stays"));
    assert!(passes(public(&pair.aws)));
    assert_eq!(pair.tunnels(), 2);
}

#[test]
fn i7_a_revoked_certificate_is_cut_and_a_bad_list_keeps_the_last_good_one() {
    let pair = Pair::start();
    let azure = azure_text(&pair.pki, free(), &["aws"]);
    let now = OffsetDateTime::now_utc();
    let authority = Authority::open(&pair.pki.site("aws").join("ca")).unwrap();
    let credentials = credentials(&pair.pki.site("aws"));
    authority.revoke(credentials.serial(), now).unwrap();
    let list = pair.pki.site("azure").join("bundles/aws.acme.example.crl");
    fs::copy(authority.crl_path(), &list).unwrap();
    pair.azure.reload(config(&azure)).unwrap();
    until("its tunnels are cut", CUT, || pair.tunnels() == 0);
    assert!(logged("revoked"));
    for garbage in [&b""[..], b"garbage", &[0x30, 0x82, 0xff, 0xff], &vec![0x30; 70 << 20]] {
        fs::write(&list, garbage).unwrap();
        pair.azure.reload(config(&azure)).unwrap();
        assert!(!passes(public(&pair.aws)), "a revoked peer is let in by a bad list");
    }
    // A new certificate is not on the list.
    issue(&authority, "aws", &pair.pki.site("aws"), now);
    fs::copy(authority.crl_path(), &list).unwrap();
    pair.azure.reload(config(&azure)).unwrap();
    pair.aws
        .reload(config(&aws_text(&pair.pki, &[pair.federation])))
        .unwrap();
    pair.wait();
}

fn credentials(site: &Path) -> Credentials {
    Credentials::load(&site.join("gateway.crt"), &site.join("gateway.key"), &provider()).unwrap()
}

/// A new certificate in the place of the old one: the key first, then the certificate.
fn issue(authority: &Authority, site: &str, folder: &Path, now: OffsetDateTime) {
    let identity = Identity::gateway_of(authority.trust_domain(), site, "gw-1").unwrap();
    let leaf = Leaf {
        identity,
        dns_names: Vec::new(),
        lifetime: time::Duration::days(1),
    };
    let pair = authority.issue(&leaf, now).unwrap();
    for (name, text) in [
        ("gateway.key", pair.key_pem.as_str()),
        ("gateway.crt", pair.issued.chain_pem.as_str()),
    ] {
        fs::write(folder.join("new"), text).unwrap();
        fs::rename(folder.join("new"), folder.join(name)).unwrap();
    }
}

#[test]
fn i8_certificates_are_rotated_under_load_and_no_call_fails() {
    let pair = Pair::start();
    let now = OffsetDateTime::now_utc();
    let aws = Authority::open(&pair.pki.site("aws").join("ca")).unwrap();
    let azure = Authority::open(&pair.pki.site("azure").join("ca")).unwrap();
    let (aws_files, azure_files) = (
        aws_text(&pair.pki, &[pair.federation]),
        azure_text(&pair.pki, free(), &["aws"]),
    );
    let read = |text: String| move || causeway_config::load_str("site.toml", &text);
    let reloaders = [
        Reloader::new(pair.aws.gateway(), read(aws_files)),
        Reloader::new(pair.azure.gateway(), read(azure_files)),
    ];
    let watches = reloaders
        .each_ref()
        .map(|reloader| Watch::start(Arc::clone(reloader)).unwrap());
    let load = Load::start(public(&pair.aws), 2, 1);
    let serials = |app: &causeway_gateway::app::App| {
        let tls = app.shared().federation.tls.get().unwrap();
        tls.credentials().serial().to_owned()
    };
    for _ in 0..3 {
        issue(&aws, "aws", &pair.pki.site("aws"), now);
        issue(&azure, "azure", &pair.pki.site("azure"), now);
        let wanted = ["aws", "azure"].map(|site| credentials(&pair.pki.site(site)).serial().to_owned());
        until("both have taken their certificates", PATIENCE, || {
            [serials(&pair.aws), serials(&pair.azure)] == wanted
        });
    }
    // A key that does not belong to its certificate keeps the last good pair.
    let good = serials(&pair.aws);
    let key = pair.pki.site("aws").join("gateway.key");
    let bad = reloaders[0].reloads().bad;
    fs::copy(pair.pki.site("azure").join("gateway.key"), &key).unwrap();
    until("the mismatch is told", PATIENCE, || reloaders[0].reloads().bad > bad);
    assert!(reloaders[0].reloads().problems.concat().contains("does not belong"));
    assert_eq!(serials(&pair.aws), good);
    // So does a certificate that is somebody else's.
    let bad = reloaders[0].reloads().bad;
    fs::copy(
        pair.pki.site("azure").join("gateway.crt"),
        pair.pki.site("aws").join("gateway.crt"),
    )
    .unwrap();
    until("the wrong site is told", PATIENCE, || reloaders[0].reloads().bad > bad);
    let problems = || reloaders[0].reloads().problems.concat();
    until("and named", PATIENCE, || {
        problems().contains("spiffe://azure.acme.example/site/azure")
    });
    assert_eq!(serials(&pair.aws), good);
    let before = load.count();
    until("calls go on", PATIENCE, || load.count() > before + 20);
    let failures = load.stop();
    assert!(failures.is_empty(), "{failures:#?}");
    drop(watches);
}

/// Lets everybody in: only what the server shows is looked at.
#[derive(Debug)]
struct Anybody;

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A TLS client that presents these credentials, or none, and speaks these versions.
fn tls_client(
    credentials: Option<&Credentials>,
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpn: &[u8],
) -> Arc<rustls::ClientConfig> {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match credentials {
        Some(credentials) => builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
            credentials.certified_key(),
        ))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    // Would offer whatever ticket it got.
    config.enable_early_data = true;
    Arc::new(config)
}

/// Shakes hands and reads until the server says something or ends; whether it said something, and the connection.
fn shake(address: SocketAddr, config: &Arc<rustls::ClientConfig>) -> (bool, rustls::ClientConnection) {
    let name = ServerName::try_from("gateway.test").unwrap();
    let mut tls = rustls::ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(CUT)).unwrap();
    let mut said = [0; 1];
    let read = rustls::Stream::new(&mut tls, &mut stream).read(&mut said);
    (matches!(read, Ok(1)), tls)
}

#[test]
fn i1_i6_the_port_of_tunnels_takes_tls_1_3_with_a_certificate_and_resumes_nothing() {
    let pair = Pair::start();
    let ours = credentials(&pair.pki.site("aws"));
    let (v12, v13) = (&rustls::version::TLS12, &rustls::version::TLS13);
    #[rustfmt::skip]
    let table = [
        (tls_client(Some(&ours), &[v13],      b"causeway/1"), true,  "as it should be"),
        (tls_client(Some(&ours), &[v13, v12], b"causeway/1"), true,  "both versions: the newer is taken"),
        (tls_client(Some(&ours), &[v12],      b"causeway/1"), false, "TLS 1.2"),
        (tls_client(None,        &[v13],      b"causeway/1"), false, "no certificate"),
        (tls_client(Some(&ours), &[v13],      b"h2"),         false, "another protocol"),
        (tls_client(None,        &[v12],      b"http/1.1"),   false, "somebody else"),
    ];
    for (client, let_in, what) in &table {
        assert_eq!(shake(pair.federation, client).0, *let_in, "{what}");
    }
    // The same client again: it has nothing to resume with.
    for _ in 0..3 {
        let (let_in, tls) = shake(pair.federation, &table[0].0);
        assert!(let_in);
        assert_eq!(tls.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(tls.tls13_tickets_received(), 0);
        assert!(!tls.is_early_data_accepted());
    }
    // What cannot be resumed cannot get past a change of trust.
    let none = head("azure") + &pair.pki.identity("azure", Some(free())) + &service("demo", &[]);
    pair.azure.reload(config(&none)).unwrap();
    assert!(!shake(pair.federation, &table[0].0).0, "let in after its removal");
}

#[test]
fn i10_half_open_handshakes_hold_up_nobody() {
    let pair = Pair::start();
    // From another address than the peer's, as an attacker would.
    let attacker = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)), 0);
    let mut half_open = Vec::new();
    for turn in 0..600 {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&attacker.into()).unwrap();
        socket.connect(&pair.federation.into()).unwrap();
        let mut stream: TcpStream = socket.into();
        if turn % 2 == 0 {
            // The beginning of a long ClientHello; the server may have closed already.
            stream.write_all(&[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc]).ok();
        }
        half_open.push(stream);
    }
    // Who has tunnels keeps them, and who makes new ones gets them.
    assert!(passes(public(&pair.aws)));
    let text = aws_text(&pair.pki, &[pair.federation]);
    let again = start(&text);
    let waited = until("another gateway links", PATIENCE, || passes(public(&again)));
    assert!(waited < Duration::from_secs(3), "{waited:?}");
    // The server ends them by itself.
    let last = half_open.last_mut().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(!matches!(last.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock));
}

#[test]
fn i10_one_client_address_cannot_take_all_handshakes_of_a_listener() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["one.test".to_owned()]).unwrap();
    fs::write(folder.path().join("tls.crt"), made.cert.pem()).unwrap();
    fs::write(folder.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    let files = |name: &str| folder.path().join(name).display().to_string();
    let text = head("aws")
        + &format!(
            "[limits]\nhandshakes_per_address = 4\n[[listeners]]\nname = \"public\"\nbind = \"127.0.0.1:0\"\n\
             trusted_proxies = [\"127.0.0.7/32\"]\ntls = {{ certificate = {:?}, private_key = {:?} }}\n",
            files("tls.crt"),
            files("tls.key"),
        )
        + &service("demo", &[])
        + &route("demo");
    let app = start(&text);
    let from = |host: u8| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, host], 0)).into()).unwrap();
        socket.connect(&public(&app).into()).unwrap();
        TcpStream::from(socket)
    };
    let client = tls_client(None, &[&rustls::version::TLS13], b"http/1.1");
    let get = |host: u8| {
        let name = ServerName::try_from("gateway.test").unwrap();
        let tls = rustls::ClientConnection::new(Arc::clone(&client), name).unwrap();
        let mut stream = rustls::StreamOwned::new(tls, from(host));
        write!(stream, "GET /bytes/10 HTTP/1.1\r\nhost: one.test\r\n\r\n")?;
        read_reply(&mut std::io::BufReader::new(&mut stream)).map(|reply| reply.0)
    };
    let shaking = || app.shared().handshakes.load(Ordering::Relaxed);
    // Nothing is said on these: a handshake that is under way for as long as it may be.
    let idle: Vec<_> = (0..8).map(|_| from(9)).collect();
    until("the share of the address is taken", PATIENCE, || shaking() == 4);
    assert!(get(9).is_err(), "the address has its share");
    assert_eq!(get(10).unwrap(), 200, "another is served");
    let proxied: Vec<_> = (0..8).map(|_| from(7)).collect();
    until("a proxy has no such limit", PATIENCE, || shaking() == 12);
    drop((idle, proxied));
    until("handshakes are given back", PATIENCE, || shaking() == 0);
    assert_eq!(get(9).unwrap(), 200, "and so are shares");
    let refused = app
        .shared()
        .telemetry
        .metrics
        .limit_hit
        .with(&["handshakes_per_address"])
        .value();
    assert_eq!(refused, 5);
}

#[test]
fn listener_certificates_are_reloaded_and_connections_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        fs::write(folder.path().join("tls.crt"), made.cert.pem()).unwrap();
        fs::write(folder.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap()
    };
    let first = write("one.test");
    let text = head("aws")
        + &format!(
            "[[listeners]]\nname = \"public\"\nbind = \"127.0.0.1:0\"\ntls = {{ certificates = [{{ certificate = {:?}, \
             private_key = {:?} }}] }}\n",
            folder.path().join("tls.crt"),
            folder.path().join("tls.key")
        )
        + &service("demo", &[])
        + &route("demo");
    let file = folder.path().join("causeway.toml");
    fs::write(&file, &text).unwrap();
    let load = move || causeway_config::load(std::slice::from_ref(&file), &[]);
    let app = causeway_gateway::app::App::start(load().unwrap()).unwrap();
    let reloader = Reloader::new(app.gateway(), load);
    let watch = Watch::start(Arc::clone(&reloader)).unwrap();
    let address = public(&app);
    let client = tls_client(None, &[&rustls::version::TLS13], b"http/1.1");
    let connect = || {
        let name = ServerName::try_from("gateway.test").unwrap();
        let tls = rustls::ClientConnection::new(Arc::clone(&client), name).unwrap();
        rustls::StreamOwned::new(tls, TcpStream::connect(address).unwrap())
    };
    let get = |stream: &mut rustls::StreamOwned<rustls::ClientConnection, TcpStream>| {
        write!(stream, "GET /bytes/10 HTTP/1.1\r\nhost: one.test\r\n\r\n").unwrap();
        read_reply(&mut std::io::BufReader::with_capacity(1, &mut *stream))
            .unwrap()
            .0
    };
    let mut old = connect();
    assert_eq!(get(&mut old), 200);
    assert_eq!(old.conn.peer_certificates().unwrap()[0], first);
    let second = write("two.test");
    until("the new certificate is shown", PATIENCE, || {
        let mut fresh = connect();
        get(&mut fresh) == 200 && fresh.conn.peer_certificates().unwrap()[0] == second
    });
    assert_eq!(get(&mut old), 200, "the old connection goes on");
    let good = reloader.reloads().good;
    fs::write(folder.path().join("tls.key"), "half of a k").unwrap();
    until("the bad key is told", PATIENCE, || reloader.reloads().bad > 0);
    assert_eq!(get(&mut connect()), 200);
    assert_eq!(reloader.reloads().good, good);
    assert!(app.shared().connections.load(Ordering::Relaxed) > 0);
    drop(watch);
}
