//! A kept reply.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use causeway_protocols::{FieldName, Fields, name};
use http::StatusCode;

use super::directives::RequestDirectives;
use super::freshness::Terms;
use super::key::Vary;

/// Tags of one reply; what it has more of is left out.
const TAGS: usize = 64;
/// What an entry takes besides what it holds: its places in the maps, and allocations.
const OVERHEAD: usize = 400;

/// A whole reply with the terms on which it may be used. Never changed: a newer one takes its place.
#[derive(Debug)]
pub struct Stored {
    /// Its status.
    pub status: StatusCode,
    /// Its fields as they came, but for `age`; there is a `date`.
    pub fields: Fields,
    /// Its body.
    pub body: Bytes,
    /// What followed the body.
    pub trailers: Fields,
    /// How long it may be used.
    pub terms: Terms,
    /// When it came.
    pub since: Instant,
    /// Which calls it fits.
    pub vary: Vary,
    /// What it can be purged by.
    pub tags: Box<[Box<str>]>,
}

/// What may be done with a kept reply now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Fresh,
    /// It answers, and a new one is to be fetched meanwhile.
    Refresh,
    /// The service is to be asked; if that fails, it may answer yet.
    StaleIfError,
    /// The service is to be asked.
    Stale,
}

impl Stored {
    /// How old it is (RFC 9111, section 4.2.3).
    pub fn age(&self, now: Instant) -> Duration {
        self.terms.age.saturating_add(now.saturating_duration_since(self.since))
    }

    /// How long it stays fresh; none when it is stale.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        self.terms
            .lifetime
            .checked_sub(self.age(now))
            .filter(|left| !left.is_zero())
    }

    /// What may be done with it, for a call that says this.
    pub fn state(&self, now: Instant, asked: &RequestDirectives) -> State {
        let age = self.age(now);
        let wanted = self.terms.lifetime.min(asked.max_age.unwrap_or(Duration::MAX));
        let fresh = age.saturating_add(asked.min_fresh.unwrap_or_default()) < wanted;
        if fresh && !asked.no_cache {
            return State::Fresh;
        }
        let stale = age.saturating_sub(self.terms.lifetime);
        if asked.no_cache || asked.max_age.is_some_and(|most| age >= most) || asked.min_fresh.is_some() {
            return if stale < self.terms.if_error {
                State::StaleIfError
            } else {
                State::Stale
            };
        }
        if stale < self.terms.while_revalidate || self.accepted_stale(stale, asked) {
            return State::Refresh;
        }
        if stale < self.terms.if_error {
            State::StaleIfError
        } else {
            State::Stale
        }
    }

    /// Whether the client takes it stale and the reply allows it.
    fn accepted_stale(&self, stale: Duration, asked: &RequestDirectives) -> bool {
        let strict = super::directives::ReplyDirectives::of(&self.fields);
        !strict.must_revalidate && !strict.no_cache && asked.max_stale.is_some_and(|most| stale < most)
    }

    /// Bytes it takes in memory, keys aside.
    pub fn size(&self) -> usize {
        let tags: usize = self.tags.iter().map(|tag| 16 + tag.len()).sum();
        OVERHEAD
            + self.body.len()
            + self.fields.as_wire().len()
            + self.trailers.as_wire().len()
            + self.vary.size()
            + tags
    }

    /// The same body with the fields of a 304 that has confirmed it (RFC 9111, section 3.2).
    pub fn confirmed(&self, by: &Fields, terms: Terms, vary: Vary) -> Arc<Self> {
        let kept = |field: FieldName<'_>| {
            [
                name::CONTENT_ENCODING,
                name::CONTENT_LENGTH,
                name::CONTENT_RANGE,
                name::CONTENT_TYPE,
                name::AGE,
            ]
            .iter()
            .any(|id| field.is(*id))
        };
        let mut fields = self.fields.clone();
        fields.retain(|old| kept(old.name) || !by.iter().any(|new| new.name == old.name));
        for new in by.iter().filter(|new| !kept(new.name)) {
            // A field that was one is one again.
            fields.push(new.name.as_str().as_bytes(), new.value).ok();
        }
        let tags = tags(&fields);
        Arc::new(Self {
            status: self.status,
            fields: dated(fields),
            body: self.body.clone(),
            trailers: self.trailers.clone(),
            terms,
            since: Instant::now(),
            vary,
            tags,
        })
    }
}

/// What a reply can be purged by: `cache-tag` with commas, `surrogate-key` with spaces.
pub fn tags(fields: &Fields) -> Box<[Box<str>]> {
    let listed = |name: &'static str, separator: &'static [char]| {
        fields
            .iter()
            .filter(move |field| field.name.as_str() == name)
            .filter_map(|field| field.text())
            .flat_map(move |text| text.split(separator))
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
    };
    listed("cache-tag", &[','])
        .chain(listed("surrogate-key", &[' ', '\t']))
        .take(TAGS)
        .map(Box::from)
        .collect()
}

/// The fields with a `date` and without an `age`: the age is told anew each time.
pub fn dated(mut fields: Fields) -> Fields {
    fields.remove(name::AGE);
    if !fields.has(name::DATE) {
        let now = httpdate::fmt_http_date(SystemTime::now());
        fields.push_known(name::DATE, now.as_bytes()).ok();
    }
    fields
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A reply with this body, fresh for so many seconds and then stale for as many either way.
    pub(in crate::cache) fn stored(body: &str, lifetime: u64, stale: u64) -> Stored {
        Stored {
            status: StatusCode::OK,
            fields: Fields::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            trailers: Fields::new(),
            terms: Terms {
                age: Duration::ZERO,
                lifetime: Duration::from_secs(lifetime),
                while_revalidate: Duration::from_secs(stale),
                if_error: Duration::from_secs(2 * stale),
            },
            since: Instant::now(),
            vary: Vary::default(),
            tags: Box::default(),
        }
    }

    #[test]
    fn a_reply_ages_from_fresh_over_stale_to_useless() {
        let reply = stored("x", 10, 5);
        let nothing = RequestDirectives::default();
        for (seconds, want) in [
            (0, State::Fresh),
            (9, State::Fresh),
            (10, State::Refresh),
            (14, State::Refresh),
            (15, State::StaleIfError),
            (19, State::StaleIfError),
            (20, State::Stale),
        ] {
            let now = reply.since + Duration::from_secs(seconds);
            assert_eq!(reply.state(now, &nothing), want, "after {seconds} s");
        }
    }

    #[test]
    fn a_client_that_is_obeyed_gets_what_it_asks_for() {
        let reply = stored("x", 10, 0);
        let at = |seconds| reply.since + Duration::from_secs(seconds);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let asked = |asked: RequestDirectives, second| reply.state(at(second), &asked);
        let nothing = RequestDirectives::default();
        assert_eq!(
            asked(
                RequestDirectives {
                    no_cache: true,
                    ..nothing
                },
                1
            ),
            State::Stale
        );
        assert_eq!(
            asked(
                RequestDirectives {
                    max_age: seconds(5),
                    ..nothing
                },
                4
            ),
            State::Fresh
        );
        assert_eq!(
            asked(
                RequestDirectives {
                    max_age: seconds(5),
                    ..nothing
                },
                5
            ),
            State::Stale
        );
        assert_eq!(
            asked(
                RequestDirectives {
                    min_fresh: seconds(5),
                    ..nothing
                },
                6
            ),
            State::Stale
        );
        assert_eq!(
            asked(
                RequestDirectives {
                    max_stale: seconds(5),
                    ..nothing
                },
                12
            ),
            State::Refresh
        );
        assert_eq!(
            asked(
                RequestDirectives {
                    max_stale: seconds(5),
                    ..nothing
                },
                15
            ),
            State::Stale
        );
    }

    #[test]
    fn c3_a_304_changes_the_fields_but_not_what_describes_the_body() {
        let mut reply = stored("x", 10, 0);
        for (name, value) in [
            ("etag", "\"a\""),
            ("content-type", "text/plain"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("x-b", "3"),
        ] {
            reply.fields.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        let mut by = Fields::new();
        for (name, value) in [
            ("etag", "\"a\""),
            ("content-type", "text/html"),
            ("content-encoding", "gzip"),
            ("x-a", "9"),
        ] {
            by.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        let new = reply.confirmed(&by, reply.terms, Vary::default());
        let all = |name: &str| -> Vec<_> {
            let named = new.fields.iter().filter(|field| field.name.as_str() == name);
            named.filter_map(|field| field.text()).collect()
        };
        assert_eq!(all("content-type"), ["text/plain"]);
        assert_eq!(all("content-encoding"), [""; 0]);
        assert_eq!(
            (all("x-a"), all("x-b"), all("etag")),
            (vec!["9"], vec!["3"], vec!["\"a\""])
        );
        assert_eq!(all("date").len(), 1);
    }

    #[test]
    fn tags_come_with_commas_or_with_spaces() {
        let mut fields = Fields::new();
        fields.push(b"cache-tag", b"a, b c ,,").unwrap();
        fields.push(b"surrogate-key", b"d e").unwrap();
        let tags = tags(&fields);
        assert_eq!(
            tags.iter().map(|tag| &**tag).collect::<Vec<_>>(),
            ["a", "b c", "d", "e"]
        );
    }
}
