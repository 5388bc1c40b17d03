//! What loads, and what comes out.

use std::time::Duration;

use super::*;
use crate::*;

#[test]
fn the_example_of_the_design_loads() {
    let folder = folder();
    let file = write(folder.path(), "aws.toml", EXAMPLE);
    let config = load_with(std::slice::from_ref(&file), &[], &[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(&*config.site.name, "aws");
    assert_eq!(config.site.trust_domain.as_str(), "aws.acme.example");
    assert_eq!(
        config.identity.as_ref().unwrap().certificate,
        folder.path().join("pki/gateway.crt")
    );
    assert_eq!(config.listeners[0].bind, "0.0.0.0:8080".parse().unwrap());
    assert!(config.listeners[0].websocket);
    assert_eq!(config.federation.window, 65_536);
    let name = "_causeway._tcp.gw.azure.acme.example".to_owned();
    assert_eq!(config.peers[0].discover, Some(Discover::Srv { name }));
    let orders = &config.services[0];
    assert_eq!((orders.protocol, orders.version), (Protocol::Grpc, HttpVersion::Http2));
    assert_eq!(
        orders.endpoints,
        Discover::Dns {
            host: "orders.internal".to_owned(),
            port: 50_051
        }
    );
    assert_eq!(orders.schema, Some(Schema::Reflection));
    assert_eq!(
        orders.export_to,
        [Export {
            site: "azure".into(),
            callers: Vec::new()
        }]
    );
    assert_eq!(orders.timeouts.total, Some(Duration::from_secs(30)));
    let route = &config.routes[0];
    assert_eq!(&*route.name, "api.acme.example-v1-orders-rest");
    assert_eq!(route.matches.methods, ["GET", "POST"]);
    let literal = |text: &str| Segment::Literal(text.to_owned());
    let Some(PathMatch::Pattern(segments)) = &route.matches.path else {
        panic!("{:?}", route.matches)
    };
    assert_eq!(
        *segments,
        [literal("v1"), literal("orders"), Segment::Rest("rest".to_owned())]
    );
}

#[test]
fn every_short_and_long_form_is_understood() {
    let text = r#"
workers = 4
[identity]
certificate = "Cargo.toml"
private_key = "Cargo.toml"
trust_bundles = "src"
[federation]
bind = "[::]:7443"
[[peers]]
site = "azure"
trust_domain = "azure.example"
[[listeners]]
name = "secure"
bind = "127.0.0.1:0"
tls = { certificate = "Cargo.toml", private_key = "Cargo.toml" }
trusted_proxies = ["10.0.0.0/8", "::1"]
websocket = false
[[listeners]]
name = "more"
bind = "127.0.0.1:0"
tls = { certificates = [{ certificate = "Cargo.toml", private_key = "Cargo.toml" }] }
[[services]]
name = "a"
protocol = "http"
endpoints = "10.0.0.1:80"
balance = "least-connections"
timeouts = { total = "0s", per_try = "250ms" }
retry = { attempts = 3, budget_percent = "10%" }
export_to = [{ site = "azure", callers = ["spiffe://azure.example/web", "sub:alice"] }]
tls = {}
[[services]]
name = "b"
protocol = "websocket"
endpoints = ["10.0.0.1:80", { address = "10.0.0.2:80", weight = 3, priority = 1 }]
[[routes]]
match = { path = "/x/{id}", headers = { X-A = "1", x-b = { present = true } }, query = { q = { regex = "[0-9]+" } } }
to = [{ service = "a", weight = 90 }, { service = "b@azure", weight = 10 }]
rewrite = "/y/{id}"
timeout = "1m30s"
retry = { attempts = 1 }
max_body = "10MiB"
[[routes]]
match = { path_prefix = "/api/", protocol = "websocket" }
to = "b"
strip_prefix = "/api"
origins = ["https://App.example", "*.example.com"]
[[routes]]
match = { path_regex = "/r/(?P<n>.*)" }
redirect = { location = "https://example.com/{n}?{query}" }
[[routes]]
match = { grpc = "shop.Orders/Get" }
fixed = { status = 503, headers = { Retry-After = "1" }, body = "later" }
[telemetry]
otlp_endpoint = "http://collector:4317"
otlp_headers = { Authorization = "Bearer abc" }
sample_ratio = "25%"
access_log = { file = "access.log" }
"#;
    let least = LEAST.split_once("listeners").unwrap().0;
    let config = load_str("c.toml", &format!("{least}{text}")).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.workers.map(usize::from), Some(4));
    assert_eq!(
        config.listeners[0].trusted_proxies[0],
        Cidr {
            address: "10.0.0.0".parse().unwrap(),
            prefix: 8
        }
    );
    assert_eq!(config.listeners[1].tls.as_ref().unwrap().certificates.len(), 1);
    let a = &config.services[0];
    assert_eq!(
        (a.timeouts.total, a.timeouts.per_try),
        (None, Some(Duration::from_millis(250)))
    );
    assert_eq!(
        a.retry,
        Retry {
            attempts: 3,
            budget_percent: 10,
            ..Retry::DEFAULT
        }
    );
    assert_eq!((a.balance, a.version), (Balance::LeastRequest, HttpVersion::Http1));
    assert_eq!(a.export_to[0].callers.len(), 2);
    let Discover::Static(endpoints) = &config.services[1].endpoints else {
        panic!()
    };
    assert_eq!(
        (endpoints[0].weight, endpoints[1].weight, endpoints[1].priority),
        (1, 3, 1)
    );
    let [split, strip, redirect, fixed] = &config.routes[..] else {
        panic!()
    };
    let Destination::Split(targets) = &split.to else {
        panic!()
    };
    assert_eq!(
        targets[1].service,
        ServiceRef {
            service: "b".into(),
            site: Some("azure".into())
        }
    );
    assert_eq!(split.matches.headers[0].0, "x-a");
    assert_eq!(split.timeout, Some(Duration::from_secs(90)));
    assert_eq!(split.max_body, Some(10 << 20));
    assert_eq!(strip.rewrite, Some(Rewrite::StripPrefix("/api".to_owned())));
    assert!(matches!(&strip.matches.path, Some(PathMatch::Prefix(prefix)) if prefix == "/api"));
    assert_eq!(strip.origins, ["https://app.example", "*.example.com"]);
    assert!(matches!(redirect.to, Destination::Redirect { status: 308, .. }));
    assert!(matches!(fixed.to, Destination::Fixed { status: 503, .. }));
    assert!((config.telemetry.sample_ratio - 0.25).abs() < 1e-9);
    assert_eq!(
        config.telemetry.otlp_headers,
        [("authorization".to_owned(), Secret::new("Bearer abc"))]
    );
}

#[test]
fn a_path_regex_matches_the_whole_path_only() {
    let config = load_str(
        "c",
        &format!("{LEAST}[[routes]]\nmatch = {{ path_regex = '/a|/b' }}\nfixed = {{}}"),
    )
    .unwrap();
    let Some(PathMatch::Regex(regex)) = &config.routes[0].matches.path else {
        panic!()
    };
    assert!(regex.is_match("/a") && regex.is_match("/b") && !regex.is_match("/ab") && !regex.is_match("/x/b"));
}

#[test]
fn routes_without_a_name_get_different_ones() {
    let route = "[[routes]]\nmatch = { path = '/a' }\nfixed = {}\n";
    let config = load_str(
        "c",
        &format!("{LEAST}{route}{route}[[routes]]\nname = 'a-3'\nfixed = {{}}\n{route}"),
    )
    .unwrap();
    let names: Vec<&str> = config.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["a", "a-2", "a-3", "a-4"]);
}

#[test]
fn the_environment_lies_over_files_and_arguments_over_both() {
    let folder = tempfile::tempdir().unwrap();
    let first = write(
        folder.path(),
        "a.toml",
        &format!("{LEAST}[limits]\nhead = '16KiB'\nfields = 50\n"),
    );
    let second = write(
        folder.path(),
        "b.toml",
        "[limits]\nfields = 60\n[dns]\nservers = ['10.0.0.1']",
    );
    let environment = [
        ("CAUSEWAY_LIMITS__HEAD", "24KiB"),
        ("CAUSEWAY_LIMITS__TARGET", "4096"),
        ("CAUSEWAY_WORKERS", "3"),
        ("CAUSEWAY_CONFIG", "a.toml"),
        ("CAUSEWAY_TELEMETRY__OTLP_HEADERS__X_KEY", "00123"),
        ("CAUSEWAY_DNS__SERVERS", "['10.0.0.2', '10.0.0.3:5353']"),
        ("PATH", "/bin"),
    ];
    let arguments = [("limits.head", "28KiB"), ("site.name", "42")];
    let config = load_with(&[first, second], &environment, &arguments).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        (config.limits.head, config.limits.target, config.limits.fields),
        (28 << 10, 4096, 60)
    );
    assert_eq!(config.limits.handshakes, 1024, "a default");
    assert_eq!(config.workers.map(usize::from), Some(3));
    assert_eq!(&*config.site.name, "42");
    assert_eq!(config.telemetry.otlp_headers[0].1.expose(), "00123");
    assert_eq!(
        config.dns.servers,
        ["10.0.0.2:53".parse().unwrap(), "10.0.0.3:5353".parse().unwrap()]
    );
}

#[test]
fn files_beside_the_first_are_joined_to_it() {
    let folder = folder();
    let main = write(folder.path(), "main.toml", EXAMPLE);
    let peer = "[[peers]]\nsite = 'gcp'\ntrust_domain = 'gcp.example'\n";
    let peers = write(folder.path(), "peers.d/gcp.toml", peer);
    let service = "[[services]]\nname = 'b'\nprotocol = 'http'\nendpoints = '10.0.0.1:80'\nexport_to = ['gcp']\n";
    let services = write(
        folder.path(),
        "conf.d/b.toml",
        &format!("{service}tls = {{ roots = 'roots.pem' }}\n"),
    );
    let roots = write(folder.path(), "conf.d/roots.pem", "");
    write(folder.path(), "conf.d/b.toml~", "not for us");
    let config = load(&[main.clone(), main.clone()], &[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.sources, [main, services, peers]);
    assert_eq!((config.peers.len(), config.services.len()), (2, 2));
    assert_eq!(config.services[1].tls.as_ref().unwrap().roots, Some(roots));
    let pattern = load(&[folder.path().join("m*n.toml")], &[]).unwrap();
    assert_eq!(pattern.peers.len(), 2);
    let whole = load(&[folder.path().to_owned()], &[]).unwrap();
    assert_eq!(whole.peers.len(), 2);
}

#[test]
fn what_is_in_force_can_be_printed_and_read_again() {
    let folder = folder();
    let file = write(folder.path(), "aws.toml", EXAMPLE);
    let printed = render_effective(
        &[file],
        &[(
            "telemetry.otlp_headers.authorization".to_owned(),
            "Bearer hush".to_owned(),
        )],
    )
    .unwrap();
    assert!(
        printed.contains("max_hops = 4") && printed.contains("name = \"orders\""),
        "{printed}"
    );
    assert!(
        printed.contains("authorization = \"[redacted]\"") && !printed.contains("hush"),
        "{printed}"
    );
    load_str("printed.toml", &printed).unwrap_or_else(|problems| panic!("{problems}\n{printed}"));
}

#[test]
fn secrets_are_in_nothing_that_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{LEAST}[telemetry]\notlp_headers = {{ authorization_file = 'token', x-key = 'hush' }}\n");
    let file = write(folder.path(), "a.toml", &text);
    write(folder.path(), "token", "hush hush\n");
    let config = load_with(std::slice::from_ref(&file), &[], &[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        config.telemetry.otlp_headers[0],
        ("authorization".to_owned(), Secret::new("hush hush"))
    );
    assert!(!format!("{config:?}{:#?}", config.telemetry).contains("hush"));
    assert!(!render_effective(&[file], &[]).unwrap().contains("hush"));
    for wrong in [
        "otlp_headers = 'hush'",
        "otlp_headers = { a = ['hush'] }",
        "otlp_headers = { a = { b = 'hush' } }",
        "otlp_headers = { a = 'hu\\u0000sh' }",
        "otlp_header = { a = 'hush' }",
        "queue = 'hush'",
        "otlp_endpoint = 'http://me:hush@host'",
        "sample_ratio = 'hush'",
    ] {
        let told = told(&format!(
            "[telemetry]\n{}\n",
            wrong.replace("'hu\\u0000sh'", "\"hu\\u0000sh\"")
        ));
        assert!(told.starts_with("configuration has 1 problem"), "{wrong}: {told}");
        assert!(!told.contains("hush") && !told.contains("hu\\"), "{told}");
    }
}

#[test]
fn the_example_of_the_readme_loads() {
    let readme = include_str!("../../README.md");
    let text = readme
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    load_str("README.md", text).unwrap_or_else(|problems| panic!("{problems}"));
}
