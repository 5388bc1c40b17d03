//! Taking a new configuration over.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use causeway_gateway::reload::{Reloader, Watch};

use crate::support::*;

/// Reloads under load: a full count by the environment, fewer where time is short.
fn reloads() -> u64 {
    let count = std::env::var("CAUSEWAY_RELOADS").ok();
    count.and_then(|count| count.parse().ok()).unwrap_or(150)
}

/// What differs from one configuration to the next: everything that a reload can change.
fn varied(turn: u64) -> String {
    let odd = turn % 2 == 1;
    let mut text = head("aws") + &listener("public", 0);
    if odd {
        text += &listener("other", 0);
    }
    let name = if odd { "demo" } else { "renamed" };
    text += &service(name, &[]);
    text += if turn.is_multiple_of(3) {
        "timeouts = { connect = \"1s\" }\n"
    } else {
        ""
    };
    text += &route(name);
    text += &format!("[limits]\nhead = \"{}KiB\"\n", 16 + turn % 16);
    text += &format!("[dns]\nmax_endpoints = {}\n", 100 + turn % 3);
    text
}

#[test]
fn a_thousand_reloads_under_load_fail_no_call() {
    let app = start(&varied(0));
    let load = Load::start(public(&app), 2, 2);
    for turn in 1..=reloads() {
        let before = load.count();
        assert_eq!(app.reload(config(&varied(turn))).unwrap(), turn + 1);
        until("calls go on", PATIENCE, || load.count() > before);
    }
    let failures = load.stop();
    assert!(failures.is_empty(), "{failures:#?}");
    app.drain();
}

#[test]
fn reloads_of_both_sites_under_load_fail_no_call() {
    let pair = Pair::start();
    let tunnels = pair.tunnels();
    let load = Load::start(public(&pair.aws), 1, 1);
    for turn in 0..reloads() / 5 {
        let before = load.count();
        let settings = format!("[limits]\nfields = {}\n", 90 + turn % 7);
        let aws = aws_text(&pair.pki, &[pair.federation]) + &settings;
        pair.aws.reload(config(&aws)).unwrap();
        let azure = azure_text(&pair.pki, free(), &["aws"]) + &settings;
        pair.azure.reload(config(&azure)).unwrap();
        until("calls go on", PATIENCE, || load.count() > before);
    }
    let failures = load.stop();
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(pair.tunnels(), tunnels, "tunnels live through reloads");
}

#[test]
fn f1_a_bad_configuration_changes_nothing_and_every_problem_is_told() {
    let good = head("aws") + &listener("public", 0) + &service("demo", &[]) + &route("demo");
    let app = start(&good);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    // Files that are there, and hold something else than they should.
    let pki = Pki::of(&["aws"]);
    let site = pki.site("aws");
    let bundle = site.join("bundles/aws.acme.example.pem");
    for file in ["gateway.crt", "tls.crt", "tls.key", "bundles/aws.acme.example.pem"] {
        write(&site.join(file), "garbage");
    }
    let tls = format!(
        "[[listeners]]\nname = \"tls\"\nbind = \"127.0.0.1:0\"\ntls = {{ certificates = [{{ certificate = {:?}, \
         private_key = {:?} }}] }}\n",
        site.join("tls.crt"),
        site.join("tls.key")
    );
    let bad = good.clone() + &listener("second", port) + &tls + &pki.identity("aws", None);
    let error = app.reload(config(&bad)).unwrap_err().to_string();
    let bundle = bundle.to_str().unwrap();
    for part in ["tls.crt", "gateway.crt", bundle, "listener `second`"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert_eq!(app.gateway().generation(), 1);
    assert_eq!(app.bound().listeners.len(), 1, "nothing of it was opened");
    assert!(passes(public(&app)));
    assert_eq!(app.reload(config(&good)).unwrap(), 2, "the next good one is taken");
    app.drain();
}

#[test]
fn a_free_port_that_was_found_may_be_written_down_afterwards() {
    let pair = Pair::start();
    let address = public(&pair.aws);
    let load = Load::start(address, 1, 1);
    let written =
        aws_text(&pair.pki, &[pair.federation]).replace("127.0.0.1:0\"\n[[peers", &format!("{address}\"\n[[peers"));
    assert!(written.contains(&format!("bind = \"{address}\"")));
    pair.aws.reload(config(&written)).unwrap();
    pair.azure
        .reload(config(&azure_text(&pair.pki, pair.federation, &["aws"])))
        .unwrap();
    assert_eq!(
        (public(&pair.aws), pair.azure.bound().federation),
        (address, Some(pair.federation))
    );
    let failures = load.stop();
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(pair.tunnels(), 2);
}

#[test]
fn listeners_are_known_by_their_address() {
    let address = reserved();
    let with = |name: &str| head("aws") + &listener(name, address.port()) + &service("demo", &[]) + &route("demo");
    let app = start(&with("public"));
    let mut client = Client::new(address);
    assert_eq!(client.get("/bytes/1").unwrap().0, 200);
    app.reload(config(&with("renamed"))).unwrap();
    assert_eq!(client.get("/bytes/1").unwrap().0, 200);
    assert!(client.is_connected(), "the connection went on");
    assert_eq!(app.bound().listeners["renamed"], address);
    let none = head("aws") + &listener("elsewhere", 0) + &service("demo", &[]) + &route("demo");
    app.reload(config(&none)).unwrap();
    until("the port is closed", PATIENCE, || {
        std::net::TcpStream::connect(address).is_err()
    });
    app.reload(config(&with("again"))).unwrap();
    assert!(passes(address));
    app.drain();
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
}

/// A gateway that reloads by itself when its files change.
fn watched(folder: &Path) -> (causeway_gateway::app::App, Arc<Reloader>, Watch) {
    let file = folder.join("causeway.toml");
    let load = move || causeway_config::load(std::slice::from_ref(&file), &[]);
    let app = causeway_gateway::app::App::start(load().unwrap()).unwrap();
    let reloader = Reloader::new(app.gateway(), load);
    let watch = Watch::start(Arc::clone(&reloader)).unwrap();
    (app, reloader, watch)
}

fn fixed(answer: &str) -> String {
    format!("[[routes]]\nmatch = {{ path = \"/fixed\" }}\nfixed = {{ body = \"{answer}\" }}\n")
}

fn answers(app: &causeway_gateway::app::App, wanted: &str) {
    let address = public(app);
    until(&format!("the answer is {wanted}"), PATIENCE, || {
        Client::new(address)
            .get("/fixed")
            .is_ok_and(|(_, body)| body == wanted.as_bytes())
    });
}

#[test]
fn f1_changed_files_are_taken_over_and_half_written_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("causeway.toml");
    let with = |answer: &str| head("aws") + &listener("public", 0) + &fixed(answer);
    write(&file, &with("one"));
    let (app, reloader, watch) = watched(folder.path());
    answers(&app, "one");

    // In place, in pieces.
    write(&file, &with("two")[..80]);
    until("the half was refused", PATIENCE, || reloader.reloads().bad == 1);
    assert!(!reloader.reloads().problems.is_empty());
    answers(&app, "one");
    write(&file, &with("two"));
    answers(&app, "two");
    assert!(reloader.reloads().problems.is_empty());

    // By a rename, as editors and careful tools do it.
    write(&folder.path().join("new"), &with("three"));
    fs::rename(folder.path().join("new"), &file).unwrap();
    answers(&app, "three");

    // A file that was not there, in a folder that was not there.
    fs::create_dir(folder.path().join("conf.d")).unwrap();
    let extra = fixed("four").replace("/fixed", "/extra");
    write(&folder.path().join("conf.d/10-extra.toml"), &extra);
    until("the new file is read", PATIENCE, || {
        Client::new(public(&app))
            .get("/extra")
            .is_ok_and(|(status, _)| status == 200)
    });

    // A log in the same folder is no reason.
    let generation = app.gateway().generation();
    until("the last reload is counted", PATIENCE, || {
        reloader.reloads().good + 1 == generation
    });
    for line in 0..20 {
        write(&folder.path().join("access.log"), &line.to_string());
    }
    write(&file, &with("five"));
    answers(&app, "five");
    assert_eq!(app.gateway().generation(), generation + 1);
    drop(watch);
    app.drain();
}

#[test]
fn i8_a_mounted_volume_that_is_swapped_by_its_link_is_taken_over() {
    // As Kubernetes mounts: causeway.toml -> ..data/causeway.toml, ..data -> ..1, and ..data is renamed over.
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let with = |answer: &str| head("aws") + &listener("public", 0) + &fixed(answer);
    fs::create_dir(at("..1")).unwrap();
    write(&at("..1/causeway.toml"), &with("one"));
    symlink("..1", at("..data")).unwrap();
    symlink("..data/causeway.toml", at("causeway.toml")).unwrap();
    let (app, _, watch) = watched(folder.path());
    answers(&app, "one");
    for (turn, answer) in [(2, "two"), (3, "three"), (4, "four")] {
        let new = at(&format!("..{turn}"));
        fs::create_dir(&new).unwrap();
        write(&new.join("causeway.toml"), &with(answer));
        symlink(format!("..{turn}"), at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        fs::remove_dir_all(at(&format!("..{}", turn - 1))).unwrap();
        answers(&app, answer);
    }
    drop(watch);
    app.drain();
}

#[test]
fn an_identity_that_appears_links_the_site_without_a_restart() {
    let pki = Pki::of(&["aws", "azure"]);
    let azure = start(&azure_text(&pki, free(), &["aws"]));
    let aws = start(&(head("aws") + &listener("public", 0) + &service("demo", &[]) + &route("demo")));
    assert!(passes(public(&aws)));
    let federation = azure.bound().federation.unwrap();
    aws.reload(config(&aws_text(&pki, &[federation]))).unwrap();
    until("calls pass through the tunnel", PATIENCE, || passes(public(&aws)));
    // And a port of tunnels that moves: the new one is used, the tunnels of the old one go on.
    azure.reload(config(&azure_text(&pki, reserved(), &["aws"]))).unwrap();
    let moved = azure.bound().federation.unwrap();
    assert_ne!(moved, federation);
    let load = Load::start(public(&aws), 1, 1);
    aws.reload(config(&aws_text(&pki, &[moved]))).unwrap();
    until("the old tunnels are given up", PATIENCE, || {
        aws.shared().drain.tunnels() == 2 && std::net::TcpStream::connect(federation).is_err()
    });
    std::thread::park_timeout(Duration::from_millis(1));
    let failures = load.stop();
    assert!(failures.is_empty(), "{failures:#?}");
}
