//! Routes with tiers: services of this site, and of another.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;

use causeway_pki::TrustDomain;
use tempfile::TempDir;

use crate::backend::Backend;
use crate::support::{Site, until};

fn service(name: &str, address: SocketAddr, more: &str) -> String {
    format!("[[services]]\nname = '{name}'\nprotocol = 'http'\nendpoints = ['{address}']\n{more}\n")
}

fn identity(pki: &Path, site: &str) -> String {
    let at = |file: &str| pki.join(site).join(file);
    format!(
        "identity = {{ certificate = {:?}, private_key = {:?}, trust_bundles = {:?} }}\n",
        at("gateway.crt"),
        at("gateway.key"),
        at("bundles")
    )
}

/// Certificates of `aws` and `azure`.
fn pki() -> TempDir {
    let folder = TempDir::new().unwrap();
    let of = |site: &str| {
        (
            site.to_owned(),
            TrustDomain::parse(&format!("{site}.acme.example")).unwrap(),
        )
    };
    causeway_pki::cli::bootstrap(
        &[of("aws"), of("azure")],
        &["gw-1".to_owned()],
        time::Duration::days(1),
        folder.path(),
        time::OffsetDateTime::now_utc(),
    )
    .unwrap();
    folder
}

fn peer(site: &str, more: &str) -> String {
    format!("[[peers]]\nsite = '{site}'\ntrust_domain = '{site}.acme.example'\n{more}\n")
}

/// `azure`, with these services, which it exports.
fn azure(pki: &TempDir, services: &str) -> Site {
    let tables =
        identity(pki.path(), "azure") + "federation = { bind = '127.0.0.1:0' }\n" + &peer("aws", "") + services;
    Site::start("azure", 1, &tables)
}

/// `aws`, which dials it, with these services and targets of its only route.
fn aws(pki: &TempDir, azure: &Site, services: &str, to: &str) -> Site {
    let federation = azure.app().bound().federation.unwrap();
    let tables = identity(pki.path(), "aws")
        + &peer("azure", &format!("discover = ['{federation}']"))
        + services
        + &format!("[[routes]]\nmatch = {{ path_prefix = '/' }}\nto = {to}\n");
    let site = Site::start("aws", 1, &tables);
    until("the tunnel is up", || site.app().shared().drain.tunnels() == 1);
    site
}

const EXPORTED: &str = "export_to = ['aws']";

#[test]
fn c7_calls_go_to_the_other_site_while_the_service_here_is_unwell() {
    let (here, there) = (Backend::start(), Backend::start());
    let pki = pki();
    let azure = azure(&pki, &service("orders", there.address, EXPORTED));
    let checked = "health = { kind = 'http', path = '/health', interval = '100ms', unhealthy_threshold = 1, healthy_threshold = 1 }";
    let to = "[{ service = 'orders', priority = 0 }, { service = 'orders@azure', priority = 1 }]";
    let aws = aws(&pki, &azure, &service("orders", here.address, checked), to);
    for _ in 0..10 {
        assert_eq!(aws.get("/x"), 200);
    }
    assert_eq!((here.calls(), there.calls()), (10, 0));
    let well = || {
        aws.metric(&format!(
            "causeway_endpoint_healthy{{service=\"orders\",endpoint=\"{}\"}}",
            here.address
        ))
    };
    here.does.unwell.store(true, Ordering::Relaxed);
    until("it is unwell", || well() == Some(0.0));
    for _ in 0..10 {
        assert_eq!(aws.ask("POST", "/x", "", "any method").unwrap().status, 200);
    }
    assert_eq!((here.calls(), there.calls()), (10, 10));
    here.does.unwell.store(false, Ordering::Relaxed);
    until("it is well", || well() == Some(1.0));
    for _ in 0..10 {
        assert_eq!(aws.get("/x"), 200);
    }
    assert_eq!((here.calls(), there.calls()), (20, 10), "back home");
}

#[test]
fn a_call_that_nobody_takes_here_is_made_there_whatever_its_method() {
    let there = Backend::start();
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let pki = pki();
    let azure = azure(&pki, &service("orders", there.address, EXPORTED));
    let to = "[{ service = 'orders' }, { service = 'orders@azure', priority = 1 }]";
    let aws = aws(&pki, &azure, &service("orders", gone, "retry = { attempts = 1 }"), to);
    let answer = aws.ask("POST", "/x", "", "the body comes along").unwrap();
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, &b"the body comes along"[..])
    );
    assert_eq!(aws.metric("causeway_failovers_total"), Some(1.0));
}

#[test]
fn a_call_comes_home_when_the_other_site_has_nobody_for_it() {
    let here = Backend::start();
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let pki = pki();
    let azure = azure(&pki, &service("orders", gone, EXPORTED));
    let to = "[{ service = 'orders@azure' }, { service = 'orders', priority = 1 }]";
    let aws = aws(&pki, &azure, &service("orders", here.address, ""), to);
    for _ in 0..5 {
        assert_eq!(aws.ask("POST", "/x", "", "x").unwrap().status, 200);
    }
    assert_eq!(here.calls(), 5);
}

#[test]
fn c8_weights_over_sites_hold_and_a_site_that_is_gone_is_stood_in_for() {
    let (here, there) = (Backend::start(), Backend::start());
    let pki = pki();
    let azure = azure(&pki, &service("orders", there.address, EXPORTED));
    let to = "[{ service = 'orders', weight = 50 }, { service = 'orders@azure', weight = 50 }]";
    let aws = aws(&pki, &azure, &service("orders", here.address, ""), to);
    for _ in 0..200 {
        assert_eq!(aws.get("/x"), 200);
    }
    assert!((60..=140).contains(&there.calls()), "{} of 200", there.calls());
    let before = there.calls();
    drop(azure);
    until("the tunnel is gone", || aws.app().shared().drain.tunnels() == 0);
    for _ in 0..50 {
        assert_eq!(aws.get("/x"), 200);
    }
    assert_eq!(there.calls(), before);
}
