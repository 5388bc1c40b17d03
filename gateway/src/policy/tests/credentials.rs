//! Opaque tokens, passwords and client certificates, in every protocol.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use serde_json::json;

use super::super::testing::{Sites, http};
use super::authenticate::{everywhere, routes, statuses};
use crate::authentication::passwords;
use crate::authentication::testing::KeyServer;

#[test]
fn a3_a_token_is_introspected_once_and_refused_while_nobody_answers() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hush\n").unwrap();
    let server = KeyServer::start("{}");
    let tables = format!(
        "[[introspectors]]\nname = 'idp'\nurl = '{}'\nclient_id = 'gw'\nclient_secret_file = {secret:?}\naudiences = ['orders']\n",
        server.url
    ) + &routes("introspector = 'idp'\nclaims_to_headers = { x-user = 'sub' }");
    let sites = Sites::start("", &tables);
    let good = (200, 101, "0".to_owned());
    let refused = (401, 401, "16".to_owned());
    for (place, at) in sites.entries() {
        let call = |token: &str| everywhere(&sites, at, &[("authorization", &format!("Bearer {token}"))]);
        assert_eq!(statuses(&everywhere(&sites, at, &[])), refused, "{place}");
        server.serve(&json!({"active": true, "sub": "alice", "aud": "orders", "scope": "a"}).to_string());
        let before = server.asked();
        let answers = call("opaque-1");
        assert_eq!(statuses(&answers), good, "{place}");
        assert_eq!(answers[0].json()["headers"]["x-user"], json!(["alice"]));
        assert_eq!(server.asked(), before + 1, "the answer is remembered");
        for bad in [
            json!({"active": false, "sub": "alice", "aud": "orders"}),
            json!({"active": "true", "sub": "alice", "aud": "orders"}),
            json!({"active": true, "sub": "alice", "aud": "stock"}),
            json!({"active": true, "sub": "alice"}),
            json!({"active": true, "sub": "alice", "aud": "orders", "exp": 1}),
            json!({"active": true, "aud": "orders"}),
        ] {
            server.serve(&bad.to_string());
            let before = server.asked();
            assert_eq!(
                statuses(&call(&bad.to_string().replace(['"', '{', '}', ' '], "."))),
                refused,
                "{bad}"
            );
            assert_eq!(server.asked(), before + 1, "a bad answer is remembered too");
        }
        for broken in [
            "",
            "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        ] {
            server.answer_with(broken);
            let answers = call(&format!("opaque-{}", broken.len()));
            assert_eq!(statuses(&answers), (503, 503, "14".to_owned()), "{place} {broken}");
            assert_eq!(statuses(&call("opaque-1")), good, "what is remembered goes on");
        }
    }
}

#[test]
fn names_and_passwords_are_taken_and_never_forwarded() {
    let digest = passwords::digest("open: sesame").unwrap();
    let tables = format!("[[consumers]]\nname = 'shop'\npassword = '{digest}'\nscopes = ['a']\n")
        + &routes("basic = true\nclaims_to_headers = { x-user = 'sub' }\n[routes.authorize]\nscopes = ['a']");
    let sites = Sites::start("", &tables);
    let basic = |text: &str| format!("Basic {}", BASE64.encode(text.as_bytes()));
    for (place, at) in sites.entries() {
        let call = |value: &str| everywhere(&sites, at, &[("authorization", value)]);
        let began = Instant::now();
        let answers = call(&basic("shop:open: sesame"));
        assert_eq!(statuses(&answers), (200, 101, "0".to_owned()), "{place}");
        let first = began.elapsed();
        let seen = &answers[0].json()["headers"];
        assert_eq!(
            (&seen["x-user"], &seen["authorization"]),
            (&json!(["shop"]), &json!(null))
        );
        let began = Instant::now();
        assert_eq!(
            http(
                at,
                "GET",
                "/x",
                &format!("authorization: {}\r\n", basic("shop:open: sesame")),
                b""
            )
            .status,
            200
        );
        assert!(began.elapsed() < first, "a right password is remembered");
        for bad in ["shop:open", "shop:", "shop", "other:open: sesame", ":open: sesame"] {
            let answer = http(at, "GET", "/x", &format!("authorization: {}\r\n", basic(bad)), b"");
            assert_eq!(answer.status, 401, "{place} {bad}");
            assert!(
                answer
                    .header("www-authenticate")
                    .unwrap()
                    .contains("Basic realm=\"causeway\"")
            );
        }
        assert_eq!(statuses(&call("Basic !!!")), (401, 401, "16".to_owned()), "{place}");
    }
}

#[test]
fn a_client_certificate_says_who_the_client_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let client = rcgen::generate_simple_self_signed(["web.example".to_owned()]).unwrap();
    let stranger = rcgen::generate_simple_self_signed(["web.example".to_owned()]).unwrap();
    let listener = format!(
        "tls = {{ certificate = {:?}, private_key = {:?}, client_ca = {:?}, client_certificates = \"optional\" }}",
        file("server.crt", &server.cert.pem()),
        file("server.key", &server.signing_key.serialize_pem()),
        file("client.crt", &client.cert.pem()),
    );
    let sites = Sites::start(
        &listener,
        &routes("certificate = true\nclaims_to_headers = { x-user = 'sub' }"),
    );
    for (place, at) in sites.entries() {
        let call = |shown: Option<&rcgen::CertifiedKey<rcgen::KeyPair>>| {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(server.cert.der().clone()).unwrap();
            let config = rustls::ClientConfig::builder_with_provider(causeway_pki::tls::provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots);
            let config = match shown {
                None => config.with_no_client_auth(),
                Some(shown) => {
                    let key = PrivateKeyDer::try_from(shown.signing_key.serialize_der()).unwrap();
                    config
                        .with_client_auth_cert(vec![shown.cert.der().clone()], key)
                        .unwrap()
                }
            };
            let name = ServerName::try_from("localhost").unwrap();
            let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
            let stream = TcpStream::connect(at).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let request = b"GET /x HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
            // A handshake that is refused ends here or there.
            stream.write_all(request).ok();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).ok();
            String::from_utf8_lossy(&answer).into_owned()
        };
        let answer = call(Some(&client));
        assert!(answer.starts_with("HTTP/1.1 200"), "{place}: {answer}");
        assert!(answer.contains("web.example"), "{answer}");
        assert!(call(None).starts_with("HTTP/1.1 401"), "{place}");
        assert!(
            !call(Some(&stranger)).contains("200 OK"),
            "{place}: nobody vouches for it"
        );
    }
}
