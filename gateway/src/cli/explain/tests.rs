use super::*;

const CONFIG: &str = r#"
[site]
name = "aws"
trust_domain = "aws.acme.example"

[identity]
certificate = "PKI/gateway.crt"
private_key = "PKI/gateway.key"
trust_bundles = "PKI/bundles"

[[listeners]]
name = "public"
bind = "127.0.0.1:0"

[[peers]]
site = "azure"
trust_domain = "azure.acme.example"
discover = "dns:gw.azure.acme.example:7443"

[[services]]
name = "orders"
protocol = "http"
endpoints = ["10.0.0.1:80", "10.0.0.2:80"]

[[routes]]
name = "one"
match = { host = "api.acme.example", path = "/v1/orders/{id}", methods = ["GET"] }
rewrite = "/o/{id}"
to = [{ service = "orders", weight = 90 }, { service = "orders@azure", weight = 10 }]

[[routes]]
name = "all"
match = { host = "api.acme.example", path_prefix = "/v1" }
to = "orders@azure"

[[routes]]
name = "chat"
match = { grpc = "demo.Chat" }
to = "chat@azure"

[[routes]]
name = "sockets"
match = { path = "/ws", protocol = "websocket" }
to = "orders"

[[routes]]
name = "old"
match = { path = "/old/{rest*}" }
redirect = { location = "https://{host}/new/{rest*}" }
"#;

/// The configuration, with certificates that are there.
fn config() -> Config {
    let folder = tempfile::tempdir().unwrap();
    crate::demo::sites::certificates(folder.path()).unwrap();
    let text = CONFIG.replace("PKI", &folder.path().join("aws").display().to_string());
    causeway_config::load_str("t.toml", &text).unwrap_or_else(|error| panic!("{error}"))
}

fn explained(method: &str, url: &str, config: &Config) -> Told {
    let head = head(method, url, &[], config).unwrap_or_else(|mistake| panic!("{}", mistake.text));
    told(&head, config)
}

#[test]
fn a_request_is_told_its_route_and_where_it_goes() {
    #[rustfmt::skip]
    let table: &[(&str, &str, &[&str])] = &[
        ("GET", "http://api.acme.example/v1/orders/7?q=1", &[
            "routes[0] `one`", "id = 7", "`orders` here: http at 10.0.0.1:80, 10.0.0.2:80 (90%)",
            "`orders` at site `azure`, if it exports it to us; we dial dns:gw.azure.acme.example:7443 (10%)",
            "as        /o/7?q=1", "instead of routes[1] `all`",
        ]),
        ("POST", "https://api.acme.example/v1/orders/7", &["routes[1] `all`", "path_prefix = \"/v1\""]),
        ("POST", "grpc://any/demo.Chat/Say", &["(grpc)", "routes[2] `chat`"]),
        ("GET", "ws://any/ws", &["(websocket)", "routes[3] `sockets`"]),
        ("GET", "http://h/old/a/b", &["308, location: https://h/new/a/b"]),
    ];
    let config = config();
    for (method, url, wanted) in table {
        let told = explained(method, url, &config);
        assert!(told.found, "{url}: {}", told.text);
        for part in *wanted {
            assert!(told.text.contains(part), "{url}: no `{part}` in\n{}", told.text);
        }
    }
}

#[test]
fn a_request_without_a_route_is_told_what_it_would_take() {
    #[rustfmt::skip]
    let table = [
        ("GET", "http://other.example/v1/x", "routes[1] `all`: the host differs"),
        ("GET", "/ws", "routes[3] `sockets`: the protocol differs"),
        ("GET", "/nowhere", "none matches: 404"),
    ];
    let config = config();
    for (method, url, wanted) in table {
        let told = explained(method, url, &config);
        assert!(
            !told.found && told.text.contains(wanted),
            "{url}: no `{wanted}` in\n{}",
            told.text
        );
    }
}

#[test]
fn what_a_listener_would_refuse_is_refused() {
    let config = config();
    #[rustfmt::skip]
    let table: &[(&str, &str, &[&str], &str)] = &[
        ("GET", "http://h/a/../b", &[], "`..` segment"),
        ("GET", "ftp://h/", &[], "unknown scheme"),
        ("GET", "h/", &[], "is no URL"),
        ("GET", "/", &["a: b\r\nc: d"], "line break"),
        ("GET", "grpc://h/a.B/C", &[], "made by POST"),
        ("G T", "/", &[], "would refuse"),
    ];
    for (method, url, headers, wanted) in table {
        let headers: Vec<_> = headers.iter().map(|text| (*text).to_owned()).collect();
        let mistake = head(method, url, &headers, &config).unwrap_err();
        assert!(mistake.text.contains(wanted), "{url}: {}", mistake.text);
    }
}
