//! One call fetches, the others wait.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::policy::testing::origin::{Gate, until};

#[test]
fn c3_calls_for_the_same_reply_become_one_fetch() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        held.pass();
        fresh("once")
    });
    let sites = sites(&origin, "");
    let (_, at) = sites.entries()[0];
    let calls: Vec<_> = (0..20).map(|_| std::thread::spawn(move || get(at, "/", ""))).collect();
    until("all but one wait", || {
        let store = &sites.local.shared().policies.cache;
        store.waiting() == 19
    });
    gate.open();
    let answers: Vec<_> = calls.into_iter().map(|call| call.join().unwrap()).collect();
    assert!(answers.iter().all(|answer| answer.text() == "once"));
    let collapsed = answers
        .iter()
        .filter(|answer| did(answer) == "fwd=uri-miss; collapsed")
        .count();
    assert_eq!((collapsed, origin.count("/")), (19, 1));
}

#[test]
fn c3_the_client_that_caused_the_fetch_may_leave() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        held.pass();
        fresh("once")
    });
    let sites = sites(&origin, "");
    for (place, at) in sites.entries() {
        let path = format!("/{place}");
        let mut first = std::net::TcpStream::connect(at).unwrap();
        std::io::Write::write_all(
            &mut first,
            format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes(),
        )
        .unwrap();
        until("the service is asked", || origin.count(&path) == 1);
        let waiter = path.clone();
        let second = std::thread::spawn(move || get(at, &waiter, ""));
        drop(first);
        gate.open();
        assert_eq!(second.join().unwrap().text(), "once", "{place}");
        until("it is kept", || did(&get(at, &path, "")) == "hit");
        assert_eq!(origin.count(&path), 1, "{place}");
    }
}

#[test]
fn c3_a_reply_that_is_not_for_all_lets_the_others_ask_at_once() {
    let gate = Gate::default();
    let first = AtomicBool::new(true);
    let held = gate.clone();
    let origin = Origin::start(move |seen| {
        if first.swap(false, Ordering::Relaxed) {
            held.pass();
        }
        (200, "cache-control: private\r\n".into(), seen.header("x-who").into())
    });
    let sites = sites(&origin, "wait = '20s'");
    let (_, at) = sites.entries()[0];
    let call = |who: usize| std::thread::spawn(move || get(at, "/", &format!("x-who: {who}\r\n")));
    let calls: Vec<_> = (0..10).map(call).collect();
    until("all but one wait", || {
        sites.local.shared().policies.cache.waiting() == 9
    });
    gate.open();
    for (who, call) in calls.into_iter().enumerate() {
        assert_eq!(call.join().unwrap().text(), who.to_string());
    }
    // From now on nobody waits for anybody.
    assert_eq!(get(at, "/", "x-who: me\r\n").text(), "me");
}

#[test]
fn c3_a_fetch_that_takes_too_long_is_waited_for_no_longer() {
    let gate = Gate::default();
    let first = AtomicBool::new(true);
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        if first.swap(false, Ordering::Relaxed) {
            held.pass();
        }
        fresh("x")
    });
    let sites = sites(&origin, "wait = '200ms'");
    let (_, at) = sites.entries()[0];
    let slow = std::thread::spawn(move || get(at, "/", ""));
    until("the service is asked", || origin.count("/") == 1);
    assert_eq!(did(&get(at, "/", "")), "fwd=uri-miss");
    gate.open();
    assert_eq!(slow.join().unwrap().text(), "x");
}

#[test]
fn c3_what_fails_for_one_fails_for_those_who_wait() {
    let gate = Gate::default();
    let held = gate.clone();
    // A head that never comes whole: the connection ends.
    let origin = Origin::start(move |_| {
        held.pass();
        panic!("the connection ends here")
    });
    let sites = sites(&origin, "");
    let (_, at) = sites.entries()[0];
    let calls: Vec<_> = (0..5).map(|_| std::thread::spawn(move || get(at, "/", ""))).collect();
    until("all but one wait", || {
        sites.local.shared().policies.cache.waiting() == 4
    });
    gate.open();
    let statuses: Vec<_> = calls.into_iter().map(|call| call.join().unwrap().status).collect();
    assert_eq!(statuses, [502; 5]);
    assert!(origin.count("/") <= 3, "the attempts of one call, not of five");
}
