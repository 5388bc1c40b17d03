//! Rules and scopes, callers at exports, and streams that end when what let them in ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use causeway_config::Algorithm;
use serde_json::{Value, json};

use super::super::testing::{Sites, raw, upgrade};
use super::authenticate::{claims, everywhere, issuer, routes, statuses};
use crate::authentication::testing::SigningKey;

fn bearer(key: &SigningKey, claims: &Value) -> String {
    format!("Bearer {}", key.token(claims))
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

#[test]
fn rules_decide_over_claims_scopes_paths_and_methods_in_every_protocol() {
    let key = SigningKey::new(Algorithm::Es256, "k1");
    let tables = issuer(&format!("jwks = '{}'", key.jwks()))
        + &routes(
            "issuers = ['acme']
[routes.authorize]
scopes = ['orders.read']
allow = ['claims.tenant == \"blue\"', 'principal.subject == \"root\"']
deny = ['request.headers[\"x-bad\"] == \"1\" ', 'grpc != null && grpc.method == \"Sum\"']",
        )
        // A deny rule about a field that is not there cannot be decided, and so refuses: ask first.
        .replace(
            "request.headers[\"x-bad\"] == \"1\" ",
            "\"x-bad\" in request.headers && request.headers[\"x-bad\"] == \"1\"",
        );
    let sites = Sites::start("", &tables);
    let good = (200, 101, "0".to_owned());
    let refused = (403, 403, "7".to_owned());
    for (place, at) in sites.entries() {
        let call = |claims: &Value, lines: &[(&str, &str)]| {
            let token = bearer(&key, claims);
            let mut all = vec![("authorization", token.as_str())];
            all.extend_from_slice(lines);
            everywhere(&sites, at, &all)
        };
        assert_eq!(statuses(&call(&claims(), &[])), good, "{place}");
        assert_eq!(statuses(&call(&with("tenant", json!("red")), &[])), refused, "{place}");
        assert_eq!(statuses(&call(&with("tenant", json!(null)), &[])), refused, "{place}");
        let mut root = with("tenant", json!("red"));
        root["sub"] = json!("root");
        assert_eq!(statuses(&call(&root, &[])), good, "{place}");
        assert_eq!(statuses(&call(&claims(), &[("x-bad", "1")])), refused, "{place}");
        assert_eq!(statuses(&call(&claims(), &[("x-bad", "0")])), good, "{place}");
        let answers = call(&with("scope", json!("orders.write")), &[]);
        assert_eq!(statuses(&answers), refused, "{place}");
        for answer in &answers {
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.contains("error=\"insufficient_scope\", scope=\"orders.read\""));
        }
        let answer = sites.grpc(
            at,
            "/causeway.demo.v1.Chat/Sum",
            b"",
            &[("authorization", &bearer(&key, &claims()))],
        );
        assert_eq!(answer.header("grpc-status").as_deref(), Some("7"), "{place}");
    }
    let lines = sites.access_log("local", 20);
    assert!(lines.iter().any(|line| {
        line["reason"]
            .as_str()
            .is_some_and(|why| why.contains("no rule allows"))
    }));
}

#[test]
fn i6_the_exporting_site_decides_by_the_original_caller_and_by_rules_of_its_own() {
    let key = SigningKey::new(Algorithm::Es256, "k1");
    let tables = issuer(&format!("jwks = '{}'", key.jwks()))
        + &routes("issuers = ['acme']\noptional = true")
        + "[federation]\nclaims = ['tenant']\n";
    let far = |export: &str| {
        let tables = tables.clone();
        let export = export.to_owned();
        Sites::start_exported(&tables, &export)
    };
    let alice = claims();
    let mut bob = claims();
    bob["sub"] = json!("bob");
    let authorization = |claims: &Value| bearer(&key, claims);

    let sites = far("export_to = [{ site = 'near', callers = ['sub:alice'] }]");
    let (_, at) = sites.entries()[1];
    let call = |sites: &Sites, claims: Option<&Value>| {
        let token = claims.map(&authorization);
        let lines: Vec<_> = token.iter().map(|token| ("authorization", token.as_str())).collect();
        statuses(&everywhere(sites, at, &lines))
    };
    assert_eq!(call(&sites, Some(&alice)), (200, 101, "0".to_owned()));
    assert_eq!(call(&sites, Some(&bob)), (403, 403, "7".to_owned()));
    assert_eq!(call(&sites, None), (403, 403, "7".to_owned()));
    drop(sites);

    let sites = far(
        "export_to = ['near']\nauthorize = { allow = ['peer == \"near\" && principal != null && principal.issuer == \"https://idp.example\" && claims.tenant == \"blue\" && !has(claims.scope)'] }",
    );
    let (_, at) = sites.entries()[1];
    let call = |claims: Option<&Value>| {
        let token = claims.map(&authorization);
        let lines: Vec<_> = token.iter().map(|token| ("authorization", token.as_str())).collect();
        statuses(&everywhere(&sites, at, &lines))
    };
    assert_eq!(call(Some(&alice)), (200, 101, "0".to_owned()));
    assert_eq!(call(Some(&with("tenant", json!("red")))), (403, 403, "7".to_owned()));
    assert_eq!(call(None), (403, 403, "7".to_owned()));
}

/// A WebSocket that is open, once a configuration that lets it in is in force.
fn open(at: SocketAddr, lines: &str) -> TcpStream {
    let began = Instant::now();
    while upgrade(at, "/echo", lines).status != 101 {
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let request = format!(
        "GET /echo HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// The code of the close frame that comes next.
fn close_code(stream: &mut TcpStream) -> u16 {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x88, "a close frame");
    let mut payload = vec![0; usize::from(head[1])];
    stream.read_exact(&mut payload).unwrap();
    u16::from_be_bytes([payload[0], payload[1]])
}

#[test]
fn w8_streams_end_when_their_token_does() {
    let key = SigningKey::new(Algorithm::Es256, "k1");
    let tables = issuer(&format!("jwks = '{}'", key.jwks())) + &routes("issuers = ['acme']");
    let sites = Sites::start("", &tables);
    for (place, at) in sites.entries() {
        let ends = claims()["exp"].as_u64().unwrap() - 600 + 3;
        let began = Instant::now();
        let token = bearer(&key, &with("exp", json!(ends)));
        let mut websocket = open(at, &format!("authorization: {token}\r\n"));
        let request = format!("GET /events?n=1000&ms=100 HTTP/1.1\r\nhost: test\r\nauthorization: {token}\r\n\r\n");
        let events = std::thread::spawn(move || raw(at, request.as_bytes(), true));
        // SleepRequest { for_ms: 20000 }: a call that waits for its reply ends too.
        let grpc = sites.grpc(
            at,
            "/causeway.demo.v1.Chat/Sleep",
            &[8, 0xa0, 0x9c, 1],
            &[("authorization", &token)],
        );
        assert_eq!(grpc.header("grpc-status").as_deref(), Some("16"), "{place}: {grpc:?}");
        assert_eq!(close_code(&mut websocket), 4016, "{place}");
        let events = events.join().unwrap();
        assert_eq!(events.status, 200);
        let taken = began.elapsed();
        assert!(
            taken > Duration::from_millis(1500) && taken < Duration::from_secs(8),
            "{taken:?}"
        );
        let lines = format!("authorization: {}\r\n", bearer(&key, &with("exp", json!(ends - 120))));
        assert_eq!(upgrade(at, "/echo", &lines).status, 401);
    }
}

#[test]
fn w8_a_reload_ends_streams_that_it_would_not_let_in() {
    let key = SigningKey::new(Algorithm::Es256, "k1");
    let tables = |authenticate: &str| issuer(&format!("jwks = '{}'", key.jwks())) + &routes(authenticate);
    let named = |tables: &str| {
        ["grpc", "websocket", "http"]
            .iter()
            .fold(tables.to_owned(), |text, name| {
                text.replace(
                    &format!("[[routes]]\nmatch = {{ path_prefix = '/', protocol = '{name}' }}"),
                    &format!("[[routes]]\nname = 'r-{name}'\nmatch = {{ path_prefix = '/', protocol = '{name}' }}"),
                )
            })
    };
    let before = named(&tables("issuers = ['acme']"));
    let sites = Sites::start("", &before);
    for (_, at) in sites.entries() {
        let line = format!("authorization: {}\r\n", bearer(&key, &claims()));
        let mut first = open(at, &line);
        // Nothing that matters has changed.
        sites.reload(&before);
        first.write_all(&[0x89, 0x80, 0, 0, 0, 0]).unwrap();
        let mut pong = [0; 2];
        first.read_exact(&mut pong).unwrap();
        assert_eq!(pong, [0x8a, 0], "it is open still");

        let rules = named(&tables(
            "issuers = ['acme']\n[routes.authorize]\nallow = ['principal.subject == \"bob\"']",
        ));
        sites.reload(&rules);
        assert_eq!(
            close_code(&mut first),
            1012,
            "what it asked is not known: it may come again"
        );
        sites.reload(&before.replace(
            "issuers = ['acme']",
            "issuers = ['acme']\n[routes.authorize]\nallow = ['principal.subject == \"alice\"']",
        ));
        let mut second = open(at, &line);
        sites.reload(&rules);
        assert_eq!(close_code(&mut second), 1008);
        sites.reload(&before);
        let mut third = open(at, &line);
        let renamed = |tables: &str| tables.replace("r-websocket", "renamed");
        sites.reload(&renamed(&before));
        assert_eq!(close_code(&mut third), 1012, "its route is gone");
        let mut fourth = open(at, &line);
        sites.reload(&renamed(&before.replace("idp.example", "other.example")));
        assert_eq!(close_code(&mut fourth), 4016, "its issuer is not accepted any more");
        sites.reload(&before);
    }
}
