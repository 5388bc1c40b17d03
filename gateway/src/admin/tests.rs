use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[derive(Default)]
struct Gateway {
    problem: Mutex<Option<String>>,
    drained: AtomicBool,
}

impl StatusSource for Gateway {
    fn status(&self) -> serde_json::Value {
        serde_json::json!({ "site": "aws" })
    }

    fn config(&self) -> String {
        "[site]\nname = \"aws\"\n".to_owned()
    }

    fn ready(&self) -> Vec<Check> {
        let problem = self.problem.lock().unwrap().clone();
        let listener = Check {
            name: "listener public".to_owned(),
            problem: None,
        };
        vec![
            listener,
            Check {
                name: "drain".to_owned(),
                problem,
            },
        ]
    }
}

impl Control for Gateway {
    fn reload(&self) -> Outcome<'_> {
        Box::pin(async { Err(serde_json::json!({ "problems": ["routes[0].to: no such service"] })) })
    }

    fn purge(&self, what: &str) -> Outcome<'_> {
        let what = what.to_owned();
        Box::pin(std::future::ready(Ok(serde_json::json!({ "purged": what }))))
    }

    fn drain(&self) -> Outcome<'_> {
        Box::pin(async {
            self.drained.store(true, Ordering::Relaxed);
            Ok(serde_json::json!({ "draining": true }))
        })
    }
}

struct Running {
    admin: Admin,
    gateway: Arc<Gateway>,
    directory: tempfile::TempDir,
}

async fn running() -> Running {
    running_with(None).await
}

async fn running_with(token: Option<&str>) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let gateway = Arc::new(Gateway::default());
    let settings = AdminSettings {
        bind: "127.0.0.1:0".parse().unwrap(),
        metrics_bind: Some("0.0.0.0:0".parse().unwrap()),
        socket: Some(directory.path().join("admin.sock")),
        token: token.map(Secret::new),
        hosts: vec!["Admin.Acme.Example".to_owned()],
    };
    let parts = AdminParts {
        registry: Registry::new(0),
        source: gateway.clone(),
        control: Some(gateway.clone()),
        memory: Some(Memory::new(10)),
    };
    let admin = start(&settings, parts, &Handle::current()).await.unwrap();
    Running {
        admin,
        gateway,
        directory,
    }
}

/// Sends bytes as they are, and gives the status and the whole answer.
async fn raw(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A refused connection may be reset after the answer.
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
        .await
        .unwrap();
    let text = String::from_utf8(answer).unwrap();
    let status = text.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, text)
}

async fn ask(address: SocketAddr, head: &str) -> (u16, String) {
    let stream = TcpStream::connect(("127.0.0.1", address.port())).await.unwrap();
    raw(stream, &format!("{head}\r\nConnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn health_follows_the_gateway() {
    let running = running().await;
    let get = async |path: &str| {
        ask(
            running.admin.address,
            &format!("GET {path} HTTP/1.1\r\nHost: localhost"),
        )
        .await
    };
    *running.gateway.problem.lock().unwrap() = Some("starting\r\nX: y".to_owned());
    assert_eq!(get("/livez").await.0, 200, "not ready is not dead");
    assert_eq!(get("/startupz").await.0, 503);
    let (status, text) = get("/readyz").await;
    assert!(
        status == 503 && text.contains("[-] drain: starting\u{fffd}\u{fffd}X: y\nnot ready\n"),
        "{text}"
    );
    assert!(!text.contains("[+]"));

    *running.gateway.problem.lock().unwrap() = None;
    let (status, text) = get("/readyz?verbose").await;
    assert!(
        status == 200 && text.contains("[+] listener public\n[+] drain\nok\n"),
        "{text}"
    );
    *running.gateway.problem.lock().unwrap() = Some("draining".to_owned());
    assert_eq!(get("/readyz").await.0, 503);
    assert_eq!(get("/startupz").await.0, 200, "it has started, whatever comes after");
}

#[tokio::test]
async fn status_traces_and_metrics_are_served() {
    let running = running().await;
    let get = async |line: &str| ask(running.admin.address, &format!("{line}\r\nHost: 127.0.0.1:9000")).await;
    let (status, text) = get("GET /status HTTP/1.1").await;
    assert!(status == 200 && text.contains("\"site\": \"aws\""), "{text}");
    let (status, text) = get("GET /config HTTP/1.1").await;
    assert!(status == 200 && text.contains("name = \"aws\""), "{text}");
    let (status, text) = get("GET /traces HTTP/1.1").await;
    assert!(status == 200 && text.contains("{\"spans\":[]}"), "{text}");
    let (status, text) = get("GET /metrics HTTP/1.1").await;
    assert!(
        status == 200 && text.contains("text/plain; version=0.0.4") && text.contains("# TYPE"),
        "{text}"
    );
    let (_, text) = get("GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0").await;
    assert!(
        text.contains("application/openmetrics-text; version=1.0.0") && text.ends_with("# EOF\n"),
        "{text}"
    );
    let (status, text) = get("HEAD /status HTTP/1.1").await;
    assert!(
        status == 200 && text.ends_with("\r\n\r\n"),
        "a HEAD has no body: {text}"
    );
    assert_eq!(get("GET /nothing HTTP/1.1").await.0, 404);
}

#[tokio::test]
async fn s15_the_admin_port_answers_only_to_names_of_this_machine() {
    let running = running().await;
    #[rustfmt::skip]
    let table = [
        ("Host: localhost",                                      200),
        ("Host: LOCALHOST:9000",                                 200),
        ("Host: 127.0.0.1",                                      200),
        ("Host: 127.8.8.8:1",                                    200),
        ("Host: [::1]:9000",                                     200),
        ("Host: admin.acme.example:80",                          200),
        ("Host: localhost\r\nOrigin: http://localhost:3000",     200),
        ("Host: evil.example",                                   403),
        ("Host: evil.example:9000",                              403),
        ("Host: localhost.evil.example",                         403),
        ("Host: 127.0.0.1.evil.example",                         403),
        ("Host: 10.0.0.1",                                       403),
        ("Host: localhost:x",                                    403),
        ("Host: localhost@evil.example",                         403),
        ("Host: [::1]evil",                                      403),
        ("Host: ",                                               403),
        ("X-Host: localhost",                                    403),
        ("Host: localhost\r\nHost: evil.example",                403),
        ("Host: localhost\r\nOrigin: http://evil.example",       403),
        ("Host: localhost\r\nOrigin: null",                      403),
    ];
    for (fields, wanted) in table {
        let (status, text) = ask(running.admin.address, &format!("GET /status HTTP/1.1\r\n{fields}")).await;
        assert_eq!(status, wanted, "{fields}: {text}");
        assert_eq!(text.contains("\"aws\""), wanted == 200, "{fields}");
    }
    let target = "GET http://evil.example/status HTTP/1.1\r\nHost: localhost";
    assert_eq!(ask(running.admin.address, target).await.0, 403);
}

#[tokio::test]
async fn s15_nothing_is_changed_over_tcp() {
    let running = running().await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "GET"] {
        for path in ["/reload", "/drain"] {
            let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0");
            assert_eq!(ask(running.admin.address, &head).await.0, 403, "{method} {path}");
        }
    }
    assert!(!running.gateway.drained.load(Ordering::Relaxed));
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let head = format!("{method} /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0");
        let (status, text) = ask(running.admin.address, &head).await;
        assert!(
            status == 405 && text.to_ascii_lowercase().contains("allow: get, head"),
            "{method}: {text}"
        );
    }
}

#[tokio::test]
async fn s15_a_change_over_tcp_takes_the_token_and_a_json_body_and_a_host_of_this_machine() {
    const TOKEN: &str = "0123456789abcdef-token";
    let running = running_with(Some(TOKEN)).await;
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let json = "Content-Type: application/json";
    let long = format!("{{}}{}", " ".repeat(5000));
    let wrong = [
        "",
        "Authorization: Bearer",
        "Authorization: Bearer ",
        "Authorization: Bearer 0123456789abcdef-tokem",
        "Authorization: Bearer 0123456789abcdef-token2",
        "Authorization: Basic 0123456789abcdef-token",
        "Authorization: 0123456789abcdef-token",
        "X-Authorization: Bearer 0123456789abcdef-token",
    ];
    let twice = format!("{bearer}\r\n{bearer}");
    let mut table: Vec<(String, &str, u16)> = Vec::new();
    for credentials in wrong.into_iter().chain([twice.as_str()]) {
        let line = if credentials.is_empty() {
            String::new()
        } else {
            format!("{credentials}\r\n")
        };
        table.push((
            format!("POST /drain HTTP/1.1\r\nHost: localhost\r\n{line}{json}"),
            "{}",
            401,
        ));
    }
    #[rustfmt::skip]
    let with_it = [
        ("GET", "Host: localhost", json, "{}", 405),
        ("POST", "Host: evil.example", json, "{}", 403),
        ("POST", "Host: localhost\r\nOrigin: https://evil.example", json, "{}", 403),
        ("POST", "Host: localhost", "Content-Type: text/plain", "{}", 415),
        ("POST", "Host: localhost", "Content-Type: application/x-www-form-urlencoded", "{}", 415),
        ("POST", "Host: localhost", "X-Content-Type: application/json", "{}", 415),
        ("POST", "Host: localhost", "Content-Type: application/json\r\nContent-Type: application/json", "{}", 415),
        ("POST", "Host: localhost", json, "", 400),
        ("POST", "Host: localhost", json, "[]", 400),
        ("POST", "Host: localhost", json, "{}{}", 400),
        ("POST", "Host: localhost", json, "{\"force\": true}", 400),
        ("POST", "Host: localhost", json, &long, 413),
    ];
    for (method, host, kind, body, status) in with_it {
        table.push((
            format!("{method} /drain HTTP/1.1\r\n{host}\r\n{bearer}\r\n{kind}"),
            body,
            status,
        ));
    }
    for (head, body, wanted) in &table {
        let head = format!("{head}\r\nContent-Length: {}", body.len());
        let stream = TcpStream::connect(running.admin.address).await.unwrap();
        let (status, text) = raw(stream, &format!("{head}\r\nConnection: close\r\n\r\n{body}")).await;
        assert_eq!(status, *wanted, "{head}\n{body}: {text}");
        assert!(!text.contains(TOKEN), "the token is never said");
    }
    assert!(!running.gateway.drained.load(Ordering::Relaxed));
    let head =
        format!("POST /drain HTTP/1.1\r\nHost: localhost\r\n{bearer}\r\n{json}; charset=utf-8\r\nContent-Length: 2");
    let stream = TcpStream::connect(running.admin.address).await.unwrap();
    let (status, text) = raw(stream, &format!("{head}\r\nConnection: close\r\n\r\n{{}}")).await;
    assert!(status == 200 && text.contains("draining"), "{text}");
    assert!(running.gateway.drained.load(Ordering::Relaxed));
    let (_, text) = ask(running.admin.address, "GET /metrics HTTP/1.1\r\nHost: localhost").await;
    // A Host that is not ours never gets so far.
    let refused = table.iter().filter(|(_, _, status)| *status != 403).count();
    for line in [
        format!("causeway_admin_changes_total{{change=\"drain\",result=\"refused\"}} {refused}"),
        "causeway_admin_changes_total{change=\"drain\",result=\"success\"} 1".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}: {text}");
    }
}

#[tokio::test]
async fn s15_the_socket_takes_changes_and_is_its_owners_alone() {
    let running = running().await;
    let path = running.directory.path().join("admin.sock");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let files = std::fs::read_dir(running.directory.path()).unwrap().count();
    assert_eq!(files, 1, "the hidden directory is gone");
    let send = async |head: &str| {
        let stream = UnixStream::connect(&path).await.unwrap();
        raw(
            stream,
            &format!("{head}\r\nHost: causeway\r\nConnection: close\r\n\r\n"),
        )
        .await
    };
    assert_eq!(send("GET /drain HTTP/1.1").await.0, 405);
    assert!(!running.gateway.drained.load(Ordering::Relaxed));
    assert_eq!(send("POST /drain HTTP/1.1").await.0, 200);
    assert!(running.gateway.drained.load(Ordering::Relaxed));
    let (status, text) = send("POST /reload HTTP/1.1").await;
    assert!(status == 422 && text.contains("no such service"), "{text}");
    assert_eq!(send("GET /status HTTP/1.1").await.0, 200);
    drop(running.admin);
    assert!(!path.exists());
}

#[tokio::test]
async fn s15_the_metrics_port_has_metrics_and_nothing_else() {
    let running = running().await;
    let address = running.admin.metrics_address.unwrap();
    assert_eq!(
        ask(address, "GET /metrics HTTP/1.1\r\nHost: gw.acme.example").await.0,
        200
    );
    for path in [
        "/",
        "/status",
        "/livez",
        "/readyz",
        "/traces",
        "/reload",
        "/drain",
        "/metrics/",
        "//metrics",
    ] {
        assert_eq!(
            ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x")).await.0,
            404,
            "{path}"
        );
    }
    assert_eq!(
        ask(address, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0")
            .await
            .0,
        405
    );
}

#[tokio::test]
async fn s15_an_address_that_is_not_loopback_is_refused() {
    let gateway = Arc::new(Gateway::default());
    let parts = AdminParts {
        registry: Registry::new(0),
        source: gateway,
        control: None,
        memory: None,
    };
    for bind in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let settings = AdminSettings {
            bind: bind.parse().unwrap(),
            metrics_bind: None,
            socket: None,
            token: None,
            hosts: vec![],
        };
        let error = start(&settings, parts.clone(), &Handle::current()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bind}: {error}");
    }
}

#[tokio::test]
async fn a_socket_of_a_dead_gateway_is_replaced_and_that_of_a_living_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let (listener, file) = socket::bind(&path).unwrap();
    assert_eq!(socket::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    drop((listener, file));
    std::fs::write(&path, "precious").unwrap();
    assert_eq!(socket::bind(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn s15_heads_and_connections_are_bounded() {
    let running = running().await;
    let long = "x".repeat(20_000);
    let (status, _) = ask(
        running.admin.address,
        &format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {long}"),
    )
    .await;
    assert_eq!(status, 431);
    let many = (0..100).map(|n| format!("\r\nX-{n}: y")).collect::<String>();
    let (status, _) = ask(
        running.admin.address,
        &format!("GET /livez HTTP/1.1\r\nHost: localhost{many}"),
    )
    .await;
    assert_eq!(status, 431);

    // All places taken by clients that say nothing; the next is served as soon as one of them goes.
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        idle.push(TcpStream::connect(running.admin.address).await.unwrap());
    }
    let waiting = ask(running.admin.address, "GET /livez HTTP/1.1\r\nHost: localhost");
    tokio::pin!(waiting);
    assert!(
        tokio::time::timeout(Duration::from_millis(100), &mut waiting)
            .await
            .is_err()
    );
    idle.pop();
    assert_eq!(waiting.await.0, 200);
}
