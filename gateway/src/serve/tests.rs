//! A panic in one call (threats.md F4), put into the path itself where only these tests see it; and tunnels whose
//! certificates end soon.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use causeway_pki::TrustDomain;
use causeway_pki::cli::bootstrap;
use causeway_protocols::CallHead;

use crate::app::App;

/// Called by the path.
pub(super) fn panic_if_asked(head: &CallHead) {
    assert!(head.target.path() != "/panic", "asked to");
}

fn head(site: &str, folder: &Path) -> String {
    let folder = folder.join(site);
    format!(
        "workers = 1\n[site]\nname = \"{site}\"\ntrust_domain = \"{site}.acme.example\"\n[admin]\nbind = \"127.0.0.1:0\"\n[telemetry]\naccess_log = \
         \"off\"\n[identity]\ncertificate = {:?}\nprivate_key = {:?}\ntrust_bundles = {:?}\n",
        folder.join("gateway.crt"),
        folder.join("gateway.key"),
        folder.join("bundles")
    )
}

fn start(text: &str) -> App {
    let config = causeway_config::load_str("site.toml", text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    App::start(config).unwrap()
}

/// The status of one request on a connection; none when it ended.
fn get(stream: &mut BufReader<TcpStream>, path: &str) -> Option<u16> {
    write!(stream.get_mut(), "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").ok()?;
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let status = line.get(9..12)?.parse().ok()?;
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).ok()?;
    Some(status)
}

fn connect(address: SocketAddr) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(address).unwrap())
}

/// Two linked sites and a backend that answers everything.
struct Sites {
    aws: App,
    azure: App,
    _backend: App,
    _folder: tempfile::TempDir,
}

fn sites(lifetime: time::Duration) -> Sites {
    let folder = tempfile::tempdir().unwrap();
    let sites = ["aws", "azure"].map(|site| {
        let domain = TrustDomain::parse(&format!("{site}.acme.example")).unwrap();
        (site.to_owned(), domain)
    });
    let place = folder.path().join("pki");
    bootstrap(
        &sites,
        &["gw".to_owned()],
        lifetime,
        &place,
        time::OffsetDateTime::now_utc(),
    )
    .unwrap();
    // The far end panics, too: its backend is a gateway of its own, which answers everything but `/panic`.
    let backend = "workers = 1\n[site]\nname = \"b\"\ntrust_domain = \"b.example\"\n[admin]\nbind = \"127.0.0.1:0\"\n[telemetry]\naccess_log = \
                   \"off\"\n[[listeners]]\nname = \"public\"\nbind = \"127.0.0.1:0\"\n[[routes]]\nmatch = { path_prefix = \
                   \"/\" }\nfixed = { body = \"fine\" }\n";
    let backend = start(backend);
    let service = |export: &str| {
        let address = backend.bound().listeners["public"];
        format!(
            "[[services]]\nname = \"demo\"\nprotocol = \"http\"\nendpoints = [\"{address}\"]\nexport_to = {export}\n"
        )
    };
    let azure = head("azure", &place)
        + "[federation]\nbind = \"127.0.0.1:0\"\n[[peers]]\nsite = \"aws\"\ntrust_domain = \"aws.acme.example\"\n"
        + &service("[\"aws\"]");
    let azure = start(&azure);
    let aws = head("aws", &place)
        + &format!(
            "[[peers]]\nsite = \"azure\"\ntrust_domain = \"azure.acme.example\"\ndiscover = [\"{}\"]\n",
            azure.bound().federation.unwrap()
        )
        + &service("[]")
        + "[[listeners]]\nname = \"public\"\nbind = \"127.0.0.1:0\"\n"
        // Panics at the far end alone: here the path is another one.
        + "[[routes]]\nmatch = { path = \"/far\" }\nrewrite = \"/panic\"\nto = \"demo@azure\"\n"
        + "[[routes]]\nmatch = { path = \"/tunnel\" }\nto = \"demo@azure\"\n"
        + "[[routes]]\nmatch = { path_prefix = \"/\" }\nto = \"demo\"\n";
    let aws = start(&aws);
    Sites {
        aws,
        azure,
        _backend: backend,
        _folder: folder,
    }
}

#[test]
fn f4_a_panic_in_one_call_ends_that_call_only() {
    let Sites { aws, azure, .. } = &sites(time::Duration::days(1));
    let address = aws.bound().listeners["public"];
    let mut canary = connect(address);
    assert_eq!(get(&mut canary, "/fine"), Some(200));
    assert_eq!(get(&mut canary, "/tunnel"), Some(200));
    for _ in 0..20 {
        let mut victim = connect(address);
        let here = get(&mut victim, "/panic");
        assert!(matches!(here, None | Some(500)), "{here:?}");
        let far = get(&mut connect(address), "/far");
        assert!(far.is_some_and(|status| status >= 500), "{far:?}");
        assert_eq!(get(&mut canary, "/fine"), Some(200), "the only worker goes on");
        assert_eq!(get(&mut canary, "/tunnel"), Some(200), "and so does the tunnel");
    }
    assert_eq!(aws.shared().drain.tunnels(), 1);
    assert_eq!(azure.shared().drain.tunnels(), 1, "no tunnel was lost for it");
}

/// Wire for wire what happens long before a certificate ends, only sooner.
#[test]
fn i8_a_tunnel_is_replaced_before_its_certificate_ends_and_no_call_fails() {
    let sites = sites(time::Duration::seconds(6));
    let mut client = connect(sites.aws.bound().listeners["public"]);
    let began = Instant::now();
    let (mut most, mut now) = (0, 0);
    // Once more than one, then one again: made before the old one was broken.
    while most < 2 || now != 1 {
        assert!(began.elapsed() < Duration::from_secs(20), "at most {most} tunnels");
        assert_eq!(get(&mut client, "/tunnel"), Some(200));
        now = sites.aws.shared().drain.tunnels();
        most = most.max(now);
    }
    assert!(began.elapsed() > Duration::from_secs(2), "too soon");
    assert_eq!(get(&mut client, "/tunnel"), Some(200));
}
