//! `cache-control` of a request and of a reply (RFC 9111, section 5.2; RFC 5861).

use std::time::Duration;

use causeway_protocols::{Fields, name};

/// Longer than anything is kept; numbers above it are this (RFC 9111, section 1.2.2).
const FOREVER: u64 = 1 << 31;

/// What a reply says of being kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyDirectives {
    /// Nobody may keep it, or no shared cache may: `no-store`, `private`.
    pub forbidden: bool,
    /// Kept, but checked with the service each time: `no-cache`.
    pub no_cache: bool,
    /// Anybody may keep it, also the answer to a call with credentials: `public`.
    pub public: bool,
    /// Never served stale: `must-revalidate`, `proxy-revalidate`.
    pub must_revalidate: bool,
    /// `max-age`.
    pub max_age: Option<Duration>,
    /// `s-maxage`: for caches like this one, before `max-age`.
    pub s_maxage: Option<Duration>,
    /// `stale-while-revalidate`.
    pub while_revalidate: Option<Duration>,
    /// `stale-if-error`.
    pub if_error: Option<Duration>,
}

/// What a request says of kept replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// The reply is not to be kept.
    pub no_store: bool,
    /// Only what the service says now.
    pub no_cache: bool,
    /// Only what is kept.
    pub only_if_cached: bool,
    /// No older than this.
    pub max_age: Option<Duration>,
    /// Fresh for at least this.
    pub min_fresh: Option<Duration>,
    /// Stale for no more than this.
    pub max_stale: Option<Duration>,
}

impl ReplyDirectives {
    /// Reads the fields of a reply. What is said with field names in quotes (`private="set-cookie"`) counts as said
    /// without: that is the careful reading.
    pub fn of(fields: &Fields) -> Self {
        let mut said = Self::default();
        each(fields, |name, value| match name {
            "no-store" | "private" => said.forbidden = true,
            "no-cache" => said.no_cache = true,
            "public" => said.public = true,
            "must-revalidate" | "proxy-revalidate" => said.must_revalidate = true,
            "max-age" => least(&mut said.max_age, value),
            "s-maxage" => least(&mut said.s_maxage, value),
            "stale-while-revalidate" => least(&mut said.while_revalidate, value),
            "stale-if-error" => least(&mut said.if_error, value),
            _ => {}
        });
        said
    }
}

impl RequestDirectives {
    /// Reads the fields of a request; `pragma: no-cache` counts where there is no `cache-control` (section 5.4).
    pub fn of(fields: &Fields) -> Self {
        let mut said = Self::default();
        if !fields.has(name::CACHE_CONTROL) {
            said.no_cache = fields.has_token(name::PRAGMA, "no-cache");
            return said;
        }
        each(fields, |name, value| match name {
            "no-store" => said.no_store = true,
            "no-cache" => said.no_cache = true,
            "only-if-cached" => said.only_if_cached = true,
            "max-age" => least(&mut said.max_age, value),
            "min-fresh" => least(&mut said.min_fresh, value),
            "max-stale" if value.is_empty() => said.max_stale = Some(Duration::from_secs(FOREVER)),
            "max-stale" => least(&mut said.max_stale, value),
            _ => {}
        });
        said
    }
}

/// The shortest of what is said several times; what is no number means none at all (section 4.2.1).
fn least(known: &mut Option<Duration>, value: &str) {
    let seconds = if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        value.parse().unwrap_or(FOREVER).min(FOREVER)
    } else {
        0
    };
    let value = Duration::from_secs(seconds);
    *known = Some(known.map_or(value, |known| known.min(value)));
}

/// Calls `say` for each directive, its name in lower case and its value without quotes.
fn each(fields: &Fields, mut say: impl FnMut(&str, &str)) {
    for field in fields.all(name::CACHE_CONTROL) {
        // A value that is no text says nothing that is known.
        let Ok(text) = std::str::from_utf8(field) else { continue };
        for directive in split(text) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let value = value.trim();
            let value = value
                .strip_prefix('"')
                .map_or(value, |value| value.strip_suffix('"').unwrap_or(value));
            say(&name.trim().to_ascii_lowercase(), value);
        }
    }
}

/// The members of a list, commas in quotes aside.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let (mut quoted, mut escaped) = (false, false);
            let end = rest
                .bytes()
                .position(|byte| {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' if quoted => escaped = true,
                        b'"' => quoted = !quoted,
                        b',' => return !quoted,
                        _ => {}
                    }
                    false
                })
                .unwrap_or(rest.len());
            let member = rest.get(..end).unwrap_or_default().trim();
            rest = rest.get(end + 1..).unwrap_or_default();
            if !member.is_empty() {
                return Some(member);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(values: &[&str]) -> Fields {
        let mut fields = Fields::new();
        for value in values {
            fields.push_known(name::CACHE_CONTROL, value.as_bytes()).unwrap();
        }
        fields
    }

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn a_reply_is_read_in_any_case_with_quotes_and_over_several_fields() {
        let said = ReplyDirectives::of(&fields(&[
            "Public, MAX-AGE=60 , ,",
            "s-maxage=\"30\", stale-while-revalidate=5",
            "stale-if-error=7,must-revalidate",
        ]));
        let want = ReplyDirectives {
            public: true,
            must_revalidate: true,
            max_age: seconds(60),
            s_maxage: seconds(30),
            while_revalidate: seconds(5),
            if_error: seconds(7),
            ..ReplyDirectives::default()
        };
        assert_eq!(said, want);
        assert_eq!(ReplyDirectives::of(&Fields::new()), ReplyDirectives::default());
    }

    #[test]
    fn what_is_in_doubt_is_read_the_careful_way() {
        for (text, age) in [
            ("max-age=10, max-age=5", 5),
            ("max-age=5, max-age=10", 5),
            ("max-age=-1", 0),
            ("max-age=1.5", 0),
            ("max-age", 0),
            ("max-age=abc", 0),
            ("max-age=99999999999999999999999", FOREVER),
        ] {
            assert_eq!(ReplyDirectives::of(&fields(&[text])).max_age, seconds(age), "{text}");
        }
        assert!(ReplyDirectives::of(&fields(&["private=\"set-cookie, x\""])).forbidden);
        assert!(ReplyDirectives::of(&fields(&["no-cache=\"set-cookie\", max-age=5"])).no_cache);
        assert!(!ReplyDirectives::of(&fields(&["ext=\"no-store, private\", max-age=5"])).forbidden);
        assert_eq!(
            ReplyDirectives::of(&fields(&["x=\"a\\\",b\", max-age=9"])).max_age,
            seconds(9)
        );
    }

    #[test]
    fn pragma_counts_only_where_nothing_else_is_said() {
        let mut request = Fields::new();
        request.push_known(name::PRAGMA, b"no-cache").unwrap();
        assert!(RequestDirectives::of(&request).no_cache);
        request
            .push_known(name::CACHE_CONTROL, b"max-age=3, max-stale")
            .unwrap();
        let said = RequestDirectives::of(&request);
        assert!(!said.no_cache);
        assert_eq!((said.max_age, said.max_stale), (seconds(3), seconds(FOREVER)));
    }
}
