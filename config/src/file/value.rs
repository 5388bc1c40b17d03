//! Small values that several tables have: names, numbers, addresses, files, hosts.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::model::{HttpUrl, Name};
use crate::path::KeyPath;
use crate::problems::{Problems, did_you_mean};
use crate::units::{DurationText, brief};

/// What a long form is, in the words of TOML.
pub(crate) trait LongForm {
    /// For "must be a string or ..".
    const KIND: &'static str = "a table";
}

impl<T> LongForm for Vec<T> {
    const KIND: &'static str = "a list";
}

/// A short form as text, or the long form.
#[derive(Clone, Debug)]
pub(crate) enum TextOr<T> {
    /// The long form.
    Long(T),
    /// The short form.
    Text(String),
}

impl<'de, T: Deserialize<'de> + LongForm> Deserialize<'de> for TextOr<T> {
    /// By hand, because serde's untagged enums lose the path of what is wrong inside.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + LongForm> Visitor<'de> for Forms<T> {
            type Value = TextOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a string or {}", T::KIND)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOr::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Long)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                T::deserialize(SeqAccessDeserializer::new(seq)).map(TextOr::Long)
            }
        }

        deserializer.deserialize_any(Forms(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for TextOr<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("TextOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let long = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "type": "string" }, long] })
    }
}

/// A table, or a list of such tables.
#[derive(Clone, Debug)]
pub(crate) enum OneOrMany<T> {
    /// `[NAME]`
    One(Box<T>),
    /// `[[NAME]]`
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// Every table with its place.
    pub(crate) fn each(written: Option<Self>, at: &KeyPath) -> Vec<(KeyPath, T)> {
        match written {
            None => Vec::new(),
            Some(Self::One(one)) => vec![(at.clone(), *one)],
            Some(Self::Many(many)) => {
                let many = many.into_iter().enumerate();
                many.map(|(index, one)| (at.index(index), one)).collect()
            }
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    /// By hand, for the same reason as [`TextOr`].
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Forms<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table or a list of tables")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMany::One(Box::new(one)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrMany::Many)
            }
        }

        deserializer.deserialize_any(Forms(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// A path, relative to the file it is written in.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct PathText(pub(crate) String);

impl JsonSchema for PathText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PathText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "path" })
    }
}

/// What a path must lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    FileOrDirectory,
}

impl PathText {
    /// The path, if there is something of this kind.
    pub(crate) fn parse(&self, at: &KeyPath, kind: Kind, problems: &mut Problems) -> Option<PathBuf> {
        let path = PathBuf::from(&self.0);
        if self.0.is_empty() {
            problems.add(at, "must name a file");
            return None;
        }
        let found = match std::fs::metadata(&path) {
            Ok(found) => found,
            Err(error) => {
                let hint = (error.kind() == std::io::ErrorKind::NotFound)
                    .then(|| "paths are relative to the file they are written in".to_owned());
                problems.add_maybe(at, format!("reading `{}`: {error}", path.display()), hint);
                return None;
            }
        };
        let fits = match kind {
            Kind::Directory => found.is_dir(),
            Kind::File => found.is_file(),
            Kind::FileOrDirectory => found.is_dir() || found.is_file(),
        };
        if !fits {
            let wanted = if kind == Kind::Directory {
                "a directory"
            } else {
                "a file"
            };
            problems.add(at, format!("`{}` is not {wanted}", path.display()));
            return None;
        }
        Some(path)
    }
}

/// A required path.
pub(crate) fn required_path(
    path: Option<&PathText>,
    at: &KeyPath,
    kind: Kind,
    hint: &str,
    problems: &mut Problems,
) -> Option<PathBuf> {
    match path {
        Some(path) => path.parse(at, kind, problems),
        None => {
            problems.missing(at, hint);
            None
        }
    }
}

/// An optional part: none is right, and a wrong one is not.
#[expect(
    clippy::option_option,
    reason = "outer: whether it is right; inner: whether it was written"
)]
pub(crate) fn optional<F, M>(value: Option<F>, parse: impl FnOnce(F) -> Option<M>) -> Option<Option<M>> {
    match value {
        Some(value) => parse(value).map(Some),
        None => Some(None),
    }
}

/// Every element parsed, so that the problems of all are found.
pub(crate) fn all<F, M>(
    values: Option<Vec<F>>,
    at: &KeyPath,
    mut parse: impl FnMut(F, &KeyPath) -> Option<M>,
) -> Option<Vec<M>> {
    let values = values.unwrap_or_default().into_iter().enumerate();
    let parsed: Vec<Option<M>> = values.map(|(index, value)| parse(value, &at.index(index))).collect();
    parsed.into_iter().collect()
}

/// A name: 1 to 63 characters of `a-z 0-9 - _ .`, starting with a letter or digit.
pub(crate) fn name(text: Option<&str>, at: &KeyPath, hint: &str, problems: &mut Problems) -> Option<Name> {
    let Some(text) = text else {
        problems.missing(at, hint);
        return None;
    };
    if is_name(text) {
        return Some(text.into());
    }
    problems.add_hint(
        at,
        format!("`{}` is not a name", brief(text)),
        "a name has 1 to 63 characters of a-z, 0-9, `-`, `_` and `.`, and starts with a letter or digit",
    );
    None
}

/// Whether `text` is a name.
pub(crate) fn is_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    (1..=63).contains(&text.len()) && text.chars().all(good) && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// A whole number within `range`. A value that is absent was refused before, or has its default in `defaults.toml`.
pub(crate) fn whole<T: TryFrom<i64>>(
    value: Option<i64>,
    at: &KeyPath,
    range: RangeInclusive<i64>,
    problems: &mut Problems,
) -> Option<T> {
    let value = value?;
    let number = if range.contains(&value) {
        T::try_from(value).ok()
    } else {
        None
    };
    if number.is_none() {
        problems.add(at, format!("must be between {} and {}", range.start(), range.end()));
    }
    number
}

/// A duration within `range`, in milliseconds.
pub(crate) fn duration(
    value: Option<&DurationText>,
    at: &KeyPath,
    millis: RangeInclusive<u64>,
    problems: &mut Problems,
) -> Option<Duration> {
    let range = Duration::from_millis(*millis.start())..=Duration::from_millis(*millis.end());
    value?.parse(at, &range, problems)
}

/// One of a few words.
pub(crate) fn choice<T: Copy>(text: &str, at: &KeyPath, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let list: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    let hint = did_you_mean(text, words.iter().map(|(word, _)| *word));
    problems.add_maybe(at, format!("must be one of {}", list.join(", ")), hint);
    None
}

/// An address to bind; port 0 takes a free one.
pub(crate) fn bind(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<SocketAddr> {
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            let hint = match text.strip_prefix(':') {
                Some(port) => format!(
                    "write `0.0.0.0:{}` for all addresses, or `127.0.0.1:{0}` for this host",
                    brief(port)
                ),
                None => "write an IP address and a port, such as `0.0.0.0:8080` or `[::]:8080`".to_owned(),
            };
            problems.add_hint(at, format!("`{}` is not an address to bind", brief(text)), hint);
            None
        }
    }
}

/// A host name in lower case, or an IP address without brackets.
pub(crate) fn is_host(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
        // What looks like an address but is none (`10.0.0.256`) is a slip of the pen.
        && !text.split('.').next_back().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()))
}

/// An `https` URL, or `http` to a loopback address.
pub(crate) fn http_url(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<HttpUrl> {
    let uri = text.parse::<http::Uri>().ok().filter(|_| !text.contains('#'));
    let parsed = uri.as_ref().and_then(|uri| {
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        is_host(&host).then(|| HttpUrl {
            tls,
            host,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            target: target.to_owned(),
        })
    });
    let Some(url) = parsed else {
        let hint = "write a URL such as `https://idp.acme.example/keys`";
        problems.add_hint(at, format!("`{}` is not a URL", brief(text)), hint);
        return None;
    };
    let loopback = url.host == "localhost" || url.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if !url.tls && !loopback {
        let hint = "write `https`: whoever is on the way could answer in its place";
        problems.add_hint(at, "is `http` to another host", hint);
        return None;
    }
    Some(url)
}

/// A scope (RFC 6749, section 3.3).
pub(crate) fn scope(text: String, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    let good = |byte: u8| byte == 0x21 || (0x23..=0x5b).contains(&byte) || (0x5d..=0x7e).contains(&byte);
    if (1..=256).contains(&text.len()) && text.bytes().all(good) {
        return Some(text);
    }
    let hint = "write one scope in each text, e.g. `[\"orders.read\", \"orders.write\"]`";
    problems.add_hint(at, format!("`{}` is not a scope", brief(&text)), hint);
    None
}

/// The name of a claim; dots lead into claims that are tables.
pub(crate) fn claim(text: String, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    if (1..=256).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Some(text);
    }
    problems.add(at, "must have 1 to 256 bytes and no control characters");
    None
}

/// The name of a header field in lower case, and none that frames or routes a request.
pub(crate) fn header(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    const OURS: [&str; 12] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "forwarded",
        "grpc-timeout",
    ];
    let lower = text.to_ascii_lowercase();
    let reserved = OURS.contains(&lower.as_str())
        || [
            "x-causeway-",
            "x-forwarded-",
            "sec-websocket-",
            "grpc-status",
            "grpc-message",
        ]
        .iter()
        .any(|prefix| lower.starts_with(prefix));
    if http::HeaderName::from_bytes(lower.as_bytes()).is_err() || lower.contains('_') {
        let hint = "write letters, digits and `-`, e.g. `x-user`";
        problems.add_hint(at, format!("`{}` is not the name of a header", brief(text)), hint);
        return None;
    }
    if reserved {
        problems.add(at, format!("`{}` is set by the gateway alone", brief(text)));
        return None;
    }
    Some(lower)
}
