use std::sync::Arc;

use causeway_config::{
    Destination, GrpcMatch, Match, PathMatch, Protocol as Spoken, Segment, ServiceRef, ValueMatch, WeightedTarget,
};
use causeway_protocols::target::Authority;
use causeway_protocols::{Fields, Length, Protocol, Scheme, Target};
use http::Method;
use regex::Regex;

use super::*;

mod edge;
mod oracle;
mod rewriting;

fn segments(path: &str) -> Vec<Segment> {
    path.trim_start_matches('/')
        .split('/')
        .map(
            |part| match part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) => match name.strip_suffix('*') {
                    Some(name) => Segment::Rest(name.to_owned()),
                    None => Segment::Parameter(name.to_owned()),
                },
                None => Segment::Literal(part.to_owned()),
            },
        )
        .collect()
}

fn pattern(path: &str) -> Match {
    Match {
        path: Some(PathMatch::Pattern(segments(path))),
        ..Match::default()
    }
}

fn prefix(path: &str) -> Match {
    Match {
        path: Some(PathMatch::Prefix(path.to_owned())),
        ..Match::default()
    }
}

fn regex(path: &str) -> Match {
    Match {
        path: Some(PathMatch::Regex(Regex::new(path).unwrap())),
        ..Match::default()
    }
}

fn on(host: &str, matches: Match) -> Match {
    Match {
        host: Some(host.to_owned()),
        ..matches
    }
}

fn methods(methods: &[&str], matches: Match) -> Match {
    Match {
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        ..matches
    }
}

fn with_header(name: &str, value: ValueMatch, mut matches: Match) -> Match {
    matches.headers.push((name.to_owned(), value));
    matches
}

fn with_query(name: &str, value: ValueMatch, mut matches: Match) -> Match {
    matches.query.push((name.to_owned(), value));
    matches
}

fn exact(value: &str) -> ValueMatch {
    ValueMatch::Exact(value.to_owned())
}

fn route(matches: Match) -> Route {
    Route {
        name: "r".into(),
        matches,
        to: Destination::Fixed {
            status: 200,
            headers: std::collections::BTreeMap::new(),
            body: String::new(),
        },
        rewrite: None,
        origins: Vec::new(),
        timeout: None,
        retry: None,
        max_body: None,
        priority: causeway_config::Priority::Normal,
        policies: causeway_config::Policies::default(),
    }
}

fn table(matches: impl IntoIterator<Item = Match>) -> RouteTable {
    RouteTable::build(&matches.into_iter().map(route).collect::<Vec<_>>())
}

fn head(method: &str, url: &str) -> CallHead {
    let split = url.find('/').unwrap_or(url.len());
    let (authority, path) = url.split_at(split);
    let authority = match authority {
        "" => Authority::default(),
        text => Authority::parse(text.as_bytes()).unwrap(),
    };
    CallHead {
        protocol: Protocol::Http,
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        scheme: Scheme::Http,
        target: Target::parse(authority, if path.is_empty() { b"*" } else { path.as_bytes() }).unwrap(),
        fields: Fields::new(),
        length: Length::Empty,
        hold: false,
    }
}

fn get(table: &RouteTable, url: &str) -> Option<usize> {
    table.find(&head("GET", url)).ok().map(|found| found.index)
}

#[test]
fn a_path_condition_covers_exactly_what_it_says() {
    #[rustfmt::skip]
    let cases: &[(Match, &[&str], &[&str])] = &[
        (pattern("/"), &["h/", "h//"], &["h/a", "h"]),
        (Match { path: Some(PathMatch::Pattern(Vec::new())), ..Match::default() }, &["h/"], &["h/a"]),
        (pattern("/a"), &["h/a", "h//a", "h/%61"], &["h/", "h/a/", "h/ab", "h/A", "h/a/b"]),
        (pattern("/a/"), &["h/a/"], &["h/a", "h/a/b"]),
        (pattern("/a/{x}"), &["h/a/b", "h/a/;"], &["h/a", "h/a/", "h/a/b/", "h/a/b/c"]),
        (pattern("/a/{x}/"), &["h/a/b/"], &["h/a/b", "h/a//"]),
        (pattern("/a/{x*}"), &["h/a", "h/a/", "h/a/b", "h/a/b/c/"], &["h/", "h/ab"]),
        (pattern("/{x*}"), &["h/", "h/a", "h/a/b"], &["h"]),
        (prefix("/a"), &["h/a", "h/a/", "h/a/b"], &["h/ab", "h/"]),
        (prefix("/a/"), &["h/a", "h/a/", "h/a/b"], &["h/ab"]),
        (prefix("/"), &["h/", "h/a/b"], &["h"]),
        (Match::default(), &["h/", "h/a", "h"], &[]),
        (regex("/a/[0-9]+"), &["h/a/1", "h/a/22"], &["h/a/", "h/a/1/", "h/a/1x", "h/b/a/1"]),
        (regex("/a|/ab"), &["h/a", "h/ab"], &["h/abc"]),
        (regex("^/a?$"), &["h/", "h/a"], &["h/b"]),
        (regex("(?i)/ab"), &["h/AB"], &["h/a"]),
        (regex(r"/a\.b/.*"), &["h/a.b/", "h/a.b/c"], &["h/axb/c"]),
        (regex(".*"), &["h/", "h/x/y"], &["h"]),
        (pattern("/caf\u{e9}/a b"), &["h/caf%c3%a9/a%20b"], &["h/cafe/a%20b"]),
        (pattern("/%7ex"), &["h/~x", "h/%7Ex"], &[]),
    ];
    for (matches, inside, outside) in cases {
        let table = table([matches.clone()]);
        for url in *inside {
            assert_eq!(get(&table, url), Some(0), "{matches:?} should take {url}");
        }
        for url in *outside {
            assert_eq!(get(&table, url), None, "{matches:?} should not take {url}");
        }
    }
}

#[test]
fn the_more_specific_route_wins_wherever_it_stands() {
    #[rustfmt::skip]
    let cases: &[(&str, &[Match])] = &[
        // best first
        ("a.b.c/x", &[on("a.b.c", prefix("/")), on("*.b.c", pattern("/x")), on("*.c", pattern("/x")), pattern("/x")]),
        ("h/a/b", &[pattern("/a/b"), prefix("/a/b"), pattern("/a/{x}"), regex("/a/[a-z]"), prefix("/a"), regex("/[a-z]/b"), prefix("/")]),
        ("h/a/b/c", &[pattern("/a/b/{r*}"), pattern("/a/{x}/c"), pattern("/a/{x}/{y}"), regex("/a/.*"), pattern("/a/{r*}"), pattern("/{x}/b/c"), pattern("/{x}/{r*}"), regex(".*"), prefix("/")]),
        ("h/a", &[methods(&["GET"], pattern("/a")), with_header("x-a", ValueMatch::Present, pattern("/a")), pattern("/a")]),
        ("h/a?q=1", &[methods(&["GET"], prefix("/a")), with_query("q", ValueMatch::Present, prefix("/a")), Match { protocol: Some(Spoken::Http), ..prefix("/a") }, prefix("/a")]),
    ];
    for (url, best_first) in cases {
        let mut call = head("GET", url);
        call.fields.push(b"x-a", b"1").unwrap();
        for keep in 0..best_first.len() {
            // In reverse, so that order in the file does not help.
            let routes: Vec<_> = best_first.iter().skip(keep).rev().cloned().collect();
            let found = table(routes.clone()).find(&call).map(|found| found.index);
            assert_eq!(found, Ok(routes.len() - 1), "{url}: {:?}", best_first[keep]);
        }
    }
}

#[test]
fn of_equal_routes_the_first_in_the_file_wins() {
    let routes = [prefix("/a"), pattern("/a/{r*}"), prefix("/a/")];
    assert_eq!(get(&table(routes), "h/a/b"), Some(0));
}

#[test]
fn when_the_best_path_fails_on_another_condition_the_next_is_tried() {
    let table = table([
        with_header("x-canary", exact("1"), on("a.h", pattern("/a/b"))),
        on("a.h", with_query("v", exact("2"), pattern("/a/{x}"))),
        on("*.h", methods(&["PUT"], pattern("/a/b"))),
        prefix("/a"),
    ]);
    assert_eq!(get(&table, "a.h/a/b"), Some(3));
    assert_eq!(get(&table, "a.h/a/b?v=2"), Some(1));
    assert_eq!(table.find(&head("PUT", "a.h/a/b")).unwrap().index, 2);
    let mut canary = head("GET", "a.h/a/b?v=2");
    canary.fields.push(b"X-Canary", b"1").unwrap();
    assert_eq!(table.find(&canary).unwrap().index, 0);
}

#[test]
fn hosts_are_exact_or_suffixes_and_never_more() {
    let table = table([on("h.example", Match::default()), on("*.h.example", Match::default())]);
    #[rustfmt::skip]
    let cases = [
        ("h.example/", Some(0)), ("H.Example:8080/", Some(0)), ("a.h.example/", Some(1)), ("a.b.h.example/", Some(1)),
        ("ah.example/", None), ("h.example.evil/", None), ("example/", None), ("/", None), ("[::1]/", None),
    ];
    for (url, index) in cases {
        assert_eq!(get(&table, url), index, "{url}");
    }
}

#[test]
fn a_wrong_method_is_told_apart_from_a_wrong_path() {
    let table = table([
        methods(&["PUT", "GET"], pattern("/a")),
        methods(&["POST", "PUT"], pattern("/{x}")),
        with_header("x", ValueMatch::Present, methods(&["PATCH"], pattern("/a"))),
    ]);
    let missed = table.find(&head("DELETE", "h/a")).unwrap_err();
    assert_eq!(
        missed,
        Missed::Method {
            allow: "GET, POST, PUT".to_owned()
        }
    );
    assert_eq!(missed.kind(), FailureKind::Method);
    assert_eq!(table.find(&head("POST", "h/a")).unwrap().index, 1);
    assert_eq!(table.find(&head("GET", "h/a/b")).unwrap_err(), Missed::NotFound);
}

#[test]
fn headers_and_query_parameters_are_compared_whole_and_decoded() {
    #[rustfmt::skip]
    let cases = [
        (with_header("x-a", exact("1"), Match::default()), "h/", "1", true),
        (with_header("X-A", exact("1"), Match::default()), "h/", "1", true),
        (with_header("x-a", exact("1"), Match::default()), "h/", "11", false),
        (with_header("x-a", ValueMatch::Regex(Regex::new("a|ab").unwrap()), Match::default()), "h/", "ab", true),
        (with_header("x-a", ValueMatch::Regex(Regex::new("a").unwrap()), Match::default()), "h/", "xa", false),
        (with_header("x-b", ValueMatch::Present, Match::default()), "h/", "1", false),
        (with_query("q", exact("a b"), Match::default()), "h/?q=a+b", "", true),
        (with_query("q", exact("a b"), Match::default()), "h/?x&q=a%20b", "", true),
        (with_query("q", exact("a"), Match::default()), "h/?q=ab", "", false),
        (with_query("q", exact("%"), Match::default()), "h/?q=%", "", true),
        (with_query("q", exact("%4"), Match::default()), "h/?q=%4", "", true),
        (with_query("q", exact(""), Match::default()), "h/?q", "", true),
        (with_query("q r", ValueMatch::Present, Match::default()), "h/?q%20r=1", "", true),
        (with_query("q", ValueMatch::Present, Match::default()), "h/?qq=1", "", false),
        (with_query("q", ValueMatch::Present, Match::default()), "h/", "", false),
        (with_query("q", ValueMatch::Regex(Regex::new("[a-z ]+").unwrap()), Match::default()), "h/?q=a+b", "", true),
        (with_query("q", ValueMatch::Regex(Regex::new("[a-z]+").unwrap()), Match::default()), "h/?q=a+b", "", false),
    ];
    for (matches, url, header, expected) in cases {
        let mut call = head("GET", url);
        call.fields.push(b"x-a", header.as_bytes()).unwrap();
        let found = table([matches.clone()]).find(&call).is_ok();
        assert_eq!(found, expected, "{matches:?} {url} {header}");
    }
}

#[test]
fn a_grpc_condition_is_a_post_to_service_and_method() {
    let grpc = |method: Option<&str>| Match {
        grpc: Some(GrpcMatch {
            service: "shop.Orders".to_owned(),
            method: method.map(str::to_owned),
        }),
        ..Match::default()
    };
    let table = table([grpc(None), grpc(Some("Get")), prefix("/")]);
    let index = |method, url| table.find(&head(method, url)).unwrap().index;
    assert_eq!(index("POST", "h/shop.Orders/Get"), 1);
    assert_eq!(index("POST", "h/shop.Orders/List"), 0);
    assert_eq!(index("POST", "h/shop.Orders/"), 2);
    assert_eq!(index("POST", "h/shop.Orders/Get/x"), 2);
    assert_eq!(index("POST", "h/shop.OrdersX/Get"), 2);
    assert_eq!(index("GET", "h/shop.Orders/Get"), 2);

    let both = Match {
        path: prefix("/shop.Orders").path,
        ..grpc(None)
    };
    let table = RouteTable::build(&[route(both)]);
    assert!(table.find(&head("POST", "h/shop.Orders/Get")).is_ok());
    assert!(table.find(&head("POST", "h/shop.Orders/Get/x")).is_err());
}

fn captured(matches: Match, url: &str) -> Vec<String> {
    let table = table([matches]);
    let call = head("GET", url);
    let found = table.find(&call).unwrap();
    (0..found.captures.len())
        .map(|index| found.captures.get(index, call.target.path()).unwrap().to_owned())
        .collect()
}

#[test]
fn captures_are_the_parts_of_the_normalised_path() {
    assert_eq!(captured(pattern("/a/{x}/b/{y}"), "h/a/1/b/2"), ["1", "2"]);
    assert_eq!(captured(pattern("/a/{x}/{r*}"), "h/a/1/b//2/"), ["1", "b/2/"]);
    assert_eq!(captured(pattern("/a/{x}/{r*}"), "h/a/1"), ["1", ""]);
    assert_eq!(captured(pattern("/a/{r*}"), "h/a/"), [""]);
    assert_eq!(captured(pattern("/{x}"), "h/%7e%c3%a9"), ["~%C3%A9"]);
    let many: String = (0..20).map(|index| format!("/{{p{index}}}")).collect();
    let url: String = std::iter::once("h".to_owned())
        .chain((0..20).map(|index| format!("/{index}")))
        .collect();
    let expected: Vec<_> = (0..20).map(|index| index.to_string()).collect();
    assert_eq!(captured(pattern(&many), &url), expected);
}

fn target(weight: u32, priority: u16) -> WeightedTarget {
    WeightedTarget {
        service: ServiceRef {
            service: Arc::from("x"),
            site: None,
        },
        weight,
        priority,
        canary: None,
    }
}

/// How often each target is picked of a thousand times.
fn picked(targets: &[WeightedTarget], able: &[bool]) -> Vec<usize> {
    let mut counts = vec![0; targets.len()];
    for step in 0..1000u64 {
        if let Some(at) = pick(targets, |at| able[at], step * (u64::MAX / 1000)) {
            counts[at] += 1;
        }
    }
    counts
}

#[test]
fn a_split_gives_each_service_its_share() {
    let targets = [target(90, 0), target(0, 0), target(10, 0)];
    let counts = picked(&targets, &[true; 3]);
    assert!(
        (899..=901).contains(&counts[0]) && counts[1] == 0 && (99..=101).contains(&counts[2]),
        "{counts:?}"
    );
    assert_eq!(pick(&targets, |_| true, u64::MAX), Some(2));
    assert_eq!(pick(&targets, |_| true, 0), Some(0));
    assert_eq!(pick(&[], |_| true, 7), None);
    assert_eq!(pick(&[target(0, 0)], |_| true, 7), None);
    assert_eq!(pick(&[target(0, 0), target(0, 1)], |_| true, 7), None);
}

#[test]
fn c8_weights_hold_within_a_tier_and_whoever_cannot_take_calls_is_stood_in_for() {
    let targets = [target(30, 0), target(70, 0), target(1, 1), target(0, 2), target(5, 3)];
    assert_eq!(picked(&targets, &[true; 5])[2..], [0, 0, 0]);
    assert_eq!(picked(&targets, &[false, true, true, true, true]), [0, 1000, 0, 0, 0]);
    assert_eq!(picked(&targets, &[false, false, true, true, true]), [0, 0, 1000, 0, 0]);
    assert_eq!(picked(&targets, &[false, false, false, true, true]), [0, 0, 0, 0, 1000]);
    let none = picked(&targets, &[false; 5]);
    assert!(
        none[0] > 250 && none[1] > 650,
        "where nobody can, the best tier is asked: {none:?}"
    );
}

#[test]
fn a_call_that_nobody_took_goes_on_tier_by_tier() {
    let targets = [target(1, 0), target(1, 1), target(9, 1), target(0, 2), target(1, 5)];
    assert_eq!(later(&targets, |_| true, 0), [2, 4]);
    assert_eq!(later(&targets, |at| at != 2, 0), [1, 4]);
    assert_eq!(later(&targets, |_| true, 2), [4]);
    assert_eq!(later(&targets, |_| true, 4), [0; 0]);
    assert_eq!(later(&targets, |_| true, 9), [0; 0]);
}

#[test]
fn a_search_visits_as_many_nodes_among_10_000_routes_as_among_10() {
    let visited = |count: usize| {
        let mut tree = trie::Trie::default();
        for index in 0..count {
            for path in [format!("/v1/svc{index}/{{id}}"), format!("/v1/svc{index}/items/{{r*}}")] {
                tree.insert(&Pattern::of(&pattern(&path)), index as u32);
            }
        }
        let mut lists = 0;
        let _ = tree.walk("/v1/svc7/items/a/b/c", &mut |_| {
            lists += 1;
            ControlFlow::Continue(())
        });
        lists
    };
    assert_eq!(visited(10), visited(10_000));
}
