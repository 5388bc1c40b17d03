//! The rules of precedence written down once more, without a tree, and compared.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;

fn host_rank(host: &Option<String>, asked: &str) -> Option<usize> {
    match host.as_deref() {
        None => Some(0),
        Some(host) => match host.strip_prefix('*') {
            Some(suffix) => (asked.len() > suffix.len() && asked.ends_with(suffix)).then_some(suffix.len()),
            None => (host == asked).then_some(1000),
        },
    }
}

/// One number per segment and one for the end; smaller is better.
fn path_rank(path: &Option<PathMatch>, asked: &str) -> Option<Vec<u8>> {
    let parts: Vec<&str> = asked[1..].split('/').collect();
    match path {
        None => Some(vec![3]),
        Some(PathMatch::Prefix(prefix)) => {
            let prefix = prefix.trim_matches('/');
            let wanted: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
            parts.starts_with(&wanted).then(|| {
                let mut rank = vec![0; wanted.len()];
                rank.push(3);
                rank
            })
        }
        Some(PathMatch::Regex(regex)) => {
            let whole = Regex::new(&format!("^(?:{})$", regex.as_str())).unwrap();
            // The generator's regexes begin with this many literal segments.
            let literal = regex.as_str().matches("/a/").count();
            whole.is_match(asked).then(|| {
                let mut rank = vec![0; literal];
                rank.push(2);
                rank
            })
        }
        Some(PathMatch::Pattern(pattern)) => {
            let mut rank = Vec::new();
            let mut at = 0;
            for segment in pattern {
                match segment {
                    Segment::Literal(text) if parts.get(at) == Some(&text.as_str()) => rank.push(0),
                    Segment::Parameter(_) if parts.get(at).is_some_and(|part| !part.is_empty()) => rank.push(1),
                    Segment::Rest(_) => {
                        rank.push(3);
                        return Some(rank);
                    }
                    _ => return None,
                }
                at += 1;
            }
            (at == parts.len()).then(|| {
                rank.push(0);
                rank
            })
        }
    }
}

fn find(routes: &[Match], call: &CallHead) -> Option<usize> {
    let asked = call.target.path();
    let host = call.target.authority.host();
    let mut best: Option<(usize, usize, Vec<u8>)> = None;
    for (index, route) in routes.iter().enumerate() {
        let (Some(host), Some(path)) = (host_rank(&route.host, host), path_rank(&route.path, asked)) else {
            continue;
        };
        let method = call.method.as_str();
        if !(route.methods.is_empty() || route.methods.iter().any(|known| known == method)) {
            continue;
        }
        let has = |name: &str, value: &ValueMatch| match value {
            ValueMatch::Exact(text) => call.fields.get_named(name) == Some(text.as_bytes()),
            _ => call.fields.get_named(name).is_some(),
        };
        if !route.headers.iter().all(|(name, value)| has(name, value)) {
            continue;
        }
        let query = call.target.query().unwrap_or_default();
        if !route
            .query
            .iter()
            .all(|(name, _)| query.split('&').any(|pair| pair == name))
        {
            continue;
        }
        let better = match &best {
            None => true,
            Some((before, best_host, best_path)) => {
                let known = &routes[*before];
                let order = host
                    .cmp(best_host)
                    .then_with(|| best_path.cmp(&path))
                    .then_with(|| known.methods.is_empty().cmp(&route.methods.is_empty()))
                    .then_with(|| route.headers.len().cmp(&known.headers.len()))
                    .then_with(|| route.query.len().cmp(&known.query.len()));
                order == Ordering::Greater
            }
        };
        if better {
            best = Some((index, host, path));
        }
    }
    best.map(|(index, _, _)| index)
}

fn any_match() -> impl Strategy<Value = Match> {
    let host = prop_oneof![
        Just(None),
        "(a|b|\\*)\\.(x|b\\.x)".prop_map(Some),
        Just(Some("x".to_owned()))
    ];
    let path = prop_oneof![
        1 => Just(None),
        6 => "(/(a|b|\\{p\\})){1,4}(/|/\\{r\\*\\})?".prop_map(|path| Some(PathMatch::Pattern(segments(&path)))),
        1 => Just(Some(PathMatch::Pattern(segments("/")))),
        2 => "(/(a|b)){0,3}/?".prop_map(|path| Some(PathMatch::Prefix(path))),
        2 => "(/a/)?(/?\\[ab\\]\\+|\\.\\*)(/b)?".prop_map(|path| {
            Some(PathMatch::Regex(Regex::new(&path.replace("//", "/")).unwrap()))
        }),
    ];
    let methods = prop_oneof![
        2 => Just(vec![]),
        1 => Just(vec!["GET".to_owned()]),
        1 => Just(vec!["PUT".to_owned(), "POST".to_owned()])
    ];
    let headers = proptest::collection::vec(
        ("(accept|x-a)", prop_oneof![Just(ValueMatch::Present), Just(exact("1"))]),
        0..3,
    );
    let query = proptest::collection::vec(("(q|r)", Just(ValueMatch::Present)), 0..2);
    (host, path, methods, headers, query).prop_map(|(host, path, methods, headers, query)| Match {
        host,
        path,
        methods,
        headers,
        query,
        grpc: None,
        protocol: None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn the_tree_finds_what_a_look_at_every_route_finds(
        routes in proptest::collection::vec(any_match(), 1..24),
        calls in proptest::collection::vec(
            ("(a|b|c)\\.(x|b\\.x)|x|y", "(/(a|b|c)){0,5}/?", "(\\?(q|r|q&r))?", "GET|PUT|POST", "(1|2)?"),
            1..12,
        ),
    ) {
        let table = table(routes.clone());
        for (host, path, query, method, header) in &calls {
            let mut call = head(method, &format!("{host}/{}{query}", path.trim_start_matches('/')));
            if !header.is_empty() {
                call.fields.push(b"x-a", header.as_bytes()).unwrap();
                call.fields.push(b"accept", header.as_bytes()).unwrap();
            }
            let found = table.find(&call).map(|found| found.index).ok();
            prop_assert_eq!(found, find(&routes, &call), "{} {}", method, call.target);
        }
    }
}
