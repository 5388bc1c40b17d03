//! Replies made smaller for clients that take it (RFC 9110, section 12.5.3).

use std::rc::Rc;

use causeway_config::{self as config, Encoding};
use causeway_protocols::{CallHead, Fields, Length, Protocol, name};
use http::{Method, StatusCode};

use super::{Policy, Shape, vary};
use crate::call::Reply;
use crate::context::CallContext;
use crate::payload::{Body, Coded, Compressed};

/// Compresses what flows to the client, where both sides allow it.
#[derive(Debug)]
pub(super) struct Compression(pub(super) config::Compression);

impl Compression {
    /// Whether the reply may be compressed for a client that takes it.
    fn suits(&self, reply: &Reply) -> bool {
        let head = &reply.head;
        let status = !matches!(
            head.status,
            StatusCode::SWITCHING_PROTOCOLS
                | StatusCode::NO_CONTENT
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::NOT_MODIFIED
        );
        let large = match head.length {
            Length::Empty => false,
            Length::Exactly(length) => length >= self.0.min_size,
            Length::Streamed => true,
        };
        let coded = head
            .fields
            .get(name::CONTENT_ENCODING)
            .is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"));
        let kind = head.fields.text(name::CONTENT_TYPE).unwrap_or_default();
        status
            && large
            && !coded
            && !head.fields.has(name::CONTENT_RANGE)
            && !head.fields.has_token(name::CACHE_CONTROL, "no-transform")
            && self.takes(kind)
    }

    fn takes(&self, content_type: &str) -> bool {
        let bare = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        self.0.types.iter().any(|known| match known.strip_suffix('*') {
            Some(prefix) => bare.starts_with(prefix),
            None if known.starts_with('+') => bare.ends_with(known.as_str()),
            None => bare == *known,
        })
    }

    /// The coding that the client likes best; of those that it likes alike, the first that is configured.
    fn choose(&self, request: &CallHead) -> Option<Encoding> {
        let qualities = |encoding: &Encoding| quality(&request.fields, label(*encoding));
        let mut best = None;
        for encoding in &self.0.encodings {
            let quality = qualities(encoding);
            if quality > best.map_or(0, |(_, quality)| quality) {
                best = Some((*encoding, quality));
            }
        }
        best.map(|(encoding, _)| encoding)
    }
}

impl Policy for Compression {
    fn name(&self) -> &'static str {
        "compression"
    }

    fn shape<'a>(&'a self, reply: &'a mut Reply, cx: &'a Rc<CallContext>) -> Shape<'a> {
        let Some(request) = cx.request.get().filter(|_| cx.protocol == Protocol::Http) else {
            return Shape::Done;
        };
        if !self.suits(reply) {
            return Shape::Done;
        }
        vary(&mut reply.head.fields, "accept-encoding");
        if request.method == Method::HEAD || request.fields.has_token(name::CACHE_CONTROL, "no-transform") {
            return Shape::Done;
        }
        let Some(encoding) = self.choose(request) else {
            return Shape::Done;
        };
        let fields = &mut reply.head.fields;
        // Digests are of what was there before, and so are ranges (RFC 9530).
        fields.retain(|field| {
            !matches!(
                field.name.as_str(),
                "accept-ranges" | "content-md5" | "digest" | "content-digest" | "repr-digest" | "content-encoding"
            )
        });
        // Another representation has another strong validator (RFC 9110, section 8.8.1).
        if let Some(tag) = fields.text(name::ETAG).filter(|tag| !tag.starts_with("W/")) {
            let weak = format!("W/{tag}");
            fields.set(name::ETAG, weak.as_bytes()).ok();
        }
        fields
            .push_known(name::CONTENT_ENCODING, label(encoding).as_bytes())
            .ok();
        reply.head.length = Length::Streamed;
        let body = std::mem::replace(&mut reply.body, Body::Empty);
        reply.body = Coded::compressed(Compressed::new(body, encoding, self.0.level));
        Shape::Done
    }

    fn needs_request(&self) -> bool {
        true
    }
}

fn label(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Brotli => "br",
        Encoding::Gzip => "gzip",
    }
}

/// How much a client wants a coding, in thousandths; 0: not at all.
fn quality(fields: &Fields, coding: &str) -> u16 {
    let mut any = 0;
    for value in fields.all(name::ACCEPT_ENCODING) {
        let Ok(text) = std::str::from_utf8(value) else { continue };
        for element in text.split(',') {
            let mut parts = element.split(';').map(str::trim);
            let named = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let weight = weight.map_or(Some(1000), thousandths);
            if named.eq_ignore_ascii_case(coding) || (coding == "gzip" && named.eq_ignore_ascii_case("x-gzip")) {
                return weight.unwrap_or(0);
            }
            if named == "*" {
                any = weight.unwrap_or(0);
            }
        }
    }
    any
}

/// `0.8` is 800; none for what is no weight (RFC 9110, section 12.4.2).
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_the_coding_that_it_likes_best() {
        let policy = Compression(config::Compression {
            encodings: vec![Encoding::Brotli, Encoding::Gzip],
            min_size: 0,
            types: Vec::new(),
            level: 4,
        });
        #[rustfmt::skip]
        let table = [
            ("gzip, deflate, br", Some("br")), ("gzip", Some("gzip")), ("br;q=0.5, gzip;q=0.8", Some("gzip")), ("", None),
            ("*", Some("br")), ("*;q=0.1, br;q=0", Some("gzip")), ("identity", None), ("gzip;q=0", None), ("GZIP;q=1.000", Some("gzip")),
            ("gzip;q=1.5", None), ("br; q=0.001", Some("br")), ("zstd", None), ("x-gzip", Some("gzip")),
        ];
        for (accepts, expected) in table {
            let mut fields = Fields::new();
            fields.push(b"accept-encoding", accepts.as_bytes()).unwrap();
            let mut best = policy
                .0
                .encodings
                .iter()
                .map(|e| (quality(&fields, label(*e)), label(*e)))
                .collect::<Vec<_>>();
            best.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
            let chosen = best
                .first()
                .filter(|(quality, _)| *quality > 0)
                .map(|(_, label)| *label);
            assert_eq!(chosen, expected, "{accepts}");
        }
    }
}
