//! The cache as clients see it, at one gateway and at a pair.

mod keeping;
mod poisoning;
mod sharing;

use crate::policy::testing::origin::{Origin, Said, Seen};
use crate::policy::testing::{Answer, Sites, http};

/// Gateways whose route `/` keeps replies of an origin, with these keys in its table.
fn sites(origin: &Origin, keys: &str) -> Sites {
    let tables = format!(
        "[[routes]]\nname = 'kept'\nmatch = {{ path_prefix = '/' }}\nto = 'origin@@'\n[routes.cache]\n{keys}\n"
    );
    Sites::start_with("", &origin.service(), &tables)
}

/// An answer that is fresh for a minute, with a body that tells one answer from another.
fn fresh(body: &str) -> Said {
    (200, "cache-control: max-age=60\r\n".into(), body.into())
}

/// What the cache says it did, without its name and numbers.
fn did(answer: &Answer) -> String {
    let status = answer.header("cache-status").unwrap_or_default();
    let said = status.split_once("; ").map_or("", |(_, said)| said);
    said.split("; ttl").next().unwrap_or_default().to_owned()
}

fn get(at: std::net::SocketAddr, target: &str, lines: &str) -> Answer {
    http(at, "GET", target, lines, b"")
}

/// Answers with what it saw.
fn echo(seen: &Seen) -> String {
    let headers: Vec<_> = seen
        .headers
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("{} {} {}", seen.method, seen.target, headers.join("|"))
}
