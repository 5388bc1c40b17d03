//! Who may call what at the other site, and who is refused at its door.

use std::fs;
use std::time::Duration;

use causeway_tests::pair::{bootstrap, routes, services};
use causeway_tests::recorder::Recorder;
use causeway_tests::{Site, SiteSetup, Upstreams, client, until};
use tempfile::TempDir;

const PEER_AWS: &str = "[[peers]]\nsite = \"aws\"\ntrust_domain = \"aws.acme.example\"\n";

fn dialling(azure: &Site) -> String {
    format!(
        "[[peers]]\nsite = \"azure\"\ntrust_domain = \"azure.acme.example\"\ndiscover = [\"{}\"]\n",
        azure.federation()
    )
}

/// All three services at one origin: these tests send HTTP only.
fn at(origin: &Recorder) -> Upstreams {
    Upstreams {
        http: origin.address(),
        websocket: origin.address(),
        grpc: origin.address(),
    }
}

#[test]
fn i4_a_peer_with_a_certificate_of_another_ca_is_refused_and_counted() {
    let (origin, folder) = (Recorder::start(), TempDir::new().unwrap());
    let (good, evil) = (folder.path().join("good"), folder.path().join("evil"));
    bootstrap(&good, &["aws", "azure"]);
    // Names as they should be, from a CA that nobody handed over.
    bootstrap(&evil, &["aws", "azure"]);
    for bundle in fs::read_dir(good.join("aws/bundles")).unwrap() {
        let bundle = bundle.unwrap();
        fs::copy(bundle.path(), evil.join("aws/bundles").join(bundle.file_name())).unwrap();
    }

    let exported = services(&at(&origin), "export_to = [\"aws\"]");
    let azure = SiteSetup::new("azure")
        .pki(&good.join("azure"))
        .with(PEER_AWS)
        .with(&exported)
        .with(&routes(""));
    let mut azure = azure.start();
    let impostor = SiteSetup::new("aws")
        .pki(&evil.join("aws"))
        .with(&dialling(&azure))
        .with(&routes("@azure"))
        .start();

    until("the refusal is counted", Duration::from_secs(10), || {
        azure.metrics().sum("causeway_peer_refused_total", &[]) >= 1.0
    });
    let named = azure.process().stderr.find(Duration::from_secs(5), |line| {
        line.contains("aws.acme.example").then_some(())
    });
    assert!(
        named.is_some(),
        "the log names the refused peer: {}",
        azure.process().output()
    );
    let answer = client::get(impostor.public(), "/secret").unwrap();
    assert!(
        matches!(answer.status, 502..=504),
        "{} {}",
        answer.status,
        answer.text()
    );
    assert_eq!(
        client::get(azure.public(), "/own").unwrap().status,
        200,
        "nothing else is disturbed"
    );
    assert_eq!(origin.requests(), ["GET /own HTTP/1.1"]);
}

#[test]
fn i5_a_service_is_exported_to_nobody_until_it_says_so() {
    let (origin, folder) = (Recorder::start(), TempDir::new().unwrap());
    bootstrap(folder.path(), &["aws", "azure", "gcp"]);
    for (export, allowed) in [
        ("", false),
        ("export_to = [\"gcp\"]", false),
        ("export_to = [\"aws\"]", true),
    ] {
        let azure = SiteSetup::new("azure")
            .pki(&folder.path().join("azure"))
            .with(PEER_AWS)
            .with("[[peers]]\nsite = \"gcp\"\ntrust_domain = \"gcp.acme.example\"\n")
            .with(&services(&at(&origin), export))
            .with(&routes(""))
            .start();
        let aws = SiteSetup::new("aws")
            .pki(&folder.path().join("aws"))
            .with(&dialling(&azure))
            .with(&routes("@azure"));
        let aws = aws.start();
        until("the tunnel is up", Duration::from_secs(10), || {
            aws.metrics().sum("causeway_tunnel_up", &[]) >= 1.0
        });
        let before = origin.requests().len();
        let answer = client::get(aws.public(), "/orders").unwrap();
        let reached = origin.requests().len() - before;
        if allowed {
            assert_eq!((answer.status, reached), (200, 1), "with {export:?}: {}", answer.text());
        } else {
            assert!(
                (400..=599).contains(&answer.status),
                "with {export:?}: {} {}",
                answer.status,
                answer.text()
            );
            assert_eq!(reached, 0, "with {export:?}: the backend was reached");
        }
    }
}

#[test]
fn a_site_that_only_dials_out_is_called_through_its_own_tunnel() {
    let (origin, folder) = (Recorder::start(), TempDir::new().unwrap());
    bootstrap(folder.path(), &["aws", "azure"]);
    // `azure` dials nobody and has the clients; `aws` dials and has the backends.
    let azure = SiteSetup::new("azure")
        .pki(&folder.path().join("azure"))
        .with(PEER_AWS)
        .with(&routes("@aws"))
        .start();
    let aws = SiteSetup::new("aws")
        .pki(&folder.path().join("aws"))
        .with(&dialling(&azure))
        .with(&services(&at(&origin), "export_to = [\"azure\"]"))
        .with(&routes(""))
        .start();
    until("calls arrive", Duration::from_secs(10), || {
        client::get(azure.public(), "/backwards").is_ok_and(|answer| answer.status == 200)
    });
    assert_eq!(aws.metrics().sum("causeway_peer_refused_total", &[]), 0.0);
}
