//! A gateway that runs out of something, or has a bad part.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::*;

/// The binary with few file descriptors; killed when dropped.
struct Small {
    child: Child,
    public: SocketAddr,
}

impl Small {
    fn start(descriptors: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("causeway.toml");
        let text = head("aws").replace("workers = 2", "workers = 1")
            + &listener("public", 0)
            + &service("demo", &[])
            + &route("demo");
        std::fs::write(&file, text).unwrap();
        let script = format!("ulimit -n {descriptors}; exec \"$0\" run --config \"$1\"");
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(script)
            .arg(env!("CARGO_BIN_EXE_causeway"))
            .arg(&file);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut ready = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut ready).unwrap();
        let address = ready.split("\"public\":\"").nth(1).unwrap().split('"').next().unwrap();
        let public = address.parse().unwrap();
        Self { child, public }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn f2_a_gateway_without_descriptors_recovers_within_a_second() {
    let mut gateway = Small::start(100);
    assert!(passes(gateway.public));
    let mut kept = Client::new(gateway.public);
    assert_eq!(kept.get("/bytes/1").unwrap().0, 200);
    // More than it can accept: the rest waits in its queue.
    let crowd: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(gateway.public).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\n").ok();
            stream
        })
        .collect();
    let probe = |wait| {
        let mut stream = TcpStream::connect(gateway.public).unwrap();
        stream.set_read_timeout(Some(wait)).unwrap();
        write!(stream, "GET /bytes/1 HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
        read_reply(&mut BufReader::new(stream)).is_ok()
    };
    assert!(!probe(Duration::from_millis(300)), "it has descriptors left");
    assert_eq!(kept.get("/bytes/1").unwrap().0, 200, "who is in is served");
    drop(crowd);
    let recovered = until("it accepts again", PATIENCE, || probe(PATIENCE));
    assert!(recovered < Duration::from_secs(1), "{recovered:?}");
    assert!(gateway.child.try_wait().unwrap().is_none(), "it has ended");
}

#[test]
fn f1_a_configuration_that_outgrew_its_purpose_or_is_none_ends_the_start_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("causeway.toml");
    let run = |text: &[u8]| {
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
        let done = command.arg("run").arg("--config").arg(&file).output().unwrap();
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let deep = format!("x = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let in_use = head("aws") + &listener("public", taken.port()) + &service("demo", &[]) + &route("demo");
    let unknown = head("aws").replace("workers", "wrokers");
    let twice = head("aws") + &listener("public", 0) + &listener("public", 0);
    #[rustfmt::skip]
    let table: [(&[u8], &str, &str); 7] = [
        (&vec![b'#'; 5 << 20], "causeway.toml",         "a file of 5 MiB"),
        (deep.as_bytes(),      "causeway.toml",         "deep nesting"),
        (b"\xff\xfe",          "UTF-8",                 "no text"),
        (b"[site",             "causeway.toml",         "half a file"),
        (unknown.as_bytes(),   "wrokers",               "an unknown key"),
        (twice.as_bytes(),     "public",                "a name given twice"),
        (in_use.as_bytes(),    &taken.to_string(),      "a port in use"),
    ];
    for (text, named, what) in table {
        let (code, error) = run(text);
        assert_eq!(code, Some(2), "{what}: {error}");
        assert!(error.contains(named), "{what}: {error}");
    }
}
