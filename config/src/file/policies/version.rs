//! `[routes.version]`: the version of an API, read where clients say it and written where the backend wants it.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::file::value::{all, choice};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::brief;

/// `[routes.version]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VersionFile {
    /// Where clients say it: `path` (`/v2/..`), `header`, or `media-type` (`application/vnd.acme.v2+json` or `; version=2` of `accept`).
    #[schemars(extend("enum" = ["path", "header", "media-type"]))]
    from: Option<String>,
    /// Where the backend wants it. Default: it is not told.
    #[schemars(extend("enum" = ["path", "header", "media-type"]))]
    to: Option<String>,
    /// The field, where `from` or `to` is `header`. Default: `api-version`.
    header: Option<String>,
    /// The type without version, where `to` is `media-type`, e.g. `application/vnd.acme+json`.
    media_type: Option<String>,
    /// Versions that there are, e.g. `["1", "2"]`.
    known: Option<Vec<String>>,
    /// The version of calls that say none. Default: they are refused.
    default: Option<String>,
}

/// How versions are read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Where clients say it.
    pub from: VersionPlace,
    /// Where the backend wants it.
    pub to: Option<VersionPlace>,
    /// Those that there are.
    pub known: Vec<String>,
    /// That of calls that say none.
    pub default: Option<String>,
}

/// Where a version is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionPlace {
    /// The first segment of the path: `/v2`.
    Path,
    /// This field, lower case.
    Header(String),
    /// `accept`: `.v2` before the suffix, or the parameter `version`. The type is the one written for backends.
    MediaType(String),
}

#[derive(Clone, Copy)]
enum Word {
    Path,
    Header,
    MediaType,
}

impl VersionFile {
    pub(crate) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Version> {
        let words = [
            ("path", Word::Path),
            ("header", Word::Header),
            ("media-type", Word::MediaType),
        ];
        let header = self.header.unwrap_or_else(|| "api-version".to_owned());
        let Ok(header) = header.to_ascii_lowercase().parse::<http::HeaderName>() else {
            problems.add(
                &at.key("header"),
                format!("`{}` is not the name of a field", brief(&header)),
            );
            return None;
        };
        let media_type = self.media_type.unwrap_or_default();
        let written_type = !media_type.is_empty();
        let place = |word: Word| match word {
            Word::Path => VersionPlace::Path,
            Word::Header => VersionPlace::Header(header.as_str().to_owned()),
            Word::MediaType => VersionPlace::MediaType(media_type.clone()),
        };
        let from = match self.from {
            Some(text) => choice(&text, &at.key("from"), &words, problems),
            None => {
                problems.missing(&at.key("from"), "write `path`, `header` or `media-type`");
                None
            }
        };
        let to = match self.to {
            Some(text) => choice(&text, &at.key("to"), &words, problems).map(Some),
            None => Some(None),
        };
        if matches!(to, Some(Some(Word::MediaType))) && !written_type {
            problems.missing(
                &at.key("media_type"),
                "write the type without version, e.g. `application/vnd.acme+json`",
            );
        }
        if self.known.as_ref().is_none_or(Vec::is_empty) {
            problems.missing(
                &at.key("known"),
                "write the versions that there are, e.g. `[\"1\", \"2\"]`",
            );
        }
        let known = all(self.known, &at.key("known"), |text, at| {
            let good = (1..=32).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
            if !good {
                let hint = "a version has 1 to 32 characters of a-z, 0-9, `.` and `-`, without the `v`";
                problems.add_hint(at, format!("`{}` is not a version", brief(&text)), hint);
            }
            good.then_some(text)
        })?;
        if let Some(default) = &self.default
            && !known.contains(default)
        {
            problems.add(&at.key("default"), format!("`{}` is not in `known`", brief(default)));
            return None;
        }
        Some(Version {
            from: place(from?),
            to: to?.map(place),
            known,
            default: self.default,
        })
    }
}
