//! What an operator wants forgotten, as the query of `POST /purge` says it.

use super::Store;
use super::store::{Gone, Purge};

/// One wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// `all`
    All,
    /// `prefix=https://shop.example/catalogue/`
    Prefix(Vec<u8>),
    /// `tag=news`
    Tag(String),
    /// `uri=https://shop.example/catalogue?page=1`
    Uri(Vec<u8>),
}

impl Wanted {
    /// Forgets it; says how many replies went.
    pub fn purge(&self, store: &Store) -> usize {
        let what = match self {
            Self::All => Purge::All,
            Self::Prefix(prefix) => Purge::Prefix(prefix),
            Self::Tag(tag) => Purge::Tag(tag),
            Self::Uri(uri) => Purge::Uri(uri),
        };
        store.purge(what, Gone::Purged)
    }
}

/// Reads a query: one parameter, percent-encoded.
///
/// # Errors
/// What is wrong with it, for the operator.
pub fn parse(query: &str) -> Result<Wanted, &'static str> {
    const HINT: &str = "say what to purge: ?all, ?uri=.., ?prefix=.. or ?tag=.., percent-encoded";
    if query == "all" {
        return Ok(Wanted::All);
    }
    let (name, value) = query.split_once('=').ok_or(HINT)?;
    if value.contains('&') {
        return Err("say one thing, and percent-encode `&`");
    }
    let value = decode(value).ok_or("the value is not percent-encoded as it should be")?;
    if value.is_empty() {
        return Err(HINT);
    }
    match name {
        "prefix" => Ok(Wanted::Prefix(value)),
        "tag" => String::from_utf8(value).map(Wanted::Tag).map_err(|_| "a tag is text"),
        "uri" => Ok(Wanted::Uri(value)),
        _ => Err(HINT),
    }
}

/// RFC 3986, section 2.1.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            decoded.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_one_parameter() {
        for (query, want) in [
            ("all", Some(Wanted::All)),
            ("tag=news", Some(Wanted::Tag("news".into()))),
            ("tag=a%20b", Some(Wanted::Tag("a b".into()))),
            (
                "uri=http://a/b?c=1%26d=2",
                Some(Wanted::Uri(b"http://a/b?c=1&d=2".to_vec())),
            ),
            ("prefix=http://a/", Some(Wanted::Prefix(b"http://a/".to_vec()))),
            ("", None),
            ("tag=", None),
            ("tag=%ff", None),
            ("tag=%f", None),
            ("tag=%g0", None),
            ("uri=http://a/b&tag=c", None),
            ("everything", None),
            ("key=a", None),
        ] {
            assert_eq!(parse(query).ok(), want, "{query}");
        }
    }
}
