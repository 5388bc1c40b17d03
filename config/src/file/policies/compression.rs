//! `[routes.compression]`: replies made smaller for clients that take it.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::file::value::{all, choice, whole};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::{SizeText, brief};

/// `[routes.compression]` as written; `{}` for the defaults.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompressionFile {
    /// Codings, the best first: `br`, `gzip`. Default: both.
    #[schemars(extend("items" = { "type": "string", "enum": ["br", "gzip"] }))]
    encodings: Option<Vec<String>>,
    /// Replies that say they are smaller are left alone. Default: `1KiB`.
    min_size: Option<SizeText>,
    /// Media types, e.g. `text/*` or `application/json`; `+json` and `+xml` stand for all that end so.
    types: Option<Vec<String>>,
    /// From 1, fast, to 9, small. Default: 4.
    level: Option<i64>,
}

/// Which replies are compressed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// The best first.
    pub encodings: Vec<Encoding>,
    /// Bytes below which a reply is left alone.
    pub min_size: u64,
    /// Lower case: whole types, `text/*`, or `+json`.
    pub types: Vec<String>,
    /// 1 to 9.
    pub level: u8,
}

/// A content coding (RFC 9110, section 8.4.1, and RFC 7932).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `br`.
    Brotli,
    /// `gzip`.
    Gzip,
}

const TYPES: [&str; 9] = [
    "text/*",
    "application/json",
    "application/javascript",
    "application/x-ndjson",
    "application/xml",
    "application/wasm",
    "image/svg+xml",
    "+json",
    "+xml",
];

impl CompressionFile {
    pub(crate) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Compression> {
        let words = [("br", Encoding::Brotli), ("gzip", Encoding::Gzip)];
        let encodings = match self.encodings {
            Some(list) if list.is_empty() => {
                problems.add(&at.key("encodings"), "has no coding");
                None
            }
            Some(list) => all(Some(list), &at.key("encodings"), |text, at| {
                choice(&text, at, &words, problems)
            }),
            None => Some(words.map(|(_, encoding)| encoding).to_vec()),
        };
        let min_size = match self.min_size {
            Some(size) => size.parse(&at.key("min_size"), &(0..=1 << 30), problems),
            None => Some(1024),
        };
        let types = match self.types {
            Some(list) => all(Some(list), &at.key("types"), |text, at| media_type(&text, at, problems)),
            None => Some(TYPES.map(str::to_owned).to_vec()),
        };
        let level = whole(self.level.or(Some(4)), &at.key("level"), 1..=9, problems);
        Some(Compression {
            encodings: encodings?,
            min_size: min_size?,
            types: types?,
            level: level?,
        })
    }
}

fn media_type(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    let good = match lower.split_once('/') {
        Some((kind, sub)) => word(kind) && (sub == "*" || word(sub)),
        None => lower.strip_prefix('+').is_some_and(word),
    };
    if !good {
        let hint = "write e.g. `application/json`, `text/*`, or `+json`";
        problems.add_hint(at, format!("`{}` is not a media type", brief(text)), hint);
    }
    good.then_some(lower)
}
