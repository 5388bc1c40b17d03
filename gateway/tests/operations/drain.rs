//! Stopping without failing a call.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use causeway_gateway::app::App;
use causeway_gateway::drain::Drained;

use crate::support::*;

fn local(drain: &str) -> App {
    start(&(head("aws") + &listener("public", 0) + &service("demo", &[]) + &route("demo") + "[drain]\n" + drain))
}

/// Drains it in a thread, once it serves a load, and gives the failures of the load.
fn drained_under_load(app: App, load: Load) -> Vec<String> {
    load.may_refuse.store(true, Ordering::Relaxed);
    let draining = std::thread::spawn(move || app.drain());
    // The clients end when nobody takes their connections any more.
    assert_eq!(draining.join().unwrap(), Drained::Clean);
    load.stop()
}

#[test]
fn f5_a_drain_under_load_fails_no_call() {
    let app = local("deadline = \"10s\"\n");
    let load = Load::start(public(&app), 3, 2);
    let failures = drained_under_load(app, load);
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn f5_what_has_begun_is_finished_and_nothing_new_is_taken() {
    let app = local("deadline = \"10s\"\n");
    let address = public(&app);
    let shared = std::sync::Arc::clone(app.shared());
    let slow = std::thread::spawn(move || Client::new(address).get("/slow?ms=1500"));
    until("the call is there", PATIENCE, || shared.drain.left() > 2);
    let draining = std::thread::spawn(move || app.drain());
    until("the port is closed", PATIENCE, || TcpStream::connect(address).is_err());
    assert!(!slow.is_finished(), "it closed before the call ended");
    assert_eq!(slow.join().unwrap().unwrap().0, 200);
    assert_eq!(draining.join().unwrap(), Drained::Clean);
}

#[test]
fn f5_a_call_that_is_late_is_named_and_cut() {
    let app = local("deadline = \"300ms\"\n");
    let mut stream = TcpStream::connect(public(&app)).unwrap();
    write!(stream, "GET /hang?late-caller HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    let mut named = TcpStream::connect(public(&app)).unwrap();
    write!(named, "GET /hang/f5-late-call HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    let shared = std::sync::Arc::clone(app.shared());
    until("both are there", PATIENCE, || shared.drain.left() > 3);
    let began = Instant::now();
    let Drained::Cut { left } = app.drain() else {
        panic!("the call did not hang")
    };
    assert!(left >= 1);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(logged("call cut"), "it is not named");
    assert!(logged("path=/hang"), "its path is not named");
    assert!(!logged("late-caller"), "the query may hold secrets");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    // Closed or reset.
    stream.read_to_end(&mut rest).ok();
    assert!(rest.is_empty());
}

#[test]
fn f5_what_waits_in_the_accept_queue_is_served() {
    let app = local("delay = \"1s\"\ndeadline = \"10s\"\n");
    let address = public(&app);
    let shared = std::sync::Arc::clone(app.shared());
    let draining = std::thread::spawn(move || app.drain());
    until("it is announced", PATIENCE, || {
        shared.drain.stage() == causeway_gateway::drain::Stage::Announced
    });
    let mut client = Client::new(address);
    assert_eq!(client.get("/bytes/1").unwrap().0, 200, "everything is still taken");
    assert!(
        !client.is_connected(),
        "and the client is told to come on another connection"
    );
    assert_eq!(draining.join().unwrap(), Drained::Clean);
}

/// A site with two gateways; the clients are at the other site.
#[test]
fn draining_one_gateway_of_a_site_fails_no_call_of_the_other_site() {
    let pki = Pki::with_gateways(&["aws", "azure"], &["gw-1", "gw-2"]);
    let azure = |gateway: &str| {
        let bundles = pki.site("azure");
        let identity = pki.identity_of(&bundles.join(gateway), &bundles, Some(free()));
        let drain = "[drain]\ndeadline = \"10s\"\n";
        start(&(head("azure") + &identity + &peer("aws", &[]) + &service("demo", &["aws"]) + drain))
    };
    let (first, second) = (azure("gw-1"), azure("gw-2"));
    let addresses = [&first, &second].map(|app| app.bound().federation.unwrap());
    let identity = pki.identity_of(&pki.site("aws").join("gw-1"), &pki.site("aws"), None);
    let peer = peer("azure", &addresses);
    let aws = start(&(head("aws") + &identity + &listener("public", 0) + &peer + &route("demo@azure")));
    until("tunnels to both are up", PATIENCE, || aws.shared().drain.tunnels() == 4);
    until("calls pass", PATIENCE, || passes(public(&aws)));
    let load = Load::start(public(&aws), 3, 2);
    assert_eq!(first.drain(), Drained::Clean);
    let before = load.count();
    until("calls go on", PATIENCE, || load.count() > before + 50);
    let failures = load.stop();
    assert!(failures.is_empty(), "{failures:#?}");
    drop(second);
}

#[test]
fn draining_the_site_of_the_clients_fails_no_call() {
    let pair = Pair::start();
    let load = Load::start(public(&pair.aws), 3, 2);
    let Pair { aws, .. } = pair;
    let failures = drained_under_load(aws, load);
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The binary, with a call that hangs; killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn f5_a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("causeway.toml");
    let text = head("aws") + &listener("public", 0) + &service("demo", &[]) + &route("demo");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command.arg("run").arg("--config").arg(&file);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut process = Process(child);
    let mut ready = String::new();
    let mut out = BufReader::new(process.0.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut ready).unwrap();
    let port = ready.split("\"public\":\"127.0.0.1:").nth(1).unwrap();
    let port: u16 = port.split('"').next().unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET /hang HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    let signal = |process: &Process| {
        let id = process.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    };
    signal(&process);
    until("it has stopped accepting", PATIENCE, || {
        TcpStream::connect(("127.0.0.1", port)).is_err()
    });
    assert!(process.0.try_wait().unwrap().is_none(), "a call is open");
    let began = Instant::now();
    signal(&process);
    until("it has ended", Duration::from_secs(5), || {
        process.0.try_wait().unwrap().is_some()
    });
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(process.0.wait().unwrap().code(), Some(130));
}
