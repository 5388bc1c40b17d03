//! The reply that a kept one makes for a call: whole, a part, or that nothing has changed.

use std::ops::Range;
use std::time::Instant;

use causeway_protocols::{CallHead, End, Fields, Length, ReplyHead, name};
use http::{Method, StatusCode};

use super::directives::split;
use super::entry::Stored;
use super::freshness::parse_date;
use crate::call::Reply;
use crate::payload::{Body, Coded};

/// Makes the reply. `head` is the call as its client made it, conditions and ranges included.
pub fn reply(stored: &Stored, head: &CallHead, now: Instant) -> Reply {
    let mut reply = if is_unchanged(stored.status, &stored.fields, &head.fields) {
        unchanged(&stored.fields)
    } else if let Some(range) = part(stored, head) {
        partial(stored, range)
    } else {
        whole(stored)
    };
    let age = stored.age(now).as_secs();
    reply.head.fields.push_known(name::AGE, age.to_string().as_bytes()).ok();
    if head.method == Method::HEAD {
        reply.body = Body::Empty;
    }
    reply
}

fn whole(stored: &Stored) -> Reply {
    let length = match stored.status {
        StatusCode::NO_CONTENT => Length::Empty,
        // Trailers need a body that is told to be over.
        _ if !stored.trailers.is_empty() => Length::Streamed,
        _ => Length::Exactly(stored.body.len() as u64),
    };
    let mut head = ReplyHead::new(stored.status, length);
    head.fields = stored.fields.clone();
    let body = if stored.trailers.is_empty() {
        Body::Bytes(stored.body.clone())
    } else {
        let end = End {
            trailers: stored.trailers.clone(),
        };
        Coded::ended(stored.body.clone(), end)
    };
    Reply::whole(head, body)
}

/// RFC 9110, section 15.4.5: what a cache at the client needs, and nothing that describes a body.
pub(super) fn unchanged(kept: &Fields) -> Reply {
    let mut head = ReplyHead::new(StatusCode::NOT_MODIFIED, Length::Empty);
    head.fields = kept.clone();
    let body = [
        name::CONTENT_TYPE,
        name::CONTENT_ENCODING,
        name::CONTENT_LANGUAGE,
        name::CONTENT_RANGE,
    ];
    head.fields.retain(|field| !body.iter().any(|id| field.name.is(*id)));
    Reply::whole(head, Body::Empty)
}

/// Whether the client has a reply with this status and these fields (RFC 9110, sections 13.1.2, 13.1.3 and 13.2.2).
pub(super) fn is_unchanged(status: StatusCode, kept: &Fields, request: &Fields) -> bool {
    if status != StatusCode::OK {
        return false;
    }
    if request.has(name::IF_NONE_MATCH) {
        let tag = kept.get(name::ETAG);
        return request.all(name::IF_NONE_MATCH).any(|value| {
            let Ok(text) = std::str::from_utf8(value) else {
                return false;
            };
            let same = |one: &str| tag.is_some_and(|tag| weak(one.as_bytes()) == weak(tag));
            text.trim() == "*" || split(text).any(same)
        });
    }
    let since = request.text(name::IF_MODIFIED_SINCE).and_then(parse_date);
    let changed = kept
        .text(name::LAST_MODIFIED)
        .or_else(|| kept.text(name::DATE))
        .and_then(parse_date);
    matches!((since, changed), (Some(since), Some(changed)) if changed <= since)
}

/// A tag as the weak comparison sees it (RFC 9110, section 8.8.3.2).
fn weak(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The part that the client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Bytes(Range<usize>),
    /// There is no such part.
    Nowhere,
}

/// The one range of a GET, if it is to be heeded (RFC 9110, sections 13.1.5 and 14.2). Several are not: the whole is an
/// answer, too, and small ranges in great number are an attack.
fn part(stored: &Stored, head: &CallHead) -> Option<Part> {
    if head.method != Method::GET || stored.status != StatusCode::OK || !stored.trailers.is_empty() {
        return None;
    }
    let mut ranges = head.fields.all(name::RANGE);
    let (range, None) = (ranges.next()?, ranges.next()) else {
        return None;
    };
    if let Some(condition) = head.fields.text(name::IF_RANGE)
        && !holds(stored, condition)
    {
        return None;
    }
    let range = std::str::from_utf8(range).ok()?;
    let (unit, set) = range.split_once('=')?;
    let (first, last) = set.trim().split_once('-')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let number = |text: &str| -> Option<usize> {
        text.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
        // What no number holds is behind the end of everything.
        Some(text.parse().unwrap_or(usize::MAX))
    };
    let length = stored.body.len();
    Some(match (first.is_empty(), last.is_empty()) {
        (true, true) => return None,
        (true, false) => match number(last)? {
            0 => Part::Nowhere,
            count => Part::Bytes(length.saturating_sub(count)..length),
        },
        (false, true) => Part::Bytes(number(first)?..length),
        (false, false) => {
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            Part::Bytes(first..last.saturating_add(1).min(length))
        }
    })
    .map(|part| match part {
        Part::Bytes(range) if range.start >= range.end => Part::Nowhere,
        part => part,
    })
}

/// `if-range`: the strong comparison of tags, or the very date.
fn holds(stored: &Stored, condition: &str) -> bool {
    let is_tag = condition.starts_with('"') || condition.starts_with("W/");
    let kept = if is_tag {
        stored.fields.text(name::ETAG).filter(|tag| !tag.starts_with("W/"))
    } else {
        stored.fields.text(name::LAST_MODIFIED)
    };
    kept == Some(condition)
}

fn partial(stored: &Stored, part: Part) -> Reply {
    let length = stored.body.len();
    match part {
        Part::Bytes(range) => {
            let count = range.len() as u64;
            let mut head = ReplyHead::new(StatusCode::PARTIAL_CONTENT, Length::Exactly(count));
            head.fields = stored.fields.clone();
            let said = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            head.fields.push_known(name::CONTENT_RANGE, said.as_bytes()).ok();
            Reply::whole(head, Body::Bytes(stored.body.slice(range)))
        }
        Part::Nowhere => {
            let mut head = ReplyHead::new(StatusCode::RANGE_NOT_SATISFIABLE, Length::Exactly(0));
            let said = format!("bytes */{length}");
            head.fields.push_known(name::CONTENT_RANGE, said.as_bytes()).ok();
            Reply::whole(head, Body::Empty)
        }
    }
}

#[cfg(test)]
mod tests {
    use causeway_protocols::{Authority, Protocol, Scheme, Target};

    use super::*;
    use crate::cache::entry::tests::stored;

    fn call(method: Method, lines: &str) -> CallHead {
        let mut fields = Fields::new();
        for line in lines.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            fields.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        CallHead {
            protocol: Protocol::Http,
            method,
            scheme: Scheme::Http,
            target: Target::parse(Authority::parse(b"a").unwrap(), b"/").unwrap(),
            fields,
            length: Length::Empty,
            hold: false,
        }
    }

    fn kept() -> Stored {
        let mut kept = stored("0123456789", 60, 0);
        for (name, value) in [
            ("etag", "\"a,b\""),
            ("last-modified", "Wed, 25 Nov 2026 12:00:00 GMT"),
            ("content-type", "text/plain"),
        ] {
            kept.fields.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        kept
    }

    #[test]
    fn conditions_of_a_client_are_answered_here() {
        for (lines, status) in [
            ("", 200),
            ("if-none-match: \"a,b\"", 304),
            ("if-none-match: W/\"a,b\"", 304),
            ("if-none-match: \"x\", \"a,b\"", 304),
            ("if-none-match: *", 304),
            ("if-none-match: \"a\"", 200),
            ("if-none-match: \"b\"", 200),
            ("if-modified-since: Wed, 25 Nov 2026 12:00:00 GMT", 304),
            ("if-modified-since: Wed, 25 Nov 2026 11:59:59 GMT", 200),
            ("if-modified-since: yesterday", 200),
            // A tag that does not fit outweighs a date that does.
            (
                "if-none-match: \"x\"\nif-modified-since: Wed, 25 Nov 2026 12:00:00 GMT",
                200,
            ),
        ] {
            let kept = kept();
            let reply = reply(&kept, &call(Method::GET, lines), kept.since);
            assert_eq!(reply.head.status.as_u16(), status, "{lines}");
            assert_eq!(reply.head.fields.has(name::CONTENT_TYPE), status == 200);
            assert!(reply.head.fields.has(name::ETAG));
        }
    }

    #[test]
    fn c1_a_range_is_cut_from_the_whole_and_never_kept_as_one() {
        for (lines, status, range) in [
            ("range: bytes=0-0", 206, "bytes 0-0/10"),
            ("range: bytes=2-", 206, "bytes 2-9/10"),
            ("range: bytes=-3", 206, "bytes 7-9/10"),
            ("range: bytes=-30", 206, "bytes 0-9/10"),
            ("range: bytes=5-500", 206, "bytes 5-9/10"),
            ("range: bytes=5-99999999999999999999999", 206, "bytes 5-9/10"),
            ("range: bytes=10-", 416, "bytes */10"),
            ("range: bytes=-0", 416, "bytes */10"),
            ("range: bytes=5-4", 200, ""),
            ("range: bytes=a-b", 200, ""),
            ("range: lines=1-2", 200, ""),
            ("range: bytes=0-1,3-4", 200, ""),
            ("range: bytes=-", 200, ""),
            ("range: bytes=0-1\nif-range: \"a,b\"", 206, "bytes 0-1/10"),
            ("range: bytes=0-1\nif-range: \"x\"", 200, ""),
            ("range: bytes=0-1\nif-range: W/\"a,b\"", 200, ""),
            (
                "range: bytes=0-1\nif-range: Wed, 25 Nov 2026 12:00:00 GMT",
                206,
                "bytes 0-1/10",
            ),
            ("range: bytes=0-1\nif-none-match: \"a,b\"", 304, ""),
        ] {
            let kept = kept();
            let reply = reply(&kept, &call(Method::GET, lines), kept.since);
            assert_eq!(reply.head.status.as_u16(), status, "{lines}");
            assert_eq!(
                reply.head.fields.text(name::CONTENT_RANGE).unwrap_or_default(),
                range,
                "{lines}"
            );
            if let (206, Body::Bytes(body)) = (status, &reply.body) {
                assert_eq!(reply.head.length, Length::Exactly(body.len() as u64));
            }
        }
    }

    #[test]
    fn head_is_answered_from_what_get_has_kept() {
        let kept = kept();
        let reply = reply(&kept, &call(Method::HEAD, "range: bytes=0-1"), kept.since);
        assert_eq!(reply.head.status, StatusCode::OK);
        assert_eq!(reply.head.length, Length::Exactly(10));
        assert!(reply.body.is_empty());
        assert_eq!(reply.head.fields.text(name::AGE), Some("0"));
    }
}
