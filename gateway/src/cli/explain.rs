//! `causeway explain`: which route a request would take, why, and where it would go. Asks the very code that serves.

use std::fmt::Write as _;
use std::process::ExitCode;

use causeway_config::{self as config, Config, Destination, Match, PathMatch, Segment, ValueMatch};
use causeway_protocols::{CallHead, Protocol, Scheme, http1, name};
use clap::Args;

use super::{ConfigArgs, Mistake, fail, print};
use crate::edge;
use crate::route::{self, Missed, RouteTable};

/// Other routes that are told of, so that a large configuration gives a short answer.
const OTHERS: usize = 5;

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Method, such as GET.
    method: String,
    /// `http://host/path`, `https://`, `ws://`, `wss://`, `grpc://host/package.Service/Method`, or a path alone.
    url: String,
    /// A field of the request.
    #[arg(long, short = 'H', value_name = "NAME: VALUE")]
    header: Vec<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn explain(args: &ExplainArgs) -> ExitCode {
    let config = match causeway_config::load(&args.config.config, &args.config.set) {
        Ok(config) => config,
        Err(problems) => return fail(&Mistake::input(problems)),
    };
    let head = match head(&args.method, &args.url, &args.header, &config) {
        Ok(head) => head,
        Err(mistake) => return fail(&mistake),
    };
    let told = told(&head, &config);
    let printed = print(&told.text);
    if told.found { printed } else { ExitCode::from(1) }
}

/// The request as a listener would understand it.
fn head(method: &str, url: &str, headers: &[String], config: &Config) -> Result<CallHead, Mistake> {
    let (kind, rest) = match url.split_once("://") {
        Some((kind, rest)) => (kind, rest),
        None if url.starts_with('/') => ("http", url),
        None => {
            let hint = "write it as http://host/path, or as /path";
            return Err(Mistake::input(format!("`{url}` is no URL")).hint(hint));
        }
    };
    let (scheme, spoken) = match kind {
        "http" => (Scheme::Http, Protocol::Http),
        "https" => (Scheme::Https, Protocol::Http),
        "ws" => (Scheme::Http, Protocol::WebSocket),
        "wss" => (Scheme::Https, Protocol::WebSocket),
        "grpc" => (Scheme::Http, Protocol::Grpc),
        "grpcs" => (Scheme::Https, Protocol::Grpc),
        other => {
            let hint = "known are http, https, ws, wss, grpc and grpcs";
            return Err(Mistake::input(format!("unknown scheme `{other}`")).hint(hint));
        }
    };
    let (host, target) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let host = if host.is_empty() { "localhost" } else { host };
    let slash = if target.starts_with('/') { "" } else { "/" };
    let mut text = format!("{method} {slash}{target} HTTP/1.1\r\nhost: {host}\r\n");
    if spoken == Protocol::WebSocket {
        text.push_str(
            "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        );
    }
    if spoken == Protocol::Grpc {
        text.push_str("content-type: application/grpc\r\nte: trailers\r\n");
    }
    for header in headers {
        if header.contains(['\r', '\n']) {
            return Err(Mistake::input("a header has a line break"));
        }
        text.push_str(&format!("{header}\r\n"));
    }
    text.push_str("\r\n");
    let limits = http1::Limits {
        head: config.limits.head,
        fields: config.limits.fields,
        target: config.limits.target,
    };
    let refused = |why: String| Mistake::input(format!("a listener would refuse this request: {why}"));
    let mut head = match http1::request::parse(text.as_bytes(), &limits, scheme) {
        Ok(http1::Parsed::Complete { head, .. }) => head.head,
        Ok(http1::Parsed::Partial) => return Err(refused("it has no end".to_owned())),
        Err(error) => return Err(refused(error.to_string())),
    };
    let grpc = head.fields.text(name::CONTENT_TYPE).is_some_and(|kind| {
        let rest = kind.strip_prefix("application/grpc");
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
    });
    if grpc {
        if head.method != http::Method::POST {
            return Err(refused("gRPC calls are made by POST".to_owned()));
        }
        // It comes by HTTP/2, which is otherwise understood in the same way.
        head.protocol = Protocol::Grpc;
    }
    edge::strip_request(&mut head.fields);
    Ok(head)
}

struct Told {
    text: String,
    found: bool,
}

fn told(head: &CallHead, config: &Config) -> Told {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "request   {} {}{} ({})",
        head.method,
        head.target.authority,
        head.target.path_and_query(),
        head.protocol.label()
    );
    let table = RouteTable::build(&config.routes);
    let found = match table.find(head) {
        Ok(found) => found,
        Err(missed) => {
            let status = missed.kind().status().as_u16();
            let _ = match &missed {
                Missed::NotFound => writeln!(out, "route     none matches: {status}"),
                Missed::Method { allow } => writeln!(out, "route     none takes this method, only {allow}: {status}"),
            };
            for (index, route, why) in nearly(head, &config.routes).take(OTHERS) {
                let _ = writeln!(
                    out,
                    "nearly    routes[{index}] `{}`: {why} differs ({})",
                    route.name,
                    shown(&route.matches)
                );
            }
            return Told {
                text: out,
                found: false,
            };
        }
    };
    let route = found.route;
    let _ = writeln!(out, "route     routes[{}] `{}`", found.index, route.name);
    if let Some(written) = config.routes.get(found.index) {
        let _ = writeln!(out, "matches   {}", shown(&written.matches));
    }
    for (name, value) in captured(route, &found.captures, head.target.path()) {
        let _ = writeln!(out, "captures  {name} = {value}");
    }
    for (index, other) in later(head, &config.routes, found.index) {
        let _ = writeln!(
            out,
            "instead of routes[{index}] `{}`, which matches too and is less specific or comes later",
            other.name
        );
    }
    leads(&mut out, route, &found, head, config);
    Told { text: out, found: true }
}

/// Where the route leads, and what arrives there.
fn leads(out: &mut String, route: &config::Route, found: &route::Found<'_>, head: &CallHead, config: &Config) {
    match &route.to {
        Destination::Aggregate(aggregate) => {
            for leg in &aggregate.legs {
                let _ = writeln!(out, "leg       {} at {}", leg.name, destination(&leg.to, config));
            }
        }
        Destination::Redirect { status, location } => {
            let location = route::location(location, route, &found.captures, &head.target);
            let location = location.unwrap_or_else(|error| format!("(refused: {error})"));
            let _ = writeln!(out, "answer    {status}, location: {location}");
        }
        Destination::Fixed { status, body, .. } => {
            let _ = writeln!(out, "answer    {status}, a fixed body of {} bytes", body.len());
        }
        Destination::Split(split) => {
            let best = split.iter().map(|target| target.priority).min();
            let mut sorted: Vec<_> = split.iter().collect();
            sorted.sort_by_key(|target| target.priority);
            for target in sorted {
                let tier = || split.iter().filter(|other| other.priority == target.priority);
                let total: u64 = tier().map(|other| u64::from(other.weight)).sum();
                let share = match (tier().count(), total) {
                    (1, _) | (_, 0) => String::new(),
                    _ => format!(" ({:.0}%)", f64::from(target.weight) * 100.0 / total as f64),
                };
                let to = if Some(target.priority) == best {
                    "goes to   "
                } else {
                    "or else   "
                };
                let _ = writeln!(out, "{to}{}{share}", destination(&target.service, config));
            }
            match route::rewrite(route, &found.captures, &head.target) {
                Ok(target) if target != head.target => {
                    let _ = writeln!(out, "as        {}", target.path_and_query());
                }
                Ok(_) => {}
                Err(error) => {
                    let _ = writeln!(out, "as        nothing: the rewritten path is refused, {error}");
                }
            }
        }
    }
}

fn destination(to: &config::ServiceRef, config: &Config) -> String {
    match &to.site {
        Some(site) => {
            let dialled = config.peers.iter().find(|peer| peer.site == *site);
            let how = match dialled.and_then(|peer| peer.discover.as_ref()) {
                Some(discover) => format!("we dial {}", places(discover)),
                None => "it dials us".to_owned(),
            };
            format!("`{}` at site `{site}`, if it exports it to us; {how}", to.service)
        }
        None => {
            let service = config.services.iter().find(|service| service.name == to.service);
            match service {
                Some(service) => format!(
                    "`{}` here: {} at {}",
                    to.service,
                    protocol(service.protocol).label(),
                    places(&service.endpoints)
                ),
                None => format!("`{}` here", to.service),
            }
        }
    }
}

fn places(discover: &config::Discover) -> String {
    match discover {
        config::Discover::Dns { host, port } => format!("dns:{host}:{port}"),
        config::Discover::Srv { name } => format!("srv:{name}"),
        config::Discover::Static(list) => {
            let list: Vec<_> = list.iter().map(|endpoint| endpoint.address.to_string()).collect();
            list.join(", ")
        }
    }
}

fn protocol(of: config::Protocol) -> Protocol {
    match of {
        config::Protocol::Grpc => Protocol::Grpc,
        config::Protocol::Http => Protocol::Http,
        config::Protocol::WebSocket => Protocol::WebSocket,
    }
}

fn captured<'a>(route: &'a config::Route, captures: &'a route::Captures, path: &'a str) -> Vec<(&'a str, &'a str)> {
    let Some(PathMatch::Pattern(segments)) = &route.matches.path else {
        return Vec::new();
    };
    let names = segments.iter().filter_map(|segment| match segment {
        Segment::Literal(_) => None,
        Segment::Parameter(name) | Segment::Rest(name) => Some(name.as_str()),
    });
    names
        .enumerate()
        .filter_map(|(index, name)| Some((name, captures.get(index, path)?)))
        .collect()
}

/// The routes that would be taken if the better ones were not there, best first.
fn later<'c>(head: &CallHead, routes: &'c [config::Route], taken: usize) -> Vec<(usize, &'c config::Route)> {
    let mut left: Vec<_> = routes.iter().enumerate().filter(|(index, _)| *index != taken).collect();
    let mut found = Vec::new();
    while found.len() < OTHERS {
        let table = RouteTable::build(&left.iter().map(|(_, route)| (*route).clone()).collect::<Vec<_>>());
        let Ok(next) = table.find(head) else { break };
        found.push(left.remove(next.index));
    }
    found
}

/// Routes that one condition alone keeps from matching, with its name.
fn nearly<'c>(
    head: &CallHead,
    routes: &'c [config::Route],
) -> impl Iterator<Item = (usize, &'c config::Route, &'static str)> {
    type Relax = fn(&mut Match);
    let relaxations: [(&str, Relax); 6] = [
        ("the method", |matches| matches.methods.clear()),
        ("a header", |matches| matches.headers.clear()),
        ("the query", |matches| matches.query.clear()),
        ("the protocol", |matches| matches.protocol = None),
        ("the host", |matches| matches.host = None),
        ("the path", |matches| (matches.path, matches.grpc) = (None, None)),
    ];
    routes.iter().enumerate().filter_map(move |(index, route)| {
        let (why, _) = relaxations.iter().find(|(_, relax)| {
            let mut relaxed = route.clone();
            relax(&mut relaxed.matches);
            RouteTable::build(&[relaxed]).find(head).is_ok()
        })?;
        Some((index, route, *why))
    })
}

/// A match as one writes it.
fn shown(matches: &Match) -> String {
    let mut parts = Vec::new();
    if let Some(host) = &matches.host {
        parts.push(format!("host = \"{host}\""));
    }
    match &matches.path {
        None => {}
        Some(PathMatch::Prefix(prefix)) => parts.push(format!("path_prefix = \"{prefix}\"")),
        Some(PathMatch::Regex(regex)) => parts.push(format!("path_regex = '{regex}'")),
        Some(PathMatch::Pattern(segments)) => {
            let path: String = segments
                .iter()
                .map(|segment| match segment {
                    Segment::Literal(text) => format!("/{text}"),
                    Segment::Parameter(name) => format!("/{{{name}}}"),
                    Segment::Rest(name) => format!("/{{{name}*}}"),
                })
                .collect();
            parts.push(format!("path = \"{}\"", if path.is_empty() { "/" } else { &path }));
        }
    }
    if !matches.methods.is_empty() {
        parts.push(format!("methods = {:?}", matches.methods));
    }
    for (kind, list) in [("header", &matches.headers), ("query", &matches.query)] {
        for (name, value) in list {
            parts.push(match value {
                ValueMatch::Exact(text) => format!("{kind} {name} = \"{}\"", text.escape_debug()),
                ValueMatch::Present => format!("{kind} {name} is there"),
                ValueMatch::Regex(regex) => format!("{kind} {name} matches '{regex}'"),
            });
        }
    }
    if let Some(grpc) = &matches.grpc {
        let method = grpc.method.as_ref().map(|method| format!("/{method}"));
        parts.push(format!("grpc = \"{}{}\"", grpc.service, method.unwrap_or_default()));
    }
    if let Some(spoken) = matches.protocol {
        parts.push(format!("protocol = \"{}\"", protocol(spoken).label()));
    }
    if parts.is_empty() {
        "everything".to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests;
