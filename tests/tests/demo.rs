//! `causeway demo` as a new user meets it: what it prints works, and nothing is left when it ends.

#![expect(
    clippy::unwrap_used,
    reason = "a test may; the lint knows functions with `#[test]` only"
)]

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use causeway_tests::python::Python;
use causeway_tests::{Process, binary, client, tools, until};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);
/// The last line of what it prints.
const LAST: &str = "The same as files";

/// A running demo with a temporary directory of its own.
struct Demo {
    process: Process,
    temporary: TempDir,
    edge: SocketAddr,
}

fn causeway(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary::causeway());
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        let ours = name
            .to_str()
            .is_some_and(|name| name.starts_with("OTEL_") || name.starts_with("CAUSEWAY_"));
        if ours
            || name
                .to_str()
                .is_some_and(|name| name.to_ascii_lowercase().ends_with("_proxy"))
        {
            command.env_remove(name);
        }
    }
    command
}

impl Demo {
    fn start() -> Self {
        let temporary = TempDir::new().unwrap();
        let mut command = causeway(&["demo", "--free-ports"]);
        let process = Process::start("the demo", command.env("TMPDIR", temporary.path()));
        let last = process.stdout.find(SOON, |line| line.starts_with(LAST).then_some(()));
        assert!(last.is_some(), "the demo did not start\n{}", process.output());
        let edge = process.stdout.all().iter().find_map(|line| {
            let address = line.trim().strip_prefix("curl http://")?.strip_suffix("/hello")?;
            address.parse().ok()
        });
        Self {
            edge: edge.expect("the first line of curl goes to the edge of aws"),
            process,
            temporary,
        }
    }

    /// The lines to copy.
    fn commands(&self) -> Vec<String> {
        let lines = self.process.stdout.all();
        let indented = lines.iter().filter_map(|line| line.strip_prefix("  "));
        indented
            .filter(|line| !line.starts_with(['#', ' ']))
            .map(str::to_owned)
            .collect()
    }

    fn left_behind(&self) -> Vec<String> {
        let entries = fs::read_dir(self.temporary.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    }

    fn stop(&mut self) {
        self.process.signal("INT");
        let status = self.process.ended(Duration::from_secs(5));
        assert_eq!(status.code(), Some(0), "{}", self.process.output());
        assert_eq!(self.left_behind(), Vec::<String>::new());
        assert!(client::get(self.edge, "/").is_err(), "something still listens");
    }
}

/// What a line must show; none for one that is not run.
fn expected(line: &str) -> Option<&'static str> {
    #[rustfmt::skip]
    let table = [
        ("npx ", ""), ("/echo", "some text"), ("/events", "tick"), ("/Count", "\"number\": 3"), ("/Say", "hello"),
        (" traces ", "azure    client"), ("/traces", "trace_id"), ("/status", "\"site\": \"aws\""), ("/metrics", "causeway_calls_total"), ("hello", "hello"),
    ];
    let (_, shown) = table
        .iter()
        .find(|(part, _)| line.contains(part))
        .unwrap_or_else(|| panic!("new line: {line}"));
    Some(*shown).filter(|shown| !shown.is_empty())
}

/// A directory with a `grpcurl`, for machines that have none.
fn grpcurl(python: &Python) -> TempDir {
    let folder = TempDir::new().unwrap();
    let script = python.script("grpcurl.py");
    let words = std::iter::once(script.get_program()).chain(script.get_args());
    let words = words
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect::<Vec<_>>();
    let path = folder.path().join("grpcurl");
    fs::write(&path, format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" "))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn every_printed_line_works() {
    let (Some(_), Some(python)) = (tools::program("curl"), Python::find()) else {
        return;
    };
    let mut demo = Demo::start();
    let stand_in = grpcurl(&python);
    let python = python.script("grpcurl.py").get_program().to_owned();
    let programs = Path::new(&python).parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(
        [programs]
            .into_iter()
            .chain(std::env::split_paths(&path))
            .chain([stand_in.path().to_owned()]),
    );

    let commands = demo.commands();
    assert!(commands.len() > 10, "{commands:?}");
    for line in &commands {
        let Some(shown) = expected(line) else {
            tools::say(&format!("not run, it needs the network: {line}"));
            continue;
        };
        // Spans arrive up to a second after their call.
        until(&format!("`{line}` shows {shown:?}"), SOON, || {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(line).env("PATH", path.as_ref().unwrap());
            // Loopback addresses are nothing to ask a proxy for.
            shell.env("NO_PROXY", "*").env("no_proxy", "*");
            let mut process = Process::start(line, &mut shell);
            let status = process.ended(SOON);
            assert!(status.success(), "{line}\n{}", process.output());
            process.stdout.all().join("\n").contains(shown)
        });
    }
    demo.stop();
}

#[test]
fn the_first_answer_comes_within_five_seconds() {
    let began = Instant::now();
    let demo = Demo::start();
    let answer = client::get(demo.edge, "/hello").unwrap();
    assert_eq!((answer.status, answer.json()["backend"].as_str()), (200, Some("azure")));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_second_interrupt_does_not_wait_and_leaves_nothing_either() {
    let mut demo = Demo::start();
    // A call that would keep the first one waiting.
    let mut open = client::Connection::open(demo.edge).unwrap();
    open.send(b"GET /slow?ms=60000 HTTP/1.1\r\nhost: demo\r\n\r\n").unwrap();
    let azure = demo.commands().iter().find_map(|line| {
        let address = line.strip_prefix("curl http://")?.strip_suffix("/hello")?;
        address
            .parse::<SocketAddr>()
            .ok()
            .filter(|address| *address != demo.edge)
    });
    until("the call is at the backend", SOON, || {
        client::get(azure.unwrap(), "/counters").is_ok_and(|answer| answer.json()["waiting"] == 1)
    });
    demo.process.signal("INT");
    until("the first one is understood", SOON, || {
        client::get(demo.edge, "/").is_err()
    });
    demo.process.signal("INT");
    let status = demo.process.ended(Duration::from_secs(5));
    assert_eq!((status.code(), demo.left_behind()), (Some(130), Vec::new()));
}

/// An offset at which the well-known ports are free right now.
fn offset() -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let candidates = (0..500u16).map(|step| 1_500 + step * 7 + (std::process::id() % 4000) as u16);
    let mut candidates = candidates.filter(|offset| {
        [18_080, 28_080, 19_000, 29_000, 27_443, 23_000, 23_001, 23_002]
            .iter()
            .all(|port| free(port + offset))
    });
    candidates.next().expect("some ports are free")
}

#[test]
fn a_port_that_is_in_use_is_named_with_a_way_out() {
    let offset = offset();
    let _taken = TcpListener::bind(("127.0.0.1", 28_080 + offset)).unwrap();
    let output = tools::output(&mut causeway(&["demo", "--port-offset", &offset.to_string()]));
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    let named = format!("error: 127.0.0.1:{} (the edge of azure) is in use", 28_080 + offset);
    assert!(
        error.contains(&named) && error.contains("hint: ") && error.contains("--port-offset"),
        "{error}"
    );
}

#[test]
fn ejected_files_run_as_processes_of_their_own() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("sites");
    let offset = offset();
    let written = tools::run(causeway(&["demo", "--port-offset", &offset.to_string(), "--eject"]).arg(&target));
    let commands = written.lines().filter_map(|line| line.strip_prefix("  causeway "));
    let processes = commands.map(|line| {
        let arguments = line.split(' ').collect::<Vec<_>>();
        Process::start(line, causeway(&arguments).current_dir(&target))
    });
    let mut processes = processes.collect::<Vec<_>>();
    assert_eq!(processes.len(), 3, "{written}");
    let edge = SocketAddr::from(([127, 0, 0, 1], 18_080 + offset));
    until("calls pass from aws to azure", SOON, || {
        client::get(edge, "/hello").is_ok_and(|answer| answer.status == 200 && answer.json()["backend"] == "azure")
    });
    let health = |port: u16| {
        let admin = format!("127.0.0.1:{port}");
        tools::output(&mut causeway(&["healthcheck", "--admin", &admin]))
            .status
            .code()
    };
    until("the gateway of aws is ready", SOON, || {
        health(19_000 + offset) == Some(0)
    });
    let explained = tools::run(causeway(&["explain", "GET", "ws://any/", "--config"]).arg(target.join("aws.toml")));
    assert!(explained.contains("`echo` at site `azure`"), "{explained}");
    let twice = tools::output(causeway(&["run", "--config", "aws.toml"]).current_dir(&target));
    let error = String::from_utf8_lossy(&twice.stderr);
    assert!(
        twice.status.code() == Some(2) && error.contains("hint: another program listens there"),
        "{error}"
    );
    for process in processes.iter_mut().rev() {
        process.signal("INT");
        assert!(process.ended(Duration::from_secs(10)).success(), "{}", process.output());
    }
    assert_eq!(health(19_000 + offset), Some(1));
}

/// The README's first configuration, with its own words.
#[test]
fn what_the_readme_shows_is_good() {
    let readme = fs::read_to_string(binary::workspace().join("README.md")).unwrap();
    let folder = TempDir::new().unwrap();
    let block = |fence: &str, from: &str| {
        let (_, rest) = readme
            .split_once(from)
            .unwrap_or_else(|| panic!("no {from:?} in the README"));
        let (_, rest) = rest.split_once(&format!("```{fence}\n")).unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    let run = |line: &str| {
        let line = line.split(" # ").next().unwrap().trim_end();
        let arguments = line.strip_prefix("causeway ").unwrap().split(' ').collect::<Vec<_>>();
        tools::run(causeway(&arguments).current_dir(folder.path()))
    };
    run(block("sh", "Certificates for both sites").trim_end());
    for site in ["azure", "aws"] {
        fs::write(
            folder.path().join(format!("{site}.toml")),
            block("toml", &format!("`{site}.toml`,")),
        )
        .unwrap();
        run(&format!("causeway check --config {site}.toml"));
    }
    let commands = block("sh", "`aws.toml`,");
    assert!(run(commands.lines().next().unwrap()).starts_with("ok: "));
    assert!(
        run(commands.lines().last().unwrap()).contains("`orders` at site `azure`"),
        "{commands}"
    );
}

#[test]
fn the_command_line_tells_what_to_do_next() {
    #[rustfmt::skip]
    let table: &[(&[&str], i32, &str)] = &[
        (&["--help"], 0, "causeway demo"),
        (&["explain", "--help"], 0, "Examples:"),
        (&["version"], 0, "tunnel: causeway/1"),
        (&["completions", "bash"], 0, "complete -F _causeway"),
        (&["healthcheck", "--admin", "127.0.0.1:1"], 1, "hint: "),
        (&["check", "--config", "/nonexistent/a.toml"], 2, "error: "),
        (&["pki", "issue", "--site", "aws", "--dir", "/nonexistent/ca"], 2, "hint: "),
        (&["demo", "--port-offset", "60000"], 2, "error: "),
        (&["dmeo"], 2, "demo"),
    ];
    for (arguments, code, shown) in table {
        let output = tools::output(&mut causeway(arguments));
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains(shown), "{arguments:?}: no {shown:?} in\n{text}");
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}\n{text}");
    }
}
