//! One table of mistakes, each with exactly what is told about it.

use super::*;

#[test]
fn each_mistake_is_told_with_place_key_and_hint() {
    // A text behind `LEAST`, which has two lines; and what is told, without the first line.
    #[rustfmt::skip]
    let table = [
        ("x",
            "c.toml:3:2: not valid TOML: key with no value, expected `=`"),
        ("limit.head = '1KiB'",
            "c.toml:3:1: limit: unknown key\nhint: did you mean `limits`?"),
        ("[limits]\nhed = '1KiB'",
            "c.toml:4:1: limits.hed: unknown key\nhint: did you mean `head`?"),
        ("[limits]\nhead = '1 KiX'",
            "c.toml:4:1: limits.head: is not a size\nhint: write a number and a unit, such as `64KiB`, `10MiB` or `1GB`"),
        ("[limits]\nhead = true",
            "c.toml:4:1: limits.head: must be a value with a unit in quotes, not a boolean"),
        ("[limits]\nhead = '1B'",
            "c.toml:4:1: limits.head: must be between 1KiB and 1MiB"),
        ("[limits]\nfields = 'many'",
            "c.toml:4:1: limits.fields: must be a whole number, not a string"),
        ("[limits]\nfields = 1",
            "c.toml:4:1: limits.fields: must be between 8 and 10000"),
        ("[limits]\ntarget = '64KiB'",
            "c.toml:4:1: limits.target: is larger than `limits.head`\nhint: the target is a part of the head"),
        ("[timeouts]\nhead = 10",
            "c.toml:4:1: timeouts.head: a duration needs a unit\nhint: write `\"10s\"` for seconds, or `ms`, `m`, `h`"),
        ("[timeouts]\nhead = '10'",
            "c.toml:4:1: timeouts.head: `10` is not a duration\nhint: write a number and a unit, such as `250ms`, `10s`, `5m` or `1h`"),
        ("[timeouts]\nhead = '1h'",
            "c.toml:4:1: timeouts.head: must be between 100ms and 10m"),
        ("[dns]\nmin_ttl = '10m'",
            "c.toml:4:1: dns.min_ttl: is longer than `dns.max_ttl`"),
        ("[dns]\nservers = ['dns.internal']",
            "c.toml:4:12: dns.servers[0]: `dns.internal` is not a server\nhint: write an IP address, such as `10.0.0.53`, and a port if it is not 53"),
        ("[admin]\nbind = '0.0.0.0:9000'",
            "c.toml:4:1: admin.bind: must be a loopback address\nhint: write `127.0.0.1:9000`; use `metrics_bind` to serve metrics to the network"),
        ("[admin]\nbind = ':9000'",
            "c.toml:4:1: admin.bind: `:9000` is not an address to bind\nhint: write `0.0.0.0:9000` for all addresses, or `127.0.0.1:9000` for this host"),
        ("[admin]\nmetrics_bind = '0.0.0.0:8080'",
            "c.toml:4:1: admin.metrics_bind: 0.0.0.0:8080 is already bound at listeners[0].bind"),
        ("[admin]\nsocket = '/none/admin.sock'",
            "c.toml:4:1: admin.socket: there is no directory `/none`\nhint: make it, with leave to write for the gateway"),
        ("[admin]\nsocket = '/tmp/123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456'",
            "c.toml:4:1: admin.socket: is longer than 98 bytes\nhint: no system takes a longer name of a socket: use another directory, e.g. `/run/causeway`"),
        ("[admin]\ntoken_file = '/dev/null'",
            "c.toml:4:1: admin.token_file: `/dev/null` is not a file"),
        ("[admin]\nhosts = ['a:80']",
            "c.toml:4:10: admin.hosts[0]: `a:80` is not a host name\nhint: write it without port, e.g. `admin.acme.example`"),
        ("workers = 0",
            "c.toml:3:1: workers: must be a whole number from 1 to 1024\nhint: remove `workers` for one per core"),
        ("[[routes]]\nfixed = {}\ncors = { origins = ['*'], credentials = true }",
            "c.toml:5:10: routes[0].cors.origins: is `*` beside `credentials`\nhint: with credentials browsers do not take `*`: name each"),
        ("[[routes]]\nfixed = {}\ncors = { origins = ['app.example'] }",
            "c.toml:5:21: routes[0].cors.origins[0]: `app.example` is not an origin\nhint: write what the browser sends, e.g. `https://app.acme.example`, or `*.acme.example`"),
        ("[[routes]]\nfixed = {}\nip = { allow = [] }",
            "c.toml:5:8: routes[0].ip.allow: has no network\nhint: write `deny = [\"0.0.0.0/0\", \"::/0\"]` for nobody"),
        ("[routes]\nto = 'a'",
            "c.toml:3:2: routes: must be a list, not a table\nhint: write each entry under `[[routes]]`"),
        ("[telemetry]\naccess_log = 'stdot'",
            "c.toml:4:1: telemetry.access_log: must be one of `off`, `stdout`\nhint: did you mean `stdout`?"),
        ("[telemetry]\notlp_endpoint = 'collector:4317'",
            "c.toml:4:1: telemetry.otlp_endpoint: is not an http or https URL\nhint: write e.g. `http://collector:4317`"),
        ("[telemetry]\nsample_ratio = 2",
            "c.toml:4:1: telemetry.sample_ratio: must be between 0.0 and 1.0\nhint: write `0.1` or `\"10%\"` for one in ten"),
        ("[drain]\ndelay = ['1s']",
            "c.toml:4:1: drain.delay: must be a string, not a list"),
        ("[drain]\ndelay = nan",
            "c.toml:4:1: drain.delay: must be a finite number"),
        ("[federation]\nbind = '0.0.0.0:7443'",
            "c.toml: identity: is missing\nhint: tunnels need a certificate: add `[identity]` with `certificate`, `private_key` and `trust_bundles`"),
        ("[federation]\nwindow = '1KiB'",
            "c.toml:4:1: federation.window: must be between 16KiB and 16MiB"),
        ("[[services]]\nname = 'a'\nprotocol = 'grcp'\nendpoints = '10.0.0.1:80'",
            "c.toml:5:1: services[0].protocol: must be one of `grpc`, `http`, `websocket`\nhint: did you mean `grpc`?"),
        ("[[services]]\nname = 'a'\nprotocol = 'grpc'\nversion = 'http1'\nendpoints = '10.0.0.1:80'",
            "c.toml:6:1: services[0].version: gRPC needs HTTP/2\nhint: remove `version`"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = '10.0.0.1:80'\nhealth = {}",
            "c.toml:7:1: services[0].health.kind: is missing\nhint: say what is asked: `tcp`, `http` or `grpc`"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = '10.0.0.1:80'\nhealth = { kind = 'tcp', path = '/x' }",
            "c.toml:7:26: services[0].health.path: belongs to `kind = \"http\"`\nhint: remove it"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = '10.0.0.1:80'\nhealth = { kind = 'http', expect = ['20'] }",
            "c.toml:7:37: services[0].health.expect[0]: `20` is no HTTP status\nhint: write a status such as `204`, a class such as `2xx`, or a range such as `200-399`"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = '10.0.0.1:80'\noutlier = { codes = ['unavailible'] }",
            "c.toml:7:22: services[0].outlier.codes[0]: `unavailible` is no gRPC error\nhint: did you mean `unavailable`?"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = '10.0.0.1:80'\noutlier = { base_ejection = '10m' }",
            "c.toml:7:13: services[0].outlier.base_ejection: is longer than `max_ejection`"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = '10.0.0.1:80'\nretry = { on = ['5xx', 'gateway-eror'] }",
            "c.toml:7:24: services[0].retry.on[1]: `gateway-eror` is nothing to try again on\nhint: did you mean `gateway-error`?"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = '10.0.0.1:80'\nbalance = 'least-request'\nhash_on = 'address'",
            "c.toml:8:1: services[0].hash_on: has an effect on `ring-hash` only\nhint: write `balance = \"ring-hash\"`, or remove it"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = '10.0.0.1:80'\nbalance = 'ring-hash'\nhash_on = { header = 'a', cookie = 'b' }",
            "c.toml:8:1: services[0].hash_on: must have one of `header`, `cookie`, `query` and `claim`\nhint: write e.g. `hash_on = { header = \"x-tenant\" }`, or `hash_on = \"address\"`"),
        ("[[services]]\nname = 'A b'\nprotocol = 'http'\nendpoints = '10.0.0.1:80'",
            "c.toml:4:1: services[0].name: `A b` is not a name\nhint: a name has 1 to 63 characters of a-z, 0-9, `-`, `_` and `.`, and starts with a letter or digit"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'",
            "c.toml:3:1: services[0].endpoints: is missing\nhint: say where it is: `dns:name:port`, `srv:name`, or an address such as `10.0.0.1:80`"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = 'orders:80'",
            "c.toml:6:1: services[0].endpoints: `orders:80` is not an address\nhint: write `dns:orders:80` for a name"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = 'dns:orders'",
            "c.toml:6:1: services[0].endpoints: `dns:orders` is not a name and a port\nhint: write `dns:name:port`, e.g. `dns:orders.internal:50051`, or `srv:name` for records with ports"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = 'srv:orders:80'",
            "c.toml:6:1: services[0].endpoints: `srv:orders:80` is not a name\nhint: write `srv:_service._proto.name` without a port, e.g. `srv:_causeway._tcp.gw.azure.acme.example`"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = []",
            "c.toml:6:1: services[0].endpoints: must have at least one address"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = [1]",
            "c.toml:6:14: services[0].endpoints[0]: must be a string or a table, not a number"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = [{ address = '10.0.0.1:80', weight = 0 }]",
            "c.toml:6:1: services[0].endpoints: all weights are 0\nhint: give at least one endpoint a weight above 0"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = '10.0.0.1:80'\nexport_to = ['azure']",
            "c.toml:7:14: services[0].export_to[0]: no peer named `azure`\nhint: add it under `[[peers]]`"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = '10.0.0.1:80'\nretry = { attempts = 0 }",
            "c.toml:7:11: services[0].retry.attempts: must be at least 1\nhint: write `1` to turn retries off"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = '10.0.0.1:80'\nretry = { budget_percent = 101 }",
            "c.toml:7:11: services[0].retry.budget_percent: must be a whole number from 0 to 100\nhint: write `20` or `\"20%\"` for one in five"),
        ("[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = '10.0.0.1:80'\ntls = { roots = 'none.pem' }",
            "c.toml:7:9: services[0].tls.roots: reading `none.pem`: No such file or directory (os error 2)\nhint: paths are relative to the file they are written in"),
        ("[[listeners]]\nname = 'b'",
            "c.toml:3:3: not valid TOML: duplicate key\nhint: a key may be written once; use `[[..]]` for an entry of a list"),
        ("[[routes]]",
            "c.toml:3:1: routes[0].to: is missing\nhint: name a service, e.g. `orders` or `orders@azure`, or write `redirect` or `fixed`"),
        ("[[routes]]\nto = 'orders'",
            "c.toml:4:1: routes[0].to: no service named `orders`\nhint: add it under `[[services]]`, or write `name@site` for a peer's"),
        ("[[routes]]\nto = 'orders@azure'",
            "c.toml:4:1: routes[0].to: no peer named `azure`\nhint: add it under `[[peers]]`"),
        ("[[routes]]\nto = 'orders@aws'",
            "c.toml:4:1: routes[0].to: `aws` is this site\nhint: write `orders`"),
        ("[[routes]]\nto = []",
            "c.toml:4:1: routes[0].to: must have 1 to 64 services"),
        ("[[routes]]\nto = 'a'\nfixed = {}",
            "c.toml:3:1: routes[0]: leads to several places\nhint: write one of `to`, `redirect` and `fixed`"),
        ("[[routes]]\nmatch = { path = 'v1' }\nfixed = {}",
            "c.toml:4:11: routes[0].match.path: `v1` does not start with `/`\nhint: write `/v1`"),
        ("[[routes]]\nmatch = { path = '/{a*}/b' }\nfixed = {}",
            "c.toml:4:11: routes[0].match.path: `{a*}` is not the last segment\nhint: only the last one takes all that is left"),
        ("[[routes]]\nmatch = { path = '/{a}/{a}' }\nfixed = {}",
            "c.toml:4:11: routes[0].match.path: parameter `a` is there twice"),
        ("[[routes]]\nmatch = { path = '/x{a}' }\nfixed = {}",
            "c.toml:4:11: routes[0].match.path: `x{a}` mixes text and a parameter\nhint: a parameter is a whole segment; use `path_regex` for parts of one"),
        ("[[routes]]\nmatch = { path = '/a/../b' }\nfixed = {}",
            "c.toml:4:11: routes[0].match.path: has a dot segment\nhint: paths are normalised before they are matched, so it never matches"),
        ("[[routes]]\nmatch = { path = '/a?b=1' }\nfixed = {}",
            "c.toml:4:11: routes[0].match.path: has '?' in it\nhint: match query parameters with `query`"),
        ("[[routes]]\nmatch = { path = '/a', path_prefix = '/b' }\nfixed = {}",
            "c.toml:4:24: routes[0].match.path_prefix: stands beside `path`\nhint: a route has one of the two"),
        ("[[routes]]\nmatch = { path_regex = '/a(' }\nfixed = {}",
            "c.toml:4:11: routes[0].match.path_regex: is not a regular expression: unclosed group"),
        ("[[routes]]\nmatch = { path_regex = '(a{999}){999}' }\nfixed = {}",
            "c.toml:4:11: routes[0].match.path_regex: compiles to more than 1048576 bytes\nhint: use fewer or smaller repetitions"),
        ("[[routes]]\nmatch = { host = 'a.example:80' }\nfixed = {}",
            "c.toml:4:11: routes[0].match.host: `a.example:80` is not a host\nhint: hosts are compared without the port: write `a.example`"),
        ("[[routes]]\nmatch = { host = '*' }\nfixed = {}",
            "c.toml:4:11: routes[0].match.host: `*` is not a host\nhint: leave `host` out to match every host"),
        ("[[routes]]\nmatch = { methods = ['get'] }\nfixed = {}",
            "c.toml:4:22: routes[0].match.methods[0]: `get` is not in upper case\nhint: write `GET`"),
        ("[[routes]]\nmatch = { headers = { 'a b' = '1' } }\nfixed = {}",
            r#"c.toml:4:23: routes[0].match.headers."a b": is not a header name"#),
        ("[[routes]]\nmatch = { headers = { a = { exat = '1' } } }\nfixed = {}",
            "c.toml:4:29: routes[0].match.headers.a.exat: unknown key\nhint: did you mean `exact`?"),
        ("[[routes]]\nmatch = { grpc = '/a.B/C' }\nfixed = {}",
            "c.toml:4:11: routes[0].match.grpc: `/a.B/C` is not a gRPC service or method\nhint: write `package.Service` or `package.Service/Method` without a slash in front"),
        ("[[routes]]\nmatch = { path = '/{id}' }\nredirect = { location = '/b/{idd}' }",
            "c.toml:5:14: routes[0].redirect.location: nothing fills in `{idd}`\nhint: did you mean `id`?"),
        ("[[routes]]\nmatch = { path = '/{rest*}' }\nredirect = { location = '/b/{rest}' }",
            "c.toml:5:14: routes[0].redirect.location: nothing fills in `{rest}`\nhint: write `{rest*}`"),
        ("[[routes]]\nredirect = { status = 200, location = '/' }",
            "c.toml:4:14: routes[0].redirect.status: must be 301, 302, 303, 307 or 308"),
        ("[[routes]]\nredirect = { location = '//evil.example' }",
            "c.toml:4:14: routes[0].redirect.location: `//evil.example` is neither a path nor an http URL\nhint: write a path, or a URL such as `https://www.acme.example{path}`"),
        ("[[routes]]\nfixed = { status = 204, body = 'x' }",
            "c.toml:4:25: routes[0].fixed.body: stands beside a status that has no body"),
        ("[[routes]]\nfixed = { headers = { Content-Length = '1' } }",
            "c.toml:4:23: routes[0].fixed.headers.Content-Length: is set by the gateway\nhint: remove it"),
        ("[[routes]]\nfixed = {}\nrewrite = '/a'",
            "c.toml:5:1: routes[0].rewrite: has no effect without `to`\nhint: remove it"),
        ("[[routes]]\nfixed = {}\norigins = ['example.com']",
            "c.toml:5:12: routes[0].origins[0]: `example.com` is not an origin\nhint: write what the browser sends, e.g. `https://app.acme.example`, or `*.acme.example`"),
        ("[[routes]]\nname = 'a'\nfixed = {}\n[[routes]]\nname = 'a'\nfixed = {}",
            "c.toml:7:1: routes[1].name: `a` is already the name at routes[0].name"),
    ];
    for (text, wanted) in table {
        let wanted = wanted.replace("\nhint: ", "\n    hint: ");
        assert_eq!(told(text), format!("configuration has 1 problem\n  {wanted}"), "{text}");
    }
}

#[test]
fn all_problems_of_all_layers_are_told_at_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let first = format!(
        "{LEAST}
[[services]]
name = 'orders'
protocol = 'grpc'
endpoints = 'orders:1'

[[routes]]
to = 'order'
retry = {{ attempts = 0, bugdet_percent = 3 }}

[[routes]]
match = {{ path = '/a/{{b}}', metods = ['GET'] }}
to = [{{ service = 'orders', weight = 0 }}, {{ service = 'ordersx', weight = -1 }}]
timeout = 5
"
    );
    let main = write(folder.path(), "main.toml", &first);
    write(
        folder.path(),
        "peers.d/x.toml",
        "[[routes]]\nto = 'orders'\nrewrite = '/{c}'\n\n[[peers]]\nsite = 'aws'\n",
    );
    let environment = [("CAUSEWAY_DRAIN__DEADLINE", "30"), ("CAUSEWAY_LIMITS__HED", "1KiB")];
    let arguments = [("admin.bind", "10.0.0.1:9000"), ("listeners[0].name", "x")];
    let told = load_with(&[main], &environment, &arguments).unwrap_err().to_string();
    let told = told.replace(&format!("{}/", folder.path().display()), "");
    let wanted = "configuration has 17 problems
  main.toml: identity: is missing
    hint: tunnels need a certificate: add `[identity]` with `certificate`, `private_key` and `trust_bundles`
  main.toml:7:1: services[0].endpoints: `orders:1` is not an address
    hint: write `dns:orders:1` for a name
  main.toml:10:1: routes[0].to: no service named `order`
    hint: did you mean `orders`?
  main.toml:11:11: routes[0].retry.attempts: must be at least 1
    hint: write `1` to turn retries off
  main.toml:11:25: routes[0].retry.bugdet_percent: unknown key
    hint: did you mean `budget_percent`?
  main.toml:14:28: routes[1].match.metods: unknown key
    hint: did you mean `methods`?
  main.toml:15:45: routes[1].to[1].service: no service named `ordersx`
    hint: did you mean `orders`?
  main.toml:15:66: routes[1].to[1].weight: must be between 0 and 1000000
  main.toml:16:1: routes[1].timeout: a duration needs a unit
    hint: write `\"5s\"` for seconds, or `ms`, `m`, `h`
  peers.d/x.toml:3:1: routes[2].rewrite: nothing fills in `{c}`
    hint: there are `{host}`, `{path}`
  peers.d/x.toml:5:1: peers[0].discover: is missing
    hint: say where to dial the peer, e.g. `dns:gw.azure.acme.example:7443`, or set `federation.bind` so that it can dial us
  peers.d/x.toml:5:1: peers[0].trust_domain: is missing
    hint: name the trust domain the site's certificates are in, e.g. `aws.acme.example`
  peers.d/x.toml:6:1: peers[0].site: is our own site
    hint: a peer is another site
  environment CAUSEWAY_DRAIN__DEADLINE: drain.deadline: `30` is not a duration
    hint: write a number and a unit, such as `250ms`, `10s`, `5m` or `1h`
  environment CAUSEWAY_LIMITS__HED: limits.hed: unknown key
    hint: did you mean `head`?
  --set admin.bind: admin.bind: must be a loopback address
    hint: write `127.0.0.1:9000`; use `metrics_bind` to serve metrics to the network
  --set listeners[0].name: is not a key
    hint: write names with dots between them, such as `limits.head`; lists are given whole";
    assert_eq!(told, wanted);
}

#[test]
fn text_that_is_not_toml_is_told_alone_with_every_mistake_in_it() {
    let told = told("a = \nb = 'x\n[limits]\nhead = 3s\nhed = 1\n");
    let wanted = "configuration has 3 problems
  c.toml:3:5: not valid TOML: string values must be quoted, expected literal string
  c.toml:4:7: not valid TOML: invalid literal string, expected `'`
  c.toml:6:8: not valid TOML: string values must be quoted, expected literal string";
    assert_eq!(told, wanted);
}

#[test]
fn a_peer_is_another_site() {
    let text = "[[peers]]\nsite = 'aws'\ntrust_domain = 'aws.example'\n";
    let text = format!(
        "identity = {{ certificate = 'Cargo.toml', private_key = 'Cargo.toml', trust_bundles = 'src' }}\n{text}"
    );
    let wanted = "configuration has 3 problems
  c.toml:4:1: peers[0].discover: is missing
    hint: say where to dial the peer, e.g. `dns:gw.azure.acme.example:7443`, or set `federation.bind` so that it can dial us
  c.toml:5:1: peers[0].site: is our own site
    hint: a peer is another site
  c.toml:6:1: peers[0].trust_domain: is our own trust domain
    hint: each site has a trust domain of its own, so that neither can speak for the other";
    assert_eq!(told(&text), wanted);
}

#[test]
fn the_proxy_protocol_is_taken_from_balancers_that_are_named() {
    let text = "site = { name = 'a', trust_domain = 'a.example' }\n[[listeners]]\nname = 'p'\nbind = '0.0.0.0:1'\nproxy_protocol = true\n";
    let problems = crate::load_str("c.toml", text).unwrap_err().to_string();
    assert!(
        problems.contains("listeners[0].trusted_proxies: is missing"),
        "{problems}"
    );
    let named = format!("{text}trusted_proxies = ['10.0.0.0/8']\n");
    assert!(crate::load_str("c.toml", &named).unwrap().listeners[0].proxy_protocol);
}
