//! What tells one kept reply from another.
//!
//! A key has two parts. The *URI* is what the client asked for: by it replies are purged, and made invalid by unsafe
//! methods. The *scope* is everything else that may have made the answer: route, service, the target where it was
//! rewritten, the caller where the route says so, and request fields that the route names. On top of both comes `vary`,
//! which only the reply knows. Nothing that reaches a service and could change its answer is in neither (threats.md, C1):
//! parameters that are no part of the key are not sent, and what proxies say (`x-forwarded-*`) has been stripped and set
//! from scheme, authority and address.

use std::borrow::Cow;
use std::sync::Arc;

use causeway_config as config;
use causeway_protocols::{CallHead, Fields, Protocol, Scheme, Target, TargetError, name};

use crate::dispatch::{Aim, Upstream};

/// Request fields that a reply may vary on; one that names more is not kept.
const VARY_FIELDS: usize = 16;
/// Bytes of their values together.
const VARY_BYTES: usize = 8 * 1024;

/// The two parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Scheme, authority, path and query; for gRPC the message, too.
    pub uri: Arc<[u8]>,
    /// What else made the answer.
    pub scope: Arc<[u8]>,
}

/// What of a call becomes the scope.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The route's name.
    pub route: &'a str,
    /// Where the call goes.
    pub aim: &'a Aim,
    /// Who calls, where that is to matter.
    pub identity: Option<&'a [u8]>,
    /// Callers of a class share replies with each other only.
    pub class: u8,
    /// What the route keeps apart.
    pub rules: &'a config::Cache,
}

/// Scheme, authority, path and query as they identify a resource.
pub fn uri(scheme: Scheme, target: &Target) -> Vec<u8> {
    let (authority, path) = (target.authority.as_str(), target.path_and_query());
    let mut uri = Vec::with_capacity(8 + authority.len() + path.len());
    uri.extend_from_slice(scheme.label().as_bytes());
    uri.extend_from_slice(b"://");
    uri.extend_from_slice(authority.as_bytes());
    uri.extend_from_slice(path.as_bytes());
    uri
}

impl Scope<'_> {
    /// The bytes of the scope: parts of known order, each with its length before it, so that no two lists of parts give
    /// the same bytes.
    pub fn encode(&self, head: &CallHead, uri: &[u8]) -> Vec<u8> {
        let mut scope = Vec::with_capacity(64);
        put(&mut scope, self.route.as_bytes());
        match &self.aim.to {
            Upstream::Local(service) => put(&mut scope, service.config().name.as_bytes()),
            Upstream::Remote { link, export } => {
                put(&mut scope, export.as_bytes());
                put(&mut scope, link.site.as_bytes());
            }
        }
        let sent = self::uri(head.scheme, &head.target);
        put(&mut scope, if sent == uri { b"" } else { &sent });
        put(&mut scope, head.protocol.label().as_bytes());
        scope.push(self.class);
        maybe(&mut scope, self.identity);
        for field in &self.rules.key_headers {
            maybe(&mut scope, value(&head.fields, field).as_deref());
        }
        if head.protocol == Protocol::Grpc {
            // How the message is compressed, and how its answer may be.
            maybe(&mut scope, head.fields.get(name::GRPC_ENCODING));
            maybe(&mut scope, head.fields.get(name::GRPC_ACCEPT_ENCODING));
        }
        scope
    }
}

fn put(scope: &mut Vec<u8>, part: &[u8]) {
    scope.extend_from_slice(&(part.len() as u64).to_be_bytes());
    scope.extend_from_slice(part);
}

fn maybe(scope: &mut Vec<u8>, part: Option<&[u8]>) {
    match part {
        Some(part) => {
            scope.push(1);
            put(scope, part);
        }
        None => scope.push(0),
    }
}

/// The values of a request field in one form: list members without the space around them, joined by commas. What codings
/// a client takes is compared as a set.
pub fn value<'a>(fields: &'a Fields, name: &str) -> Option<Cow<'a, [u8]>> {
    let mut values = fields
        .iter()
        .filter(|field| field.name.as_str() == name)
        .map(|field| field.value);
    let first = values.next()?;
    let sorted = name == "accept-encoding";
    let plain = !sorted && !first.iter().any(|byte| matches!(byte, b',' | b' ' | b'\t'));
    let mut more = values.peekable();
    if plain && more.peek().is_none() {
        return Some(Cow::Borrowed(first));
    }
    let mut members: Vec<Vec<u8>> = std::iter::once(first)
        .chain(more)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|member| {
            let member = member.trim_ascii();
            if sorted {
                member.to_ascii_lowercase()
            } else {
                member.to_vec()
            }
        })
        .collect();
    if sorted {
        members.sort_unstable();
        members.dedup();
    }
    Some(Cow::Owned(members.join(&b',')))
}

/// What a reply varies on, with the values of the call that it answers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Vary(Box<[Pair]>);

/// A field and its value; none where the call had no such field.
type Pair = (Box<str>, Option<Box<[u8]>>);

impl Vary {
    /// Reads `vary` of a reply. None where it names too much to keep.
    pub fn of(reply: &Fields, request: &Fields) -> Option<Self> {
        let mut names: Vec<Box<str>> = Vec::new();
        for field in reply.all(name::VARY) {
            for name in field
                .split(|byte| *byte == b',')
                .map(<[u8]>::trim_ascii)
                .filter(|name| !name.is_empty())
            {
                let name: Box<str> = std::str::from_utf8(name).ok()?.to_ascii_lowercase().into();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let mut bytes = 0;
        let mut pairs = Vec::with_capacity(names.len());
        for name in names {
            let value = value(request, &name).map(|value| Box::from(&*value));
            bytes += name.len() + value.as_deref().map_or(0, <[u8]>::len);
            pairs.push((name, value));
        }
        (pairs.len() <= VARY_FIELDS && bytes <= VARY_BYTES).then(|| Self(pairs.into()))
    }

    /// Whether a call with these fields would get the same answer (RFC 9111, section 4.1).
    pub fn fits(&self, request: &Fields) -> bool {
        self.0
            .iter()
            .all(|(name, kept)| value(request, name).as_deref() == kept.as_deref())
    }

    /// Bytes it takes.
    pub fn size(&self) -> usize {
        self.0
            .iter()
            .map(|(name, value)| 48 + name.len() + value.as_deref().map_or(0, <[u8]>::len))
            .sum()
    }
}

/// The target with only those parameters that are part of the key, in the order that the route says; none where nothing
/// changes.
///
/// # Errors
/// None that a target which was parsed once can cause.
pub fn normalise(target: &Target, rules: &config::CacheQuery) -> Result<Option<Target>, TargetError> {
    let Some(query) = target.query() else { return Ok(None) };
    if rules.only.is_none() && rules.ignore.is_empty() && !rules.sort {
        return Ok(None);
    }
    let name = |parameter: &str| parameter.split('=').next().unwrap_or_default().to_owned();
    let counts = |parameter: &&str| {
        let name = name(parameter);
        let known = |list: &[String]| {
            list.iter().any(|known| match known.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => *known == name,
            })
        };
        !parameter.is_empty() && rules.only.as_ref().is_none_or(|only| known(only)) && !known(&rules.ignore)
    };
    let mut parameters: Vec<&str> = query.split('&').filter(counts).collect();
    if rules.sort {
        // Stable: values of one name keep their order, which often has a meaning.
        parameters.sort_by_key(|parameter| name(parameter));
    }
    let kept = parameters.join("&");
    if kept == query {
        return Ok(None);
    }
    let mut raw = target.path().to_owned();
    if !kept.is_empty() {
        raw.push('?');
        raw.push_str(&kept);
    }
    Target::parse(target.authority.clone(), raw.as_bytes()).map(Some)
}

#[cfg(test)]
mod tests {
    use causeway_protocols::Authority;

    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            fields.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        fields
    }

    fn target(text: &str) -> Target {
        Target::parse(Authority::parse(b"shop.example").unwrap(), text.as_bytes()).unwrap()
    }

    fn rules(only: Option<&[&str]>, ignore: &[&str], sort: bool) -> config::CacheQuery {
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        config::CacheQuery {
            only: only.map(owned),
            ignore: owned(ignore),
            sort,
        }
    }

    #[test]
    fn c1_a_parameter_that_is_no_part_of_the_key_is_not_sent() {
        for (text, only, ignore, sort, want) in [
            ("/a?b=1&c=2", None, &[][..], false, "/a?b=1&c=2"),
            ("/a?b=1&utm_source=x&utm_id=y", None, &["utm_*"][..], false, "/a?b=1"),
            ("/a?utm_source=x", None, &["utm_*"][..], false, "/a"),
            ("/a?b=1&utm=2", None, &["utm_*"][..], false, "/a?b=1&utm=2"),
            (
                "/a?z=1&page=2&page=1&q",
                Some(&["page", "q"][..]),
                &[][..],
                false,
                "/a?page=2&page=1&q",
            ),
            ("/a?c=1&b=2&b=1&&a", None, &[][..], true, "/a?a&b=2&b=1&c=1"),
            // Written differently it is another parameter: it counts, and is sent.
            ("/a?utm%5Fid=x", None, &["utm_*"][..], false, "/a?utm%5Fid=x"),
            ("/a", None, &["b"][..], true, "/a"),
            ("/a?", Some(&["b"][..]), &[][..], false, "/a?"),
        ] {
            let before = target(text);
            let after = normalise(&before, &rules(only, ignore, sort)).unwrap();
            let after = after.as_ref().unwrap_or(&before).path_and_query();
            assert_eq!(after, want, "{text}");
        }
    }

    #[test]
    fn c1_scheme_port_and_authority_tell_resources_apart() {
        let uris = [
            uri(Scheme::Http, &target("/a")),
            uri(Scheme::Https, &target("/a")),
            uri(Scheme::Http, &target("/a?")),
            uri(
                Scheme::Http,
                &Target::parse(Authority::parse(b"shop.example:8080").unwrap(), b"/a").unwrap(),
            ),
        ];
        for (at, one) in uris.iter().enumerate() {
            assert!(uris.iter().skip(at + 1).all(|other| other != one));
        }
        assert_eq!(uris[0], b"http://shop.example/a");
    }

    #[test]
    fn a_reply_fits_only_calls_whose_fields_say_the_same() {
        let request = fields(&[("accept-language", "de, en"), ("accept-encoding", "gzip, br")]);
        let reply = fields(&[("vary", "Accept-Language"), ("vary", "accept-encoding,X-Plan")]);
        let vary = Vary::of(&reply, &request).unwrap();
        for (pairs, fits) in [
            (
                &[("accept-language", "de,en"), ("accept-encoding", "BR,gzip")][..],
                true,
            ),
            (
                &[
                    ("accept-language", "de"),
                    ("accept-language", "en"),
                    ("accept-encoding", "gzip,br"),
                ][..],
                true,
            ),
            (
                &[("accept-language", "en,de"), ("accept-encoding", "gzip,br")][..],
                false,
            ),
            (&[("accept-language", "de,en"), ("accept-encoding", "gzip")][..], false),
            (
                &[
                    ("accept-language", "de,en"),
                    ("accept-encoding", "gzip,br"),
                    ("x-plan", ""),
                ][..],
                false,
            ),
            (&[][..], false),
        ] {
            assert_eq!(vary.fits(&fields(pairs)), fits, "{pairs:?}");
        }
    }

    #[test]
    fn c3_a_reply_that_varies_on_too_much_is_not_kept() {
        let many: Vec<String> = (0..=VARY_FIELDS).map(|at| format!("x-{at}")).collect();
        assert_eq!(Vary::of(&fields(&[("vary", &many.join(","))]), &Fields::new()), None);
        assert!(Vary::of(&fields(&[("vary", &many[1..].join(","))]), &Fields::new()).is_some());
        let long = "a".repeat(VARY_BYTES);
        assert_eq!(
            Vary::of(&fields(&[("vary", "cookie")]), &fields(&[("cookie", &long)])),
            None
        );
    }
}
