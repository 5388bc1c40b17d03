//! A real DNS server (dnsmasq) on a loopback port.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::Process;
use crate::tools;
use crate::until::{holds_within, until};

/// A running dnsmasq that knows only the records it was given.
#[derive(Debug)]
pub struct Dns {
    program: PathBuf,
    address: SocketAddr,
    process: Process,
}

impl Dns {
    /// Starts it with records in dnsmasq's own words, e.g. `host-record=node.internal,127.0.0.1` or
    /// `srv-host=_http._tcp.orders.internal,node.internal,80,0,10` (priority, then weight).
    ///
    /// `None` after the running test was reported as skipped.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start(records: &[&str]) -> Option<Self> {
        let program = tools::program("dnsmasq")?;
        // The port is free when looked for and may be gone when used; then another one is tried.
        for _ in 0..10 {
            let address = free();
            let process = launch(&program, address, records);
            if holds_within(Duration::from_secs(2), || answers(address)).is_some() {
                return Some(Self {
                    program,
                    address,
                    process,
                });
            }
        }
        panic!("dnsmasq got no port");
    }

    /// Where it listens, UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it anew on the same port with other records.
    pub fn change(&mut self, records: &[&str]) {
        self.process.kill();
        self.process = launch(&self.program, self.address, records);
        until("dnsmasq answers again", Duration::from_secs(5), || {
            answers(self.address)
        });
    }

    /// Ends it: queries are not answered any more.
    pub fn stop(&mut self) {
        self.process.kill();
    }
}

fn launch(program: &PathBuf, address: SocketAddr, records: &[&str]) -> Process {
    let mut command = Command::new(program);
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--no-resolv",
        "--no-hosts",
    ]);
    command.args([
        "--bind-interfaces",
        "--local-ttl=1",
        "--log-facility=-",
        "--log-queries",
    ]);
    // It gives up root by changing its group, which a container may not allow.
    command.args(["--user=root", "--group=root", "--local=/internal/", "--local=/consul/"]);
    command
        .arg(format!("--port={}", address.port()))
        .arg(format!("--listen-address={}", address.ip()));
    command.args(records.iter().map(|record| format!("--{record}")));
    Process::start("dnsmasq", &mut command)
}

fn free() -> SocketAddr {
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let address = udp.local_addr().expect("a bound socket has an address");
    // The same port over TCP too, or it is no use.
    if TcpListener::bind(address).is_ok() {
        address
    } else {
        free()
    }
}

/// Whether anything comes back for a query.
fn answers(address: SocketAddr) -> bool {
    // Id 7, recursion desired, one question: A of `probe.internal`.
    let query = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05probe\x08internal\x00\x00\x01\x00\x01";
    let ask = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        socket.connect(address)?;
        socket.send(query)?;
        socket.recv(&mut [0; 512])
    };
    ask().is_ok()
}
