//! Links that break and heal.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use causeway_gateway::app::App;

use crate::support::*;

/// From the return of a gateway to the first call that passes.
const HEALED: Duration = Duration::from_secs(2);
/// From the silence of a peer to the end of its tunnels.
const NOTICED: Duration = Duration::from_secs(7);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(1);

/// Ends a gateway as a crash would, as far as its peers see it: all connections go without a word of the protocol.
fn crash(app: App) {
    drop(app);
}

#[test]
fn n1_the_site_of_the_backends_is_found_again_when_it_restarts() {
    let pki = Pki::of(&["aws", "azure"]);
    let address = reserved();
    let azure_text = azure_text(&pki, address, &["aws"]);
    let mut azure = start(&azure_text);
    let aws = start(&aws_text(&pki, &[address]));
    until("calls pass", PATIENCE, || passes(public(&aws)));
    for down in [Duration::ZERO, Duration::from_secs(4)] {
        crash(azure);
        let began = Instant::now();
        until("the tunnels are gone", PATIENCE, || aws.shared().drain.tunnels() == 0);
        // Long enough for pauses between attempts to grow.
        until("it stays away", PATIENCE, || began.elapsed() >= down);
        azure = restarted(&azure_text);
        let healed = until("it has healed", PATIENCE, || passes(public(&aws)));
        assert!(healed < HEALED + SLACK, "healed after {healed:?}");
    }
}

/// The port may be in use for a moment.
fn restarted(text: &str) -> App {
    let mut app = None;
    until("the gateway starts again", PATIENCE, || {
        app = App::start(config(text)).ok();
        app.is_some()
    });
    app.unwrap()
}

#[test]
fn n1_the_site_that_dials_links_at_once_when_it_restarts() {
    let pair = Pair::start();
    let text = aws_text(&pair.pki, &[pair.federation]);
    crash(pair.aws);
    until("azure has noticed", PATIENCE, || {
        pair.azure.shared().drain.tunnels() == 0
    });
    let aws = start(&text);
    let healed = until("it has healed", PATIENCE, || passes(public(&aws)));
    assert!(healed < HEALED, "healed after {healed:?}");
}

/// Passes bytes on until it is told to swallow them: a network that loses everything without a word.
struct Wire {
    address: SocketAddr,
    silent: Arc<AtomicBool>,
}

impl Wire {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(free()).unwrap();
        let address = listener.local_addr().unwrap();
        let silent = Arc::new(AtomicBool::new(false));
        let swallowing = Arc::clone(&silent);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(here), Ok(there)) = (stream, TcpStream::connect(target)) else {
                    continue;
                };
                for (mut from, mut to) in [(here.try_clone().unwrap(), there.try_clone().unwrap()), (there, here)] {
                    let silent = Arc::clone(&swallowing);
                    std::thread::spawn(move || {
                        let mut buffer = [0; 16 * 1024];
                        // A connection that was silent once stays so, as one whose packets were lost would.
                        let mut lost = false;
                        while let Ok(read @ 1..) = from.read(&mut buffer) {
                            lost = lost || silent.load(Ordering::Relaxed);
                            if !lost && to.write_all(&buffer[..read]).is_err() {
                                return;
                            }
                        }
                        if !lost {
                            to.shutdown(std::net::Shutdown::Both).ok();
                        }
                    });
                }
            }
        });
        Self { address, silent }
    }
}

#[test]
fn n1_a_peer_that_falls_silent_is_noticed_within_seven_seconds_and_found_again() {
    let pki = Pki::of(&["aws", "azure"]);
    let azure = start(&azure_text(&pki, free(), &["aws"]));
    let wire = Wire::to(azure.bound().federation.unwrap());
    let aws = start(&aws_text(&pki, &[wire.address]));
    until("calls pass", PATIENCE, || passes(public(&aws)));
    until("both tunnels are up", PATIENCE, || aws.shared().drain.tunnels() == 2);
    wire.silent.store(true, Ordering::Relaxed);
    let began = Instant::now();
    until("azure has noticed", PATIENCE, || azure.shared().drain.tunnels() == 0);
    let noticed = began.elapsed();
    assert!(noticed < NOTICED + SLACK, "noticed after {noticed:?}");
    until("aws has noticed", NOTICED + SLACK, || logged("the peer went silent"));
    wire.silent.store(false, Ordering::Relaxed);
    let limit = Duration::from_secs(5) + HEALED;
    let healed = until("it has healed", limit + SLACK, || passes(public(&aws)));
    // A handshake that began in the silence has its 5 s.
    assert!(healed < limit, "healed after {healed:?}");
}

#[test]
fn where_both_sides_dial_no_surplus_tunnels_stay() {
    let pki = Pki::of(&["aws", "azure"]);
    let (aws_port, azure_port) = (reserved(), reserved());
    let text = |site: &str, other: &str, bind, there: SocketAddr| {
        head(site) + &pki.identity(site, Some(bind)) + &listener("public", 0) + &peer(other, &[there])
    };
    // `azure` has the higher identity: it leaves the dialling to `aws`, which is not there yet, and so it dials.
    let there = text("azure", "aws", azure_port, aws_port) + &service("demo", &["aws"]) + &route("demo");
    let azure = start(&there);
    let here = text("aws", "azure", aws_port, azure_port) + &route("demo@azure");
    let aws = start(&here);
    until("calls pass", PATIENCE, || passes(public(&aws)));
    let load = Load::start(public(&aws), 1, 1);
    let settled = |app: &App| app.shared().drain.tunnels() == 2;
    let mut since = Instant::now();
    until("as many tunnels as workers, for three seconds", PATIENCE, || {
        if !settled(&aws) || !settled(&azure) {
            since = Instant::now();
        }
        since.elapsed() > Duration::from_secs(3)
    });
    // And back: either one restarts, the other finds it.
    let failures = load.stop();
    assert!(failures.is_empty(), "{failures:#?}");
    crash(azure);
    let azure = restarted(&there);
    let healed = until("it has healed", PATIENCE, || passes(public(&aws)));
    assert!(healed < HEALED + SLACK, "healed after {healed:?}");
    crash(aws);
    until("azure has noticed", PATIENCE, || azure.shared().drain.tunnels() == 0);
    let aws = restarted(&here);
    let healed = until("it has healed", PATIENCE, || passes(public(&aws)));
    assert!(healed < HEALED + SLACK, "healed after {healed:?}");
}

#[test]
fn m2_a_reader_that_stops_holds_up_no_other_call_of_its_tunnel() {
    let pair = Pair::start();
    let address = public(&pair.aws);
    let mut canary = Client::new(address);
    let mut slowest = |rounds: u32| {
        let timed = |client: &mut Client| {
            let began = Instant::now();
            assert_eq!(client.get("/bytes/1000").unwrap().0, 200);
            began.elapsed()
        };
        let mut times: Vec<_> = (0..rounds).map(|_| timed(&mut canary)).collect();
        times.sort_unstable();
        times[times.len() * 95 / 100]
    };
    let quiet = slowest(200);
    let stalled: Vec<_> = (0..64)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "GET /bytes/20000000 HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
            stream
        })
        .collect();
    for mut stream in &stalled {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read_exact(&mut [0; 100]).unwrap();
    }
    let busy = slowest(200);
    // Other tests share the machine.
    let limit = quiet * 2 + Duration::from_millis(50);
    assert!(busy < limit, "{busy:?}, without the attack {quiet:?}");
}
