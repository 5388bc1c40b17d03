//! Reload and drain under load.

use std::time::Duration;

use causeway_tests::load::Load;
use causeway_tests::python::Python;
use causeway_tests::{Pair, Process, Site, client, pair, until};

use crate::backends::Running;

/// Reloads under load; `CAUSEWAY_RELOADS` asks for more.
const RELOADS: usize = 100;

fn hash(site: &Site) -> Vec<String> {
    let metrics = site.metrics();
    metrics
        .series("causeway_config_hash")
        .map(|(labels, value)| format!("{labels} {value}"))
        .collect()
}

/// Tables that differ from `tables` in a route of their own.
fn marked(tables: &str, mark: usize) -> String {
    format!(
        "{tables}\n[[routes]]\nmatch = {{ path = \"/mark\", methods = [\"GET\"], headers = {{ x-mark = \"1\" }} }}\nfixed = {{ status = 200, body = \"mark {mark}\" }}\n"
    )
}

#[test]
fn reloads_under_load_fail_no_request() {
    let backends = Running::start("azure");
    let mut pair = Pair::start(&backends.upstreams());
    let count = std::env::var("CAUSEWAY_RELOADS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(RELOADS);
    let load = Load::start(pair.aws.public(), "/bytes/1000", 4);
    load.proceeds(100);
    let tables = [pair.aws.tables().to_owned(), pair.azure.tables().to_owned()];
    for mark in 0..count {
        let (site, tables) = if mark % 2 == 0 {
            (&mut pair.aws, &tables[0])
        } else {
            (&mut pair.azure, &tables[1])
        };
        let before = hash(site);
        site.reload(&marked(tables, mark));
        until("the reload has been done", Duration::from_secs(5), || {
            hash(site) != before
        });
    }
    load.proceeds(100);
    let report = load.stop();
    assert_eq!(report.failures, Vec::<String>::new(), "of {} requests", report.done);
    assert_eq!(report.repeated, 0, "no idle connection was closed either");
}

#[test]
fn a_reload_that_is_done_is_seen_by_the_next_call() {
    let backends = Running::start("local");
    let mut site = pair::local(&backends.upstreams()).start();
    site.wait_ready();
    let tables = format!(
        "{}\n[[routes]]\nmatch = {{ path = \"/new\" }}\nfixed = {{ status = 418, body = \"new\" }}\n",
        site.tables()
    );
    assert_eq!(
        client::get(site.public(), "/new").unwrap().status,
        200,
        "the backend answers"
    );
    site.reload(&tables);
    until("the new route answers", Duration::from_secs(5), || {
        client::get(site.public(), "/new").is_ok_and(|answer| (answer.status, answer.text().as_str()) == (418, "new"))
    });
}

#[test]
fn f1_a_bad_file_changes_nothing_and_is_named_in_the_log() {
    let backends = Running::start("local");
    let mut site = pair::local(&backends.upstreams()).start();
    site.wait_ready();
    let before = hash(&site);
    let bad = [
        "[[routes]",
        "[site]\nname = \"local\"\nunknown_key = 1\n",
        "",
        "\u{0}\u{0}",
    ];
    for (index, text) in bad.into_iter().enumerate() {
        site.reload_raw(text);
        let named = |line: &str| line.contains("causeway.toml").then_some(());
        let seen = || {
            let lines = site_lines(&mut site);
            lines.iter().filter(|line| named(line).is_some()).count() > index
        };
        until("the problem is in the log", Duration::from_secs(5), seen);
        assert_eq!(client::get(site.public(), "/").unwrap().status, 200, "after {text:?}");
    }
    assert_eq!(hash(&site), before);
}

fn site_lines(site: &mut Site) -> Vec<String> {
    let process: &mut Process = site.process();
    process.stderr.all()
}

#[test]
fn f5_a_drain_under_load_fails_no_request() {
    let backends = Running::start("local");
    let mut site = pair::local(&backends.upstreams()).start();
    site.wait_ready();
    let load = Load::start(site.public(), "/bytes/1000", 8);
    load.proceeds(200);
    load.listener_closes();
    let status = site.terminate(Duration::from_secs(15));
    let report = load.stop();
    assert!(status.success(), "a drain that finished is a good end: {status}");
    assert_eq!(report.failures, Vec::<String>::new(), "of {} requests", report.done);
}

#[test]
fn f5_a_call_under_way_finishes_while_the_far_gateway_drains() {
    let backends = Running::start("azure");
    let mut pair = Pair::start(&backends.upstreams());
    let (entry, backend) = (pair.aws.public(), backends.upstreams().http);
    let asking = std::thread::spawn(move || client::get(entry, "/slow?ms=1500"));
    let waits = || client::get(backend, "/counters").unwrap().json()["waiting"] == 1;
    until("the call has reached the backend", Duration::from_secs(5), waits);
    let status = pair.azure.terminate(Duration::from_secs(15));
    let answer = asking.join().unwrap().unwrap();
    assert_eq!(
        (answer.status, &answer.json()["slept_ms"]),
        (200, &1500.into()),
        "{}",
        answer.text()
    );
    assert!(status.success(), "{status}");
}

#[test]
fn f5_a_drain_tells_open_websockets_to_go_elsewhere() {
    let Some(python) = Python::find() else { return };
    let backends = Running::start("local");
    let mut site = pair::local(&backends.upstreams()).start();
    site.wait_ready();
    let client = Process::start(
        "websocket_drain.py",
        python.script("websocket_drain.py").arg(site.public().to_string()),
    );
    client.ready(Duration::from_secs(10));
    site.process().signal("TERM");
    let code = client.stdout.find(Duration::from_secs(15), |line| {
        line.strip_prefix("closed ").map(str::to_owned)
    });
    assert_eq!(code.as_deref(), Some("1012"), "{}", client.output());
}

/// A check of the test above: a reload must not fail for want of a good file.
#[test]
fn the_marked_tables_load() {
    let head = "[site]\nname = \"local\"\ntrust_domain = \"local.acme.example\"\n\n[[listeners]]\nname = \"public\"\nbind = \"127.0.0.1:0\"\n";
    for mark in 0..2 {
        let loaded = causeway_config::load_str("marked.toml", &marked(head, mark));
        assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
    }
}
