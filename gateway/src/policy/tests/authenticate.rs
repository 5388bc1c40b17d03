//! Tokens and keys, in every protocol, at one gateway and at a pair.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use causeway_config::Algorithm;
use serde_json::{Value, json};

use super::super::testing::{Answer, Sites, http, upgrade};
use crate::authentication::api_keys;
use crate::authentication::testing::{KeyServer, SigningKey};

pub(super) const COUNT: &str = "/causeway.demo.v1.Chat/Count";

pub(super) fn claims() -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    json!({
        "iss": "https://idp.example", "aud": "orders", "sub": "alice", "exp": now.as_secs() + 600,
        "scope": "orders.read", "tenant": "blue",
    })
}

pub(super) fn issuer(keys: &str) -> String {
    format!(
        "
[[issuers]]
name = 'acme'
issuer = 'https://idp.example'
audiences = ['orders']
algorithms = ['ES256']
{keys}
"
    )
}

pub(super) fn routes(authenticate: &str) -> String {
    ["grpc", "websocket", "http"]
        .map(|protocol| {
            format!(
                "
[[routes]]
match = {{ path_prefix = '/', protocol = '{protocol}' }}
to = 'demo-{protocol}@@'
[routes.authenticate]
{authenticate}
"
            )
        })
        .concat()
}

/// The same call in every protocol: refused or not is what counts.
pub(super) fn everywhere(sites: &Sites, at: SocketAddr, lines: &[(&str, &str)]) -> [Answer; 3] {
    let text: String = lines
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    [
        http(at, "GET", "/x", &text, b""),
        upgrade(at, "/echo", &text),
        sites.grpc(at, COUNT, b"", lines),
    ]
}

pub(super) fn statuses(answers: &[Answer; 3]) -> (u16, u16, String) {
    let grpc = answers[2].header("grpc-status").unwrap_or_default();
    (answers[0].status, answers[1].status, grpc)
}

#[test]
fn a1_only_who_proves_who_it_is_gets_through_in_every_protocol() {
    let key = SigningKey::new(Algorithm::Es256, "k1");
    let server = KeyServer::start(&key.jwks());
    let api_key = api_keys::make().unwrap();
    let consumers = format!(
        "[[consumers]]\nname = 'shop'\nplan = 'gold'\nkeys = ['{}']\n",
        api_keys::shown_digest(&api_key)
    );
    let tables = issuer(&format!("jwks_url = '{}'", server.url))
        + &consumers
        + &routes(
            "issuers = ['acme']\napi_key = { query = 'key' }\nrealm = 'acme'\nclaims_to_headers = { x-user = 'sub', x-tenant = 'tenant' }\ntoken_from = ['authorization', 'query:token', 'subprotocol']",
        );
    let sites = Sites::start("", &tables);
    let good = format!("Bearer {}", key.token(&claims()));
    let forged = format!("Bearer {}", SigningKey::new(Algorithm::Es256, "k1").token(&claims()));
    for (place, at) in sites.entries() {
        let answers = everywhere(&sites, at, &[]);
        assert_eq!(statuses(&answers), (401, 401, "16".to_owned()), "{place}");
        for answer in &answers {
            let challenge = answer.header("www-authenticate").unwrap();
            assert_eq!(challenge, "Bearer realm=\"acme\", ApiKey realm=\"acme\"");
        }
        for bad in [
            &forged,
            "Bearer x",
            &format!("{good}x"),
            &format!("Bearer {}", "x".repeat(20_000)),
        ] {
            let answers = everywhere(&sites, at, &[("authorization", bad)]);
            assert_eq!(statuses(&answers), (401, 401, "16".to_owned()), "{place} {bad}");
            let challenge = answers[0].header("www-authenticate").unwrap();
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
            assert!(!answers[0].text().contains("signature"), "the reason is not told");
        }
        let answers = everywhere(
            &sites,
            at,
            &[
                ("authorization", &good),
                ("x-user", "root"),
                ("x_tenant", "red"),
                ("accept", "a"),
            ],
        );
        assert_eq!(statuses(&answers), (200, 101, "0".to_owned()), "{place}");
        let seen = &answers[0].json()["headers"];
        assert_eq!(
            (&seen["x-user"], &seen["x-tenant"]),
            (&json!(["alice"]), &json!(["blue"])),
            "{seen}"
        );
        assert_eq!(
            (&seen["authorization"], &seen["x_tenant"]),
            (&Value::Null, &Value::Null)
        );

        let answers = everywhere(&sites, at, &[("x-api-key", &api_key)]);
        assert_eq!(statuses(&answers), (200, 101, "0".to_owned()), "{place}");
        let seen = &answers[0].json()["headers"];
        assert_eq!(
            (&seen["x-user"], &seen["x-api-key"]),
            (&json!(["shop"]), &Value::Null),
            "{seen}"
        );
        let answers = everywhere(&sites, at, &[("x-api-key", "cwk_wrong")]);
        assert_eq!(statuses(&answers), (401, 401, "16".to_owned()), "{place}");

        let answer = http(at, "GET", &format!("/x?a=1&key={api_key}&token=&b=2"), "", b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(!answer.text().contains("cwk_"), "{answer:?}");

        let token = key.token(&claims());
        let offered = format!("sec-websocket-protocol: bearer, {token}\r\n");
        let answer = upgrade(at, "/echo", &offered);
        assert_eq!(
            (answer.status, answer.header("sec-websocket-protocol")),
            (101, Some("bearer".to_owned()))
        );
        let answer = upgrade(
            at,
            "/echo",
            &format!("sec-websocket-protocol: bearer, {token}, chat.v1\r\n"),
        );
        assert_eq!(answer.status, 101);
        assert_ne!(answer.header("sec-websocket-protocol").as_deref(), Some("bearer"));
    }
    let lines = sites.access_log("local", 10);
    let refused = lines.iter().find(|line| line["failure"] == "unauthenticated").unwrap();
    assert!(refused["reason"].as_str().unwrap().contains("credentials"), "{refused}");
    assert!(lines.iter().any(|line| line["principal"] == "alice"));
    let text = serde_json::to_string(&lines).unwrap();
    assert!(!text.contains("cwk_") && !text.contains("eyJ"), "{text}");
}

#[test]
fn a2_a_rotated_key_is_fetched_once_and_an_outage_changes_nothing() {
    let old = SigningKey::new(Algorithm::Es256, "old");
    let server = KeyServer::start(&old.jwks());
    let tables = issuer(&format!("jwks_url = '{}'", server.url)) + &routes("issuers = ['acme']");
    let sites = Sites::start("", &tables);
    let (_, at) = sites.entries()[0];
    let call = |token: &str| http(at, "GET", "/x", &format!("authorization: Bearer {token}\r\n"), b"").status;
    assert_eq!(call(&old.token(&claims())), 200);
    let before = server.asked();

    let new = SigningKey::new(Algorithm::Es256, "new");
    server.serve(&json!({ "keys": [old.jwk(), new.jwk()] }).to_string());
    assert_eq!(call(&new.token(&claims())), 200, "an unknown key has the set fetched");
    assert_eq!(server.asked(), before + 1);
    assert_eq!(call(&old.token(&claims())), 200, "both are good for a while");

    // A flood of keys that nobody has: no fetch at all within the cool-down.
    for n in 0..200 {
        let unknown = SigningKey::new(Algorithm::Es256, &format!("unknown-{n}"));
        assert_eq!(call(&unknown.token(&claims())), 401);
    }
    assert_eq!(server.asked(), before + 1);

    server.answer_with("");
    assert_eq!(call(&new.token(&claims())), 200);
    assert_eq!(call(&old.token(&claims())), 200);
}

#[test]
fn a2_without_any_keys_calls_are_told_to_come_again_and_other_routes_go_on() {
    let key = SigningKey::new(Algorithm::Es256, "k1");
    for bad in [
        "",
        "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>",
        "HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n{\"keys\":[",
    ] {
        let server = KeyServer::start(&key.jwks());
        server.answer_with(bad);
        let open = "\n[[routes]]\nmatch = { path_prefix = '/open' }\nto = 'demo-http@@'\n";
        let tables = issuer(&format!("jwks_url = '{}'", server.url)) + &routes("issuers = ['acme']") + open;
        let sites = Sites::start("", &tables);
        let (_, at) = sites.entries()[0];
        let token = key.token(&claims());
        let lines = format!("authorization: Bearer {token}\r\n");
        let waiting = std::thread::spawn(move || http(at, "GET", "/x", &lines, b""));
        assert_eq!(http(at, "GET", "/open", "", b"").status, 200, "{bad}");
        let answer = waiting.join().unwrap();
        assert_eq!(answer.status, 503, "{bad}: {answer:?}");
        assert_eq!(answer.json()["code"], "unverifiable");
        assert!(answer.header("retry-after").is_some());
        // It heals by itself.
        server.serve(&key.jwks());
        let began = std::time::Instant::now();
        let lines = format!("authorization: Bearer {token}\r\n");
        while http(at, "GET", "/x", &lines, b"").status != 200 {
            assert!(began.elapsed() < Duration::from_secs(20));
        }
    }
}

#[test]
fn a3_what_one_issuer_or_audience_accepts_is_nothing_to_another() {
    let key = SigningKey::new(Algorithm::Es256, "k1");
    let keys = format!("jwks = '{}'", key.jwks());
    let tables = issuer(&keys)
        + &issuer(&keys)
            .replace("acme", "other-audience")
            .replace("'orders'", "'stock'")
        + &issuer(&keys)
            .replace("acme", "other-issuer")
            .replace("idp.example", "evil.example")
        + "
[[routes]]
match = { path_prefix = '/acme' }
to = 'demo-http@@'
authenticate = { issuers = ['acme'] }
[[routes]]
match = { path_prefix = '/stock' }
to = 'demo-http@@'
authenticate = { issuers = ['other-audience'] }
[[routes]]
match = { path_prefix = '/evil' }
to = 'demo-http@@'
authenticate = { issuers = ['other-issuer'] }
[[routes]]
match = { path_prefix = '/optional' }
to = 'demo-http@@'
authenticate = { issuers = ['acme'], optional = true, claims_to_headers = { x-user = 'sub' } }
[[routes]]
match = { path_prefix = '/dry' }
to = 'demo-http@@'
authenticate = { issuers = ['acme'], dry_run = true }
";
    let sites = Sites::start("", &tables);
    for (place, at) in sites.entries() {
        let call = |path: &str, lines: &str| http(at, "GET", path, lines, b"");
        let token = format!("authorization: Bearer {}\r\n", key.token(&claims()));
        // Twice: what was remembered of it is no answer elsewhere either.
        for _ in 0..2 {
            for (path, status) in [("/acme", 200), ("/stock", 401), ("/evil", 401)] {
                assert_eq!(call(path, &token).status, status, "{place} {path}");
            }
        }
        let answer = call("/optional", "x-user: root\r\n");
        assert_eq!(
            (answer.status, &answer.json()["headers"]["x-user"]),
            (200, &Value::Null),
            "{answer:?}"
        );
        assert_eq!(call("/optional", &token).json()["headers"]["x-user"], json!(["alice"]));
        assert_eq!(
            call("/optional", "authorization: Bearer x\r\n").status,
            401,
            "wrong is not nothing"
        );
        assert_eq!(call("/dry", "").status, 200);
    }
    let lines = sites.access_log("local", 10);
    assert!(lines.iter().any(|line| line["would_be_refused"] == "authenticate"));
}
