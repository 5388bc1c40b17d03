//! Templates over the captures of a route: rewritten paths and redirect locations.

use std::borrow::Cow;

use causeway_config::{PathMatch, Rewrite, Route, Segment};
use causeway_protocols::target::Authority;
use causeway_protocols::{Target, TargetError};

use super::Found;
use super::captures::Captures;
use super::pattern::regex_capture;

/// The target that is forwarded. The query stays; the new path is normalised like what a client sends, so what was
/// authorised and what is forwarded follow the same rules.
///
/// # Errors
/// When the path that comes out is not one that a client may ask for.
pub fn rewrite(route: &Route, captures: &Captures, target: &Target) -> Result<Target, TargetError> {
    match &route.rewrite {
        None => Ok(target.clone()),
        Some(Rewrite::StripPrefix(prefix)) => match strip(target.path(), prefix) {
            Some(path) => target.with_path(&path),
            None => Ok(target.clone()),
        },
        Some(Rewrite::Template(template)) => {
            let mut path = String::with_capacity(template.len() + target.path().len());
            for part in parts(template) {
                path.push_str(&match part {
                    Part::Literal(text) => Cow::Borrowed(text),
                    Part::Value(name) => value(name, route, captures, target),
                });
            }
            target.with_path(&path)
        }
    }
}

/// What each parameter of a route's path stands for, groups of a regular expression included.
pub fn captured(found: &Found<'_>, target: &Target) -> Vec<(Box<str>, Box<str>)> {
    let route = found.route;
    let names: Vec<String> = match &route.matches.path {
        Some(PathMatch::Pattern(segments)) => segments
            .iter()
            .filter_map(|segment| match segment {
                Segment::Parameter(name) | Segment::Rest(name) => Some(name.clone()),
                Segment::Literal(_) => None,
            })
            .collect(),
        Some(PathMatch::Regex(regex)) => {
            let numbers = (1..regex.captures_len()).map(|number| number.to_string());
            let names = regex.capture_names().flatten().map(str::to_owned);
            names.chain(numbers).collect()
        }
        Some(PathMatch::Prefix(_)) | None => Vec::new(),
    };
    names
        .into_iter()
        .map(|name| {
            let value = value(&name, route, &found.captures, target);
            (Box::from(&*name), Box::from(&*value))
        })
        .collect()
}

/// A path without a prefix that ends at a slash or with the path; none where it does not begin with it.
fn strip(path: &str, prefix: &str) -> Option<String> {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'))?;
    match rest.as_bytes().first() {
        None => Some("/".to_owned()),
        Some(b'/') => Some(rest.to_owned()),
        Some(_) => None,
    }
}

/// The `location` of a redirect: a template over the captures, `{path}`, `{query}` and `{host}`.
///
/// What the client sent never decides whom the redirect leads to beyond what the template says: a location that does not
/// begin with `http://` or `https://` begins with exactly one `/`; captures take part in the authority only as labels
/// before a fixed ending; and bytes that browsers drop or read as a slash (control characters, spaces, `\`) are encoded.
///
/// # Errors
/// [`TargetError::Authority`] when no authority comes out, e.g. `{host}` of a client that sent none.
pub fn location(template: &str, route: &Route, captures: &Captures, target: &Target) -> Result<String, TargetError> {
    let mut location = String::with_capacity(template.len() + target.path().len());
    let mut parts = parts(template).collect::<Vec<_>>().into_iter().peekable();
    let scheme = match parts.peek() {
        Some(Part::Literal(text)) => ["https://", "http://"].into_iter().find(|scheme| {
            text.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        }),
        _ => None,
    };
    if let Some(scheme) = scheme {
        location.push_str(scheme);
        let mut authority = String::new();
        let mut skip = scheme.len();
        let mut path = Cow::Borrowed("");
        while let Some(part) = parts.next() {
            match part {
                Part::Literal(text) => {
                    let text = text.get(skip..).unwrap_or_default();
                    skip = 0;
                    if let Some(end) = text.find(['/', '?', '#']) {
                        let (before, after) = text.split_at(end);
                        authority.push_str(before);
                        path = Cow::Borrowed(after);
                        break;
                    }
                    authority.push_str(text);
                }
                Part::Value(name) => {
                    let text = value(name, route, captures, target);
                    let goes_on =
                        matches!(parts.peek(), Some(Part::Literal(next)) if !next.starts_with(['/', '?', '#']));
                    if name == "host" || (goes_on && !text.is_empty() && text.bytes().all(is_label)) {
                        authority.push_str(&text);
                    } else if !text.is_empty() {
                        // The path begins here, whether or not the template has a slash.
                        path = if text.starts_with('/') {
                            text
                        } else {
                            Cow::Owned(format!("/{text}"))
                        };
                        break;
                    }
                }
            }
        }
        Authority::parse(authority.as_bytes())?;
        location.push_str(&authority);
        encode(&path, &mut location);
    }
    for part in parts {
        match part {
            Part::Literal(text) => encode(text, &mut location),
            Part::Value(name) => encode(&value(name, route, captures, target), &mut location),
        }
    }
    if location.ends_with('?') {
        location.pop();
    }
    if scheme.is_none() {
        // `//host` is another site's address.
        let rest = location.trim_start_matches('/');
        return Ok(format!("/{rest}"));
    }
    Ok(location)
}

fn is_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'\\' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'^' | b'|' => out.push_str(&format!("%{byte:02X}")),
            0x21..=0x7e => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// A part of a template.
#[derive(Clone, Copy, Debug)]
enum Part<'t> {
    Literal(&'t str),
    Value(&'t str),
}

/// Cuts a template at `{name}` and `{name*}`; an opening brace without a closing one is text.
fn parts(template: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = template;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some((name, after)) = rest.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
            rest = after;
            return Some(Part::Value(name.strip_suffix('*').unwrap_or(name)));
        }
        let end = rest
            .char_indices()
            .skip(1)
            .find(|(_, char)| *char == '{')
            .map_or(rest.len(), |(at, _)| at);
        let (text, after) = rest.split_at(end);
        rest = after;
        Some(Part::Literal(text))
    })
}

/// What a name stands for; nothing where it is unknown, which a checked configuration does not have.
fn value<'a>(name: &str, route: &Route, captures: &Captures, target: &'a Target) -> Cow<'a, str> {
    let path = target.path();
    let captured = match &route.matches.path {
        Some(PathMatch::Pattern(segments)) => segments
            .iter()
            .filter_map(|segment| match segment {
                Segment::Parameter(name) | Segment::Rest(name) => Some(name),
                Segment::Literal(_) => None,
            })
            .position(|known| known == name)
            .and_then(|index| captures.get(index, path)),
        Some(PathMatch::Regex(regex)) => regex_capture(regex, path, name),
        Some(PathMatch::Prefix(_)) | None => None,
    };
    Cow::Borrowed(captured.unwrap_or_else(|| match name {
        "path" => path,
        "query" => target.query().unwrap_or_default(),
        "host" => target.authority.host(),
        _ => "",
    }))
}
